//! Which partitions are read, and from where: by the group, or all there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::KafkaError;
use regex::Regex;

use super::begin::{Hole, Known, begin, go_on};
use super::block::Partition;
use super::client::{self, ANSWER, Place, Rebalance};
use super::forms::Start;
use super::options::Missing;
use super::reader::{Failure, Reader};
use super::submit::SOURCE;
use crate::error::ConnectError;

/// How often topics are looked at for new partitions, where no group does it.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How soon, when there was nothing to read or no answer.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// How long after a broker did not answer it is asked again.
const AGAIN: Duration = Duration::from_millis(200);

fn partition((topic, number): &Place) -> Arc<Partition> {
    let name = format!("{topic}/{number}").into();
    Arc::new(Partition { name, topic: topic.clone(), number: *number })
}

/// What a rebalance did, for people.
fn what(done: &str, places: &[Place]) -> String {
    /// How many partitions are named.
    const NAMED: usize = 16;
    let names = places.iter().take(NAMED).map(|(topic, number)| format!("{topic}/{number}"));
    let names = names.collect::<Vec<_>>().join(", ");
    match places.len() {
        0 => format!("{done} nothing"),
        more if more > NAMED => format!("{done} {more} partitions: {names}, …"),
        _ => format!("{done} {names}"),
    }
}

impl Reader<'_> {
    /// Begins to read: as a member of the group, or all that there is.
    pub(super) fn subscribe(&mut self) -> Result<(), Failure> {
        if self.options.group.is_some() {
            let topics: Vec<&str> = self.options.topics.iter().map(String::as_str).collect();
            self.consumer.subscribe(&topics)?;
        }
        Ok(())
    }

    /// Does what the group has decided, or looks for partitions that are new.
    pub(super) fn follow(&mut self) -> Result<(), Failure> {
        self.note_ends();
        if self.options.group.is_none() && Instant::now() >= self.look_at {
            self.look()?;
        }
        for rebalance in self.consumer.context().rebalances() {
            let cooperative =
                matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
            match rebalance {
                Rebalance::Assign(places) => {
                    if !places.is_empty() {
                        self.context.note_error(None);
                    }
                    self.context.report().shared_out(what("was given", &places));
                    let list = client::list(self.begin(&places)?);
                    match cooperative {
                        true => self.consumer.incremental_assign(&list)?,
                        false => self.consumer.assign(&list)?,
                    }
                }
                Rebalance::Revoke { places, lost } => {
                    if lost {
                        let message = "the group took the partitions away: this member was not heard of for too long";
                        self.context.note_past(message.to_owned());
                    }
                    self.context.report().shared_out(what("gave back", &places));
                    self.remove(&places)?;
                    match cooperative {
                        true => {
                            let places = places.into_iter().map(|place| (place, None));
                            self.consumer.incremental_unassign(&client::list(places))?;
                        }
                        false => self.consumer.unassign()?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks at the topics, and reads the partitions that are not read yet.
    fn look(&mut self) -> Result<(), Failure> {
        let (found, wrong) = match self.existing() {
            Ok(seen) => seen,
            Err(error) => (Vec::new(), Some(error)),
        };
        if wrong.is_some() || self.wrong {
            self.wrong = wrong.is_some();
            self.context.note_error(wrong);
        }
        let new: Vec<Place> = found.into_iter().filter(|place| !self.has(place)).collect();
        if !new.is_empty() {
            self.begin(&new)?;
            // The others are read again from the message that is next.
            let all = self.readings.iter().map(|reading| {
                let Partition { topic, number, .. } = &*reading.partition;
                ((topic.clone(), *number), Some(reading.next))
            });
            self.consumer.assign(&client::list(all))?;
        }
        let soon = self.readings.is_empty() || self.wrong;
        let wait = if soon { LOOK_SOON } else { LOOK_EVERY };
        self.look_at = Instant::now() + wait;
        Ok(())
    }

    /// The partitions there are of our topics, and what is wrong with other topics; else why brokers cannot be asked.
    fn existing(&self) -> Result<(Vec<Place>, Option<String>), String> {
        let pattern = match self.options.is_pattern() {
            true => Some(Regex::new(&self.options.topics[0]).map_err(|e| e.to_string())?),
            false => None,
        };
        let asked: Vec<Option<&str>> = match &pattern {
            Some(_) => vec![None],
            None => self.options.topics.iter().map(|topic| Some(topic.as_str())).collect(),
        };
        let mut found = Vec::new();
        let mut wrong = None;
        for topic in asked {
            let metadata = self.consumer.fetch_metadata(topic, ANSWER).map_err(|error| {
                let why = self.consumer.context().why(&error);
                format!("{} do not answer: {why}", self.options.brokers)
            })?;
            for topic in metadata.topics() {
                if pattern.as_ref().is_some_and(|pattern| !pattern.is_match(topic.name())) {
                    continue;
                }
                if topic.partitions().is_empty() {
                    let of = format!("topic \"{}\" at {}", topic.name(), self.options.brokers);
                    let what = topic.error().map(rdkafka::error::RDKafkaErrorCode::from);
                    let what = what.map_or("it has no partitions".to_owned(), |e| e.to_string());
                    wrong = wrong.or(Some(format!("{of}: {what}")));
                }
                let numbers = topic.partitions().iter().map(|partition| partition.id());
                let ours = numbers.filter(|number| self.options.reads(*number));
                found.extend(ours.map(|number| (topic.name().to_owned(), number)));
            }
        }
        Ok((found, wrong))
    }

    /// Begins to read the partitions; gives where. The greatest number first: it says that all below it were there
    /// when reading began, wherever a crash comes between.
    fn begin(&mut self, places: &[Place]) -> Result<Vec<(Place, Option<u64>)>, Failure> {
        let mut places = places.to_vec();
        places.sort_by(|a, b| b.cmp(a));
        let known = self.known(&places)?;
        let mut all = Vec::with_capacity(places.len());
        for (place, known) in places.iter().zip(known) {
            let partition = partition(place);
            let (start, missing) = (&self.options.start, self.options.missing);
            let at = begin(known, start, place.1, missing)
                .map_err(|hole| Failure::Fatal(self.stopped_by(&partition, hole)))?;
            if let Some(wanted) = known.stored.filter(|stored| *stored < known.earliest) {
                let hole = Hole { wanted, earliest: known.earliest, latest: known.latest };
                self.note_hole(&partition, hole, at);
            }
            self.add(partition, at)?;
            all.push((place.clone(), Some(at)));
        }
        Ok(all)
    }

    /// What is known of the partitions; asks again until brokers answer.
    fn known(&self, places: &[Place]) -> Result<Vec<Known>, Failure> {
        let stored = self.context.engine.positions(self.stream, SOURCE);
        loop {
            match self.ask(places, &stored) {
                Ok(known) => return Ok(known),
                Err(_) if self.context.stopped() => return Err(Failure::Ended),
                Err(error) => self.context.note_error(Some(self.consumer.context().why(&error))),
            }
            self.context.sleep(AGAIN);
        }
    }

    fn ask(
        &self,
        places: &[Place],
        stored: &BTreeMap<Arc<str>, u64>,
    ) -> Result<Vec<Known>, KafkaError> {
        let named = |place: &Place| partition(place).name.clone();
        let fresh = |place: &&Place| !stored.contains_key(&named(place));
        let fresh: Vec<Place> = places.iter().filter(fresh).cloned().collect();
        let none = || places.iter().map(|place| (place.clone(), None));
        let committed: HashMap<Place, u64> = match &self.options.group {
            Some(_) if !places.is_empty() => {
                let list = self.consumer.committed_offsets(client::list(none()), ANSWER)?;
                client::offsets(&list).into_iter().collect()
            }
            _ => HashMap::new(),
        };
        let at_time: HashMap<Place, u64> = match &self.options.start {
            Start::Time(ms) if !fresh.is_empty() => {
                let wanted = fresh.iter().map(|place| (place.clone(), u64::try_from(*ms).ok()));
                let list = self.consumer.offsets_for_times(client::list(wanted), ANSWER)?;
                client::offsets(&list).into_iter().collect()
            }
            _ => HashMap::new(),
        };
        let mut all = Vec::with_capacity(places.len());
        for place in places {
            let (low, high) = self.consumer.fetch_watermarks(&place.0, place.1, ANSWER)?;
            let numbers = stored.keys().filter_map(|name| {
                let (topic, number) = name.rsplit_once('/')?;
                number.parse::<i32>().ok().filter(|_| topic == place.0)
            });
            all.push(Known {
                stored: stored.get(&named(place)).copied(),
                committed: committed.get(place).copied(),
                earliest: u64::try_from(low).unwrap_or(0),
                latest: u64::try_from(high).unwrap_or(0),
                at_time: at_time.get(place).copied(),
                // Partitions that are added to a topic have greater numbers than those there are.
                is_new: numbers.max().is_some_and(|greatest| greatest < place.1),
            });
        }
        Ok(all)
    }

    /// A broker does not have the message that is next of one of the partitions.
    pub(super) fn look_for_holes(&mut self) -> Result<(), Failure> {
        let mut found = false;
        for at in 0..self.readings.len() {
            let partition = Arc::clone(&self.readings[at].partition);
            let (topic, number) = (&partition.topic, partition.number);
            let (low, high) = self.consumer.fetch_watermarks(topic, number, ANSWER)?;
            let (earliest, latest) =
                (u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0));
            let hole = Hole { wanted: self.readings[at].next, earliest, latest };
            if hole.wanted > latest {
                return Err(Failure::Fatal(self.stopped_by(&partition, hole)));
            }
            if hole.missing().is_some() {
                let next = go_on(hole, self.options.missing)
                    .map_err(|hole| Failure::Fatal(self.stopped_by(&partition, hole)))?;
                self.note_hole(&partition, hole, next);
                self.skip(at, next)?;
                found = true;
            }
        }
        if !found {
            // It has it after all: librdkafka has stopped reading the partition, and begins again where it is told.
            self.context.sleep(AGAIN);
            for reading in &self.readings {
                let Partition { topic, number, .. } = &*reading.partition;
                let next = i64::try_from(reading.next).unwrap_or(i64::MAX);
                self.consumer.seek(topic, *number, Offset::Offset(next), ANSWER)?;
            }
        }
        Ok(())
    }

    fn note_hole(&self, partition: &Partition, hole: Hole, next: u64) {
        let missing = hole.missing().unwrap_or(0);
        let word = if self.options.missing == Missing::Latest { "latest" } else { "earliest" };
        let message = format!(
            "{}: {missing} messages from offset {} on were missing at the broker; reading went on at {next}, as missing_offset = '{word}' says",
            partition.name, hole.wanted
        );
        tracing::warn!("source of \"{}\": {message}", self.stream.name());
        self.context.note_past(message);
    }

    /// The error of a source that cannot go on.
    fn stopped_by(&self, partition: &Partition, hole: Hole) -> ConnectError {
        let stream = self.stream.name();
        let Hole { wanted, earliest, latest } = hole;
        let name = &partition.name;
        match hole.missing() {
            Some(missing) => ConnectError::new(
                stream,
                format!("{name}: {missing} messages are missing: offset {wanted} is next, and the broker has {earliest} to {latest}"),
            )
            .with_hint(format!("to go on without them, ALTER STREAM {stream} SET (missing_offset = 'earliest'), or 'latest'")),
            None => ConnectError::new(
                stream,
                format!("{name}: offset {wanted} is next, and the broker's last is before {latest}: the topic was made anew, or has lost messages"),
            )
            .with_hint("make another stream for the topic that is there now"),
        }
    }
}

/// What an error of librdkafka says.
pub(super) fn reason(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}
