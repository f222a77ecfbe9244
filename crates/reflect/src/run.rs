//! Expressions get their values here.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as AtomicOrdering};

use regex::Regex;

use super::catalog::Catalog;
use super::kind::Kind;
use super::node::{Arithmetic, Comparison, Node, Typed};
use super::table::Table;
use super::value::Value;
use super::{Client, Failure, cast};

/// How many values a query may work out: some seconds of work. The catalogs are small, so a query that
/// needs more has lost its conditions.
const STEPS_MAX: u64 = 200_000_000;

/// One query on its way.
pub(super) struct Run<'a> {
    pub(super) catalog: &'a Catalog<'a>,
    pub(super) client: &'a dyn Client,
    pub(super) parameters: &'a [Value],
    /// The last rows of each recursive query.
    pub(super) working: RefCell<HashMap<usize, Arc<Table>>>,
    steps: Cell<u64>,
    /// Set when nobody waits for the answer any more.
    stop: &'a AtomicBool,
    patterns: RefCell<HashMap<(String, bool), Option<Regex>>>,
}

/// The row an expression is about, and those of the queries around.
#[derive(Clone, Copy)]
pub(super) struct Env<'a> {
    pub(super) row: &'a [Value],
    pub(super) slots: &'a [Value],
    pub(super) windows: &'a [Value],
    pub(super) several: &'a [Value],
    pub(super) outer: Option<&'a Env<'a>>,
}

impl<'a> Env<'a> {
    pub(super) fn row(row: &'a [Value], outer: Option<&'a Env<'a>>) -> Self {
        Self { row, slots: &[], windows: &[], several: &[], outer }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        catalog: &'a Catalog,
        client: &'a dyn Client,
        parameters: &'a [Value],
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            catalog,
            client,
            parameters,
            working: RefCell::default(),
            steps: Cell::new(0),
            stop,
            patterns: RefCell::default(),
        }
    }

    /// Counts what is done.
    pub(super) fn step(&self) -> Result<(), Failure> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > STEPS_MAX {
            return Err(Failure::new("53000", "the catalog query is too large"));
        }
        if self.steps.get().is_multiple_of(4096) && self.stop.load(AtomicOrdering::Relaxed) {
            return Err(Failure::new("57014", "the query was cancelled"));
        }
        Ok(())
    }

    pub(super) fn all(&self, nodes: &[Typed], env: &Env<'_>) -> Result<Vec<Value>, Failure> {
        nodes.iter().map(|node| self.value(node, env)).collect()
    }

    /// Whether all conditions hold.
    pub(super) fn holds(&self, conditions: &[Typed], env: &Env<'_>) -> Result<bool, Failure> {
        for condition in conditions {
            if !self.value(condition, env)?.is_true() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn value(&self, typed: &Typed, env: &Env<'_>) -> Result<Value, Failure> {
        self.step()?;
        Ok(match &typed.node {
            Node::Const(value) => value.clone(),
            Node::Column { up, at } => column(env, *up, *at),
            Node::Parameter(at) => self.parameters.get(*at).cloned().unwrap_or(Value::Null),
            Node::Slot(at) => env.slots.get(*at).cloned().unwrap_or(Value::Null),
            Node::Window(at) => env.windows.get(*at).cloned().unwrap_or(Value::Null),
            Node::Several(at) => env.several.get(*at).cloned().unwrap_or(Value::Null),
            Node::And(pair) => self.both(pair, env, false)?,
            Node::Or(pair) => self.both(pair, env, true)?,
            Node::Not(inner) => match self.value(inner, env)? {
                Value::Bool(v) => Value::Bool(!v),
                other => other,
            },
            Node::IsNull(inner) => Value::Bool(self.value(inner, env)?.is_null()),
            Node::Is(inner, wanted) => Value::Bool(self.value(inner, env)? == Value::Bool(*wanted)),
            Node::Compare(how, pair) => {
                let (left, right) = (self.value(&pair[0], env)?, self.value(&pair[1], env)?);
                self.compare(*how, &left, &right)?
            }
            Node::Arithmetic(how, pair) => {
                let (left, right) = (self.value(&pair[0], env)?, self.value(&pair[1], env)?);
                arithmetic(*how, &left, &right)?
            }
            Node::Any(how, pair, all) => {
                let (left, right) = (self.value(&pair[0], env)?, self.value(&pair[1], env)?);
                self.any(*how, &left, &right, *all)?
            }
            Node::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    if self.value(condition, env)?.is_true() {
                        return self.value(value, env);
                    }
                }
                otherwise.as_ref().map_or(Ok(Value::Null), |node| self.value(node, env))?
            }
            Node::Coalesce(nodes) => {
                for node in nodes {
                    let value = self.value(node, env)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Value::Null
            }
            Node::Cast(inner, kind) => {
                cast::cast(self, self.value(inner, env)?, inner.kind, *kind)?
            }
            Node::Call(eval, nodes, strict) => {
                let values = self.all(nodes, env)?;
                if *strict && values.iter().any(Value::is_null) {
                    return Ok(Value::Null);
                }
                eval(self, &values)?
            }
            Node::Array(nodes) => Value::list(self.all(nodes, env)?),
            Node::Item(pair) => {
                let (list, at) = (self.value(&pair[0], env)?, self.value(&pair[1], env)?);
                item(&list, &at, pair[0].kind)
            }
            Node::Exists(plan) => Value::Bool(!self.rows(plan, Some(env))?.rows.is_empty()),
            Node::Scalar(plan) => self.scalar(plan, env)?,
            Node::Gather(plan) => {
                let table = self.rows(plan, Some(env))?;
                Value::list(table.rows.iter().map(|row| row[0].clone()))
            }
        })
    }

    fn scalar(&self, plan: &super::node::Plan, env: &Env<'_>) -> Result<Value, Failure> {
        let table = self.rows(plan, Some(env))?;
        match table.rows.as_slice() {
            [] => Ok(Value::Null),
            [row] => Ok(row[0].clone()),
            _ => {
                let message = "more than one row returned by a subquery used as an expression";
                Err(Failure::new("21000", message))
            }
        }
    }

    /// `AND`, or `OR` when `decides` is true: that value of either side decides.
    fn both(&self, pair: &[Typed; 2], env: &Env<'_>, decides: bool) -> Result<Value, Failure> {
        let left = self.value(&pair[0], env)?;
        if left == Value::Bool(decides) {
            return Ok(left);
        }
        let right = self.value(&pair[1], env)?;
        if right == Value::Bool(decides) || left == Value::Bool(!decides) {
            return Ok(right);
        }
        Ok(Value::Null)
    }

    pub(super) fn compare(
        &self,
        how: Comparison,
        left: &Value,
        right: &Value,
    ) -> Result<Value, Failure> {
        if how == Comparison::Same {
            return Ok(Value::Bool(left == right));
        }
        let Some(order) = left.compare(right) else { return Ok(Value::Null) };
        Ok(Value::Bool(match how {
            Comparison::Equal | Comparison::Same => order.is_eq(),
            Comparison::Different => order.is_ne(),
            Comparison::Less => order == Ordering::Less,
            Comparison::LessEqual => order.is_le(),
            Comparison::More => order == Ordering::Greater,
            Comparison::MoreEqual => order.is_ge(),
            Comparison::Regex { fold, negated } => {
                self.matches(&left.shown(), &right.shown(), fold)? != negated
            }
            Comparison::Like { fold, negated } => {
                let pattern = like(&right.shown());
                self.matches(&left.shown(), &pattern, fold)? != negated
            }
        }))
    }

    /// Whether a regular expression is found in a text.
    pub(super) fn matches(&self, text: &str, pattern: &str, fold: bool) -> Result<bool, Failure> {
        let mut patterns = self.patterns.borrow_mut();
        let made = patterns.entry((pattern.to_owned(), fold)).or_insert_with(|| {
            regex::RegexBuilder::new(pattern).case_insensitive(fold).build().ok()
        });
        let Some(regex) = made else {
            let message = format!("invalid regular expression: \"{pattern}\"");
            return Err(Failure::new("2201B", message));
        };
        Ok(regex.is_match(text))
    }

    fn any(
        &self,
        how: Comparison,
        left: &Value,
        list: &Value,
        all: bool,
    ) -> Result<Value, Failure> {
        let Some(items) = list.items() else { return Ok(Value::Null) };
        let mut unknown = false;
        for item in items.iter() {
            match self.compare(how, left, item)? {
                Value::Bool(found) if found != all => return Ok(Value::Bool(found)),
                Value::Null => unknown = true,
                _ => {}
            }
        }
        Ok(if unknown { Value::Null } else { Value::Bool(all) })
    }
}

fn column(env: &Env<'_>, up: usize, at: usize) -> Value {
    let mut env = Some(env);
    for _ in 0..up {
        env = env.and_then(|env| env.outer);
    }
    // A row that is not there is that of a grouped query without rows.
    env.and_then(|env| env.row.get(at)).cloned().unwrap_or(Value::Null)
}

/// The item of an array, or the field of a row. The vectors of the catalog begin at 0.
fn item(list: &Value, at: &Value, kind: Kind) -> Value {
    let first = i64::from(!matches!(kind, Kind::INT2VECTOR | Kind::OIDVECTOR));
    let place = at.int().and_then(|at| usize::try_from(at - first).ok());
    let items = list.items();
    items.zip(place).and_then(|(items, at)| items.get(at)).cloned().unwrap_or(Value::Null)
}

fn arithmetic(how: Arithmetic, left: &Value, right: &Value) -> Result<Value, Failure> {
    if how == Arithmetic::Concat {
        return Ok(concat(left, right));
    }
    if left.is_null() || right.is_null() {
        return Ok(Value::Null);
    }
    let out = || Failure::new("22003", "integer out of range");
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        if matches!(how, Arithmetic::Divide | Arithmetic::Modulo) && *b == 0 {
            return Err(Failure::new("22012", "division by zero"));
        }
        let result = match how {
            Arithmetic::Plus => a.checked_add(*b),
            Arithmetic::Minus => a.checked_sub(*b),
            Arithmetic::Times => a.checked_mul(*b),
            Arithmetic::Divide => a.checked_div(*b),
            Arithmetic::Modulo => a.checked_rem(*b),
            Arithmetic::BitAnd => Some(a & b),
            Arithmetic::BitOr => Some(a | b),
            Arithmetic::Concat => None,
        };
        return result.map(Value::Int).ok_or_else(out);
    }
    let (Some(a), Some(b)) = (left.float(), right.float()) else { return Err(out()) };
    Ok(Value::Float(match how {
        Arithmetic::Plus => a + b,
        Arithmetic::Minus => a - b,
        Arithmetic::Times => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Modulo => a % b,
        _ => return Err(out()),
    }))
}

fn concat(left: &Value, right: &Value) -> Value {
    match (left, right) {
        (Value::List(a), Value::List(b)) => Value::list(a.iter().chain(b.iter()).cloned()),
        (Value::List(a), Value::Null) | (Value::Null, Value::List(a)) => Value::List(Arc::clone(a)),
        (Value::List(a), b) => Value::list(a.iter().cloned().chain([b.clone()])),
        (a, Value::List(b)) => Value::list([a.clone()].into_iter().chain(b.iter().cloned())),
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        (a, b) => Value::text(a.shown() + &b.shown()),
    }
}

/// A pattern of `LIKE` as a regular expression.
fn like(pattern: &str) -> String {
    let mut out = String::from("(?s)^");
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '\\' => {
                if let Some(escaped) = chars.next() {
                    out.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4])));
                }
            }
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out.push('$');
    out
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn patterns_of_like() {
        assert_eq!(like("a_%.b"), r"(?s)^a..*\.b$");
        assert_eq!(like(r"pg\_%"), "(?s)^pg_.*$");
    }
}
