//! The functions SESSION is rewritten to. DataFusion runs them as they are; lowering knows them again and
//! makes sessions of them.
//!
//! ```text
//!   window_session_start(ts, gap) OVER (PARTITION BY keys ORDER BY ts)   the time of the session's first row
//!   window_session_end(ts, gap) OVER (…)                                 that of its last, and the gap
//! ```
//!
//! The gap is a bigint constant in microseconds. Rows that are at most so far apart are in one session. Times
//! are timestamp or timestamptz, and the result has their type; without a time there is no session, and the
//! result is null.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    LimitEffect, PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;

use super::window::not_a_time;

/// Which bound of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SessionBound {
    Start,
    End,
}

/// One of the functions, as DataFusion knows it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionUdf {
    pub(crate) bound: SessionBound,
    signature: Signature,
}

pub(super) fn all() -> impl Iterator<Item = WindowUDF> {
    [SessionBound::Start, SessionBound::End].into_iter().map(|bound| {
        let signature = Signature::any(2, Volatility::Immutable);
        WindowUDF::new_from_impl(SessionUdf { bound, signature })
    })
}

impl WindowUDFImpl for SessionUdf {
    fn name(&self) -> &str {
        match self.bound {
            SessionBound::Start => "window_session_start",
            SessionBound::End => "window_session_end",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Bounds { bound: self.bound }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let Some(time) = args.get_input_field(0) else {
            return internal_err!("a session without its time");
        };
        match time.data_type() {
            t @ DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Ok(Arc::new(Field::new(args.name(), t.clone(), time.is_nullable())))
            }
            other => Err(not_a_time(other)),
        }
    }

    // A session ends behind any row that a limit would leave.
    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

/// Goes over the rows of a partition, which are in the order of their times.
#[derive(Debug)]
struct Bounds {
    bound: SessionBound,
}

impl PartitionEvaluator for Bounds {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let Some(times) = values[0].as_primitive_opt::<TimestampMicrosecondType>() else {
            return Err(not_a_time(values[0].data_type()));
        };
        let gap_us = match values[1].as_primitive_opt::<Int64Type>() {
            Some(gap) if rows > 0 && gap.value(0) > 0 => gap.value(0),
            _ => return exec_err!("the gap of a session must be a positive constant"),
        };
        let mut bounds = Vec::with_capacity(rows);
        let mut start = 0;
        while start < rows {
            let mut end = start + 1;
            let near = |before: usize, row: usize| {
                times.is_valid(row)
                    && times.value(row) <= times.value(before).saturating_add(gap_us)
            };
            while end < rows && near(end - 1, end) {
                end += 1;
            }
            let bound = match self.bound {
                SessionBound::Start => Some(times.value(start)),
                SessionBound::End => times.value(end - 1).checked_add(gap_us),
            };
            let Some(bound) = bound else { return exec_err!("timestamp out of range") };
            bounds.resize(end, bound);
            start = end;
        }
        let bounds = TimestampMicrosecondArray::new(bounds.into(), times.nulls().cloned());
        Ok(Arc::new(bounds.with_data_type(times.data_type().clone())))
    }
}
