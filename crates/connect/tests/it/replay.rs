//! Files at the pace of their event times.

use std::time::{Duration, Instant};

use crate::shop::Shop;

fn line(id: usize, ms: u64) -> String {
    format!("{{\"id\":{id},\"ts\":{}}}\n", 1_769_900_400_000 + ms)
}

#[test]
fn files_are_merged_by_time_and_resumed() {
    let mut shop = Shop::new();
    // Ten seconds of events in two files, twenty times as fast: half a second.
    let even: String = (0..100).map(|i| line(2 * i, 200 * i as u64)).collect();
    let odd = |ids: std::ops::Range<usize>| -> String {
        ids.map(|i| line(2 * i + 1, 200 * i as u64 + 100)).collect()
    };
    shop.write("a.json", even);
    shop.write("b.json", format!("\n{}broken\nworse\n{}", odd(0..50), odd(50..100)));
    shop.create("path = '*.json', speed = '20x'");
    let begin = Instant::now();
    let sources = shop.start().expect("starts");
    std::thread::sleep(Duration::from_millis(400));
    assert!(!sources.is_drained());
    sources.stop();
    let before = shop.count();
    assert!((1..200).contains(&before), "{before} rows are in the middle");
    shop.restart();
    shop.drain().expect("reads");
    assert!(begin.elapsed() > Duration::from_millis(900), "{:?}", begin.elapsed());
    assert_eq!(shop.rows("SELECT count(*), count(DISTINCT id) FROM events"), ["200|200"]);
    assert_eq!(shop.rows("SELECT count(*) FROM yeoul.dead_letters"), ["2"]);
}

#[test]
fn a_replay_needs_an_event_time() {
    let shop = Shop::new();
    shop.write("a.json", "{}\n");
    shop.run(
        "CREATE STREAM events (id BIGINT) WITH (connector = 'file', path = 'a.json', speed = '1x')",
    );
    let error = shop.start().err().expect("cannot work").to_string();
    assert!(error.contains("event time"), "{error}");
}
