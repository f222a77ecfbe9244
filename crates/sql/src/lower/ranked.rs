//! The first rows of an order: `ROW_NUMBER() OVER (…) <= n`, `ORDER BY … LIMIT n`, `DISTINCT ON`.
//!
//! ```text
//!   Filter: rn <= 3                       ─▶  Ranked 1..3, its number hidden where nobody sees it
//!     Window: row_number() AS rn
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Distinct, DistinctOn, Expr, ExprFunctionExt, FetchType, Filter, Limit,
    LogicalPlan, LogicalPlanBuilder, Operator, Projection, SkipType, TryCast, Window,
    WindowFunctionDefinition, lit,
};

use super::expr::Scope;
use super::{Lowered, Lowering, check};
use crate::error::SqlError;
use crate::view::{OrderBy, RankFunction, ViewNode};

/// Which numbers are wanted, from one to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    first: u64,
    last: u64,
}

const ALL: Bounds = Bounds { first: 1, last: u64::MAX };

/// What is numbered, by what.
struct Numbering<'a> {
    function: RankFunction,
    partition: &'a [Expr],
    order: &'a [Sort],
}

/// The numbering that a window node is, if it is one and nothing else.
fn numbering(window: &Window) -> Option<Numbering<'_>> {
    let [expr] = window.window_expr.as_slice() else { return None };
    let expr = match expr {
        Expr::Alias(alias) => &alias.expr,
        other => other,
    };
    let Expr::WindowFunction(call) = expr else { return None };
    let WindowFunction { fun: WindowFunctionDefinition::WindowUDF(udf), params } = &**call else {
        return None;
    };
    let function = match udf.name() {
        "row_number" => RankFunction::RowNumber,
        "rank" => RankFunction::Rank,
        "dense_rank" => RankFunction::DenseRank,
        _ => return None,
    };
    let plain = params.args.is_empty() && params.filter.is_none();
    plain.then_some(Numbering {
        function,
        partition: &params.partition_by,
        order: &params.order_by,
    })
}

/// Whether a window node numbers rows that are equal: the numbers follow from the rows without an order.
pub(super) fn counts_equal_rows(window: &Window) -> bool {
    numbering(window).is_some_and(|numbering| all_are_equal(window, &numbering))
}

/// Whether the rows of a partition are equal.
fn all_are_equal(window: &Window, numbering: &Numbering<'_>) -> bool {
    let columns = window.input.schema().columns();
    columns.iter().all(|c| numbering.partition.iter().any(|p| p.try_as_col() == Some(c)))
}

fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => uncast(expr),
        other => other,
    }
}

fn whole_number(expr: &Expr) -> Option<i128> {
    let Expr::Literal(value, _) = uncast(expr) else { return None };
    match value {
        ScalarValue::Int8(Some(v)) => Some(i128::from(*v)),
        ScalarValue::Int16(Some(v)) => Some(i128::from(*v)),
        ScalarValue::Int32(Some(v)) => Some(i128::from(*v)),
        ScalarValue::Int64(Some(v)) => Some(i128::from(*v)),
        ScalarValue::UInt8(Some(v)) => Some(i128::from(*v)),
        ScalarValue::UInt16(Some(v)) => Some(i128::from(*v)),
        ScalarValue::UInt32(Some(v)) => Some(i128::from(*v)),
        ScalarValue::UInt64(Some(v)) => Some(i128::from(*v)),
        _ => None,
    }
}

/// The numbers that `predicate` allows, and what else it asks. `None` when there is no greatest number.
fn bounds(predicate: &Expr, number: &Expr) -> Option<(Bounds, Vec<Expr>)> {
    let (mut first, mut last) = (1i128, i128::MAX);
    let mut rest = Vec::new();
    for term in split_conjunction(predicate) {
        let range = match term {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if uncast(left) == number => {
                whole_number(right).and_then(|n| range(*op, n))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if uncast(right) == number => {
                whole_number(left).and_then(|n| range(op.swap()?, n))
            }
            Expr::Between(between) if !between.negated && uncast(&between.expr) == number => {
                whole_number(&between.low).zip(whole_number(&between.high))
            }
            _ => None,
        };
        match range {
            Some((low, high)) => (first, last) = (first.max(low), last.min(high)),
            None => rest.push(term.clone()),
        }
    }
    if last == i128::MAX {
        return None;
    }
    let first = u64::try_from(first).unwrap_or(u64::MAX);
    Some((Bounds { first, last: u64::try_from(last.max(0)).unwrap_or(u64::MAX) }, rest))
}

fn range(op: Operator, n: i128) -> Option<(i128, i128)> {
    match op {
        Operator::Eq => Some((n, n)),
        Operator::Lt => Some((i128::MIN, n - 1)),
        Operator::LtEq => Some((i128::MIN, n)),
        Operator::Gt => Some((n + 1, i128::MAX)),
        Operator::GtEq => Some((n, i128::MAX)),
        _ => None,
    }
}

impl Lowering<'_> {
    /// A filter that bounds a numbering; `None` when it is none. `seen`: whether somebody above sees the
    /// number.
    pub(super) fn ranked_filter(
        &self,
        filter: &Filter,
        seen: &dyn Fn(&Expr) -> bool,
    ) -> Result<Option<Lowered>, SqlError> {
        // Columns that nobody needs are dropped between the two.
        let (window, chosen) = match &*filter.input {
            LogicalPlan::Window(window) => (window, None),
            LogicalPlan::Projection(p) if p.expr.iter().all(|e| e.try_as_col().is_some()) => {
                let LogicalPlan::Window(window) = &*p.input else { return Ok(None) };
                (window, Some(p))
            }
            _ => return Ok(None),
        };
        let Some(numbering) = numbering(window) else { return Ok(None) };
        let number = number_of(window);
        let Some((bounds, rest)) = bounds(&filter.predicate, &number) else { return Ok(None) };
        let used = |exprs: &[Expr]| exprs.iter().any(|e| mentions(e, &number));
        let shown = seen(&number) || used(&rest);
        let mut lowered = self.ranked(window, &numbering, bounds, shown)?;
        if let Some(chosen) = chosen {
            let kept = |(at, _): &(usize, &Expr)| shown || chosen.expr[*at] != number;
            let (at, exprs): (Vec<usize>, Vec<Expr>) =
                chosen.expr.iter().enumerate().filter(kept).map(|(at, e)| (at, e.clone())).unzip();
            let fields = at.iter().map(|&at| {
                let (qualifier, field) = chosen.schema.qualified_field(at);
                (qualifier.cloned(), Arc::clone(field))
            });
            let schema = DFSchema::new_with_metadata(fields.collect(), HashMap::new());
            lowered = self.project(lowered, &exprs, &schema.map_err(|e| self.fail(e))?)?;
        }
        let Some(rest) = conjunction(rest) else { return Ok(Some(lowered)) };
        let predicate = lowered.scope.expr(&rest, self.planner).map_err(|e| self.fail(e))?;
        let node = ViewNode::Filter { input: Box::new(lowered.node), predicate };
        Ok(Some(Lowered { node, ..lowered }))
    }

    /// A projection over a filter that bounds a numbering, of which it may not see the number.
    pub(super) fn ranked_projection(
        &self,
        projection: &Projection,
    ) -> Result<Option<Lowered>, SqlError> {
        let LogicalPlan::Filter(filter) = &*projection.input else { return Ok(None) };
        let seen = |number: &Expr| projection.expr.iter().any(|e| mentions(e, number));
        let Some(input) = self.ranked_filter(filter, &seen)? else { return Ok(None) };
        self.project(input, &projection.expr, &projection.schema).map(Some)
    }

    /// A numbering of all rows, where equal rows are counted.
    pub(super) fn numbered(&self, window: &Window) -> Result<Option<Lowered>, SqlError> {
        match numbering(window) {
            Some(numbering) if all_are_equal(window, &numbering) => {
                self.ranked(window, &numbering, ALL, true).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn ranked(
        &self,
        window: &Window,
        numbering: &Numbering<'_>,
        bounds: Bounds,
        shown: bool,
    ) -> Result<Lowered, SqlError> {
        let rank = window.schema.fields().last().filter(|_| shown).cloned();
        let scope = match &rank {
            Some(_) => Scope::whole(&window.schema),
            None => Scope::whole(window.input.schema()),
        };
        let input = self.narrowed(&window.input)?;
        let partition = self.exprs(&input.scope, numbering.partition)?;
        let order = self.order(&input.scope, numbering.order)?;
        let key = key(&input, numbering, bounds, shown);
        let schema = with_rank(input.node.schema(), rank.as_deref());
        let node = ViewNode::Ranked {
            input: Box::new(input.node),
            partition,
            order,
            function: numbering.function,
            first: bounds.first,
            last: bounds.last,
            rank,
            schema,
        };
        Ok(Lowered { node, scope, key, windows: Vec::new() })
    }

    fn exprs(&self, scope: &Scope, exprs: &[Expr]) -> Result<Vec<yeoul_batch::ExprRef>, SqlError> {
        exprs.iter().map(|e| scope.expr(e, self.planner).map_err(|e| self.fail(e))).collect()
    }

    fn order(&self, scope: &Scope, order: &[Sort]) -> Result<Vec<OrderBy>, SqlError> {
        let one = |sort: &Sort| {
            let expr = scope.expr(&sort.expr, self.planner).map_err(|e| self.fail(e))?;
            Ok(OrderBy { expr, descending: !sort.asc, nulls_first: sort.nulls_first })
        };
        order.iter().map(one).collect()
    }

    /// `ORDER BY … LIMIT n OFFSET m`.
    pub(super) fn limit(&self, limit: &Limit) -> Result<Lowered, SqlError> {
        let skip = match limit.get_skip_type().map_err(|e| self.fail(e))? {
            SkipType::Literal(skip) => skip as u64,
            SkipType::UnsupportedExpr => return Err(self.no_limit(limit)),
        };
        let last = match limit.get_fetch_type().map_err(|e| self.fail(e))? {
            FetchType::Literal(None) => u64::MAX,
            FetchType::Literal(Some(fetch)) => skip.saturating_add(fetch as u64),
            FetchType::UnsupportedExpr => return Err(self.no_limit(limit)),
        };
        self.first_of(&limit.input, limit, Bounds { first: skip.saturating_add(1), last })
    }

    fn no_limit(&self, limit: &Limit) -> SqlError {
        check::refused(&LogicalPlan::Limit(limit.clone()), self.query)
    }

    /// The rows of some numbers of an ordered plan.
    fn first_of(
        &self,
        plan: &LogicalPlan,
        limit: &Limit,
        bounds: Bounds,
    ) -> Result<Lowered, SqlError> {
        match plan {
            LogicalPlan::Projection(p) => {
                let input = self.first_of(&p.input, limit, bounds)?;
                self.project(input, &p.expr, &p.schema)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.first_of(&alias.input, limit, bounds)?;
                let scope = input.scope.renamed(&alias.schema);
                Ok(Lowered { scope, ..input })
            }
            LogicalPlan::Sort(sort) => {
                let input = self.narrowed(&sort.input)?;
                let order = self.order(&input.scope, &sort.expr)?;
                let schema = Arc::clone(input.node.schema());
                let node = ViewNode::Ranked {
                    input: Box::new(input.node),
                    partition: Vec::new(),
                    order,
                    function: RankFunction::RowNumber,
                    first: bounds.first,
                    last: bounds.last,
                    rank: None,
                    schema,
                };
                Ok(Lowered { node, ..input })
            }
            _ => Err(self.no_limit(limit)),
        }
    }
}

/// The column of a window node that is the number.
fn number_of(window: &Window) -> Expr {
    let last = window.schema.fields().len() - 1;
    Expr::Column(window.schema.qualified_field(last).into())
}

fn mentions(expr: &Expr, number: &Expr) -> bool {
    expr.exists(|e| Ok(e == number)).unwrap_or(true)
}

fn with_rank(input: &SchemaRef, rank: Option<&Field>) -> SchemaRef {
    let fields = input.fields().iter().map(|f| f.as_ref().clone()).chain(rank.cloned());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns that are different for every ranked row: what tells partitions apart, and the number.
fn key(
    input: &Lowered,
    numbering: &Numbering<'_>,
    bounds: Bounds,
    shown: bool,
) -> Option<Vec<usize>> {
    let one = bounds.last <= bounds.first;
    if numbering.function != RankFunction::RowNumber || !(one || shown) {
        return input.key.clone();
    }
    let partition = numbering.partition.iter().map(|p| input.scope.position(p));
    let mut key = partition.collect::<Option<Vec<usize>>>()?;
    if !one {
        key.push(input.node.schema().fields().len());
    }
    Some(key)
}

/// `DISTINCT ON (…)` as the row of number 1.
pub(super) fn distinct_on(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Distinct(Distinct::On(on)) => first_of_each(on).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn first_of_each(on: DistinctOn) -> Result<LogicalPlan, DataFusionError> {
    let call =
        WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number_udwf()), Vec::new());
    let number = Expr::from(call)
        .partition_by(on.on_expr)
        .order_by(on.sort_expr.unwrap_or_default())
        .build()?;
    let numbered =
        LogicalPlanBuilder::from(Arc::unwrap_or_clone(on.input)).window(vec![number])?.build()?;
    let LogicalPlan::Window(window) = &numbered else {
        return Err(DataFusionError::Internal("a window node was asked for".to_owned()));
    };
    let first = number_of(window).eq(lit(1u64));
    let input = Arc::new(LogicalPlanBuilder::from(numbered).filter(first)?.build()?);
    let projection = Projection::try_new_with_schema(on.select_expr, input, on.schema)?;
    Ok(LogicalPlan::Projection(projection))
}
