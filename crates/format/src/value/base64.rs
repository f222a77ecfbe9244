//! Values as Kafka Connect writes them into JSON: bytes as base64, decimals as the bytes of their unscaled value.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Misfit;

/// The bytes that `text` says.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

/// The unscaled value that `text` says: two's complement, highest byte first, of at most `precision` digits.
pub(super) fn decimal(text: &str, precision: u8) -> Result<i128, Misfit> {
    let bytes = bytes(text).filter(|bytes| !bytes.is_empty()).ok_or(Misfit::Invalid)?;
    let negative = bytes[0] >= 0x80;
    let fill = if negative { 0xff } else { 0 };
    let (extra, last) = bytes.split_at(bytes.len().saturating_sub(16));
    let mut all = [fill; 16];
    all[16 - last.len()..].copy_from_slice(last);
    let value = i128::from_be_bytes(all);
    let fits = extra.iter().all(|byte| *byte == fill)
        && (value < 0) == negative
        && value.unsigned_abs() < 10_u128.pow(u32::from(precision));
    if fits { Ok(value) } else { Err(Misfit::OutOfRange) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_the_bytes_of_their_unscaled_values() {
        let encoded = |value: i128, bytes: usize| {
            let all = value.to_be_bytes();
            BASE64_STANDARD.encode(&all[16 - bytes..])
        };
        for (value, bytes) in [(0, 1), (1234, 2), (-1234, 2), (127, 1), (128, 2), (-128, 1)] {
            assert_eq!(decimal(&encoded(value, bytes), 10).ok(), Some(value), "{value}");
            assert_eq!(decimal(&encoded(value, 16), 10).ok(), Some(value), "{value}");
        }
        let most = 10_i128.pow(38) - 1;
        for value in [most, -most] {
            assert_eq!(decimal(&encoded(value, 16), 38).ok(), Some(value));
            assert!(matches!(decimal(&encoded(value, 16), 37), Err(Misfit::OutOfRange)));
        }
        let longer = BASE64_STANDARD.encode([&[0xff; 4][..], &(-5_i128).to_be_bytes()].concat());
        assert_eq!(decimal(&longer, 1).ok(), Some(-5));
        let beyond = BASE64_STANDARD.encode([&[0][..], &(-5_i128).to_be_bytes()].concat());
        assert!(matches!(decimal(&beyond, 38), Err(Misfit::OutOfRange)));
        for wrong in ["", "12.5", "=", "a"] {
            assert!(matches!(decimal(wrong, 10), Err(Misfit::Invalid)), "{wrong}");
        }
    }
}
