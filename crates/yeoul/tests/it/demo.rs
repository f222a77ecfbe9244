//! `yeoul demo`: the first command of everybody.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::kill::free_port;
use crate::program::{checkout, good, text};

#[test]
fn the_demo_replays_real_traffic_and_its_books_balance() {
    let project = checkout().join("examples/ads");
    let mut random = StdRng::seed_from_u64(u64::from(std::process::id()) << 1 | 1);
    let mut address = || format!("127.0.0.1:{}", free_port(&mut random));
    let (http, pg) = (address(), address());
    let arguments = ["--http", &http, "--pg", &pg, "--seconds", "2", "--rate", "1000", "--exit"];
    let out =
        good(&[["demo", "--project", text(&project)].as_slice(), arguments.as_slice()].concat());
    // What the publisher of the sample counted: 20,000 impressions and 80 clicks, 20,000 and 115.
    for row in [["all", "bts", "10000", "42"], ["men", "random", "10000", "46"]] {
        let found = out.lines().any(|line| {
            let cells: Vec<&str> =
                line.split(['│', '┆']).map(str::trim).filter(|cell| !cell.is_empty()).collect();
            cells.starts_with(&row)
        });
        assert!(found, "{row:?} in\n{out}");
    }
    // Had they not balanced, the exit code would have told.
    assert!(out.contains("books: sent "), "{out}");
}

#[test]
fn the_demo_sends_as_a_producer_of_kafka_and_its_books_balance() {
    let project = checkout().join("examples/ads");
    let mut random = StdRng::seed_from_u64(u64::from(std::process::id()) << 2 | 3);
    let mut address = || format!("127.0.0.1:{}", free_port(&mut random));
    let (http, pg, kafka) = (address(), address(), address());
    let arguments = ["--http", &http, "--pg", &pg, "--kafka", &kafka, "--seconds", "2"];
    let more = ["--rate", "1000", "--exit", "--project", text(&project)];
    let out = good(&[["demo"].as_slice(), arguments.as_slice(), more.as_slice()].concat());
    assert!(out.contains("books: sent "), "{out}");
    assert!(!out.contains("books: sent 0 "), "{out}");
    assert!(out.contains(&format!("kcat -P -b {kafka} -t shop_events")), "{out}");
}
