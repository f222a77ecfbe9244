//! Identifiers of 128 bits as text.

use super::hex_digit;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// 32 hexadecimal digits, with or without hyphens and braces.
#[inline]
pub(super) fn parse(text: &str) -> Option<[u8; 16]> {
    hyphenated(text.as_bytes()).or_else(|| any(text))
}

/// The usual form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, eight digits at a time.
#[inline]
fn hyphenated(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    if text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return None;
    }
    let four = |at: usize| text[at..].first_chunk::<4>().map(|b| u64::from(u32::from_le_bytes(*b)));
    let eight = |at: usize| text[at..].first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
    let words = [
        hex8(eight(0)?)?,
        hex8(four(9)? | (four(14)? << 32))?,
        hex8(four(19)? | (four(24)? << 32))?,
        hex8(eight(28)?)?,
    ];
    let mut id = [0; 16];
    for (bytes, word) in id.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    Some(id)
}

/// Eight hexadecimal digits, the first in the lowest byte, as four bytes in the same order. The sums
/// test all bytes at once: none of them carries, since every byte is below 0x80.
#[inline]
fn hex8(word: u64) -> Option<u32> {
    if word & HIGH != 0 {
        return None;
    }
    let lower = word | (LOW * 0x20);
    let digit = (word + LOW * (0x80 - 0x30)) & !(word + LOW * (0x80 - 0x3a));
    let letter = (lower + LOW * (0x80 - 0x61)) & !(lower + LOW * (0x80 - 0x67)) & HIGH;
    if (digit | letter) & HIGH != HIGH {
        return None;
    }
    let nibbles = (word & (LOW * 0x0f)) + (letter >> 7) * 9;
    let pairs = ((nibbles << 4) | (nibbles >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
    u32::try_from((fours | (fours >> 16)) & 0xffff_ffff).ok()
}

/// Any of the forms, digit by digit.
fn any(text: &str) -> Option<[u8; 16]> {
    let text = text.trim_ascii();
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let mut digits = text.bytes().filter(|&b| b != b'-');
    let mut id = [0; 16];
    for byte in &mut id {
        *byte = (hex_digit(digits.next()?)? << 4) | hex_digit(digits.next()?)?;
    }
    let hyphens = text.len() - 32.min(text.len());
    let placed = hyphens == 0
        || (hyphens == 4 && [8, 13, 18, 23].iter().all(|&at| text.as_bytes()[at] == b'-'));
    (digits.next().is_none() && placed).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_at_a_time_agree_with_one_at_a_time() {
        let form = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
        assert_eq!(hyphenated(form.as_bytes()), any(form));
        assert!(hyphenated(form.as_bytes()).is_some());
        assert_eq!(parse(&form.to_ascii_uppercase()), any(form));
        // Every ASCII character at every place.
        for at in 0..form.len() {
            for byte in 0..0x80_u8 {
                let mut text = form.as_bytes().to_vec();
                text[at] = byte;
                let text = String::from_utf8(text).unwrap_or_default();
                let fast = hyphenated(text.as_bytes());
                assert_eq!(fast, any(&text).filter(|_| text.trim_ascii().len() == 36), "{text:?}");
            }
        }
        assert_eq!(hyphenated("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1é".as_bytes()), None);
    }
}
