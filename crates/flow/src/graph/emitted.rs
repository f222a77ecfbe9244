//! What an operator tells in one step.
//!
//! ```text
//!   operator ─ emit ─▶ held ─ a little ─▶ change of its stage
//!                       └─ much, and one aggregate alone hears it ─▶ folded into partial states, again and again
//! ```
//!
//! A join of two popular keys gives far more rows than come. Grouped rows need not be held: what hears them is
//! stepped as they are made.
//!
//! Limits: [`Limits::rows_at_once`], then of what cannot be folded, or of the states of what was,
//! [`Limits::change_bytes_max`]; beyond it the step fails.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use yeoul_batch::{Combine, Updates};

use super::Limits;
use super::stage::{Inputs, Stage, Target, Way, partials};
use crate::aggregate::Aggregate;
use crate::error::FlowError;
use crate::workers::Workers;

/// The aggregate that alone hears an operator.
pub(crate) struct Fold<'a> {
    /// The stage of the operator, and how many stages there are.
    from: usize,
    stages: usize,
    ways: &'a [Way],
    aggregate: &'a Arc<Aggregate>,
    pool: &'a Workers,
    parts: Vec<RecordBatch>,
    rows: usize,
    rows_max: usize,
    bytes_max: usize,
}

impl<'a> Fold<'a> {
    /// Into the stage `into`; `None` when it is no aggregate.
    pub(crate) fn new(
        from: usize,
        stages: usize,
        into: &'a Stage,
        pool: &'a Workers,
        limits: &Limits,
    ) -> Option<Self> {
        let (Target::Aggregate { aggregate, .. } | Target::Closing { aggregate, .. }) =
            &into.target
        else {
            return None;
        };
        let ways = into.ports.first()?;
        Some(Self {
            from,
            stages,
            ways,
            aggregate,
            pool,
            parts: Vec::new(),
            rows: 0,
            rows_max: limits.rows_at_once,
            bytes_max: limits.change_bytes_max,
        })
    }

    fn add(&mut self, updates: Vec<Updates>) -> Result<(), FlowError> {
        let mut changes = vec![Vec::new(); self.stages];
        changes[self.from] = updates;
        let inputs = Inputs { sources: &[], changes: &changes, initial: false };
        let parts = partials(self.ways, self.aggregate, inputs, self.pool)?;
        self.rows += parts.iter().map(RecordBatch::num_rows).sum::<usize>();
        self.parts.extend(parts);
        if self.rows > self.rows_max && self.parts.len() > 1 {
            let parts = std::mem::take(&mut self.parts);
            self.parts = vec![self.aggregate.combine(&parts, false)?];
            // Groups that are many stay many: the next time is when there are as many again.
            self.rows = 0;
            self.rows_max = self.rows_max.max(self.parts[0].num_rows());
            if bytes_of(&self.parts[0]) > self.bytes_max {
                return Err(FlowError::Limit(format!(
                    "one commit changes more than {} MiB of groups of joined rows; group by columns that have fewer \
                     values, or raise limits.change_bytes_max",
                    self.bytes_max >> 20
                )));
            }
        }
        Ok(())
    }
}

/// What was told so far.
pub(crate) struct Emitted<'a> {
    held: Vec<Updates>,
    rows: usize,
    /// Of how many of `held` the bytes are counted, and these.
    counted: usize,
    bytes: usize,
    limits: &'a Limits,
    fold: Option<Fold<'a>>,
}

impl<'a> Emitted<'a> {
    pub(crate) fn new(fold: Option<Fold<'a>>, limits: &'a Limits) -> Self {
        Self { held: Vec::new(), rows: 0, counted: 0, bytes: 0, limits, fold }
    }

    /// Takes a part of the change.
    pub(crate) fn emit(&mut self, updates: Updates) -> Result<(), FlowError> {
        if updates.is_empty() {
            return Ok(());
        }
        self.rows += updates.len();
        self.held.push(updates);
        if self.rows < self.limits.rows_at_once {
            return Ok(());
        }
        if let Some(fold) = &mut self.fold {
            self.rows = 0;
            return fold.add(std::mem::take(&mut self.held));
        }
        let more = &self.held[self.counted..];
        self.bytes += more.iter().map(|updates| bytes_of(updates.rows())).sum::<usize>();
        self.counted = self.held.len();
        if self.bytes > self.limits.change_bytes_max {
            return Err(FlowError::Limit(format!(
                "one commit changes more than {} MiB of joined rows; group them in the same view, join by \
                 columns that fewer rows have in common, or raise limits.change_bytes_max",
                self.limits.change_bytes_max >> 20
            )));
        }
        Ok(())
    }

    /// The change that was not folded, and the states of that which was.
    pub(crate) fn end(self) -> (Vec<Updates>, Vec<RecordBatch>) {
        (self.held, self.fold.map_or_else(Vec::new, |fold| fold.parts))
    }
}

/// About how many bytes rows have, when each has its own.
fn bytes_of(rows: &RecordBatch) -> usize {
    let of = |column: &Arc<dyn Array>| match column.data_type() {
        DataType::Utf8View => {
            let long = column.as_string_view().total_buffer_bytes_used();
            long + column.len() * size_of::<u128>()
        }
        _ => column
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| column.get_array_memory_size()),
    };
    rows.columns().iter().map(of).sum()
}
