//! Which partition a row belongs to.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};

use super::order::Address;
use crate::{PartitionBy, StoreError};

/// The partition of rows without a time.
pub(crate) const NULL_PARTITION: i64 = i64::MIN;

const DAY_US: i64 = 86_400_000_000;

/// The partition of every row of `batch`; `None` when there is only one, which comes beside it.
pub(crate) fn partitions_of(
    batch: &RecordBatch,
    by: Option<PartitionBy>,
) -> Result<(i64, Option<Vec<i64>>), StoreError> {
    let Some(by) = by else { return Ok((0, None)) };
    if batch.num_rows() == 0 {
        return Ok((0, None));
    }
    let column = batch.column(by.column);
    let of = |us: i64| us.div_euclid(by.width_us);
    let numbers: Vec<i64> = match column.data_type() {
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().values();
            days.iter().map(|&d| of(i64::from(d) * DAY_US)).collect()
        }
        DataType::Timestamp(_, _) => {
            let times = column.as_primitive::<TimestampMicrosecondType>().values();
            // One partition is the common case and needs no division per row.
            if column.null_count() == 0 {
                let (min, max) = times
                    .iter()
                    .fold((i64::MAX, i64::MIN), |(low, high), &t| (low.min(t), high.max(t)));
                if of(min) == of(max) {
                    return Ok((of(min), None));
                }
            }
            times.iter().map(|&t| of(t)).collect()
        }
        other => {
            return Err(StoreError::Definition(format!(
                "a tree cannot be partitioned by a column of type {other}"
            )));
        }
    };
    let numbers: Vec<i64> = if column.null_count() == 0 {
        numbers
    } else {
        let null = |(i, p)| if column.is_null(i) { NULL_PARTITION } else { p };
        numbers.into_iter().enumerate().map(null).collect()
    };
    let first = numbers[0];
    if numbers.iter().all(|&p| p == first) {
        return Ok((first, None));
    }
    Ok((first, Some(numbers)))
}

/// The rows of several batches, by partition, each in order of arrival.
pub(crate) fn rows_by_partition(
    batches: &[RecordBatch],
    by: Option<PartitionBy>,
) -> Result<BTreeMap<i64, Vec<Address>>, StoreError> {
    let mut rows: BTreeMap<i64, Vec<Address>> = BTreeMap::new();
    for (number, batch) in batches.iter().enumerate() {
        let number = u32::try_from(number).expect("fewer than 2^32 batches");
        let len = u32::try_from(batch.num_rows()).expect("fewer than 2^32 rows in a batch");
        if len == 0 {
            continue;
        }
        match partitions_of(batch, by)? {
            (one, None) => rows.entry(one).or_default().extend((0..len).map(|row| (number, row))),
            (_, Some(numbers)) => {
                for (row, &partition) in (0..len).zip(&numbers) {
                    rows.entry(partition).or_default().push((number, row));
                }
            }
        }
    }
    Ok(rows)
}
