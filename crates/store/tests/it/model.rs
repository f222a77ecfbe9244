//! Random histories against the model: every snapshot shows what it must, whatever was flushed,
//! merged, dropped or reopened.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use yeoul_batch::KeyCodec;
use yeoul_store::{
    Media, Part, Rule, Slices, Snapshot, TreeSnapshot, TrialMedia, from_stored, get_many,
};

use crate::world::{
    Engine, Model, Rng, check, content, random_changes, row_text, rows, small, texts,
};

fn run(seed: u64, commits: u64, rows_max: usize) {
    let mut rng = Rng::new(seed);
    let media = TrialMedia::new(seed);
    let shared: Arc<dyn Media> = Arc::new(media.clone());
    let mut engine = Engine::open(Arc::clone(&shared), small()).expect("opens");
    let mut model = Model::default();
    let mut pinned: Vec<(Arc<Snapshot>, Model)> = Vec::new();
    for step in 0..commits {
        let next = engine.store.next_tree_id().0;
        let changes = random_changes(&mut rng, engine.commit.next(), &engine.kinds, next, rows_max);
        engine.commit(&changes).expect("commits");
        model.apply(&changes);
        let what = format!("seed {seed}, step {step}");
        match rng.below(12) {
            0 | 1 => {
                engine.store.checkpoint().expect("checkpoints");
                check(&engine.store.snapshot(), &model, &format!("{what}, after a checkpoint"));
            }
            2 => {
                engine.store.merge_parts().expect("merges");
                check(&engine.store.snapshot(), &model, &format!("{what}, after a merge"));
            }
            3 => {
                pinned.retain(|(_, _)| rng.below(3) > 0);
                pinned.push((engine.store.snapshot(), model.clone()));
            }
            4 if rng.below(2) == 0 => {
                pinned.clear();
                drop(engine);
                let media = if rng.below(2) == 0 { media.after_crash() } else { media.clone() };
                engine = Engine::open(Arc::new(media), small()).expect("opens again");
                check(&engine.store.snapshot(), &model, &format!("{what}, after reopening"));
                return rest(engine, model, rng, seed, rows_max);
            }
            5 => check(&engine.store.snapshot(), &model, &what),
            6 => look_up(&engine.store.snapshot(), &mut rng, &what),
            _ => {}
        }
    }
    for (snapshot, model) in &pinned {
        check(snapshot, model, &format!("seed {seed}, pinned"));
    }
}

/// After a restart the history goes on for a while.
fn rest(mut engine: Engine, mut model: Model, mut rng: Rng, seed: u64, rows_max: usize) {
    engine.store.start().expect("starts");
    for step in 0..20 {
        let next = engine.store.next_tree_id().0;
        let changes = random_changes(&mut rng, engine.commit.next(), &engine.kinds, next, rows_max);
        engine.commit(&changes).expect("commits");
        model.apply(&changes);
        if step % 4 == 0 {
            engine.store.checkpoint().expect("checkpoints");
        }
        let what = format!("seed {seed}, step {step} after reopening");
        check(&engine.store.snapshot(), &model, &what);
        look_up(&engine.store.snapshot(), &mut rng, &what);
    }
}

/// `get_many` gives what a scan filtered by the keys gives.
fn look_up(snapshot: &Snapshot, rng: &mut Rng, what: &str) {
    for tree in snapshot.trees() {
        let kind: u32 = tree.spec().name["kind ".len()..].parse().expect("a number");
        let keys = [12, 4_000][rng.index(2)];
        let count = [1, 5, 300][rng.index(3)];
        let probe = rows(kind, rng, snapshot.commit(), count, keys);
        if !tree.spec().key.is_empty() {
            crate::seek::check_ranges(tree, &probe, rng, what);
        }
        if matches!(tree.spec().rule, Rule::Keep) && tree.spec().key.is_empty() {
            continue;
        }
        check_lookup(tree, &probe, what);
        for columns in 1..tree.spec().key.len() {
            check_prefixes(tree, &probe, columns, what);
        }
    }
}

pub(crate) fn check_lookup(tree: &TreeSnapshot, probe: &RecordBatch, what: &str) {
    check_prefixes(tree, probe, tree.spec().key.len(), what);
}

/// The same by the first `columns` columns of the key.
pub(crate) fn check_prefixes(tree: &TreeSnapshot, probe: &RecordBatch, columns: usize, what: &str) {
    let spec = tree.spec();
    let key = &spec.key[..columns];
    let keys: Vec<ArrayRef> = key.iter().map(|&c| Arc::clone(probe.column(c))).collect();
    let wanted_keys: std::collections::HashSet<String> =
        (0..probe.num_rows()).map(|row| row_text(&keys, row)).collect();
    let mut found = texts(&get_many(tree, &keys).expect("looks up"));
    found.sort();
    let all = yeoul_store::scan(tree, yeoul_store::ScanOptions::default()).expect("scans");
    let mut wanted = Vec::new();
    for batch in all {
        let batch = batch.expect("reads");
        let key: Vec<ArrayRef> = key.iter().map(|&c| Arc::clone(batch.column(c))).collect();
        for row in 0..batch.num_rows() {
            if spec.key.is_empty() || wanted_keys.contains(&row_text(&key, row)) {
                wanted.push(row_text(batch.columns(), row));
            }
        }
    }
    wanted.sort();
    assert_eq!(found, wanted, "{what}: get_many of {} by {columns} columns", spec.name);
    assert!(keys.first().is_none_or(|k| k.len() == probe.num_rows()));
}

#[test]
fn short_histories() {
    for seed in 1..16 {
        run(seed, 60, 40);
    }
}

#[test]
fn longer_histories() {
    for seed in 100..102 {
        run(seed, 120, 3_000);
    }
}

#[test]
fn rows_of_a_keyed_tree_come_in_order() {
    let mut rng = Rng::new(7);
    let mut engine = Engine::open(Arc::new(TrialMedia::new(7)), small()).expect("opens");
    for _ in 0..8 {
        let next = engine.store.next_tree_id().0;
        let changes = random_changes(&mut rng, engine.commit.next(), &engine.kinds, next, 500);
        engine.commit(&changes).expect("commits");
        engine.store.checkpoint().expect("checkpoints");
    }
    let snapshot = engine.store.snapshot();
    for tree in snapshot.trees().iter().filter(|t| t.spec().partition.is_none()) {
        if matches!(tree.spec().rule, Rule::Keep) {
            continue;
        }
        let codec = KeyCodec::new(&tree.spec().schema, &tree.spec().key).expect("plain types");
        let mut last: Vec<u8> = Vec::new();
        for batch in yeoul_store::scan(tree, yeoul_store::ScanOptions::default()).expect("scans") {
            let keys = codec.encode(&batch.expect("reads")).expect("encodes");
            for key in keys.iter() {
                assert!(last.as_slice() < key.as_ref(), "{}: in order", tree.spec().name);
                last = key.as_ref().to_vec();
            }
        }
    }
    assert!(!content(&snapshot.trees()[0]).is_empty());
}

/// No row of a part is outside of where its slice looks for it.
#[test]
fn slices_hold_every_row_of_a_part() {
    let mut rng = Rng::new(77);
    let mut engine = Engine::open(Arc::new(TrialMedia::new(77)), small()).expect("opens");
    for step in 0..12 {
        let next = engine.store.next_tree_id().0;
        let changes = random_changes(&mut rng, engine.commit.next(), &engine.kinds, next, 9_000);
        engine.commit(&changes).expect("commits");
        if step % 3 == 0 {
            engine.store.checkpoint().expect("checkpoints");
        }
    }
    let mut cuts = 0;
    for tree in engine.store.snapshot().trees() {
        if matches!(tree.spec().rule, Rule::Keep) {
            continue;
        }
        for rows_each in [1, 3_000, 20_000, usize::MAX] {
            for together in [None, (!tree.spec().key.is_empty()).then_some(1)] {
                let slices = Slices::new(tree, rows_each, together).expect("the index is read");
                cuts += slices.count() - 1;
                let mut ranges = HashMap::new();
                for part in tree.parts() {
                    check_slices(&slices, tree, part, together.map(|_| &mut ranges));
                }
            }
        }
    }
    assert!(cuts > 10, "only {cuts} cuts: nothing was tried");
}

/// `ranges`: in which range the rows of each value of the first column of the key are, which is one.
fn check_slices(
    slices: &Slices,
    tree: &TreeSnapshot,
    part: &Part,
    mut ranges: Option<&mut HashMap<Vec<u8>, usize>>,
) {
    let spec = tree.spec();
    let codec = KeyCodec::new(&spec.schema, &spec.key).expect("plain types");
    let len = usize::try_from(part.meta().bytes).expect("a small file");
    let bytes = part.read_at(0, len).expect("reads");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("a footer");
    let mut row = 0;
    for batch in reader.build().expect("reads") {
        let batch = batch.expect("rows");
        let key = spec.key.iter().map(|&column| {
            let data_type = spec.schema.field(column).data_type();
            from_stored(batch.column(column), data_type).expect("as stored")
        });
        let key: Vec<_> = key.collect();
        let keys = codec.encode_columns(&key).expect("encodes");
        if let Some(ranges) = &mut ranges {
            let first = KeyCodec::new(&spec.schema, &spec.key[..1]).expect("plain types");
            let first = first.encode_columns(&key[..1]).expect("encodes");
            for (key, first) in keys.iter().zip(first.iter()) {
                let number = slices.number(key.as_ref());
                let range = *ranges.entry(first.as_ref().to_vec()).or_insert(number);
                assert_eq!(range, number, "rows that are needed together are in two ranges");
            }
        }
        for key in keys.iter() {
            let number = slices.number(key.as_ref());
            let rows = slices.rows_of(part, number).expect("the index is read");
            assert!(rows.contains(&row), "row {row} of {} not in {rows:?}", part.path());
            row += 1;
        }
    }
}
