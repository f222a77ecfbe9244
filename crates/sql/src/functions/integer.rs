//! Whole numbers that never wrap and are never cut: what `+`, `-`, `*`, the minus sign and casts to
//! integers become in a plan. Nobody calls these by name.
//!
//! | in the plan | becomes | which fails |
//! |---|---|---|
//! | `a + b`, `a - b`, `a * b`, `-a` of integers | [`Checked`] | when the result does not fit its type |
//! | `CAST(x AS integer)` of floats and `numeric` | [`Whole`] | when the rounded value does not fit |
//!
//! Both have the names of what they stand for, so that no column is called otherwise.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Datum};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Int16Type, Int32Type, Int64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::expr::{BinaryExpr, Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use crate::error::{ErrorKind, SqlError};
use crate::{datatype, functions, number};

/// A number does not fit the type `data_type`.
pub(crate) fn out_of_range(data_type: &DataType) -> DataFusionError {
    let message = format!("{} out of range", datatype::sql_type_name(data_type));
    DataFusionError::External(Box::new(SqlError::new(ErrorKind::OutOfRange, message)))
}

/// How many bits hold every value of an integer type, its sign aside.
pub(crate) fn type_bits(data_type: &DataType) -> Option<u32> {
    match data_type {
        DataType::Int16 => Some(15),
        DataType::Int32 => Some(31),
        DataType::Int64 => Some(63),
        _ => None,
    }
}

/// How many bits the value has, its sign aside: it is in `-2^bits .. 2^bits`.
pub(crate) fn value_bits(value: i64) -> u32 {
    64 - (value ^ (value >> 63)).leading_zeros()
}

/// As many bits hold every result for values of so many.
pub(crate) fn result_bits(op: Operator, left: u32, right: u32) -> u32 {
    match op {
        Operator::Multiply => left + right + 1,
        _ => left.max(right) + 1,
    }
}

/// `left op right` of two integers of the type `data_type`, which fails when the result is not one.
pub(crate) fn checked(op: Operator, data_type: DataType, left: Expr, right: Expr) -> Expr {
    let signature = Signature::any(2, Volatility::Immutable);
    ScalarUDF::new_from_impl(Checked { op, data_type, signature }).call(vec![left, right])
}

/// The type of a [`checked`] expression.
pub(crate) fn checked_type(expr: &Expr) -> Option<&DataType> {
    let Expr::ScalarFunction(call) = expr else { return None };
    call.func.inner().downcast_ref::<Checked>().map(|checked| &checked.data_type)
}

/// `expr` rounded to a whole number of the type `data_type`. What does not fit is an error, or null
/// where `safe`.
pub(crate) fn whole(expr: Expr, data_type: DataType, safe: bool) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(Whole { data_type, safe, signature }).call(vec![expr])
}

/// What an expression of this module stands for.
pub(crate) fn stands_for(expr: &Expr) -> Option<Expr> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    if let (Some(checked), [left, right]) = (func.inner().downcast_ref::<Checked>(), &args[..]) {
        let (left, right) = (Box::new(left.clone()), Box::new(right.clone()));
        return Some(Expr::BinaryExpr(BinaryExpr { left, op: checked.op, right }));
    }
    let (whole, [arg]) = (func.inner().downcast_ref::<Whole>()?, &args[..]) else { return None };
    let (arg, data_type) = (Box::new(arg.clone()), whole.data_type.clone());
    Some(match whole.safe {
        true => Expr::TryCast(TryCast::new(arg, data_type)),
        false => Expr::Cast(Cast::new(arg, data_type)),
    })
}

/// Null where an argument is, or where it is `nullable` anyway.
fn returned(data_type: &DataType, args: &ReturnFieldArgs, nullable: bool) -> FieldRef {
    let nullable = nullable || args.arg_fields.iter().any(|f| f.is_nullable());
    Arc::new(Field::new("", data_type.clone(), nullable))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    data_type: DataType,
    signature: Signature,
}

impl Checked {
    fn of(&self, left: &dyn Datum, right: &dyn Datum) -> Result<Arc<dyn Array>, ArrowError> {
        let (l, r) = (left.get().0, right.get().0);
        // Most numbers are far from the ends of their type, and the sum that may wrap is a few times faster.
        let bits = result_bits(self.op, array_bits(l), array_bits(r));
        let fits = type_bits(&self.data_type).is_some_and(|most| bits <= most);
        match (self.op, fits) {
            (Operator::Plus, true) => numeric::add_wrapping(left, right),
            (Operator::Plus, false) => numeric::add(left, right),
            (Operator::Minus, true) => numeric::sub_wrapping(left, right),
            (Operator::Minus, false) => numeric::sub(left, right),
            (_, true) => numeric::mul_wrapping(left, right),
            (_, false) => numeric::mul(left, right),
        }
    }
}

/// The most bits that a value of the array has, or more.
fn array_bits(array: &dyn Array) -> u32 {
    fn most<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &dyn Array) -> u32 {
        let values = array.as_primitive::<T>().values();
        let all = values.iter().fold(0, |all, &value| {
            let value: i64 = value.into();
            all | (value ^ (value >> 63))
        });
        value_bits(all)
    }
    match array.data_type() {
        DataType::Int16 => most::<Int16Type>(array),
        DataType::Int32 => most::<Int32Type>(array),
        DataType::Int64 => most::<Int64Type>(array),
        _ => u64::BITS,
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            _ => "checked_multiply",
        }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let [left, right] = args else { return Ok(self.name().to_owned()) };
        Ok(format!("{} {} {}", left.schema_name(), self.op, right.schema_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(returned(&self.data_type, &args, false))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let out = apply(&args.args[0], &args.args[1], |left, right| self.of(left, right));
        out.map_err(|error| match error {
            DataFusionError::ArrowError(e, _)
                if matches!(*e, ArrowError::ArithmeticOverflow(_)) =>
            {
                out_of_range(&self.data_type)
            }
            other => other,
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Whole {
    data_type: DataType,
    safe: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Whole {
    fn name(&self) -> &str {
        "to_integer"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.first().map_or_else(String::new, |arg| arg.schema_name().to_string()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(returned(&self.data_type, &args, self.safe))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        functions::each(&args, |array| {
            let array = datafusion::arrow::array::make_array(array.to_data());
            let options = CastOptions { safe: self.safe, ..CastOptions::default() };
            let whole = number::whole(&array)?;
            cast_with_options(&whole, &self.data_type, &options)
                .map_err(|_| out_of_range(&self.data_type))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Int64Array;

    #[test]
    fn bits_bound_every_result() {
        let values =
            [i64::MIN, i64::MIN + 1, -(1 << 31), -2, -1, 0, 1, 2, 1 << 31, (1 << 32) - 1, i64::MAX];
        for a in values {
            for b in values {
                for (op, exact) in [
                    (Operator::Plus, i128::from(a) + i128::from(b)),
                    (Operator::Minus, i128::from(a) - i128::from(b)),
                    (Operator::Multiply, i128::from(a) * i128::from(b)),
                ] {
                    let bits = result_bits(op, value_bits(a), value_bits(b));
                    let fits = |most: i128| -most <= exact && exact < most;
                    assert!(bits >= 127 || fits(1 << bits), "{a} {op} {b}");
                    let checked = Checked {
                        op,
                        data_type: DataType::Int64,
                        signature: Signature::any(2, Volatility::Immutable),
                    };
                    let (left, right) = (Int64Array::from(vec![a]), Int64Array::from(vec![b]));
                    let out = checked.of(&left, &right).ok();
                    let out = out.map(|out| out.as_primitive::<Int64Type>().value(0));
                    assert_eq!(out, i64::try_from(exact).ok(), "{a} {op} {b}");
                }
            }
        }
    }
}
