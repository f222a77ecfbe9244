//! What messages bring beside their values: keys, times, headers and their places, into the columns that ask for it.
//!
//! ```text
//!   message ──value──▶ decoder ──▶ the other columns ─┐
//!      └── key, time, headers ──────────▶ its columns ─┴─▶ a row, if both are right
//! ```

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanArray, Int32Array, Int64Array, RecordBatch,
    StringViewArray, StringViewBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use yeoul_batch::{DecodeOptions, Metadata, TimeLimit};
use yeoul_engine::StreamHandle;
use yeoul_format::{BadKind, BadRow, Decoded, Messages, RowChanges, good_records};

use super::block::{Offsets, Partition};
use super::queue::{Headers, Message};

/// What the columns of a stream ask for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    schema: SchemaRef,
    /// Columns by their positions in the schema.
    columns: Vec<(usize, Metadata)>,
    /// The schema of the other columns.
    pub(super) inside: SchemaRef,
    /// Whether the keys of messages are needed: for a column, or since they say which row is gone.
    pub(super) keys: bool,
}

impl Wanted {
    pub(super) fn of(stream: &StreamHandle, options: &DecodeOptions) -> Self {
        let schema = stream.schema();
        let position =
            |(name, metadata): &(String, Metadata)| Some((schema.index_of(name).ok()?, *metadata));
        let mut columns: Vec<_> = options.metadata.iter().filter_map(position).collect();
        columns.sort_unstable_by_key(|(at, _)| *at);
        let is_inside = |at: usize| !columns.iter().any(|(column, _)| *column == at);
        let inside = (0..).zip(schema.fields()).filter(|(at, _)| is_inside(*at));
        let inside: Vec<_> = inside.map(|(_, field)| Arc::clone(field)).collect();
        let keys = stream.primary_key().is_some()
            || columns.iter().any(|(_, metadata)| *metadata == Metadata::Key);
        let inside = Arc::new(Schema::new(inside));
        Self { schema: Arc::clone(schema), columns, inside, keys }
    }

    /// Of these columns those of the values, by their places there.
    pub(super) fn inside_of(&self, columns: &[usize]) -> Vec<usize> {
        columns.iter().filter_map(|column| self.place(*column).ok()).collect()
    }

    fn asks(&self, wanted: Metadata) -> bool {
        self.columns.iter().any(|(_, metadata)| *metadata == wanted)
    }

    /// Where a column of the schema is among those of the values, or whether it is beside them.
    fn place(&self, column: usize) -> Result<usize, Metadata> {
        match self.columns.iter().find(|(at, _)| *at == column) {
            Some((_, metadata)) => Err(*metadata),
            None => Ok(column - self.columns.iter().filter(|(at, _)| *at < column).count()),
        }
    }

    /// The limit for the columns of the values, and that for those beside them.
    pub(super) fn limits(&self, limit: Option<TimeLimit>) -> [Option<TimeLimit>; 2] {
        let Some(limit) = limit else { return [None, None] };
        let (inside, beside): (Vec<usize>, Vec<usize>) =
            limit.columns.iter().partition(|column| self.place(**column).is_ok());
        let inside = inside.into_iter().filter_map(|column| self.place(column).ok()).collect();
        [
            Some(TimeLimit { columns: inside, ..limit.clone() }),
            Some(TimeLimit { columns: beside, ..limit }),
        ]
    }
}

/// What was beside the messages of a block, as far as it is asked for.
#[derive(Debug, Default)]
pub(super) struct Beside {
    times_us: Option<Vec<Option<i64>>>,
    headers: Option<Vec<Option<String>>>,
}

impl Beside {
    pub(super) fn new(wanted: &Wanted) -> Self {
        Self {
            times_us: wanted.asks(Metadata::Timestamp).then(Vec::new),
            headers: wanted.asks(Metadata::Headers).then(Vec::new),
        }
    }

    pub(super) fn push(&mut self, message: &Message) {
        if let Some(times_us) = &mut self.times_us {
            times_us.push(message.time_ms().map(|ms| ms.saturating_mul(1000)));
        }
        if let Some(headers) = &mut self.headers {
            headers.push(message.headers().map(headers_json));
        }
    }
}

/// Headers as an object of texts; bytes that are none are replaced.
fn headers_json(headers: Headers<'_>) -> String {
    let mut object = serde_json::Map::new();
    for (name, value) in headers {
        let text = value.map(|value| String::from_utf8_lossy(value).into_owned());
        let value = text.map_or(serde_json::Value::Null, serde_json::Value::String);
        match object.get_mut(name) {
            None => drop(object.insert(name.to_owned(), value)),
            Some(serde_json::Value::Array(list)) => list.push(value),
            Some(one) => *one = serde_json::Value::Array(vec![one.take(), value]),
        }
    }
    serde_json::Value::Object(object).to_string()
}

/// Messages with what was beside them, while they are decoded.
pub(super) struct Gathered {
    pub(super) wanted: Arc<Wanted>,
    pub(super) partition: Arc<Partition>,
    pub(super) beside: Beside,
    /// Holds for the columns beside the values.
    pub(super) limit: Option<TimeLimit>,
}

impl Gathered {
    /// Adds the columns to what the values were decoded to.
    pub(super) fn complete(
        self,
        decoded: Decoded,
        offsets: &Offsets,
        messages: &Messages,
        keys: Option<&Messages>,
    ) -> Result<Decoded, ArrowError> {
        if self.wanted.columns.is_empty() {
            return Ok(decoded);
        }
        let Decoded { rows, mut bad, records, lines, changes } = decoded;
        let good = match &changes {
            Some(changes) => changes.records.clone(),
            None => good_records(records, &bad),
        };
        let wanted = Arc::clone(&self.wanted);
        let mut wrong: Vec<Option<(BadKind, String)>> = vec![None; good.len()];
        let mut columns = Vec::with_capacity(wanted.schema.fields().len());
        for (at, field) in wanted.schema.fields().iter().enumerate() {
            columns.push(match wanted.place(at) {
                Ok(inside) => Arc::clone(rows.column(inside)),
                Err(metadata) => {
                    self.column(metadata, field, &good, (offsets, keys), &mut wrong)?
                }
            });
        }
        let fields = wanted.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
        let loose = Schema::new(fields.collect::<Vec<_>>());
        let all = RecordBatch::try_new(Arc::new(loose), columns)?;
        for (row, reason) in self.limit.iter().flat_map(|limit| limit.ahead(&all)) {
            wrong[row] = wrong[row].take().or(Some((BadKind::Ahead, reason)));
        }
        let kept: BooleanArray = wrong.iter().map(|wrong| Some(wrong.is_none())).collect();
        let all = filter_record_batch(&all, &kept)?;
        let changes = changes.map(|changes| Box::new(self.changes_of(*changes, &kept)));
        let rows = RecordBatch::try_new(Arc::clone(&wanted.schema), all.columns().to_vec())?;
        let found = good.iter().zip(wrong).filter_map(|(row, wrong)| Some((*row, wrong?)));
        bad.extend(found.map(|(row, (kind, reason))| {
            let at = usize::try_from(row).unwrap_or(usize::MAX);
            let raw = messages.get(at).to_vec().into();
            BadRow { raw, reason, kind, row, line: row }
        }));
        bad.sort_by_key(|bad| bad.row);
        // Of a record with two rows both are wrong for the same reason.
        bad.dedup_by_key(|bad| bad.row);
        Ok(Decoded { rows, bad, records, lines, changes })
    }

    /// What changes are of the rows that are `kept`, under all columns.
    fn changes_of(&self, changes: RowChanges, kept: &BooleanArray) -> RowChanges {
        let RowChanges { deleted, records, kept: values } = changes;
        let is_kept = |row: usize| kept.value(row);
        let place = |row: usize| kept.slice(0, row).true_count();
        let outer: Vec<usize> = (0..self.wanted.schema.fields().len())
            .filter(|column| self.wanted.place(*column).is_ok())
            .collect();
        let values = values.into_iter().filter(|value| is_kept(value.row)).map(|mut value| {
            value.row = place(value.row);
            value.columns.iter_mut().for_each(|column| *column = outer[*column]);
            value
        });
        RowChanges {
            deleted: (0..).zip(deleted).filter(|(row, _)| is_kept(*row)).map(|(_, d)| d).collect(),
            records: (0..).zip(records).filter(|(row, _)| is_kept(*row)).map(|(_, r)| r).collect(),
            kept: values.collect(),
        }
    }

    /// The values of a column for the messages `good`; what is wrong with them is noted.
    fn column(
        &self,
        metadata: Metadata,
        field: &Field,
        good: &[u64],
        (offsets, keys): (&Offsets, Option<&Messages>),
        wrong: &mut [Option<(BadKind, String)>],
    ) -> Result<ArrayRef, ArrowError> {
        let at = good.iter().map(|row| usize::try_from(*row).unwrap_or(usize::MAX));
        let array: ArrayRef = match metadata {
            Metadata::Key => keys_of(field, keys, good, wrong)?,
            Metadata::Topic => {
                let topic = std::iter::repeat_n(self.partition.topic.as_str(), good.len());
                Arc::new(StringViewArray::from_iter_values(topic))
            }
            Metadata::Partition => {
                cast(&Int32Array::from(vec![self.partition.number; good.len()]), field.data_type())?
            }
            Metadata::Offset => {
                let offset = |row: &u64| i64::try_from(offsets.get(*row)).unwrap_or(i64::MAX);
                Arc::new(good.iter().map(offset).map(Some).collect::<Int64Array>())
            }
            Metadata::Timestamp => {
                let times = self.beside.times_us.as_deref().unwrap_or_default();
                let times = at.map(|at| times.get(at).copied().flatten());
                let times: TimestampMicrosecondArray = times.collect();
                with_zone(times, field)
            }
            Metadata::Headers => {
                let headers = self.beside.headers.as_deref().unwrap_or_default();
                let headers = at.map(|at| headers.get(at)?.as_deref());
                Arc::new(headers.collect::<StringViewArray>())
            }
        };
        if !field.is_nullable() {
            let missing = wrong.iter_mut().enumerate().filter(|(row, _)| array.is_null(*row));
            for (_, wrong) in missing {
                let reason =
                    format!("column \"{}\": the message has no {}", field.name(), metadata.name());
                *wrong = wrong.take().or(Some((BadKind::Null, reason)));
            }
        }
        Ok(array)
    }
}

fn keys_of(
    field: &Field,
    keys: Option<&Messages>,
    good: &[u64],
    wrong: &mut [Option<(BadKind, String)>],
) -> Result<ArrayRef, ArrowError> {
    let Some(keys) = keys else {
        return Ok(new_null_array(field.data_type(), good.len()));
    };
    let at = |row: &u64| usize::try_from(*row).unwrap_or(usize::MAX);
    let key = |at: usize| (!keys.is_null(at)).then(|| keys.get(at));
    if *field.data_type() == DataType::Binary {
        let mut bytes = BinaryBuilder::new();
        good.iter().for_each(|row| bytes.append_option(key(at(row))));
        return Ok(Arc::new(bytes.finish()));
    }
    let mut texts = StringViewBuilder::new();
    for (row, wrong) in good.iter().zip(wrong) {
        match key(at(row)).map(std::str::from_utf8) {
            None => texts.append_null(),
            Some(Ok(text)) => texts.append_value(text),
            Some(Err(_)) => {
                texts.append_null();
                let reason = format!("column \"{}\": the key is not UTF-8", field.name());
                *wrong = wrong.take().or(Some((BadKind::Invalid, reason)));
            }
        }
    }
    Ok(Arc::new(texts.finish()))
}

/// The same times in the zone of the column.
fn with_zone(times: TimestampMicrosecondArray, field: &Field) -> ArrayRef {
    match field.data_type() {
        DataType::Timestamp(_, zone) => Arc::new(times.with_timezone_opt(zone.clone())),
        _ => Arc::new(times),
    }
}
