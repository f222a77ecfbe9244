//! `generate_series(from, to[, step])` as a list: of bigints, or of times by an interval.
//!
//! What must hold: a step is added to the value before it, as PostgreSQL does it: a month after January 31st
//! is February 28th, and a month after that March 28th. A list is bounded by [`SERIES_MAX`].

use std::sync::Arc;

use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{
    DataType, Field, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::datatype;
use crate::error::{ErrorKind, SqlError};

/// The most values of one series: what a row is multiplied by is bounded, 8 MB of values.
const SERIES_MAX: usize = 1_000_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    signature: Signature,
}

pub(super) fn series() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Series { signature }))
}

impl ScalarUDFImpl for Series {
    fn name(&self) -> &'static str {
        "generate_series"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let whole = |t: &DataType| t.is_integer() || *t == DataType::Null;
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        match types {
            [_, _] | [_, _, _] if types.iter().all(whole) => Ok(vec![DataType::Int64; types.len()]),
            [from, to, step]
                if (from.is_temporal() || to.is_temporal())
                    && matches!(step, DataType::Interval(_) | DataType::Duration(_)) =>
            {
                let zoned = |t: &DataType| matches!(t, DataType::Timestamp(_, Some(_)));
                let time = match zoned(from) || zoned(to) {
                    true => datatype::timestamptz(),
                    false => datatype::timestamp(),
                };
                Ok(vec![time.clone(), time, interval])
            }
            _ => plan_err!(
                "generate_series takes two whole numbers and a step, or two times and an interval"
            ),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let element = types.first().cloned().unwrap_or(DataType::Int64);
        Ok(DataType::List(Arc::new(Field::new_list_field(element, true))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let args = ColumnarValue::values_to_arrays(&args.args)?;
        let args = match args.first() {
            // All of them are constants: one row is all rows.
            Some(first) if first.len() != rows => {
                let all = args.iter().map(|a| repeated(a, rows));
                all.collect::<Result<Vec<_>>>()?
            }
            _ => args,
        };
        let lists = match args[0].data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => times(&args)?,
            _ => numbers(&args)?,
        };
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}

fn repeated(array: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    let first = datafusion::common::ScalarValue::try_from_array(array, 0)?;
    first.to_array_of_size(rows)
}

fn invalid(message: &str) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(ErrorKind::OutOfRange, message)))
}

fn too_long() -> DataFusionError {
    let error = SqlError::new(
        ErrorKind::TooComplex,
        format!("generate_series gives at most {SERIES_MAX} values for one row"),
    );
    DataFusionError::External(Box::new(error.hint("a longer step gives fewer values")))
}

/// The lists of all rows; a row of which an argument is null has none.
fn lists<T>(
    args: &[ArrayRef],
    mut row: impl FnMut(usize, &mut Vec<T>) -> Result<()>,
) -> Result<(Vec<T>, OffsetBuffer<i32>, Option<NullBuffer>)> {
    let mut values = Vec::new();
    let mut lengths = Vec::with_capacity(args[0].len());
    let nulls = args.iter().fold(None, |all, a| NullBuffer::union(all.as_ref(), a.nulls()));
    for at in 0..args[0].len() {
        let before = values.len();
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(at)) {
            row(at, &mut values)?;
        }
        lengths.push(values.len() - before);
    }
    if i32::try_from(values.len()).is_err() {
        return Err(too_long());
    }
    Ok((values, OffsetBuffer::from_lengths(lengths), nulls))
}

fn numbers(args: &[ArrayRef]) -> Result<ListArray> {
    let column = |at: usize| args[at].as_primitive::<Int64Type>();
    let (from, to) = (column(0), column(1));
    let (values, offsets, nulls) = lists(args, |row, values| {
        let step = if args.len() > 2 { column(2).value(row) } else { 1 };
        if step == 0 {
            return Err(invalid("the step of generate_series is not 0"));
        }
        let (mut next, to) = (from.value(row), to.value(row));
        let before = values.len();
        while if step > 0 { next <= to } else { next >= to } {
            if values.len() - before == SERIES_MAX {
                return Err(too_long());
            }
            values.push(next);
            match next.checked_add(step) {
                Some(more) => next = more,
                None => break,
            }
        }
        Ok(())
    })?;
    let element = Arc::new(Field::new_list_field(DataType::Int64, true));
    Ok(ListArray::try_new(element, offsets, Arc::new(Int64Array::from(values)), nulls)?)
}

fn times(args: &[ArrayRef]) -> Result<ListArray> {
    let column = |at: usize| args[at].as_primitive::<TimestampMicrosecondType>();
    let (from, to) = (column(0), column(1));
    let steps = args[2].as_primitive::<IntervalMonthDayNanoType>();
    let utc: Tz = "+00:00".parse()?;
    let (values, offsets, nulls) = lists(args, |row, values| {
        let step = steps.value(row);
        let forward = match nanoseconds(step) {
            0 => return Err(invalid("the step of generate_series is not 0")),
            length => length > 0,
        };
        let (mut next, to) = (from.value(row), to.value(row));
        let before = values.len();
        while if forward { next <= to } else { next >= to } {
            if values.len() - before == SERIES_MAX {
                return Err(too_long());
            }
            values.push(next);
            let more = TimestampMicrosecondType::add_month_day_nano(next, step, utc);
            next = more.ok_or_else(|| invalid("generate_series leaves the range of times"))?;
        }
        Ok(())
    })?;
    let zone = from.timezone().map(Arc::<str>::from);
    let values = TimestampMicrosecondArray::from(values).with_timezone_opt(zone);
    let element = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Ok(ListArray::try_new(element, offsets, Arc::new(values), nulls)?)
}

/// How long an interval is about: a month has 30 days.
fn nanoseconds(step: IntervalMonthDayNano) -> i128 {
    const DAY: i128 = 86_400_000_000_000;
    let days = i128::from(step.months) * 30 + i128::from(step.days);
    days * DAY + i128::from(step.nanoseconds)
}
