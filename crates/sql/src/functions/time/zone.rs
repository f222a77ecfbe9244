//! `timezone(zone, time)`, which `time AT TIME ZONE zone` is: of a `timestamptz` what the clocks of the zone show, of a
//! `timestamp` the instant at which they show it.
//!
//! Where clocks are set forward a time is shown never, and where they are set back twice: both are read as standard
//! time, as PostgreSQL does.

use std::sync::Arc;

use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::functions::datetime::to_local_time;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::{DAY_US, constant_text, micros, micros_type, out_of_range};
use crate::datatype;
use crate::error::{ErrorKind, SqlError};
use crate::functions::interval::over;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Timezone(Signature);

pub(super) fn timezone() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Timezone(signature)))
}

/// A zone by its name.
fn known(zone: &str) -> Result<&str> {
    let refused = |detail: &str| {
        let message = format!("time zone '{zone}' is not known");
        let error = SqlError::new(ErrorKind::InvalidOption, message).detail(detail);
        DataFusionError::External(Box::new(error.hint("write its name: 'Asia/Seoul', 'UTC'")))
    };
    if zone.starts_with(['+', '-']) || zone.starts_with(|c: char| c.is_ascii_digit()) {
        let detail = "PostgreSQL reads the sign of an offset as west, and others as east";
        return Err(refused(detail));
    }
    match zone.parse::<Tz>() {
        Ok(_) => Ok(zone),
        Err(_) => Err(refused("names are those of the IANA time zone database")),
    }
}

/// What clocks of `zone` show at instants.
fn shown(instants: &ArrayRef, zone: &str, args: &ScalarFunctionArgs) -> Result<ArrayRef> {
    let instants = instants.as_primitive::<TimestampMicrosecondType>().clone();
    let rows = instants.len();
    let zoned = instants.with_timezone(zone);
    let field = |data_type: &DataType| Arc::new(Field::new("", data_type.clone(), true));
    let local = to_local_time().invoke_with_args(ScalarFunctionArgs {
        arg_fields: vec![field(zoned.data_type())],
        args: vec![ColumnarValue::Array(Arc::new(zoned))],
        number_rows: rows,
        return_field: field(&datatype::timestamp()),
        config_options: Arc::clone(&args.config_options),
    });
    local.and_then(|local| local.into_array(rows)).map_err(|_| out_of_range())
}

/// The instants at which clocks of `zone` show times, null where they never do or twice.
fn shown_once(times: &TimestampMicrosecondArray, zone: &str) -> Result<TimestampMicrosecondArray> {
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()));
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let found = cast_with_options(times, &zoned, &options)?;
    Ok(found.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<&str>))
}

/// The instants at which clocks of `zone` show times.
fn instants(times: &ArrayRef, zone: &str) -> Result<ArrayRef> {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let once = shown_once(times, zone)?;
    if once.null_count() == times.null_count() {
        return Ok(Arc::new(once));
    }
    // How far the clocks were ahead a day before and a day after; standard time is the lesser of both.
    let ahead = |by: i64| -> Result<Vec<Option<i64>>> {
        let moved = times.unary_opt::<_, TimestampMicrosecondType>(|us| us.checked_add(by));
        let found = shown_once(&moved, zone)?;
        let each = moved.iter().zip(&found);
        Ok(each.map(|(local, instant)| Some(local? - instant?)).collect())
    };
    let (before, after) = (ahead(-DAY_US)?, ahead(DAY_US)?);
    let each = times.iter().zip(&once).zip(before.into_iter().zip(after));
    let each = each.map(|((local, instant), offsets)| match (local, instant, offsets) {
        (Some(local), None, (Some(before), Some(after))) => {
            local.checked_sub(before.min(after)).ok_or_else(out_of_range).map(Some)
        }
        (Some(_), None, _) => Err(out_of_range()),
        (_, instant, _) => Ok(instant),
    });
    Ok(Arc::new(each.collect::<Result<TimestampMicrosecondArray>>()?))
}

impl ScalarUDFImpl for Timezone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match &arg_types[1] {
            DataType::Timestamp(_, Some(_)) => datatype::timestamp(),
            _ => datatype::timestamptz(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if let Some(zone) = constant_text(&args, 0) {
            known(zone)?;
        }
        let types: Vec<_> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            // A date is midnight of it, in UTC.
            [_, DataType::Date32 | DataType::Date64] => {
                Ok(vec![DataType::Utf8, datatype::timestamptz()])
            }
            [zone, time] if datatype::is_string(zone) || *zone == DataType::Null => {
                match micros_type(time) {
                    Some(time) => Ok(vec![DataType::Utf8, time]),
                    None => plan_err!("AT TIME ZONE takes a timestamp or timestamptz"),
                }
            }
            _ => plan_err!("AT TIME ZONE takes the name of a time zone: 'Asia/Seoul'"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_instant = matches!(args.arg_fields[1].data_type(), DataType::Timestamp(_, Some(_)));
        let in_zone = |times: &ArrayRef, zone: &str| match is_instant {
            true => shown(times, known(zone)?, &args),
            false => instants(times, known(zone)?),
        };
        let constant = match &args.args[0] {
            ColumnarValue::Scalar(zone) => Some(zone.try_as_str().flatten()),
            ColumnarValue::Array(_) => None,
        };
        let returned = args.return_field.data_type();
        over(&args, |columns| {
            let times = micros(&columns[1])?;
            let out = match constant {
                Some(Some(zone)) => in_zone(&times, zone)?,
                Some(None) => datafusion::arrow::array::new_null_array(returned, times.len()),
                None => {
                    let zones = columns[0].as_string::<i32>();
                    let each = zones.iter().enumerate().map(|(row, zone)| {
                        let time = times.slice(row, 1);
                        let Some(zone) = zone else { return Ok(None) };
                        let out = in_zone(&time, zone)?;
                        let out = out.as_primitive::<TimestampMicrosecondType>();
                        Ok(out.is_valid(0).then(|| out.value(0)))
                    });
                    Arc::new(each.collect::<Result<TimestampMicrosecondArray>>()?)
                }
            };
            let DataType::Timestamp(_, zone) = returned else { return Ok(out) };
            let out = out.as_primitive::<TimestampMicrosecondType>().clone();
            Ok(Arc::new(out.with_timezone_opt(zone.clone())) as ArrayRef)
        })
    }
}
