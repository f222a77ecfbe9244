//! `COPY`.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::reader::Reader;
use crate::ast::{CopyFormat, CopyFrom, CopyTo, Query, Statement};
use crate::error::{ErrorKind, Span, SqlError};
use crate::nearest::did_you_mean;
use crate::text::quoted;

const OPTIONS: [&str; 8] =
    ["format", "header", "delimiter", "null", "quote", "escape", "encoding", "freeze"];

pub(super) fn copy(r: &mut Reader<'_>) -> Result<Statement, SqlError> {
    r.advance();
    if r.word("(") {
        let query = r.query()?;
        r.expect(")")?;
        r.expect("TO")?;
        r.expect("STDOUT")?;
        let format = format(r)?;
        return Ok(Statement::CopyTo(CopyTo { query, format }));
    }
    let table = r.name()?;
    let columns = if r.peek_word() == "(" { r.names()? } else { Vec::new() };
    if r.word("FROM") {
        if !r.word("STDIN") {
            return Err(SqlError::unsupported("COPY reads from STDIN")
                .hint("a stream with connector = 'file' reads files")
                .at(r.here()));
        }
        let format = format(r)?;
        return Ok(Statement::CopyFrom(CopyFrom { table, columns, format }));
    }
    if !r.word("TO") {
        return Err(r.expected("FROM or TO"));
    }
    if !r.word("STDOUT") {
        return Err(SqlError::unsupported("COPY writes to STDOUT").at(r.here()));
    }
    let list: Vec<String> = columns.iter().map(|c| quoted(&c.value)).collect();
    let list = if list.is_empty() { "*".to_owned() } else { list.join(", ") };
    let mut query = super::parse_query(&format!("SELECT {list} FROM {}", quoted(&table.value)))?;
    // Errors about the query are shown at the table's name, which stands in the user's text.
    query = Query { span: table.span, text: r.text(), ..query };
    let format = format(r)?;
    Ok(Statement::CopyTo(CopyTo { query, format }))
}

/// `[WITH] (FORMAT csv, HEADER, …)`, and the old `[WITH] CSV HEADER …`.
fn format(r: &mut Reader<'_>) -> Result<CopyFormat, SqlError> {
    let mut given: Vec<(String, Option<String>, Span)> = Vec::new();
    r.word("WITH");
    let parenthesised = r.word("(");
    while !r.peek_word().is_empty() && r.peek_word() != ")" {
        let span = r.here();
        let name = r.run(Parser::parse_identifier)?.value.to_lowercase();
        r.word("AS");
        let value = match r.parser().peek_token_ref().token.clone() {
            Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) => r.then(Some(s)),
            Token::Word(w) if parenthesised => r.then(Some(w.value)),
            Token::Number(n, _) => r.then(Some(n)),
            _ => None,
        };
        given.push((name, value, span.to(r.last())));
        if parenthesised && !r.word(",") {
            break;
        }
    }
    if parenthesised {
        r.expect(")")?;
    }
    build(&given)
}

fn build(given: &[(String, Option<String>, Span)]) -> Result<CopyFormat, SqlError> {
    let csv = given.iter().any(|(name, value, _)| {
        name == "csv"
            || name == "format" && value.as_deref().is_some_and(|v| v.eq_ignore_ascii_case("csv"))
    });
    let mut format = CopyFormat {
        csv,
        header: false,
        delimiter: if csv { b',' } else { b'\t' },
        null: if csv { String::new() } else { "\\N".to_owned() },
        quote: b'"',
        escape: b'"',
    };
    for (name, value, span) in given {
        let wrong = || {
            SqlError::new(
                ErrorKind::InvalidOption,
                format!("wrong value for COPY option \"{name}\""),
            )
            .at(*span)
        };
        let text = value.as_deref();
        let byte = || match text.map(str::as_bytes) {
            Some([b]) if b.is_ascii() => Ok(*b),
            Some(b"\\t") => Ok(b'\t'),
            _ => Err(wrong().detail("it must be one ASCII character")),
        };
        match name.as_str() {
            "csv" if text.is_none() => {}
            "format" => match text.map(str::to_lowercase).as_deref() {
                Some("csv" | "text") => {}
                _ => return Err(wrong().detail("the formats are csv and text")),
            },
            "header" => match text.map(str::to_lowercase).as_deref() {
                None | Some("true" | "on" | "1" | "match") => format.header = true,
                Some("false" | "off" | "0") => format.header = false,
                _ => return Err(wrong().detail("it must be true or false")),
            },
            "delimiter" => format.delimiter = byte()?,
            "null" => format.null = text.ok_or_else(wrong)?.to_owned(),
            "quote" => {
                format.quote = byte()?;
                if !given.iter().any(|g| g.0 == "escape") {
                    format.escape = format.quote;
                }
            }
            "escape" => format.escape = byte()?,
            "encoding" => match text.map(str::to_lowercase).as_deref() {
                Some("utf8" | "utf-8" | "unicode") => {}
                _ => return Err(wrong().detail("the encoding is UTF8")),
            },
            "freeze" => {}
            _ => {
                let mut e = SqlError::new(
                    ErrorKind::InvalidOption,
                    format!("COPY option \"{name}\" does not exist"),
                )
                .detail(format!("the options are {}", OPTIONS.join(", ")))
                .at(*span);
                e.hint = did_you_mean(name, OPTIONS);
                return Err(e);
            }
        }
    }
    Ok(format)
}
