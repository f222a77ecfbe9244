//! Deciding what replacing views takes: which views downstream are moved, which are built anew, and why
//! it may not be. Nothing is changed here but the numbers that are given out.

use std::collections::HashSet;
use std::sync::Arc;

use yeoul_batch::CommitId;
use yeoul_sql::{CreateFunction, CreateView, FunctionKey, Statement};

use super::function::{function_under_replacement, wished_functions};
use super::state::State;
use super::views::Build;
use crate::catalog::{
    Body, BuildId, Catalog, Function, Functions, Relation, RelationId, Shape, Shapes,
};
use crate::error::{EngineError, ErrorKind};
use crate::planning::Planning;

/// A view as somebody wants it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its statement.
    pub create: CreateView,
    /// How it is written.
    pub sql: String,
}

impl Wanted {
    fn name(&self) -> &str {
        &self.create.name.value
    }
}

/// What is to be replaced at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// Views that are there.
    pub views: Vec<Wanted>,
    /// Functions: new ones, and others for those that are there.
    pub functions: Vec<WantedFunction>,
}

/// A function as somebody wants it.
#[derive(Clone, Debug)]
pub(crate) struct WantedFunction {
    /// Its statement.
    pub create: CreateFunction,
    /// The function.
    pub function: Arc<Function>,
}

impl WantedFunction {
    /// The function that `create`, written as `sql`, makes.
    pub(crate) fn new(create: CreateFunction, sql: String) -> Self {
        let function = Arc::new(Function { sql, function: Arc::new(create.function.clone()) });
        Self { create, function }
    }
}

impl Wish {
    /// The statements of its functions.
    pub(crate) fn statements(&self) -> Vec<String> {
        self.functions.iter().map(|wanted| wanted.function.sql.clone()).collect()
    }

    /// Whether a function becomes another one.
    pub(crate) fn changes(&self, catalog: &Catalog) -> bool {
        self.functions.iter().any(|wanted| {
            let there = catalog.functions().get(&wanted.function.function.key());
            there.is_none_or(|there| there.sql != wanted.function.sql)
        })
    }

    /// Which functions it is about.
    pub(crate) fn function_keys(&self) -> Vec<FunctionKey> {
        self.functions.iter().map(|wanted| wanted.function.function.key()).collect()
    }

    /// What it is about, for people: its first view or function.
    pub(super) fn cause(&self) -> String {
        match (self.functions.first(), self.views.first()) {
            (Some(wanted), _) => format!("changing function {}", wanted.function.told()),
            (None, Some(view)) => format!("replacing view \"{}\"", view.name()),
            (None, None) => "the change".to_owned(),
        }
    }
}

/// What becomes of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is as it was, and reads the new versions.
    Moved,
    /// Its trees hold what they held, and are read in another way.
    Kept,
    /// It is built beside.
    Built,
}

/// A view that a replacement concerns, those that others read first.
#[derive(Debug)]
pub(crate) struct Concerned {
    /// As it is.
    pub old: Arc<Relation>,
    /// As it will be, with a number and, unless it is moved, trees of its own.
    pub new: Arc<Relation>,
    /// What becomes of it.
    pub fate: Fate,
}

/// A view that is not decided on yet.
struct Open {
    old: Arc<Relation>,
    create: CreateView,
    sql: String,
    wanted: bool,
}

/// A sink sends the changes of what is to be replaced.
fn followed_by(sink: &str) -> EngineError {
    let message = format!("sink \"{sink}\" sends its changes, and cannot take back what it sent");
    EngineError::new(ErrorKind::Conflict, message).with_sqlstate("2BP01").with_hint(format!(
        "DROP SINK {sink}, replace the view, and CREATE SINK {sink} again: it sends everything anew"
    ))
}

impl State {
    /// The builds that `wish` takes the place of.
    pub(crate) fn superseded(&self, wish: &Wish) -> Result<Vec<BuildId>, EngineError> {
        let names: HashSet<&str> = wish.views.iter().map(Wanted::name).collect();
        let concerned = self.concerned_ids(&self.catalog, wish);
        let wanted = wish.function_keys();
        let mut given_up = Vec::new();
        for build in self.catalog.builds() {
            let versions = self.catalog.versions_of(build);
            let moves = self.catalog.moves_of(build);
            let functions = self.catalog.functions_of(build);
            let of_build = versions.iter().map(|(_, v)| v).chain(moves.iter().map(|(_, v)| v));
            let shared = of_build.map(|v| v.replaces).any(|id| concerned.contains(&id));
            let read = versions
                .iter()
                .any(|(new, _)| concerned.iter().any(|id| new.reads(*id)) || new.calls(&wanted));
            let same = functions.iter().any(|f| wanted.contains(&f.function.key()));
            if !shared && !read && !same {
                continue;
            }
            let rewritten = self.catalog.rewritten_by(build);
            if let Some(other) = rewritten.iter().find(|view| !names.contains(view.name.as_str())) {
                return Err(under_replacement(&self.catalog, &other.name, build));
            }
            if let Some(other) = functions.iter().find(|f| !wanted.contains(&f.function.key())) {
                return Err(function_under_replacement(&self.catalog, other, build));
            }
            given_up.push(build);
        }
        Ok(given_up)
    }

    /// Whether exactly this is being built already.
    pub(crate) fn builds_already(&self, wish: &Wish) -> bool {
        let is_version = |build: BuildId, wanted: &Wanted| {
            let old = self.catalog.get(wanted.name());
            let version = old.and_then(|old| self.catalog.version_for(old.id));
            version.is_some_and(|(new, of)| of.build == build && same_words(&new.sql, &wanted.sql))
        };
        self.catalog.builds().into_iter().any(|build| {
            let functions = self.catalog.functions_of(build);
            let changed =
                |wanted: &WantedFunction| functions.iter().any(|f| f.sql == wanted.function.sql);
            self.catalog.rewritten_by(build).len() == wish.views.len()
                && functions.len() == wish.functions.len()
                && wish.views.iter().all(|wanted| is_version(build, wanted))
                && wish.functions.iter().all(changed)
        })
    }

    /// The views of a wish, those that call its functions, and all that read one of them.
    fn concerned_ids(&self, catalog: &Catalog, wish: &Wish) -> HashSet<RelationId> {
        let functions = wish.function_keys();
        let named = wish.views.iter().filter_map(|wanted| catalog.get(wanted.name()));
        let calling = catalog.relations().filter(|relation| relation.calls(&functions));
        let roots: Vec<RelationId> = named.chain(calling).map(|relation| relation.id).collect();
        let below = catalog.downstream_of(&roots);
        roots.into_iter().chain(below.iter().map(|relation| relation.id)).collect()
    }

    /// What carrying out `wish`, of which all views are there, takes in `catalog`. After an error no numbers
    /// are given out.
    pub(crate) fn plan_replacement(
        &mut self,
        planning: &Planning,
        catalog: &Catalog,
        wish: &Wish,
        commit: CommitId,
    ) -> Result<Vec<Concerned>, EngineError> {
        let numbers = (self.next_relation, self.next_tree);
        let functions = wished_functions(planning, catalog, wish)?;
        let decided = self
            .open(planning, catalog, wish)
            .and_then(|open| self.decide(planning, (catalog, functions), open, wish, commit));
        if decided.is_err() {
            (self.next_relation, self.next_tree) = numbers;
        }
        decided
    }

    fn open(
        &self,
        planning: &Planning,
        catalog: &Catalog,
        wish: &Wish,
    ) -> Result<Vec<Open>, EngineError> {
        let ids = self.concerned_ids(catalog, wish);
        let mut open = Vec::new();
        for old in catalog.in_order().into_iter().filter(|relation| ids.contains(&relation.id)) {
            let changed = wish.views.iter().find(|wanted| wanted.name() == old.name);
            open.push(match changed {
                Some(Wanted { create, sql }) => {
                    Open { old, create: create.clone(), sql: sql.clone(), wanted: true }
                }
                None => {
                    if old.sink().is_some() {
                        return Err(followed_by(&old.name));
                    }
                    let Statement::CreateView(create) = planning.statement(&old.sql)? else {
                        continue;
                    };
                    let sql = old.sql.clone();
                    Open { old, create, sql, wanted: false }
                }
            });
        }
        Ok(open)
    }

    fn decide(
        &mut self,
        planning: &Planning,
        (catalog, functions): (&Catalog, Functions),
        mut open: Vec<Open>,
        wish: &Wish,
        commit: CommitId,
    ) -> Result<Vec<Concerned>, EngineError> {
        let mut seen = catalog.with_functions(functions);
        let mut shapes = Shapes::default();
        let (mut decided, mut broken): (Vec<Concerned>, Vec<(String, EngineError)>) =
            Default::default();
        while !open.is_empty() {
            let pending: HashSet<String> = open.iter().map(|view| view.old.name.clone()).collect();
            let ready =
                open.iter().position(|view| !planning.reads_one_of(&view.create, &seen, &pending));
            let Some(at) = ready else { return Err(circle(planning, &seen, &open)) };
            let Open { old, create, sql, wanted } = open.remove(at);
            let trees_from = self.next_tree;
            let id = self.take_relation();
            let statement = Statement::CreateView(create);
            let new = match self.define_in(&seen, planning, &statement, &sql, id, commit, None) {
                Ok(new) => new,
                Err(error) if wanted => return Err(error),
                Err(error) => {
                    broken.push((old.name.clone(), error));
                    continue;
                }
            };
            let new = Arc::new(new);
            let fate = self.fate(&mut shapes, (catalog, &old), (&seen, &new));
            // The text is kept as it is written now.
            let fate = match fate {
                Fate::Moved if wanted && !same_words(&old.sql, &sql) => Fate::Kept,
                fate => fate,
            };
            if fate == Fate::Moved {
                self.next_tree = trees_from;
            } else {
                seen = seen.with(Arc::clone(&new));
            }
            decided.push(Concerned { old, new, fate });
        }
        if !broken.is_empty() {
            return Err(would_break(wish, &broken));
        }
        if decided.iter().any(|view| view.fate == Fate::Built) {
            // All of it is swapped at once, and a tree has one view that steps it.
            for view in decided.iter_mut().filter(|view| view.fate == Fate::Kept) {
                view.fate = Fate::Built;
            }
            self.check_buildable(catalog, &seen, &decided)?;
        }
        for view in &decided {
            check_functions_at_rest(catalog, &view.new)?;
        }
        Ok(decided)
    }

    /// What a stream that keeps no rows has given a view cannot be given to another version of it.
    fn check_buildable(
        &self,
        catalog: &Catalog,
        seen: &Catalog,
        decided: &[Concerned],
    ) -> Result<(), EngineError> {
        let mut lost = Vec::new();
        for view in decided.iter().filter(|view| view.fate == Fate::Built) {
            let Body::View(body) = &view.new.body else { continue };
            for source in body.inputs().filter_map(|(_, id, _)| seen.by_id(id)) {
                if !source.keeps_rows() {
                    lost.push((view.old.name.as_str(), source.name.as_str()));
                }
                let state = self.views.get(&source.id);
                if let Some(Build::Failed(_)) = state.map(|state| &state.build) {
                    return Err(reads_stopped(&source.name));
                }
            }
            check_not_replaced(catalog, &view.new)?;
        }
        let Some((view, stream)) = lost.first() else { return Ok(()) };
        let all: Vec<String> =
            lost.iter().map(|(v, s)| format!("view \"{v}\" reads stream \"{s}\"")).collect();
        Err(EngineError::new(
            ErrorKind::Conflict,
            format!("view \"{view}\" cannot be built again: stream \"{stream}\" keeps no rows"),
        )
        .with_sqlstate("0A000")
        .with_detail(all.join("; "))
        .with_hint("create a view of another name, which will hold what comes from now on"))
    }

    /// What becomes of a view when `new` takes its place; with each the catalog whose names it reads.
    fn fate(
        &self,
        shapes: &mut Shapes,
        (catalog, old): (&Catalog, &Relation),
        (seen, new): (&Catalog, &Relation),
    ) -> Fate {
        let mut shape = |catalog, relation: &Relation| -> Option<Shape> {
            match &relation.body {
                Body::View(view) => Some(shapes.of(catalog, &view.plan)),
                _ => None,
            }
        };
        let (Some(before), Some(after)) = (shape(catalog, old), shape(seen, new)) else {
            return Fate::Built;
        };
        let complete = self.views.get(&old.id).is_some_and(|v| matches!(v.build, Build::Ready));
        if !complete || !same_trees(old, new) {
            Fate::Built
        } else if before == after {
            Fate::Moved
        } else if before.same_state(&after) {
            Fate::Kept
        } else {
            Fate::Built
        }
    }
}

/// A new view must not read what is about to go.
pub(crate) fn check_not_replaced(
    catalog: &Catalog,
    relation: &Relation,
) -> Result<(), EngineError> {
    let Body::View(body) = &relation.body else { return Ok(()) };
    let going = body.named.iter().find_map(|id| catalog.version_for(*id));
    match going {
        Some((version, of)) => Err(under_replacement(catalog, &version.name, of.build)),
        None => check_functions_at_rest(catalog, relation),
    }
}

/// A function is not called anew while another one is about to take its place: what calls it would become
/// another thing by itself.
fn check_functions_at_rest(catalog: &Catalog, relation: &Relation) -> Result<(), EngineError> {
    for build in catalog.builds() {
        let mut functions = catalog.functions_of(build).iter();
        if let Some(function) = functions.find(|f| relation.calls(&[f.function.key()])) {
            return Err(function_under_replacement(catalog, function, build));
        }
    }
    Ok(())
}

/// A view is being replaced, and what was asked has to wait for it.
pub(crate) fn under_replacement(catalog: &Catalog, name: &str, build: BuildId) -> EngineError {
    let replaced = catalog.replaced_by(build);
    let cause = replaced.first().map_or(name, |view| view.name.as_str());
    let cause = yeoul_sql::quoted(cause);
    EngineError::new(ErrorKind::Conflict, format!("view \"{name}\" is being replaced"))
        .with_sqlstate("55006")
        .with_detail("yeoul.views shows how far the new version is")
        .with_hint(format!(
            "wait for it, or give it up with ALTER MATERIALIZED VIEW {cause} CANCEL REPLACE"
        ))
}

fn reads_stopped(name: &str) -> EngineError {
    EngineError::new(
        ErrorKind::Conflict,
        format!("a view cannot read view \"{name}\", which has stopped"),
    )
    .with_sqlstate("55000")
    .with_hint("see yeoul.views for why, and replace that view first")
}

/// Whether two texts differ in white space only.
pub(crate) fn same_words(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

/// Whether the trees of one relation can be those of another as they are.
fn same_trees(one: &Relation, other: &Relation) -> bool {
    one.trees.len() == other.trees.len()
        && one.trees.iter().zip(&other.trees).all(|(a, b)| {
            a.schema.fields() == b.schema.fields()
                && a.key == b.key
                && a.rule.kind() == b.rule.kind()
        })
}

fn listed(views: impl IntoIterator<Item = String>) -> String {
    views.into_iter().collect::<Vec<_>>().join("; ")
}

/// None of the views that are left can be planned before another of them.
fn circle(planning: &Planning, seen: &Catalog, open: &[Open]) -> EngineError {
    let view = open.iter().find(|view| view.wanted).unwrap_or(&open[0]);
    let name = view.old.name.as_str();
    let error = EngineError::new(ErrorKind::Input, format!("view \"{name}\" would read itself"))
        .with_sqlstate("42P19");
    if planning.reads_one_of(&view.create, seen, &HashSet::from([name.to_owned()])) {
        return error;
    }
    let others = open.iter().map(|view| view.old.name.as_str()).filter(|other| {
        planning.reads_one_of(&view.create, seen, &HashSet::from([(*other).to_owned()]))
    });
    error.with_detail(format!("through {}", others.collect::<Vec<_>>().join(", ")))
}

fn would_break(wish: &Wish, broken: &[(String, EngineError)]) -> EngineError {
    let cause = wish.cause();
    let count = broken.len();
    let reasons = broken.iter().map(|(name, error)| format!("view \"{name}\": {}", error.message));
    EngineError::new(
        ErrorKind::Conflict,
        format!("{cause} would break {count} view{}", if count == 1 { "" } else { "s" }),
    )
    .with_sqlstate("2BP01")
    .with_detail(listed(reasons))
    .with_hint("keep what they read, or drop them first; yeoul apply changes several views at once")
}
