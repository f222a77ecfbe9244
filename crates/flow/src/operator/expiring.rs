//! Rows that are there by the clock: `WHERE ts > now() - INTERVAL '1 hour'`.
//!
//! ```text
//!   clock ─────────────┬──────────────────┬───────────▶
//!                    comes              goes
//!   waiting: by when they come │ present: by when they go │ decided for ever: not kept
//! ```
//!
//! When a row comes and when it goes follows from the row alone, so of a row only which of the two is next
//! has to be known, and that is which tree it is in. A step first lets the instants pass that the clock has
//! passed, then takes what came.
//!
//! What must hold: the clock never goes back. Rows that come and go at once are never seen.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::{kernels::cmp, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use yeoul_batch::{Expr, ExprError, ExprRef, KeyCodec, KeyRange, Updates};

use super::arranged::{Arrangement, Stored, chosen};
use super::{Operator, Step};
use crate::error::FlowError;
use crate::graph::CacheBudget;
use crate::graph::TreeShape;

/// The tree of rows that will come.
const WAITING: usize = 0;
/// The tree of rows that will go.
const PRESENT: usize = 1;

/// One comparison of the clock with a time of the row.
#[derive(Debug, Clone)]
pub struct ClockCondition {
    /// The row's time: a timestamp in microseconds. Null: the comparison is never true.
    pub time: ExprRef,
    /// When the comparison changes, counted from that time.
    pub shift_us: i64,
    /// Whether it becomes true then; else it was true until then.
    pub comes: bool,
}

/// The instant at which a row comes (the last of its conditions to become true) or goes (the first to become
/// false): microseconds, null when some condition is never true.
#[derive(Debug)]
struct Instant {
    conditions: Vec<ClockCondition>,
    comes: bool,
}

impl Instant {
    fn of(conditions: &[ClockCondition], comes: bool) -> Arc<Self> {
        let conditions = conditions.iter().filter(|c| c.comes == comes).cloned().collect();
        Arc::new(Self { conditions, comes })
    }

    fn values(&self, rows: &RecordBatch) -> Result<Int64Array, ExprError> {
        let ever = if self.comes { i64::MIN } else { i64::MAX };
        let mut instants = vec![Some(ever); rows.num_rows()];
        for condition in &self.conditions {
            let times = condition.time.evaluate(rows)?;
            let times = times.as_primitive::<TimestampMicrosecondType>();
            for (instant, time) in instants.iter_mut().zip(times) {
                let time = time.map(|time| time.saturating_add(condition.shift_us));
                *instant = instant.zip(time).map(|(instant, time)| {
                    if self.comes { instant.max(time) } else { instant.min(time) }
                });
            }
        }
        Ok(instants.into_iter().collect())
    }
}

impl Expr for Instant {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        Ok(Arc::new(self.values(rows)?))
    }

    fn data_type(&self) -> &DataType {
        &DataType::Int64
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Expiring {
    schema: SchemaRef,
    comes: Arc<Instant>,
    goes: Arc<Instant>,
    waiting: Arrangement,
    present: Arrangement,
    append_only: bool,
    /// The instants up to here have passed, and are in no tree any more; `None`: not known.
    passed_us: Option<i64>,
    /// No instant is before this; `None`: not known.
    next_us: Option<i64>,
}

impl Expiring {
    /// Rows of `input` while all `conditions` are true.
    pub(crate) fn new(
        conditions: &[ClockCondition],
        input: &SchemaRef,
        append_only: bool,
    ) -> Result<Self, FlowError> {
        for ClockCondition { time, .. } in conditions {
            if !matches!(time.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
                return Err(FlowError::Unsupported(format!(
                    "the clock is compared with a timestamp in microseconds, not {}",
                    time.data_type()
                )));
            }
        }
        let comes = Instant::of(conditions, true);
        let goes = Instant::of(conditions, false);
        let arranged = |tree, instant: &Arc<Instant>| {
            let key: ExprRef = Arc::<Instant>::clone(instant);
            Arrangement::new(tree, &[key], input, Stored::Rows, false, &CacheBudget::new(0))
        };
        Ok(Self {
            schema: Arc::clone(input),
            waiting: arranged(WAITING, &comes)?,
            present: arranged(PRESENT, &goes)?,
            append_only: append_only && goes.conditions.is_empty(),
            comes,
            goes,
            passed_us: None,
            next_us: None,
        })
    }

    /// Takes rows as they are at `now_us`: shows those that are there, keeps those that are not decided.
    fn take(
        &mut self,
        updates: &Updates,
        now_us: i64,
        step: &mut Step<'_>,
        answer: &mut Vec<Updates>,
    ) -> Result<(), FlowError> {
        let (comes, goes) = (self.comes.values(updates.rows())?, self.goes.values(updates.rows())?);
        let mask = |is: &dyn Fn(i64, i64) -> bool| -> BooleanArray {
            let both = comes.iter().zip(&goes);
            both.map(|(comes, goes)| Some(comes.zip(goes).is_some_and(|(c, g)| is(c, g)))).collect()
        };
        let waits = mask(&|comes, goes| comes > now_us && comes < goes);
        let is_there = mask(&|comes, goes| comes <= now_us && now_us < goes);
        let will_go = mask(&|comes, goes| comes <= now_us && now_us < goes && goes < i64::MAX);
        for (arrangement, mask) in [(&mut self.waiting, waits), (&mut self.present, will_go)] {
            let stored = arrangement.arrange(&chosen(updates, &mask)?)?;
            let least = arrow::compute::min(stored.rows().column(0).as_primitive::<Int64Type>());
            self.next_us = match (self.next_us, least) {
                (Some(next), Some(least)) => Some(next.min(least)),
                (next, _) => next,
            };
            arrangement.write(&stored, step)?;
        }
        let there = chosen(updates, &is_there)?;
        if !there.is_empty() {
            answer.push(if self.append_only { repeated(&there)? } else { there });
        }
        Ok(())
    }

    /// Lets pass what the clock has passed.
    fn pass(
        &mut self,
        now_us: i64,
        step: &mut Step<'_>,
        answer: &mut Vec<Updates>,
    ) -> Result<(), FlowError> {
        let mut next = i64::MAX;
        for tree in [PRESENT, WAITING] {
            let (due, least) = self.read(tree, now_us, step)?;
            next = next.min(least);
            let Some(due) = due else { continue };
            let gone = negated(&due)?;
            let arrangement = if tree == PRESENT { &mut self.present } else { &mut self.waiting };
            arrangement.write(&gone, step)?;
            if tree == PRESENT {
                answer.push(self.input_rows(&gone)?);
            } else {
                self.next_us = Some(next);
                let come = self.input_rows(&due)?;
                self.take(&come, now_us, step, answer)?;
                next = self.next_us.map_or(next, |taken| taken.min(next));
            }
        }
        self.next_us = Some(next);
        self.passed_us = Some(now_us);
        Ok(())
    }

    /// The stored rows of `tree` whose instant has passed, and the first instant that has not.
    fn read(
        &self,
        tree: usize,
        now_us: i64,
        step: &Step<'_>,
    ) -> Result<(Option<Updates>, i64), FlowError> {
        let (instant, arrangement) = match tree {
            WAITING => (&self.comes, &self.waiting),
            _ => (&self.goes, &self.present),
        };
        if instant.conditions.is_empty() {
            return Ok((None, i64::MAX));
        }
        let codec = KeyCodec::new(arrangement.schema(), &[0])?;
        let key = |us: i64| -> Result<Vec<u8>, FlowError> {
            let key: ArrayRef = Arc::new(Int64Array::from(vec![us]));
            Ok(codec.encode_columns(&[key])?.row(0).data().to_vec())
        };
        let now = key(now_us)?;
        let from = match self.passed_us {
            Some(passed) => Bound::Excluded(key(passed)?),
            None => Bound::Unbounded,
        };
        let due = KeyRange { from, to: Bound::Included(now.clone()) };
        let due = step.read_ranges(tree, &[due], usize::MAX, false)?.rows;
        let later = KeyRange { from: Bound::Excluded(now), to: Bound::Unbounded };
        let later = step.read_ranges(tree, &[later], 1, false)?.rows;
        let least = later.column(0).as_primitive::<Int64Type>().iter().flatten().next();
        let width = arrangement.schema().fields().len();
        let counts = due.column(width).as_primitive::<Int64Type>().clone();
        let due = (due.num_rows() > 0).then(|| {
            let options = RecordBatchOptions::new().with_row_count(Some(due.num_rows()));
            let columns = due.columns()[..width].to_vec();
            let schema = Arc::clone(arrangement.schema());
            RecordBatch::try_new_with_options(schema, columns, &options)
        });
        let due = due.transpose()?.map(|rows| Updates::new(rows, counts));
        Ok((due, least.unwrap_or(i64::MAX)))
    }

    /// Stored rows as they were before they were stored: their instant stands before them.
    fn input_rows(&self, stored: &Updates) -> Result<Updates, FlowError> {
        let rows = stored.rows();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let columns = rows.columns()[1..].to_vec();
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(stored.with_rows(rows))
    }
}

impl Operator for Expiring {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn append_only(&self) -> bool {
        self.append_only
    }

    fn trees(&self) -> Vec<TreeShape> {
        vec![self.waiting.shape(), self.present.shape()]
    }

    fn is_due(&self, now_us: i64) -> bool {
        self.next_us.is_none_or(|next| next <= now_us)
    }

    fn step(
        &mut self,
        ports: Vec<Vec<Updates>>,
        step: &mut Step<'_>,
    ) -> Result<Vec<Updates>, FlowError> {
        let now_us = step.time().now_us;
        let mut answer = Vec::new();
        if self.is_due(now_us) {
            self.pass(now_us, step, &mut answer)?;
        }
        if let Some(updates) = Updates::concat(&ports[0])? {
            self.take(&updates, now_us, step, &mut answer)?;
        }
        Ok(answer)
    }
}

fn negated(updates: &Updates) -> Result<Updates, FlowError> {
    let diffs: Int64Array = match updates.diffs() {
        Some(diffs) => diffs.unary(|diff| -diff),
        None => Int64Array::from(vec![-1; updates.len()]),
    };
    Ok(Updates::new(updates.rows().clone(), diffs))
}

/// Rows that only come, each as often as it does.
fn repeated(updates: &Updates) -> Result<Updates, FlowError> {
    let Some(diffs) = updates.diffs() else { return Ok(updates.clone()) };
    if cmp::eq(diffs, &Int64Array::new_scalar(1))?.false_count() == 0 {
        return Ok(Updates::inserts(updates.rows().clone()));
    }
    let mut rows = Vec::new();
    for (row, &count) in (0u32..).zip(diffs.values()) {
        rows.extend(std::iter::repeat_n(row, usize::try_from(count).unwrap_or(0)));
    }
    let rows = take_record_batch(updates.rows(), &UInt32Array::from(rows))?;
    Ok(Updates::inserts(rows))
}
