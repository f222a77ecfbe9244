//! Random batches as Avro and back: by our decoder, and by arrow-avro.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use yeoul_format::{AvroDecoder, AvroEncoder, DecodeOptions, avro_schema, confluent_prefix};

use super::super::block;
use super::{arrays, messages};
use crate::sample::{columns, every_type, shown, tagged};

/// What our decoder reads of `rows` into columns of `schema`.
fn back(rows: &RecordBatch, schema: &SchemaRef, seed: u64) -> RecordBatch {
    let writer = avro_schema(&rows.schema(), "Row", "shop").expect("known types");
    let decoder = AvroDecoder::plain(Arc::clone(schema), &DecodeOptions::default(), &writer);
    let decoded = decoder.expect("a schema").decode_messages(&block(&messages(rows)), None);
    let decoded = decoded.expect("decodes");
    assert_eq!(decoded.bad, [], "seed {seed}: {writer}");
    decoded.rows
}

/// Columns of every type, some of which must not be null, and arrays of some.
fn random_schema(rng: &mut StdRng) -> SchemaRef {
    let every = every_type();
    let list = |one: &Field| {
        let item = one.clone().with_name("item");
        Field::new(format!("list_{}", one.name()), DataType::List(Arc::new(item)), true)
    };
    let mut fields = Vec::new();
    for field in every.fields().iter().filter(|f| f.name() != "s3") {
        let field = field.as_ref().clone().with_nullable(rng.random_range(0..3) > 0);
        match rng.random_range(0..6) {
            0 => fields.push(list(&field)),
            1 => fields.extend([list(&list(&field)), field]),
            _ => fields.push(field),
        }
    }
    let wide = DataType::Decimal128(38, rng.random_range(0..=38));
    fields.push(Field::new("wide", wide, true));
    Arc::new(Schema::new(fields))
}

#[test]
fn every_type_comes_back() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let schema = random_schema(&mut rng);
        let rows = arrays::batch(&mut rng, &schema, 12);
        let rows = rows.slice(rng.random_range(0..6), 6);
        assert_eq!(back(&rows, &schema, seed), rows, "seed {seed}");
    }
}

/// Types that streams do not have, with those in which they are read.
fn other_types() -> Vec<(DataType, DataType)> {
    let micros =
        |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let seoul = |unit| DataType::Timestamp(unit, Some("Asia/Seoul".into()));
    let time = DataType::Time64(TimeUnit::Microsecond);
    let item = |one: &DataType| Arc::new(Field::new("item", one.clone(), true));
    let int = DataType::Int64;
    let dictionary = |one| DataType::Dictionary(Box::new(DataType::Int32), Box::new(one));
    vec![
        (DataType::Int8, DataType::Int16),
        (DataType::UInt8, DataType::Int16),
        (DataType::UInt16, DataType::Int32),
        (DataType::UInt32, DataType::Int64),
        (DataType::UInt64, DataType::Decimal128(20, 0)),
        (DataType::Utf8, DataType::Utf8View),
        (DataType::LargeUtf8, DataType::Utf8View),
        (DataType::LargeBinary, DataType::Binary),
        (DataType::BinaryView, DataType::Binary),
        (DataType::FixedSizeBinary(5), DataType::Binary),
        (DataType::Time32(TimeUnit::Second), time.clone()),
        (DataType::Time32(TimeUnit::Millisecond), time.clone()),
        (DataType::Time64(TimeUnit::Nanosecond), time),
        (DataType::Timestamp(TimeUnit::Second, None), micros(None)),
        (DataType::Timestamp(TimeUnit::Nanosecond, None), micros(None)),
        (seoul(TimeUnit::Millisecond), micros(Some("UTC"))),
        (DataType::LargeList(item(&int)), DataType::List(item(&int))),
        (DataType::FixedSizeList(item(&int), 3), DataType::List(item(&int))),
        (
            DataType::List(item(&DataType::UInt64)),
            DataType::List(item(&DataType::Decimal128(20, 0))),
        ),
        (
            DataType::List(item(&seoul(TimeUnit::Second))),
            DataType::List(item(&micros(Some("UTC")))),
        ),
        (dictionary(DataType::Utf8), DataType::Utf8View),
        (dictionary(DataType::Int16), DataType::Int16),
        (dictionary(seoul(TimeUnit::Second)), micros(Some("UTC"))),
        (dictionary(DataType::Decimal128(9, 2)), DataType::Decimal128(9, 2)),
    ]
}

#[test]
fn types_that_streams_do_not_have_come_back() {
    for seed in 0..100 {
        let mut rng = StdRng::seed_from_u64(seed);
        for (from, into) in other_types() {
            let rows = arrays::batch(&mut rng, &columns(&[("v", from.clone())]), 12).slice(3, 8);
            let found = back(&rows, &columns(&[("v", into.clone())]), seed);
            let expected = cast(rows.column(0), &into).expect("a wider type");
            assert_eq!(found.column(0), &expected, "seed {seed}: {from}");
        }
    }
}

/// A struct of everything, and structs in it.
fn structs() -> DataType {
    // What JSON of a struct shows apart from its type; a string of JSON would be a string.
    let fields = every_type().fields().iter().filter(|f| f.name() != "j").cloned().collect();
    let small = DataType::Struct(
        vec![
            Field::new("must", DataType::UInt64, false),
            Field::new("nothing", DataType::Null, true),
        ]
        .into(),
    );
    let inner = Field::new("item", DataType::Struct(fields), true);
    let inner = Field::new("all", DataType::List(Arc::new(inner)), true);
    DataType::Struct(
        vec![inner, Field::new("one", small.clone(), true), Field::new("two", small, false)].into(),
    )
}

#[test]
fn structs_come_back_as_json() {
    let schema = columns(&[("v", structs())]);
    let json: SchemaRef = Arc::new(Schema::new(vec![tagged("v", DataType::Utf8View, "jsonb")]));
    for seed in 0..100 {
        let mut rng = StdRng::seed_from_u64(seed);
        let rows = arrays::batch(&mut rng, &schema, 8).slice(rng.random_range(0..4), 4);
        assert_eq!(shown(&back(&rows, &json, seed)), shown(&rows), "seed {seed}");
    }
}

/// What arrow-avro reads of `rows`, registered as 7.
fn read_by_arrow(rows: &RecordBatch) -> RecordBatch {
    let encoder = AvroEncoder::new(rows).expect("known types");
    let mut bytes = Vec::new();
    for row in 0..encoder.rows() {
        confluent_prefix(7, &mut bytes);
        encoder.row(row, &mut bytes);
    }
    let writer = avro_schema(&rows.schema(), "Row", "shop").expect("known types");
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store.set(Fingerprint::Id(7), AvroSchema::new(writer)).expect("a schema");
    let builder = ReaderBuilder::new().with_writer_schema_store(store);
    let mut decoder = builder.build_decoder().expect("a decoder");
    assert_eq!(decoder.decode(&bytes).expect("decodes"), bytes.len());
    decoder.flush().expect("decodes").expect("rows")
}

#[test]
fn arrow_avro_reads_what_we_write() {
    for seed in 0..100 {
        let mut rng = StdRng::seed_from_u64(seed);
        let schema = random_schema(&mut rng);
        let rows = arrays::batch(&mut rng, &schema, 6);
        let read = read_by_arrow(&rows);
        for (place, field) in schema.fields().iter().enumerate() {
            let found = read.column(place);
            let expected: &ArrayRef = rows.column(place);
            if found.data_type() == field.data_type() {
                assert_eq!(found, expected, "seed {seed}: {field}");
            } else if !field.name().ends_with("iv") {
                // What is in lists has other names there, and an interval is text.
                let found = cast(found, field.data_type()).expect("the same values");
                assert_eq!(&found, expected, "seed {seed}: {field}");
            }
        }
    }
}
