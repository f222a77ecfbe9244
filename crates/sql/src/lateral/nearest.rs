//! `LATERAL (SELECT * FROM q WHERE q.k = t.k AND q.at <= t.at ORDER BY q.at DESC LIMIT 1)`, as a view keeps it: one
//! node, of which each row of the left side meets the nearest row of the right one.
//!
//! A query needs no such node; it asks for all rows and ranks them. What is said here must mean the same.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchemaRef, JoinType, Result, ScalarValue};
use datafusion::logical_expr::logical_plan::builder::build_join_schema;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Extension, FetchType, Filter, Join, Limit, LogicalPlan,
    LogicalPlanBuilder, Operator, SkipType, Sort, UserDefinedLogicalNodeCore,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use yeoul_batch::is_whole;

/// Each row of the left side with the nearest of the right one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct NearestJoin {
    pub(crate) left: LogicalPlan,
    pub(crate) right: LogicalPlan,
    /// What is equal: of the left side and of the right, of one type.
    pub(crate) on: Vec<(Expr, Expr)>,
    /// What is near, of one type: those of the left side and of the right for which `left op right`.
    pub(crate) near: (Expr, Expr),
    pub(crate) op: Operator,
    /// Whether rows of the left side stay without one of the right.
    pub(crate) outer: bool,
    pub(crate) schema: DFSchemaRef,
}

impl PartialOrd for NearestJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl NearestJoin {
    fn new(
        left: LogicalPlan,
        right: LogicalPlan,
        on: Vec<(Expr, Expr)>,
        near: (Expr, Expr),
        op: Operator,
        outer: bool,
    ) -> Result<Self> {
        let kind = if outer { JoinType::Left } else { JoinType::Inner };
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &kind)?);
        Ok(Self { left, right, on, near, op, outer, schema })
    }

    fn plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node in a plan, if it is one.
    pub(crate) fn of(plan: &LogicalPlan) -> Option<&Self> {
        let LogicalPlan::Extension(extension) = plan else { return None };
        extension.node.as_any().downcast_ref()
    }
}

impl UserDefinedLogicalNodeCore for NearestJoin {
    fn name(&self) -> &'static str {
        "NearestJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let all = self.on.iter().chain(std::iter::once(&self.near));
        all.flat_map(|(left, right)| [left.clone(), right.clone()]).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NearestJoin: {:?}, {} {} {}", self.on, self.near.0, self.op, self.near.1)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut pairs: Vec<(Expr, Expr)> = Vec::with_capacity(exprs.len() / 2);
        let mut exprs = exprs.into_iter();
        while let Some(pair) = exprs.next().zip(exprs.next()) {
            pairs.push(pair);
        }
        let (Some(near), Ok([left, right])) = (pairs.pop(), <[LogicalPlan; 2]>::try_from(inputs))
        else {
            return datafusion::common::internal_err!("a nearest join has two inputs");
        };
        Self::new(left, right, pairs, near, self.op, self.outer)
    }

    /// Rows of the right side that are equally near are told apart by all of their columns.
    fn necessary_children_exprs(&self, wanted: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let left = wanted.iter().copied().filter(|&column| column < width).collect();
        Some(vec![left, (0..self.right.schema().fields().len()).collect()])
    }
}

/// The node for `join`, if that is what it says.
pub(super) fn nearest(join: &Join, inner: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let always = match &join.filter {
        None => true,
        Some(filter) => *filter == Expr::Literal(ScalarValue::Boolean(Some(true)), None),
    };
    let (LogicalPlan::SubqueryAlias(alias), true) = (inner, always && join.on.is_empty()) else {
        return Ok(None);
    };
    let Some((sort, filter)) = first(&alias.input)? else { return Ok(None) };
    // What is asked has the columns of what is filtered.
    let below = filter.input.schema().columns();
    let above = alias.schema.columns();
    let of_right: HashMap<&Column, &Column> = below.iter().zip(&above).collect();
    let mut said =
        Said { join, filter, of_right: &of_right, on: Vec::new(), near: None, rest: Vec::new() };
    for term in split_conjunction(&filter.predicate) {
        if !said.take(term)? {
            return Ok(None);
        }
    }
    let Said { on, near: Some((near, op)), rest, .. } = said else { return Ok(None) };
    let descending = matches!(op, Operator::GtEq | Operator::Gt);
    if renamed(&sort.expr, &of_right)? != near.1 || sort.asc == descending {
        return Ok(None);
    }
    let mut right = LogicalPlanBuilder::from(filter.input.as_ref().clone());
    if let Some(rest) = conjunction(rest) {
        right = right.filter(rest)?;
    }
    let right = right.alias(alias.alias.clone())?.build()?;
    let outer = join.join_type == JoinType::Left;
    let node = NearestJoin::new(join.left.as_ref().clone(), right, on, near, op, outer)?;
    Ok(Some(node.plan()))
}

/// The order and the filter of a plan that asks for all columns of the first row.
fn first(plan: &LogicalPlan) -> Result<Option<(&datafusion::logical_expr::SortExpr, &Filter)>> {
    let LogicalPlan::Limit(limit) = plan else { return Ok(None) };
    if !is_one(limit)? {
        return Ok(None);
    }
    let LogicalPlan::Sort(Sort { expr, input, fetch: None }) = limit.input.as_ref() else {
        return Ok(None);
    };
    let ([order], LogicalPlan::Projection(all)) = (expr.as_slice(), input.as_ref()) else {
        return Ok(None);
    };
    let LogicalPlan::Filter(filter) = all.input.as_ref() else { return Ok(None) };
    let columns = filter.input.schema().columns().into_iter().map(Expr::Column);
    let all = all.expr.iter().cloned().eq(columns);
    let free = filter.input.all_out_ref_exprs().is_empty();
    Ok((all && free).then_some((order, filter)))
}

fn is_one(limit: &Limit) -> Result<bool> {
    let none_before = matches!(limit.get_skip_type()?, SkipType::Literal(0));
    Ok(none_before && matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1))))
}

/// The expression over the columns as they are called outside.
fn renamed(expr: &Expr, names: &HashMap<&Column, &Column>) -> Result<Expr> {
    let changed = expr.clone().transform_up(|e| match &e {
        Expr::Column(column) => match names.get(column) {
            Some(name) => Ok(Transformed::yes(Expr::Column((*name).clone()))),
            None => Ok(Transformed::no(e)),
        },
        _ => Ok(Transformed::no(e)),
    })?;
    Ok(changed.data)
}

/// What the terms of a filter say.
struct Said<'a> {
    join: &'a Join,
    filter: &'a Filter,
    of_right: &'a HashMap<&'a Column, &'a Column>,
    on: Vec<(Expr, Expr)>,
    near: Option<((Expr, Expr), Operator)>,
    /// What is said of the right side alone.
    rest: Vec<Expr>,
}

impl Said<'_> {
    /// Takes a term; false: it says something else.
    fn take(&mut self, term: &Expr) -> Result<bool> {
        if !term.contains_outer() {
            self.rest.push(term.clone());
            return Ok(true);
        }
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = term else { return Ok(false) };
        let (outer, inner, op) = match (self.is_outer(left), self.is_outer(right)) {
            (Some(true), Some(false)) => (left, right, *op),
            (Some(false), Some(true)) => match op.swap() {
                Some(op) => (right, left, op),
                None => return Ok(false),
            },
            _ => return Ok(false),
        };
        let outer = outer.clone().transform_up(|e| match e {
            Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column))),
            other => Ok(Transformed::no(other)),
        })?;
        let outer = outer.data;
        let own = outer.get_type(self.join.left.schema())?;
        if own != inner.get_type(self.filter.input.schema())? {
            return Ok(false);
        }
        let pair = (outer, renamed(inner, self.of_right)?);
        match op {
            Operator::Eq if has_one_form(&own) => self.on.push(pair),
            Operator::GtEq | Operator::Gt | Operator::LtEq | Operator::Lt
                if self.near.is_none() && is_whole(&own) =>
            {
                self.near = Some((pair, op));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether an expression is of the row outside alone, or of the one inside; `None`: of both or of none.
    fn is_outer(&self, expr: &Expr) -> Option<bool> {
        let (mut outer, mut inner) = (false, false);
        // Nothing fails.
        let _ = expr.apply(|e| {
            match e {
                Expr::OuterReferenceColumn(_, column) => {
                    outer = true;
                    inner |= !self.join.left.schema().has_column(column);
                }
                Expr::Column(_) | Expr::ScalarSubquery(_) => inner = true,
                _ => {}
            }
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        });
        (outer != inner).then_some(outer)
    }
}

/// Whether two values of a type are equal only if they are the same bits.
fn has_one_form(data_type: &DataType) -> bool {
    is_whole(data_type)
        || matches!(
            data_type,
            DataType::Utf8View
                | DataType::Boolean
                | DataType::FixedSizeBinary(_)
                | DataType::Decimal128(..)
        )
}

/// Puts conditions on the left side alone beneath the node.
#[derive(Debug)]
pub(crate) struct PushIntoNearest;

impl OptimizerRule for PushIntoNearest {
    fn name(&self) -> &'static str {
        "push_into_nearest"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = &plan else { return Ok(Transformed::no(plan)) };
        let Some(node) = NearestJoin::of(&filter.input) else { return Ok(Transformed::no(plan)) };
        let of_left = |term: &&Expr| {
            let columns = term.column_refs();
            !columns.is_empty()
                && !term.is_volatile()
                && columns.iter().all(|column| node.left.schema().has_column(column))
        };
        let (left, above): (Vec<&Expr>, Vec<&Expr>) =
            split_conjunction(&filter.predicate).into_iter().partition(of_left);
        let Some(left) = conjunction(left.into_iter().cloned()) else {
            return Ok(Transformed::no(plan));
        };
        let left = LogicalPlanBuilder::from(node.left.clone()).filter(left)?.build()?;
        let inner = NearestJoin { left, ..node.clone() }.plan();
        let plan = match conjunction(above.into_iter().cloned()) {
            Some(above) => LogicalPlanBuilder::from(inner).filter(above)?.build()?,
            None => inner,
        };
        Ok(Transformed::yes(plan))
    }
}
