//! Where reading a partition begins: by what is stored, by what the group has committed, by the options.

use super::forms::Start;
use super::options::Missing;

/// What is known of a partition when it is about to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Where the stream stands.
    pub(super) stored: Option<u64>,
    /// Where the group has committed.
    pub(super) committed: Option<u64>,
    /// The first message that the broker has.
    pub(super) earliest: u64,
    /// Behind the last one.
    pub(super) latest: u64,
    /// The first message of the time that `start` says.
    pub(super) at_time: Option<u64>,
    /// The topic was read before, and had no such partition.
    pub(super) is_new: bool,
}

/// Messages that the broker has no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    /// The message that is next.
    pub(super) wanted: u64,
    /// The first that there is.
    pub(super) earliest: u64,
    /// Behind the last that there is.
    pub(super) latest: u64,
}

impl Hole {
    /// How many messages are missing, where it can be known.
    pub(super) fn missing(self) -> Option<u64> {
        self.earliest.checked_sub(self.wanted).filter(|missing| *missing > 0)
    }
}

/// The offset where the partition is read from.
pub(super) fn begin(
    known: Known,
    start: &Start,
    number: i32,
    missing: Missing,
) -> Result<u64, Hole> {
    let Known { stored, committed, earliest, latest, at_time, is_new } = known;
    let wanted = match (stored, committed) {
        // Another member has read on since.
        (Some(stored), Some(committed)) => stored.max(committed),
        (Some(at), None) | (None, Some(at)) => at,
        (None, None) => match start {
            _ if is_new => earliest,
            Start::Earliest | Start::Group => earliest,
            Start::Latest => latest,
            Start::Time(_) => at_time.unwrap_or(latest),
            Start::Offsets(offsets) => offsets.get(&number).copied().unwrap_or(earliest),
        },
    };
    go_on(Hole { wanted, earliest, latest }, missing)
}

/// Where reading goes on from `wanted`, if the broker has it or the options say what to do.
pub(super) fn go_on(hole: Hole, missing: Missing) -> Result<u64, Hole> {
    if hole.missing().is_none() {
        return Ok(hole.wanted);
    }
    match missing {
        Missing::Stop => Err(hole),
        Missing::Earliest => Ok(hole.earliest),
        Missing::Latest => Ok(hole.latest),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_stored_counts_first_then_the_group_then_the_options() {
        let known = Known { earliest: 10, latest: 90, ..Known::default() };
        let at = |known, start: &Start| begin(known, start, 1, Missing::Stop);
        assert_eq!(at(known, &Start::Earliest), Ok(10));
        assert_eq!(at(known, &Start::Latest), Ok(90));
        assert_eq!(at(Known { is_new: true, ..known }, &Start::Latest), Ok(10));
        assert_eq!(at(Known { at_time: Some(42), ..known }, &Start::Time(5)), Ok(42));
        assert_eq!(at(known, &Start::Time(5)), Ok(90));
        let offsets = Start::Offsets(BTreeMap::from([(1, 33)]));
        assert_eq!(at(known, &offsets), Ok(33));
        assert_eq!(begin(known, &offsets, 2, Missing::Stop), Ok(10));
        let stored = Known { stored: Some(50), ..known };
        assert_eq!(at(stored, &Start::Latest), Ok(50));
        assert_eq!(at(Known { committed: Some(40), ..stored }, &Start::Latest), Ok(50));
        assert_eq!(at(Known { committed: Some(70), ..stored }, &Start::Latest), Ok(70));
        assert_eq!(at(Known { committed: Some(70), ..known }, &Start::Latest), Ok(70));
    }

    #[test]
    fn what_the_broker_has_no_more_is_a_hole() {
        let known = Known { stored: Some(3), earliest: 10, latest: 90, ..Known::default() };
        let at = |missing| begin(known, &Start::Earliest, 0, missing);
        let hole = Hole { wanted: 3, earliest: 10, latest: 90 };
        assert_eq!(at(Missing::Stop), Err(hole));
        assert_eq!(hole.missing(), Some(7));
        assert_eq!(at(Missing::Earliest), Ok(10));
        assert_eq!(at(Missing::Latest), Ok(90));
    }
}
