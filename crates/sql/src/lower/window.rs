//! The window functions of the rewritten query become window nodes again.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Unnest};

use super::{Assigned, Lowered, Lowering};
use crate::error::SqlError;
use crate::functions::{WindowFunction, WindowUdf};
use crate::view::{ViewNode, WindowKind};

/// A call of one of our window functions: which, over what, how long.
struct Marker<'a> {
    function: WindowFunction,
    time: &'a Expr,
    lengths: Vec<i64>,
}

fn marker(expr: &Expr) -> Option<Marker<'_>> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let udf = call.func.inner().downcast_ref::<WindowUdf>()?;
    let (time, lengths) = call.args.split_first()?;
    let lengths = lengths
        .iter()
        .map(|e| match e {
            Expr::Literal(ScalarValue::Int64(us), _) => *us,
            _ => None,
        })
        .collect::<Option<Vec<i64>>>()?;
    Some(Marker { function: udf.function, time, lengths })
}

impl Lowering<'_> {
    /// Puts a window node under `exprs` for every tumbling window they use, and makes the calls
    /// of window functions columns of the nodes beneath.
    pub(super) fn windowed(
        &self,
        mut input: Lowered,
        exprs: &mut [Expr],
    ) -> Result<Lowered, SqlError> {
        for expr in exprs.iter_mut() {
            let changed = std::mem::take(expr).transform_up(|e| {
                let Some(marker) = marker(&e) else { return Ok(Transformed::no(e)) };
                match self.bound(&mut input, &marker)? {
                    Some(column) => Ok(Transformed::yes(column)),
                    None => Ok(Transformed::no(e)),
                }
            });
            *expr = changed.data().map_err(|e| self.fail(e))?;
        }
        Ok(input)
    }

    /// The column that is what the call gives.
    fn bound(&self, input: &mut Lowered, call: &Marker<'_>) -> DfResult<Option<Expr>> {
        let time = input.scope.position(call.time).map(|p| input.scope.columns[p]);
        let known = |kind: &dyn Fn(WindowKind) -> bool, by: &dyn Fn(&Assigned) -> Option<usize>| {
            input.windows.iter().find(|w| kind(w.kind) && time.is_some() && by(w) == time).copied()
        };
        match (call.function, call.lengths.as_slice()) {
            (WindowFunction::TumbleStart | WindowFunction::TumbleEnd, &[size_us, offset_us]) => {
                let kind = WindowKind::Tumble { size_us, offset_us };
                let start = match known(&|k| k == kind, &|w| w.time) {
                    Some(window) => window.start,
                    None => self.push_window(input, call.time, kind)?,
                };
                let is_end = call.function == WindowFunction::TumbleEnd;
                see(input, start + usize::from(is_end)).map(Some)
            }
            // The other bound of windows that an unnest made.
            (WindowFunction::HopEnd, &[size]) => {
                let is = |k| matches!(k, WindowKind::Hop { size_us, .. } if size_us == size);
                known(&is, &|w| Some(w.start)).map(|w| see(input, w.start + 1)).transpose()
            }
            (WindowFunction::CumulateStart, &[size, offset]) => {
                let is = |k| {
                    matches!(k, WindowKind::Cumulate { size_us, offset_us, .. }
                        if size_us == size && offset_us == offset)
                };
                known(&is, &|w| Some(w.start + 1)).map(|w| see(input, w.start)).transpose()
            }
            _ => Ok(None),
        }
    }

    /// Puts a window over `input`; the result is where its start is in the rows.
    fn push_window(&self, input: &mut Lowered, time: &Expr, kind: WindowKind) -> DfResult<usize> {
        let (_, field) = time.to_field(input.scope.schema())?;
        let position = input.scope.position(time).map(|p| input.scope.columns[p]);
        let time = input.scope.expr(time, self.planner)?;
        let start = input.node.schema().fields().len();
        let nullable = field.is_nullable() && matches!(kind, WindowKind::Tumble { .. });
        let bound = |name: &str| -> FieldRef {
            Arc::new(Field::new(name, field.data_type().clone(), nullable))
        };
        let schema = appended(input.node.schema(), [bound("window_start"), bound("window_end")]);
        let below = std::mem::replace(&mut input.node, nothing());
        input.node = ViewNode::Window { input: Box::new(below), time, kind, schema };
        input.windows.push(Assigned { kind, time: position, start });
        Ok(start)
    }

    /// The unnest that HOP and CUMULATE make: its one list is a call of ours. `None` for others.
    pub(super) fn window_unnest(&self, unnest: &Unnest) -> Result<Option<Lowered>, SqlError> {
        let LogicalPlan::Projection(p) = unnest.input.as_ref() else { return Ok(None) };
        let [(list, _)] = unnest.list_type_columns.as_slice() else { return Ok(None) };
        let mut exprs: Vec<Expr> = p.expr.iter().map(|e| e.clone().unalias_nested().data).collect();
        let call = exprs[*list].clone();
        let Some(Marker { function, time, lengths }) = marker(&call) else { return Ok(None) };
        let (kind, is_end) = match (function, lengths.as_slice()) {
            (WindowFunction::Hop, &[slide_us, size_us, offset_us]) => {
                (WindowKind::Hop { slide_us, size_us, offset_us }, 0)
            }
            (WindowFunction::Cumulate, &[step_us, size_us, offset_us]) => {
                (WindowKind::Cumulate { step_us, size_us, offset_us }, 1)
            }
            _ => return Ok(None),
        };
        let mut input = self.node(&p.input)?;
        let start = self.push_window(&mut input, time, kind).map_err(|e| self.fail(e))?;
        exprs[*list] = see(&mut input, start + is_end).map_err(|e| self.fail(e))?;
        // A row is in several windows, so what told rows apart no longer does.
        input.key = None;
        let chosen: Vec<Expr> =
            unnest.dependency_indices.iter().map(|i| exprs[*i].clone()).collect();
        self.project(input, &chosen, &unnest.schema).map(Some)
    }
}

/// Makes the column at `position` of the node's rows one that expressions can name.
fn see(input: &mut Lowered, position: usize) -> DfResult<Expr> {
    let field = input.node.schema().field(position).clone();
    let seen = input.scope.columns.len();
    let mut fields: Vec<_> =
        input.scope.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
    fields.push((None, Arc::new(field.with_name(format!("__window_bound_{seen}")))));
    let schema = DFSchema::new_with_metadata(fields, HashMap::new())?;
    input.scope = input.scope.extended(schema, &[position]);
    Ok(input.scope.named(seen))
}

fn appended(schema: &SchemaRef, more: [FieldRef; 2]) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

/// What stands in a place for the moment in which its node is moved.
fn nothing() -> ViewNode {
    ViewNode::Union { inputs: Vec::new(), schema: Arc::new(Schema::empty()) }
}
