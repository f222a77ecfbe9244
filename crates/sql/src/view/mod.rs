//! The algebra a view is kept in: what `sql` hands to the engine, which builds `flow` from it.
//!
//! ```text
//!   Project ◀─ Filter ◀─ Aggregate ◀─ Window ◀─ Filter ◀─ Source
//! ```
//!
//! What must hold: expressions read the columns of their node's input by position, and the
//! types are exactly those of the batch plan of the same query.

mod kind;

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use yeoul_batch::{ExprRef, PartitionFunction};

pub use kind::{ClockCondition, GroupTime, JoinKind, JoinTimes, Nearest, RankFunction, WindowKind};

/// A view's query, ready to be kept.
#[derive(Clone, Debug)]
pub struct ViewPlan {
    /// The node whose rows are the view's rows.
    pub root: ViewNode,
    /// The columns of the view: names and types of the batch query.
    pub schema: SchemaRef,
    /// The relations it reads, each once, sorted.
    pub sources: Vec<String>,
    /// Columns of the output that are different for every row, by position: the group key of an
    /// aggregation whose key columns are all in the output. `None` where no such columns are known.
    pub key: Option<Vec<usize>>,
    /// Whether rows only come and never go.
    pub append_only: bool,
    /// For each column how far the watermark must be past a value until no row with that value comes any more, in
    /// microseconds; `None` where that is not known.
    pub lags: Vec<Option<i64>>,
    /// A table whose changes change its rows, whatever the watermark says.
    pub of_table: Option<String>,
}

/// One step of a view.
#[derive(Clone, Debug)]
pub enum ViewNode {
    /// The rows of a stream, table or view.
    Source {
        /// Its name.
        relation: String,
        /// Which of its columns, by position.
        columns: Vec<usize>,
        /// Those columns.
        schema: SchemaRef,
        /// Whether its rows only come and never go.
        append_only: bool,
    },
    /// Constant rows.
    Values {
        /// The rows.
        rows: RecordBatch,
        /// Their columns.
        schema: SchemaRef,
    },
    /// The rows for which `predicate` is true.
    Filter {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// A boolean; null counts as false.
        predicate: ExprRef,
    },
    /// Other columns from the same rows.
    Project {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// The columns of the output.
        exprs: Vec<ExprRef>,
        /// Their names and types.
        schema: SchemaRef,
    },
    /// Each row once per window it falls into, with `window_start` and `window_end` appended.
    /// A row whose time is null has null windows under TUMBLE and none under HOP and CUMULATE.
    Window {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// The time of a row; the type of the two columns is its type.
        time: ExprRef,
        /// Which windows.
        kind: WindowKind,
        /// The columns of the input, then `window_start`, `window_end`.
        schema: SchemaRef,
    },
    /// Each row once per list of expressions.
    Expand {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// The columns of the output, for each of the rows that a row becomes.
        lists: Vec<Vec<ExprRef>>,
        /// Their names and types.
        schema: SchemaRef,
    },
    /// Each row once per element of its lists; a shorter list has nulls behind its end.
    Unnest {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// Which columns are lists; they become columns of elements.
        lists: Vec<usize>,
        /// Whether a row without an element stays, with nulls.
        outer: bool,
        /// The columns of the output.
        schema: SchemaRef,
    },
    /// Each row with the table's row of its key as of when it comes, appended.
    Lookup {
        /// Where rows come from; they only come.
        input: Box<ViewNode>,
        /// The table.
        relation: String,
        /// Which of its columns, by position.
        columns: Vec<usize>,
        /// Those columns.
        table: SchemaRef,
        /// The primary key, by position in `table`.
        primary_key: Vec<usize>,
        /// What of a row the key is compared with, in the same order.
        keys: Vec<ExprRef>,
        /// Over `table`: rows for which this is not true are as good as absent.
        condition: Option<ExprRef>,
        /// Whether a row without a table row stays, with nulls.
        outer: bool,
        /// The columns of the input, then those of the table.
        schema: SchemaRef,
    },
    /// The rows for which all conditions on the clock are true.
    Expiring {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// The conditions.
        conditions: Vec<ClockCondition>,
    },
    /// Rows of two inputs that match.
    Join {
        /// One input.
        left: Box<ViewNode>,
        /// The other.
        right: Box<ViewNode>,
        /// What becomes of rows with and without a match.
        kind: JoinKind,
        /// What rows match by: over `left` and over `right`, pair by pair. None: all rows match.
        on: Vec<(ExprRef, ExprRef)>,
        /// Whether a null matches a null.
        nulls_equal: bool,
        /// What else must be true of a match, over the columns of both.
        residual: Option<ExprRef>,
        /// How rows of the inputs are let go of, or why they never are.
        released: Result<JoinTimes, String>,
        /// The columns of the output.
        schema: SchemaRef,
    },
    /// Each row of one input with the nearest row of the other.
    AsOf {
        /// The rows that look.
        left: Box<ViewNode>,
        /// The rows that are looked for. Of those that are equally near it is the first by their other columns.
        right: Box<ViewNode>,
        /// What is equal: over `left` and over `right`, pair by pair.
        on: Vec<(ExprRef, ExprRef)>,
        /// What is near, of both.
        near: (ExprRef, ExprRef),
        /// Where the nearest row is.
        nearest: Nearest,
        /// Whether a row without another one stays, with nulls.
        outer: bool,
        /// How rows of the left input are let go of, and those of the right one behind which a later one is; or why
        /// they never are.
        released: Result<JoinTimes, String>,
        /// The columns of both.
        schema: SchemaRef,
    },
    /// The rows of some numbers, counted within partitions in an order.
    Ranked {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// What tells partitions apart. None: all rows are one.
        partition: Vec<ExprRef>,
        /// The order within a partition. Rows that tie are ordered by their other columns.
        order: Vec<OrderBy>,
        /// How rows are numbered.
        function: RankFunction,
        /// The least number wanted; the first row has 1.
        first: u64,
        /// The greatest number wanted.
        last: u64,
        /// A column for the number, appended.
        rank: Option<FieldRef>,
        /// The columns of the output.
        schema: SchemaRef,
    },
    /// Each row with what window functions say of it, which depends on the other rows of its partition.
    Over {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// What rows are divided by; none: all rows are one partition.
        partition: Vec<ExprRef>,
        /// What is computed.
        function: Arc<dyn PartitionFunction>,
        /// How that is written in SQL, column by column.
        calls: Vec<String>,
        /// Whether rows only come, and those of a partition all at once: then nothing is kept.
        whole: bool,
        /// The columns of the input, then those of the function.
        schema: SchemaRef,
    },
    /// One row per session: the key columns, `window_start`, `window_end`, then a column per call. A session
    /// is of rows of a key that are at most a gap apart; a row without a time is in none.
    Sessions {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// The key columns. None: all rows are of one key.
        keys: Vec<ExprRef>,
        /// The time of a row; the type of the two columns is its type.
        time: ExprRef,
        /// The gap, which is positive: from the last row to `window_end`.
        gap_us: i64,
        /// What is computed of the rows of a session.
        calls: Vec<AggregateCall>,
        /// Where sessions are told once, when they are closed: how far the watermark must be past `window_end`, in
        /// microseconds. Rows of times that it is so far past are in no session.
        lag_us: Option<i64>,
        /// Keys, the bounds, calls.
        schema: SchemaRef,
    },
    /// The rows of all inputs, whose schemas are the same up to names.
    Union {
        /// Where rows come from.
        inputs: Vec<ViewNode>,
        /// The columns of the output.
        schema: SchemaRef,
    },
    /// One row per key: the key columns, then a column per call. Without keys: one row in all,
    /// also when there is no input.
    Aggregate {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// The key columns.
        keys: Vec<ExprRef>,
        /// What is computed of the rows of a key.
        calls: Vec<AggregateCall>,
        /// By which key groups are let go of, if nobody above takes changes of groups that are complete.
        released: Option<GroupTime>,
        /// Keys, then calls.
        schema: SchemaRef,
    },
    /// The same, each row once: when its window is closed. Rows that come later change nothing.
    Closing {
        /// Where rows come from.
        input: Box<ViewNode>,
        /// The key columns.
        keys: Vec<ExprRef>,
        /// What is computed of the rows of a key.
        calls: Vec<AggregateCall>,
        /// The key that is the window, by position: a time. Rows of which it is null are never told.
        window: usize,
        /// How far the watermark must be past it, in microseconds.
        lag_us: i64,
        /// Keys, then calls.
        schema: SchemaRef,
    },
}

/// The functions that can be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AggregateFunction {
    /// `count(*)` without an argument, else how many values are not null.
    Count,
    /// `sum`.
    Sum,
    /// `avg`.
    Avg,
    /// `min`.
    Min,
    /// `max`.
    Max,
    /// `approx_distinct`, also called `approx_count_distinct`.
    ApproxDistinct,
    /// `approx_percentile(x, p)` with p in 0 ..= 1.
    ApproxPercentile(f64),
    /// `first_value` in the order of the call.
    FirstValue,
    /// `last_value` in the order of the call.
    LastValue,
    /// `array_agg`.
    ArrayAgg,
    /// `bool_and`.
    BoolAnd,
    /// `bool_or`.
    BoolOr,
    /// `stddev_samp`.
    StddevSamp,
    /// `stddev_pop`.
    StddevPop,
    /// `var_samp`.
    VarSamp,
    /// `var_pop`.
    VarPop,
}

/// One aggregate of a group.
#[derive(Clone, Debug)]
pub struct AggregateCall {
    /// Which function.
    pub function: AggregateFunction,
    /// Its arguments, already of the types the function works on; none for `count(*)`. A fixed
    /// argument (the percentile) is part of `function`.
    pub args: Vec<ExprRef>,
    /// Only rows for which this is true.
    pub filter: Option<ExprRef>,
    /// Every value once.
    pub distinct: bool,
    /// The order of the rows, for the functions that have one.
    pub order_by: Vec<OrderBy>,
    /// Nulls are passed over; only said of `first_value`, `last_value` and `array_agg`.
    pub ignore_nulls: bool,
    /// Name, type and nullability of the result: those of the batch plan.
    pub output: FieldRef,
}

/// One item of an order.
#[derive(Clone, Debug)]
pub struct OrderBy {
    /// What rows are ordered by.
    pub expr: ExprRef,
    /// Largest first.
    pub descending: bool,
    /// Nulls before values.
    pub nulls_first: bool,
}

impl WindowKind {
    /// How long its windows are at most, in microseconds.
    #[must_use]
    pub fn length_us(self) -> i64 {
        let (Self::Tumble { size_us, .. }
        | Self::Hop { size_us, .. }
        | Self::Cumulate { size_us, .. }) = self;
        size_us
    }
}

impl ViewNode {
    /// The columns of the node's rows.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        match self {
            Self::Source { schema, .. }
            | Self::Values { schema, .. }
            | Self::Project { schema, .. }
            | Self::Window { schema, .. }
            | Self::Lookup { schema, .. }
            | Self::Join { schema, .. }
            | Self::AsOf { schema, .. }
            | Self::Ranked { schema, .. }
            | Self::Sessions { schema, .. }
            | Self::Over { schema, .. }
            | Self::Expand { schema, .. }
            | Self::Unnest { schema, .. }
            | Self::Union { schema, .. }
            | Self::Aggregate { schema, .. }
            | Self::Closing { schema, .. } => schema,
            Self::Filter { input, .. } | Self::Expiring { input, .. } => input.schema(),
        }
    }

    /// The nodes from which rows come.
    #[must_use]
    pub fn inputs(&self) -> Vec<&Self> {
        match self {
            Self::Source { .. } | Self::Values { .. } => Vec::new(),
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Window { input, .. }
            | Self::Lookup { input, .. }
            | Self::Ranked { input, .. }
            | Self::Sessions { input, .. }
            | Self::Over { input, .. }
            | Self::Expand { input, .. }
            | Self::Unnest { input, .. }
            | Self::Expiring { input, .. }
            | Self::Closing { input, .. }
            | Self::Aggregate { input, .. } => vec![input],
            Self::Join { left, right, .. } | Self::AsOf { left, right, .. } => vec![left, right],
            Self::Union { inputs, .. } => inputs.iter().collect(),
        }
    }

    /// The same, to be changed.
    pub(crate) fn inputs_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Source { .. } | Self::Values { .. } => Vec::new(),
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Window { input, .. }
            | Self::Lookup { input, .. }
            | Self::Ranked { input, .. }
            | Self::Sessions { input, .. }
            | Self::Over { input, .. }
            | Self::Expand { input, .. }
            | Self::Unnest { input, .. }
            | Self::Expiring { input, .. }
            | Self::Closing { input, .. }
            | Self::Aggregate { input, .. } => vec![input],
            Self::Join { left, right, .. } | Self::AsOf { left, right, .. } => vec![left, right],
            Self::Union { inputs, .. } => inputs.iter_mut().collect(),
        }
    }

    /// Whether the node's rows only come and never go.
    #[must_use]
    pub fn append_only(&self) -> bool {
        match self {
            Self::Source { append_only, .. } => *append_only,
            Self::Values { .. } | Self::Closing { .. } => true,
            Self::Expiring { input, conditions } => {
                input.append_only() && conditions.iter().all(|condition| condition.comes)
            }
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Window { input, .. }
            | Self::Expand { input, .. }
            | Self::Unnest { input, .. }
            | Self::Lookup { input, .. } => input.append_only(),
            Self::Join { left, right, kind, .. } => {
                let come_only = matches!(kind, JoinKind::Inner | JoinKind::Semi);
                come_only && left.append_only() && right.append_only()
            }
            Self::Union { inputs, .. } => inputs.iter().all(Self::append_only),
            Self::Sessions { lag_us, .. } => lag_us.is_some(),
            Self::Over { whole, .. } => *whole,
            Self::Aggregate { .. } | Self::AsOf { .. } | Self::Ranked { .. } => false,
        }
    }
}
