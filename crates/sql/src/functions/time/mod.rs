//! Times, computed in microseconds: DataFusion computes in nanoseconds, which hold the years 1677 to 2262 alone.
//!
//! | function | what |
//! |---|---|
//! | `date_trunc` | [`trunc`]: by our calendar, any year |
//! | `date_bin` | [`bin`]: the same |
//! | `timezone(zone, time)`, written `time AT TIME ZONE zone` | [`zone`]: between a `timestamptz` and the clock on a wall |
//! | `to_char`, `to_timestamp` | [`wrapped`]: DataFusion's, asked in microseconds |
//! | `make_timestamp`, `make_timestamptz` | [`made`] |
//!
//! What must hold: a time of any year that a column holds has an answer, unless the answer is itself beyond what
//! microseconds hold; then it is the error `22008`.

mod bin;
mod made;
mod trunc;
mod wrapped;
mod zone;

pub(crate) use trunc::cut;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ReturnFieldArgs, ScalarUDF};

use crate::datatype;
use crate::error::{ErrorKind, SqlError};

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let mut all = vec![trunc::date_trunc_utc(), bin::date_bin_utc(), zone::timezone()];
    all.extend(wrapped::all());
    all.extend(made::all());
    all
}

fn error(kind: ErrorKind, message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(kind, message)))
}

fn out_of_range() -> DataFusionError {
    error(ErrorKind::TimeOutOfRange, "timestamp out of range")
}

/// The type in which a time of the type `given` is computed; `None` when it is no time.
fn micros_type(given: &DataType) -> Option<DataType> {
    match given {
        DataType::Timestamp(_, Some(_)) => Some(datatype::timestamptz()),
        DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => {
            Some(datatype::timestamp())
        }
        // A text in the statement, or NULL.
        t if datatype::is_string(t) || *t == DataType::Null => Some(datatype::timestamptz()),
        _ => None,
    }
}

/// Times in microseconds since 1970, whatever their zone.
fn micros(times: &ArrayRef) -> Result<ArrayRef> {
    Ok(match times.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let plain = times.as_primitive::<TimestampMicrosecondType>().clone();
            Arc::new(plain.with_timezone_opt(None::<&str>))
        }
        _ => cast(times, &datatype::timestamp())?,
    })
}

/// The argument at a place, where it is a text in the statement.
fn constant_text<'a>(args: &'a ReturnFieldArgs<'_>, at: usize) -> Option<&'a str> {
    let scalar: &ScalarValue = (*args.scalar_arguments.get(at)?)?;
    scalar.try_as_str().flatten()
}
