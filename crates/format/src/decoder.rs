//! A decoder of any format, chosen by options.

use arrow::datatypes::SchemaRef;

use crate::ahead;
use crate::copy::CopyDecoder;
use crate::csv::CsvDecoder;
use crate::decoded::{Decoded, count_lines};
use crate::error::FormatError;
use crate::json::{JsonDecoder, JsonLayout};
use crate::record_format::RecordFormat;
use yeoul_batch::{DecodeOptions, Format, TimeLimit};

/// Turns bytes of one format into rows of one schema.
///
/// Bytes that come in pieces: [`Decoder::begin`] with the first piece, then for each piece
/// [`Decoder::split`] to find how much of it is whole records, [`Decoder::decode`] for these, and
/// the tail goes in front of the next piece. A clone decodes other pieces of the same text on
/// another thread.
#[derive(Debug, Clone)]
pub enum Decoder {
    /// JSON.
    Json(Box<JsonDecoder>),
    /// CSV and TSV.
    Csv(Box<CsvDecoder>),
    /// COPY text.
    Copy(Box<CopyDecoder>),
}

impl Decoder {
    /// A decoder for the columns of `schema`.
    pub fn new(schema: SchemaRef, options: &DecodeOptions) -> Result<Self, FormatError> {
        Ok(match options.format.unwrap_or_default() {
            Format::Json => Self::Json(Box::new(JsonDecoder::new(schema, options)?)),
            Format::Csv | Format::Tsv => Self::Csv(Box::new(CsvDecoder::new(schema, options)?)),
            Format::CopyText => Self::Copy(Box::new(CopyDecoder::new(schema, options)?)),
            Format::Parquet | Format::Avro => return Err(FormatError::NotText),
            Format::DebeziumJson => return Err(FormatError::NoChanges),
        })
    }

    /// Prepares for a text that begins with `head`: reads the header, or tells the layout of JSON.
    /// Gives how many bytes are not rows, or `None` when `head` is too short to tell and `at_end`
    /// does not say that it is all.
    pub fn begin(&mut self, head: &[u8], at_end: bool) -> Result<Option<usize>, FormatError> {
        match self {
            Self::Json(json) => {
                json.set_layout(JsonLayout::detect(head));
                Ok(Some(if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }))
            }
            Self::Csv(csv) if csv.needs_header() => csv.read_header(head, at_end),
            Self::Csv(_) => Ok(Some(if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 })),
            Self::Copy(copy) if copy.needs_header() => copy.read_header(head, at_end),
            Self::Copy(_) => Ok(Some(0)),
        }
    }

    /// How many bytes at the beginning of `bytes` are whole records.
    #[must_use]
    pub fn split(&self, bytes: &[u8]) -> usize {
        match self {
            Self::Json(json) => json.split(bytes),
            Self::Csv(csv) => csv.split(bytes),
            Self::Copy(copy) => copy.split(bytes),
        }
    }

    /// Where each of the whole records in `bytes` ends, as [`Decoder::decode`] counts them: for
    /// sources that hand records on one by one and must know where they stand between two.
    #[must_use]
    pub fn record_ends(&self, bytes: &[u8]) -> Vec<usize> {
        match self {
            Self::Json(json) => json.record_ends(bytes),
            Self::Csv(csv) => csv.record_ends(bytes),
            Self::Copy(copy) => copy.record_ends(bytes),
        }
    }

    /// Decodes whole records as [`Decoder::decode`] does; rows whose times are beyond `limit` are bad.
    pub fn decode_until(
        &mut self,
        bytes: &[u8],
        limit: Option<&TimeLimit>,
    ) -> Result<Decoded, FormatError> {
        let Some(limit) = limit else { return self.decode(bytes) };
        let header = match self {
            Self::Csv(csv) if csv.needs_header() => csv.read_header(bytes, true)?,
            Self::Copy(copy) if copy.needs_header() => copy.read_header(bytes, true)?,
            _ => None,
        };
        let (header, records) = bytes.split_at(header.unwrap_or(0));
        let mut decoded = self.decode(records)?;
        let found = limit.ahead(&decoded.rows);
        if !found.is_empty() {
            let (ends, json) = (self.record_ends(records), matches!(self, Self::Json(_)));
            decoded = ahead::refuse(decoded, found, ahead::in_text(records, &ends, json))?;
        }
        let lines = count_lines(header);
        decoded.lines += lines;
        decoded.bad.iter_mut().for_each(|bad| bad.line += lines);
        Ok(decoded)
    }

    /// How the records are written: what is needed beside the columns to decode one of them again,
    /// alone and without the header of its text. A JSON object:
    /// `{"format":"csv","columns":["id","name"],"delimiter":";","quote":"\"","mapping":{"id":"key"}}`,
    /// of which JSON has `format` and `mapping` only, and an empty `quote` means that nothing quotes.
    /// The limits and the texts that mean null are not in it.
    #[must_use]
    pub fn record_format(&self) -> String {
        match self {
            Self::Json(json) => json.record_format().to_string(),
            Self::Csv(csv) => csv.record_format().to_string(),
            // Its bad rows end the COPY: nobody decodes one of them again.
            Self::Copy(_) => RecordFormat { format: "text", ..RecordFormat::default() }.to_string(),
        }
    }

    /// Decodes whole records. All rows come in one batch, so what bounds the bytes bounds the batch.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FormatError> {
        match self {
            Self::Json(json) => json.decode(bytes),
            Self::Csv(csv) => csv.decode(bytes),
            Self::Copy(copy) => copy.decode(bytes),
        }
    }
}
