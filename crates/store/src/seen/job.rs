//! Work off the commit thread: writing a frozen table as a run, merging runs, removing files.

use std::sync::Arc;

use super::filter::Filter;
use super::format::{Head, path};
use super::run::{Cursor, Rising, Run, RunWriter};
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
    /// Remove files that no manifest names.
    Remove { numbers: Vec<u64> },
}

/// What was done.
#[derive(Debug)]
pub(super) enum Done {
    Flushed {
        order: u64,
        written: Written,
    },
    /// A part of a merge: what it has can be asked instead of the inputs.
    Rising(Rising),
    Merged {
        inputs: Vec<u64>,
        written: Written,
    },
    Removed,
}

impl Job {
    /// Does it; `tell` is called with what is done before all is.
    pub(super) fn run(
        self,
        media: &Arc<dyn Media>,
        stream: u32,
        tell: &mut dyn FnMut(Done),
    ) -> Result<Done, StoreError> {
        match self {
            Self::Flush { order, table, number, bits } => {
                let written = flush(media, stream, &table, number, bits)?;
                Ok(Done::Flushed { order, written })
            }
            Self::Merge { inputs, number, bits, horizon_ms } => {
                let keys = inputs.iter().map(|r| r.meta.keys).sum();
                let from_us = inputs.iter().map(|r| r.meta.from_us).min().unwrap_or(0);
                let head = Head { stream, base_ms: from_us.div_euclid(1000) };
                let mut writer = RunWriter::create(media, number, head, keys, bits)?;
                merge(&inputs, &mut writer, horizon_ms, tell)?;
                let written = writer.finish()?;
                Ok(Done::Merged { inputs: inputs.iter().map(|r| r.meta.number).collect(), written })
            }
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
    table.for_each(|key, time| writer.push(key, base_ms + i64::from(time)))?;
    writer.finish()
}

/// Of a key that several runs hold, the newest time stays.
fn merge(
    inputs: &[Arc<Run>],
    writer: &mut RunWriter,
    horizon_ms: i64,
    tell: &mut dyn FnMut(Done),
) -> Result<(), StoreError> {
    let mut cursors =
        inputs.iter().map(|r| Cursor::new(Arc::clone(r))).collect::<Result<Vec<_>, _>>()?;
    cursors.retain(|c| c.current().is_some());
    let mut heads: Vec<(u128, i64)> = cursors.iter().filter_map(Cursor::current).collect();
    // The key to write when another follows it, with its newest time so far.
    let mut last: Option<(u128, i64)> = None;
    // A dozen inputs at most: looking at all of them is as quick as a heap.
    while let Some(least) = least(&heads) {
        let (key, at_ms) = heads[least];
        cursors[least].advance()?;
        if let Some(next) = cursors[least].current() {
            heads[least] = next;
        } else {
            cursors.swap_remove(least);
            heads.swap_remove(least);
        }
        last = match last {
            Some((same, newest)) if same == key => Some((key, newest.max(at_ms))),
            Some((before, newest)) => {
                if newest > horizon_ms {
                    writer.push(before, newest)?;
                    if let Some(rising) = writer.rising()? {
                        tell(Done::Rising(rising));
                    }
                }
                Some((key, at_ms))
            }
            None => Some((key, at_ms)),
        };
    }
    match last {
        Some((key, newest)) if newest > horizon_ms => writer.push(key, newest),
        _ => Ok(()),
    }
}

/// Which has the least key.
#[inline]
fn least(heads: &[(u128, i64)]) -> Option<usize> {
    let mut least = heads.first()?.0;
    let mut at = 0;
    for (other, &(key, _)) in heads.iter().enumerate().skip(1) {
        let less = key < least;
        least = if less { key } else { least };
        at = if less { other } else { at };
    }
    Some(at)
}
