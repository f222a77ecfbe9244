//! The options of a decoder, as they are written in `WITH (…)`.

use std::collections::BTreeMap;

use crate::error::FormatError;
use crate::value::TimestampUnit;

/// How a stream's events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, an array of objects, or one object.
    #[default]
    Json,
    /// RFC 4180, with a header unless `columns` or `header = 'false'` is given.
    Csv,
    /// The same with tabs and without quoting, unless `quote` is given.
    Tsv,
    /// The text format of PostgreSQL's `COPY`.
    CopyText,
}

impl Format {
    /// The formats by the names `format = '…'` takes.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("json", Self::Json),
        ("ndjson", Self::Json),
        ("csv", Self::Csv),
        ("tsv", Self::Tsv),
        ("text", Self::CopyText),
    ];

    /// The format called `name`.
    pub fn from_name(name: &str) -> Result<Self, FormatError> {
        let found = Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|&(_, format)| format).ok_or_else(|| FormatError::Option {
            option: "format",
            value: name.to_owned(),
            expected: "it is json, csv, tsv or text".to_owned(),
        })
    }
}

/// How bytes are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// How the events are written.
    pub format: Format,
    /// Where a column's value is found, when it is not under the column's own name: for JSON a path
    /// of keys (`user.id`; a key with a dot in it is quoted: `"a.b".c`), else a name of the header.
    pub mapping: Vec<(String, String)>,
    /// The names of the fields of a record, when the first record is not a header.
    pub columns: Option<Vec<String>>,
    /// Whether the first record names the fields; by default it does unless `columns` is given.
    /// Without either, fields are the columns in their order.
    pub header: Option<bool>,
    /// What stands between fields; by default `,`, or a tab for TSV and COPY text.
    pub delimiter: Option<u8>,
    /// What fields are quoted with: `None` for the default (`"` in CSV, nothing in TSV), `Some(None)`
    /// for nothing.
    pub quote: Option<Option<u8>>,
    /// Unquoted texts that mean null. By default the empty one, and `\N` in COPY text. An empty
    /// unquoted field of a column that is not text is null in any case.
    pub nulls: Option<Vec<String>>,
    /// What a number in a timestamp column counts.
    pub timestamp_unit: TimestampUnit,
    /// The longest record, in bytes; what is longer is bad.
    pub row_bytes_max: usize,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            format: Format::Json,
            mapping: Vec::new(),
            columns: None,
            header: None,
            delimiter: None,
            quote: None,
            nulls: None,
            timestamp_unit: TimestampUnit::Auto,
            row_bytes_max: Self::ROW_BYTES_MAX,
        }
    }
}

impl DecodeOptions {
    /// The default longest record. Rows of events have some hundred bytes; 1 MiB leaves room for a
    /// product with its description, and 64 of them in flight are still 64 MiB.
    pub const ROW_BYTES_MAX: usize = 1 << 20;

    /// The names of the options that [`DecodeOptions::from_options`] reads.
    pub const NAMES: [&'static str; 9] = [
        "format",
        "mapping",
        "columns",
        "header",
        "delimiter",
        "quote",
        "null",
        "timestamp_unit",
        "row_bytes_max",
    ];

    /// The default options of `format`.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, ..Self::default() }
    }

    /// Reads the options of a `WITH (…)` clause; names that are not in [`DecodeOptions::NAMES`] are
    /// somebody else's. `default_format` is used when there is no `format`.
    pub fn from_options(
        options: &BTreeMap<String, String>,
        default_format: Format,
    ) -> Result<Self, FormatError> {
        let mut read = Self::new(default_format);
        let get = |name: &str| options.get(name).map(String::as_str);
        if let Some(name) = get("format") {
            read.format = Format::from_name(name)?;
        }
        if let Some(list) = get("mapping") {
            read.mapping = mapping(list)?;
        }
        read.columns = get("columns").map(names);
        read.header = get("header").map(|text| boolean("header", text)).transpose()?;
        read.delimiter = get("delimiter").map(|text| one_byte("delimiter", text)).transpose()?;
        read.quote = match get("quote") {
            None => None,
            Some("" | "none") => Some(None),
            Some(text) => Some(Some(one_byte("quote", text)?)),
        };
        read.nulls = get("null").map(names);
        if let Some(unit) = get("timestamp_unit") {
            read.timestamp_unit = TimestampUnit::from_name(unit)?;
        }
        if let Some(text) = get("row_bytes_max") {
            read.row_bytes_max =
                text.trim().parse().ok().filter(|n| (1..=1 << 28).contains(n)).ok_or_else(
                    || wrong("row_bytes_max", text, "it is a number of bytes up to 268435456"),
                )?;
        }
        Ok(read)
    }
}

fn wrong(option: &'static str, value: &str, expected: &str) -> FormatError {
    FormatError::Option { option, value: value.to_owned(), expected: expected.to_owned() }
}

/// A list separated by commas.
fn names(list: &str) -> Vec<String> {
    list.split(',').map(|name| name.trim().to_owned()).collect()
}

fn mapping(list: &str) -> Result<Vec<(String, String)>, FormatError> {
    let pairs = list.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| {
            let (column, path) = pair.split_once('=').ok_or_else(|| {
                wrong("mapping", pair.trim(), "it is a list like 'column=path, column=path'")
            })?;
            Ok((column.trim().to_owned(), path.trim().to_owned()))
        })
        .collect()
}

fn boolean(option: &'static str, text: &str) -> Result<bool, FormatError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(wrong(option, text, "it is true or false")),
    }
}

fn one_byte(option: &'static str, text: &str) -> Result<u8, FormatError> {
    match text {
        "\\t" | "tab" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
            _ => Err(wrong(option, text, "it is one ASCII character, or 'tab'")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<DecodeOptions, String> {
        let map = pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        DecodeOptions::from_options(&map, Format::Json).map_err(|e| e.to_string())
    }

    #[test]
    fn options_are_read_and_refused_by_name() {
        let good = read(&[
            ("format", "CSV"),
            ("mapping", "id=user.id, t = ts"),
            ("columns", "a, b"),
            ("header", "false"),
            ("delimiter", "tab"),
            ("quote", ""),
            ("null", "NA,"),
            ("timestamp_unit", "ms"),
            ("path", "somebody else's"),
        ])
        .expect("all are right");
        assert_eq!(good.format, Format::Csv);
        assert_eq!(good.mapping[1], ("t".to_owned(), "ts".to_owned()));
        assert_eq!(
            (good.header, good.delimiter, good.quote),
            (Some(false), Some(b'\t'), Some(None))
        );
        assert_eq!(good.nulls, Some(vec!["NA".to_owned(), String::new()]));
        for (pair, message) in [
            (("format", "xml"), "option \"format\" cannot be 'xml': it is json, csv, tsv or text"),
            (("delimiter", "ab"), "one ASCII character"),
            (("header", "maybe"), "true or false"),
            (("mapping", "a"), "column=path"),
            (("timestamp_unit", "days"), "timestamp_unit"),
            (("row_bytes_max", "0"), "number of bytes"),
        ] {
            let error = read(&[pair]).expect_err("is wrong");
            assert!(error.contains(message), "{error}");
        }
    }
}
