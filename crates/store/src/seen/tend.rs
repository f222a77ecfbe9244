//! What keeps the index in shape: freezing, background work, ageing, memory, checkpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::filter::{BITS_MAX, SLOTS_PER_KEY};
use super::format::path;
use super::job::{Done, Job, Written};
use super::policy::{self, Candidate};
use super::run::Rising;
use super::table::Table;
use super::{Checkpoint, FROZEN_MAX, Frozen, Live, Seen, Urgency};
use crate::StoreError;
use crate::manifest::SeenRunMeta;

/// Bytes per key beside the filter's slots: a fence per page of 204 keys.
const FENCE_BYTES_PER_KEY: f64 = 8.0 / 204.0;
/// Bytes of memory per key of a table at its fullest.
const TABLE_BYTES_PER_KEY: usize = 28;
/// This part of the memory is for what flushes and merges need: the part of a filter that is not handed over
/// yet, a segment's keys and hashes (5 MB each), pages, and what the allocator keeps.
const WORK_SHARE: usize = 4;
/// So many parts of filters are narrowed at once, some milliseconds each.
const NARROWED_AT_ONCE: usize = 2;

impl Seen {
    /// Freezes the keys accepted so far, for a checkpoint. When their runs are there
    /// ([`Seen::checkpoint_runs`]) and what was accepted is durable in the log, the manifest that
    /// names them may be written; then call [`Seen::end_checkpoint`].
    ///
    /// # Errors
    /// When an earlier run could not be written.
    pub fn begin_checkpoint(&mut self) -> Result<(), StoreError> {
        self.poll()?;
        if self.active.len() > 0 {
            self.freeze()?;
        }
        self.checkpoint = Some(Checkpoint { order: self.next_order - 1, named: None });
        self.begin_work();
        Ok(())
    }

    /// The runs for the manifest of the checkpoint, oldest first: they hold exactly what was
    /// accepted before it began. `None` while they are being written, and when none has begun.
    ///
    /// # Errors
    /// When a run could not be written.
    pub fn checkpoint_runs(&mut self) -> Result<Option<Vec<SeenRunMeta>>, StoreError> {
        self.poll()?;
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(None) };
        if self.frozen.iter().any(|f| f.order <= checkpoint.order) {
            return Ok(None);
        }
        let before = self.runs.iter().filter(|l| l.order <= checkpoint.order);
        let runs: Vec<SeenRunMeta> = before.map(|l| l.run.meta.clone()).collect();
        checkpoint.named = Some(runs.iter().map(|r| r.number).collect());
        Ok(Some(runs))
    }

    /// As [`Seen::checkpoint_runs`], waiting for the runs.
    ///
    /// # Errors
    /// When a run could not be written.
    pub fn wait_checkpoint_runs(&mut self) -> Result<Vec<SeenRunMeta>, StoreError> {
        assert!(self.checkpoint.is_some(), "seen: a checkpoint begins before its runs are taken");
        loop {
            if let Some(runs) = self.checkpoint_runs()? {
                return Ok(runs);
            }
            self.wait()?;
        }
    }

    /// The manifest with the checkpoint's runs is durable: files that only the one before it
    /// named are removed.
    ///
    /// # Panics
    /// When the runs of a checkpoint were not taken before.
    pub fn end_checkpoint(&mut self) {
        let named = self.checkpoint.take().and_then(|c| c.named);
        self.named = named.expect("seen: a checkpoint ends after its runs were taken");
        let free = self.retired.extract_if(.., |n| !self.named.contains(n)).collect();
        self.remove(free);
        self.begin_work();
    }

    /// Removes all files, when the stream is dropped. The manifest must no longer name them.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_all(mut self) -> Result<(), StoreError> {
        while self.flushing || self.tending {
            self.wait()?;
        }
        let runs = self.runs.iter().map(|l| l.run.meta.number);
        runs.chain(self.retired.iter().copied()).try_for_each(|n| self.media.remove(&path(n)))?;
        self.media.sync_dir("seen")
    }

    /// Takes in what was finished, drops runs that are too old, and begins the next work.
    pub(super) fn poll(&mut self) -> Result<(), StoreError> {
        if let Some(first) = &self.failed {
            return Err(StoreError::Poisoned(first.clone()));
        }
        loop {
            let mut installed = false;
            while let Ok(done) = self.receiver.try_recv() {
                self.install(done)?;
                installed = true;
            }
            self.expire();
            self.narrow();
            self.begin_work();
            if !installed {
                return Ok(());
            }
        }
    }

    /// Remembers that the index has failed.
    pub(super) fn fail(&mut self, error: StoreError) -> StoreError {
        self.failed.get_or_insert_with(|| error.to_string());
        error
    }

    /// Sets the active table aside to be written; waits when too many are.
    pub(super) fn freeze(&mut self) -> Result<(), StoreError> {
        while self.frozen.len() >= FROZEN_MAX {
            self.wait()?;
        }
        // A stream that has filled one table fills the next: growing step by step would double
        // the work. One that has not (a checkpoint came first) starts small again.
        let full = self.active.len() >= self.options.table_keys / 2;
        let spare = self.spare.take().filter(|_| full);
        let room = if full { self.options.table_keys } else { 0 };
        let mut empty = spare.unwrap_or_else(|| Table::new(self.clock_ms, room));
        empty.restart(self.clock_ms);
        let table = std::mem::replace(&mut self.active, empty);
        let order = self.next_order;
        self.next_order += 1;
        self.frozen.push(Frozen { order, table: Arc::new(table), begun: false });
        self.begin_work();
        Ok(())
    }

    /// Waits for one piece of work.
    fn wait(&mut self) -> Result<(), StoreError> {
        self.begin_work();
        let done = self.receiver.recv().expect("the index itself holds a sender");
        self.install(done)?;
        self.begin_work();
        Ok(())
    }

    fn install(&mut self, done: Result<Done, StoreError>) -> Result<(), StoreError> {
        match done.map_err(|error| self.fail(error))? {
            Done::Flushed { order, written } => {
                self.flushing = false;
                let flushed: Vec<Frozen> =
                    self.frozen.extract_if(.., |f| f.order == order).collect();
                flushed.into_iter().for_each(|f| self.keep_spare(f.table));
                if let Some((run, filter)) = written {
                    let at = self.runs.partition_point(|l| l.order < order);
                    self.runs.insert(at, Live::new(order, run, filter));
                }
            }
            Done::Merged { inputs, written } => {
                self.tending = false;
                self.busy.clear();
                self.rising = None;
                self.replace(&inputs, written);
            }
            Done::Rising(rising) => self.raise(rising),
            Done::Removed => {}
        }
        Ok(())
    }

    /// What of a merged run is there answers from now on, and the inputs forget what they knew of it.
    fn raise(&mut self, rising: Rising) {
        let Rising { run, filter, below } = rising;
        for live in &mut self.runs {
            if self.busy.contains(&live.run.meta.number) {
                live.asked = below..=u64::MAX;
                live.filter.forget_below(below);
            }
        }
        let asked = 0..=below - 1;
        self.rising = Some(Live { asked, ..Live::new(0, run, filter) });
    }

    /// Keeps a table for the next keys: a fresh one costs as much time, and what is freed is not always
    /// given back at once.
    fn keep_spare(&mut self, table: Arc<Table>) {
        let full = table.len() >= self.options.table_keys / 2;
        if let (None, true, Ok(mut table)) = (&self.spare, full, Arc::try_unwrap(table)) {
            table.clear();
            self.spare = Some(table);
        }
    }

    /// Puts a merged run in the place of its inputs.
    fn replace(&mut self, inputs: &[u64], written: Written) {
        let is_input = |l: &Live| inputs.contains(&l.run.meta.number);
        let at = self.runs.iter().position(is_input);
        let at = at.expect("runs that are being merged are not dropped");
        let old: Vec<Live> = self.runs.extract_if(.., |l| is_input(l)).collect();
        let order = old.iter().map(|l| l.order).max().unwrap_or(0);
        if let Some((run, filter)) = written {
            self.runs.insert(at, Live::new(order, run, filter));
        }
        self.retire(&old);
    }

    /// Drops the runs in which no key is within the horizon any more.
    fn expire(&mut self) {
        let horizon_ms = self.horizon_ms();
        let old: Vec<Live> = self
            .runs
            .extract_if(.., |l| {
                let meta = &l.run.meta;
                meta.to_us.div_euclid(1000) <= horizon_ms && !self.busy.contains(&meta.number)
            })
            .collect();
        self.retire(&old);
    }

    /// Removes the files of runs, or keeps them until no manifest names them.
    fn retire(&mut self, old: &[Live]) {
        let taken = self.checkpoint.as_ref().and_then(|c| c.named.as_ref());
        let held = |n: &u64| self.named.contains(n) || taken.is_some_and(|t| t.contains(n));
        let (keep, free): (Vec<u64>, Vec<u64>) =
            old.iter().map(|l| l.run.meta.number).partition(held);
        self.retired.extend(keep);
        self.remove(free);
    }

    fn remove(&self, numbers: Vec<u64>) {
        if !numbers.is_empty() {
            self.begin(Job::Remove { numbers });
        }
    }

    fn begin(&self, job: Job) {
        let (media, sender) = (Arc::clone(&self.media), self.sender.clone());
        let stream = self.options.stream;
        let urgency = match job {
            Job::Flush { .. } | Job::Remove { .. } => Urgency::Soon,
            Job::Merge { .. } => Urgency::Later,
        };
        let work = move || {
            let done = job.run(&media, stream, &mut |part| drop(sender.send(Ok(part))));
            // Nobody listens when the index was closed meanwhile; the next opening tidies up.
            drop(sender.send(done));
        };
        (self.spawn)(urgency, Box::new(work));
    }

    /// Begins what can be begun: a flush, and beside it one merge.
    pub(super) fn begin_work(&mut self) {
        if !self.flushing
            && let Some(at) = self.frozen.iter().position(|f| !f.begun)
        {
            let bits = self.bits_to_build();
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let frozen = &mut self.frozen[at];
            frozen.begun = true;
            self.flushing = true;
            let (order, table) = (frozen.order, Arc::clone(&frozen.table));
            self.begin(Job::Flush { order, table, number, bits });
        }
        if self.tending {
            return;
        }
        if let Some(job) = self.merge() {
            self.tending = true;
            self.begin(job);
        }
    }

    /// The widest filters give up bits while memory is over its limit; of equally wide ones the
    /// largest. It is a part of a filter at a time, and only some at once: so it takes milliseconds.
    fn narrow(&mut self) {
        for _ in 0..NARROWED_AT_ONCE {
            if self.run_bytes() <= self.run_bytes_max() {
                return;
            }
            let widest = self.runs.iter_mut().max_by_key(|l| (l.filter.bits(), l.run.meta.keys));
            if !widest.is_some_and(|l| l.filter.narrow()) {
                return;
            }
        }
    }

    fn merge(&mut self) -> Option<Job> {
        let mut barrier = self.checkpoint.as_ref().map(|c| c.order);
        let candidates: Vec<Candidate> = self
            .runs
            .iter()
            .map(|l| {
                let meta = &l.run.meta;
                let barred = barrier.is_some_and(|order| l.order > order);
                barrier = barrier.filter(|_| !barred);
                let (from_ms, to_ms) = (meta.from_us.div_euclid(1000), meta.to_us.div_euclid(1000));
                Candidate { keys: meta.keys, from_ms, to_ms, barred }
            })
            .collect();
        let range = policy::plan(&candidates, self.within_ms)?;
        let inputs: Vec<_> = self.runs[range].iter().map(|l| Arc::clone(&l.run)).collect();
        self.busy = inputs.iter().map(|r| r.meta.number).collect();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (bits, horizon_ms) = (self.bits_to_build(), self.horizon_ms());
        Some(Job::Merge { inputs, number, bits, horizon_ms })
    }

    /// The memory of filters and fences.
    pub(super) fn run_bytes(&self) -> usize {
        let asked = self.runs.iter().chain(&self.rising);
        asked.map(|l| l.filter.bytes() + l.run.bytes()).sum()
    }

    /// What of the memory is for filters and fences: not the tables, and not what flushes and merges
    /// need.
    pub(super) fn run_bytes_max(&self) -> usize {
        let tables = (FROZEN_MAX + 1) * self.options.table_keys * TABLE_BYTES_PER_KEY;
        let left = self.options.memory_bytes.saturating_sub(tables);
        left - left / WORK_SHARE
    }

    /// The width at which the filters of all keys fit the memory.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a plan; casts of floats saturate"
    )]
    fn bits_to_build(&self) -> u32 {
        let frozen: u64 = self.frozen.iter().map(|f| f.table.len() as u64).sum();
        let keys = frozen + self.runs.iter().map(|l| l.run.meta.keys).sum::<u64>();
        let bytes_per_key = self.run_bytes_max() as f64 / keys.max(1) as f64;
        let bits = (bytes_per_key - FENCE_BYTES_PER_KEY) * 8.0 / SLOTS_PER_KEY;
        (bits as u32).min(BITS_MAX)
    }
}

/// Work on its way ends before the index is gone, so that the folder can be opened again at once.
impl Drop for Seen {
    fn drop(&mut self) {
        // Without a sender of its own the channel closes behind the last piece of work.
        (self.sender, _) = crossbeam_channel::unbounded();
        while self.receiver.recv().is_ok() {}
    }
}
