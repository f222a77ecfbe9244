//! The files of a followed source: those that are there, those that come, those that are replaced.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::plan::{FileName, Kind, Packing, Plan};
use super::reader::{Opener, Reader, Step};
use super::text::Fate;
use crate::error::ConnectError;
use crate::source::Context;

/// How often the folder is looked at for new files.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a file that was moved away is still read: a program that writes to it is told to open the
/// new one only after that (`logrotate`), and ends a record or two first.
const MOVED_WAIT: Duration = Duration::from_secs(5);

/// A file and how far its reading is.
pub(super) struct Tailed {
    pub(super) file: FileName,
    generation: u32,
    /// Open, unless it is read to its end or could not be opened.
    pub(super) reader: Option<Reader>,
    /// Whether there is nothing more to read under this name.
    ended: bool,
    /// Whether anything was read under the name of this generation.
    has_records: bool,
    /// When all of it was read and it was found moved away.
    moved: Option<Instant>,
}

/// The files of a source, opened as they come.
pub(super) struct Files<'a> {
    plan: &'a Plan,
    opener: Opener<'a>,
    context: &'a Context,
    looked: Option<Instant>,
    known: HashSet<FileName>,
    pub(super) files: Vec<Tailed>,
}

impl<'a> Files<'a> {
    pub(super) fn new(plan: &'a Plan, opener: Opener<'a>, context: &'a Context) -> Self {
        Self { plan, opener, context, looked: None, known: HashSet::new(), files: Vec::new() }
    }

    /// Opens files that came since the last time, or all of them the first time.
    pub(super) fn look(&mut self) -> Result<(), ConnectError> {
        let now = Instant::now();
        let first = self.looked.is_none();
        if self.looked.is_some_and(|at| !self.plan.follow || now - at < LOOK_EVERY) {
            return Ok(());
        }
        self.looked = Some(now);
        for file in self.plan.files()? {
            if self.known.contains(&file) {
                continue;
            }
            let generation = match self.opener.generation(&file) {
                Ok(generation) => generation,
                // It is tried again, as it is when it cannot be opened.
                Err(error) if !first => {
                    self.context.note_error(Some(format!("{}: {error}", file.shown)));
                    continue;
                }
                Err(error) => return Err(self.plan.failed(&file, error)),
            };
            self.known.insert(file.clone());
            let has_records = self.opener.is_stored(&file, generation);
            let (reader, ended, moved) = (None, false, None);
            self.files.push(Tailed { file, generation, reader, ended, has_records, moved });
        }
        for at in 0..self.files.len() {
            let known = &self.files[at];
            if known.reader.is_none() && !known.ended && known.file.path.exists() {
                self.open(at, first)?;
            }
        }
        Ok(())
    }

    /// A failure of the file `at`.
    pub(super) fn failed(&self, at: usize, what: impl std::fmt::Display) -> ConnectError {
        self.plan.failed(&self.files[at].file, what)
    }

    fn open(&mut self, at: usize, first: bool) -> Result<(), ConnectError> {
        let known = &mut self.files[at];
        match self.opener.open(&known.file, known.generation) {
            Ok(reader) => known.reader = Some(reader),
            // A file that is just being written, or is gone again, is tried again.
            Err(error) if self.plan.follow && !first => {
                self.context.note_error(Some(format!("{}: {error}", known.file.shown)));
            }
            Err(error) => return Err(self.plan.failed(&known.file, error)),
        }
        Ok(())
    }

    /// What the file `at` has next. At the end of a file that was replaced, its last record is given
    /// and the next generation is opened.
    pub(super) fn next(&mut self, at: usize) -> Result<Step, ConnectError> {
        let Some(known) = self.files.get_mut(at) else { return Ok(Step::End) };
        let Some(reader) = &mut known.reader else {
            return Ok(if known.ended { Step::End } else { Step::Pending });
        };
        let failed = |e| self.plan.failed(&known.file, e);
        match reader.next().map_err(failed)? {
            Step::Pending => {
                let Reader::Text(text) = reader else { return Ok(Step::Pending) };
                match text.fate().map_err(|e| self.plan.failed(&known.file, e))? {
                    Fate::There => known.moved = None,
                    Fate::Moved
                        if known.moved.get_or_insert_with(Instant::now).elapsed() < MOVED_WAIT => {}
                    Fate::Moved | Fate::Over => text.end_tail(),
                }
                Ok(Step::Pending)
            }
            Step::End => {
                (known.reader, known.moved) = (None, None);
                let grows = self.plan.kind(&known.file) == Kind::Text(Packing::Plain);
                known.ended = !(self.plan.follow && grows);
                if known.ended {
                    return Ok(Step::End);
                }
                // Generations follow each other without a gap, so that the newest is found again: one
                // of which nothing is stored is not counted.
                known.generation += u32::from(std::mem::take(&mut known.has_records));
                if known.file.path.exists() {
                    self.open(at, false)?;
                }
                Ok(Step::Pending)
            }
            Step::Piece(piece) => {
                known.has_records |= piece.has_records();
                Ok(Step::Piece(piece))
            }
        }
    }
}
