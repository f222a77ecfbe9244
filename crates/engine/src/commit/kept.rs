//! Values that a change did not bring because they stay as they are: taken from the stored row.
//!
//! ```text
//!   (7, 'new name', ?)  ──key 7──▶ the row before it in the delivery, or the stored one ──▶ (7, 'new name', its value)
//!                                            └── there is none: a dead letter
//! ```
//!
//! What must hold: it is done before the commit is logged, so that the log has whole rows; the delivery begins its
//! commit, so that what is stored is all that came before it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter, filter_record_batch, interleave, take_record_batch};
use hashbrown::{HashMap, HashSet};
use yeoul_batch::KeyCodec;
use yeoul_store::{TreeSnapshot, encode_batch, get_many};

use super::prepare::{Prepared, dead_batch, logged};
use super::state::State;
use crate::catalog::Body;
use crate::delivery::{DeadLetter, KeptValues};
use crate::error::{EngineError, ErrorKind};

/// Where the values of a row are: `(0, row)` of the delivery, `(1, row)` of those stored.
type Place = (usize, usize);

impl State {
    /// The delivery with all its values, and dead letters for rows that have nothing to keep.
    pub(super) fn fill_kept(
        &self,
        mut delivery: Prepared,
        now_us: i64,
    ) -> Result<Prepared, EngineError> {
        let Body::Table(body) = &delivery.relation.body else { return Ok(delivery) };
        let kept = std::mem::take(&mut delivery.kept);
        // What is sent again has its values already, and the rows it took them from may be gone.
        if kept.is_empty() || self.was_sent(&delivery, now_us)? {
            return Ok(delivery);
        }
        let snapshot = self.store.snapshot();
        let tree = snapshot.tree(delivery.relation.tree()).ok_or_else(EngineError::stopped)?;
        let filled = Filled::new(&delivery, &body.key, &kept, tree)?;
        let Filled { rows, lost } = filled;
        let mut present = vec![true; rows.num_rows()];
        let mut letters = Vec::with_capacity(lost.len());
        for KeptValues { row, columns, letter } in kept {
            if lost.binary_search(&row).is_ok() {
                present[row] = false;
                let column = columns.first().map(|column| delivery.relation.schema.field(*column));
                let name = column.map_or("", |field| field.name());
                let reason = format!(
                    "column \"{name}\": its value stays as it is, and no row with this key is stored"
                );
                letters.push(DeadLetter { reason, ..letter });
            }
        }
        if let Some(first) = letters.first()
            && delivery.relation.refuses_bad_rows()
        {
            let message = format!("{}: {}", first.position, first.reason);
            return Err(EngineError::new(ErrorKind::Input, message).with_hint(
                "store the row first, as a snapshot of its source does, or keep such changes aside with on_error = 'dead_letter'",
            ));
        }
        let present = BooleanArray::from(present);
        delivery.rows = filter_record_batch(&rows, &present)?;
        if let Some(deleted) = &delivery.deleted {
            let deleted = filter(deleted, &present)?;
            delivery.deleted = Some(BooleanArray::from(deleted.to_data()));
        }
        delivery.encoded = logged(&delivery.rows, delivery.deleted.as_ref(), &delivery.relation)?;
        if !letters.is_empty() {
            let of = (delivery.relation.name.as_str(), &*delivery.source, &*delivery.partition);
            let mut dead = dead_batch(of, &letters, now_us)?;
            if let Some((before, _)) = &delivery.dead {
                dead = concat_batches(&before.schema(), [before, &dead])?;
            }
            let encoded = encode_batch(&dead)?;
            delivery.dead = Some((dead, encoded));
        }
        Ok(delivery)
    }

    /// Whether a client's key for the whole delivery was there within the hour.
    fn was_sent(&self, delivery: &Prepared, now_us: i64) -> Result<bool, EngineError> {
        let (Some(hash), Some(duplicates)) = (delivery.idempotency, &self.duplicates) else {
            return Ok(false);
        };
        Ok(duplicates.requests()?.lock().knows(hash, now_us)?)
    }
}

/// Rows with all values, but those of `lost`, which ascend.
struct Filled {
    rows: RecordBatch,
    lost: Vec<usize>,
}

impl Filled {
    fn new(
        delivery: &Prepared,
        key: &[usize],
        kept: &[KeptValues],
        tree: &Arc<TreeSnapshot>,
    ) -> Result<Self, EngineError> {
        let rows = &delivery.rows;
        let numbers = kept.iter().map(|kept| u32::try_from(kept.row).ok());
        let asked = take_record_batch(rows, &numbers.collect::<arrow::array::UInt32Array>())?;
        let asked: Vec<ArrayRef> = key.iter().map(|&c| Arc::clone(asked.column(c))).collect();
        let stored = get_many(tree, &asked)?;
        let codec = KeyCodec::new(&rows.schema(), key)?;
        let (keys, stored_keys) = (codec.encode(rows)?, codec.encode(&stored)?);
        let stored_at: HashMap<&[u8], usize> =
            stored_keys.iter().zip(0..).map(|(key, row)| (key.data(), row)).collect();
        let wanted: HashSet<&[u8]> = kept.iter().map(|kept| keys.row(kept.row).data()).collect();
        let mut columns: HashMap<usize, Vec<Place>> = HashMap::new();
        for column in kept.iter().flat_map(|kept| &kept.columns) {
            let own = || (0..rows.num_rows()).map(|row| (0, row)).collect();
            columns.entry(*column).or_insert_with(own);
        }
        // By key, what the newest row before made of it.
        let mut newest: HashMap<&[u8], Option<usize>> = HashMap::new();
        let mut lost = Vec::new();
        let mut asking = kept.iter().peekable();
        for row in 0..rows.num_rows() {
            let key = keys.row(row).data();
            if !wanted.contains(key) {
                continue;
            }
            if let Some(kept) = asking.next_if(|kept| kept.row == row) {
                let source = match newest.get(key) {
                    Some(before) => before.map(|before| (0, before)),
                    None => stored_at.get(key).map(|at| (1, *at)),
                };
                let Some(source) = source else {
                    lost.push(row);
                    continue;
                };
                for column in &kept.columns {
                    let Some(places) = columns.get_mut(column) else { continue };
                    places[row] = if source.0 == 0 { places[source.1] } else { source };
                }
            }
            let gone = delivery.deleted.as_ref().is_some_and(|deleted| deleted.value(row));
            newest.insert(key, (!gone).then_some(row));
        }
        let mut all = rows.columns().to_vec();
        for (column, places) in columns {
            all[column] = interleave(&[&*all[column], &**stored.column(column)], &places)?;
        }
        Ok(Self { rows: RecordBatch::try_new(rows.schema(), all)?, lost })
    }
}
