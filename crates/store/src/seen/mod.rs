//! The exact duplicate index of a stream: has this key been accepted within the horizon?
//!
//! ```text
//!   hashes ─▶ table in memory ─full or checkpoint─▶ frozen table ─background─▶ run ┐
//!             (newest keys)                          (still asked)                 ├─merge─▶ run
//!                                                                   older runs … ──┘
//! ```
//!
//! A key is known by a 128-bit hash. **Within** is meant on the index's own clock: the commit's
//! arrival in whole milliseconds, never running backwards. A key is a duplicate at `now` exactly when it was *accepted* at a
//! time t with `now − t < within`. A duplicate does not prolong anything: what counts is the time of the
//! last accepted occurrence.
//!
//! What must hold:
//! - no false answer ever: filters only save reads, and a page that fails its checksum is an error;
//! - the runs given to a checkpoint hold exactly what was accepted before it began;
//! - a file is removed only when no durable manifest names it.
//!
//! **What the engine must hold:** a manifest is written only when all that was accepted before its
//! checkpoint began is durable in the log. Else a key of a commit that was lost would turn its own
//! repetition into a duplicate. The manifest's commit may be older: at replay the log says which
//! rows were dropped, so keys are put in without being asked for ([`Seen::insert`]), and putting in
//! one that is there already changes nothing.
//!
//! While runs are merged, what of the new run is there is asked instead of the old ones, whose filters
//! are given back part by part: a large merge needs no second copy of its filters.
//!
//! Limits: memory as in [`SeenOptions::memory_bytes`]; when keys outgrow it filters become narrower and
//! probes slower, down to reading a page of every run per key.
//!
//! Not here: hashing, the wall clock, threads (they are handed in as [`Spawn`]).

mod build;
mod filter;
mod folder;
mod format;
mod job;
mod memory;
mod policy;
mod run;
mod table;
mod tend;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::{Receiver, Sender, unbounded};

use self::filter::{Filter, halves};
use self::job::Done;
use self::run::Run;
use self::table::Table;
use crate::manifest::SeenRunMeta;
use crate::{Media, StoreError};

pub use folder::SeenFolder;

/// How the index's work is taken off the commit thread: the closure is called once, on any
/// thread, sooner or later.
pub type Spawn = Arc<dyn Fn(Urgency, Box<dyn FnOnce() + Send>) + Send + Sync>;

/// How soon a piece of work is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// The commit thread waits for it when tables fill up: it must not stand behind other work.
    Soon,
    /// It may take minutes, and nobody waits.
    Later,
}

/// Keys are handled in groups of this many, whose memory is asked for side by side.
const GROUP: usize = 128;
/// Batches from this size on are worth sorting.
const SORT_MIN: usize = 1024;
/// So many full tables may wait to be written before the commit thread waits for them.
const FROZEN_MAX: usize = 1;
/// A run's filter is divided until segments have at most twice this many keys on average; tests have small
/// runs, whose filters are to have several parts too.
const SEGMENT_KEYS: u64 = if cfg!(test) { 64 } else { build::SEGMENT_KEYS };

/// The settings of one stream's index.
#[derive(Clone, Debug)]
pub struct SeenOptions {
    /// The number of the stream, written into its files.
    pub stream: u32,
    /// The horizon in microseconds, rounded up to milliseconds; at least one.
    pub within_us: i64,
    /// The memory to use: for tables, for filters and fences, and for flushes and merges.
    /// 360 million keys take 600 MB: two tables of 28 MB, 135 MB for work, and 8 bits for each key
    /// of the 405 million that are there before the oldest run is dropped.
    pub memory_bytes: usize,
    /// The keys of the table in memory when it is written as a run. It grows up to this.
    pub table_keys: usize,
}

impl SeenOptions {
    /// Up to 600 MB, tables of 2²⁰ keys.
    #[must_use]
    pub fn new(stream: u32, within_us: i64) -> Self {
        Self { stream, within_us, memory_bytes: 600_000_000, table_keys: 1 << 20 }
    }
}

/// A full table on its way to become a run.
#[derive(Debug)]
struct Frozen {
    /// Tables are numbered in the order of their freezing.
    order: u64,
    table: Arc<Table>,
    begun: bool,
}

/// A run being asked.
#[derive(Debug)]
struct Live {
    /// The last of the tables it came from.
    order: u64,
    run: Arc<Run>,
    filter: Filter,
    /// It is asked about keys whose high half is in here. All, but of what is being merged: what of
    /// the merged run is there answers instead of the inputs.
    asked: RangeInclusive<u64>,
}

impl Live {
    fn new(order: u64, run: Run, filter: Filter) -> Self {
        Self { order, run: Arc::new(run), filter, asked: 0..=u64::MAX }
    }
}

/// A checkpoint that has begun.
#[derive(Debug)]
struct Checkpoint {
    /// The last table before it.
    order: u64,
    /// The runs that its manifest names, once they were asked for.
    named: Option<HashSet<u64>>,
}

/// The duplicate index of one stream. See the module for what is asked and answered.
pub struct Seen {
    media: Arc<dyn Media>,
    numbers: Arc<AtomicU64>,
    spawn: Spawn,
    options: SeenOptions,
    within_ms: i64,
    clock_ms: i64,
    active: Table,
    frozen: Vec<Frozen>,
    /// Oldest first.
    runs: Vec<Live>,
    next_order: u64,
    /// Work on its way: a flush, and one piece of everything else.
    flushing: bool,
    tending: bool,
    /// Runs that are being merged.
    busy: HashSet<u64>,
    /// What of the merged run is there already.
    rising: Option<Live>,
    /// An empty table of full size.
    spare: Option<Table>,
    sender: Sender<Result<Done, StoreError>>,
    receiver: Receiver<Result<Done, StoreError>>,
    checkpoint: Option<Checkpoint>,
    /// The runs that the durable manifest names.
    named: HashSet<u64>,
    /// Runs no longer asked whose files a manifest still names.
    retired: Vec<u64>,
    failed: Option<String>,
    /// Room for one page, and for the positions in a group that are still undecided.
    page: Vec<u8>,
    undecided: Vec<u32>,
    /// Room for the order of a batch.
    order: Vec<(u64, u32)>,
    /// Pages read so far, for people.
    pages_read: u64,
}

/// What an index is made of, for people and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenStats {
    /// Keys in memory, and in runs.
    pub memory_keys: u64,
    /// Keys in runs; a key accepted twice may count twice.
    pub run_keys: u64,
    /// How many runs.
    pub runs: usize,
    /// Memory of tables, filters and fences.
    pub memory_bytes: usize,
    /// Bytes of the run files.
    pub disk_bytes: u64,
    /// The narrowest filter in bits per fingerprint, taken at its widest part; 0 when there is none.
    pub filter_bits: u32,
    /// Pages read by probes since it was opened.
    pub pages_read: u64,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen")
            .field("options", &self.options)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Seen {
    /// Opens an index with the runs that the manifest names for it, oldest first.
    fn open(
        folder: &SeenFolder,
        named: &[SeenRunMeta],
        options: SeenOptions,
    ) -> Result<Self, StoreError> {
        let mut runs = Vec::with_capacity(named.len());
        for (order, meta) in (1u64..).zip(named) {
            let (run, filter) = Run::open(&folder.media, meta, options.stream)?;
            runs.push(Live::new(order, run, filter));
        }
        let clock_ms = named.iter().map(|r| r.to_us.div_euclid(1000)).max().unwrap_or(i64::MIN / 4);
        let (sender, receiver) = unbounded();
        Ok(Self {
            within_ms: options.within_us.max(1).div_euclid(1000)
                + i64::from(options.within_us.max(1).rem_euclid(1000) > 0),
            options,
            media: Arc::clone(&folder.media),
            numbers: Arc::clone(&folder.numbers),
            spawn: Arc::clone(&folder.spawn),
            clock_ms,
            active: Table::new(clock_ms, 0),
            frozen: Vec::new(),
            next_order: runs.len() as u64 + 1,
            runs,
            flushing: false,
            tending: false,
            busy: HashSet::new(),
            rising: None,
            spare: None,
            sender,
            receiver,
            checkpoint: None,
            named: named.iter().map(|r| r.number).collect(),
            retired: Vec::new(),
            failed: None,
            page: Vec::new(),
            undecided: Vec::with_capacity(GROUP),
            order: Vec::new(),
            pages_read: 0,
        })
    }

    /// For each key in turn whether it is a duplicate at `now_us`; those that are not are accepted.
    /// So of equal keys in one batch the first may be accepted and the others are duplicates.
    ///
    /// `duplicates` is cleared first and gets one answer per key. The keys are expected to be
    /// hashes: spread evenly.
    ///
    /// # Errors
    /// When a run cannot be read or written. The index then fails for good, as the store does.
    pub fn probe_and_insert(
        &mut self,
        keys: &[u128],
        now_us: i64,
        duplicates: &mut Vec<bool>,
    ) -> Result<(), StoreError> {
        duplicates.clear();
        duplicates.resize(keys.len(), false);
        self.begin_batch(keys.len(), now_us)?;
        let probed = if keys.len() < SORT_MIN {
            let mut groups = keys.chunks(GROUP).zip(duplicates.chunks_mut(GROUP));
            groups.try_for_each(|(keys, answers)| self.probe_group(keys, answers))
        } else {
            self.probe_sorted(keys, duplicates)
        };
        probed.map_err(|error| self.fail(error))
    }

    /// Whether the key is a duplicate at `now_us`, without accepting it.
    ///
    /// # Errors
    /// As [`Seen::probe_and_insert`].
    pub fn knows(&mut self, key: u128, now_us: i64) -> Result<bool, StoreError> {
        self.begin_batch(0, now_us)?;
        let mut answer = [false];
        self.probe_known(&[key], &mut answer).map_err(|error| self.fail(error))?;
        Ok(answer == [true])
    }

    /// Answers in the order of the hashes: neighbours then lie near each other in the table and
    /// in every filter. Equal keys keep their order.
    fn probe_sorted(&mut self, keys: &[u128], duplicates: &mut [bool]) -> Result<(), StoreError> {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend((0u32..).zip(keys).map(|(at, &key)| (halves(key).0, at)));
        order.sort_unstable();
        let mut group = [0u128; GROUP];
        let mut answers = [false; GROUP];
        for places in order.chunks(GROUP) {
            let (group, answers) = (&mut group[..places.len()], &mut answers[..places.len()]);
            for (key, (_, at)) in group.iter_mut().zip(places) {
                *key = keys[*at as usize];
            }
            self.probe_group(group, answers)?;
            for (answer, (_, at)) in answers.iter().zip(places) {
                duplicates[*at as usize] = *answer;
            }
        }
        self.order = order;
        Ok(())
    }

    /// Accepts keys at `now_us` without asking: for replaying the log, which says what was
    /// dropped. Give the times of the commits in their order, also of those without keys, so
    /// that the clock goes on where it stood.
    ///
    /// # Errors
    /// As [`Seen::probe_and_insert`].
    pub fn insert(&mut self, keys: &[u128], now_us: i64) -> Result<(), StoreError> {
        self.begin_batch(keys.len(), now_us)?;
        for &key in keys {
            self.active.accept(key, self.clock_ms, i64::MAX);
        }
        Ok(())
    }

    /// What it is made of.
    #[must_use]
    pub fn stats(&self) -> SeenStats {
        let tables = self.frozen.iter().map(|f| f.table.as_ref()).chain([&self.active]);
        let tables = tables.chain(&self.spare);
        let (memory_keys, table_bytes) =
            tables.fold((0, 0), |(k, b), t| (k + t.len() as u64, b + t.bytes()));
        SeenStats {
            memory_keys,
            run_keys: self.runs.iter().map(|l| l.run.meta.keys).sum(),
            runs: self.runs.len(),
            memory_bytes: table_bytes + self.run_bytes(),
            disk_bytes: self.runs.iter().map(|l| l.run.meta.bytes).sum(),
            filter_bits: self.runs.iter().map(|l| l.filter.bits()).min().unwrap_or(0),
            pages_read: self.pages_read,
        }
    }

    /// The newest time that is not within the horizon any more.
    fn horizon_ms(&self) -> i64 {
        self.clock_ms - self.within_ms
    }

    /// Moves the clock, takes in finished work, drops what is too old, and makes room.
    fn begin_batch(&mut self, keys: usize, now_us: i64) -> Result<(), StoreError> {
        self.clock_ms = self.clock_ms.max(now_us.div_euclid(1000));
        self.poll()?;
        let full = self.active.len() + keys > self.options.table_keys;
        if self.active.len() > 0 && (full || !self.active.takes(self.clock_ms)) {
            self.freeze()?;
        }
        if self.active.len() == 0 {
            // An empty table may be given its first time; its memory is kept.
            self.active.restart(self.clock_ms);
        }
        self.active.reserve(keys, self.options.table_keys);
        Ok(())
    }

    /// Answers for one group of keys, in two steps: who is known from before, then the rest is
    /// accepted in order, which also finds equal keys of the group.
    fn probe_group(&mut self, keys: &[u128], answers: &mut [bool]) -> Result<(), StoreError> {
        self.probe_known(keys, answers)?;
        let horizon_ms = self.horizon_ms();
        for (&key, answer) in keys.iter().zip(answers) {
            if !*answer {
                *answer = !self.active.accept(key, self.clock_ms, horizon_ms);
            }
        }
        Ok(())
    }

    /// Who of a group is known from before.
    fn probe_known(&mut self, keys: &[u128], answers: &mut [bool]) -> Result<(), StoreError> {
        let horizon_ms = self.horizon_ms();
        std::hint::black_box(keys.iter().fold(0, |xor, &k| xor ^ self.active.touch(k)));
        let mut undecided = std::mem::take(&mut self.undecided);
        undecided.clear();
        for (at, (&key, answer)) in (0u32..).zip(keys.iter().zip(answers.iter_mut())) {
            let live = |table: &Table| table.time_ms(key).is_some_and(|t| t > horizon_ms);
            *answer = live(&self.active) || self.frozen.iter().any(|f| live(&f.table));
            if !*answer {
                undecided.push(at);
            }
        }
        let result = self.probe_runs(keys, answers, &mut undecided);
        undecided.clear();
        self.undecided = undecided;
        result
    }

    /// Asks the runs, newest first, about the keys at the `undecided` positions.
    fn probe_runs(
        &mut self,
        keys: &[u128],
        answers: &mut [bool],
        undecided: &mut Vec<u32>,
    ) -> Result<(), StoreError> {
        let horizon_ms = self.horizon_ms();
        let mut passed = [0u32; GROUP];
        let mut within = [0u32; GROUP];
        for live in self.runs.iter().rev().chain(&self.rising) {
            if live.run.meta.to_us.div_euclid(1000) <= horizon_ms {
                continue;
            }
            let asked = if live.asked == (0..=u64::MAX) {
                undecided.as_slice()
            } else {
                let mut count = 0;
                for &at in undecided.iter() {
                    within[count] = at;
                    count += usize::from(live.asked.contains(&halves(keys[at as usize]).0));
                }
                &within[..count]
            };
            let count = live.filter.pass(keys, asked, &mut passed);
            let mut found = false;
            for &at in &passed[..count] {
                self.pages_read += 1;
                let time = live.run.time_ms(keys[at as usize], &mut self.page)?;
                if time.is_some_and(|t| t > horizon_ms) {
                    answers[at as usize] = true;
                    found = true;
                }
            }
            if found {
                undecided.retain(|&at| !answers[at as usize]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
