//! Floats by which rows are told apart, as PostgreSQL sees them: -0 is 0, and every NaN is the same.
//!
//! A float may be -0 or one of many NaNs, and keys and sets compare bits. Nobody calls this by name.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::functions;

/// `expr`, a float, with one 0 and one NaN: for keys and sets.
pub(crate) fn one_form(expr: Expr) -> Expr {
    call(expr, true)
}

/// `expr`, a float, with one NaN, which is the greatest: for what is ordered by bits.
pub(crate) fn one_nan(expr: Expr) -> Expr {
    call(expr, false)
}

fn call(expr: Expr, zeros: bool) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(OneForm { zeros, signature }).call(vec![expr])
}

/// What is brought into one form.
pub(crate) fn stands_for(expr: &Expr) -> Option<Expr> {
    let Expr::ScalarFunction(call) = expr else { return None };
    call.func.inner().downcast_ref::<OneForm>().and_then(|_| call.args.first().cloned())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OneForm {
    /// Whether -0 becomes 0.
    zeros: bool,
    signature: Signature,
}

impl ScalarUDFImpl for OneForm {
    fn name(&self) -> &str {
        if self.zeros { "one_form" } else { "one_nan" }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.first().map_or_else(String::new, |arg| arg.schema_name().to_string()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::clone(&args.arg_fields[0]))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // -0 + 0 is 0, and -0 - 0 is -0.
        let (zero32, zero64) = if self.zeros { (0.0, 0.0) } else { (-0.0, -0.0) };
        functions::each(&args, |array| {
            let out: ArrayRef = match array.data_type() {
                DataType::Float32 => {
                    let form = |v: f32| if v.is_nan() { f32::NAN } else { v + zero32 };
                    Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(form))
                }
                DataType::Float64 => {
                    let form = |v: f64| if v.is_nan() { f64::NAN } else { v + zero64 };
                    Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(form))
                }
                other => return exec_err!("{} takes floats, not {other}", self.name()),
            };
            Ok(out)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Float64Array;
    use datafusion::arrow::datatypes::Field;
    use datafusion::common::config::ConfigOptions;

    #[test]
    fn zeros_and_nans_have_one_form() {
        let given = [Some(-0.0), Some(0.0), Some(-f64::NAN), None, Some(-1.5)];
        let bits = |v: f64| Some(v.to_bits());
        for (zeros, zero) in [(true, 0.0), (false, -0.0)] {
            let signature = Signature::any(1, Volatility::Immutable);
            let field = Arc::new(Field::new("x", DataType::Float64, true));
            let args = ScalarFunctionArgs {
                args: vec![ColumnarValue::Array(Arc::new(Float64Array::from(given.to_vec())))],
                arg_fields: vec![Arc::clone(&field)],
                number_rows: given.len(),
                return_field: field,
                config_options: Arc::new(ConfigOptions::default()),
            };
            let found = OneForm { zeros, signature }.invoke_with_args(args).expect("floats");
            let found = found.to_array(given.len()).expect("an array");
            let found = found.as_primitive::<Float64Type>().iter().map(|v| v.map(f64::to_bits));
            let expected = [bits(zero), bits(0.0), bits(f64::NAN), None, bits(-1.5)];
            assert_eq!(found.collect::<Vec<_>>(), expected);
        }
    }
}
