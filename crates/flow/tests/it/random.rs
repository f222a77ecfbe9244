//! A seeded generator, and random rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use yeoul_batch::{ColumnExpr, ExprRef};

/// Small, fast, seeded.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn int(&mut self, bound: i64) -> i64 {
        i64::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// The columns of random rows: time, two integers, text, float, decimal, boolean, uuid.
pub(crate) const TIME: usize = 0;
pub(crate) const WIDE: usize = 1;
pub(crate) const SMALL: usize = 2;
pub(crate) const TEXT: usize = 3;
pub(crate) const FLOAT: usize = 4;
pub(crate) const DECIMAL: usize = 5;
pub(crate) const FLAG: usize = 6;
pub(crate) const UUID: usize = 7;
pub(crate) const ALL: [usize; 8] = [TIME, WIDE, SMALL, TEXT, FLOAT, DECIMAL, FLAG, UUID];

pub(crate) fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("wide", DataType::Int64),
        field("small", DataType::Int32),
        field("text", DataType::Utf8View),
        field("float", DataType::Float64),
        field("decimal", DataType::Decimal128(12, 2)),
        field("flag", DataType::Boolean),
        field("uuid", DataType::FixedSizeBinary(16)),
    ]))
}

pub(crate) fn column(index: usize) -> ExprRef {
    Arc::new(ColumnExpr::new(index, schema().field(index).data_type().clone()))
}

/// Rows with few different values, so that groups and duplicates occur; `nulls`: also nulls.
pub(crate) fn rows(random: &mut Random, count: usize, nulls: bool) -> RecordBatch {
    let spread = *random.pick(&[2, 5, 40]);
    let wide_factor = *random.pick(&[1, 1_000_003, 1 << 45]);
    let mut null = {
        let mut own = Random::new(random.next());
        move || nulls && own.one_in(7)
    };
    let mut draw = |bound: i64| random.int(bound);
    macro_rules! values {
        ($make:expr) => {
            (0..count)
                .map(|_| {
                    let v = $make;
                    (!null()).then_some(v)
                })
                .collect::<Vec<_>>()
        };
    }
    let time = values!(draw(spread * 20) * 500_000 - 7_000_000);
    let wide = values!((draw(spread) - 2) * wide_factor);
    let small = values!(i32::try_from(draw(spread)).unwrap());
    let text = values!({
        let number = draw(spread);
        if number % 2 == 0 {
            format!("k{number}")
        } else {
            format!("a longer key, number {number}")
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let float = values!((draw(spread * 3) as f64 - 5.0) * 0.25);
    let decimal = values!(i128::from(draw(spread * 10) - 7));
    let flag = values!(draw(2) == 0);
    let uuid = values!([u8::try_from(draw(spread)).unwrap(); 16]);
    let uuid = FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuid.into_iter(), 16).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(time).with_timezone("UTC")),
        Arc::new(Int64Array::from(wide)),
        Arc::new(Int32Array::from(small)),
        Arc::new(StringViewArray::from_iter(text)),
        Arc::new(Float64Array::from(float)),
        Arc::new(Decimal128Array::from(decimal).with_precision_and_scale(12, 2).unwrap()),
        Arc::new(BooleanArray::from(flag)),
        Arc::new(uuid),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}
