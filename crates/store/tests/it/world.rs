//! A small world: trees of every rule, random commits for them, and the naive model that says what
//! a reader must see.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, IntervalMonthDayNanoArray,
    RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Field, Int64Type, IntervalMonthDayNano, IntervalUnit, Schema, SchemaRef, TimeUnit,
    UInt64Type,
};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use yeoul_batch::{Combine, CommitId, TreeId};
use yeoul_store::{
    LogRecord, Media, Meta, PartitionBy, Publication, Rule, ScanOptions, Section, Snapshot, Store,
    StoreError, StoreOptions, TreeSnapshot, TreeSpec, scan,
};

use crate::seek::{long_text, short_bytes};

pub(crate) const DAY_US: i64 = 86_400_000_000;

/// A generator that gives the same numbers for the same seed everywhere.
#[derive(Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("small")
    }

    pub(crate) fn int(&mut self, n: u64) -> i64 {
        i64::try_from(self.below(n)).expect("small")
    }
}

/// Sums one Int64 state per key; a sum of zero is gone when complete.
#[derive(Debug)]
pub(crate) struct Sum {
    pub(crate) schema: SchemaRef,
    pub(crate) key_len: usize,
}

impl Combine for Sum {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn key_len(&self) -> usize {
        self.key_len
    }

    fn combine(&self, batches: &[RecordBatch], complete: bool) -> Result<RecordBatch, ArrowError> {
        let all = concat_batches(&self.schema, batches)?;
        let sums = all.column(self.key_len).as_primitive::<Int64Type>();
        let key: Vec<ArrayRef> = all.columns()[..self.key_len].to_vec();
        let names: Vec<String> = (0..all.num_rows()).map(|row| row_text(&key, row)).collect();
        let mut groups: BTreeMap<&str, (u32, i64)> = BTreeMap::new();
        for (row, name) in (0u32..).zip(&names) {
            groups.entry(name).or_insert((row, 0)).1 += sums.value(row as usize);
        }
        // By first row, so that the order is neither the keys' nor the arrival's reverse.
        let mut rows: Vec<(u32, i64)> =
            groups.into_values().filter(|(_, sum)| !complete || *sum != 0).collect();
        rows.reverse();
        let at = arrow::array::UInt32Array::from_iter_values(rows.iter().map(|r| r.0));
        let picked = arrow::compute::take_record_batch(&all, &at)?;
        let mut columns = picked.columns().to_vec();
        columns[self.key_len] = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1)));
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

pub(crate) fn row_text(columns: &[ArrayRef], row: usize) -> String {
    let options = FormatOptions::default().with_null("∅");
    let cells: Vec<String> = columns
        .iter()
        .map(|c| ArrayFormatter::try_new(c, &options).expect("plain").value(row).to_string())
        .collect();
    cells.join("|")
}

pub(crate) fn texts(batch: &RecordBatch) -> Vec<String> {
    (0..batch.num_rows()).map(|row| row_text(batch.columns(), row)).collect()
}

fn ts_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), nullable)
}

/// The kinds of trees that the world has; the kind of a tree is written in its log record.
pub(crate) const KINDS: u32 = 11;

fn latest_fields(mut fields: Vec<Field>) -> SchemaRef {
    fields.push(Field::new("_version", DataType::UInt64, false));
    fields.push(Field::new("_deleted", DataType::Boolean, false));
    Arc::new(Schema::new(fields))
}

pub(crate) fn spec(kind: u32, id: TreeId) -> TreeSpec {
    let int = |name: &str| Field::new(name, DataType::Int64, true);
    let text = |name: &str| Field::new(name, DataType::Utf8View, true);
    let bytes = |name: &str| Field::new(name, DataType::Binary, true);
    let day = |column| Some(PartitionBy { column, width_us: DAY_US });
    let sum = |fields: Vec<Field>, key_len| {
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let rule = Rule::Combine(Arc::new(Sum { schema: Arc::clone(&schema), key_len }));
        (schema, (0..key_len).collect::<Vec<_>>(), rule)
    };
    let ((schema, key, rule), partition, retention_us) = match kind {
        0 => {
            let schema = Schema::new(vec![int("id"), ts_field("ts", true), text("name")]);
            ((Arc::new(schema), vec![0, 1], Rule::Keep), day(1), None)
        }
        1 => {
            let schema = Schema::new(vec![int("id"), ts_field("ts", true), text("name")]);
            ((Arc::new(schema), Vec::new(), Rule::Keep), None, None)
        }
        2 => ((latest_fields(vec![int("id"), text("name")]), vec![0], Rule::Latest), None, None),
        3 => {
            let fields = vec![text("name"), ts_field("ts", true), int("id")];
            ((latest_fields(fields), vec![0, 1], Rule::Latest), day(1), None)
        }
        4 => (sum(vec![ts_field("ts", true), int("id"), int("sum")], 2), day(0), None),
        5 => (sum(vec![text("name"), int("id"), int("sum")], 2), None, None),
        6 => (sum(vec![int("sum")], 0), None, None),
        // Parts hold intervals as other values than memory does.
        7 => {
            let length = DataType::Interval(IntervalUnit::MonthDayNano);
            let fields = vec![Field::new("length", length, true), text("name"), int("id")];
            ((latest_fields(fields), vec![2, 0], Rule::Latest), None, None)
        }
        // Keys that begin alike for longer than the sparse keys of a part are.
        8 => {
            let schema = Schema::new(vec![int("id"), bytes("bytes"), text("long")]);
            ((Arc::new(schema), vec![2, 1], Rule::Keep), None, None)
        }
        9 => {
            let fields = vec![bytes("bytes"), text("long"), ts_field("ts", true)];
            ((latest_fields(fields), vec![1, 2], Rule::Latest), day(2), None)
        }
        _ => {
            let fields = vec![bytes("bytes"), int("id"), text("long"), int("sum")];
            let (schema, _, rule) = sum(fields, 3);
            ((schema, vec![2, 0, 1], rule), None, None)
        }
    };
    let name = format!("kind {kind}");
    TreeSpec { id, name, schema, key, rule, partition, retention_us }
}

/// Random rows for a tree of a kind, as of a commit.
pub(crate) fn rows(
    kind: u32,
    rng: &mut Rng,
    commit: CommitId,
    len: usize,
    keys: u64,
) -> RecordBatch {
    let spec = spec(kind, TreeId(0));
    let id = |rng: &mut Rng| (rng.below(20) > 0).then(|| rng.int(keys) - 3);
    let ids: Vec<Option<i64>> = (0..len).map(|_| id(rng)).collect();
    let times: Vec<Option<i64>> = (0..len)
        .map(|_| (rng.below(30) > 0).then(|| rng.int(4) * DAY_US + rng.int(keys) * 1_000 - DAY_US))
        .collect();
    let names: Vec<Option<String>> = (0..len)
        .map(|_| {
            let n = rng.int(keys);
            (rng.below(20) > 0).then(|| match n % 3 {
                0 => format!("n{n}"),
                _ => format!("a name that is not kept inline {n}"),
            })
        })
        .collect();
    let lengths: Vec<Option<IntervalMonthDayNano>> = ids
        .iter()
        .map(|id| {
            let months = i32::try_from((*id)?).expect("small");
            let days = -months % 5
                + i32::try_from(if kind == 7 { rng.below(2) } else { 0 }).expect("small");
            Some(IntervalMonthDayNano::new(months % 3, days, (*id)? - 7))
        })
        .collect();
    // Versions rise with the commit, so that a tombstone is never older than what it removes; within
    // a commit they come in any order, and equal ones happen.
    let versions: Vec<u64> = (0..len).map(|_| commit.0 * 100 + rng.below(50)).collect();
    let deleted: Vec<bool> = (0..len).map(|_| rng.below(4) == 0).collect();
    let sums: Vec<i64> = (0..len).map(|_| rng.int(3) - 1).collect();
    let columns: Vec<ArrayRef> = spec
        .schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                "id" => Arc::new(Int64Array::from(ids.clone())),
                "ts" => {
                    Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC"))
                }
                "name" => Arc::new(StringViewArray::from_iter(names.clone())),
                "long" => Arc::new(StringViewArray::from_iter(names.iter().map(long_text))),
                "bytes" => Arc::new(BinaryArray::from_iter(ids.iter().map(short_bytes))),
                "length" => Arc::new(IntervalMonthDayNanoArray::from(lengths.clone())),
                "_version" => Arc::new(UInt64Array::from(versions.clone())),
                "_deleted" => Arc::new(BooleanArray::from(deleted.clone())),
                _ => Arc::new(Int64Array::from(sums.clone())),
            }
        })
        .collect();
    RecordBatch::try_new(spec.schema, columns).expect("columns of the kind")
}

/// What a reader must see of one tree: the rows so far, in order of arrival.
#[derive(Clone, Debug)]
pub(crate) struct ModelTree {
    pub(crate) kind: u32,
    pub(crate) batches: Vec<RecordBatch>,
}

impl ModelTree {
    /// The rows under the tree's rule, as sorted text.
    pub(crate) fn expected(&self) -> Vec<String> {
        let spec = spec(self.kind, TreeId(0));
        let mut by_key: BTreeMap<String, (u64, bool, i64, String)> = BTreeMap::new();
        let mut out = Vec::new();
        for batch in &self.batches {
            let key: Vec<ArrayRef> =
                spec.key.iter().map(|&c| Arc::clone(batch.column(c))).collect();
            let last = batch.num_columns() - 1;
            for row in 0..batch.num_rows() {
                let text = row_text(batch.columns(), row);
                match spec.rule {
                    Rule::Keep => out.push(text),
                    Rule::Latest => {
                        let version =
                            batch.column(last - 1).as_primitive::<UInt64Type>().value(row);
                        let deleted = batch.column(last).as_boolean().value(row);
                        let seen = by_key.entry(row_text(&key, row)).or_default();
                        if version >= seen.0 {
                            *seen = (version, deleted, 0, text);
                        }
                    }
                    Rule::Combine(_) => {
                        let sum = batch.column(last).as_primitive::<Int64Type>().value(row);
                        let group = row_text(&batch.columns()[..last], row);
                        by_key.entry(group).or_default().2 += sum;
                    }
                }
            }
        }
        match spec.rule {
            Rule::Keep => {}
            Rule::Latest => {
                out.extend(by_key.into_values().filter(|v| !v.1).map(|v| v.3));
            }
            Rule::Combine(_) => {
                out.extend(by_key.into_iter().filter(|(_, v)| v.2 != 0).map(|(key, v)| {
                    match key.as_str() {
                        "" => v.2.to_string(),
                        key => format!("{key}|{}", v.2),
                    }
                }))
            }
        }
        out.sort();
        out
    }
}

/// All trees at a commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) trees: BTreeMap<u32, ModelTree>,
}

pub(crate) fn content(tree: &TreeSnapshot) -> Vec<String> {
    let options = ScanOptions { batch_rows: 100, ..ScanOptions::default() };
    let mut out: Vec<String> = scan(tree, options)
        .expect("scans")
        .flat_map(|batch| texts(&batch.expect("reads")))
        .collect();
    out.sort();
    out
}

pub(crate) fn check(snapshot: &Snapshot, model: &Model, what: &str) {
    let found: Vec<u32> = snapshot.trees().iter().map(|t| t.spec().id.0).collect();
    let wanted: Vec<u32> = model.trees.keys().copied().collect();
    assert_eq!(found, wanted, "{what}: trees at commit {}", snapshot.commit());
    for (id, tree) in &model.trees {
        let found = content(snapshot.tree(TreeId(*id)).expect("there"));
        let wanted = tree.expected();
        assert_eq!(found, wanted, "{what}: kind {} at commit {}", tree.kind, snapshot.commit());
    }
}

/// The engine's state in this world: which trees there are.
pub(crate) struct Kinds(pub(crate) BTreeMap<u32, u32>);

impl Meta for Kinds {
    fn encode(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|(id, kind)| [id.to_le_bytes(), kind.to_le_bytes()].concat())
            .collect()
    }
}

impl Kinds {
    pub(crate) fn decode(bytes: &[u8]) -> BTreeMap<u32, u32> {
        let word = |b: &[u8]| u32::from_le_bytes(b.try_into().expect("four bytes"));
        bytes.chunks_exact(8).map(|b| (word(&b[..4]), word(&b[4..]))).collect()
    }
}

/// One thing that a commit does.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Create { id: u32, kind: u32 },
    Drop { id: u32 },
    Rows { id: u32, rows: RecordBatch },
}

const CREATE: u8 = 1;
const DROP: u8 = 2;
const ROWS: u8 = 3;

fn to_section(change: &Change) -> Section {
    match change {
        Change::Create { id, kind } => {
            Section { kind: CREATE, id: *id, bytes: kind.to_le_bytes().to_vec().into() }
        }
        Change::Drop { id } => Section { kind: DROP, id: *id, bytes: Vec::new().into() },
        Change::Rows { id, rows } => {
            let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).expect("a writer");
            writer.write(rows).expect("writes");
            let bytes = writer.into_inner().expect("finishes");
            Section { kind: ROWS, id: *id, bytes: bytes.into() }
        }
    }
}

fn from_section(section: &Section) -> Change {
    let id = section.id;
    match section.kind {
        CREATE => {
            let kind = u32::from_le_bytes(section.bytes[..4].try_into().expect("four bytes"));
            Change::Create { id, kind }
        }
        DROP => Change::Drop { id },
        _ => {
            let mut reader = StreamReader::try_new(section.bytes.as_ref(), None).expect("a stream");
            Change::Rows { id, rows: reader.next().expect("a batch").expect("reads") }
        }
    }
}

/// An engine over a store: commits through the log, keeps the model beside it.
pub(crate) struct Engine {
    pub(crate) store: Store,
    pub(crate) kinds: BTreeMap<u32, u32>,
    pub(crate) commit: CommitId,
}

impl Engine {
    /// Opens, attaches, replays. Does not start the threads.
    pub(crate) fn open(media: Arc<dyn Media>, options: StoreOptions) -> Result<Self, StoreError> {
        let (store, mut opening) = Store::open(media, options)?;
        let kinds = Kinds::decode(opening.meta());
        for (&id, &kind) in &kinds {
            store.attach_tree(spec(kind, TreeId(id)))?;
        }
        let mut engine = Self { store, kinds, commit: opening.commit() };
        let records: Vec<LogRecord> = opening.replay().collect::<Result<_, _>>()?;
        for record in records {
            let changes: Vec<Change> = record.sections.iter().map(from_section).collect();
            engine.apply(record.commit, &changes)?;
        }
        Ok(engine)
    }

    pub(crate) fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let commit = self.commit.next();
        let sections = changes.iter().map(to_section).collect();
        let at_us = i64::try_from(commit.0).expect("small");
        self.store.append_log(&LogRecord { commit, at_us, sections })?;
        self.apply(commit, changes)
    }

    fn apply(&mut self, commit: CommitId, changes: &[Change]) -> Result<(), StoreError> {
        let mut batches = Vec::new();
        for change in changes {
            match change {
                Change::Create { id, kind } => {
                    self.store.create_tree(spec(*kind, TreeId(*id)))?;
                    self.kinds.insert(*id, *kind);
                }
                Change::Drop { id } => {
                    self.store.drop_tree(TreeId(*id))?;
                    self.kinds.remove(id);
                }
                Change::Rows { id, rows } => batches.push((TreeId(*id), rows.clone())),
            }
        }
        self.commit = commit;
        let meta = Arc::new(Kinds(self.kinds.clone()));
        self.store.publish(Publication { commit, batches, meta })
    }
}

impl Model {
    pub(crate) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Create { id, kind } => {
                    let tree = ModelTree { kind: *kind, batches: Vec::new() };
                    self.trees.insert(*id, tree);
                }
                Change::Drop { id } => {
                    self.trees.remove(id);
                }
                Change::Rows { id, rows } => {
                    let tree = self.trees.get_mut(id).expect("there");
                    tree.batches.push(rows.clone());
                }
            }
        }
    }
}

/// Random changes for the next commit.
pub(crate) fn random_changes(
    rng: &mut Rng,
    commit: CommitId,
    kinds: &BTreeMap<u32, u32>,
    next_tree: u32,
    rows_max: usize,
) -> Vec<Change> {
    let mut changes = Vec::new();
    if commit.0 == 1 {
        let kinds = 0..KINDS;
        return kinds.map(|kind| Change::Create { id: next_tree + kind, kind }).collect();
    }
    let mut dropped = None;
    if rng.below(25) == 0 && kinds.len() > 3 {
        let id = *kinds.keys().nth(rng.index(kinds.len())).expect("one of them");
        dropped = Some(id);
        changes.push(Change::Drop { id });
    }
    if rng.below(20) == 0 {
        let kind = u32::try_from(rng.below(u64::from(KINDS))).expect("small");
        changes.push(Change::Create { id: next_tree, kind });
    }
    for (&id, &kind) in kinds {
        if Some(id) != dropped && rng.below(3) > 0 {
            let len = if rng.below(6) == 0 { rows_max } else { rows_max / 8 };
            let len = 1 + rng.index(len);
            let keys = if rng.below(4) == 0 { 4 * rows_max as u64 } else { 12 };
            changes.push(Change::Rows { id, rows: rows(kind, rng, commit, len, keys) });
        }
    }
    changes
}

/// Options under which little is enough to make things happen.
pub(crate) fn small() -> StoreOptions {
    StoreOptions { memory_bytes_max: 64 << 20, ..StoreOptions::default() }
}
