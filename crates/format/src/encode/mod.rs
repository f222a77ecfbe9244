//! Rows into bytes: JSON, CSV, COPY text; Avro in a module of its own.
//!
//! | type | JSON | CSV and COPY (PostgreSQL's text) |
//! |---|---|---|
//! | boolean | `true` | `t` |
//! | integers, numeric | a number with all its digits | the same |
//! | real, double | the shortest number that reads back; `null` if not finite | the same; `NaN`, `Infinity` |
//! | timestamptz | `"2019-11-24T00:00:34.762830Z"` | `2019-11-24 00:00:34.76283+00` |
//! | timestamp | the same without `Z` | the same without `+00` |
//! | date, time, interval, uuid | a string as PostgreSQL writes it | that |
//! | jsonb | as it is | as it is |
//! | bytea | `"\\x…"` | `\x…` |
//! | T[] | an array | `{a,"b c",NULL}` |
//!
//! Numbers stay numbers in JSON, with all digits, as PostgreSQL's `row_to_json` and ClickHouse do:
//! readers that keep doubles only lose what is beyond 2⁵³.
//! Whole columns are resolved once per batch; a row is then one pass over them without allocation.

pub(crate) mod avro;
mod cells;
pub(crate) mod digits;
mod json;
mod text;
mod writer;

use arrow::array::{Array, RecordBatch};
use arrow::error::ArrowError;

use crate::error::FormatError;
use cells::Cells;
pub use writer::{CsvWriter, JsonWriter};

/// How a row of JSON looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonRow {
    /// `{"a":1,"b":2}`
    Object,
    /// `[1,2]`
    Array,
}

/// What a row becomes.
#[derive(Debug, Clone, Copy)]
enum Style {
    Json(JsonRow),
    Csv { delimiter: u8 },
    Copy,
}

/// Writes the rows of one batch.
#[derive(Debug)]
pub struct Encoder {
    style: Style,
    columns: Vec<Cells>,
    /// What stands before each value: in JSON objects the key, else a delimiter.
    gaps: Vec<Vec<u8>>,
    names: Vec<String>,
    rows: usize,
}

impl Encoder {
    /// An encoder to JSON. Rows have no line end.
    pub fn json(rows: &RecordBatch, row: JsonRow) -> Result<Self, FormatError> {
        Self::new(rows, Style::Json(row))
    }

    /// An encoder to CSV. Rows end with `\n`; null is the empty text and an empty text is `""`.
    pub fn csv(rows: &RecordBatch, delimiter: u8) -> Result<Self, FormatError> {
        Self::new(rows, Style::Csv { delimiter })
    }

    /// An encoder to COPY text. Rows end with `\n`.
    pub fn copy(rows: &RecordBatch) -> Result<Self, FormatError> {
        Self::new(rows, Style::Copy)
    }

    fn new(rows: &RecordBatch, style: Style) -> Result<Self, FormatError> {
        let internal = |e: ArrowError| FormatError::Internal(e.to_string());
        let schema = rows.schema();
        let fields = schema.fields();
        let columns = fields.iter().zip(rows.columns()).map(|(f, c)| Cells::new(f, c));
        let gap = |(place, name): (usize, &String)| {
            let first = place == 0;
            match style {
                Style::Json(JsonRow::Object) => {
                    let mut gap = if first { b"{".to_vec() } else { b",".to_vec() };
                    json::string(name, &mut gap);
                    gap.push(b':');
                    gap
                }
                Style::Json(JsonRow::Array) => if first { b"[" } else { b"," }.to_vec(),
                Style::Csv { delimiter } if !first => vec![delimiter],
                Style::Copy if !first => vec![b'\t'],
                Style::Csv { .. } | Style::Copy => Vec::new(),
            }
        };
        let names: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
        Ok(Self {
            style,
            columns: columns.collect::<Result<_, _>>().map_err(internal)?,
            gaps: names.iter().enumerate().map(gap).collect(),
            names,
            rows: rows.num_rows(),
        })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends the column names in the style of the rows: a JSON array of strings, a CSV or COPY line.
    pub fn header(&self, out: &mut Vec<u8>) {
        for (place, name) in self.names.iter().enumerate() {
            let first = place == 0;
            match self.style {
                Style::Json(_) => {
                    out.push(if first { b'[' } else { b',' });
                    json::string(name, out);
                }
                Style::Csv { delimiter } => {
                    out.extend((!first).then_some(delimiter));
                    let start = out.len();
                    out.extend_from_slice(name.as_bytes());
                    text::quote_csv(out, start, delimiter);
                }
                Style::Copy => {
                    out.extend((!first).then_some(b'\t'));
                    let start = out.len();
                    out.extend_from_slice(name.as_bytes());
                    text::escape_copy(out, start);
                }
            }
        }
        match self.style {
            Style::Json(_) if self.names.is_empty() => out.extend_from_slice(b"[]"),
            Style::Json(_) => out.push(b']'),
            Style::Csv { .. } | Style::Copy => out.push(b'\n'),
        }
    }

    /// Appends the row `row`.
    pub fn row(&self, row: usize, out: &mut Vec<u8>) {
        for (cells, gap) in self.columns.iter().zip(&self.gaps) {
            out.extend_from_slice(gap);
            match self.style {
                Style::Json(_) => json::cell(cells, row, out),
                Style::Csv { .. } if cells.is_null(row) => {}
                Style::Csv { delimiter } => {
                    let start = out.len();
                    text::cell(cells, row, out);
                    if cells.is_free_text() {
                        text::quote_csv(out, start, delimiter);
                    }
                }
                Style::Copy if cells.is_null(row) => out.extend_from_slice(b"\\N"),
                Style::Copy => {
                    let start = out.len();
                    text::cell(cells, row, out);
                    if cells.is_free_text() {
                        text::escape_copy(out, start);
                    }
                }
            }
        }
        match self.style {
            Style::Json(JsonRow::Object) if self.columns.is_empty() => out.extend_from_slice(b"{}"),
            Style::Json(JsonRow::Array) if self.columns.is_empty() => out.extend_from_slice(b"[]"),
            Style::Json(JsonRow::Object) => out.push(b'}'),
            Style::Json(JsonRow::Array) => out.push(b']'),
            Style::Csv { .. } | Style::Copy => out.push(b'\n'),
        }
    }

    /// Appends all rows; JSON rows each end with `\n` (NDJSON).
    pub fn all(&self, out: &mut Vec<u8>) {
        for row in 0..self.rows {
            self.row(row, out);
            if matches!(self.style, Style::Json(_)) {
                out.push(b'\n');
            }
        }
    }
}

/// The values of one column as PostgreSQL writes them in its text format: what a shell shows and what
/// the wire protocol sends.
#[derive(Debug)]
pub struct TextColumn(Cells);

impl TextColumn {
    /// The values of `array`, whose SQL type `field` tells.
    pub fn new(
        field: &arrow::datatypes::Field,
        array: &arrow::array::ArrayRef,
    ) -> Result<Self, FormatError> {
        Cells::new(field, array).map(Self).map_err(|e| FormatError::Internal(e.to_string()))
    }

    /// Whether the value is null.
    #[must_use]
    pub fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }

    /// Appends the text of the value; nothing for null.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        if !self.0.is_null(row) {
            text::cell(&self.0, row, out);
        }
    }
}

/// Appends `text` as a JSON string with its quotes.
pub fn json_string(text: &str, out: &mut Vec<u8>) {
    json::string(text, out);
}

/// Whether a row of an array is null; arrays without nulls answer at once.
fn null_at(array: &dyn Array, row: usize) -> bool {
    array.nulls().is_some_and(|nulls| nulls.is_null(row))
}
