//! What the nodes of a view have of kinds, and of times.

use yeoul_batch::ExprRef;

/// A comparison of the clock with a time of the row, which changes once.
#[derive(Clone, Debug)]
pub struct ClockCondition {
    /// The row's time: a timestamp in microseconds. Null: the comparison is never true.
    pub time: ExprRef,
    /// When it changes, in microseconds counted from that time.
    pub shift_us: i64,
    /// Whether it becomes true then; else it was true until then.
    pub comes: bool,
}

/// A key that says when a group is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupTime {
    /// The key, by position: a time.
    pub key: usize,
    /// How far the watermark must be past it, in microseconds.
    pub lag_us: i64,
}

/// How long the rows of a join are needed, which is known when the time of one side's rows bounds that of the rows that
/// match. Lengths are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTimes {
    /// The time of each side's rows, by position.
    pub columns: [usize; 2],
    /// By how much the time of the left side is after that of the right at least, if that is bounded.
    pub least_us: Option<i64>,
    /// And at most.
    pub most_us: Option<i64>,
    /// How far the watermark must be past a time of each side until a row with that time comes too late.
    pub lags_us: [i64; 2],
    /// And until nothing depends on a row of that time; `None`: something always may.
    pub kept_us: [Option<i64>; 2],
}

/// What becomes of the rows of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Where the nearest row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nearest {
    /// The last one at the time of the left row or before.
    NotAfter,
    /// The last one before it.
    Before,
    /// The first one at the time of the left row or after.
    NotBefore,
    /// The first one after it.
    After,
}

/// How rows are numbered within their partition, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankFunction {
    /// One after the other.
    RowNumber,
    /// By how many rows are before; those that tie have one number.
    Rank,
    /// By how many different places are before; those that tie have one number.
    DenseRank,
}

/// Windows over time. All lengths are in microseconds and positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// `[k·size + offset, (k+1)·size + offset)`.
    Tumble {
        /// Length.
        size_us: i64,
        /// Shift from the epoch.
        offset_us: i64,
    },
    /// `[k·slide + offset, k·slide + offset + size)`.
    Hop {
        /// From one start to the next.
        slide_us: i64,
        /// Length.
        size_us: i64,
        /// Shift from the epoch.
        offset_us: i64,
    },
    /// `[k·size + offset, k·size + offset + j·step)` for j = 1 … size/step.
    Cumulate {
        /// From one end to the next; divides `size_us`.
        step_us: i64,
        /// The longest.
        size_us: i64,
        /// Shift from the epoch.
        offset_us: i64,
    },
}
