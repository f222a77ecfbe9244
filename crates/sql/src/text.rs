//! A SQL text with its tokens, so that names can be found back in it.

use std::fmt;

use crate::dialect::OurDialect;
use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Span as TokenSpan, Token, TokenWithSpan, Tokenizer, TokenizerError,
};

use crate::error::{ErrorKind, Span, SqlError};

/// The longest text that is parsed.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// The longest name.
const NAME_BYTES_MAX: usize = 255;

/// A SQL text and its tokens (without white space and comments).
#[derive(Default)]
pub struct Text {
    source: String,
    line_starts: Vec<usize>,
    tokens: Vec<TokenWithSpan>,
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.source).finish()
    }
}

impl Text {
    /// Splits `source` into tokens.
    pub fn new(source: &str) -> Result<Self, SqlError> {
        if source.len() > TEXT_BYTES_MAX {
            return Err(SqlError::new(
                ErrorKind::OutOfResources,
                format!("the SQL text is longer than {} MiB", TEXT_BYTES_MAX >> 20),
            )
            .hint("load data with COPY or over HTTP"));
        }
        let line_starts = std::iter::once(0)
            .chain(source.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1))
            .collect();
        let mut text = Self { source: source.to_owned(), line_starts, tokens: Vec::new() };
        match Tokenizer::new(&OurDialect, source).tokenize_with_location() {
            Ok(tokens) => {
                text.tokens = tokens
                    .into_iter()
                    .filter(|t| !matches!(t.token, Token::Whitespace(_)))
                    .collect();
                Ok(text)
            }
            Err(TokenizerError { message, location }) => {
                let at = text.offset(location);
                let message = match message.starts_with("Expected close delimiter '\"'") {
                    true => "unterminated name in quotes".to_owned(),
                    false => crate::translate::lower_first(&message),
                };
                Err(SqlError::new(ErrorKind::Syntax, message)
                    .at(Span::new(at, text.source.len().min(at + 1))))
            }
        }
    }

    /// A name has characters, and not too many.
    pub(crate) fn check_names(&self) -> Result<(), SqlError> {
        for token in &self.tokens {
            let Token::Word(word) = &token.token else { continue };
            let error = if word.value.is_empty() {
                SqlError::new(ErrorKind::Syntax, "a name in quotes has no characters")
            } else if word.value.len() > NAME_BYTES_MAX {
                let shown: String = word.value.chars().take(20).collect();
                SqlError::new(ErrorKind::NameTooLong, format!("the name \"{shown}…\" is too long"))
                    .detail(format!("it has {} bytes, and {NAME_BYTES_MAX} fit", word.value.len()))
            } else {
                continue;
            };
            return Err(error.or_at(self.span(token.span)));
        }
        Ok(())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    pub(crate) fn tokens(&self) -> &[TokenWithSpan] {
        &self.tokens
    }

    /// The byte at which a line and column (both from 1, columns in characters) begin.
    pub(crate) fn offset(&self, location: Location) -> usize {
        let (Ok(line), Ok(column)) =
            (usize::try_from(location.line), usize::try_from(location.column))
        else {
            return self.source.len();
        };
        let Some(&start) = line.checked_sub(1).and_then(|l| self.line_starts.get(l)) else {
            return self.source.len();
        };
        let rest = &self.source[start..];
        let inside = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |c| c.0);
        start + inside
    }

    /// The bytes of the parser's span; `None` for the empty one.
    pub(crate) fn span(&self, span: TokenSpan) -> Option<Span> {
        (span.start.line > 0).then(|| Span::new(self.offset(span.start), self.offset(span.end)))
    }

    /// The span of the token that begins at `location`.
    pub(crate) fn token_at(&self, location: Location) -> Option<Span> {
        let found = self.tokens.binary_search_by(|t| {
            (t.span.start.line, t.span.start.column).cmp(&(location.line, location.column))
        });
        found.ok().and_then(|i| self.span(self.tokens[i].span))
    }

    /// Where a (possibly qualified) name first stands inside `within`, as an identifier.
    pub(crate) fn find_name(&self, parts: &[&str], within: Span) -> Option<Span> {
        let is = |token: &Token, part: &str| match token {
            Token::Word(w) => folded(&w.value, w.quote_style) == part,
            _ => false,
        };
        let last = parts.last()?;
        let mut fallback = None;
        for (i, token) in self.tokens.iter().enumerate() {
            if !is(&token.token, last) {
                continue;
            }
            let Some(span) = self.span(token.span) else { continue };
            if span.start < within.start || span.end > within.end {
                continue;
            }
            let dotted = i >= 2 && self.tokens[i - 1].token == Token::Period;
            if parts.len() < 2 {
                if !dotted {
                    return Some(span);
                }
            } else if dotted && is(&self.tokens[i - 2].token, parts[parts.len() - 2]) {
                return Some(self.span(self.tokens[i - 2].span).map_or(span, |s| s.to(span)));
            }
            fallback = fallback.or(Some(span));
        }
        fallback
    }
}

impl Text {
    fn inside(&self, token: &TokenWithSpan, within: Span) -> Option<Span> {
        self.span(token.span).filter(|s| s.start >= within.start && s.end <= within.end)
    }

    /// Where the unquoted `word` (in upper case) first stands inside `within`.
    pub(crate) fn find_keyword(&self, word: &str, within: Span) -> Option<Span> {
        let found = self.tokens.iter().filter(|t| is_keyword(&t.token, word));
        found.filter_map(|t| self.inside(t, within)).next()
    }

    /// Where the text literal `value` first stands inside `within`.
    pub(crate) fn find_literal(&self, value: &str, within: Span) -> Option<Span> {
        let is = |t: &Token| matches!(t, Token::SingleQuotedString(s) if s == value);
        self.tokens.iter().filter(|t| is(&t.token)).find_map(|t| self.inside(t, within))
    }

    /// Where a subquery that is not something to read from first stands inside `within`.
    pub(crate) fn find_subquery(&self, within: Span) -> Option<Span> {
        self.tokens.windows(3).find_map(|w| {
            let begins = w[1].token == Token::LParen && is_keyword(&w[2].token, "SELECT");
            let read = ["FROM", "JOIN", "AS"].iter().any(|k| is_keyword(&w[0].token, k))
                || w[0].token == Token::Comma;
            (begins && !read).then(|| self.inside(&w[2], within)).flatten()
        })
    }
}

fn is_keyword(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// A name as PostgreSQL folds it: lower case unless quoted, and no letters but those of ASCII.
pub(crate) fn folded(value: &str, quote: Option<char>) -> String {
    if quote.is_some() { value.to_owned() } else { value.to_ascii_lowercase() }
}

/// An identifier as PostgreSQL folds it.
pub(crate) fn fold(ident: &Ident) -> String {
    folded(&ident.value, ident.quote_style)
}

/// A name as it has to be written in SQL: quoted where folding would change it.
#[must_use]
pub fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty();
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
