//! What the broker knows: topics, producers, transactions, and how far groups say they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kafka_protocol::error::ResponseError;

use super::log::Partition;

/// A partition, by its topic and number.
pub(super) type Place = (String, i32);
/// Where a group says it is.
type Committed = HashMap<(String, Place), i64>;

/// A transactional producer.
#[derive(Default)]
struct Transactional {
    producer: i64,
    epoch: i16,
    places: BTreeSet<Place>,
    /// What groups are to be at when it is committed.
    offsets: Vec<((String, Place), i64)>,
}

/// See the module.
#[derive(Default)]
pub(super) struct State {
    pub(super) topics: BTreeMap<String, Vec<Partition>>,
    committed: Committed,
    transactional: HashMap<String, Transactional>,
    producers: i64,
}

impl State {
    pub(super) fn partition(&mut self, place: &Place) -> Result<&mut Partition, ResponseError> {
        let number = usize::try_from(place.1).unwrap_or(usize::MAX);
        let found = self.topics.get_mut(&place.0).and_then(|partitions| partitions.get_mut(number));
        found.ok_or(ResponseError::UnknownTopicOrPartition)
    }

    /// Makes a topic, or gives it more partitions.
    pub(super) fn create(
        &mut self,
        topic: &str,
        partitions: usize,
        more: bool,
    ) -> Result<(), ResponseError> {
        match self.topics.get_mut(topic) {
            Some(_) if !more => Err(ResponseError::TopicAlreadyExists),
            None if more => Err(ResponseError::UnknownTopicOrPartition),
            Some(there) if there.len() >= partitions => Err(ResponseError::InvalidPartitions),
            Some(there) => {
                there.resize_with(partitions, Partition::default);
                Ok(())
            }
            None => {
                let new = (0..partitions).map(|_| Partition::default()).collect();
                self.topics.insert(topic.to_owned(), new);
                Ok(())
            }
        }
    }

    /// A producer gets a number; one with a name ends what the one before of that name has begun.
    pub(super) fn producer(&mut self, name: Option<&str>, now: i64) -> (i64, i16) {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            self.producers += 1;
            return (self.producers, 0);
        };
        self.end(name, false, now);
        let next = self.producers + 1;
        let known = self.transactional.entry(name.to_owned()).or_default();
        match known.producer {
            0 => {
                known.producer = next;
                self.producers = next;
            }
            _ => known.epoch += 1,
        }
        (known.producer, known.epoch)
    }

    fn transaction(
        &mut self,
        name: &str,
        (producer, epoch): (i64, i16),
    ) -> Result<&mut Transactional, ResponseError> {
        let known = self.transactional.get_mut(name).filter(|known| known.producer == producer);
        let known = known.ok_or(ResponseError::InvalidProducerIdMapping)?;
        match known.epoch == epoch {
            true => Ok(known),
            false => Err(ResponseError::ProducerFenced),
        }
    }

    /// A partition becomes part of a transaction.
    pub(super) fn join(
        &mut self,
        name: &str,
        who: (i64, i16),
        place: Place,
    ) -> Result<(), ResponseError> {
        self.partition(&place)?;
        self.transaction(name, who)?.places.insert(place);
        Ok(())
    }

    /// Whether this producer may go on with its transaction.
    pub(super) fn may(&mut self, name: &str, who: (i64, i16)) -> Result<(), ResponseError> {
        self.transaction(name, who).map(drop)
    }

    /// A group is to be at an offset when the transaction is committed.
    pub(super) fn commit_within(
        &mut self,
        name: &str,
        who: (i64, i16),
        group: &str,
        (place, offset): (Place, i64),
    ) -> Result<(), ResponseError> {
        self.transaction(name, who)?.offsets.push(((group.to_owned(), place), offset));
        Ok(())
    }

    /// Ends a transaction.
    pub(super) fn end_by(
        &mut self,
        name: &str,
        who: (i64, i16),
        commits: bool,
        now: i64,
    ) -> Result<(), ResponseError> {
        self.transaction(name, who)?;
        self.end(name, commits, now);
        Ok(())
    }

    fn end(&mut self, name: &str, commits: bool, now: i64) {
        let Some(known) = self.transactional.get_mut(name) else { return };
        let (producer, epoch) = (known.producer, known.epoch);
        let places = std::mem::take(&mut known.places);
        let offsets = std::mem::take(&mut known.offsets);
        for place in places {
            if let Ok(partition) = self.partition(&place) {
                partition.end_transaction(producer, epoch, commits, now);
            }
        }
        if commits {
            self.committed.extend(offsets);
        }
    }

    /// A group says where it is.
    pub(super) fn commit(&mut self, group: &str, place: Place, offset: i64) {
        self.committed.insert((group.to_owned(), place), offset);
    }

    /// Where the group has said it is; -1 where it has not.
    pub(super) fn committed(&self, group: &str, place: Place) -> i64 {
        self.committed.get(&(group.to_owned(), place)).copied().unwrap_or(-1)
    }

    /// The partitions of which the group has said where it is.
    pub(super) fn committed_places(&self, group: &str) -> Vec<Place> {
        self.committed
            .keys()
            .filter(|(of, _)| of == group)
            .map(|(_, place)| place.clone())
            .collect()
    }
}
