//! States of version 1 stay readable: every kind of state, as the columns of a tree. `docs/format/states.md`.
//!
//! The files in `tests/fixtures` (Arrow IPC) are written anew with `YEOUL_WRITE_FIXTURES=1`, and only while the
//! version has not been released.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use yeoul_batch::{Combine, Updates};
use yeoul_flow::{Aggregate, AggregateCall, AggregateSpec, Function, NamedExpr};

use crate::cells;
use crate::random::{ALL, DECIMAL, FLAG, FLOAT, SMALL, TEXT, TIME, UUID, WIDE, column, schema};

/// Sixty rows in three groups by `small`: nulls, negative and large numbers, text with the byte 0.
fn input() -> RecordBatch {
    let rows = 0..60_i32;
    let some = |n: &i32| n % 7 != 3;
    let wide = |n: i32| i64::from(n - 30) * 300_000_000_000_000_000;
    let texts = ["", "a", "a\0", "a\0b", "\u{ff}", "zz"];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            TimestampMicrosecondArray::from_iter(rows.clone().map(|n| {
                some(&n).then(|| 1_700_000_000_000_000 + i64::from(n * 37 % 11) * 1_000_000)
            }))
            .with_timezone("UTC"),
        ),
        Arc::new(Int64Array::from_iter(rows.clone().map(|n| some(&n).then(|| wide(n % 20))))),
        Arc::new(Int32Array::from_iter(rows.clone().map(|n| (n % 3 != 2).then_some(n % 3 - 1)))),
        Arc::new(StringViewArray::from_iter(
            texts.iter().cycle().zip(rows.clone()).map(|(t, n)| some(&n).then_some(*t)),
        )),
        Arc::new(Float64Array::from_iter(rows.clone().map(|n| match n % 10 {
            8 => None,
            n => Some(f64::from(n) * 0.1 - 0.3),
        }))),
        Arc::new(
            Decimal128Array::from_iter(
                rows.clone().map(|n| some(&n).then(|| i128::from(n % 13) * 999 - 5000)),
            )
            .with_precision_and_scale(12, 2)
            .expect("fits"),
        ),
        Arc::new(BooleanArray::from_iter(rows.clone().map(|n| some(&n).then_some(n % 4 == 0)))),
        Arc::new(
            FixedSizeBinaryArray::try_from_iter(
                rows.map(|n| u128::from(n.unsigned_abs() % 9).to_be_bytes()),
            )
            .expect("of one length"),
        ),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns of the schema")
}

/// Every function over every kind of argument.
fn calls() -> Vec<AggregateCall> {
    let mut calls = vec![AggregateCall::new("", Function::Count, vec![])];
    let mut of = |function, columns: &[usize]| {
        calls.extend(columns.iter().map(|&c| AggregateCall::new("", function, vec![column(c)])));
    };
    for function in [Function::Min, Function::Max, Function::Count, Function::ApproxCountDistinct] {
        of(function, &ALL);
    }
    of(Function::Sum, &[SMALL, FLOAT, DECIMAL]);
    of(Function::Avg, &[WIDE, SMALL, FLOAT, DECIMAL]);
    of(Function::StddevPop, &[SMALL, FLOAT, DECIMAL]);
    of(Function::ApproxPercentile(0.9), &[WIDE, FLOAT, DECIMAL]);
    of(Function::BoolAnd, &[FLAG]);
    of(Function::BoolOr, &[FLAG]);
    for of in ALL {
        let call = |function| AggregateCall::new("", function, vec![column(of)]);
        calls.push(call(Function::Count).distinct());
        calls.push(call(Function::ArrayAgg));
        for (by, descending) in [(TIME, false), (TEXT, true), (FLOAT, false), (UUID, true)] {
            calls.push(call(Function::FirstValue).order_by(column(by), descending));
            calls.push(call(Function::LastValue).order_by(column(by), descending));
        }
    }
    calls.push(AggregateCall::new("", Function::Sum, vec![column(DECIMAL)]).distinct());
    for (number, call) in calls.iter_mut().enumerate() {
        call.name = format!("a{number}");
    }
    calls
}

fn read_or_write(name: &str, states: &RecordBatch) -> RecordBatch {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    if std::env::var_os("YEOUL_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder to write to");
        let file = File::create(&path).expect("a file to write to");
        let mut writer = FileWriter::try_new(file, &states.schema()).expect("a writer");
        writer.write(states).expect("writes");
        writer.finish().expect("ends");
    }
    let file = File::open(&path).expect("the fixture is checked in");
    let mut batches = FileReader::try_new(file, None).expect("an Arrow file");
    batches.next().expect("one batch").expect("reads")
}

#[test]
fn version_1_is_read() {
    for (name, append_only) in [("states.v1.arrow", true), ("counted_states.v1.arrow", false)] {
        let keys = vec![NamedExpr::new("small", column(SMALL))];
        let spec = AggregateSpec { keys, calls: calls(), append_only };
        let aggregate = Aggregate::new(spec).expect("compiles");
        let today = aggregate.partial(&Updates::inserts(input())).expect("states");
        let stored = read_or_write(name, &today);
        assert_eq!(stored.schema(), today.schema(), "{name}: the columns of the tree");
        let answers = |states: &RecordBatch| {
            cells::sorted(cells::rows(&aggregate.finish(states).expect("answers")))
        };
        let near = |a: &[cells::Row], b: &[cells::Row]| {
            assert_eq!(a.len(), b.len(), "{name}: the groups");
            for (column, (a, b)) in a.iter().flatten().zip(b.iter().flatten()).enumerate() {
                assert!(a.near(b), "{name}, answer {column}: {a:?}, not {b:?}");
            }
        };
        near(&answers(&stored), &answers(&today));
        // It merges with states of today as they do with each other.
        let merged = |other: &RecordBatch| {
            let both = [other.clone(), today.clone()];
            answers(&aggregate.combine(&both, true).expect("merges"))
        };
        near(&merged(&stored), &merged(&today));
    }
}
