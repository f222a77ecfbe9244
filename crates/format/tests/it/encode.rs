//! Encoders: by cases, and back through the decoders.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, RecordBatch, StringViewArray};
use arrow::array::{Decimal128Array, IntervalMonthDayNanoArray, TimestampMicrosecondArray};
use arrow::datatypes::IntervalMonthDayNano;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use yeoul_format::encode::{Encoder, JsonRow, TextColumn};
use yeoul_format::{DecodeOptions, Format};

use crate::sample::{decode, decoder, every_type, shown};

/// The PostgreSQL texts of a column.
fn texts(array: ArrayRef) -> Vec<String> {
    let batch = RecordBatch::try_from_iter([("c", array)]).expect("one column");
    let column = TextColumn::new(batch.schema().field(0), batch.column(0)).expect("plain type");
    (0..batch.num_rows())
        .map(|row| {
            let mut out = Vec::new();
            column.write(row, &mut out);
            String::from_utf8(out).expect("text")
        })
        .collect()
}

#[test]
fn postgres_texts() {
    let doubles =
        [0.0, -0.5, 1e15, 1e-5, 123_456_789_012_345.0, 0.1, f64::NAN, f64::NEG_INFINITY, 1e300];
    assert_eq!(
        texts(Arc::new(Float64Array::from(doubles.to_vec()))),
        ["0", "-0.5", "1e+15", "1e-05", "123456789012345", "0.1", "NaN", "-Infinity", "1e+300"]
    );
    let reals = vec![0.1_f32, 1e6, 123_456.0, 3.402_823_5e38];
    assert_eq!(
        texts(Arc::new(Float32Array::from(reals))),
        ["0.1", "1e+06", "123456", "3.4028235e+38"]
    );
    let times = vec![0, -1, 1_574_553_634_762_830, -62_135_596_800_000_000];
    assert_eq!(
        texts(Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
        [
            "1970-01-01 00:00:00+00",
            "1969-12-31 23:59:59.999999+00",
            "2019-11-24 00:00:34.76283+00",
            "0001-01-01 00:00:00+00",
        ]
    );
    let decimals = Decimal128Array::from(vec![5, -5, 0, 123_456, i128::from(u64::MAX) * 10])
        .with_precision_and_scale(38, 2)
        .expect("fits");
    assert_eq!(
        texts(Arc::new(decimals)),
        ["0.05", "-0.05", "0.00", "1234.56", "1844674407370955161.50"]
    );
    let intervals = IntervalMonthDayNanoArray::from(vec![
        IntervalMonthDayNano::new(14, -3, 14_706_700_000_000),
        IntervalMonthDayNano::new(0, 1, 0),
        IntervalMonthDayNano::new(0, 0, -1_000),
        IntervalMonthDayNano::new(0, 0, 0),
    ]);
    assert_eq!(
        texts(Arc::new(intervals)),
        ["1 year 2 mons -3 days +04:05:06.7", "1 day", "-00:00:00.000001", "00:00:00"]
    );
}

#[test]
fn rows_of_each_style() {
    let texts: ArrayRef =
        Arc::new(StringViewArray::from(vec![Some("a,\"b\""), Some(""), None, Some("\t\\")]));
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("x y", Arc::clone(&texts), true),
        ("z", texts, true),
    ])
    .expect("two columns");
    let write = |encoder: Encoder| {
        let mut out = Vec::new();
        encoder.header(&mut out);
        encoder.all(&mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(
        write(Encoder::csv(&rows, b',').expect("plain")),
        "x y,z\n\"a,\"\"b\"\"\",\"a,\"\"b\"\"\"\n\"\",\"\"\n,\n\t\\,\t\\\n"
    );
    assert_eq!(
        write(Encoder::copy(&rows).expect("plain")),
        "x y\tz\na,\"b\"\ta,\"b\"\n\t\n\\N\t\\N\n\\t\\\\\t\\t\\\\\n"
    );
    assert_eq!(
        write(Encoder::json(&rows, JsonRow::Array).expect("plain")),
        "[\"x y\",\"z\"][\"a,\\\"b\\\"\",\"a,\\\"b\\\"\"]\n[\"\",\"\"]\n[null,null]\n[\"\\t\\\\\",\"\\t\\\\\"]\n"
    );
}

/// A random record of [`every_type`] as JSON.
fn record(rng: &mut StdRng) -> String {
    let us = rng.random_range(-2_000_000_000_000_000..4_000_000_000_000_000_i64);
    let text = ["", "x", "a,b\n\"c\"\t\\", "여울 long enough for the heap", "NULL", "{}"]
        [rng.random_range(0..6)];
    let text = serde_json::Value::from(text).to_string();
    let fields = [
        ("b", (us % 2 == 0).to_string()),
        ("i2", rng.random::<i16>().to_string()),
        ("i4", rng.random::<i32>().to_string()),
        ("i8", rng.random::<i64>().to_string()),
        ("f4", format!("{:e}", rng.random::<f32>())),
        ("f8", format!("{:e}", rng.random::<f64>() * 1e20)),
        ("n", format!("{}.{:02}", rng.random_range(-99_999..99_999), rng.random_range(0..100))),
        ("s", text.clone()),
        ("s3", "\"abc\"".to_owned()),
        (
            "d",
            format!(
                "\"{:04}-{:02}-{:02}\"",
                us.rem_euclid(9_999) + 1,
                us.rem_euclid(12) + 1,
                us.rem_euclid(28) + 1
            ),
        ),
        (
            "t",
            format!(
                "\"{:02}:{:02}:59.{:06}\"",
                us.rem_euclid(24),
                us.rem_euclid(60),
                us.rem_euclid(1_000_000)
            ),
        ),
        (
            "ts",
            format!("\"1969-12-31 23:{:02}:00.{:03}\"", us.rem_euclid(60), us.rem_euclid(1_000)),
        ),
        (
            "tz",
            format!(
                "\"2038-01-19T03:14:{:02}.{:06}Z\"",
                us.rem_euclid(60),
                us.rem_euclid(1_000_000)
            ),
        ),
        ("iv", format!("\"{} months {} days {}:02:03.5\"", us % 30, us % 50, us.rem_euclid(100))),
        ("j", format!("{{\"k\":{text}}}")),
        ("u", format!("\"{:032x}\"", rng.random::<u128>())),
        ("y", format!("\"\\\\x{:08x}\"", rng.random::<u32>())),
        ("l", format!("[{},null]", us)),
        ("ls", format!("[{text},null,{text}]")),
    ];
    let kept = fields.iter().filter(|_| rng.random_range(0..6) > 0);
    let pairs: Vec<_> = kept.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}\n", pairs.join(","))
}

#[test]
fn every_style_reads_back() {
    let schema = every_type();
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let text: String = (0..10).map(|_| record(&mut rng)).collect();
        let decoded = decode(&schema, Format::Json, &text);
        assert_eq!(decoded.bad, [], "seed {seed}: {text}");
        let rows = decoded.rows;
        assert_eq!(decode(&schema, Format::Json, &shown(&rows)).rows, rows, "seed {seed}");
        let styles =
            [(Format::Csv, Encoder::csv(&rows, b',')), (Format::CopyText, Encoder::copy(&rows))];
        for (format, encoder) in styles {
            let mut out = Vec::new();
            encoder.expect("known types").all(&mut out);
            let options = DecodeOptions { header: Some(false), ..DecodeOptions::new(format) };
            let back = decoder(&schema, &options).decode(&out).expect("decodes");
            assert_eq!(back.bad, [], "seed {seed}: {}", String::from_utf8_lossy(&out));
            assert_eq!(back.rows, rows, "seed {seed}: {}", String::from_utf8_lossy(&out));
        }
    }
}
