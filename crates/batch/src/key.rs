//! Keys: some columns of a row, as bytes that sort like the columns, or as a hash.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, downcast_primitive_array,
};
use arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, DataType, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Turns the key columns of a batch into rows of bytes whose order is the columns' order
/// (ascending, nulls last, as `ORDER BY` does by default), and back.
#[derive(Debug)]
pub struct KeyCodec {
    converter: RowConverter,
    columns: Vec<usize>,
}

impl KeyCodec {
    /// A codec for the columns at `columns` of `schema`.
    pub fn new(schema: &SchemaRef, columns: &[usize]) -> Result<Self, ArrowError> {
        let options = arrow::compute::SortOptions { descending: false, nulls_first: false };
        let fields = columns
            .iter()
            .map(|&c| SortField::new_with_options(schema.field(c).data_type().clone(), options))
            .collect();
        Ok(Self { converter: RowConverter::new(fields)?, columns: columns.to_vec() })
    }

    /// The keys of the rows of `batch`.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Rows, ArrowError> {
        let columns: Vec<ArrayRef> =
            self.columns.iter().map(|&c| Arc::clone(batch.column(c))).collect();
        self.converter.convert_columns(&columns)
    }

    /// The keys of rows given as just the key columns.
    pub fn encode_columns(&self, columns: &[ArrayRef]) -> Result<Rows, ArrowError> {
        self.converter.convert_columns(columns)
    }

    /// The key columns of encoded keys.
    pub fn decode<'a>(
        &self,
        keys: impl IntoIterator<Item = arrow::row::Row<'a>>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        self.converter.convert_rows(keys)
    }
}

/// Whether values of a type are whole numbers, or count days or microseconds: how far two of them are apart is one.
#[must_use]
pub fn is_whole(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    )
}

/// A range of keys, in the ordered bytes of a [`KeyCodec`]. A bound may be the encoding of only the leading
/// columns of the key, and then stands for all keys that begin so:
///
/// | bound | as `from` | as `to` |
/// |---|---|---|
/// | `Included(b)` | keys that begin with `b`, and all behind them | keys that begin with `b`, and all before them |
/// | `Excluded(b)` | keys behind those that begin with `b` | keys before those that begin with `b` |
/// | `Unbounded` | from the first key | to the last key |
///
/// A range whose `to` is before its `from` is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Where it begins.
    pub from: Bound<Vec<u8>>,
    /// Where it ends.
    pub to: Bound<Vec<u8>>,
}

impl KeyRange {
    /// All keys that begin with `bytes`.
    #[must_use]
    pub fn prefix(bytes: &[u8]) -> Self {
        Self { from: Bound::Included(bytes.to_vec()), to: Bound::Included(bytes.to_vec()) }
    }
}

/// The first or the last rows of several ranges of keys.
#[derive(Clone, Debug)]
pub struct RangeRows {
    /// The rows, range by range as they were asked for, and within a range in the order of their keys.
    pub rows: RecordBatch,
    /// The range that each row is of.
    pub ranges: Vec<u32>,
    /// For each range whether it has more rows.
    pub more: Vec<bool>,
}

const NULL: u64 = 0x9e37_79b9_7f4a_7c15;

/// A 64-bit hash per row over `columns`, the same in every process: used to look groups up and to count
/// different values. Those are kept in states, see `docs/format/states.md`. Equal keys hash equal; nulls
/// are equal to each other.
pub fn hash64(columns: &[ArrayRef], rows: usize) -> Result<Vec<u64>, ArrowError> {
    let mut hashes = vec![0u64; rows];
    for column in columns {
        fold64(column.as_ref(), &mut hashes)?;
    }
    Ok(hashes)
}

/// Mixes two words: one 64×64→128 multiplication, the halves folded.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0xa076_1d64_78bd_642f) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the product")]
    let folded = (product >> 64) as u64 ^ product as u64;
    folded
}

fn fold64(column: &dyn Array, hashes: &mut [u64]) -> Result<(), ArrowError> {
    match column.data_type() {
        DataType::Boolean => fold_values(column, hashes, |i| {
            let values: &BooleanArray = column.as_boolean();
            u64::from(values.value(i))
        }),
        DataType::Utf8View => {
            let values = column.as_string_view();
            fold_values(column, hashes, |i| xxh3_64(values.value(i).as_bytes()));
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            fold_values(column, hashes, |i| xxh3_64(values.value(i).as_bytes()));
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>();
            fold_values(column, hashes, |i| xxh3_64(values.value(i)));
        }
        DataType::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            fold_values(column, hashes, |i| xxh3_64(values.value(i)));
        }
        DataType::Float32 | DataType::Float64 => return fold_encoded(column, hashes),
        t if t.is_primitive() => {
            let array = column;
            downcast_primitive_array!(
                array => fold_primitive(array, hashes),
                _ => return fold_encoded(column, hashes)
            );
        }
        _ => return fold_encoded(column, hashes),
    }
    Ok(())
}

fn fold_primitive<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, hashes: &mut [u64]) {
    let values = array.values();
    fold_values(array, hashes, |i| {
        let v = values[i];
        // Wider natives (decimal, interval) carry more than 64 bits.
        if size_of::<T::Native>() > 8 {
            xxh3_64(v.to_byte_slice_of())
        } else {
            v.to_i64().map_or(NULL, i64::cast_unsigned)
        }
    });
}

/// The bytes of one native value.
trait ToByteSliceOf {
    fn to_byte_slice_of(&self) -> &[u8];
}

impl<T: ArrowNativeType> ToByteSliceOf for T {
    fn to_byte_slice_of(&self) -> &[u8] {
        use arrow::datatypes::ToByteSlice;
        self.to_byte_slice()
    }
}

#[inline]
fn fold_values(column: &dyn Array, hashes: &mut [u64], value: impl Fn(usize) -> u64) {
    if column.null_count() == 0 {
        for (i, hash) in hashes.iter_mut().enumerate() {
            *hash = mix(*hash, value(i));
        }
    } else {
        for (i, hash) in hashes.iter_mut().enumerate() {
            *hash = mix(*hash, if column.is_null(i) { NULL } else { value(i) });
        }
    }
}

/// Types without a path of their own go through the ordered encoding. Floats do as well, so that
/// a NaN equals itself.
fn fold_encoded(column: &dyn Array, hashes: &mut [u64]) -> Result<(), ArrowError> {
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
    let rows = converter.convert_columns(&[column.slice(0, column.len())])?;
    for (hash, row) in hashes.iter_mut().zip(rows.iter()) {
        *hash = mix(*hash, xxh3_64(row.as_ref()));
    }
    Ok(())
}

/// A 128-bit hash per row over `columns`, for duplicate keys: at 10⁹ keys two different ones
/// collide with a probability of 10⁻²¹. A single column of text hashes as its bytes, everything else
/// as its ordered encoding. A hash depends on its own row only: it is compared with those of other
/// batches. They are kept on disk, see `docs/format/seen.md`.
pub fn hash128(columns: &[ArrayRef]) -> Result<Vec<u128>, ArrowError> {
    if let [column] = columns {
        match column.data_type() {
            DataType::Utf8View => {
                return Ok(column.as_string_view().iter().map(text_hash128).collect());
            }
            DataType::Utf8 => {
                return Ok(column.as_string::<i32>().iter().map(text_hash128).collect());
            }
            _ => {}
        }
    }
    let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(columns)?;
    Ok(rows.iter().map(|row| xxh3_128(row.as_ref())).collect())
}

/// Null is a byte that no text has.
fn text_hash128(text: Option<&str>) -> u128 {
    xxh3_128(text.map_or(&[0xff], str::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, StringViewArray};
    use arrow::datatypes::{Field, Schema};

    #[test]
    fn keys_sort_like_their_columns() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8View, true),
        ]));
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(Int64Array::from(vec![Some(2), Some(-1), None, Some(2)])),
                Arc::new(StringViewArray::from(vec![Some("b"), Some("z"), Some("a"), None])),
            ],
        )
        .expect("two columns");
        let codec = KeyCodec::new(&schema, &[0, 1]).expect("plain types");
        let keys = codec.encode(&batch).expect("encodes");
        let mut order: Vec<usize> = (0..4).collect();
        order.sort_by(|&x, &y| keys.row(x).cmp(&keys.row(y)));
        assert_eq!(order, vec![1, 0, 3, 2]);
        let back = codec.decode(keys.iter()).expect("decodes");
        assert_eq!(back[0].as_ref(), batch.column(0).as_ref());
        assert_eq!(back[1].as_ref(), batch.column(1).as_ref());
    }

    #[test]
    fn a_wide_hash_depends_on_its_row_only() {
        let hash = |values: Vec<Option<&str>>| {
            let view: ArrayRef = Arc::new(StringViewArray::from(values.clone()));
            let plain: ArrayRef = Arc::new(arrow::array::StringArray::from(values));
            let hashes = hash128(&[Arc::clone(&view)]).expect("hashes");
            assert_eq!(hashes, hash128(&[plain]).expect("hashes"));
            let with_number: ArrayRef = Arc::new(Int64Array::from(vec![7; view.len()]));
            (hashes, hash128(&[view, with_number]).expect("hashes"))
        };
        let (alone, alone_of_two) = hash(vec![Some("x")]);
        let (beside_null, beside_null_of_two) = hash(vec![None, Some("x"), Some("")]);
        assert_eq!((alone[0], alone_of_two[0]), (beside_null[1], beside_null_of_two[1]));
        assert!(beside_null[0] != beside_null[1] && beside_null[0] != beside_null[2]);
        // As docs/format/seen.md has it.
        assert_eq!(alone[0], xxh3_128(b"x"));
        assert_eq!(beside_null[0], xxh3_128(b"\xff"));
    }

    /// Hashes are in states and runs on disk: those of version 1 never change.
    #[test]
    fn hashes_are_those_of_version_1() {
        let text: ArrayRef = Arc::new(StringViewArray::from(vec![Some("여울"), None]));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(-7), None]));
        let float: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None]));
        let both = [Arc::clone(&text), Arc::clone(&number)];
        let narrow = |columns: &[ArrayRef]| hash64(columns, 2).expect("hashes");
        assert_eq!(narrow(&[Arc::clone(&number)]), [0x80cd_c824_0cf3_242d, mix(0, NULL)]);
        assert_eq!(narrow(&[float]), [0x2655_8a7d_d2f6_8adc, 0x55a9_efe2_2ad2_5dbd]);
        assert_eq!(narrow(&both), [0x7960_8386_4fdf_39f3, 0xcd09_24af_4973_fdcd]);
        assert_eq!(
            hash128(&[text]).expect("hashes"),
            [0x5899_7ed3_0e94_4670_07aa_bb1f_28f7_ac88, xxh3_128(b"\xff")]
        );
        assert_eq!(
            hash128(&both).expect("hashes"),
            [0x19c1_d357_f9fe_7e36_0179_409c_e577_68d9, 0x6b7b_76bc_bcfa_7c6b_fd54_8508_1f48_2dca]
        );
    }

    #[test]
    fn hashes_agree_on_equal_keys_and_differ_on_others() {
        let a: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(1.5)]));
        let b: ArrayRef = Arc::new(StringViewArray::from(vec!["x", "y", "a string past inline"]));
        let columns = vec![a, b];
        let first = hash64(&columns, 3).expect("hashes");
        assert_eq!(first, hash64(&columns, 3).expect("hashes"));
        assert!(first[0] != first[1] && first[1] != first[2]);
        let wide = hash128(&columns).expect("hashes");
        assert!(wide[0] != wide[1] && wide[1] != wide[2]);
    }
}
