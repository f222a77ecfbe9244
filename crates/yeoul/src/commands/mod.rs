//! One file per command of the command line.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod dead_letters;
pub(crate) mod inspect;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod sql;
