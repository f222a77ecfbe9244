//! What `unnest` is given, asked for its type: see `rewrite/unnested.rs`. Never run.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::datatype;

/// The name of the function.
pub(crate) const LIST_ARGUMENT: &str = "unnest_argument";
/// What stands before the type that is no list.
pub(crate) const NOT_A_LIST: &str = "unnest takes no ";

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListArgument(Signature);

/// `unnest_argument(list)`
pub(super) fn argument() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(ListArgument(signature)))
}

impl ScalarUDFImpl for ListArgument {
    fn name(&self) -> &str {
        LIST_ARGUMENT
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [t] if t.is_nested() => Ok(vec![t.clone()]),
            [t] => plan_err!("{NOT_A_LIST}{}\n", datatype::sql_type_name(t)),
            _ => plan_err!("unnest takes one list"),
        }
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{LIST_ARGUMENT} is only planned")
    }
}
