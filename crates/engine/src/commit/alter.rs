//! Changing streams and tables, and the names of relations: commits of their own.
//!
//! A relation keeps its number and its trees. Rows that are stored are not rewritten: what reading them takes
//! is in the metadata of the columns (`yeoul_store::Fit`). Views that read the relation are planned again,
//! must come out as they were, and find their columns where they are now.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use yeoul_batch::{ADDED_NULL, CommitId, LENGTH_KEY, TYPE_KEY};
use yeoul_sql::{
    Alter, AlterAction, Column, ColumnHistory, RelationKind, Statement, WrittenOption, quoted,
};

use super::committer::Committer;
use super::define::Definition;
use super::drop::{check_kind, missing_as};
use super::replacement::under_replacement;
use super::state::State;
use crate::catalog::{Body, Definer, Relation, RelationId, Shapes};
use crate::error::{EngineError, ErrorKind};
use crate::planning::Planning;

/// A change of a relation as the log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AlterRecord {
    /// The relation's number.
    pub id: u32,
    /// The statement that creates it as it is from now on.
    pub sql: String,
    /// What became of its columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryRecord>,
}

/// What became of columns, as the log and the manifest have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HistoryRecord {
    /// The names a column had before, the newest first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub was: BTreeMap<String, Vec<String>>,
    /// The value of a column in rows that are older than it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub added: BTreeMap<String, Option<String>>,
    /// Names that no column may have any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
}

impl HistoryRecord {
    /// `None` when there is nothing to tell.
    pub(crate) fn of(history: &ColumnHistory) -> Option<Self> {
        let ColumnHistory { was, added, retired } = history.clone();
        (*history != ColumnHistory::default()).then_some(Self { was, added, retired })
    }

    pub(crate) fn history(&self) -> ColumnHistory {
        let Self { was, added, retired } = self.clone();
        ColumnHistory { was, added, retired }
    }
}

/// A relation as it will be, and those that read it, planned again.
pub(crate) struct Changed {
    relation: Arc<Relation>,
    readers: Vec<Arc<Relation>>,
    /// Readers that do not come out as they were, with the reason.
    broken: Vec<(String, String)>,
}

impl State {
    /// What `record` makes of its relation.
    pub(crate) fn altered(
        &mut self,
        planning: &Planning,
        record: &AlterRecord,
    ) -> Result<Changed, EngineError> {
        let id = RelationId(record.id);
        let old = self.catalog.by_id(id).cloned().ok_or_else(|| {
            EngineError::new(ErrorKind::Internal, "the log alters what is not there")
        })?;
        let statement = planning.statement(&record.sql)?;
        let history = record.history.as_ref().map(HistoryRecord::history).unwrap_or_default();
        let catalog = Arc::clone(&self.catalog);
        let (created, history) = (old.created, Arc::new(history));
        let definer = Definer { catalog: &catalog, planning, id, created, history };
        let trees: Vec<u32> = old.trees.iter().map(|tree| tree.id.0).collect();
        let relation = self.define_by(&definer, &statement, &record.sql, Some(&trees))?;
        let relation = Arc::new(relation);
        let seen = catalog.with_altered(Arc::clone(&relation));
        let (mut readers, mut broken) = (Vec::new(), Vec::new());
        let mut shapes = Shapes::default();
        for reader in catalog.readers_of(id) {
            let Body::View(body) = &reader.body else { continue };
            let before = shapes.of(&catalog, &body.plan);
            let statement = planning.statement(&reader.sql)?;
            let trees: Vec<u32> = reader.trees.iter().map(|tree| tree.id.0).collect();
            let (id, created) = (reader.id, reader.created);
            let planned =
                self.define_in(&seen, planning, &statement, &reader.sql, id, created, Some(&trees));
            shapes.forget_relations();
            match planned {
                Err(error) => broken.push((reader.name.clone(), error.message)),
                Ok(now) => {
                    if let Body::View(body) = &now.body
                        && shapes.of(&seen, &body.plan) != before
                    {
                        let why = match now.schema.fields() == reader.schema.fields() {
                            true => "what it holds would change",
                            false => "its columns would change",
                        };
                        broken.push((reader.name.clone(), why.to_owned()));
                    }
                    readers.push(Arc::new(now));
                }
            }
            shapes.forget_relations();
        }
        Ok(Changed { relation, readers, broken })
    }

    pub(crate) fn install_altered(
        &mut self,
        changed: Changed,
        commit: CommitId,
    ) -> Result<(), EngineError> {
        let Changed { relation, readers, .. } = changed;
        for tree in &relation.trees {
            self.store.alter_tree(tree.clone())?;
        }
        let id = relation.id;
        if let (Body::Stream(body), Some(stream)) = (&relation.body, self.streams.remove(&id)) {
            self.streams.insert(id, stream.altered(body, self.time_us));
        }
        if let Body::Table(_) = &relation.body {
            // What was computed of it before has its old columns, and is computed again.
            self.tables.insert(id, commit);
        }
        let mut catalog = self.catalog.with_altered(Arc::clone(&relation));
        for reader in readers.into_iter().chain([relation]) {
            if let Some(view) = self.views.get_mut(&reader.id) {
                view.relation = Arc::clone(&reader);
            }
            catalog = catalog.with_altered(reader);
        }
        self.catalog = Arc::new(catalog);
        Ok(())
    }

    /// Nothing that is being replaced, or from which versions are built, is changed meanwhile.
    fn check_at_rest(&self, relation: &Relation) -> Result<(), EngineError> {
        let catalog = &self.catalog;
        let readers = catalog.readers_of(relation.id);
        let version = readers.iter().find_map(|reader| {
            let build = catalog.version(reader.id)?.build;
            Some((reader.name.as_str(), build))
        });
        let own = catalog.version_for(relation.id);
        let own = own.map(|(version, of)| (version.name.as_str(), of.build));
        let moved = catalog.moves().find(|(_, version)| version.replaces == relation.id);
        let moved = moved.map(|(_, version)| (relation.name.as_str(), version.build));
        match version.or(own).or(moved) {
            Some((name, build)) => Err(under_replacement(catalog, name, build)),
            None => Ok(()),
        }
    }
}

impl Committer {
    /// Changes a relation; `None` when nothing changes.
    pub(crate) fn alter(&mut self, alter: &Alter) -> Result<Option<CommitId>, EngineError> {
        let name = &alter.name.value;
        let Some(old) = self.state.catalog.get(name).cloned() else {
            return Err(missing_as(alter.kind, &self.state.catalog, name));
        };
        check_kind(alter.kind, &old, "ALTER")?;
        self.state.check_at_rest(&old)?;
        if let AlterAction::Rename(to) = &alter.action {
            self.check_rename(&old, &to.value)?;
        }
        let shared = Arc::clone(&self.shared);
        let Some(record) = altered_record(&shared.planning, &old, &alter.action)? else {
            return Ok(None);
        };
        let changed = self.state.altered(&shared.planning, &record)?;
        check_changed(&old, &changed, &alter.action)?;
        let commit = self.state.commit.next();
        self.log_definition(&Definition::Alter(record), commit)?;
        let installed = self.state.install_altered(changed, commit);
        installed.inspect_err(|error| self.state.store.poison(&error.message))?;
        self.publish(commit, Vec::new())?;
        Ok(Some(commit))
    }

    fn check_rename(&self, old: &Relation, to: &str) -> Result<(), EngineError> {
        if let Some(there) = self.state.catalog.get(to) {
            return Err(EngineError::new(
                ErrorKind::Conflict,
                format!("{} \"{to}\" exists already", there.kind),
            )
            .with_sqlstate("42P07"));
        }
        let readers = self.state.catalog.readers_of(old.id);
        if readers.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = readers.iter().map(|reader| reader.name.as_str()).collect();
        Err(EngineError::new(
            ErrorKind::Conflict,
            format!("{} \"{}\" is read by {}", old.kind, old.name, names.join(", ")),
        )
        .with_sqlstate("2BP01")
        .with_detail("their queries name it"))
    }
}

/// The record of a change; `None` when nothing changes.
fn altered_record(
    planning: &Planning,
    old: &Relation,
    action: &AlterAction,
) -> Result<Option<AlterRecord>, EngineError> {
    let create = planning.statement(&old.sql)?;
    let id = old.id.0;
    if let Statement::CreateView(view) = &create {
        return match action {
            AlterAction::Rename(to) => {
                let columns: Vec<String> = view.columns.iter().map(|c| quoted(&c.value)).collect();
                let columns = match columns.is_empty() {
                    true => String::new(),
                    false => format!(" ({})", columns.join(", ")),
                };
                let name = quoted(&to.value);
                let sql =
                    format!("CREATE MATERIALIZED VIEW {name}{columns} AS {}", view.query.sql());
                Ok(Some(AlterRecord { id, sql, history: None }))
            }
            AlterAction::Set(given) => Err(no_view_options(given)),
            _ => Err(EngineError::new(ErrorKind::Input, "a view is changed by replacing it")),
        };
    }
    if let AlterAction::AddColumn { column, default: Some(value), .. } = action {
        check_default(column, value)?;
    }
    let altered = yeoul_sql::altered(&create, &old.history, action, planning.reading.connectors)
        .map_err(|error| EngineError::sql(&error, ""))?;
    Ok(altered.map(|altered| {
        let history = HistoryRecord::of(&altered.history);
        AlterRecord { id, sql: altered.sql, history }
    }))
}

fn no_view_options(given: &[WrittenOption]) -> EngineError {
    let name = given.first().map_or("", |option| option.name.as_str());
    EngineError::new(ErrorKind::Input, format!("there is no option \"{name}\" for a view"))
        .with_sqlstate("22023")
        .with_detail("views have no options yet")
}

/// The default must be a value of its column.
fn check_default(column: &Column, value: &str) -> Result<(), EngineError> {
    let (name, field) = (&column.name.value, &column.field);
    let wrong = |why: String| {
        EngineError::new(ErrorKind::Input, format!("\"{value}\" cannot be in column \"{name}\""))
            .with_sqlstate("22023")
            .with_detail(why)
    };
    let plain = !field.metadata().contains_key(TYPE_KEY)
        && !matches!(
            field.data_type(),
            DataType::Interval(_) | DataType::List(_) | DataType::Binary
        );
    if !plain {
        return Err(wrong("columns of this type can only be added without DEFAULT".to_owned()));
    }
    let most = field.metadata().get(LENGTH_KEY).and_then(|most| most.parse::<usize>().ok());
    if most.is_some_and(|most| value.chars().count() > most) || value == ADDED_NULL {
        return Err(wrong("it is too long".to_owned()));
    }
    yeoul_store::value_of(value, field.data_type()).map_err(|why| wrong(why.to_string()))?;
    Ok(())
}

fn check_changed(
    old: &Relation,
    changed: &Changed,
    action: &AlterAction,
) -> Result<(), EngineError> {
    let name = &old.name;
    if old.keeps_rows() != changed.relation.keeps_rows() {
        return Err(EngineError::new(
            ErrorKind::Input,
            format!("stream \"{name}\" cannot begin or cease to keep its rows"),
        )
        .with_sqlstate("22023")
        .with_detail("with a retention of zero events are not stored, and its books say what is"));
    }
    if changed.broken.is_empty() {
        return Ok(());
    }
    let what = match action {
        AlterAction::AddColumn { column, .. } => format!("adding column \"{}\"", column.name.value),
        AlterAction::DropColumn { name, .. } => format!("dropping column \"{}\"", name.value),
        AlterAction::RenameColumn { from, .. } => format!("renaming column \"{}\"", from.value),
        AlterAction::ColumnType { name, .. } => {
            format!("another type of column \"{}\"", name.value)
        }
        _ => "the change".to_owned(),
    };
    let count = changed.broken.len();
    let views = changed.broken.iter().map(|(view, why)| format!("view \"{view}\": {why}"));
    let noun = if old.kind == RelationKind::Table { "table" } else { "stream" };
    Err(EngineError::new(
        ErrorKind::Conflict,
        format!(
            "{what} of {noun} \"{name}\" would break {count} view{}",
            if count == 1 { "" } else { "s" }
        ),
    )
    .with_sqlstate("2BP01")
    .with_detail(views.collect::<Vec<_>>().join("; "))
    .with_hint(
        "replace them first by views that do not read it, or that name the columns they read",
    ))
}
