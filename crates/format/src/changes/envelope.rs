//! The envelope of Debezium's connectors: `{"before":…,"after":…,"op":"u",…}`, alone or as the `payload` of Kafka
//! Connect.
//!
//! | op | what is told |
//! |---|---|
//! | `c`, `r` | the row `after` is there |
//! | `u` | the row `after` is there; the key in `before` is gone when it is another |
//! | `d` | the key in `before` is gone, or that of the message where `before` does not say it |
//!
//! Others (`t` truncates a table, `m` is no change of a row) are bad.
//!
//! A value that the database did not write into its log since it stays as it is (PostgreSQL's TOAST) stands there as
//! [`UNAVAILABLE`]. Source: Debezium 3, documentation of the connectors for PostgreSQL and MySQL, "Data change events".

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{and, is_not_null, or};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::{Piece, Told, loosened};
use crate::decoded::{BadKind, BadRow, Decoded, good_records};
use crate::error::FormatError;
use crate::json::{DecodePath, JsonDecoder};
use crate::messages::Messages;
use crate::sheet::{null_reason, paths_of};
use yeoul_batch::DecodeOptions;

/// What stands for a value that was not told.
const UNAVAILABLE: &str = "__debezium_unavailable_value";
/// The same in a column of JSON.
const UNAVAILABLE_JSON: &str = "\"__debezium_unavailable_value\"";

/// Decodes envelopes. See the module.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    /// For the row after, the key before, and the operation.
    decoder: JsonDecoder,
    /// The columns of the row.
    schema: SchemaRef,
    key: Vec<usize>,
}

/// The paths of a value that stands at `path` in the part `part` of an envelope.
pub(super) fn both_forms(part: &[&str], path: &[String]) -> Vec<DecodePath> {
    let inside = || part.iter().map(|name| (*name).to_owned()).chain(path.iter().cloned());
    vec![inside().collect(), std::iter::once("payload".to_owned()).chain(inside()).collect()]
}

impl Envelope {
    pub(super) fn new(
        schema: SchemaRef,
        key: &[usize],
        options: &DecodeOptions,
    ) -> Result<Self, FormatError> {
        let row_paths = paths_of(&schema, options)?;
        let loose = loosened(&schema);
        let before = key.iter().map(|column| Arc::clone(&loose.fields()[*column]));
        let op = Arc::new(Field::new("op", DataType::Utf8View, true));
        let fields: Vec<_> = loose.fields().iter().cloned().chain(before).chain([op]).collect();
        let mut paths: Vec<_> = row_paths.iter().map(|path| both_forms(&["after"], path)).collect();
        paths.extend(key.iter().map(|column| both_forms(&["before"], &row_paths[*column])));
        paths.push(both_forms(&["op"], &[]));
        let decoder = JsonDecoder::of_paths(Arc::new(Schema::new(fields)), options, &paths)?;
        Ok(Self { decoder, schema, key: key.to_vec() })
    }

    pub(super) fn decode(&mut self, messages: &Messages) -> Result<Decoded, FormatError> {
        self.decoder.decode_messages(messages)
    }

    /// What envelopes tell that were decoded.
    pub(super) fn told(
        &self,
        decoded: Decoded,
        messages: &Messages,
        bytes_max: usize,
    ) -> Result<Told, FormatError> {
        let internal = |e: ArrowError| FormatError::Internal(e.to_string());
        let width = self.schema.fields().len();
        let all = &decoded.rows;
        let after = all.project(&(0..width).collect::<Vec<_>>()).map_err(internal)?;
        let columns: Vec<usize> = (width..width + self.key.len()).collect();
        let before = all.project(&columns).map_err(internal)?;
        let ops = all.column(width + self.key.len()).as_string_view();
        let keys_told = self.keys_told(&before).map_err(internal)?;
        let moved = self.moved(&before, &after).map_err(internal)?;
        let missing: Vec<usize> = (0..width)
            .filter(|at| {
                !self.schema.field(*at).is_nullable() && after.column(*at).null_count() > 0
            })
            .collect();
        let unavailable = Unavailable::find(&after);
        let mut bad = decoded.bad;
        let mut pieces = Vec::with_capacity(all.num_rows());
        let mut kept = Vec::new();
        for (row, record) in good_records(decoded.records, &bad).into_iter().enumerate() {
            let (is_told, is_moved) =
                (told_at(keys_told.as_ref(), row), told_at(moved.as_ref(), row));
            let wrong = match ops.is_valid(row).then(|| ops.value(row)) {
                Some("c" | "r" | "u") => {
                    let null = missing.iter().find(|at| after.column(**at).is_null(row));
                    let stays = unavailable.columns(row);
                    let in_key = stays.iter().find(|column| self.key.contains(column));
                    match (null, in_key) {
                        (Some(at), _) => {
                            Some((BadKind::Null, null_reason(self.schema.field(*at).name())))
                        }
                        (_, Some(column)) => {
                            Some((BadKind::Invalid, no_key(self.schema.field(*column))))
                        }
                        (None, None) => {
                            if is_moved {
                                pieces.push((record, Piece::Gone(row)));
                            }
                            pieces.push((record, Piece::There(row)));
                            if !stays.is_empty() {
                                kept.push((row, stays));
                            }
                            None
                        }
                    }
                }
                Some("d") => {
                    let piece = if is_told { Piece::Gone(row) } else { Piece::ByKey };
                    pieces.push((record, piece));
                    None
                }
                other => Some((BadKind::Invalid, no_change(other))),
            };
            if let Some((kind, reason)) = wrong {
                let at = usize::try_from(record).unwrap_or(usize::MAX);
                let raw = messages.cut(at, bytes_max);
                bad.push(BadRow { raw, reason, kind, row: record, line: record });
            }
        }
        Ok(Told { rows: after, old: Some(before), pieces, bad, kept })
    }

    /// Of which rows the whole key before is told; `None`: of none.
    fn keys_told(&self, before: &RecordBatch) -> Result<Option<BooleanArray>, ArrowError> {
        if before.columns().iter().any(|column| column.null_count() == column.len()) {
            return Ok(None);
        }
        let mut told = BooleanArray::from(vec![true; before.num_rows()]);
        for column in before.columns() {
            told = and(&told, &is_not_null(column)?)?;
        }
        Ok(Some(told))
    }

    /// Which rows had another key before; `None`: none had.
    fn moved(
        &self,
        before: &RecordBatch,
        after: &RecordBatch,
    ) -> Result<Option<BooleanArray>, ArrowError> {
        let Some(told) = self.keys_told(before)? else { return Ok(None) };
        let mut other = BooleanArray::from(vec![false; before.num_rows()]);
        for (was, column) in before.columns().iter().zip(&self.key) {
            other =
                or(&other, &arrow::compute::kernels::cmp::distinct(was, after.column(*column))?)?;
        }
        let moved = and(&told, &other)?;
        Ok((moved.true_count() > 0).then_some(moved))
    }
}

fn told_at(told: Option<&BooleanArray>, row: usize) -> bool {
    told.is_some_and(|told| told.value(row))
}

fn no_key(field: &Field) -> String {
    format!("column \"{}\" is of the key, and its value did not come", field.name())
}

fn no_change(op: Option<&str>) -> String {
    match op {
        Some("t") => {
            "op \"t\" says that the table was truncated: DELETE its rows here too".to_owned()
        }
        Some(op) => format!("op \"{op}\" is no change of a row; those are c, r, u and d"),
        None => {
            "it has no \"op\": it is none of Debezium's envelopes. A row without one is of format \
                 'json'"
                .to_owned()
        }
    }
}

/// Which values of a batch were not told.
struct Unavailable {
    /// By column: for each row.
    columns: Vec<(usize, Vec<bool>)>,
}

impl Unavailable {
    fn find(rows: &RecordBatch) -> Self {
        let columns = rows.columns().iter().enumerate();
        Self {
            columns: columns
                .filter_map(|(at, column)| Some((at, is_unavailable(column)?)))
                .collect(),
        }
    }

    fn columns(&self, row: usize) -> Vec<usize> {
        self.columns.iter().filter(|(_, rows)| rows[row]).map(|(at, _)| *at).collect()
    }
}

/// Which values of a column were not told; `None`: all were.
fn is_unavailable(column: &ArrayRef) -> Option<Vec<bool>> {
    let is_placeholder = |text: &str| text == UNAVAILABLE || text == UNAVAILABLE_JSON;
    let found: Vec<bool> = match column.data_type() {
        DataType::Utf8View => {
            column.as_string_view().iter().map(|text| text.is_some_and(is_placeholder)).collect()
        }
        DataType::Binary => {
            let bytes = column.as_binary::<i32>().iter();
            bytes.map(|bytes| bytes == Some(UNAVAILABLE.as_bytes())).collect()
        }
        DataType::List(item) if *item.data_type() == DataType::Utf8View => {
            let lists = column.as_list::<i32>().iter();
            let only = |list: ArrayRef| {
                let texts = list.as_string_view();
                texts.len() == 1 && texts.is_valid(0) && is_placeholder(texts.value(0))
            };
            lists.map(|list| list.is_some_and(only)).collect()
        }
        _ => return None,
    };
    found.contains(&true).then_some(found)
}
