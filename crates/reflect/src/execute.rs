//! Queries get their rows here: nested loops that look matches up by an index where one column must
//! equal what is known already.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use super::Failure;
use super::group::Slotted;
use super::node::{Body, Plan, Select, SetOperator, SeveralCall, Source, Step, Typed};
use super::run::{Env, Run};
use super::table::Table;
use super::value::{Row, Value};

/// How often the second part of a recursive query may run.
const ROUNDS_MAX: usize = 10_000;

/// How many rows a query may have on its way.
const ROWS_MAX: usize = 4_000_000;

impl Run<'_> {
    /// The rows of a query. Those that nothing around it can change are kept.
    pub(super) fn rows(&self, plan: &Plan, outer: Option<&Env<'_>>) -> Result<Arc<Table>, Failure> {
        if let Some(known) = plan.known.get() {
            return Ok(Arc::clone(known));
        }
        let table = self.fresh_rows(plan, outer)?;
        if !plan.correlated {
            let _ = plan.known.set(Arc::clone(&table));
        }
        Ok(table)
    }

    fn fresh_rows(&self, plan: &Plan, outer: Option<&Env<'_>>) -> Result<Arc<Table>, Failure> {
        let mut rows = match &plan.body {
            Body::Named(named) => return self.rows(named, outer),
            Body::Select(select) => self.select(select, outer)?,
            Body::Values(rows) => {
                let env = Env::row(&[], outer);
                rows.iter().map(|row| self.all(row, &env)).collect::<Result<_, _>>()?
            }
            Body::Union { left, right, operator, all } => {
                let (left, right) = (self.rows(left, outer)?, self.rows(right, outer)?);
                combined(&left.rows, &right.rows, *operator, *all)
            }
            Body::Recursive { first, step, working, all } => {
                self.recursive(first, step, *working, *all, outer)?
            }
        };
        let distinct = match &plan.body {
            Body::Select(select) => select.distinct.as_deref(),
            _ => None,
        };
        let visible = plan.columns.len();
        if distinct.is_some_and(<[usize]>::is_empty) {
            let mut seen = HashSet::new();
            rows.retain(|row| seen.insert(row[..visible].to_vec()));
        }
        if !plan.order.is_empty() {
            rows.sort_by(|a, b| sorted(a, b, &plan.order));
        }
        if let Some(over) = distinct.filter(|over| !over.is_empty()) {
            let mut seen = HashSet::new();
            rows.retain(|row| seen.insert(over.iter().map(|&at| row[at].clone()).collect::<Row>()));
        }
        self.cut(plan, &mut rows, outer)?;
        rows.iter_mut().for_each(|row| row.truncate(visible));
        Ok(Arc::new(Table::new(Arc::clone(&plan.columns), rows)))
    }

    fn cut(
        &self,
        plan: &Plan,
        rows: &mut Vec<Row>,
        outer: Option<&Env<'_>>,
    ) -> Result<(), Failure> {
        let env = Env::row(&[], outer);
        let count = |node: &Option<Typed>| -> Result<Option<usize>, Failure> {
            let Some(node) = node else { return Ok(None) };
            let count = self.value(node, &env)?.int();
            Ok(count.map(|count| usize::try_from(count).unwrap_or(0)))
        };
        if let Some(offset) = count(&plan.offset)? {
            rows.drain(..offset.min(rows.len()));
        }
        if let Some(limit) = count(&plan.limit)? {
            rows.truncate(limit);
        }
        Ok(())
    }

    fn recursive(
        &self,
        first: &Plan,
        step: &Plan,
        working: usize,
        all: bool,
        outer: Option<&Env<'_>>,
    ) -> Result<Vec<Row>, Failure> {
        let mut seen = HashSet::new();
        let mut last = self.rows(first, outer)?.rows.clone();
        last.retain(|row| all || seen.insert(row.clone()));
        let mut rows = Vec::new();
        for _ in 0..ROUNDS_MAX {
            if last.is_empty() {
                return Ok(rows);
            }
            rows.extend(last.iter().cloned());
            let table = Arc::new(Table::new(Arc::clone(&first.columns), last));
            self.working.borrow_mut().insert(working, table);
            last = self.fresh_rows(step, outer)?.rows.clone();
            last.retain(|row| all || seen.insert(row.clone()));
        }
        Err(Failure::new("54001", "the recursive query does not come to an end"))
    }

    fn select(&self, select: &Select, outer: Option<&Env<'_>>) -> Result<Vec<Row>, Failure> {
        let mut found = Vec::new();
        let nothing = Env::row(&[], outer);
        if self.holds(&select.before, &nothing)? {
            let mut row = Vec::with_capacity(select.width);
            self.join(&select.from, &mut row, outer, &mut |row| {
                if found.len() >= ROWS_MAX {
                    return Err(Failure::new("53000", "the catalog query has too many rows"));
                }
                found.push(Slotted { row: row.clone(), ..Slotted::default() });
                Ok(())
            })?;
        }
        if let Some(group) = &select.group {
            found = self.grouped(select, group, found, outer)?;
        }
        if !select.windows.is_empty() {
            self.windows(&select.windows, &mut found, outer)?;
        }
        let mut rows = Vec::with_capacity(found.len());
        for slotted in &found {
            self.outputs(select, &slotted.env(outer), &mut rows)?;
        }
        Ok(rows)
    }

    /// The rows that one row of `FROM` becomes: one, or as many as its functions give.
    fn outputs(&self, select: &Select, env: &Env<'_>, out: &mut Vec<Row>) -> Result<(), Failure> {
        if select.several.is_empty() {
            out.push(self.all(&select.outputs, env)?);
            return Ok(());
        }
        let mut lists = Vec::new();
        for call in &select.several {
            lists.push(self.several(call, env)?);
        }
        let count = lists.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..count {
            let several: Row =
                lists.iter().map(|list| list.get(at).cloned().unwrap_or(Value::Null)).collect();
            out.push(self.all(&select.outputs, &Env { several: &several, ..*env })?);
        }
        Ok(())
    }

    /// The values that a function gives: single ones, or rows as lists.
    fn several(&self, call: &SeveralCall, env: &Env<'_>) -> Result<Vec<Value>, Failure> {
        let values = self.all(&call.arguments, env)?;
        let given = (call.eval)(self, &values)?;
        Ok(given.items().map(|items| items.to_vec()).unwrap_or_default())
    }

    /// Goes through all combinations of the rows of `steps`.
    fn join(
        &self,
        steps: &[Step],
        row: &mut Row,
        outer: Option<&Env<'_>>,
        sink: &mut dyn FnMut(&Row) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some((step, rest)) = steps.split_first() else { return sink(row) };
        let begin = row.len();
        let mut matched = false;
        self.candidates(step, row, outer, &mut |row| {
            self.step()?;
            if !self.holds(&step.on, &Env::row(row, outer))? {
                return Ok(());
            }
            matched = true;
            if self.holds(&step.filter, &Env::row(row, outer))? {
                self.join(rest, row, outer, sink)?;
            }
            Ok(())
        })?;
        if step.outer && !matched {
            row.extend(std::iter::repeat_n(Value::Null, step.width));
            if self.holds(&step.filter, &Env::row(row, outer))? {
                self.join(rest, row, outer, sink)?;
            }
            row.truncate(begin);
        }
        Ok(())
    }

    /// The row with each row of one item of `FROM` behind it.
    fn candidates(
        &self,
        step: &Step,
        row: &mut Row,
        outer: Option<&Env<'_>>,
        each: &mut dyn FnMut(&mut Row) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let begin = row.len();
        let table = match &step.source {
            Source::Table(table) => Arc::clone(table),
            Source::Query(plan, true) => self.rows(plan, Some(&Env::row(row, outer)))?,
            Source::Query(plan, false) => self.rows(plan, outer)?,
            Source::Working(number) => match self.working.borrow().get(number) {
                Some(table) => Arc::clone(table),
                None => return Err(Failure::new("XX000", "a recursive query has no first rows")),
            },
            Source::Function { calls, ordinality } => {
                for added in self.called(calls, *ordinality, row, outer)? {
                    row.extend(added);
                    each(row)?;
                    row.truncate(begin);
                }
                return Ok(());
            }
            Source::Nested(steps) => {
                return self.join(steps, &mut row.clone(), outer, &mut |joined| {
                    let mut joined = joined.clone();
                    each(&mut joined)
                });
            }
        };
        let mut one = |row: &mut Row, values: &Row| {
            row.extend(values.iter().cloned());
            let outcome = each(row);
            row.truncate(begin);
            outcome
        };
        let Some((column, key)) = &step.lookup else {
            return table.rows.iter().try_for_each(|values| one(row, values));
        };
        let key = self.value(key, &Env::row(row, outer))?;
        if key.is_null() {
            return Ok(());
        }
        let index = table.index(*column);
        let Some(found) = index.get(&key) else { return Ok(()) };
        found.iter().try_for_each(|&at| one(row, &table.rows[at]))
    }

    fn called(
        &self,
        calls: &[SeveralCall],
        ordinality: bool,
        row: &Row,
        outer: Option<&Env<'_>>,
    ) -> Result<Vec<Row>, Failure> {
        let env = Env::row(row, outer);
        let mut lists = Vec::new();
        for call in calls {
            lists.push((self.several(call, &env)?, call.columns.len()));
        }
        let count = lists.iter().map(|(list, _)| list.len()).max().unwrap_or(0);
        let mut rows = Vec::with_capacity(count);
        for at in 0..count {
            let mut added = Row::new();
            for (list, width) in &lists {
                match list.get(at) {
                    Some(Value::List(fields)) if *width > 1 => added.extend(fields.iter().cloned()),
                    Some(value) if *width == 1 => added.push(value.clone()),
                    _ => added.extend(std::iter::repeat_n(Value::Null, *width)),
                }
            }
            if ordinality {
                added.push(Value::Int(i64::try_from(at).unwrap_or(i64::MAX).saturating_add(1)));
            }
            rows.push(added);
        }
        Ok(rows)
    }
}

/// The order of two rows by some of their values.
pub(super) fn sorted(a: &[Value], b: &[Value], keys: &[(usize, bool, bool)]) -> Ordering {
    for &(at, descending, nulls_first) in keys {
        let order = match (a[at].is_null(), b[at].is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) if nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ if descending => b[at].order(&a[at]),
            _ => a[at].order(&b[at]),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn combined(left: &[Row], right: &[Row], operator: SetOperator, all: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = match operator {
        SetOperator::Union => left.iter().chain(right).cloned().collect(),
        SetOperator::Intersect => {
            let right: HashSet<&Row> = right.iter().collect();
            left.iter().filter(|row| right.contains(row)).cloned().collect()
        }
        SetOperator::Except => {
            let right: HashSet<&Row> = right.iter().collect();
            left.iter().filter(|row| !right.contains(row)).cloned().collect()
        }
    };
    if !all {
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert(row.clone()));
    }
    rows
}
