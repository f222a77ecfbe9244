//! What the names of a query mean.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::Failure;
use super::kind::Kind;
use super::node::{Aggregate, Plan, SeveralCall, Window};
use super::table::Column;

/// One item of `FROM`.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) schema: Option<String>,
    pub(super) columns: Arc<[Column]>,
    pub(super) offset: usize,
    /// The name of the table it is, for `tableoid`.
    pub(super) table: Option<String>,
    /// Columns that `USING` has merged into one of an earlier item.
    pub(super) merged: Vec<usize>,
}

/// A query of `WITH`.
#[derive(Clone)]
pub(super) enum Named {
    Plan(Rc<Plan>),
    /// The recursive query itself, inside of it.
    Working(usize, Arc<[Column]>),
}

/// The names of one query, inside of another.
#[derive(Default)]
pub(super) struct Scope<'a> {
    pub(super) outer: Option<&'a Self>,
    pub(super) depth: usize,
    /// Whether it only names queries: then there is no row of it when expressions are worked out.
    pub(super) only_names: bool,
    pub(super) items: RefCell<Vec<Item>>,
    pub(super) named: RefCell<Vec<(String, Named)>>,
    /// One behind the last column of this query that an expression has asked for.
    pub(super) seen: Cell<usize>,
    /// Whether aggregates may stand here.
    pub(super) selects: Cell<bool>,
    pub(super) aggregates: RefCell<Vec<Aggregate>>,
    pub(super) windows: RefCell<Vec<Window>>,
    pub(super) several: RefCell<Vec<SeveralCall>>,
}

/// A column that was found.
pub(super) struct Found {
    pub(super) up: usize,
    pub(super) at: usize,
    pub(super) kind: Kind,
    /// How deep the query is that has it.
    pub(super) depth: usize,
}

impl<'a> Scope<'a> {
    /// The names of `WITH`, or of one side of a `UNION`.
    pub(super) fn names(outer: Option<&'a Self>) -> Self {
        Self { only_names: true, ..Self::inside(outer) }
    }

    /// The names of a `SELECT`.
    pub(super) fn inside(outer: Option<&'a Self>) -> Self {
        Self { outer, depth: outer.map_or(1, |outer| outer.depth + 1), ..Self::default() }
    }

    /// How wide the rows of this query are so far.
    pub(super) fn width(&self) -> usize {
        self.items.borrow().iter().map(|item| item.offset + item.columns.len()).max().unwrap_or(0)
    }

    /// The query of `WITH` that goes by this name.
    pub(super) fn named(&self, name: &str) -> Option<(Named, usize)> {
        let mut scope = Some(self);
        while let Some(inside) = scope {
            let named = inside.named.borrow();
            if let Some((_, found)) = named.iter().rev().find(|(known, _)| known == name) {
                return Some((found.clone(), inside.depth));
            }
            scope = inside.outer;
        }
        None
    }

    /// A column, by the names it is qualified with, from the inside to the outside.
    pub(super) fn column(&self, qualifier: &[String], name: &str) -> Result<Found, Failure> {
        let mut scope = Some(self);
        let mut up = 0;
        while let Some(inside) = scope {
            if let Some((at, kind)) = inside.own(qualifier, name)? {
                inside.seen.set(inside.seen.get().max(at + 1));
                return Ok(Found { up, at, kind, depth: inside.depth });
            }
            (scope, up) = (inside.outer, up + usize::from(!inside.only_names));
        }
        let full = qualifier.iter().map(|part| format!("{part}.")).collect::<String>();
        Err(Failure::new("42703", format!("column \"{full}{name}\" does not exist")))
    }

    fn own(&self, qualifier: &[String], name: &str) -> Result<Option<(usize, Kind)>, Failure> {
        let items = self.items.borrow();
        let mut found = None;
        for item in items.iter().filter(|item| item.answers_to(qualifier)) {
            let mut columns = item.columns.iter().enumerate();
            let own = columns.find(|(at, c)| &*c.name == name && !item.merged.contains(at));
            if let Some((at, column)) = own {
                if found.is_some() {
                    let message = format!("column reference \"{name}\" is ambiguous");
                    return Err(Failure::new("42702", message));
                }
                found = Some((item.offset + at, column.kind));
            }
        }
        Ok(found)
    }

    /// The item of this name, here or outside: where it begins, its columns, how far out and how deep.
    pub(super) fn item(
        &self,
        qualifier: &[String],
    ) -> Option<(usize, Arc<[Column]>, usize, usize)> {
        let mut scope = Some(self);
        let mut up = 0;
        while let Some(inside) = scope {
            let items = inside.items.borrow();
            if let Some(item) = items.iter().find(|item| item.answers_to(qualifier)) {
                return Some((item.offset, Arc::clone(&item.columns), up, inside.depth));
            }
            (scope, up) = (inside.outer, up + usize::from(!inside.only_names));
        }
        None
    }
}

impl Item {
    fn answers_to(&self, qualifier: &[String]) -> bool {
        match qualifier {
            [] => true,
            [name] => *name == self.name,
            [.., schema, name] => {
                *name == self.name && self.schema.as_ref().is_none_or(|own| own == schema)
            }
        }
    }
}
