//! `ASOF JOIN` among the tokens.
//!
//! The parser knows `ASOF JOIN` only with `MATCH_CONDITION`, so it is read as `GLOBAL JOIN`, of which it
//! knows that it says something else: `rewrite` recognises it. `ASOF LEFT JOIN` and `LEFT ASOF JOIN` are one.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::reader::word_of;

/// The tokens with every such join under the other word.
pub(super) fn marked(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|t| word_of(&t.token) == word);
    let joins = |at: usize| ["JOIN", "LEFT", "INNER"].iter().any(|word| is(at, word));
    if !(0..tokens.len()).any(|at| (is(at, "ASOF") || is(at, "GLOBAL")) && joins(at + 1)) {
        return tokens;
    }
    let word = |at: usize, value: &str, keyword: Keyword, quote_style: Option<char>| {
        let token = Token::Word(Word { value: value.to_owned(), quote_style, keyword });
        TokenWithSpan { token, span: tokens[at].span }
    };
    let mut out = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if is(at, "LEFT") && is(at + 1, "ASOF") && is(at + 2, "JOIN") {
            out.push(word(at, "GLOBAL", Keyword::GLOBAL, None));
            out.push(token.clone());
            at += 2;
        } else if is(at, "ASOF") && joins(at + 1) {
            out.push(word(at, "GLOBAL", Keyword::GLOBAL, None));
            at += 1;
        } else if is(at, "GLOBAL") && joins(at + 1) {
            // A name, as it is in PostgreSQL.
            out.push(word(at, "global", Keyword::NoKeyword, Some('"')));
            at += 1;
        } else {
            out.push(token.clone());
            at += 1;
        }
    }
    out
}
