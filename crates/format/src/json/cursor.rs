//! A place in JSON text, and the scanners that move it: strings, numbers, literals, whole values.
//!
//! What must hold: the text is valid UTF-8 and every offset handed out lies next to an ASCII
//! character of JSON's grammar, so slices never split a character. In line mode a scanner never
//! passes a line end: RFC 8259 allows none inside a string, and `skip_space` stops there.

use super::Broken;

/// Deepest nesting of arrays and objects.
pub(super) const DEPTH_MAX: usize = 128;

/// A string between its quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it holds a backslash.
    pub(super) escaped: bool,
}

/// A number: where it stands and, if it is short, what it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub(super) start: usize,
    pub(super) end: usize,
    negative: bool,
    /// All digits as one integer, if `simple`.
    mantissa: u64,
    /// How many of them stand behind the point.
    fraction: usize,
    /// At most 18 digits and no exponent.
    simple: bool,
}

impl Number {
    /// The value of a short integer.
    #[inline]
    pub(super) fn small_integer(&self) -> Option<i64> {
        if !self.simple || self.fraction != 0 {
            return None;
        }
        let value = self.mantissa.cast_signed();
        Some(if self.negative { -value } else { value })
    }

    /// The value when one division of exact doubles gives it correctly rounded (W. Clinger, "How to
    /// read floating point numbers accurately", 1990).
    #[inline]
    pub(super) fn small_double(&self) -> Option<f64> {
        const POWERS: [f64; 19] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
            1e16, 1e17, 1e18,
        ];
        if !self.simple || self.mantissa > 1 << 53 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "at most 2^53 is exact")]
        let value = self.mantissa as f64 / POWERS[self.fraction];
        Some(if self.negative { -value } else { value })
    }
}

/// A place in JSON text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) pos: usize,
    /// Whether a line end is white space like any other.
    pub(super) lines_are_space: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, lines_are_space: bool) -> Self {
        Self { text, pos: 0, lines_are_space }
    }

    /// The byte here; 0, which no grammar rule takes, at the end.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.pos).copied().unwrap_or(0)
    }

    /// What follows.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.pos..).unwrap_or_default()
    }

    #[cold]
    pub(super) fn broken(&self, expected: &'static str) -> Broken {
        Broken { at: self.pos, expected }
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while match self.peek() {
            b' ' | b'\t' | b'\r' => true,
            b'\n' => self.lines_are_space,
            _ => false,
        } {
            self.pos += 1;
        }
    }

    /// Scans a string, from its opening quote to behind its closing one.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Span, Broken> {
        let start = self.pos + 1;
        let end = start + plain_len(self.text.as_bytes().get(start..).unwrap_or_default());
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.pos = end + 1;
            return Ok(Span { start, end, escaped: false });
        }
        self.long_string(start, end)
    }

    /// The rest of a string that has an escape at `at`, or is wrong there.
    fn long_string(&mut self, start: usize, mut at: usize) -> Result<Span, Broken> {
        let bytes = self.text.as_bytes();
        loop {
            self.pos = at;
            match bytes.get(at) {
                Some(b'"') => {
                    self.pos = at + 1;
                    return Ok(Span { start, end: at, escaped: true });
                }
                Some(b'\\') => at += self.escape_len()?,
                // The line ends before the string does.
                Some(b'\n') if !self.lines_are_space => {
                    return Err(self.broken("the end of a string"));
                }
                Some(_) => return Err(self.broken("no control character inside a string")),
                None => return Err(self.broken("the end of a string")),
            }
            at += plain_len(&bytes[at..]);
        }
    }

    /// The length of the escape here.
    fn escape_len(&self) -> Result<usize, Broken> {
        match self.rest() {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Ok(2),
            [_, b'u', rest @ ..] => match escaped_char(rest) {
                Some((_, digits)) => Ok(2 + digits),
                None => Err(self.broken("four hexadecimal digits of a character")),
            },
            _ => Err(self.broken("an escape such as \\n")),
        }
    }

    /// Scans a number.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number, Broken> {
        let start = self.pos;
        let negative = self.peek() == b'-';
        self.pos += usize::from(negative);
        let first = self.peek();
        let (mut mantissa, whole) = digits(self.rest());
        self.pos += whole;
        if whole == 0 || (first == b'0' && whole > 1) {
            return Err(self.broken("a number without leading zeros"));
        }
        let mut fraction = 0;
        if self.peek() == b'.' {
            self.pos += 1;
            let (value, count) = digits(self.rest());
            if count == 0 {
                return Err(self.broken("a digit behind the point"));
            }
            self.pos += count;
            fraction = count;
            if whole + fraction <= SIMPLE_DIGITS {
                mantissa = mantissa * POWERS[fraction] + value;
            }
        }
        let mut simple = whole + fraction <= SIMPLE_DIGITS;
        if matches!(self.peek(), b'e' | b'E') {
            simple = false;
            self.pos += 1;
            self.pos += usize::from(matches!(self.peek(), b'+' | b'-'));
            let (_, count) = digits(self.rest());
            if count == 0 {
                return Err(self.broken("a digit of an exponent"));
            }
            self.pos += count;
        }
        Ok(Number { start, end: self.pos, negative, mantissa, fraction, simple })
    }

    /// Passes `word`.
    #[inline]
    pub(super) fn literal(&mut self, word: &'static str) -> Result<(), Broken> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.broken("a value"));
        }
        self.pos += word.len();
        Ok(())
    }

    /// Passes `byte`, which messages call `name`.
    #[inline]
    pub(super) fn byte(&mut self, byte: u8, name: &'static str) -> Result<(), Broken> {
        if self.peek() != byte {
            return Err(self.broken(name));
        }
        self.pos += 1;
        Ok(())
    }

    /// Passes a whole value, checking it.
    pub(super) fn skip_value(&mut self) -> Result<(), Broken> {
        self.walk_value(0, &mut |_| {})
    }

    /// Passes a whole value and shows its tokens, without the white space between them.
    pub(super) fn walk_value(
        &mut self,
        depth: usize,
        token: &mut impl FnMut(&'a str),
    ) -> Result<(), Broken> {
        let start = self.pos;
        match self.peek() {
            b'"' => drop(self.string()?),
            b'{' | b'[' if depth == DEPTH_MAX => return Err(self.broken("less nesting")),
            b'{' => return self.walk_object(depth, token),
            b'[' => return self.walk_array(depth, token),
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            b'-' | b'0'..=b'9' => drop(self.number()?),
            _ => return Err(self.broken("a value")),
        }
        token(&self.text[start..self.pos]);
        Ok(())
    }

    fn walk_object(&mut self, depth: usize, token: &mut impl FnMut(&'a str)) -> Result<(), Broken> {
        self.pos += 1;
        token("{");
        self.skip_space();
        let mut first = true;
        while self.peek() != b'}' {
            if !first {
                self.byte(b',', "a comma or the end of an object")?;
                token(",");
                self.skip_space();
            }
            first = false;
            let start = self.pos;
            if self.peek() != b'"' {
                return Err(self.broken("a key"));
            }
            self.string()?;
            token(&self.text[start..self.pos]);
            self.skip_space();
            self.byte(b':', "a colon")?;
            token(":");
            self.skip_space();
            self.walk_value(depth + 1, token)?;
            self.skip_space();
        }
        self.pos += 1;
        token("}");
        Ok(())
    }

    fn walk_array(&mut self, depth: usize, token: &mut impl FnMut(&'a str)) -> Result<(), Broken> {
        self.pos += 1;
        token("[");
        self.skip_space();
        let mut first = true;
        while self.peek() != b']' {
            if !first {
                self.byte(b',', "a comma or the end of an array")?;
                token(",");
                self.skip_space();
            }
            first = false;
            self.walk_value(depth + 1, token)?;
            self.skip_space();
        }
        self.pos += 1;
        token("]");
        Ok(())
    }

    /// The text of a string, its escapes resolved into `scratch` if it has any.
    pub(super) fn unescape<'s>(&self, span: Span, scratch: &'s mut String) -> &'s str
    where
        'a: 's,
    {
        let text = &self.text[span.start..span.end];
        if !span.escaped {
            return text;
        }
        scratch.clear();
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            scratch.push_str(&rest[..at]);
            let (c, len) = match rest.as_bytes()[at + 1] {
                b'b' => ('\u{8}', 2),
                b'f' => ('\u{c}', 2),
                b'n' => ('\n', 2),
                b'r' => ('\r', 2),
                b't' => ('\t', 2),
                b'u' => {
                    let (c, digits) = escaped_char(&rest.as_bytes()[at + 2..])
                        .expect("the scanner passed this escape");
                    (c, 2 + digits)
                }
                other => (char::from(other), 2),
            };
            scratch.push(c);
            rest = &rest[at + len..];
        }
        scratch.push_str(rest);
        scratch
    }
}

/// The character of `XXXX` or of `XXXX\uXXXX` and how many bytes it takes; a half of a surrogate
/// pair is none.
fn escaped_char(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits: &[u8; 4] = text.get(at..)?.first_chunk()?;
        digits
            .iter()
            .try_fold(0, |unit, &d| Some(unit << 4 | u32::from(crate::value::hex_digit(d)?)))
    };
    let first = unit(0)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, 4));
    }
    if first >= 0xdc00 || text.get(4..6)? != b"\\u" {
        return None;
    }
    let second = unit(6)?;
    let second = (0xdc00..0xe000).contains(&second).then_some(second)?;
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).map(|c| (c, 10))
}

/// How many digits are read into a number at once: 10¹⁸ fits both `i64` and `u64`.
const SIMPLE_DIGITS: usize = 18;
const POWERS: [u64; SIMPLE_DIGITS + 1] = {
    let mut powers = [1; SIMPLE_DIGITS + 1];
    let mut n = 1;
    while n <= SIMPLE_DIGITS {
        powers[n] = powers[n - 1] * 10;
        n += 1;
    }
    powers
};

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The number of bytes before the first `"`, `\` or control character, eight at a time. (The
/// classic test for a byte below n, exact for the lowest one found: "Bit twiddling hacks".)
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(|b| b.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (LOW * 0x22);
        let slash = word ^ (LOW * 0x5c);
        let found = (quote.wrapping_sub(LOW) & !quote)
            | (slash.wrapping_sub(LOW) & !slash)
            | (word.wrapping_sub(LOW * 0x20) & !word);
        let found = found & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(tail.len())
}

/// The digits at the beginning: their value (only of the first 19) and how many there are.
#[inline]
fn digits(bytes: &[u8]) -> (u64, usize) {
    let (mut value, mut at) = (0_u64, 0);
    while let Some(chunk) = bytes.get(at..).and_then(|b| b.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk) ^ (LOW * 0x30);
        let other = (word.wrapping_add(LOW * 0x76) | word) & HIGH;
        let count = other.trailing_zeros() as usize / 8;
        if count == 0 {
            return (value, at);
        }
        // The digits move to the end and zeros fill the front.
        let eight = eight_digits(word << (64 - 8 * count));
        value = value.wrapping_mul(POWERS[count]).wrapping_add(eight);
        at += count;
        if count < 8 {
            return (value, at);
        }
    }
    for byte in bytes.get(at..).unwrap_or_default() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// Eight digits (values, not characters; the first in the lowest byte) as a number: pairs, then
/// fours, then all (D. Lemire, "Number parsing at a gigabyte per second", 2021).
#[inline]
fn eight_digits(word: u64) -> u64 {
    let pairs = (word.wrapping_mul(10) + (word >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_length() {
        for count in 0..=18 {
            let text: String = "918273645546372819".chars().take(count).collect();
            for tail in ["", ",", ".5", "}xxxxxxxxxxxxxxx", "\u{7f}\u{7f}", ":::::::::", "/"] {
                let (value, len) = digits(format!("{text}{tail}").as_bytes());
                assert_eq!((value, len), (text.parse().unwrap_or(0), count), "{text}{tail}");
            }
        }
    }

    #[test]
    fn plain_text_ends_at_the_right_byte() {
        for len in 0..40 {
            for stop in ["\"", "\\", "\n", "\u{1f}", "\0", ""] {
                let text = format!("{}{stop}", "한x!\u{7f} ~".repeat(8));
                let bytes = &text.as_bytes()[text.len() - stop.len() - len..];
                for tail in ["", "\"", "tail of more than eight bytes \""] {
                    let bytes = [bytes, tail.as_bytes()].concat();
                    let plain = |b: &u8| *b == b'"' || *b == b'\\' || *b < 0x20;
                    let expected = bytes.iter().position(plain).unwrap_or(bytes.len());
                    assert_eq!(plain_len(&bytes), expected, "{bytes:?}");
                }
            }
        }
    }
}
