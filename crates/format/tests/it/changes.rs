//! Messages that tell of changes: by cases, and random blocks of them against a reader of single JSON values.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt as _, SeedableRng};
use serde_json::{Value, json};
use yeoul_format::{
    AvroDecoder, ChangeDecoder, DecimalFormat, DecodeOptions, Decoded, FieldPath, Format,
    KeyFormat, Messages,
};

use crate::sample::shown;

/// A table of two columns that must not be null and two that may, with the key `id`.
fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8View, false),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("tags", DataType::Utf8View, true),
    ]))
}

fn decoder(format: Format, keys: KeyFormat) -> ChangeDecoder {
    ChangeDecoder::new(schema(), &[0], &DecodeOptions::new(format), keys).expect("plain types")
}

/// A message: its value, its key, and what it becomes.
type Case<'a> = (Option<&'a str>, Option<&'a str>, &'a str);

fn blocks(cases: &[Case<'_>]) -> (Messages, Messages) {
    let (mut values, mut keys) = (Messages::default(), Messages::default());
    for (value, key, _) in cases {
        values.push_option(value.map(str::as_bytes));
        keys.push_option(key.map(str::as_bytes));
    }
    (values, keys)
}

fn place(record: u64) -> usize {
    usize::try_from(record).expect("few records")
}

/// What each message became: its rows in their order, or why it is bad.
fn told(decoded: &Decoded, key: &[usize]) -> Vec<String> {
    let mut told = vec![Vec::new(); place(decoded.records)];
    let all = shown(&decoded.rows);
    let keys = shown(&decoded.rows.project(key).expect("columns"));
    let plain: Vec<u64>;
    let (deleted, records) = match &decoded.changes {
        Some(changes) => (changes.deleted.clone(), &changes.records),
        None => {
            plain = yeoul_format::good_records(decoded.records, &decoded.bad);
            (vec![false; plain.len()], &plain)
        }
    };
    assert_eq!(deleted.len(), decoded.rows.num_rows());
    assert!(records.is_sorted());
    for (row, (line, key)) in all.lines().zip(keys.lines()).enumerate() {
        let mut text = if deleted[row] { format!("-{key}") } else { format!("+{line}") };
        let kept = decoded.changes.iter().flat_map(|changes| &changes.kept);
        for kept in kept.filter(|kept| kept.row == row) {
            text += &format!(" keeps {:?}", kept.columns);
        }
        told[place(records[row])].push(text);
    }
    for bad in &decoded.bad {
        let place = &mut told[place(bad.row)];
        assert!(place.is_empty(), "{place:?} and {bad:?}");
        place.push(bad.reason.clone());
    }
    assert!(decoded.bad.is_sorted_by_key(|bad| bad.row));
    told.into_iter().map(|texts| texts.join(" ")).collect()
}

/// Every case with all others as its neighbours, in both orders, and alone.
fn check(mut decoder: ChangeDecoder, cases: &[Case<'_>]) {
    let forward = cases.to_vec();
    let backward: Vec<_> = cases.iter().rev().copied().collect();
    let alone = cases.iter().map(|case| vec![*case]);
    for cases in [forward, backward].into_iter().chain(alone) {
        let (values, keys) = blocks(&cases);
        let decoded = decoder.decode_messages(&values, Some(&keys)).expect("decodes");
        for (became, (value, key, expected)) in told(&decoded, &[0]).iter().zip(&cases) {
            assert_eq!(became, expected, "{value:?} {key:?}");
        }
    }
}

const ROW: &str = r#"+{"id":1,"name":"a","price":2.50,"tags":null}"#;

#[test]
fn a_message_without_a_value_says_that_its_key_is_gone() {
    let row = r#"{"id":1,"name":"a","price":"2.5"}"#;
    check(
        decoder(Format::Json, KeyFormat::Json),
        &[
            (Some(row), None, ROW),
            (Some(row), Some("nobody looks at it"), ROW),
            (None, Some(r#"{"id":7}"#), r#"-{"id":7}"#),
            (None, Some(r#"{"schema":{"type":"struct"},"payload":{"id":8}}"#), r#"-{"id":8}"#),
            (None, Some("9"), r#"-{"id":9}"#),
            (None, Some(" \"10\" "), r#"-{"id":10}"#),
            (None, None, NO_KEY),
            (
                None,
                Some(r#""x","id":5"#),
                r#"the key of the row that is gone: column "id": "\"x\",\"id\":5" is not a valid bigint"#,
            ),
            (
                None,
                Some("{}"),
                "the key of the row that is gone: column \"id\" is null or missing, and it is NOT NULL",
            ),
            (
                None,
                Some("x"),
                "the key of the row that is gone: column \"id\": \"x\" is not a valid bigint",
            ),
            (Some(""), Some("1"), "the message is empty"),
            (Some("{}"), Some("1"), "column \"id\" is null or missing, and it is NOT NULL"),
        ],
    );
    check(
        decoder(Format::Csv, KeyFormat::Text),
        &[
            (Some("1,a,2.5,"), None, ROW),
            (None, Some("7"), r#"-{"id":7}"#),
            (
                None,
                Some(""),
                "the key of the row that is gone: column \"id\":  is not a valid bigint",
            ),
            (
                None,
                Some("{}"),
                "the key of the row that is gone: column \"id\": {} is not a valid bigint",
            ),
        ],
    );
    let mut without = decoder(Format::Json, KeyFormat::Json);
    let (values, _) = blocks(&[(None, None, ""), (Some(row), None, "")]);
    let decoded = without.decode_messages(&values, None).unwrap();
    assert_eq!(told(&decoded, &[0]), [NO_KEY, ROW]);
}

const NO_KEY: &str = "the message says that a row is gone, and has no key that says which";

const ENVELOPES: &[Case<'_>] = &[
    (Some(r#"{"before":null,"after":{"id":1,"name":"a","price":2.5},"op":"c"}"#), None, ROW),
    (
        Some(
            r#"{"schema":{"fields":[{"field":"after"}]},"payload":{"before":null,"after":{"id":1,"name":"a","price":2.5},"source":{"op":"x"},"op":"r"}}"#,
        ),
        None,
        ROW,
    ),
    (
        Some(r#"{"op":"u","after":{"id":1,"name":"a","price":2.5},"before":{"id":1,"name":"b"}}"#),
        None,
        ROW,
    ),
    (
        Some(r#"{"before":{"id":3,"name":"b"},"after":{"id":1,"name":"a","price":2.5},"op":"u"}"#),
        None,
        r#"-{"id":3} +{"id":1,"name":"a","price":2.50,"tags":null}"#,
    ),
    (Some(r#"{"before":{"id":4,"name":null},"after":null,"op":"d"}"#), None, r#"-{"id":4}"#),
    (Some(r#"{"before":null,"after":null,"op":"d"}"#), Some("{\"id\":5}"), r#"-{"id":5}"#),
    (Some(r#"{"before":null,"after":null,"op":"d"}"#), None, NO_KEY),
    (None, Some(r#"{"id":6}"#), r#"-{"id":6}"#),
    (None, None, NO_KEY),
    (
        Some(r#"{"before":null,"after":{"id":1},"op":"c"}"#),
        None,
        "column \"name\" is null or missing, and it is NOT NULL",
    ),
    (
        Some(r#"{"before":null,"after":{"id":"x","name":"a"},"op":"c"}"#),
        None,
        "column \"id\": \"x\" is not a valid bigint",
    ),
    (
        Some(r#"{"before":null,"after":null,"op":"t"}"#),
        None,
        "op \"t\" says that the table was truncated: DELETE its rows here too",
    ),
    (Some(r#"{"op":"m"}"#), None, "op \"m\" is no change of a row; those are c, r, u and d"),
    (
        Some(r#"{"id":1,"name":"a"}"#),
        None,
        "it has no \"op\": it is none of Debezium's envelopes. A row without one is of format 'json'",
    ),
    (Some("x"), None, "not JSON at byte 0: expected a value"),
    (
        Some(
            r#"{"before":null,"after":{"id":1,"name":"a","tags":"__debezium_unavailable_value"},"op":"u"}"#,
        ),
        None,
        r#"+{"id":1,"name":"a","price":null,"tags":"__debezium_unavailable_value"} keeps [3]"#,
    ),
];

#[test]
fn envelopes_tell_of_rows_before_and_after() {
    check(decoder(Format::DebeziumJson, KeyFormat::Json), ENVELOPES);
}

#[test]
fn values_are_as_kafka_connect_writes_them() {
    let time = DataType::Time64(arrow::datatypes::TimeUnit::Microsecond);
    let micros = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", time, true),
        Field::new("ts", micros, true),
        Field::new("bytes", DataType::Binary, true),
        Field::new("live", DataType::Boolean, true),
    ]));
    let mut options = DecodeOptions::new(Format::DebeziumJson);
    options.decimal_format = DecimalFormat::Base64;
    let mut decoder = ChangeDecoder::new(schema, &[0], &options, KeyFormat::Json).unwrap();
    let value = r#"{"after":{"id":1,"price":"BNI=","day":18262,"at":3661000000,"ts":1577836800000000,"bytes":"AQI=","live":1},"op":"c"}"#;
    let wrong = r#"{"after":{"id":1,"price":"12.5"},"op":"c"}"#;
    let (values, keys) = blocks(&[(Some(value), None, ""), (Some(wrong), None, "")]);
    let decoded = decoder.decode_messages(&values, Some(&keys)).unwrap();
    assert_eq!(
        told(&decoded, &[0]),
        [
            r#"+{"id":1,"price":12.34,"day":"2020-01-01","at":"01:01:01","ts":"2020-01-01T00:00:00","bytes":"\\x0102","live":true}"#,
            "column \"price\": \"12.5\" is not a valid numeric(10,2)"
        ]
    );
}

#[test]
fn keys_and_rows_stand_where_columns_are_mapped() {
    let path = |text: &str| FieldPath::parse(text).unwrap();
    let mapping = vec![("id".to_owned(), path("product_id")), ("name".to_owned(), path("title"))];
    let options = DecodeOptions { mapping, ..DecodeOptions::new(Format::DebeziumJson) };
    let decoder = ChangeDecoder::new(schema(), &[0], &options, KeyFormat::Json).unwrap();
    check(
        decoder,
        &[
            (Some(r#"{"after":{"product_id":1,"title":"a","price":2.5},"op":"c"}"#), None, ROW),
            (Some(r#"{"before":{"product_id":2},"op":"d"}"#), None, r#"-{"id":2}"#),
            (None, Some(r#"{"product_id":3}"#), r#"-{"id":3}"#),
            (None, Some(r#"{"id":4}"#), r#"-{"id":4}"#),
        ],
    );
    // A key that is told beside messages.
    let mut beside =
        ChangeDecoder::new(schema(), &[], &DecodeOptions::new(Format::Json), KeyFormat::Json)
            .unwrap();
    let (values, keys) =
        blocks(&[(None, Some("k"), ""), (Some(r#"{"id":1,"name":"a"}"#), None, "")]);
    let decoded = beside.decode_messages(&values, Some(&keys)).unwrap();
    let changes = decoded.changes.clone().unwrap();
    assert_eq!((changes.deleted, changes.records), (vec![true, false], vec![0, 1]));
    let two = [0, 1];
    assert!(
        ChangeDecoder::new(schema(), &two, &DecodeOptions::new(Format::Json), KeyFormat::Text)
            .is_err()
    );
}

#[test]
fn keys_of_avro_have_their_own_schema() {
    let options = DecodeOptions::new(Format::Avro);
    let values = AvroDecoder::registered(schema(), &options).unwrap();
    let mut decoder =
        ChangeDecoder::avro(schema(), &[0], &options, KeyFormat::Avro, values).unwrap();
    let (of_values, of_keys) = decoder.avro_decoders();
    let row = r#"{"type":"record","name":"V","fields":[{"name":"id","type":"long"},{"name":"name","type":"string"}]}"#;
    of_values.unwrap().learn(1, row, &[]).unwrap();
    let key = r#"{"type":"record","name":"K","fields":[{"name":"id","type":"long"}]}"#;
    of_keys.unwrap().learn(2, key, &[]).unwrap();
    let (mut values, mut keys) = (Messages::default(), Messages::default());
    values.push(&[0, 0, 0, 0, 1, 2, 2, b'a']);
    keys.push(&[0, 0, 0, 0, 2, 2]);
    values.push_null();
    keys.push(&[0, 0, 0, 0, 2, 14]);
    let decoded = decoder.decode_messages(&values, Some(&keys)).unwrap();
    let row = r#"+{"id":1,"name":"a","price":null,"tags":null}"#;
    assert_eq!(told(&decoded, &[0]), [row, r#"-{"id":7}"#]);
}

/// One envelope by an obvious reader: what is told, or `None` for a bad one.
fn obvious(value: Option<&str>, key: Option<&str>) -> Option<Vec<(bool, i64, Option<String>)>> {
    let inside = |text: &str| -> Option<Value> {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(value.get("payload").cloned().unwrap_or(value))
    };
    let id = |row: &Value| row.get("id").and_then(Value::as_i64);
    let by_key = || Some(vec![(true, id(&inside(key?)?)?, None)]);
    let Some(value) = value else { return by_key() };
    let envelope = inside(value)?;
    match envelope.get("op")?.as_str()? {
        "c" | "r" | "u" => {
            let after = envelope.get("after")?;
            let name = after.get("name")?.as_str()?.to_owned();
            let there = (false, id(after)?, Some(name));
            let was = envelope.get("before").and_then(id).filter(|was| *was != there.1);
            Some(was.map(|was| (true, was, None)).into_iter().chain([there]).collect())
        }
        "d" => match envelope.get("before").and_then(id) {
            Some(id) => Some(vec![(true, id, None)]),
            None => by_key(),
        },
        _ => None,
    }
}

#[test]
fn random_changes_are_what_an_obvious_reader_finds() {
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut decoder = decoder(Format::DebeziumJson, KeyFormat::Json);
        for _ in 0..3 {
            let messages: Vec<(Option<String>, Option<String>)> =
                (0..rng.random_range(0..40)).map(|_| message(&mut rng)).collect();
            let (mut values, mut keys) = (Messages::default(), Messages::default());
            for (value, key) in &messages {
                values.push_option(value.as_deref().map(str::as_bytes));
                keys.push_option(key.as_deref().map(str::as_bytes));
            }
            let decoded = decoder.decode_messages(&values, Some(&keys)).expect("decodes");
            let records = match &decoded.changes {
                Some(changes) => changes.records.clone(),
                None => yeoul_format::good_records(decoded.records, &decoded.bad),
            };
            let ids = decoded.rows.column(0).as_primitive::<Int64Type>();
            let names = decoded.rows.column(1).as_string_view();
            for (index, (value, key)) in messages.iter().enumerate() {
                let rows = (0..records.len()).filter(|row| records[*row] == index as u64);
                let found: Vec<_> = rows
                    .map(|row| {
                        let gone = decoded.changes.as_ref().is_some_and(|c| c.deleted[row]);
                        let name = (!gone).then(|| names.value(row).to_owned());
                        (gone, ids.value(row), name)
                    })
                    .collect();
                let expected = obvious(value.as_deref(), key.as_deref());
                let bad = decoded.bad.iter().any(|bad| bad.row == index as u64);
                assert_eq!(bad, expected.is_none(), "seed {seed} {value:?} {key:?}");
                assert_eq!(found, expected.unwrap_or_default(), "seed {seed} {value:?} {key:?}");
            }
        }
    }
}

fn message(rng: &mut StdRng) -> (Option<String>, Option<String>) {
    let row = |rng: &mut StdRng| match rng.random_range(0..10) {
        0 => Value::Null,
        1 => json!({"id": rng.random_range(0..5)}),
        2 => json!({"name": "nobody"}),
        n => json!({"id": rng.random_range(0..5), "name": format!("n{n}"), "more": [1, {"id": 9}]}),
    };
    let wrapped = |rng: &mut StdRng, inside: Value| match rng.random_range(0..3) {
        0 => json!({"schema": {"op": "c", "after": {"id": 3}}, "payload": inside}),
        _ => inside,
    };
    let text = |rng: &mut StdRng, value: &Value| match rng.random_range(0..4) {
        0 => serde_json::to_string_pretty(value).expect("is JSON"),
        _ => value.to_string(),
    };
    let key = row(rng);
    let key = (rng.random_range(0..5) > 0 && key.is_object()).then(|| {
        let key = wrapped(rng, key);
        text(rng, &key)
    });
    if rng.random_range(0..8) == 0 {
        return (None, key);
    }
    let op = *["c", "r", "u", "u", "d", "d", "t", "x"].choose(rng).expect("some");
    let envelope = json!({"before": row(rng), "after": row(rng), "op": op, "source": {"op": "c"}});
    let envelope = wrapped(rng, envelope);
    (Some(text(rng, &envelope)), key)
}
