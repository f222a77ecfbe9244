//! How much memory rows take when they are read: what a reader goes by that takes many rows at once.
//!
//! ```text
//!   bytes │            ╭─────  the pages say how long their strings are; between two ends of pages
//!         │      ╭─────╯       rows are taken for equal
//!         ╰──────┴──────────▶ rows
//! ```
//!
//! What must hold: narrow rows are read as many at once as the reader likes, wide ones so many that they take about
//! what it may have, wherever they are in the part.

use arrow::array::{Array, AsArray, ByteView, RecordBatch};
use arrow::datatypes::DataType;
use parquet::basic::Type;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::gather::column_bytes;
use super::wanted::group_rows;

/// What a string takes beside its bytes: those of its view.
const VIEW_BYTES: u64 = 16;

/// How much the rows of a part take up to each of some rows.
#[derive(Debug)]
pub(super) struct Weights {
    /// Rows, and the bytes of all before; ascending.
    steps: Vec<(u64, u64)>,
}

impl Weights {
    /// Of the columns `of`, given as numbers of Parquet's.
    pub(super) fn read(metadata: &ParquetMetaData, of: impl Fn(usize) -> bool) -> Self {
        // From which row on a column has so many bytes on so many rows.
        let mut changes: Vec<(u64, f64)> = Vec::new();
        let mut start = 0;
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let rows = group_rows(metadata, number) as u64;
            for column in (0..group.num_columns()).filter(|&column| of(column)) {
                for (from, to, bytes) in pages(metadata, (number, column), rows) {
                    let density = as_float(bytes) / as_float(to.saturating_sub(from).max(1));
                    changes.extend([(start + from, density), (start + to, -density)]);
                }
            }
            start += rows;
        }
        changes.sort_unstable_by_key(|change| change.0);
        let mut steps = vec![(0, 0)];
        let (mut at, mut bytes, mut density) = (0, 0.0, 0.0);
        for (row, change) in changes {
            if row > at {
                bytes += density * as_float(row - at);
                steps.push((row, as_whole(bytes)));
                at = row;
            }
            density += change;
        }
        Self { steps }
    }

    /// About how much the rows before `row` take.
    pub(super) fn before(&self, row: u64) -> u64 {
        let next = self.steps.partition_point(|step| step.0 <= row);
        let (from, bytes) = self.steps[next.saturating_sub(1)];
        let Some(&(to, end)) = self.steps.get(next) else { return bytes };
        let share = as_float(row - from) / as_float((to - from).max(1));
        bytes + as_whole(as_float(end - bytes) * share)
    }

    /// How many rows can be read at once when all of a part are, so many at a time.
    pub(super) fn rows_at_once(&self, rows_max: usize, bytes_max: u64) -> usize {
        let all = self.steps.last().map_or(0, |step| step.0);
        let mut rows = rows_max.max(1);
        let fits = |rows: u64| {
            let ends = (0..all.div_ceil(rows)).map(|n| (n + 1).saturating_mul(rows).min(all));
            let mut from = 0;
            ends.map(|end| {
                let before = std::mem::replace(&mut from, self.before(end));
                from - before
            })
            .all(|bytes| bytes <= bytes_max)
        };
        while rows > 1 && !fits(rows as u64) {
            rows /= 2;
        }
        rows
    }
}

/// The pages of a column in a row group: their rows, and how many bytes they take. All as one where the file does not
/// say it of each.
fn pages(
    metadata: &ParquetMetaData,
    (group, column): (usize, usize),
    rows: u64,
) -> Vec<(u64, u64, u64)> {
    let chunk = metadata.row_group(group).column(column);
    let whole = || vec![(0, rows, bytes_of_chunk(chunk, rows))];
    if chunk.column_type() != Type::BYTE_ARRAY {
        return whole();
    }
    let index = metadata.offset_index().and_then(|all| all.get(group)?.get(column));
    let Some((index, bytes)) = index
        .and_then(|index| Some((index.page_locations(), index.unencoded_byte_array_data_bytes()?)))
        .filter(|(pages, bytes)| pages.len() == bytes.len() && !pages.is_empty())
    else {
        return whole();
    };
    let first = |page: usize| {
        index.get(page).map_or(rows, |at| u64::try_from(at.first_row_index).unwrap_or(0))
    };
    let page = |(number, bytes): (usize, &i64)| {
        let (from, to) = (first(number), first(number + 1).max(first(number)));
        let bytes = u64::try_from(*bytes).unwrap_or(0);
        (from, to, bytes.saturating_add(VIEW_BYTES * (to - from)))
    };
    bytes.iter().enumerate().map(page).collect()
}

fn bytes_of_chunk(chunk: &ColumnChunkMetaData, rows: u64) -> u64 {
    let values = u64::try_from(chunk.num_values()).unwrap_or(0).max(rows);
    let number = |bytes: u64| bytes.saturating_mul(values);
    match chunk.column_type() {
        Type::BOOLEAN => number(1),
        Type::INT32 | Type::FLOAT => number(4),
        Type::INT64 | Type::DOUBLE => number(8),
        Type::INT96 => number(12),
        Type::FIXED_LEN_BYTE_ARRAY => {
            number(u64::try_from(chunk.column_descr().type_length()).unwrap_or(0))
        }
        Type::BYTE_ARRAY => {
            // As they are encoded, where a file does not say how long its strings are.
            let strings = chunk.unencoded_byte_array_data_bytes();
            let strings = strings.unwrap_or(chunk.uncompressed_size());
            number(VIEW_BYTES).saturating_add(u64::try_from(strings).unwrap_or(0))
        }
    }
}

/// How much each row of a batch takes.
pub(super) struct RowBytes<'a> {
    /// The strings of each column, as its array has them.
    views: Vec<&'a [u128]>,
    /// What the other columns take, of each row the same.
    others: u64,
}

impl<'a> RowBytes<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Self {
        let (mut views, mut bytes) = (Vec::new(), 0);
        for column in batch.columns() {
            match column.data_type() {
                DataType::Utf8View => views.push(&**column.as_string_view().views()),
                DataType::BinaryView => views.push(&**column.as_binary_view().views()),
                _ => bytes += column_bytes(column),
            }
        }
        let others = (bytes / batch.num_rows().max(1)) as u64 + VIEW_BYTES * views.len() as u64;
        Self { views, others }
    }

    pub(super) fn row(&self, row: usize) -> u64 {
        self.others + self.views.iter().map(|views| length(views[row])).sum::<u64>()
    }

    /// What no row takes more than: quick to say.
    pub(super) fn row_max(&self) -> u64 {
        let longest = |views: &&[u128]| views.iter().copied().map(length).max().unwrap_or(0);
        self.others + self.views.iter().map(longest).sum::<u64>()
    }
}

fn length(view: u128) -> u64 {
    u64::from(ByteView::from(view).length)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn as_whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_at_once_are_few_only_where_rows_are_wide() {
        // 1000 rows of 10 bytes, then 10 of 10,000, then 1000 of 10 again.
        let steps = vec![(0, 0), (1000, 10_000), (1010, 110_000), (2010, 120_000)];
        let weights = Weights { steps };
        assert_eq!(weights.before(500), 5_000);
        assert_eq!(weights.before(1005), 60_000);
        assert_eq!(weights.before(9999), 120_000);
        assert_eq!(weights.rows_at_once(usize::MAX, 120_000), usize::MAX);
        assert_eq!(weights.rows_at_once(4096, 119_999), 1024);
        assert_eq!(weights.rows_at_once(64, 40_000), 4);
        assert_eq!(weights.rows_at_once(64, 1), 1);
        let none = Weights { steps: vec![(0, 0)] };
        assert_eq!(none.rows_at_once(64, 1), 64);
        assert_eq!(none.before(5), 0);
    }
}
