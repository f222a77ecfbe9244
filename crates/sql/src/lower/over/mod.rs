//! `f(…) OVER (…)`: window functions, by what they divide rows by.
//!
//! ```text
//!   Window [a OVER (PARTITION BY x …)]                 Over by y [c]
//!     Window [b OVER (PARTITION BY x …)]        ─▶       Over by x [a, b]
//!       Window [c OVER (PARTITION BY y …)]                 …
//!         …
//! ```
//!
//! What must hold: rows are stored with the columns that are seen above or needed here, and no others.

mod behind;
mod function;
mod reach;

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Fields, Schema};
use datafusion::common::Column;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Window, WindowFrameUnits};

use super::expr::{Scope, text};
use super::{Lowered, Lowering, renamed};
use crate::error::{ErrorKind, SqlError};
use crate::view::ViewNode;
use function::Calls;

/// The functions whose answer is about the place of a row in an order.
const ORDERED: [&str; 9] = [
    "row_number",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
    "array_agg",
    "string_agg",
];

/// Whether the answer of the call would depend on the order in which rows happen to be read.
pub(super) fn needs_order(call: &WindowFunction) -> bool {
    let frame = &call.params.window_frame;
    let whole = frame.start_bound.is_unbounded() && frame.end_bound.is_unbounded();
    let by_rows = frame.units == WindowFrameUnits::Rows && !whole;
    call.params.order_by.is_empty() && (by_rows || ORDERED.contains(&call.fun.name()))
}

/// One call.
struct Call {
    /// How the plan above knows it.
    column: Column,
    field: FieldRef,
    expr: Expr,
}

/// Calls that divide rows by the same values.
struct Group {
    partition: Vec<Expr>,
    /// The calls, by position among all.
    calls: Vec<usize>,
}

impl Lowering<'_> {
    pub(super) fn over(&self, window: &Window) -> Result<Lowered, SqlError> {
        let (base, mut calls) = flattened(window);
        let input = self.node(base)?;
        let mut exprs: Vec<Expr> =
            calls.iter().map(|call| call.expr.clone().unalias_nested().data).collect();
        let input = self.windowed(input, &mut exprs)?;
        let Lowered { mut node, scope, key, windows } = self.exactly_seen(input)?;
        calls.iter_mut().zip(exprs).for_each(|(call, expr)| call.expr = expr);
        let mut places = vec![0; calls.len()];
        for Group { partition, calls: of_group } in self.groups(&calls)? {
            let width = node.schema().fields().len();
            for (place, &at) in (width..).zip(&of_group) {
                places[at] = place;
            }
            let of_group: Vec<&Call> = of_group.iter().map(|&at| &calls[at]).collect();
            node = self.over_node(node, &scope, &partition, &of_group)?;
        }
        let place = |column: Column| match calls.iter().position(|call| call.column == column) {
            Some(at) => Some(places[at]),
            None => scope.position(&Expr::Column(column)),
        };
        let columns = window.schema.columns().into_iter().map(place).collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| self.unknown())?;
        let seen = |place: &usize| columns.iter().position(|c| c == place);
        let key = key.and_then(|key| key.iter().map(seen).collect());
        Ok(Lowered { node, scope: Scope::at(&window.schema, columns), key, windows })
    }

    fn unknown(&self) -> SqlError {
        SqlError::new(ErrorKind::Internal, "a column of a window is not known").at(self.query.span)
    }

    /// The calls by what they divide rows by.
    fn groups(&self, calls: &[Call]) -> Result<Vec<Group>, SqlError> {
        let mut groups: Vec<Group> = Vec::new();
        for (at, Call { expr, .. }) in calls.iter().enumerate() {
            let Expr::WindowFunction(call) = expr else {
                let e = SqlError::unsupported(format!("\"{expr}\" cannot be kept in a view"));
                return Err(e.at(self.query.span));
            };
            let distinct: HashSet<&Expr> = call.params.partition_by.iter().collect();
            let same = |group: &&mut Group| {
                distinct.len() == group.partition.len()
                    && group.partition.iter().all(|e| distinct.contains(e))
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.calls.push(at),
                None => {
                    let mut known = HashSet::new();
                    let values = call.params.partition_by.iter();
                    let partition = values.filter(|e| known.insert(*e)).cloned().collect();
                    groups.push(Group { partition, calls: vec![at] });
                }
            }
        }
        Ok(groups)
    }

    /// The node that computes `calls`; `scope` is of the first columns of `input`.
    fn over_node(
        &self,
        input: ViewNode,
        scope: &Scope,
        partition: &[Expr],
        calls: &[&Call],
    ) -> Result<ViewNode, SqlError> {
        let partition =
            partition.iter().map(|e| self.stored(e, scope)).collect::<Result<Vec<_>, _>>()?;
        let written: Vec<String> = calls.iter().map(|call| text(&call.expr)).collect();
        let fields = calls.iter().zip(&written);
        let fields: Fields = fields.map(|(call, name)| renamed(&call.field, name)).collect();
        let columns = input.schema().fields().iter().chain(&fields).cloned();
        let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        let function = Calls::new(calls, scope.schema(), fields, self.planner);
        let function = Arc::new(function.map_err(|e| self.fail(e))?);
        let input = Box::new(input);
        Ok(ViewNode::Over { input, partition, function, calls: written, whole: false, schema })
    }
}

/// The calls of the window nodes down to the first that a call above it reads, and what is beneath them. Between
/// two nodes the optimiser may have left columns out.
fn flattened(window: &Window) -> (&LogicalPlan, Vec<Call>) {
    let mut calls = calls_of(window);
    let mut base = window.input.as_ref();
    loop {
        let below = match base {
            LogicalPlan::Projection(p) if p.expr.iter().all(|e| matches!(e, Expr::Column(_))) => {
                p.input.as_ref()
            }
            other => other,
        };
        let LogicalPlan::Window(next) = below else { break };
        let known = next.input.schema();
        let mut needed = calls.iter().flat_map(|call| call.expr.column_refs());
        if !needed.all(|column| known.has_column(column)) {
            break;
        }
        drop(needed);
        calls.extend(calls_of(next));
        base = next.input.as_ref();
    }
    (base, calls)
}

fn calls_of(window: &Window) -> Vec<Call> {
    let first = window.schema.fields().len() - window.window_expr.len();
    let named = (first..).map(|at| {
        let (qualifier, field) = window.schema.qualified_field(at);
        (Column::from((qualifier, field)), Arc::clone(field))
    });
    let exprs = window.window_expr.iter().cloned();
    named.zip(exprs).map(|((column, field), expr)| Call { column, field, expr }).collect()
}
