//! The table `yeoul.dead_letters`: what could not be decoded, with its bytes, and what became of it.
//!
//! A letter's key is the commit that brought it and its number among that commit's letters, from 0:
//! both follow from the log, so a letter has the same key after every recovery.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use yeoul_batch::{CommitId, DecodeOptions, TreeId};
use yeoul_sql::{Connector, OnError, RelationKind};
use yeoul_store::{Rule, TreeSpec};

use super::define::table_schema;
use super::{Body, Relation, RelationId, StreamBody, TableBody};
use crate::scan::{NewestRow, TreeView};

pub(crate) const NAME: &str = "yeoul.dead_letters";

/// Positions of columns of the table.
pub(crate) mod column {
    pub(crate) const STREAM: usize = 1;
    pub(crate) const SOURCE: usize = 2;
    pub(crate) const PARTITION: usize = 3;
    pub(crate) const POSITION: usize = 4;
    pub(crate) const REASON: usize = 6;
    pub(crate) const RAW: usize = 7;
    pub(crate) const FORMAT: usize = 8;
    pub(crate) const STATE: usize = 9;
    pub(crate) const COMMIT: usize = 10;
    pub(crate) const ORDINAL: usize = 11;
    pub(crate) const REPLAYED_COMMIT: usize = 12;
}

/// The state of a letter that nobody has put back.
pub(crate) const DEAD: &str = "dead";
/// The state of a letter that was put back.
pub(crate) const REPLAYED: &str = "replayed";

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, false)
}

fn logged_fields() -> Vec<Field> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    vec![
        text("stream"),
        text("source"),
        text("partition"),
        text("position"),
        Field::new("received_at", time, false),
        text("reason"),
        Field::new("raw", DataType::Binary, false),
    ]
}

/// The columns of letters in the log: all that is known before they have a commit.
pub(crate) fn logged_letters() -> &'static SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(logged_fields())));
    &SCHEMA
}

/// The table with the number `id` over the tree `tree`.
pub(crate) fn dead_letters(id: RelationId, tree: TreeId) -> Relation {
    let mut fields = vec![text("id")];
    fields.extend(logged_fields());
    fields.extend([
        text("format").with_nullable(true),
        text("state"),
        Field::new("commit", DataType::Int64, false),
        Field::new("ordinal", DataType::Int64, false),
        Field::new("replayed_commit", DataType::Int64, true),
    ]);
    let schema = Arc::new(Schema::new(fields));
    let stored = table_schema(&schema);
    let key = vec![column::COMMIT, column::ORDINAL];
    let names = key.iter().map(|&at| schema.field(at).name().clone());
    let keys = names.map(|name| (name.clone(), name)).collect();
    let rule = Arc::new(NewestRow::new(Arc::clone(&stored), Arc::clone(&schema), key.clone()));
    let spec = TreeSpec {
        id: tree,
        name: NAME.to_owned(),
        schema: stored,
        key: key.clone(),
        rule: Rule::Latest,
        partition: None,
        retention_us: None,
    };
    let body = TableBody {
        key,
        with_row_id: None,
        on_error: OnError::DeadLetter,
        decode: DecodeOptions::default(),
        connector: Connector::http(),
    };
    relation(id, schema, spec, TreeView::Merged { rule, keys }, Body::Table(body))
}

/// The table as folders have it whose letters have no key yet: rows in order of arrival.
pub(crate) fn dead_letters_without_key(id: RelationId, tree: TreeId) -> Relation {
    let schema = Arc::clone(logged_letters());
    let spec = TreeSpec {
        id: tree,
        name: NAME.to_owned(),
        schema: Arc::clone(&schema),
        key: vec![0, 4],
        rule: Rule::Keep,
        partition: None,
        retention_us: None,
    };
    system_stream(id, schema, spec, 4)
}

/// A stream that the engine writes, over the tree of `spec`.
pub(super) fn system_stream(
    id: RelationId,
    schema: SchemaRef,
    spec: TreeSpec,
    event_time: usize,
) -> Relation {
    let body = StreamBody {
        event_time: Some(event_time),
        idle_us: None,
        delay_us: 0,
        lateness_us: 0,
        unique: None,
        on_error: OnError::DeadLetter,
        decode: DecodeOptions::default(),
        future_skew: None,
        connector: Connector::http(),
        keeps_rows: true,
    };
    relation(id, schema, spec, TreeView::Keep, Body::Stream(body))
}

fn relation(
    id: RelationId,
    schema: SchemaRef,
    spec: TreeSpec,
    view: TreeView,
    body: Body,
) -> Relation {
    Relation {
        id,
        name: spec.name.clone(),
        kind: RelationKind::System,
        sql: String::new(),
        created: CommitId(0),
        schema,
        trees: vec![spec],
        view,
        history: Arc::default(),
        body,
    }
}
