//! Stored states: the fuzz targets' inputs replayed, and fixtures of every version.

mod corpus;
mod fixture;
