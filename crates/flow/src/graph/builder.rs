//! Puts a graph together, operator by operator, from the sources up.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use yeoul_batch::{ColumnExpr, ExprRef};

use super::stage::{Leaf, Stage, Target, Way};
use super::tracked::Tracked;
use super::{Graph, SourceIndex, StateTree, TreeShape};
use crate::aggregate::{Aggregate, AggregateSpec, NamedExpr, Panes};
use crate::error::FlowError;
use crate::linear::{self, Linear, Lookup, LookupSpec, Window};

/// A node of a graph being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(usize);

#[derive(Debug)]
enum Kind {
    Source(SourceIndex),
    Linear { input: usize, operator: Linear },
    Union { inputs: Vec<usize> },
    Aggregate { input: usize, aggregate: Arc<Aggregate> },
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    schema: SchemaRef,
    append_only: bool,
}

/// Builds a [`Graph`]. Nodes can be used more than once.
#[derive(Debug)]
pub struct GraphBuilder {
    nodes: Vec<Node>,
    sources: Vec<SchemaRef>,
    lookups: Vec<(SourceIndex, Arc<Lookup>)>,
    cache_bytes_max: usize,
}

impl Default for GraphBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl GraphBuilder {
    /// What a tracked aggregate, or a lookup, keeps in memory unless told otherwise.
    pub const CACHE_BYTES_MAX: usize = 64 << 20;

    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self {
            nodes: Vec::new(),
            sources: Vec::new(),
            lookups: Vec::new(),
            cache_bytes_max: Self::CACHE_BYTES_MAX,
        }
    }

    /// Limits what each tracked aggregate and each lookup keeps in memory.
    #[must_use]
    pub fn cache_bytes_max(mut self, bytes: usize) -> Self {
        self.cache_bytes_max = bytes;
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
        let lookup = Arc::new(Lookup::new(spec, self.schema(node), self.cache_bytes_max)?);
        let source = SourceIndex(self.sources.len());
        self.sources.push(Arc::clone(lookup.table()));
        self.lookups.push((source, Arc::clone(&lookup)));
        let schema = Arc::clone(lookup.schema());
        Ok(self.linear(node, Linear::Lookup(lookup), schema))
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
        let inputs = nodes.iter().map(|n| self.relabelled(*n, &schema)).collect();
        Ok(self.add(Kind::Union { inputs }, schema, append_only))
    }

    /// Groups. Whether the input is append-only is seen from the graph, not from the spec.
    pub fn aggregate(&mut self, node: NodeId, spec: AggregateSpec) -> Result<NodeId, FlowError> {
        let spec = AggregateSpec { append_only: self.append_only(node), ..spec };
        let aggregate = Arc::new(Aggregate::new(spec)?);
        let schema = Arc::clone(aggregate.output());
        Ok(self.add(Kind::Aggregate { input: node.0, aggregate }, schema, false))
    }

    /// The graph whose rows are those of `node`; `followed`: steps also give what changed.
    pub fn output(self, node: NodeId, followed: bool) -> Result<Graph, FlowError> {
        let mut above = Vec::new();
        let mut at = node.0;
        while let Kind::Linear { input, operator } = &self.nodes[at].kind {
            above.push(operator.clone());
            at = *input;
        }
        above.reverse();
        let top = matches!(self.nodes[at].kind, Kind::Aggregate { .. }).then_some(at);
        let Node { schema, append_only, .. } = &self.nodes[node.0];
        let schema = Arc::clone(schema);
        let tree = match top.map(|t| &self.nodes[t].kind) {
            Some(Kind::Aggregate { aggregate, .. }) => TreeShape::Combine(Arc::clone(aggregate)),
            _ if *append_only => TreeShape::Keep { schema: Arc::clone(&schema) },
            _ => TreeShape::Bag(Arc::new(Aggregate::bag(&schema)?)),
        };
        let mut compiler = Compiler { builder: &self, stages: Vec::new(), inner: Vec::new() };
        let mut stage_of = vec![None; self.nodes.len()];
        for index in self.aggregates_below(node.0) {
            stage_of[index] = Some(compiler.aggregate(index, top == Some(index), &stage_of));
        }
        if top.is_none() {
            above.clear();
            let ways = compiler.ways(node.0, &stage_of, None);
            let cache_bytes_max = self.cache_bytes_max;
            compiler.stages.push(Stage { ways, target: Target::Rows, cache_bytes_max });
        }
        let Compiler { stages, inner, .. } = compiler;
        let (sources, lookups) = (self.sources, self.lookups);
        let mut graph = Graph { stages, above, sources, lookups, schema, tree, inner, followed };
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

    /// The node under other names for its columns.
    fn relabelled(&mut self, node: NodeId, schema: &SchemaRef) -> usize {
        if self.schema(node) == schema {
            return node.0;
        }
        let exprs = schema.fields().iter().enumerate().map(|(index, field)| -> ExprRef {
            Arc::new(ColumnExpr::new(index, field.data_type().clone()))
        });
        let operator = Linear::Project { exprs: exprs.collect(), schema: Arc::clone(schema) };
        self.linear(node, operator, Arc::clone(schema)).0
    }

    /// The aggregates that `node` stands on, each after those that it stands on itself.
    fn aggregates_below(&self, node: usize) -> Vec<usize> {
        let mut needed = vec![false; self.nodes.len()];
        needed[node] = true;
        for index in (0..=node).rev() {
            if !needed[index] {
                continue;
            }
            match &self.nodes[index].kind {
                Kind::Source(_) => {}
                Kind::Linear { input, .. } | Kind::Aggregate { input, .. } => needed[*input] = true,
                Kind::Union { inputs } => inputs.iter().for_each(|i| needed[*i] = true),
            }
        }
        // A node is added after its inputs, so the order of adding is an order of dependency.
        (0..=node)
            .filter(|&i| needed[i] && matches!(self.nodes[i].kind, Kind::Aggregate { .. }))
            .collect()
    }
}

struct Compiler<'a> {
    builder: &'a GraphBuilder,
    stages: Vec<Stage>,
    inner: Vec<(StateTree, Arc<Aggregate>)>,
}

impl Compiler<'_> {
    /// Adds the stage of the aggregate at `index`; gives its number.
    fn aggregate(&mut self, index: usize, top: bool, stage_of: &[Option<usize>]) -> usize {
        let Kind::Aggregate { input, aggregate } = &self.builder.nodes[index].kind else {
            unreachable!("aggregates_below gives aggregates");
        };
        let ways = self.ways(*input, stage_of, Some(aggregate));
        let cache_bytes_max = self.builder.cache_bytes_max;
        let (tree, tracked) = if top {
            (StateTree::VIEW, None)
        } else {
            let number = u32::try_from(self.inner.len() + 1).expect("few aggregates");
            self.inner.push((StateTree(number), Arc::clone(aggregate)));
            (StateTree(number), Some(Tracked::new(Arc::clone(aggregate), cache_bytes_max)))
        };
        let target = Target::Aggregate { aggregate: Arc::clone(aggregate), tree, tracked };
        self.stages.push(Stage { ways, target, cache_bytes_max });
        self.stages.len() - 1
    }

    /// The ways from leaves to `node`; when they lead to an aggregate, a last window whose panes
    /// it can share is left to the aggregate.
    fn ways(
        &self,
        node: usize,
        stage_of: &[Option<usize>],
        aggregate: Option<&Arc<Aggregate>>,
    ) -> Vec<Way> {
        let mut ways = Vec::new();
        let mut open: Vec<(usize, Vec<Linear>)> = vec![(node, Vec::new())];
        while let Some((at, mut above)) = open.pop() {
            let leaf = match &self.builder.nodes[at].kind {
                Kind::Linear { input, operator } => {
                    above.push(operator.clone());
                    open.push((*input, above));
                    continue;
                }
                Kind::Union { inputs } => {
                    open.extend(inputs.iter().rev().map(|input| (*input, above.clone())));
                    continue;
                }
                Kind::Source(source) => Leaf::Source(*source),
                Kind::Aggregate { .. } => {
                    Leaf::Stage(stage_of[at].expect("an aggregate's stage is added before"))
                }
            };
            above.reverse();
            let panes = match (aggregate, above.last()) {
                (Some(aggregate), Some(Linear::Window(window))) => {
                    Panes::new(aggregate, window, self.builder.nodes[node].schema.fields().len())
                }
                _ => None,
            };
            if panes.is_some() {
                above.pop();
            }
            ways.push(Way { leaf, operators: above.into(), panes: panes.map(Arc::new) });
        }
        ways
    }
}
