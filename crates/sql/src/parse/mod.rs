//! Text → statements.
//!
//! The tokens and the expressions are the SQL parser's; the statements are ours, because the
//! streaming words (`STREAM`, `WATERMARK FOR`, `APPEND ONLY`, `EMIT`) are. Every error carries
//! the place of the token at which reading stopped.

mod alter;
mod asof;
mod balance;
mod copy;
mod ddl;
mod depth;
mod dml;
mod drop;
mod function;
mod lookup;
mod metadata;
mod reader;
mod session;
mod settings;
mod sink;

use std::sync::Arc;

use datafusion::sql::sqlparser::ast as sql;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::ast::{Explain, ExplainTarget, Name, Query, Show, Spanned, Statement};
use crate::error::{ErrorKind, Span, SqlError};
use crate::nearest::did_you_mean;
use crate::options::Connectors;
use crate::text::Text;
pub(crate) use depth::DEPTH_MAX;
pub(crate) use lookup::AS_OF_COLUMN;
use reader::Reader;
pub(crate) use session::KEYS as SESSION_KEYS;

type Secrets<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a text is read with.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Gives the value of the placeholder `${NAME}` in an option, from the environment or a secrets file; `None` where
    /// there is no such name.
    pub secrets: Secrets<'a>,
    /// The connectors there are beside `http`.
    pub connectors: Connectors,
}

/// The words a statement can begin with.
const BEGINNINGS: [&str; 27] = [
    "ABORT",
    "ALTER",
    "BEGIN",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISCARD",
    "DROP",
    "END",
    "EXPLAIN",
    "FLUSH",
    "INSERT",
    "RESET",
    "ROLLBACK",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "TABLE",
    "UPDATE",
    "VALUES",
    "WITH",
    "FROM",
];

/// Nothing around it.
const ALONE: Surroundings<'static> = Surroundings { secrets: &|_| None, connectors: &[] };

/// The statements of `text`, which are separated by semicolons. Options that hold a `${NAME}`, and
/// connectors other than `http`, are refused; see [`parse_with`].
pub fn parse(text: &str) -> Result<Vec<Spanned<Statement>>, SqlError> {
    parse_with(text, ALONE)
}

/// The statements of `text`, with `${NAME}` in options replaced by what the secrets give.
pub fn parse_with(
    text: &str,
    surroundings: Surroundings<'_>,
) -> Result<Vec<Spanned<Statement>>, SqlError> {
    parse_in(text, surroundings, false)
}

/// The same; `inner` says that the text stands inside of a statement.
fn parse_in(
    text: &str,
    surroundings: Surroundings<'_>,
    inner: bool,
) -> Result<Vec<Spanned<Statement>>, SqlError> {
    let text = Arc::new(Text::new(text)?);
    text.check_names()?;
    for tokens in text.tokens().split(|t| t.token == Token::SemiColon) {
        depth::check(tokens, &text)?;
    }
    statements(&text, surroundings, |reader| reader.inner = inner)
}

/// As [`parse_with`] for what was accepted before: limits that came since do not close a data folder.
pub fn parse_stored(
    text: &str,
    surroundings: Surroundings<'_>,
) -> Result<Vec<Spanned<Statement>>, SqlError> {
    statements(&Arc::new(Text::new(text)?), surroundings, |reader| reader.stored = true)
}

fn statements(
    text: &Arc<Text>,
    surroundings: Surroundings<'_>,
    set: impl Fn(&mut Reader<'_>),
) -> Result<Vec<Spanned<Statement>>, SqlError> {
    let mut statements = Vec::new();
    for tokens in text.tokens().split(|t| t.token == Token::SemiColon) {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { continue };
        let bounds = |t: &TokenWithSpan| text.span(t.span).unwrap_or_default();
        let span = bounds(first).to(bounds(last));
        let mut reader = Reader::new(text, tokens, span, surroundings);
        set(&mut reader);
        let node = statement(&mut reader)?;
        reader.end()?;
        statements.push(Spanned { node, span, text: Arc::clone(text) });
    }
    Ok(statements)
}

fn statement(r: &mut Reader<'_>) -> Result<Statement, SqlError> {
    let word = r.peek_word();
    match word.as_str() {
        "CREATE" => ddl::create(r),
        "DROP" if r.words(&["DROP", "FUNCTION"]) => function::drop(r).map(Statement::DropFunction),
        "DROP" => drop::drop(r).map(Statement::Drop),
        "ALTER" => alter::alter(r).map(Statement::Alter),
        "SHOW" => show(r),
        "DESCRIBE" | "DESC" => {
            r.advance();
            r.word("TABLE");
            Ok(Statement::Describe(r.name()?))
        }
        "EXPLAIN" => explain(r).map(Statement::Explain),
        "SELECT" | "WITH" | "VALUES" | "TABLE" | "FROM" | "(" => r.query().map(Statement::Query),
        "INSERT" => dml::insert(r).map(Statement::Insert),
        "UPDATE" => dml::update(r).map(Statement::Update),
        "DELETE" => dml::delete(r).map(Statement::Delete),
        "COPY" => copy::copy(r),
        "FLUSH" => Ok(r.then(Statement::Flush)),
        "SET" | "RESET" | "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT"
        | "DISCARD" | "DEALLOCATE" => settings::statement(r),
        _ => Err(unknown(r, &word)),
    }
}

fn unknown(r: &Reader<'_>, word: &str) -> SqlError {
    let upper = word.to_uppercase();
    match upper.as_str() {
        "TRUNCATE" => SqlError::unsupported("TRUNCATE is not supported")
            .hint("DELETE FROM empties a table; retention empties a stream")
            .at(r.here()),
        "SUBSCRIBE" => {
            SqlError::unsupported("SUBSCRIBE is not supported over this connection").at(r.here())
        }
        _ => {
            let e =
                SqlError::new(ErrorKind::Syntax, format!("\"{word}\" does not begin a statement"))
                    .at(r.here());
            match did_you_mean(&upper, BEGINNINGS) {
                Some(hint) => e.hint(hint),
                None => e.detail(
                    "a statement begins with SELECT, CREATE, DROP, INSERT, UPDATE, \
                                  DELETE, COPY, SHOW, DESCRIBE, EXPLAIN, SET, …",
                ),
            }
        }
    }
}

fn show(r: &mut Reader<'_>) -> Result<Statement, SqlError> {
    r.advance();
    let show = match r.peek_word().as_str() {
        "STREAMS" => r.then(Show::Streams),
        "TABLES" => r.then(Show::Tables),
        "VIEWS" => r.then(Show::Views),
        "SINKS" => r.then(Show::Sinks),
        "MATERIALIZED" => {
            r.advance();
            r.expect("VIEWS")?;
            Show::Views
        }
        "FUNCTIONS" => r.then(Show::Functions),
        "ALL" => r.then(Show::AllSettings),
        "CREATE" => {
            r.advance();
            r.word("MATERIALIZED");
            let _ = r.word("STREAM") || r.word("TABLE") || r.word("VIEW") || r.word("SINK");
            Show::Create(r.name()?)
        }
        "COLUMNS" => {
            r.advance();
            if !r.word("IN") {
                r.expect("FROM")?;
            }
            Show::Columns(r.name()?)
        }
        _ => Show::Setting(settings::setting_name(r)?),
    };
    Ok(Statement::Show(show))
}

fn explain(r: &mut Reader<'_>) -> Result<Explain, SqlError> {
    r.advance();
    let (mut analyze, mut verbose) = (false, false);
    if r.peek_word() == "(" {
        r.advance();
        while r.peek_word() != ")" {
            match r.peek_word().as_str() {
                "ANALYZE" => analyze = r.then(true),
                "VERBOSE" => verbose = r.then(true),
                "" => return Err(r.expected("\")\"")),
                // FORMAT, COSTS and their like: one form of answer fits all.
                _ => r.advance(),
            }
        }
        r.advance();
    } else {
        analyze = r.word("ANALYZE");
        verbose = r.word("VERBOSE");
    }
    let target = if r.peek_word() == "CREATE" {
        let at = r.here();
        match ddl::create(r)? {
            Statement::CreateView(view) => ExplainTarget::View(view),
            _ => {
                return Err(SqlError::unsupported(
                    "EXPLAIN works on queries and on CREATE MATERIALIZED VIEW",
                )
                .at(at));
            }
        }
    } else if matches!(r.peek_word().as_str(), "INSERT" | "UPDATE" | "DELETE" | "COPY" | "DROP") {
        return Err(SqlError::unsupported(
            "EXPLAIN works on queries and on CREATE MATERIALIZED VIEW",
        )
        .at(r.here()));
    } else {
        ExplainTarget::Query(r.query()?)
    };
    Ok(Explain { analyze, verbose, target })
}

/// Parses the one query that `sql` is; for queries that do not come from a person.
pub fn parse_query(sql: &str) -> Result<Query, SqlError> {
    let mut statements = parse(sql)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(Spanned { node: Statement::Query(query), .. }), true) => Ok(query),
        _ => Err(SqlError::new(ErrorKind::Syntax, "the text is not one query")),
    }
}

/// Parses a type as our own names write it.
pub(crate) fn parse_type(name: &str) -> Result<sql::DataType, SqlError> {
    let text = Arc::new(Text::new(name)?);
    let span = Span::new(0, name.len());
    let mut reader = Reader::new(&text, text.tokens(), span, ALONE);
    reader.run(Parser::parse_data_type)
}

/// How the names of what the engine says of itself begin.
const OF_ENGINE: &str = "yeoul.";

/// The name `parts` make: one, or one after `public`.
fn plain_name(parts: &[String], span: Span) -> Result<Name, SqlError> {
    match parts {
        [name] if name.starts_with(OF_ENGINE) => {
            let message = format!("the name \"{name}\" cannot be given");
            Err(SqlError::new(ErrorKind::InvalidDefinition, message)
                .detail("what the engine says of itself is called so")
                .at(span))
        }
        [name] => Ok(Name { value: name.clone(), span }),
        [schema, name] if crate::catalog::PUBLIC_SCHEMAS.contains(&schema.as_str()) => {
            Ok(Name { value: name.clone(), span })
        }
        _ => Err(SqlError::unsupported(format!("\"{}\" is in another schema", parts.join(".")))
            .detail("streams, tables and views live in the schema public")
            .at(span)),
    }
}
