//! What a join is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use yeoul_batch::ExprRef;

use super::super::keyless;
use super::{JoinTimes, LEFT, RIGHT};
use crate::error::FlowError;
use crate::linear;

/// What becomes of rows with and without a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs that match.
    Inner,
    /// And rows of the left side without a match.
    Left,
    /// And rows of the right side without a match.
    Right,
    /// And rows of either side without a match.
    Full,
    /// Rows of the left side that have a match, once.
    Semi,
    /// Rows of the left side that have none.
    Anti,
    /// Rows of the left side, and whether they have a match.
    Mark,
}

/// What becomes of the rows of a side by whether they have a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmatched {
    /// Nothing depends on it.
    Gone,
    /// Those without stay, by themselves.
    Without,
    /// Those with one stay, by themselves.
    With,
    /// All stay, and say so.
    Marked,
}

impl Unmatched {
    /// Whether rows whose key is null, and who match nothing, stay.
    pub(super) fn keeps_lone(self) -> bool {
        matches!(self, Self::Without | Self::Marked)
    }
}

impl JoinKind {
    /// Whether pairs are part of the answer.
    pub(super) fn pairs(self) -> bool {
        matches!(self, Self::Inner | Self::Left | Self::Right | Self::Full)
    }

    pub(super) fn unmatched(self) -> [Unmatched; 2] {
        use Unmatched::{Gone, Marked, With, Without};
        match self {
            Self::Inner => [Gone, Gone],
            Self::Left | Self::Anti => [Without, Gone],
            Self::Right => [Gone, Without],
            Self::Full => [Without, Without],
            Self::Semi => [With, Gone],
            Self::Mark => [Marked, Gone],
        }
    }
}

/// A join of two nodes.
#[derive(Debug, Clone)]
pub struct JoinSpec {
    /// What becomes of rows with and without a match.
    pub kind: JoinKind,
    /// What rows match by: values of the left side and of the right, pair by pair of one type. None: all
    /// rows match.
    pub on: Vec<(ExprRef, ExprRef)>,
    /// Whether a null equals a null.
    pub nulls_equal: bool,
    /// A further condition of a match, over the columns of both.
    pub residual: Option<ExprRef>,
    /// How rows are let go of.
    pub times: Option<JoinTimes>,
    /// The name of the column of [`JoinKind::Mark`].
    pub mark: Option<String>,
}

impl JoinSpec {
    pub(super) fn check(&self, inputs: [&SchemaRef; 2]) -> Result<(), FlowError> {
        if let Some(residual) = &self.residual {
            linear::check_condition(residual, "a condition of a join")?;
        }
        if let Some(times) = &self.times {
            times.check(inputs)?;
        }
        for (left, right) in &self.on {
            if left.data_type() != right.data_type() {
                return Err(FlowError::Unsupported(format!(
                    "{} is compared with {} in a join",
                    left.data_type(),
                    right.data_type()
                )));
            }
        }
        let fits = |expr: &ExprRef, side: usize| {
            expr.as_column().is_none_or(|column| column < inputs[side].fields().len())
        };
        if !self.on.iter().all(|(left, right)| fits(left, LEFT) && fits(right, RIGHT)) {
            return Err(FlowError::Unsupported("a join is by a column that is not there".into()));
        }
        Ok(())
    }

    /// What the rows of each side are kept by.
    pub(super) fn keys(&self) -> [Vec<ExprRef>; 2] {
        if self.on.is_empty() {
            return [vec![keyless()], vec![keyless()]];
        }
        let (left, right) = self.on.iter().cloned().unzip();
        [left, right]
    }

    /// The columns of both sides.
    pub(super) fn both(&self, inputs: [&SchemaRef; 2]) -> SchemaRef {
        let nullable = match self.kind {
            JoinKind::Left => [false, true],
            JoinKind::Right => [true, false],
            JoinKind::Full => [true, true],
            _ => [false, false],
        };
        let side = |at: usize| {
            let fields = inputs[at].fields().iter();
            fields.map(move |field: &Arc<Field>| {
                field.as_ref().clone().with_nullable(field.is_nullable() || nullable[at])
            })
        };
        Arc::new(Schema::new(side(LEFT).chain(side(RIGHT)).collect::<Vec<_>>()))
    }

    /// The columns of the answer.
    pub(super) fn schema(&self, inputs: [&SchemaRef; 2]) -> SchemaRef {
        match self.kind {
            JoinKind::Semi | JoinKind::Anti => Arc::clone(inputs[LEFT]),
            JoinKind::Mark => {
                let name = self.mark.as_deref().unwrap_or("mark");
                let mark = Arc::new(Field::new(name, DataType::Boolean, false));
                let fields = inputs[LEFT].fields().iter().cloned();
                Arc::new(Schema::new(fields.chain(std::iter::once(mark)).collect::<Vec<_>>()))
            }
            _ => self.both(inputs),
        }
    }
}
