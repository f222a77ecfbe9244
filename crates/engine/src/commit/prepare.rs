//! What the caller's thread does for a delivery before it is queued, so that the commit thread need not:
//! which rows are believed, hashes of the unique key, and the bytes for the log.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray};
use arrow::array::{BinaryArray, TimestampMicrosecondArray};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;
use yeoul_store::{Fit, encode_batch};

use super::ahead;
use super::keys::Keys;
use super::letters::Returned;
use super::table::with_deleted;
use crate::catalog::{Body, Relation, StreamBody, TableBody, logged_letters};
use crate::delivery::{
    DeadLetter, Delivery, DeliveryRows, EncodedRows, KeptValues, Pace, Position,
};
use crate::error::{EngineError, ErrorKind};

/// A delivery ready for the commit thread.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub relation: Arc<Relation>,
    pub source: Arc<str>,
    pub partition: Arc<str>,
    pub position: Option<Position>,
    pub pace: Pace,
    pub idempotency: Option<u128>,
    /// In the relation's schema.
    pub rows: RecordBatch,
    /// For each row of a table whether its key is gone; `None`: none is.
    pub deleted: Option<BooleanArray>,
    /// Values that are taken from the stored rows.
    pub kept: Vec<KeptValues>,
    /// For the log; `None` when there are no rows.
    pub encoded: Option<Bytes>,
    /// The unique keys, when the stream has one.
    pub keys: Option<Keys>,
    /// In the schema of [`logged_letters`]; `None` when there are none.
    pub dead: Option<(RecordBatch, Bytes)>,
    /// How the bytes of the dead letters are written.
    pub format: Option<Arc<str>>,
    /// The dead letters that the rows were, when they are put back.
    pub returned: Option<Box<Returned>>,
}

impl Prepared {
    /// The same for `relation`, which may have been altered since: its rows under the columns of now.
    pub(crate) fn under(mut self, relation: &Arc<Relation>) -> Result<Self, EngineError> {
        if Arc::ptr_eq(&self.relation, relation) {
            return Ok(self);
        }
        if self.relation.schema != relation.schema {
            if !self.kept.is_empty() {
                let message =
                    format!("the columns of \"{}\" changed at the same time", relation.name);
                return Err(EngineError::new(ErrorKind::Conflict, message)
                    .with_hint("send the changes again"));
            }
            let fit = Fit::new(&self.relation.schema, &relation.schema)?;
            self.rows = fit.batch(&self.rows)?;
            self.encoded = logged(&self.rows, self.deleted.as_ref(), relation)?;
        }
        self.relation = Arc::clone(relation);
        Ok(self)
    }

    /// About how many bytes it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.get_array_memory_size()
            + self.encoded.as_ref().map_or(0, Bytes::len)
            + self.dead.as_ref().map_or(0, |(rows, _)| rows.get_array_memory_size())
            + self.kept.iter().map(|kept| kept.letter.raw.len()).sum::<usize>()
            + self.returned.as_ref().map_or(0, |returned| returned.bytes())
    }
}

/// Checks a delivery against its relation and does the work that needs no order.
pub(crate) fn prepare(
    mut delivery: Delivery,
    relation: Arc<Relation>,
    now_us: i64,
) -> Result<Prepared, EngineError> {
    if let DeliveryRows::Plain(rows) = &delivery.rows {
        check_columns(rows, &relation)?;
    }
    ahead::refuse(&mut delivery, &relation, now_us)?;
    let rows = delivery.rows.num_rows();
    if u32::try_from(rows + delivery.dead_letters.len()).is_err() {
        return Err(EngineError::new(ErrorKind::Limit, format!("a delivery of {rows} rows"))
            .with_hint("send fewer rows at once"));
    }
    let dead = if delivery.dead_letters.is_empty() {
        None
    } else {
        let letters = &delivery.dead_letters;
        let of = (delivery.stream.name(), &*delivery.source, &*delivery.partition);
        let batch = dead_batch(of, letters, now_us)?;
        let bytes = encode_batch(&batch)?;
        Some((batch, bytes))
    };
    let idempotency = delivery.idempotency_key.as_ref().map(|key| {
        let name = format!("{}\u{0}{key}", relation.name);
        xxh3_128(name.as_bytes())
    });
    let has_kept = !delivery.kept.is_empty();
    let EncodedRows { rows, deleted, encoded, keys, .. } = match delivery.rows {
        DeliveryRows::Plain(rows) => encode(rows, None, &relation)?,
        DeliveryRows::Encoded(encoded) if encoded.relation == relation.id => encoded,
        DeliveryRows::Encoded(_) => {
            let message = format!("rows for \"{}\" were encoded for another stream", relation.name);
            return Err(EngineError::new(ErrorKind::Internal, message));
        }
    };
    Ok(Prepared {
        relation,
        source: delivery.source,
        partition: delivery.partition,
        position: delivery.position,
        pace: delivery.pace,
        idempotency,
        rows,
        deleted,
        kept: delivery.kept,
        encoded,
        keys,
        format: delivery.format.filter(|_| dead.is_some() || has_kept),
        dead,
        returned: None,
    })
}

/// Checks rows against their relation, hashes their keys and encodes them for the log. Of rows of a table `deleted` says
/// which ones only say that their key is gone.
pub(crate) fn encode(
    rows: RecordBatch,
    deleted: Option<BooleanArray>,
    relation: &Relation,
) -> Result<EncodedRows, EngineError> {
    check_columns(&rows, relation)?;
    let has_key = matches!(&relation.body, Body::Table(TableBody { with_row_id, .. }) if with_row_id.is_none());
    if deleted.as_ref().is_some_and(|deleted| !has_key || deleted.len() != rows.num_rows()) {
        let message = format!("rows of \"{}\" cannot be deleted by their key", relation.name);
        return Err(EngineError::new(ErrorKind::Internal, message));
    }
    let keys = match &relation.body {
        Body::Stream(StreamBody { unique: Some((columns, _)), .. }) => {
            Some(Keys::of(&rows, columns)?)
        }
        _ => None,
    };
    let encoded = logged(&rows, deleted.as_ref(), relation)?;
    Ok(EncodedRows { relation: relation.id, rows, deleted, encoded, keys })
}

/// The bytes of rows for the log.
pub(super) fn logged(
    rows: &RecordBatch,
    deleted: Option<&BooleanArray>,
    relation: &Relation,
) -> Result<Option<Bytes>, EngineError> {
    if rows.num_rows() == 0 {
        return Ok(None);
    }
    Ok(Some(match deleted {
        Some(deleted) => encode_batch(&with_deleted(rows, deleted.clone(), relation)?)?,
        None => encode_batch(rows)?,
    }))
}

/// A row must bring what its relation declares: types, and values where NULL is not allowed.
fn check_columns(rows: &RecordBatch, relation: &Relation) -> Result<(), EngineError> {
    let expected = &relation.schema;
    let same_types = rows.num_columns() == expected.fields().len()
        && rows
            .columns()
            .iter()
            .zip(expected.fields())
            .all(|(column, field)| column.data_type() == field.data_type());
    if !same_types {
        return Err(EngineError::new(
            ErrorKind::Internal,
            format!("rows for \"{}\" have other columns than it", relation.name),
        )
        .with_detail(format!("expected {:?}, found {:?}", expected, rows.schema())));
    }
    for (column, field) in rows.columns().iter().zip(expected.fields()) {
        if !field.is_nullable() && column.null_count() > 0 {
            return Err(EngineError::new(
                ErrorKind::Input,
                format!("column \"{}\" of \"{}\" must not be null", field.name(), relation.name),
            )
            .with_sqlstate("23502")
            .with_hint("give it a value in every row"));
        }
    }
    Ok(())
}

/// Dead letters of a stream from a partition of a source, for the log.
pub(super) fn dead_batch(
    (stream, source, partition): (&str, &str, &str),
    letters: &[DeadLetter],
    now_us: i64,
) -> Result<RecordBatch, EngineError> {
    let same = |text: &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(text, letters.len())))
    };
    let each = |text: fn(&DeadLetter) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(letters.iter().map(text)))
    };
    let at: TimestampMicrosecondArray =
        Int64Array::from(vec![now_us; letters.len()]).reinterpret_cast();
    let columns: Vec<ArrayRef> = vec![
        same(stream),
        same(source),
        same(partition),
        each(|letter| &letter.position),
        Arc::new(at.with_timezone("UTC")),
        each(|letter| &letter.reason),
        Arc::new(BinaryArray::from_iter_values(letters.iter().map(|letter| &letter.raw))),
    ];
    Ok(RecordBatch::try_new(Arc::clone(logged_letters()), columns)?)
}
