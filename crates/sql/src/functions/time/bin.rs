//! `date_bin(stride, time [, origin])`: the last of the times that are `stride` apart, one of them the origin.
//!
//! Strides of months are counted by the calendar, those of days and less have a fixed length.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::functions::datetime::date_bin;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use yeoul_batch::{date_of, days_in_month, days_of};

use super::{DAY_US, error, micros, micros_type, out_of_range};
use crate::error::ErrorKind;
use crate::functions::interval::over;

/// How far binned times are apart.
#[derive(Clone, Copy)]
enum Stride {
    Length(i64),
    Months(i64),
}

fn stride(interval: IntervalMonthDayNano) -> Result<Stride> {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let refused = |message: &str| Err(error(ErrorKind::InvalidOption, message));
    if months != 0 {
        return match days == 0 && nanoseconds == 0 && months > 0 {
            true => Ok(Stride::Months(i64::from(months))),
            false => refused("the stride of date_bin is of months alone, or of days and less"),
        };
    }
    let us = i64::from(days).checked_mul(DAY_US);
    match us.and_then(|us| us.checked_add(nanoseconds / 1_000)) {
        Some(us) if us > 0 => Ok(Stride::Length(us)),
        _ => refused("the stride of date_bin is greater than zero"),
    }
}

/// `origin` and so many months, on the last day of the month where there is no such day.
fn months_after(origin: i64, months: i64) -> Option<i64> {
    let (year, month, day) = date_of(origin.div_euclid(DAY_US));
    let all = (year * 12 + month - 1).checked_add(months)?;
    let (year, month) = (all.div_euclid(12), all.rem_euclid(12) + 1);
    let days = days_of(year, month, day.min(days_in_month(year, month)));
    days.checked_mul(DAY_US)?.checked_add(origin.rem_euclid(DAY_US))
}

impl Stride {
    fn floor(self, us: i64, origin: i64) -> Option<i64> {
        match self {
            Self::Length(length) => {
                let apart = i128::from(us) - i128::from(origin);
                let length = i128::from(length);
                i64::try_from(i128::from(us) - apart.rem_euclid(length)).ok()
            }
            Self::Months(length) => {
                let month = |us: i64| {
                    let (year, month, _) = date_of(us.div_euclid(DAY_US));
                    year * 12 + month
                };
                let many = (month(us) - month(origin)).div_euclid(length);
                let found = months_after(origin, many * length)?;
                if found <= us { Some(found) } else { months_after(origin, (many - 1) * length) }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateBin {
    whole: Arc<ScalarUDF>,
    signature: Signature,
}

pub(super) fn date_bin_utc() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(DateBin { whole: date_bin(), signature }))
}

impl ScalarUDFImpl for DateBin {
    fn name(&self) -> &str {
        self.whole.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[1].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if let Some(Some(ScalarValue::IntervalMonthDayNano(Some(interval)))) =
            args.scalar_arguments.first()
        {
            stride(*interval)?;
        }
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), args.arg_fields[1].data_type().clone(), nullable)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        if let [_, time @ (DataType::Time32(_) | DataType::Time64(_)), origin @ ..] = arg_types {
            let origin = origin.iter().map(|_| time.clone());
            return Ok([interval, time.clone()].into_iter().chain(origin).collect());
        }
        let times = match arg_types {
            [_, times @ ..] if (1..=2).contains(&times.len()) => times,
            _ => &[],
        };
        match times.first().and_then(micros_type) {
            // The origin is a time of the same kind.
            Some(time) => {
                Ok(std::iter::once(interval).chain(times.iter().map(|_| time.clone())).collect())
            }
            None => plan_err!(
                "function \"date_bin\" takes an interval, a time and an origin: \
                 date_bin('15 minutes', ts, TIMESTAMP '2001-01-01')"
            ),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::Timestamp(_, zone) = args.return_field.data_type().clone() else {
            return self.whole.invoke_with_args(args);
        };
        over(&args, |columns| {
            let strides = columns[0].as_primitive::<IntervalMonthDayNanoType>();
            let (times, origins) = (micros(&columns[1])?, columns.get(2).map(micros).transpose()?);
            let times = times.as_primitive::<TimestampMicrosecondType>();
            let origins =
                origins.as_ref().map(|origins| origins.as_primitive::<TimestampMicrosecondType>());
            let mut last = None;
            let each = strides.iter().zip(times).enumerate().map(|(row, pair)| {
                let origin = match origins {
                    Some(origins) => origins.is_valid(row).then(|| origins.value(row)),
                    None => Some(0),
                };
                let (Some(interval), Some(us), Some(origin)) = (pair.0, pair.1, origin) else {
                    return Ok(None);
                };
                let stride = match last {
                    Some((of, stride)) if of == interval => stride,
                    _ => stride(interval)?,
                };
                last = Some((interval, stride));
                stride.floor(us, origin).ok_or_else(out_of_range).map(Some)
            });
            let binned: PrimitiveArray<TimestampMicrosecondType> = each.collect::<Result<_>>()?;
            Ok(Arc::new(binned.with_timezone_opt(zone.clone())) as ArrayRef)
        })
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.whole.inner().output_ordering(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{IntervalMonthDayNanoArray, TimestampMicrosecondArray};
    use datafusion::config::ConfigOptions;

    use crate::datatype;

    fn call(
        function: &ScalarUDF,
        stride: IntervalMonthDayNano,
        time: i64,
        origin: ScalarValue,
    ) -> Result<i64> {
        let time = ScalarValue::TimestampMicrosecond(Some(time), None);
        let interval = ScalarValue::IntervalMonthDayNano(Some(stride));
        let args = [interval, time, origin];
        let field = |value: &ScalarValue| Arc::new(Field::new("a", value.data_type(), true));
        let args = ScalarFunctionArgs {
            arg_fields: args.iter().map(field).collect(),
            args: args.into_iter().map(ColumnarValue::Scalar).collect(),
            number_rows: 1,
            return_field: Arc::new(Field::new("r", datatype::timestamp(), true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let out = function.invoke_with_args(args)?.into_array(1)?;
        Ok(out.as_primitive::<TimestampMicrosecondType>().value(0))
    }

    #[test]
    fn agrees_with_datafusion_where_nanoseconds_reach() {
        let mut state = 7u64;
        let mut next = |below: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 1).cast_signed() >> 11) % below
        };
        let reach = 200 * 365 * DAY_US;
        for round in 0..4_000 {
            let (time, origin) = (next(reach), next(reach / 4));
            let stride = match round % 2 {
                0 => IntervalMonthDayNano::new(0, 0, (1 + next(DAY_US * 9).abs()) * 1_000),
                _ => IntervalMonthDayNano::new(1 + i32::try_from(next(30).abs()).unwrap(), 0, 0),
            };
            // DataFusion clamps a month's end by another rule.
            let origin = if round % 2 == 0 { origin } else { origin - origin % DAY_US };
            let origin = match date_of(origin.div_euclid(DAY_US)) {
                (_, _, 29..) if round % 2 == 1 => 0,
                _ => origin,
            };
            let ours = ScalarValue::TimestampMicrosecond(Some(origin), None);
            let theirs = ScalarValue::TimestampNanosecond(Some(origin * 1_000), None);
            let found = call(&date_bin_utc(), stride, time, ours).unwrap();
            let expected = call(&date_bin(), stride, time, theirs).unwrap();
            assert_eq!(found, expected, "{stride:?} {time} {origin}");
        }
    }

    #[test]
    fn strides_that_are_none_are_refused() {
        let column = IntervalMonthDayNanoArray::from(vec![
            IntervalMonthDayNano::new(0, 0, 0),
            IntervalMonthDayNano::new(0, -1, 0),
            IntervalMonthDayNano::new(1, 1, 0),
            IntervalMonthDayNano::new(-1, 0, 0),
            IntervalMonthDayNano::new(0, 0, 999),
        ]);
        for interval in column.values() {
            assert!(stride(*interval).is_err(), "{interval:?}");
        }
        let far = TimestampMicrosecondArray::from(vec![i64::MIN + 5]);
        assert!(Stride::Length(10).floor(far.value(0), 0).is_none());
        assert_eq!(Stride::Length(10).floor(i64::MAX, i64::MIN), Some(i64::MAX - 5));
    }
}
