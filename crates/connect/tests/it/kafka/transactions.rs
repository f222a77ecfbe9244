//! What of transactions is read, and when.

use std::time::Duration;

use rdkafka::producer::Producer as _;
use yeoul_trials::{Broker, Kind, send};

use super::source::{create, events, texts, wait_for};
use crate::shop::Shop;

#[test]
fn aborted_transactions_are_not_read() {
    for kind in [Kind::Noida, Kind::Memory] {
        let Some(broker) = Broker::start(kind) else { continue };
        broker.create("clicks", 1);
        let producer = broker.producer(&[("transactional.id", "shop")]);
        producer.init_transactions(Duration::from_secs(10)).expect("begins");
        for (ids, commit) in [(0..10, true), (100..110, false), (10..20, true)] {
            producer.begin_transaction().expect("begins");
            send(&producer, "clicks", 0, texts(&events(ids)));
            let ended = match commit {
                true => producer.commit_transaction(Duration::from_secs(10)),
                false => producer.abort_transaction(Duration::from_secs(10)),
            };
            ended.expect("ends");
        }
        for (options, expected) in [("", "20|19"), (", isolation = 'read_uncommitted'", "30|109")] {
            let shop = Shop::new();
            create(&shop, &broker.address(), "clicks", options);
            let sources = shop.start().expect("starts");
            wait_for(&shop, "SELECT count(*), max(id) FROM events", &[expected]);
            sources.stop();
        }
    }
}

/// A transaction that is open holds back what comes behind it, and a reader that begins anywhere goes by what was aborted.
#[test]
fn transactions_are_read_when_they_are_committed_wherever_reading_begins() {
    let broker = Broker::start(Kind::Memory).expect("is here");
    broker.create("clicks", 1);
    let transactional = |name| {
        let producer = broker.producer(&[("transactional.id", name)]);
        producer.init_transactions(Duration::from_secs(10)).expect("begins");
        producer
    };
    let (one, other, plain) = (transactional("one"), transactional("other"), broker.producer(&[]));
    let mut shop = Shop::new();
    create(&shop, &broker.address(), "clicks", "");
    let all = "SELECT count(*), count(DISTINCT id), sum(id) FROM events";
    let (mut count, mut sum) = (0, 0);
    for round in 0..6 {
        let id = round * 100;
        let sources = shop.start().expect("starts");
        one.begin_transaction().expect("begins");
        other.begin_transaction().expect("begins");
        send(&one, "clicks", 0, texts(&events(id..id + 5)));
        send(&other, "clicks", 0, texts(&events(id + 5..id + 10)));
        send(&plain, "clicks", 0, texts(&events(id + 10..id + 15)));
        // Behind open transactions.
        std::thread::sleep(Duration::from_millis(200));
        wait_for(&shop, all, &[&format!("{count}|{count}|{}", sum_or_nothing(count, sum))]);
        let (aborted, committed) =
            if round.is_multiple_of(2) { (&one, &other) } else { (&other, &one) };
        aborted.abort_transaction(Duration::from_secs(10)).expect("ends");
        // The next round begins in the middle of what is not read yet.
        if round.is_multiple_of(3) {
            sources.stop();
            shop.restart();
            committed.commit_transaction(Duration::from_secs(10)).expect("ends");
            let sources = shop.start().expect("starts");
            (count, sum) = counted(round, count, sum);
            wait_for(&shop, all, &[&format!("{count}|{count}|{sum}")]);
            sources.stop();
        } else {
            committed.commit_transaction(Duration::from_secs(10)).expect("ends");
            (count, sum) = counted(round, count, sum);
            wait_for(&shop, all, &[&format!("{count}|{count}|{sum}")]);
            sources.stop();
        }
        shop.restart();
    }
}

/// What is there after a round of the test above.
fn counted(round: u64, count: u64, sum: u64) -> (u64, u64) {
    let id = round * 100;
    let committed = if round.is_multiple_of(2) { id + 5..id + 10 } else { id..id + 5 };
    (count + 10, sum + committed.sum::<u64>() + (id + 10..id + 15).sum::<u64>())
}

fn sum_or_nothing(count: u64, sum: u64) -> String {
    if count == 0 { "-".to_owned() } else { sum.to_string() }
}
