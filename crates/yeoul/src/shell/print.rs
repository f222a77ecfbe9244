//! Rows on the screen: a table, CSV or JSON lines.
//!
//! CSV and JSON are written as they come. A table needs all its rows to know how wide its columns are:
//! it holds at most [`TABLE_ROWS_MAX`].

use std::io::{self, BufWriter, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::arguments::Format;

/// How many rows a table shows. What is beyond is counted.
const TABLE_ROWS_MAX: usize = 10_000;

/// What a column's texts are, for alignment and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything else.
    Text,
    /// A number.
    Number,
    /// `t` or `f`.
    Boolean,
    /// JSON already.
    Json,
}

/// A column of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) kind: Kind,
}

/// Writes answers in one format.
pub(crate) struct Printer {
    format: Format,
    out: Box<dyn Write + Send>,
    columns: Vec<Column>,
    held: Vec<Vec<String>>,
    rows: u64,
}

impl Printer {
    /// A printer to standard output.
    pub(crate) fn to_stdout(format: Format) -> Self {
        Self::to(format, Box::new(BufWriter::new(io::stdout())))
    }

    /// A printer to anything.
    pub(crate) fn to(format: Format, out: Box<dyn Write + Send>) -> Self {
        Self { format, out, columns: Vec::new(), held: Vec::new(), rows: 0 }
    }

    /// An answer with these columns begins.
    pub(crate) fn begin(&mut self, columns: Vec<Column>) -> io::Result<()> {
        self.rows = 0;
        self.held.clear();
        if self.format == Format::Csv {
            let names: Vec<Option<&str>> = columns.iter().map(|c| Some(c.name.as_str())).collect();
            write_csv(&mut self.out, &names)?;
        }
        self.columns = columns;
        Ok(())
    }

    /// A row of it; `None` is null.
    pub(crate) fn row(&mut self, values: &[Option<&str>]) -> io::Result<()> {
        self.rows += 1;
        match self.format {
            Format::Csv => write_csv(&mut self.out, values),
            Format::Json => write_json(&mut self.out, &self.columns, values),
            Format::Table => {
                if self.held.len() < TABLE_ROWS_MAX {
                    let row = values.iter().map(|v| v.unwrap_or_default().to_owned());
                    self.held.push(row.collect());
                }
                Ok(())
            }
        }
    }

    /// The answer is complete.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if self.format == Format::Table {
            writeln!(self.out, "{}", table(&self.columns, &self.held))?;
            let shown = self.held.len() as u64;
            if shown < self.rows {
                writeln!(
                    self.out,
                    "(the first {shown} of {} rows; --format csv has all)",
                    self.rows
                )?;
            } else {
                writeln!(self.out, "({} row{})", self.rows, if self.rows == 1 { "" } else { "s" })?;
            }
            self.held.clear();
        }
        Ok(())
    }

    /// A statement without rows is done. Only people want to know.
    pub(crate) fn done(&mut self, tag: &str) -> io::Result<()> {
        if self.format == Format::Table { writeln!(self.out, "{tag}") } else { Ok(()) }
    }

    /// Everything is on the screen afterwards.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Rows as a table for people: numbers to the right.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|c| c.name.as_str()));
    for row in rows {
        table.add_row(row);
    }
    for (at, column) in columns.iter().enumerate() {
        if column.kind == Kind::Number
            && let Some(column) = table.column_mut(at)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// RFC 4180, as PostgreSQL writes it: null is nothing, the empty text is `""`.
fn write_csv(out: &mut dyn Write, values: &[Option<&str>]) -> io::Result<()> {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        let Some(value) = value else { continue };
        if value.is_empty() || value.contains([',', '"', '\n', '\r']) {
            write!(out, "\"{}\"", value.replace('"', "\"\""))?;
        } else {
            out.write_all(value.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

fn write_json(out: &mut dyn Write, columns: &[Column], values: &[Option<&str>]) -> io::Result<()> {
    out.write_all(b"{")?;
    for (at, (column, value)) in columns.iter().zip(values).enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, &column.name)?;
        out.write_all(b":")?;
        match (value, column.kind) {
            (None, _) => out.write_all(b"null")?,
            (Some(value), Kind::Boolean) => {
                let truth = matches!(*value, "t" | "true");
                out.write_all(if truth { b"true" } else { b"false" })?;
            }
            (Some(value), Kind::Json) => out.write_all(value.as_bytes())?,
            // JSON has no NaN and no infinity: those stay text.
            (Some(value), Kind::Number) if value.parse::<f64>().is_ok_and(f64::is_finite) => {
                out.write_all(value.as_bytes())?;
            }
            (Some(value), _) => serde_json::to_writer(&mut *out, value)?,
        }
    }
    out.write_all(b"}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(format: Format) -> String {
        let page = Page::default();
        let mut printer = Printer::to(format, Box::new(page.clone()));
        let column = |name: &str, kind| Column { name: name.into(), kind };
        let columns = vec![
            column("n", Kind::Number),
            column("a \"t\"", Kind::Text),
            column("b", Kind::Boolean),
            column("j", Kind::Json),
        ];
        printer.begin(columns).expect("begins");
        printer.row(&[Some("1.50"), Some("x,\"y\""), Some("t"), Some("{\"k\":1}")]).expect("row");
        printer.row(&[Some("NaN"), Some(""), None, None]).expect("row");
        printer.end().expect("ends");
        let bytes = page.0.lock().expect("one thread").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn csv_is_quoted_and_null_is_nothing() {
        let expected =
            "n,\"a \"\"t\"\"\",b,j\n1.50,\"x,\"\"y\"\"\",t,\"{\"\"k\"\":1}\"\nNaN,\"\",,\n";
        assert_eq!(printed(Format::Csv), expected);
    }

    #[test]
    fn json_keeps_kinds() {
        let expected = "{\"n\":1.50,\"a \\\"t\\\"\":\"x,\\\"y\\\"\",\"b\":true,\"j\":{\"k\":1}}\n\
                        {\"n\":\"NaN\",\"a \\\"t\\\"\":\"\",\"b\":null,\"j\":null}\n";
        assert_eq!(printed(Format::Json), expected);
    }

    #[test]
    fn tables_count_their_rows() {
        let text = printed(Format::Table);
        assert!(text.ends_with("(2 rows)\n"), "{text}");
        assert!(text.contains("│ 1.50 ┆"), "{text}");
    }
}
