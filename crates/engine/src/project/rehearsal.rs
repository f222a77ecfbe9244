//! What it takes to bring a catalog to what a project says: tried out on an engine that has the definitions of
//! that catalog and no rows, where everything is done at once.
//!
//! ```text
//!   1 views that are not wanted any more, unless others still read them      DROP
//!   2 columns and options of streams and tables                             ALTER
//!   3 streams, tables and functions that are missing                        CREATE
//!   4 functions and views: all that change in one build, before and behind
//!     it new views                                                          CREATE OR REPLACE, CREATE
//!   5 columns, views, streams, tables and functions that are not wanted
//!     any more                                                              ALTER … DROP, DROP
//! ```
//!
//! What must hold: the statements that are given out, run in their order, were accepted here in that order;
//! run again after some of them were carried out, planning gives the rest.

use std::collections::BTreeMap;

use yeoul_batch::TreeId;
use yeoul_sql::{SqlFunction, Statement, quoted};

use super::difference::{self, Action, differences};
use super::{Definition, definitions};
use crate::catalog::{Body, Relation};
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::session::{Session, plain_sql};

impl Definition<'_> {
    fn kind(&self) -> &'static str {
        difference::kind(&self.statement.node)
    }
}

/// The statement that puts a definition in the place of what is there.
fn replacing(definition: &Definition<'_>) -> String {
    let statement = &definition.statement;
    let (name, noun) = match &statement.node {
        Statement::CreateView(create) => (&create.name, "MATERIALIZED VIEW"),
        Statement::CreateFunction(create) => (&create.name, "FUNCTION"),
        _ => return statement.sql().to_owned(),
    };
    let rest = name.span.to(statement.span).of(statement.text.as_str());
    format!("CREATE OR REPLACE {noun} {rest}")
}

/// What a step of a plan does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something new is made.
    Create,
    /// A stream or table gets other columns or options.
    Alter,
    /// A view is built anew beside the one that is there.
    Rebuild,
    /// A view keeps what it holds and is read in another way.
    Swap,
    /// Something goes.
    Drop,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// What it does.
    pub change: Change,
    /// `stream`, `table`, `view` or `function`.
    pub kind: &'static str,
    /// To what.
    pub name: String,
    /// Why: what differs, in lines, or the view whose change this follows from.
    pub because: Vec<String>,
    /// The statement that does it; `None` when another step's does.
    pub sql: Option<String>,
    /// What is read to build it.
    pub reads: Vec<String>,
    /// Something that is stored goes.
    pub loses: bool,
}

/// Trees of views, by name: those of a view that is built anew are new.
type Trees = BTreeMap<String, (Vec<TreeId>, String)>;

struct Rehearsal<'a> {
    engine: &'a Engine,
    session: Session,
    steps: Vec<PlannedStep>,
}

impl Engine {
    /// The steps that bring the definitions of this engine, which has no rows, to those of `files`. They are
    /// carried out here. For plain threads.
    pub fn rehearse_project(
        &self,
        files: &[(String, String)],
    ) -> Result<Vec<PlannedStep>, EngineError> {
        let session = self.session();
        let mut rehearsal = Rehearsal { engine: self, session, steps: Vec::new() };
        futures::executor::block_on(rehearsal.run(files))?;
        Ok(rehearsal.steps)
    }
}

/// A relation or a function is not there yet.
fn is_missing(error: &EngineError) -> bool {
    ["42P01", "42883"].contains(&error.sqlstate.as_str())
}

impl Rehearsal<'_> {
    async fn run(&mut self, files: &[(String, String)]) -> Result<(), EngineError> {
        let wanted = definitions(&self.session, files)?;
        if let Some(twice) = wanted.iter().enumerate().find_map(|(at, definition)| {
            wanted[..at].iter().any(|other| other.is_of(definition)).then_some(definition)
        }) {
            let message = format!("\"{}\" is defined twice", twice.name);
            return Err(EngineError::new(ErrorKind::Input, message).in_file(twice.file));
        }
        let unwanted = self.unwanted(&wanted);
        let unwanted = self.drop_all(unwanted, "view").await?;
        let late = self.alter(&wanted).await?;
        let of_kind = |kinds: &[&str]| -> Vec<&Definition<'_>> {
            wanted.iter().filter(|wanted| kinds.contains(&wanted.kind())).collect()
        };
        for definition in of_kind(&["stream", "table"]) {
            if self.engine.created_by(definition).is_none() {
                self.create(definition).await?;
            }
        }
        let mut functions = of_kind(&["function"]);
        functions.retain(|function| self.engine.created_by(function).is_none());
        if let (_, Some(error)) = self.create_all(functions).await? {
            return Err(error);
        }
        self.changing(&of_kind(&["function", "view"])).await?;
        for (name, kind, because, action) in late {
            self.alter_one(&name, kind, because, &action).await?;
        }
        let left = self.drop_all(unwanted, "").await?;
        if let Some((name, kind)) = left.first() {
            let message =
                format!("{kind} \"{name}\" is not in the project, and is read by what is");
            return Err(EngineError::new(ErrorKind::Conflict, message));
        }
        self.drop_functions(&wanted).await
    }

    /// What the project does not name, those that read others first.
    fn unwanted(&self, wanted: &[Definition<'_>]) -> Vec<(String, &'static str)> {
        let world = self.engine.shared.world.load();
        let mut all: Vec<_> = world.catalog.relations().cloned().collect();
        all.retain(|relation| !relation.sql.is_empty());
        all.retain(|relation| wanted.iter().all(|wanted| wanted.name != relation.name));
        all.sort_by_key(|relation| std::cmp::Reverse(relation.id));
        let kind = |relation: &Relation| match &relation.body {
            Body::Stream(_) => "stream",
            Body::Table(_) => "table",
            Body::View(view) if view.sink.is_some() => "sink",
            Body::View(_) => "view",
        };
        all.iter().map(|relation| (relation.name.clone(), kind(relation))).collect()
    }

    /// Drops what nothing reads; gives what is left. With `only`, only those of that kind.
    async fn drop_all(
        &mut self,
        names: Vec<(String, &'static str)>,
        only: &str,
    ) -> Result<Vec<(String, &'static str)>, EngineError> {
        let mut left = Vec::new();
        for (name, kind) in names {
            let word = match kind {
                "view" => "MATERIALIZED VIEW".to_owned(),
                kind => kind.to_uppercase(),
            };
            let sql = format!("DROP {word} {}", quoted(&name));
            let dropped = match only.is_empty() || only == kind {
                true => self.execute(&sql).await,
                false => {
                    left.push((name, kind));
                    continue;
                }
            };
            match dropped {
                Ok(()) => {
                    let because = vec!["the project does not name it".to_owned()];
                    self.note(Change::Drop, kind, &name, because, Some(sql), true);
                }
                Err(error) if error.sqlstate == "2BP01" => left.push((name, kind)),
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }

    /// Drops the functions that the project does not name, those that call others first.
    async fn drop_functions(&mut self, wanted: &[Definition<'_>]) -> Result<(), EngineError> {
        let world = self.engine.shared.world.load_full();
        let mut left: Vec<_> = world.catalog.functions().all().collect();
        left.retain(|function| {
            let key = Some(function.function.key());
            wanted.iter().all(|wanted| wanted.function() != key)
        });
        loop {
            let (before, mut why) = (left.len(), None);
            let mut again = Vec::new();
            for function in left {
                let types = function.function.parameters.iter();
                let types: Vec<String> =
                    types.map(|(_, data_type)| SqlFunction::type_name(data_type)).collect();
                let name = quoted(&function.function.name);
                let sql = format!("DROP FUNCTION {name}({})", types.join(", "));
                match self.execute(&sql).await {
                    Ok(()) => {
                        let because = vec!["the project does not name it".to_owned()];
                        let name = function.told();
                        self.note(Change::Drop, "function", &name, because, Some(sql), false);
                    }
                    Err(error) if error.sqlstate == "2BP01" => {
                        why.get_or_insert(error);
                        again.push(function);
                    }
                    Err(error) => return Err(error),
                }
            }
            match why {
                None => return Ok(()),
                Some(error) if again.len() == before => return Err(error),
                Some(_) => left = again,
            }
        }
    }

    /// Changes streams and tables, and gives what has to wait for the views: columns that go.
    async fn alter(
        &mut self,
        wanted: &[Definition<'_>],
    ) -> Result<Vec<(String, &'static str, String, Action)>, EngineError> {
        let mut late = Vec::new();
        for definition in wanted {
            let kind = definition.kind();
            let Some(old) = self.engine.created_by(definition) else { continue };
            let old = self.engine.shared.planning.statement(&old)?;
            // All of these that change do so in one build.
            if ["view", "function"].contains(&kind) && difference::kind(&old) == kind {
                continue;
            }
            let (mut cannot, name) = (Vec::new(), definition.name.clone());
            for difference in differences(&old, &definition.statement.node) {
                match difference.action {
                    Err(why) => cannot.push(format!("{}: {why}", difference.text)),
                    Ok(action) if action.loses => {
                        late.push((name.clone(), kind, difference.text, action));
                    }
                    Ok(action) => {
                        let altered = self.alter_one(&name, kind, difference.text, &action).await;
                        altered.map_err(|error| error.in_file(definition.file))?;
                    }
                }
            }
            if !cannot.is_empty() {
                return Err(EngineError::new(
                    ErrorKind::Conflict,
                    format!("{kind} \"{name}\" cannot become what the project says"),
                )
                .with_detail(cannot.join("\n"))
                .in_file(definition.file));
            }
        }
        Ok(late)
    }

    async fn alter_one(
        &mut self,
        name: &str,
        kind: &'static str,
        because: String,
        action: &Action,
    ) -> Result<(), EngineError> {
        let sql = format!("ALTER {} {} {}", kind.to_uppercase(), quoted(name), action.sql);
        self.execute(&sql).await?;
        self.note(Change::Alter, kind, name, vec![because], Some(sql), action.loses);
        Ok(())
    }

    async fn create(&mut self, definition: &Definition<'_>) -> Result<(), EngineError> {
        let sql = plain_sql(&definition.statement);
        self.execute(&sql).await.map_err(|error| error.in_file(definition.file))?;
        let (kind, name) = (definition.kind(), &definition.name);
        self.note(Change::Create, kind, name, Vec::new(), Some(sql), false);
        Ok(())
    }

    /// Creates and replaces views, and replaces functions, all of which are there.
    async fn changing(&mut self, wanted: &[&Definition<'_>]) -> Result<(), EngineError> {
        let mut missing = Vec::new();
        let mut changed = Vec::new();
        for definition in wanted {
            let Some(old) = self.engine.created_by(definition) else {
                missing.push(*definition);
                continue;
            };
            let old = self.engine.shared.planning.statement(&old)?;
            let differs = differences(&old, &definition.statement.node);
            if !differs.is_empty() {
                let because = differs.into_iter().map(|difference| difference.text).collect();
                changed.push((*definition, because));
            }
        }
        if let Err(error) = self.replace(&changed).await {
            // What changes may read what is new.
            if !is_missing(&error) || missing.is_empty() {
                return Err(error);
            }
            missing = self.create_all(missing).await?.0;
            self.replace(&changed).await?;
        }
        match self.create_all(missing).await? {
            (left, Some(error)) if !left.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// Creates what finds all it reads; gives what does not, and why.
    async fn create_all<'d>(
        &mut self,
        mut missing: Vec<&'d Definition<'d>>,
    ) -> Result<(Vec<&'d Definition<'d>>, Option<EngineError>), EngineError> {
        loop {
            let (mut left, mut why) = (Vec::new(), None);
            let before = missing.len();
            for definition in missing {
                match self.create(definition).await {
                    Ok(()) => {}
                    Err(error) if is_missing(&error) || error.sqlstate == "42703" => {
                        why.get_or_insert(error);
                        left.push(definition);
                    }
                    Err(error) => return Err(error),
                }
            }
            if left.is_empty() || left.len() == before {
                return Ok((left, why));
            }
            missing = left;
        }
    }

    /// Replaces views and functions at once.
    async fn replace(
        &mut self,
        changed: &[(&Definition<'_>, Vec<String>)],
    ) -> Result<(), EngineError> {
        if changed.is_empty() {
            return Ok(());
        }
        let all: Vec<String> =
            changed.iter().map(|(definition, _)| replacing(definition)).collect();
        let sql = match all.as_slice() {
            [one] => one.clone(),
            all => {
                let all = all.join(";\n");
                format!("CREATE OR REPLACE MATERIALIZED VIEWS $views$\n{all}\n$views$")
            }
        };
        let before = self.trees();
        self.execute(&sql).await.map_err(|error| match changed {
            [(one, _)] => error.in_file(one.file),
            _ => error,
        })?;
        self.swapped().await?;
        let after = self.trees();
        let mut sql = Some(sql);
        let functions = changed.iter().filter(|(one, _)| one.kind() == "function");
        for (function, because) in functions.clone() {
            let (name, because) = (&function.name, because.clone());
            self.note(Change::Alter, "function", name, because, sql.take(), false);
        }
        let world = self.engine.shared.world.load_full();
        let consequence = |view: &str| {
            let calls = |definition: &Definition<'_>| {
                let (key, view) = (definition.function(), world.catalog.get(view));
                view.zip(key).is_some_and(|(view, key)| view.calls(&[key]))
            };
            match functions.clone().find(|(function, _)| calls(function)) {
                Some((function, _)) => format!("function {} changes", function.name),
                None => "what it reads changes".to_owned(),
            }
        };
        for (name, (trees, _)) in &after {
            let views = changed.iter().filter(|(one, _)| one.kind() == "view");
            let because = views.clone().find(|(view, _)| view.name == *name);
            let built = before.get(name).is_some_and(|(had, _)| had != trees);
            let because = match because {
                Some((_, because)) => because.clone(),
                None if built => vec![consequence(name)],
                None => continue,
            };
            let change = if built { Change::Rebuild } else { Change::Swap };
            self.note(change, "view", name, because, sql.take(), false);
        }
        Ok(())
    }

    /// Waits for the swap of what was begun, which nothing holds up here.
    async fn swapped(&self) -> Result<(), EngineError> {
        loop {
            let world = self.engine.shared.world.load_full();
            if let Some((view, why)) = world.given_up.iter().next() {
                let message = format!("view \"{view}\" cannot be replaced: {why}");
                return Err(EngineError::new(ErrorKind::Conflict, message));
            }
            if world.catalog.builds().is_empty() {
                return Ok(());
            }
            self.engine.shared.check_writable()?;
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn trees(&self) -> Trees {
        let world = self.engine.shared.world.load();
        let views = world.catalog.relations().filter(|r| matches!(r.body, Body::View(_)));
        views
            .map(|view| {
                let trees = view.trees.iter().map(|tree| tree.id).collect();
                (view.name.clone(), (trees, view.sql.clone()))
            })
            .collect()
    }

    async fn execute(&self, sql: &str) -> Result<(), EngineError> {
        for answer in self.session.execute(sql).await {
            answer?;
        }
        Ok(())
    }

    fn note(
        &mut self,
        change: Change,
        kind: &'static str,
        name: &str,
        because: Vec<String>,
        sql: Option<String>,
        loses: bool,
    ) {
        let world = self.engine.shared.world.load();
        let built = matches!(change, Change::Create | Change::Rebuild) && kind == "view";
        let relation = world.catalog.get(name).filter(|_| built);
        let reads = match relation.map(|relation| &relation.body) {
            Some(Body::View(view)) => view
                .inputs()
                .filter_map(|(_, id, _)| world.catalog.by_id(id))
                .map(|source| source.name.clone())
                .collect(),
            _ => Vec::new(),
        };
        let name = name.to_owned();
        self.steps.push(PlannedStep { change, kind, name, because, sql, reads, loses });
    }
}
