//! Files into an engine: formats, compression, places, restarts, followed and replayed files.

mod bulk;
mod follow;
mod options;
mod replay;
mod shop;
mod tables;
