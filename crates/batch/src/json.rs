//! The text of a `jsonb` value: whether it is JSON (RFC 8259), and the same without white space.
//!
//! This is the plain way, byte by byte, for single values that SQL writes. `format` reads events and
//! has a fast one; the tests compare the two.
//!
//! Limits: values nest at most [`DEPTH_MAX`] deep.

/// How deep arrays and objects may nest.
const DEPTH_MAX: usize = 128;

/// `text` without white space between its tokens, when it is one JSON value; `None` when it is not.
#[must_use]
pub fn compact_json(text: &str) -> Option<String> {
    let mut reader = Reader { text, at: 0, out: String::with_capacity(text.len()) };
    reader.space();
    reader.value(0)?;
    reader.space();
    (reader.at == text.len()).then_some(reader.out)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it stands here.
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| {
            self.at += 1;
            self.out.push(char::from(byte));
        })
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'{' | b'[' if depth == DEPTH_MAX => None,
            b'{' => self.several(b'{', b'}', depth),
            b'[' => self.several(b'[', b']', depth),
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    fn several(&mut self, open: u8, close: u8, depth: usize) -> Option<()> {
        self.take(open)?;
        self.space();
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            if open == b'{' {
                self.string()?;
                self.space();
                self.take(b':')?;
                self.space();
            }
            self.value(depth + 1)?;
            self.space();
            if self.take(close).is_some() {
                return Some(());
            }
            self.take(b',')?;
            self.space();
        }
    }

    /// Copies what stands from `start` to here.
    fn copy(&mut self, start: usize) -> Option<()> {
        self.out.push_str(self.text.get(start..self.at)?);
        Some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let start = self.at;
        self.text[start..].starts_with(word).then_some(())?;
        self.at += word.len();
        self.copy(start)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        self.copy(start)
    }

    fn string(&mut self) -> Option<()> {
        let start = self.at;
        (self.peek()? == b'"').then_some(())?;
        self.at += 1;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return self.copy(start),
                b'\\' => self.escape()?,
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    /// What follows a backslash. Half of a pair of surrogates is no character.
    fn escape(&mut self) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.hex()? {
                0xd800..0xdc00 => {
                    let second = self.text.get(self.at..self.at + 2)?;
                    (second == "\\u").then_some(())?;
                    self.at += 2;
                    matches!(self.hex()?, 0xdc00..0xe000).then_some(())
                }
                0xdc00..0xe000 => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_what_is_none() {
        for (text, expected) in [
            (
                " { \"a\" : [ 1 , 2.50 , {} , [ ] ] , \"b c\" : null } ",
                "{\"a\":[1,2.50,{},[]],\"b c\":null}",
            ),
            ("\"te\\u0078t \\ud83d\\ude00\"", "\"te\\u0078t \\ud83d\\ude00\""),
            ("-0.5e+10", "-0.5e+10"),
            ("\t7\n", "7"),
            ("true", "true"),
        ] {
            assert_eq!(compact_json(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            " ",
            "{",
            "{a:1}",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "01",
            "1.",
            "-",
            "1e",
            "tru",
            "nul",
            "1 2",
            "\"\\q\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\u{1}\"",
            "\"open",
            "\"\\u12é\"",
            "'a'",
        ] {
            assert_eq!(compact_json(text), None, "{text}");
        }
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(
            compact_json(&deep(DEPTH_MAX)).is_some()
                && compact_json(&deep(DEPTH_MAX + 1)).is_none()
        );
    }
}
