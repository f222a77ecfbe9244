//! Work off the commit thread: writing a frozen table as a run, merging runs, narrowing a filter.

use std::sync::Arc;

use super::filter::Filter;
use super::format::{Head, path};
use super::run::{Cursor, Run, RunWriter};
use super::table::Table;
use crate::{Media, StoreError};

/// A run with its filter; none when no key was left for it.
pub(super) type Written = Option<(Run, Filter)>;

/// What is to be done, with all that it needs.
#[derive(Debug)]
pub(super) enum Job {
    /// Write a frozen table as run `number`.
    Flush { order: u64, table: Arc<Table>, number: u64, bits: u32 },
    /// Write several runs as run `number`, without the keys accepted at `horizon_ms` or before.
    Merge { inputs: Vec<Arc<Run>>, number: u64, bits: u32, horizon_ms: i64 },
    /// Make the filter of a run narrower by one bit.
    Narrow { run: u64, filter: Arc<Filter> },
    /// Remove files that no manifest names.
    Remove { numbers: Vec<u64> },
}

/// What was done.
#[derive(Debug)]
pub(super) enum Done {
    Flushed { order: u64, written: Written },
    Merged { inputs: Vec<u64>, written: Written },
    Narrowed { run: u64, filter: Filter },
    Removed,
}

impl Job {
    /// Does it.
    pub(super) fn run(self, media: &Arc<dyn Media>, stream: u32) -> Result<Done, StoreError> {
        match self {
            Self::Flush { order, table, number, bits } => {
                let written = flush(media, stream, &table, number, bits)?;
                Ok(Done::Flushed { order, written })
            }
            Self::Merge { inputs, number, bits, horizon_ms } => {
                let written = merge(media, stream, &inputs, number, bits, horizon_ms)?;
                Ok(Done::Merged { inputs: inputs.iter().map(|r| r.meta.number).collect(), written })
            }
            Self::Narrow { run, filter } => Ok(Done::Narrowed { run, filter: filter.narrower() }),
            Self::Remove { numbers } => {
                numbers.iter().try_for_each(|&number| media.remove(&path(number)))?;
                Ok(Done::Removed)
            }
        }
    }
}

fn flush(
    media: &Arc<dyn Media>,
    stream: u32,
    table: &Table,
    number: u64,
    bits: u32,
) -> Result<Written, StoreError> {
    let (base_ms, _) = table.span_ms();
    let keys = table.len() as u64;
    let mut writer = RunWriter::create(media, number, Head { stream, base_ms }, keys, bits)?;
    for (key, time) in table.sorted() {
        writer.push(key, base_ms + i64::from(time))?;
    }
    writer.finish()
}

/// Of a key that several runs hold, the newest time stays.
fn merge(
    media: &Arc<dyn Media>,
    stream: u32,
    inputs: &[Arc<Run>],
    number: u64,
    bits: u32,
    horizon_ms: i64,
) -> Result<Written, StoreError> {
    let keys = inputs.iter().map(|r| r.meta.keys).sum();
    let from_us = inputs.iter().map(|r| r.meta.from_us).min().unwrap_or(0);
    let head = Head { stream, base_ms: from_us.div_euclid(1000) };
    let mut writer = RunWriter::create(media, number, head, keys, bits)?;
    let mut cursors =
        inputs.iter().map(|r| Cursor::new(Arc::clone(r))).collect::<Result<Vec<_>, _>>()?;
    // A dozen inputs at most: looking at all of them is as quick as a heap.
    while let Some((key, mut newest)) = cursors.iter().filter_map(Cursor::current).min() {
        for cursor in &mut cursors {
            if let Some((same, at_ms)) = cursor.current()
                && same == key
            {
                newest = newest.max(at_ms);
                cursor.advance()?;
            }
        }
        if newest > horizon_ms {
            writer.push(key, newest)?;
        }
    }
    writer.finish()
}
