//! Dead letters from outside: read, and put back after they were mended.
//!
//! ```text
//!   ids ─▶ letters as of a commit ─▶ rows, state "replayed" ─▶ one delivery ─▶ one commit
//!            └────────── again when somebody put letters back meanwhile ───────┘
//! ```
//!
//! What must hold: a letter is stored at most once, whoever puts it back how often; its row and its
//! new state are in one commit.
//!
//! Not here: how the bytes of a letter become a row. Who decodes them gives the rows.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use yeoul_batch::{CommitId, KeyCodec, TreeId};
use yeoul_store::{ScanOptions, TreeSnapshot, encode_batch, get_many, scan};

use crate::catalog::{Body, DEAD, dead_letters, letter_column as column};
use crate::commit::{Arrived, DEAD_LETTERS, Returned, State, is_outdated};
use crate::delivery::{Delivery, Receipt, SubmitError};
use crate::engine::{Engine, StreamHandle};
use crate::error::{EngineError, ErrorKind};
use crate::record::CommitRecord;
use crate::world::World;

/// The source of rows that were dead letters, in the books.
pub(crate) const SOURCE: &str = "dead_letters";

/// How often letters are read again because others were put back at the same time.
const TRIES: usize = 100;

/// Which dead letter: the commit that brought it, and its number among that commit's, from 0. As text
/// `4711-0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    commit: u64,
    ordinal: u64,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.commit, self.ordinal)
    }
}

impl FromStr for LetterId {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let number = |digits: &str| {
            // No sign, no white space: one letter has one text.
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<i64>().ok())?.map(i64::unsigned_abs)
        };
        let id = text.split_once('-').and_then(|(commit, ordinal)| {
            Some(Self { commit: number(commit)?, ordinal: number(ordinal)? })
        });
        id.ok_or_else(|| {
            EngineError::new(ErrorKind::Input, format!("\"{text}\" is not the id of a dead letter"))
                .with_hint("an id is two numbers, such as 4711-0; yeoul.dead_letters lists them")
        })
    }
}

/// A dead letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Which one.
    pub id: LetterId,
    /// The stream it was sent to.
    pub stream: String,
    /// The source it came from.
    pub source: String,
    /// Where inside the delivery or the source.
    pub position: String,
    /// Why it could not be decoded.
    pub reason: String,
    /// Its bytes.
    pub raw: Bytes,
    /// How they are written, as [`Delivery::format`] said.
    pub format: Option<String>,
    /// The commit that put it back, if one has.
    pub replayed: Option<CommitId>,
}

/// What became of letters that were put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// What became of their rows. `accepted + duplicates` letters are put back by this.
    pub receipt: Receipt,
    /// How many had been put back before; their rows were not looked at.
    pub before: u64,
}

impl Engine {
    /// The letters of these ids, in their order; `None` where there is none.
    pub fn dead_letters(&self, ids: &[LetterId]) -> Result<Vec<Option<Letter>>, EngineError> {
        let world = self.shared.world.load_full();
        let rows = look_up(&world, ids)?;
        let by_id = positions(&rows);
        Ok(ids.iter().map(|id| by_id.get(id).map(|&row| letter(&rows, row))).collect())
    }

    /// Up to `limit` letters of the stream `stream` that nobody has put back, those behind `after`, in
    /// order.
    pub fn unresolved_letters(
        &self,
        stream: &str,
        after: Option<LetterId>,
        limit: usize,
    ) -> Result<Vec<Letter>, EngineError> {
        let world = self.shared.world.load_full();
        let (tree, _) = keyed(&world)?;
        let after = after.unwrap_or(LetterId { commit: 0, ordinal: 0 });
        let last = LetterId { commit: i64::MAX.unsigned_abs(), ordinal: i64::MAX.unsigned_abs() };
        let keys = key_columns(&[after, last]);
        let codec = KeyCodec::new(&tree.spec().schema, &tree.spec().key)?;
        let keys = codec.encode_columns(&keys)?;
        let range = keys.row(0).data().to_vec()..=keys.row(1).data().to_vec();
        let options = ScanOptions { keys: Some(range), ..ScanOptions::default() };
        let mut found = Vec::new();
        for batch in scan(tree, options)? {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                let wanted = text(&batch, column::STREAM, row) == stream
                    && text(&batch, column::STATE, row) == DEAD
                    && id(&batch, row) > after;
                if wanted {
                    found.push(letter(&batch, row));
                }
                if found.len() == limit {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// Puts letters back: `rows` are what became of the letters `ids`, in their order. Those that were
    /// put back before are passed over. Waits for the commit: for plain threads.
    ///
    /// # Errors
    /// When one of the letters does not exist or is of another stream; then nothing is stored.
    pub fn replay_letters(
        &self,
        stream: &StreamHandle,
        rows: &RecordBatch,
        ids: &[LetterId],
    ) -> Result<Replayed, SubmitError> {
        assert_eq!(rows.num_rows(), ids.len(), "engine: every letter has one row");
        if ids.is_empty() {
            return Ok(Replayed::default());
        }
        for _ in 0..TRIES {
            let world = self.shared.world.load_full();
            let found = look_up(&world, ids)?;
            let chosen = choose(stream.name(), ids, &found)?;
            let before = (ids.len() - chosen.len()) as u64;
            if chosen.is_empty() {
                let receipt = Receipt { commit: world.commit(), ..Receipt::default() };
                return Ok(Replayed { receipt, before });
            }
            let number = |index: usize| u32::try_from(index).expect("a delivery's rows are u32");
            let of_rows: UInt32Array = chosen.iter().map(|&(row, _)| Some(number(row))).collect();
            let of_letters: UInt32Array = chosen.iter().map(|&(_, at)| Some(number(at))).collect();
            let rows = take_record_batch(rows, &of_rows).map_err(EngineError::from)?;
            let letters = take_record_batch(&found, &of_letters).map_err(EngineError::from)?;
            let mut prepared = self.prepared(Delivery::new(stream.clone(), SOURCE, rows))?;
            let encoded = encode_batch(&letters).map_err(EngineError::from)?;
            let read_at = world.commit();
            prepared.returned = Some(Box::new(Returned { letters, encoded, read_at }));
            let (sender, receiver) = crossbeam_channel::bounded(1);
            let reply = Box::new(move |outcome| {
                let _ = sender.send(outcome);
            });
            if !self.shared.queue.try_deliver(prepared, reply)? {
                return Err(self.busy());
            }
            match receiver.recv().unwrap_or_else(|_| Err(EngineError::stopped())) {
                Ok(receipt) => return Ok(Replayed { receipt, before }),
                Err(error) if is_outdated(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(self.busy())
    }
}

/// The tree of the letters and the columns of their table.
pub(crate) fn keyed(world: &World) -> Result<(&Arc<TreeSnapshot>, &SchemaRef), EngineError> {
    let relation = world.catalog.by_id(DEAD_LETTERS).ok_or_else(EngineError::stopped)?;
    let tree = world.snapshot.tree(relation.tree()).ok_or_else(EngineError::stopped)?;
    if let Body::Stream(_) = relation.body {
        return Err(EngineError::new(
            ErrorKind::Unavailable,
            "the dead letters of this folder have no ids yet",
        )
        .with_hint("start it once with \"yeoul run\""));
    }
    Ok((tree, &relation.schema))
}

fn key_columns(ids: &[LetterId]) -> [ArrayRef; 2] {
    let column = |of: fn(&LetterId) -> u64| -> ArrayRef {
        let signed = ids.iter().map(|id| i64::try_from(of(id)).unwrap_or(i64::MAX));
        Arc::new(Int64Array::from_iter_values(signed))
    };
    [column(|id| id.commit), column(|id| id.ordinal)]
}

/// The letters of `ids` that there are, in no order, in the columns of the table.
fn look_up(world: &World, ids: &[LetterId]) -> Result<RecordBatch, EngineError> {
    let (tree, schema) = keyed(world)?;
    let rows = get_many(tree, &key_columns(ids))?;
    let visible = rows.columns()[..schema.fields().len()].to_vec();
    Ok(RecordBatch::try_new(Arc::clone(schema), visible)?)
}

fn positions(letters: &RecordBatch) -> HashMap<LetterId, usize> {
    (0..letters.num_rows()).map(|row| (id(letters, row), row)).collect()
}

/// For each letter that is to be put back its place in `ids` and its row in `found`.
fn choose(
    stream: &str,
    ids: &[LetterId],
    found: &RecordBatch,
) -> Result<Vec<(usize, usize)>, EngineError> {
    let by_id = positions(found);
    let mut named = HashSet::with_capacity(ids.len());
    let mut chosen = Vec::with_capacity(ids.len());
    for (row, id) in ids.iter().enumerate() {
        let at = by_id.get(id).filter(|&&at| text(found, column::STREAM, at) == stream);
        let Some(&at) = at else { return Err(unknown(*id, stream)) };
        if !named.insert(*id) {
            let message = format!("dead letter {id} is named twice");
            return Err(EngineError::new(ErrorKind::Input, message));
        }
        if text(found, column::STATE, at) == DEAD {
            chosen.push((row, at));
        }
    }
    Ok(chosen)
}

fn unknown(id: LetterId, stream: &str) -> EngineError {
    EngineError::new(ErrorKind::NotFound, format!("\"{stream}\" has no dead letter {id}"))
        .with_sqlstate("42704")
        .with_hint("yeoul.dead_letters lists them, with their streams")
}

fn text(rows: &RecordBatch, column: usize, row: usize) -> &str {
    rows.column(column).as_string_view().value(row)
}

fn number(rows: &RecordBatch, column: usize, row: usize) -> u64 {
    rows.column(column).as_primitive::<Int64Type>().value(row).unsigned_abs()
}

fn id(rows: &RecordBatch, row: usize) -> LetterId {
    LetterId {
        commit: number(rows, column::COMMIT, row),
        ordinal: number(rows, column::ORDINAL, row),
    }
}

fn letter(rows: &RecordBatch, row: usize) -> Letter {
    let owned = |column| text(rows, column, row).to_owned();
    let has = |column: usize| rows.column(column).is_valid(row);
    Letter {
        id: id(rows, row),
        stream: owned(column::STREAM),
        source: owned(column::SOURCE),
        position: owned(column::POSITION),
        reason: owned(column::REASON),
        raw: Bytes::copy_from_slice(rows.column(column::RAW).as_binary::<i32>().value(row)),
        format: has(column::FORMAT).then(|| owned(column::FORMAT)),
        replayed: has(column::REPLAYED_COMMIT)
            .then(|| CommitId(number(rows, column::REPLAYED_COMMIT, row))),
    }
}

/// Gives the letters of a folder that was written before they had keys theirs. One commit without
/// anything in the log, then a checkpoint: a crash before it is durable leaves the folder as it was.
pub(crate) fn give_keys(state: &mut State) -> Result<(), EngineError> {
    let Some(old) = state.catalog.by_id(DEAD_LETTERS).cloned() else { return Ok(()) };
    if !matches!(old.body, Body::Stream(_)) {
        return Ok(());
    }
    let snapshot = state.store.snapshot();
    let mut rows = Vec::new();
    if let Some(tree) = snapshot.tree(old.tree()) {
        for batch in scan(tree, ScanOptions::default())? {
            rows.push(batch?);
        }
    }
    let rows = concat_batches(&old.schema, &rows)?;
    tracing::info!("{} dead letters of an earlier version get ids", rows.num_rows());
    let relation = Arc::new(dead_letters(DEAD_LETTERS, TreeId(state.next_tree)));
    state.next_tree += 1;
    state.store.create_tree(relation.trees[0].clone())?;
    state.store.drop_tree(old.tree())?;
    let catalog = state.catalog.without(&[DEAD_LETTERS]);
    state.catalog = Arc::new(catalog.with(Arc::clone(&relation)));
    let commit = state.commit.next();
    let at_us = 0;
    state.store.append_log(&CommitRecord::default().encode(commit, at_us))?;
    let arrived = vec![Arrived { rows, format: None }];
    let dead = crate::commit::CommitRows { dead: arrived, ..Default::default() };
    let batches = state.apply(commit, 0, dead)?;
    state.commit = commit;
    state.publish(batches)?;
    state.store.checkpoint()?;
    Ok(())
}
