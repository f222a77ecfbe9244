//! CSV (RFC 4180) and TSV into columns.
//!
//! ```text
//!   record:  field , "field with "" and , and line ends" , field \n
//! ```
//!
//! A quote opens a field only at its beginning; elsewhere it is a character like any other. Unquoted
//! text can be null, quoted text never is: that is why the records are scanned here.
//!
//! What must hold: a record whose quotes are wrong costs its first line and no more; what follows is
//! read as new records. Every record has as many fields as the header.
//!
//! A header's names are matched exactly, or else without regard to case; names that are no columns
//! are passed over, columns that are not named are null.

mod fields;
mod messages;
mod record;

use arrow::datatypes::SchemaRef;

use crate::column::Forms;
use crate::decoded::{Decoded, Progress, Refusal, count_lines, too_long};
use crate::error::FormatError;
use crate::record_format::RecordFormat;
use crate::sheet::Sheet;
use crate::value::push_span;
pub(crate) use fields::{FieldMap, Nulls};
use record::{Dialect, FieldEnd};
use yeoul_batch::{DecodeOptions, Format};

/// Decodes CSV and TSV.
#[derive(Debug, Clone)]
pub struct CsvDecoder {
    sheet: Sheet,
    dialect: Dialect,
    nulls: Nulls,
    fields: FieldMap,
    scratch: String,
    row_bytes_max: usize,
}

impl CsvDecoder {
    /// A decoder for the columns of `schema`.
    pub fn new(schema: SchemaRef, options: &DecodeOptions) -> Result<Self, FormatError> {
        let sheet = Sheet::new(schema, Forms::of(options))?;
        let (delimiter, quote) = match options.format {
            Some(Format::Tsv) => (b'\t', None),
            _ => (b',', Some(b'"')),
        };
        let dialect = Dialect {
            delimiter: options.delimiter.unwrap_or(delimiter),
            quote: options.quote.unwrap_or(quote),
        };
        let fields = FieldMap::new(&sheet, options, options.columns.is_none())?;
        Ok(Self {
            nulls: Nulls::new(&sheet, options.nulls.as_deref().unwrap_or(&[String::new()]), true),
            sheet,
            dialect,
            fields,
            scratch: String::new(),
            row_bytes_max: options.row_bytes_max,
        })
    }

    /// Whether the first record is a header that was not read yet.
    #[must_use]
    pub fn needs_header(&self) -> bool {
        self.fields.header_pending
    }

    /// Reads the header at the beginning of `bytes` and gives its length; `None` if its end is not
    /// there yet. With `at_end` the end of the bytes ends it too.
    pub fn read_header(
        &mut self,
        bytes: &[u8],
        at_end: bool,
    ) -> Result<Option<usize>, FormatError> {
        let bom = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let bytes = &bytes[bom..];
        let len = match self.dialect.record_len(bytes) {
            Some(len) => len,
            None if at_end => bytes.len(),
            None => return Ok(None),
        };
        let text = String::from_utf8_lossy(&bytes[..len]);
        let mut names = Vec::new();
        let mut at = 0;
        while let Ok(field) = self.dialect.field(&text, at, text.len()) {
            names.push(field.text(&text, self.dialect, &mut self.scratch).trim().to_owned());
            at = field.next;
            if field.end != FieldEnd::Delimiter {
                break;
            }
        }
        self.fields.set_header(&self.sheet, &names)?;
        Ok(Some(bom + len))
    }

    /// How the records are written, as [`crate::Decoder::record_format`] says it.
    pub(crate) fn record_format(&self) -> RecordFormat<'_> {
        let (columns, mapping) = self.fields.names();
        RecordFormat {
            format: "csv",
            columns,
            mapping,
            delimiter: Some(self.dialect.delimiter),
            quote: self.dialect.quote,
        }
    }

    /// The longest record that is taken.
    pub(crate) fn row_bytes_max(&self) -> usize {
        self.row_bytes_max
    }

    /// How many bytes at the beginning of `bytes` are whole records.
    #[must_use]
    pub fn split(&self, bytes: &[u8]) -> usize {
        self.dialect.split(bytes)
    }

    /// Where each record in `bytes` ends.
    pub(crate) fn record_ends(&self, bytes: &[u8]) -> Vec<usize> {
        let (mut at, mut ends) = (0, Vec::new());
        while at < bytes.len() {
            match &bytes[at..] {
                [b'\n', ..] => at += 1,
                [b'\r', b'\n', ..] => at += 2,
                rest => {
                    at += self.dialect.last_record_len(rest);
                    ends.push(at);
                }
            }
        }
        ends
    }

    /// Decodes whole records; a header that is still expected comes first.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FormatError> {
        let mut progress = Progress::default();
        let mut rest = bytes;
        if self.needs_header() && !rest.is_empty() {
            let len = self.read_header(rest, true)?.unwrap_or(0);
            progress.lines += count_lines(&rest[..len]);
            rest = &rest[len..];
        }
        if let Ok(text) = std::str::from_utf8(rest) {
            self.records(text, &mut progress);
        } else {
            while !rest.is_empty() {
                let len = self.dialect.last_record_len(rest);
                let record = &rest[..len];
                match std::str::from_utf8(record) {
                    Ok(text) => self.records(text, &mut progress),
                    Err(e) => {
                        let reason = format!("invalid UTF-8 at byte {}", e.valid_up_to());
                        progress.refuse(record, self.row_bytes_max, reason);
                        progress.lines += count_lines(record);
                    }
                }
                rest = &rest[len..];
            }
        }
        let rows = self.sheet.finish()?;
        Ok(progress.finish(rows))
    }

    fn records(&mut self, text: &str, progress: &mut Progress) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let blank = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest[0] == b'\n') };
            if blank > 0 {
                progress.lines += 1;
                at += blank;
                continue;
            }
            let end = match self.record(text, at) {
                Ok((end, quoted)) => {
                    progress.records += 1;
                    if !quoted {
                        // What has no quotes is one line.
                        progress.lines += u64::from(bytes[end - 1] == b'\n');
                        at = end;
                        continue;
                    }
                    end
                }
                Err((reason, end)) => {
                    self.sheet.undo();
                    // Wrong quotes cost one line, whatever they seemed to hold.
                    let line = || memchr::memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
                    let end = end.unwrap_or_else(|| at + line());
                    progress.refuse(&bytes[at..end], self.row_bytes_max, reason);
                    end
                }
            };
            progress.lines += count_lines(&bytes[at..end]);
            at = end;
        }
    }

    /// Decodes the record at `start` and gives its end and whether it has quotes; the end on an error
    /// too, unless its quotes are wrong.
    fn record(
        &mut self,
        text: &str,
        start: usize,
    ) -> Result<(usize, bool), (Refusal, Option<usize>)> {
        let read = self
            .fields(text, start, text.len())
            .map_err(|reason| (reason.to_owned().into(), None))?;
        self.end_row(&read, read.end - start).map_err(|why| (why, Some(read.end)))?;
        Ok((read.end, read.quoted))
    }

    /// Reads the fields of the record at `start`. Quoted ones do not pass `limit`, and others no line.
    #[inline]
    fn fields(&mut self, text: &str, start: usize, limit: usize) -> Result<Record, &'static str> {
        let (mut at, mut count, mut quoted) = (start, 0, false);
        loop {
            let field = self.dialect.field(text, at, limit)?;
            if let Some(targets) = self.fields.targets.get(count) {
                for &column in targets {
                    let (value, start, stop) = if field.doubled {
                        let value = field.text(text, self.dialect, &mut self.scratch);
                        (value, 0, value.len())
                    } else {
                        (text, field.start, field.stop)
                    };
                    let value = Value { text: value, start, stop };
                    let null = !field.quoted && self.nulls.contains(column, value.get());
                    push(&mut self.sheet, column, value, null);
                }
            }
            count += 1;
            at = field.next;
            quoted |= field.quoted;
            if field.end != FieldEnd::Delimiter {
                return Ok(Record { end: at, count, quoted });
            }
        }
    }

    /// Completes the row of a record of `len` bytes.
    #[inline]
    fn end_row(&mut self, record: &Record, len: usize) -> Result<(), Refusal> {
        let (count, expected) = (record.count, self.fields.targets.len());
        if count != expected {
            return Err(format!("the record has {count} fields instead of {expected}").into());
        }
        if len > self.row_bytes_max {
            return Err(too_long(len, self.row_bytes_max).into());
        }
        self.sheet.end_row()
    }
}

/// A record whose fields were read.
struct Record {
    /// Where the next one begins.
    end: usize,
    /// How many fields it has.
    count: usize,
    quoted: bool,
}

/// A value inside a text.
#[derive(Clone, Copy)]
struct Value<'a> {
    text: &'a str,
    start: usize,
    stop: usize,
}

impl<'a> Value<'a> {
    #[inline]
    fn get(self) -> &'a str {
        &self.text[self.start..self.stop]
    }
}

#[inline]
fn push(sheet: &mut Sheet, index: usize, value: Value<'_>, null: bool) {
    let column = sheet.begin(index);
    if null {
        column.push_null();
    } else if let Err(misfit) = push_span(column, value.text, value.start, value.stop) {
        sheet.misfit(index, misfit, value.get().as_bytes());
    }
}
