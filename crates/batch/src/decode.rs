//! How the events of a stream or table are written: one set of options for every way in.
//!
//! `CREATE … WITH (…)` says them, `sql` checks them, and whoever has bytes (files, HTTP, later
//! brokers) gives them to a decoder. What nobody says is `None`, so that a way in which knows better
//! (the ending of a file, a `Content-Type`) can fill it in.

use crate::metadata::Metadata;

/// How events are written.
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
    /// Avro's binary encoding, a record in each message.
    Avro,
    /// Parquet: typed columns, so of the other options only `mapping` matters.
    Parquet,
    /// Changes of rows as Debezium's connectors tell them in JSON: the row before and after.
    DebeziumJson,
}

/// How a number stands in JSON where its column is numeric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecimalFormat {
    /// As a number, or as a text of one.
    #[default]
    Numeric,
    /// As the base64 of its unscaled value, highest byte first; the scale is that of the column.
    Base64,
}

/// What a number in a timestamp column counts since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampUnit {
    /// Told by the size of its whole part: below 10¹¹ seconds (until the year 5138), below 10¹⁴
    /// milliseconds (from 1973-03-03), below 10¹⁷ microseconds, else nanoseconds.
    #[default]
    Auto,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

impl TimestampUnit {
    /// The unit of a number of this size: never `Auto`.
    #[inline]
    #[must_use]
    pub fn resolve(self, number: u64) -> Self {
        if self != Self::Auto {
            return self;
        }
        match number {
            0..100_000_000_000 => Self::Seconds,
            100_000_000_000..100_000_000_000_000 => Self::Millis,
            100_000_000_000_000..100_000_000_000_000_000 => Self::Micros,
            _ => Self::Nanos,
        }
    }

    /// Microseconds of a whole number, unless they are too many.
    #[inline]
    #[must_use]
    pub fn micros(self, number: i64) -> Option<i64> {
        match self.resolve(number.unsigned_abs()) {
            Self::Millis => number.checked_mul(1_000),
            Self::Micros => Some(number),
            Self::Nanos => Some(number.div_euclid(1_000)),
            Self::Seconds | Self::Auto => number.checked_mul(1_000_000),
        }
    }
}

/// Where a value stands in an event: `price`, `item.id`, `"a.b".c`.
///
/// In JSON it is a path of keys; a key with a dot in it is quoted. Formats with flat records (CSV,
/// Parquet) take it whole, as the name of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    text: String,
    keys: Vec<String>,
}

impl FieldPath {
    /// Reads a path; `None` when a key is empty or a quote does not end.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (mut keys, mut rest) = (Vec::new(), text);
        loop {
            let (key, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => rest.split_at(rest.find(['.', '"']).unwrap_or(rest.len())),
            };
            if key.is_empty() {
                return None;
            }
            keys.push(key.to_owned());
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None if after.is_empty() => return Some(Self { text: text.to_owned(), keys }),
                None => return None,
            }
        }
    }

    /// The keys that lead from an event to the value. Never empty.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the field in a flat record.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.keys.as_slice() {
            [one] => one,
            _ => &self.text,
        }
    }
}

/// How events become rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// How the events are written; `None`: the way in tells, else JSON.
    pub format: Option<Format>,
    /// (column, where its value is found), when that is not under the column's own name.
    pub mapping: Vec<(String, FieldPath)>,
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
    /// How numbers of numeric columns stand in JSON.
    pub decimal_format: DecimalFormat,
    /// The longest record, in bytes; what is longer is bad.
    pub row_bytes_max: usize,
    /// Columns that are not in the record: what their source tells beside it.
    pub metadata: Vec<(String, Metadata)>,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            format: None,
            mapping: Vec::new(),
            columns: None,
            header: None,
            delimiter: None,
            quote: None,
            nulls: None,
            timestamp_unit: TimestampUnit::Auto,
            decimal_format: DecimalFormat::Numeric,
            row_bytes_max: Self::ROW_BYTES_MAX,
            metadata: Vec::new(),
        }
    }
}

impl DecodeOptions {
    /// The default longest record. Rows of events have some hundred bytes; 1 MiB leaves room for a
    /// product with its description, and 64 of them in flight are still 64 MiB.
    pub const ROW_BYTES_MAX: usize = 1 << 20;

    /// The default options of `format`.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format: Some(format), ..Self::default() }
    }

    /// The same for events that came in `format`. Delimiter and quote hold for the format they were
    /// said for, which is CSV unless it is TSV: tabs stay tabs where a stream says `delimiter = ';'`.
    #[must_use]
    pub fn for_format(&self, format: Format) -> Self {
        let sheet = if self.format == Some(Format::Tsv) { Format::Tsv } else { Format::Csv };
        let same = sheet == format;
        Self {
            format: Some(format),
            delimiter: self.delimiter.filter(|_| same),
            quote: self.quote.filter(|_| same),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let keys = |text: &str| FieldPath::parse(text).map(|path| path.keys.join("|"));
        assert_eq!(keys(" user.id ").as_deref(), Some("user|id"));
        assert_eq!(keys("\"a.b\".c").as_deref(), Some("a.b|c"));
        assert_eq!(keys("여울").as_deref(), Some("여울"));
        for wrong in ["", ".a", "a.", "a..b", "\"a", "\"a\"b", "a\"b\"", "\"\""] {
            assert_eq!(keys(wrong), None, "{wrong}");
        }
        assert_eq!(
            FieldPath::parse("\"Item.Id\"").map(|p| p.name().to_owned()).as_deref(),
            Some("Item.Id")
        );
        assert_eq!(
            FieldPath::parse("Item.Id").map(|p| p.name().to_owned()).as_deref(),
            Some("Item.Id")
        );
    }

    #[test]
    fn a_delimiter_belongs_to_its_format() {
        let said = DecodeOptions { delimiter: Some(b';'), ..DecodeOptions::default() };
        assert_eq!(said.for_format(Format::Csv).delimiter, Some(b';'));
        assert_eq!(said.for_format(Format::Tsv).delimiter, None);
        let tsv = DecodeOptions { format: Some(Format::Tsv), ..said };
        assert_eq!(tsv.for_format(Format::Tsv).delimiter, Some(b';'));
        assert_eq!(tsv.for_format(Format::Csv).delimiter, None);
    }
}
