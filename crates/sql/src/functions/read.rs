//! Texts as times, intervals and `numeric`, in the forms of PostgreSQL: what casts of text to them become in a plan.
//! Nobody calls it by name.
//!
//! What must hold: a text means the same in a query, in `INSERT`, in `COPY` and in an event. Only events and `COPY`
//! take a number for a time.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Date32Array, Decimal128Array, IntervalMonthDayNanoArray, StringViewArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use yeoul_batch::text::{Decimal, Misfit, parse_date, parse_instant, parse_interval, parse_time};

use super::uuid::each;
use crate::assign::misread;

/// Whether texts are read here as values of the type.
pub(crate) fn is_read(to: &DataType) -> bool {
    matches!(
        to,
        DataType::Timestamp(TimeUnit::Microsecond, _)
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Interval(IntervalUnit::MonthDayNano)
            | DataType::Decimal128(..)
    )
}

/// The value of each text; what is none goes to `misfit`, with its row.
pub(crate) fn read<E>(
    texts: &StringViewArray,
    to: &DataType,
    mut misfit: impl FnMut(usize, Misfit) -> Result<(), E>,
) -> Result<ArrayRef, E> {
    macro_rules! values {
        ($array:ty, $read:expr) => {{
            let read = $read;
            let each = texts.iter().enumerate().map(|(row, text)| match text.map(&read) {
                None => Ok(None),
                Some(Ok(value)) => Ok(Some(value)),
                Some(Err(why)) => misfit(row, why).map(|()| None),
            });
            each.collect::<Result<$array, E>>()?
        }};
    }
    let invalid = Misfit::Invalid;
    Ok(match to {
        DataType::Date32 => {
            Arc::new(values!(Date32Array, |text: &str| parse_date(text).ok_or(invalid)))
        }
        DataType::Time64(_) => {
            Arc::new(values!(Time64MicrosecondArray, |text: &str| parse_time(text).ok_or(invalid)))
        }
        DataType::Interval(_) => Arc::new(values!(IntervalMonthDayNanoArray, parse_interval)),
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            let numbers = values!(Decimal128Array, |text: &str| {
                let number = Decimal::parse(text.trim_ascii().as_bytes()).ok_or(invalid)?;
                number.rounded(precision, scale).ok_or(Misfit::OutOfRange)
            });
            Arc::new(numbers.with_data_type(to.clone()))
        }
        _ => {
            let zone = match to {
                DataType::Timestamp(_, zone) => zone.clone(),
                _ => None,
            };
            let zoned = zone.is_some();
            let times = values!(TimestampMicrosecondArray, |text: &str| {
                parse_instant(text, zoned).ok_or(invalid)
            });
            Arc::new(times.with_timezone_opt(zone))
        }
    })
}

/// A cast of the text `expr` to the type of `field`. What is no value of it is an error, or null where `safe`.
pub(crate) fn cast_text(expr: Expr, field: &FieldRef, safe: bool) -> Result<Expr> {
    let call = Read {
        field: Arc::new(Field::new("", field.data_type().clone(), true)),
        safe,
        signature: Signature::any(1, Volatility::Immutable),
    };
    if let Expr::Literal(value, _) = &expr {
        let value = call.of(&value.to_array()?)?;
        return Ok(Expr::Literal(ScalarValue::try_from_array(&value, 0)?, None));
    }
    Ok(ScalarUDF::new_from_impl(call).call(vec![expr]))
}

/// What an expression of this module stands for.
pub(crate) fn stands_for(expr: &Expr) -> Option<Expr> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    let (read, [arg]) = (func.inner().downcast_ref::<Read>()?, &args[..]) else { return None };
    let (arg, data_type) = (Box::new(arg.clone()), read.field.data_type().clone());
    Some(match read.safe {
        true => Expr::TryCast(TryCast::new(arg, data_type)),
        false => Expr::Cast(Cast::new(arg, data_type)),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Read {
    field: FieldRef,
    safe: bool,
    signature: Signature,
}

impl Read {
    fn of(&self, texts: &ArrayRef) -> Result<ArrayRef> {
        let texts = cast(texts, &DataType::Utf8View)?;
        let texts = texts.as_string_view();
        read(texts, self.field.data_type(), |row, why| match self.safe {
            true => Ok(()),
            false => {
                let error = misread(texts.value(row), why, &self.field);
                Err(DataFusionError::External(Box::new(error)))
            }
        })
    }
}

impl ScalarUDFImpl for Read {
    fn name(&self) -> &str {
        "read_text"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.first().map_or_else(String::new, |arg| arg.schema_name().to_string()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = self.safe || args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(Field::clone(&self.field).with_nullable(nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        each(&args, |array| self.of(&datafusion::arrow::array::make_array(array.to_data())))
    }
}
