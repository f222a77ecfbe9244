//! Messages that tell of changes to rows with a key, as rows that are there now and keys that are gone.
//!
//! ```text
//!   value     a row                     ▶ the row              envelope  c, r  after          ▶ the row
//!   no value  (a tombstone), with a key ▶ the key is gone                u     before, after  ▶ the row; the old key is gone
//!                                                                        d     before, or key ▶ the key is gone
//! ```
//!
//! Most messages are rows as they are, and a block of nothing else is decoded as it is in a stream.
//!
//! What must hold: every message is at least one row or exactly one bad row; a row's neighbours are as they were told,
//! in the order in which they were told.
//!
//! Not here: what was stored before; where several partitions tell of one key.

mod envelope;
mod keys;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::avro::AvroDecoder;
use crate::decoded::{BadKind, BadRow, Decoded, KeptValues, RowChanges, good_records};
use crate::decoder::Decoder;
use crate::error::FormatError;
use crate::messages::Messages;
use crate::record_format::RecordFormat;
use envelope::Envelope;
pub use keys::KeyFormat;
use keys::Keys;
use yeoul_batch::{DecodeOptions, FieldPath, Format};

/// Decodes messages about the rows of a table. See the module.
#[derive(Debug, Clone)]
pub struct ChangeDecoder {
    schema: SchemaRef,
    values: Values,
    keys: Keys,
    mapping: Vec<(String, FieldPath)>,
    row_bytes_max: usize,
}

/// How values are written.
#[derive(Debug, Clone)]
enum Values {
    Text(Box<Decoder>),
    Avro(Box<AvroDecoder>),
    Envelope(Box<Envelope>),
}

/// What a message says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// It is there: the row of the values.
    There(usize),
    /// The key of this row of the old keys is gone.
    Gone(usize),
    /// The key of the message is gone.
    ByKey,
}

/// What the values of messages were decoded to.
struct Told {
    /// Rows with all columns; those that are not `There` may be null.
    rows: RecordBatch,
    /// Keys of rows that are gone.
    old: Option<RecordBatch>,
    /// By record, ascending.
    pieces: Vec<(u64, Piece)>,
    bad: Vec<BadRow>,
    /// Values that stay as they are, by the row of `rows`.
    kept: Vec<(usize, Vec<usize>)>,
}

impl ChangeDecoder {
    /// A decoder of texts for the columns of `schema`, of which `key` are told by the keys of messages that have no
    /// value.
    pub fn new(
        schema: SchemaRef,
        key: &[usize],
        options: &DecodeOptions,
        key_format: KeyFormat,
    ) -> Result<Self, FormatError> {
        let values = match options.format {
            Some(Format::DebeziumJson) => {
                Values::Envelope(Box::new(Envelope::new(Arc::clone(&schema), key, options)?))
            }
            _ => Values::Text(Box::new(Decoder::for_messages(Arc::clone(&schema), options)?)),
        };
        Self::of(schema, key, options, key_format, values)
    }

    /// The same of Avro, which `values` decodes for the same columns.
    pub fn avro(
        schema: SchemaRef,
        key: &[usize],
        options: &DecodeOptions,
        key_format: KeyFormat,
        values: AvroDecoder,
    ) -> Result<Self, FormatError> {
        Self::of(schema, key, options, key_format, Values::Avro(Box::new(values)))
    }

    fn of(
        schema: SchemaRef,
        key: &[usize],
        options: &DecodeOptions,
        key_format: KeyFormat,
        values: Values,
    ) -> Result<Self, FormatError> {
        let keys = Keys::new(&schema, key, options, key_format)?;
        let (mapping, row_bytes_max) = (options.mapping.clone(), options.row_bytes_max);
        Ok(Self { schema, values, keys, mapping, row_bytes_max })
    }

    /// The schemas of Avro that have to be learned for these messages, as [`AvroDecoder::missing`] says: those of values,
    /// and those of keys.
    #[must_use]
    pub fn missing(&self, messages: &Messages, keys: Option<&Messages>) -> (Vec<u32>, Vec<u32>) {
        let values = match &self.values {
            Values::Avro(decoder) => decoder.missing(messages),
            Values::Text(_) | Values::Envelope(_) => Vec::new(),
        };
        let gone = (0..messages.len()).filter(|index| messages.is_null(*index));
        (values, self.keys.missing(gone, keys))
    }

    /// The decoders of Avro in it: they have to learn schemas. First that of values.
    pub fn avro_decoders(&mut self) -> (Option<&mut AvroDecoder>, Option<&mut AvroDecoder>) {
        let values = match &mut self.values {
            Values::Avro(decoder) => Some(&mut **decoder),
            Values::Text(_) | Values::Envelope(_) => None,
        };
        (values, self.keys.avro())
    }

    /// How the values are written: see [`Decoder::record_format`].
    #[must_use]
    pub fn record_format(&self) -> String {
        let mapping = &self.mapping;
        let of = |format| RecordFormat { format, mapping, ..RecordFormat::default() }.to_string();
        match &self.values {
            Values::Text(decoder) => decoder.record_format(),
            Values::Avro(_) => {
                RecordFormat { format: "avro", ..RecordFormat::default() }.to_string()
            }
            Values::Envelope(_) => of("debezium-json"),
        }
    }

    /// Decodes messages with their keys, as many as there are messages. Without `keys` nobody told them.
    pub fn decode_messages(
        &mut self,
        messages: &Messages,
        keys: Option<&Messages>,
    ) -> Result<Decoded, FormatError> {
        let decoded = match &mut self.values {
            Values::Text(decoder) => decoder.decode_messages(messages, None)?,
            Values::Avro(decoder) => decoder.decode_messages(messages, None)?,
            Values::Envelope(envelope) => {
                let decoded = envelope.decode(messages)?;
                let told = envelope.told(decoded, messages, self.row_bytes_max)?;
                return self.complete(told, messages, keys);
            }
        };
        if messages.iter().all(|message| message.is_some()) {
            return Ok(decoded);
        }
        let pieces = good_records(decoded.records, &decoded.bad).into_iter().zip(0..);
        let pieces = pieces.map(|(record, row)| (record, Piece::There(row))).collect();
        let Decoded { rows, bad, .. } = decoded;
        self.complete(Told { rows, old: None, pieces, bad, kept: Vec::new() }, messages, keys)
    }

    /// Puts rows and keys in their order.
    fn complete(
        &mut self,
        told: Told,
        messages: &Messages,
        keys: Option<&Messages>,
    ) -> Result<Decoded, FormatError> {
        let Told { rows, old, mut pieces, mut bad, kept } = told;
        let nulls = (0..messages.len()).filter(|index| messages.is_null(*index));
        pieces.extend(nulls.map(|index| (index as u64, Piece::ByKey)));
        bad.retain(|bad| !messages.is_null(usize::try_from(bad.row).unwrap_or(usize::MAX)));
        // Stable: of one record the key that is gone comes first.
        pieces.sort_by_key(|(record, _)| *record);
        let asked: Vec<u64> = pieces
            .iter()
            .filter(|(_, piece)| *piece == Piece::ByKey)
            .map(|(record, _)| *record)
            .collect();
        let by_key = self.keys.decode(&asked, keys)?;
        bad.extend(
            by_key
                .bad
                .into_iter()
                .map(|(record, reason)| self.refused(messages, record, BadKind::Malformed, reason)),
        );
        bad.sort_by_key(|bad| bad.row);
        let mut by_key_rows = by_key.rows_of.into_iter();
        let mut places = Vec::with_capacity(pieces.len());
        let mut changes = RowChanges::default();
        let mut place_of = vec![usize::MAX; if kept.is_empty() { 0 } else { rows.num_rows() }];
        for (record, piece) in pieces {
            let place = match piece {
                Piece::There(row) => (0, row),
                Piece::Gone(row) => (1, row),
                Piece::ByKey => match by_key_rows.next().flatten() {
                    Some(row) => (2, row),
                    None => continue,
                },
            };
            if place.0 == 0 && !kept.is_empty() {
                place_of[place.1] = places.len();
            }
            changes.deleted.push(place.0 != 0);
            changes.records.push(record);
            places.push(place);
        }
        for (row, columns) in kept {
            let place = place_of[row];
            let at = usize::try_from(changes.records[place]).unwrap_or(usize::MAX);
            let raw = messages.cut(at, self.row_bytes_max);
            changes.kept.push(KeptValues { row: place, columns, raw });
        }
        let internal = |e: ArrowError| FormatError::Internal(e.to_string());
        let old = old.map(|old| self.spread(&old)).transpose().map_err(internal)?;
        let keys = self.spread(&by_key.rows).map_err(internal)?;
        let rows = self.gather(&rows, old, &keys, &places).map_err(internal)?;
        let count = messages.len() as u64;
        Ok(Decoded { rows, bad, records: count, lines: count, changes: Some(Box::new(changes)) })
    }

    fn gather(
        &self,
        rows: &RecordBatch,
        old: Option<RecordBatch>,
        keys: &RecordBatch,
        places: &[(usize, usize)],
    ) -> Result<RecordBatch, ArrowError> {
        let strict = |rows: RecordBatch| {
            RecordBatch::try_new(Arc::clone(&self.schema), rows.columns().to_vec())
        };
        if places.iter().all(|(of, _)| *of == 0) {
            if places.len() == rows.num_rows() {
                return strict(rows.clone());
            }
            let chosen: UInt64Array = places.iter().map(|(_, row)| Some(*row as u64)).collect();
            return strict(take_record_batch(rows, &chosen)?);
        }
        let loose = loosened(&self.schema);
        let old = old.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&loose)));
        let rows = RecordBatch::try_new(loose, rows.columns().to_vec())?;
        strict(interleave_record_batch(&[&rows, &old, keys], places)?)
    }

    /// Rows that have these keys, and nothing else that means something. A key that is not whole is there too.
    fn spread(&self, keys: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let column = |(at, field): (usize, &Arc<Field>)| match self
            .keys
            .columns()
            .iter()
            .position(|column| *column == at)
        {
            Some(place) => Ok(Arc::clone(keys.column(place))),
            None => nothing(field, keys.num_rows()),
        };
        let columns = (0..).zip(self.schema.fields()).map(column).collect::<Result<_, _>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(keys.num_rows()));
        RecordBatch::try_new_with_options(loosened(&self.schema), columns, &options)
    }

    fn refused(&self, messages: &Messages, record: u64, kind: BadKind, reason: String) -> BadRow {
        let at = usize::try_from(record).unwrap_or(usize::MAX);
        BadRow {
            raw: messages.cut(at, self.row_bytes_max),
            reason,
            kind,
            row: record,
            line: record,
        }
    }
}

/// NULLs, or where there must be a value, zeros and empty texts.
fn nothing(field: &Field, rows: usize) -> Result<ArrayRef, ArrowError> {
    let nulls = new_null_array(field.data_type(), rows);
    if field.is_nullable() {
        return Ok(nulls);
    }
    let zeros = nulls.to_data().into_builder().nulls(None).build()?;
    Ok(arrow::array::make_array(zeros))
}

/// The same columns, each of which may be null.
fn loosened(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
