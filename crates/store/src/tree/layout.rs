//! How the columns of a part are laid out: encodings, dictionaries, compression, page and row group
//! sizes.
//!
//! Chosen per column from the first rows, because a dictionary that does not fit costs twice, and a
//! string of which every row has its own only pays for the attempt.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::DataType;
use hashbrown::HashSet;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use yeoul_batch::hash64;

use super::stored::stored_type;
use super::write::PartCompression;
use crate::{Rule, StoreError, TreeSpec};

/// Rows looked at per column.
const SAMPLE_ROWS: usize = 8192;

/// Rows per row group of a `keep` tree: few groups, because its readers scan.
const KEEP_GROUP_ROWS: usize = 1 << 20;

/// Rows per row group of a keyed tree: small ones, because its readers look up.
const KEYED_GROUP_ROWS: usize = 1 << 17;

/// Bytes per row group, encoded: what its writer holds of it.
const GROUP_BYTES: usize = 64 << 20;

/// Rows per page: what a lookup decompresses at least.
const PAGE_ROWS: usize = 20_480;

/// Rows that are written at once: after each it is looked whether the page is full.
pub(super) const WRITE_BATCH_ROWS: usize = 1024;

/// Rows per page of a keyed tree.
const KEYED_PAGE_ROWS: usize = 8_192;

/// The settings for writing rows like those of `sample`.
pub(crate) fn properties(
    spec: &TreeSpec,
    compression: PartCompression,
    sample: &RecordBatch,
) -> Result<WriterProperties, StoreError> {
    let keyed = !matches!(spec.rule, Rule::Keep);
    let compression = match compression {
        PartCompression::Zstd => Compression::ZSTD(ZstdLevel::try_new(1)?),
        PartCompression::Lz4 => Compression::LZ4_RAW,
    };
    let (group_rows, page_rows) =
        if keyed { (KEYED_GROUP_ROWS, KEYED_PAGE_ROWS) } else { (KEEP_GROUP_ROWS, PAGE_ROWS) };
    let sorted = |column: &&usize| stored_type(spec.schema.field(**column).data_type()).is_none();
    let sorting = spec.key.iter().take_while(sorted).map(|&column| {
        i32::try_from(column).map(|column_idx| SortingColumn {
            column_idx,
            descending: false,
            nulls_first: false,
        })
    });
    // Leaves and columns have the same numbers only where nothing is nested.
    let flat = spec.schema.fields().iter().all(|f| !f.data_type().is_nested());
    let sorting = sorting.collect::<Result<Vec<_>, _>>().ok().filter(|s| flat && !s.is_empty());
    let mut builder = WriterProperties::builder()
        .set_created_by("yeoul".to_owned())
        .set_compression(compression)
        .set_max_row_group_row_count(Some(group_rows))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(WRITE_BATCH_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(sorting);
    for (column, field) in spec.schema.fields().iter().enumerate() {
        let path = ColumnPath::new(vec![field.name().clone()]);
        let leading = spec.key.first() == Some(&column);
        builder = encode(builder, path.clone(), sample.column(column), leading, compression)?;
        // Parquet leaves NaN out of a page's least and greatest value. NaN is greater than every
        // number, so a reader that went by them would pass over rows of `x > 1`. The bytes of an
        // interval have another order than intervals.
        if field.data_type().is_floating() || stored_type(field.data_type()).is_some() {
            builder = builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
        }
        if keyed && spec.key.contains(&column) && !field.data_type().is_nested() {
            builder = builder
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_max_ndv(path, group_rows as u64);
        }
    }
    Ok(builder.build())
}

fn encode(
    builder: WriterPropertiesBuilder,
    path: ColumnPath,
    sample: &ArrayRef,
    leading: bool,
    compression: Compression,
) -> Result<WriterPropertiesBuilder, StoreError> {
    let integer = match sample.data_type() {
        DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt64
        | DataType::Date32
        | DataType::Time64(_)
        | DataType::Timestamp(_, _) => true,
        t if t.is_nested() => return Ok(builder),
        DataType::Boolean => return Ok(builder),
        _ => false,
    };
    let time = sample.data_type().is_temporal();
    let distinct = distinct_ratio(sample)?;
    if integer && (leading || time || distinct > 0.25) {
        // Sorted or clustered: the steps are small and a dictionary would not be smaller.
        return Ok(builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED));
    }
    let builder = builder.set_column_dictionary_enabled(path.clone(), distinct <= 0.5);
    let random = matches!(sample.data_type(), DataType::FixedSizeBinary(_)) && distinct > 0.9;
    if random {
        // Identifiers are noise: compression costs time and saves nothing.
        return Ok(builder.set_column_compression(path, Compression::UNCOMPRESSED));
    }
    Ok(builder.set_column_compression(path, compression))
}

/// Distinct values per row among up to [`SAMPLE_ROWS`] rows spread over the column.
fn distinct_ratio(column: &ArrayRef) -> Result<f64, StoreError> {
    let rows = column.len();
    if rows == 0 {
        return Ok(0.0);
    }
    let column = if rows > SAMPLE_ROWS {
        let at = (0..SAMPLE_ROWS).map(|i| u32::try_from(i * (rows / SAMPLE_ROWS)).unwrap_or(0));
        arrow::compute::take(column, &UInt32Array::from_iter_values(at), None)?
    } else {
        Arc::clone(column)
    };
    let rows = column.len();
    let distinct: HashSet<u64> = hash64(&[column], rows)?.into_iter().collect();
    #[expect(clippy::cast_precision_loss, reason = "at most SAMPLE_ROWS")]
    let ratio = distinct.len() as f64 / rows as f64;
    Ok(ratio)
}
