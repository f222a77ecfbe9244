//! The JSON decoder against a slow obvious one made of serde_json, on random and on damaged text.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::value::RawValue;
use yeoul_format::{DecodeOptions, Decoded, Decoder, FieldPath, Format, JsonLayout, TimestampUnit};

use crate::sample::{decoder, every_type, tagged};

pub(crate) fn schema() -> SchemaRef {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8View, true),
        Field::new("price", DataType::Float64, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        tagged("attrs", DataType::Utf8View, "jsonb"),
        Field::new("list", DataType::List(item), true),
    ]))
}

/// A value in a form that compares.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Double(u64),
    Text(String),
    List(Vec<Option<i64>>),
}

/// What the twin says of a line: a row, a bad one, or nothing.
pub(crate) type Line = Option<Vec<Value>>;

fn unquote(raw: &str) -> Option<String> {
    raw.starts_with('"').then(|| serde_json::from_str(raw).expect("RawValue checked it"))
}

fn integer(raw: &str) -> Option<i64> {
    let text = unquote(raw).unwrap_or_else(|| raw.to_owned());
    let text = text.trim();
    if let Ok(value) = text.parse::<i64>() {
        return Some(value);
    }
    let number =
        text.starts_with(['-', '+', '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    let value: f64 = text.parse().ok().filter(|_| number)?;
    (value.fract() == 0.0 && value.abs() < 1e15).then(|| format!("{value}").parse().expect("small"))
}

/// A number of seconds, milliseconds, microseconds or nanoseconds: its digits with the point moved.
fn micros(text: &str, unit: TimestampUnit) -> Option<i64> {
    let text = text.trim();
    text.parse::<f64>().ok().filter(|_| !text.to_ascii_lowercase().contains('n'))?;
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if exponent.abs() > 1_000 {
        let zero = digits.bytes().all(|b| matches!(b, b'0' | b'.'));
        return if zero || exponent < 0 {
            Some(if zero || sign.is_empty() { 0 } else { -1 })
        } else {
            None
        };
    }
    // Zeros on both sides, so that the point can go anywhere.
    let zeros = "0".repeat(1_100);
    let all = format!("{zeros}{whole}{fraction}{zeros}");
    let point =
        |by: i64| usize::try_from(1_100 + whole.len() as i64 + exponent + by).expect("room");
    let before = |by: i64| all[..point(by)].trim_start_matches('0').to_owned();
    let by = match (unit, before(0).len()) {
        (TimestampUnit::Seconds, _) | (TimestampUnit::Auto, 0..=11) => 6,
        (TimestampUnit::Millis, _) | (TimestampUnit::Auto, 12..=14) => 3,
        (TimestampUnit::Micros, _) | (TimestampUnit::Auto, 15..=17) => 0,
        (TimestampUnit::Nanos | TimestampUnit::Auto, _) => -3,
    };
    let number = format!("{sign}0{}", before(by));
    let inexact = all[point(by)..].bytes().any(|b| b != b'0');
    let value: i128 = number.parse().ok()?;
    i64::try_from(value - i128::from(inexact && sign == "-")).ok()
}

/// JSON without white space between its tokens.
fn squeeze(raw: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let keep = |c: &char| {
        if quoted {
            quoted = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        quoted = *c == '"';
        !c.is_ascii_whitespace()
    };
    raw.chars().filter(keep).collect()
}

fn convert(column: &Field, raw: Option<&str>, unit: TimestampUnit) -> Option<Value> {
    let Some(raw) = raw.filter(|raw| *raw != "null") else {
        return column.is_nullable().then_some(Value::Null);
    };
    Some(match column.name().as_str() {
        "id" => Value::Int(integer(raw)?),
        "at" => Value::Int(micros(&unquote(raw).unwrap_or_else(|| raw.to_owned()), unit)?),
        "price" => {
            let text = unquote(raw).unwrap_or_else(|| raw.to_owned());
            let value: f64 = text.trim().parse().ok()?;
            Value::Double(value.is_finite().then_some(value)?.to_bits())
        }
        "flag" => match unquote(raw).as_deref().unwrap_or(raw) {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => return None,
        },
        "attrs" => Value::Text(squeeze(raw)),
        "list" => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(raw).ok()?;
            let item = |item: &RawValue| match item.get() {
                "null" => Some(None),
                raw => integer(raw).map(Some),
            };
            Value::List(items.iter().map(|i| item(i)).collect::<Option<_>>()?)
        }
        "name" => match unquote(raw) {
            Some(text) => Value::Text(text),
            None => Value::Text(squeeze(raw)),
        },
        other => unreachable!("{other}"),
    })
}

/// The pairs of an object, repeated keys too.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Visitor)
    }
}

/// Whether this is JSON whose strings are all text (serde_json looks at a string that nobody asks for
/// with one eye only) whatever the size of its numbers.
fn is_strict(raw: &str) -> bool {
    match raw.trim_start().as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(raw).is_ok(),
        Some(b'{') => serde_json::from_str::<Pairs>(raw)
            .is_ok_and(|pairs| pairs.0.iter().all(|(_, value)| is_strict(value.get()))),
        Some(b'[') => serde_json::from_str::<Vec<Box<RawValue>>>(raw)
            .is_ok_and(|items| items.iter().all(|item| is_strict(item.get()))),
        _ => serde_json::from_str::<&RawValue>(raw).is_ok(),
    }
}

/// What stands behind `keys`: the last of repeated ones, and nothing inside what is no object.
fn find(raw: &str, keys: &[String]) -> Option<String> {
    let Some((key, rest)) = keys.split_first() else { return Some(raw.to_owned()) };
    let Pairs(pairs) = serde_json::from_str(raw).ok()?;
    let value = pairs.into_iter().rfind(|(name, _)| name == key)?.1;
    find(value.get(), rest)
}

/// Decodes a line the slow way; `None` when there is nothing on it.
pub(crate) fn slow_line(schema: &Schema, options: &DecodeOptions, line: &[u8]) -> Option<Line> {
    let Ok(text) = std::str::from_utf8(line) else { return Some(None) };
    if text.trim_matches([' ', '\t', '\r']).is_empty() {
        return None;
    }
    if !is_strict(text) {
        return Some(None);
    }
    if serde_json::from_str::<Pairs>(text).is_err() {
        return Some(None);
    }
    let value = |f: &Arc<Field>| {
        let mapped = options.mapping.iter().find(|(column, _)| column == f.name());
        let own = [f.name().clone()];
        let raw = find(text, mapped.map_or(&own[..], |(_, path)| path.keys()));
        convert(f, raw.as_deref(), options.timestamp_unit)
    };
    Some(schema.fields().iter().map(value).collect())
}

fn row_of(rows: &RecordBatch, row: usize) -> Vec<Value> {
    let value = |(column, field): (&Arc<dyn Array>, &Arc<Field>)| {
        if column.is_null(row) {
            return Value::Null;
        }
        match field.name().as_str() {
            "id" => Value::Int(column.as_primitive::<Int64Type>().value(row)),
            "at" => Value::Int(column.as_primitive::<TimestampMicrosecondType>().value(row)),
            "price" => Value::Double(column.as_primitive::<Float64Type>().value(row).to_bits()),
            "flag" => Value::Bool(column.as_boolean().value(row)),
            "list" => {
                let items = column.as_list::<i32>().value(row);
                Value::List(items.as_primitive::<Int64Type>().iter().collect())
            }
            _ => Value::Text(column.as_string_view().value(row).to_owned()),
        }
    };
    rows.columns().iter().zip(rows.schema().fields()).map(value).collect()
}

/// Rows and bad rows in the order of their lines.
pub(crate) fn lines_of(decoded: &Decoded) -> Vec<Line> {
    let mut rows = 0..decoded.rows.num_rows();
    let mut bad = decoded.bad.iter().peekable();
    (0..decoded.records)
        .map(|record| {
            if bad.next_if(|b| b.row == record).is_some() {
                return None;
            }
            Some(row_of(&decoded.rows, rows.next().expect("a row per record")))
        })
        .collect()
}

fn random_text(rng: &mut StdRng) -> String {
    const PIECES: [&str; 12] = [
        "a",
        "user",
        "\\n",
        "\\\"",
        "여울",
        "\\u00e9",
        "\\ud83d\\ude00",
        " ",
        "}",
        "\\\\",
        "0123456789",
        "/",
    ];
    let count = rng.random_range(0..6);
    (0..count).map(|_| PIECES[rng.random_range(0..PIECES.len())]).collect()
}

fn random_number(rng: &mut StdRng) -> String {
    match rng.random_range(0..8) {
        0 => rng.random_range(0..10).to_string(),
        1 => rng.random::<i64>().to_string(),
        2 => format!("{}", rng.random::<f64>() * 1e6 - 5e5),
        3 => format!("{:e}", rng.random::<f64>() * 1e300),
        4 => format!("{}.{:03}", rng.random_range(-99..99), rng.random_range(0..1000)),
        5 => format!("{}e{}", rng.random_range(1..99), rng.random_range(0..5)),
        6 => "1e999".to_owned(),
        _ => rng.random_range(1_000_000_000..2_000_000_000_000_i64).to_string(),
    }
}

fn random_value(rng: &mut StdRng, key: &str, depth: usize) -> String {
    let kind = if rng.random_range(0..10) == 0 { rng.random_range(0..7) } else { 7 };
    match (kind, key) {
        (0, _) => "null".to_owned(),
        (1, _) | (7, "flag") => {
            ["true", "false", "\"true\"", "0"][rng.random_range(0..4)].to_owned()
        }
        (2, _) => format!("\"{}\"", random_number(rng)),
        (3, _) | (7, "id" | "price" | "at") => random_number(rng),
        (4, _) | (7, "list") if depth < 3 => {
            let items: Vec<_> = (0..rng.random_range(0..4))
                .map(|_| rng.random_range(-9..9_i64).to_string())
                .collect();
            format!("[{}]", items.join([",", " , "][rng.random_range(0..2)]))
        }
        (5, _) | (7, "attrs") if depth < 3 => random_object(rng, depth + 1, &["x", "여", "id"]),
        _ => format!("\"{}\"", random_text(rng)),
    }
}

pub(crate) fn random_object(rng: &mut StdRng, depth: usize, keys: &[&str]) -> String {
    let space = ["", "", " ", "\t "][rng.random_range(0..4)];
    let mut keys = keys.to_vec();
    if rng.random_range(0..4) == 0 {
        let (a, b) = (rng.random_range(0..keys.len()), rng.random_range(0..keys.len()));
        keys.swap(a, b);
    }
    if rng.random_range(0..6) == 0 {
        keys.push(keys[rng.random_range(0..keys.len())]);
    }
    if rng.random_range(0..4) == 0 {
        keys.remove(rng.random_range(0..keys.len()));
    }
    let pairs: Vec<_> = keys
        .iter()
        .map(|key| format!("\"{key}\":{space}{}", random_value(rng, key, depth)))
        .collect();
    format!("{{{}}}", pairs.join(&format!(",{space}")))
}

pub(crate) const KEYS: [&str; 8] =
    ["id", "at", "name", "unknown", "price", "flag", "attrs", "list"];

pub(crate) fn damage(rng: &mut StdRng, text: &mut Vec<u8>) {
    const BYTES: &[u8] = b"{}[]\",:\\ \n-0e.tn\xc3";
    for _ in 0..rng.random_range(0..6) {
        if text.is_empty() {
            return;
        }
        let at = rng.random_range(0..text.len());
        match rng.random_range(0..4) {
            0 => text[at] = rng.random(),
            1 => drop(text.remove(at)),
            2 => text.insert(at, BYTES[rng.random_range(0..BYTES.len())]),
            _ => text.truncate(at.max(1)),
        }
    }
}

#[test]
fn agrees_with_serde_json() {
    agrees(&DecodeOptions::new(Format::Json), 4_000);
}

#[test]
fn agrees_with_serde_json_about_paths_units_and_limits() {
    let path =
        |column: &str, path: &str| (column.to_owned(), FieldPath::parse(path).expect("a path"));
    let units = [
        TimestampUnit::Seconds,
        TimestampUnit::Millis,
        TimestampUnit::Micros,
        TimestampUnit::Nanos,
    ];
    for (unit, price) in units.into_iter().zip(["id", "attrs.x", "attrs.id", "attrs.여.id"]) {
        let mapping = vec![
            path("price", price),
            path("name", "attrs.여.x"),
            path("flag", "\"unknown\""),
            path("at", "attrs.id"),
        ];
        let options = DecodeOptions { mapping, timestamp_unit: unit, ..DecodeOptions::default() };
        agrees(&options, 1_000);
    }
}

/// Lines with the keys of the columns, and those that the paths of the options lead to.
fn agrees(options: &DecodeOptions, seeds: u64) {
    let options = options.clone();
    let schema = schema();
    let mut json = decoder(&schema, &options);
    if let Decoder::Json(json) = &mut json {
        json.set_layout(JsonLayout::Lines);
    }
    for seed in 0..seeds {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(1..8);
        let lines: Vec<_> = (0..count).map(|_| random_object(&mut rng, 0, &KEYS)).collect();
        let mut text = lines.join(["\n", "\r\n", "\n\n"][rng.random_range(0..3)]).into_bytes();
        if seed % 2 == 1 {
            damage(&mut rng, &mut text);
        }
        let slow: Vec<Line> =
            text.split(|&b| b == b'\n').filter_map(|l| slow_line(&schema, &options, l)).collect();
        let decoded = json.decode(&text).expect("decodes");
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(lines_of(&decoded), slow, "seed {seed}: {shown}\n{:?}", decoded.bad);
    }
}

#[test]
fn elements_agree_with_lines() {
    let schema = schema();
    for seed in 0..500 {
        let mut rng = StdRng::seed_from_u64(seed);
        let lines: Vec<_> = (0..5).map(|_| random_object(&mut rng, 0, &KEYS)).collect();
        let mut json = decoder(&schema, &DecodeOptions::new(Format::Json));
        let by_line = lines_of(&json.decode(lines.join("\n").as_bytes()).expect("decodes"));
        let array = format!("[{}]", lines.join(" ,\n"));
        let decoded = json.decode(array.as_bytes()).expect("decodes");
        assert_eq!(by_line, lines_of(&decoded), "seed {seed}: {array}\n{:?}", decoded.bad);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_make_a_decoder_panic(
        bytes in prop::collection::vec(
            prop_oneof![
                4 => prop::sample::select(b"{}[]\",:\\\n\r\t 0123456789-+.eEtrufalsn\"\"i8bx".to_vec()),
                1 => any::<u8>(),
            ],
            0..200,
        ),
        format in prop::sample::select(vec![Format::Json, Format::Csv, Format::Tsv, Format::CopyText]),
        elements in any::<bool>(),
    ) {
        let options = DecodeOptions { header: Some(false), row_bytes_max: 64, ..DecodeOptions::new(format) };
        let mut decoder = decoder(&every_type(), &options);
        if let (Decoder::Json(json), true) = (&mut decoder, elements) {
            json.set_layout(JsonLayout::Elements);
        }
        prop_assert!(decoder.split(&bytes) <= bytes.len());
        // Twice, since the first time teaches it keys.
        let first = decoder.decode(&bytes).expect("decodes");
        let second = decoder.decode(&bytes).expect("decodes");
        prop_assert_eq!(first.rows, second.rows);
        prop_assert_eq!(first.bad, second.bad);
    }
}
