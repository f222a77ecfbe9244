//! The log: one record per commit, durable before the commit is answered.
//!
//! ```text
//!   append ──▶ log/…0001.log (sealed) │ log/…0412.log (sealed) │ log/…0977.log (open)
//!                    └── truncate_before ──▶ removed      replay ──▶ the records behind F
//! ```
//!
//! What must hold: commits follow each other without gap or repeat; a record that was
//! acknowledged under the policy is there after a crash; a record is whole or not there; after a
//! failed write nothing is written any more.
//!
//! Limits: a record has [`RECORD_BYTES_MAX`] bytes at most; a replay holds one window
//! (256 KiB) or one record in memory.
//!
//! Not here: what the sections mean, the wall clock (time is an argument), the manifest.
//! `docs/format/log.md` specifies the bytes.

mod inspect;
mod read_only;
mod record;
mod replay;
mod segment;

use std::sync::Arc;
use std::time::Duration;

use yeoul_batch::CommitId;

use self::record::Framer;
use self::replay::{Segment, check_next, damaged};
use self::segment::{DIR, FILE_HEAD_LEN, Step, file_head, first_of, path_of, read_file_head};
use crate::{Media, MediaFile, StoreError};

pub use inspect::{RecordReport, SectionReport, SegmentEnd, SegmentReport, inspect};
pub use record::{LogRecord, RECORD_BYTES_MAX, Section};
pub use replay::{LogProgress, LogReplay};

/// When a record becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before [`Log::append`] returns.
    Always,
    /// This long after it was made, when [`Log::sync_if_due`] is called often enough.
    Interval(Duration),
    /// When the operating system writes it. A crash of the program loses nothing, a crash of the
    /// machine may.
    Os,
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// When a record becomes durable.
    pub sync: SyncPolicy,
    /// A segment that would grow beyond this is followed by a new one; a longer record gets a
    /// segment of its own.
    pub segment_bytes_max: u64,
    /// The file is filled with zeros this far ahead, so that a sync writes no metadata; 0 for
    /// not at all. Records longer than a quarter of it are not worth it and go without.
    pub preallocate_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { sync: SyncPolicy::Always, segment_bytes_max: 64 << 20, preallocate_bytes: 1 << 20 }
    }
}

/// A record that was being written when the machine stopped, and was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub path: String,
    /// Where the record started; the file ends there now.
    pub offset: u64,
    /// What was wrong with it.
    pub reason: String,
}

/// The log, open for appending.
#[derive(Debug)]
pub struct Log {
    media: Arc<dyn Media>,
    options: LogOptions,
    /// The finished segments, oldest first.
    sealed: Vec<Segment>,
    active: Option<Active>,
    last: CommitId,
    durable: CommitId,
    /// When the oldest record that is not durable was made.
    dirty_since_us: Option<i64>,
    torn: Option<TornTail>,
    framer: Framer,
    poison: Option<String>,
}

/// The segment that is written.
#[derive(Debug)]
struct Active {
    first: CommitId,
    file: Box<dyn MediaFile>,
    /// How far the file is filled with zeros.
    allocated: u64,
}

impl Log {
    /// Opens the log behind a manifest that holds everything up to `after`, and makes it when
    /// there is none. A torn last record is cut off and reported by [`Log::torn`].
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the newest segment is damaged or a commit behind `after` is
    /// missing; damage in older segments is found by the replay.
    pub fn open(
        media: Arc<dyn Media>,
        options: LogOptions,
        after: CommitId,
    ) -> Result<(Self, LogReplay), StoreError> {
        media.create_dir(DIR)?;
        media.sync_dir("")?;
        let mut log = Self {
            media: Arc::clone(&media),
            options,
            sealed: Vec::new(),
            active: None,
            last: after,
            durable: after,
            dirty_since_us: None,
            torn: None,
            framer: Framer::default(),
            poison: None,
        };
        let mut segments = log.find_segments()?;
        log.drop_unborn(&mut segments)?;
        if let Some(last) = segments.pop() {
            log.open_last(last, after)?;
            log.sealed = segments;
        }
        let mut found = log.sealed.clone();
        found.extend(log.active.as_ref().map(Active::segment));
        let Some(start) = found.iter().rposition(|s| s.first <= after.next()) else {
            return match found.first() {
                Some(first) => Err(missing(first.first, after)),
                None => Ok((log, LogReplay::new(media, Vec::new(), after, after))),
            };
        };
        if log.last < after {
            // The parts are newer than the whole log: under a lazy policy its end was lost.
            log.clear()?;
            log.last = after;
            log.durable = after;
            return Ok((log, LogReplay::new(media, Vec::new(), after, after)));
        }
        let replay = LogReplay::new(media, found.split_off(start), after, log.last);
        Ok((log, replay))
    }

    /// Adds the record of the next commit and makes it durable under the policy. An error
    /// poisons the log, except when the record is longer than [`RECORD_BYTES_MAX`].
    ///
    /// # Panics
    /// When the record is not that of [`Log::next_commit`]: a caller's mistake.
    pub fn append(&mut self, record: &LogRecord) -> Result<(), StoreError> {
        assert_eq!(record.commit, self.next_commit(), "log: commits follow each other");
        record.check_len()?;
        self.guarded(|log| log.append_record(record))
    }

    /// Makes everything appended durable.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.guarded(Self::sync_active)
    }

    /// Under [`SyncPolicy::Interval`], makes everything durable if the oldest record that is not
    /// was made long enough ago. Says whether it did.
    pub fn sync_if_due(&mut self, now_us: i64) -> Result<bool, StoreError> {
        let SyncPolicy::Interval(interval) = self.options.sync else { return Ok(false) };
        let Some(since) = self.dirty_since_us else { return Ok(false) };
        let interval_us = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
        // A clock that was set back must not put the sync off.
        let waits = now_us >= since && now_us.saturating_sub(since) < interval_us;
        if waits {
            return Ok(false);
        }
        self.sync().map(|()| true)
    }

    /// Removes the segments whose records are all before `commit`, which must be durable in the
    /// manifest. Says how many bytes that freed.
    pub fn truncate_before(&mut self, commit: CommitId) -> Result<u64, StoreError> {
        self.guarded(|log| log.remove_before(commit))
    }

    /// The last commit in the log, or the manifest's when the log is empty.
    #[must_use]
    pub fn last_commit(&self) -> CommitId {
        self.last
    }

    /// The commit that the next record must have.
    #[must_use]
    pub fn next_commit(&self) -> CommitId {
        self.last.next()
    }

    /// The last commit known to survive a crash of the machine.
    #[must_use]
    pub fn durable_commit(&self) -> CommitId {
        self.durable
    }

    /// How many bytes of records (and file heads) there are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|s| s.bytes).sum();
        sealed + self.active.as_ref().map_or(0, |active| active.file.position())
    }

    /// How many files there are.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.sealed.len() + usize::from(self.active.is_some())
    }

    /// The record that was cut off when the log was opened.
    #[must_use]
    pub fn torn(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    fn guarded<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(reason) = &self.poison {
            return Err(StoreError::Poisoned(reason.clone()));
        }
        let done = act(self);
        if let Err(error) = &done {
            self.poison = Some(error.to_string());
        }
        done
    }

    fn append_record(&mut self, record: &LogRecord) -> Result<(), StoreError> {
        let len = record.encoded_len() as u64;
        let full = |active: &Active| {
            let empty = active.file.position() <= FILE_HEAD_LEN as u64;
            !empty && active.file.position() + len > self.options.segment_bytes_max
        };
        if self.active.as_ref().is_none_or(full) {
            self.roll(record.commit)?;
        }
        let active = self.active.as_mut().expect("a segment was opened above");
        active.preallocate(len, self.options.preallocate_bytes)?;
        let parts = self.framer.frame(record, active.file.position());
        active.file.append_vectored(&parts)?;
        self.last = record.commit;
        self.dirty_since_us.get_or_insert(record.at_us);
        match self.options.sync {
            SyncPolicy::Always => self.sync_active(),
            SyncPolicy::Interval(_) | SyncPolicy::Os => Ok(()),
        }
    }

    fn sync_active(&mut self) -> Result<(), StoreError> {
        if let Some(active) = &mut self.active {
            active.file.sync()?;
        }
        self.durable = self.last;
        self.dirty_since_us = None;
        Ok(())
    }

    /// Finishes the open segment and starts one with the commit `first`. The finished one is
    /// durable before the new name is: only the newest segment can end in the middle of a record.
    fn roll(&mut self, first: CommitId) -> Result<(), StoreError> {
        if let Some(mut active) = self.active.take() {
            active.file.truncate(active.file.position())?;
            active.file.sync()?;
            self.durable = self.last;
            self.dirty_since_us = None;
            self.sealed.push(active.segment());
        }
        let mut file = self.media.create(&path_of(first))?;
        file.append(&file_head(first))?;
        file.sync()?;
        self.media.sync_dir(DIR)?;
        self.active = Some(Active { first, file, allocated: FILE_HEAD_LEN as u64 });
        Ok(())
    }

    fn remove_before(&mut self, commit: CommitId) -> Result<u64, StoreError> {
        let firsts = self.sealed.iter().map(|s| s.first).skip(1);
        let ends = firsts.chain([self.active.as_ref().map_or(self.next_commit(), |a| a.first)]);
        let count = ends.take_while(|end| *end <= commit).count();
        let mut freed = 0;
        for segment in self.sealed.drain(..count.min(self.sealed.len())) {
            self.media.remove(&path_of(segment.first))?;
            freed += segment.bytes;
        }
        // The open segment goes too when all it holds is in the manifest: the next commit starts
        // a new one, and a restart has nothing to skip.
        let done = self.sealed.is_empty() && self.next_commit() <= commit;
        if let Some(active) = self.active.take_if(|a| done && a.first < commit) {
            self.media.remove(&path_of(active.first))?;
            freed += active.file.position();
            self.durable = self.last;
            self.dirty_since_us = None;
        }
        if freed > 0 {
            self.media.sync_dir(DIR)?;
        }
        Ok(freed)
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        let active = self.active.take().map(|active| active.first);
        for first in self.sealed.drain(..).map(|s| s.first).chain(active) {
            self.media.remove(&path_of(first))?;
        }
        self.media.sync_dir(DIR)
    }

    fn find_segments(&self) -> Result<Vec<Segment>, StoreError> {
        let mut segments = Vec::new();
        for first in self.media.list(DIR)?.iter().filter_map(|name| first_of(name)) {
            segments.push(Segment { first, bytes: self.media.len(&path_of(first))? });
        }
        segments.sort_unstable_by_key(|s| s.first);
        Ok(segments)
    }

    /// Removes the newest segment when the machine stopped before its head was durable. It
    /// cannot hold a record then.
    fn drop_unborn(&mut self, segments: &mut Vec<Segment>) -> Result<(), StoreError> {
        let Some(last) = segments.last() else { return Ok(()) };
        if last.bytes > FILE_HEAD_LEN as u64 {
            return Ok(());
        }
        let path = path_of(last.first);
        if read_file_head(&self.media.read(&path)?).is_ok() {
            return Ok(());
        }
        self.media.remove(&path)?;
        self.media.sync_dir(DIR)?;
        let reason = "the file's head was not written to its end".to_owned();
        self.torn = Some(TornTail { path, offset: 0, reason });
        segments.pop();
        Ok(())
    }

    /// Finds the end of the newest segment, cuts a torn record, and opens it for appending.
    fn open_last(&mut self, last: Segment, after: CommitId) -> Result<(), StoreError> {
        let mut reader = replay::open(&self.media, last, last.first)?;
        let mut next = last.first;
        let torn = loop {
            match reader.step()? {
                Step::Record(record) => check_next(last.first, &reader, &record, next)?,
                Step::End => break None,
                Step::Bad(reason) => break Some(reason),
            }
            next = next.next();
        };
        let end = reader.offset();
        if let Some(reason) = &torn
            && let Some(whole) = reader.next_whole_record()?
        {
            let reason = format!("{reason}; a whole record follows at byte {whole}");
            return Err(damaged(last.first, end, reason));
        }
        let path = path_of(last.first);
        let mut file = self.media.open_append(&path, end)?;
        let mut allocated = last.bytes;
        if let Some(reason) = torn {
            file.truncate(end)?;
            allocated = end;
            self.torn = Some(TornTail { path, offset: end, reason });
        }
        // What was read may be in the system's memory only; it is acknowledged from here on.
        file.sync()?;
        self.active = Some(Active { first: last.first, file, allocated });
        self.last = CommitId(next.0 - 1);
        self.durable = self.last.max(after);
        Ok(())
    }
}

impl Active {
    fn segment(&self) -> Segment {
        Segment { first: self.first, bytes: self.file.position() }
    }

    fn preallocate(&mut self, len: u64, step: u64) -> Result<(), StoreError> {
        let end = self.file.position() + len;
        if end > self.allocated && len <= step / 4 {
            self.allocated = end.next_multiple_of(step);
            self.file.preallocate(self.allocated)?;
        }
        Ok(())
    }
}

fn missing(first: CommitId, after: CommitId) -> StoreError {
    let reason = format!(
        "the log begins with commit {first}, the manifest ends with commit {after}: what is \
         between them is missing"
    );
    damaged(first, 0, reason)
}

#[cfg(test)]
mod tests;
