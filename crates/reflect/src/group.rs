//! Groups, aggregates and windows.

use std::collections::{HashMap, HashSet};

use super::Failure;
use super::execute::sorted;
use super::node::{Aggregate, Select, Typed, Window};
use super::run::{Env, Run};
use super::value::{Row, Value};

/// A row of `FROM` with the values of its aggregates and windows.
#[derive(Default)]
pub(super) struct Slotted {
    pub(super) row: Row,
    pub(super) slots: Vec<Value>,
    pub(super) windows: Vec<Value>,
}

impl Slotted {
    pub(super) fn env<'a>(&'a self, outer: Option<&'a Env<'a>>) -> Env<'a> {
        Env { row: &self.row, slots: &self.slots, windows: &self.windows, several: &[], outer }
    }
}

impl Run<'_> {
    /// One row per group: its first one, with the values of the aggregates.
    pub(super) fn grouped(
        &self,
        select: &Select,
        group: &[Typed],
        rows: Vec<Slotted>,
        outer: Option<&Env<'_>>,
    ) -> Result<Vec<Slotted>, Failure> {
        let mut places: HashMap<Vec<Value>, usize> = HashMap::new();
        let mut groups: Vec<Vec<Row>> = Vec::new();
        for Slotted { row, .. } in rows {
            let key = self.all(group, &Env::row(&row, outer))?;
            let place = *places.entry(key).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Vec::new());
            }
            groups[place].push(row);
        }
        if groups.is_empty() && group.is_empty() {
            groups.push(Vec::new());
        }
        let mut found = Vec::with_capacity(groups.len());
        for rows in groups {
            let mut slots = Vec::with_capacity(select.aggregates.len());
            for aggregate in &select.aggregates {
                slots.push(self.aggregate(aggregate, &rows, outer)?);
            }
            let row = rows.into_iter().next().unwrap_or_default();
            let group = Slotted { row, slots, windows: Vec::new() };
            if self.holds(select.having.as_slice(), &group.env(outer))? {
                found.push(group);
            }
        }
        Ok(found)
    }

    fn aggregate(
        &self,
        aggregate: &Aggregate,
        rows: &[Row],
        outer: Option<&Env<'_>>,
    ) -> Result<Value, Failure> {
        let mut taken: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
        for row in rows {
            let env = Env::row(row, outer);
            if let Some(filter) = &aggregate.filter
                && !self.value(filter, &env)?.is_true()
            {
                continue;
            }
            let mut keys = Vec::with_capacity(aggregate.order.len());
            for key in &aggregate.order {
                keys.push(self.value(&key.value, &env)?);
            }
            taken.push((self.all(&aggregate.arguments, &env)?, keys));
        }
        let order: Vec<_> = aggregate
            .order
            .iter()
            .enumerate()
            .map(|(at, key)| (at, key.descending, key.nulls_first))
            .collect();
        taken.sort_by(|a, b| sorted(&a.1, &b.1, &order));
        let mut values: Vec<Vec<Value>> = taken.into_iter().map(|(values, _)| values).collect();
        if aggregate.distinct {
            let mut seen = HashSet::new();
            values.retain(|value| seen.insert(value.clone()));
        }
        Ok(finish(aggregate.name, &values))
    }

    /// Adds the values of the windows to the slots of each row.
    pub(super) fn windows(
        &self,
        windows: &[Window],
        rows: &mut [Slotted],
        outer: Option<&Env<'_>>,
    ) -> Result<(), Failure> {
        for window in windows {
            let mut partitions: HashMap<Vec<Value>, Vec<usize>> = HashMap::new();
            let mut keys = Vec::with_capacity(rows.len());
            for (at, slotted) in rows.iter().enumerate() {
                let env = slotted.env(outer);
                let partition = self.all(&window.partition, &env)?;
                partitions.entry(partition).or_default().push(at);
                let order = window.call.order.iter().map(|key| self.value(&key.value, &env));
                keys.push(order.collect::<Result<Vec<_>, _>>()?);
            }
            let order: Vec<_> = window
                .call
                .order
                .iter()
                .enumerate()
                .map(|(at, key)| (at, key.descending, key.nulls_first))
                .collect();
            for members in partitions.values_mut() {
                members.sort_by(|&a, &b| sorted(&keys[a], &keys[b], &order));
                self.window(window, members, &keys, rows, outer)?;
            }
        }
        Ok(())
    }

    fn window(
        &self,
        window: &Window,
        members: &[usize],
        keys: &[Vec<Value>],
        rows: &mut [Slotted],
        outer: Option<&Env<'_>>,
    ) -> Result<(), Failure> {
        let number = |at: usize| Value::Int(i64::try_from(at + 1).unwrap_or(i64::MAX));
        let whole = match window.call.name {
            "row_number" | "rank" => Value::Null,
            _ => {
                let taken: Vec<Row> = members.iter().map(|&at| rows[at].row.clone()).collect();
                let plain = Aggregate { order: Vec::new(), ..window.call.clone() };
                self.aggregate(&plain, &taken, outer)?
            }
        };
        let mut rank = 0;
        for (at, &member) in members.iter().enumerate() {
            if at > 0 && keys[members[at - 1]] != keys[member] {
                rank = at;
            }
            rows[member].windows.push(match window.call.name {
                "row_number" => number(at),
                "rank" => number(rank),
                _ => whole.clone(),
            });
        }
        Ok(())
    }
}

/// The value of an aggregate over its arguments, one list per row.
fn finish(name: &str, rows: &[Vec<Value>]) -> Value {
    let first = || rows.iter().filter_map(|row| row.first());
    let present = || first().filter(|value| !value.is_null());
    let count = |n: usize| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    match name {
        "count" if rows.first().is_none_or(Vec::is_empty) => count(rows.len()),
        "count" => count(present().count()),
        "array_agg" | "json_agg" | "jsonb_agg" if rows.is_empty() => Value::Null,
        "array_agg" | "json_agg" | "jsonb_agg" => Value::list(first().cloned()),
        "string_agg" => {
            let texts: Vec<String> = present().map(Value::shown).collect();
            let between = rows.first().and_then(|row| row.get(1)).map(Value::shown);
            match texts.is_empty() {
                true => Value::Null,
                false => Value::text(texts.join(&between.unwrap_or_default())),
            }
        }
        "min" => present().min_by(|a, b| a.order(b)).cloned().unwrap_or(Value::Null),
        "max" => present().max_by(|a, b| a.order(b)).cloned().unwrap_or(Value::Null),
        "bool_and" | "every" if present().next().is_some() => {
            Value::Bool(present().all(Value::is_true))
        }
        "bool_or" if present().next().is_some() => Value::Bool(present().any(Value::is_true)),
        "sum" if present().next().is_some() => match present().map(integer).sum::<Option<i64>>() {
            Some(sum) => Value::Int(sum),
            None => Value::Float(present().filter_map(Value::float).sum()),
        },
        "avg" if present().next().is_some() => {
            #[expect(clippy::cast_precision_loss, reason = "catalogs are small")]
            let count = present().count() as f64;
            Value::Float(present().filter_map(Value::float).sum::<f64>() / count)
        }
        _ => Value::Null,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(v) => Some(*v),
        _ => None,
    }
}
