//! Statements about the connection: settings, transactions, prepared statements.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::reader::Reader;
use crate::ast::{Discard, Name, SetSetting, Statement, Transaction};
use crate::error::SqlError;

pub(super) fn statement(r: &mut Reader<'_>) -> Result<Statement, SqlError> {
    let word = r.peek_word();
    r.advance();
    let begin = Statement::Transaction(Transaction::Begin);
    Ok(match word.as_str() {
        "SET" => return set(r),
        "RESET" => {
            let name = if r.word("ALL") { None } else { Some(setting_name(r)?) };
            Statement::Set(SetSetting { name, value: None })
        }
        "BEGIN" => {
            let _ = r.word("WORK") || r.word("TRANSACTION");
            modes(r);
            begin
        }
        "START" => {
            r.expect("TRANSACTION")?;
            modes(r);
            begin
        }
        "COMMIT" | "END" => {
            let _ = r.word("WORK") || r.word("TRANSACTION");
            Statement::Transaction(Transaction::Commit)
        }
        "ROLLBACK" | "ABORT" => {
            let _ = r.word("WORK") || r.word("TRANSACTION");
            Statement::Transaction(Transaction::Rollback)
        }
        "DISCARD" => Statement::Discard(match r.peek_word().as_str() {
            "ALL" => r.then(Discard::All),
            "PLANS" => r.then(Discard::Plans),
            "SEQUENCES" | "TEMP" | "TEMPORARY" => r.then(Discard::Other),
            _ => return Err(r.expected("ALL, PLANS, SEQUENCES or TEMP")),
        }),
        _ => {
            r.word("PREPARE");
            Statement::Deallocate(if r.word("ALL") { None } else { Some(r.ident()?) })
        }
    })
}

/// Isolation levels and access modes: every statement sees one snapshot, so they change nothing.
fn modes(r: &mut Reader<'_>) {
    while !r.peek_word().is_empty() {
        r.advance();
    }
}

/// `a.b` or `TIME ZONE`.
pub(super) fn setting_name(r: &mut Reader<'_>) -> Result<Name, SqlError> {
    let start = r.here();
    if r.words(&["TIME", "ZONE"]) {
        return Ok(Name { value: "timezone".to_owned(), span: start.to(r.last()) });
    }
    if r.words(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
        return Ok(Name { value: "transaction_isolation".to_owned(), span: start.to(r.last()) });
    }
    if r.words(&["SESSION", "AUTHORIZATION"]) {
        return Ok(Name { value: "session_authorization".to_owned(), span: start.to(r.last()) });
    }
    let mut value = r.ident()?.value;
    while r.word(".") {
        value = format!("{value}.{}", r.ident()?.value);
    }
    Ok(Name { value, span: start.to(r.last()) })
}

fn set(r: &mut Reader<'_>) -> Result<Statement, SqlError> {
    if r.words(&["SESSION", "CHARACTERISTICS"]) || r.peek_word() == "TRANSACTION" {
        modes(r);
        return Ok(Statement::Set(SetSetting {
            name: Some(Name { value: "transaction_isolation".to_owned(), span: r.span() }),
            value: None,
        }));
    }
    let _ = r.word("SESSION") || r.word("LOCAL");
    let start = r.here();
    let (name, bare) = if r.word("NAMES") {
        (Name { value: "client_encoding".to_owned(), span: start }, true)
    } else {
        let bare = r.peek_word() == "TIME";
        (setting_name(r)?, bare)
    };
    if !(bare || r.word("=") || r.word("TO")) {
        return Err(r.expected("= or TO"));
    }
    let value = if r.word("DEFAULT") { None } else { Some(value(r)?) };
    Ok(Statement::Set(SetSetting { name: Some(name), value }))
}

/// One or more words, numbers or texts, separated by commas.
fn value(r: &mut Reader<'_>) -> Result<String, SqlError> {
    let mut values = Vec::new();
    loop {
        let negative = r.word("-");
        let value = match r.parser().peek_token_ref().token.clone() {
            Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) => s,
            Token::Number(n, _) if negative => format!("-{n}"),
            Token::Number(n, _) => n,
            Token::Word(w) => w.value,
            _ => return Err(r.expected("a value")),
        };
        r.advance();
        // SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE, as JDBC writes it.
        if value.eq_ignore_ascii_case("interval") {
            continue;
        }
        values.push(value);
        if r.words(&["HOUR", "TO", "MINUTE"]) || !r.word(",") {
            return Ok(values.join(", "));
        }
    }
}
