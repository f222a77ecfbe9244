//! `make_timestamp(year, month, day, hour, min, sec)`, and `make_timestamptz`, which takes them as of UTC.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use yeoul_batch::{days_in_month, days_of};

use super::{DAY_US, SECOND_US};
use crate::datatype;
use crate::error::{ErrorKind, SqlError};
use crate::functions::interval::over;

/// The greatest year of a date.
const YEAR_MAX: i64 = 294_246;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Make {
    zoned: bool,
    signature: Signature,
}

pub(super) fn all() -> [Arc<ScalarUDF>; 2] {
    [false, true].map(|zoned| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Make { zoned, signature }))
    })
}

fn made(parts: [i64; 5], seconds: f64) -> Result<i64> {
    let [year, month, day, hour, minute] = parts;
    let refused = |what: String| {
        let error = SqlError::new(ErrorKind::TimeOutOfRange, what);
        DataFusionError::External(Box::new(error))
    };
    let is_date = (1..=YEAR_MAX).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day);
    if !is_date {
        return Err(refused(format!("there is no date {year}-{month:02}-{day:02}")));
    }
    let whole_minutes = (0..=24).contains(&hour) && (0..=59).contains(&minute);
    let seconds_us = (seconds * 1_000_000.0).round_ties_even();
    #[expect(clippy::cast_possible_truncation, reason = "what is no second is refused below")]
    let clock_us =
        (hour * 60 + minute).saturating_mul(60 * SECOND_US).saturating_add(seconds_us as i64);
    if !whole_minutes || !(0.0..=60.0).contains(&seconds) || clock_us > DAY_US {
        return Err(refused(format!("there is no time of day {hour}:{minute:02}:{seconds}")));
    }
    Ok(days_of(year, month, day) * DAY_US + clock_us)
}

impl ScalarUDFImpl for Make {
    fn name(&self) -> &str {
        if self.zoned { "make_timestamptz" } else { "make_timestamp" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(if self.zoned { datatype::timestamptz() } else { datatype::timestamp() })
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let fits = |(at, t): (usize, &DataType)| {
            t.is_integer() || *t == DataType::Null || (at == 5 && t.is_numeric())
        };
        if arg_types.len() != 6 || !arg_types.iter().enumerate().all(fits) {
            return plan_err!(
                "function \"{}\" takes whole numbers of year, month, day, hour and min, and a number of sec",
                self.name()
            );
        }
        let of = |at: usize| if at == 5 { DataType::Float64 } else { DataType::Int64 };
        Ok((0..6).map(of).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over(&args, |columns| {
            let wholes: [_; 5] = std::array::from_fn(|at| columns[at].as_primitive::<Int64Type>());
            let seconds = columns[5].as_primitive::<Float64Type>();
            let each = (0..seconds.len()).map(|row| {
                if columns.iter().any(|column| column.is_null(row)) {
                    return Ok(None);
                }
                made(wholes.map(|part| part.value(row)), seconds.value(row)).map(Some)
            });
            let times = each.collect::<Result<TimestampMicrosecondArray>>()?;
            let zone = self.zoned.then_some("UTC");
            Ok(Arc::new(times.with_timezone_opt(zone)) as ArrayRef)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_a_time_or_none() {
        assert_eq!(made([1970, 1, 2, 3, 4], 5.5).unwrap(), DAY_US + 11_045_500_000);
        assert_eq!(made([2024, 2, 29, 24, 0], 0.0).unwrap(), 19_783 * DAY_US);
        for parts in [
            [2023, 2, 29, 0, 0],
            [2023, 13, 1, 0, 0],
            [2023, 0, 1, 0, 0],
            [0, 1, 1, 0, 0],
            [i64::MAX, 1, 1, 0, 0],
            [2023, 1, 1, 25, 0],
            [2023, 1, 1, 0, 60],
            [2023, 1, 1, -1, 0],
        ] {
            assert!(made(parts, 0.0).is_err(), "{parts:?}");
        }
        for seconds in [-0.1, 60.1, f64::NAN, f64::INFINITY] {
            assert!(made([2023, 1, 1, 0, 0], seconds).is_err(), "{seconds}");
        }
        assert!(made([2023, 1, 1, 24, 0], 1.0).is_err());
    }
}
