//! `COPY … FROM STDIN` and `COPY … TO STDOUT`.
//!
//! Rows that come in are committed in pieces of `copy_bytes_max`; the first row that cannot be read ends
//! the COPY with an error that names its line. What was committed before it stays.

use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::{BufMut, Bytes, BytesMut};
use yeoul_engine::{CopyFormat, CopyIn, EngineError, ErrorKind, RowStream};
use yeoul_format::{DecodeOptions, Decoded, Decoder, Format};

use super::column::{Cells, PgColumn};
use super::connection::Failure;
use super::message::Frontend;
use super::reply;
use super::rows::Rows;
use super::startup::Shared;
use super::wire::{FLUSH_BYTES, Wire};
use crate::decode::{HEAD_BYTES, refused, sqlstate};

fn bad_format(message: impl Into<String>) -> EngineError {
    EngineError::new(ErrorKind::Input, message).with_sqlstate("22P04")
}

/// How to read rows of `format`.
fn decode_options(format: &CopyFormat) -> Result<DecodeOptions, EngineError> {
    if format.csv && format.escape != format.quote {
        return Err(EngineError::new(
            ErrorKind::Input,
            "COPY escape must be the same as quote for rows that come in",
        )
        .with_sqlstate("0A000"));
    }
    let mut options = DecodeOptions::new(if format.csv { Format::Csv } else { Format::CopyText });
    options.header = Some(format.header);
    options.delimiter = Some(format.delimiter);
    options.nulls = Some(vec![format.null.clone()]);
    if format.csv {
        options.quote = Some(Some(format.quote));
    }
    Ok(options)
}

/// Rows on their way in.
struct Incoming {
    copy: CopyIn,
    format: CopyFormat,
    decoder: Option<Decoder>,
    text: BytesMut,
    begun: bool,
    lines: u64,
    rows: u64,
}

/// Takes rows from the client until it says that there are no more.
pub(crate) async fn copy_in(
    wire: &mut Wire,
    shared: &Arc<Shared>,
    copy: CopyIn,
) -> Result<(), Failure> {
    let format = copy.format().clone();
    let options = decode_options(&format)?;
    let schema = Arc::clone(copy.schema());
    let columns = schema.fields().len();
    let decoder = Decoder::new(schema, &options).map_err(|e| refused(&e))?;
    let mut incoming = Incoming {
        copy,
        format,
        decoder: Some(decoder),
        text: BytesMut::new(),
        begun: false,
        lines: 0,
        rows: 0,
    };
    reply::copy_response(&mut wire.out, b'G', columns);
    wire.flush().await?;
    loop {
        match wire.message().await? {
            Frontend::CopyData(data) => {
                incoming.text.extend_from_slice(&data);
                if incoming.text.len() >= shared.options.copy_bytes_max {
                    incoming.step(wire, shared, false).await?;
                }
            }
            Frontend::CopyDone => break,
            Frontend::CopyFail(reason) => {
                let message = format!("COPY from stdin failed: {reason}");
                return Err(EngineError::new(ErrorKind::Cancelled, message).into());
            }
            // Drivers send them right behind the statement; here they mean nothing.
            Frontend::Flush | Frontend::Sync => {}
            _ => {
                let message = "unexpected message during COPY from stdin";
                return Err(EngineError::new(ErrorKind::Input, message)
                    .with_sqlstate("08P01")
                    .into());
            }
        }
    }
    incoming.step(wire, shared, true).await?;
    reply::command_complete(&mut wire.out, &format!("COPY {}", incoming.rows));
    Ok(())
}

impl Incoming {
    /// Decodes and stores the whole records that are there.
    async fn step(
        &mut self,
        wire: &mut Wire,
        shared: &Arc<Shared>,
        end: bool,
    ) -> Result<(), Failure> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(()) };
        if !self.begun && !self.begin(&mut decoder, end)? {
            self.decoder = Some(decoder);
            return Ok(());
        }
        let whole = if end { self.text.len() } else { decoder.split(&self.text) };
        let text: Bytes = self.text.split_to(whole).freeze();
        if whole == 0 {
            if self.text.len() > 2 * shared.options.copy_bytes_max {
                let message = format!("COPY: line {} is too long", self.lines + 1);
                return Err(bad_format(message).with_sqlstate("54000").into());
            }
            self.decoder = Some(decoder);
            return Ok(());
        }
        let limit = self.copy.time_limit();
        let work = shared.decoding.run(move || {
            let decoded = decoder.decode_until(&text, limit.as_ref());
            (decoder, decoded)
        });
        let (decoder, decoded) = wire.during(work).await??;
        self.decoder = Some(decoder);
        let Decoded { rows, bad, lines, .. } = decoded.map_err(|e| refused(&e))?;
        if let Some(bad) = bad.first() {
            let line = self.lines + bad.line + 1;
            let shown: String = String::from_utf8_lossy(&bad.raw).chars().take(200).collect();
            return Err(bad_format(format!("COPY: line {line}: {}", bad.reason))
                .with_sqlstate(sqlstate(bad.kind))
                .with_detail(shown)
                .into());
        }
        self.lines += lines;
        if rows.num_rows() > 0 {
            self.rows += wire.during(self.copy.write(rows)).await??;
        }
        Ok(())
    }

    /// Reads the header; false when more of it has to come.
    fn begin(&mut self, decoder: &mut Decoder, end: bool) -> Result<bool, EngineError> {
        let head = &self.text[..self.text.len().min(HEAD_BYTES)];
        if self.format.header {
            self.check_header(head)?;
        }
        let all = end && head.len() == self.text.len();
        let Some(passed) = decoder.begin(head, all).map_err(|e| refused(&e))? else {
            return if end || head.len() == HEAD_BYTES {
                Err(bad_format("COPY: the header is too long"))
            } else {
                Ok(false)
            };
        };
        let header = self.text.split_to(passed);
        let lines = memchr::memchr_iter(b'\n', &header).count();
        self.lines += u64::try_from(lines).unwrap_or(0);
        self.begun = true;
        Ok(true)
    }

    /// Every name of the header must be a column: rows are never taken apart on a guess.
    fn check_header(&self, head: &[u8]) -> Result<(), EngineError> {
        let end = memchr::memchr(b'\n', head).unwrap_or(head.len());
        let line = String::from_utf8_lossy(&head[..end]);
        let line = line.trim_start_matches('\u{feff}').trim_end_matches('\r');
        let quote = char::from(self.format.quote);
        for name in line.split(char::from(self.format.delimiter)) {
            let name = name.trim_matches(quote);
            if !name.is_empty() && self.copy.schema().column_with_name(name).is_none() {
                let schema = self.copy.schema();
                let names: Vec<&str> =
                    schema.fields().iter().map(|field| field.name().as_str()).collect();
                return Err(bad_format(format!(
                    "COPY: the header names \"{name}\", which is no column"
                ))
                .with_detail(format!("the columns are {}", names.join(", "))));
            }
        }
        Ok(())
    }
}

/// Sends the rows of a query as text or CSV.
pub(crate) async fn copy_out(
    wire: &mut Wire,
    schema: &Schema,
    format: CopyFormat,
    rows: RowStream,
) -> Result<(), Failure> {
    let form = Form(format);
    let columns: Arc<[PgColumn]> = PgColumn::of(schema).into();
    reply::copy_response(&mut wire.out, b'H', columns.len());
    if form.0.header {
        reply::put(&mut wire.out, b'd', |out| {
            for (i, column) in columns.iter().enumerate() {
                if i > 0 {
                    out.put_u8(form.0.delimiter);
                }
                let at = out.len();
                out.put_slice(column.name.as_bytes());
                form.protect(out, at, false);
            }
            out.put_u8(b'\n');
        });
    }
    let mut rows = Rows::new(rows, columns);
    while rows.advance(wire).await? {
        while wire.out.len() < FLUSH_BYTES {
            let Some((values, row)) = rows.next_row() else { break };
            reply::put(&mut wire.out, b'd', |out| form.put_row(out, values, row));
        }
        wire.flush_full().await?;
    }
    reply::copy_done(&mut wire.out);
    reply::command_complete(&mut wire.out, &format!("COPY {}", rows.sent));
    Ok(())
}

/// How rows go out.
struct Form(CopyFormat);

impl Form {
    fn put_row(&self, out: &mut Vec<u8>, values: &[Cells], row: usize) {
        for (i, column) in values.iter().enumerate() {
            if i > 0 {
                out.put_u8(self.0.delimiter);
            }
            if column.is_null(row) {
                out.put_slice(self.0.null.as_bytes());
                continue;
            }
            let at = out.len();
            column.put(row, out);
            self.protect(out, at, values.len() == 1);
        }
        out.put_u8(b'\n');
    }

    /// Makes the value that begins at `at` safe to stand among the others.
    fn protect(&self, out: &mut Vec<u8>, at: usize, alone: bool) {
        let value = &out[at..];
        if self.0.csv {
            // A value that looks like NULL or like the end of the data is quoted to be a value.
            let must = value == self.0.null.as_bytes()
                || (alone && value == b"\\.")
                || value.iter().any(|b| {
                    *b == self.0.delimiter || *b == self.0.quote || matches!(b, b'\n' | b'\r')
                });
            if !must {
                return;
            }
            let value = out.split_off(at);
            out.put_u8(self.0.quote);
            for &byte in &value {
                if byte == self.0.quote || byte == self.0.escape {
                    out.put_u8(self.0.escape);
                }
                out.put_u8(byte);
            }
            out.put_u8(self.0.quote);
            return;
        }
        let special = |b: &u8| *b == self.0.delimiter || matches!(b, b'\\' | 8..=13);
        if !value.iter().any(special) {
            return;
        }
        let value = out.split_off(at);
        for &byte in &value {
            let letter = match byte {
                8 => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                11 => b'v',
                12 => b'f',
                b'\r' => b'r',
                byte if byte == b'\\' || byte == self.0.delimiter => byte,
                byte => {
                    out.put_u8(byte);
                    continue;
                }
            };
            out.put_u8(b'\\');
            out.put_u8(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, ArrayRef, Int64Array, StringViewArray};
    use arrow::datatypes::Field;

    fn form(csv: bool) -> Form {
        Form(CopyFormat {
            csv,
            header: false,
            delimiter: if csv { b',' } else { b'\t' },
            null: if csv { String::new() } else { "\\N".to_owned() },
            quote: b'"',
            escape: b'"',
        })
    }

    fn row(form: &Form, text: Option<&str>) -> String {
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![text]));
        let ones: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let cells = |array: &ArrayRef| {
            let field = Arc::new(Field::new("c", array.data_type().clone(), true));
            PgColumn::new(&field, false).cells(array, &field).unwrap()
        };
        let mut out = Vec::new();
        form.put_row(&mut out, &[cells(&ones), cells(&texts)], 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_as_text_and_csv() {
        let text = form(false);
        assert_eq!(row(&text, None), "1\t\\N\n");
        assert_eq!(row(&text, Some("a\tb\\c\nd")), "1\ta\\tb\\\\c\\nd\n");
        let csv = form(true);
        assert_eq!(row(&csv, None), "1,\n");
        assert_eq!(row(&csv, Some("")), "1,\"\"\n");
        assert_eq!(row(&csv, Some("a,\"b\"")), "1,\"a,\"\"b\"\"\"\n");
    }

    #[test]
    fn an_escape_of_its_own_goes_out_only() {
        let mut form = form(true);
        form.0.escape = b'\\';
        assert_eq!(row(&form, Some("a\"b\\c,")), "1,\"a\\\"b\\\\c,\"\n");
        assert_eq!(decode_options(&form.0).unwrap_err().sqlstate, "0A000");
    }
}
