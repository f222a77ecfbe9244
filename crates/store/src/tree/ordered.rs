//! Which rows of a part may be of wanted keys, by the order that both are in.
//!
//! ```text
//!   wanted keys │ 3   │ 9   │ 12        each as 8 bytes of its first column, in order
//!   rows        │ 1 2 3 3 4 7 9 10 …    walked side by side: no hash, no table
//! ```
//!
//! What must hold: no row of a wanted key is left out. Rows that come in another order are found too,
//! only slower.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Date32Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};

/// The first columns of wanted keys.
#[derive(Debug)]
pub(super) struct Firsts {
    /// Of each its rank, in order.
    ranks: Vec<u64>,
    /// One of them is null.
    null: bool,
}

impl Firsts {
    /// Of the keys at `order` in `column`, in which they rise; `None` when their type has no ranks.
    pub(super) fn new(column: &ArrayRef, order: &[u32]) -> Option<Self> {
        let all = ranks(column)?;
        let valid = order.iter().filter(|&&row| column.is_valid(row as usize));
        let mut ranks: Vec<u64> = valid.map(|&row| all[row as usize]).collect();
        let null = ranks.len() < order.len();
        // Keys are in order already, but nulls may be first or last, and so may ranks that are alike.
        ranks.sort_unstable();
        ranks.dedup();
        Some(Self { ranks, null })
    }

    /// The rows of `column` that may be of a wanted key; `None` when its type has no ranks.
    pub(super) fn candidates(&self, column: &ArrayRef) -> Option<Vec<u32>> {
        let rows = ranks(column)?;
        let mut candidates = Vec::new();
        let (mut at, mut before) = (0, 0);
        for (row, &rank) in (0u32..).zip(&rows) {
            if rank < before {
                at = self.ranks.partition_point(|&wanted| wanted < rank);
            }
            before = rank;
            while self.ranks.get(at).is_some_and(|&wanted| wanted < rank) {
                at += 1;
            }
            if self.ranks.get(at) == Some(&rank) {
                candidates.push(row);
            }
        }
        if column.null_count() > 0 {
            // The rank of a null means nothing.
            candidates.retain(|&row| column.is_valid(row as usize));
            if self.null {
                let nulls = (0u32..).zip(0..column.len()).filter(|&(_, row)| column.is_null(row));
                candidates.extend(nulls.map(|(row, _)| row));
                candidates.sort_unstable();
            }
        }
        Some(candidates)
    }
}

/// Numbers in the order of the values, equal where these are, and perhaps where not; `None` for types that
/// have none.
fn ranks(column: &ArrayRef) -> Option<Vec<u64>> {
    Some(match column.data_type() {
        DataType::Int64 => numbers::<Int64Type>(column.as_primitive()),
        DataType::Int32 => numbers::<Int32Type>(column.as_primitive()),
        DataType::Int16 => numbers::<Int16Type>(column.as_primitive()),
        DataType::Date32 => numbers::<Date32Type>(column.as_primitive()),
        DataType::Timestamp(_, _) => numbers::<TimestampMicrosecondType>(column.as_primitive()),
        DataType::Utf8View => {
            let values = column.as_string_view();
            (0..values.len()).map(|row| leading(values.value(row).as_bytes())).collect()
        }
        DataType::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            (0..values.len()).map(|row| leading(values.value(row))).collect()
        }
        _ => return None,
    })
}

fn numbers<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>) -> Vec<u64>
where
    i64: From<T::Native>,
{
    // The sign turned, the least of signed numbers is the least of unsigned ones.
    let rank = |&value: &T::Native| i64::from(value).cast_unsigned() ^ (1 << 63);
    values.values().iter().map(rank).collect()
}

/// The first 8 bytes as a number.
fn leading(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let len = bytes.len().min(8);
    first[..len].copy_from_slice(&bytes[..len]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringViewArray};
    use proptest::prelude::*;

    use super::*;

    fn values(most: usize) -> impl Strategy<Value = Vec<Option<i64>>> {
        let value = prop_oneof![
            1 => Just(None),
            1 => Just(Some(i64::MIN)),
            1 => Just(Some(i64::MAX)),
            20 => (-40..40_i64).prop_map(Some),
        ];
        proptest::collection::vec(value, 0..most)
    }

    proptest! {
        /// Of numbers the candidates are exactly the rows of wanted keys, in whatever order these come.
        #[test]
        fn numbers_are_found_wherever_they_are(
            wanted in values(30),
            mut rows in values(200),
            sorted: bool,
        ) {
            if sorted {
                rows.sort_unstable();
            }
            let mut order: Vec<u32> = (0..).zip(&wanted).map(|(at, _)| at).collect();
            order.sort_by_key(|&at| wanted[at as usize]);
            let column: ArrayRef = Arc::new(Int64Array::from(wanted.clone()));
            let firsts = Firsts::new(&column, &order).expect("numbers have ranks");
            let column: ArrayRef = Arc::new(Int64Array::from(rows.clone()));
            let found = firsts.candidates(&column).expect("numbers have ranks");
            let all = (0..).zip(&rows).filter(|(_, value)| wanted.contains(value));
            let slow: Vec<u32> = all.map(|(row, _)| row).collect();
            prop_assert_eq!(found, slow);
        }
    }

    #[test]
    fn texts_are_found_by_their_beginning() {
        let wanted: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "customer-1", "é"]));
        let firsts = Firsts::new(&wanted, &[0, 1, 2]).expect("texts have ranks");
        let rows: ArrayRef =
            Arc::new(StringViewArray::from(vec!["", "a", "b", "customer-1", "customer-2", "é"]));
        assert_eq!(firsts.candidates(&rows), Some(vec![1, 3, 4, 5]));
    }

    #[test]
    fn floats_have_no_ranks() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        assert!(Firsts::new(&floats, &[0]).is_none());
    }
}
