//! What a view is made of, so that two definitions can be compared: the operators of its plan, with every
//! column they read followed through other views down to streams and tables.
//!
//! ```text
//!   w: SELECT k, n * 2 FROM v WHERE k > 1        source(rows r, columns [k, n]) ─ filter ─ project
//!   v: SELECT k, count(*) AS n, max(x) …                        └── as v has them: max(x) is not read
//! ```
//!
//! Two views of one shape hold the same rows in trees of the same form. Equal texts are interned, so that
//! shapes are compared as numbers and nothing is taken for equal by chance. What cannot be seen to be the
//! same counts as different.

use std::collections::HashMap;
use std::fmt::Write;

use arrow::datatypes::Schema;
use yeoul_batch::{ADDED_KEY, ExprRef, WAS_KEY};
use yeoul_sql::{AggregateCall, ViewNode, ViewPlan};

use super::{Body, Catalog, Relation, RelationId};

/// The number of a text that was seen before.
type Known = usize;

/// The shape of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Its operators and the names of its columns.
    whole: Known,
    /// What its trees hold: the part of it up to its last aggregate.
    state: Known,
}

impl Shape {
    /// Whether the trees of two views hold the same, whatever is made of it when they are read.
    pub(crate) fn same_state(&self, other: &Self) -> bool {
        self.state == other.state
    }
}

/// What rows of a node are, whatever columns are read of them.
#[derive(Clone, Debug)]
struct Origin {
    /// Which rows, and how many of each.
    rows: Known,
    /// Where the value of each column comes from.
    columns: Vec<Known>,
    /// The operators, in their order.
    shape: Known,
}

/// Shapes that can be compared with each other.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    known: HashMap<String, Known>,
    relations: HashMap<RelationId, Origin>,
}

impl Shapes {
    /// The shape of a view of `catalog`, whose names lead to what it reads.
    pub(crate) fn of(&mut self, catalog: &Catalog, plan: &ViewPlan) -> Shape {
        let root = self.node(catalog, &plan.root);
        let mut names = String::new();
        for field in plan.schema.fields() {
            let _ = write!(names, " {:?}", field.name());
        }
        let whole = self.known(format!("view {}{names}", root.shape));
        let mut state = &plan.root;
        while let ViewNode::Project { input, .. } | ViewNode::Filter { input, .. } = state {
            state = input;
        }
        let state = match state {
            ViewNode::Aggregate { .. } => self.node(catalog, state).shape,
            // Rows are stored as they are shown.
            _ => root.shape,
        };
        Shape { whole, state }
    }

    /// From now on relations are looked at again: a change may have moved their columns.
    pub(crate) fn forget_relations(&mut self) {
        self.relations.clear();
    }

    fn known(&mut self, text: String) -> Known {
        let next = self.known.len();
        *self.known.entry(text).or_insert(next)
    }

    fn relation(&mut self, catalog: &Catalog, relation: &Relation) -> Origin {
        if let Some(origin) = self.relations.get(&relation.id) {
            return origin.clone();
        }
        let origin = match &relation.body {
            Body::View(view) => self.node(catalog, &view.plan.root),
            Body::Stream(_) | Body::Table(_) => {
                let rows = self.known(format!("relation {}", relation.id.0));
                let columns = relation.schema.fields().iter().enumerate().map(|(at, field)| {
                    // The first name a column had: no other column has it.
                    let was = relation.history.was.get(field.name());
                    let name = was.and_then(|was| was.last()).unwrap_or(field.name());
                    self.known(format!("column {rows} {name:?} {}", typed(&relation.schema, at)))
                });
                let columns = columns.collect();
                Origin { rows, columns, shape: rows }
            }
        };
        self.relations.insert(relation.id, origin.clone());
        origin
    }

    /// The columns `columns` of a relation, as a node.
    fn source(&mut self, catalog: &Catalog, name: &str, columns: &[usize], more: &str) -> Origin {
        let origin = match catalog.get(name) {
            Some(relation) => self.relation(catalog, &relation.clone()),
            None => {
                let rows = self.known(format!("unknown {name:?}"));
                Origin { rows, columns: Vec::new(), shape: rows }
            }
        };
        let unknown = self.known(format!("no column of {}", origin.rows));
        let columns: Vec<Known> =
            columns.iter().map(|&at| origin.columns.get(at).copied().unwrap_or(unknown)).collect();
        let shape = self.known(format!("source {} {columns:?} {more}", origin.rows));
        Origin { rows: origin.rows, columns, shape }
    }

    /// The value of an expression over rows of `input`.
    fn value(&mut self, expr: &ExprRef, input: &Origin) -> Known {
        if let Some(column) = expr.as_column() {
            return input.columns.get(column).copied().unwrap_or(input.rows);
        }
        let all: Vec<Known> = match expr.columns() {
            Some(read) => read.iter().filter_map(|at| input.columns.get(*at).copied()).collect(),
            None => input.columns.clone(),
        };
        self.known(format!("value {} of {all:?}", expr.identity()))
    }

    fn values<'a>(
        &mut self,
        exprs: impl IntoIterator<Item = &'a ExprRef>,
        input: &Origin,
    ) -> Vec<Known> {
        exprs.into_iter().map(|expr| self.value(expr, input)).collect()
    }

    fn node(&mut self, catalog: &Catalog, node: &ViewNode) -> Origin {
        match node {
            ViewNode::Source { relation, columns, schema, append_only } => {
                let more = format!("{} {append_only}", types(schema));
                self.source(catalog, relation, columns, &more)
            }
            ViewNode::Filter { input, predicate } => {
                let input = self.node(catalog, input);
                let kept = self.value(predicate, &input);
                let rows = self.known(format!("filter {} by {kept}", input.rows));
                let shape =
                    self.known(format!("filter {} by {}", input.shape, predicate.identity()));
                Origin { rows, columns: input.columns, shape }
            }
            ViewNode::Project { input, exprs, schema } => {
                let input = self.node(catalog, input);
                let columns = self.values(exprs, &input);
                let shape = format!("project {} {:?} {}", input.shape, texts(exprs), types(schema));
                Origin { rows: input.rows, columns, shape: self.known(shape) }
            }
            ViewNode::Window { input, time, kind, .. } => {
                let input = self.node(catalog, input);
                let at = self.value(time, &input);
                let rows = self.known(format!("window {kind:?} {} by {at}", input.rows));
                let mut columns = input.columns.clone();
                columns.push(self.known(format!("start {rows}")));
                columns.push(self.known(format!("end {rows}")));
                let shape =
                    self.known(format!("window {kind:?} {} by {}", input.shape, time.identity()));
                Origin { rows, columns, shape }
            }
            ViewNode::Lookup { .. } => self.lookup(catalog, node),
            other => self.further(catalog, other),
        }
    }

    /// Nodes whose rows are made of several, or become several.
    fn further(&mut self, catalog: &Catalog, node: &ViewNode) -> Origin {
        match node {
            ViewNode::Values { rows, schema } => {
                let rows = self.known(format!("values {:?}", rows.columns()));
                let width = 0..schema.fields().len();
                let columns = width.map(|at| self.known(format!("value {rows} {at}"))).collect();
                let shape = self.known(format!("values {rows} {}", types(schema)));
                Origin { rows, columns, shape }
            }
            ViewNode::Join { .. } => self.join(catalog, node),
            ViewNode::AsOf { .. } => self.as_of(catalog, node),
            ViewNode::Ranked { .. } => self.ranked(catalog, node),
            ViewNode::Over { .. } => self.over(catalog, node),
            ViewNode::Sessions { .. } => self.sessions(catalog, node),
            ViewNode::Expand { input, lists, schema } => {
                let input = self.node(catalog, input);
                let values: Vec<Vec<Known>> =
                    lists.iter().map(|list| self.values(list, &input)).collect();
                let rows = self.known(format!("expand {} {values:?}", input.rows));
                let width = 0..schema.fields().len();
                let columns = width.map(|at| self.known(format!("expanded {rows} {at}"))).collect();
                let texts: Vec<Vec<String>> = lists.iter().map(texts).collect();
                let shape = format!("expand {} {texts:?} {}", input.shape, types(schema));
                Origin { rows, columns, shape: self.known(shape) }
            }
            ViewNode::Unnest { input, lists, outer, schema } => {
                let input = self.node(catalog, input);
                let read: Vec<_> = lists.iter().map(|at| input.columns.get(*at)).collect();
                let rows = self.known(format!("unnest {} {read:?} {outer}", input.rows));
                let width = 0..schema.fields().len();
                let columns = width
                    .map(|at| {
                        self.known(format!("unnested {rows} {at} {:?}", input.columns.get(at)))
                    })
                    .collect();
                let shape = format!("unnest {} {lists:?} {outer} {}", input.shape, types(schema));
                Origin { rows, columns, shape: self.known(shape) }
            }
            ViewNode::Union { inputs, .. } => {
                let inputs: Vec<Origin> = inputs.iter().map(|i| self.node(catalog, i)).collect();
                let of =
                    |take: &dyn Fn(&Origin) -> Known| inputs.iter().map(take).collect::<Vec<_>>();
                let rows = self.known(format!("union {:?}", of(&|input| input.rows)));
                let shape = self.known(format!("union {:?}", of(&|input| input.shape)));
                let width = inputs.iter().map(|input| input.columns.len()).min().unwrap_or(0);
                let columns = (0..width)
                    .map(|at| self.known(format!("united {:?}", of(&|input| input.columns[at]))))
                    .collect();
                Origin { rows, columns, shape }
            }
            ViewNode::Aggregate { input, keys, calls, released, schema } => {
                let input = self.node(catalog, input);
                let mut groups = self.aggregate(&input, keys, calls, schema);
                if released.is_some() {
                    groups.shape = self.known(format!("{released:?} {}", groups.shape));
                }
                groups
            }
            ViewNode::Closing { .. } | ViewNode::Expiring { .. } => self.by_time(catalog, node),
            ViewNode::Source { .. }
            | ViewNode::Filter { .. }
            | ViewNode::Project { .. }
            | ViewNode::Window { .. }
            | ViewNode::Lookup { .. } => self.node(catalog, node),
        }
    }

    /// Nodes whose rows depend on when they are asked for.
    fn by_time(&mut self, catalog: &Catalog, node: &ViewNode) -> Origin {
        match node {
            ViewNode::Closing { input, keys, calls, window, lag_us, schema } => {
                let input = self.node(catalog, input);
                let groups = self.aggregate(&input, keys, calls, schema);
                let how = format!("closing {window} {lag_us}");
                let rows = self.known(format!("{how} {}", groups.rows));
                let shape = self.known(format!("{how} {}", groups.shape));
                let columns =
                    groups.columns.iter().map(|c| self.known(format!("closed {rows} {c}")));
                let columns = columns.collect();
                Origin { rows, columns, shape }
            }
            ViewNode::Expiring { input, conditions } => {
                let input = self.node(catalog, input);
                let at = self.values(conditions.iter().map(|c| &c.time), &input);
                let how: Vec<_> = conditions.iter().map(|c| (c.shift_us, c.comes)).collect();
                let rows = self.known(format!("expiring {} {at:?} {how:?}", input.rows));
                let at = texts(conditions.iter().map(|c| &c.time));
                let shape = self.known(format!("expiring {} {at:?} {how:?}", input.shape));
                Origin { rows, columns: input.columns, shape }
            }
            _ => self.node(catalog, node),
        }
    }

    fn aggregate(
        &mut self,
        input: &Origin,
        keys: &[ExprRef],
        calls: &[AggregateCall],
        schema: &Schema,
    ) -> Origin {
        let grouped = self.values(keys, input);
        let rows = self.known(format!("groups {} by {grouped:?}", input.rows));
        let mut columns: Vec<Known> =
            (0..keys.len()).map(|at| self.known(format!("key {rows} {at}"))).collect();
        let mut shape = format!("aggregate {} {:?} {}", input.shape, texts(keys), types(schema));
        for call in calls {
            let read = call.args.iter().chain(&call.filter);
            let read =
                self.values(read.chain(call.order_by.iter().map(|order| &order.expr)), input);
            let _ = write!(
                shape,
                " {} {:?}",
                described(call),
                texts(call.args.iter().chain(&call.filter))
            );
            let _ = write!(shape, " {:?}", texts(call.order_by.iter().map(|order| &order.expr)));
            columns.push(self.known(format!("call {rows} {} {read:?}", described(call))));
        }
        Origin { rows, columns, shape: self.known(shape) }
    }

    fn join(&mut self, catalog: &Catalog, node: &ViewNode) -> Origin {
        let ViewNode::Join { left, right, kind, on, nulls_equal, residual, released, schema } =
            node
        else {
            unreachable!("called for joins only");
        };
        let (left, right) = (self.node(catalog, left), self.node(catalog, right));
        let by = [
            self.values(on.iter().map(|(key, _)| key), &left),
            self.values(on.iter().map(|(_, key)| key), &right),
        ];
        let columns = [left.columns.as_slice(), &right.columns].concat();
        let both = Origin { rows: left.rows, columns: columns.clone(), shape: left.shape };
        let also = self.values(residual, &both);
        let how = format!("join {kind:?} {nulls_equal} {:?}", released.as_ref().ok());
        let rows = self.known(format!("{how} {} {} {by:?} {also:?}", left.rows, right.rows));
        let by = [texts(on.iter().map(|(key, _)| key)), texts(on.iter().map(|(_, key)| key))];
        let also = texts(residual);
        let sides = format!("{} {} {}", left.shape, right.shape, types(schema));
        let shape = self.known(format!("{how} {sides} {by:?} {also:?}"));
        // A mark is behind the columns of the left side.
        let width = 0..schema.fields().len();
        let columns = width
            .map(|at| self.known(format!("joined {rows} {at} {:?}", columns.get(at))))
            .collect();
        Origin { rows, columns, shape }
    }

    fn as_of(&mut self, catalog: &Catalog, node: &ViewNode) -> Origin {
        let ViewNode::AsOf { left, right, on, near, nearest, outer, released, schema } = node
        else {
            unreachable!("called for ASOF joins only");
        };
        let (left, right) = (self.node(catalog, left), self.node(catalog, right));
        let pairs = || on.iter().chain(std::iter::once(near));
        let by = [
            self.values(pairs().map(|(one, _)| one), &left),
            self.values(pairs().map(|(_, one)| one), &right),
        ];
        let how = format!("as of {nearest:?} {outer} {:?}", released.as_ref().ok());
        // Rows that are equally near are ordered by all of their columns.
        let sides = format!("{} {} {:?}", left.rows, right.rows, right.columns);
        let rows = self.known(format!("{how} {sides} {by:?}"));
        let by = [texts(pairs().map(|(one, _)| one)), texts(pairs().map(|(_, one)| one))];
        let shape = format!("{how} {} {} {} {by:?}", left.shape, right.shape, types(schema));
        let shape = self.known(shape);
        let columns = left.columns.iter().chain(&right.columns);
        let columns = columns.map(|c| self.known(format!("as of {rows} {c}"))).collect();
        Origin { rows, columns, shape }
    }

    fn ranked(&mut self, catalog: &Catalog, node: &ViewNode) -> Origin {
        let ViewNode::Ranked { input, partition, order, function, first, last, rank, schema } =
            node
        else {
            unreachable!("called for rankings only");
        };
        let input = self.node(catalog, input);
        let ways: Vec<_> = order.iter().map(|o| (o.descending, o.nulls_first)).collect();
        let how = format!("ranked {function:?} {first} {last} {} {ways:?}", rank.is_some());
        let of = self.values(partition, &input);
        let by = self.values(order.iter().map(|o| &o.expr), &input);
        // Rows that tie are ordered by all of their columns.
        let rows = self.known(format!("{how} {} {of:?} {by:?} {:?}", input.rows, input.columns));
        let (of, by) = (texts(partition), texts(order.iter().map(|o| &o.expr)));
        let shape = self.known(format!("{how} {} {of:?} {by:?} {}", input.shape, types(schema)));
        let mut columns: Vec<Known> =
            input.columns.iter().map(|c| self.known(format!("ranked {rows} {c}"))).collect();
        columns.extend(rank.as_ref().map(|_| self.known(format!("rank {rows}"))));
        Origin { rows, columns, shape }
    }

    fn over(&mut self, catalog: &Catalog, node: &ViewNode) -> Origin {
        let ViewNode::Over { input, partition, function, whole, schema, .. } = node else {
            unreachable!("called for window functions only");
        };
        let input = self.node(catalog, input);
        let of = self.values(partition, &input);
        // The function reads columns by position, and orders rows that tie by all of them.
        let calls = self.known(format!("{function:?} of {of:?} {:?}", input.columns));
        let fields = 0..function.fields().len();
        let further = fields.map(|at| self.known(format!("over {calls} {at}")));
        let further: Vec<Known> = further.collect();
        let columns = input.columns.iter().copied().chain(further).collect();
        let (of, types) = (texts(partition), types(schema));
        let whole = if *whole { " whole" } else { "" };
        let shape = format!("over{whole} {} {of:?} {function:?} {types}", input.shape);
        Origin { rows: input.rows, columns, shape: self.known(shape) }
    }

    fn sessions(&mut self, catalog: &Catalog, node: &ViewNode) -> Origin {
        let ViewNode::Sessions { input, keys, time, gap_us, calls, lag_us, schema } = node else {
            unreachable!("called for sessions only");
        };
        let input = self.node(catalog, input);
        let at = self.value(time, &input);
        let told = lag_us.map_or(String::new(), |lag_us| format!("told {lag_us} "));
        let rows = self.known(format!("{told}sessions {gap_us} {} by {at}", input.rows));
        let shape = format!("{told}sessions {gap_us} {} by {}", input.shape, time.identity());
        let of = Origin { rows, columns: input.columns, shape: self.known(shape) };
        let mut groups = self.aggregate(&of, keys, calls, schema);
        let bounds = ["start", "end"].map(|bound| self.known(format!("{bound} {}", groups.rows)));
        groups.columns.splice(keys.len()..keys.len(), bounds);
        groups
    }

    fn lookup(&mut self, catalog: &Catalog, node: &ViewNode) -> Origin {
        let ViewNode::Lookup { input, relation, columns, table, keys, condition, outer, .. } = node
        else {
            unreachable!("called for lookups only");
        };
        let input = self.node(catalog, input);
        let table = self.source(catalog, relation, columns, &types(table));
        let by = self.values(keys, &input);
        let only = self.values(condition, &table);
        let rows = format!("look up {} {by:?} {only:?} {outer}, {}", table.rows, input.rows);
        let rows = self.known(rows);
        let looked_up: Vec<Known> =
            table.columns.iter().map(|c| self.known(format!("looked up {rows} {c}"))).collect();
        let (keys, only) = (texts(keys), texts(condition));
        let shape = format!("look up {} {keys:?} {only:?} {outer}, {}", table.shape, input.shape);
        let columns = input.columns.into_iter().chain(looked_up).collect();
        Origin { rows, columns, shape: self.known(shape) }
    }
}

fn texts<'a>(exprs: impl IntoIterator<Item = &'a ExprRef>) -> Vec<String> {
    exprs.into_iter().map(|expr| expr.identity()).collect()
}

fn described(call: &AggregateCall) -> String {
    let order: Vec<_> = call.order_by.iter().map(|o| (o.descending, o.nulls_first)).collect();
    let (function, filtered, distinct) = (call.function, call.filter.is_some(), call.distinct);
    let output = call.output.data_type();
    let arguments = call.args.len();
    format!(
        "{function:?} {arguments} {filtered} {distinct} {order:?} {} {output}",
        call.ignore_nulls
    )
}

/// Type, nullability and our metadata of a column: its name says nothing of what is in it.
fn typed(schema: &Schema, at: usize) -> String {
    let field = schema.field(at);
    let told = |key: &str| key != WAS_KEY && key != ADDED_KEY;
    let mut metadata: Vec<_> = field.metadata().iter().filter(|(key, _)| told(key)).collect();
    metadata.sort();
    format!("{} {} {metadata:?}", field.data_type(), field.is_nullable())
}

fn types(schema: &Schema) -> String {
    let all: Vec<String> = (0..schema.fields().len()).map(|at| typed(schema, at)).collect();
    format!("{all:?}")
}
