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
//! Limits: a step holds the sessions it touches; over rows that also go, all of their instants.

mod pieces;
mod read;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{concat_batches, is_not_null, take_arrays, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use yeoul_batch::{Combine, ExprRef, Updates};

use super::arranged::chosen;
use super::{Operator, Step, keyless};
use crate::aggregate::{Aggregate, AggregateCall, AggregateSpec, Function, NamedExpr};
use crate::error::FlowError;
use crate::graph::CacheBudget;
use crate::graph::{Cache, TreeShape, difference};
use crate::group::Groups;
use pieces::Pieces;
use read::Stored;

/// Its only tree.
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
        let SessionsSpec { keys, time, gap_us, mut calls } = spec;
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
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { time, gap_us, schema, shown, states, growing })
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
    fn delta(&self, updates: &Updates) -> Result<RecordBatch, FlowError> {
        let time = self.time.evaluate(updates.rows())?;
        if time.null_count() == 0 {
            return self.states.partial(updates);
        }
        self.states.partial(&chosen(updates, &is_not_null(&time)?)?)
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
        let end = |last: i64| {
            let beyond = || FlowError::range("a session", self.time.data_type());
            last.checked_add(self.gap_us).ok_or_else(beyond)
        };
        let ends = sessions.pieces.sessions.iter().map(|session| end(session.last));
        let ends = self.time_column(ends.collect::<Result<_, _>>()?);
        let finished = self.states.finish(&sessions.states)?;
        let mut columns = finished.columns()[..self.shown].to_vec();
        columns.extend([Arc::clone(finished.column(self.key_len())), ends]);
        let calls = self.schema.fields().len() - self.shown - 2;
        columns.extend_from_slice(&finished.columns()[self.states.key_len()..][..calls]);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// A step over rows that only come.
    fn grow(
        &mut self,
        delta: &RecordBatch,
        step: &mut Step<'_>,
    ) -> Result<Option<Updates>, FlowError> {
        let local = self.merged(delta)?;
        let Stored { touched, latest } = self.touched(&local, step)?;
        let all = concat_batches(&touched.schema(), [&touched, &local.states])?;
        let sessions = self.merged(&all)?;
        self.put(&all, touched.num_rows(), &sessions.pieces, step)?;
        self.remember(&sessions, &latest)?;
        difference(&self.answer(&self.merged(&touched)?)?, &self.answer(&sessions)?)
    }

    /// Puts what is new of sessions into the tree. The first `stored` rows of `all` are there already: those
    /// that are the beginning of a session stay, the others go.
    fn put(
        &self,
        all: &RecordBatch,
        stored: usize,
        pieces: &Pieces,
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        let starts = self.starts(all);
        let (mut moved, mut to, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (&piece, &session) in pieces.order.iter().zip(&pieces.of) {
            let start = pieces.sessions[session].start;
            let is_stored = (piece as usize) < stored;
            if is_stored && starts[piece as usize] == start {
                continue;
            }
            moved.push(piece);
            to.push(start);
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
    fn remember(&mut self, sessions: &Merged, others: &RecordBatch) -> Result<(), FlowError> {
        let all = concat_batches(&others.schema(), [&sessions.states, others])?;
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

    /// A step over rows that also go.
    fn recompute(
        &self,
        delta: RecordBatch,
        step: &mut Step<'_>,
    ) -> Result<Option<Updates>, FlowError> {
        let before = self.around(&delta, step)?;
        let after = self.states.combine(&[before.clone(), delta.clone()], true)?;
        step.put(TREE, delta);
        let answer = |states: &RecordBatch| self.answer(&self.merged(states)?);
        difference(&answer(&before)?, &answer(&after)?)
    }
}

impl Operator for Sessions {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn append_only(&self) -> bool {
        false
    }

    fn trees(&self) -> Vec<TreeShape> {
        vec![TreeShape::Combine(Arc::clone(&self.states))]
    }

    fn step(
        &mut self,
        ports: Vec<Vec<Updates>>,
        step: &mut Step<'_>,
    ) -> Result<Vec<Updates>, FlowError> {
        let Some(updates) = Updates::concat(&ports[0])? else { return Ok(Vec::new()) };
        let delta = self.delta(&updates)?;
        if delta.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let change = match &self.growing {
            Some(_) => self.grow(&delta, step)?,
            None => self.recompute(delta, step)?,
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
