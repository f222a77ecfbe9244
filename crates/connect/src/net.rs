//! What became of each key: changes, in which a row comes and goes, as rows before and after.
//!
//! What must hold: where rows go, a key has one row. Two at once mean that the columns are no key, which is an error and
//! not a guess. Where rows only come, a key may have many, and the last counts.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use yeoul_engine::Changes;

/// What became of a key: rows of the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The row as it was.
    pub(crate) before: Option<usize>,
    /// The row as it is.
    pub(crate) after: Option<usize>,
}

impl Event {
    /// A row of the key, whatever became of it.
    pub(crate) fn row(self) -> usize {
        self.after.or(self.before).expect("an event is of a row")
    }
}

/// Why there are no events.
#[derive(Debug)]
pub(crate) enum NetError {
    /// Two rows are there under the key of this one.
    NoKey(usize),
    /// They cannot be compared.
    Arrow(ArrowError),
}

impl From<ArrowError> for NetError {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

fn comparable(columns: &[ArrayRef]) -> Result<Rows, ArrowError> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    RowConverter::new(fields)?.convert_columns(columns)
}

/// The rows that come, each as often as it does. None may go.
pub(crate) fn inserts(changes: &Changes) -> Vec<Event> {
    let times = |row: usize| usize::try_from(changes.diffs.value(row)).unwrap_or(0);
    let event = |row| Event { before: None, after: Some(row) };
    (0..changes.len()).flat_map(|row| std::iter::repeat_n(event(row), times(row))).collect()
}

/// The last row of each key, of rows that only come, in the order in which they came.
pub(crate) fn last_inserts(changes: &Changes, key: &[usize]) -> Result<Vec<Event>, NetError> {
    let keys = comparable(&changes.columns(key))?;
    let last: HashMap<&[u8], usize> =
        (0..changes.len()).map(|row| (keys.row(row).data(), row)).collect();
    let mut last: Vec<usize> = last.into_values().collect();
    last.sort_unstable();
    Ok(last.into_iter().map(|row| Event { before: None, after: Some(row) }).collect())
}

/// What each change did to each key, in the order of changes.
pub(crate) fn by_change(changes: &Changes, key: &[usize]) -> Result<Vec<Event>, NetError> {
    let keys = comparable(&changes.columns(key))?;
    let rows = comparable(changes.rows.columns())?;
    let mut events = Vec::with_capacity(changes.len());
    let mut from = 0;
    let mut order: Vec<usize> = Vec::new();
    while from < changes.len() {
        let change = changes.ids.value(from);
        let to = from + changes.ids.values()[from..].partition_point(|&id| id <= change);
        order.clear();
        order.extend(from..to);
        if order.len() > 1 {
            order.sort_by(|&a, &b| {
                (keys.row(a), rows.row(a), a).cmp(&(keys.row(b), rows.row(b), b))
            });
        }
        let begun = events.len();
        for of_key in order.chunk_by(|&a, &b| keys.row(a) == keys.row(b)) {
            let mut event = Event { before: None, after: None };
            for same in of_key.chunk_by(|&a, &b| rows.row(a) == rows.row(b)) {
                let diff: i64 = same.iter().map(|&row| changes.diffs.value(row)).sum();
                let place = match diff {
                    0 => continue,
                    1 => &mut event.after,
                    -1 => &mut event.before,
                    _ => return Err(NetError::NoKey(same[0])),
                };
                if place.replace(same[0]).is_some() {
                    return Err(NetError::NoKey(same[0]));
                }
            }
            if event.before.is_some() || event.after.is_some() {
                events.push(event);
            }
        }
        events[begun..].sort_by_key(|event| event.row());
        from = to;
    }
    Ok(events)
}

/// What became of each key in the end: one event for a key, in the order in which they came to what they are. A key
/// that came and went is not told of.
pub(crate) fn in_the_end(changes: &Changes, key: &[usize]) -> Result<Vec<Event>, NetError> {
    let events = by_change(changes, key)?;
    let keys = comparable(&changes.columns(key))?;
    let mut of_key: HashMap<&[u8], (Event, usize)> = HashMap::with_capacity(events.len());
    for (at, event) in events.iter().enumerate() {
        let key = keys.row(event.row()).data();
        let first = of_key.entry(key).or_insert((*event, at));
        *first = (Event { after: event.after, ..first.0 }, at);
    }
    let mut last: Vec<(Event, usize)> = of_key
        .into_values()
        .filter(|(event, _)| event.before.is_some() || event.after.is_some())
        .collect();
    last.sort_by_key(|(_, at)| *at);
    Ok(last.into_iter().map(|(event, _)| event).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    use yeoul_engine::ChangeId;

    use super::*;

    /// Commit, key, value, diff.
    type Row = (i64, i64, &'static str, i64);

    fn changes(rows: &[Row]) -> Changes {
        let keys: Int64Array = rows.iter().map(|row| Some(row.1)).collect();
        let values: StringArray = rows.iter().map(|row| Some(row.2)).collect();
        let columns: [(&str, ArrayRef); 2] = [("k", Arc::new(keys)), ("v", Arc::new(values))];
        Changes {
            rows: RecordBatch::try_from_iter(columns).expect("columns"),
            diffs: rows.iter().map(|row| Some(row.3)).collect(),
            ids: rows.iter().map(|row| Some(row.0)).collect(),
            times: TimestampMicrosecondArray::from(vec![0; rows.len()]),
            through: ChangeId(99),
        }
    }

    fn told(changes: &Changes, events: &[Event]) -> Vec<(i64, Option<String>, Option<String>)> {
        let columns = changes.rows.columns();
        let keys = columns[0].as_any().downcast_ref::<Int64Array>().expect("keys");
        let values = columns[1].as_any().downcast_ref::<StringArray>().expect("values");
        let value = |row: Option<usize>| row.map(|row| values.value(row).to_owned());
        events.iter().map(|e| (keys.value(e.row()), value(e.before), value(e.after))).collect()
    }

    #[test]
    fn what_comes_and_goes_in_a_commit_is_nothing() {
        let changes = changes(&[
            (1, 7, "a", 1),
            (2, 7, "a", -1),
            (2, 7, "b", 1),
            (2, 7, "b", -1),
            (2, 7, "c", 1),
            (3, 8, "x", 1),
            (3, 8, "x", -1),
            (4, 7, "c", -1),
            (4, 7, "c", 1),
            (5, 7, "c", -1),
        ]);
        let some = |text: &str| Some(text.to_owned());
        let events = by_change(&changes, &[0]).expect("a key");
        let expected = [(7, None, some("a")), (7, some("a"), some("c")), (7, some("c"), None)];
        assert_eq!(told(&changes, &events), expected);
        assert_eq!(in_the_end(&changes, &[0]).expect("a key"), []);
    }

    #[test]
    fn of_rows_that_only_come_the_last_of_a_key_counts() {
        let changes = changes(&[
            (1, 7, "a", 1),
            (1, 8, "x", 1),
            (1, 7, "b", 2),
            (2, 9, "y", 1),
            (2, 7, "c", 1),
        ]);
        let events = last_inserts(&changes, &[0]).expect("keys");
        let some = |text: &str| Some(text.to_owned());
        let expected = [(8, None, some("x")), (9, None, some("y")), (7, None, some("c"))];
        assert_eq!(told(&changes, &events), expected);
        assert_eq!(inserts(&changes).len(), 6);
    }

    #[test]
    fn two_rows_of_a_key_are_an_error() {
        for rows in [
            &[(1, 7, "a", 1), (1, 7, "b", 1)][..],
            &[(1, 7, "a", 2)],
            &[(1, 7, "a", -1), (1, 7, "b", -1), (1, 7, "c", 1)],
        ] {
            assert!(matches!(by_change(&changes(rows), &[0]), Err(NetError::NoKey(_))));
        }
    }

    #[test]
    fn random_changes_lead_where_their_rows_lead() {
        const VALUES: [&str; 4] = ["a", "b", "c", "d"];
        let mut seed = 11_u64;
        let mut random = |n: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        for _ in 0..300 {
            let mut is: BTreeMap<i64, &'static str> = BTreeMap::new();
            let begun: BTreeMap<i64, &'static str> = is.clone();
            let mut rows: Vec<Row> = Vec::new();
            for commit in 0..random(6) {
                let commit = i64::try_from(commit).expect("small");
                for _ in 0..random(8) {
                    let key = i64::try_from(random(4)).expect("small");
                    let value = VALUES[usize::try_from(random(4)).expect("small")];
                    if let Some(old) = is.remove(&key) {
                        rows.push((commit, key, old, -1));
                    }
                    if random(3) > 0 {
                        rows.push((commit, key, value, 1));
                        is.insert(key, value);
                    }
                }
            }
            let changes = changes(&rows);
            for events in [by_change(&changes, &[0]), in_the_end(&changes, &[0])] {
                let mut there = begun.clone();
                for (key, before, after) in told(&changes, &events.expect("a key")) {
                    assert_eq!(there.get(&key).copied(), before.as_deref(), "{rows:?}");
                    match after {
                        Some(after) => {
                            let same = VALUES.iter().find(|value| **value == after);
                            there.insert(key, same.expect("one of them"))
                        }
                        None => there.remove(&key),
                    };
                }
                assert_eq!(there, is, "{rows:?}");
            }
        }
    }
}
