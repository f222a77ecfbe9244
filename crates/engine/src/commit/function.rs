//! Creating and dropping functions: commits of their own.

use std::sync::Arc;

use yeoul_batch::CommitId;
use yeoul_sql::{CreateFunction, DropFunction, FunctionKey, RelationKind, SqlFunction, Statement};

use super::committer::Committer;
use super::define::Definition;
use super::state::State;
use crate::catalog::{Catalog, Function};
use crate::error::{EngineError, ErrorKind};
use crate::planning::{Definitions, Planning};

impl State {
    /// Adds a function that was accepted before.
    pub(crate) fn add_function(
        &mut self,
        planning: &Planning,
        sql: &str,
    ) -> Result<(), EngineError> {
        let Statement::CreateFunction(create) = planning.statement(sql)? else {
            let message = "a stored function is another statement";
            return Err(EngineError::new(ErrorKind::Internal, message));
        };
        self.put_function(Function { sql: sql.to_owned(), function: Arc::new(create.function) });
        Ok(())
    }

    fn put_function(&mut self, function: Function) {
        let functions = self.catalog.functions().with(function);
        self.catalog = Arc::new(self.catalog.with_functions(functions));
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
        let key = create.function.key();
        let told = || told(&create.function);
        if let Some(there) = catalog.functions().get(&key) {
            if !create.or_replace {
                let message = format!("function {} exists already", told());
                return Err(EngineError::new(ErrorKind::Conflict, message)
                    .with_sqlstate("42723")
                    .with_hint("say CREATE OR REPLACE FUNCTION, or drop it first"));
            }
            if there.sql != sql {
                unused(&catalog, &shared.planning, &[key], "changed")?;
            }
        }
        shared
            .planning
            .planner
            .check_function(create, &Definitions(&catalog))
            .map_err(|e| EngineError::sql(&e, create.text.as_str()))?;
        let commit = self.state.commit.next();
        self.log_definition(&Definition::CreateFunction { sql: sql.to_owned() }, commit)?;
        let function = Arc::new(create.function.clone());
        self.state.put_function(Function { sql: sql.to_owned(), function });
        self.publish(commit, Vec::new())?;
        Ok(Some(commit))
    }

    /// `None` when there was nothing to drop and that is fine.
    pub(crate) fn drop_function(
        &mut self,
        drop: &DropFunction,
    ) -> Result<Option<CommitId>, EngineError> {
        let shared = Arc::clone(&self.shared);
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
                    let message = format!("function \"{name}\" does not exist");
                    return Err(
                        EngineError::new(ErrorKind::NotFound, message).with_sqlstate("42883")
                    );
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
        unused(&catalog, &shared.planning, &keys, "dropped")?;
        let commit = self.state.commit.next();
        self.log_definition(&Definition::DropFunction { functions: keys.clone() }, commit)?;
        self.state.drop_functions(&keys);
        self.publish(commit, Vec::new())?;
        Ok(Some(commit))
    }
}

fn told(function: &SqlFunction) -> String {
    format!("{}({})", function.name, function.signature())
}

/// Refuses what would change the meaning of a view, or of another function.
fn unused(
    catalog: &Catalog,
    planning: &Planning,
    keys: &[FunctionKey],
    what: &str,
) -> Result<(), EngineError> {
    let mut users = Vec::new();
    for function in catalog.functions().all() {
        let key = function.function.key();
        let calls = function.function.calls();
        if !keys.contains(&key) && keys.iter().any(|key| calls.contains(key)) {
            users.push(format!("function {}", told(&function.function)));
        }
    }
    for relation in catalog.relations().filter(|r| r.kind == RelationKind::View) {
        let Statement::CreateView(create) = planning.statement(&relation.sql)? else { continue };
        let reached = catalog.functions().reached(create.query.calls());
        if keys.iter().any(|key| reached.contains(key)) {
            users.push(format!("view {}", relation.name));
        }
    }
    if users.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    let message = format!("function \"{}\" cannot be {what}", names.join("\", \""));
    Err(EngineError::new(ErrorKind::Conflict, message)
        .with_sqlstate("2BP01")
        .with_detail(format!("it is used by {}", users.join(", ")))
        .with_hint("drop those first"))
}
