//! From the bytes of letters to rows, each decoded alone.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use serde::Deserialize;
use yeoul_engine::{Engine, EngineError, ErrorKind, Letter, LetterId, StreamHandle};
use yeoul_format::{DecodeOptions, Decoder, FieldPath, Format, TimeLimit};

use super::LETTERS_MAX;
use super::answer::Failed;
use super::lines::Line;
use crate::decode::refused;
use crate::http::error::ApiError;

/// What became of the bytes of some letters.
pub(super) struct Mended {
    /// The letters that are rows now, and their rows.
    pub(super) ids: Vec<LetterId>,
    pub(super) rows: RecordBatch,
    /// Those that are none.
    pub(super) failed: Vec<Failed>,
    /// How many had been put back before.
    pub(super) before: u64,
}

/// Refuses lines whose letter the stream does not have, naming the first.
pub(super) fn check_known(
    engine: &Engine,
    stream: &str,
    lines: &Option<Vec<Line>>,
) -> Result<(), ApiError> {
    for some in lines.iter().flat_map(|lines| lines.chunks(LETTERS_MAX)) {
        let found = letters(engine, some)?;
        for (line, letter) in some.iter().zip(found) {
            if letter.is_none_or(|letter| letter.stream != stream) {
                let message =
                    format!("line {}: \"{stream}\" has no dead letter {}", line.number, line.id);
                let error = EngineError::new(ErrorKind::NotFound, message)
                    .with_sqlstate("42704")
                    .with_hint("yeoul.dead_letters lists them; nothing of the request was stored");
                return Err(error.into());
            }
        }
    }
    Ok(())
}

fn letters(engine: &Engine, lines: &[Line]) -> Result<Vec<Option<Letter>>, EngineError> {
    let ids: Vec<LetterId> = lines.iter().map(|line| line.id).collect();
    engine.dead_letters(&ids)
}

/// Decodes letters as their stream decodes what is written as they are.
pub(super) fn mend(
    engine: &Engine,
    stream: &StreamHandle,
    lines: &[Line],
) -> Result<Mended, ApiError> {
    let limit = engine.time_limit(stream);
    let mut decoders = Decoders { stream, limit, made: HashMap::new() };
    let (mut ids, mut rows, mut failed, mut before) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (line, letter) in lines.iter().zip(letters(engine, lines)?) {
        // It was there when the ids were checked, and letters do not go.
        let Some(letter) = letter else { continue };
        if letter.replayed.is_some() {
            before += 1;
            continue;
        }
        let raw = line.raw.as_ref().unwrap_or(&letter.raw);
        match decoders.row(letter.format.as_deref(), raw)? {
            Ok(row) => {
                ids.push(line.id);
                rows.push(row);
            }
            Err(reason) => failed.push(Failed { line: line.number, id: line.id, reason }),
        }
    }
    let rows = concat_batches(stream.schema(), &rows).map_err(EngineError::from)?;
    Ok(Mended { ids, rows, failed, before })
}

/// A decoder for each way in which letters are written.
struct Decoders<'a> {
    stream: &'a StreamHandle,
    /// Which times are believed now.
    limit: Option<TimeLimit>,
    made: HashMap<Option<String>, Result<Decoder, String>>,
}

impl Decoders<'_> {
    /// The row of one letter, or why it is none.
    fn row(
        &mut self,
        format: Option<&str>,
        raw: &[u8],
    ) -> Result<Result<RecordBatch, String>, ApiError> {
        let decoder = self.made.entry(format.map(str::to_owned)).or_insert_with(|| {
            let options = options(self.stream.decode_options(), format)?;
            let schema = Arc::clone(self.stream.schema());
            Decoder::new(schema, &options).map_err(|e| e.to_string())
        });
        let decoder = match decoder {
            Ok(decoder) => decoder,
            Err(reason) => return Ok(Err(reason.clone())),
        };
        let decoded = decoder.decode_until(raw, self.limit.as_ref()).map_err(|e| refused(&e))?;
        Ok(match (decoded.records, decoded.bad.into_iter().next()) {
            (0, _) => Err("it holds no record".to_owned()),
            (1, Some(bad)) => Err(bad.reason),
            (1, None) => Ok(decoded.rows),
            (count, _) => Err(format!("it holds {count} records, and a letter is one")),
        })
    }
}

/// [`Decoder::record_format`] as it is kept with a letter.
#[derive(Deserialize)]
struct Written {
    format: String,
    columns: Option<Vec<String>>,
    delimiter: Option<String>,
    quote: Option<String>,
    #[serde(default)]
    mapping: HashMap<String, String>,
}

/// How a letter is written: what its stream says, as far as the letter does not know better. One of
/// which nothing is known is taken for JSON.
fn options(stream: &DecodeOptions, format: Option<&str>) -> Result<DecodeOptions, String> {
    let Some(format) = format else { return Ok(stream.for_format(Format::Json)) };
    let wrong = |what: String| format!("how it is written cannot be read: {what}");
    let written: Written = serde_json::from_str(format).map_err(|e| wrong(e.to_string()))?;
    let format = match written.format.as_str() {
        "json" => Format::Json,
        "csv" => Format::Csv,
        "text" => Format::CopyText,
        other @ ("avro" | "debezium-json") => {
            return Err(format!("letters of format '{other}' cannot be put back: INSERT the row"));
        }
        other => return Err(wrong(format!("\"{other}\" is no format"))),
    };
    let mut mapping = Vec::with_capacity(written.mapping.len());
    for (column, path) in written.mapping {
        let path = FieldPath::parse(&path).ok_or_else(|| wrong(format!("{path} is no path")))?;
        mapping.push((column, path));
    }
    Ok(DecodeOptions {
        format: Some(format),
        columns: written.columns,
        header: Some(false),
        delimiter: written.delimiter.and_then(|text| text.bytes().next()),
        quote: written.quote.map(|text| text.bytes().next()),
        mapping,
        ..stream.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};

    #[test]
    fn what_a_decoder_says_of_itself_makes_the_same_decoder() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8View, true),
        ]));
        let path = |text: &str| FieldPath::parse(text).unwrap();
        let stream = DecodeOptions::default();
        let mut csv = DecodeOptions::new(Format::Csv);
        csv.delimiter = Some(b';');
        csv.mapping = vec![("id".into(), path("Key, or so"))];
        let tsv = DecodeOptions { header: Some(false), ..DecodeOptions::new(Format::Tsv) };
        let mut json = DecodeOptions::new(Format::Json);
        json.mapping = vec![("id".into(), path("user.id"))];
        for (first, head, record) in [
            (csv, "name;\"Key, or so\"\n", "\"x;\";7"),
            (tsv, "", "7\tx"),
            (json, "", "{\"user\":{\"id\":7},\"name\":\"x\"}"),
        ] {
            let mut decoder = Decoder::new(Arc::clone(&schema), &first).unwrap();
            decoder.begin(format!("{head}{record}\n").as_bytes(), true).unwrap();
            let wanted = decoder.decode(record.as_bytes()).unwrap().rows;
            assert_eq!(wanted.num_rows(), 1);
            let again = options(&stream, Some(&decoder.record_format())).unwrap();
            let mut again = Decoder::new(Arc::clone(&schema), &again).unwrap();
            assert_eq!(again.decode(record.as_bytes()).unwrap().rows, wanted, "{first:?}");
        }
        assert!(options(&stream, Some("{")).unwrap_err().contains("cannot be read"));
    }
}
