//! Creating and dropping functions: commits of their own. One that is replaced is so together with the
//! views that call it (`replacement.rs`).

use std::collections::HashSet;
use std::sync::Arc;

use yeoul_batch::CommitId;
use yeoul_sql::{CreateFunction, DropFunction, FunctionKey, Statement, did_you_mean};

use super::committer::Committer;
use super::define::Definition;
use super::replacement::{WantedFunction, Wish};
use super::state::State;
use crate::catalog::{BuildId, Catalog, Function, Functions};
use crate::error::{EngineError, ErrorKind};
use crate::planning::{Definitions, Planning};

impl State {
    /// Adds a function that was accepted before.
    pub(crate) fn add_function(
        &mut self,
        planning: &Planning,
        sql: &str,
    ) -> Result<(), EngineError> {
        let function = read_function(planning, sql)?;
        let functions = self.catalog.functions().with(&[function.function]);
        self.catalog = Arc::new(self.catalog.with_functions(functions));
        Ok(())
    }

    /// Keeps the functions that `build` changes when it is swapped in.
    pub(crate) fn note_functions(
        &mut self,
        planning: &Planning,
        build: BuildId,
        statements: &[String],
    ) -> Result<(), EngineError> {
        let functions = read_functions(planning, statements)?;
        self.catalog = Arc::new(self.catalog.with_build_functions(build, functions));
        Ok(())
    }

    /// Takes functions out.
    pub(crate) fn drop_functions(&mut self, keys: &[FunctionKey]) {
        let functions = self.catalog.functions().without(keys);
        self.catalog = Arc::new(self.catalog.with_functions(functions));
    }
}

impl Committer {
    pub(crate) fn create_function(
        &mut self,
        create: &CreateFunction,
        sql: &str,
    ) -> Result<Option<CommitId>, EngineError> {
        let shared = Arc::clone(&self.shared);
        let catalog = Arc::clone(&self.state.catalog);
        let wanted = WantedFunction::new(create.clone(), sql.to_owned());
        if catalog.functions().get(&create.function.key()).is_some() {
            if !create.or_replace {
                let message = format!("function {} exists already", wanted.function.told());
                return Err(EngineError::new(ErrorKind::Conflict, message)
                    .with_sqlstate("42723")
                    .with_hint("say CREATE OR REPLACE FUNCTION, or drop it first"));
            }
            return self.replace(&Wish { views: Vec::new(), functions: vec![wanted] });
        }
        let wish = Wish { views: Vec::new(), functions: vec![wanted] };
        let functions = wished_functions(&shared.planning, &catalog, &wish)?;
        let commit = self.state.commit.next();
        self.log_definition(&Definition::CreateFunction { sql: sql.to_owned() }, commit)?;
        self.state.catalog = Arc::new(catalog.with_functions(functions));
        self.publish(commit, Vec::new())?;
        Ok(Some(commit))
    }

    /// `None` when there was nothing to drop and that is fine.
    pub(crate) fn drop_function(
        &mut self,
        drop: &DropFunction,
    ) -> Result<Option<CommitId>, EngineError> {
        let catalog = Arc::clone(&self.state.catalog);
        let mut keys: Vec<FunctionKey> = Vec::new();
        for (name, count) in &drop.functions {
            let name = &name.value;
            let all = catalog.functions().named(name).map(|f| f.function.key());
            let fitting: Vec<_> = all.filter(|(_, n)| count.is_none_or(|c| c == *n)).collect();
            match fitting.as_slice() {
                [key] => keys.push(key.clone()),
                [] if drop.if_exists => {}
                [] => {
                    return Err(missing_function(&catalog, name));
                }
                _ => {
                    let message = format!("there are several functions \"{name}\"");
                    return Err(EngineError::new(ErrorKind::Input, message)
                        .with_sqlstate("42725")
                        .with_hint(format!("say which: DROP FUNCTION {name}(integer)")));
                }
            }
        }
        if keys.is_empty() {
            return Ok(None);
        }
        unused(&catalog, &keys)?;
        let commit = self.state.commit.next();
        self.log_definition(&Definition::DropFunction { functions: keys.clone() }, commit)?;
        self.state.drop_functions(&keys);
        self.publish(commit, Vec::new())?;
        Ok(Some(commit))
    }
}

/// There is no such function; those that there are go with it.
fn missing_function(catalog: &Catalog, name: &str) -> EngineError {
    let functions = catalog.functions();
    let message = format!("function \"{name}\" does not exist");
    let error = EngineError::new(ErrorKind::NotFound, message).with_sqlstate("42883");
    let told: Vec<String> = functions.all().map(|function| function.told()).collect();
    let error = error.with_detail(match told.as_slice() {
        [] => "there are no functions of yours yet".to_owned(),
        told => format!("yours are {}", told.join(", ")),
    });
    let names = functions.all().map(|function| function.function.name.as_str());
    match did_you_mean(name, names) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// A function whose statement was accepted before.
fn read_function(planning: &Planning, sql: &str) -> Result<WantedFunction, EngineError> {
    let Statement::CreateFunction(create) = planning.statement(sql)? else {
        let message = "a stored function is another statement";
        return Err(EngineError::new(ErrorKind::Internal, message));
    };
    Ok(WantedFunction::new(*create, sql.to_owned()))
}

/// The same of several.
pub(super) fn read_functions(
    planning: &Planning,
    statements: &[String],
) -> Result<Vec<Arc<Function>>, EngineError> {
    statements.iter().map(|sql| Ok(read_function(planning, sql)?.function)).collect()
}

/// The functions of `catalog` with those of `wish`, when they and those that call them mean something then.
pub(super) fn wished_functions(
    planning: &Planning,
    catalog: &Catalog,
    wish: &Wish,
) -> Result<Functions, EngineError> {
    let functions = catalog.functions().with(wish.functions.iter().map(|f| &f.function));
    if wish.functions.is_empty() {
        return Ok(functions);
    }
    let seen = catalog.with_functions(functions.clone());
    for WantedFunction { create, function } in &wish.functions {
        let checked = planning.planner.check_function(create, &Definitions(&seen));
        checked.map_err(|e| EngineError::sql(&e, create.text.as_str()))?;
        let reached = functions.reached(function.function.calls());
        for build in catalog.builds() {
            let mut changing = catalog.functions_of(build).iter();
            let pending = |other: &&Arc<Function>| {
                let key = other.function.key();
                reached.contains(&key) || key == function.function.key()
            };
            if let Some(other) = changing.find(pending) {
                return Err(function_under_replacement(catalog, other, build));
            }
        }
    }
    let keys = wish.function_keys();
    let mut callers: Vec<_> = functions.all().collect();
    // Those that call it themselves are named first.
    callers
        .sort_by_key(|caller| caller.function.calls().is_disjoint(&keys.iter().cloned().collect()));
    for caller in callers {
        let reached = functions.reached(caller.function.calls());
        if keys.contains(&caller.function.key()) || !keys.iter().any(|key| reached.contains(key)) {
            continue;
        }
        let WantedFunction { create, .. } = read_function(planning, &caller.sql)?;
        if let Err(error) = planning.planner.check_function(&create, &Definitions(&seen)) {
            let message = format!("{} would break function {}", wish.cause(), caller.told());
            return Err(EngineError::new(ErrorKind::Conflict, message)
                .with_sqlstate("2BP01")
                .with_detail(error.message)
                .with_hint("replace that function first"));
        }
    }
    Ok(functions)
}

/// A function is about to become another one, and what was asked has to wait for it.
pub(super) fn function_under_replacement(
    catalog: &Catalog,
    function: &Function,
    build: BuildId,
) -> EngineError {
    let replaced = catalog.replaced_by(build);
    let error = EngineError::new(
        ErrorKind::Conflict,
        format!("function {} is being replaced", function.told()),
    )
    .with_sqlstate("55006")
    .with_detail("the views that call it are built anew; yeoul.views shows how far they are");
    match replaced.first() {
        Some(view) => error.with_hint(format!(
            "wait for it, or give it up with ALTER MATERIALIZED VIEW {} CANCEL REPLACE",
            yeoul_sql::quoted(&view.name)
        )),
        None => error,
    }
}

/// Refuses to drop what a view or another function calls.
fn unused(catalog: &Catalog, keys: &[FunctionKey]) -> Result<(), EngineError> {
    let mut users = Vec::new();
    let changing = catalog.builds();
    let changing = changing.iter().flat_map(|build| catalog.functions_of(*build));
    for function in catalog.functions().all().chain(changing) {
        let key = function.function.key();
        let calls = function.function.calls();
        if !keys.contains(&key) && keys.iter().any(|key| calls.contains(key)) {
            users.push(format!("function {}", function.told()));
        }
    }
    for view in catalog.in_order().iter().filter(|relation| relation.calls(keys)) {
        users.push(format!("view {}", view.name));
    }
    // A version has the name of what it replaces.
    let mut named = HashSet::new();
    users.retain(|user| named.insert(user.clone()));
    if users.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    let message = format!("function \"{}\" cannot be dropped", names.join("\", \""));
    Err(EngineError::new(ErrorKind::Conflict, message)
        .with_sqlstate("2BP01")
        .with_detail(format!("it is used by {}", users.join(", ")))
        .with_hint("drop those first"))
}
