//! ASOF joins: each row of the left side with the nearest row of the right one.
//!
//! ```text
//!   places of a key:   ──l──────r₁────l'──l''────r₂──▶ farther       l meets r₁, l' and l'' meet r₂
//!
//!   a left row   reads the first right row from its place on
//!   a right row  reads the one from its place on, which it stands before now, and meets the left rows between the
//!                right row before it and itself
//! ```
//!
//! What is near is a *place*: a number that grows with the distance, so that the nearest is the first. Rows of both
//! sides are kept by key and place; of those at one place the first by the other columns is joined.
//!
//! Where the right side only comes and a watermark bounds what may come, rows are let go of: left rows behind which no
//! right row can come any more, and right rows that no left row can meet any more, because a later one is as old as
//! that. The latter go when the next row of their key comes.
//!
//! What must hold: what is read of a side is what a change can reach, however many rows a key has.
//!
//! Limits: besides the updates and a row for each, the left rows that a step reaches, some at a time.

mod candidates;
mod spec;

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{filter_record_batch, take_arrays};
use arrow::datatypes::{Int64Type, SchemaRef};
use yeoul_batch::{Combine, KeyCodec, KeyRange, Updates};

pub use spec::{AsOfSpec, Nearest};

use super::arranged::{Arrangement, Stored, apart};
use super::join::JoinTimes;
use super::{Operator, Step};
use crate::aggregate::Aggregate;
use crate::error::FlowError;
use crate::graph::{Limits, Release, TreeShape};
use candidates::{Candidates, Counted};

const LEFT: usize = 0;
const RIGHT: usize = 1;

/// Of how many old rows a key is rid at once, besides twice those that come.
const OLD_ROWS: usize = 16;
/// A place in the ordered bytes of a key: whether it is null, and the number.
const PLACE_BYTES: usize = 9;

/// An ASOF join as an operator.
#[derive(Debug)]
pub(crate) struct AsOf {
    sides: [Arrangement; 2],
    /// Keys, and the place.
    key_len: usize,
    /// How right rows that come and go are counted.
    right: Arc<Aggregate>,
    nearest: Nearest,
    outer: bool,
    times: Option<JoinTimes>,
    releases: Vec<(usize, Release)>,
    schema: SchemaRef,
    /// How many left rows are read at once, about.
    rows_at_once: usize,
}

impl AsOf {
    /// Compiles `spec` over sides of these schemas.
    pub(crate) fn new(
        spec: &AsOfSpec,
        inputs: [&SchemaRef; 2],
        append_only: [bool; 2],
        limits: &Limits,
    ) -> Result<Self, FlowError> {
        spec.check(inputs, append_only)?;
        let keys = spec.keys();
        let side = |at: usize| {
            Arrangement::new(at, &keys[at], inputs[at], Stored::Rows, false, &limits.caches)
        };
        let sides = [side(LEFT)?, side(RIGHT)?];
        let release = |times: JoinTimes| times.release(LEFT, &sides[LEFT]);
        Ok(Self {
            releases: spec
                .times
                .and_then(release)
                .map(|release| (LEFT, release))
                .into_iter()
                .collect(),
            right: Arc::new(Aggregate::bag(sides[RIGHT].schema())?),
            key_len: keys[LEFT].len(),
            nearest: spec.nearest,
            outer: spec.outer,
            times: spec.times,
            schema: spec.schema(inputs),
            rows_at_once: limits.rows_at_once,
            sides,
        })
    }

    /// The updates of a side as stored rows, with those that match nothing apart.
    fn taken(
        &self,
        at: usize,
        ports: &[Vec<Updates>],
        step: &Step<'_>,
    ) -> Result<(Updates, Option<Updates>), FlowError> {
        let side = &self.sides[at];
        let none = || Updates::inserts(RecordBatch::new_empty(Arc::clone(side.schema())));
        let Some(updates) = Updates::concat(&ports[at])? else { return Ok((none(), None)) };
        let updates = match &self.times {
            Some(times) => times.in_time(at, updates, step.time().closed_us)?,
            None => updates,
        };
        apart(side.arrange(&updates)?, self.key_len)
    }

    /// The change of the right side, each row once with how often it comes or goes.
    fn changed(&self, right: &Updates) -> Result<RecordBatch, FlowError> {
        let delta = self.right.partial(right)?;
        Ok(self.right.combine(&[delta], true)?)
    }

    /// The right rows that a left row may meet, before the step and after it.
    fn candidates(
        &self,
        left: &Updates,
        points: &Points,
        changed: &RecordBatch,
        step: &Step<'_>,
    ) -> Result<Candidates, FlowError> {
        let mut from: Vec<Bound<Vec<u8>>> =
            self.places(left.rows())?.into_iter().map(|place| self.from(place)).collect();
        from.extend(points.places.iter().cloned().map(Bound::Included));
        let width = self.sides[RIGHT].schema().fields().len();
        let counted = Counted::new(changed, width)?;
        let key_bytes = |place: &[u8]| place[..place.len() - PLACE_BYTES].to_vec();
        let mut ranges: Vec<KeyRange> = from
            .into_iter()
            .map(|from| {
                let (Bound::Included(place) | Bound::Excluded(place)) = &from else {
                    unreachable!("a range begins at a place");
                };
                KeyRange { to: Bound::Included(key_bytes(place)), from }
            })
            .collect();
        // What is behind a row that goes may be next.
        for (row, place) in points.of_rows.iter().enumerate() {
            if counted.counts().value(row) < 0 {
                let to = Bound::Included(key_bytes(&points.places[*place as usize]));
                ranges.push(KeyRange { from: Bound::Excluded(counted.bytes(row).to_vec()), to });
            }
        }
        let read = step.read_ranges(RIGHT, &ranges, 1, false)?;
        Candidates::new(counted, Counted::new(&read.rows, width)?)
    }

    /// Where the right rows begin that a left row at this place may meet.
    fn from(&self, place: Vec<u8>) -> Bound<Vec<u8>> {
        if self.nearest.is_strict() { Bound::Excluded(place) } else { Bound::Included(place) }
    }

    /// The different places of stored rows, as ordered bytes of keys.
    fn places(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>, FlowError> {
        let mut places: Vec<Vec<u8>> =
            self.encoded(rows)?.iter().map(|row| row.data().to_vec()).collect();
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    /// The keys and places of stored rows of either side.
    fn encoded(&self, rows: &RecordBatch) -> Result<arrow::row::Rows, FlowError> {
        let columns: Vec<usize> = (0..self.key_len).collect();
        let codec = KeyCodec::new(self.sides[LEFT].schema(), &columns)?;
        Ok(codec.encode_columns(&rows.columns()[..self.key_len])?)
    }

    /// The ranges of left rows that a change of right rows can reach, none of them twice.
    fn reached(&self, points: &Points, step: &Step<'_>) -> Result<Vec<KeyRange>, FlowError> {
        let before: Vec<KeyRange> = points
            .places
            .iter()
            .map(|place| KeyRange {
                from: Bound::Included(place[..place.len() - PLACE_BYTES].to_vec()),
                to: Bound::Excluded(place.clone()),
            })
            .collect();
        let read = step.read_ranges(RIGHT, &before, 1, true)?;
        let mut lows: Vec<Option<Vec<u8>>> = vec![None; before.len()];
        for (range, bytes) in read.ranges.iter().zip(self.encoded(&read.rows)?.iter()) {
            lows[*range as usize] = Some(bytes.data().to_vec());
        }
        let strict = self.nearest.is_strict();
        let mut ranges: Vec<KeyRange> = Vec::with_capacity(lows.len());
        let mut last: Option<&Vec<u8>> = None;
        for (place, low) in points.places.iter().zip(lows) {
            let key = &place[..place.len() - PLACE_BYTES];
            let same = last.filter(|last| last.len() == place.len() && last.starts_with(key));
            let low = low.as_ref().max(same);
            ranges.push(match (low, strict) {
                (None, false) => KeyRange {
                    from: Bound::Included(key.to_vec()),
                    to: Bound::Included(place.clone()),
                },
                (None, true) => KeyRange {
                    from: Bound::Included(key.to_vec()),
                    to: Bound::Excluded(place.clone()),
                },
                (Some(low), false) => KeyRange {
                    from: Bound::Excluded(low.clone()),
                    to: Bound::Included(place.clone()),
                },
                (Some(low), true) => KeyRange {
                    from: Bound::Included(low.clone()),
                    to: Bound::Excluded(place.clone()),
                },
            });
            last = Some(place);
        }
        Ok(ranges)
    }

    /// Tells what changes for the left rows that are there.
    fn meet_again(
        &self,
        mut ranges: Vec<KeyRange>,
        candidates: &Candidates,
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        let least = OLD_ROWS;
        let width = self.sides[LEFT].schema().fields().len();
        let all: Vec<usize> = (0..width).collect();
        let codec = KeyCodec::new(self.sides[LEFT].schema(), &all)?;
        while !ranges.is_empty() {
            let some =
                ranges.split_off(ranges.len().saturating_sub((self.rows_at_once / least).max(1)));
            let rows_max = (self.rows_at_once / some.len()).max(least);
            let read = step.read_ranges(LEFT, &some, rows_max, false)?;
            self.changes(&read.rows, candidates, step)?;
            // Those that have more go on behind the last row that was read.
            let mut last = vec![None; some.len()];
            for (row, &range) in read.ranges.iter().enumerate() {
                last[range as usize] = Some(row);
            }
            for ((range, more), last) in some.into_iter().zip(&read.more).zip(last) {
                if let (true, Some(row)) = (more, last) {
                    let row = read.rows.slice(row, 1);
                    let behind = codec.encode_columns(&row.columns()[..width])?;
                    let from = Bound::Excluded(behind.row(0).data().to_vec());
                    ranges.push(KeyRange { from, to: range.to });
                }
            }
        }
        Ok(())
    }

    /// What becomes of left rows that meet other right rows than before.
    fn changes(
        &self,
        left: &RecordBatch,
        candidates: &Candidates,
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        let counts = left.column(left.num_columns() - 1).as_primitive::<Int64Type>();
        let (mut rows, mut met, mut diffs) = (Vec::new(), Vec::new(), Vec::new());
        let places = self.encoded(left)?;
        let strict = self.nearest.is_strict();
        for ((row, place), &count) in (0u32..).zip(places.iter()).zip(counts.values()) {
            let (was, is) = candidates.of(place.data(), PLACE_BYTES, strict);
            if was == is {
                continue;
            }
            for (right, diff) in [(was, -count), (is, count)] {
                if right.is_some() || self.outer {
                    rows.push(row);
                    met.push(right);
                    diffs.push(diff);
                }
            }
        }
        self.tell(left, candidates, (rows, met, diffs), step)
    }

    /// Tells what left rows that come and go meet.
    fn come(
        &self,
        left: &Updates,
        candidates: &Candidates,
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        let (mut rows, mut met, mut diffs) = (Vec::new(), Vec::new(), Vec::new());
        let places = self.encoded(left.rows())?;
        let strict = self.nearest.is_strict();
        for (row, place) in (0u32..).zip(places.iter()) {
            let (_, is) = candidates.of(place.data(), PLACE_BYTES, strict);
            if is.is_some() || self.outer {
                rows.push(row);
                met.push(is);
                diffs.push(left.diffs().map_or(1, |diffs| diffs.value(row as usize)));
            }
        }
        self.tell(left.rows(), candidates, (rows, met, diffs), step)
    }

    /// Tells pairs: rows of `left`, the candidate that each meets, and how often.
    fn tell(
        &self,
        left: &RecordBatch,
        candidates: &Candidates,
        (rows, met, diffs): (Vec<u32>, Vec<Option<u32>>, Vec<i64>),
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        if rows.is_empty() {
            return Ok(());
        }
        let own = self.sides[LEFT].places().into_iter().map(|p| Arc::clone(left.column(p)));
        let others = self.sides[RIGHT].places().into_iter();
        let others = others.map(|p| Arc::clone(candidates.rows().column(p)));
        let (own, others): (Vec<ArrayRef>, Vec<ArrayRef>) = (own.collect(), others.collect());
        let mut columns = take_arrays(&own, &UInt32Array::from(rows), None)?;
        columns.extend(take_arrays(&others, &UInt32Array::from(met), None)?);
        let answer = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        step.emit(Updates::new(answer, Int64Array::from(diffs)))
    }

    /// Left rows without a key or a place.
    fn lone(&self, left: &Updates) -> Result<Updates, FlowError> {
        let own = self.sides[LEFT].places().into_iter();
        let mut columns: Vec<ArrayRef> =
            own.map(|place| Arc::clone(left.rows().column(place))).collect();
        for field in &self.schema.fields()[columns.len()..] {
            columns.push(new_null_array(field.data_type(), left.len()));
        }
        Ok(left.with_rows(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }

    /// Lets go of right rows that nothing meets any more, of the keys of those that come.
    fn forget(&self, points: &Points, step: &mut Step<'_>) -> Result<(), FlowError> {
        let kept_us = self.times.and_then(|times| times.kept_us[LEFT]);
        let Some((closed_us, kept_us)) = step.time().closed_us.zip(kept_us) else { return Ok(()) };
        let place = spec::place_bytes(closed_us.saturating_sub(kept_us).saturating_add(1))?;
        let mut ranges: Vec<KeyRange> = Vec::new();
        let key_of = |place: &Vec<u8>| place.len() - PLACE_BYTES;
        let mut most = 0;
        for of_key in points.places.chunk_by(|a, b| a[..key_of(a)] == b[..key_of(b)]) {
            let key = &of_key[0][..key_of(&of_key[0])];
            let from = self.from([key, place.as_slice()].concat());
            ranges.push(KeyRange { from, to: Bound::Included(key.to_vec()) });
            most = most.max(of_key.len());
        }
        // More go than come, so that what was left behind becomes less.
        let read = step.read_ranges(RIGHT, &ranges, OLD_ROWS + 2 * most, false)?;
        // The first one is the nearest still to the oldest row that may come.
        let firsts = read.ranges.iter().enumerate();
        let firsts = firsts.map(|(at, range)| Some(at > 0 && read.ranges[at - 1] == *range));
        let old = filter_record_batch(&read.rows, &firsts.collect())?;
        let mut columns = old.columns().to_vec();
        if let Some(counts) = columns.last_mut() {
            *counts = arrow::compute::kernels::numeric::neg(counts)?;
        }
        step.put(RIGHT, RecordBatch::try_new(old.schema(), columns)?);
        Ok(())
    }
}

/// The different keys and places of right rows that change, as ordered bytes, in order.
struct Points {
    places: Vec<Vec<u8>>,
    /// Which of them each row is at.
    of_rows: Vec<u32>,
}

impl AsOf {
    fn points(&self, changed: &RecordBatch) -> Result<Points, FlowError> {
        let encoded = self.encoded(changed)?;
        let mut order: Vec<u32> = (0u32..).take(changed.num_rows()).collect();
        order.sort_unstable_by_key(|&row| encoded.row(row as usize));
        let mut places: Vec<Vec<u8>> = Vec::new();
        let mut of_rows = vec![0; changed.num_rows()];
        for row in order {
            let bytes = encoded.row(row as usize);
            if places.last().is_none_or(|last| last != bytes.data()) {
                places.push(bytes.data().to_vec());
            }
            of_rows[row as usize] = u32::try_from(places.len() - 1).expect("rows are counted so");
        }
        Ok(Points { places, of_rows })
    }
}

impl Operator for AsOf {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn append_only(&self) -> bool {
        false
    }

    fn trees(&self) -> Vec<TreeShape> {
        self.sides.iter().map(Arrangement::shape).collect()
    }

    fn releases(&self) -> Vec<(usize, Release)> {
        self.releases.clone()
    }

    fn step(
        &mut self,
        ports: Vec<Vec<Updates>>,
        step: &mut Step<'_>,
    ) -> Result<Vec<Updates>, FlowError> {
        let (left, lone) = self.taken(LEFT, &ports, step)?;
        let (right, _) = self.taken(RIGHT, &ports, step)?;
        let changed = self.changed(&right)?;
        let points = self.points(&changed)?;
        if !left.is_empty() || changed.num_rows() > 0 {
            let candidates = self.candidates(&left, &points, &changed, step)?;
            if changed.num_rows() > 0 {
                let ranges = self.reached(&points, step)?;
                self.meet_again(ranges, &candidates, step)?;
                self.forget(&points, step)?;
            }
            self.come(&left, &candidates, step)?;
        }
        if let Some(lone) = lone.filter(|_| self.outer) {
            step.emit(self.lone(&lone)?)?;
        }
        let [of_left, of_right] = &mut self.sides;
        of_left.write(&left, step)?;
        of_right.write(&right, step)?;
        Ok(Vec::new())
    }
}
