//! Predicates that come in nearly every view, faster than in general: a varchar column compared
//! with short constants, and AND, OR, NOT of such.
//!
//! A string view of at most twelve bytes holds its length and its bytes in sixteen: equal strings
//! are equal 128-bit numbers, so a comparison is one instruction and never follows a pointer.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::kernels::boolean::{and_kleene, not, or_kleene};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr as LogicalExpr, Operator};
use yeoul_batch::{Expr, ExprError, ExprRef};

use super::expr::Scope;
use crate::planner::Planner;

/// The longest string that lies inside its view.
const INLINE_BYTES_MAX: usize = 12;

/// A list of constants up to this length is compared one by one.
const LIST_MAX: usize = 8;

/// The fast form of `expr`, if it has one.
pub(super) fn lower(
    expr: &LogicalExpr,
    scope: &Scope,
    planner: &Planner,
) -> Result<Option<ExprRef>> {
    match expr {
        LogicalExpr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            Ok(one_of(left, std::slice::from_ref(right), false, scope)
                .or_else(|| one_of(right, std::slice::from_ref(left), false, scope)))
        }
        LogicalExpr::BinaryExpr(BinaryExpr { left, op: Operator::NotEq, right }) => {
            Ok(one_of(left, std::slice::from_ref(right), true, scope)
                .or_else(|| one_of(right, std::slice::from_ref(left), true, scope)))
        }
        LogicalExpr::InList(InList { expr, list, negated }) if list.len() <= LIST_MAX => {
            let list: Vec<Box<LogicalExpr>> = list.iter().cloned().map(Box::new).collect();
            Ok(one_of(expr, &list, *negated, scope))
        }
        LogicalExpr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::And | Operator::Or),
            right,
        }) if is_fast(left, scope) || is_fast(right, scope) => {
            let (left, right) = (scope.bare(left, planner)?, scope.bare(right, planner)?);
            Ok(Some(Arc::new(Logic { and: *op == Operator::And, left, right })))
        }
        LogicalExpr::Not(inner) if is_fast(inner, scope) => {
            Ok(Some(Arc::new(Not(scope.bare(inner, planner)?))))
        }
        _ => Ok(None),
    }
}

fn is_fast(expr: &LogicalExpr, scope: &Scope) -> bool {
    let constant = |e: &LogicalExpr| inline(e).is_some();
    let column = |e: &LogicalExpr| string_column(e, scope).is_some();
    match expr {
        LogicalExpr::BinaryExpr(BinaryExpr { left, op: Operator::Eq | Operator::NotEq, right }) => {
            column(left) && constant(right) || column(right) && constant(left)
        }
        LogicalExpr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            is_fast(left, scope) || is_fast(right, scope)
        }
        LogicalExpr::InList(InList { expr, list, .. }) => {
            column(expr) && list.len() <= LIST_MAX && list.iter().all(constant)
        }
        LogicalExpr::Not(inner) => is_fast(inner, scope),
        _ => false,
    }
}

fn string_column(expr: &LogicalExpr, scope: &Scope) -> Option<usize> {
    let position = scope.position(expr)?;
    let is_view = *scope.schema().field(position).data_type() == DataType::Utf8View;
    is_view.then(|| scope.columns[position])
}

/// A short constant as the number that is its view.
fn inline(expr: &LogicalExpr) -> Option<u128> {
    let LogicalExpr::Literal(value, _) = expr else { return None };
    let text = value.try_as_str()??;
    if text.len() > INLINE_BYTES_MAX {
        return None;
    }
    // The array itself makes the view, so its layout is written down nowhere here.
    StringViewArray::from_iter_values([text]).views().first().copied()
}

fn one_of(
    column: &LogicalExpr,
    list: &[Box<LogicalExpr>],
    negated: bool,
    scope: &Scope,
) -> Option<ExprRef> {
    let column = string_column(column, scope)?;
    let values = list.iter().map(|e| inline(e)).collect::<Option<Vec<u128>>>()?;
    Some(Arc::new(OneOf { column, values, negated }))
}

/// `column IN (…)` and `column NOT IN (…)`.
#[derive(Debug)]
struct OneOf {
    column: usize,
    values: Vec<u128>,
    negated: bool,
}

impl Expr for OneOf {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let column = rows.column(self.column).as_string_view();
        let views = column.views();
        let bits = match self.values.as_slice() {
            [value] => BooleanBuffer::collect_bool(views.len(), |i| views[i] == *value),
            values => BooleanBuffer::collect_bool(views.len(), |i| values.contains(&views[i])),
        };
        let bits = if self.negated { !&bits } else { bits };
        Ok(Arc::new(BooleanArray::new(bits, column.nulls().cloned())))
    }

    fn data_type(&self) -> &DataType {
        &DataType::Boolean
    }
}

#[derive(Debug)]
struct Logic {
    and: bool,
    left: ExprRef,
    right: ExprRef,
}

impl Expr for Logic {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let left = self.left.evaluate(rows)?;
        // What the left side has decided for every row needs no right side, which may be dear,
        // or fail on rows the left side was to keep from it.
        let decided = left.as_boolean();
        if decided.null_count() == 0 {
            let trues = decided.true_count();
            if self.and && trues == 0 || !self.and && trues == decided.len() {
                return Ok(left);
            }
        }
        let right = self.right.evaluate(rows)?;
        let out = if self.and {
            and_kleene(left.as_boolean(), right.as_boolean())
        } else {
            or_kleene(left.as_boolean(), right.as_boolean())
        };
        out.map(|b| Arc::new(b) as ArrayRef).map_err(|e| ExprError { message: e.to_string() })
    }

    fn data_type(&self) -> &DataType {
        &DataType::Boolean
    }
}

#[derive(Debug)]
struct Not(ExprRef);

impl Expr for Not {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let inner = self.0.evaluate(rows)?;
        not(inner.as_boolean())
            .map(|b| Arc::new(b) as ArrayRef)
            .map_err(|e| ExprError { message: e.to_string() })
    }

    fn data_type(&self) -> &DataType {
        &DataType::Boolean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{Field, Schema};

    #[test]
    fn one_of_is_what_comparing_strings_is() {
        let texts = ["view", "click", "", "a string longer than a view", "clic", "clickk"];
        let column: StringViewArray = (0..1000)
            .map(|i| if i % 7 == 3 { None } else { Some(texts[i * 31 % texts.len()]) })
            .collect();
        let schema = Schema::new(vec![Field::new("kind", DataType::Utf8View, true)]);
        let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column.clone())])
            .expect("one column");
        for wanted in [vec!["click"], vec!["view", "", "clic"]] {
            for negated in [false, true] {
                let views = StringViewArray::from_iter_values(&wanted);
                let fast = OneOf { column: 0, values: views.views().to_vec(), negated };
                let slow: BooleanArray =
                    column.iter().map(|v| v.map(|v| wanted.contains(&v) != negated)).collect();
                let out = fast.evaluate(&rows).expect("evaluates");
                assert_eq!(out.as_boolean(), &slow, "{wanted:?} negated {negated}");
            }
        }
    }
}
