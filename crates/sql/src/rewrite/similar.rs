//! `x SIMILAR TO 'pattern'` as a regular expression of the whole text. DataFusion takes the pattern for
//! one as it is, in which `%` is a percent sign, and looks for it anywhere in the text.

use datafusion::sql::sqlparser::ast as sql;

use crate::error::{ErrorKind, SqlError};

pub(super) fn to(expr: &mut sql::Expr) -> Result<(), SqlError> {
    let sql::Expr::SimilarTo { negated, expr: value, pattern, escape_char } = expr else {
        return Ok(());
    };
    let text = match pattern.as_ref() {
        sql::Expr::Value(value) if escape_char.is_none() => match &value.value {
            sql::Value::SingleQuotedString(text) => Some(regex(text)),
            _ => None,
        },
        _ => None,
    };
    let Some(text) = text else {
        let message = "SIMILAR TO takes a text, and no ESCAPE";
        return Err(SqlError::new(ErrorKind::NotSupported, message)
            .hint("x ~ pattern matches by a regular expression"));
    };
    let op = match negated {
        true => sql::BinaryOperator::PGRegexNotMatch,
        false => sql::BinaryOperator::PGRegexMatch,
    };
    let right = Box::new(sql::Expr::value(sql::Value::SingleQuotedString(text)));
    let matched = sql::Expr::BinaryOp { left: value.clone(), op, right };
    *expr = sql::Expr::Nested(Box::new(matched));
    Ok(())
}

/// The regular expression that a pattern is; a backslash takes the meaning of what follows.
fn regex(pattern: &str) -> String {
    let mut out = String::from("(?s)^(?:");
    let (mut escaped, mut in_brackets) = (false, false);
    for c in pattern.chars() {
        let is_plain = escaped || matches!(c, '.' | '^' | '$') && !in_brackets;
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '%' if !is_plain && !in_brackets => out.push_str(".*"),
            '_' if !is_plain && !in_brackets => out.push('.'),
            c => {
                if is_plain && c.is_ascii_punctuation() {
                    out.push('\\');
                }
                out.push(c);
            }
        }
        in_brackets = !escaped && (c == '[' || in_brackets && c != ']');
        escaped = false;
    }
    out.push_str(")$");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_of_the_whole_text() {
        for (pattern, expected) in [
            ("(a|b)%", "(?s)^(?:(a|b).*)$"),
            ("_+.", "(?s)^(?:.+\\.)$"),
            ("a\\%\\\\", "(?s)^(?:a\\%\\\\)$"),
            ("[^_%.]{2}", "(?s)^(?:[^_%.]{2})$"),
        ] {
            assert_eq!(regex(pattern), expected, "{pattern}");
        }
    }
}
