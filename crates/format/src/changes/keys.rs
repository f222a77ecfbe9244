//! Keys of messages as the key columns of a table.
//!
//! | key format | what a key is |
//! |---|---|
//! | JSON | an object of the key's columns, alone or as the `payload` of Kafka Connect; for one column its value too, as JSON or as it is |
//! | text | the value of the one column |
//! | Avro | a record of the key's columns, whose schema is registered |

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::envelope::both_forms;
use crate::avro::AvroDecoder;
use crate::column::Forms;
use crate::decoded::{Decoded, Progress, Refusal};
use crate::encode::json_string;
use crate::error::FormatError;
use crate::json::JsonDecoder;
use crate::messages::Messages;
use crate::sheet::{Sheet, paths_of};
use crate::value::push_text;
use yeoul_batch::DecodeOptions;

/// How keys of messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyFormat {
    /// JSON.
    #[default]
    Json,
    /// The text of one value.
    Text,
    /// Avro's registered form.
    Avro,
}

/// What the keys of some messages were decoded to.
pub(super) struct ByKey {
    pub(super) rows: RecordBatch,
    /// The row of each key that was asked for, unless it is bad.
    pub(super) rows_of: Vec<Option<usize>>,
    /// The record, and why its key is none.
    pub(super) bad: Vec<(u64, String)>,
}

/// Decodes keys.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// Their columns in the table.
    columns: Vec<usize>,
    schema: SchemaRef,
    decoder: KeyDecoder,
}

#[derive(Debug, Clone)]
enum KeyDecoder {
    /// With the name of the only column.
    Json(Box<JsonDecoder>, Option<String>),
    Text(Box<Sheet>),
    Avro(Box<AvroDecoder>),
}

impl Keys {
    pub(super) fn new(
        schema: &Schema,
        key: &[usize],
        options: &DecodeOptions,
        format: KeyFormat,
    ) -> Result<Self, FormatError> {
        let paths = paths_of(schema, options)?;
        let fields: Vec<_> =
            key.iter().map(|column| Arc::clone(&schema.fields()[*column])).collect();
        let keys = Arc::new(Schema::new(fields));
        let decoder = match format {
            KeyFormat::Json => {
                let of = |column: &usize| {
                    let name = schema.field(*column).name();
                    let mut all = both_forms(&[], &paths[*column]);
                    if paths[*column] != [name.clone()] {
                        all.extend(both_forms(&[], std::slice::from_ref(name)));
                    }
                    all
                };
                let paths: Vec<_> = key.iter().map(of).collect();
                let only = match keys.fields() {
                    fields if fields.len() == 1 => Some(fields[0].name().clone()),
                    _ => None,
                };
                let decoder = JsonDecoder::of_paths(Arc::clone(&keys), options, &paths)?;
                KeyDecoder::Json(Box::new(decoder), only)
            }
            KeyFormat::Text if key.len() > 1 => return Err(FormatError::TextKey),
            KeyFormat::Text => {
                KeyDecoder::Text(Box::new(Sheet::new(Arc::clone(&keys), Forms::of(options))?))
            }
            KeyFormat::Avro => {
                let named = |(column, _): &&(String, _)| keys.index_of(column).is_ok();
                let mapping = options.mapping.iter().filter(named).cloned().collect();
                let options = DecodeOptions { mapping, ..options.clone() };
                KeyDecoder::Avro(Box::new(AvroDecoder::registered(Arc::clone(&keys), &options)?))
            }
        };
        Ok(Self { columns: key.to_vec(), schema: keys, decoder })
    }

    /// The columns of the table that are its key.
    pub(super) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The schemas of the keys of the messages `records` that have to be learned.
    pub(super) fn missing(
        &self,
        records: impl Iterator<Item = usize>,
        keys: Option<&Messages>,
    ) -> Vec<u32> {
        let (KeyDecoder::Avro(decoder), Some(keys)) = (&self.decoder, keys) else {
            return Vec::new();
        };
        if self.columns.is_empty() {
            return Vec::new();
        }
        let mut asked = Messages::default();
        records.for_each(|record| asked.push(keys.get(record)));
        decoder.missing(&asked)
    }

    pub(super) fn avro(&mut self) -> Option<&mut AvroDecoder> {
        match &mut self.decoder {
            KeyDecoder::Avro(decoder) if !self.columns.is_empty() => Some(decoder),
            _ => None,
        }
    }

    /// The keys of the messages `records`.
    pub(super) fn decode(
        &mut self,
        records: &[u64],
        keys: Option<&Messages>,
    ) -> Result<ByKey, FormatError> {
        let rows_of = (0..records.len()).map(Some).collect();
        if records.is_empty() || self.columns.is_empty() {
            // Every key column is told beside the message.
            let options =
                arrow::array::RecordBatchOptions::new().with_row_count(Some(records.len()));
            let rows = match self.columns.is_empty() {
                true => RecordBatch::try_new_with_options(
                    Arc::clone(&self.schema),
                    Vec::new(),
                    &options,
                )
                .map_err(|e| FormatError::Internal(e.to_string()))?,
                false => RecordBatch::new_empty(Arc::clone(&self.schema)),
            };
            return Ok(ByKey { rows, rows_of, bad: Vec::new() });
        }
        let mut asked = Messages::default();
        for &record in records {
            let at = usize::try_from(record).unwrap_or(usize::MAX);
            match keys.and_then(|keys| (!keys.is_null(at)).then(|| keys.get(at))) {
                Some(key) => self.ask(key, &mut asked),
                None => asked.push_null(),
            }
        }
        let decoded = match &mut self.decoder {
            KeyDecoder::Json(decoder, _) => decoder.decode_messages(&asked)?,
            KeyDecoder::Text(sheet) => texts(sheet, &asked)?,
            KeyDecoder::Avro(decoder) => decoder.decode_messages(&asked, None)?,
        };
        let mut bad = Vec::new();
        let mut rows_of = Vec::with_capacity(records.len());
        let (mut refused, mut row) = (decoded.bad.into_iter().peekable(), 0);
        for (at, &record) in records.iter().enumerate() {
            let wrong = refused.next_if(|bad| bad.row == at as u64);
            let Some(wrong) = wrong else {
                rows_of.push(Some(row));
                row += 1;
                continue;
            };
            rows_of.push(None);
            let reason = match asked.is_null(at) {
                true => {
                    "the message says that a row is gone, and has no key that says which".to_owned()
                }
                false => format!("the key of the row that is gone: {}", wrong.reason),
            };
            bad.push((record, reason));
        }
        Ok(ByKey { rows: decoded.rows, rows_of, bad })
    }

    /// Adds a key to those that are decoded; a single value of JSON as the object it stands for.
    fn ask(&self, key: &[u8], asked: &mut Messages) {
        match &self.decoder {
            KeyDecoder::Json(_, Some(name)) if !key.trim_ascii_start().starts_with(b"{") => {
                let mut object = b"{".to_vec();
                json_string(name, &mut object);
                object.push(b':');
                match std::str::from_utf8(key) {
                    // A whole string, and not one with more behind it: that would be another member.
                    Ok(text) if text.trim_ascii_start().starts_with('"') && is_json(text) => {
                        object.extend_from_slice(key);
                    }
                    Ok(text) => json_string(text, &mut object),
                    Err(_) => object.extend_from_slice(key),
                }
                object.push(b'}');
                asked.push(&object);
            }
            _ => asked.push(key),
        }
    }
}

fn is_json(text: &str) -> bool {
    crate::json::compact(text).is_some()
}

/// Each message as the value of the only column.
fn texts(sheet: &mut Sheet, messages: &Messages) -> Result<Decoded, FormatError> {
    let mut progress = Progress::default();
    for message in messages.iter() {
        let bytes = message.unwrap_or_default();
        let done = match (message, std::str::from_utf8(bytes)) {
            (None, _) => Err(Refusal::from(String::new())),
            (_, Err(_)) => Err("it is not UTF-8".to_owned().into()),
            (_, Ok(text)) => {
                if let Err(misfit) = push_text(sheet.begin(0), text) {
                    sheet.misfit(0, misfit, bytes);
                }
                sheet.end_row()
            }
        };
        match done {
            Ok(()) => progress.take_message(),
            Err(why) => progress.refuse_message(bytes, bytes.len(), why),
        }
    }
    Ok(progress.finish(sheet.finish()?))
}
