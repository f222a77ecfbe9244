//! The watermark of a stream: a guess that no older event time will come.

use std::collections::BTreeMap;
use std::sync::Arc;

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

/// A partition of a source, by the names of both; nameless: all rows that are of none.
pub type PartitionName = (Arc<str>, Arc<str>);

/// How far a partition is that has a watermark of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionTime {
    /// The greatest event time seen of it.
    pub newest: EventTime,
    /// When something came from it last, or it began to be read.
    pub active_us: i64,
}

/// The greatest event time seen, less a delay; where there are partitions that are read side by side, the least of
/// those of the partitions.
///
/// ```text
///   a  ──12──15──18           each partition in about the order of its times, one ahead of the other
///   b  ──3──5                 the stream is at 5
///   c  (nothing for a while)  idle: it holds nothing back
/// ```
///
/// A row is late when its time is before the watermark of the rows before it. Rows are counted
/// in their order, so how they are divided into batches does not show.
///
/// What must hold: it never goes back, and follows from what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    delay_us: i64,
    /// After how long without rows a partition is idle.
    idle_us: i64,
    /// The event time that all are up to.
    reached: EventTime,
    partitions: BTreeMap<PartitionName, PartitionTime>,
}

impl Watermark {
    /// A watermark that trails the newest event time by `delay_us` microseconds; a partition of which nothing comes for
    /// `idle_us` is passed over.
    ///
    /// # Panics
    /// When the delay is negative.
    #[must_use]
    pub fn new(delay_us: i64, idle_us: i64) -> Self {
        assert!(delay_us >= 0, "watermark: the delay is not negative");
        Self { delay_us, idle_us, reached: EventTime::MIN, partitions: BTreeMap::new() }
    }

    /// The same watermark where a stream is up to `reached`, and its partitions are so far.
    #[must_use]
    pub fn resume(
        self,
        reached: EventTime,
        partitions: BTreeMap<PartitionName, PartitionTime>,
    ) -> Self {
        Self { reached, partitions, ..self }
    }

    /// How far its partitions are.
    #[must_use]
    pub fn partitions(&self) -> &BTreeMap<PartitionName, PartitionTime> {
        &self.partitions
    }

    /// The watermark of each partition of which rows came, in microseconds.
    pub fn own(&self) -> impl Iterator<Item = (&PartitionName, i64)> {
        let began = self.partitions.iter().filter(|(_, time)| time.newest != EventTime::MIN);
        began.map(|(name, time)| (name, self.trailing(time.newest).0))
    }

    /// A partition is read from `now_us` on, and is waited for.
    pub fn begin(&mut self, partition: PartitionName, now_us: i64) {
        self.pass(now_us);
        let time = PartitionTime { newest: EventTime::MIN, active_us: now_us };
        self.partitions.entry(partition).or_insert(time).active_us = now_us;
        self.pass(now_us);
    }

    /// A partition is not read any more.
    pub fn end(&mut self, partition: &PartitionName, now_us: i64) {
        self.pass(now_us);
        self.partitions.remove(partition);
        self.pass(now_us);
    }

    /// The event time that all partitions are up to at `now_us`; [`EventTime::MIN`] before any row.
    #[must_use]
    pub fn reached(&self, now_us: i64) -> EventTime {
        self.reached.max(self.least(None, now_us).unwrap_or(EventTime::MIN))
    }

    /// Where the watermark stands at `now_us`; [`EventTime::MIN`] before any row.
    #[must_use]
    pub fn current(&self, now_us: i64) -> EventTime {
        self.trailing(self.reached(now_us))
    }

    fn trailing(&self, reached: EventTime) -> EventTime {
        EventTime(reached.0.saturating_sub(self.delay_us))
    }

    /// The least time of the partitions that are not idle, `except` one.
    fn least(&self, except: Option<&PartitionName>, now_us: i64) -> Option<EventTime> {
        let active = self.partitions.iter().filter(|(name, time)| {
            Some(*name) != except && now_us.saturating_sub(time.active_us) < self.idle_us
        });
        active.map(|(_, time)| time.newest).min()
    }

    /// Notes that it is `now_us`: what was reached by then stays reached.
    pub fn pass(&mut self, now_us: i64) {
        self.reached = self.reached(now_us);
    }

    /// Takes the event times (Timestamp in microseconds) of the next rows, which came at `now_us` of `partition`, if they
    /// are of one that has begun; gives how many were late. Those that were late by more than `allowed_us` are added to
    /// `too_late`. A null time is neither late nor newer.
    pub fn observe(
        &mut self,
        partition: Option<&PartitionName>,
        now_us: i64,
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
        let nameless = (Arc::from(""), Arc::from(""));
        let name = match partition.filter(|name| self.partitions.contains_key(*name)) {
            None if self.partitions.is_empty() => None,
            known => Some(known.unwrap_or(&nameless)),
        };
        if let Some(name) = name {
            self.begin(name.clone(), now_us);
        }
        let others = self.least(name, now_us).map_or(i64::MAX, |time| time.0);
        let mut newest = match name.and_then(|name| self.partitions.get(name)) {
            Some(time) => time.newest.0,
            None => self.reached.0,
        };
        let mut reached = self.reached.0;
        let mut late = 0;
        let mut one = |time: i64| {
            let watermark = reached.saturating_sub(self.delay_us);
            if time < watermark {
                late += 1;
                if time < watermark.saturating_sub(allowed_us) {
                    too_late
                        .push(TooLate { time: EventTime(time), watermark: EventTime(watermark) });
                }
            }
            newest = newest.max(time);
            reached = reached.max(newest.min(others));
        };
        match times.nulls() {
            None => times.values().iter().for_each(|&time| one(time)),
            Some(_) => times.iter().flatten().for_each(one),
        }
        self.reached = EventTime(reached);
        if let Some(time) = name.and_then(|name| self.partitions.get_mut(name)) {
            time.newest = EventTime(newest);
        }
        Ok(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::TimestampMicrosecondArray;

    fn times(times: &[Option<i64>]) -> TimestampMicrosecondArray {
        TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")
    }

    fn part(name: &str) -> PartitionName {
        (Arc::from("kafka"), Arc::from(name))
    }

    #[test]
    fn late_rows_do_not_depend_on_batches() {
        let all = times(&[Some(10), Some(30), None, Some(19), Some(20), Some(50), Some(10)]);
        let mut whole = Watermark::new(10, 1_000);
        assert_eq!(whole.current(0), EventTime::MIN);
        let mut too_late = Vec::new();
        assert_eq!(whole.observe(None, 0, &all, 1, &mut too_late).expect("times"), 2);
        let beyond = TooLate { time: EventTime(10), watermark: EventTime(40) };
        assert_eq!(too_late, [beyond], "19 is late by 1, which is allowed");
        assert_eq!(whole.current(0), EventTime(40));
        for cut in 0..all.len() {
            let mut divided = Watermark::new(10, 1_000);
            let mut found = Vec::new();
            let first = divided.observe(None, 0, &all.slice(0, cut), 1, &mut found);
            let rest = all.slice(cut, all.len() - cut);
            let second = divided.observe(None, 0, &rest, 1, &mut found);
            assert_eq!(first.expect("times") + second.expect("times"), 2);
            assert_eq!((divided, found), (whole.clone(), too_late.clone()));
        }
        let resumed = Watermark::new(10, 1_000).resume(EventTime(50), BTreeMap::new());
        assert_eq!(resumed, whole);
        let numbers = arrow::array::Int64Array::from(vec![1]);
        assert!(whole.observe(None, 0, &numbers, 1, &mut too_late).is_err());
    }

    #[test]
    fn the_last_partition_holds_the_stream() {
        let mut mark = Watermark::new(0, 100);
        let mut late = Vec::new();
        let mut see = |mark: &mut Watermark, of: Option<&str>, now: i64, time: i64| {
            let of = of.map(part);
            let rows = times(&[Some(time)]);
            mark.observe(of.as_ref(), now, &rows, 0, &mut late).expect("times")
        };
        mark.begin(part("a"), 0);
        mark.begin(part("b"), 0);
        assert_eq!(see(&mut mark, Some("a"), 10, 50), 0);
        assert_eq!(mark.current(10), EventTime::MIN, "b has not been heard of");
        assert_eq!(see(&mut mark, Some("b"), 20, 7), 0, "behind a, and not late");
        assert_eq!(mark.current(20), EventTime(7));
        assert_eq!(see(&mut mark, Some("a"), 100, 60), 0);
        assert_eq!(mark.current(119), EventTime(7));
        assert_eq!(mark.current(120), EventTime(60), "b is idle");
        assert_eq!(see(&mut mark, Some("b"), 130, 9), 1, "what it brings then is late");
        assert_eq!(mark.current(130), EventTime(60), "and does not go back");
        mark.end(&part("a"), 140);
        assert_eq!(see(&mut mark, Some("b"), 150, 70), 0);
        assert_eq!(mark.current(150), EventTime(70));
        // Rows of no partition are waited for like those of one.
        assert_eq!(see(&mut mark, None, 160, 75), 0);
        assert_eq!(see(&mut mark, Some("b"), 170, 90), 0);
        assert_eq!(mark.current(170), EventTime(75));
        assert_eq!(mark.current(261), EventTime(90));
        assert_eq!(late, [TooLate { time: EventTime(9), watermark: EventTime(60) }]);
    }

    /// What is said of every row, from all that came before.
    fn slowly(delay: i64, idle: i64, told: &[(u8, i64, Option<i64>)]) -> Vec<Option<bool>> {
        let mut reached = i64::MIN;
        let mut out = Vec::new();
        for at in 0..told.len() {
            let (of, now, time) = told[at];
            let least = |told: &[(u8, i64, Option<i64>)]| {
                let of_partition = |of: u8| {
                    let all = told.iter().filter(|(other, ..)| *other == of);
                    let active = all.clone().next_back().is_some_and(|last| now - last.1 < idle);
                    active.then(|| all.filter_map(|(.., time)| *time).max().unwrap_or(i64::MIN))
                };
                (0..=u8::MAX).filter_map(of_partition).min().unwrap_or(i64::MIN)
            };
            let began = [&told[..at], &[(of, now, None)]].concat();
            reached = reached.max(least(&told[..at])).max(least(&began));
            out.push(time.map(|time| time < reached.saturating_sub(delay)));
            reached = reached.max(least(&told[..=at]));
        }
        out
    }

    #[test]
    fn partitions_are_what_all_rows_before_say() {
        let mut state = 3u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from((state >> 33) % bound).expect("small")
        };
        for round in 0..300 {
            let (delay, idle) = (below(20), 1 + below(60));
            let (mut now, mut told) = (0, Vec::new());
            for _ in 0..60 {
                now += below(12);
                let time = (below(8) > 0).then(|| now + below(80) - 40);
                told.push((u8::try_from(below(4)).expect("small"), now, time));
            }
            let mut mark = Watermark::new(delay, idle);
            let mut found = Vec::new();
            for &(of, now, time) in &told {
                let name = part(&of.to_string());
                mark.begin(name.clone(), now);
                let Some(time) = time else {
                    found.push(None);
                    continue;
                };
                let mut too_late = Vec::new();
                let rows = times(&[Some(time)]);
                let late = mark.observe(Some(&name), now, &rows, 0, &mut too_late).expect("times");
                found.push(Some(late == 1));
            }
            assert_eq!(found, slowly(delay, idle, &told), "round {round}");
        }
    }
}
