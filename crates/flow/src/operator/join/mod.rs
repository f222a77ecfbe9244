//! Joins of two inputs that change.
//!
//! ```text
//!   ΔL ⋈ (R + ΔR)   +   L ⋈ ΔR          pairs: L and R as they were before the step
//!   rows without a match: by how many matches each had, and has
//! ```
//!
//! Rows are matched by their keys; a further condition (`residual`) belongs to the match. A row with a
//! null key matches nothing, unless nulls are equal. Outer, semi and anti joins need to know whether a
//! row has a match at all. Without a residual that is one count per key, kept in a tree of its own; with
//! one it is counted from the rows of the other side.
//!
//! Keys do not concern each other, so a step goes by slices of keys: as many at once as have few enough rows,
//! going by those before, and pairs are told as they are made.
//!
//! What must hold: no row is read of keys that the step does not touch.
//!
//! Limits: the updates, and of the other rows those of a slice's keys.

mod matched;
mod pairs;
mod spec;
mod times;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;
use yeoul_batch::Updates;

pub use spec::{JoinKind, JoinSpec};
pub use times::JoinTimes;

use super::arranged::{Arrangement, Stored, apart, chosen, keys_of};
use super::{Operator, Step};
use crate::error::FlowError;
use crate::graph::{Limits, Release, TreeShape};
use crate::group::Groups;
use matched::Matches;
use pairs::{Layout, Pairing};
use spec::Unmatched;
use times::timed;

/// The first slice has so many times fewer keys than it may have rows.
const FIRST_SLICE: usize = 128;

const LEFT: usize = 0;
const RIGHT: usize = 1;

/// One input of a join.
#[derive(Debug)]
struct Side {
    schema: SchemaRef,
    /// Its rows; `None` when only whether there is one matters.
    rows: Option<Arrangement>,
    /// How many rows there are of each key, when the other side needs to know.
    counts: Option<Arrangement>,
    /// What becomes of its rows by whether they have a match.
    unmatched: Unmatched,
    append_only: bool,
    /// How its arrangements let go of rows: the number of the tree of each, and how.
    releases: Vec<(usize, Release)>,
    /// The first partition of its trees that is needed, as far as is known.
    first: Option<i64>,
}

/// A join as an operator.
#[derive(Debug)]
pub(crate) struct Join {
    kind: JoinKind,
    sides: [Side; 2],
    key_len: usize,
    nulls_equal: bool,
    times: Option<JoinTimes>,
    layout: Arc<Layout>,
    schema: SchemaRef,
    /// About how many rows may be read for a slice of keys.
    slice_rows: usize,
    /// How many keys the next slice has.
    slice_keys: usize,
}

/// What a step knows of one side.
struct Touched {
    /// Its updates, arranged.
    new: Updates,
    /// Its updates with a null key, or without a time that is in bounds, which match nothing.
    lone: Vec<Updates>,
    /// Its rows before the step, of the keys that matter.
    old: Updates,
}

impl Join {
    /// Compiles `spec` over sides of these schemas.
    pub(crate) fn new(
        spec: JoinSpec,
        inputs: [&SchemaRef; 2],
        append_only: [bool; 2],
        limits: &Limits,
    ) -> Result<Self, FlowError> {
        spec.check(inputs)?;
        let slice_rows = 2 * limits.rows_at_once;
        let unmatched = spec.kind.unmatched();
        let keys = spec.keys();
        let mut tree = 0;
        let mut side = |at: usize| -> Result<Side, FlowError> {
            let mut arrange = |stored: Stored| {
                tree += 1;
                let only = append_only[at];
                let (keys, input) = (&keys[at], inputs[at]);
                Arrangement::new(tree - 1, keys, input, stored, only, &limits.caches)
            };
            let other_asks = unmatched[1 - at] != Unmatched::Gone;
            let wanted = spec.kind.pairs() || unmatched[at] != Unmatched::Gone;
            let counted = other_asks && spec.residual.is_none();
            let rows = wanted || (other_asks && !counted);
            let rows = if rows { Some(arrange(Stored::Rows)?) } else { None };
            let counts = if counted { Some(arrange(Stored::Keys)?) } else { None };
            let arranged = [&rows, &counts];
            let release = |of: &Arrangement| Some((of.tree(), spec.times?.release(at, of)?));
            Ok(Side {
                schema: Arc::clone(inputs[at]),
                releases: arranged.into_iter().flatten().filter_map(release).collect(),
                first: None,
                rows,
                counts,
                unmatched: unmatched[at],
                append_only: append_only[at],
            })
        };
        let sides = [side(LEFT)?, side(RIGHT)?];
        let places = |side: &Side| side.rows.as_ref().map_or_else(Vec::new, Arrangement::places);
        let layout = Layout {
            places: [places(&sides[LEFT]), places(&sides[RIGHT])],
            schema: spec.both(inputs),
            residual: spec.residual.clone(),
            pairs_max: (limits.rows_at_once / 8).max(1),
        };
        Ok(Self {
            kind: spec.kind,
            sides,
            key_len: keys[LEFT].len(),
            nulls_equal: spec.nulls_equal,
            times: spec.times,
            layout: Arc::new(layout),
            schema: spec.schema(inputs),
            slice_rows,
            slice_keys: (slice_rows / FIRST_SLICE).max(1),
        })
    }

    /// The updates of a side that are in time.
    fn taken(
        &self,
        at: usize,
        ports: &[Vec<Updates>],
        step: &Step<'_>,
    ) -> Result<Option<Updates>, FlowError> {
        let in_time = |updates| match &self.times {
            Some(times) => times.in_time(at, updates, step.time().closed_us),
            None => Ok(updates),
        };
        Ok(Updates::concat(&ports[at])?.map(in_time).transpose()?.filter(|u| !u.is_empty()))
    }

    /// Keeps no rows in memory that were released from the trees.
    fn forget(&mut self, closed_us: Option<i64>) {
        let Some(closed_us) = closed_us else { return };
        for side in &mut self.sides {
            let first = side.releases.first().map(|(_, release)| release.first(closed_us));
            if side.first != first {
                side.first = first;
                [&mut side.rows, &mut side.counts]
                    .into_iter()
                    .flatten()
                    .for_each(Arrangement::forget);
            }
        }
    }

    /// Arranges a side's updates and reads what is there of their keys.
    fn arrange(&self, at: usize, updates: Option<&Updates>) -> Result<Touched, FlowError> {
        let side = &self.sides[at];
        let by = side.rows.as_ref().or(side.counts.as_ref()).expect("a side is arranged somehow");
        let none = Updates::inserts(RecordBatch::new_empty(Arc::clone(by.schema())));
        let Some(updates) = updates else {
            return Ok(Touched { new: none.clone(), lone: Vec::new(), old: none });
        };
        let arranged = by.arrange(updates)?;
        if self.nulls_equal {
            return Ok(Touched { new: arranged, lone: Vec::new(), old: none });
        }
        let (mut new, keyless) = apart(arranged, self.key_len)?;
        let mut lone = Vec::from_iter(keyless);
        if let Some(time) = self.times.and_then(|times| by.place(times.columns[at])) {
            let (known, timeless) = timed(new, time)?;
            lone.extend(timeless);
            new = known;
        }
        Ok(Touched { new, lone, old: none })
    }

    /// Reads the rows before the step that matter.
    fn read(&mut self, touched: &mut [Touched; 2], step: &Step<'_>) -> Result<(), FlowError> {
        for at in [LEFT, RIGHT] {
            // With a residual, the matches of the other side's rows are counted from the rows here: of those
            // rows that come, and of those that are there for what comes here.
            let counted =
                self.layout.residual.is_some() && self.sides[1 - at].unmatched != Unmatched::Gone;
            let Some(rows) = &mut self.sides[at].rows else { continue };
            let wanted = if counted {
                both_keys(touched, self.key_len)?
            } else {
                keys_of(&touched[1 - at].new, self.key_len)?
            };
            touched[at].old = rows.read(&wanted, step)?;
        }
        Ok(())
    }

    /// Rows of both sides that match.
    fn pairs(&self, touched: &[Touched; 2], step: &mut Step<'_>) -> Result<(), FlowError> {
        let [left, right] = touched;
        let now = concat(&[right.new.clone(), right.old.clone()])?;
        let pool = step.pool();
        for (left, right) in [(&left.new, &now), (&left.old, &right.new)] {
            let pairing = Pairing::new(&self.layout, left, right, self.key_len)?;
            pairing.joined(pool, |updates| step.emit(updates))?;
        }
        Ok(())
    }

    /// The answer for the updates, slice by slice.
    fn answer(&mut self, touched: &[Touched; 2], step: &mut Step<'_>) -> Result<(), FlowError> {
        let rows: usize = touched.iter().map(|touched| touched.new.len()).sum();
        if rows <= self.slice_keys {
            return self.slice(touched.each_ref().map(|touched| touched.new.clone()), step);
        }
        let groups = groups_of(touched.each_ref().map(|touched| &touched.new), self.key_len)?;
        let (left, right) = groups.ids().split_at(touched[LEFT].new.len());
        let mut from = 0;
        while from < groups.count() {
            let to = from.saturating_add(self.slice_keys).min(groups.count());
            let part = |at: usize, ids: &[u32]| {
                let within = |&id: &u32| (from..to).contains(&(id as usize));
                let mask: BooleanArray = ids.iter().map(|id| Some(within(id))).collect();
                chosen(&touched[at].new, &mask)
            };
            let slice = if to - from == groups.count() {
                touched.each_ref().map(|touched| touched.new.clone())
            } else {
                [part(LEFT, left)?, part(RIGHT, right)?]
            };
            self.slice(slice, step)?;
            from = to;
        }
        Ok(())
    }

    /// Chooses how many keys the next slice has, by what this one had.
    fn learn(&mut self, touched: &[Touched; 2]) {
        let read: usize = touched.iter().map(|touched| touched.old.len()).sum();
        let came: usize = touched.iter().map(|touched| touched.new.len()).sum();
        if read > self.slice_rows {
            self.slice_keys =
                (came.min(self.slice_keys) / read.div_ceil(self.slice_rows.max(1))).max(1);
        } else if read < self.slice_rows / 8 && came >= self.slice_keys / 2 {
            // Few keys say little of many.
            self.slice_keys = (self.slice_keys * 4).min(self.slice_rows);
        }
    }

    /// The answer for updates of some keys.
    fn slice(&mut self, new: [Updates; 2], step: &mut Step<'_>) -> Result<(), FlowError> {
        let mut touched = new.map(|new| {
            let old = Updates::inserts(RecordBatch::new_empty(new.rows().schema()));
            Touched { new, lone: Vec::new(), old }
        });
        for arrangement in self.sides.iter_mut().flat_map(|s| [&mut s.rows, &mut s.counts]) {
            arrangement.iter_mut().for_each(Arrangement::begin);
        }
        self.read(&mut touched, step)?;
        if self.kind.pairs() {
            self.pairs(&touched, step)?;
        }
        for at in [LEFT, RIGHT] {
            if self.sides[at].unmatched != Unmatched::Gone {
                self.presence(at, &touched, step)?;
            }
        }
        self.learn(&touched);
        Ok(())
    }

    /// The answer for rows of one side alone: with nulls for the other side, or as they are.
    fn alone(&self, at: usize, rows: &Updates, matched: bool) -> Result<Updates, FlowError> {
        let count = rows.len();
        let stored = rows.rows().columns();
        let own = self.layout.places[at].iter().map(|&place| Arc::clone(&stored[place]));
        let mut columns: Vec<ArrayRef> = own.collect();
        match self.kind {
            JoinKind::Semi | JoinKind::Anti => {}
            JoinKind::Mark => columns.push(Arc::new(BooleanArray::from(vec![matched; count]))),
            _ => {
                let other = self.sides[1 - at].schema.fields().iter();
                let nulls = other.map(|field| new_null_array(field.data_type(), count));
                let end = if at == LEFT { columns.len() } else { 0 };
                columns.splice(end..end, nulls);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let answer =
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(rows.with_rows(answer))
    }

    /// What the step changes about the rows of side `at` that depend on whether they have a match.
    fn presence(
        &mut self,
        at: usize,
        touched: &[Touched; 2],
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        let (own, other) = (&touched[at], &touched[1 - at]);
        let unmatched = self.sides[at].unmatched;
        let matches = if let Some(counts) = &mut self.sides[1 - at].counts {
            let old = counts.read(&both_keys(touched, self.key_len)?, step)?;
            Matches::by_key(&own.new, &own.old, &old, &other.new, self.key_len)?
        } else {
            let (rows, others) = ([&own.new, &own.old], [&other.old, &other.new]);
            Matches::by_residual(&self.layout, at, rows, others, self.key_len, step.pool())?
        };
        for (rows, matched) in matches.changes(unmatched)? {
            step.emit(self.alone(at, &rows, matched)?)?;
        }
        Ok(())
    }
}

impl Operator for Join {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn append_only(&self) -> bool {
        let come_only = self.sides.iter().all(|side| side.append_only);
        come_only && matches!(self.kind, JoinKind::Inner | JoinKind::Semi)
    }

    fn trees(&self) -> Vec<TreeShape> {
        let of = |side: &Side| {
            [&side.rows, &side.counts].into_iter().flatten().map(Arrangement::shape).collect()
        };
        self.sides.iter().flat_map(|side| -> Vec<TreeShape> { of(side) }).collect()
    }

    fn releases(&self) -> Vec<(usize, Release)> {
        self.sides.iter().flat_map(|side| side.releases.iter().copied()).collect()
    }

    fn step(
        &mut self,
        ports: Vec<Vec<Updates>>,
        step: &mut Step<'_>,
    ) -> Result<Vec<Updates>, FlowError> {
        self.forget(step.time().closed_us);
        let [left, right] = [self.taken(LEFT, &ports, step)?, self.taken(RIGHT, &ports, step)?];
        if left.is_none() && right.is_none() {
            return Ok(Vec::new());
        }
        let touched = [self.arrange(LEFT, left.as_ref())?, self.arrange(RIGHT, right.as_ref())?];
        self.answer(&touched, step)?;
        for at in [LEFT, RIGHT] {
            for lone in &touched[at].lone {
                if self.sides[at].unmatched.keeps_lone() {
                    step.emit(self.alone(at, lone, false)?)?;
                }
            }
        }
        for (side, touched) in self.sides.iter_mut().zip(&touched) {
            for arrangement in [&mut side.rows, &mut side.counts].into_iter().flatten() {
                let width = arrangement.schema().fields().len();
                let columns = touched.new.rows().columns()[..width].to_vec();
                let rows = RecordBatch::try_new(Arc::clone(arrangement.schema()), columns)?;
                arrangement.write(&touched.new.with_rows(rows), step)?;
            }
        }
        Ok(Vec::new())
    }
}

/// Each key of the updates of both sides once.
fn both_keys(touched: &[Touched; 2], key_len: usize) -> Result<Vec<ArrayRef>, FlowError> {
    let new = touched.each_ref().map(|touched| &touched.new);
    let keys = keys_together(new, key_len)?;
    Ok(Groups::of(&keys, new.iter().map(|new| new.len()).sum())?.take(&keys)?)
}

/// The keys of the updates of both sides, numbered.
fn groups_of(new: [&Updates; 2], key_len: usize) -> Result<Groups, FlowError> {
    let keys = keys_together(new, key_len)?;
    Ok(Groups::of(&keys, new.iter().map(|new| new.len()).sum())?)
}

fn keys_together(new: [&Updates; 2], key_len: usize) -> Result<Vec<ArrayRef>, FlowError> {
    let [left, right] = new.map(|new| &new.rows().columns()[..key_len]);
    let both = left.iter().zip(right);
    Ok(both
        .map(|(left, right)| arrow::compute::concat(&[left, right]))
        .collect::<Result<_, _>>()?)
}

/// All of several updates of one schema.
fn concat(several: &[Updates]) -> Result<Updates, FlowError> {
    Ok(Updates::concat(several)?.expect("there is one at least"))
}
