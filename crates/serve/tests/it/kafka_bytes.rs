//! The Kafka listener as bytes: every version it offers, as the Java client writes them, and what no client writes.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, FetchRequest, FindCoordinatorRequest, GroupId,
    HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListOffsetsRequest, MetadataRequest, OffsetFetchRequest, ProduceRequest,
    SaslAuthenticateRequest, SaslHandshakeRequest, SyncGroupRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use yeoul_engine::EngineOptions;
use yeoul_serve::{EngineSlot, KafkaCredentials, KafkaOptions, Shutdown, serve_kafka};

use crate::fixture::Fixture;
use crate::kafka_client::{
    Client, PATIENCE, PLAIN, batch, name, produce, with_records, with_sequence,
};

/// An API that is refused with one code for all.
const INVALID_REQUEST: i16 = 42;

pub(crate) fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.sql("CREATE STREAM raw (id BIGINT)");
    fixture
}

pub(crate) fn ids(fixture: &Fixture) -> String {
    fixture.sql("SELECT id FROM raw ORDER BY id")["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Every version that is offered of an API, as the server itself says.
pub(crate) fn versions(fixture: &Fixture, api: i16) -> std::ops::RangeInclusive<i16> {
    let answer = Client::new(fixture.kafka).ask(0, &ApiVersionsRequest::default());
    let offer = answer.api_keys.iter().find(|offer| offer.api_key == api).unwrap();
    offer.min_version..=offer.max_version
}

#[test]
fn producers_of_every_version() {
    let fixture = fixture();
    let mut client = Client::new(fixture.kafka);
    for version in versions(&fixture, 18) {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("apache-kafka-java");
            request.client_software_version = StrBytes::from_static_str("3.9.0");
        }
        let answer = client.ask(version, &request);
        assert_eq!((answer.error_code, answer.api_keys.len()), (0, 15));
    }
    for version in versions(&fixture, 3) {
        let topic = |text| MetadataRequestTopic::default().with_name(Some(name(text)));
        let wanted =
            MetadataRequest::default().with_topics(Some(vec![topic("raw"), topic("nothing")]));
        let answer = client.ask(version, &wanted);
        let codes: Vec<_> =
            answer.topics.iter().map(|topic| (topic.error_code, topic.partitions.len())).collect();
        assert_eq!(codes, [(0, 1), (3, 0)], "version {version}");
        assert_eq!(answer.brokers[0].port, i32::from(fixture.kafka.port()));
        assert_eq!(&*answer.brokers[0].host, "127.0.0.1");
        let all = if version == 0 { Some(Vec::new()) } else { None };
        let answer = client.ask(version, &MetadataRequest::default().with_topics(all));
        assert_eq!(answer.topics.len(), 1, "version {version}");
    }
    for version in versions(&fixture, 22) {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let (one, two) = (client.ask(version, &request), client.ask(version, &request));
        assert_eq!((one.error_code, one.producer_epoch), (0, 0));
        assert!(one.producer_id.0 >= 0 && one.producer_id != two.producer_id);
        let request =
            request.with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("t"))));
        assert_eq!(client.ask(version, &request).error_code, 53);
    }
    let mut expected = Vec::new();
    for version in 3..=*versions(&fixture, 0).end() {
        let id = version.to_string();
        let stored = client.produce(version, "raw", batch(PLAIN, &[&format!("{{\"id\":{id}}}")]));
        assert_eq!(stored.error_code, 0, "version {version}");
        expected.push(id);
        let refused = client.produce(version, "nothing", batch(PLAIN, &["{}"]));
        let told = refused.error_message.unwrap_or_default();
        assert_eq!(refused.error_code, 3, "version {version}");
        assert_eq!(version >= 8, told.contains("there are raw"), "version {version}: {told}");
    }
    assert_eq!(ids(&fixture), expected.join(" "));
    for version in versions(&fixture, 19) {
        let topic = |text| CreatableTopic::default().with_name(name(text)).with_num_partitions(3);
        let request = CreateTopicsRequest::default().with_topics(vec![topic("raw"), topic("new")]);
        let answer = client.ask(version, &request);
        let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [36, 44], "version {version}");
        let told = answer.topics[1].error_message.clone().unwrap();
        assert!(told.contains("CREATE STREAM") && told.contains("there are raw"), "{told}");
    }
}

#[test]
fn readers_of_every_version() {
    let fixture = fixture();
    let mut client = Client::new(fixture.kafka);
    for version in versions(&fixture, 1) {
        let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(name("raw")).with_partitions(vec![partition]);
        let answer = client.ask(version, &FetchRequest::default().with_topics(vec![topic]));
        assert_eq!(
            answer.responses[0].partitions[0].error_code, INVALID_REQUEST,
            "version {version}"
        );
    }
    for version in versions(&fixture, 2) {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let topic =
            ListOffsetsTopic::default().with_name(name("raw")).with_partitions(vec![partition]);
        let answer = client.ask(version, &ListOffsetsRequest::default().with_topics(vec![topic]));
        assert_eq!(answer.topics[0].partitions[0].error_code, INVALID_REQUEST, "version {version}");
    }
    for version in versions(&fixture, 10) {
        let mut request = FindCoordinatorRequest::default();
        let key = StrBytes::from_static_str("group");
        if version >= 4 {
            request.coordinator_keys = vec![key]
        } else {
            request.key = key
        }
        let answer = client.ask(version, &request);
        let (code, told) = match answer.coordinators.first() {
            Some(one) => (one.error_code, one.error_message.clone()),
            None => (answer.error_code, answer.error_message),
        };
        assert_eq!(code, INVALID_REQUEST, "version {version}");
        assert_eq!(version >= 1, told.is_some_and(|told| told.contains("ingest listener")));
    }
    let group = GroupId(StrBytes::from_static_str("g"));
    for version in versions(&fixture, 9) {
        let answer =
            client.ask(version, &OffsetFetchRequest::default().with_group_id(group.clone()));
        assert_eq!(answer.error_code, INVALID_REQUEST, "version {version}");
    }
    for version in versions(&fixture, 11) {
        let answer = client.ask(version, &JoinGroupRequest::default().with_group_id(group.clone()));
        assert_eq!(answer.error_code, INVALID_REQUEST, "version {version}");
    }
    for version in versions(&fixture, 12) {
        let answer = client.ask(version, &HeartbeatRequest::default().with_group_id(group.clone()));
        assert_eq!(answer.error_code, INVALID_REQUEST, "version {version}");
    }
    for version in versions(&fixture, 13) {
        let answer =
            client.ask(version, &LeaveGroupRequest::default().with_group_id(group.clone()));
        assert_eq!(answer.error_code, INVALID_REQUEST, "version {version}");
    }
    for version in versions(&fixture, 14) {
        let answer = client.ask(version, &SyncGroupRequest::default().with_group_id(group.clone()));
        assert_eq!(answer.error_code, INVALID_REQUEST, "version {version}");
    }
}

#[test]
fn a_version_that_is_not_offered() {
    let fixture = fixture();
    let mut client = Client::new(fixture.kafka);
    // A future ApiVersions, whose header and body nobody knows: answered in version 0.
    let frame =
        [&18_i16.to_be_bytes()[..], &99_i16.to_be_bytes(), &5_i32.to_be_bytes(), &[9; 20]].concat();
    let size = u32::try_from(frame.len()).unwrap().to_be_bytes();
    client.0.write_all(&[&size[..], &frame].concat()).unwrap();
    let (correlation, answer) = client.answer::<ApiVersionsRequest>(0);
    assert_eq!((correlation, answer.error_code), (5, 35));
    assert!(answer.api_keys.iter().any(|offer| offer.api_key == 18 && offer.max_version >= 3));
    // The same connection goes on.
    assert_eq!(client.ask(3, &ApiVersionsRequest::default()).error_code, 0);
    // Any other is the end of it, as with Kafka.
    client.send(13, 1, &ProduceRequest::default());
    assert!(client.is_closed());
}

#[test]
fn a_repeated_batch_is_stored_once_and_a_gap_is_refused() {
    let fixture = fixture();
    let mut client = Client::new(fixture.kafka);
    let of =
        |sequence| batch((4711, 0, sequence), &[&format!("{{\"id\":{sequence}}}"), "{\"id\":100}"]);
    for sequence in [0, 2] {
        for _ in 0..3 {
            assert_eq!(client.produce(9, "raw", of(sequence)).error_code, 0);
        }
    }
    let gap = client.produce(9, "raw", of(6));
    assert_eq!(gap.error_code, 45);
    assert!(gap.error_message.unwrap().contains("record 6 of topic \"raw\", the next is 4"));
    assert_eq!(client.produce(9, "raw", of(4)).error_code, 0);
    // Over another connection, too.
    let mut other = Client::new(fixture.kafka);
    for sequence in [0, 2, 4] {
        assert_eq!(other.produce(9, "raw", of(sequence)).error_code, 0);
    }
    assert_eq!(ids(&fixture), "0 2 4 100 100 100");
    // The producer began anew, and a lap later.
    assert_eq!(client.produce(9, "raw", batch((4711, 1, 0), &["{\"id\":0}"])).error_code, 0);
    let last = with_sequence(&batch((4711, 2, 0), &["{\"id\":8}", "{\"id\":9}"]), i32::MAX);
    assert_eq!(client.produce(9, "raw", last).error_code, 0);
    assert_eq!(client.produce(9, "raw", batch((4711, 2, 1), &["{\"id\":10}"])).error_code, 0);
    assert_eq!(client.produce(9, "raw", batch((4711, 2, 3), &["{\"id\":11}"])).error_code, 45);
    assert_eq!(ids(&fixture), "0 0 2 4 8 9 10 100 100 100");
    assert_eq!(fixture.one("SELECT count(*) FROM yeoul.sources WHERE source = 'kafka wire'"), 1);
}

#[test]
fn many_requests_are_answered_in_their_order() {
    let fixture = fixture();
    let mut client = Client::new(fixture.kafka);
    let mut bytes = Vec::new();
    for id in 0..200 {
        // Not all of them take equally long.
        let values = vec![format!("{{\"id\":{id}}}"); 1 + 150 * usize::from(id % 3 == 0)];
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        bytes.extend(Client::frame(9, id, &produce("raw", 0, 1, batch((1, 0, id * 151), &values))));
        bytes.extend(Client::frame(9, id, &produce("raw", 0, 0, batch(PLAIN, &["{\"id\":-1}"]))));
        bytes.extend(Client::frame(3, id, &ApiVersionsRequest::default()));
    }
    let mut writer = client.0.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    for id in 0..200 {
        // Only the first leaves no gap: the others are refused, in order.
        let (correlation, answer) = client.answer::<ProduceRequest>(9);
        let code = answer.responses[0].partition_responses[0].error_code;
        assert!(correlation == id && [0, 45].contains(&code), "{correlation} {id} {code}");
        assert_eq!(client.answer::<ApiVersionsRequest>(3).0, id);
    }
    writing.join().unwrap();
    assert_eq!(fixture.one("SELECT count(*) FROM raw WHERE id = -1"), 200);
}

#[test]
fn what_cannot_be_stored_is_refused_in_words() {
    let fixture = fixture();
    let mut client = Client::new(fixture.kafka);
    let good = batch(PLAIN, &["{\"id\":1}"]);
    let (mut bent, mut old) = (good.clone(), good.clone());
    *bent.last_mut().unwrap() ^= 1;
    old[16] = 1;
    let bomb = zstd::encode_all(std::io::repeat(0).take(1 << 30), 3).unwrap();
    assert!(bomb.len() < 1 << 20);
    let cases = [
        (bent, 2, "checksum"),
        (good[..40].to_vec(), 2, "cut"),
        (Vec::new(), 2, "cut"),
        (old, 43, "message format 1"),
        ([good.clone(), good.clone()].concat(), 87, "several batches"),
        (with_records(&good, 1, 1, b"no gzip"), 2, "not readable gzip"),
        (with_records(&good, 6, 1, b""), 76, "compression 6"),
        (with_records(&good, 0, i32::MAX, &good[61..]), 2, "more records than it has"),
        (with_records(&good, 16, 1, &good[61..]), 53, "transaction"),
        (with_records(&good, 4, 1, &bomb), 10, "67108864 bytes"),
    ];
    for (bytes, code, told) in cases {
        let refused = client.produce(9, "raw", bytes);
        let message = refused.error_message.unwrap();
        assert!(
            refused.error_code == code && message.contains(told),
            "{} {message}",
            refused.error_code
        );
    }
    let answer = client.ask(9, &produce("raw", 1, 1, good.clone()));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 3);
    let transaction = TransactionalId(StrBytes::from_static_str("t"));
    let request = produce("raw", 0, 1, good.clone()).with_transactional_id(Some(transaction));
    assert_eq!(client.ask(9, &request).responses[0].partition_responses[0].error_code, 53);
    // What is compressed more than a thousand times is no bomb when it is not long.
    let value = format!("{{\"id\":1,\"more\":\"{}\"}}", "x".repeat(4 << 20));
    let long = batch(PLAIN, &[&value]);
    let packed = zstd::encode_all(&long[61..], 3).unwrap();
    assert!(packed.len() < 1 << 12);
    assert_eq!(client.produce(9, "raw", with_records(&long, 4, 1, &packed)).error_code, 0);
    assert_eq!(client.produce(9, "raw", good).error_code, 0);
    assert_eq!(fixture.one("SELECT count(*) FROM raw"), 1, "one is longer than a row may be");
    assert_eq!(fixture.one("SELECT count(*) FROM yeoul.dead_letters"), 1);
}

#[test]
fn without_an_answer_the_end_says_it() {
    let fixture = fixture();
    let mut client = Client::new(fixture.kafka);
    client.send(9, 1, &produce("raw", 0, 0, batch(PLAIN, &["{\"id\":1}"])));
    assert_eq!(client.ask(3, &ApiVersionsRequest::default()).error_code, 0);
    client.send(9, 1, &produce("nothing", 0, 0, batch(PLAIN, &["{}"])));
    assert!(client.is_closed());
    assert_eq!(ids(&fixture), "1");
}

#[test]
fn bytes_that_are_no_requests() {
    let options = KafkaOptions {
        request_bytes_max: 1 << 20,
        read_timeout: Duration::from_millis(300),
        ..KafkaOptions::default()
    };
    let fixture = Fixture::with_kafka(EngineOptions::default(), options);
    fixture.sql("CREATE STREAM raw (id BIGINT)");
    let huge =
        |count: u32| [&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff][..], &count.to_be_bytes()].concat();
    let framed =
        |body: Vec<u8>| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
    let cases = [
        b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n".to_vec(),
        vec![0xff; 100],
        (1_u32 << 20).wrapping_add(1).to_be_bytes().to_vec(),
        framed(Vec::new()),
        framed(vec![0; 3]),
        framed(vec![0x7f; 30]),
        framed(huge(u32::MAX >> 1)),
        framed(huge(1000)),
    ];
    for bytes in cases {
        let mut client = Client::new(fixture.kafka);
        client.0.write_all(&bytes).unwrap();
        assert!(client.is_closed(), "{bytes:?}");
    }
    // Half a request, and a part of its size: given up after a while; nothing at all as well.
    let whole = Client::frame(9, 1, &produce("raw", 0, -1, batch(PLAIN, &["{\"id\":1}"])));
    for length in [0, 2, 4, whole.len() - 1] {
        let mut client = Client::new(fixture.kafka);
        client.0.write_all(&whole[..length]).unwrap();
        assert!(client.is_closed(), "{length}");
    }
    // In pieces, and ended by the client before the answer: stored and answered.
    let mut client = Client::new(fixture.kafka);
    for piece in whole.chunks(7) {
        client.0.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    let (_, answer) = client.answer::<ProduceRequest>(9);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    assert!(client.is_closed());
    assert_eq!(ids(&fixture), "1");
}

#[test]
fn a_client_that_takes_no_answers_holds_nobody_up() {
    let options = KafkaOptions {
        write_timeout: Duration::from_millis(300),
        connections_max: 2,
        ..KafkaOptions::default()
    };
    let fixture = Fixture::with_kafka(EngineOptions::default(), options);
    fixture.sql("CREATE STREAM raw (id BIGINT)");
    let mut deaf = Client::new(fixture.kafka);
    let asking = Client::frame(3, 1, &ApiVersionsRequest::default()).repeat(100);
    deaf.0.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let begin = Instant::now();
    // It asks until nothing is read of it any more, and then is cut off.
    while deaf.0.write_all(&asking).is_ok() {
        assert!(begin.elapsed() < PATIENCE);
    }
    let mut client = Client::new(fixture.kafka);
    assert_eq!(client.produce(9, "raw", batch(PLAIN, &["{\"id\":1}"])).error_code, 0);
    let begin = Instant::now();
    loop {
        // Its place is free again.
        let mut another = Client::new(fixture.kafka);
        another
            .0
            .write_all(&Client::frame(3, 7, &ApiVersionsRequest::default()))
            .unwrap_or_default();
        if !another.is_closed() {
            break;
        }
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_stranger_hears_nothing() {
    let credentials = KafkaCredentials { user: "shop".into(), password: "s3cret".into() };
    let options = KafkaOptions { credentials: Some(credentials), ..KafkaOptions::default() };
    let fixture = Fixture::with_kafka(EngineOptions::default(), options);
    fixture.sql("CREATE STREAM raw (id BIGINT)");
    let mut client = Client::new(fixture.kafka);
    assert_eq!(client.ask(3, &ApiVersionsRequest::default()).error_code, 0);
    client.send(9, 1, &MetadataRequest::default().with_topics(None));
    assert!(client.is_closed());
    let handshake =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
    let other =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("SCRAM-SHA-256"));
    let token = |token: &'static [u8]| {
        SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_static(token))
    };
    for version in 0..=2 {
        let mut client = Client::new(fixture.kafka);
        let refused = client.ask(1, &other);
        assert_eq!((refused.error_code, &*refused.mechanisms[0]), (33, "PLAIN"));
        assert_eq!(client.ask(1, &handshake).error_code, 0);
        assert_eq!(client.ask(version, &token(b"\0shop\0s3cret")).error_code, 0);
        assert_eq!(client.produce(9, "raw", batch(PLAIN, &["{\"id\":1}"])).error_code, 0);
        let mut client = Client::new(fixture.kafka);
        assert_eq!(client.ask(1, &handshake).error_code, 0);
        assert_eq!(client.ask(version, &token(b"\0shop\0guess")).error_code, 58);
        assert!(client.is_closed());
    }
    // Tokens without requests around them, as clients before Kafka 1.0 send them.
    let mut client = Client::new(fixture.kafka);
    assert_eq!(client.ask(0, &handshake).error_code, 0);
    client.0.write_all(b"\0\0\0\x0c\0shop\0s3cret").unwrap();
    assert_eq!(client.receive().remaining(), 0);
    assert_eq!(client.produce(9, "raw", batch(PLAIN, &["{\"id\":1}"])).error_code, 0);
    // Who has said who it is too early, or says too much.
    let mut client = Client::new(fixture.kafka);
    assert_eq!(client.ask(1, &token(b"\0shop\0s3cret")).error_code, 34);
    let mut client = Client::new(fixture.kafka);
    client.0.write_all(&(1_u32 << 20).to_be_bytes()).unwrap();
    assert!(client.is_closed());
    // Where nobody is asked, nobody is let in by a password either.
    let open = self::fixture();
    assert_eq!(Client::new(open.kafka).ask(1, &handshake).error_code, 34);
}

#[test]
fn while_the_engine_opens_clients_are_told_to_come_back() {
    let fixture = fixture();
    let (slot, shutdown) = (EngineSlot::opening(), Shutdown::new());
    let any = "127.0.0.1:0".parse().unwrap();
    let serving = serve_kafka(slot.clone(), any, KafkaOptions::default(), shutdown.clone());
    let server = fixture.runtime.block_on(serving).unwrap();
    let mut client = Client::new(server.address());
    let topic = MetadataRequestTopic::default().with_name(Some(name("raw")));
    let wanted = MetadataRequest::default().with_topics(Some(vec![topic]));
    let batch = batch(PLAIN, &["{\"id\":1}"]);
    for expected in [5, 0] {
        assert_eq!(client.ask(12, &wanted).topics[0].error_code, expected);
        assert_eq!(client.produce(9, "raw", batch.clone()).error_code, expected);
        slot.ready(fixture.engine.clone());
    }
    assert_eq!(ids(&fixture), "1");
    shutdown.begin();
    assert!(client.is_closed());
    fixture.runtime.block_on(server.finished());
}
