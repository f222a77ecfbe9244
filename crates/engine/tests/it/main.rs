//! The engine as a user of the crate sees it.

#![expect(clippy::panic, reason = "a test fails by panicking, with what was wrong")]

mod ahead;
mod alter;
mod books;
mod bounded;
mod changes;
mod depth;
mod faults;
mod functions;
mod intervals;
mod late;
mod law;
mod layouts;
mod lookup;
mod numbers;
mod order;
mod over;
mod partitions;
mod path;
mod places;
mod ranked;
mod replace;
mod reported;
mod select;
mod sinks;
mod support;
mod tables;
mod time;
mod told;
mod values;
