//! Aggregates of which no state is kept of their own: `array_agg` keeps the values of a group, and the aggregate is evaluated of the list.
//!
//! What must hold: the order within the parentheses is that of the list, and `DISTINCT` and `FILTER` are those of the list.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::logical_expr::expr::{AggregateFunction as LogicalCall, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};

use super::Lowering;
use super::aggregate::is_kept;
use super::expr::Scope;
use crate::error::SqlError;
use crate::functions::OfList;

/// What is made of the list of one call.
pub(super) struct Listed {
    function: Arc<ScalarUDF>,
    constants: Vec<Expr>,
}

impl Listed {
    /// The answer of the call, `list` being its values.
    pub(super) fn of(&self, list: Expr) -> Expr {
        let args = std::iter::once(list).chain(self.constants.iter().cloned()).collect();
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&self.function), args))
    }
}

impl Lowering<'_> {
    /// Makes `array_agg` of each call of an aggregate of one value that has no state of its own.
    pub(super) fn listed(
        &self,
        calls: &mut [Expr],
        scope: &Scope,
    ) -> Result<Vec<Option<Listed>>, SqlError> {
        calls.iter_mut().map(|call| self.listed_call(call, scope)).collect()
    }

    fn listed_call(&self, call: &mut Expr, scope: &Scope) -> Result<Option<Listed>, SqlError> {
        let output = call.get_type(scope.schema()).map_err(|e| self.fail(e))?;
        let Expr::AggregateFunction(LogicalCall { func, params }) = call else { return Ok(None) };
        let Some((value, constants)) = params.args.split_first() else { return Ok(None) };
        let are_constant = constants.iter().all(|arg| matches!(arg, Expr::Literal(..)));
        if is_kept(func.name()) || !are_constant {
            return Ok(None);
        }
        let input = value.get_type(scope.schema()).map_err(|e| self.fail(e))?;
        let within_group = params.order_by.first().filter(|_| func.supports_within_group_clause());
        let within_group = within_group
            .map(|sort| SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first });
        let ignores = params.null_treatment.take()
            == Some(datafusion::logical_expr::expr::NullTreatment::IgnoreNulls);
        let constants = constants.to_vec();
        let function =
            OfList::function(func, (input, output), constants.len(), within_group, ignores);
        params.args.truncate(1);
        if within_group.is_some() {
            params.order_by.clear();
        }
        *func = array_agg_udaf();
        Ok(Some(Listed { function, constants }))
    }
}
