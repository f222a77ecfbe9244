//! `CREATE SINK`.

use super::reader::Reader;
use crate::ast::{CreateSink, Envelope, SinkFormat, SinkOptions, SinkOrigin};
use crate::error::{ErrorKind, Span, SqlError};
use crate::options::{Target, Values};
use crate::text::quoted;

/// How many changed rows a sink may keep, unless `kept_rows_max` says it.
const KEPT_ROWS_MAX: u64 = 100_000_000;

/// `CREATE SINK name FROM relation WITH (…)`, or `CREATE SINK name WITH (…) AS SELECT …`; behind `SINK`.
pub(super) fn create(r: &mut Reader<'_>) -> Result<CreateSink, SqlError> {
    let if_not_exists = r.words(&["IF", "NOT", "EXISTS"]);
    let name = r.name()?;
    let (origin, query, given) = if r.word("FROM") {
        let of = r.name()?;
        let mut query = super::parse_query(&format!("SELECT * FROM {}", quoted(&of.value)))?;
        query.span = Span::new(0, query.text.as_str().len());
        (SinkOrigin::Relation(of), query, r.options()?)
    } else {
        let given = r.options()?;
        if r.peek_word() != "AS" {
            return Err(r.expected("FROM a stream, table or view, or WITH (…) AS SELECT …"));
        }
        r.advance();
        (SinkOrigin::Query, r.query()?, given)
    };
    let written = given.iter().map(|given| r.written(given)).collect();
    let values = Values::check(Target::Sink, &given, r.connectors())?;
    let options = options(&values, r.span(), r.stored)?;
    Ok(CreateSink { name, if_not_exists, origin, query, written, options })
}

fn options(values: &Values, whole: Span, accepted: bool) -> Result<SinkOptions, SqlError> {
    let invalid = |message: &str| SqlError::new(ErrorKind::InvalidOption, message.to_owned());
    if values.text("connector").is_none() {
        return Err(invalid("a sink needs the option \"connector\"")
            .hint("connector = 'kafka'")
            .at(whole));
    }
    values.check_sink()?;
    let connector = values.connector(whole, accepted)?;
    let envelope = match values.text("envelope") {
        Some("append") => Some(Envelope::Append),
        Some("upsert") => Some(Envelope::Upsert),
        Some("debezium") => Some(Envelope::Debezium),
        _ => None,
    };
    let rows = values.text("kept_rows_max").and_then(|rows| rows.parse().ok());
    Ok(SinkOptions {
        connector,
        format: match values.text("format") {
            Some("avro") => SinkFormat::Avro,
            _ => SinkFormat::Json,
        },
        envelope,
        key: values.names("key").unwrap_or_default().to_vec(),
        snapshot: values.bool("snapshot").unwrap_or(true),
        paused: values.bool("paused").unwrap_or(false),
        keep: values.duration("keep").unwrap_or_default(),
        kept_rows_max: rows.unwrap_or(KEPT_ROWS_MAX),
    })
}
