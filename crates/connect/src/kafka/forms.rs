//! The forms of options: places to begin, numbers of partitions, settings of librdkafka.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;

/// Where a partition begins of which nothing is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At the first message there is.
    Earliest,
    /// Behind the last.
    Latest,
    /// Where the group has committed.
    Group,
    /// At the first message of this time or later, in milliseconds since 1970.
    Time(i64),
    /// At these offsets, by the number of the partition.
    Offsets(BTreeMap<i32, u64>),
}

impl Start {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text.trim() {
            "earliest" => Self::Earliest,
            "latest" => Self::Latest,
            "group" => Self::Group,
            text => match parse_offsets(text) {
                Some(offsets) => Self::Offsets(offsets),
                None => Self::Time(string_to_timestamp_nanos(text).ok()?.div_euclid(1_000_000)),
            },
        })
    }
}

fn parse_offsets(text: &str) -> Option<BTreeMap<i32, u64>> {
    let mut offsets = BTreeMap::new();
    for pair in text.split(',') {
        let (partition, offset) = pair.split_once(':')?;
        let partition = partition.trim().parse().ok().filter(|number| *number >= 0)?;
        let offset = offset.trim().parse().ok().filter(|offset| i64::try_from(*offset).is_ok())?;
        if offsets.insert(partition, offset).is_some() {
            return None;
        }
    }
    Some(offsets)
}

pub(super) fn parse_ranges(text: &str) -> Option<Vec<RangeInclusive<i32>>> {
    let number = |text: &str| text.trim().parse::<i32>().ok().filter(|number| *number >= 0);
    let range = |text: &str| match text.split_once('-') {
        Some((first, last)) => {
            let range = number(first)?..=number(last)?;
            (!range.is_empty()).then_some(range)
        }
        None => number(text).map(|one| one..=one),
    };
    text.split(',').map(range).collect()
}

pub(super) fn parse_properties(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |text: &str| {
        let (name, value) = text.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    text.split(',').map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_words_times_or_offsets() {
        assert_eq!(Start::parse("latest"), Some(Start::Latest));
        let offsets = BTreeMap::from([(0, 120), (3, 7)]);
        assert_eq!(Start::parse("0:120, 3:7"), Some(Start::Offsets(offsets)));
        assert_eq!(Start::parse("1970-01-01T00:01:00Z"), Some(Start::Time(60_000)));
        for wrong in ["", "soon", "0:1, 0:2", "0:-1", "-1:0", "0", "0:99999999999999999999"] {
            assert_eq!(Start::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn partitions_are_numbers_and_ranges() {
        assert_eq!(parse_ranges("0, 2,5-7"), Some(vec![0..=0, 2..=2, 5..=7]));
        for wrong in ["", "a", "3-1", "-1", "1,,2"] {
            assert_eq!(parse_ranges(wrong), None, "{wrong}");
        }
    }
}
