//! Which stored sessions, or instants, rows touch.
//!
//! ```text
//!   rows only come:  [stored]   [stored]      a step's rows ──┐ behind the start of the latest session: it
//!                        └── latest, in memory                │ alone can be touched. Else: the one before,
//!                                                             │ and those that begin within the reach
//!   rows also go:    … ─ · ─ · ─ a step's rows ─ · ─ · ─ …      instants are followed both ways up to a gap
//! ```

use std::ops::Bound;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::row::Rows;
use yeoul_batch::{Combine, KeyCodec, KeyRange};

use super::pieces::Session;
use super::{Merged, Sessions, TREE, picked};
use crate::error::FlowError;
use crate::group::Groups;
use crate::operator::Step;
use crate::operator::ranked::partitions_of;

/// How many rows of a range are read at first. Each time that these were not all, four times as many.
const ROWS_FIRST: usize = 16;

/// Stored sessions, each once.
pub(super) struct Stored {
    /// Those that the step's rows may be part of.
    pub(super) touched: RecordBatch,
    /// The latest of touched keys that are not among them.
    pub(super) latest: RecordBatch,
}

/// Instants that are followed from the rows of a step in one direction.
struct Walk {
    piece: u32,
    /// How far what belongs together reaches.
    edge: i64,
    /// Where reading goes on: at this time, or behind it.
    from: i64,
    behind: bool,
}

impl Sessions {
    /// The ordered bytes of keys, and with times of those.
    fn key_bytes(
        &self,
        mut keys: Vec<ArrayRef>,
        times: Option<Vec<i64>>,
    ) -> Result<Rows, FlowError> {
        keys.extend(times.map(|times| self.time_column(times)));
        let columns: Vec<usize> = (0..keys.len()).collect();
        Ok(KeyCodec::new(Combine::schema(&*self.states), &columns)?.encode_columns(&keys)?)
    }

    /// The stored sessions that `local` ones touch, where rows only come, and those of `also`.
    pub(super) fn touched(
        &mut self,
        local: &Merged,
        also: &RecordBatch,
        step: &Step<'_>,
    ) -> Result<Stored, FlowError> {
        if local.states.num_rows() == 0 {
            return Ok(Stored { touched: also.clone(), latest: also.slice(0, 0) });
        }
        let key_len = self.key_len();
        let local_keys = &local.states.columns()[..key_len];
        let groups = Groups::of(local_keys, local.states.num_rows())?;
        let keys = groups.take(local_keys)?;
        let latest = self.latest(&keys, step)?;
        let mut of_key = vec![None; groups.count()];
        for (row, key) in partitions_of(&keys, &latest.columns()[..key_len])?.iter().enumerate() {
            of_key[*key as usize] = Some(row);
        }
        let (starts, lasts) = (self.starts(&latest), self.lasts(&latest));
        let mut reached = vec![false; latest.num_rows()];
        let mut late = Vec::new();
        for ((row, key), session) in (0u32..).zip(groups.ids()).zip(&local.pieces.sessions) {
            match of_key[*key as usize] {
                None => {}
                Some(at) if session.start < starts[at] => late.push(row),
                Some(at) => reached[at] |= session.start <= lasts[at].saturating_add(self.gap_us),
            }
        }
        let read = self.read_late(local, &late, step)?;
        let read = concat_batches(&read.schema(), [&read, also])?;
        self.stored(&read, &latest, &reached)
    }

    /// Of each key the stored session that begins last, where there is one.
    fn latest(&mut self, keys: &[ArrayRef], step: &Step<'_>) -> Result<RecordBatch, FlowError> {
        let cache = &mut self.growing.as_mut().expect("rows only come").latest;
        let (known, missing) = cache.take(keys)?;
        if missing.is_empty() {
            return Ok(known);
        }
        let encoded = self.key_bytes(picked(keys, missing)?, None)?;
        let ranges: Vec<KeyRange> = encoded.iter().map(|k| KeyRange::prefix(k.data())).collect();
        let read = step.read_ranges(TREE, &ranges, 1, true)?;
        Ok(concat_batches(&known.schema(), [&known, &read.rows])?)
    }

    /// The stored sessions around those `local` ones that begin before the latest of their key.
    fn read_late(
        &self,
        local: &Merged,
        late: &[u32],
        step: &Step<'_>,
    ) -> Result<RecordBatch, FlowError> {
        let schema = local.states.schema();
        if late.is_empty() {
            return Ok(RecordBatch::new_empty(schema));
        }
        let keys = picked(&local.states.columns()[..self.key_len()], late.to_vec())?;
        let of = |time: &dyn Fn(&Session) -> i64| {
            let times = late.iter().map(|&row| time(&local.pieces.sessions[row as usize]));
            self.key_bytes(keys.clone(), Some(times.collect()))
        };
        let prefixes = self.key_bytes(keys.clone(), None)?;
        let starts = of(&|session| session.start)?;
        let reaches = of(&|session| session.last.saturating_add(self.gap_us))?;
        let before = prefixes.iter().zip(&starts).map(|(prefix, start)| KeyRange {
            from: Bound::Included(prefix.data().to_vec()),
            to: Bound::Excluded(start.data().to_vec()),
        });
        let mut found = vec![step.read_ranges(TREE, &before.collect::<Vec<_>>(), 1, true)?.rows];
        let mut within: Vec<KeyRange> = starts
            .iter()
            .zip(&reaches)
            .map(|(start, reach)| KeyRange {
                from: Bound::Included(start.data().to_vec()),
                to: Bound::Included(reach.data().to_vec()),
            })
            .collect();
        let mut rows_max = ROWS_FIRST;
        while !within.is_empty() {
            let read = step.read_ranges(TREE, &within, rows_max, false)?;
            let whole: BooleanArray =
                read.ranges.iter().map(|&range| Some(!read.more[range as usize])).collect();
            found.push(filter_record_batch(&read.rows, &whole)?);
            let mut more = read.more.iter();
            within.retain(|_| *more.next().expect("an answer for every range"));
            rows_max = rows_max.saturating_mul(4);
        }
        Ok(concat_batches(&schema, &found)?)
    }

    /// What was read and what is `reached` of the latest, each once, and the others of the latest.
    fn stored(
        &self,
        read: &RecordBatch,
        latest: &RecordBatch,
        reached: &[bool],
    ) -> Result<Stored, FlowError> {
        let all = concat_batches(&latest.schema(), [read, latest])?;
        let groups = Groups::of(&all.columns()[..self.states.key_len()], all.num_rows())?;
        let is_read = |row: u32| (row as usize) < read.num_rows();
        let is_touched = |row: u32| is_read(row) || reached[row as usize - read.num_rows()];
        let (touched, others): (Vec<u32>, Vec<u32>) =
            groups.firsts().iter().copied().partition(|&row| is_touched(row));
        Ok(Stored {
            touched: take_record_batch(&all, &UInt32Array::from(touched))?,
            latest: take_record_batch(&all, &UInt32Array::from(others))?,
        })
    }

    /// The stored instants of all sessions that `delta`, which is of instants too, is part of before or
    /// after it; each once.
    pub(super) fn around(
        &self,
        delta: &RecordBatch,
        step: &Step<'_>,
    ) -> Result<RecordBatch, FlowError> {
        let sessions = self.pieces(delta)?.sessions;
        let mut found = Vec::new();
        for reverse in [false, true] {
            let walk = |&Session { piece, start, last }: &Session| {
                let edge = if reverse { start } else { last };
                Walk { piece, edge, from: start, behind: reverse }
            };
            let walks = sessions.iter().map(walk).collect();
            self.follow(walks, reverse, delta, step, &mut found)?;
        }
        let all = concat_batches(&delta.schema(), &found)?;
        let groups = Groups::of(&all.columns()[..self.states.key_len()], all.num_rows())?;
        Ok(take_record_batch(&all, &UInt32Array::from(groups.firsts().to_vec()))?)
    }

    /// Reads instants in one direction until there is a gap.
    fn follow(
        &self,
        mut walks: Vec<Walk>,
        reverse: bool,
        delta: &RecordBatch,
        step: &Step<'_>,
        found: &mut Vec<RecordBatch>,
    ) -> Result<(), FlowError> {
        let mut rows_max = ROWS_FIRST;
        while !walks.is_empty() {
            let ranges = self.ranges(&walks, reverse, delta)?;
            let read = step.read_ranges(TREE, &ranges, rows_max, reverse)?;
            let mut open = read.more;
            let mut near = Vec::with_capacity(read.ranges.len());
            for (&time, &range) in self.starts(&read.rows).iter().zip(&read.ranges) {
                let walk = &mut walks[range as usize];
                let away = if reverse {
                    walk.edge.saturating_sub(time)
                } else {
                    time.saturating_sub(walk.edge)
                };
                // What is behind a gap is not near, nor is what follows it.
                let is_near = away <= self.gap_us;
                near.push(Some(is_near));
                if is_near {
                    walk.edge = if reverse { time } else { walk.edge.max(time) };
                    (walk.from, walk.behind) = (time, true);
                } else {
                    open[range as usize] = false;
                }
            }
            found.push(filter_record_batch(&read.rows, &BooleanArray::from(near))?);
            let mut open = open.into_iter();
            walks.retain(|_| open.next().expect("an answer for every range"));
            rows_max = rows_max.saturating_mul(4);
        }
        Ok(())
    }

    /// The keys that are not read yet in a direction.
    fn ranges(
        &self,
        walks: &[Walk],
        reverse: bool,
        delta: &RecordBatch,
    ) -> Result<Vec<KeyRange>, FlowError> {
        let pieces = walks.iter().map(|walk| walk.piece).collect();
        let keys = picked(&delta.columns()[..self.key_len()], pieces)?;
        let times = walks.iter().map(|walk| walk.from).collect();
        let edges = self.key_bytes(keys.clone(), Some(times))?;
        let prefixes = self.key_bytes(keys, None)?;
        let ranges = walks.iter().zip(&edges).zip(&prefixes).map(|((walk, edge), prefix)| {
            let edge = edge.data().to_vec();
            let edge = if walk.behind { Bound::Excluded(edge) } else { Bound::Included(edge) };
            let whole = Bound::Included(prefix.data().to_vec());
            if reverse {
                KeyRange { from: whole, to: edge }
            } else {
                KeyRange { from: edge, to: whole }
            }
        });
        Ok(ranges.collect())
    }
}
