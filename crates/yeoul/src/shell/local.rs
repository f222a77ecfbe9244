//! The data folder of a stopped instance, opened for reading in this process.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use yeoul_engine::{Answer, Engine, Session};

use super::print::{Column, Kind, Printer};
use crate::clock::SystemClock;
use crate::config::engine_options;
use crate::failure::Failure;

/// An engine that only reads, and a session of it.
pub(crate) struct Local {
    session: Session,
    // The session asks it; it must live as long.
    _engine: Engine,
}

impl Local {
    /// Opens the folder.
    pub(super) fn open(data: &Path) -> Result<Self, Failure> {
        let engine = open_stopped(data)?;
        Ok(Self { session: engine.session(), _engine: engine })
    }

    pub(super) async fn run(&self, sql: &str, printer: &mut Printer) -> Result<(), Failure> {
        let cancel = self.session.cancel_handle();
        let mut work = pin!(print(&self.session, sql, printer));
        tokio::select! {
            outcome = &mut work => outcome,
            _ = tokio::signal::ctrl_c() => {
                cancel.cancel();
                work.await
            }
        }
    }

    pub(super) async fn ask(&self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        ask(&self.session, sql).await
    }
}

/// An engine over the data folder of a stopped instance; it writes nothing.
pub(crate) fn open_stopped(data: &Path) -> Result<Engine, Failure> {
    if !data.is_dir() {
        return Err(Failure::usage(format!(
            "data folder \"{}\" is not there\nhint: it is what `yeoul run` wrote to; --url asks a running instance",
            data.display()
        )));
    }
    // Every folder without a log would be one in which nothing was stored yet, and balance.
    if !data.join("log").is_dir() {
        return Err(Failure::usage(format!(
            "\"{}\" is not a data folder: it has no log\nhint: `yeoul run` writes to the folder that \"data\" in yeoul.toml names",
            data.display()
        )));
    }
    Ok(Engine::open_read_only(data, Arc::new(SystemClock), engine_options())?)
}

async fn print(session: &Session, sql: &str, printer: &mut Printer) -> Result<(), Failure> {
    for answer in session.execute(sql).await {
        match answer? {
            // Here both are rows: the shell writes them in the format it was asked for.
            Answer::Rows { schema, mut rows, .. } | Answer::CopyOut { schema, mut rows, .. } => {
                printer.begin(columns(&schema))?;
                while let Some(batch) = rows.next().await {
                    for row in texts(&batch?)? {
                        let values: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
                        printer.row(&values)?;
                    }
                }
                printer.end()?;
            }
            Answer::Done { tag, .. } => printer.done(&tag)?,
            Answer::CopyIn(_) => {
                return Err(Failure::new(
                    "COPY FROM STDIN is not possible here\nhint: psql does it over the wire",
                ));
            }
        }
    }
    Ok(())
}

/// Runs one query in this process and gives its rows as text, null as nothing. For small answers.
pub(crate) async fn ask(session: &Session, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
    let mut found = Vec::new();
    for answer in session.execute(sql).await {
        if let Answer::Rows { mut rows, .. } = answer? {
            while let Some(batch) = rows.next().await {
                let rows = texts(&batch?)?.into_iter();
                found.extend(
                    rows.map(|row| row.into_iter().map(Option::unwrap_or_default).collect()),
                );
            }
        }
    }
    Ok(found)
}

fn columns(schema: &Schema) -> Vec<Column> {
    schema.fields().iter().map(|f| Column { name: f.name().clone(), kind: kind(f) }).collect()
}

fn kind(field: &Field) -> Kind {
    match field.data_type() {
        DataType::Boolean => Kind::Boolean,
        DataType::Decimal128(..) | DataType::Decimal256(..) => Kind::Number,
        t if t.is_numeric() => Kind::Number,
        _ if field.metadata().get("yeoul.type").is_some_and(|t| t == "jsonb") => Kind::Json,
        _ => Kind::Text,
    }
}

/// The rows of a batch as PostgreSQL writes them.
fn texts(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, Failure> {
    let fail = |e: arrow::error::ArrowError| Failure::new(format!("cannot print a value: {e}"));
    let mut rows = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    for (column, field) in batch.columns().iter().zip(batch.schema().fields()) {
        let column = printable(column, field);
        let options = FormatOptions::default()
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f+00"));
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(fail)?;
        for (at, row) in rows.iter_mut().enumerate() {
            let value = (!column.is_null(at)).then(|| formatter.value(at).try_to_string());
            row.push(value.transpose().map_err(fail)?);
        }
    }
    Ok(rows)
}

/// Columns whose text is not that of Arrow, as text.
fn printable(column: &ArrayRef, field: &Field) -> ArrayRef {
    match column.data_type() {
        DataType::Boolean => {
            let truth = column.as_boolean().iter();
            let text = truth.map(|v| v.map(|v| if v { "t" } else { "f" }));
            Arc::new(text.collect::<arrow::array::StringArray>())
        }
        // Times of day end where their digits do.
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
            arrow::compute::cast(column, &utc).unwrap_or_else(|_| Arc::clone(column))
        }
        DataType::FixedSizeBinary(16)
            if field.metadata().get("yeoul.type").is_some_and(|t| t == "uuid") =>
        {
            let values = column.as_fixed_size_binary();
            let text = values.iter().map(|v| v.map(uuid_text));
            Arc::new(text.collect::<arrow::array::StringArray>())
        }
        _ => Arc::clone(column),
    }
}

fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, FixedSizeBinaryArray, Float64Array, TimestampMicrosecondArray,
    };

    #[test]
    fn values_look_as_in_postgres() {
        let metadata = [("yeoul.type".to_owned(), "uuid".to_owned())].into();
        let micros =
            |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let schema = Schema::new(vec![
            Field::new("b", DataType::Boolean, true),
            Field::new("t", micros(Some("UTC")), true),
            Field::new("l", micros(None), true),
            Field::new("u", DataType::FixedSizeBinary(16), true).with_metadata(metadata),
            Field::new("f", DataType::Float64, true),
        ]);
        let times = vec![Some(1_574_553_634_762_830), Some(0)];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC")),
            Arc::new(TimestampMicrosecondArray::from(times)),
            Arc::new(
                FixedSizeBinaryArray::try_from_iter([[0xab_u8; 16], [0; 16]].into_iter())
                    .expect("16 bytes each"),
            ),
            Arc::new(Float64Array::from(vec![0.5, 4.0])),
        ];
        let batch = RecordBatch::try_new(Arc::new(schema), columns).expect("five columns");
        let rows = texts(&batch).expect("prints");
        let first: Vec<&str> = rows[0].iter().map(|v| v.as_deref().unwrap_or("null")).collect();
        let uuid = "abababab-abab-abab-abab-abababababab";
        let time = "2019-11-24 00:00:34.762830";
        assert_eq!(first, ["t", &format!("{time}+00"), time, uuid, "0.5"]);
        assert_eq!(rows[1][0], None);
    }
}
