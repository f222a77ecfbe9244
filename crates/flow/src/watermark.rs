//! The watermark of a stream: a guess that no older event time will come.

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use yeoul_batch::EventTime;

/// A row that came later than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLate {
    /// Its event time.
    pub time: EventTime,
    /// Where the watermark stood when it came.
    pub watermark: EventTime,
}

/// The greatest event time seen, less a delay.
///
/// A row is late when its time is before the watermark of the rows before it. Rows are counted
/// in their order, so how they are divided into batches does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    delay_us: i64,
    newest: EventTime,
}

impl Watermark {
    /// A watermark that trails the newest event time by `delay_us` microseconds.
    ///
    /// # Panics
    /// When the delay is negative.
    #[must_use]
    pub fn new(delay_us: i64) -> Self {
        assert!(delay_us >= 0, "watermark: the delay is not negative");
        Self { delay_us, newest: EventTime::MIN }
    }

    /// The same watermark where a stream has already seen `newest`.
    #[must_use]
    pub fn resume(delay_us: i64, newest: EventTime) -> Self {
        Self { newest, ..Self::new(delay_us) }
    }

    /// The greatest event time seen; [`EventTime::MIN`] before any.
    #[must_use]
    pub fn newest(&self) -> EventTime {
        self.newest
    }

    /// Where the watermark stands; [`EventTime::MIN`] before any row.
    #[must_use]
    pub fn current(&self) -> EventTime {
        EventTime(self.newest.0.saturating_sub(self.delay_us))
    }

    /// Takes the event times (Timestamp in microseconds) of the next rows; gives how many were
    /// late. Those that were late by more than `allowed_us` are added to `too_late`. A null time is
    /// neither late nor newer.
    pub fn observe(
        &mut self,
        times: &dyn Array,
        allowed_us: i64,
        too_late: &mut Vec<TooLate>,
    ) -> Result<usize, ArrowError> {
        let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| {
            ArrowError::InvalidArgumentError(format!(
                "watermark: event time is a timestamp in microseconds, not {}",
                times.data_type()
            ))
        })?;
        let mut newest = self.newest.0;
        let mut late = 0;
        let mut one = |time: i64| {
            let watermark = newest.saturating_sub(self.delay_us);
            if time < watermark {
                late += 1;
                if time < watermark.saturating_sub(allowed_us) {
                    too_late
                        .push(TooLate { time: EventTime(time), watermark: EventTime(watermark) });
                }
            }
            newest = newest.max(time);
        };
        match times.nulls() {
            None => times.values().iter().for_each(|&time| one(time)),
            Some(_) => times.iter().flatten().for_each(one),
        }
        self.newest = EventTime(newest);
        Ok(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::TimestampMicrosecondArray;

    #[test]
    fn late_rows_do_not_depend_on_batches() {
        let times = [Some(10), Some(30), None, Some(19), Some(20), Some(50), Some(10)];
        let all = TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC");
        let mut whole = Watermark::new(10);
        assert_eq!(whole.current(), EventTime::MIN);
        let mut too_late = Vec::new();
        assert_eq!(whole.observe(&all, 1, &mut too_late).expect("times"), 2);
        let beyond = TooLate { time: EventTime(10), watermark: EventTime(40) };
        assert_eq!(too_late, [beyond], "19 is late by 1, which is allowed");
        assert_eq!(whole.current(), EventTime(40));
        for cut in 0..times.len() {
            let mut divided = Watermark::new(10);
            let mut found = Vec::new();
            let first = divided.observe(&all.slice(0, cut), 1, &mut found).expect("times");
            let rest = all.slice(cut, times.len() - cut);
            let second = divided.observe(&rest, 1, &mut found).expect("times");
            assert_eq!((first + second, divided), (2, whole));
            assert_eq!(found, too_late);
        }
        assert_eq!(Watermark::resume(10, EventTime(50)), whole);
        assert!(whole.observe(&arrow::array::Int64Array::from(vec![1]), 1, &mut too_late).is_err());
    }
}
