//! Changes as messages: keys and values one behind the other in one buffer.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use yeoul_engine::{Changes, CommitId, Envelope, SinkFormat, SinkSpec};
use yeoul_format::encode::{Encoder, JsonRow, TextColumn, json_string};
use yeoul_format::{
    AvroEncoder, AvroEnvelope, AvroRow, AvroSource, FormatError, avro_envelope_schema, avro_schema,
    confluent_prefix,
};

use super::options::KeyFormat;
use crate::error::ConnectError;
use crate::net::{Event, NetError, by_change, in_the_end, inserts, last_inserts};

/// A message; a value that is not there is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) key: Option<Range<usize>>,
    pub(super) value: Option<Range<usize>>,
    /// Which of the headers of all are its own.
    pub(super) headers: Range<usize>,
    /// When its commit was, in milliseconds.
    pub(super) at_ms: i64,
    /// The commit, for messages to people.
    pub(super) commit: CommitId,
}

/// Messages in the order in which they are sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    pub(super) messages: Vec<Message>,
    /// Names of headers and where their values are.
    pub(super) headers: Vec<(Arc<str>, Range<usize>)>,
}

/// Writes headers.
struct Headers(Vec<(Arc<str>, TextColumn)>);

impl Headers {
    fn new(rows: &RecordBatch, names: &[String]) -> Result<Self, FormatError> {
        let column = |name: &String| {
            let at = rows.schema_ref().index_of(name);
            let at = at.map_err(|e| FormatError::Internal(e.to_string()))?;
            let column = TextColumn::new(rows.schema_ref().field(at), rows.column(at))?;
            Ok((Arc::from(name.as_str()), column))
        };
        Ok(Self(names.iter().map(column).collect::<Result<_, _>>()?))
    }

    fn write(&self, row: usize, out: &mut Outgoing) -> Range<usize> {
        let first = out.headers.len();
        for (name, values) in self.0.iter().filter(|(_, values)| !values.is_null(row)) {
            let from = out.bytes.len();
            values.write(row, &mut out.bytes);
            out.headers.push((Arc::clone(name), from..out.bytes.len()));
        }
        first..out.headers.len()
    }
}

/// How messages of a sink are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    pub(super) key_format: KeyFormat,
    /// The numbers of the schemas of keys and values, where a registry has given them.
    pub(super) ids: (Option<u32>, Option<u32>),
    /// Whether a row that is gone is told in Debezium's form by a tombstone too.
    pub(super) tombstones: bool,
}

/// The schema of the keys of a sink, or of its values.
pub(super) fn schema_of(spec: &SinkSpec, topic: &str, is_key: bool) -> Result<String, FormatError> {
    if is_key {
        let key = spec.schema().project(spec.key());
        let key = key.map_err(|e| FormatError::Internal(e.to_string()))?;
        return avro_schema(&Arc::new(key), "Key", topic);
    }
    match spec.envelope() {
        Envelope::Debezium => avro_envelope_schema(spec.schema(), "Envelope", topic),
        Envelope::Append | Envelope::Upsert => avro_schema(spec.schema(), "Value", topic),
    }
}

/// Writes rows.
enum Rows {
    Json(Encoder),
    Avro(AvroEncoder, Option<u32>),
}

impl Rows {
    fn new(rows: &RecordBatch, format: SinkFormat, id: Option<u32>) -> Result<Self, FormatError> {
        Ok(match format {
            SinkFormat::Json => Self::Json(Encoder::json(rows, JsonRow::Object)?),
            SinkFormat::Avro => Self::Avro(AvroEncoder::new(rows)?, id),
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Json(rows) => rows.row(row, out),
            Self::Avro(rows, id) => {
                if let Some(id) = id {
                    confluent_prefix(*id, out);
                }
                rows.row(row, out);
            }
        }
    }
}

/// Writes keys.
enum Keys {
    None,
    Rows(Rows),
    Text(TextColumn),
}

impl Keys {
    fn new(spec: &SinkSpec, rows: &RecordBatch, writing: Writing) -> Result<Self, FormatError> {
        let key = spec.key();
        let format = match writing.key_format {
            KeyFormat::Avro => SinkFormat::Avro,
            KeyFormat::Json | KeyFormat::Text => SinkFormat::Json,
        };
        match (key, writing.key_format) {
            ([], _) => Ok(Self::None),
            ([column], KeyFormat::Text) => {
                let field = rows.schema_ref().field(*column);
                Ok(Self::Text(TextColumn::new(field, rows.column(*column))?))
            }
            _ => {
                let keys = rows.project(key).map_err(|e| FormatError::Internal(e.to_string()))?;
                Ok(Self::Rows(Rows::new(&keys, format, writing.ids.0)?))
            }
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Option<Range<usize>> {
        let from = out.len();
        match self {
            Self::None => return None,
            Self::Rows(keys) => keys.write(row, out),
            Self::Text(keys) if keys.is_null(row) => return None,
            Self::Text(keys) => keys.write(row, out),
        }
        Some(from..out.len())
    }
}

/// The messages that tell of `changes`.
pub(super) fn messages(
    spec: &SinkSpec,
    changes: &Changes,
    writing: Writing,
    headers: &[String],
) -> Result<Outgoing, ConnectError> {
    let wrong = |error: FormatError| ConnectError::new(spec.name(), error.to_string()).of_sink();
    let events = match (spec.envelope(), spec.append_only()) {
        (Envelope::Append, _) | (Envelope::Debezium, true) => Ok(inserts(changes)),
        (Envelope::Upsert, true) => last_inserts(changes, spec.key()),
        (Envelope::Upsert, false) => in_the_end(changes, spec.key()),
        (Envelope::Debezium, false) => by_change(changes, spec.key()),
    };
    let keys = Keys::new(spec, &changes.rows, writing).map_err(wrong)?;
    let events = events.map_err(|error| no_key(spec, changes, &error))?;
    let rows = Rows::new(&changes.rows, spec.format(), writing.ids.1).map_err(wrong)?;
    let headers = Headers::new(&changes.rows, headers).map_err(wrong)?;
    let messages = Vec::with_capacity(events.len());
    let mut out = Outgoing { messages, ..Outgoing::default() };
    for event in events {
        let headers = headers.write(event.row(), &mut out);
        let bytes = &mut out.bytes;
        let key = keys.write(event.row(), bytes);
        let from = bytes.len();
        let is_there = match (spec.envelope(), event.after) {
            (Envelope::Debezium, _) => {
                debezium(spec, changes, &rows, event, bytes);
                true
            }
            (_, Some(row)) => {
                rows.write(row, bytes);
                true
            }
            (_, None) => false,
        };
        let value = is_there.then_some(from..bytes.len());
        let row = event.row();
        let at_ms = changes.times.value(row).div_euclid(1000);
        let message = Message { key, value, headers, at_ms, commit: changes.commit(row) };
        let is_gone = event.after.is_none() && spec.envelope() == Envelope::Debezium;
        let tombstone = (is_gone && writing.tombstones && message.key.is_some())
            .then(|| Message { value: None, ..message.clone() });
        out.messages.push(message);
        out.messages.extend(tombstone);
    }
    Ok(out)
}

/// The row before and after, as Debezium's connectors tell of a change.
fn debezium(spec: &SinkSpec, changes: &Changes, rows: &Rows, event: Event, out: &mut Vec<u8>) {
    let op = match event {
        Event { before: None, .. } => "c",
        Event { after: None, .. } => "d",
        _ => "u",
    };
    let ts_ms = changes.times.value(event.row()).div_euclid(1000);
    let commit = changes.commit(event.row());
    match rows {
        Rows::Json(rows) => debezium_json(spec, rows, event, (op, commit, ts_ms), out),
        Rows::Avro(encoder, id) => {
            if let Some(id) = id {
                confluent_prefix(*id, out);
            }
            let row = |row: Option<usize>| row.map(|row| AvroRow { encoder, row });
            let commit = i64::try_from(commit.0).unwrap_or(i64::MAX);
            let (name, table) = (spec.name(), spec.of());
            let source = AvroSource { connector: "yeoul", name, table, commit, ts_ms };
            let (before, after) = (row(event.before), row(event.after));
            AvroEnvelope { before, after, source, op, ts_ms: Some(ts_ms) }.write(out);
        }
    }
}

fn debezium_json(
    spec: &SinkSpec,
    rows: &Encoder,
    event: Event,
    (op, commit, at_ms): (&str, CommitId, i64),
    out: &mut Vec<u8>,
) {
    let side = |name: &[u8], row: Option<usize>, out: &mut Vec<u8>| {
        out.extend_from_slice(name);
        match row {
            Some(row) => rows.row(row, out),
            None => out.extend_from_slice(b"null"),
        }
    };
    side(b"{\"before\":", event.before, out);
    side(b",\"after\":", event.after, out);
    out.extend_from_slice(b",\"source\":{\"connector\":\"yeoul\",\"name\":");
    json_string(spec.name(), out);
    out.extend_from_slice(b",\"table\":");
    json_string(spec.of(), out);
    let rest =
        format!(",\"commit\":{commit},\"ts_ms\":{at_ms}}},\"op\":\"{op}\",\"ts_ms\":{at_ms}}}");
    out.extend_from_slice(rest.as_bytes());
}

fn no_key(spec: &SinkSpec, changes: &Changes, error: &NetError) -> ConnectError {
    let row = match error {
        NetError::NoKey(row) => *row,
        NetError::Arrow(error) => {
            return ConnectError::new(spec.name(), format!("rows cannot be compared: {error}"))
                .of_sink();
        }
    };
    let mut shown = Vec::new();
    if let Ok(Ok(keys)) =
        changes.rows.project(spec.key()).map(|keys| Encoder::json(&keys, JsonRow::Object))
    {
        keys.row(row, &mut shown);
    }
    let names: Vec<&str> =
        spec.key().iter().map(|column| spec.schema().field(*column).name().as_str()).collect();
    let message = format!(
        "there are two rows of the key {} in commit {}",
        String::from_utf8_lossy(&shown),
        changes.commit(row)
    );
    ConnectError::new(spec.name(), message).of_sink().with_hint(format!(
        "\"{}\" is no key of what it sends: DROP SINK and CREATE SINK with another key",
        names.join(", ")
    ))
}
