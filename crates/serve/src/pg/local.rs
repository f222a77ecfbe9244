//! Statements that the connection answers itself: transactions, its own settings, prepared
//! statements by name. Everything else is the engine's.

use super::lex::{Lexer, Token};
use super::settings::known;

/// A statement of the connection itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    Begin,
    Commit,
    Rollback,
    /// Within a transaction, without an effect: `SAVEPOINT`, `RELEASE`; by its tag.
    Point(&'static str),
    /// Back to a savepoint: the transaction is not failed any more.
    RollbackTo,
    Set(&'static str, String),
    /// Accepted and without an effect, by its tag.
    Nothing(&'static str),
    Show(&'static str),
    ShowAll,
    Reset(Option<&'static str>),
    /// Forget one prepared statement or all.
    Deallocate(Option<String>),
    /// Forget everything of the session.
    DiscardAll,
    /// A cursor: its name, whether it outlives its transaction, its query.
    Declare {
        name: String,
        hold: bool,
        query: String,
    },
    /// The next rows of a cursor; without a number all that are left.
    Fetch {
        name: String,
        rows: Option<u32>,
    },
    /// Close one cursor or all.
    Close(Option<String>),
}

impl Local {
    /// The statement, when it is one of the connection's own.
    pub(crate) fn of(sql: &str) -> Option<Self> {
        let mut words = Lexer::new(sql);
        let Some(Token::Word(first)) = words.next() else { return None };
        match first.to_ascii_lowercase().as_str() {
            "begin" => Some(Self::Begin),
            "start" if words.next().is_some_and(|t| t.is("transaction")) => Some(Self::Begin),
            "commit" | "end" => Some(Self::Commit),
            "abort" => Some(Self::Rollback),
            "rollback" => Some(rollback(words)),
            "savepoint" => Some(Self::Point("SAVEPOINT")),
            "release" => Some(Self::Point("RELEASE")),
            "set" => set(words),
            "show" => show(words),
            "reset" => reset(words),
            "deallocate" => Some(deallocate(words)),
            "discard" => Some(match words.next() {
                Some(what) if what.is("all") => Self::DiscardAll,
                _ => Self::Nothing("DISCARD"),
            }),
            "listen" => Some(Self::Nothing("LISTEN")),
            "unlisten" => Some(Self::Nothing("UNLISTEN")),
            "declare" => declare(sql, words),
            "fetch" => fetch(words),
            "close" => Some(Self::Close(match words.next()? {
                word if word.is("all") => None,
                word => Some(name(word)?),
            })),
            _ => None,
        }
    }
}

fn rollback(words: Lexer<'_>) -> Local {
    for word in words {
        if word.is("to") {
            return Local::RollbackTo;
        }
    }
    Local::Rollback
}

/// A list of words and texts as one value: `'ISO', 'MDY'` is `ISO, MDY`.
fn value(words: Lexer<'_>) -> String {
    let mut text = String::new();
    for word in words {
        match word {
            Token::Symbol(',') => text.push_str(", "),
            Token::Symbol(c) => text.push(c),
            Token::Word(w) | Token::Name(w) | Token::Text(w) => {
                if text.ends_with(|c: char| c.is_alphanumeric()) {
                    text.push(' ');
                }
                text.push_str(w);
            }
        }
    }
    text
}

fn set(mut words: Lexer<'_>) -> Option<Local> {
    let mut word = words.next()?;
    if word.is("session") || word.is("local") {
        word = words.next()?;
        if word.is("characteristics") {
            return Some(Local::Nothing("SET"));
        }
    }
    if word.is("transaction") {
        return Some(Local::Nothing("SET"));
    }
    if word.is("names") {
        return Some(Local::Set("client_encoding", value(words)));
    }
    if word.is("time") && words.clone().next().is_some_and(|t| t.is("zone")) {
        words.next();
        return Some(Local::Set("TimeZone", value(words)));
    }
    let name = known(word.value()?)?;
    match words.next()? {
        Token::Symbol('=') => {}
        word if word.is("to") => {}
        _ => return None,
    }
    Some(Local::Set(name, value(words)))
}

fn show(mut words: Lexer<'_>) -> Option<Local> {
    let word = words.next()?;
    let next = words.next();
    if word.is("transaction") && next.is_some_and(|t| t.is("isolation")) {
        return Some(Local::Show("transaction_isolation"));
    }
    if word.is("time") && next.is_some_and(|t| t.is("zone")) {
        return Some(Local::Show("TimeZone"));
    }
    if next.is_some() {
        return None;
    }
    if word.is("all") {
        return Some(Local::ShowAll);
    }
    known(word.value()?).map(Local::Show)
}

fn reset(mut words: Lexer<'_>) -> Option<Local> {
    let word = words.next()?;
    if word.is("all") {
        return Some(Local::Reset(None));
    }
    known(word.value()?).map(|name| Local::Reset(Some(name)))
}

fn deallocate(mut words: Lexer<'_>) -> Local {
    let mut word = words.next();
    if word.is_some_and(|t| t.is("prepare")) {
        word = words.next();
    }
    match word {
        Some(Token::Name(name)) => Local::Deallocate(Some(name.replace("\"\"", "\""))),
        Some(Token::Word(name)) if !name.eq_ignore_ascii_case("all") => {
            Local::Deallocate(Some(name.to_ascii_lowercase()))
        }
        _ => Local::Deallocate(None),
    }
}

/// A name as PostgreSQL folds it.
fn name(word: Token<'_>) -> Option<String> {
    match word {
        Token::Name(name) => Some(name.replace("\"\"", "\"")),
        Token::Word(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }
}

/// `DECLARE name [NO SCROLL] CURSOR [WITH HOLD] FOR query`. Cursors go forward only and give texts or what the
/// client asks of `FETCH`, so `SCROLL` is not taken and `BINARY` changes nothing.
fn declare(sql: &str, mut words: Lexer<'_>) -> Option<Local> {
    let name = name(words.next()?)?;
    let (mut hold, mut last, mut cursor) = (false, None, false);
    loop {
        let word = words.next()?;
        match word {
            _ if word.is("for") && cursor => break,
            _ if word.is("cursor") => cursor = true,
            _ if word.is("hold") => hold = last.is_some_and(|last: Token<'_>| last.is("with")),
            _ if word.is("scroll") && !last.is_some_and(|last| last.is("no")) => return None,
            _ if ["binary", "insensitive", "asensitive", "no", "scroll", "with", "without"]
                .iter()
                .any(|known| word.is(known)) => {}
            _ => return None,
        }
        last = Some(word);
    }
    Some(Local::Declare { name, hold, query: sql[words.at()..].to_owned() })
}

/// `FETCH [NEXT | n | ALL | FORWARD [n | ALL]] [FROM | IN] name`.
fn fetch(words: Lexer<'_>) -> Option<Local> {
    let all: Vec<Token<'_>> = words.collect();
    let (&last, mut before) = all.split_last()?;
    if let [rest @ .., from] = before
        && (from.is("from") || from.is("in"))
    {
        before = rest;
    }
    let count = |word: &Token<'_>| match word {
        word if word.is("all") => Some(None),
        word if word.is("next") => Some(Some(1)),
        Token::Word(number) => number.parse().ok().map(Some),
        _ => None,
    };
    let rows = match before {
        [] => Some(1),
        [forward] if forward.is("forward") => Some(1),
        [forward, one] if forward.is("forward") => count(one)?,
        [one] => count(one)?,
        _ => return None,
    };
    Some(Local::Fetch { name: name(last)?, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Option<Local> {
        Local::of(sql)
    }

    #[test]
    fn cursors() {
        let declared = |name: &str, hold, query: &str| {
            Some(Local::Declare { name: name.into(), hold, query: query.into() })
        };
        assert_eq!(of("DECLARE \"C\" CURSOR FOR select 1"), declared("C", false, " select 1"));
        assert_eq!(
            of("declare C no scroll cursor with hold for select 'for'"),
            declared("c", true, " select 'for'")
        );
        assert_eq!(
            of("DECLARE c CURSOR WITHOUT HOLD FOR TABLE t"),
            declared("c", false, " TABLE t")
        );
        assert_eq!(of("DECLARE c SCROLL CURSOR FOR TABLE t"), None);
        for (sql, rows) in [
            ("FETCH c", Some(1)),
            ("FETCH FORWARD 100 FROM \"c\"", Some(100)),
            ("fetch all in c", None),
            ("FETCH 20 FROM c", Some(20)),
        ] {
            assert_eq!(of(sql), Some(Local::Fetch { name: "c".into(), rows }), "{sql}");
        }
        assert_eq!(of("FETCH PRIOR FROM c"), None);
        assert_eq!(of("CLOSE ALL"), Some(Local::Close(None)));
    }

    #[test]
    fn the_connections_own_statements() {
        assert_eq!(of("BEGIN ISOLATION LEVEL SERIALIZABLE"), Some(Local::Begin));
        assert_eq!(of("/* x */ start transaction"), Some(Local::Begin));
        assert_eq!(of("ROLLBACK TO SAVEPOINT a"), Some(Local::RollbackTo));
        assert_eq!(of("rollback"), Some(Local::Rollback));
        assert_eq!(
            of("SET application_name = 'it is'"),
            Some(Local::Set("application_name", "it is".into()))
        );
        assert_eq!(
            of("SET SESSION datestyle TO ISO, DMY"),
            Some(Local::Set("DateStyle", "ISO, DMY".into()))
        );
        assert_eq!(of("set names 'UTF8'"), Some(Local::Set("client_encoding", "UTF8".into())));
        assert_eq!(of("set time zone 'UTC'"), Some(Local::Set("TimeZone", "UTC".into())));
        assert_eq!(
            of("SET extra_float_digits TO -1"),
            Some(Local::Set("extra_float_digits", "-1".into()))
        );
        assert_eq!(
            of("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
            Some(Local::Nothing("SET"))
        );
        assert_eq!(
            of("show transaction isolation level"),
            Some(Local::Show("transaction_isolation"))
        );
        assert_eq!(
            of("DEALLOCATE PREPARE \"a\"\"b\""),
            Some(Local::Deallocate(Some("a\"b".into())))
        );
        for engines in
            ["select 1", "show streams", "set yeoul.x = 1", "copy t from stdin", "", "('"]
        {
            assert_eq!(of(engines), None, "{engines}");
        }
    }
}
