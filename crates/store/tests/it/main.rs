//! The store as its users see it: trees, commits, crashes.

mod concurrent;
mod corpus;
mod crash;
mod duplicates;
mod fixture;
mod measure;
mod model;
mod options;
mod world;
