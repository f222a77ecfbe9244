//! Writes to one table that meet in one commit.

use std::sync::Arc;
use std::time::Duration;

use yeoul_engine::{Engine, EngineOptions};

use super::path::copy_dir;
use super::support::{TestClock, ok, open, options};

/// Long enough that statements of two connections are gathered into one commit.
const INTERVAL: Duration = Duration::from_secs(2);

#[test]
fn a_change_and_an_insert_come_back_in_their_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let copy = tempfile::tempdir().expect("a folder");
    let options = EngineOptions { commit_interval: INTERVAL, ..options() };
    let engine = Engine::open(dir.path(), Arc::new(TestClock::default()), options, &mut |_| {})
        .expect("opens");
    ok(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT)");
    // From here on a commit waits for the end of the interval.
    ok(&engine, "INSERT INTO t VALUES (1, 1)");
    std::thread::scope(|scope| {
        let update = scope.spawn(|| ok(&engine, "UPDATE t SET v = v + 1 WHERE k = 1"));
        std::thread::sleep(INTERVAL / 2);
        assert_eq!(ok(&engine, "INSERT INTO t VALUES (1, 3)"), ["INSERT 0 1"]);
        assert_eq!(update.join().expect("ends"), ["UPDATE 1"]);
    });
    assert_eq!(ok(&engine, "SELECT v FROM t"), ["3"], "the insert came half an interval later");
    copy_dir(dir.path(), copy.path());
    let again = open(copy.path());
    assert_eq!(ok(&again, "SELECT v FROM t"), ["3"], "replayed");
    again.shutdown().expect("stops");
    engine.shutdown().expect("stops");
}
