//! `SESSION(t PARTITION BY a, b, ts, …)`, which the parser does not know, as arguments of a call:
//! `SESSION(t, partition_by => a, b, ts, …)`.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::reader::word_of;

/// What stands before the first key.
pub(crate) const KEYS: &str = "partition_by";

/// The keys of every session as arguments.
pub(super) fn with_keys(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    // Whether each open parenthesis is that of a session.
    let mut open = Vec::new();
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token.token {
            Token::LParen => open.push(out.last().is_some_and(|t| word_of(&t.token) == "SESSION")),
            Token::RParen => drop(open.pop()),
            _ => {}
        }
        let is_by = |next: &TokenWithSpan| word_of(&next.token) == "BY";
        let begins = open.last() == Some(&true) && word_of(&token.token) == "PARTITION";
        match tokens.next_if(|next| begins && is_by(next)) {
            None => out.push(token),
            Some(by) => {
                out.push(TokenWithSpan { token: Token::Comma, span: token.span });
                out.push(TokenWithSpan { token: Token::make_word(KEYS, None), span: token.span });
                out.push(TokenWithSpan { token: Token::RArrow, span: by.span });
            }
        }
    }
    out
}
