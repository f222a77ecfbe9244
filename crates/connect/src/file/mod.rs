//! Files: CSV, TSV, JSON lines, Parquet, plain or compressed, read once or followed, at full speed or
//! at the pace of their event times.
//!
//! ```text
//!   files ──TextReader──▶ blocks of whole records ──decode workers──▶ in order ──▶ Engine::submit
//!                                                  (bulk)
//!   files ──▶ the earliest record of all files, when it is due ──▶ Engine::submit       (replay)
//! ```
//!
//! A partition is a file, named by its path as the stream's `path` gives it. Its position is a byte of
//! the decompressed text, or a row of a Parquet file. A file that was replaced while it is followed is
//! read under a new name: `path#1`, `path#2`, …
//!
//! Limits: a followed file that is replaced by a longer one while the program does not run is taken
//! for the old one, grown, if a record of it happens to end where the old one was left; what was written
//! to the old one meanwhile is not read. Compressed and Parquet files are read once when they appear,
//! also when followed. A replay holds one block of every file.

mod bulk;
mod deliver;
mod input;
mod options;
mod parquet;
mod plan;
mod reader;
mod replay;
mod tail;
mod text;

use std::path::Path;

use yeoul_engine::{SourceSpec, StreamHandle};

use crate::error::ConnectError;
use crate::source::{Context, Source};
pub(crate) use options::SPEC;
use options::{FileOptions, Speed};
use plan::Plan;

/// The files of one stream.
struct FileSource {
    stream: StreamHandle,
    plan: Plan,
}

/// Makes the source.
pub(crate) fn open(spec: &SourceSpec, base: &Path) -> Result<Box<dyn Source>, ConnectError> {
    let plan = Plan::new(&spec.stream, FileOptions::of(&spec.connector), base)?;
    Ok(Box::new(FileSource { stream: spec.stream.clone(), plan }))
}

impl Source for FileSource {
    fn run(self: Box<Self>, context: &Context) -> Result<(), ConnectError> {
        match self.plan.speed {
            Speed::Max => bulk::run(&self.stream, &self.plan, context),
            Speed::Times(speed) => replay::run(&self.stream, &self.plan, speed, context),
        }
    }

    fn ends(&self) -> bool {
        !self.plan.follow
    }
}
