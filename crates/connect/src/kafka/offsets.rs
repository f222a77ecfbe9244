//! What is stored, committed to the group: for lag tools, and for who reads on elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use super::client::{self, Place};
use super::reader::{COMMIT_EVERY, Failure, Reader, WAIT};

/// How long it is waited for the group to take positions before partitions are given back.
const COMMIT_MAX: Duration = Duration::from_secs(2);

impl Reader<'_> {
    /// Commits to the group what is stored and was not committed yet.
    pub(super) fn commit(&mut self) {
        self.commit_at = Instant::now() + COMMIT_EVERY;
        self.note_committed();
        self.consumer.context().refused_commit();
        let moved = self.uncommitted();
        if moved.is_empty() {
            return;
        }
        if let Err(error) = self.consumer.commit(&client::list(moved), CommitMode::Async) {
            tracing::debug!("kafka: offsets were not committed: {error}");
        }
    }

    /// Commits all that is stored before others read on, and waits until the group has it: what it does not know they
    /// read again. Messages that are polled meanwhile are not stored, and are read again too.
    pub(super) fn commit_all(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        self.commit();
        while !self.uncommitted().is_empty() {
            let refused = self.consumer.context().refused_commit();
            // The group has gone on without us.
            let gone = matches!(
                refused,
                Some(
                    RDKafkaErrorCode::IllegalGeneration
                        | RDKafkaErrorCode::UnknownMemberId
                        | RDKafkaErrorCode::FencedInstanceId
                )
            );
            if gone || begun.elapsed() >= COMMIT_MAX {
                let message = "what is stored was not committed to the group: who reads on reads some of it again";
                tracing::warn!("source of \"{}\": {message}", self.stream.name());
                self.context.note_past(message.to_owned());
                break;
            }
            if refused.is_some() {
                self.commit();
            }
            // What the group answers comes with polling. Not waited for without end: brokers may be away.
            let consumer = self.consumer;
            match consumer.poll(WAIT) {
                None => {}
                Some(Ok(message)) => {
                    self.take(&message);
                }
                Some(Err(error)) => self.failed(error)?,
            }
            self.note_committed();
        }
        Ok(())
    }

    fn uncommitted(&self) -> BTreeMap<Place, Option<u64>> {
        let stored = self.readings.iter().filter_map(|reading| {
            let stored = self.shared.stored(&reading.partition.name)?;
            let partition = &reading.partition;
            let place = (partition.topic.clone(), partition.number);
            (stored > reading.committed).then_some((place, Some(stored)))
        });
        stored.collect()
    }

    fn note_committed(&mut self) {
        for (place, offset) in self.consumer.context().committed() {
            if let Some(at) = self.places.get(&place) {
                let committed = &mut self.readings[*at].committed;
                *committed = offset.max(*committed);
            }
        }
    }
}
