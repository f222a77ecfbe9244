//! What there is: streams, tables and views, as one immutable value per commit.

mod define;
mod function;
mod graph;
mod late;
mod layout;
mod letters;
mod row_id;
mod shape;
mod sink;
mod versions;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use yeoul_batch::{CommitId, DecodeOptions, TimeLimit, TreeId};
use yeoul_flow::{Graph, SourceIndex};
use yeoul_sql::{
    ColumnHistory, Connector, FunctionKey, OnError, RelationKind, ViewPlan, did_you_mean, quoted,
};
use yeoul_store::TreeSpec;

pub(crate) use define::Definer;
pub(crate) use function::{Function, Functions};
pub(crate) use graph::build as build_graph;
pub(crate) use late::{LATE_ROWS, late_rows};
pub(crate) use layout::layout;
pub(crate) use letters::NAME as DEAD_LETTERS_NAME;
pub(crate) use letters::column as letter_column;
pub(crate) use letters::{DEAD, REPLAYED, dead_letters, dead_letters_without_key, logged_letters};
pub(crate) use row_id::numbered;
pub(crate) use shape::{Shape, Shapes};
pub use sink::ChangeId;
pub(crate) use sink::{SinkBody, change_rows, taken_apart};
pub(crate) use versions::{BuildId, Version};

use crate::error::{EngineError, ErrorKind};
use crate::scan::TreeView;

/// The number of a relation. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RelationId(pub u32);

/// A stream, table or view.
#[derive(Debug)]
pub(crate) struct Relation {
    /// Its number.
    pub id: RelationId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// The statement that created it; empty for those of the system.
    pub sql: String,
    /// The commit that created it.
    pub created: CommitId,
    /// The columns people see.
    pub schema: SchemaRef,
    /// Its trees: its own first, then those of operators inside a view.
    pub trees: Vec<TreeSpec>,
    /// How rows of its own tree become its rows.
    pub view: TreeView,
    /// What became of its columns since it was created.
    pub history: Arc<ColumnHistory>,
    /// What only its kind has.
    pub body: Body,
}

/// What only one kind of relation has.
#[derive(Debug)]
pub(crate) enum Body {
    /// A stream.
    Stream(StreamBody),
    /// A table.
    Table(TableBody),
    /// A view.
    View(ViewBody),
}

/// What a stream has.
#[derive(Debug)]
pub(crate) struct StreamBody {
    /// The column of the event time.
    pub event_time: Option<usize>,
    /// How far the watermark stays behind the newest event, in microseconds.
    pub delay_us: i64,
    /// How far behind the watermark a row may be before it is listed as too late, in microseconds.
    pub lateness_us: i64,
    /// After how long without rows it holds no watermark back, in microseconds.
    pub idle_us: Option<i64>,
    /// The columns that name an event, and how long names are remembered, in microseconds.
    pub unique: Option<(Vec<usize>, i64)>,
    /// What becomes of an event that cannot be decoded.
    pub on_error: OnError,
    /// How events are written.
    pub decode: DecodeOptions,
    /// How far ahead of now its times may be, in microseconds, and which columns hold them.
    pub future_skew: Option<(i64, Vec<usize>)>,
    /// Where events come from.
    pub connector: Connector,
    /// Whether events are stored; otherwise views over it are all that is left of them.
    pub keeps_rows: bool,
}

/// What a table has.
#[derive(Debug)]
pub(crate) struct TableBody {
    /// The columns of its tree's key: the primary key, or the hidden row id.
    pub key: Vec<usize>,
    /// The table with its hidden row id, by which rows are changed, when it has no primary key.
    pub with_row_id: Option<Arc<Relation>>,
    /// What becomes of an event that cannot be decoded.
    pub on_error: OnError,
    /// How events are written.
    pub decode: DecodeOptions,
    /// Where rows come from.
    pub connector: Connector,
}

/// What a view has.
#[derive(Debug)]
pub(crate) struct ViewBody {
    /// The plan it is kept by.
    pub plan: ViewPlan,
    /// Its operators, for reading: stepping is done on a graph of the commit thread's own.
    pub reader: Arc<Graph>,
    /// The relations that its query names, also those whose rows turned out not to matter.
    pub named: Vec<RelationId>,
    /// The functions that its query calls, itself or through others.
    pub calls: HashSet<FunctionKey>,
    /// The relations it reads, in the order of the graph's sources, and the columns of each.
    pub sources: Vec<(RelationId, Vec<usize>)>,
    /// What it has beside, when its changes are sent elsewhere.
    pub sink: Option<Box<SinkBody>>,
    /// The sources in which rows are looked up, and the trees that hold them.
    pub lookups: Vec<(SourceIndex, TreeId)>,
}

impl ViewBody {
    /// The relations whose rows it is made of, with their place among the sources: not the tables in
    /// which rows are looked up.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (usize, RelationId, &[usize])> {
        let is_input = |index| self.lookups.iter().all(|(source, _)| source.0 != index);
        let sources = self.sources.iter().enumerate().filter(move |(index, _)| is_input(*index));
        sources.map(|(index, (id, columns))| (index, *id, columns.as_slice()))
    }
}

impl Relation {
    /// The tree that holds its rows.
    pub(crate) fn tree(&self) -> TreeId {
        self.trees[0].id
    }

    /// The columns of its primary key; none where there is none.
    pub(crate) fn primary_key(&self) -> &[usize] {
        match &self.body {
            Body::Table(TableBody { key, with_row_id: None, .. }) => key,
            _ => &[],
        }
    }

    /// With the hidden row id, if it has one.
    pub(crate) fn whole(self: &Arc<Self>) -> &Arc<Self> {
        match &self.body {
            Body::Table(TableBody { with_row_id: Some(whole), .. }) => whole,
            _ => self,
        }
    }

    /// Whether queries may name it, as what people made.
    pub(crate) fn is_read(&self) -> bool {
        !matches!(self.kind, RelationKind::System | RelationKind::Sink)
    }

    /// Whether its rows are stored.
    pub(crate) fn keeps_rows(&self) -> bool {
        !matches!(&self.body, Body::Stream(StreamBody { keeps_rows: false, .. }))
    }

    /// Which of its times are believed at `now_us`, when it matters.
    pub(crate) fn time_limit(&self, now_us: i64) -> Option<TimeLimit> {
        let Body::Stream(stream) = &self.body else { return None };
        let (skew_us, columns) = stream.future_skew.as_ref()?;
        Some(TimeLimit { columns: columns.clone(), now_us, skew_us: *skew_us })
    }

    /// Whether a delivery with an event that cannot be decoded is refused as a whole.
    pub(crate) fn refuses_bad_rows(&self) -> bool {
        match &self.body {
            Body::Stream(stream) => stream.on_error == OnError::Fail,
            Body::Table(table) => table.on_error == OnError::Fail,
            Body::View(_) => false,
        }
    }

    /// Whether it is a view that calls one of these functions, itself or through others.
    pub(crate) fn calls(&self, functions: &[FunctionKey]) -> bool {
        match &self.body {
            Body::View(view) => functions.iter().any(|key| view.calls.contains(key)),
            _ => false,
        }
    }

    /// Whether it is a view that reads `id` directly.
    pub(crate) fn reads(&self, id: RelationId) -> bool {
        match &self.body {
            Body::View(view) => view.named.contains(&id),
            _ => false,
        }
    }

    /// Whether rows are only ever added.
    pub(crate) fn append_only(&self) -> bool {
        match &self.body {
            Body::Stream(_) => true,
            Body::Table(_) => false,
            Body::View(view) => view.reader.append_only(),
        }
    }
}

/// All relations at one commit. Versions of views that are being built have a number here and no name.
#[derive(Clone, Default)]
pub(crate) struct Catalog {
    by_name: BTreeMap<String, Arc<Relation>>,
    by_id: HashMap<RelationId, Arc<Relation>>,
    /// The versions that are being built.
    versions: BTreeMap<RelationId, Version>,
    /// The numbers that views will have once they read the versions of a build.
    moves: BTreeMap<RelationId, Version>,
    functions: Functions,
    /// The functions that a build changes when it is swapped in.
    build_functions: BTreeMap<BuildId, Vec<Arc<Function>>>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Catalog {
    /// The relation of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Relation>> {
        self.by_name.get(name)
    }

    /// The relation of this number.
    pub(crate) fn by_id(&self, id: RelationId) -> Option<&Arc<Relation>> {
        self.by_id.get(&id)
    }

    /// All that can be named, by name.
    pub(crate) fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.by_name.values()
    }

    /// The functions that people wrote.
    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
    }

    /// With these functions.
    #[must_use]
    pub(crate) fn with_functions(&self, functions: Functions) -> Self {
        Self { functions, ..self.clone() }
    }

    /// All of them, versions too, in order of creation, so that what a view reads comes before the view.
    pub(crate) fn in_order(&self) -> Vec<Arc<Relation>> {
        let mut all: Vec<_> = self.by_id.values().cloned().collect();
        all.sort_by_key(|relation| relation.id);
        all
    }

    /// The views and versions of views that read `id` directly.
    pub(crate) fn readers_of(&self, id: RelationId) -> Vec<Arc<Relation>> {
        let reads = |relation: &&Arc<Relation>| relation.reads(id);
        let mut readers: Vec<_> = self.by_id.values().filter(reads).cloned().collect();
        readers.sort_by_key(|relation| relation.id);
        readers
    }

    /// With `relation` in the place of the one of its number, which may have another name.
    #[must_use]
    pub(crate) fn with_altered(&self, relation: Arc<Relation>) -> Self {
        let mut next = self.clone();
        if let Some(old) = next.by_id.get(&relation.id) {
            next.by_name.remove(&old.name);
        }
        next.with(relation)
    }

    /// With one more.
    #[must_use]
    pub(crate) fn with(&self, relation: Arc<Relation>) -> Self {
        let mut next = self.clone();
        next.by_id.insert(relation.id, Arc::clone(&relation));
        next.by_name.insert(relation.name.clone(), relation);
        next
    }

    /// Without these.
    #[must_use]
    pub(crate) fn without(&self, ids: &[RelationId]) -> Self {
        let mut next = self.clone();
        for id in ids {
            let Some(relation) = next.by_id.remove(id) else { continue };
            if next.by_name.get(&relation.name).is_some_and(|named| named.id == *id) {
                next.by_name.remove(&relation.name);
            }
            next.versions.remove(id);
            next.moves.retain(|_, version| version.replaces != *id);
        }
        let builds = next.builds();
        next.build_functions.retain(|build, _| builds.contains(build));
        next
    }

    /// The names of the streams and tables that take rows.
    pub(crate) fn writable_names(&self) -> impl Iterator<Item = &str> {
        let taking = self.relations().filter(|relation| takes_rows(relation));
        taking.map(|relation| relation.name.as_str())
    }

    /// The stream or table that takes rows under this name.
    pub(crate) fn writable(&self, name: &str) -> Result<&Arc<Relation>, EngineError> {
        match self.get(name) {
            Some(relation) if takes_rows(relation) => Ok(relation),
            Some(relation) => Err(EngineError::new(
                ErrorKind::Input,
                format!("{} \"{name}\" takes no rows", relation.kind),
            )
            .with_sqlstate("42809")
            .with_hint("send rows to a stream or table that it reads")),
            None => {
                let names: Vec<&str> = self.writable_names().collect();
                let known = if names.is_empty() {
                    "there are none yet".to_owned()
                } else {
                    format!("there are {}", names.join(", "))
                };
                let hint = did_you_mean(name, names)
                    .unwrap_or_else(|| format!("CREATE STREAM {} (…) makes one", quoted(name)));
                Err(EngineError::new(
                    ErrorKind::NotFound,
                    format!("stream or table \"{name}\" does not exist"),
                )
                .with_detail(known)
                .with_hint(hint))
            }
        }
    }
}

/// Whether rows may be sent to it.
fn takes_rows(relation: &Relation) -> bool {
    !matches!(relation.body, Body::View(_)) && relation.kind != RelationKind::System
}
