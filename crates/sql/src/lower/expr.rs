//! Expressions: DataFusion's, with the columns of the node beneath by position.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, Result};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr as LogicalExpr, ExprSchemable};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::sql::unparser::expr_to_sql;
use yeoul_batch::{ColumnExpr, Expr, ExprError, ExprRef};

use super::fast;
use crate::explain::tidy;
use crate::functions;
use crate::planner::Planner;
use crate::translate;

/// The columns an expression may name, and where they are in the rows it is given.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    schema: DFSchema,
    pub(super) columns: Vec<usize>,
}

impl Scope {
    /// All columns of rows that have this schema.
    pub(super) fn whole(schema: &DFSchema) -> Self {
        Self { schema: schema.clone(), columns: (0..schema.fields().len()).collect() }
    }

    /// Columns under the names of `schema`, at `columns` of the rows.
    pub(super) fn at(schema: &DFSchema, columns: Vec<usize>) -> Self {
        Self { schema: schema.clone(), columns }
    }

    /// The same columns under the names of `schema`.
    pub(super) fn renamed(&self, schema: &DFSchema) -> Self {
        Self { schema: schema.clone(), columns: self.columns.clone() }
    }

    /// Some of the columns, under the names of `schema`.
    pub(super) fn chosen(&self, positions: &[usize], schema: &DFSchema) -> Self {
        let columns = positions.iter().map(|p| self.columns[*p]).collect();
        Self { schema: schema.clone(), columns }
    }

    /// The first `count` columns.
    pub(super) fn truncated(&self, count: usize) -> Self {
        if count == self.columns.len() {
            return self.clone();
        }
        let fields = self.schema.iter().take(count).map(|(q, f)| (q.cloned(), Arc::clone(f)));
        let schema = DFSchema::new_with_metadata(fields.collect(), Default::default());
        match schema {
            Ok(schema) => Self { schema, columns: self.columns[..count].to_vec() },
            Err(_) => self.clone(),
        }
    }

    pub(super) fn schema(&self) -> &DFSchema {
        &self.schema
    }

    /// The same with more columns at the end, which are at `positions` of the rows.
    pub(super) fn extended(&self, schema: DFSchema, positions: &[usize]) -> Self {
        let columns = self.columns.iter().chain(positions).copied().collect();
        Self { schema, columns }
    }

    /// Which seen column the expression is, if it is nothing else.
    pub(super) fn position(&self, expr: &LogicalExpr) -> Option<usize> {
        match expr {
            LogicalExpr::Column(column) => self.schema.maybe_index_of_column(column),
            _ => None,
        }
    }

    /// The seen column at `position` as an expression.
    pub(super) fn column(&self, position: usize) -> ExprRef {
        let data_type = self.schema.field(position).data_type().clone();
        Arc::new(ColumnExpr::new(self.columns[position], data_type))
    }

    pub(super) fn named(&self, position: usize) -> LogicalExpr {
        LogicalExpr::Column(Column::from(self.schema.qualified_field(position)))
    }

    /// The expression, ready to be evaluated.
    pub(super) fn expr(&self, expr: &LogicalExpr, planner: &Planner) -> Result<ExprRef> {
        let expr = expr.clone().unalias_nested().data;
        if let Some(position) = self.position(&expr) {
            return Ok(self.column(position));
        }
        let text = text(&expr);
        Ok(Arc::new(Described { text, expr: self.bare(&expr, planner)? }))
    }

    /// The expression without its text: for the parts of one that has it.
    pub(super) fn bare(&self, expr: &LogicalExpr, planner: &Planner) -> Result<ExprRef> {
        if let Some(position) = self.position(expr) {
            return Ok(self.column(position));
        }
        match fast::lower(expr, self, planner)? {
            Some(fast) => Ok(fast),
            None => self.general(expr, planner),
        }
    }

    /// DataFusion's own evaluation.
    fn general(&self, expr: &LogicalExpr, planner: &Planner) -> Result<ExprRef> {
        if super::clock::mentions(expr) {
            return Err(DataFusionError::External(Box::new(super::clock::refused())));
        }
        let data_type = expr.get_type(&self.schema)?;
        let props = planner.state().execution_props();
        let context = PhysicalPlanningContext::default();
        let physical = create_physical_expr(expr, &self.schema, props, &context)?;
        let moved = physical
            .transform_up(|e| match e.downcast_ref::<PhysicalColumn>() {
                Some(column) => {
                    let index = self.columns[column.index()];
                    let column = PhysicalColumn::new(column.name(), index);
                    Ok(Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>))
                }
                None => Ok(Transformed::no(e)),
            })
            .data()?;
        Ok(Arc::new(General { expr: moved, data_type }))
    }
}

/// What DataFusion's code gives. Where it panics, the view stops, and not the engine: the same rows would come to it
/// after every start.
pub(super) fn guarded<T>(evaluate: impl FnOnce() -> Result<T>) -> Result<T, ExprError> {
    match catch_unwind(AssertUnwindSafe(evaluate)) {
        Ok(result) => result.map_err(|e| ExprError { message: translate::execution(e).message }),
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            let said = said.unwrap_or_else(|| "no word of why".to_owned());
            Err(ExprError { message: format!("the batch engine has a defect: {said}") })
        }
    }
}

/// An expression DataFusion evaluates.
#[derive(Debug)]
struct General {
    expr: Arc<dyn PhysicalExpr>,
    data_type: DataType,
}

impl Expr for General {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        guarded(|| self.expr.evaluate(rows).and_then(|value| value.into_array(rows.num_rows())))
    }

    fn data_type(&self) -> &DataType {
        &self.data_type
    }
}

/// An expression that can say how it is written in SQL.
struct Described {
    text: String,
    expr: ExprRef,
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expr for Described {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        self.expr.evaluate(rows)
    }

    fn data_type(&self) -> &DataType {
        self.expr.data_type()
    }

    // The text says names, and two inputs may have the same ones.
    fn identity(&self) -> String {
        self.expr.identity()
    }
}

/// How an expression is written in SQL, its columns without the relation they are of.
pub(super) fn text(expr: &LogicalExpr) -> String {
    let plain = expr
        .clone()
        .transform_up(|e| match e {
            LogicalExpr::Column(c) => {
                Ok(Transformed::yes(LogicalExpr::Column(Column::new_unqualified(tidy(&c.name)))))
            }
            other => Ok(match functions::stands_for(&other) {
                Some(written) => Transformed::yes(written),
                None => Transformed::no(other),
            }),
        })
        .data();
    plain
        .and_then(|plain| expr_to_sql(&plain))
        .map_or_else(|_| expr.human_display().to_string(), |sql| sql.to_string())
}
