//! Where the engine's catalog meets the planner: names are looked up among definitions (for views) or
//! in a world (for queries).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{ScalarUDF, TableSource};
use yeoul_batch::{ADDED_KEY, WAS_KEY};
use yeoul_sql::{CreateView, Planner, RelationKind, SqlFunction, Statement, ViewPlan};

use crate::catalog::{Body, Catalog, Relation};
use crate::error::{EngineError, ErrorKind};
use crate::options::Reading;
use crate::scan::TreeProvider;
use crate::session::Asker;
use crate::system;
use crate::world::World;

/// Plans statements.
pub(crate) struct Planning {
    pub planner: Planner,
    pub reading: Reading,
}

impl Planning {
    /// A planner with the functions and settings of `state`.
    pub(crate) fn new(state: SessionState, reading: Reading) -> Result<Self, EngineError> {
        let planner = Planner::new(state).map_err(|e| EngineError::sql(&e, ""))?;
        Ok(Self { planner, reading })
    }

    /// The one statement of `sql`, which was accepted before.
    pub(crate) fn statement(&self, sql: &str) -> Result<Statement, EngineError> {
        let mut statements =
            self.reading.parse_stored(sql).map_err(|e| EngineError::sql(&e, sql))?;
        match statements.pop() {
            Some(statement) => Ok(statement.node),
            None => Err(EngineError::new(ErrorKind::Internal, "a stored definition is empty")),
        }
    }

    /// The plan by which a view is kept.
    pub(crate) fn view(
        &self,
        create: &CreateView,
        catalog: &Catalog,
    ) -> Result<ViewPlan, EngineError> {
        self.planner
            .create_view(create, &Definitions(catalog))
            .map_err(|e| EngineError::sql(&e, create.query.text.as_str()))
    }

    /// Whether the query of a view reads one of `pending`, as far as planning it comes.
    pub(crate) fn reads_one_of(
        &self,
        create: &CreateView,
        catalog: &Catalog,
        pending: &HashSet<String>,
    ) -> bool {
        let names = Without { catalog, pending, asked: Cell::new(false) };
        // What is wrong with it otherwise is said when it is planned for good.
        let _ = self.planner.view(&create.query, &create.columns, &names);
        names.asked.get()
    }
}

/// What `sql` wants to know about a relation.
fn described(relation: &Relation) -> yeoul_sql::Relation {
    let event_time = match &relation.body {
        Body::Stream(stream) => stream.event_time,
        Body::Table(_) | Body::View(_) => None,
    };
    yeoul_sql::Relation {
        kind: relation.kind,
        schema: plain_schema(&relation.schema),
        primary_key: relation.primary_key().to_vec(),
        event_time,
        lags: lags(relation),
        of_table: match &relation.body {
            Body::View(view) => view.plan.of_table.clone(),
            Body::Stream(_) | Body::Table(_) => None,
        },
        append_only: relation.append_only(),
    }
}

/// The columns without what is said of older parts: views have parts of their own.
fn plain_schema(schema: &SchemaRef) -> SchemaRef {
    if !yeoul_store::may_differ(schema) {
        return Arc::clone(schema);
    }
    let plain = |field: &FieldRef| {
        let mut metadata = field.metadata().clone();
        metadata.retain(|key, _| key != WAS_KEY && key != ADDED_KEY);
        Field::clone(field).with_metadata(metadata)
    };
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

/// By which columns it is known that rows are complete.
fn lags(relation: &Relation) -> Vec<(usize, i64)> {
    match &relation.body {
        // A row at the watermark itself is not late yet.
        Body::Stream(stream) => stream.event_time.map(|column| (column, 1)).into_iter().collect(),
        Body::View(view) => {
            let lags = view.plan.lags.iter().enumerate();
            lags.filter_map(|(column, lag)| Some((column, (*lag)?))).collect()
        }
        Body::Table(_) => Vec::new(),
    }
}

/// There is no relation `name` in `catalog`, as a query would be told.
pub(crate) fn missing(catalog: &Catalog, name: &str) -> EngineError {
    EngineError::sql(&yeoul_sql::unknown_relation(name, None, &Definitions(catalog)), "")
}

/// The same for a sink.
pub(crate) fn missing_sink(catalog: &Catalog, name: &str) -> EngineError {
    let sinks = catalog.relations().filter(|relation| relation.kind == RelationKind::Sink);
    let names: Vec<&str> = sinks.map(|sink| sink.name.as_str()).collect();
    let message = format!("sink \"{name}\" does not exist");
    let error = EngineError::new(ErrorKind::NotFound, message).with_sqlstate("42P01");
    let error = error.with_detail(match names.as_slice() {
        [] => "there are none".to_owned(),
        names => format!("there are {}", names.join(", ")),
    });
    match yeoul_sql::did_you_mean(name, names) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn visible_names(catalog: &Catalog) -> Vec<String> {
    catalog
        .relations()
        .filter(|relation| relation.is_read())
        .map(|relation| relation.name.clone())
        .collect()
}

/// Names as definitions, some of which are not to be looked at yet.
struct Without<'a> {
    catalog: &'a Catalog,
    pending: &'a HashSet<String>,
    asked: Cell<bool>,
}

impl yeoul_sql::Catalog for Without<'_> {
    fn relation(&self, name: &str) -> Option<yeoul_sql::Relation> {
        if self.pending.contains(name) {
            self.asked.set(true);
            return None;
        }
        Definitions(self.catalog).relation(name)
    }

    fn names(&self) -> Vec<String> {
        visible_names(self.catalog)
    }

    fn source(&self, _name: &TableReference) -> Option<Arc<dyn TableSource>> {
        None
    }

    fn sql_functions(&self, name: &str) -> Vec<Arc<SqlFunction>> {
        Definitions(self.catalog).sql_functions(name)
    }
}

/// Names as definitions only: enough to plan and lower, not to run.
pub(crate) struct Definitions<'a>(pub &'a Catalog);

impl yeoul_sql::Catalog for Definitions<'_> {
    fn relation(&self, name: &str) -> Option<yeoul_sql::Relation> {
        let relation = self.0.get(name)?;
        relation.is_read().then(|| described(relation))
    }

    fn names(&self) -> Vec<String> {
        visible_names(self.0)
    }

    fn source(&self, _name: &TableReference) -> Option<Arc<dyn TableSource>> {
        None
    }

    fn sql_functions(&self, name: &str) -> Vec<Arc<SqlFunction>> {
        self.0.functions().named(name).map(|f| Arc::clone(&f.function)).collect()
    }
}

/// Names as tables of one world.
pub(crate) struct Readable<'a> {
    world: &'a Arc<World>,
    shared: &'a crate::shared::Shared,
    asker: Asker,
    /// The relation that is shown with its row id, since its rows are to be changed.
    changed: Option<&'a str>,
    /// One provider per relation, so that a query that names it twice reads it once planned.
    made: RefCell<HashMap<(String, bool), Arc<dyn TableSource>>>,
    /// Why a named relation cannot be read.
    refused: RefCell<Option<EngineError>>,
}

impl<'a> Readable<'a> {
    /// The names of `world` for one who asks.
    pub(crate) fn new(
        world: &'a Arc<World>,
        shared: &'a crate::shared::Shared,
        asker: Asker,
    ) -> Self {
        let (made, refused) = Default::default();
        Self { world, shared, asker, changed: None, made, refused }
    }

    /// The same for a change of the rows of a relation.
    pub(crate) fn changing(self, changed: Option<&'a str>) -> Self {
        Self { changed, ..self }
    }

    /// The relation of this name as it is shown here.
    fn shown(&self, name: &str) -> Option<&Arc<Relation>> {
        let relation = self.world.catalog.get(name).filter(|r| r.kind != RelationKind::Sink)?;
        Some(if self.changed == Some(name) { relation.whole() } else { relation })
    }

    /// Why a relation that planning asked for cannot be read, if one cannot.
    pub(crate) fn refusal(self) -> Result<(), EngineError> {
        self.refused.into_inner().map_or(Ok(()), Err)
    }

    fn provider(&self, name: &TableReference) -> Option<Arc<dyn TableSource>> {
        // A name may have a dot in it: "yeoul.views" is no table of the engine.
        let (full, of_engine) = match name.schema() {
            None | Some("public") => (name.table().to_owned(), false),
            Some(schema) => (format!("{schema}.{}", name.table()), true),
        };
        let key = (full, of_engine);
        if let Some(made) = self.made.borrow().get(&key) {
            return Some(Arc::clone(made));
        }
        let full = &key.0;
        let shown = self.shown(full);
        let source = match shown.filter(|r| (r.kind == RelationKind::System) == of_engine) {
            Some(relation) => {
                if let Err(error) = self.world.readable(relation) {
                    self.refused.borrow_mut().get_or_insert(error);
                }
                provider_as_source(Arc::new(provider(self.world, relation)?))
            }
            None => {
                let system =
                    of_engine.then(|| system::table(full, self.world, self.shared)).flatten();
                provider_as_source(system.or_else(|| self.asker.table(name))?)
            }
        };
        self.made.borrow_mut().insert(key, Arc::clone(&source));
        Some(source)
    }
}

/// A relation of a world as a table.
pub(crate) fn provider(world: &Arc<World>, relation: &Relation) -> Option<TreeProvider> {
    let tree = world.snapshot.tree(relation.tree())?;
    Some(TreeProvider::new(
        Arc::clone(&relation.schema),
        Arc::clone(tree),
        relation.view.clone(),
        Arc::clone(&world.snapshot),
    ))
}

impl yeoul_sql::Catalog for Readable<'_> {
    fn relation(&self, name: &str) -> Option<yeoul_sql::Relation> {
        let relation = self.shown(name)?;
        relation.is_read().then(|| described(relation))
    }

    fn names(&self) -> Vec<String> {
        visible_names(&self.world.catalog)
    }

    fn source(&self, name: &TableReference) -> Option<Arc<dyn TableSource>> {
        self.provider(name)
    }

    fn function(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.asker.function(name)
    }

    fn sql_functions(&self, name: &str) -> Vec<Arc<SqlFunction>> {
        let functions = self.world.catalog.functions();
        functions.named(name).map(|f| Arc::clone(&f.function)).collect()
    }
}
