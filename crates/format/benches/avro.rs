//! Shop events from and into Avro messages, one core, beside arrow-avro.
//!
//! `cargo bench -p yeoul-format --bench avro`

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{
    AvroSchema, Fingerprint, FingerprintAlgorithm, FingerprintStrategy, SchemaStore,
};
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::AvroSoeFormat;
use divan::Bencher;
use divan::counter::ItemsCount;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use yeoul_format::{
    AvroDecoder, AvroEncoder, DecodeOptions, Decoder, Format, Messages, confluent_prefix,
};

const ROWS: usize = 50_000;
const ID: u32 = 7;

fn main() {
    divan::main();
}

fn schema() -> SchemaRef {
    let utc = Some("UTC".into());
    Arc::new(Schema::new(vec![
        Field::new("event_id", DataType::Utf8View, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, utc), false),
        Field::new("user_id", DataType::Utf8View, true),
        Field::new("product_id", DataType::Int64, true),
        Field::new("category", DataType::Utf8View, true),
        Field::new("type", DataType::Utf8View, true),
        Field::new("price", DataType::Float64, true),
        Field::new("campaign_id", DataType::Int64, false),
    ]))
}

/// Events of the CTR workload.
fn rows() -> RecordBatch {
    let mut rng = StdRng::seed_from_u64(1);
    let mut text = String::new();
    for row in 0..ROWS {
        let kind = ["impression", "impression", "impression", "click", "view", "purchase"];
        text += &format!(
            "{{\"event_id\":\"{:032x}\",\"ts\":{},\"user_id\":\"u{}\",\"product_id\":{},\"category\":\"c{:02}\",\"type\":\"{}\",\"price\":{}.{:02},\"campaign_id\":{}}}\n",
            rng.random::<u128>(),
            1_769_900_400_000_u64 + row as u64,
            rng.random_range(0..1_000_000),
            rng.random_range(0..100_000),
            rng.random_range(0..50),
            kind[rng.random_range(0..6)],
            rng.random_range(1..500),
            rng.random_range(0..100),
            rng.random_range(0..100),
        );
    }
    let mut decoder =
        Decoder::new(schema(), &DecodeOptions::new(Format::Json)).expect("plain types");
    decoder.decode(text.as_bytes()).expect("decodes").rows
}

/// The schema of their writer, and the messages with its number in front.
fn written() -> (String, Vec<Vec<u8>>) {
    let rows = rows();
    let writer = AvroSchema::try_from(rows.schema().as_ref()).expect("a schema").json_string;
    let builder = WriterBuilder::new(rows.schema().as_ref().clone())
        .with_fingerprint_strategy(FingerprintStrategy::Id(ID));
    let mut encoder = builder.build_encoder::<AvroSoeFormat>().expect("an encoder");
    encoder.encode(&rows).expect("encodes");
    (writer, encoder.flush().iter().map(|message| message.to_vec()).collect())
}

#[divan::bench]
fn avro_ours(bencher: Bencher<'_, '_>) {
    let (writer, all) = written();
    let mut messages = Messages::default();
    all.iter().for_each(|message| messages.push(message));
    let mut decoder =
        AvroDecoder::registered(schema(), &DecodeOptions::default()).expect("plain types");
    decoder.learn(ID, &writer, &[]).expect("a schema");
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let decoded = decoder.decode_messages(black_box(&messages), None).expect("decodes");
        assert_eq!(black_box(decoded.rows).num_rows(), ROWS);
    });
}

#[divan::bench]
fn avro_arrow(bencher: Bencher<'_, '_>) {
    let (writer, all) = written();
    let bytes = all.concat();
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store.set(Fingerprint::Id(ID), AvroSchema::new(writer)).expect("a schema");
    let builder = ReaderBuilder::new().with_writer_schema_store(store).with_batch_size(ROWS);
    let mut decoder = builder.with_utf8_view(true).build_decoder().expect("a decoder");
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        assert_eq!(decoder.decode(black_box(&bytes)).expect("decodes"), bytes.len());
        assert_eq!(decoder.flush().expect("decodes").expect("rows").num_rows(), ROWS);
    });
}

#[divan::bench]
fn write_ours(bencher: Bencher<'_, '_>) {
    let rows = rows();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        out.clear();
        let encoder = AvroEncoder::new(black_box(&rows)).expect("known types");
        for row in 0..ROWS {
            confluent_prefix(ID, &mut out);
            encoder.row(row, &mut out);
        }
        black_box(&out);
    });
}

#[divan::bench]
fn write_arrow(bencher: Bencher<'_, '_>) {
    let rows = rows();
    let builder = WriterBuilder::new(rows.schema().as_ref().clone())
        .with_fingerprint_strategy(FingerprintStrategy::Id(ID));
    let mut encoder = builder.build_encoder::<AvroSoeFormat>().expect("an encoder");
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        encoder.encode(black_box(&rows)).expect("encodes");
        black_box(encoder.flush());
    });
}
