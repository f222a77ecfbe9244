//! Fast paths against their slow twins, on random columns.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryBuilder, Int16Array, Int64Array, RecordBatch,
    StringViewArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::interleave;
use arrow::datatypes::{Field, Schema};
use yeoul_batch::{KeyCodec, TreeId};

use super::gather::{compact_views, concat, gather};
use super::order::{Address, KeyOrder, KeyRanges, sort_rows};
use super::source::keys_of;
use crate::{Rule, TreeSpec};

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % n
    }

    fn int(&mut self, span: u64) -> i64 {
        let value = self.below(span).cast_signed();
        if self.below(2) == 0 { value } else { -value }
    }
}

fn column(kind: u64, rng: &mut Rng, rows: usize, nulls: bool) -> ArrayRef {
    let span = [1, 5, 1_000, 1 << 55][usize::try_from(rng.below(4)).expect("small")];
    let some = |rng: &mut Rng| !nulls || rng.below(5) > 0;
    let ints: Vec<Option<i64>> = (0..rows).map(|_| some(rng).then(|| rng.int(span))).collect();
    match kind {
        0 => Arc::new(Int64Array::from(ints)),
        1 => Arc::new(TimestampMicrosecondArray::from(ints)),
        2 => Arc::new(Int16Array::from_iter(
            ints.iter().map(|v| v.map(|v| i16::try_from(v % 30_000).expect("fits"))),
        )),
        3 => Arc::new(UInt64Array::from_iter(
            ints.iter().map(|v| v.map(|v| v.cast_unsigned().rotate_left(7))),
        )),
        4 => Arc::new(BooleanArray::from_iter(ints.iter().map(|v| v.map(|v| v > 0)))),
        5 => Arc::new(StringViewArray::from_iter(
            ints.iter().map(|v| v.map(|v| format!("a prefix that many have {v}"))),
        )),
        _ => {
            let mut builder = FixedSizeBinaryBuilder::with_capacity(rows, 16);
            for v in ints {
                match v {
                    Some(v) => builder.append_value(i128::from(v).to_be_bytes()).expect("16"),
                    None => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
    }
}

fn batches(rng: &mut Rng, kinds: &[u64], nulls: bool) -> Vec<RecordBatch> {
    (0..3)
        .map(|_| {
            let rows = usize::try_from(rng.below(200)).expect("small");
            let columns: Vec<ArrayRef> =
                kinds.iter().map(|&kind| column(kind, rng, rows, nulls)).collect();
            let fields: Vec<Field> = columns
                .iter()
                .enumerate()
                .map(|(i, c)| Field::new(format!("c{i}"), c.data_type().clone(), true))
                .collect();
            RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns")
        })
        .collect()
}

fn all_rows(batches: &[RecordBatch]) -> Vec<Address> {
    let rows = (0u32..).zip(batches);
    rows.flat_map(|(n, b)| (0..u32::try_from(b.num_rows()).expect("small")).map(move |r| (n, r)))
        .collect()
}

#[test]
fn packed_keys_sort_like_key_codec() {
    for seed in 1..400 {
        let mut rng = Rng(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let width = 1 + rng.below(3);
        let kinds: Vec<u64> = (0..width).map(|_| rng.below(7)).collect();
        let nulls = rng.below(2) == 0;
        let batches = batches(&mut rng, &kinds, nulls);
        let schema = batches[0].schema();
        let spec = TreeSpec {
            id: TreeId(1),
            name: String::new(),
            key: (0..kinds.len()).collect(),
            schema,
            rule: Rule::Keep,
            partition: None,
            retention_us: None,
        };
        let mut ranges = KeyRanges::new(&spec);
        for batch in &batches {
            ranges.include_batch(batch, &spec.key);
        }
        let order = KeyOrder::new(&spec, &ranges).expect("an order");
        let keys = keys_of(&order, &batches).expect("encodes");
        let mut found = all_rows(&batches);
        sort_rows(&order, &keys, &mut found);

        let codec = KeyCodec::new(&spec.schema, &spec.key).expect("plain types");
        let encoded: Vec<_> = batches.iter().map(|b| codec.encode(b).expect("encodes")).collect();
        let key = |a: &Address| encoded[a.0 as usize].row(a.1 as usize);
        let mut wanted = all_rows(&batches);
        wanted.sort_by(|a, b| key(a).cmp(&key(b)));
        assert_eq!(found, wanted, "seed {seed}, kinds {kinds:?}, nulls {nulls}");

        for pair in found.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let fast = keys[a.0 as usize].compare(a.1 as usize, &keys[b.0 as usize], b.1 as usize);
            assert_eq!(fast, key(&a).cmp(&key(&b)), "seed {seed}, kinds {kinds:?}");
            assert_ne!(fast, Ordering::Greater);
        }
        for (n, keys) in keys.iter().enumerate().filter(|(n, _)| batches[*n].num_rows() > 0) {
            // A run ends where the first key behind it begins, in sorted keys only: one row.
            let end = keys.end_of_run(0, 1, keys, 0, true);
            assert_eq!(end, 0, "seed {seed}, batch {n}");
        }
    }
}

#[test]
fn gathered_rows_are_those_of_interleave() {
    for seed in 1..100 {
        let mut rng = Rng(u64::wrapping_mul(seed, 0x2545_f491_4f6c_dd1d));
        let kinds = [0, 5, 6, 4];
        let batches = batches(&mut rng, &kinds, seed % 2 == 0);
        let rows: Vec<(usize, usize)> =
            all_rows(&batches).iter().rev().map(|a| (a.0 as usize, a.1 as usize)).collect();
        let refs: Vec<&RecordBatch> = batches.iter().collect();
        let schema = batches[0].schema();
        let found = gather(&schema, &refs, &rows).expect("gathers");
        for column in 0..kinds.len() {
            let arrays: Vec<&dyn Array> =
                batches.iter().map(|b| b.column(column).as_ref()).collect();
            let wanted = interleave(&arrays, &rows).expect("interleaves");
            assert_eq!(found.column(column), &wanted, "seed {seed}, column {column}");
        }
        let whole = concat(&schema, &refs).expect("concatenates");
        let few = whole.slice(0, whole.num_rows() / 7);
        assert_eq!(compact_views(few.clone()).expect("compacts"), few, "seed {seed}");
    }
}
