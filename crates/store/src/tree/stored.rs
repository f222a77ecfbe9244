//! Columns as parts hold them: intervals, for which Parquet has no type, as 16 bytes each.
//!
//! ```text
//!   Interval(MonthDayNano)  ⇄  FixedSizeBinary(16): months i32, days i32, nanoseconds i64, little-endian
//! ```
//!
//! Lists and structs are converted inside; everything else is the same in memory and in parts.
//!
//! What must hold: equal intervals have equal bytes; what is read is what was written.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, IntervalMonthDayNanoArray, ListArray,
    RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Schema, SchemaRef,
};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::fit::{Fit, may_differ};
use crate::StoreError;

/// The bytes of an interval in a part.
const INTERVAL_BYTES: i32 = 16;

/// The type that parts have for a column of `data_type`, when that is another one.
#[must_use]
pub fn stored_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            Some(DataType::FixedSizeBinary(INTERVAL_BYTES))
        }
        DataType::List(item) => stored_field(item).map(DataType::List),
        DataType::Struct(fields) if fields.iter().any(|f| stored_field(f).is_some()) => {
            let stored =
                |field: &FieldRef| stored_field(field).unwrap_or_else(|| Arc::clone(field));
            Some(DataType::Struct(fields.iter().map(stored).collect()))
        }
        _ => None,
    }
}

fn stored_field(field: &FieldRef) -> Option<FieldRef> {
    let stored = stored_type(field.data_type())?;
    Some(Arc::new(Field::clone(field).with_data_type(stored)))
}

/// The columns of parts for those of `schema`; `None` when they are the same.
#[must_use]
pub fn stored_schema(schema: &SchemaRef) -> Option<SchemaRef> {
    let fields = schema.fields();
    if fields.iter().all(|field| stored_type(field.data_type()).is_none()) {
        return None;
    }
    let fields: Vec<FieldRef> = fields
        .iter()
        .map(|field| stored_field(field).unwrap_or_else(|| Arc::clone(field)))
        .collect();
    Some(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

/// The 16 bytes of an interval.
pub(crate) fn interval_bytes(value: IntervalMonthDayNano) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&value.months.to_le_bytes());
    bytes[4..8].copy_from_slice(&value.days.to_le_bytes());
    bytes[8..].copy_from_slice(&value.nanoseconds.to_le_bytes());
    bytes
}

fn interval_of(bytes: &[u8; 16]) -> IntervalMonthDayNano {
    let [m0, m1, m2, m3, d0, d1, d2, d3, nanos @ ..] = *bytes;
    IntervalMonthDayNano::new(
        i32::from_le_bytes([m0, m1, m2, m3]),
        i32::from_le_bytes([d0, d1, d2, d3]),
        i64::from_le_bytes(nanos),
    )
}

/// `column` as parts hold it.
fn to_stored(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(stored) = stored_type(column.data_type()) else { return Ok(Arc::clone(column)) };
    match (column.data_type(), &stored) {
        (DataType::List(_), DataType::List(item)) => {
            let list = column.as_list::<i32>();
            let values = to_stored(list.values())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let all = column.as_struct();
            let columns = all.columns().iter().map(to_stored).collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, all.nulls().cloned())?))
        }
        _ => {
            let intervals = column.as_primitive::<IntervalMonthDayNanoType>();
            let bytes: Vec<u8> =
                intervals.values().iter().flat_map(|&value| interval_bytes(value)).collect();
            let nulls = intervals.nulls().cloned();
            let stored = FixedSizeBinaryArray::try_new(INTERVAL_BYTES, Buffer::from(bytes), nulls)?;
            Ok(Arc::new(stored))
        }
    }
}

/// A column of a part as one of `data_type`, whose [`stored_type`] it has.
///
/// # Errors
/// When it has another type.
pub fn from_stored(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let Some(stored) = stored_type(data_type) else { return Ok(Arc::clone(column)) };
    let found = column.data_type();
    if *found != stored {
        let message = format!("a part has {found} where it has {stored} for {data_type}");
        return Err(ArrowError::SchemaError(message));
    }
    match data_type {
        DataType::List(item) => {
            let list = column.as_list::<i32>();
            let values = from_stored(list.values(), item.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
        }
        DataType::Struct(fields) => {
            let all = column.as_struct();
            let columns = all.columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| from_stored(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, all.nulls().cloned())?))
        }
        _ => {
            let bytes = column.as_fixed_size_binary();
            let (values, _) = bytes.value_data().as_chunks::<16>();
            let values = values.iter().map(interval_of).collect::<Vec<_>>();
            let nulls = bytes.nulls().cloned();
            Ok(Arc::new(IntervalMonthDayNanoArray::try_new(values.into(), nulls)?))
        }
    }
}

/// Rows in memory as those of a part, whose schema is `stored`.
pub(crate) fn batch_to_stored(
    batch: &RecordBatch,
    stored: &SchemaRef,
) -> Result<RecordBatch, StoreError> {
    let columns = batch.columns().iter().map(to_stored).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(stored), columns, &options)?)
}

/// Columns of parts as those of memory.
#[derive(Clone, Debug)]
pub(crate) struct FromStored {
    /// The types in memory, when they are others than those of parts.
    schema: Option<SchemaRef>,
    /// Where the columns are, when the part may be older than its tree's definition.
    fit: Option<Fit>,
}

impl FromStored {
    /// For what is read of a part with the columns `found` when those of `schema` at `columns` (ascending), or
    /// all, are wanted; with it the columns of the part that have to be read, ascending.
    pub(crate) fn new(
        found: &Schema,
        schema: &SchemaRef,
        columns: Option<&[usize]>,
    ) -> Result<(Self, Vec<usize>), ArrowError> {
        let wanted = match columns {
            None => Arc::clone(schema),
            Some(columns) => Arc::new(schema.project(columns)?),
        };
        if may_differ(schema) {
            let fit = Fit::new(found, &wanted)?;
            let read = fit.reads();
            return Ok((Self { schema: None, fit: Some(fit.narrowed()) }, read));
        }
        let read = columns.map_or_else(|| (0..schema.fields().len()).collect(), <[usize]>::to_vec);
        let schema = stored_schema(schema).is_some().then_some(wanted);
        Ok((Self { schema, fit: None }, read))
    }

    /// `batch` as it is in memory.
    pub(crate) fn batch(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if let Some(fit) = &self.fit {
            return fit.batch(&batch);
        }
        let Some(schema) = &self.schema else { return Ok(batch) };
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| from_stored(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
    }
}

/// The rows of a part as they are in memory.
pub(crate) struct PartRows {
    reader: ParquetRecordBatchReader,
    from: FromStored,
}

impl PartRows {
    /// What `reader` reads, which is converted by `from`.
    pub(crate) fn new(reader: ParquetRecordBatchReader, from: FromStored) -> Self {
        Self { reader, from }
    }
}

impl Iterator for PartRows {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.reader.next()?.and_then(|batch| self.from.batch(batch)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn intervals_are_sixteen_bytes_and_come_back() {
        let of = IntervalMonthDayNano::new;
        assert_eq!(
            interval_bytes(of(14, -3, 14_706_700_000_000)),
            [14, 0, 0, 0, 0xfd, 0xff, 0xff, 0xff, 0, 0x1b, 0xa1, 0x2b, 0x60, 0x0d, 0, 0]
        );
        let values = [
            Some(of(14, -3, 5)),
            None,
            Some(of(0, 0, 0)),
            Some(of(i32::MIN, i32::MAX, i64::MIN)),
            Some(of(-1, 1, i64::MAX)),
            Some(of(i32::MAX, i32::MIN, -1)),
        ];
        let plain: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(values.to_vec()));
        let numbers: ArrayRef =
            Arc::new(arrow::array::PrimitiveArray::<Int32Type>::from_value(7, 6));
        let nested: ArrayRef = Arc::new(StructArray::from(vec![
            (Arc::new(Field::new("i", plain.data_type().clone(), true)), Arc::clone(&plain)),
            (Arc::new(Field::new("n", numbers.data_type().clone(), true)), Arc::clone(&numbers)),
        ]));
        let lists = |values: &ArrayRef| -> ArrayRef {
            let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            let offsets = arrow::buffer::OffsetBuffer::from_lengths([2, 0, 3, 1]);
            let nulls = vec![true, false, true, true].into();
            Arc::new(ListArray::new(item, offsets, Arc::clone(values), Some(nulls)))
        };
        for column in [Arc::clone(&plain), lists(&plain), lists(&nested), nested, numbers] {
            for column in [column.slice(1, column.len() - 1), column] {
                let stored = to_stored(&column).expect("converts");
                let wanted = stored_type(column.data_type());
                assert_eq!(*stored.data_type(), wanted.unwrap_or(column.data_type().clone()));
                let back = from_stored(&stored, column.data_type()).expect("converts");
                assert_eq!(&back, &column);
            }
        }
        assert!(from_stored(&lists(&plain), plain.data_type()).is_err());
    }
}
