//! The rows that a step looks at, in order, as they were and as they are.

use std::ops::Range;

use arrow::array::AsArray;
use arrow::array::{BinaryArray, RecordBatch, UInt32Array};
use arrow::compute::{take, take_record_batch};
use yeoul_batch::KeyCodec;

use crate::error::FlowError;
use crate::group::Groups;

/// Parts of partitions, one behind the other. Rows that tie are in the order of all of their columns.
pub(super) struct Touched {
    /// In the columns of the tree.
    pub(super) stored: RecordBatch,
    pub(super) parts: Vec<Range<usize>>,
    /// What each part was called.
    numbers: Vec<u32>,
    /// The order of rows, where there is one.
    pub(super) order: Option<BinaryArray>,
    /// How often each row was there.
    pub(super) before: Vec<usize>,
    /// How often it is there from now on.
    pub(super) after: Vec<usize>,
    /// States that parts begin behind, and which.
    pub(super) states: Option<(RecordBatch, Vec<Option<u32>>)>,
}

/// What is known of a row: the part that it is in, and how often it was there and is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) number: u32,
    pub(super) before: i64,
    pub(super) after: i64,
}

impl Touched {
    /// Of stored rows; one may come several times. `order` gives the order of such rows.
    pub(super) fn new(
        rows: RecordBatch,
        parts: Vec<Part>,
        order: impl Fn(&RecordBatch) -> Result<Option<BinaryArray>, FlowError>,
    ) -> Result<Self, FlowError> {
        let (rows, parts) = match parts.iter().any(|part| part.before.min(part.after) < 0) {
            true => summed(&rows, &parts)?,
            false => (rows, parts),
        };
        let place = order(&rows)?;
        let all: Vec<usize> = (0..rows.num_columns()).collect();
        let bytes = KeyCodec::new(&rows.schema(), &all)?.encode_columns(rows.columns())?;
        // A row that is to go before it comes counts when it has come.
        let is_there = |row: &u32| {
            let part = parts[*row as usize];
            part.before > 0 || part.after > 0
        };
        let mut sorted: Vec<u32> = (0u32..).take(parts.len()).filter(is_there).collect();
        sorted.sort_unstable_by(|&a, &b| {
            let (a, b) = (a as usize, b as usize);
            let number = parts[a].number.cmp(&parts[b].number);
            let place =
                || place.as_ref().map_or(std::cmp::Ordering::Equal, |p| p.value(a).cmp(p.value(b)));
            number.then_with(place).then_with(|| bytes.row(a).cmp(&bytes.row(b)))
        });
        let times = |count: i64| usize::try_from(count).unwrap_or(0);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let (mut numbers, mut ranges): (Vec<u32>, Vec<Range<usize>>) = Default::default();
        for (at, &row) in sorted.iter().enumerate() {
            let part = parts[row as usize];
            before.push(times(part.before));
            after.push(times(part.after));
            match ranges.last_mut().filter(|_| numbers.last() == Some(&part.number)) {
                Some(range) => range.end = at + 1,
                None => {
                    ranges.push(at..at + 1);
                    numbers.push(part.number);
                }
            }
        }
        let sorted = UInt32Array::from(sorted);
        let order = place.map(|place| take(&place, &sorted, None)).transpose()?;
        let order = order.map(|order| order.as_binary::<i32>().clone());
        let stored = take_record_batch(&rows, &sorted)?;
        Ok(Self { stored, parts: ranges, numbers, order, before, after, states: None })
    }

    /// The same, where the part that was called `n` begins behind `states[of[n]]`.
    pub(super) fn behind(self, states: RecordBatch, of: Vec<Option<u32>>) -> Self {
        let of = self.numbers.iter().map(|&number| of[number as usize]).collect();
        Self { states: Some((states, of)), ..self }
    }

    /// Whether a row ties with the one before it, which is in the same part.
    pub(super) fn ties(&self, row: usize) -> bool {
        self.order.as_ref().is_some_and(|order| order.value(row - 1) == order.value(row))
    }
}

/// Every row once, with the sums of its counts.
fn summed(rows: &RecordBatch, parts: &[Part]) -> Result<(RecordBatch, Vec<Part>), FlowError> {
    let groups = Groups::of(rows.columns(), rows.num_rows())?;
    let firsts = groups.firsts().to_vec();
    let number = |&row: &u32| Part { number: parts[row as usize].number, before: 0, after: 0 };
    let mut sums: Vec<Part> = firsts.iter().map(number).collect();
    for (&group, part) in groups.ids().iter().zip(parts) {
        let sum = &mut sums[group as usize];
        (sum.before, sum.after) = (sum.before + part.before, sum.after + part.after);
    }
    Ok((take_record_batch(rows, &UInt32Array::from(firsts))?, sums))
}
