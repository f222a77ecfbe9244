//! Just enough of SQL's words to find where statements end and which few of them are for the
//! connection itself: quotes, dollar quotes, comments, words.

/// A word of SQL text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A keyword, a plain name or a number.
    Word(&'a str),
    /// A name in double quotes, without them; doubled quotes inside stay doubled.
    Name(&'a str),
    /// A text in single or dollar quotes, without them; doubled quotes inside stay doubled.
    Text(&'a str),
    /// Anything else, one character.
    Symbol(char),
}

impl<'a> Token<'a> {
    /// Whether it is this keyword.
    pub(crate) fn is(self, word: &str) -> bool {
        matches!(self, Self::Word(w) if w.eq_ignore_ascii_case(word))
    }

    /// A name, quoted or not, or a text: what may stand as the value of an option.
    pub(crate) fn value(self) -> Option<&'a str> {
        match self {
            Self::Word(text) | Self::Name(text) | Self::Text(text) => Some(text),
            Self::Symbol(_) => None,
        }
    }
}

/// The words of a text with the bytes they span.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where the next byte is.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Passes spaces and comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("--") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.at += comment(trimmed);
            } else {
                return;
            }
        }
    }

    /// Passes a quoted piece that began before `self.at`; gives what is inside.
    fn quoted(&mut self, quote: u8, escapes: bool) -> &'a str {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if escapes && bytes[at] == b'\\' {
                at += 2;
            } else if bytes[at] == quote {
                if bytes.get(at + 1) != Some(&quote) {
                    self.at += at + 1;
                    return &rest[..at];
                }
                at += 2;
            } else {
                at += 1;
            }
        }
        self.at = self.text.len();
        rest
    }

    /// The tag of a dollar quote that begins here, with both dollars.
    fn dollar(&self) -> Option<&'a str> {
        let rest = self.rest();
        let end = rest[1..].find('$')? + 1;
        let tag = &rest[1..end];
        let first = tag.chars().next();
        let name = first.is_none_or(|c| c.is_alphabetic() || c == '_')
            && tag.chars().all(|c| c.is_alphanumeric() || c == '_');
        name.then_some(&rest[..=end])
    }
}

/// How long the comment at the start of `text` is; comments nest.
fn comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip();
        let rest = self.rest();
        let first = rest.chars().next()?;
        if matches!(first, 'e' | 'E') && rest[1..].starts_with('\'') {
            self.at += 2;
            return Some(Token::Text(self.quoted(b'\'', true)));
        }
        match first {
            '\'' | '"' => {
                self.at += 1;
                if first == '"' {
                    return Some(Token::Name(self.quoted(b'"', false)));
                }
                Some(Token::Text(self.quoted(b'\'', false)))
            }
            '$' => {
                if let Some(tag) = self.dollar() {
                    let inside = &rest[tag.len()..];
                    let end = inside.find(tag);
                    let text = &inside[..end.unwrap_or(inside.len())];
                    self.at += end.map_or(rest.len(), |end| end + 2 * tag.len());
                    return Some(Token::Text(text));
                }
                self.at += 1;
                Some(Token::Symbol('$'))
            }
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$')
                    .unwrap_or(rest.len());
                self.at += end;
                Some(Token::Word(&rest[..end]))
            }
            c => {
                self.at += c.len_utf8();
                Some(Token::Symbol(c))
            }
        }
    }
}

/// The statements of `sql` without their semicolons, and the byte at which each begins. Those of
/// spaces and comments only are left out.
pub(crate) fn statements(sql: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut lexer = Lexer::new(sql);
    let (mut start, mut empty) = (0, true);
    loop {
        match lexer.next() {
            Some(Token::Symbol(';')) => {
                if !empty {
                    found.push((start, &sql[start..lexer.at() - 1]));
                }
                (start, empty) = (lexer.at(), true);
            }
            Some(_) => empty = false,
            None => break,
        }
    }
    if !empty {
        found.push((start, &sql[start..]));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_of_their_own() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" ; ;-- x;y\n/* ; */", &[]),
            ("select 1; select 2", &["select 1", " select 2"]),
            ("select ';', \";\"; b", &["select ';', \";\"", " b"]),
            ("select 'it''s;' ; b", &["select 'it''s;' ", " b"]),
            (r"select E'\';' ; b", &[r"select E'\';' ", " b"]),
            ("select $$;$$, $a$;$b$;$a$; b", &["select $$;$$, $a$;$b$;$a$", " b"]),
            ("select $1; b", &["select $1", " b"]),
            ("select 1 /* /* ; */ ; */; b", &["select 1 /* /* ; */ ; */", " b"]),
            ("select 'open; b", &["select 'open; b"]),
        ];
        for (sql, expected) in cases {
            let got: Vec<&str> = statements(sql).into_iter().map(|(_, s)| s).collect();
            assert_eq!(&got, expected, "{sql}");
        }
    }

    #[test]
    fn any_text_ends() {
        for sql in ["$", "$$", "$a", "/*", "--", "'", "\"", "é$é$;", "E'\\", "e", "E"] {
            let _ = statements(sql);
        }
    }
}
