//! Messages: by cases, and random blocks of them against the slow decoders of single records.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use std::sync::Arc;
use yeoul_format::{
    BadKind, DecodeOptions, Decoded, Decoder, FieldPath, Format, FormatError, Messages, TimeLimit,
    TimestampUnit,
};

use crate::sample::{columns, decoder, shown};
use crate::{sheet, twin};

fn block<T: AsRef<[u8]>>(messages: impl IntoIterator<Item = Option<T>>) -> Messages {
    let mut block = Messages::default();
    for message in messages {
        match message {
            Some(message) => block.push(message.as_ref()),
            None => block.push_null(),
        }
    }
    block
}

fn of(format: Format) -> Decoder {
    let schema = columns(&[("a", DataType::Int64), ("b", DataType::Utf8View)]);
    let options = DecodeOptions { row_bytes_max: 60, ..DecodeOptions::new(format) };
    Decoder::for_messages(schema, &options).expect("plain types")
}

/// Each message with the row it becomes, or else the reason why it becomes none.
fn check(format: Format, cases: &[(&[u8], &str)]) {
    // The neighbours of a message are all others, in both orders, and nothing.
    let forward: Vec<_> = cases.to_vec();
    let backward: Vec<_> = cases.iter().rev().copied().collect();
    let alone = cases.iter().map(|case| vec![*case]);
    for cases in [forward, backward].into_iter().chain(alone) {
        let messages = block(cases.iter().map(|(message, _)| Some(message)));
        let decoded = of(format).decode_messages(&messages, None).expect("decodes");
        let rows = shown(&decoded.rows);
        let (mut rows, mut bad) = (rows.lines(), decoded.bad.iter());
        for (index, (message, expected)) in cases.iter().enumerate() {
            let name = String::from_utf8_lossy(message);
            if expected.starts_with('{') {
                assert_eq!(rows.next(), Some(*expected), "{name:?} {:?}", decoded.bad);
            } else {
                let bad = bad.next().expect("a bad row");
                assert_eq!(bad.reason, *expected, "{name:?}");
                assert_eq!(&bad.raw[..], &message[..message.len().min(60)], "as it came");
                assert_eq!((bad.row, bad.line), (index as u64, index as u64));
            }
        }
        assert_eq!((rows.next(), bad.next()), (None, None));
        assert_eq!((decoded.records, decoded.lines), (cases.len() as u64, cases.len() as u64));
    }
}

#[test]
fn json_messages_are_one_object_each() {
    let long = format!("{{\"a\":1,\"b\":\"{}\"}}", "x".repeat(50));
    let too_long = format!("the record has {} bytes, more than row_bytes_max = 60", long.len());
    check(
        Format::Json,
        &[
            (b"{\"a\":1,\"b\":\"x\"}", r#"{"a":1,"b":"x"}"#),
            (b"{\n  \"a\": 2,\r\n  \"b\": \"y\"\n}\n", r#"{"a":2,"b":"y"}"#),
            (b"{\n  \"a\": 3,\r\n  \"b\": [1,\n2]\n}", r#"{"a":3,"b":"[1,2]"}"#),
            (b"\xef\xbb\xbf {\"a\":4}", r#"{"a":4,"b":null}"#),
            (b"\n\t{\"a\":5} \r\n", r#"{"a":5,"b":null}"#),
            (b"{}", r#"{"a":null,"b":null}"#),
            (b"", "the message is empty"),
            (b"\n", "the message is blank"),
            (b"\xef\xbb\xbf \t", "the message is blank"),
            (b"{\"a\":1}{\"a\":2}", "the message has more than one object"),
            (b"{\"a\":1}\n{\"a\":2}", "the message has more than one object"),
            (b"{\"a\":1},\n{\"a\":2}", "the message has more than one object"),
            (b"{\"a\":1} x", "not JSON at byte 8: expected the end of the message"),
            (b"{\"a\":1}\0", "not JSON at byte 7: expected the end of the message"),
            (b"[{\"a\":1}]", "the message is an array and no object"),
            (b"[{\"a\":1}", "not JSON at byte 8: expected a comma or the end of an array"),
            (b"1\n", "the message is a number and no object"),
            (b"1 2", "not JSON at byte 2: expected the end of the message"),
            (b" \"{}\"", "the message is a string and no object"),
            (b"null", "the message is null and no object"),
            (b"false", "the message is a boolean and no object"),
            (b"x", "not JSON at byte 0: expected a value"),
            // What follows would complete it, as the line end in the first does, and is another message.
            (b"{\"a\":6,\n\"b\":\"z\"}", r#"{"a":6,"b":"z"}"#),
            (b"{\"a\":1,", "not JSON at byte 7: expected a key"),
            (b"\"b\":\"x\"}", "not JSON at byte 3: expected the end of the message"),
            (b"{\"b\":", "not JSON at byte 5: expected a value"),
            (b"\"y\"}", "not JSON at byte 3: expected the end of the message"),
            // A line end inside a string is never JSON.
            (
                b"{\"b\":\"x\ny\"}",
                "not JSON at byte 7: expected no control character inside a string",
            ),
            (b"{\"b\":\"x", "not JSON at byte 7: expected the end of a string"),
            (b"{\"b\":\"\xff\"}", "invalid UTF-8 at byte 6"),
            (b"{\"b\":\"\xed\x95", "invalid UTF-8 at byte 6"),
            (b"{\"a\":\n\"x\"}", "column \"a\": \"x\" is not a valid bigint"),
            (long.as_bytes(), &too_long),
        ],
    );
}

#[test]
fn what_was_read_of_a_message_with_line_ends_is_read_once() {
    let item = Arc::new(arrow::datatypes::Field::new("item", DataType::Int64, true));
    let schema = columns(&[("l", DataType::List(item)), ("a", DataType::Int64)]);
    let options = DecodeOptions::new(Format::Json);
    let mut decoder = Decoder::for_messages(schema, &options).expect("plain types");
    let messages =
        block(["{\"l\":[1,2,\n3],\"a\":1}", "{\"l\":[4,\n\"x\"]}", "{\"l\":[5]}"].map(Some));
    let decoded = decoder.decode_messages(&messages, None).expect("decodes");
    assert_eq!(shown(&decoded.rows), "{\"l\":[1,2,3],\"a\":1}\n{\"l\":[5],\"a\":null}\n");
    assert_eq!(decoded.bad.len(), 1);
}

#[test]
fn csv_messages_are_one_record_each() {
    let long = format!("1,{}", "x".repeat(60));
    check(
        Format::Csv,
        &[
            (b"1,x", r#"{"a":1,"b":"x"}"#),
            (b"2,y\n", r#"{"a":2,"b":"y"}"#),
            (b"3,\"z\"\r\n", r#"{"a":3,"b":"z"}"#),
            (b"\xef\xbb\xbf4,\"two\nlines\"", r#"{"a":4,"b":"two\nlines"}"#),
            (b"5,\"a\"\"b\"\r", r#"{"a":5,"b":"a\"b"}"#),
            (b"6,", r#"{"a":6,"b":null}"#),
            (b",", r#"{"a":null,"b":null}"#),
            (b"\n7,x\n\r\n", r#"{"a":7,"b":"x"}"#),
            (b"", "the message is empty"),
            (b"\r\n", "the message is blank"),
            (b"\xef\xbb\xbf", "the message is blank"),
            (b"1,x\n2,y", "the message has more than one record"),
            (b"1\n2,y\n", "the message has more than one record"),
            (b"1,x\n\r", "the message has more than one record"),
            (b"1", "the record has 1 fields instead of 2"),
            (b"1,x,", "the record has 3 fields instead of 2"),
            (b"x,y", "column \"a\": x is not a valid bigint"),
            // What follows would close the quote, and is another message.
            (b"1,\"x", "a quoted field does not end with its closing quote"),
            (b"2,\"", "a quoted field does not end with its closing quote"),
            (b"3,\"\"\"", "a quoted field does not end with its closing quote"),
            (b"\"1\"x,y", "a quoted field does not end with its closing quote"),
            (b"1,\xff", "invalid UTF-8 at byte 2"),
            (long.as_bytes(), "the record has 62 bytes, more than row_bytes_max = 60"),
        ],
    );
    check(Format::Tsv, &[(b"1\t\"x", r#"{"a":1,"b":"\"x"}"#), (b"2\ty\r\n", r#"{"a":2,"b":"y"}"#)]);
}

#[test]
fn a_message_without_a_value_is_not_an_empty_one() {
    for format in [Format::Json, Format::Csv, Format::Tsv] {
        let messages = block([None, Some("")]);
        let decoded = of(format).decode_messages(&messages, None).expect("decodes");
        let bad: Vec<_> = decoded.bad.iter().map(|bad| (bad.reason.as_str(), bad.kind)).collect();
        let expected = [
            ("the message has no value", BadKind::Null),
            ("the message is empty", BadKind::Malformed),
        ];
        assert_eq!(bad, expected);
        let none = of(format).decode_messages(&Messages::default(), None).expect("decodes");
        assert_eq!((none.records, none.rows.num_rows()), (0, 0));
    }
}

#[test]
fn formats_and_options_that_messages_cannot_have() {
    let schema = columns(&[("a", DataType::Int64), ("b", DataType::Utf8View)]);
    let error = |options: &DecodeOptions| {
        let decoder = Decoder::for_messages(Arc::clone(&schema), options);
        decoder.err().map(|e| e.to_string()).unwrap_or_default()
    };
    let csv = DecodeOptions::new(Format::Csv);
    let mapping = vec![("a".to_owned(), FieldPath::parse("key").expect("a path"))];
    for (options, expected) in [
        (DecodeOptions::new(Format::CopyText), "the text of COPY is no format of messages"),
        (DecodeOptions::new(Format::Parquet), "parquet is no format of messages"),
        (DecodeOptions { header: Some(true), ..csv.clone() }, "option \"header\" is for texts"),
        (DecodeOptions { mapping: mapping.clone(), ..csv.clone() }, "option \"mapping\" needs"),
        (DecodeOptions { header: Some(false), ..csv.clone() }, ""),
        (DecodeOptions { mapping: mapping.clone(), ..DecodeOptions::default() }, ""),
    ] {
        let found = error(&options);
        assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{found}");
    }
    let one = block([Some("1,2")]);
    let whole = decoder(&schema, &csv).decode_messages(&one, None);
    assert_eq!(whole.err(), Some(FormatError::MessageHeader));
    let copy = decoder(&schema, &DecodeOptions::new(Format::CopyText)).decode_messages(&one, None);
    assert!(matches!(copy, Err(FormatError::NoMessages(_))));

    let names = Some(vec!["b".to_owned(), "key".to_owned()]);
    let options = DecodeOptions { mapping, columns: names, ..csv };
    let mut decoder = Decoder::for_messages(schema, &options).expect("names and a mapping");
    let decoded = decoder.decode_messages(&block([Some("x,1")]), None).expect("decodes");
    assert_eq!(shown(&decoded.rows), "{\"a\":1,\"b\":\"x\"}\n");
    let expected = r#"{"format":"csv","columns":["b","key"],"delimiter":",","quote":"\"","mapping":{"a":"key"}}"#;
    assert_eq!(decoder.record_format(), expected);
}

#[test]
fn rows_ahead_of_now_are_bad_with_their_messages() {
    let limit = TimeLimit { columns: vec![2], now_us: 1_000_000, skew_us: 1_000_000 };
    let json = ["{\"id\":1}", "x", "{\n\"id\":2,\"at\":10000}\n", "{\"id\":3,\"at\":2000}"];
    let csv = ["1,,", "x", "2,,10000\r\n", "3,,2000"];
    for (format, messages) in [(Format::Json, json), (Format::Csv, csv)] {
        let options =
            DecodeOptions { timestamp_unit: TimestampUnit::Millis, ..DecodeOptions::new(format) };
        let mut decoder = Decoder::for_messages(sheet::schema(), &options).expect("plain types");
        let decoded =
            decoder.decode_messages(&block(messages.map(Some)), Some(&limit)).expect("decodes");
        let ids = decoded.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(ids, [1, 3]);
        let [malformed, ahead] = &decoded.bad[..] else { panic!("{:?}", decoded.bad) };
        assert_eq!((malformed.kind, malformed.row), (BadKind::Malformed, 1));
        assert_eq!((ahead.kind, ahead.row, ahead.line), (BadKind::Ahead, 2, 2));
        assert_eq!(&ahead.raw[..], messages[2].as_bytes(), "as it came");
        assert_eq!(decoded.records, 4);
    }
}

/// A message that is mostly an object on one line.
fn random_json(rng: &mut StdRng) -> Option<Vec<u8>> {
    let object = |rng: &mut StdRng| twin::random_object(rng, 0, &twin::KEYS);
    let spread = |text: String| text.replace(',', ",\r\n ").replace('{', "{\n");
    let mut message = match rng.random_range(0..16) {
        0 => return None,
        1 => ["", " ", "\n", "\r\n\t", "\u{feff}"][rng.random_range(0..5)].to_owned(),
        2 => ["1", "\"{}\"", "null", "true", "x", "{", "}"][rng.random_range(0..7)].to_owned(),
        3 => format!("[{}]", object(rng)),
        4 => object(rng) + ["", ",", "\n", " "][rng.random_range(0..4)] + &object(rng),
        5 => format!("\u{feff}{}", object(rng)),
        6..9 => spread(object(rng)),
        _ => object(rng),
    };
    if rng.random_range(0..4) == 0 {
        message += ["\n", "\r\n", " ", "\n\n"][rng.random_range(0..4)];
    }
    let mut message = message.into_bytes();
    if rng.random_range(0..5) == 0 {
        twin::damage(rng, &mut message);
    }
    Some(message)
}

/// Each bad row is its message, for a reason that does not depend on the others; and no block
/// changes what the decoder makes of another one.
fn stands_alone(decoded: &Decoded, all: &[Option<Vec<u8>>], fresh: &Decoder, shown: &str) {
    let bytes_max = |message: &[u8]| message.len().min(BYTES_MAX);
    for bad in &decoded.bad {
        let index = usize::try_from(bad.row).expect("small");
        let message = all[index].as_deref().unwrap_or_default();
        assert_eq!(&bad.raw[..], &message[..bytes_max(message)], "{shown}");
        let alone = fresh.clone().decode_messages(&block([all[index].as_ref()]), None);
        let alone = alone.expect("decodes");
        assert_eq!((&alone.bad[0].reason, alone.bad[0].kind), (&bad.reason, bad.kind), "{shown}");
        assert_eq!(bad.line, bad.row, "{shown}");
    }
    assert_eq!((decoded.records, decoded.lines), (all.len() as u64, all.len() as u64), "{shown}");
}

const BYTES_MAX: usize = 150;

#[test]
fn json_blocks_agree_with_serde_json() {
    let schema = twin::schema();
    let options = DecodeOptions { row_bytes_max: BYTES_MAX, ..DecodeOptions::new(Format::Json) };
    let fresh = Decoder::for_messages(Arc::clone(&schema), &options).expect("plain types");
    let mut used = fresh.clone();
    for seed in 0..6_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let all: Vec<_> = (0..rng.random_range(0..9)).map(|_| random_json(&mut rng)).collect();
        let slow: Vec<twin::Line> = all
            .iter()
            .map(|message| {
                let message = message.as_deref().filter(|message| message.len() <= BYTES_MAX)?;
                let text = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message);
                twin::slow_line(&schema, &options, text)?
            })
            .collect();
        let messages = block(all.iter().map(Option::as_ref));
        let decoded = used.decode_messages(&messages, None).expect("decodes");
        let text: Vec<_> =
            messages.iter().map(|m| String::from_utf8_lossy(m.unwrap_or(b"-"))).collect();
        let shown = format!("seed {seed}: {text:#?}\n{:?}", decoded.bad);
        assert_eq!(twin::lines_of(&decoded), slow, "{shown}");
        stands_alone(&decoded, &all, &fresh, &shown);

        // The same decoder reads lines as one that never saw messages.
        let lines = text.join("\n");
        let (old, new) = (used.decode(lines.as_bytes()), fresh.clone().decode(lines.as_bytes()));
        let (old, new) = (old.expect("decodes"), new.expect("decodes"));
        assert_eq!((old.rows, old.bad), (new.rows, new.bad), "{shown}");
    }
}

#[test]
fn csv_blocks_agree_with_a_reader_of_characters() {
    const PIECES: [&str; 13] =
        ["1", "NA", "\"", "\"", "'", ",", ";", "\t", "\n", "\r\n", "\r", "여울", "\u{feff}"];
    for seed in 0..6_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut options = sheet::random_options(&mut rng);
        options.header = None;
        if options.columns.is_none() {
            options.mapping.clear();
        }
        options.row_bytes_max = options.row_bytes_max.min(BYTES_MAX);
        let names = ["id", "name", "at"].map(str::to_owned).to_vec();
        let names = options.columns.clone().unwrap_or(names);
        let tabs = options.format == Some(Format::Tsv);
        let delimiter = char::from(options.delimiter.unwrap_or(if tabs { b'\t' } else { b',' }));
        let quote = options.quote.unwrap_or(if tabs { None } else { Some(b'"') }).map(char::from);
        let quoted = quote.map(|quote| format!("{quote}\n{quote}{quote}{delimiter}{quote}"));
        let message = |rng: &mut StdRng| -> Option<Vec<u8>> {
            let cells = (0..names.len()).map(|_| match rng.random_range(0..5) {
                0 => quoted.clone().unwrap_or_default(),
                1 => "NA".to_owned(),
                _ => rng.random_range(-9..99).to_string(),
            });
            let mut text = cells.collect::<Vec<_>>().join(&delimiter.to_string());
            text += ["", "", "\n", "\r\n", "\n\n"][rng.random_range(0..5)];
            for _ in 0..[0, 0, 0, 1, 3][rng.random_range(0..5)] {
                let mut at = rng.random_range(0..=text.len());
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                text.insert_str(at, PIECES[rng.random_range(0..PIECES.len())]);
            }
            let mut bytes = text.into_bytes();
            match rng.random_range(0..12) {
                0 => return None,
                1 => bytes.clear(),
                2 => bytes.push(0xff),
                _ => {}
            }
            Some(bytes)
        };
        let all: Vec<_> = (0..rng.random_range(0..9)).map(|_| message(&mut rng)).collect();
        let slow = |message: &Option<Vec<u8>>| -> sheet::Row {
            let text = str::from_utf8(message.as_deref()?).ok()?;
            (text.len() <= options.row_bytes_max).then_some(())?;
            let body = text.strip_prefix('\u{feff}').unwrap_or(text);
            let records = sheet::slow_records(body, delimiter, quote);
            let [(Some(cells), _)] = &records[..] else { return None };
            sheet::slow_row(&options, &names, cells, 0)
        };
        let fresh = Decoder::for_messages(sheet::schema(), &options).expect("plain types");
        let messages = block(all.iter().map(Option::as_ref));
        let decoded = fresh.clone().decode_messages(&messages, None).expect("decodes");
        let text: Vec<_> =
            messages.iter().map(|m| String::from_utf8_lossy(m.unwrap_or(b"-"))).collect();
        let shown = format!("seed {seed}: {text:#?}\n{options:?}\n{:?}", decoded.bad);
        let expected: Vec<_> = all.iter().map(slow).collect();
        assert_eq!(sheet::rows_of(&decoded), expected, "{shown}");
        if options.row_bytes_max == BYTES_MAX {
            stands_alone(&decoded, &all, &fresh, &shown);
        }
    }
}

fn times(rows: &RecordBatch) -> Vec<Option<i64>> {
    rows.column(4).as_primitive::<TimestampMicrosecondType>().iter().collect()
}

#[test]
fn a_limit_takes_the_rows_that_it_names() {
    let schema = twin::schema();
    let mut decoder =
        Decoder::for_messages(schema, &DecodeOptions::new(Format::Json)).expect("plain types");
    let mut taken = 0;
    for seed in 0..1_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let all: Vec<_> = (0..rng.random_range(0..9)).map(|_| random_json(&mut rng)).collect();
        let messages = block(all.iter().map(Option::as_ref));
        let limit = TimeLimit { columns: vec![4], now_us: 1_000_000_000_000_000, skew_us: 0 };
        let without = decoder.decode_messages(&messages, None).expect("decodes");
        let with = decoder.decode_messages(&messages, Some(&limit)).expect("decodes");
        let late = |time: &Option<i64>| time.is_some_and(|time| time > limit.now_us);
        let mut kept = times(&without.rows);
        kept.retain(|time| !late(time));
        assert_eq!(times(&with.rows), kept, "seed {seed}");
        let ahead: Vec<_> = with.bad.iter().filter(|bad| bad.kind == BadKind::Ahead).collect();
        assert_eq!(ahead.len(), without.rows.num_rows() - kept.len(), "seed {seed}");
        for bad in &ahead {
            let message = messages.get(usize::try_from(bad.row).expect("small"));
            let alone = decoder.decode_messages(&block([Some(message)]), None).expect("decodes");
            assert!(late(&times(&alone.rows)[0]), "seed {seed}");
            assert_eq!((&bad.raw[..], bad.line), (message, bad.row), "seed {seed}");
        }
        taken += ahead.len();
    }
    assert!(taken > 50, "{taken} were ahead");
}
