//! From the plan of a view to the operators that keep it: where `sql` and `flow` meet.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use yeoul_batch::ExprRef;
use yeoul_flow::{
    AggregateCall, AggregateSpec, AsOfSpec, ClockCondition, FlowError, Function, Graph,
    GraphBuilder, JoinKind, JoinSpec, JoinTimes, Limits, LookupSpec, NamedExpr, Nearest, NodeId,
    Order, OverSpec, RankFunction, RankedSpec, Release, SessionsSpec, Window,
};
use yeoul_sql::{AggregateFunction, GroupTime, ViewNode, ViewPlan, WindowKind};

use crate::error::{EngineError, ErrorKind};

/// The sources of a plan as the graph numbers them: relation name and columns.
pub(crate) type Sources = Vec<(String, Vec<usize>)>;

/// The operators of `plan`, and what its sources read.
pub(crate) fn build(plan: &ViewPlan, limits: &Limits) -> Result<(Graph, Sources), EngineError> {
    let (builder, known) = (GraphBuilder::new().limits(limits.clone()), HashMap::new());
    let mut building = Building { builder, sources: Vec::new(), known };
    let graph = building
        .node(&plan.root)
        .and_then(|root| {
            let root = building.builder.named(root, &plan.schema);
            building.builder.output(root, false)
        })
        .map_err(|e| EngineError::new(ErrorKind::Input, e.to_string()).with_sqlstate("0A000"))?;
    Ok((graph, building.sources))
}

/// Steps that do the same with the same rows are one step: what a query asks for twice is kept once.
struct Building {
    builder: GraphBuilder,
    sources: Sources,
    /// The node of each step, by what it does and the nodes beneath.
    known: HashMap<String, NodeId>,
}

impl Building {
    fn node(&mut self, plan: &ViewNode) -> Result<NodeId, FlowError> {
        let inputs: Vec<NodeId> =
            plan.inputs().into_iter().map(|input| self.node(input)).collect::<Result<_, _>>()?;
        let does = format!("{inputs:?} {}", does(plan));
        if let Some(node) = self.known.get(&does) {
            return Ok(*node);
        }
        let node = self.step(plan, &inputs)?;
        self.known.insert(does, node);
        Ok(node)
    }

    fn step(&mut self, plan: &ViewNode, inputs: &[NodeId]) -> Result<NodeId, FlowError> {
        match (plan, inputs) {
            (ViewNode::Source { relation, columns, schema, append_only }, _) => {
                self.sources.push((relation.clone(), columns.clone()));
                Ok(self.builder.source(Arc::clone(schema), *append_only))
            }
            (ViewNode::Values { rows, .. }, _) => Ok(self.builder.values(rows.clone())),
            (ViewNode::Filter { predicate, .. }, &[input]) => {
                self.builder.filter(input, Arc::clone(predicate))
            }
            (ViewNode::Project { exprs, schema, .. }, &[input]) => {
                self.builder.project(input, named(exprs, schema))
            }
            (ViewNode::Window { time, kind, .. }, &[input]) => {
                self.builder.window(input, window(time, *kind))
            }
            (ViewNode::Lookup { relation, columns, .. }, &[input]) => {
                self.sources.push((relation.clone(), columns.clone()));
                self.lookup(input, plan)
            }
            (ViewNode::Join { schema, .. }, &[left, right]) => {
                let joined = self.join(left, right, plan)?;
                Ok(self.builder.named(joined, schema))
            }
            (ViewNode::AsOf { schema, .. }, &[left, right]) => {
                let joined = self.builder.as_of(left, right, &as_of(plan))?;
                Ok(self.builder.named(joined, schema))
            }
            (ViewNode::Over { partition, function, whole, schema, .. }, &[input]) => {
                let (partition, function) = (partition.clone(), Arc::clone(function));
                let (whole, rows_max) = (*whole, OverSpec::ROWS_MAX);
                let spec = OverSpec { partition, function, whole, rows_max };
                let over = self.builder.over(input, spec)?;
                Ok(self.builder.named(over, schema))
            }
            (ViewNode::Ranked { schema, .. }, &[input]) => {
                let ranked = self.builder.ranked(input, ranked(plan))?;
                Ok(self.builder.named(ranked, schema))
            }
            (ViewNode::Sessions { keys, time, gap_us, calls, lag_us, schema, .. }, &[input]) => {
                let spec = SessionsSpec {
                    keys: named(keys, schema),
                    time: Arc::clone(time),
                    gap_us: *gap_us,
                    calls: calls.iter().map(call).collect(),
                    lag_us: *lag_us,
                };
                let sessions = self.builder.sessions(input, spec)?;
                Ok(self.builder.named(sessions, schema))
            }
            (ViewNode::Expiring { conditions, .. }, &[input]) => {
                let conditions: Vec<_> = conditions.iter().map(by_the_clock).collect();
                self.builder.expiring(input, &conditions)
            }
            (ViewNode::Closing { input: below, keys, calls, window, lag_us, schema }, &[input]) => {
                let calls = calls.iter().map(call).collect();
                let keys = named(keys, schema);
                let spec = AggregateSpec { keys, calls, append_only: below.append_only() };
                self.builder.closing(input, spec, *window, *lag_us)
            }
            (ViewNode::Expand { lists, schema, .. }, &[input]) => {
                self.builder.expand(input, lists.clone(), Arc::clone(schema))
            }
            (ViewNode::Unnest { lists, outer, schema, .. }, &[input]) => {
                let unnested = self.builder.unnest(input, lists.clone(), *outer)?;
                Ok(self.builder.named(unnested, schema))
            }
            (ViewNode::Union { .. }, inputs) => self.builder.union(inputs),
            (ViewNode::Aggregate { .. }, &[input]) => self.aggregate(input, plan),
            _ => unreachable!("a step has the inputs that its plan has"),
        }
    }

    fn aggregate(&mut self, input: NodeId, plan: &ViewNode) -> Result<NodeId, FlowError> {
        let ViewNode::Aggregate { input: below, keys, calls, released, schema } = plan else {
            unreachable!("an aggregate is lowered from an aggregate");
        };
        let calls = calls.iter().map(call).collect();
        let keys = named(keys, schema);
        let spec = AggregateSpec { keys, calls, append_only: below.append_only() };
        match *released {
            None => self.builder.aggregate(input, spec),
            Some(GroupTime { key: column, lag_us: kept_us }) => {
                self.builder.released(input, spec, Release { column, kept_us })
            }
        }
    }

    fn lookup(&mut self, input: NodeId, plan: &ViewNode) -> Result<NodeId, FlowError> {
        let ViewNode::Lookup { table, primary_key, keys, condition, outer, .. } = plan else {
            unreachable!("a lookup is lowered from a lookup");
        };
        let spec = LookupSpec {
            table: Arc::clone(table),
            primary_key: primary_key.clone(),
            keys: keys.clone(),
            condition: condition.clone(),
            outer: *outer,
        };
        self.builder.lookup(input, spec)
    }

    fn join(&mut self, left: NodeId, right: NodeId, plan: &ViewNode) -> Result<NodeId, FlowError> {
        let ViewNode::Join { kind, on, nulls_equal, residual, released, .. } = plan else {
            unreachable!("a join is lowered from a join");
        };
        let times = released.as_ref().ok().map(times);
        let spec = JoinSpec {
            kind: join(*kind),
            on: on.clone(),
            nulls_equal: *nulls_equal,
            residual: residual.clone(),
            times,
            mark: None,
        };
        self.builder.join(left, right, spec)
    }
}

/// What a step does, in words that are different for different steps; whatever it does it with.
fn does(plan: &ViewNode) -> String {
    let types: Vec<_> =
        plan.schema().fields().iter().map(|f| (f.data_type(), f.is_nullable())).collect();
    let all = |exprs: &[ExprRef]| exprs.iter().map(|e| e.identity()).collect::<Vec<_>>();
    let ordered = |order: &[yeoul_sql::OrderBy]| {
        let one = |o: &yeoul_sql::OrderBy| (o.expr.identity(), o.descending, o.nulls_first);
        order.iter().map(one).collect::<Vec<_>>()
    };
    let call = |c: &yeoul_sql::AggregateCall| {
        let filter = c.filter.as_ref().map(|f| f.identity());
        let how = (c.function, c.distinct, c.ignore_nulls);
        format!("{how:?} {:?} {filter:?} {:?}", all(&c.args), ordered(&c.order_by))
    };
    let what = match plan {
        ViewNode::Source { relation, columns, append_only, .. } => {
            format!("source {relation:?} {columns:?} {append_only}")
        }
        ViewNode::Values { rows, .. } => format!("values {rows:?}"),
        ViewNode::Filter { predicate, .. } => format!("filter {}", predicate.identity()),
        ViewNode::Project { exprs, .. } => format!("project {:?}", all(exprs)),
        ViewNode::Window { time, kind, .. } => format!("window {} {kind:?}", time.identity()),
        ViewNode::Lookup { relation, columns, keys, condition, outer, .. } => {
            let condition = condition.as_ref().map(|c| c.identity());
            format!("lookup {relation:?} {columns:?} {:?} {condition:?} {outer}", all(keys))
        }
        ViewNode::Join { kind, on, nulls_equal, residual, released, .. } => {
            let on: Vec<_> = on.iter().map(|(l, r)| (l.identity(), r.identity())).collect();
            let residual = residual.as_ref().map(|r| r.identity());
            format!("join {kind:?} {on:?} {nulls_equal} {residual:?} {:?}", released.as_ref().ok())
        }
        ViewNode::AsOf { on, near, nearest, outer, released, .. } => {
            let of = |(l, r): &(ExprRef, ExprRef)| (l.identity(), r.identity());
            let (on, near): (Vec<_>, _) = (on.iter().map(of).collect(), of(near));
            format!("as of {on:?} {near:?} {nearest:?} {outer} {:?}", released.as_ref().ok())
        }
        ViewNode::Ranked { partition, order, function, first, last, rank, .. } => {
            let (of, by, shown) = (all(partition), ordered(order), rank.is_some());
            format!("ranked {of:?} {by:?} {function:?} {first} {last} {shown}")
        }
        ViewNode::Over { partition, function, whole, .. } => {
            format!("over {:?} {function:?} {whole}", all(partition))
        }
        ViewNode::Expand { lists, .. } => {
            format!("expand {:?}", lists.iter().map(|list| all(list)).collect::<Vec<_>>())
        }
        ViewNode::Unnest { lists, outer, .. } => format!("unnest {lists:?} {outer}"),
        ViewNode::Union { .. } => "union".to_owned(),
        ViewNode::Expiring { conditions, .. } => {
            let one = |c: &yeoul_sql::ClockCondition| (c.time.identity(), c.shift_us, c.comes);
            format!("expiring {:?}", conditions.iter().map(one).collect::<Vec<_>>())
        }
        ViewNode::Closing { keys, calls, window, lag_us, .. } => {
            let calls: Vec<String> = calls.iter().map(call).collect();
            format!("closing {:?} {calls:?} {window} {lag_us}", all(keys))
        }
        ViewNode::Sessions { keys, time, gap_us, calls, lag_us, .. } => {
            let calls: Vec<String> = calls.iter().map(call).collect();
            let of = (all(keys), time.identity());
            format!("sessions {of:?} {gap_us} {calls:?} {lag_us:?}")
        }
        ViewNode::Aggregate { keys, calls, released, .. } => {
            let calls: Vec<String> = calls.iter().map(call).collect();
            format!("aggregate {:?} {calls:?} {released:?}", all(keys))
        }
    };
    format!("{what} {types:?}")
}

/// The expressions under the names of the first columns of `schema`.
fn named(exprs: &[ExprRef], schema: &SchemaRef) -> Vec<NamedExpr> {
    let fields = exprs.iter().zip(schema.fields());
    fields.map(|(expr, field)| NamedExpr::with_field(Arc::clone(field), Arc::clone(expr))).collect()
}

fn times(times: &yeoul_sql::JoinTimes) -> JoinTimes {
    JoinTimes { columns: times.columns, lags_us: times.lags_us, kept_us: times.kept_us }
}

fn as_of(plan: &ViewNode) -> AsOfSpec {
    let ViewNode::AsOf { on, near, nearest, outer, released, .. } = plan else {
        unreachable!("an ASOF join is lowered from one");
    };
    AsOfSpec {
        on: on.clone(),
        near: near.clone(),
        nearest: match nearest {
            yeoul_sql::Nearest::NotAfter => Nearest::NotAfter,
            yeoul_sql::Nearest::Before => Nearest::Before,
            yeoul_sql::Nearest::NotBefore => Nearest::NotBefore,
            yeoul_sql::Nearest::After => Nearest::After,
        },
        outer: *outer,
        times: released.as_ref().ok().map(times),
    }
}

fn ranked(plan: &ViewNode) -> RankedSpec {
    let ViewNode::Ranked { partition, order, function, first, last, rank, .. } = plan else {
        unreachable!("a ranking is lowered from a ranking");
    };
    RankedSpec {
        partition: partition.clone(),
        order: order.iter().map(in_order).collect(),
        function: match function {
            yeoul_sql::RankFunction::RowNumber => RankFunction::RowNumber,
            yeoul_sql::RankFunction::Rank => RankFunction::Rank,
            yeoul_sql::RankFunction::DenseRank => RankFunction::DenseRank,
        },
        first: *first,
        last: *last,
        rank: rank.clone(),
    }
}

fn by_the_clock(condition: &yeoul_sql::ClockCondition) -> ClockCondition {
    let yeoul_sql::ClockCondition { time, shift_us, comes } = condition;
    ClockCondition { time: Arc::clone(time), shift_us: *shift_us, comes: *comes }
}

fn in_order(order: &yeoul_sql::OrderBy) -> Order {
    let yeoul_sql::OrderBy { expr, descending, nulls_first } = order;
    Order { expr: Arc::clone(expr), descending: *descending, nulls_first: *nulls_first }
}

fn join(kind: yeoul_sql::JoinKind) -> JoinKind {
    match kind {
        yeoul_sql::JoinKind::Inner => JoinKind::Inner,
        yeoul_sql::JoinKind::Left => JoinKind::Left,
        yeoul_sql::JoinKind::Right => JoinKind::Right,
        yeoul_sql::JoinKind::Full => JoinKind::Full,
        yeoul_sql::JoinKind::Semi => JoinKind::Semi,
        yeoul_sql::JoinKind::Anti => JoinKind::Anti,
        yeoul_sql::JoinKind::Mark => JoinKind::Mark,
    }
}

fn window(time: &ExprRef, kind: WindowKind) -> Window {
    let time = Arc::clone(time);
    match kind {
        WindowKind::Tumble { size_us, offset_us } => {
            Window::tumble(time, size_us).with_offset(offset_us)
        }
        WindowKind::Hop { slide_us, size_us, offset_us } => {
            Window::hop(time, slide_us, size_us).with_offset(offset_us)
        }
        WindowKind::Cumulate { step_us, size_us, offset_us } => {
            Window::cumulate(time, step_us, size_us).with_offset(offset_us)
        }
    }
}

fn call(call: &yeoul_sql::AggregateCall) -> AggregateCall {
    let function = match call.function {
        AggregateFunction::Count => Function::Count,
        AggregateFunction::Sum => Function::Sum,
        AggregateFunction::Avg => Function::Avg,
        AggregateFunction::Min => Function::Min,
        AggregateFunction::Max => Function::Max,
        AggregateFunction::ApproxDistinct => Function::ApproxCountDistinct,
        AggregateFunction::ApproxPercentile(p) => Function::ApproxPercentile(p),
        AggregateFunction::FirstValue => Function::FirstValue,
        AggregateFunction::LastValue => Function::LastValue,
        AggregateFunction::ArrayAgg => Function::ArrayAgg,
        AggregateFunction::BoolAnd => Function::BoolAnd,
        AggregateFunction::BoolOr => Function::BoolOr,
        AggregateFunction::StddevSamp => Function::Stddev,
        AggregateFunction::StddevPop => Function::StddevPop,
        AggregateFunction::VarSamp => Function::Variance,
        AggregateFunction::VarPop => Function::VariancePop,
    };
    AggregateCall {
        name: call.output.name().clone(),
        function,
        arguments: call.args.clone(),
        filter: call.filter.clone(),
        distinct: call.distinct,
        order_by: call.order_by.iter().map(in_order).collect(),
    }
}

/// The columns of a view's rows that are nothing but a key of its (last) aggregate, or a column of the ranking
/// that it ends in: output column name → position of the key or column.
pub(crate) fn plain_columns(plan: &ViewPlan) -> HashMap<String, usize> {
    let columns = positions(&plan.root);
    plan.schema
        .fields()
        .iter()
        .zip(columns)
        .filter_map(|(field, key)| Some((field.name().clone(), key?)))
        .collect()
}

/// For each output column of `plan`, the key of the aggregate below, or the column of the ranking, that it
/// equals.
fn positions(plan: &ViewNode) -> Vec<Option<usize>> {
    match plan {
        ViewNode::Filter { input, .. } | ViewNode::Expiring { input, .. } => positions(input),
        ViewNode::Project { input, exprs, .. } => {
            let below = positions(input);
            exprs
                .iter()
                .map(|expr| {
                    expr.as_column().and_then(|column| below.get(column).copied().flatten())
                })
                .collect()
        }
        ViewNode::Aggregate { keys, schema, .. } => {
            (0..schema.fields().len()).map(|i| (i < keys.len()).then_some(i)).collect()
        }
        ViewNode::Ranked { schema, .. } => (0..schema.fields().len()).map(Some).collect(),
        ViewNode::Source { schema, .. }
        | ViewNode::Values { schema, .. }
        | ViewNode::Lookup { schema, .. }
        | ViewNode::Join { schema, .. }
        | ViewNode::AsOf { schema, .. }
        | ViewNode::Sessions { schema, .. }
        | ViewNode::Over { schema, .. }
        | ViewNode::Expand { schema, .. }
        | ViewNode::Unnest { schema, .. }
        | ViewNode::Closing { schema, .. }
        | ViewNode::Window { schema, .. }
        | ViewNode::Union { schema, .. } => vec![None; schema.fields().len()],
    }
}
