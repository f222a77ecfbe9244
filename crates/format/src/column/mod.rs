//! One column while it is being filled, with the two things a decoder needs and Arrow's builders
//! lack: taking back the last rows, and a cheap answer to "has this row a value already".
//!
//! What must hold: `rows` is the number of values written; a null has a (zero) value as well, and
//! its row is listed in `nulls`, ascending.

mod text;
mod values;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, ListArray,
    PrimitiveArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow::error::ArrowError;

use crate::error::FormatError;
pub(crate) use text::TextValues;
pub(crate) use values::Values;
use yeoul_batch::{DecimalFormat, DecodeOptions, Format, TimestampUnit};

/// The forms of values that the options of a decoder tell.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Forms {
    /// What a number in a timestamp column counts.
    pub(crate) unit: TimestampUnit,
    /// How numbers of numeric columns are written.
    pub(crate) decimals: DecimalFormat,
    /// Dates are days since 1970 and bytes are base64: as Kafka Connect writes JSON.
    pub(crate) connect: bool,
}

impl Forms {
    pub(crate) fn of(options: &DecodeOptions) -> Self {
        Self {
            unit: options.timestamp_unit,
            decimals: options.decimal_format,
            connect: options.format == Some(Format::DebeziumJson),
        }
    }
}

/// A column being filled.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) nullable: bool,
    /// How many rows have a value.
    pub(crate) rows: usize,
    /// Rows that are null, ascending.
    nulls: Vec<usize>,
    pub(crate) forms: Forms,
    pub(crate) values: Values,
}

impl Column {
    pub(crate) fn new(field: &Field, forms: Forms) -> Result<Self, FormatError> {
        Ok(Self {
            name: field.name().clone(),
            nullable: field.is_nullable(),
            rows: 0,
            nulls: Vec::new(),
            forms,
            values: Values::new(field, forms)?,
        })
    }

    /// Makes sure that the next value is that of `row`: a value written before is taken back, so
    /// the last one wins.
    #[inline]
    pub(crate) fn begin(&mut self, row: usize) {
        if self.rows > row {
            self.truncate(row);
        }
    }

    /// Counts a value that was pushed to `values`.
    #[inline]
    pub(crate) fn pushed(&mut self) {
        self.rows += 1;
    }

    pub(crate) fn push_null(&mut self) {
        self.nulls.push(self.rows);
        self.values.push_zero();
        self.rows += 1;
    }

    /// Whether the newest row is null.
    pub(crate) fn last_is_null(&self) -> bool {
        self.nulls.last().is_some_and(|&row| row + 1 == self.rows)
    }

    /// Forgets the rows from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        // A failed push may have left half a value behind: the values are cut even when the count
        // is right.
        self.values.truncate(rows);
        if self.rows > rows {
            self.rows = rows;
            while self.nulls.last().is_some_and(|&row| row >= rows) {
                self.nulls.pop();
            }
        }
    }

    /// The column as an array; the builder is empty afterwards and keeps its sizes as a guess for
    /// the next batch.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        let nulls = self.take_nulls(rows);
        Ok(match &mut self.values {
            Values::Bool(v) => {
                let bits = BooleanBuffer::from(v.as_slice());
                v.clear();
                Arc::new(BooleanArray::new(bits, nulls))
            }
            Values::Int16(v) => primitive::<Int16Type>(v, nulls)?,
            Values::Int32(v) => primitive::<Int32Type>(v, nulls)?,
            Values::Int64(v) => primitive::<Int64Type>(v, nulls)?,
            Values::Float32(v) => primitive::<Float32Type>(v, nulls)?,
            Values::Float64(v) => primitive::<Float64Type>(v, nulls)?,
            Values::Date(v) => primitive::<Date32Type>(v, nulls)?,
            Values::Time(v) => primitive::<Time64MicrosecondType>(v, nulls)?,
            Values::Interval(v) => primitive::<IntervalMonthDayNanoType>(v, nulls)?,
            Values::Timestamp { values, zone, .. } => {
                let array =
                    PrimitiveArray::<TimestampMicrosecondType>::try_new(take(values), nulls)?;
                Arc::new(array.with_timezone_opt(zone.clone()))
            }
            Values::Decimal { values, precision, scale } => Arc::new(
                Decimal128Array::try_new(take(values), nulls)?
                    .with_precision_and_scale(*precision, *scale)?,
            ),
            Values::Text { values, .. } | Values::Json(values) => Arc::new(values.finish(nulls)),
            Values::Uuid(v) => {
                let bytes = Buffer::from_vec(renew(v).into_flattened());
                Arc::new(FixedSizeBinaryArray::try_new(16, bytes, nulls)?)
            }
            Values::Binary { ends, bytes } => Arc::new(BinaryArray::try_new(
                offsets(ends),
                Buffer::from_vec(renew(bytes)),
                nulls,
            )?),
            Values::List { ends, item, field } => Arc::new(ListArray::try_new(
                Arc::clone(field),
                offsets(ends),
                item.finish()?,
                nulls,
            )?),
        })
    }

    fn take_nulls(&mut self, rows: usize) -> Option<NullBuffer> {
        if self.nulls.is_empty() {
            return None;
        }
        let mut bits = arrow::array::BooleanBufferBuilder::new(rows);
        bits.append_n(rows, true);
        for &row in &self.nulls {
            bits.set_bit(row, false);
        }
        self.nulls.clear();
        Some(NullBuffer::new(bits.finish()))
    }
}

/// Takes the vector out and leaves an empty one of the same size: the next batch is likely as big.
fn renew<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    std::mem::replace(values, next)
}

fn take<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    renew(values).into()
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(PrimitiveArray::<T>::try_new(take(values), nulls)?))
}

/// Ends of values as Arrow's offsets (one more than values, beginning with 0).
fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut all = Vec::with_capacity(ends.len() + 1);
    all.push(0);
    all.append(ends);
    OffsetBuffer::new(all.into())
}
