//! Partitions that are read side by side: the last of them holds the stream's watermark, and idle ones do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use yeoul_engine::{Delivery, Pace, Position, Receipt};

use super::time::{BEGIN_US, Bench, SECOND};

/// How long nothing comes from a partition until it is idle, unless the stream says so.
const IDLE: i64 = 10 * SECOND;

fn create(bench: &Bench) {
    bench.ok("CREATE STREAM s (n BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t);
         CREATE MATERIALIZED VIEW told AS SELECT window_end, count(*) AS c, sum(n) AS s
         FROM TUMBLE(s, t, INTERVAL '1 minute') GROUP BY window_end EMIT ON WINDOW CLOSE");
}

/// Rows `(n, seconds)` of a partition, behind those before.
fn send(
    bench: &Bench,
    positions: &mut BTreeMap<String, u64>,
    partition: &str,
    pace: Pace,
    rows: &[(i64, i64)],
) -> Receipt {
    let stream = bench.engine().stream("s").expect("it is there");
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let times = rows.iter().map(|row| BEGIN_US + row.1 * SECOND);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let columns = vec![numbers, Arc::new(times) as ArrayRef];
    let rows = RecordBatch::try_new(Arc::clone(stream.schema()), columns).expect("fits");
    let from = positions.entry(partition.to_owned()).or_default();
    let position = Position { from: *from, to: *from + rows.num_rows() as u64 };
    *from = position.to;
    let mut delivery = Delivery::new(stream, "kafka", rows);
    delivery.partition = partition.into();
    delivery.position = Some(position);
    delivery.pace = pace;
    bench.engine().submit(delivery).expect("taken").wait().expect("stored")
}

fn watermark(bench: &Bench) -> String {
    let us = "CAST(extract(epoch FROM watermark) AS BIGINT)";
    let begin = BEGIN_US / SECOND;
    bench.ok(&format!("SELECT {us} - {begin} FROM yeoul.streams WHERE name = 's'")).concat()
}

#[test]
fn the_last_partition_holds_windows_until_it_is_idle_or_left() {
    let mut bench = Bench::new();
    create(&bench);
    let at = &mut BTreeMap::new();
    for partition in ["t/0", "t/1", "t/2"] {
        send(&bench, at, partition, Pace::Partition, &[]);
    }
    send(&bench, at, "t/0", Pace::Partition, &[(1, 0), (2, 130)]);
    send(&bench, at, "t/1", Pace::Partition, &[(3, 5)]);
    assert_eq!(watermark(&bench), "", "t/2 has not been heard of");
    send(&bench, at, "t/2", Pace::Partition, &[(4, 70)]);
    assert_eq!(watermark(&bench), "5");
    let receipt = send(&bench, at, "t/1", Pace::Partition, &[(5, 61)]);
    assert_eq!((receipt.late, watermark(&bench).as_str()), (0, "61"), "behind t/0, and not late");
    bench.same("told", "SELECT to_timestamp(1767225660) AS w, 2 AS c, 4 AS s", "one minute");
    for killed in [false, true] {
        bench.again(killed);
        assert_eq!(watermark(&bench), "61", "killed: {killed}");
        bench.engine().checkpoint().expect("writes");
    }
    // t/1 is left: t/2 is the last.
    send(&bench, at, "t/1", Pace::Left, &[]);
    assert_eq!(watermark(&bench), "70");
    bench.pass(IDLE - 1);
    send(&bench, at, "t/0", Pace::Partition, &[(6, 200)]);
    assert_eq!(watermark(&bench), "70");
    bench.pass(1);
    bench.same(
        "told",
        "SELECT to_timestamp(1767225660) AS w, 2 AS c, 4 AS s
         UNION ALL SELECT to_timestamp(1767225720), 2, 9
         UNION ALL SELECT to_timestamp(1767225780), 1, 2",
        "t/2 is idle",
    );
    let receipt = send(&bench, at, "t/2", Pace::Partition, &[(7, 199), (8, 201)]);
    assert_eq!((receipt.late, watermark(&bench).as_str()), (1, "200"), "it comes back");
    bench.engine().shutdown().expect("stops");
}

#[test]
fn a_restart_changes_nothing() {
    let (mut plain, mut broken) = (Bench::new(), Bench::new());
    create(&plain);
    create(&broken);
    let mut at = [BTreeMap::new(), BTreeMap::new()];
    let (mut newest, mut late) = ([0i64; 4], 0);
    for step in 0..160 {
        let of = usize::try_from(plain.below(4)).expect("small");
        let ahead = i64::try_from(plain.below(30)).expect("small");
        let rows: Vec<(i64, i64)> = (0..plain.below(4))
            .map(|n| (i64::try_from(n).expect("small"), newest[of] + ahead - 3 * i64::from(n == 2)))
            .collect();
        newest[of] += ahead;
        let pace = match plain.below(12) {
            0 => Pace::Left,
            1 => Pace::Stream,
            _ => Pace::Partition,
        };
        let partition = format!("t/{of}");
        let wait = i64::try_from(plain.below(6)).expect("small") * SECOND;
        match plain.below(10) {
            0 => broken.again(true),
            1 => broken.again(false),
            2 => broken.engine().checkpoint().expect("writes"),
            _ => {}
        }
        let receipts = [(&plain, 0), (&broken, 1)].map(|(bench, which)| {
            bench.pass(wait);
            let receipt = send(bench, &mut at[which], &partition, pace, &rows);
            (receipt.accepted, receipt.late)
        });
        late += receipts[0].1;
        assert_eq!(receipts[0], receipts[1], "step {step}");
        assert_eq!(watermark(&plain), watermark(&broken), "step {step}");
        let expected = plain.ok("SELECT * FROM s ORDER BY t, n").len();
        assert_eq!(broken.ok("SELECT * FROM s").len(), expected, "step {step}");
    }
    assert!(late > 20, "too few rows were late to prove anything");
    let told = "SELECT * FROM told ORDER BY window_end";
    let expected = plain.ok(told);
    assert!(expected.len() > 5, "too few windows were closed to prove anything");
    assert_eq!(broken.ok(told), expected);
    let listed = "SELECT count(*), min(partition), max(partition) FROM yeoul.late_rows";
    assert_eq!(broken.ok(listed), plain.ok(listed));
    plain.engine().shutdown().expect("stops");
    broken.engine().shutdown().expect("stops");
}
