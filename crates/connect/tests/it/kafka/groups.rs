//! What is committed to groups, and partitions that members share.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::{ClientConfig, TopicPartitionList};

use yeoul_trials::{Broker, Kind, producer, send};

use super::source::{ONCE, create, events, texts, wait_for};
use crate::shop::Shop;

/// Waits until the group has committed these offsets of the partitions of "clicks".
fn wait_for_committed(address: &str, group: &str, expected: &[i64]) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", group)
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for number in 0..expected.len() {
        list.add_partition("clicks", i32::try_from(number).expect("small"));
    }
    let begun = Instant::now();
    loop {
        let wait = Duration::from_secs(5);
        let found = consumer.committed_offsets(list.clone(), wait).expect("answers");
        let found: Vec<_> = found.elements().iter().map(|e| e.offset().to_raw()).collect();
        if found.iter().eq(expected.iter().map(|offset| Some(*offset)).collect::<Vec<_>>().iter()) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "{found:?}, not {expected:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const NOT_COMMITTED: &str =
    "SELECT count(*) FROM yeoul.sources WHERE last_error LIKE '%not committed to the group%'";

/// Lag tools ask the group; and who stops has told it all, and does not wait for more.
#[test]
fn what_is_stored_is_committed_to_the_group() {
    for kind in [Kind::Tansu, Kind::Noida, Kind::Memory] {
        let Some(broker) = Broker::start(kind) else { continue };
        broker.create("clicks", 2);
        let producer = broker.producer(&[]);
        let shop = Shop::new();
        create(&shop, &broker.address(), "clicks", "");
        let sources = shop.start().expect("starts");
        send(&producer, "clicks", 0, texts(&events(0..20)));
        send(&producer, "clicks", 1, texts(&events(20..30)));
        wait_for(&shop, ONCE, &["30|30"]);
        wait_for_committed(&broker.address(), "yeoul-events", &[20, 10]);
        send(&producer, "clicks", 0, texts(&events(30..35)));
        wait_for(&shop, ONCE, &["35|35"]);
        sources.stop();
        wait_for_committed(&broker.address(), "yeoul-events", &[25, 10]);
        wait_for(&shop, NOT_COMMITTED, &["0"]);
    }
}

/// Two processes of one group: what one has, the other has not. The broker of `address` has a topic of 4 partitions.
fn share(address: &str, assignor: &str) {
    let producer = producer(address, &[]);
    let fill = |from: u64| {
        for partition in 0..4 {
            let begin = from + u64::try_from(partition).expect("small") * 100;
            send(&producer, "clicks", partition, texts(&events(begin..begin + 100)));
        }
    };
    fill(0);
    let options = format!(
        ", group = 'shops', session_timeout = '6 seconds', properties = 'partition.assignment.strategy={assignor}'"
    );
    let (one, two) = (Shop::new(), Shop::new());
    create(&one, address, "clicks", &options);
    create(&two, address, "clicks", &options);
    let first = one.start().expect("starts");
    wait_for(&one, ONCE, &["400|400"]);
    // The mock cluster takes no commits while members join, where a broker does.
    wait_for_committed(address, "shops", &[100; 4]);
    let second = two.start().expect("starts");
    let has = "SELECT count(*) FROM yeoul.sources WHERE partition <> '' AND state = 'running'";
    wait_for(&two, has, &["2"]);
    wait_for(&one, has, &["2"]);
    let others = "SELECT count(*) FROM yeoul.sources WHERE state = 'elsewhere'";
    wait_for(&one, others, &["2"]);
    fill(1000);
    let both = |expected: i64| {
        let begun = Instant::now();
        while one.count() + two.count() < expected {
            assert!(begun.elapsed() < Duration::from_secs(40), "{}", one.count() + two.count());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    both(800);
    assert!(two.count() > 0);
    // The first leaves; the second reads on where it was.
    first.stop();
    fill(2000);
    wait_for(&two, has, &["4"]);
    both(1200);
    let why = "SELECT min(rebalances) > 0, count(rebalance) > 0 FROM yeoul.sources WHERE source = 'kafka'";
    wait_for(&two, why, &["true|true"]);
    second.stop();
    wait_for_committed(address, "shops", &[300; 4]);
    wait_for(&one, NOT_COMMITTED, &["0"]);
    wait_for(&two, NOT_COMMITTED, &["0"]);
    let ids = |shop: &Shop| shop.rows("SELECT id FROM events");
    let mut all = [ids(&one), ids(&two)].concat();
    assert_eq!(all.len(), 1200);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 1200);
}

/// A member that is heard of and does not join again holds up the others, and they say so.
#[test]
fn a_group_that_waits_for_a_member_says_so() {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("clicks", 2, 1).expect("a topic");
    let address = cluster.bootstrap_servers();
    send(&producer(&address, &[]), "clicks", 0, texts(&events(0..10)));
    let silent: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &address)
        .set("group.id", "shops")
        .set("session.timeout.ms", "14000")
        .create()
        .expect("a consumer");
    silent.subscribe(&["clicks"]).expect("subscribes");
    let begun = Instant::now();
    while silent.assignment().expect("knows").count() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(40), "it was given nothing");
        drop(silent.poll(Duration::from_millis(50)));
    }
    // From here on it is not polled, and hears nothing of the rebalance.
    let shop = Shop::new();
    create(&shop, &address, "clicks", ", group = 'shops', session_timeout = '14 seconds'");
    let sources = shop.start().expect("starts");
    let says = "SELECT count(*) > 0 FROM yeoul.sources WHERE error LIKE 'the group has been dividing its partitions for %'";
    wait_for(&shop, says, &["true"]);
    drop(silent);
    wait_for(&shop, ONCE, &["10|10"]);
    wait_for(&shop, says, &["false"]);
    let said = "SELECT count(*) > 0 FROM yeoul.sources WHERE last_error LIKE 'the group has been dividing%'";
    assert_eq!(shop.rows(said), ["true"]);
    sources.stop();
}

/// noida refuses what a member commits before it gives its partitions up.
#[test]
fn members_of_a_group_share_the_partitions() {
    let Some(broker) = Broker::start(Kind::Tansu) else { return };
    broker.create("clicks", 4);
    share(&broker.address(), "range");
}

/// Neither of the two brokers gets through a rebalance of this kind.
#[test]
fn members_of_a_group_keep_what_they_need_not_give() {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("clicks", 4, 1).expect("a topic");
    share(&cluster.bootstrap_servers(), "cooperative-sticky");
}
