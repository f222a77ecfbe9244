//! Sinks: a sink is a view of what it sends, kept as changes.
//!
//! ```text
//!   CREATE SINK s FROM v ─▶ the view SELECT * FROM v ─▶ its change in each commit ─▶ tree of changes ─▶ connector
//! ```
//!
//! The rows of a change stand in the tree with its number, that of its commit in front; those that were sent are released. So a sink
//! follows by commit number, and what it has not sent is as durable as everything that follows from the log.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use yeoul_batch::{CommitId, ExprRef, TreeId, Updates};
use yeoul_flow::TreeShape;
use yeoul_sql::{
    Connector, CreateSink, CreateView, Envelope, RelationKind, SinkFormat, SinkOrigin, ViewNode,
    did_you_mean,
};
use yeoul_store::{Rule, TreeSpec};

use super::{Body, Definer, Relation};
use crate::error::{EngineError, ErrorKind};
use crate::planning::missing;
use crate::scan::TreeView;

/// The hidden columns of a tree of changes: the [`ChangeId`] of the change that brings a row, its place in it, the time of
/// its commit, and how many times the row comes (or goes, when it is negative).
const HIDDEN: [&str; 4] = ["_change", "_ordinal", "_at", "_diff"];

/// How many bits of a [`ChangeId`] number the changes of one commit.
const PART_BITS: u32 = 20;

/// The number of a change, in the order in which changes are sent: a commit, and which of its changes. A commit has one,
/// but for the commit at which a sink begins: it has the rows that were there then, in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u64);

impl ChangeId {
    /// A change of `commit`.
    #[must_use]
    pub fn new(commit: CommitId, part: u64) -> Self {
        Self((commit.0 << PART_BITS) | part.min((1 << PART_BITS) - 1))
    }

    /// The last change that `commit` may have.
    #[must_use]
    pub fn end_of(commit: CommitId) -> Self {
        Self::new(commit, u64::MAX)
    }

    /// Its commit.
    #[must_use]
    pub fn commit(self) -> CommitId {
        CommitId(self.0 >> PART_BITS)
    }

    /// As a column has it.
    pub(crate) fn number(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// The last commit all of whose changes are up to this one.
    pub(crate) fn whole_commit(self) -> CommitId {
        match self == Self::end_of(self.commit()) {
            true => self.commit(),
            false => CommitId(self.commit().0.saturating_sub(1)),
        }
    }
}

/// What a sink has beside what a view has.
#[derive(Clone, Debug)]
pub(crate) struct SinkBody {
    /// Where changes go.
    pub connector: Connector,
    /// How they are written.
    pub format: SinkFormat,
    /// What is told of them.
    pub envelope: Envelope,
    /// The columns by which a row is known there.
    pub key: Vec<usize>,
    /// The relation whose rows it sends.
    pub of: String,
    /// Whether what is there is sent first.
    pub snapshot: bool,
    /// Nothing is sent.
    pub paused: bool,
    /// For how long changes that were sent are kept, in microseconds.
    pub keep_us: i64,
    /// How many changed rows are kept, besides those that were there when it was created.
    pub kept_rows_max: u64,
}

impl Relation {
    /// What a sink has.
    pub(crate) fn sink(&self) -> Option<&SinkBody> {
        match &self.body {
            Body::View(view) => view.sink.as_deref(),
            _ => None,
        }
    }

    /// The tree of changes of a sink.
    pub(crate) fn changes(&self) -> TreeId {
        self.trees.last().expect("a relation has a tree").id
    }
}

/// The rows of a change as the tree of changes of `sink` has them.
pub(crate) fn change_rows(
    sink: &Relation,
    change: ChangeId,
    at_us: i64,
    updates: &Updates,
) -> Result<RecordBatch, EngineError> {
    let rows = updates.len();
    let count = i64::try_from(rows).unwrap_or(i64::MAX);
    let diffs = updates.diffs().cloned();
    let hidden: [ArrayRef; 4] = [
        Arc::new(Int64Array::from_value(change.number(), rows)),
        Arc::new(Int64Array::from_iter_values(0..count)),
        Arc::new(TimestampMicrosecondArray::from_value(at_us, rows).with_timezone("UTC")),
        Arc::new(diffs.unwrap_or_else(|| Int64Array::from_value(1, rows))),
    ];
    let columns = hidden.into_iter().chain(updates.rows().columns().iter().cloned()).collect();
    let schema = sink.trees.last().map(|tree| Arc::clone(&tree.schema));
    Ok(RecordBatch::try_new(schema.unwrap_or_else(|| Arc::new(Schema::empty())), columns)?)
}

/// Taken apart again: the changes, the times of the commits, the diffs, and the rows.
pub(crate) fn taken_apart(
    batch: &RecordBatch,
) -> (Int64Array, TimestampMicrosecondArray, Int64Array, Vec<ArrayRef>) {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    let changes = batch.column(0).as_primitive::<Int64Type>().clone();
    let times = batch.column(2).as_primitive::<TimestampMicrosecondType>().clone();
    let diffs = batch.column(3).as_primitive::<Int64Type>().clone();
    (changes, times, diffs, batch.columns()[HIDDEN.len()..].to_vec())
}

fn changes_schema(rows: &SchemaRef) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let types = [DataType::Int64, DataType::Int64, time, DataType::Int64];
    let hidden = HIDDEN.into_iter().zip(types);
    let hidden = hidden.map(|(name, of)| Arc::new(Field::new(name, of, false)));
    Arc::new(Schema::new(hidden.chain(rows.fields().iter().cloned()).collect::<Vec<_>>()))
}

/// The columns by which rows of a relation are known, where it has such.
fn natural_key(relation: &Relation) -> Vec<usize> {
    if !relation.primary_key().is_empty() {
        return relation.primary_key().to_vec();
    }
    let (Body::View(view), TreeView::Merged { keys, .. }) = (&relation.body, &relation.view) else {
        return Vec::new();
    };
    let (TreeShape::Combine(_), Some(tree)) = (view.reader.tree(), relation.trees.first()) else {
        return Vec::new();
    };
    // All groups are columns of it.
    let shown = |group: &usize| {
        let group = tree.schema.field(*group).name();
        let column = keys.iter().find(|(_, of)| *of == group)?.0;
        relation.schema.index_of(column).ok()
    };
    let columns: Option<Vec<usize>> = tree.key.iter().map(shown).collect();
    columns.unwrap_or_default()
}

impl Definer<'_> {
    pub(super) fn sink(
        &self,
        create: &CreateSink,
        sql: &str,
        tree: &mut dyn FnMut() -> TreeId,
    ) -> Result<Relation, EngineError> {
        if let SinkOrigin::Relation(of) = &create.origin {
            self.check_followed(&of.value)?;
        }
        let view = CreateView {
            name: create.name.clone(),
            if_not_exists: false,
            or_replace: false,
            columns: Vec::new(),
            query: create.query.clone(),
            on_close: None,
        };
        let mut relation = self.view(&view, sql, tree)?;
        let name = &create.name.value;
        if let Some(hidden) = HIDDEN.iter().find(|name| relation.schema.index_of(name).is_ok()) {
            let message = format!("sink \"{name}\" cannot send a column \"{hidden}\"");
            return Err(EngineError::new(ErrorKind::Input, message)
                .with_detail("its changes have a column of that name of their own")
                .with_hint("name the columns in AS SELECT …, this one otherwise"));
        }
        let body = self.sink_body(create, &relation)?;
        relation.trees.push(TreeSpec {
            id: tree(),
            name: format!("{name}.changes"),
            schema: changes_schema(&relation.schema),
            key: vec![0, 1],
            rule: Rule::Keep,
            partition: None,
            retention_us: None,
        });
        relation.kind = RelationKind::Sink;
        if let Body::View(view) = &mut relation.body {
            view.sink = Some(Box::new(body));
        }
        Ok(relation)
    }

    fn check_followed(&self, name: &str) -> Result<(), EngineError> {
        match self.catalog.get(name) {
            Some(of) if of.is_read() => Ok(()),
            _ => Err(missing(self.catalog, name)),
        }
    }

    fn sink_body(&self, create: &CreateSink, sink: &Relation) -> Result<SinkBody, EngineError> {
        let Body::View(view) = &sink.body else { unreachable!("a sink is made of a view") };
        let (of, columns) = passed_on(&view.plan.root).ok_or_else(|| no_changes(create))?;
        let source = self.catalog.get(of).ok_or_else(|| missing(self.catalog, of))?;
        body_of(create, source, &columns, sink)
    }
}

/// The one relation whose rows a query passes on, each by itself, and the column of it that each of its own is.
fn passed_on(node: &ViewNode) -> Option<(&str, Vec<Option<usize>>)> {
    match node {
        ViewNode::Source { relation, columns, .. } => {
            Some((relation, columns.iter().copied().map(Some).collect()))
        }
        ViewNode::Filter { input, .. } => passed_on(input),
        ViewNode::Project { input, exprs, .. } => {
            let (relation, below) = passed_on(input)?;
            let of = |expr: &ExprRef| below.get(expr.as_column()?).copied().flatten();
            Some((relation, exprs.iter().map(of).collect()))
        }
        _ => None,
    }
}

/// While it is built, the changes of a query that keeps a state are not those of its answer.
fn no_changes(create: &CreateSink) -> EngineError {
    let name = &create.name.value;
    let message = format!("the query of sink \"{name}\" does more than choose rows and columns");
    EngineError::new(ErrorKind::Input, message).with_sqlstate("0A000").with_hint(
        "CREATE MATERIALIZED VIEW keeps what it answers, and a sink FROM the view sends its changes",
    )
}

/// `source`: the relation whose rows are sent; `columns`: its columns, for those of the sink.
fn body_of(
    create: &CreateSink,
    source: &Relation,
    columns: &[Option<usize>],
    sink: &Relation,
) -> Result<SinkBody, EngineError> {
    let options = &create.options;
    let name = &create.name.value;
    let wrong =
        |message: String| EngineError::new(ErrorKind::Input, message).with_sqlstate("22023");
    let position = |column: &str| {
        let names = sink.schema.fields().iter().map(|field| field.name().as_str());
        sink.schema.index_of(column).map_err(|_| {
            let error =
                wrong(format!("column \"{column}\" does not exist in what sink \"{name}\" sends"));
            match did_you_mean(column, names) {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })
    };
    let key = options.key.iter().map(|column| position(column));
    let mut key = key.collect::<Result<Vec<usize>, _>>()?;
    for column in options.connector.options.all_columns() {
        position(column)?;
    }
    let only_comes = source.append_only();
    let envelope = options.envelope.unwrap_or(match only_comes {
        true => Envelope::Append,
        false => Envelope::Upsert,
    });
    if key.is_empty() && !(only_comes && options.envelope != Some(Envelope::Upsert)) {
        let place = |key: &usize| columns.iter().position(|column| *column == Some(*key));
        let places: Option<Vec<usize>> = natural_key(source).iter().map(place).collect();
        key = places.unwrap_or_default();
    }
    if envelope == Envelope::Append && !only_comes {
        return Err(wrong(format!(
            "envelope 'append' is for rows that only come, and rows that sink \"{name}\" sends change"
        ))
        .with_hint("envelope = 'upsert' or 'debezium' tells of changes"));
    }
    let needs_key = envelope == Envelope::Upsert || (envelope == Envelope::Debezium && !only_comes);
    if needs_key && key.is_empty() {
        let message =
            format!("sink \"{name}\" needs the columns by which a row is known where it is sent");
        return Err(wrong(message).with_hint("add key = 'column, …'"));
    }
    Ok(SinkBody {
        connector: options.connector.clone(),
        format: options.format,
        envelope,
        key,
        of: source.name.clone(),
        snapshot: options.snapshot,
        paused: options.paused,
        keep_us: options.keep.0,
        kept_rows_max: options.kept_rows_max,
    })
}
