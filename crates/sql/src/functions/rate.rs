//! `ctr(clicks, impressions)`, `wilson_lower(successes, trials [, z])`, `wilson_upper(…)`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use yeoul_functions::{WILSON_Z, ctr, wilson_lower, wilson_upper};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Rate {
    Ctr,
    Lower,
    Upper,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RateUdf {
    rate: Rate,
    signature: Signature,
}

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [Rate::Ctr, Rate::Lower, Rate::Upper]
        .into_iter()
        .map(|rate| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(RateUdf { rate, signature }))
        })
        .collect()
}

/// The type the kernels read: whole numbers stay whole, everything else is a double.
fn kernel_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        t if t.is_integer() || *t == DataType::Null => Some(DataType::Int64),
        t if t.is_numeric() => Some(DataType::Float64),
        _ => None,
    }
}

impl ScalarUDFImpl for RateUdf {
    fn name(&self) -> &str {
        match self.rate {
            Rate::Ctr => "ctr",
            Rate::Lower => "wilson_lower",
            Rate::Upper => "wilson_upper",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let (most, shape) = match self.rate {
            Rate::Ctr => (2, "(clicks, impressions)"),
            Rate::Lower | Rate::Upper => (3, "(successes, trials [, z])"),
        };
        if arg_types.len() < 2 || arg_types.len() > most {
            return plan_err!("function \"{}\" is called as {}{shape}", self.name(), self.name());
        }
        let mut types = Vec::with_capacity(arg_types.len());
        for (i, t) in arg_types.iter().enumerate() {
            match kernel_type(t) {
                Some(_) if i == 2 => types.push(DataType::Float64),
                Some(t) => types.push(t),
                None => {
                    return plan_err!("function \"{}\" takes numbers, not {t}", self.name());
                }
            }
        }
        Ok(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let z = match args.args.get(2) {
            None => WILSON_Z,
            Some(ColumnarValue::Scalar(ScalarValue::Float64(Some(z)))) if *z >= 0.0 => *z,
            Some(_) => {
                return exec_err!("the z of \"{}\" must be one number, not negative", self.name());
            }
        };
        let rows = if constant { 1 } else { args.number_rows };
        let part = args.args[0].to_array(rows)?;
        let whole = args.args[1].to_array(rows)?;
        let out = self.rates(&part, &whole, z)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(out)))
    }
}

impl RateUdf {
    fn rates(
        &self,
        part: &dyn Array,
        whole: &dyn Array,
        z: f64,
    ) -> Result<Float64Array, ArrowError> {
        // The optimiser may hand over types that were never coerced (constants it folds).
        let known = |a: &dyn Array| matches!(a.data_type(), DataType::Int64 | DataType::Float64);
        if !(known(part) && known(whole)) {
            let part = cast(part, &DataType::Float64)?;
            let whole = cast(whole, &DataType::Float64)?;
            return self.rates(&part, &whole, z);
        }
        match self.rate {
            Rate::Ctr => ctr(part, whole),
            Rate::Lower => wilson_lower(part, whole, z),
            Rate::Upper => wilson_upper(part, whole, z),
        }
    }
}
