//! Readers beside commits, checkpoints and merges, with the store's own threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use yeoul_batch::TreeId;
use yeoul_store::{ScanOptions, Snapshot, StoreOptions, TrialMedia, get_many, scan};

use crate::world::{Change, Engine, spec};

const ROWS: i64 = 500;
const KEEP: u32 = 1;
const SUMS: u32 = 2;

fn changes(commit: i64) -> Vec<Change> {
    let keep = spec(1, TreeId(KEEP));
    let sums = spec(4, TreeId(SUMS));
    let ids = Int64Array::from_iter_values((0..ROWS).map(|i| i + commit));
    let times =
        TimestampMicrosecondArray::from_iter_values((0..ROWS).map(|i| i % 7)).with_timezone("UTC");
    let names = arrow::array::StringViewArray::from_iter_values(
        (0..ROWS).map(|i| format!("a name that is long enough {i}")),
    );
    let keep_rows = RecordBatch::try_new(
        keep.schema,
        vec![Arc::new(ids.clone()), Arc::new(times.clone()), Arc::new(names)],
    );
    let ones = Int64Array::from_iter_values((0..ROWS).map(|_| 1));
    let sum_rows =
        RecordBatch::try_new(sums.schema, vec![Arc::new(times), Arc::new(ids), Arc::new(ones)]);
    vec![
        Change::Rows { id: KEEP, rows: keep_rows.expect("columns") },
        Change::Rows { id: SUMS, rows: sum_rows.expect("columns") },
    ]
}

/// Both trees show exactly the rows of the commits up to the snapshot's.
fn whole(snapshot: &Snapshot) {
    let commits = i64::try_from(snapshot.commit().0).expect("small") - 1;
    let wanted = commits.max(0) * ROWS;
    let Some(keep) = snapshot.tree(TreeId(KEEP)) else { return };
    let rows: usize = scan(keep, ScanOptions { projection: Some(vec![0]), ..Default::default() })
        .expect("scans")
        .map(|batch| batch.expect("reads").num_rows())
        .sum();
    assert_eq!(i64::try_from(rows).expect("small"), wanted, "at commit {}", snapshot.commit());
    let sums = snapshot.tree(TreeId(SUMS)).expect("made with the other");
    let total: i64 = scan(sums, ScanOptions::default())
        .expect("scans")
        .map(|batch| {
            let batch = batch.expect("reads");
            batch.column(2).as_primitive::<Int64Type>().values().iter().sum::<i64>()
        })
        .sum();
    assert_eq!(total, wanted, "sums at commit {}", snapshot.commit());
}

#[test]
fn readers_see_whole_commits() {
    let options = StoreOptions {
        memory_bytes_max: 1 << 20,
        log_bytes_max: 4 << 20,
        ..StoreOptions::default()
    };
    let media = TrialMedia::new(5);
    let mut engine = Engine::open(Arc::new(media.clone()), options.clone()).expect("opens");
    engine.store.start().expect("starts");
    let create = [Change::Create { id: KEEP, kind: 1 }, Change::Create { id: SUMS, kind: 4 }];
    engine.commit(&create).expect("commits");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, done) = (&engine.store, &done);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    let mut reads = 0;
                    while !done.load(Ordering::Acquire) {
                        whole(&store.snapshot());
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let mut commit = engine.commit;
        for n in 1..=150 {
            commit = commit.next();
            publish(store, commit, &changes(n));
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().expect("no half commit was seen") > 0);
        }
    });
    whole(&engine.store.snapshot());
    let stats = engine.store.stats();
    assert!(stats.checkpoints > 1, "{stats:?}");
    assert!(stats.poisoned.is_none(), "{stats:?}");
    engine.store.checkpoint().expect("checkpoints");
    while engine.store.merge_parts().expect("merges") > 0 {}
    whole(&engine.store.snapshot());
    let sums = engine.store.snapshot();
    let sums = sums.tree(TreeId(SUMS)).expect("there");
    let probe = [
        Arc::new(TimestampMicrosecondArray::from(vec![3]).with_timezone("UTC")) as _,
        Arc::new(Int64Array::from(vec![100])) as _,
    ];
    assert!(get_many(sums, &probe).expect("looks up").num_rows() <= 1);
}

fn publish(store: &yeoul_store::Store, commit: yeoul_batch::CommitId, changes: &[Change]) {
    let batches = changes.iter().filter_map(|change| match change {
        Change::Rows { id, rows } => Some((TreeId(*id), rows.clone())),
        Change::Create { .. } | Change::Drop { .. } => None,
    });
    let meta = Arc::new(crate::world::Kinds([(KEEP, 1), (SUMS, 4)].into()));
    let record = yeoul_store::LogRecord { commit, at_us: 0, sections: Vec::new() };
    store.append_log(&record).expect("logs");
    let batches = batches.collect();
    store.publish(yeoul_store::Publication { commit, batches, meta }).expect("publishes");
}
