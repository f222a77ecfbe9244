//! What can be asked of a scan, retention, and opening for reading only.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use yeoul_batch::{CommitId, KeyCodec, TreeId};
use yeoul_store::{
    Media, PartCompression, Publication, Rule, ScanOptions, Store, StoreOptions, TreeSpec,
    TrialMedia, scan,
};

use crate::world::{
    Change, DAY_US, Engine, Kinds, Model, Rng, check, content, random_changes, row_text, rows,
    small, spec, texts,
};

fn filled(media: &TrialMedia, seed: u64) -> (Engine, Model) {
    let mut rng = Rng::new(seed);
    let mut engine = Engine::open(Arc::new(media.clone()), small()).expect("opens");
    let mut model = Model::default();
    for step in 0..9 {
        let next = engine.store.next_tree_id().0;
        let changes = random_changes(&mut rng, engine.commit.next(), &engine.kinds, next, 400);
        engine.commit(&changes).expect("commits");
        model.apply(&changes);
        if step % 3 == 1 {
            engine.store.checkpoint().expect("checkpoints");
        }
    }
    (engine, model)
}

#[test]
fn a_narrowed_scan_is_the_whole_one_filtered() {
    for seed in 1..6 {
        let (engine, _) = filled(&TrialMedia::new(seed), seed);
        for tree in engine.store.snapshot().trees() {
            let spec = tree.spec();
            let columns = spec.schema.fields().len();
            let projection: Vec<usize> = (0..columns).rev().step_by(2).collect();
            check_narrowed(tree, Some(projection), None, None);
            check_narrowed(tree, Some(vec![columns - 1]), Some(0..=1), None);
            if spec.key.is_empty() {
                continue;
            }
            let codec = KeyCodec::new(&spec.schema, &spec.key[..1]).expect("plain types");
            let kind: u32 = spec.name["kind ".len()..].parse().expect("a number");
            let some = rows(kind, &mut Rng::new(seed), CommitId(1), 30, 12);
            let encoded = codec.encode(&some).expect("encodes");
            let mut bounds: Vec<Vec<u8>> =
                encoded.iter().map(|key| key.as_ref().to_vec()).collect();
            bounds.sort();
            let keys = bounds[5].clone()..=bounds[15].clone();
            check_narrowed(tree, None, None, Some(keys.clone()));
            check_narrowed(tree, Some(vec![0]), Some(-1..=0), Some(keys));
        }
    }
}

fn check_narrowed(
    tree: &yeoul_store::TreeSnapshot,
    projection: Option<Vec<usize>>,
    partitions: Option<std::ops::RangeInclusive<i64>>,
    keys: Option<std::ops::RangeInclusive<Vec<u8>>>,
) {
    let spec = tree.spec();
    let options = ScanOptions {
        projection: projection.clone(),
        partitions: partitions.clone(),
        keys: keys.clone(),
        batch_rows: 77,
    };
    let mut found: Vec<String> = scan(tree, options)
        .expect("scans")
        .flat_map(|batch| texts(&batch.expect("reads")))
        .collect();
    found.sort();
    let codec = KeyCodec::new(&spec.schema, &spec.key).expect("plain types");
    let mut wanted = Vec::new();
    for batch in scan(tree, ScanOptions::default()).expect("scans") {
        let batch = batch.expect("reads");
        let encoded = (!spec.key.is_empty()).then(|| codec.encode(&batch).expect("encodes"));
        for row in 0..batch.num_rows() {
            let in_keys = keys.as_ref().is_none_or(|keys| {
                let key = encoded.as_ref().expect("has a key").row(row);
                let key: &[u8] = key.as_ref();
                let len = key.len().min(keys.end().len());
                key >= keys.start().as_slice() && &key[..len] <= keys.end().as_slice()
            });
            let in_partitions =
                partitions.as_ref().is_none_or(|p| p.contains(&partition(spec, &batch, row)));
            if in_keys && in_partitions {
                let whole = batch.columns().to_vec();
                let columns = match &projection {
                    None => whole,
                    Some(projection) => projection.iter().map(|&c| whole[c].clone()).collect(),
                };
                wanted.push(row_text(&columns, row));
            }
        }
    }
    wanted.sort();
    assert_eq!(found, wanted, "{}: {projection:?} {partitions:?} {keys:?}", spec.name);
}

fn read_only() -> StoreOptions {
    StoreOptions { read_only: true, ..small() }
}

fn partition(spec: &TreeSpec, batch: &RecordBatch, row: usize) -> i64 {
    use arrow::array::{Array, AsArray};
    let Some(by) = spec.partition else { return 0 };
    let times =
        batch.column(by.column).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    if times.is_null(row) { i64::MIN } else { times.value(row).div_euclid(by.width_us) }
}

#[test]
fn old_partitions_go_and_pinned_ones_stay_readable() {
    let media = TrialMedia::new(3);
    let (store, _) = Store::open(Arc::new(media.clone()), small()).expect("opens");
    let tree = TreeSpec { retention_us: Some(2 * DAY_US), ..spec(0, TreeId(1)) };
    store.create_tree(tree).expect("creates");
    let mut pinned = Vec::new();
    for day in 0..8 {
        let commit = store.snapshot().commit().next();
        let batch = RecordBatch::try_new(
            spec(0, TreeId(1)).schema,
            vec![
                Arc::new(Int64Array::from(vec![day, day])),
                Arc::new(
                    TimestampMicrosecondArray::from(vec![Some(day * DAY_US + 5), None])
                        .with_timezone("UTC"),
                ),
                Arc::new(StringViewArray::from(vec!["x", "y"])),
            ],
        );
        let batches = vec![(TreeId(1), batch.expect("columns"))];
        let meta = Arc::new(Kinds([(1, 0)].into()));
        let record = yeoul_store::LogRecord { commit, at_us: 0, sections: Vec::new() };
        store.append_log(&record).expect("logs");
        store.publish(Publication { commit, batches, meta }).expect("publishes");
        store.checkpoint().expect("checkpoints");
        pinned.push((store.snapshot(), content(&store.snapshot().trees()[0])));
        let tree = &store.snapshot().trees()[0].clone();
        let all = 2 * (u64::try_from(day).expect("small") + 1);
        assert_eq!(tree.expired_rows().map(|gone| gone + tree.rows()), Some(all), "day {day}");
    }
    let (again, _) = Store::open(Arc::new(media.clone()), read_only()).expect("opens");
    again
        .attach_tree(TreeSpec { retention_us: Some(2 * DAY_US), ..spec(0, TreeId(1)) })
        .expect("attaches");
    assert_eq!(again.snapshot().trees()[0].expired_rows(), Some(4), "it survives a restart");
    // Days 4 to 7: day 4 ends two days before day 7 begins. The rows without a time stay.
    assert_eq!(pinned[7].1.len(), 4 + 8);
    let files = |media: &TrialMedia| media.list("parts/1").expect("lists").len();
    assert_eq!(files(&media), 16, "pinned parts are still there");
    for (snapshot, content_then) in &pinned {
        assert_eq!(&content(&snapshot.trees()[0]), content_then);
    }
    pinned.drain(..7);
    assert_eq!(files(&media), 12);
}

/// Two rows of a day: one with a time, one without.
fn of_day(day: i64) -> RecordBatch {
    let times = TimestampMicrosecondArray::from(vec![Some(day * DAY_US + 5), None]);
    RecordBatch::try_new(
        spec(0, TreeId(1)).schema,
        vec![
            Arc::new(Int64Array::from(vec![day, day])),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(StringViewArray::from(vec!["x", "y"])),
        ],
    )
    .expect("columns")
}

fn publish_day(store: &Store, day: i64) {
    let commit = store.snapshot().commit().next();
    let record = yeoul_store::LogRecord { commit, at_us: 0, sections: Vec::new() };
    store.append_log(&record).expect("logs");
    let meta = Arc::new(Kinds([(1, 0)].into()));
    let batches = vec![(TreeId(1), of_day(day))];
    store.publish(Publication { commit, batches, meta }).expect("publishes");
}

#[test]
fn released_rows_go_from_parts_and_memory_and_do_not_come_back() {
    let media = TrialMedia::new(5);
    let (store, _) = Store::open(Arc::new(media.clone()), small()).expect("opens");
    store.create_tree(spec(0, TreeId(1))).expect("creates");
    store.start().expect("starts");
    for day in 0..6 {
        publish_day(&store, day);
        if day < 4 {
            store.checkpoint().expect("checkpoints");
        }
    }
    let rows = |store: &Store| store.snapshot().trees()[0].rows();
    let files = |media: &TrialMedia| media.list("parts/1").expect("lists").len();
    assert_eq!(rows(&store), 12);
    let pinned = store.snapshot();
    let then = content(&pinned.trees()[0]);
    store.release(TreeId(1), 2 * DAY_US - 1).expect("releases");
    assert_eq!(rows(&store), 11, "the part of day 0 is gone at once, day 1 has not ended");
    store.release(TreeId(1), DAY_US).expect("releases");
    assert_eq!(rows(&store), 11, "it does not go back");
    store.release(TreeId(1), 5 * DAY_US).expect("releases");
    for _ in 0..600 {
        if rows(&store) == 7 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // The row of day 5, and those without a time; day 4 was in memory.
    let left = content(&store.snapshot().trees()[0]);
    assert_eq!(left.len(), 7, "{left:?}");
    publish_day(&store, 3);
    store.checkpoint().expect("checkpoints");
    assert_eq!(rows(&store), 8, "what comes too late is not written");
    assert_eq!(content(&pinned.trees()[0]), then);
    drop(pinned);
    store.merge_parts().expect("merges");
    assert_eq!(rows(&store), 8);
    assert_eq!(files(&media), store.snapshot().trees()[0].parts().len());
    drop(store);
    let (again, _) = Store::open(Arc::new(media), read_only()).expect("opens");
    again.attach_tree(spec(0, TreeId(1))).expect("attaches");
    assert_eq!(rows(&again), 8, "it survives a restart");
}

#[test]
fn rows_below_a_number_go_with_their_parts_and_batches() {
    let media = TrialMedia::new(6);
    let (store, _) = Store::open(Arc::new(media.clone()), small()).expect("opens");
    let number = Arc::new(Field::new("number", DataType::Int64, false));
    let schema = Arc::new(Schema::new(vec![number]));
    let tree = TreeSpec {
        id: TreeId(1),
        name: "changes".into(),
        schema: Arc::clone(&schema),
        key: vec![0],
        rule: Rule::Keep,
        partition: None,
        retention_us: None,
    };
    store.create_tree(tree.clone()).expect("creates");
    store.start().expect("starts");
    let publish = |from: i64| {
        let commit = store.snapshot().commit().next();
        let record = yeoul_store::LogRecord { commit, at_us: 0, sections: Vec::new() };
        store.append_log(&record).expect("logs");
        let rows: ArrayRef = Arc::new(Int64Array::from(vec![from, from + 1]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![rows]).expect("a batch");
        let meta = Arc::new(Kinds([(1, 0)].into()));
        store
            .publish(Publication { commit, batches: vec![(TreeId(1), batch)], meta })
            .expect("publishes");
        commit
    };
    let rows = |store: &Store| store.snapshot().trees()[0].rows();
    publish(0);
    store.checkpoint().expect("checkpoints");
    let commits = [publish(10), publish(20), publish(30)];
    assert_eq!(rows(&store), 8);
    store.release_below(TreeId(1), 1, CommitId(0)).expect("releases");
    assert_eq!(rows(&store), 8, "a part of which a row is left stays");
    store.release_below(TreeId(1), 21, commits[0]).expect("releases");
    assert_eq!(rows(&store), 4, "the part and the batch of the first commit are gone");
    store.release_below(TreeId(1), 5, commits[2]).expect("releases");
    assert_eq!(rows(&store), 4, "it does not go back");
    store.checkpoint().expect("checkpoints");
    assert_eq!(rows(&store), 4);
    assert_eq!(media.list("parts/1").expect("lists").len(), 1, "what was released has no file");
    store.release_below(TreeId(1), 100, commits[2]).expect("releases");
    assert_eq!(rows(&store), 0);
    store.create_tree(TreeSpec { id: TreeId(2), key: Vec::new(), ..tree }).expect("creates");
    store.release_below(TreeId(2), 1, CommitId(0)).expect_err("it has no key");
}

#[test]
fn a_dropped_tree_leaves_nothing_behind() {
    let media = TrialMedia::new(4);
    let (mut engine, _) = filled(&media, 4);
    let id = *engine.kinds.keys().next().expect("there are trees");
    assert!(!media.list(&format!("parts/{id}")).expect("lists").is_empty());
    engine.commit(&[Change::Drop { id }]).expect("commits");
    assert!(!media.list(&format!("parts/{id}")).expect("lists").is_empty(), "the log needs it");
    engine.store.checkpoint().expect("checkpoints");
    assert!(media.list(&format!("parts/{id}")).expect("lists").is_empty());
}

#[test]
fn orphans_go_at_the_start() {
    let media = TrialMedia::new(8);
    let (engine, model) = filled(&media, 8);
    drop(engine);
    media.put("parts/1/999999.parquet", *b"half a part");
    media.put("parts/77/1.parquet", *b"of a tree that never was");
    let engine = Engine::open(Arc::new(media.clone()), small()).expect("opens");
    engine.store.start().expect("starts");
    assert!(!media.exists("parts/1/999999.parquet").expect("answers"));
    assert!(!media.exists("parts/77/1.parquet").expect("answers"));
    check(&engine.store.snapshot(), &model, "after the start");
}

#[test]
fn a_store_can_be_read_without_being_changed() {
    let media = TrialMedia::new(9);
    let (engine, model) = filled(&media, 9);
    let before = media.operations();
    let options = StoreOptions { read_only: true, ..small() };
    let mut reader = Engine::open(Arc::new(media.clone()), options).expect("opens beside it");
    reader.store.start().expect("nothing to start");
    check(&reader.store.snapshot(), &model, "read only");
    assert!(reader.commit(&[]).is_err());
    assert!(reader.store.checkpoint().is_err());
    assert_eq!(media.operations(), before);
    check(&engine.store.snapshot(), &model, "the writer");
}

#[test]
fn a_missing_or_cut_part_is_found_when_it_is_attached() {
    let media = TrialMedia::new(10);
    let (engine, _) = filled(&media, 10);
    drop(engine);
    let files = media.list("parts/1").expect("lists");
    let path = format!("parts/1/{}", files[0]);
    let bytes = media.read(&path).expect("reads");
    media.put(&path, &bytes[..bytes.len() - 1]);
    let error = Engine::open(Arc::new(media.clone()), small()).err().expect("refused");
    assert!(error.to_string().contains(&path), "{error}");
}

#[test]
fn lz4_parts_and_little_memory() {
    let media = TrialMedia::new(12);
    let options = StoreOptions {
        compression: PartCompression::Lz4,
        memory_bytes_max: 200_000,
        part_bytes_max: 20_000,
        ..StoreOptions::default()
    };
    let mut rng = Rng::new(12);
    let mut engine = Engine::open(Arc::new(media.clone()), options.clone()).expect("opens");
    let mut model = Model::default();
    for _ in 0..20 {
        let next = engine.store.next_tree_id().0;
        let changes = random_changes(&mut rng, engine.commit.next(), &engine.kinds, next, 2_000);
        engine.commit(&changes).expect("commits");
        model.apply(&changes);
    }
    check(&engine.store.snapshot(), &model, "with little memory");
    assert!(engine.store.stats().checkpoints > 2, "memory was full before the threads started");
    drop(engine);
    let engine = Engine::open(Arc::new(media), options).expect("opens");
    engine.store.merge_parts().expect("merges");
    check(&engine.store.snapshot(), &model, "after merging");
}
