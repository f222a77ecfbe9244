//! The inputs of the fuzz targets, replayed.

mod corpus;
