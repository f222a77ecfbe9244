//! A sorted set of values per group, counted where values can be taken back: the state of what
//! cannot be undone otherwise, and of everything `DISTINCT`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array, ListArray, UInt32Array,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{filter, take_arrays};
use arrow::datatypes::{DataType, Field as ArrowField, Float64Type};
use yeoul_batch::hash64;

use super::blob::{self, Shape, Writer};
use super::codec::{self, Field};
use super::extreme::Direction;
use super::{Kind, Rows, widened};
use crate::error::FlowError;
use crate::group::{ByGroup, Groups, both};

/// What is in a set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SetKind {
    /// The order's fields, then the value.
    fields: Vec<Field>,
    /// Entries can be taken back.
    counted: bool,
    /// Of the value only its hash is kept.
    hashed: bool,
}

/// What is asked of a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SetQuestion {
    /// How many different values.
    Count,
    /// The value of the first entry.
    First,
    /// The value of the last entry.
    Last,
    /// All values, each as often as it is there.
    All,
    /// All values, each once.
    Distinct,
    /// The values' sum, each once.
    Sum,
    /// The values' average, each once.
    Avg,
    /// The value at this fraction of the values (`once`: of the different values).
    Percentile { fraction: f64, once: bool },
}

type Entry<'a> = (&'a [u8], i64);

impl SetKind {
    /// Values that are not null.
    pub(crate) fn of(data_type: DataType, counted: bool) -> Self {
        let direction = Direction::ASCENDING;
        Self {
            fields: vec![Field { data_type, direction, nullable: false }],
            counted,
            hashed: false,
        }
    }

    /// 64-bit hashes of values that are not null.
    pub(crate) fn of_hashes(counted: bool) -> Self {
        Self { hashed: true, ..Self::of(DataType::UInt64, counted) }
    }

    /// Values with nulls, behind the columns of their order.
    pub(crate) fn ordered(fields: Vec<(DataType, Direction)>, counted: bool) -> Self {
        let field = |(data_type, direction)| Field { data_type, direction, nullable: true };
        Self { fields: fields.into_iter().map(field).collect(), counted, hashed: false }
    }

    fn shape(&self) -> Shape {
        Shape { counted: self.counted, width: codec::entry_width(&self.fields) }
    }

    pub(super) fn build(
        &self,
        arguments: &[ArrayRef],
        rows: &Rows<'_>,
    ) -> Result<BinaryArray, FlowError> {
        let skipped = if self.fields[0].nullable { None } else { arguments[0].nulls() };
        let selected = both(skipped, rows.selected);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(rows.ids.to_vec()))];
        if self.hashed {
            let hashes = hash64(arguments, rows.ids.len())?;
            columns.push(Arc::new(UInt64Array::from(hashes)));
        } else {
            columns.extend(arguments.iter().cloned());
        }
        let mut diffs = rows.diffs.cloned();
        if let Some(selected) = selected {
            let mask = selected.into();
            for column in &mut columns {
                *column = filter(column, &mask)?;
            }
            diffs = match diffs {
                Some(diffs) => Some(filter(&diffs, &mask)?.as_primitive().clone()),
                None => None,
            };
        }
        // Most values of a batch come more than once: count them before they are encoded and sorted.
        let pairs = Groups::of(&columns, columns[0].len())?;
        let counts = self.pair_counts(&pairs, diffs.as_ref());
        let firsts = UInt32Array::from(pairs.firsts().to_vec());
        let unique = take_arrays(&columns, &firsts, None)?;
        let groups = unique[0].as_primitive::<arrow::datatypes::UInt32Type>().values();
        let entries = codec::encode(&self.fields, &unique[1..])?;
        let mut writer = Writer::new(self.shape(), rows.count);
        let by_group = ByGroup::new(groups, rows.count);
        let mut order: Vec<u32> = Vec::new();
        for members in by_group.iter() {
            order.clear();
            order.extend_from_slice(members);
            order.sort_unstable_by(|&a, &b| entries.get(a as usize).cmp(entries.get(b as usize)));
            for &pair in &order {
                writer.entry(entries.get(pair as usize), counts[pair as usize]);
            }
            writer.end()?;
        }
        Ok(writer.finish())
    }

    fn pair_counts(&self, pairs: &Groups, diffs: Option<&Int64Array>) -> Vec<i64> {
        if !self.counted {
            return vec![1; pairs.count()];
        }
        let mut counts = vec![0; pairs.count()];
        match diffs {
            None => pairs.ids().iter().for_each(|&pair| counts[pair as usize] += 1),
            Some(diffs) => {
                let rows = pairs.ids().iter().zip(diffs.values());
                rows.for_each(|(&pair, &diff)| counts[pair as usize] += diff);
            }
        }
        counts
    }

    pub(super) fn merge(
        &self,
        blobs: &BinaryArray,
        ids: &[u32],
        count: usize,
    ) -> Result<BinaryArray, FlowError> {
        let shape = self.shape();
        let mut writer = Writer::new(shape, count);
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for rows in ByGroup::new(ids, count).iter() {
            if let &[only] = rows {
                writer.copy(blobs.value(only as usize))?;
                continue;
            }
            entries.clear();
            for &row in rows {
                blob::read(blobs.value(row as usize), shape, &mut entries)?;
            }
            // A stable sort finds the runs that the blobs are and merges them.
            entries.sort_by(|a, b| a.0.cmp(b.0));
            for equal in entries.chunk_by(|a, b| a.0 == b.0) {
                let total = if shape.counted { equal.iter().map(|e| e.1).sum() } else { 1 };
                writer.entry(equal[0].0, total);
            }
            writer.end()?;
        }
        Ok(writer.finish())
    }

    /// The answers of all groups, of type `data_type`.
    pub(crate) fn answer(
        &self,
        question: SetQuestion,
        blobs: &BinaryArray,
        data_type: &DataType,
    ) -> Result<ArrayRef, FlowError> {
        match question {
            SetQuestion::Count => {
                let mut counts = Vec::with_capacity(blobs.len());
                self.each(blobs, |entries| counts.push(entries.len() as u64))?;
                let counts = counts.into_iter().map(u64::cast_signed);
                Ok(Arc::new(Int64Array::from_iter_values(counts)))
            }
            SetQuestion::First | SetQuestion::Last => {
                let mut ends = Vec::with_capacity(blobs.len());
                self.each(blobs, |entries| {
                    let end = if question == SetQuestion::First {
                        entries.first()
                    } else {
                        entries.last()
                    };
                    ends.push(end.map(|entry| entry.0));
                })?;
                codec::decode_last(&self.fields, ends.into_iter())
            }
            SetQuestion::All => self.lists(blobs, true, data_type),
            SetQuestion::Distinct => self.lists(blobs, false, data_type),
            SetQuestion::Sum | SetQuestion::Avg => self.distinct(question, blobs, data_type),
            SetQuestion::Percentile { fraction, once } => self.percentiles(fraction, once, blobs),
        }
    }

    /// Gives the entries of each blob that are there.
    fn each<'a>(
        &self,
        blobs: &'a BinaryArray,
        mut take: impl FnMut(&[Entry<'a>]),
    ) -> Result<(), FlowError> {
        let shape = self.shape();
        let mut entries = Vec::new();
        for row in 0..blobs.len() {
            entries.clear();
            blob::read(blobs.value(row), shape, &mut entries)?;
            entries.retain(|entry| entry.1 > 0);
            take(&entries);
        }
        Ok(())
    }

    /// All values, one after the other, and how many each group has.
    fn flat(
        &self,
        blobs: &BinaryArray,
        repeated: bool,
    ) -> Result<(ArrayRef, Vec<usize>), FlowError> {
        let mut all = Vec::new();
        let mut lengths = Vec::with_capacity(blobs.len());
        self.each(blobs, |entries| {
            let before = all.len();
            for &(entry, count) in entries {
                let times = if repeated { usize::try_from(count).unwrap_or(0) } else { 1 };
                all.extend(std::iter::repeat_n(Some(entry), times));
            }
            lengths.push(all.len() - before);
        })?;
        Ok((codec::decode_last(&self.fields, all.into_iter())?, lengths))
    }

    fn lists(
        &self,
        blobs: &BinaryArray,
        repeated: bool,
        data_type: &DataType,
    ) -> Result<ArrayRef, FlowError> {
        let (values, lengths) = self.flat(blobs, repeated)?;
        if i32::try_from(values.len()).is_err() {
            return Err(FlowError::range("array_agg()", data_type));
        }
        let nulls: NullBuffer = lengths.iter().map(|&length| length > 0).collect();
        let field = match data_type {
            DataType::List(field) => Arc::clone(field),
            _ => Arc::new(ArrowField::new_list_field(values.data_type().clone(), true)),
        };
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(field, offsets, values, Some(nulls))?))
    }

    /// Sum or average of the different values.
    fn distinct(
        &self,
        question: SetQuestion,
        blobs: &BinaryArray,
        data_type: &DataType,
    ) -> Result<ArrayRef, FlowError> {
        let (values, lengths) = self.flat(blobs, false)?;
        let mut ids = Vec::with_capacity(values.len());
        for (group, &length) in (0u32..).zip(&lengths) {
            ids.extend(std::iter::repeat_n(group, length));
        }
        let rows = Rows { ids: &ids, count: blobs.len(), selected: None, diffs: None };
        let counts = Kind::Count.build(&[], &rows)?.swap_remove(0);
        let kind = Kind::sum_of(values.data_type());
        let sums = kind.build(&[values], &rows)?;
        super::super::aggregate::sum_answer(question == SetQuestion::Avg, &counts, &sums, data_type)
    }

    /// Between the two values nearest to the place, as `percentile_cont` does; values that are not
    /// finite are left out, as the digest does.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "places among values that are in memory"
    )]
    fn percentiles(
        &self,
        fraction: f64,
        once: bool,
        blobs: &BinaryArray,
    ) -> Result<ArrayRef, FlowError> {
        let (values, lengths) = self.flat(blobs, !once)?;
        let values = widened(&values, &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>().values();
        let mut start = 0;
        let mut answers = Vec::with_capacity(blobs.len());
        for length in lengths {
            let group: Vec<f64> =
                values[start..start + length].iter().copied().filter(|v| v.is_finite()).collect();
            start += length;
            let Some(last) = group.len().checked_sub(1) else {
                answers.push(None);
                continue;
            };
            let place = fraction * last as f64;
            let below = (place.floor() as usize).min(last);
            let (low, high) = (group[below], group[(below + 1).min(last)]);
            answers.push(Some(low + (high - low) * (place - below as f64)));
        }
        Ok(Arc::new(Float64Array::from(answers)))
    }
}

impl Kind {
    /// The kind of sum for values of a type.
    pub(crate) fn sum_of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Decimal128(_, scale) => Self::DecimalSum { scale: *scale },
            DataType::Float32 | DataType::Float64 => Self::FloatSum,
            _ => Self::IntegerSum,
        }
    }
}
