//! A project's SQL files, applied to an engine: what is there already as it is written stays, what is
//! missing is created, in an order in which everything finds what it reads.

mod difference;
mod rehearsal;

use yeoul_sql::{FunctionKey, Spanned, Statement};

use crate::catalog::{Body, Catalog};
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::session::Session;

pub use rehearsal::{Change, PlannedStep};

/// What applying a project did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// What was created, in order.
    pub created: Vec<String>,
    /// What was there already.
    pub kept: Vec<String>,
}

/// A definition of a file.
struct Definition<'a> {
    file: &'a str,
    /// As it is told; a function's with its parameters.
    name: String,
    statement: Spanned<Statement>,
}

impl Definition<'_> {
    /// Which function it is of, if it is of one.
    fn function(&self) -> Option<FunctionKey> {
        match &self.statement.node {
            Statement::CreateFunction(create) => Some(create.function.key()),
            _ => None,
        }
    }

    /// Whether both define the same thing.
    fn is_of(&self, other: &Self) -> bool {
        match (self.function(), other.function()) {
            (None, None) => self.name == other.name,
            (one, other) => one == other,
        }
    }
}

impl Engine {
    /// Applies the definitions of `files` (name and text). Files hold `CREATE` statements only, in any
    /// order: a definition whose sources are not there yet is tried again after the others.
    /// For plain threads.
    pub fn apply_project(&self, files: &[(String, String)]) -> Result<Applied, EngineError> {
        futures::executor::block_on(self.apply_files(files))
    }

    async fn apply_files(&self, files: &[(String, String)]) -> Result<Applied, EngineError> {
        let session = self.session();
        session.in_background()?;
        let mut waiting = definitions(&session, files)?;
        let mut applied = Applied::default();
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut again = Vec::new();
            let mut first_error = None;
            for definition in waiting {
                match self.apply_one(&session, &definition, &mut applied).await {
                    Ok(()) => {}
                    Err(error) if ["42P01", "42883"].contains(&error.sqlstate.as_str()) => {
                        first_error.get_or_insert_with(|| error.in_file(definition.file));
                        again.push(definition);
                    }
                    Err(error) => return Err(error.in_file(definition.file)),
                }
            }
            if let (true, Some(error)) = (again.len() == before, first_error) {
                return Err(error);
            }
            waiting = again;
        }
        Ok(applied)
    }

    /// What of the definitions does nothing, for people: streams and tables that no view reads, and functions
    /// that no view calls.
    #[must_use]
    pub fn idle_definitions(&self) -> Vec<String> {
        let world = self.shared.world.load();
        let catalog = &world.catalog;
        let inputs = catalog.relations().filter(|relation| {
            matches!(relation.body, Body::Stream(_) | Body::Table(_))
                && !relation.sql.is_empty()
                && catalog.readers_of(relation.id).is_empty()
        });
        let functions = catalog.functions().all().filter(|function| {
            let key = [function.function.key()];
            !catalog.relations().any(|relation| relation.calls(&key))
        });
        inputs
            .map(|input| format!("no view reads {} \"{}\"", input.kind, input.name))
            .chain(functions.map(|function| format!("no view calls function {}", function.told())))
            .collect()
    }

    /// What views keep and never release, for people: the first line says what it grows with, the second which
    /// step keeps it, the third what would end it.
    #[must_use]
    pub fn unreleased_state(&self) -> Vec<[String; 3]> {
        let world = self.shared.world.load();
        let mut notes = Vec::new();
        for relation in world.catalog.relations() {
            let Body::View(view) = &relation.body else { continue };
            for step in view.plan.unreleased(&|name| grows(&world.catalog, name)) {
                notes.push([
                    format!("state of view \"{}\" grows with {}", relation.name, step.grows_with),
                    format!("kept by: {}", step.step),
                    format!("ended by: {}", step.ended_by),
                ]);
            }
        }
        notes
    }

    /// The statement by which what the definition says was created before.
    fn created_by(&self, definition: &Definition<'_>) -> Option<String> {
        match definition.function() {
            Some(key) => self.function_definition(&key),
            None => self.definition(&definition.name),
        }
    }

    async fn apply_one(
        &self,
        session: &Session,
        definition: &Definition<'_>,
        applied: &mut Applied,
    ) -> Result<(), EngineError> {
        let name = &definition.name;
        if let Some(sql) = self.created_by(definition) {
            let old = self.shared.planning.statement(&sql)?;
            let differs = difference::differences(&old, &definition.statement.node);
            if differs.is_empty() {
                applied.kept.push(name.clone());
                return Ok(());
            }
            let differs: Vec<String> = differs.into_iter().map(|d| d.text).collect();
            return Err(EngineError::new(
                ErrorKind::Conflict,
                format!("\"{name}\" exists with another definition"),
            )
            .with_detail(differs.join("\n"))
            .with_hint("yeoul plan says what it takes to change it, yeoul apply does it"));
        }
        session.run_statement(&definition.statement).await?;
        applied.created.push(name.clone());
        Ok(())
    }
}

/// Whether the rows of a relation become ever more. A view has a greater number than what it reads, so this
/// ends.
fn grows(catalog: &Catalog, name: &str) -> bool {
    match catalog.get(name).map(|relation| &relation.body) {
        Some(Body::Stream(_)) => true,
        Some(Body::View(view)) => view.plan.grows(&|name| grows(catalog, name)),
        Some(Body::Table(_)) | None => false,
    }
}

/// The definitions of files.
fn definitions<'a>(
    session: &Session,
    files: &'a [(String, String)],
) -> Result<Vec<Definition<'a>>, EngineError> {
    let mut all = Vec::new();
    for (file, text) in files {
        let statements = session.parse(text).map_err(|e| e.in_file(file))?;
        for statement in statements {
            let name = created_name(&statement).map_err(|e| e.in_file(file))?;
            all.push(Definition { file, name, statement });
        }
    }
    Ok(all)
}

fn created_name(statement: &Spanned<Statement>) -> Result<String, EngineError> {
    match &statement.node {
        Statement::CreateStream(create) => Ok(create.name.value.clone()),
        Statement::CreateTable(create) => Ok(create.name.value.clone()),
        Statement::CreateView(create) => Ok(create.name.value.clone()),
        Statement::CreateSink(create) => Ok(create.name.value.clone()),
        Statement::CreateFunction(create) => {
            Ok(format!("{}({})", create.name.value, create.function.signature()))
        }
        _ => {
            let first: Vec<&str> = statement.sql().split_whitespace().take(3).collect();
            Err(EngineError::new(
                ErrorKind::Input,
                format!("\"{} …\" does not belong in a project", first.join(" ")),
            )
            .with_hint("a project's files hold CREATE statements; run others with \"yeoul sql\""))
        }
    }
}
