//! The stream `yeoul.late_rows`: which rows came later than the `lateness` of their stream allows.
//!
//! It tells of rows, it does not hold them: they are in their stream, and in every view. A row tells of all
//! late ones of a delivery whose event times are in the same minute.
//!
//! Limits: kept for [`KEPT_US`].

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use yeoul_batch::TreeId;
use yeoul_store::{PartitionBy, Rule, TreeSpec};

use super::letters::system_stream;
use super::{Relation, RelationId};

/// Its number: relations of users are numbered from 1 on and never get there.
pub(crate) const LATE_ROWS: RelationId = RelationId(u32::MAX - 1);

const NAME: &str = "yeoul.late_rows";
const DAY_US: i64 = 86_400_000_000;
/// How long it is told of a row.
const KEPT_US: i64 = 7 * DAY_US;
/// The position of the column `received_at`, by which they are dropped.
const RECEIVED_AT: usize = 6;

/// The stream over the tree `tree`.
pub(crate) fn late_rows(tree: TreeId) -> Relation {
    let text = |name| Field::new(name, DataType::Utf8View, false);
    let time = |name| {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Field::new(name, utc, false)
    };
    let schema = Arc::new(Schema::new(vec![
        text("stream"),
        text("source"),
        text("partition"),
        time("event_time"),
        time("watermark"),
        Field::new("rows", DataType::Int64, false),
        time("received_at"),
        Field::new("commit", DataType::Int64, false),
    ]));
    let spec = TreeSpec {
        id: tree,
        name: NAME.to_owned(),
        schema: Arc::clone(&schema),
        key: vec![0, 3],
        rule: Rule::Keep,
        partition: Some(PartitionBy { column: RECEIVED_AT, width_us: DAY_US }),
        retention_us: Some(KEPT_US),
    };
    system_stream(LATE_ROWS, schema, spec, RECEIVED_AT)
}
