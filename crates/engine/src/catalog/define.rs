//! From a statement to a relation: its columns, its trees, and how they are read.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use yeoul_batch::{ADDED_KEY, ADDED_NULL, Combine, CommitId, TreeId, WAS_KEY, WAS_SEPARATOR};
use yeoul_flow::{Graph, Limits, TreeShape};
use yeoul_sql::{
    Column, ColumnHistory, CreateStream, CreateTable, CreateView, PartitionUnit, RelationKind,
    Statement,
};
use yeoul_store::{PartitionBy, Rule, TreeSpec};

use super::graph;
use super::row_id;
use super::{Body, Catalog, Relation, RelationId, StreamBody, TableBody, ViewBody};
use crate::error::{EngineError, ErrorKind};
use crate::planning::Planning;
use crate::scan::{NewestRow, TreeView, ViewRows};

/// The hidden column of a table's written rows: true removes the key.
const DELETED: &str = "_deleted";
/// The hidden column of a table's tree: the later write wins.
const VERSION: &str = "_version";

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// Keys of an event without `unique_within` are remembered for as long as a time can say.
const FOREVER_US: i64 = i64::MAX;

/// The numbers a new relation is given.
pub(crate) struct Definer<'a> {
    /// What there is already.
    pub catalog: &'a Catalog,
    /// Plans the queries of views.
    pub planning: &'a Planning,
    /// The relation's number.
    pub id: RelationId,
    /// The commit that creates it.
    pub created: CommitId,
    /// What became of its columns, when it was there before.
    pub history: Arc<ColumnHistory>,
}

impl Definer<'_> {
    /// The relation that `statement`, written as `sql`, creates. `tree` gives numbers to its trees.
    pub(crate) fn relation(
        &self,
        statement: &Statement,
        sql: &str,
        tree: &mut dyn FnMut() -> TreeId,
    ) -> Result<Relation, EngineError> {
        match statement {
            Statement::CreateStream(create) => self.stream(create, sql, tree()),
            Statement::CreateTable(create) => self.table(create, sql, tree()),
            Statement::CreateView(create) => self.view(create, sql, tree),
            Statement::CreateSink(create) => self.sink(create, sql, tree),
            _ => Err(EngineError::new(ErrorKind::Internal, "the statement creates nothing")),
        }
    }

    fn stream(
        &self,
        create: &CreateStream,
        sql: &str,
        tree: TreeId,
    ) -> Result<Relation, EngineError> {
        let schema = schema_of(&create.columns, &self.history);
        let options = &create.options;
        let event_time = create.watermark.as_ref().map(|w| w.column);
        let keeps_rows = options.retention.is_none_or(|kept| kept.0 > 0);
        let retention = options.retention.filter(|_| keeps_rows);
        let partition = match options.partition_by {
            Some(by) => Some(PartitionBy { column: by.column, width_us: width(by.unit) }),
            None => match (retention, event_time) {
                (Some(_), Some(column)) => Some(PartitionBy { column, width_us: DAY_US }),
                (Some(_), None) => {
                    return Err(EngineError::new(
                        ErrorKind::Input,
                        format!(
                            "stream \"{}\" has a retention but no time to go by",
                            create.name.value
                        ),
                    )
                    .with_hint(
                        "add WATERMARK FOR a time column, or partition_by = 'day(column)'",
                    ));
                }
                (None, _) => None,
            },
        };
        let spec = TreeSpec {
            id: tree,
            name: create.name.value.clone(),
            schema: Arc::clone(&schema),
            key: options.order_by.clone(),
            rule: Rule::Keep,
            partition,
            retention_us: retention.map(|r| r.0),
        };
        let unique = (!options.unique_key.is_empty()).then(|| {
            let within = options.unique_within.map_or(FOREVER_US, |w| w.0);
            (options.unique_key.clone(), within)
        });
        // The times that move something: the watermark, and what a retention drops.
        let dropped_by = partition.filter(|_| options.retention.is_some()).map(|by| by.column);
        let mut moving: Vec<usize> = event_time.into_iter().chain(dropped_by).collect();
        moving.dedup();
        let future_skew = options.future_skew.filter(|_| !moving.is_empty());
        let future_skew = future_skew.map(|skew| (skew.0, moving));
        let body = StreamBody {
            event_time,
            delay_us: create.watermark.as_ref().map_or(0, |w| w.delay.0),
            lateness_us: options.lateness.0,
            idle_us: options.watermark_idle.map(|idle| idle.0),
            unique,
            on_error: options.on_error,
            decode: options.decode.clone(),
            future_skew,
            connector: options.connector.clone(),
            keeps_rows,
        };
        Ok(self.relation_of(
            &create.name.value,
            RelationKind::Stream,
            sql,
            schema,
            vec![spec],
            TreeView::Keep,
            Body::Stream(body),
        ))
    }

    fn table(
        &self,
        create: &CreateTable,
        sql: &str,
        tree: TreeId,
    ) -> Result<Relation, EngineError> {
        let schema = schema_of(&create.columns, &self.history);
        if create.primary_key.is_empty() {
            let (schema_with_id, key) = row_id::added(&schema)?;
            let whole = self.keyed_table(create, sql, tree, schema_with_id, key);
            return Ok(row_id::hidden(whole, schema));
        }
        Ok(self.keyed_table(create, sql, tree, schema, create.primary_key.clone()))
    }

    /// A table whose rows are told apart by the columns `key` of `schema`.
    fn keyed_table(
        &self,
        create: &CreateTable,
        sql: &str,
        tree: TreeId,
        schema: SchemaRef,
        key: Vec<usize>,
    ) -> Relation {
        let stored = table_schema(&schema);
        let spec = TreeSpec {
            id: tree,
            name: create.name.value.clone(),
            schema: Arc::clone(&stored),
            key: key.clone(),
            rule: Rule::Latest,
            partition: None,
            retention_us: None,
        };
        let keys = key
            .iter()
            .map(|&c| (schema.field(c).name().clone(), schema.field(c).name().clone()))
            .collect();
        let rule = Arc::new(NewestRow::new(stored, Arc::clone(&schema), key.clone()));
        let body = TableBody {
            key,
            with_row_id: None,
            on_error: create.on_error,
            decode: create.decode.clone(),
            connector: create.connector.clone(),
        };
        self.relation_of(
            &create.name.value,
            RelationKind::Table,
            sql,
            schema,
            vec![spec],
            TreeView::Merged { rule, keys },
            Body::Table(body),
        )
    }

    pub(super) fn view(
        &self,
        create: &CreateView,
        sql: &str,
        tree: &mut dyn FnMut() -> TreeId,
    ) -> Result<Relation, EngineError> {
        let plan = self.planning.view(create, self.catalog)?;
        let (graph, sources) = graph::build(&plan, &Limits::default())?;
        let graph = Arc::new(graph);
        let name = &create.name.value;
        let schema = Arc::clone(&plan.schema);
        let mut trees = vec![view_tree(tree(), name, &graph)];
        for (number, (state, shape)) in graph.state_trees().iter().enumerate() {
            let spec = state_tree(tree(), format!("{name}.{}", number + 1), shape);
            let released = graph.releases().iter().find(|(of, _)| of == state);
            let partition = released
                .map(|(_, how)| PartitionBy { column: how.column, width_us: how.width_us() });
            trees.push(TreeSpec { partition, ..spec });
        }
        let view = match graph.tree() {
            TreeShape::Keep { .. } => TreeView::Keep,
            TreeShape::Bag(states) => TreeView::Merged {
                rule: Arc::new(ViewRows::new(Arc::clone(&graph), Arc::clone(states))),
                keys: schema
                    .fields()
                    .iter()
                    .zip(states.schema().fields())
                    .map(|(out, key)| (out.name().clone(), key.name().clone()))
                    .collect(),
            },
            TreeShape::Ranked(ranking) => {
                let plain = graph::plain_columns(&plan).into_iter();
                let plain = plain.filter_map(|(name, at)| Some((name, ranking.place(at)?)));
                let rows = ViewRows::new(Arc::clone(&graph), Arc::clone(ranking.kept()));
                TreeView::Merged {
                    rule: Arc::new(rows.together(ranking.together())),
                    keys: key_names(&plain.collect(), ranking.kept().schema()),
                }
            }
            TreeShape::Combine(states) => TreeView::Merged {
                rule: Arc::new(ViewRows::new(Arc::clone(&graph), Arc::clone(states))),
                keys: key_names(&graph::plain_columns(&plan), states.schema()),
            },
        };
        let lookups = graph
            .looked_up()
            .filter_map(|source| {
                let table = self.catalog.get(&sources.get(source.0)?.0)?;
                Some((source, table.tree()))
            })
            .collect();
        let sources = sources
            .into_iter()
            .map(|(name, columns)| {
                let relation = self.catalog.get(&name).ok_or_else(|| {
                    EngineError::new(ErrorKind::NotFound, format!("\"{name}\" does not exist"))
                })?;
                Ok((relation.id, columns))
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        let named = plan.sources.iter().filter_map(|name| Some(self.catalog.get(name)?.id));
        let named = named.collect();
        let calls = self.catalog.functions().reached(create.query.calls());
        let sink = None;
        let body = ViewBody { plan, reader: graph, named, calls, sources, sink, lookups };
        Ok(self.relation_of(name, RelationKind::View, sql, schema, trees, view, Body::View(body)))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one value, named at every call")]
    fn relation_of(
        &self,
        name: &str,
        kind: RelationKind,
        sql: &str,
        schema: SchemaRef,
        trees: Vec<TreeSpec>,
        view: TreeView,
        body: Body,
    ) -> Relation {
        Relation {
            id: self.id,
            name: name.to_owned(),
            kind,
            sql: sql.to_owned(),
            created: self.created,
            schema,
            trees,
            view,
            history: Arc::clone(&self.history),
            body,
        }
    }
}

/// The columns of a relation; when it was altered, with what reading older parts takes.
fn schema_of(columns: &[Column], history: &ColumnHistory) -> SchemaRef {
    let altered = *history != ColumnHistory::default();
    let field = |column: &Column| match altered {
        false => Arc::clone(&column.field),
        true => Arc::new(altered_field(&column.field, history)),
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn altered_field(field: &Field, history: &ColumnHistory) -> Field {
    let mut metadata = field.metadata().clone();
    let was = history.was.get(field.name()).cloned().unwrap_or_default();
    metadata.insert(WAS_KEY.to_owned(), was.join(&WAS_SEPARATOR.to_string()));
    if let Some(value) = history.added.get(field.name()) {
        let value = value.clone().unwrap_or_else(|| ADDED_NULL.to_owned());
        metadata.insert(ADDED_KEY.to_owned(), value);
    }
    field.clone().with_metadata(metadata)
}

/// A table's columns with the hidden two of its tree.
pub(super) fn table_schema(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(VERSION, DataType::UInt64, false)));
    fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, false)));
    Arc::new(Schema::new(fields))
}

fn width(unit: PartitionUnit) -> i64 {
    match unit {
        PartitionUnit::Hour => HOUR_US,
        PartitionUnit::Day => DAY_US,
    }
}

/// The tree of a view's rows. It is read by what things are, and not as the operators of a graph read
/// theirs, so the rows of a bag are sorted as states are.
fn view_tree(id: TreeId, name: &str, graph: &Graph) -> TreeSpec {
    match graph.tree() {
        TreeShape::Bag(states) => combine_tree(id, name.to_owned(), states, things_first(states)),
        shape => state_tree(id, name.to_owned(), shape),
    }
}

/// A tree of a graph.
fn state_tree(id: TreeId, name: String, shape: &TreeShape) -> TreeSpec {
    match shape {
        TreeShape::Keep { schema, key_len } => TreeSpec {
            id,
            name,
            schema: Arc::clone(schema),
            key: (0..*key_len).collect(),
            rule: Rule::Keep,
            partition: None,
            retention_us: None,
        },
        TreeShape::Bag(states) => combine_tree(id, name, states, (0..states.key_len()).collect()),
        TreeShape::Ranked(ranking) => {
            let key = (0..ranking.kept().key_len()).collect();
            combine_tree(id, name, ranking.kept(), key)
        }
        TreeShape::Combine(states) => combine_tree(id, name, states, things_first(states)),
    }
}

/// The key of aggregate states, sorted by what things are before by when they happened: a lookup names
/// the thing, and the windows of one thing then lie together.
fn things_first(states: &yeoul_flow::Aggregate) -> Vec<usize> {
    let is_window = |column: &usize| {
        let name = states.schema().field(*column).name();
        name == "window_start" || name == "window_end"
    };
    let (windows, things): (Vec<usize>, Vec<usize>) = (0..states.key_len()).partition(is_window);
    things.into_iter().chain(windows).collect()
}

fn combine_tree(
    id: TreeId,
    name: String,
    states: &Arc<yeoul_flow::Aggregate>,
    key: Vec<usize>,
) -> TreeSpec {
    let rule: Arc<dyn Combine> = Arc::<yeoul_flow::Aggregate>::clone(states);
    TreeSpec {
        id,
        name,
        key,
        schema: Arc::clone(states.schema()),
        rule: Rule::Combine(rule),
        partition: None,
        retention_us: None,
    }
}

fn key_names(plain: &HashMap<String, usize>, states: &SchemaRef) -> HashMap<String, String> {
    plain.iter().map(|(out, &key)| (out.clone(), states.field(key).name().clone())).collect()
}
