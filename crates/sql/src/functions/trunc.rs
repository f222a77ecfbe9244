//! `date_trunc(unit, time)`: DataFusion's, but UTC is not looked up in a calendar.
//!
//! Our times are in UTC, where hours and days have a fixed length and months need no time zone.
//! DataFusion asks its time zone library for every row as soon as the type names a zone.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions::datetime::date_trunc;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc {
    whole: Arc<ScalarUDF>,
}

pub(super) fn date_trunc_utc() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(DateTrunc { whole: date_trunc() }))
}

/// The length of a unit in microseconds, when it is the same at any time in UTC.
fn length_us(unit: &str) -> Option<i64> {
    Some(match unit {
        "millisecond" => 1_000,
        "second" => 1_000_000,
        "minute" => 60 * 1_000_000,
        "hour" => 3_600 * 1_000_000,
        "day" => 86_400 * 1_000_000,
        _ => return None,
    })
}

fn is_utc(zone: Option<&Arc<str>>) -> bool {
    zone.is_none_or(|zone| matches!(zone.as_ref(), "UTC" | "+00:00"))
}

impl DateTrunc {
    /// Microseconds in UTC, without the calendar.
    fn utc(
        &self,
        unit: &str,
        times: &ArrayRef,
        zone: Option<&Arc<str>>,
        mut args: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        let times = times.as_primitive::<TimestampMicrosecondType>();
        if let Some(length) = length_us(unit) {
            let floor = |time: i64| {
                time.checked_sub(time.rem_euclid(length)).ok_or_else(|| {
                    ArrowError::ComputeError(format!("timestamp out of range: {time} µs"))
                })
            };
            let floored = times.try_unary::<_, TimestampMicrosecondType, _>(floor)?;
            return Ok(ColumnarValue::Array(Arc::new(floored.with_timezone_opt(zone.cloned()))));
        }
        let plain = times.clone().with_timezone_opt(None::<&str>);
        let field = args.return_field.as_ref().clone();
        args.return_field = Arc::new(field.with_data_type(plain.data_type().clone()));
        args.arg_fields[1] = Arc::clone(&args.return_field);
        args.args[1] = ColumnarValue::Array(Arc::new(plain));
        match self.whole.invoke_with_args(args)? {
            ColumnarValue::Array(array) => {
                let times = array.as_primitive::<TimestampMicrosecondType>().clone();
                Ok(ColumnarValue::Array(Arc::new(times.with_timezone_opt(zone.cloned()))))
            }
            ColumnarValue::Scalar(_) => internal_err!("date_trunc of a column gave one value"),
        }
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.whole.name()
    }

    fn aliases(&self) -> &[String] {
        self.whole.aliases()
    }

    fn signature(&self) -> &Signature {
        self.whole.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.whole.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.whole.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let unit = match args.args.first() {
            Some(ColumnarValue::Scalar(
                ScalarValue::Utf8(Some(text))
                | ScalarValue::Utf8View(Some(text))
                | ScalarValue::LargeUtf8(Some(text)),
            )) => Some(text.to_lowercase()),
            _ => None,
        };
        if let (Some(unit), Some(ColumnarValue::Array(times))) = (unit, args.args.get(1))
            && let DataType::Timestamp(TimeUnit::Microsecond, zone) = times.data_type()
            && is_utc(zone.as_ref())
        {
            let (times, zone) = (Arc::clone(times), zone.clone());
            return self.utc(&unit, &times, zone.as_ref(), args);
        }
        self.whole.invoke_with_args(args)
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.whole.inner().output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.whole.documentation()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::TimestampMicrosecondArray;
    use datafusion::arrow::datatypes::Field;
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
            for zone in [None, Some("UTC"), Some("+00:00"), Some("Asia/Seoul"), Some("+05:30")] {
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
}
