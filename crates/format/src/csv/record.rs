//! Fields and records of CSV text.

/// What stands between fields and around them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
}

/// What stands behind a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldEnd {
    Delimiter,
    Record,
}

/// A field without its quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) start: usize,
    pub(super) stop: usize,
    pub(super) quoted: bool,
    /// Whether a quote is written twice in it.
    pub(super) doubled: bool,
    /// Where the next field or record begins.
    pub(super) next: usize,
    pub(super) end: FieldEnd,
}

impl Field {
    /// Its value.
    #[inline]
    pub(super) fn text<'a>(
        &self,
        text: &'a str,
        dialect: Dialect,
        scratch: &'a mut String,
    ) -> &'a str {
        let raw = &text[self.start..self.stop];
        let (true, Some(quote)) = (self.doubled, dialect.quote) else { return raw };
        let quote = char::from(quote);
        scratch.clear();
        let mut pieces = raw.split(quote);
        scratch.push_str(pieces.next().unwrap_or_default());
        // Between the two quotes of a pair there is an empty piece.
        while let (Some(_), Some(piece)) = (pieces.next(), pieces.next()) {
            scratch.push(quote);
            scratch.push_str(piece);
        }
        scratch
    }
}

/// How a quoted field ends.
enum Quoted {
    /// Behind its closing quote, this far on; and whether a quote is written twice in it.
    Closed(usize, bool),
    /// Something else than the end of the field stands behind the closing quote.
    Followed,
    /// Nowhere in these bytes.
    Open,
}

impl Dialect {
    /// Reads the field at `at`. A quoted one ends before `limit`, where a record ends if it has not
    /// yet; behind the limit stands a line feed, or nothing.
    #[inline]
    pub(super) fn field(self, text: &str, at: usize, limit: usize) -> Result<Field, &'static str> {
        let rest = &text.as_bytes()[at..];
        if self.quote.is_some() && rest.first().copied() == self.quote && at < limit {
            return self.quoted_field(&rest[..limit - at], at);
        }
        let len = plain_len(rest, self.delimiter);
        let (mut stop, end) = match rest.get(len) {
            Some(&byte) if byte == self.delimiter => (at + len, FieldEnd::Delimiter),
            _ => (at + len, FieldEnd::Record),
        };
        if end == FieldEnd::Record && rest[..len].last() == Some(&b'\r') {
            stop -= 1;
        }
        let next = (at + len + 1).min(text.len());
        Ok(Field { start: at, stop, quoted: false, doubled: false, next, end })
    }

    fn quoted_field(self, rest: &[u8], at: usize) -> Result<Field, &'static str> {
        let (len, doubled) = match self.quoted(rest) {
            Quoted::Closed(len, doubled) => (len, doubled),
            // Which of the two it is depends on what follows, so both are called the same.
            Quoted::Followed | Quoted::Open => {
                return Err("a quoted field does not end with its closing quote");
            }
        };
        let (skip, end) = match &rest[len..] {
            [] => (0, FieldEnd::Record),
            [b'\n', ..] => (1, FieldEnd::Record),
            [b'\r'] => (1, FieldEnd::Record),
            [b'\r', b'\n', ..] => (2, FieldEnd::Record),
            _ => (1, FieldEnd::Delimiter),
        };
        let next = at + len + skip;
        Ok(Field { start: at + 1, stop: at + len - 1, quoted: true, doubled, next, end })
    }

    /// Scans the quoted field at the beginning of `bytes`.
    fn quoted(self, bytes: &[u8]) -> Quoted {
        let Some(quote) = self.quote else { return Quoted::Followed };
        let (mut at, mut doubled) = (1, false);
        loop {
            let Some(found) = memchr::memchr(quote, &bytes[at..]) else { return Quoted::Open };
            at += found + 1;
            match &bytes[at..] {
                [next, ..] if *next == quote => {
                    doubled = true;
                    at += 1;
                }
                [] | [b'\r'] | [b'\n', ..] | [b'\r', b'\n', ..] => {
                    return Quoted::Closed(at, doubled);
                }
                [next, ..] if *next == self.delimiter => return Quoted::Closed(at, doubled),
                _ => return Quoted::Followed,
            }
        }
    }

    /// The length of the record at the beginning of `bytes` with its line end; `None` if that is not
    /// there. A record with wrong quotes is its first line.
    pub(super) fn record_len(self, bytes: &[u8]) -> Option<usize> {
        let Some(quote) = self.quote else { return line_len(bytes) };
        let first = memchr::memchr2(quote, b'\n', bytes)?;
        if bytes[first] == b'\n' {
            return Some(first + 1);
        }
        let mut at = 0;
        loop {
            if bytes.get(at) != Some(&quote) {
                at += memchr::memchr2(self.delimiter, b'\n', bytes.get(at..)?)? + 1;
                if bytes[at - 1] == b'\n' {
                    return Some(at);
                }
                continue;
            }
            match self.quoted(&bytes[at..]) {
                Quoted::Followed => return line_len(bytes),
                Quoted::Open => return None,
                Quoted::Closed(len, _) => at += len,
            }
            match bytes.get(at..)? {
                [] | [b'\r'] => return None,
                [b'\n', ..] => return Some(at + 1),
                [b'\r', b'\n', ..] => return Some(at + 2),
                _ => at += 1,
            }
        }
    }

    /// The length of the record at the beginning of `bytes`, behind which nothing comes: without a line
    /// end it goes to the end, and a quote that is never closed costs one line.
    pub(super) fn last_record_len(self, bytes: &[u8]) -> usize {
        if let Some(len) = self.record_len(bytes) {
            return len;
        }
        let mut at = 0;
        while self.quote.is_some() && at < bytes.len() {
            let quoted = bytes.get(at).copied() == self.quote;
            at += match self.quoted(&bytes[at..]) {
                Quoted::Open if quoted => return line_len(bytes).unwrap_or(bytes.len()),
                Quoted::Closed(len, _) if quoted => len,
                _ => memchr::memchr(self.delimiter, &bytes[at..]).unwrap_or(bytes.len() - at),
            };
            at += 1;
        }
        bytes.len()
    }

    /// How many bytes at the beginning of `bytes` are whole records.
    pub(super) fn split(self, bytes: &[u8]) -> usize {
        let quotes = self.quote.is_some_and(|quote| memchr::memchr(quote, bytes).is_some());
        if !quotes {
            return memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
        }
        let mut end = 0;
        while let Some(len) = self.record_len(&bytes[end..]) {
            end += len;
        }
        end
    }
}

fn line_len(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes).map(|at| at + 1)
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The number of bytes before the first delimiter or line end, eight at a time: most fields are too
/// short for a wider search.
#[inline]
fn plain_len(bytes: &[u8], delimiter: u8) -> usize {
    let delimiters = LOW * u64::from(delimiter);
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(|b| b.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let (a, b) = (word ^ delimiters, word ^ (LOW * 0x0a));
        let found = ((a.wrapping_sub(LOW) & !a) | (b.wrapping_sub(LOW) & !b)) & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().position(|&b| b == delimiter || b == b'\n').unwrap_or(tail.len())
}
