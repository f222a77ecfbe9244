//! Decoding and encoding of shop events, one core, beside what else could decode them.
//!
//! `cargo bench -p yeoul-format --bench json`

use std::hint::black_box;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use divan::Bencher;
use divan::counter::ItemsCount;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use serde::Deserialize;
use yeoul_format::encode::{Encoder, JsonRow};
use yeoul_format::{DecodeOptions, Decoder, Format, Messages};

const ROWS: usize = 50_000;

fn main() {
    divan::main();
}

fn schema(ts: DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event_id", DataType::Utf8View, true),
        Field::new("ts", ts, true),
        Field::new("user_id", DataType::Utf8View, true),
        Field::new("product_id", DataType::Int64, true),
        Field::new("category", DataType::Utf8View, true),
        Field::new("type", DataType::Utf8View, true),
        Field::new("price", DataType::Float64, true),
        Field::new("campaign_id", DataType::Int64, true),
    ]))
}

fn timestamps() -> SchemaRef {
    schema(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
}

/// Lines of the CTR workload; `spaced` as Python's `json.dumps` writes them.
fn lines(spaced: bool) -> String {
    let mut rng = StdRng::seed_from_u64(1);
    let mut text = String::new();
    for row in 0..ROWS {
        let hex: u128 = rng.random();
        let hex = format!("{hex:032x}");
        let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        let kind = ["impression", "impression", "impression", "click", "view", "purchase"];
        let line = format!(
            "{{\"event_id\":\"{id}\",\"ts\":{},\"user_id\":\"u{}\",\"product_id\":{},\"category\":\"c{:02}\",\"type\":\"{}\",\"price\":{}.{:02},\"campaign_id\":{}}}\n",
            1_769_900_400_000_u64 + row as u64,
            rng.random_range(0..1_000_000),
            rng.random_range(0..100_000),
            rng.random_range(0..50),
            kind[rng.random_range(0..6)],
            rng.random_range(1..500),
            rng.random_range(0..100),
            rng.random_range(0..100),
        );
        text += &if spaced { line.replace(",\"", ", \"").replace("\":", "\": ") } else { line };
    }
    text
}

fn run(bencher: Bencher<'_, '_>, text: &str, mut decode: impl FnMut(&[u8]) -> usize) {
    let items = ItemsCount::new(ROWS);
    bencher.counter(items).bench_local(|| {
        assert_eq!(decode(black_box(text.as_bytes())), ROWS);
    });
}

fn ours(bencher: Bencher<'_, '_>, format: Format, text: &str) {
    let options = DecodeOptions { header: Some(false), ..DecodeOptions::new(format) };
    let mut decoder = Decoder::new(timestamps(), &options).expect("plain types");
    run(bencher, text, |bytes| {
        let decoded = decoder.decode(bytes).expect("decodes");
        black_box(decoded.rows).num_rows()
    });
}

#[divan::bench]
fn json_ours(bencher: Bencher<'_, '_>) {
    ours(bencher, Format::Json, &lines(false));
}

#[divan::bench]
fn json_ours_spaced(bencher: Bencher<'_, '_>) {
    ours(bencher, Format::Json, &lines(true));
}

/// The same lines as a block of messages, to be compared with `json_ours` and `csv_ours`.
fn messages(bencher: Bencher<'_, '_>, format: Format, text: &str, spread: bool) {
    let mut messages = Messages::default();
    for line in text.lines() {
        let line = if spread { line.replace(",\"", ",\n  \"") } else { line.to_owned() };
        messages.push(line.as_bytes());
    }
    let mut decoder =
        Decoder::for_messages(timestamps(), &DecodeOptions::new(format)).expect("plain types");
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let decoded = decoder.decode_messages(black_box(&messages), None).expect("decodes");
        assert_eq!(black_box(decoded.rows).num_rows(), ROWS);
    });
}

#[divan::bench]
fn json_messages(bencher: Bencher<'_, '_>) {
    messages(bencher, Format::Json, &lines(false), false);
}

/// With line ends in every message.
#[divan::bench]
fn json_messages_spread(bencher: Bencher<'_, '_>) {
    messages(bencher, Format::Json, &lines(false), true);
}

#[divan::bench]
fn csv_messages(bencher: Bencher<'_, '_>) {
    let text = encoded(&Encoder::csv(&decoded(), b',').expect("plain types"));
    messages(bencher, Format::Csv, &text, false);
}

/// Every line has its keys in another order: guesses fail.
#[divan::bench]
fn json_ours_shuffled_keys(bencher: Bencher<'_, '_>) {
    let mut rng = StdRng::seed_from_u64(2);
    let mut text = String::new();
    for line in lines(false).lines() {
        let mut pairs: Vec<&str> = line[1..line.len() - 1].split(',').collect();
        for at in 1..pairs.len() {
            let other = rng.random_range(0..=at);
            pairs.swap(at, other);
        }
        text += &format!("{{{}}}\n", pairs.join(","));
    }
    ours(bencher, Format::Json, &text);
}

#[divan::bench]
fn json_arrow(bencher: Bencher<'_, '_>) {
    let schema = schema(DataType::Int64);
    run(bencher, &lines(false), |bytes| {
        let builder = arrow::json::ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(ROWS);
        let mut decoder = builder.build_decoder().expect("plain types");
        decoder.decode(bytes).expect("decodes");
        decoder.flush().expect("decodes").expect("rows").num_rows()
    });
}

#[derive(Deserialize)]
struct Event<'a> {
    event_id: &'a str,
    ts: i64,
    user_id: &'a str,
    product_id: i64,
    category: &'a str,
    r#type: &'a str,
    price: f64,
    campaign_id: i64,
}

/// Columns as a caller of a struct parser would fill them.
fn fill<'a>(bytes: &'a [u8], parse: impl Fn(&'a [u8]) -> Event<'a>) -> usize {
    use arrow::array::{Float64Builder, Int64Builder, StringViewBuilder};
    let mut texts: [StringViewBuilder; 4] = std::array::from_fn(|_| StringViewBuilder::new());
    let mut numbers: [Int64Builder; 3] = std::array::from_fn(|_| Int64Builder::new());
    let mut price = Float64Builder::new();
    for line in bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let event = parse(line);
        let values = [event.event_id, event.user_id, event.category, event.r#type];
        texts.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
        let values = [event.ts, event.product_id, event.campaign_id];
        numbers.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
        price.append_value(event.price);
    }
    black_box(texts.iter_mut().map(StringViewBuilder::finish).collect::<Vec<_>>());
    black_box(numbers.iter_mut().map(Int64Builder::finish).collect::<Vec<_>>());
    arrow::array::Array::len(&price.finish())
}

#[divan::bench]
fn json_serde_json_struct(bencher: Bencher<'_, '_>) {
    run(bencher, &lines(false), |bytes| {
        fill(bytes, |line| serde_json::from_slice(line).expect("an event"))
    });
}

#[divan::bench]
fn json_sonic_rs_struct(bencher: Bencher<'_, '_>) {
    run(bencher, &lines(false), |bytes| {
        fill(bytes, |line| sonic_rs::from_slice(line).expect("an event"))
    });
}

fn decoded() -> arrow::array::RecordBatch {
    let mut decoder =
        Decoder::new(timestamps(), &DecodeOptions::new(Format::Json)).expect("plain types");
    decoder.decode(lines(false).as_bytes()).expect("decodes").rows
}

fn encoded(encoder: &Encoder) -> String {
    let mut out = Vec::new();
    encoder.all(&mut out);
    String::from_utf8(out).expect("text")
}

#[divan::bench]
fn csv_ours(bencher: Bencher<'_, '_>) {
    let text = encoded(&Encoder::csv(&decoded(), b',').expect("plain types"));
    ours(bencher, Format::Csv, &text);
}

#[divan::bench]
fn csv_arrow(bencher: Bencher<'_, '_>) {
    let text = encoded(&Encoder::csv(&decoded(), b',').expect("plain types"));
    run(bencher, &text, |bytes| {
        let builder = arrow::csv::ReaderBuilder::new(timestamps()).with_batch_size(ROWS);
        let mut decoder = builder.build_decoder();
        decoder.decode(bytes).expect("decodes");
        decoder.flush().expect("decodes").expect("rows").num_rows()
    });
}

#[divan::bench]
fn copy_ours(bencher: Bencher<'_, '_>) {
    let text = encoded(&Encoder::copy(&decoded()).expect("plain types"));
    ours(bencher, Format::CopyText, &text);
}

#[divan::bench]
fn encode_json(bencher: Bencher<'_, '_>) {
    let rows = decoded();
    bencher
        .counter(ItemsCount::new(ROWS))
        .bench_local(|| encoded(&Encoder::json(&rows, JsonRow::Object).expect("plain types")));
}

#[divan::bench]
fn encode_csv(bencher: Bencher<'_, '_>) {
    let rows = decoded();
    bencher
        .counter(ItemsCount::new(ROWS))
        .bench_local(|| encoded(&Encoder::csv(&rows, b',').expect("plain types")));
}
