//! What is stored, committed to the group: for lag tools, and for who reads on elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;

use super::client::{self, Place};
use super::reader::{COMMIT_EVERY, Failure, Reader, WAIT};

/// How long it is waited for the group to take positions before partitions are given back.
const COMMIT_MAX: Duration = Duration::from_secs(2);

impl Reader<'_> {
    /// Commits to the group what is stored and was not committed yet, when it has answered the last time.
    pub(super) fn commit(&mut self) {
        self.commit_at = Instant::now() + COMMIT_EVERY;
        self.note_answers();
        if !self.commit_asked {
            self.ask_commit();
        }
    }

    /// Commits all that is stored before others read on, and waits until the group has it: what it does not know they
    /// read again.
    pub(super) fn commit_all(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        // What was refused before may have been asked before the group changed.
        let mut refused = None;
        let mut is_ours = false;
        loop {
            if let Some(answer) = self.note_answers() {
                refused = answer.err().filter(|_| is_ours);
            }
            if self.uncommitted().is_empty() {
                return Ok(());
            }
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
                return Ok(());
            }
            if !self.commit_asked {
                if is_ours {
                    std::thread::sleep(WAIT);
                }
                is_ours = true;
                self.ask_commit();
            }
            // What the group answers comes with polling. Not waited for without end: brokers may be away.
            self.poll(WAIT)?;
        }
    }

    fn ask_commit(&mut self) {
        let moved = self.uncommitted();
        if moved.is_empty() {
            return;
        }
        match self.queue.commit(&client::list(moved)) {
            Ok(()) => self.commit_asked = true,
            Err(error) => tracing::debug!("kafka: offsets were not committed: {error}"),
        }
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

    /// Takes what the group has answered; the last answer.
    fn note_answers(&mut self) -> Option<Result<(), RDKafkaErrorCode>> {
        let mut last = None;
        for answer in self.consumer.context().answers() {
            self.commit_asked = false;
            for (place, offset) in answer.as_ref().into_iter().flatten() {
                if let Some(at) = self.places.get(place) {
                    let committed = &mut self.readings[*at].committed;
                    *committed = (*offset).max(*committed);
                }
            }
            last = Some(answer.map(drop));
        }
        last
    }
}
