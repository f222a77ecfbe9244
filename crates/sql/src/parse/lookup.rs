//! `t FOR SYSTEM_TIME AS OF PROCTIME()`, and `AS OF` a column, among the tokens.
//!
//! The parser's PostgreSQL dialect does not know the words, so they become part of the table's name,
//! which planning recognises (`planner::as_of_now`), and rewriting (`versions`), and the table keeps its name as its
//! alias.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::reader::word_of;
use crate::planner::AS_OF_NOW;
use crate::text::fold;

const WORDS: [&str; 4] = ["FOR", "SYSTEM_TIME", "AS", "OF"];
/// How the time of now is written behind them.
const NOW: [&str; 3] = ["PROCTIME", "(", ")"];

/// Between a table's name and the column as of whose time it is read, and between the names of that.
pub(crate) const AS_OF_COLUMN: char = '\u{1f}';

/// What may follow a table that has no alias.
const BEHIND_A_TABLE: [&str; 25] = [
    "",
    "ON",
    "USING",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "CROSS",
    "NATURAL",
    "WHERE",
    "GROUP",
    "HAVING",
    "WINDOW",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "FETCH",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "EMIT",
    "WITH",
    ")",
    ",",
];

/// The tokens with every such table under its marked name.
pub(super) fn marked(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_word =
        |at: usize, word: &str| tokens.get(at).is_some_and(|token| word_of(&token.token) == word);
    let starts_at = |at: usize| (at..).zip(WORDS).all(|(at, word)| is_word(at, word));
    if !(0..tokens.len()).any(starts_at) {
        return tokens;
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let Token::Word(word) = &token.token else {
            out.push(token.clone());
            at += 1;
            continue;
        };
        if !starts_at(at + 1) {
            out.push(token.clone());
            at += 1;
            continue;
        }
        let behind = at + 1 + WORDS.len();
        let is_now = (behind..).zip(NOW).all(|(at, word)| is_word(at, word));
        let as_of = match is_now {
            true => Some((AS_OF_NOW.to_owned(), behind + NOW.len())),
            false => column(&tokens, behind),
        };
        let Some((mark, next)) = as_of else {
            out.push(token.clone());
            at += 1;
            continue;
        };
        let name = folded(word, token);
        let quoted = |value: String| {
            let word = Word { value, quote_style: Some('"'), keyword: word.keyword };
            TokenWithSpan { token: Token::Word(word), span: token.span }
        };
        out.push(quoted(format!("{name}{mark}")));
        at = next;
        let behind = tokens.get(at).map_or_else(String::new, |token| word_of(&token.token));
        if BEHIND_A_TABLE.contains(&behind.as_str()) || behind == ";" {
            out.push(quoted(name));
        }
    }
    out
}

fn folded(word: &Word, token: &TokenWithSpan) -> String {
    fold(&Ident { value: word.value.clone(), quote_style: word.quote_style, span: token.span })
}

/// The column that begins at `at`, as a mark, and what is behind it; `None` when something else begins there.
fn column(tokens: &[TokenWithSpan], at: usize) -> Option<(String, usize)> {
    let (mut mark, mut at) = (String::new(), at);
    loop {
        let token = tokens.get(at)?;
        let Token::Word(word) = &token.token else { return None };
        mark.push(AS_OF_COLUMN);
        mark.push_str(&folded(word, token));
        at += 1;
        match tokens.get(at).map(|token| &token.token) {
            Some(Token::Period) => at += 1,
            // A call, or a literal of a type.
            Some(Token::LParen | Token::SingleQuotedString(_)) => return None,
            _ => return Some((mark, at)),
        }
    }
}
