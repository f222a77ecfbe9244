//! Every type of Avro into every column it fits, and what is said where it does not.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use yeoul_format::{AvroDecoder, DecodeOptions};

use super::{block, number, text};
use crate::sample::{every_type, shown};

/// The schema of a record with one field.
fn record_of(one: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{{"name":"v","type":{one}}}]}}"#)
}

/// The value of type `one` written as `bytes`, in a column: as JSON, or why not.
fn check(column: &Field, one: &str, bytes: &[u8], expected: &str) {
    let schema = Arc::new(Schema::new(vec![column.clone().with_name("v")]));
    let options = DecodeOptions::default();
    let decoder = AvroDecoder::plain(schema, &options, &record_of(one));
    let decoded = decoder.expect("a schema").decode_messages(&block(&[bytes]), None);
    let decoded = decoded.expect("decodes");
    let found = match decoded.bad.first() {
        Some(bad) => bad.reason.clone(),
        None => shown(&decoded.rows).trim_end().to_owned(),
    };
    let found = found.strip_prefix("{\"v\":").and_then(|f| f.strip_suffix('}')).unwrap_or(&found);
    assert_eq!(found, expected, "{one} {bytes:?} into {}", column.name());
}

/// The columns of every type by their names.
fn column(name: &str) -> Field {
    every_type().field_with_name(name).expect("a column of that name").clone()
}

#[test]
fn numbers_go_where_nothing_is_lost() {
    let long_max = number(i64::MAX);
    for (to, expected) in [
        ("i8", "9223372036854775807"),
        ("i4", "column \"v\": 9223372036854775807 is out of range for integer"),
        ("f8", "9.223372036854776e+18"),
        ("s", "\"9223372036854775807\""),
        ("j", "9223372036854775807"),
        ("n", "column \"v\": 9223372036854775807 is out of range for numeric(10,2)"),
        ("d", "column \"v\": 9223372036854775807 is not a valid date"),
        ("b", "column \"v\": 9223372036854775807 is not a valid boolean"),
    ] {
        check(&column(to), "\"long\"", &long_max, expected);
    }
    for (to, expected) in [("i2", "5"), ("n", "5.00"), ("tz", "\"1970-01-01T00:00:05Z\"")] {
        check(&column(to), "\"int\"", &number(5), expected);
    }
    check(&column("b"), "\"int\"", &number(1), "true");
    let double = |value: f64| value.to_le_bytes().to_vec();
    for (to, value, expected) in [
        ("f8", 1.5, "1.5"),
        ("f4", 1e39, "column \"v\": 1e+39 is out of range for real"),
        ("f4", f64::NEG_INFINITY, "null"),
        ("i4", -3.0, "-3"),
        ("i4", 2.5, "column \"v\": 2.5 is not a valid integer"),
        ("i8", 1e300, "column \"v\": 1e+300 is out of range for bigint"),
        ("i8", f64::NAN, "column \"v\": null is not a valid bigint"),
        ("n", 12.345, "12.35"),
        ("s", 1e20, "\"1e+20\""),
        ("s", f64::NAN, "\"NaN\""),
        ("j", f64::NAN, "null"),
        ("b", 1.0, "column \"v\": 1 is not a valid boolean"),
    ] {
        check(&column(to), "\"double\"", &double(value), expected);
    }
    let single = 0.1_f32.to_le_bytes();
    check(&column("f4"), "\"float\"", &single, "0.1");
    check(&column("s"), "\"float\"", &single, "\"0.1\"");
    check(&column("f8"), "\"float\"", &single, "0.10000000149011612");
    for (to, expected) in [("b", "true"), ("s", "\"true\""), ("j", "true")] {
        check(&column(to), "\"boolean\"", &[1], expected);
    }
    check(&column("i4"), "\"boolean\"", &[1], "column \"v\": true is not a valid integer");
}

#[test]
fn decimals_have_their_scale() {
    const POWER: [u8; 18] = [0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    const BELOW: [u8; 18] =
        [255, 127, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 251];
    let scale_2 = r#"{"type":"bytes","logicalType":"decimal","precision":60,"scale":2}"#;
    for (to, digits, expected) in [
        ("n", &[0x30, 0x39][..], "123.45"),
        ("n", &[0xff], "-0.01"),
        ("n", &[], "0.00"),
        ("n", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "-0.01"),
        (
            "n",
            &[0x7f, 0xff, 0xff, 0xff, 0xff],
            "column \"v\": 5497558138.87 is out of range for numeric(10,2)",
        ),
        ("f8", &[0x30, 0x39], "123.45"),
        ("i8", &[0x01, 0x2c], "3"),
        ("i8", &[0x30, 0x39], "column \"v\": 123.45 is not a valid bigint"),
        ("s", &[0xcf, 0xc7], "\"-123.45\""),
        ("j", &[0x00], "0.00"),
        // 2^135 and a little more, without and with a sign.
        ("s", &POWER, "\"435561429658801233233119497512663310663.73\""),
        ("s", &BELOW, "\"-435561429658801233233119497512663310663.73\""),
        ("s", &[0xff; 30], "\"-0.01\""),
        ("tz", &[0x01], "column \"v\": 0.01 is not a valid timestamptz"),
    ] {
        check(&column(to), scale_2, &text(digits), expected);
    }
    let fixed =
        r#"{"type":"fixed","name":"F","size":3,"logicalType":"decimal","precision":6,"scale":4}"#;
    check(&column("n"), fixed, &[0x01, 0xe2, 0x40], "12.35");
    check(&column("s"), fixed, &[0x01, 0xe2, 0x40], "\"12.3456\"");
    check(
        &column("s"),
        scale_2,
        &text([1; 65]),
        "the message cannot be read at byte 0, in field \"v\": a decimal has more than 64 bytes",
    );
}

#[test]
fn texts_and_bytes_are_read_as_any_text_is() {
    for (to, value, expected) in [
        ("s", "여울 \"x\"", "\"여울 \\\"x\\\"\""),
        ("s3", "abcd", "column \"v\": \"abcd\" is too long for varchar(3)"),
        ("i4", " 12 ", "12"),
        ("i4", "x", "column \"v\": \"x\" is not a valid integer"),
        ("tz", "2019-11-24 00:00:34+09", "\"2019-11-23T15:00:34Z\""),
        ("u", "550e8400e29b41d4a716446655440000", "\"550e8400-e29b-41d4-a716-446655440000\""),
        ("j", "{\"a\": [1]}", "{\"a\":[1]}"),
        ("j", "{a", "column \"v\": \"{a\" is not a valid jsonb"),
        ("l", "{1,NULL}", "[1,null]"),
        ("iv", "1 day", "\"1 day\""),
    ] {
        check(&column(to), "\"string\"", &text(value), expected);
    }
    let symbols = r#"{"type":"enum","name":"E","symbols":["RED","true"]}"#;
    check(&column("s"), symbols, &number(0), "\"RED\"");
    check(&column("j"), symbols, &number(1), "\"true\"");
    check(&column("b"), symbols, &number(1), "true");
    check(&column("b"), symbols, &number(0), "column \"v\": \"RED\" is not a valid boolean");
    for one in ["\"bytes\"", r#"{"type":"fixed","name":"F","size":2}"#] {
        let bytes = |value: &[u8]| if one.len() > 10 { value.to_vec() } else { text(value) };
        check(&column("y"), one, &bytes(&[0, 0xff]), "\"\\\\x00ff\"");
        check(&column("s"), one, &bytes(b"ab"), "\"ab\"");
        check(&column("j"), one, &bytes(b" 7"), "7");
        let expected = "column \"v\": \"\\\\x00ff\" is not a valid varchar";
        check(&column("s"), one, &bytes(&[0, 0xff]), expected);
        let expected = "column \"v\": \"\\\\x3132\" is not a valid integer";
        check(&column("i4"), one, &bytes(b"12"), expected);
    }
}

#[test]
fn times_of_every_unit() {
    let logical =
        |one: &str, name: &str| format!("{{\"type\":\"{one}\",\"logicalType\":\"{name}\"}}");
    let instant = 1_574_553_634_762_830_i64;
    for (name, number, zone) in [
        ("timestamp-millis", instant / 1_000, "Z"),
        ("timestamp-micros", instant, "Z"),
        ("timestamp-nanos", instant * 1_000 + 999, "Z"),
        ("local-timestamp-millis", instant / 1_000, ""),
        ("local-timestamp-micros", instant, ""),
        ("local-timestamp-nanos", instant * 1_000 + 999, ""),
    ] {
        let fraction = if name.contains("millis") { "762" } else { "762830" };
        let clock = format!("2019-11-24T00:00:34.{fraction}");
        for (to, expected) in [
            ("tz", format!("\"{clock}Z\"")),
            ("ts", format!("\"{clock}\"")),
            ("s", format!("\"{clock}{zone}\"")),
            ("j", format!("\"{clock}{zone}\"")),
            ("d", "\"2019-11-24\"".to_owned()),
            ("i8", number.to_string()),
            ("t", format!("column \"v\": \"{clock}{zone}\" is not a valid time")),
        ] {
            check(&column(to), &logical("long", name), &self::number(number), &expected);
        }
    }
    let day = logical("int", "date");
    for (to, expected) in [
        ("d", "\"1969-12-31\""),
        ("tz", "\"1969-12-31T00:00:00Z\""),
        ("s", "\"1969-12-31\""),
        ("i2", "-1"),
        ("f8", "column \"v\": \"1969-12-31\" is not a valid double precision"),
    ] {
        check(&column(to), &day, &number(-1), expected);
    }
    for (one, name, number) in
        [("int", "time-millis", 7_384_500), ("long", "time-micros", 7_384_500_000)]
    {
        for (to, expected) in [("t", "\"02:03:04.5\""), ("s", "\"02:03:04.5\"")] {
            check(&column(to), &logical(one, name), &self::number(number), expected);
        }
    }
    let late = "column \"v\": \"24:00:00\" is out of range for time";
    check(&column("t"), &logical("long", "time-micros"), &number(86_400_000_000), late);
    let beyond = "the message cannot be read at byte 0, in field \"v\": a time is beyond all years";
    check(&column("tz"), &logical("long", "timestamp-millis"), &number(i64::MAX), beyond);
    check(&column("t"), &logical("int", "time-millis"), &number(-1), beyond);

    let uuid = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
    let id: Vec<u8> = (0..16).collect();
    for to in ["u", "s", "j"] {
        check(&column(to), uuid, &id, "\"00010203-0405-0607-0809-0a0b0c0d0e0f\"");
    }
    let duration = r#"{"type":"fixed","name":"D","size":12,"logicalType":"duration"}"#;
    let parts = [14_u32, 3, 1_500].map(u32::to_le_bytes).concat();
    for to in ["iv", "s", "j"] {
        check(&column(to), duration, &parts, "\"1 year 2 mons 3 days 00:00:01.5\"");
    }
}

#[test]
fn lists_maps_and_records() {
    let list = r#"{"type":"array","items":["null","long"]}"#;
    // Two blocks, of which the second says its size.
    let bytes = [&[4][..], &[2, 2], &[0], &[1, 4], &[2, 4], &[0]].concat();
    for (to, expected) in [
        ("l", "[1,null,2]"),
        ("ls", "[\"1\",null,\"2\"]"),
        ("j", "[1,null,2]"),
        ("s", "\"[1,null,2]\""),
        ("s3", "column \"v\": [1,null,2] is too long for varchar(3)"),
        ("i8", "column \"v\": [1,null,2] is not a valid bigint"),
    ] {
        check(&column(to), list, &bytes, expected);
    }
    let item = Field::new("item", DataType::Int64, false);
    let strict = Field::new("v", DataType::List(Arc::new(item)), true);
    let null = "column \"v\": a null inside bigint[] is not allowed";
    check(&strict, list, &bytes, null);
    check(&column("l"), r#"{"type":"array","items":"string"}"#, &[4, 2, b'1', 2, b'x', 0], {
        "column \"v\": [\"1\",\"x\"] is not a valid bigint[]"
    });

    let nested = r#"{"type":"record","name":"N","fields":[
        {"name":"m","type":{"type":"map","values":"boolean"}},
        {"name":"next","type":["null","N"]}]}"#;
    let bytes = [&[2][..], &text("k"), &[1, 0], &[2], &[0], &[0]].concat();
    let expected = r#"{"m":{"k":true},"next":{"m":{},"next":null}}"#;
    check(&column("j"), nested, &bytes, expected);
    check(
        &column("y"),
        nested,
        &bytes,
        &format!("column \"v\": {} is not a valid bytea", expected),
    );
    let deep = [[0, 2]; 200].concat();
    let reason = "in field \"v\": it nests too deep";
    check(
        &column("j"),
        nested,
        &deep,
        &format!("the message cannot be read at byte 254, {reason}"),
    );
}
