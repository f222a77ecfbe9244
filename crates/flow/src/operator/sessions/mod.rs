//! Sessions: rows of a key of which each is at most a gap away from the next, and what is aggregated of
//! them.
//!
//! ```text
//!   rows that only come:   tree  key, start │ states of the session, its last time
//!   rows that also go:     tree  key, time  │ states of the rows of that time
//!
//!   a step puts its rows together, reads what they touch, and gives −old sessions +new ones
//! ```
//!
//! Over rows that only come, sessions only grow and merge. A session that a row is added to is one delta for
//! its key and start, however long it is. When a row comes between two sessions, or before one, the states
//! of the later go to the start of the earlier, and the later is taken out of the tree: its start is within a
//! session that begins before it from then on, so that a session never begins there again, and nothing of its
//! states has to be undone.
//!
//! Over rows that also go, a session may fall apart anywhere. The states of each instant are kept, which can be
//! undone, and the sessions of touched instants are made of them again.
//!
//! Sessions that are told once ([`closing`]) are taken out of the tree then.
//!
//! Limits: a step holds the sessions it touches; over rows that also go, all of their instants.

mod closing;
mod pieces;
mod read;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{and, concat_batches, is_not_null, take_arrays, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use yeoul_batch::{Combine, ExprRef, Updates};

use super::arranged::chosen;
use super::{Operator, Step, keyless};
use crate::aggregate::{Aggregate, AggregateCall, AggregateSpec, Function, NamedExpr};
use crate::error::FlowError;
use crate::graph::CacheBudget;
use crate::graph::{Cache, StepTime, TreeShape, difference};
use crate::group::Groups;
use closing::{Closing, Fate};
use pieces::Pieces;
use read::Stored;

/// The tree of sessions, or of instants.
const TREE: usize = 0;

/// Which sessions, and what is computed of their rows.
#[derive(Debug, Clone)]
pub struct SessionsSpec {
    /// What tells the rows of different sessions apart beside time. None: all rows are of one key.
    pub keys: Vec<NamedExpr>,
    /// When a row happened: a timestamp in microseconds. A row without is in no session.
    pub time: ExprRef,
    /// Rows of a key that are at most so far apart are in one session.
    pub gap_us: i64,
    /// What is computed of the rows of a session.
    pub calls: Vec<AggregateCall>,
    /// Where sessions are told once, when they are complete: how far the watermark must be past the time of a row
    /// until rows of that time come too late, in microseconds. Such rows are in no session.
    pub lag_us: Option<i64>,
}

/// Sessions as an operator.
#[derive(Debug)]
pub(crate) struct Sessions {
    time: ExprRef,
    gap_us: i64,
    schema: SchemaRef,
    /// Columns of the answer that are keys.
    shown: usize,
    /// By the keys and the time that a session or an instant begins at.
    states: Arc<Aggregate>,
    growing: Option<Growing>,
    closing: Option<Closing>,
}

/// What is there where rows only come.
#[derive(Debug)]
struct Growing {
    /// The column of states that has the last time.
    last: usize,
    /// Of some keys the session that begins last.
    latest: Cache,
}

/// Pieces that were put together, and the states of each session.
struct Merged {
    pieces: Pieces,
    states: RecordBatch,
}

impl Sessions {
    /// Compiles `spec`.
    pub(crate) fn new(
        spec: SessionsSpec,
        append_only: bool,
        caches: &CacheBudget,
    ) -> Result<Self, FlowError> {
        let SessionsSpec { keys, time, gap_us, mut calls, lag_us } = spec;
        let of_time = time.data_type().clone();
        if !matches!(of_time, DataType::Timestamp(TimeUnit::Microsecond, _)) {
            let why = format!("a session is over a timestamp in microseconds, not {of_time}");
            return Err(FlowError::Unsupported(why));
        }
        if gap_us <= 0 {
            let why = "the gap between sessions is longer than nothing".to_owned();
            return Err(FlowError::Unsupported(why));
        }
        let shown = keys.len();
        let exprs = if keys.is_empty() {
            vec![keyless()]
        } else {
            keys.iter().map(|key| Arc::clone(&key.expr)).collect()
        };
        let named = |(at, expr)| NamedExpr::new(format!("_key_{at}"), expr);
        let mut stored: Vec<NamedExpr> = exprs.into_iter().enumerate().map(named).collect();
        stored.push(NamedExpr::new("_start", Arc::clone(&time)));
        let answers = stored.len()..stored.len() + calls.len();
        if append_only {
            calls.push(AggregateCall::new("_last", Function::Max, vec![Arc::clone(&time)]));
        }
        let states = Aggregate::new(AggregateSpec { keys: stored, calls, append_only })?;
        let states = Arc::new(if append_only { states.vanishing() } else { states });
        let bound = |name: &str| Arc::new(Field::new(name, of_time.clone(), true));
        let mut fields: Vec<_> = keys.iter().map(|key| Arc::clone(&key.field)).collect();
        fields.extend([bound("window_start"), bound("window_end")]);
        fields.extend_from_slice(&states.output().fields()[answers.clone()]);
        let growing = append_only.then(|| {
            let column = states.state_column(answers.len());
            let schema = Arc::clone(Combine::schema(&*states));
            let last = column.expect("the greatest of values that only come is a state");
            Growing { last, latest: Cache::new(schema, states.key_len() - 1, caches) }
        });
        let closing = lag_us.map(|lag_us| Closing::new(lag_us, gap_us, &states)).transpose()?;
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { time, gap_us, schema, shown, states, growing, closing })
    }

    /// How many columns of states are keys; the next is the time.
    fn key_len(&self) -> usize {
        self.states.key_len() - 1
    }

    fn starts<'a>(&self, states: &'a RecordBatch) -> &'a [i64] {
        times(states.column(self.key_len())).values()
    }

    fn lasts<'a>(&self, states: &'a RecordBatch) -> &'a [i64] {
        match &self.growing {
            Some(growing) => times(states.column(growing.last)).values(),
            None => self.starts(states),
        }
    }

    /// The states of each key and instant of the step.
    fn delta(&self, updates: &Updates, now: StepTime) -> Result<RecordBatch, FlowError> {
        let time = self.time.evaluate(updates.rows())?;
        let closing = self.closing.as_ref();
        let mut taken = closing.and_then(|closing| closing.in_time(times(&time), now));
        if time.null_count() > 0 {
            let timed = is_not_null(&time)?;
            taken = Some(match taken {
                Some(taken) => and(&taken, &timed)?,
                None => timed,
            });
        }
        match taken {
            Some(taken) => self.states.partial(&chosen(updates, &taken)?),
            None => self.states.partial(updates),
        }
    }

    fn pieces(&self, states: &RecordBatch) -> Result<Pieces, FlowError> {
        let keys = Groups::of(&states.columns()[..self.key_len()], states.num_rows())?;
        Ok(Pieces::new(keys.ids(), self.starts(states), self.lasts(states), self.gap_us))
    }

    /// The sessions that pieces make: one row of states for each, in their order.
    fn merged(&self, states: &RecordBatch) -> Result<Merged, FlowError> {
        let pieces = self.pieces(states)?;
        let rows = take_record_batch(states, &UInt32Array::from(pieces.order.clone()))?;
        let starts = pieces.of.iter().map(|&session| pieces.sessions[session].start);
        let rows = self.beginning(rows, starts.collect())?;
        let states = self.states.combine(&[rows], false)?;
        debug_assert_eq!(states.num_rows(), pieces.sessions.len(), "one row per session");
        Ok(Merged { pieces, states })
    }

    /// `states` with other starts.
    fn beginning(&self, states: RecordBatch, starts: Vec<i64>) -> Result<RecordBatch, FlowError> {
        let mut columns = states.columns().to_vec();
        columns[self.key_len()] = self.time_column(starts);
        Ok(RecordBatch::try_new(states.schema(), columns)?)
    }

    fn time_column(&self, times: Vec<i64>) -> ArrayRef {
        let times = TimestampMicrosecondArray::from(times);
        Arc::new(times.with_data_type(self.time.data_type().clone()))
    }

    /// The rows of the answer that are sessions.
    fn answer(&self, sessions: &Merged) -> Result<RecordBatch, FlowError> {
        self.rows(&sessions.states, sessions.pieces.sessions.iter().map(|session| session.last))
    }

    /// The rows of the answer that are sessions, of which these are the states and the last times.
    fn rows(
        &self,
        states: &RecordBatch,
        lasts: impl Iterator<Item = i64>,
    ) -> Result<RecordBatch, FlowError> {
        let end = |last: i64| {
            let beyond = || FlowError::range("a session", self.time.data_type());
            last.checked_add(self.gap_us).ok_or_else(beyond)
        };
        let ends = self.time_column(lasts.map(end).collect::<Result<_, _>>()?);
        let finished = self.states.finish(states)?;
        let mut columns = finished.columns()[..self.shown].to_vec();
        columns.extend([Arc::clone(finished.column(self.key_len())), ends]);
        let calls = self.schema.fields().len() - self.shown - 2;
        columns.extend_from_slice(&finished.columns()[self.states.key_len()..][..calls]);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// A step over rows that only come. `passed` are the sessions at starts whose timers have passed.
    fn grow(
        &mut self,
        delta: &RecordBatch,
        passed: &RecordBatch,
        step: &mut Step<'_>,
    ) -> Result<Option<Updates>, FlowError> {
        let local = self.merged(delta)?;
        let Stored { touched, latest } = self.touched(&local, passed, step)?;
        let all = concat_batches(&touched.schema(), [&touched, &local.states])?;
        let sessions = self.merged(&all)?;
        let before = self.merged(&touched)?;
        let fate = self.close(&before, &sessions, passed, step)?;
        self.put(&all, touched.num_rows(), &sessions.pieces, &fate, step)?;
        let open = self.open_of_keys(&sessions, &fate, &local)?;
        self.remember(&open, &latest)?;
        match self.closing {
            Some(_) => self.told(&sessions, &fate),
            None => difference(&self.answer(&before)?, &self.answer(&sessions)?),
        }
    }

    /// Puts what is new of sessions into the tree. The first `stored` rows of `all` are there already: those
    /// that are the beginning of a session stay, the others go.
    fn put(
        &self,
        all: &RecordBatch,
        stored: usize,
        pieces: &Pieces,
        fate: &Fate,
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        let starts = self.starts(all);
        let (mut moved, mut to, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (&piece, &session) in pieces.order.iter().zip(&pieces.of) {
            let start = pieces.sessions[session].start;
            let is_stored = (piece as usize) < stored;
            let told = fate.told[session];
            if is_stored && !told && starts[piece as usize] == start {
                continue;
            }
            if !told {
                moved.push(piece);
                to.push(start);
            }
            if is_stored {
                gone.push(piece);
            }
        }
        let moved = take_record_batch(all, &UInt32Array::from(moved))?;
        let added = self.states.combine(&[self.beginning(moved, to)?], false)?;
        step.put(TREE, added);
        let gone = take_record_batch(all, &UInt32Array::from(gone))?;
        step.put(TREE, self.states.taken_out(&gone)?);
        Ok(())
    }

    /// Keeps in memory which session of each touched key begins last: one of `sessions`, or of those in
    /// `others` that nothing touched.
    fn remember(&mut self, sessions: &RecordBatch, others: &RecordBatch) -> Result<(), FlowError> {
        let all = concat_batches(&others.schema(), [sessions, others])?;
        let key_len = self.key_len();
        let keys = Groups::of(&all.columns()[..key_len], all.num_rows())?;
        let starts = self.starts(&all);
        let mut last: Vec<u32> = keys.firsts().to_vec();
        for (row, &key) in (0u32..).zip(keys.ids()) {
            let of_key = &mut last[key as usize];
            if starts[row as usize] > starts[*of_key as usize] {
                *of_key = row;
            }
        }
        let latest = take_record_batch(&all, &UInt32Array::from(last))?;
        self.growing.as_mut().expect("rows only come").latest.put(&latest)
    }

    /// A step over rows that also go. `passed` is what is stored at starts whose timers have passed.
    fn recompute(
        &mut self,
        delta: RecordBatch,
        passed: &RecordBatch,
        step: &mut Step<'_>,
    ) -> Result<Option<Updates>, FlowError> {
        let touched = concat_batches(&delta.schema(), [&delta, passed])?;
        let stored = self.around(&touched, step)?;
        let instants = self.states.combine(&[stored.clone(), delta.clone()], true)?;
        step.put(TREE, delta);
        let (before, after) = (self.merged(&stored)?, self.merged(&instants)?);
        if self.closing.is_none() {
            return difference(&self.answer(&before)?, &self.answer(&after)?);
        }
        let fate = self.close(&before, &after, passed, step)?;
        let pieces = after.pieces.order.iter().zip(&after.pieces.of);
        let told = pieces.filter(|(_, session)| fate.told[**session]).map(|(piece, _)| *piece);
        let told = take_record_batch(&instants, &UInt32Array::from_iter_values(told))?;
        step.put(TREE, self.states.taken_out(&told)?);
        self.told(&after, &fate)
    }
}

impl Operator for Sessions {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn append_only(&self) -> bool {
        self.closing.is_some()
    }

    fn trees(&self) -> Vec<TreeShape> {
        let timers = self.closing.as_ref().map(Closing::shape);
        std::iter::once(TreeShape::Combine(Arc::clone(&self.states))).chain(timers).collect()
    }

    fn closes(&self) -> bool {
        self.closing.is_some()
    }

    fn is_closing(&self, time: StepTime) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.is_due(time))
    }

    fn step(
        &mut self,
        ports: Vec<Vec<Updates>>,
        step: &mut Step<'_>,
    ) -> Result<Vec<Updates>, FlowError> {
        let delta = match Updates::concat(&ports[0])? {
            Some(updates) => self.delta(&updates, step.time())?,
            None => RecordBatch::new_empty(Arc::clone(Combine::schema(&*self.states))),
        };
        let passed = self.passed(step)?;
        if delta.num_rows() == 0 && passed.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let change = match &self.growing {
            Some(_) => self.grow(&delta, &passed, step)?,
            None => self.recompute(delta, &passed, step)?,
        };
        Ok(change.into_iter().collect())
    }
}

fn times(column: &ArrayRef) -> &TimestampMicrosecondArray {
    column.as_primitive::<TimestampMicrosecondType>()
}

/// Rows of `columns` at `places`.
fn picked(columns: &[ArrayRef], places: Vec<u32>) -> Result<Vec<ArrayRef>, FlowError> {
    Ok(take_arrays(columns, &UInt32Array::from(places), None)?)
}
