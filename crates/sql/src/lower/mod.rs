//! A typed logical plan → the algebra a view is kept in.
//!
//! ```text
//!   LogicalPlan ─check─▶ refused, with reason and place
//!        └─simplify (constants, filters down, unused columns away)─▶ LogicalPlan ─lower─▶ ViewNode
//! ```
//!
//! What must hold: names and types of the result are those of the batch plan; only optimiser
//! rules run that change no answer and no aggregate.

mod aggregate;
mod asof;
mod bounded;
mod check;
mod clock;
mod closing;
mod expr;
mod fast;
mod grouping;
mod join;
mod listed;
mod lookup;
mod over;
mod ranked;
mod session;
mod unnest;
mod values;
mod window;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext};

use crate::ast::{Name, Query};
use crate::catalog::Catalog;
use crate::datatype;
use crate::error::{ErrorKind, Span, SqlError};
use crate::lateral::{NearestJoin, PushIntoNearest};
use crate::planner::{Planner, QueryPlan, as_of_now, is_as_of_now};
use crate::rewrite::UNNAMED;
use crate::translate;
use crate::view::{ViewNode, ViewPlan, WindowKind};
use expr::Scope;
use yeoul_batch::{ColumnExpr, ExprRef};

/// Lowers a planned query. `on_close`: where `EMIT ON WINDOW CLOSE` stands, if it does.
pub(crate) fn view(
    planner: &Planner,
    planned: QueryPlan,
    columns: &[Name],
    query: &Query,
    catalog: &dyn Catalog,
    on_close: Option<Span>,
) -> Result<ViewPlan, SqlError> {
    if !planned.parameters.is_empty() {
        return Err(SqlError::new(ErrorKind::UndefinedParameter, "a view has no parameters")
            .hint("put the condition into the query that reads the view")
            .at(query.span));
    }
    let schema = named(&planned.schema, columns, query)?;
    check::plan(&planned.plan, query)?;
    let fail = |e: DataFusionError| translate::planning(e, &query.text, query.span);
    let sources = sources(&planned.plan).map_err(fail)?;
    let plan = simplify(planner, planned.plan).map_err(fail)?;
    check::subqueries(&plan, query)?;
    let lowering = Lowering { planner, catalog, query, closes: on_close.is_some() };
    let lowered = lowering.node(&plan)?;
    let key = lowered.key.clone();
    let mut root = lowered.materialised(&schema)?;
    if let Some(at) = on_close {
        closing::Closing { catalog, at }.close(&mut root)?;
    }
    let append_only = root.append_only();
    let lags = closing::lags(&root, catalog);
    let of_table = bounded::table_beneath(&root, catalog);
    let sources = sources.into_iter().collect();
    Ok(ViewPlan { root, schema, sources, key, append_only, lags, of_table })
}

/// The columns of the view: the query's, under the names that were given.
fn named(schema: &SchemaRef, columns: &[Name], query: &Query) -> Result<SchemaRef, SqlError> {
    if columns.len() > schema.fields().len() {
        return Err(SqlError::new(
            ErrorKind::InvalidDefinition,
            format!("{} names for {} columns", columns.len(), schema.fields().len()),
        )
        .at(columns[schema.fields().len()].span));
    }
    let mut seen = HashSet::new();
    let mut fields = Vec::with_capacity(schema.fields().len());
    for (i, field) in schema.fields().iter().enumerate() {
        let given = columns.get(i);
        let name = given.map_or(field.name(), |n| &n.value);
        let place = given.map(|n| n.span);
        let found = place.or_else(|| query.text.find_name(&[name], query.span));
        let at = found.unwrap_or(query.span);
        if given.is_none() && name == UNNAMED {
            return Err(SqlError::new(
                ErrorKind::InvalidDefinition,
                format!("column {} of the view has no name", i + 1),
            )
            .hint("give it one with AS")
            .at(query.span));
        }
        if !seen.insert(name.clone()) {
            return Err(SqlError::new(
                ErrorKind::DuplicateColumn,
                format!("two columns of the view are called \"{name}\""),
            )
            .hint("give one of them another name with AS")
            .at(at));
        }
        if datatype::stored(field.data_type()).is_none() {
            return Err(SqlError::unsupported(format!("column \"{name}\" cannot be stored"))
                .detail(format!("its type is {}", datatype::sql_name(field)))
                .at(at));
        }
        fields.push(field.as_ref().clone().with_name(name.clone()));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The optimiser's rules that are safe here: they make joins of subqueries, and none of them splits an
/// aggregate or reads a clock.
fn simplify(planner: &Planner, plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let plan = ranked::distinct_on(plan)?;
    let mut options = planner.state().config_options().as_ref().clone();
    // A subquery is a join here, and not something that is run beforehand.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let options = Arc::new(options);
    let context = OptimizerContext::new_with_config_options(options)
        .without_query_execution_start_time()
        .with_skip_failing_rules(false);
    Optimizer::with_rules(vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushIntoNearest),
        Arc::new(PushDownFilter::new()),
        Arc::new(OptimizeProjections::new()),
    ])
    .optimize(plan, &context, |_, _| {})
}

/// The relations that a query names, also where the optimiser sees that their rows do not matter.
fn sources(plan: &LogicalPlan) -> Result<BTreeSet<String>, DataFusionError> {
    let mut names = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let name = scan.table_name.table();
            names.insert(as_of_now(name).unwrap_or(name).to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(names)
}

/// A node, and how the plan above names its columns.
struct Lowered {
    node: ViewNode,
    /// The columns the plan above sees, and where they are in the node's rows. Renaming and
    /// choosing columns changes only this, and costs nothing when rows flow.
    scope: Scope,
    /// Seen columns that are different for every row.
    key: Option<Vec<usize>>,
    /// The windows whose bounds are columns of the node, seen or not.
    windows: Vec<Assigned>,
}

/// A window node beneath, as those above it know it.
#[derive(Clone, Copy)]
struct Assigned {
    kind: WindowKind,
    /// Where the time is in the node's rows, if it is a column.
    time: Option<usize>,
    /// Where the start is in the node's rows; the end is next to it.
    start: usize,
}

impl Lowered {
    /// The node, its rows being exactly the seen columns under the names of `schema`.
    fn materialised(self, schema: &SchemaRef) -> Result<ViewNode, SqlError> {
        let identity = self.scope.columns.iter().copied().eq(0..self.node.schema().fields().len());
        if identity && self.node.schema() == schema {
            return Ok(self.node);
        }
        if identity && only_names_differ(self.node.schema(), schema) {
            return Ok(under_names(self.node, schema));
        }
        let columns = &self.scope.columns;
        let (input, exprs) = match self.node {
            ViewNode::Project { input, exprs, .. } => {
                (input, columns.iter().map(|c| Arc::clone(&exprs[*c])).collect())
            }
            other => (Box::new(other), (0..columns.len()).map(|i| self.scope.column(i)).collect()),
        };
        Ok(ViewNode::Project { input, exprs, schema: Arc::clone(schema) })
    }
}

fn only_names_differ(one: &SchemaRef, other: &SchemaRef) -> bool {
    let unnamed = |f: &Field| renamed(f, "");
    one.fields().len() == other.fields().len()
        && one.fields().iter().zip(other.fields()).all(|(a, b)| unnamed(a) == unnamed(b))
}

/// The node with its columns under the names of `schema`, which differs in nothing else.
fn under_names(mut node: ViewNode, schema: &SchemaRef) -> ViewNode {
    match &mut node {
        ViewNode::Project { schema: names, .. }
        | ViewNode::Union { schema: names, .. }
        | ViewNode::Join { schema: names, .. }
        | ViewNode::AsOf { schema: names, .. }
        | ViewNode::Ranked { schema: names, .. }
        | ViewNode::Sessions { schema: names, .. }
        | ViewNode::Over { schema: names, .. }
        | ViewNode::Expand { schema: names, .. }
        | ViewNode::Unnest { schema: names, .. }
        | ViewNode::Lookup { schema: names, .. }
        | ViewNode::Window { schema: names, .. } => *names = Arc::clone(schema),
        ViewNode::Aggregate { keys, calls, schema: names, .. }
        | ViewNode::Closing { keys, calls, schema: names, .. } => {
            let outputs = schema.fields().iter().skip(keys.len());
            calls.iter_mut().zip(outputs).for_each(|(c, f)| c.output = Arc::clone(f));
            *names = Arc::clone(schema);
        }
        // These hand their input's columns on, names and all.
        ViewNode::Source { .. }
        | ViewNode::Values { .. }
        | ViewNode::Filter { .. }
        | ViewNode::Expiring { .. } => {
            let exprs = (0..).zip(schema.fields());
            let exprs = exprs.map(|(i, f)| column(i, f)).collect();
            let schema = Arc::clone(schema);
            node = ViewNode::Project { input: Box::new(node), exprs, schema };
        }
    }
    node
}

fn column(index: usize, field: &Field) -> ExprRef {
    Arc::new(ColumnExpr::new(index, field.data_type().clone()))
}

struct Lowering<'a> {
    planner: &'a Planner,
    catalog: &'a dyn Catalog,
    query: &'a Query,
    /// Whether rows are told once, when their windows are closed.
    closes: bool,
}

impl Lowering<'_> {
    fn fail(&self, e: DataFusionError) -> SqlError {
        translate::planning(e, &self.query.text, self.query.span)
    }

    fn node(&self, plan: &LogicalPlan) -> Result<Lowered, SqlError> {
        match plan {
            LogicalPlan::TableScan(scan) => self.source(scan),
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.node(&alias.input)?;
                let scope = input.scope.renamed(&alias.schema);
                Ok(Lowered { scope, ..input })
            }
            LogicalPlan::Projection(p) => {
                if let Some(ranked) = self.ranked_projection(p)? {
                    return Ok(ranked);
                }
                let input = self.node(&p.input)?;
                self.project(input, &p.expr, &p.schema)
            }
            LogicalPlan::Filter(f) => {
                if let Some(ranked) = self.ranked_filter(f, &|_| true)? {
                    return Ok(ranked);
                }
                if let Some(expiring) = self.expiring(f)? {
                    return Ok(expiring);
                }
                let input = self.node(&f.input)?;
                let mut predicate = [f.predicate.clone()];
                let seen = input.scope.columns.len();
                let input = self.windowed(input, &mut predicate)?;
                let predicate =
                    input.scope.expr(&predicate[0], self.planner).map_err(|e| self.fail(e))?;
                let scope = input.scope.truncated(seen);
                let node = ViewNode::Filter { input: Box::new(input.node), predicate };
                Ok(Lowered { node, scope, ..input })
            }
            LogicalPlan::Aggregate(a) => self.aggregate(a),
            LogicalPlan::Join(join) if lookup::is_lookup(join) => self.lookup(join),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Window(window) => match self.numbered(window)? {
                Some(numbered) => Ok(numbered),
                None => self.over(window),
            },
            LogicalPlan::Union(u) => self.union(&u.inputs, &u.schema),
            LogicalPlan::Unnest(u) => self.unnest(u),
            LogicalPlan::Values(v) => self.values(v),
            LogicalPlan::Limit(limit) => self.limit(limit),
            // The rows of a view have no order, nor have those of a step.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.node(&sort.input),
            LogicalPlan::EmptyRelation(e) => self.empty(e),
            other => match NearestJoin::of(other) {
                Some(join) => self.nearest(join),
                None => Err(check::refused(other, self.query)),
            },
        }
    }

    fn source(&self, scan: &TableScan) -> Result<Lowered, SqlError> {
        let name = scan.table_name.table();
        if is_as_of_now(name) {
            return Err(check::misplaced_lookup(self.query));
        }
        let relation = self
            .catalog
            .relation(name)
            .ok_or_else(|| crate::planner::unknown_relation(name, None, self.catalog))?;
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(SqlError::new(ErrorKind::Internal, "a view's scan has a filter")
                .at(self.query.span));
        }
        let all = 0..relation.schema.fields().len();
        let columns = scan.projection.clone().unwrap_or_else(|| all.collect());
        let schema: SchemaRef =
            Arc::new(relation.schema.project(&columns).map_err(|e| self.fail(e.into()))?);
        let key = relation
            .primary_key
            .iter()
            .map(|k| columns.iter().position(|c| c == k))
            .collect::<Option<Vec<usize>>>()
            .filter(|k| !k.is_empty());
        let scope = Scope::whole(&scan.projected_schema);
        let node = ViewNode::Source {
            relation: name.to_owned(),
            columns,
            schema,
            append_only: relation.append_only,
        };
        Ok(Lowered { node, scope, key, windows: Vec::new() })
    }

    fn project(
        &self,
        input: Lowered,
        exprs: &[Expr],
        schema: &DFSchema,
    ) -> Result<Lowered, SqlError> {
        let mut exprs: Vec<Expr> = exprs.iter().map(|e| e.clone().unalias_nested().data).collect();
        let input = self.windowed(input, &mut exprs)?;
        let positions: Vec<Option<usize>> = exprs.iter().map(|e| input.scope.position(e)).collect();
        let key = input.key.as_ref().and_then(|key| {
            key.iter()
                .map(|k| positions.iter().position(|p| *p == Some(*k)))
                .collect::<Option<Vec<usize>>>()
        });
        if let Some(positions) = positions.into_iter().collect::<Option<Vec<usize>>>() {
            let scope = input.scope.chosen(&positions, schema);
            return Ok(Lowered { node: input.node, scope, key, windows: input.windows });
        }
        let exprs = exprs
            .iter()
            .map(|e| input.scope.expr(e, self.planner).map_err(|e| self.fail(e)))
            .collect::<Result<Vec<_>, _>>()?;
        let node = ViewNode::Project {
            input: Box::new(input.node),
            exprs,
            schema: Arc::new(schema.as_arrow().clone()),
        };
        Ok(Lowered { node, scope: Scope::whole(schema), key, windows: Vec::new() })
    }

    fn union(&self, inputs: &[Arc<LogicalPlan>], schema: &DFSchema) -> Result<Lowered, SqlError> {
        let arrow: SchemaRef = Arc::new(schema.as_arrow().clone());
        let inputs = inputs
            .iter()
            .map(|input| {
                let lowered = self.node(input)?;
                // Inputs may be stricter about nulls than the union; rows get the union's schema.
                lowered.materialised(&arrow)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let node = ViewNode::Union { inputs, schema: arrow };
        Ok(Lowered { node, scope: Scope::whole(schema), key: None, windows: Vec::new() })
    }
}

/// How an expression is written.
pub(crate) fn describe(expr: &ExprRef) -> String {
    format!("{expr:?}")
}

/// A field under another name.
fn renamed(field: &Field, name: &str) -> Field {
    field.clone().with_name(name)
}
