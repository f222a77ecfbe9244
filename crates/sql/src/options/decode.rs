//! How the events of a stream or table are written: the options that every way in obeys.

use yeoul_batch::{DecimalFormat, DecodeOptions, Format, TimestampUnit};

use super::value::{Value, invalid, parse_value};
use super::{Connector, Given, OPTIONS, Target, Values, known};
use crate::error::{Span, SqlError};
use crate::nearest::{did_you_mean, list};

/// Options that only mean something for csv and tsv.
const SHEET: [&str; 5] = ["columns", "header", "delimiter", "quote", "null"];

/// Options that a single request may set for its own events.
const REQUEST: [&str; 7] =
    ["format", "columns", "header", "delimiter", "quote", "null", "timestamp_unit"];

impl Values {
    /// The decoding options, for events that come from `connector`.
    pub(crate) fn decode(&self, connector: &Connector) -> Result<DecodeOptions, SqlError> {
        let mut options = DecodeOptions::default();
        self.apply(&mut options);
        if let (Some(spec), Some(word)) = (self.spec(), self.text("format"))
            && !spec.formats.contains(&word)
        {
            let message = format!("connector '{}' reads no format '{word}'", spec.name);
            let detail = format!("it reads {}", list(spec.formats.iter().copied()));
            return Err(invalid(message).detail(detail).or_at(self.span("format")));
        }
        if let Some(format) = self.spec().and_then(|spec| spec.format) {
            options.format = options.format.or_else(|| format(&connector.options));
            self.check_sheet(options.format.unwrap_or_default())?;
        }
        check_bytes(&options, self.span("delimiter").or(self.span("quote")))?;
        Ok(options)
    }

    /// Changes are of rows that are known by a key.
    pub(crate) fn check_changes(
        &self,
        decode: &DecodeOptions,
        target: Target,
        has_key: bool,
    ) -> Result<(), SqlError> {
        if decode.format != Some(Format::DebeziumJson) {
            return Ok(());
        }
        let (message, hint) = match target {
            Target::Table if has_key => return Ok(()),
            Target::Table => (
                "format 'debezium-json' needs the primary key by which rows are known",
                "write PRIMARY KEY (…) with the columns of the source's key",
            ),
            _ => (
                "format 'debezium-json' tells of changes, and a stream only grows",
                "write CREATE TABLE with a PRIMARY KEY",
            ),
        };
        Err(invalid(message).hint(hint).or_at(self.span("format")))
    }

    /// Puts what is given in the place of what `options` says.
    fn apply(&self, options: &mut DecodeOptions) {
        options.format = self.text("format").map(format).or(options.format);
        if let Some(Value::Mapping(mapping)) = self.get("mapping") {
            options.mapping.clone_from(mapping);
        }
        if let Some(columns) = self.names("columns") {
            options.columns = Some(columns.to_vec());
        }
        options.header = self.bool("header").or(options.header);
        if let Some(Value::Byte(delimiter)) = self.get("delimiter") {
            options.delimiter = Some(*delimiter);
        }
        if let Some(Value::Quote(quote)) = self.get("quote") {
            options.quote = Some(*quote);
        }
        if let Some(nulls) = self.names("null") {
            options.nulls = Some(nulls.to_vec());
        }
        if let Some(unit) = self.text("timestamp_unit") {
            options.timestamp_unit = timestamp_unit(unit);
        }
        if self.text("decimal_format") == Some("base64") {
            options.decimal_format = DecimalFormat::Base64;
        }
        if let Some(Value::Bytes(bytes)) = self.get("row_bytes_max") {
            options.row_bytes_max = *bytes;
        }
    }

    /// A file is of one format, so that options of others are mistakes.
    fn check_sheet(&self, format: Format) -> Result<(), SqlError> {
        let word = match format {
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::CopyText => "text",
            Format::Json => "json",
            Format::Parquet => "parquet",
            Format::Avro => "avro",
            Format::DebeziumJson => "debezium-json",
        };
        let is_json = matches!(format, Format::Json | Format::DebeziumJson);
        if !is_json && let Some(at) = self.span("decimal_format") {
            let message = format!("option \"decimal_format\" means nothing for format '{word}'");
            return Err(invalid(message).hint("it is for json and debezium-json").at(at));
        }
        if matches!(format, Format::Csv | Format::Tsv | Format::CopyText) {
            return Ok(());
        }
        let unused = SHEET.into_iter().find(|name| self.span(name).is_some());
        let typed = Some("timestamp_unit")
            .filter(|name| format == Format::Parquet && self.span(name).is_some());
        match unused.or(typed) {
            None => Ok(()),
            Some(name) => {
                Err(invalid(format!("option \"{name}\" means nothing for format '{word}'"))
                    .hint("leave it out, or say format = 'csv'")
                    .or_at(self.span(name)))
            }
        }
    }
}

fn format(word: &str) -> Format {
    match word {
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        "parquet" => Format::Parquet,
        "avro" => Format::Avro,
        "debezium-json" => Format::DebeziumJson,
        _ => Format::Json,
    }
}

fn timestamp_unit(word: &str) -> TimestampUnit {
    match word {
        "s" => TimestampUnit::Seconds,
        "ms" => TimestampUnit::Millis,
        "us" => TimestampUnit::Micros,
        "ns" => TimestampUnit::Nanos,
        _ => TimestampUnit::Auto,
    }
}

/// Delimiter and quote are told apart.
fn check_bytes(options: &DecodeOptions, at: Option<Span>) -> Result<(), SqlError> {
    let tsv = options.format == Some(Format::Tsv);
    let delimiter = options.delimiter.unwrap_or(if tsv { b'\t' } else { b',' });
    let quote = options.quote.unwrap_or(if tsv { None } else { Some(b'"') });
    if quote == Some(delimiter) {
        let shown =
            if delimiter == b'\t' { "\\t".to_owned() } else { char::from(delimiter).to_string() };
        return Err(invalid(format!("values cannot be both quoted with and divided by '{shown}'"))
            .hint("give another delimiter, or quote = 'none'")
            .or_at(at));
    }
    Ok(())
}

/// `base` with what one request says about its own events: pairs of an option's name and its value.
pub fn with_request(
    base: &DecodeOptions,
    given: &[(String, String)],
) -> Result<DecodeOptions, SqlError> {
    let mut values = Values::default();
    for (name, value) in given {
        let mut of_streams = OPTIONS.iter().filter(|spec| spec.targets.contains(&Target::Stream));
        let spec = of_streams.find(|spec| spec.name == name);
        let Some(spec) = spec.filter(|_| REQUEST.contains(&name.as_str())) else {
            let e = invalid(format!("parameter \"{name}\" does not exist"))
                .detail(format!("the parameters are {}", list(REQUEST)));
            return Err(match did_you_mean(name, REQUEST) {
                Some(hint) => e.hint(hint),
                None if known(Target::Stream, &[]).any(|(spec, _)| spec.name == name) => {
                    e.hint("it is an option of the stream, and holds for all its events")
                }
                None => e,
            });
        };
        let span = Span::default();
        let (name, value) = (name.clone(), value.clone());
        let given = Given { name, name_span: span, value, value_span: span };
        let value = parse_value(spec, &given, &[]).map_err(|e| SqlError { span: None, ..e })?;
        values.set(spec.name, value);
    }
    let mut options = base.clone();
    if let Some(word) = values.text("format") {
        if matches!(word, "parquet" | "avro" | "debezium-json") {
            let of = if word == "parquet" { "files" } else { "messages of a broker" };
            return Err(invalid(format!("format '{word}' is for {of}"))
                .hint("events sent over HTTP are json, csv or tsv"));
        }
        options = options.for_format(format(word));
    }
    values.apply(&mut options);
    check_bytes(&options, None)?;
    Ok(options)
}
