//! The functions TUMBLE, HOP and CUMULATE are rewritten to. DataFusion runs them as they are;
//! lowering knows them again and makes a window of them.
//!
//! ```text
//!   window_tumble_start(ts, size, offset), window_tumble_end(…)   a time
//!   window_hop(ts, slide, size, offset)                           the starts of all windows, ascending
//!   window_hop_end(start, size)                                   a time
//!   window_cumulate(ts, step, size, offset)                       the ends of all windows, ascending
//!   window_cumulate_start(end, size, offset)                      a time
//! ```
//!
//! Lengths are bigint constants in microseconds. Times are timestamp or timestamptz, and the
//! result has the type of its time.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, PrimitiveArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::datatype;
use crate::error::{ErrorKind, SqlError};

/// The most windows one row may fall into.
pub(crate) const WINDOWS_MAX: i64 = 10_000;

/// Which of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum WindowFunction {
    TumbleStart,
    TumbleEnd,
    Hop,
    HopEnd,
    Cumulate,
    CumulateStart,
}

impl WindowFunction {
    const ALL: [Self; 6] = [
        Self::TumbleStart,
        Self::TumbleEnd,
        Self::Hop,
        Self::HopEnd,
        Self::Cumulate,
        Self::CumulateStart,
    ];

    fn lengths(self) -> usize {
        match self {
            Self::HopEnd => 1,
            Self::TumbleStart | Self::TumbleEnd | Self::CumulateStart => 2,
            Self::Hop | Self::Cumulate => 3,
        }
    }

    fn many(self) -> bool {
        matches!(self, Self::Hop | Self::Cumulate)
    }
}

/// One of the functions, as DataFusion knows it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowUdf {
    pub(crate) function: WindowFunction,
    signature: Signature,
}

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    WindowFunction::ALL
        .into_iter()
        .map(|function| {
            let signature = Signature::any(1 + function.lengths(), Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(WindowUdf { function, signature }))
        })
        .collect()
}

/// The message about a window over a column of another type.
pub(crate) const NOT_A_TIME: &str = "the column a window runs over is not a time";

pub(super) fn not_a_time(data_type: &DataType) -> DataFusionError {
    let e = SqlError::new(ErrorKind::DatatypeMismatch, NOT_A_TIME)
        .detail(format!("it has the type {}", datatype::sql_type_name(data_type)))
        .hint("windows run over a timestamptz or timestamp column");
    DataFusionError::External(Box::new(e))
}

impl ScalarUDFImpl for WindowUdf {
    fn name(&self) -> &str {
        match self.function {
            WindowFunction::TumbleStart => "window_tumble_start",
            WindowFunction::TumbleEnd => "window_tumble_end",
            WindowFunction::Hop => "window_hop",
            WindowFunction::HopEnd => "window_hop_end",
            WindowFunction::Cumulate => "window_cumulate",
            WindowFunction::CumulateStart => "window_cumulate_start",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types.first() {
            Some(t @ DataType::Timestamp(TimeUnit::Microsecond, _)) if self.function.many() => {
                Ok(DataType::List(item(t)))
            }
            Some(t @ DataType::Timestamp(TimeUnit::Microsecond, _)) => Ok(t.clone()),
            Some(t) => Err(not_a_time(t)),
            None => internal_err!("a window function without its time"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let nullable = args.arg_fields.first().is_none_or(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let lengths = args.args[1..].iter().map(length).collect::<Result<Vec<i64>>>()?;
        let constant = matches!(args.args[0], ColumnarValue::Scalar(_));
        let times = args.args[0].to_array(if constant { 1 } else { args.number_rows })?;
        let Some(times) = times.as_primitive_opt::<TimestampMicrosecondType>() else {
            return Err(not_a_time(times.data_type()));
        };
        let out = self.function.apply(times, &lengths)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?));
        }
        Ok(ColumnarValue::Array(out))
    }
}

fn length(arg: &ColumnarValue) -> Result<i64> {
    match arg {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(us))) => Ok(*us),
        _ => exec_err!("the lengths of a window must be constants"),
    }
}

fn item(time: &DataType) -> FieldRef {
    Arc::new(Field::new("item", time.clone(), false))
}

/// The greatest multiple of `size` plus `offset` that is not after `time`.
#[inline]
fn floor(time: i64, size: i64, offset: i64) -> i64 {
    time.wrapping_sub(time.wrapping_sub(offset).rem_euclid(size))
}

impl WindowFunction {
    fn apply(self, times: &TimestampMicrosecondArray, lengths: &[i64]) -> Result<ArrayRef> {
        if lengths.iter().rev().skip(usize::from(self != Self::HopEnd)).any(|l| *l <= 0) {
            return exec_err!("the lengths of a window must be positive");
        }
        let one = |f: &dyn Fn(i64) -> i64| -> ArrayRef {
            let out: PrimitiveArray<TimestampMicrosecondType> = times.unary(f);
            Arc::new(out.with_data_type(times.data_type().clone()))
        };
        Ok(match (self, lengths) {
            (Self::TumbleStart, &[size, offset]) => one(&|t| floor(t, size, offset)),
            (Self::TumbleEnd, &[size, offset]) => {
                one(&|t| floor(t, size, offset).wrapping_add(size))
            }
            (Self::HopEnd, &[size]) => one(&|t| t.wrapping_add(size)),
            (Self::CumulateStart, &[size, offset]) => {
                one(&|t| floor(t.wrapping_sub(1), size, offset))
            }
            (Self::Hop, &[slide, size, offset]) => many(times, |t, out| {
                let last = floor(t, slide, offset);
                // How many windows reach back far enough to hold the time.
                let count = (last.wrapping_add(size).wrapping_sub(t) + slide - 1) / slide;
                out.extend((0..count).rev().map(|k| last.wrapping_sub(k * slide)));
            })?,
            (Self::Cumulate, &[step, size, offset]) => many(times, |t, out| {
                let start = floor(t, size, offset);
                let first = t.wrapping_sub(start) / step + 1;
                out.extend((first..=size / step).map(|j| start.wrapping_add(j * step)));
            })?,
            _ => return internal_err!("a window function with other lengths than it has"),
        })
    }
}

/// A list per time; none for a null.
fn many(
    times: &TimestampMicrosecondArray,
    windows: impl Fn(i64, &mut Vec<i64>),
) -> Result<ArrayRef> {
    let mut values = Vec::with_capacity(times.len() * 2);
    let mut offsets = Vec::with_capacity(times.len() + 1);
    offsets.push(0i32);
    for i in 0..times.len() {
        if !times.is_null(i) {
            windows(times.value(i), &mut values);
        }
        let Ok(end) = i32::try_from(values.len()) else {
            return exec_err!("one batch falls into more than 2147483647 windows");
        };
        offsets.push(end);
    }
    let values = TimestampMicrosecondArray::new(ScalarBuffer::from(values), None)
        .with_data_type(times.data_type().clone());
    Ok(Arc::new(ListArray::try_new(
        item(times.data_type()),
        OffsetBuffer::new(ScalarBuffer::from(offsets)),
        Arc::new(values),
        times.nulls().cloned(),
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(function: WindowFunction, time: i64, lengths: &[i64]) -> Vec<i64> {
        let times = TimestampMicrosecondArray::from(vec![time]);
        let out = function.apply(&times, lengths).expect("valid lengths");
        out.as_list::<i32>().value(0).as_primitive::<TimestampMicrosecondType>().values().to_vec()
    }

    #[test]
    fn windows_hold_their_time() {
        for time in -50..50 {
            for (slide, size, offset) in [(3, 9, 0), (3, 10, 1), (5, 5, 2), (7, 3, 0)] {
                let found = lists(WindowFunction::Hop, time, &[slide, size, offset]);
                let expected: Vec<i64> = (-100..100)
                    .map(|k| k * slide + offset)
                    .filter(|s| *s <= time && time < s + size)
                    .collect();
                assert_eq!(found, expected, "time {time} hop {slide} {size} {offset}");
            }
            let found = lists(WindowFunction::Cumulate, time, &[3, 9, 1]);
            let start = floor(time, 9, 1);
            let expected: Vec<i64> =
                (1..=3).map(|j| start + 3 * j).filter(|end| time < *end).collect();
            assert_eq!(found, expected, "time {time} cumulate");
        }
    }
}
