//! Puts a graph together, operator by operator, from the sources up.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use yeoul_batch::{ColumnExpr, ExprRef};

use super::compile::{Compiler, fold_alone};
use super::stage::{Stage, Target};
use super::{CacheBudget, Graph, Release, SourceIndex, StepTime, TreeShape};
use crate::aggregate::{Aggregate, AggregateSpec, NamedExpr};
use crate::error::FlowError;
use crate::linear::{self, Expand, Linear, Lookup, LookupSpec, Unnest, Window};
use crate::operator::{
    AsOf, AsOfSpec, ClockCondition, Expiring, Join, JoinSpec, Operator, Over, OverSpec, Ranked,
    RankedSpec, Sessions, SessionsSpec,
};

/// A node of a graph being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(usize);

#[derive(Debug)]
pub(super) enum Kind {
    Source(SourceIndex),
    Values(RecordBatch),
    Linear {
        input: usize,
        operator: Linear,
    },
    Union {
        inputs: Vec<usize>,
    },
    Aggregate {
        input: usize,
        aggregate: Arc<Aggregate>,
        release: Option<Release>,
    },
    /// An aggregate whose groups are told when their window is closed.
    Closing {
        input: usize,
        aggregate: Arc<Aggregate>,
        lag_us: i64,
    },
    /// The operator is taken by the stage that it becomes.
    Operator {
        inputs: Vec<usize>,
        operator: Option<Box<dyn Operator>>,
    },
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) schema: SchemaRef,
    append_only: bool,
}

/// Builds a [`Graph`]. Nodes can be used more than once.
#[derive(Debug)]
pub struct GraphBuilder {
    pub(super) nodes: Vec<Node>,
    sources: Vec<SchemaRef>,
    lookups: Vec<(SourceIndex, Arc<Lookup>)>,
    pub(super) limits: Limits,
}

/// How much a graph holds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What tracked aggregates, lookups, rankings and sides of joins know of their trees, together.
    pub caches: CacheBudget,
    /// The rows that an operator gives in one step, except to an aggregate that alone hears them.
    pub change_bytes_max: usize,
    /// About how many rows an operator works with at once, where it can go by parts.
    pub rows_at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let caches = CacheBudget::new(128 << 20);
        Self { caches, change_bytes_max: 256 << 20, rows_at_once: 1 << 18 }
    }
}

impl Default for GraphBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl GraphBuilder {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self {
            nodes: Vec::new(),
            sources: Vec::new(),
            lookups: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// Says how much is held, before anything is added.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The columns of a node.
    #[must_use]
    pub fn schema(&self, node: NodeId) -> &SchemaRef {
        &self.nodes[node.0].schema
    }

    /// Whether a node's rows are only ever added.
    #[must_use]
    pub fn append_only(&self, node: NodeId) -> bool {
        self.nodes[node.0].append_only
    }

    /// The next input, [`SourceIndex`] 0 for the first. `append_only`: no update of it takes a
    /// row back (a stream; not a table, and not a view that aggregates).
    pub fn source(&mut self, schema: SchemaRef, append_only: bool) -> NodeId {
        let source = SourceIndex(self.sources.len());
        self.sources.push(Arc::clone(&schema));
        self.add(Kind::Source(source), schema, append_only)
    }

    /// Constant rows.
    pub fn values(&mut self, rows: RecordBatch) -> NodeId {
        let schema = rows.schema();
        self.add(Kind::Values(rows), schema, true)
    }

    /// Keeps the rows for which `condition` is true.
    pub fn filter(&mut self, node: NodeId, condition: ExprRef) -> Result<NodeId, FlowError> {
        linear::check_condition(&condition, "a condition")?;
        let schema = Arc::clone(self.schema(node));
        Ok(self.linear(node, Linear::Filter(condition), schema))
    }

    /// Replaces the columns.
    pub fn project(&mut self, node: NodeId, columns: Vec<NamedExpr>) -> Result<NodeId, FlowError> {
        for NamedExpr { field, expr } in &columns {
            if field.data_type() != expr.data_type() {
                let (name, declared, computed) =
                    (field.name(), field.data_type(), expr.data_type());
                return Err(FlowError::Unsupported(format!(
                    "column \"{name}\" is declared {declared} and computed as {computed}"
                )));
            }
        }
        let fields: Vec<_> = columns.iter().map(|c| Arc::clone(&c.field)).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let exprs = columns.into_iter().map(|c| c.expr).collect();
        let operator = Linear::Project { exprs, schema: Arc::clone(&schema) };
        Ok(self.linear(node, operator, schema))
    }

    /// Adds `window_start` and `window_end`; rows without a time are dropped.
    pub fn window(&mut self, node: NodeId, window: Window) -> Result<NodeId, FlowError> {
        window.check()?;
        let schema = window.schema(self.schema(node));
        Ok(self.linear(node, Linear::Window(Arc::new(window)), schema))
    }

    /// Adds the columns of a table, which is the next input; its rows are looked up by key as of each
    /// step, and no rows come from it.
    pub fn lookup(&mut self, node: NodeId, spec: LookupSpec) -> Result<NodeId, FlowError> {
        if !self.append_only(node) {
            return Err(FlowError::Unsupported(
                "rows that can change cannot be looked up as of the time they come".into(),
            ));
        }
        let lookup = Arc::new(Lookup::new(spec, self.schema(node), &self.limits.caches)?);
        let source = SourceIndex(self.sources.len());
        self.sources.push(Arc::clone(lookup.table()));
        self.lookups.push((source, Arc::clone(&lookup)));
        let schema = Arc::clone(lookup.schema());
        Ok(self.linear(node, Linear::Lookup(lookup), schema))
    }

    /// Each row once per list of expressions, which are the columns of `schema`.
    pub fn expand(
        &mut self,
        node: NodeId,
        lists: Vec<Vec<ExprRef>>,
        schema: SchemaRef,
    ) -> Result<NodeId, FlowError> {
        let expand = Expand::new(lists, schema)?;
        let schema = Arc::clone(expand.schema());
        Ok(self.linear(node, Linear::Expand(Arc::new(expand)), schema))
    }

    /// Each row once per element of the lists in some of its columns. `outer`: a row without an element
    /// stays, with nulls.
    pub fn unnest(
        &mut self,
        node: NodeId,
        lists: Vec<usize>,
        outer: bool,
    ) -> Result<NodeId, FlowError> {
        let unnest = Unnest::new(self.schema(node), lists, outer)?;
        let schema = Arc::clone(unnest.schema());
        Ok(self.linear(node, Linear::Unnest(Arc::new(unnest)), schema))
    }

    /// All rows of all of `nodes` (`UNION ALL`). Names are those of the first.
    pub fn union(&mut self, nodes: &[NodeId]) -> Result<NodeId, FlowError> {
        let Some((first, rest)) = nodes.split_first() else {
            return Err(FlowError::Unsupported("a union is of something".into()));
        };
        let mut fields: Vec<Field> =
            self.schema(*first).fields().iter().map(|f| f.as_ref().clone()).collect();
        for node in rest {
            let other = self.schema(*node);
            let same = other.fields().len() == fields.len()
                && other.fields().iter().zip(&fields).all(|(a, b)| a.data_type() == b.data_type());
            if !same {
                return Err(FlowError::Unsupported(
                    "the sides of a union have the same columns, type by type".into(),
                ));
            }
            for (field, other) in fields.iter_mut().zip(other.fields()) {
                field.set_nullable(field.is_nullable() || other.is_nullable());
            }
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let append_only = nodes.iter().all(|n| self.append_only(*n));
        let inputs = nodes.iter().map(|n| self.named(*n, &schema).0).collect();
        Ok(self.add(Kind::Union { inputs }, schema, append_only))
    }

    /// Groups. Whether the input is append-only is seen from the graph, not from the spec.
    pub fn aggregate(&mut self, node: NodeId, spec: AggregateSpec) -> Result<NodeId, FlowError> {
        self.grouped(node, spec, None)
    }

    /// The same where whatever is above takes no changes of groups that are complete: the key of `release` is a time
    /// that says when they are. They are let go of, and what comes for them is not taken here either.
    pub fn released(
        &mut self,
        node: NodeId,
        spec: AggregateSpec,
        release: Release,
    ) -> Result<NodeId, FlowError> {
        if !spec.keys.get(release.column).is_some_and(|key| is_time(key.expr.data_type())) {
            return Err(FlowError::Unsupported(
                "a group is released by a key that is a timestamp in microseconds".into(),
            ));
        }
        self.grouped(node, spec, Some(release))
    }

    fn grouped(
        &mut self,
        node: NodeId,
        spec: AggregateSpec,
        release: Option<Release>,
    ) -> Result<NodeId, FlowError> {
        let spec = AggregateSpec { append_only: self.append_only(node), ..spec };
        let aggregate = Arc::new(Aggregate::new(spec)?);
        let schema = Arc::clone(aggregate.output());
        Ok(self.add(Kind::Aggregate { input: node.0, aggregate, release }, schema, false))
    }

    /// Groups, each told once when it is complete: when the watermark is `lag_us` behind the time that is the key at
    /// `window`. Groups of which that is null are never told.
    pub fn closing(
        &mut self,
        node: NodeId,
        spec: AggregateSpec,
        window: usize,
        lag_us: i64,
    ) -> Result<NodeId, FlowError> {
        if !spec.keys.get(window).is_some_and(|key| is_time(key.expr.data_type())) {
            return Err(FlowError::Unsupported(
                "a group is closed by a key that is a timestamp in microseconds".into(),
            ));
        }
        let mut spec = AggregateSpec { append_only: self.append_only(node), ..spec };
        // The tree is in the order of the windows.
        let first = spec.keys.remove(window);
        spec.keys.insert(0, first);
        let aggregate = Arc::new(Aggregate::new(spec)?.vanishing());
        let told = Arc::clone(aggregate.output());
        let kind = Kind::Closing { input: node.0, aggregate, lag_us };
        let node = self.add(kind, Arc::clone(&told), true);
        let mut order: Vec<usize> = (1..told.fields().len()).collect();
        order.insert(window, 0);
        let columns = order.into_iter().map(|index| {
            let field = Arc::new(told.field(index).clone());
            let column = ColumnExpr::new(index, field.data_type().clone());
            NamedExpr::with_field(field, Arc::new(column))
        });
        self.project(node, columns.collect())
    }

    /// The rows while all `conditions` on the clock are true.
    pub fn expiring(
        &mut self,
        node: NodeId,
        conditions: &[ClockCondition],
    ) -> Result<NodeId, FlowError> {
        let expiring = Expiring::new(conditions, self.schema(node), self.append_only(node))?;
        Ok(self.operator(&[node], Box::new(expiring)))
    }

    /// The node under other names for its columns, whose types are the same.
    pub fn named(&mut self, node: NodeId, schema: &SchemaRef) -> NodeId {
        if self.schema(node) == schema {
            return node;
        }
        let exprs = schema.fields().iter().enumerate().map(|(index, field)| -> ExprRef {
            Arc::new(ColumnExpr::new(index, field.data_type().clone()))
        });
        let operator = Linear::Project { exprs: exprs.collect(), schema: Arc::clone(schema) };
        self.linear(node, operator, Arc::clone(schema))
    }

    /// Joins two nodes; the columns are those of `left`, then (if the kind has them) those of `right`.
    pub fn join(
        &mut self,
        left: NodeId,
        right: NodeId,
        spec: JoinSpec,
    ) -> Result<NodeId, FlowError> {
        let append_only = [self.append_only(left), self.append_only(right)];
        let sides = [self.schema(left), self.schema(right)];
        let join = Join::new(spec, sides, append_only, &self.limits)?;
        Ok(self.operator(&[left, right], Box::new(join)))
    }

    /// Joins each row of `left` with the nearest of `right`; the columns are those of both.
    pub fn as_of(
        &mut self,
        left: NodeId,
        right: NodeId,
        spec: &AsOfSpec,
    ) -> Result<NodeId, FlowError> {
        let append_only = [self.append_only(left), self.append_only(right)];
        let sides = [self.schema(left), self.schema(right)];
        let joined = AsOf::new(spec, sides, append_only, &self.limits)?;
        Ok(self.operator(&[left, right], Box::new(joined)))
    }

    /// Ranks rows within their partitions, and keeps those of some numbers.
    pub fn ranked(&mut self, node: NodeId, spec: RankedSpec) -> Result<NodeId, FlowError> {
        let append_only = self.append_only(node);
        let ranked = Ranked::new(spec, self.schema(node), append_only, &self.limits.caches)?;
        Ok(self.operator(&[node], Box::new(ranked)))
    }

    /// Groups rows by sessions: the columns are the keys, `window_start`, `window_end`, then the calls.
    pub fn sessions(&mut self, node: NodeId, spec: SessionsSpec) -> Result<NodeId, FlowError> {
        let sessions = Sessions::new(spec, self.append_only(node), &self.limits.caches)?;
        Ok(self.operator(&[node], Box::new(sessions)))
    }

    /// Adds the columns of window functions; those of `node` come first.
    pub fn over(&mut self, node: NodeId, spec: OverSpec) -> Result<NodeId, FlowError> {
        let (input, append_only) = (self.schema(node), self.append_only(node));
        let over = Over::new(spec, input, append_only, &self.limits.caches)?;
        Ok(self.operator(&[node], Box::new(over)))
    }

    fn operator(&mut self, inputs: &[NodeId], operator: Box<dyn Operator>) -> NodeId {
        let (schema, append_only) = (Arc::clone(operator.schema()), operator.append_only());
        let inputs = inputs.iter().map(|node| node.0).collect();
        self.add(Kind::Operator { inputs, operator: Some(operator) }, schema, append_only)
    }

    /// The graph whose rows are those of `node`; `followed`: steps also give what changed.
    pub fn output(mut self, node: NodeId, followed: bool) -> Result<Graph, FlowError> {
        let mut above = Vec::new();
        let mut at = node.0;
        while let Kind::Linear { input, operator } = &self.nodes[at].kind {
            above.push(operator.clone());
            at = *input;
        }
        above.reverse();
        let own = match &self.nodes[at].kind {
            Kind::Aggregate { aggregate, .. } => Some(TreeShape::Combine(Arc::clone(aggregate))),
            Kind::Operator { operator: Some(operator), .. } => operator.answering(),
            _ => None,
        };
        let top = own.is_some().then_some(at);
        let Node { schema, append_only, .. } = &self.nodes[node.0];
        let schema = Arc::clone(schema);
        let tree = match own {
            Some(own) => own,
            _ if *append_only => TreeShape::Keep { schema: Arc::clone(&schema), key_len: 0 },
            _ => TreeShape::Bag(Arc::new(Aggregate::bag(&schema)?)),
        };
        let needed = self.stateful_below(node.0);
        let caches = self.limits.caches.clone();
        let mut compiler = Compiler::new(&mut self);
        for index in needed {
            compiler.stage(index, top == Some(index));
        }
        if top.is_none() {
            above.clear();
            let ports = vec![compiler.ways(node.0, None)];
            compiler.stages.push(Stage::new(ports, Target::Rows, caches));
        }
        let Compiler { mut stages, inner, releases, .. } = compiler;
        fold_alone(&mut stages);
        let limits = self.limits;
        let (sources, lookups) = (self.sources, self.lookups);
        let time = StepTime::default();
        let mut graph = Graph {
            stages,
            above,
            sources,
            lookups,
            schema,
            tree,
            inner,
            releases,
            followed,
            time,
            limits,
        };
        graph.follow(followed);
        Ok(graph)
    }

    fn add(&mut self, kind: Kind, schema: SchemaRef, append_only: bool) -> NodeId {
        self.nodes.push(Node { kind, schema, append_only });
        NodeId(self.nodes.len() - 1)
    }

    fn linear(&mut self, node: NodeId, operator: Linear, schema: SchemaRef) -> NodeId {
        let append_only = self.append_only(node);
        self.add(Kind::Linear { input: node.0, operator }, schema, append_only)
    }

    /// The aggregates and operators that `node` stands on, each after those that it stands on itself.
    fn stateful_below(&self, node: usize) -> Vec<usize> {
        let mut needed = vec![false; self.nodes.len()];
        needed[node] = true;
        for index in (0..=node).rev() {
            if !needed[index] {
                continue;
            }
            match &self.nodes[index].kind {
                Kind::Source(_) | Kind::Values(_) => {}
                Kind::Linear { input, .. }
                | Kind::Aggregate { input, .. }
                | Kind::Closing { input, .. } => needed[*input] = true,
                Kind::Union { inputs } | Kind::Operator { inputs, .. } => {
                    inputs.iter().for_each(|i| needed[*i] = true);
                }
            }
        }
        // A node is added after its inputs, so the order of adding is an order of dependency.
        let stateful = |i: &usize| {
            needed[*i]
                && matches!(
                    self.nodes[*i].kind,
                    Kind::Aggregate { .. } | Kind::Closing { .. } | Kind::Operator { .. }
                )
        };
        (0..=node).filter(stateful).collect()
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _))
}
