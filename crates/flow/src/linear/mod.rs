//! Operators that pass updates through: a row's result depends on that row alone, so updates of
//! a change give the change of the result.

mod expand;
mod lookup;
mod window;

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{FilterBuilder, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{DataType, SchemaRef};
use yeoul_batch::{ExprRef, Updates};

pub(crate) use expand::{Expand, Unnest};
pub(crate) use lookup::Lookup;
pub use lookup::{LookupSpec, TableReader};
pub use window::{Window, WindowKind};

use crate::error::FlowError;

/// One linear operator.
#[derive(Debug, Clone)]
pub(crate) enum Linear {
    /// Keeps the rows for which the expression is true (false and NULL drop them).
    Filter(ExprRef),
    /// Replaces the columns.
    Project { exprs: Arc<[ExprRef]>, schema: SchemaRef },
    /// Adds `window_start` and `window_end`.
    Window(Arc<Window>),
    /// Adds the columns of a table.
    Lookup(Arc<Lookup>),
    /// Each row once per list of expressions.
    Expand(Arc<Expand>),
    /// Each row once per element of its lists.
    Unnest(Arc<Unnest>),
}

impl Linear {
    pub(crate) fn apply(&self, updates: &Updates) -> Result<Updates, FlowError> {
        match self {
            Self::Filter(condition) => filter(condition, updates),
            Self::Project { exprs, schema } => {
                let columns = exprs
                    .iter()
                    .map(|expr| expr.evaluate(updates.rows()))
                    .collect::<Result<Vec<_>, _>>()?;
                let options = arrow::array::RecordBatchOptions::new()
                    .with_row_count(Some(updates.rows().num_rows()));
                let rows =
                    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
                Ok(updates.with_rows(rows))
            }
            Self::Window(window) => window.assign(updates),
            Self::Lookup(lookup) => lookup.apply(updates),
            Self::Expand(expand) => expand.apply(updates),
            Self::Unnest(unnest) => unnest.apply(updates),
        }
    }
}

/// The rows for which a condition is true, as a mask without nulls.
pub(crate) fn truth(condition: &ExprRef, rows: &RecordBatch) -> Result<BooleanArray, FlowError> {
    let mask = condition.evaluate(rows)?;
    let mask = mask.as_boolean_opt().ok_or_else(|| {
        arrow::error::ArrowError::SchemaError(format!(
            "a condition is a boolean, not {}",
            mask.data_type()
        ))
    })?;
    Ok(if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() })
}

fn filter(condition: &ExprRef, updates: &Updates) -> Result<Updates, FlowError> {
    let mask = truth(condition, updates.rows())?;
    if !mask.values().has_false() {
        return Ok(updates.clone());
    }
    match updates.diffs() {
        None => Ok(Updates::inserts(filter_record_batch(updates.rows(), &mask)?)),
        Some(diffs) => {
            let predicate = FilterBuilder::new(&mask).optimize().build();
            let rows = predicate.filter_record_batch(updates.rows())?;
            let diffs = predicate.filter(diffs)?;
            Ok(Updates::new(rows, diffs.as_primitive().clone()))
        }
    }
}

/// `updates` through all operators; `None` when nothing is left.
pub(crate) fn apply_all(
    operators: &[Linear],
    updates: &[Updates],
) -> Result<Option<Updates>, FlowError> {
    let mut parts = Vec::with_capacity(updates.len());
    for part in updates {
        let mut part = part.clone();
        for operator in operators {
            if part.is_empty() {
                break;
            }
            part = operator.apply(&part)?;
        }
        if !part.is_empty() {
            parts.push(part);
        }
    }
    Ok(Updates::concat(&parts)?)
}

/// Whether a condition has the right type.
pub(crate) fn check_condition(condition: &ExprRef, place: &str) -> Result<(), FlowError> {
    match condition.data_type() {
        DataType::Boolean => Ok(()),
        other => Err(FlowError::Unsupported(format!("{place} is a boolean, not {other}"))),
    }
}
