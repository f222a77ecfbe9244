//! The window functions of the rewritten query become window nodes again.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, Unnest};

use super::{Lowered, Lowering, check};
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
    /// Puts a window node under `exprs` for every tumbling window they use, and makes its calls
    /// columns of that node.
    pub(super) fn windowed(
        &self,
        mut input: Lowered,
        exprs: &mut [Expr],
    ) -> Result<Lowered, SqlError> {
        let mut known: HashMap<(Expr, i64, i64), usize> = HashMap::new();
        for expr in exprs.iter_mut() {
            let changed = std::mem::take(expr).transform_up(|e| {
                let Some(Marker { function, time, lengths }) = marker(&e) else {
                    return Ok(Transformed::no(e));
                };
                let (end, &[size_us, offset_us]) = (match function {
                    WindowFunction::TumbleStart => 0,
                    WindowFunction::TumbleEnd => 1,
                    _ => return Ok(Transformed::no(e)),
                }, lengths.as_slice()) else {
                    return Ok(Transformed::no(e));
                };
                let window = (time.clone(), size_us, offset_us);
                let start = match known.get(&window) {
                    Some(start) => *start,
                    None => {
                        let kind = WindowKind::Tumble { size_us, offset_us };
                        let start = self.push_window(&mut input, time, kind)?;
                        known.insert(window, start);
                        start
                    }
                };
                Ok(Transformed::yes(input.scope.named(start + end)))
            });
            *expr = changed.data().map_err(|e| self.fail(e))?;
        }
        Ok(input)
    }

    /// Puts a window over `input`; the result is the seen position of its start.
    fn push_window(
        &self,
        input: &mut Lowered,
        time: &Expr,
        kind: WindowKind,
    ) -> datafusion::common::Result<usize> {
        use datafusion::logical_expr::ExprSchemable;
        let (_, field) = time.to_field(input.scope.schema())?;
        let time = input.scope.expr(time, self.planner)?;
        let seen = input.scope.columns.len();
        let width = input.node.schema().fields().len();
        let bound = |name: &str| -> FieldRef {
            Arc::new(Field::new(name, field.data_type().clone(), field.is_nullable()))
        };
        let schema = appended(input.node.schema(), [bound("window_start"), bound("window_end")]);
        let names = [format!("__window_start_{width}"), format!("__window_end_{width}")];
        let mut fields: Vec<_> =
            input.scope.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        fields.extend(names.iter().map(|n| (None, bound(n))));
        let extended = DFSchema::new_with_metadata(fields, HashMap::new())?;
        input.scope = input.scope.extended(extended, &[width, width + 1]);
        let below = std::mem::replace(&mut input.node, nothing());
        input.node = ViewNode::Window { input: Box::new(below), time, kind, schema };
        Ok(seen)
    }

    /// The unnest that HOP and CUMULATE make: its one list must be a call of ours.
    pub(super) fn unnest(&self, unnest: &Unnest) -> Result<Lowered, SqlError> {
        let refuse = || check::refused(&LogicalPlan::Unnest(unnest.clone()), self.query);
        let LogicalPlan::Projection(p) = unnest.input.as_ref() else { return Err(refuse()) };
        let [(list, _)] = unnest.list_type_columns.as_slice() else { return Err(refuse()) };
        if !unnest.struct_type_columns.is_empty() {
            return Err(refuse());
        }
        let mut exprs: Vec<Expr> =
            p.expr.iter().map(|e| e.clone().unalias_nested().data).collect();
        let call = exprs[*list].clone();
        let Some(Marker { function, time, lengths }) = marker(&call) else {
            return Err(refuse());
        };
        let (kind, is_end) = match (function, lengths.as_slice()) {
            (WindowFunction::Hop, &[slide_us, size_us, offset_us]) => {
                (WindowKind::Hop { slide_us, size_us, offset_us }, 0)
            }
            (WindowFunction::Cumulate, &[step_us, size_us, offset_us]) => {
                (WindowKind::Cumulate { step_us, size_us, offset_us }, 1)
            }
            _ => return Err(refuse()),
        };
        let mut input = self.node(&p.input)?;
        let start = self.push_window(&mut input, time, kind).map_err(|e| self.fail(e))?;
        exprs[*list] = input.scope.named(start + is_end);
        // A row is in several windows, so what told rows apart no longer does.
        input.key = None;
        let chosen: Vec<Expr> =
            unnest.dependency_indices.iter().map(|i| exprs[*i].clone()).collect();
        self.project(input, &chosen, &unnest.schema)
    }
}

fn appended(schema: &SchemaRef, more: [FieldRef; 2]) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

/// What stands in a place for the moment in which its node is moved.
fn nothing() -> ViewNode {
    ViewNode::Union { inputs: Vec::new(), schema: Arc::new(Schema::empty()) }
}
