//! Times ahead of now: asked before the log, never after it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use yeoul_engine::{Clock, Delivery, Engine};

use super::path::copy_dir;
use super::support::{ok, options, run};

const DAY_US: i64 = 86_400_000_000;
/// 2027-01-15 08:00:00.
const NOW_US: i64 = 1_800_000_000_000_000;

struct Hand(AtomicI64);

impl Clock for Hand {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn open(dir: &Path, clock: &Arc<Hand>) -> Engine {
    let clock: Arc<dyn Clock> = Arc::<Hand>::clone(clock);
    Engine::open(dir, clock, options(), &mut |_| {}).expect("opens")
}

fn delivery(engine: &Engine, rows: &[(i64, i64)]) -> Delivery {
    let stream = engine.stream("s").expect("it is there");
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.1));
    let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
    let rows = RecordBatch::try_new(Arc::clone(stream.schema()), vec![ids, times]).expect("fits");
    Delivery::new(stream, "test", rows)
}

#[test]
fn what_was_believed_once_is_not_judged_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let copy = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(Hand(AtomicI64::new(NOW_US)));
    let engine = open(dir.path(), &clock);
    ok(
        &engine,
        "CREATE STREAM s (id BIGINT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts) \
         WITH (future_skew = '2 days', unique_key = 'id')",
    );
    let rows = [(1, NOW_US), (2, NOW_US + 3 * DAY_US), (3, NOW_US + 2 * DAY_US), (4, 0)];
    let receipt = engine.submit(delivery(&engine, &rows)).expect("taken").wait().expect("stored");
    assert_eq!((receipt.accepted, receipt.dead_letters), (3, 1));
    const LETTERS: &str =
        "SELECT source, position, reason, CAST(raw AS VARCHAR) FROM yeoul.dead_letters";
    const LETTER: &str = "test|row 2 of its delivery|ts is 3 days ahead of now, more than \
         future_skew = 2 days|{\"id\":2,\"ts\":\"2027-01-18T08:00:00Z\"}";
    assert_eq!(ok(&engine, LETTERS), [LETTER]);
    // What was refused may come again when its time has come.
    clock.0.store(NOW_US + DAY_US, Ordering::Relaxed);
    let receipt = engine.submit(delivery(&engine, &rows)).expect("taken").wait().expect("stored");
    assert_eq!((receipt.accepted, receipt.duplicates, receipt.dead_letters), (1, 3, 0));
    let error = run(&engine, "INSERT INTO s VALUES (5, '2030-01-01')").expect_err("too far ahead");
    assert_eq!(error.sqlstate, "22008");
    // A clock that was set back: the log is read as it was written.
    copy_dir(dir.path(), copy.path());
    let early = Arc::new(Hand(AtomicI64::new(NOW_US - 1_000 * DAY_US)));
    let again = open(copy.path(), &early);
    assert_eq!(ok(&again, "SELECT id FROM s ORDER BY id"), ["1", "2", "3", "4"]);
    assert_eq!(ok(&again, LETTERS), [LETTER]);
    again.shutdown().expect("stops");
    engine.shutdown().expect("stops");
}

#[test]
fn a_stream_may_believe_any_time_and_tables_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path(), &Arc::new(Hand(AtomicI64::new(NOW_US))));
    ok(
        &engine,
        "CREATE STREAM s (id BIGINT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts) \
         WITH (future_skew = 'unlimited')",
    );
    ok(&engine, "CREATE TABLE t (id BIGINT PRIMARY KEY, ts TIMESTAMPTZ)");
    ok(&engine, "CREATE STREAM plain (id BIGINT, ts TIMESTAMPTZ)");
    // Without a watermark it is the partitions that a retention would drop.
    ok(
        &engine,
        "CREATE STREAM kept (id BIGINT, ts TIMESTAMPTZ) \
         WITH (partition_by = 'day(ts)', retention = '1 day')",
    );
    for name in ["s", "t", "plain"] {
        ok(&engine, &format!("INSERT INTO {name} VALUES (1, '2200-01-01')"));
    }
    let error = run(&engine, "INSERT INTO kept VALUES (1, '2200-01-01')").expect_err("too far");
    assert!(error.message.starts_with("ts is 631"), "{error}");
    engine.shutdown().expect("stops");
}
