//! Rows that come later than a stream allows.

use crate::support::{ok, open};

const LISTED: &str = "SELECT stream, source, CAST(event_time AS VARCHAR), CAST(watermark AS VARCHAR), rows \
                      FROM yeoul.late_rows ORDER BY commit, event_time";

#[test]
fn rows_later_than_is_allowed_are_listed_and_count_all_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut engine = open(dir.path());
    ok(
        &engine,
        "CREATE STREAM s (n BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t - INTERVAL '5 seconds')
         WITH (lateness = '1 minute')",
    );
    ok(
        &engine,
        "CREATE MATERIALIZED VIEW v AS SELECT window_start, sum(n) AS total
         FROM TUMBLE(s, t, INTERVAL '1 minute') GROUP BY window_start",
    );
    let insert = |engine: &yeoul_engine::Engine, n: i64, at: &str| {
        ok(engine, &format!("INSERT INTO s VALUES ({n}, '2026-01-01T{at}Z')"));
    };
    insert(&engine, 1, "12:00:00");
    insert(&engine, 2, "12:10:05");
    // Within a minute of the watermark, 12:10:00: late, and allowed.
    insert(&engine, 4, "12:09:00");
    assert_eq!(ok(&engine, LISTED), Vec::<String>::new());
    insert(&engine, 8, "12:08:59.999999");
    insert(&engine, 16, "12:00:30");
    let listed = [
        "s|sql|2026-01-01T12:08:59.999999Z|2026-01-01T12:10:00Z|1",
        "s|sql|2026-01-01T12:00:30Z|2026-01-01T12:10:00Z|1",
    ];
    let totals = [
        "2026-01-01T12:00:00Z|17",
        "2026-01-01T12:08:00Z|8",
        "2026-01-01T12:09:00Z|4",
        "2026-01-01T12:10:00Z|2",
    ];
    let mut listed = listed.map(str::to_owned).to_vec();
    for step in 0..3 {
        assert_eq!(ok(&engine, LISTED), listed, "step {step}");
        let view = "SELECT window_start, total FROM v ORDER BY window_start";
        assert_eq!(ok(&engine, view), totals, "step {step}");
        assert_eq!(ok(&engine, "SELECT late FROM yeoul.sources"), [(3 + 2 * step).to_string()]);
        assert_eq!(engine.audit().expect("reads").problems, Vec::<String>::new());
        // Replayed from the log, then read from parts.
        if step == 1 {
            engine.checkpoint().expect("writes parts");
        }
        engine.shutdown().expect("stops");
        drop(engine);
        engine = open(dir.path());
        ok(
            &engine,
            "INSERT INTO s VALUES (0, '2026-01-01T12:00:59Z'), (0, '2026-01-01T12:00:07Z')",
        );
        listed.push("s|sql|2026-01-01T12:00:07Z|2026-01-01T12:10:00Z|2".to_owned());
    }
    engine.shutdown().expect("stops");
}

#[test]
fn the_list_of_late_rows_is_not_written_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    for wrong in ["DROP STREAM yeoul.late_rows", "INSERT INTO yeoul.late_rows VALUES (1)"] {
        crate::support::run(&engine, wrong).expect_err(wrong);
    }
    engine.shutdown().expect("stops");
}
