//! Foreign bytes ⇄ Arrow columns: JSON, CSV, TSV, Avro and the text of PostgreSQL's `COPY`.
//!
//! ```text
//!   bytes ──Decoder::split──▶ whole records ──Decoder::decode──▶ Decoded { rows, bad, … }
//!   Messages of a broker ──Decoder::, AvroDecoder::decode_messages──▶ Decoded, a record for each
//!   RecordBatch ──encode::{json_rows, csv_rows, copy_rows}──▶ bytes
//!   RecordBatch ──AvroEncoder, AvroEnvelope──▶ messages of a broker
//! ```
//!
//! What must hold:
//! - A record becomes exactly one row or exactly one [`BadRow`] with its bytes and a reason; a bad
//!   row never touches its neighbours.
//! - Every text of a value is read in one place (`value`), whatever format it came in.
//! - Rows are written straight into columns; nothing is allocated per row or per value.
//! - A message of a broker is exactly one record, whatever stands in it.
//! - Arbitrary bytes never make a decoder panic.
//!
//! Limits: a record longer than [`DecodeOptions::row_bytes_max`] is bad; JSON and Avro nest at most
//! 128 deep.
//!
//! Not here: sockets, files, compression, the engine, what a stream is.

mod ahead;
mod avro;
mod changes;
mod column;
mod copy;
mod csv;
mod decoded;
mod decoder;
pub mod encode;
mod error;
mod json;
mod messages;
mod record_format;
mod sheet;
mod value;

pub use avro::AvroDecoder;
pub use changes::{ChangeDecoder, KeyFormat};
pub use copy::CopyDecoder;
pub use csv::CsvDecoder;
pub use decoded::{BadKind, BadRow, Decoded, KeptValues, RowChanges, good_records};
pub use decoder::Decoder;
pub use encode::avro::{
    AvroEncoder, AvroEnvelope, AvroRow, AvroSource, avro_envelope_schema, avro_schema,
    confluent_prefix,
};
pub use error::FormatError;
pub use json::{JsonDecoder, JsonLayout};
pub use messages::Messages;
pub use value::ValueParser;
pub use yeoul_batch::{DecimalFormat, DecodeOptions, FieldPath, Format, TimeLimit, TimestampUnit};
