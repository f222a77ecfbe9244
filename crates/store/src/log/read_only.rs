//! The records of a log that is only looked at, also while another process writes it.

use std::sync::Arc;

use yeoul_batch::CommitId;

use super::replay::{LogReplay, Segment, check_next, open};
use super::segment::{DIR, FILE_HEAD_LEN, Step, first_of, path_of};
use crate::{Media, StoreError};

impl LogReplay {
    /// The whole records with a commit greater than `after`, as far as they are written now. Changes
    /// nothing: a torn last record is left where it is.
    pub fn read_only(media: Arc<dyn Media>, after: CommitId) -> Result<Self, StoreError> {
        let mut segments = Vec::new();
        for first in media.list(DIR)?.iter().filter_map(|name| first_of(name)) {
            let bytes = media.len(&path_of(first))?;
            if bytes > FILE_HEAD_LEN as u64 {
                segments.push(Segment { first, bytes });
            }
        }
        segments.sort_unstable_by_key(|segment| segment.first);
        let Some(start) = segments.iter().rposition(|s| s.first <= after.next()) else {
            return Ok(Self::new(media, Vec::new(), after, after));
        };
        let mut segments = segments.split_off(start);
        let mut last = after;
        if let Some(newest) = segments.last_mut() {
            let mut reader = open(&media, *newest, newest.first)?;
            let mut next = newest.first;
            while let Step::Record(record) = reader.step()? {
                check_next(newest.first, &reader, &record, next)?;
                next = next.next();
            }
            newest.bytes = reader.offset();
            last = CommitId(next.0 - 1);
        }
        if last <= after {
            return Ok(Self::new(media, Vec::new(), after, after));
        }
        Ok(Self::new(media, segments, after, last))
    }
}
