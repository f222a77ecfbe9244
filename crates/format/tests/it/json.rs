//! JSON by cases.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use yeoul_format::{DecodeOptions, FieldPath, Format, JsonLayout};

use crate::sample::{columns, decode, decoder, every_type, shown};

/// `value` in the column `column` of [`every_type`] becomes `expected` when written again.
fn check(column: &str, value: &str, expected: &str) {
    let schema = every_type();
    let index = schema.index_of(column).expect("a column");
    let schema = Arc::new(schema.project(&[index]).expect("one column"));
    let decoded = decode(&schema, Format::Json, &format!("{{\"{column}\": {value} }}"));
    let found = match decoded.bad.first() {
        Some(bad) => format!("bad: {}", bad.reason),
        None => shown(&decoded.rows),
    };
    let wanted = match expected.strip_prefix("bad: ") {
        Some(reason) => format!("bad: column \"{column}\": {reason}"),
        None => format!("{{\"{column}\":{expected}}}\n"),
    };
    assert_eq!(found, wanted, "{column} {value}");
}

#[test]
fn nested_json_is_held_to_the_length_of_its_column() {
    let text = "{\"s3\":[1, 2]}\n{\"s3\":[ 1 ]}\n";
    let decoded = decode(&every_type(), Format::Json, text);
    let reason = "column \"s3\": [1, 2] is too long for varchar(3)";
    assert_eq!((decoded.bad.len(), decoded.bad[0].reason.as_str()), (1, reason));
    assert!(shown(&decoded.rows).contains("\"s3\":\"[1]\""));
}

#[test]
fn every_type_takes_its_forms() {
    for (column, value, expected) in [
        ("b", "true", "true"),
        ("b", "\"No\"", "false"),
        ("b", "1", "true"),
        ("b", "2", "bad: 2 is not a valid boolean"),
        ("b", "null", "null"),
        ("i2", "-32768", "-32768"),
        ("i2", "32768", "bad: 32768 is out of range for smallint"),
        ("i4", "1.0", "1"),
        ("i4", "1e3", "1000"),
        ("i4", "\"12\"", "12"),
        ("i4", "1.5", "bad: 1.5 is not a valid integer"),
        ("i4", "true", "bad: true is not a valid integer"),
        ("i4", "{\"a\": [1]}", "bad: {\"a\": [1]} is not a valid integer"),
        ("i8", "9223372036854775807", "9223372036854775807"),
        ("i8", "-9223372036854775808", "-9223372036854775808"),
        ("i8", "9223372036854775808", "bad: 9223372036854775808 is out of range for bigint"),
        ("i8", "123456789012345678", "123456789012345678"),
        ("i8", "-0", "0"),
        ("f4", "0.1", "0.1"),
        ("f4", "1e39", "bad: 1e39 is out of range for real"),
        ("f8", "12.34", "12.34"),
        ("f8", "-1.7976931348623157e308", "-1.7976931348623157e+308"),
        ("f8", "1e999", "bad: 1e999 is out of range for double precision"),
        ("f8", "123456789012345678901234567890", "1.2345678901234568e+29"),
        ("f8", "\"NaN\"", "null"),
        ("n", "12.345", "12.35"),
        ("n", "\"-0.005\"", "-0.01"),
        ("n", "1e7", "10000000.00"),
        ("n", "1e8", "bad: 1e8 is out of range for numeric(10,2)"),
        ("s", "\"\"", "\"\""),
        ("s", "\"여울 \\ud83d\\ude00\\n\\\"\\u0041\"", "\"여울 😀\\n\\\"A\""),
        ("s", "12.50", "\"12.50\""),
        ("s", "false", "\"false\""),
        ("s", "[1, {\"a\" : 2}]", "\"[1,{\\\"a\\\":2}]\""),
        ("s3", "\"여울가\"", "\"여울가\""),
        ("s3", "\"abcd\"", "bad: \"abcd\" is too long for varchar(3)"),
        ("d", "\"2019-11-24\"", "\"2019-11-24\""),
        ("d", "\"2019-11-24T10:00:00Z\"", "\"2019-11-24\""),
        ("d", "17", "bad: 17 is not a valid date"),
        ("t", "\"02:03:04.5\"", "\"02:03:04.5\""),
        ("ts", "\"2019-11-24 10:00:00+09:00\"", "\"2019-11-24T10:00:00\""),
        ("tz", "\"2019-11-24 10:00:00+09:00\"", "\"2019-11-24T01:00:00Z\""),
        ("tz", "1769900400123", "\"2026-01-31T23:00:00.123Z\""),
        ("tz", "1769900400.5", "\"2026-01-31T23:00:00.500Z\""),
        ("tz", "\"soon\"", "bad: \"soon\" is not a valid timestamptz"),
        ("iv", "\"1 day 02:03:04\"", "\"1 day 02:03:04\""),
        ("iv", "\"-14 months\"", "\"-1 years -2 mons\""),
        ("j", "{ \"a\" : [ 1 , 2.50 ], \"b\" : null }", "{\"a\":[1,2.50],\"b\":null}"),
        ("j", "\"te\\u0078t\"", "\"te\\u0078t\""),
        ("j", "7", "7"),
        (
            "u",
            "\"550E8400-e29b-41d4-a716-446655440000\"",
            "\"550e8400-e29b-41d4-a716-446655440000\"",
        ),
        ("u", "\"{550e8400e29b41d4a716446655440000}\"", "\"550e8400-e29b-41d4-a716-446655440000\""),
        ("u", "\"550e8400\"", "bad: \"550e8400\" is not a valid uuid"),
        ("y", "\"\\\\x00ff\"", "\"\\\\x00ff\""),
        ("y", "\"ab\"", "\"\\\\x6162\""),
        ("l", "[1, null ,3]", "[1,null,3]"),
        ("l", "[]", "[]"),
        ("l", "\"{4,5}\"", "[4,5]"),
        ("l", "[1,\"x\"]", "bad: [1,\"x\"] is not a valid bigint[]"),
        ("l", "7", "bad: 7 is not a valid bigint[]"),
        ("ls", "[\"a\", \"b,c\"]", "[\"a\",\"b,c\"]"),
        ("ls", "\"{a,\\\"b,c\\\",NULL,d\\\\,e}\"", "[\"a\",\"b,c\",null,\"d,e\"]"),
    ] {
        check(column, value, expected);
    }
}

#[test]
fn wrong_json_names_the_place() {
    let schema = columns(&[("a", DataType::Int64)]);
    for (line, reason) in [
        ("nonsense", "not JSON at byte 0: expected an object"),
        ("[1]x", "not JSON at byte 0: expected an object"),
        ("{\"a\":1", "not JSON at byte 6: expected a comma or the end of an object"),
        ("{\"a\":1}}", "not JSON at byte 7: expected the end of the line"),
        ("{\"a\":01}", "not JSON at byte 7: expected a number without leading zeros"),
        ("{\"a\":1.}", "not JSON at byte 7: expected a digit behind the point"),
        ("{\"a\":-}", "not JSON at byte 6: expected a number without leading zeros"),
        ("{\"a\":tru}", "not JSON at byte 5: expected a value"),
        ("{\"a\" 1}", "not JSON at byte 5: expected a colon"),
        ("{a:1}", "not JSON at byte 1: expected a key"),
        ("{\"a\":1,}", "not JSON at byte 7: expected a key"),
        ("{,\"a\":1}", "not JSON at byte 1: expected a key"),
        ("{\"x\":\"\\q\"}", "not JSON at byte 6: expected an escape such as \\n"),
        (
            "{\"x\":\"\\ud800\"}",
            "not JSON at byte 6: expected four hexadecimal digits of a character",
        ),
        ("{\"x\":\"\t\"}", "not JSON at byte 6: expected no control character inside a string"),
        ("{\"x\":\"", "not JSON at byte 6: expected the end of a string"),
    ] {
        let text = format!("{{\"a\":1}}\n{line}\n{{\"a\":3}}");
        let mut json = decoder(&schema, &DecodeOptions::new(Format::Json));
        if let yeoul_format::Decoder::Json(json) = &mut json {
            json.set_layout(JsonLayout::Lines);
        }
        let decoded = json.decode(text.as_bytes()).expect("decodes");
        assert_eq!(shown(&decoded.rows), "{\"a\":1}\n{\"a\":3}\n", "{line}");
        let bad = &decoded.bad[0];
        assert_eq!((bad.reason.as_str(), &bad.raw[..]), (reason, line.as_bytes()));
        assert_eq!((bad.row, bad.line, decoded.records, decoded.lines), (1, 1, 3, 2));
    }
}

#[test]
fn keys_in_any_order_repeated_missing_unknown_escaped() {
    let schema = columns(&[("a", DataType::Int64), ("b", DataType::Utf8View)]);
    let text = concat!(
        "{\"a\":1,\"b\":\"x\"}\r\n",
        "{\"b\":\"y\",\"a\":2}\n",
        "\n  \r\n",
        "{ \"a\" : 3 , \"b\" : \"z\" }\n",
        "{\"other\":{\"a\":[9,\"}\"]},\"a\":4}\n",
        "{\"a\":\"wrong\",\"b\":\"long enough to be on the heap\",\"a\":5,\"b\":\"again on the heap\"}\n",
        "{\"\\u0061\":6}\n",
        "{\"A\":7}\n",
        "{}\n",
        "{\"a\":8,\"b\":null,\"c\":1}",
    );
    let decoded = decode(&schema, Format::Json, text);
    assert_eq!(decoded.bad, []);
    assert_eq!((decoded.records, decoded.lines), (9, 10));
    let expected = [
        "{\"a\":1,\"b\":\"x\"}",
        "{\"a\":2,\"b\":\"y\"}",
        "{\"a\":3,\"b\":\"z\"}",
        "{\"a\":4,\"b\":null}",
        "{\"a\":5,\"b\":\"again on the heap\"}",
        "{\"a\":6,\"b\":null}",
        "{\"a\":null,\"b\":null}",
        "{\"a\":null,\"b\":null}",
        "{\"a\":8,\"b\":null}",
    ];
    assert_eq!(shown(&decoded.rows).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn not_null_columns_refuse_missing_and_null() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Utf8View, true),
    ]));
    let decoded = decode(&schema, Format::Json, "{\"b\":\"x\"}\n{\"a\":null}\n{\"a\":1}\n");
    assert_eq!(shown(&decoded.rows), "{\"a\":1,\"b\":null}\n");
    for bad in &decoded.bad {
        assert_eq!(bad.reason, "column \"a\" is null or missing, and it is NOT NULL");
    }
    assert_eq!(decoded.bad.len(), 2);
}

#[test]
fn mapping_reaches_into_objects() {
    let schema = columns(&[
        ("id", DataType::Int64),
        ("name", DataType::Utf8View),
        ("user", DataType::Utf8View),
        ("dotted", DataType::Int64),
        ("same", DataType::Int64),
    ]);
    let options = DecodeOptions {
        mapping: [
            ("id", "user.id"),
            ("name", "user.profile.name"),
            ("dotted", "\"x.y\".z"),
            ("same", "user.id"),
        ]
        .map(|(c, p)| (c.to_owned(), FieldPath::parse(p).expect("a path")))
        .to_vec(),
        ..DecodeOptions::default()
    };
    let text = concat!(
        "{\"user\":{\"id\":1,\"profile\":{\"name\":\"kim\",\"age\":3}},\"x.y\":{\"z\":5}}\n",
        "{\"user\":null}\n",
        "{\"user\":7}\n",
        "{\"user\":{\"id\":1},\"user\":{\"profile\":{}}}\n",
    );
    let decoded = decoder(&schema, &options).decode(text.as_bytes()).expect("decodes");
    assert_eq!(decoded.bad, []);
    let expected = [
        "{\"id\":1,\"name\":\"kim\",\"user\":\"{\\\"id\\\":1,\\\"profile\\\":{\\\"name\\\":\\\"kim\\\",\\\"age\\\":3}}\",\"dotted\":5,\"same\":1}",
        "{\"id\":null,\"name\":null,\"user\":null,\"dotted\":null,\"same\":null}",
        "{\"id\":null,\"name\":null,\"user\":\"7\",\"dotted\":null,\"same\":null}",
        "{\"id\":null,\"name\":null,\"user\":\"{\\\"profile\\\":{}}\",\"dotted\":null,\"same\":null}",
    ];
    assert_eq!(shown(&decoded.rows).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn arrays_and_lone_objects() {
    let schema = columns(&[("a", DataType::Int64)]);
    for text in [
        "[{\"a\":1},{\"a\":2},{\"a\":3}]",
        "\u{feff} [ {\"a\" : 1}\n, {\n\"a\":2\n}\n,{\"a\":3} ] \n",
        "{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}\n{\"a\":3}",
        "{\"a\":1}\n{\"a\":2}\n{\"a\":3}",
        "{\"a\":1}\r\n{\"a\":2}\r\n{\"a\":3}\r\n",
    ] {
        let decoded = decode(&schema, Format::Json, text);
        assert_eq!(shown(&decoded.rows), "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n", "{text}");
        assert_eq!(decoded.bad, []);
    }
    let decoded =
        decode(&schema, Format::Json, "[{\"a\":1},\n 7, {\"a\":\"x]\"},{\"a\":4}, {\"a\":");
    assert_eq!(shown(&decoded.rows), "{\"a\":1}\n{\"a\":4}\n");
    let bad: Vec<_> = decoded.bad.iter().map(|b| (b.line, b.row, &b.raw[..])).collect();
    let expected: [(u64, u64, &[u8]); 3] =
        [(1, 1, b"7"), (1, 2, b"{\"a\":\"x]\"}"), (1, 4, b"{\"a\":")];
    assert_eq!(bad, expected);
}

#[test]
fn long_and_broken_lines_stand_alone() {
    let schema = columns(&[("a", DataType::Utf8View)]);
    let options = DecodeOptions { row_bytes_max: 20, ..DecodeOptions::default() };
    let mut text = b"{\"a\":\"x\"}\n{\"a\":\"".to_vec();
    text.extend(std::iter::repeat_n(b'y', 30));
    text.extend_from_slice(b"\"}\n{\"a\":\"\xff\"}\r\n{\"a\":\"z\"}\n\xfe");
    let decoded = decoder(&schema, &options).decode(&text).expect("decodes");
    assert_eq!(shown(&decoded.rows), "{\"a\":\"x\"}\n{\"a\":\"z\"}\n");
    let reasons: Vec<_> = decoded.bad.iter().map(|b| b.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "the record has 38 bytes, more than row_bytes_max = 20",
            "invalid UTF-8 at byte 6",
            "invalid UTF-8 at byte 0",
        ]
    );
    assert_eq!(&decoded.bad[1].raw[..], b"{\"a\":\"\xff\"}");
    assert_eq!(decoded.bad.iter().map(|b| b.line).collect::<Vec<_>>(), [1, 2, 4]);
}

/// A server decodes the texts of many senders with one decoder.
#[test]
fn what_was_learned_of_a_list_does_not_reach_into_lines() {
    let schema = columns(&[("a", DataType::Int64), ("b", DataType::Int64)]);
    let list = b"[{\"a\":1,\n \"b\":1}]";
    let lines = b"{\"a\":2}\n{\"a\":3,\n \"b\":3}\n{\"a\":4}\n";
    let said = |json: &mut yeoul_format::Decoder| {
        json.begin(lines, true).expect("has a layout");
        let decoded = json.decode(lines).expect("decodes");
        (shown(&decoded.rows), decoded.bad.len(), decoded.lines)
    };
    let options = DecodeOptions::new(Format::Json);
    let mut used = decoder(&schema, &options);
    used.begin(list, true).expect("has a layout");
    assert_eq!(used.decode(list).expect("decodes").rows.num_rows(), 1);
    assert_eq!(said(&mut used), said(&mut decoder(&schema, &options)));
}
