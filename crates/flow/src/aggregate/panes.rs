//! Windows that overlap, grouped by what they share.
//!
//! ```text
//!   rows ─▶ one pane each ─▶ group by (pane, other keys) ─▶ states ─▶ every window of the pane ─▶ combine
//! ```
//!
//! Every window of a HOP or CUMULATE is a union of panes, so a row is grouped once and only the
//! states, which are fewer, are multiplied.

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use std::sync::Arc;
use yeoul_batch::{Combine, Updates};

use super::Aggregate;
use crate::error::FlowError;
use crate::linear::{Window, WindowKind};

/// How an aggregate that stands on a window groups by pane.
#[derive(Debug)]
pub(crate) struct Panes {
    window: Window,
    pane: Window,
    pane_us: i64,
    /// The key columns that are `window_start` and `window_end`.
    start: Option<usize>,
    end: Option<usize>,
}

impl Panes {
    /// `None` when the window does not overlap, is no key, or may be read by anything but keys.
    pub(crate) fn new(aggregate: &Aggregate, window: &Window, columns: usize) -> Option<Self> {
        let pane_us = window.pane_us()?;
        let (window_start, window_end) = (columns - 2, columns - 1);
        let key = |column| aggregate.keys.iter().position(|k| k.as_column() == Some(column));
        let (start, end) = (key(window_start), key(window_end));
        start.or(end)?;
        let edges = [window_start, window_end];
        let plain_key =
            |k: &&yeoul_batch::ExprRef| !k.as_column().is_some_and(|c| edges.contains(&c));
        let others = aggregate.keys.iter().filter(plain_key).chain(&aggregate.exprs);
        for expr in others {
            if expr.columns()?.iter().any(|c| edges.contains(c)) {
                return None;
            }
        }
        // A window edge that is a key twice would be rewritten once.
        let edge_keys =
            aggregate.keys.iter().filter(|k| k.as_column().is_some_and(|c| edges.contains(&c)));
        if edge_keys.count() != usize::from(start.is_some()) + usize::from(end.is_some()) {
            return None;
        }
        let pane = Window {
            kind: WindowKind::Tumble,
            size_us: pane_us,
            slide_us: pane_us,
            ..window.clone()
        };
        Some(Self { window: window.clone(), pane, pane_us, start, end })
    }

    /// The same states as [`Aggregate::partial`] over the rows with their windows.
    pub(crate) fn partial(
        &self,
        aggregate: &Aggregate,
        updates: &Updates,
    ) -> Result<RecordBatch, FlowError> {
        let states = aggregate.partial(&self.pane.assign_timed(updates)?)?;
        let times = self.pane_starts(&states);
        let windows = self.window.windows(&times)?;
        let Some(origin) = &windows.origin else { return Ok(states) };
        let expanded = take_record_batch(&states, origin)?;
        let mut columns = expanded.columns().to_vec();
        if let Some(start) = self.start {
            columns[start] = windows.start;
        }
        if let Some(end) = self.end {
            columns[end] = windows.end;
        }
        let expanded = RecordBatch::try_new(states.schema(), columns)?;
        Ok(aggregate.combine(&[expanded], false)?)
    }

    fn pane_starts(&self, states: &RecordBatch) -> ArrayRef {
        if let Some(start) = self.start {
            return Arc::clone(states.column(start));
        }
        let end = self.end.expect("a window edge is a key");
        let ends = states.column(end).as_primitive::<TimestampMicrosecondType>();
        let starts: TimestampMicrosecondArray = ends.unary(|end| end - self.pane_us);
        let zone = ends.timezone().map(Arc::<str>::from);
        Arc::new(starts.with_timezone_opt(zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{AggregateCall, AggregateSpec, Function, NamedExpr};
    use arrow::array::{BooleanArray, Int64Array};
    use arrow::datatypes::{DataType, TimeUnit};
    use yeoul_batch::{ColumnExpr, Expr, ExprError, ExprRef};

    fn column(index: usize) -> ExprRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let types = [time.clone(), DataType::Int64, time.clone(), time];
        Arc::new(ColumnExpr::new(index, types[index].clone()))
    }

    /// A condition that does not say what it reads.
    #[derive(Debug)]
    struct Opaque;

    impl Expr for Opaque {
        fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
            Ok(Arc::new(BooleanArray::from(vec![true; rows.num_rows()])))
        }

        fn data_type(&self) -> &DataType {
            &DataType::Boolean
        }
    }

    fn aggregate(keys: &[usize], call: AggregateCall) -> Aggregate {
        let keys = keys.iter().map(|&k| NamedExpr::new(format!("k{k}"), column(k))).collect();
        Aggregate::new(AggregateSpec { keys, calls: vec![call], append_only: true }).unwrap()
    }

    #[test]
    fn panes_give_the_states_of_the_windows() {
        let time = |row: i64| row * row % 97 - 40;
        let times: TimestampMicrosecondArray =
            (0..200).map(|row| (row % 9 > 0).then(|| time(row))).collect();
        let values: Int64Array = (0..200).map(|row| (row % 5 > 0).then_some(row % 7)).collect();
        let columns: [(&str, ArrayRef); 2] = [("ts", Arc::new(times)), ("v", Arc::new(values))];
        let updates = Updates::inserts(RecordBatch::try_from_iter(columns).unwrap());
        for window in [
            Window::hop(column(0), 4, 10),
            Window::hop(column(0), 5, 20).with_offset(3),
            Window::cumulate(column(0), 5, 20),
        ] {
            for keys in [&[2, 1][..], &[3], &[1, 3, 2]] {
                let sum = AggregateCall::new("s", Function::Sum, vec![column(1)]);
                let aggregate = aggregate(keys, sum);
                let panes = Panes::new(&aggregate, &window, 4).expect("edges are keys only");
                let shared = panes.partial(&aggregate, &updates).unwrap();
                let direct = aggregate.partial(&window.assign(&updates).unwrap()).unwrap();
                assert_eq!(sorted(&shared), sorted(&direct));
            }
        }
    }

    fn sorted(rows: &RecordBatch) -> Vec<String> {
        let text = |row: usize| format!("{:?}", rows.slice(row, 1).columns());
        let mut all: Vec<String> = (0..rows.num_rows()).map(text).collect();
        all.sort();
        all
    }

    #[test]
    fn what_may_read_an_edge_is_not_shared() {
        let hop = Window::hop(column(0), 5, 10);
        let count = || AggregateCall::new("n", Function::Count, vec![]);
        let shared = |keys: &[usize], call| Panes::new(&aggregate(keys, call), &hop, 4).is_some();
        assert!(shared(&[2], count()));
        assert!(!shared(&[1], count()));
        assert!(!shared(&[2], count().filter(Arc::new(Opaque))));
        assert!(!shared(&[2], AggregateCall::new("m", Function::Max, vec![column(3)])));
        assert!(!shared(&[2, 2], count()));
        let tumble = Window::tumble(column(0), 5);
        assert!(Panes::new(&aggregate(&[2], count()), &tumble, 4).is_none());
    }
}
