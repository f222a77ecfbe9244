//! What a part's file says about itself besides its columns. See `docs/format/parts.md`.

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use super::order::{Known, ordered};
use crate::StoreError;

/// The version of the part format that is written.
pub(crate) const PART_VERSION: u32 = 1;

/// Footer entry: the version, decimal.
pub(crate) const VERSION_ENTRY: &str = "yeoul.version";
/// Footer entry: the tree's number, decimal.
pub(crate) const TREE_ENTRY: &str = "yeoul.tree";
/// Footer entry: the rule, `keep`, `latest` or `combine`.
pub(crate) const RULE_ENTRY: &str = "yeoul.rule";
/// Footer entry: the partition, decimal.
pub(crate) const PARTITION_ENTRY: &str = "yeoul.partition";
/// Footer entry: the sparse key index.
pub(crate) const KEYS_ENTRY: &str = "yeoul.keys";

/// The value of a footer entry.
pub(crate) fn entry<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let entries = metadata.file_metadata().key_value_metadata()?;
    entries.iter().find(|e| e.key == key)?.value.as_deref()
}

/// Refuses a part of a later version, and a file that is not a part.
pub(crate) fn check_version(metadata: &ParquetMetaData, path: &str) -> Result<(), StoreError> {
    let found = entry(metadata, VERSION_ENTRY).and_then(|v| v.parse().ok());
    match found {
        Some(found) if found <= PART_VERSION => Ok(()),
        Some(found) => Err(StoreError::Newer { path: path.to_owned(), found, known: PART_VERSION }),
        None => Err(StoreError::Corrupt {
            path: path.to_owned(),
            offset: 0,
            reason: format!("the footer has no entry {VERSION_ENTRY}"),
            hint: "restore the data folder from a backup".to_owned(),
        }),
    }
}

/// The least and greatest value of a column of integers as ordered integers, and whether it has
/// nulls. A column of nothing but nulls gives (0, 0, true).
pub(crate) fn integer_range(column: &ColumnChunkMetaData, unsigned: bool) -> Option<Known> {
    let statistics = column.statistics()?;
    let nulls = statistics.null_count_opt()? > 0;
    if statistics.null_count_opt()? == column.num_values().cast_unsigned() {
        return Some((0, 0, true));
    }
    let (min, max) = match statistics {
        Statistics::Boolean(s) => (i64::from(*s.min_opt()?), i64::from(*s.max_opt()?)),
        Statistics::Int32(s) if unsigned => {
            (i64::from(s.min_opt()?.cast_unsigned()), i64::from(s.max_opt()?.cast_unsigned()))
        }
        Statistics::Int32(s) => (i64::from(*s.min_opt()?), i64::from(*s.max_opt()?)),
        Statistics::Int64(s) if unsigned => {
            (ordered(s.min_opt()?.cast_unsigned()), ordered(s.max_opt()?.cast_unsigned()))
        }
        Statistics::Int64(s) => (*s.min_opt()?, *s.max_opt()?),
        _ => return None,
    };
    Some((min, max, nulls))
}
