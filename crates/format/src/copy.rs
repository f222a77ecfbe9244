//! The text format of PostgreSQL's `COPY`: one row per line, tabs between the values, `\N` for null,
//! backslash escapes (PostgreSQL documentation, `COPY`, "Text Format").
//!
//! A line `\.` ends the data, for the decoder that met it (a clone does not know). A line end that is part of a value is always written as an escape.

use arrow::datatypes::SchemaRef;

use crate::column::Forms;
use crate::csv::{FieldMap, Nulls};
use crate::decoded::{Decoded, Progress, Refusal, line_ends, too_long};
use crate::error::FormatError;
use crate::sheet::Sheet;
use crate::value::{hex_digit, push_text};
use yeoul_batch::DecodeOptions;

/// Decodes COPY text.
#[derive(Debug, Clone)]
pub struct CopyDecoder {
    sheet: Sheet,
    fields: FieldMap,
    nulls: Nulls,
    delimiter: u8,
    scratch: Vec<u8>,
    row_bytes_max: usize,
    /// The line that ends the data has come: what follows is passed over, in later pieces too.
    ended: bool,
}

impl CopyDecoder {
    /// A decoder for the columns of `schema`.
    pub fn new(schema: SchemaRef, options: &DecodeOptions) -> Result<Self, FormatError> {
        let sheet = Sheet::new(schema, Forms::of(options))?;
        let null = ["\\N".to_owned()];
        Ok(Self {
            fields: FieldMap::new(&sheet, options, false)?,
            // Only the written null is one: an empty value of a number is an error here.
            nulls: Nulls::new(&sheet, options.nulls.as_deref().unwrap_or(&null), false),
            sheet,
            delimiter: options.delimiter.unwrap_or(b'\t'),
            scratch: Vec::new(),
            row_bytes_max: options.row_bytes_max,
            ended: false,
        })
    }

    /// Whether the first line is a header that was not read yet.
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
        let len = match memchr::memchr(b'\n', bytes) {
            Some(newline) => newline + 1,
            None if at_end => bytes.len(),
            None => return Ok(None),
        };
        let text = String::from_utf8_lossy(&bytes[..len]);
        let line = text.trim_end_matches(['\r', '\n']);
        let names: Vec<String> =
            line.split(char::from(self.delimiter)).map(str::to_owned).collect();
        self.fields.set_header(&self.sheet, &names)?;
        Ok(Some(len))
    }

    /// How many bytes at the beginning of `bytes` are whole records.
    #[must_use]
    pub fn split(&self, bytes: &[u8]) -> usize {
        memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1)
    }

    /// Where each record in `bytes` ends.
    pub(crate) fn record_ends(&self, bytes: &[u8]) -> Vec<usize> {
        let end = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line) == b"\\.";
        let mut ended = false;
        let mut ends = line_ends(bytes, |_| false);
        let mut start = 0;
        ends.retain(|&at| {
            let line = bytes[start..at].strip_suffix(b"\n").unwrap_or(&bytes[start..at]);
            ended |= end(line);
            start = at;
            !ended
        });
        ends
    }

    /// Decodes whole records; a header that is still expected comes first.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FormatError> {
        let mut progress = Progress::default();
        let mut rest = if self.ended { &[] } else { bytes };
        if self.needs_header() && !rest.is_empty() {
            let len = self.read_header(rest, true)?.unwrap_or(0);
            rest = &rest[len..];
            progress.lines += 1;
        }
        while !rest.is_empty() {
            let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest[..len].strip_suffix(b"\r").unwrap_or(&rest[..len]);
            rest = rest.get(len + 1..).unwrap_or_default();
            if line == b"\\." {
                self.ended = true;
                break;
            }
            if let Err(reason) = self.line(line) {
                self.sheet.undo();
                progress.refuse(line, self.row_bytes_max, reason);
            } else {
                progress.records += 1;
            }
            progress.lines += 1;
        }
        Ok(progress.finish(self.sheet.finish()?))
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.len() > self.row_bytes_max {
            return Err(too_long(line.len(), self.row_bytes_max).into());
        }
        let mut count = 0;
        let mut rest = Some(line);
        while let Some(bytes) = rest {
            let (field, after) = self.cut(bytes);
            if let Some(targets) = self.fields.targets.get(count) {
                for &column in targets {
                    push(&mut self.sheet, &self.nulls, &mut self.scratch, column, field)?;
                }
            }
            count += 1;
            rest = after;
        }
        let expected = self.fields.targets.len();
        if count != expected {
            return Err(format!("the record has {count} fields instead of {expected}").into());
        }
        self.sheet.end_row()
    }

    /// The field at the beginning and what follows its delimiter. An escaped delimiter is none.
    fn cut<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        let mut at = 0;
        while let Some(found) = memchr::memchr2(self.delimiter, b'\\', &bytes[at..]) {
            at += found;
            if bytes[at] == self.delimiter {
                return (&bytes[..at], Some(&bytes[at + 1..]));
            }
            at = (at + 2).min(bytes.len());
        }
        (bytes, None)
    }
}

fn push(
    sheet: &mut Sheet,
    nulls: &Nulls,
    scratch: &mut Vec<u8>,
    index: usize,
    field: &[u8],
) -> Result<(), String> {
    let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| "invalid UTF-8".to_owned());
    let raw = utf8(field)?;
    if nulls.contains(index, raw) {
        sheet.begin(index).push_null();
        return Ok(());
    }
    let text = if field.contains(&b'\\') {
        unescape(field, scratch);
        // An escape such as \xff can make what was text no text any more.
        utf8(scratch)?
    } else {
        raw
    };
    if let Err(misfit) = push_text(sheet.begin(index), text) {
        sheet.misfit(index, misfit, text.as_bytes());
    }
    Ok(())
}

/// Resolves backslash escapes.
fn unescape(field: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = field;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let [escaped, tail @ ..] = rest else {
            out.push(b'\\');
            return;
        };
        rest = tail;
        out.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => {
                let (value, count) = number(escaped - b'0', tail, 2, 8);
                rest = &tail[count..];
                value
            }
            b'x' if tail.first().is_some_and(u8::is_ascii_hexdigit) => {
                let (value, count) = number(0, tail, 2, 16);
                rest = &tail[count..];
                value
            }
            other => *other,
        });
    }
}

/// Up to `digits` more digits of a number that begins with `value`, and how many there were.
fn number(mut value: u8, text: &[u8], digits: usize, base: u8) -> (u8, usize) {
    let mut count = 0;
    for &byte in text.iter().take(digits) {
        match hex_digit(byte) {
            Some(digit) if digit < base => value = value.wrapping_mul(base).wrapping_add(digit),
            _ => break,
        }
        count += 1;
    }
    (value, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use std::sync::Arc;
    use yeoul_batch::Format;

    #[test]
    fn values_escapes_nulls_and_bad_rows() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8View, true),
        ]));
        let options = DecodeOptions::new(Format::CopyText);
        let mut decoder = CopyDecoder::new(schema, &options).expect("plain types");
        let input = b"1\ta\\tb\\nc\\\\d\\x41\\101\\\te\n2\t\\N\n3\t\n\t4\n5\tx\ty\n6\t\\xff\n7\tok\\N\n\\.\n8\t-\n";
        let decoded = decoder.decode(input).expect("decodes");
        let ids = decoded.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(ids, [1, 2, 3, 7]);
        let names = decoded.rows.column(1).as_string_view();
        assert_eq!(names.value(0), "a\tb\nc\\dAA\te");
        assert!(names.is_null(1));
        assert_eq!((names.value(2), names.value(3)), ("", "okN"));
        let reasons: Vec<_> = decoded.bad.iter().map(|b| (b.line, b.reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                (3, "column \"id\":  is not a valid bigint"),
                (4, "the record has 3 fields instead of 2"),
                (5, "invalid UTF-8"),
            ]
        );
        assert_eq!(decoded.records, 7);
        let behind = decoder.decode(b"9\t-\n").expect("decodes");
        assert_eq!((behind.records, behind.rows.num_rows()), (0, 0));
    }
}
