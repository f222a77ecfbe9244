//! One core: clicks and impressions per minute and product, as the CTR view keeps them.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use yeoul_batch::{ColumnExpr, Combine, ExprRef, Updates};
use yeoul_flow::{Aggregate, AggregateCall, AggregateSpec, Function, NamedExpr};

const ROWS: usize = 1 << 16;

fn main() {
    divan::main();
}

fn next(seed: &mut u64) -> i64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    i64::try_from(*seed >> 33).expect("31 bits")
}

/// Rows over `windows` one-minute windows and `products` products, few of them popular.
fn rows(seed: u64, windows: i64, products: i64, offset: i64) -> RecordBatch {
    let mut seed = seed;
    let mut time = Vec::new();
    let mut product = Vec::new();
    let mut impression = Vec::new();
    let mut click = Vec::new();
    let mut price = Vec::new();
    for _ in 0..ROWS {
        time.push(1_790_000_040_000_000 + next(&mut seed) % windows * 60_000_000);
        let skewed = next(&mut seed) % products * (next(&mut seed) % 1000) / 1000;
        product.push(offset + skewed);
        let kind = next(&mut seed) % 10;
        impression.push(kind < 6);
        click.push(kind == 6);
        price.push(next(&mut seed) % 100_000);
    }
    let columns: [(&str, ArrayRef); 5] = [
        ("window_start", Arc::new(TimestampMicrosecondArray::from(time).with_timezone("UTC"))),
        ("product_id", Arc::new(Int64Array::from(product))),
        ("impression", Arc::new(BooleanArray::from(impression))),
        ("click", Arc::new(BooleanArray::from(click))),
        ("price", Arc::new(Int64Array::from(price))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

fn column(index: usize) -> ExprRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let types = [time, DataType::Int64, DataType::Boolean, DataType::Boolean, DataType::Int64];
    Arc::new(ColumnExpr::new(index, types[index].clone()))
}

fn ctr() -> Aggregate {
    let count =
        |name, filter| AggregateCall::new(name, Function::Count, vec![]).filter(column(filter));
    aggregate(vec![count("impressions", 2), count("clicks", 3)])
}

fn aggregate(calls: Vec<AggregateCall>) -> Aggregate {
    let keys =
        vec![NamedExpr::new("window_start", column(0)), NamedExpr::new("product_id", column(1))];
    let spec = AggregateSpec { keys, calls, append_only: true };
    Aggregate::new(spec).expect("what can be kept")
}

#[divan::bench(args = [100, 10_000, 100_000])]
fn partial_ctr(bencher: Bencher<'_, '_>, products: i64) {
    let aggregate = ctr();
    let updates = Updates::inserts(rows(1, 4, products, 0));
    bencher
        .counter(ItemsCount::new(ROWS))
        .bench_local(|| black_box(aggregate.partial(&updates).expect("groups")));
}

#[divan::bench(args = [100, 10_000, 100_000])]
fn partial_sum_max(bencher: Bencher<'_, '_>, products: i64) {
    let aggregate = aggregate(vec![
        AggregateCall::new("s", Function::Sum, vec![column(4)]),
        AggregateCall::new("m", Function::Max, vec![column(4)]),
    ]);
    let updates = Updates::inserts(rows(1, 4, products, 0));
    bencher
        .counter(ItemsCount::new(ROWS))
        .bench_local(|| black_box(aggregate.partial(&updates).expect("groups")));
}

#[divan::bench(args = [10_000, 100_000])]
fn partial_count_distinct(bencher: Bencher<'_, '_>, products: i64) {
    let aggregate =
        aggregate(vec![AggregateCall::new("d", Function::Count, vec![column(4)]).distinct()]);
    let updates = Updates::inserts(rows(1, 4, products, 0));
    bencher
        .counter(ItemsCount::new(ROWS))
        .bench_local(|| black_box(aggregate.partial(&updates).expect("groups")));
}

/// Eight deltas of commits become one.
#[divan::bench(args = [10_000, 100_000])]
fn combine_ctr(bencher: Bencher<'_, '_>, products: i64) {
    let aggregate = ctr();
    let states: Vec<RecordBatch> = (0..8)
        .map(|seed| {
            let updates = Updates::inserts(rows(seed, 4, products, 0));
            aggregate.partial(&updates).expect("groups")
        })
        .collect();
    let total: usize = states.iter().map(RecordBatch::num_rows).sum();
    bencher
        .counter(ItemsCount::new(total))
        .bench_local(|| black_box(aggregate.combine(&states, true).expect("merges")));
}
