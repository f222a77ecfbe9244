//! Avro messages: a record in Avro's binary encoding, whose writer's schema is known beside it.
//!
//! ```text
//!   plain        fields of the record, one after the other
//!   registered   0u8 | number of the schema, u32, highest byte first | fields of the record
//! ```
//!
//! The fields of a writer's schema are planned once: each goes to the columns that ask for it, or is
//! passed. A message is then one pass over its bytes, straight into columns.
//!
//! What must hold: what the registered form calls unknown is asked for ([`AvroDecoder::missing`]) and
//! never guessed; a message that ends early, goes on behind its record, or has a value that does not
//! fit its column is bad alone.
//!
//! Limits: values nest at most 128 deep; decimals have at most 64 bytes.
//!
//! Not here: files of Avro, which have their schema in front; the registry itself; writing, which is
//! in [`crate::encode`].

mod cursor;
mod plan;
mod rows;
mod schema;
mod shown;
mod value;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;

use crate::column::Forms;
use crate::decoded::{Decoded, Progress, Refusal, too_long};
use crate::error::FormatError;
use crate::messages::Messages;
use crate::sheet::{Sheet, paths_of};
use plan::Plan;
use rows::Rows;
use schema::WriterSchema;
use yeoul_batch::{DecodeOptions, TimeLimit};

/// How many numbers of schemas may be refused at a time: messages can hold any number, and more than
/// this are forgotten, to be asked for again.
const REFUSED_MAX: usize = 1_000;

/// The bytes in front of a registered message.
const PREFIX_LEN: usize = 5;

/// Decodes Avro messages.
///
/// In the registered form schemas are learned: a block is decoded when none of its schemas is
/// [`AvroDecoder::missing`], that is when each was [learned](AvroDecoder::learn) or
/// [refused](AvroDecoder::refuse). A clone keeps what was learned, and can be
/// [told](AvroDecoder::learn_from) what another one learned since.
#[derive(Debug, Clone)]
pub struct AvroDecoder {
    sheet: Sheet,
    /// The path to each column's value.
    paths: Vec<Vec<String>>,
    schemas: Schemas,
    scratch: Vec<u8>,
    row_bytes_max: usize,
}

/// The schemas of the writers.
#[derive(Debug, Clone)]
enum Schemas {
    /// All messages have the same.
    One(Arc<Plan>),
    /// By the number in front of a message: what to do with it, or why its messages are bad.
    Registered(Arc<HashMap<u32, Result<Arc<Plan>, String>>>),
}

impl AvroDecoder {
    /// A decoder of plain messages, all written with the schema whose JSON text is `writer`. Of the
    /// `options` it takes `mapping`, `timestamp_unit` and `row_bytes_max`.
    pub fn plain(
        schema: SchemaRef,
        options: &DecodeOptions,
        writer: &str,
    ) -> Result<Self, FormatError> {
        let mut decoder = Self::registered(schema, options)?;
        decoder.schemas = Schemas::One(Arc::new(decoder.plan(writer, &[])?));
        Ok(decoder)
    }

    /// A decoder of messages that name their schemas by number, of which none is known yet.
    pub fn registered(schema: SchemaRef, options: &DecodeOptions) -> Result<Self, FormatError> {
        let paths = paths_of(&schema, options)?;
        Ok(Self {
            sheet: Sheet::new(schema, Forms::of(options))?,
            paths,
            schemas: Schemas::Registered(Arc::default()),
            scratch: Vec::new(),
            row_bytes_max: options.row_bytes_max,
        })
    }

    /// The numbers of schemas that stand in `messages` and were neither learned nor refused,
    /// ascending, each once. None for plain messages.
    #[must_use]
    pub fn missing(&self, messages: &Messages) -> Vec<u32> {
        let Schemas::Registered(known) = &self.schemas else { return Vec::new() };
        let mut missing = Vec::new();
        let mut last = None;
        for message in messages.iter().flatten() {
            let Ok(id) = schema_id(message) else { continue };
            if last != Some(id) && !known.contains_key(&id) {
                missing.push(id);
            }
            last = Some(id);
        }
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Learns that the schema `id` has the JSON text `schema`, which may name types that are defined
    /// in `references`. On an error (no schema; no record; none of its fields is a column) it is
    /// refused, with the error as its reason.
    pub fn learn(&mut self, id: u32, schema: &str, references: &[&str]) -> Result<(), FormatError> {
        match self.plan(schema, references) {
            Ok(plan) => {
                self.put(id, Ok(Arc::new(plan)));
                Ok(())
            }
            Err(error) => {
                self.refuse(id, &error.to_string());
                Err(error)
            }
        }
    }

    /// Notes that the schema `id` cannot be had: its messages are bad rows with `reason`.
    pub fn refuse(&mut self, id: u32, reason: &str) {
        self.put(id, Err(format!("schema {id}: {reason}")));
    }

    /// Knows what `other` has learned, and no more. Both must be decoders of the same columns.
    pub fn learn_from(&mut self, other: &Self) {
        self.schemas = other.schemas.clone();
    }

    fn put(&mut self, id: u32, schema: Result<Arc<Plan>, String>) {
        if let Schemas::Registered(known) = &mut self.schemas {
            let known = Arc::make_mut(known);
            if known.values().filter(|one| one.is_err()).count() >= REFUSED_MAX {
                known.retain(|_, one| one.is_ok());
            }
            known.insert(id, schema);
        }
    }

    fn plan(&self, schema: &str, references: &[&str]) -> Result<Plan, FormatError> {
        let schema = WriterSchema::parse(schema, references)?;
        Plan::new(schema, &self.paths, &|| self.sheet.column_list())
    }

    /// Decodes messages, as [`crate::Decoder::decode_messages`] does. While schemas are
    /// [missing](Self::missing) nothing is decoded, and the error names them.
    pub fn decode_messages(
        &mut self,
        messages: &Messages,
        limit: Option<&TimeLimit>,
    ) -> Result<Decoded, FormatError> {
        let missing = self.missing(messages);
        if !missing.is_empty() {
            return Err(FormatError::SchemasMissing(missing));
        }
        let mut progress = Progress::default();
        let schemas = self.schemas.clone();
        let mut last: Option<(u32, &Result<Arc<Plan>, String>)> = None;
        for index in 0..messages.len() {
            let message = messages.get(index);
            let done = if message.is_empty() {
                Err(messages.nothing(index))
            } else if message.len() > self.row_bytes_max {
                Err(too_long(message.len(), self.row_bytes_max).into())
            } else {
                match &schemas {
                    Schemas::One(plan) => self.message(plan, message, 0),
                    Schemas::Registered(known) => schema_id(message).and_then(|id| {
                        let plan = match last {
                            Some((same, plan)) if same == id => plan,
                            _ => known.get(&id).expect("none of their schemas is missing"),
                        };
                        last = Some((id, plan));
                        match plan {
                            Ok(plan) => self.message(plan, message, PREFIX_LEN),
                            Err(reason) => Err(reason.clone().into()),
                        }
                    }),
                }
            };
            match done {
                Ok(()) => progress.take_message(),
                Err(why) => progress.refuse_message(message, self.row_bytes_max, why),
            }
        }
        let decoded = progress.finish(self.sheet.finish()?);
        messages.refuse_ahead(decoded, self.row_bytes_max, limit)
    }

    /// Decodes the message whose record begins at `start`.
    fn message(&mut self, plan: &Plan, message: &[u8], start: usize) -> Result<(), Refusal> {
        let mut rows = Rows { plan, sheet: &mut self.sheet, scratch: &mut self.scratch };
        match rows.message(message, start) {
            Ok(()) => self.sheet.end_row(),
            Err(reason) => {
                self.sheet.undo();
                Err(reason.into())
            }
        }
    }
}

/// The number of a registered message's schema.
fn schema_id(message: &[u8]) -> Result<u32, Refusal> {
    match message {
        [0, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        [0, ..] => Err("the message ends inside the number of its schema".to_owned().into()),
        [first, ..] => {
            Err(format!("the message begins with the byte {first}, not with 0 and its schema")
                .into())
        }
        [] => Err("the message is empty".to_owned().into()),
    }
}
