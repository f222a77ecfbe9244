//! CSV and TSV against a slow obvious reader, with random options on random and damaged text; and
//! rows whose times are too far ahead, in every format.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use std::sync::Arc;
use yeoul_format::{BadKind, DecodeOptions, FieldPath, Format, TimeLimit, TimestampUnit};

use crate::sample::{columns, decoder, shown};

/// A field: its text, and whether it was quoted.
pub(crate) type Cell = (String, bool);

/// Records of a text, one character after the other. `None`: the quotes are wrong.
pub(crate) fn slow_records(
    text: &str,
    delimiter: char,
    quote: Option<char>,
) -> Vec<(Option<Vec<Cell>>, usize)> {
    let (mut records, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')) {
            rest = after;
            continue;
        }
        let line = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let (record, len) = match slow_record(rest, delimiter, quote) {
            Some((cells, len)) => (Some(cells), len),
            None => (None, line),
        };
        records.push((record, len));
        rest = &rest[len..];
    }
    records
}

fn slow_record(text: &str, delimiter: char, quote: Option<char>) -> Option<(Vec<Cell>, usize)> {
    let (mut cells, mut at) = (Vec::new(), 0);
    loop {
        let mut cell = (String::new(), false);
        if quote.is_some() && text[at..].chars().next() == quote {
            let quote = quote?;
            cell.1 = true;
            at += 1;
            loop {
                let c = text[at..].chars().next()?;
                at += c.len_utf8();
                if c != quote {
                    cell.0.push(c);
                } else if text[at..].starts_with(quote) {
                    cell.0.push(quote);
                    at += 1;
                } else {
                    break;
                }
            }
            let next = &text[at..];
            let ends =
                next.is_empty() || next.starts_with([delimiter, '\n']) || next.starts_with("\r\n");
            ends.then_some(())?;
        } else {
            let end = text[at..].find([delimiter, '\n']).map_or(text.len(), |n| at + n);
            let line_end = !text[end..].starts_with(delimiter);
            let value = &text[at..end];
            cell.0 =
                if line_end { value.strip_suffix('\r').unwrap_or(value) } else { value }.to_owned();
            at += cell.0.len();
        }
        cells.push(cell);
        let rest = &text[at..];
        if rest.starts_with(delimiter) {
            at += 1;
        } else if rest == "\r" {
            return Some((cells, at + 1));
        } else if rest.starts_with("\r\n") {
            return Some((cells, at + 2));
        } else if rest.starts_with('\n') {
            return Some((cells, at + 1));
        } else {
            return Some((cells, at));
        }
    }
}

/// What a record becomes: `id` (a number), `name` (text), `at` (milliseconds); `None` for a bad one.
pub(crate) type Row = Option<(Option<i64>, Option<String>, Option<i64>)>;

pub(crate) fn slow_row(
    options: &DecodeOptions,
    names: &[String],
    cells: &[Cell],
    len: usize,
) -> Row {
    (cells.len() == names.len() && len <= options.row_bytes_max).then_some(())?;
    let nulls = options.nulls.clone().unwrap_or_else(|| vec![String::new()]);
    let cell = |column: &str| -> Option<&Cell> {
        let mapped = options.mapping.iter().find(|(name, _)| name == column);
        let wanted = mapped.map_or(column, |(_, path)| path.name());
        cells.get(names.iter().position(|name| name == wanted)?)
    };
    let value = |column: &str, is_text: bool| -> Option<String> {
        let (text, quoted) = cell(column)?;
        let null = nulls.contains(text) || (text.is_empty() && !is_text);
        (*quoted || !null).then(|| text.clone())
    };
    let number = |text: Option<String>| -> Option<Option<i64>> {
        text.map(|text| text.trim().parse().ok()).map_or(Some(None), |n: Option<i64>| n.map(Some))
    };
    let id = number(value("id", false))?;
    let at = number(value("at", false))?;
    let at = match at {
        None => None,
        Some(at) => Some(at.checked_mul(1_000)?),
    };
    Some((id, value("name", true), at))
}

pub(crate) fn random_options(rng: &mut StdRng) -> DecodeOptions {
    let format = [Format::Csv, Format::Tsv][rng.random_range(0..2)];
    let mut options = DecodeOptions::new(format);
    options.timestamp_unit = TimestampUnit::Millis;
    let mut some = || rng.random_range(0..2) == 0;
    if some() {
        options.delimiter = Some(b";|\t,"[rng.random_range(0..4)]);
    }
    let mut some = || rng.random_range(0..2) == 0;
    if some() {
        options.quote = Some([None, Some(b'\''), Some(b'"')][rng.random_range(0..3)]);
    }
    let mut some = || rng.random_range(0..2) == 0;
    if some() {
        let nulls: [&[&str]; 3] = [&["NA"], &["NA", ""], &["-"]];
        options.nulls =
            Some(nulls[rng.random_range(0..3)].iter().map(ToString::to_string).collect());
    }
    if rng.random_range(0..3) == 0 {
        options.mapping =
            vec![("name".to_owned(), FieldPath::parse("other.name").expect("a path"))];
    }
    if rng.random_range(0..3) == 0 {
        options.row_bytes_max = 12;
    }
    match rng.random_range(0..3) {
        0 => options.columns = Some(["at", "x", "name", "id"].map(str::to_owned).to_vec()),
        1 => options.header = Some(false),
        _ => {}
    }
    options
}

#[test]
fn agrees_with_a_reader_of_characters() {
    const PIECES: [&str; 14] =
        ["1", "NA", "-", "\"", "'", ",", ";", "|", "\t", "\n", "\r\n", "\r", "여울", " "];
    let schema = schema();
    for seed in 0..6_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let options = random_options(&mut rng);
        let tabs = options.format == Some(Format::Tsv);
        let delimiter = char::from(options.delimiter.unwrap_or(if tabs { b'\t' } else { b',' }));
        let quote = options.quote.unwrap_or(if tabs { None } else { Some(b'"') }).map(char::from);
        let names: Vec<String> = match (&options.columns, options.header) {
            (Some(columns), _) => columns.clone(),
            (None, Some(false)) => ["id", "name", "at"].map(str::to_owned).to_vec(),
            _ => ["name", "other.name", "id", "at"].map(str::to_owned).to_vec(),
        };
        let mut body = String::new();
        for _ in 0..rng.random_range(0..6) {
            let cells: Vec<String> = (0..names.len())
                .map(|_| match rng.random_range(0..6) {
                    0 => String::new(),
                    1 => "NA".to_owned(),
                    2 if quote.is_some() => {
                        let quote = quote.unwrap_or_default();
                        format!("{quote}a{delimiter}{quote}{quote}\n{quote}")
                    }
                    3 => rng.random::<i64>().to_string(),
                    _ => rng.random_range(-9..99).to_string(),
                })
                .collect();
            body += &(cells.join(&delimiter.to_string()) + ["\n", "\r\n"][rng.random_range(0..2)]);
        }
        for _ in 0..rng.random_range(0..4) {
            let mut at = rng.random_range(0..=body.len());
            while !body.is_char_boundary(at) {
                at -= 1;
            }
            body.insert_str(at, PIECES[rng.random_range(0..PIECES.len())]);
        }
        let with_header = options.columns.is_none() && options.header != Some(false);
        let mapped = options.columns.is_some() || with_header;
        let mut twin = options.clone();
        if !mapped {
            // Without names fields are the columns in their order.
            twin.mapping.clear();
        }
        let slow: Vec<Row> = slow_records(&body, delimiter, quote)
            .into_iter()
            .map(|(cells, len)| slow_row(&twin, &names, &cells?, len))
            .collect();
        let head =
            if with_header { names.join(&delimiter.to_string()) + "\n" } else { String::new() };
        let text = head + &body;
        let decoded = decoder(&schema, &options).decode(text.as_bytes()).expect("decodes");
        assert_eq!(
            rows_of(&decoded),
            slow,
            "seed {seed}: {text:?}\n{options:?}\n{:?}",
            decoded.bad
        );
    }
}

pub(crate) fn schema() -> Arc<Schema> {
    let utc = Some("UTC".into());
    columns(&[
        ("id", DataType::Int64),
        ("name", DataType::Utf8View),
        ("at", DataType::Timestamp(TimeUnit::Microsecond, utc)),
    ])
}

pub(crate) fn rows_of(decoded: &yeoul_format::Decoded) -> Vec<Row> {
    let rows = &decoded.rows;
    let id = rows.column(0).as_primitive::<Int64Type>();
    let name = rows.column(1).as_string_view();
    let at = rows.column(2).as_primitive::<TimestampMicrosecondType>();
    let mut bad = decoded.bad.iter().peekable();
    let mut good = 0..rows.num_rows();
    (0..decoded.records)
        .map(|record| {
            if bad.next_if(|bad| bad.row == record).is_some() {
                return None;
            }
            let row = good.next().expect("a row per record");
            Some((
                id.is_valid(row).then(|| id.value(row)),
                name.is_valid(row).then(|| name.value(row).to_owned()),
                at.is_valid(row).then(|| at.value(row)),
            ))
        })
        .collect()
}

#[test]
fn rows_ahead_of_now_are_bad_with_their_bytes() {
    let limit = TimeLimit { columns: vec![2], now_us: 1_000_000, skew_us: 1_000_000 };
    let reason = "at is 9 seconds ahead of now, more than future_skew = 1 second";
    let json = "{\"id\":1,\"at\":2000}\n\n{\"id\":\"x\"}\n{\"id\":2,\"at\":10000}\n{\"id\":3}\n";
    let array = "[{\"id\":1},\n {\"id\":true}, {\"id\":2,\"at\":10000},{\"id\":3}]";
    let csv = "id,name,at\n1,\"a\nb\",1\nx,,\n\n2,,10000\n3,,\n";
    let copy = "1\ta\t1\nx\t\\N\t\\N\n2\t\\N\t10000\n3\t\\N\t\\N\n";
    for (format, text, raw, line) in [
        (Format::Json, json, "{\"id\":2,\"at\":10000}", 3),
        (Format::Json, array, "{\"id\":2,\"at\":10000}", 1),
        (Format::Csv, csv, "2,,10000", 5),
        (Format::CopyText, copy, "2\t\\N\t10000", 2),
    ] {
        let options =
            DecodeOptions { timestamp_unit: TimestampUnit::Millis, ..DecodeOptions::new(format) };
        let mut decoder = decoder(&schema(), &options);
        let decoded = decoder.decode_until(text.as_bytes(), Some(&limit)).expect("decodes");
        assert_eq!(decoded.records, 4, "{text}");
        let ids = decoded.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(ids, [1, 3], "{}", shown(&decoded.rows));
        assert_eq!(decoded.bad[0].row, 1);
        let bad = &decoded.bad[1];
        assert_eq!((bad.reason.as_str(), bad.kind), (reason, BadKind::Ahead), "{text}");
        assert_eq!((bad.row, bad.line), (2, line), "{text}");
        assert_eq!(String::from_utf8_lossy(&bad.raw), raw, "{text}");
        let whole = decoder.decode_until(b"", Some(&limit)).expect("decodes");
        assert_eq!((whole.records, decoded.lines), (0, text.matches('\n').count() as u64));
    }
}

#[test]
fn bad_rows_say_what_sort_of_mistake_it_is() {
    let short = std::collections::HashMap::from([("yeoul.length".to_owned(), "2".to_owned())]);
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int16, false),
        Field::new("s", DataType::Utf8View, true).with_metadata(short),
        Field::new("n", DataType::Decimal128(3, 1), true),
        crate::sample::tagged("j", DataType::Utf8View, "jsonb"),
    ]));
    for (text, kind) in [
        ("1,abc,1,\n", BadKind::TooLong),
        ("1,ab,1000,\n", BadKind::OutOfRange),
        ("99999,ab,1,\n", BadKind::OutOfRange),
        ("1,ab,x,\n", BadKind::Invalid),
        ("1,ab,1,{x\n", BadKind::Invalid),
        (",ab,1,\n", BadKind::Null),
        ("1,ab\n", BadKind::Malformed),
    ] {
        let options = DecodeOptions { header: Some(false), ..DecodeOptions::new(Format::Csv) };
        let decoded = decoder(&schema, &options).decode(text.as_bytes()).expect("decodes");
        assert_eq!(decoded.bad[0].kind, kind, "{text} {:?}", decoded.bad);
    }
}

#[test]
fn jsonb_is_compacted_as_the_plain_way_does() {
    const PIECES: [&str; 20] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"a\"",
        "\"\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud800\"",
        " ",
        "\n",
        "1",
        "-0.5e3",
        "01",
        "true",
        "null",
        "\"여울\"",
        "\"",
        "\\",
    ];
    let field = crate::sample::tagged("j", DataType::Utf8View, "jsonb");
    let mut parser = yeoul_format::ValueParser::new(&field).expect("jsonb");
    let mut found = 0;
    for seed in 0..40_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(1..9);
        let text: String = (0..count).map(|_| PIECES[rng.random_range(0..PIECES.len())]).collect();
        let fast = parser.parse([Some(text.as_str())]).ok();
        let fast = fast.map(|array| array.as_string_view().value(0).to_owned());
        found += usize::from(fast.is_some());
        assert_eq!(fast, yeoul_batch::compact_json(&text), "seed {seed}: {text:?}");
    }
    assert!(found > 500, "{found} were JSON");
}
