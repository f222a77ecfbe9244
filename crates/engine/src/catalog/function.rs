//! The functions that people wrote, by name and number of arguments.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use yeoul_sql::{FunctionKey, SqlFunction};

/// A function, and the statement that created it.
#[derive(Debug)]
pub(crate) struct Function {
    /// The statement.
    pub sql: String,
    /// What it means.
    pub function: Arc<SqlFunction>,
}

/// All of them at one commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Functions(BTreeMap<FunctionKey, Arc<Function>>);

impl Function {
    /// `name(parameters)`, for people.
    pub(crate) fn told(&self) -> String {
        format!("{}({})", self.function.name, self.function.signature())
    }
}

impl Functions {
    /// The one of this name that takes so many arguments.
    pub(crate) fn get(&self, key: &FunctionKey) -> Option<&Arc<Function>> {
        self.0.get(key)
    }

    /// Those of this name.
    pub(crate) fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<Function>> + 'a {
        let first = (name.to_owned(), 0);
        let last = (name.to_owned(), usize::MAX);
        self.0.range(first..=last).map(|(_, function)| function)
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.0.values()
    }

    /// With these, some of which may take the place of what was there.
    #[must_use]
    pub(crate) fn with<'a>(&self, functions: impl IntoIterator<Item = &'a Arc<Function>>) -> Self {
        let mut next = self.clone();
        for function in functions {
            next.0.insert(function.function.key(), Arc::clone(function));
        }
        next
    }

    /// Without these.
    #[must_use]
    pub(crate) fn without(&self, keys: &[FunctionKey]) -> Self {
        let mut next = self.clone();
        next.0.retain(|key, _| !keys.contains(key));
        next
    }

    /// The functions that `calls` lead to, themselves among them.
    pub(crate) fn reached(&self, calls: HashSet<FunctionKey>) -> HashSet<FunctionKey> {
        let mut open: Vec<FunctionKey> = calls.into_iter().collect();
        let mut reached = HashSet::new();
        while let Some(key) = open.pop() {
            let Some(function) = self.0.get(&key) else { continue };
            if reached.insert(key) {
                open.extend(function.function.calls());
            }
        }
        reached
    }
}
