//! The crate from outside: parsing, errors as people see them, rewrites run by DataFusion, and
//! views lowered.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what it expected by failing")]

mod corpus;
mod errors;
mod files;
mod lowering;
mod parsing;
mod queries;
mod shop;
