//! `date_trunc(unit, time)` by our calendar: every unit and every year, in UTC, where our times are.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::functions::datetime::date_trunc;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use yeoul_batch::{date_of, days_of};

use super::{DAY_US, SECOND_US, constant_text, error, micros, micros_type, out_of_range};
use crate::error::ErrorKind;
use crate::functions::interval::over;

/// Where the times begin that `date_trunc` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// So many microseconds from each other.
    Length(i64),
    Week,
    /// So many months from each other, `from` months behind the beginning of the year 0.
    Months {
        length: i64,
        from: i64,
    },
}

const UNITS: [(&str, Unit); 13] = [
    ("microsecond", Unit::Length(1)),
    ("millisecond", Unit::Length(1_000)),
    ("second", Unit::Length(SECOND_US)),
    ("minute", Unit::Length(60 * SECOND_US)),
    ("hour", Unit::Length(3_600 * SECOND_US)),
    ("day", Unit::Length(DAY_US)),
    ("week", Unit::Week),
    ("month", Unit::Months { length: 1, from: 0 }),
    ("quarter", Unit::Months { length: 3, from: 0 }),
    ("year", Unit::Months { length: 12, from: 0 }),
    ("decade", Unit::Months { length: 120, from: 0 }),
    // The first century begins with the year 1.
    ("century", Unit::Months { length: 1_200, from: 12 }),
    ("millennium", Unit::Months { length: 12_000, from: 12 }),
];

fn unit(text: &str) -> Result<Unit> {
    let word = text.trim().to_lowercase();
    let singular = word.strip_suffix('s').unwrap_or(&word);
    let found = UNITS.iter().find(|(name, _)| *name == word || *name == singular);
    found.map(|(_, unit)| *unit).ok_or_else(|| {
        let names = UNITS.map(|(name, _)| name).join(", ");
        let message = format!("date_trunc has no unit '{text}'; its units are {names}");
        error(ErrorKind::InvalidOption, message)
    })
}

impl Unit {
    /// The last beginning at or before `us`; `None` when that is no time any more.
    fn floor(self, us: i64) -> Option<i64> {
        let days = match self {
            Self::Length(length) => return us.checked_sub(us.rem_euclid(length)),
            // 1970-01-01 was a Thursday, a week begins on Monday.
            Self::Week => {
                let days = us.div_euclid(DAY_US);
                days - (days + 3).rem_euclid(7)
            }
            Self::Months { length, from } => {
                let (year, month, _) = date_of(us.div_euclid(DAY_US));
                let months = year * 12 + month - 1 - from;
                let floored = months - months.rem_euclid(length) + from;
                days_of(floored.div_euclid(12), floored.rem_euclid(12) + 1, 1)
            }
        };
        days.checked_mul(DAY_US)
    }
}

/// The greatest length of the unit that a call of `date_trunc` cuts times to, and the time; `None` of other calls.
pub(crate) fn cut(call: &ScalarFunction) -> Option<(i64, &Expr)> {
    call.func.inner().downcast_ref::<DateTrunc>()?;
    let [Expr::Literal(text, _), time] = &call.args[..] else { return None };
    let length_us = match unit(text.try_as_str()??).ok()? {
        Unit::Length(length) => length,
        Unit::Week => 7 * DAY_US,
        // No month has more days, and no year but with them.
        Unit::Months { length, .. } => length * 31 * DAY_US,
    };
    Some((length_us, time))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc {
    whole: Arc<ScalarUDF>,
    signature: Signature,
}

pub(super) fn date_trunc_utc() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(DateTrunc { whole: date_trunc(), signature }))
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.whole.name()
    }

    fn aliases(&self) -> &[String] {
        self.whole.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[1].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if let Some(text) = constant_text(&args, 0) {
            unit(text)?;
        }
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), args.arg_fields[1].data_type().clone(), nullable)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let time = match arg_types {
            [_, DataType::Time64(_) | DataType::Time32(_)] => Some(arg_types[1].clone()),
            [_, time] => micros_type(time),
            _ => None,
        };
        match time {
            Some(time) => Ok(vec![DataType::Utf8, time]),
            None => plan_err!("function \"date_trunc\" takes a unit and a time"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if !matches!(args.return_field.data_type(), DataType::Timestamp(..)) {
            return self.whole.invoke_with_args(args);
        }
        let returned = args.return_field.data_type().clone();
        let constant = match &args.args[0] {
            ColumnarValue::Scalar(text) => text.try_as_str().flatten().map(unit).transpose()?,
            ColumnarValue::Array(_) => None,
        };
        over(&args, |columns| {
            let times = micros(&columns[1])?;
            let times = times.as_primitive::<TimestampMicrosecondType>();
            let floor = |unit: Unit, us: i64| unit.floor(us).ok_or_else(out_of_range);
            let floored = match constant {
                Some(unit) => {
                    times.try_unary::<_, TimestampMicrosecondType, DataFusionError>(|us| {
                        floor(unit, us)
                    })?
                }
                None => {
                    let units = columns[0].as_string::<i32>().iter();
                    let each = units.zip(times).map(|pair| match pair {
                        (Some(text), Some(us)) => floor(unit(text)?, us).map(Some),
                        _ => Ok(None),
                    });
                    each.collect::<Result<_>>()?
                }
            };
            let DataType::Timestamp(_, zone) = &returned else {
                return Ok(Arc::new(floored) as ArrayRef);
            };
            Ok(Arc::new(floored.with_timezone_opt(zone.clone())) as ArrayRef)
        })
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.whole.inner().output_ordering(input)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, TimestampMicrosecondArray};
    use datafusion::common::ScalarValue;
    use datafusion::config::ConfigOptions;

    use super::*;

    /// Numbers that look random; the same ones for the same seed.
    fn next(state: &mut u64) -> i64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 1).cast_signed() ^ (*state << 40).cast_signed()
    }

    fn call(function: &ScalarUDF, unit: &str, times: &ArrayRef) -> Result<ArrayRef> {
        let field = Arc::new(Field::new("t", times.data_type().clone(), true));
        let args = ScalarFunctionArgs {
            args: vec![
                ColumnarValue::Scalar(ScalarValue::from(unit)),
                ColumnarValue::Array(Arc::clone(times)),
            ],
            arg_fields: vec![Arc::new(Field::new("u", DataType::Utf8, false)), Arc::clone(&field)],
            number_rows: times.len(),
            return_field: field,
            config_options: Arc::new(ConfigOptions::default()),
        };
        function.invoke_with_args(args)?.into_array(times.len())
    }

    #[test]
    fn agrees_with_the_calendar() {
        let (ours, calendar) = (date_trunc_utc(), date_trunc());
        let units = [
            "microsecond",
            "millisecond",
            "second",
            "minute",
            "Hour",
            "DAY",
            "week",
            "month",
            "quarter",
            "year",
        ];
        // What DataFusion's nanoseconds can hold: 1677 to 2262.
        let reach = i64::MAX / 1_000 - 400 * 86_400 * 1_000_000;
        for seed in 0..20 {
            let mut state = seed;
            let times: TimestampMicrosecondArray = (0..500)
                .map(|i| {
                    let near = 1i64 << (10 + next(&mut state).rem_euclid(53));
                    (i % 11 != 0).then(|| (next(&mut state) % near).clamp(-reach, reach))
                })
                .collect();
            for zone in [None, Some("UTC"), Some("+00:00")] {
                let times: ArrayRef = Arc::new(times.clone().with_timezone_opt(zone));
                for unit in units {
                    let found = call(&ours, unit, &times).expect("in range");
                    let expected = call(&calendar, unit, &times).expect("in range");
                    assert_eq!(&found, &expected, "seed {seed} {zone:?} {unit}");
                }
            }
        }
    }

    #[test]
    fn far_times_are_cut_or_refused() {
        let far = 9_000_000_000_000_000_000_i64;
        let times = |t: i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(vec![t]).with_timezone("UTC"))
        };
        let found = call(&date_trunc_utc(), "hour", &times(far)).expect("fits");
        let hour = 3_600_000_000;
        assert_eq!(found.as_primitive::<TimestampMicrosecondType>().value(0), far / hour * hour);
        let refused =
            call(&date_trunc_utc(), "hour", &times(i64::MIN)).expect_err("below the least");
        assert!(refused.to_string().contains("out of range"), "{refused}");
    }

    #[test]
    fn years_of_every_age_are_cut() {
        let day = |year, month, of| days_of(year, month, of) * DAY_US;
        let check = |text: &str, from: i64, expected: i64| {
            let found = unit(text).expect("a unit").floor(from + 45_296_789_000);
            assert_eq!(found, Some(expected), "{text}");
        };
        check("month", day(9999, 12, 31), day(9999, 12, 1));
        check("quarter", day(1, 3, 5), day(1, 1, 1));
        check("years", day(-43, 3, 15), day(-43, 1, 1));
        check("week", day(1500, 6, 15), day(1500, 6, 11));
        check("decade", day(1999, 6, 15), day(1990, 1, 1));
        check("century", day(2000, 6, 15), day(1901, 1, 1));
        check("century", day(2001, 1, 1), day(2001, 1, 1));
        check("Millennium", day(2000, 12, 31), day(1001, 1, 1));
        assert!(unit("fortnight").is_err());
    }
}
