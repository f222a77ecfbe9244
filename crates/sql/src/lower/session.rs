//! `SESSION(…)` grouped by its sessions.
//!
//! ```text
//!   Aggregate by bidder, window_start: [count(*)]       ─▶  Filter: some row counts
//!     Filter: price > 5                                       Sessions of bidder, gap 10 seconds:
//!       Window: window_session_start(ts, gap) OVER (…)          [count(*) WHERE price > 5]
//! ```
//!
//! All rows make the sessions, also those that a condition above leaves out: it becomes one of the calls'. A
//! condition over keys and bounds alone is one over sessions. A SESSION that is not grouped in this way is what it was
//! rewritten to: window functions.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{
    Column, DFSchema, DataFusionError, Result as DfResult, ScalarValue, TableReference,
};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, Window, WindowFunctionDefinition, cast, lit,
};
use yeoul_batch::ExprRef;

use super::aggregate::stored_field;
use super::expr::Scope;
use super::{Lowered, Lowering, closing, renamed};
use crate::error::SqlError;
use crate::functions::{SessionBound, SessionUdf};
use crate::view::{AggregateCall, AggregateFunction, ViewNode};

/// What the functions of a window node say, where all of them are those of one SESSION.
struct Call<'a> {
    keys: Vec<&'a Expr>,
    time: &'a Expr,
    gap_us: i64,
    /// The bounds, in the order of the node's own columns.
    bounds: Vec<SessionBound>,
}

impl<'a> Call<'a> {
    fn read(window: &'a Window) -> Option<Self> {
        let mut call: Option<Self> = None;
        for expr in &window.window_expr {
            let expr = match expr {
                Expr::Alias(alias) => &alias.expr,
                other => other,
            };
            let Expr::WindowFunction(function) = expr else { return None };
            let WindowFunctionDefinition::WindowUDF(udf) = &function.fun else { return None };
            let bound = udf.inner().downcast_ref::<SessionUdf>()?.bound;
            let params = &function.params;
            let [time, Expr::Literal(ScalarValue::Int64(Some(gap_us)), _)] = params.args.as_slice()
            else {
                return None;
            };
            let mut keys: Vec<&Expr> = Vec::new();
            for key in &params.partition_by {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            match &mut call {
                None => call = Some(Self { keys, time, gap_us: *gap_us, bounds: vec![bound] }),
                Some(call) => {
                    if call.keys != keys || call.time != time || call.gap_us != *gap_us {
                        return None;
                    }
                    call.bounds.push(bound);
                }
            }
        }
        call
    }
}

/// Expressions and conditions over a SESSION, by the columns of its window node.
struct Above<'a> {
    window: &'a Window,
    call: Call<'a>,
    exprs: Vec<Expr>,
    conditions: Vec<Expr>,
}

impl<'a> Above<'a> {
    /// `exprs`, which stand above `plan`; `None` where there is more than projections and filters between
    /// them and a SESSION.
    fn find(mut plan: &'a LogicalPlan, mut exprs: Vec<Expr>) -> DfResult<Option<Self>> {
        let mut conditions: Vec<Expr> = Vec::new();
        loop {
            let (schema, by): (&DFSchema, Vec<Expr>) = match plan {
                LogicalPlan::Projection(p) => {
                    plan = &p.input;
                    (&p.schema, p.expr.iter().map(|e| e.clone().unalias_nested().data).collect())
                }
                LogicalPlan::SubqueryAlias(alias) => {
                    plan = &alias.input;
                    let columns = alias.input.schema().columns();
                    (&alias.schema, columns.into_iter().map(Expr::Column).collect())
                }
                LogicalPlan::Filter(filter) => {
                    plan = &filter.input;
                    conditions.extend(split_conjunction(&filter.predicate).into_iter().cloned());
                    continue;
                }
                LogicalPlan::Window(window) => {
                    let found = Call::read(window);
                    return Ok(found.map(|call| Self { window, call, exprs, conditions }));
                }
                _ => return Ok(None),
            };
            for expr in exprs.iter_mut().chain(&mut conditions) {
                *expr = replaced(std::mem::take(expr), schema, &by)?;
            }
        }
    }

    /// Which column of the window node an expression is, if it is nothing else.
    fn position(&self, expr: &Expr) -> Option<usize> {
        self.window.schema.maybe_index_of_column(expr.try_as_col()?)
    }

    /// The columns of the window node that tell sessions apart.
    fn is_of_session(&self, column: &Column) -> bool {
        let position = self.window.schema.maybe_index_of_column(column);
        let is_key = self.call.keys.iter().any(|key| key.try_as_col() == Some(column));
        is_key || position.is_some_and(|p| p >= self.window.input.schema().fields().len())
    }

    /// Whether all columns of an expression tell sessions apart.
    fn over_sessions(&self, expr: &Expr) -> bool {
        expr.column_refs().into_iter().all(|column| self.is_of_session(column))
    }

    /// Whether no column of an expression is a bound.
    fn over_rows(&self, expr: &Expr) -> bool {
        let input = self.window.input.schema();
        expr.column_refs().into_iter().all(|column| input.maybe_index_of_column(column).is_some())
    }

    /// Adds the keys and the bounds; the result is what stands for each column of the window node.
    fn columns(&self, columns: &mut Columns) -> Vec<Expr> {
        let schema = &self.window.schema;
        let mut by: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        for position in self.call.keys.iter().filter_map(|key| self.position(key)) {
            let planned = schema.qualified_field(position);
            let at = columns.push(stored_field(planned.1), planned);
            by[position] = columns.seen(at);
        }
        let input = self.window.input.schema().fields().len();
        let bounds = [(SessionBound::Start, "window_start"), (SessionBound::End, "window_end")];
        for (bound, name) in bounds {
            let positions = (input..).zip(&self.call.bounds);
            let positions: Vec<usize> =
                positions.filter(|(_, b)| **b == bound).map(|(position, _)| position).collect();
            // Nobody may ask for one of the two; it is like the other.
            let field = schema.field(positions.first().copied().unwrap_or(input));
            let kept = renamed(field, name);
            let at = columns.push(kept.clone(), (None, &Arc::new(kept)));
            positions.into_iter().for_each(|position| by[position] = columns.seen(at));
        }
        by
    }

    /// Whether groups are sessions: they have all keys, and a bound.
    fn groups(&self, exprs: &[Expr]) -> bool {
        let input = self.window.input.schema().fields().len();
        let bound = exprs.iter().filter_map(|e| self.position(e)).any(|p| p >= input);
        let keys = self.call.keys.iter().all(|key| exprs.contains(key));
        bound && keys && exprs.iter().all(|e| self.over_sessions(e))
    }
}

/// The expression with the columns of `schema` replaced by what stands for them.
fn replaced(expr: Expr, schema: &DFSchema, by: &[Expr]) -> DfResult<Expr> {
    expr.transform_up(|e| match &e {
        Expr::Column(column) => match schema.maybe_index_of_column(column) {
            Some(at) => Ok(Transformed::yes(by[at].clone())),
            None => Ok(Transformed::no(e)),
        },
        _ => Ok(Transformed::no(e)),
    })
    .data()
}

/// The columns of a node of sessions: keys, bounds, calls.
#[derive(Default)]
struct Columns {
    kept: Vec<FieldRef>,
    /// The same by the names that stand above.
    named: Vec<(Option<TableReference>, FieldRef)>,
    /// Their types there.
    planned: Vec<DataType>,
}

impl Columns {
    fn push(
        &mut self,
        kept: Field,
        (qualifier, planned): (Option<&TableReference>, &FieldRef),
    ) -> usize {
        self.named.push((qualifier.cloned(), Arc::new(renamed(&kept, planned.name()))));
        self.kept.push(Arc::new(kept));
        self.planned.push(planned.data_type().clone());
        self.kept.len() - 1
    }

    /// A column as it is typed above.
    fn seen(&self, at: usize) -> Expr {
        let (qualifier, field) = &self.named[at];
        let column = Expr::Column(Column::new(qualifier.clone(), field.name()));
        let planned = &self.planned[at];
        if field.data_type() == planned { column } else { cast(column, planned.clone()) }
    }

    fn scope(&self) -> DfResult<Scope> {
        Ok(Scope::whole(&DFSchema::new_with_metadata(self.named.clone(), HashMap::new())?))
    }
}

impl Lowering<'_> {
    /// An aggregation whose groups are sessions; `None` when it is none.
    pub(super) fn sessions(&self, a: &Aggregate) -> Result<Option<Lowered>, SqlError> {
        let exprs = a.group_expr.iter().chain(&a.aggr_expr);
        let exprs = exprs.map(|e| e.clone().unalias_nested().data).collect();
        let found = Above::find(&a.input, exprs).map_err(|e| self.fail(e))?;
        let Some(above) = found else { return Ok(None) };
        let (groups, calls) = above.exprs.split_at(a.group_expr.len());
        let (of_sessions, of_rows): (Vec<Expr>, Vec<Expr>) =
            above.conditions.iter().cloned().partition(|c| above.over_sessions(c));
        let plain = above.call.keys.iter().all(|key| key.try_as_col().is_some());
        let lowered = plain
            && above.groups(groups)
            && of_rows.iter().chain(calls).all(|e| above.over_rows(e));
        if !lowered {
            return Ok(None);
        }
        self.grouped(a, &above, groups, calls, of_sessions, conjunction(of_rows)).map(Some)
    }

    fn grouped(
        &self,
        a: &Aggregate,
        above: &Above<'_>,
        groups: &[Expr],
        calls: &[Expr],
        conditions: Vec<Expr>,
        of_rows: Option<Expr>,
    ) -> Result<Lowered, SqlError> {
        let fail = |e: DataFusionError| self.fail(e);
        let input = self.node(&above.window.input)?;
        let keys = above.call.keys.iter().map(|key| self.stored(key, &input.scope));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let mut columns = Columns::default();
        let by = above.columns(&mut columns);
        let mut kept = Vec::with_capacity(calls.len());
        let mut exprs = Vec::with_capacity(groups.len() + calls.len());
        for group in groups {
            exprs.push(replaced(group.clone(), &above.window.schema, &by).map_err(fail)?);
        }
        for (at, expr) in (groups.len()..).zip(calls) {
            let planned = a.schema.qualified_field(at);
            let call = self.call(&filtered(expr, of_rows.as_ref()), planned.1, &input.scope)?;
            let at = columns.push(call.output.as_ref().clone(), planned);
            exprs.push(columns.seen(at));
            kept.push(call);
        }
        let mut terms = Vec::new();
        for condition in conditions {
            terms.push(replaced(condition, &above.window.schema, &by).map_err(fail)?);
        }
        if let Some(condition) = of_rows {
            // A session all of whose rows are left out is no group.
            let field = Arc::new(Field::new("_selected", DataType::Int64, false));
            let filter = input.scope.expr(&condition, self.planner).map_err(fail)?;
            kept.push(selected(filter, &field));
            let at = columns.push(field.as_ref().clone(), (None, &field));
            terms.push(columns.seen(at).gt(lit(0i64)));
        }
        let time = input.scope.expr(above.call.time, self.planner).map_err(fail)?;
        let lags = closing::lags(&input.node, self.catalog);
        let lag = time.as_column().and_then(|time| lags.get(time).copied().flatten());
        let mut node = ViewNode::Sessions {
            time,
            input: Box::new(input.node),
            keys,
            gap_us: above.call.gap_us,
            calls: kept,
            lag_us: lag.filter(|_| self.closes),
            schema: Arc::new(Schema::new(columns.kept.clone())),
        };
        let scope = columns.scope().map_err(fail)?;
        if let Some(predicate) = conjunction(terms) {
            let predicate = scope.expr(&predicate, self.planner).map_err(fail)?;
            node = ViewNode::Filter { input: Box::new(node), predicate };
        }
        let lowered = Lowered { node, scope, key: None, windows: Vec::new() };
        let lowered = self.project(lowered, &exprs, &a.schema)?;
        Ok(Lowered { key: Some((0..groups.len()).collect()), ..lowered })
    }
}

/// A call that counts only rows for which `condition` is true.
fn filtered(call: &Expr, condition: Option<&Expr>) -> Expr {
    let mut call = call.clone();
    if let (Expr::AggregateFunction(function), Some(condition)) = (&mut call, condition) {
        let filter = &mut function.params.filter;
        *filter = Some(Box::new(match filter.take() {
            Some(filter) => condition.clone().and(*filter),
            None => condition.clone(),
        }));
    }
    call
}

/// How many rows of a session there are for which `filter` is true.
fn selected(filter: ExprRef, field: &FieldRef) -> AggregateCall {
    AggregateCall {
        function: AggregateFunction::Count,
        args: Vec::new(),
        filter: Some(filter),
        distinct: false,
        order_by: Vec::new(),
        ignore_nulls: false,
        output: Arc::clone(field),
    }
}
