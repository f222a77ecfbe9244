//! The engine as a user of the crate sees it.

mod path;
mod support;
