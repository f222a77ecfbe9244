//! `to_char(time, pattern)` and `to_timestamp(seconds)`: DataFusion's, asked in microseconds.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, TimestampMicrosecondType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result};
use datafusion::functions::datetime::{to_char, to_timestamp};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::out_of_range;
use crate::datatype;
use crate::functions::interval::over;

pub(super) fn all() -> [Arc<ScalarUDF>; 2] {
    let signature = || Signature::user_defined(Volatility::Immutable);
    let to_char = ToChar { whole: to_char(), signature: signature() };
    let mut in_utc = ConfigOptions::default();
    in_utc.execution.time_zone = Some("UTC".to_owned());
    let to_timestamp = ToTimestamp { whole: to_timestamp(&in_utc), signature: signature() };
    [ScalarUDF::new_from_impl(to_char), ScalarUDF::new_from_impl(to_timestamp)].map(Arc::new)
}

/// The types that `whole` takes for arguments of `arg_types`.
fn coerced(whole: &ScalarUDF, arg_types: &[DataType]) -> Result<Vec<DataType>> {
    let fields: Vec<_> =
        arg_types.iter().map(|t| Arc::new(Field::new("", t.clone(), true))).collect();
    let fields = fields_with_udf(&fields, whole)?;
    Ok(fields.iter().map(|field| field.data_type().clone()).collect())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    whole: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for ToChar {
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
        self.whole.return_type(arg_types)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [time @ DataType::Timestamp(..), pattern] if datatype::is_string(pattern) => {
                let zoned = matches!(time, DataType::Timestamp(_, Some(_)));
                let time = if zoned { datatype::timestamptz() } else { datatype::timestamp() };
                Ok(vec![time, DataType::Utf8])
            }
            _ => coerced(&self.whole, arg_types),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.whole.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.whole.documentation()
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToTimestamp {
    whole: Arc<ScalarUDF>,
    signature: Signature,
}

/// Seconds since 1970 rounded to microseconds.
fn rounded(seconds: f64) -> Result<i64> {
    let us = (seconds * 1_000_000.0).round_ties_even();
    // The greatest double below 2⁶³ is far below it.
    #[expect(clippy::cast_precision_loss, reason = "it is a power of two")]
    let fits = us >= i64::MIN as f64 && us < -(i64::MIN as f64);
    if !fits {
        return Err(out_of_range());
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is in the range of an i64")]
    Ok(us as i64)
}

impl ScalarUDFImpl for ToTimestamp {
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
        match arg_types {
            [DataType::Float64] => Ok(datatype::timestamptz()),
            _ => self.whole.return_type(arg_types),
        }
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [seconds] if seconds.is_numeric() => Ok(vec![DataType::Float64]),
            _ => coerced(&self.whole, arg_types),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if !matches!(args.arg_fields.as_slice(), [f] if *f.data_type() == DataType::Float64) {
            return self.whole.invoke_with_args(args);
        }
        over(&args, |columns| {
            let seconds = columns[0].as_primitive::<Float64Type>();
            let times = seconds
                .try_unary::<_, TimestampMicrosecondType, DataFusionError>(rounded)?
                .with_timezone("UTC");
            Ok(Arc::new(times) as ArrayRef)
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.whole.documentation()
    }
}
