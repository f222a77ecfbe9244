//! Incremental operators: a view's query as a graph that is stepped once per commit.
//!
//! ```text
//!   Updates ─▶ linear operators ─▶ group within the commit ─▶ delta of states ─▶ the view's tree
//!                                                                                     │ read
//!   rows of the view ◀── linear operators ◀── finish ◀── combine (Aggregate: Combine) ◀┘
//! ```
//!
//! - [`GraphBuilder`] puts a [`Graph`] together; [`Graph::step`] takes a commit's updates.
//! - [`Aggregate`] groups rows into states, merges states, finishes them into answers.
//! - [`Workers`] divide the work of a step; the answer does not depend on how many there are.
//! - [`Watermark`] counts late rows.
//!
//! What must hold: the states of all commits combined and finished are the answer of the same
//! query over all rows, whatever the division into commits, chunks and workers.
//!
//! Not here: disk, SQL, the wall clock. States are read through [`StateReader`]; expressions come
//! as [`yeoul_batch::ExprRef`].

mod aggregate;
mod error;
mod graph;
mod group;
mod linear;
mod operator;
mod state;
mod watermark;
mod workers;

pub use aggregate::{Aggregate, AggregateCall, AggregateSpec, Function, NamedExpr, Order};
pub use error::FlowError;
pub use graph::{
    CacheBudget, Graph, GraphBuilder, Limits, NodeId, Release, SourceIndex, StateReader, StateTree,
    StepOutput, StepTime, TreeShape,
};
pub use linear::{LookupSpec, TableReader, Window, WindowKind};
pub use operator::{
    AsOfSpec, ClockCondition, JoinKind, JoinSpec, JoinTimes, Nearest, OverSpec, RankFunction,
    RankedSpec, Ranking, SessionsSpec,
};
pub use watermark::{PartitionName, PartitionTime, TooLate, Watermark};
pub use workers::{STACK_BYTES, Workers};
