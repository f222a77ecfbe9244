//! Event times that are not believed: a row dated far ahead would move the watermark there, and with
//! a retention everything before it would be dropped.
//!
//! What must hold: the decision is taken before a row is written to the log, with the clock of that
//! moment in [`TimeLimit::now_us`]; what is in the log is never judged again.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;

/// How far ahead of now the times of a stream may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    /// The columns it holds for (timestamps).
    pub columns: Vec<usize>,
    /// Now, in microseconds since 1970.
    pub now_us: i64,
    /// How far ahead a time may be, in microseconds.
    pub skew_us: i64,
}

impl TimeLimit {
    /// The rows that are too far ahead, ascending, each with the reason for people.
    #[must_use]
    pub fn ahead(&self, rows: &RecordBatch) -> Vec<(usize, String)> {
        let latest = self.now_us.saturating_add(self.skew_us);
        let mut found: Vec<(usize, String)> = Vec::new();
        for &column in &self.columns {
            let Some(times) = rows.columns().get(column) else { continue };
            let Some(times) = times.as_primitive_opt::<TimestampMicrosecondType>() else {
                continue;
            };
            // What stands where a null is may be any number; it only costs a second look.
            if times.values().iter().max().is_none_or(|max| *max <= latest) {
                continue;
            }
            let name = rows.schema_ref().field(column).name();
            let beyond = (0..times.len())
                .filter(|&row| times.is_valid(row) && times.value(row) > latest)
                .map(|row| (row, self.reason(name, times.value(row))));
            found.extend(beyond);
        }
        // A row counts once, with the first of its columns.
        found.sort_by_key(|(row, _)| *row);
        found.dedup_by_key(|(row, _)| *row);
        found
    }

    fn reason(&self, column: &str, at_us: i64) -> String {
        let lead = length(at_us.saturating_sub(self.now_us));
        format!("{column} is {lead} ahead of now, more than future_skew = {}", length(self.skew_us))
    }
}

/// A length of time in words, cut to its largest unit that it has at least twice or exactly.
fn length(us: i64) -> String {
    const UNITS: [(i64, &str); 5] = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
    ];
    let fits = |unit: i64| us / unit >= 2 || (us >= unit && us % unit == 0);
    let (unit, name) =
        UNITS.into_iter().find(|(unit, _)| fits(*unit)).unwrap_or((1, "microsecond"));
    let count = us / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, TimestampMicrosecondArray};

    #[test]
    fn rows_ahead_are_found_with_their_reason() {
        const DAY: i64 = 86_400_000_000;
        let times = |values: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values))
        };
        let ts = times(vec![Some(0), Some(2 * DAY), None, Some(i64::MAX), Some(DAY)]);
        let other = times(vec![Some(3 * DAY / 2), Some(9 * DAY), None, Some(-5), Some(i64::MIN)]);
        let rows = RecordBatch::try_from_iter([("ts", ts), ("other", other)]).unwrap();
        let limit = TimeLimit { columns: vec![0, 1], now_us: 0, skew_us: DAY };
        let found = limit.ahead(&rows);
        let shown: Vec<_> = found.iter().map(|(row, reason)| format!("{row}: {reason}")).collect();
        assert_eq!(
            shown,
            [
                "0: other is 36 hours ahead of now, more than future_skew = 1 day",
                "1: ts is 2 days ahead of now, more than future_skew = 1 day",
                "3: ts is 106751991 days ahead of now, more than future_skew = 1 day",
            ]
        );
        assert_eq!(length(0), "0 microseconds");
        assert_eq!(length(90_000_000), "90 seconds");
    }
}
