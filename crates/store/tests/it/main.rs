//! The store as its users see it: trees, commits, crashes.

mod concurrent;
mod corpus;
mod crash;
mod duplicates;
mod fixture;
mod measure;
mod model;
mod options;
mod seek;
mod wide;
mod world;

/// The program's: what is measured here is to cost what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
