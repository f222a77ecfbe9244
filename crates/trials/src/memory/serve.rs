//! Requests of a connection, one after the other.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages as m;
use kafka_protocol::messages::{ApiKey, BrokerId, ProducerId, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::Shared;
use super::state::{Place, State};

/// Bytes of a request, at most.
const REQUEST_MAX: usize = 256 << 20;
const NODE: BrokerId = BrokerId(1);
/// What is offered, from the oldest version to the newest.
const OFFERS: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 9),
    (ApiKey::Fetch, 4, 11),
    (ApiKey::ListOffsets, 1, 6),
    (ApiKey::Metadata, 0, 9),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 1, 7),
    (ApiKey::FindCoordinator, 0, 3),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 6),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::AddOffsetsToTxn, 0, 3),
    (ApiKey::EndTxn, 0, 3),
    (ApiKey::TxnOffsetCommit, 0, 3),
    (ApiKey::CreatePartitions, 0, 3),
];

/// Answers until the client ends, or the broker does.
pub(super) fn serve(mut stream: TcpStream, shared: &Shared, ending: &AtomicBool) -> io::Result<()> {
    while !ending.load(Ordering::Relaxed) {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > REQUEST_MAX {
            return Err(io::Error::other("a request that is too long"));
        }
        let mut request = vec![0; length];
        stream.read_exact(&mut request)?;
        if let Some(answer) = answer(Bytes::from(request), shared, ending)? {
            stream.write_all(&answer)?;
        }
    }
    Ok(())
}

/// What stands before a request.
struct Head {
    version: i16,
    correlation: i32,
}

fn other(why: impl std::fmt::Display) -> io::Error {
    io::Error::other(why.to_string())
}

fn ask<T: Decodable>(mut body: Bytes, head: &Head) -> io::Result<T> {
    T::decode(&mut body, head.version).map_err(other)
}

fn say<T: Encodable + HeaderVersion>(head: &Head, answer: &T) -> io::Result<Option<BytesMut>> {
    let header = m::ResponseHeader::default().with_correlation_id(head.correlation);
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    header.encode(&mut bytes, T::header_version(head.version)).map_err(other)?;
    answer.encode(&mut bytes, head.version).map_err(other)?;
    let length = i32::try_from(bytes.len() - 4).map_err(other)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(Some(bytes))
}

fn code(outcome: &Result<(), ResponseError>) -> i16 {
    outcome.as_ref().err().map_or(0, ResponseError::code)
}

#[expect(clippy::disallowed_methods, reason = "what markers say is the time of this machine")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn place(topic: &TopicName, partition: i32) -> Place {
    (topic.to_string(), partition)
}

/// The bytes of an answer; none where none is wanted.
fn answer(
    mut request: Bytes,
    shared: &Shared,
    ending: &AtomicBool,
) -> io::Result<Option<BytesMut>> {
    let peek = |at: usize| request.get(at..at + 2).map(|two| i16::from_be_bytes([two[0], two[1]]));
    let (Some(key), Some(version)) = (peek(0), peek(2)) else {
        return Err(other("a request without a head"));
    };
    let key = ApiKey::try_from(key).map_err(|()| other(format!("no such request: {key}")))?;
    let offer = OFFERS.iter().find(|offer| offer.0 == key);
    let known = offer.is_some_and(|offer| (offer.1..=offer.2).contains(&version));
    if !known && key != ApiKey::ApiVersions {
        return Err(other(format!("{key:?} of version {version} is not offered")));
    }
    let of = if known { version } else { 0 };
    let header = m::RequestHeader::decode(&mut request, key.request_header_version(of));
    let correlation = header.map_err(other)?.correlation_id;
    let head = Head { version: of, correlation };
    let body = request;
    match key {
        ApiKey::ApiVersions => say(&head, &versions(known)),
        ApiKey::Metadata => say(&head, &metadata(shared, ask(body, &head)?, version)),
        ApiKey::Produce => {
            let request: m::ProduceRequest = ask(body, &head)?;
            let silent = request.acks == 0;
            let answer = produce(shared, request);
            if silent { Ok(None) } else { say(&head, &answer) }
        }
        ApiKey::Fetch => say(&head, &fetch(shared, &ask(body, &head)?, ending)),
        ApiKey::ListOffsets => say(&head, &list_offsets(shared, ask(body, &head)?)),
        ApiKey::FindCoordinator => {
            let answer = m::FindCoordinatorResponse::default().with_node_id(NODE);
            let answer = answer.with_host(text("127.0.0.1")).with_port(shared.advertised.into());
            say(&head, &answer)
        }
        ApiKey::OffsetCommit => say(&head, &commit(shared, ask(body, &head)?)),
        ApiKey::OffsetFetch => say(&head, &committed(shared, ask(body, &head)?)),
        _ => administer(key, &head, body, shared),
    }
}

/// Topics and transactions.
fn administer(
    key: ApiKey,
    head: &Head,
    body: Bytes,
    shared: &Shared,
) -> io::Result<Option<BytesMut>> {
    let mut state = shared.state();
    let answer = match key {
        ApiKey::CreateTopics => say(head, &create(&mut state, ask(body, head)?)),
        ApiKey::CreatePartitions => say(head, &extend(&mut state, ask(body, head)?)),
        ApiKey::DeleteTopics => say(head, &delete(&mut state, ask(body, head)?)),
        ApiKey::DeleteRecords => say(head, &forget(&mut state, ask(body, head)?)),
        ApiKey::InitProducerId => {
            let request: m::InitProducerIdRequest = ask(body, head)?;
            let name = request.transactional_id.as_ref().map(|name| name.to_string());
            let (producer, epoch) = state.producer(name.as_deref(), now_ms());
            let answer = m::InitProducerIdResponse::default();
            say(head, &answer.with_producer_id(ProducerId(producer)).with_producer_epoch(epoch))
        }
        ApiKey::AddPartitionsToTxn => say(head, &join(&mut state, ask(body, head)?)),
        ApiKey::AddOffsetsToTxn => {
            let request: m::AddOffsetsToTxnRequest = ask(body, head)?;
            let who = (request.producer_id.0, request.producer_epoch);
            let may = state.may(&request.transactional_id, who);
            say(head, &m::AddOffsetsToTxnResponse::default().with_error_code(code(&may)))
        }
        ApiKey::TxnOffsetCommit => say(head, &commit_within(&mut state, ask(body, head)?)),
        ApiKey::EndTxn => {
            let request: m::EndTxnRequest = ask(body, head)?;
            let who = (request.producer_id.0, request.producer_epoch);
            let name = request.transactional_id.to_string();
            let ended = state.end_by(&name, who, request.committed, now_ms());
            say(head, &m::EndTxnResponse::default().with_error_code(code(&ended)))
        }
        key => Err(other(format!("{key:?} is not offered"))),
    };
    drop(state);
    shared.more.notify_all();
    answer
}

fn versions(known: bool) -> m::ApiVersionsResponse {
    let offered = OFFERS.iter().map(|(key, least, most)| {
        let version = m::api_versions_response::ApiVersion::default();
        version.with_api_key(*key as i16).with_min_version(*least).with_max_version(*most)
    });
    let code = if known { 0 } else { ResponseError::UnsupportedVersion.code() };
    m::ApiVersionsResponse::default().with_error_code(code).with_api_keys(offered.collect())
}

fn metadata(shared: &Shared, request: m::MetadataRequest, version: i16) -> m::MetadataResponse {
    use m::metadata_response as r;
    let state = shared.state();
    let all = request.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty());
    let names: Vec<String> = match request.topics {
        Some(topics) if !all => {
            topics.into_iter().flat_map(|t| t.name).map(|n| n.to_string()).collect()
        }
        _ => state.topics.keys().cloned().collect(),
    };
    let topics = names.into_iter().map(|name| {
        let there = state.topics.get(&name);
        let count = there.map_or(0, |partitions| i32::try_from(partitions.len()).unwrap_or(0));
        let partition = |number| {
            let partition = r::MetadataResponsePartition::default().with_partition_index(number);
            partition.with_leader_id(NODE).with_replica_nodes(vec![NODE]).with_isr_nodes(vec![NODE])
        };
        let code = if there.is_some() { 0 } else { ResponseError::UnknownTopicOrPartition.code() };
        let topic = r::MetadataResponseTopic::default().with_error_code(code);
        topic
            .with_name(Some(TopicName(text(&name))))
            .with_partitions((0..count).map(partition).collect())
    });
    let broker = r::MetadataResponseBroker::default().with_node_id(NODE);
    let broker = broker.with_host(text("127.0.0.1")).with_port(shared.advertised.into());
    m::MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text("trials")))
        .with_controller_id(NODE)
        .with_topics(topics.collect())
}

fn produce(shared: &Shared, request: m::ProduceRequest) -> m::ProduceResponse {
    use m::produce_response as r;
    let mut state = shared.state();
    let mut topics = Vec::new();
    for topic in request.topic_data {
        let mut partitions = Vec::new();
        for data in topic.partition_data {
            let at = place(&topic.name, data.index);
            let taken = state.partition(&at).and_then(|partition| {
                let base = partition.append(data.records.unwrap_or_default())?;
                partition.shrink(shared.bytes_max);
                Ok((base, partition.start))
            });
            let partition = r::PartitionProduceResponse::default().with_index(data.index);
            partitions.push(match taken {
                Ok((base, start)) => partition.with_base_offset(base).with_log_start_offset(start),
                Err(error) => partition.with_error_code(error.code()).with_base_offset(-1),
            });
        }
        let topic = r::TopicProduceResponse::default().with_name(topic.name);
        topics.push(topic.with_partition_responses(partitions));
    }
    drop(state);
    shared.more.notify_all();
    m::ProduceResponse::default().with_responses(topics)
}

fn fetch(shared: &Shared, request: &m::FetchRequest, ending: &AtomicBool) -> m::FetchResponse {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let (until, least) = (Instant::now() + wait, usize::try_from(request.min_bytes).unwrap_or(0));
    let mut state = shared.state();
    loop {
        let (answer, bytes, failed) = gather(&mut state, request);
        let left = until.saturating_duration_since(Instant::now());
        if bytes >= least || failed || left.is_zero() || ending.load(Ordering::Relaxed) {
            return answer;
        }
        let waited = shared.more.wait_timeout(state, left);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// What there is now, how many bytes of it, and whether something is wrong with a partition.
fn gather(state: &mut State, request: &m::FetchRequest) -> (m::FetchResponse, usize, bool) {
    use m::fetch_response as r;
    let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let committed = request.isolation_level == 1;
    let (mut bytes, mut failed, mut topics) = (0, false, Vec::new());
    for topic in &request.topics {
        let mut partitions = Vec::new();
        for asked in &topic.partitions {
            let left = size(request.max_bytes).saturating_sub(bytes);
            let most = size(asked.partition_max_bytes).min(left);
            let data = r::PartitionData::default().with_partition_index(asked.partition);
            let found = state.partition(&place(&topic.topic, asked.partition));
            let read = found.map(|partition| {
                let read = partition.read(asked.fetch_offset, most, bytes == 0, committed);
                (partition.start, partition.stable(), partition.end, read)
            });
            let data = match read {
                Ok((start, stable, end, read)) => {
                    let data = data.with_high_watermark(end).with_log_start_offset(start);
                    let data = data.with_last_stable_offset(stable);
                    match read {
                        Ok(read) => {
                            bytes += read.records.len();
                            let aborted = read.aborted.iter().map(|aborted| {
                                let one = r::AbortedTransaction::default();
                                let one = one.with_producer_id(ProducerId(aborted.producer));
                                one.with_first_offset(aborted.first)
                            });
                            let aborted = committed.then(|| aborted.collect());
                            data.with_records(Some(read.records)).with_aborted_transactions(aborted)
                        }
                        Err(error) => {
                            failed = true;
                            data.with_error_code(error.code())
                        }
                    }
                }
                Err(error) => {
                    failed = true;
                    data.with_error_code(error.code())
                }
            };
            partitions.push(data);
        }
        let answer = r::FetchableTopicResponse::default().with_topic(topic.topic.clone());
        topics.push(answer.with_partitions(partitions));
    }
    (m::FetchResponse::default().with_responses(topics), bytes, failed)
}

fn list_offsets(shared: &Shared, request: m::ListOffsetsRequest) -> m::ListOffsetsResponse {
    use m::list_offsets_response as r;
    const LATEST: i64 = -1;
    const EARLIEST: i64 = -2;
    let mut state = shared.state();
    let mut topics = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for asked in topic.partitions {
            let answer = r::ListOffsetsPartitionResponse::default();
            let answer = answer.with_partition_index(asked.partition_index).with_leader_epoch(0);
            let found = state.partition(&place(&topic.name, asked.partition_index));
            partitions.push(match found {
                Ok(partition) => {
                    let (offset, at) = match asked.timestamp {
                        LATEST if request.isolation_level == 1 => (partition.stable(), -1),
                        LATEST => (partition.end, -1),
                        EARLIEST => (partition.start, -1),
                        at => partition.at_time(at).unwrap_or((-1, -1)),
                    };
                    answer.with_offset(offset).with_timestamp(at)
                }
                Err(error) => answer.with_error_code(error.code()).with_offset(-1),
            });
        }
        let answer = r::ListOffsetsTopicResponse::default().with_name(topic.name);
        topics.push(answer.with_partitions(partitions));
    }
    m::ListOffsetsResponse::default().with_topics(topics)
}

fn commit(shared: &Shared, request: m::OffsetCommitRequest) -> m::OffsetCommitResponse {
    use m::offset_commit_response as r;
    let mut state = shared.state();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let at = place(&topic.name, partition.partition_index);
            state.commit(&request.group_id, at, partition.committed_offset);
            r::OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
        });
        let partitions = partitions.collect();
        r::OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    m::OffsetCommitResponse::default().with_topics(topics.collect())
}

fn committed(shared: &Shared, request: m::OffsetFetchRequest) -> m::OffsetFetchResponse {
    use m::offset_fetch_response as r;
    let state = shared.state();
    let asked: Vec<Place> = match request.topics {
        Some(topics) => topics
            .iter()
            .flat_map(|topic| topic.partition_indexes.iter().map(|at| place(&topic.name, *at)))
            .collect(),
        None => state.committed_places(&request.group_id),
    };
    let topics = asked.into_iter().map(|(topic, number)| {
        let offset = state.committed(&request.group_id, (topic.clone(), number));
        let partition = r::OffsetFetchResponsePartition::default().with_partition_index(number);
        let partition = partition.with_committed_offset(offset).with_metadata(Some(text("")));
        let answer = r::OffsetFetchResponseTopic::default().with_name(TopicName(text(&topic)));
        answer.with_partitions(vec![partition])
    });
    m::OffsetFetchResponse::default().with_topics(topics.collect())
}

fn create(state: &mut State, request: m::CreateTopicsRequest) -> m::CreateTopicsResponse {
    use m::create_topics_response as r;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = usize::try_from(topic.num_partitions).unwrap_or(1).max(1);
        let made = state.create(&topic.name, partitions, false);
        r::CreatableTopicResult::default().with_name(topic.name).with_error_code(code(&made))
    });
    m::CreateTopicsResponse::default().with_topics(topics.collect())
}

fn extend(state: &mut State, request: m::CreatePartitionsRequest) -> m::CreatePartitionsResponse {
    use m::create_partitions_response as r;
    let topics = request.topics.into_iter().map(|topic| {
        let made = state.create(&topic.name, usize::try_from(topic.count).unwrap_or(0), true);
        r::CreatePartitionsTopicResult::default().with_name(topic.name).with_error_code(code(&made))
    });
    m::CreatePartitionsResponse::default().with_results(topics.collect())
}

fn delete(state: &mut State, request: m::DeleteTopicsRequest) -> m::DeleteTopicsResponse {
    use m::delete_topics_response as r;
    let topics = request.topic_names.into_iter().map(|topic| {
        let gone = state.topics.remove(topic.as_str()).map(drop);
        let gone = gone.ok_or(ResponseError::UnknownTopicOrPartition);
        r::DeletableTopicResult::default().with_name(Some(topic)).with_error_code(code(&gone))
    });
    m::DeleteTopicsResponse::default().with_responses(topics.collect())
}

fn forget(state: &mut State, request: m::DeleteRecordsRequest) -> m::DeleteRecordsResponse {
    use m::delete_records_response as r;
    let mut topics = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for asked in topic.partitions {
            let gone =
                state.partition(&place(&topic.name, asked.partition_index)).map(|partition| {
                    let all = partition.end;
                    partition.forget(if asked.offset < 0 { all } else { asked.offset });
                    partition.start
                });
            let answer = r::DeleteRecordsPartitionResult::default();
            let answer = answer.with_partition_index(asked.partition_index);
            partitions.push(match gone {
                Ok(start) => answer.with_low_watermark(start),
                Err(error) => answer.with_error_code(error.code()),
            });
        }
        let answer = r::DeleteRecordsTopicResult::default().with_name(topic.name);
        topics.push(answer.with_partitions(partitions));
    }
    m::DeleteRecordsResponse::default().with_topics(topics)
}

fn join(state: &mut State, request: m::AddPartitionsToTxnRequest) -> m::AddPartitionsToTxnResponse {
    use m::add_partitions_to_txn_response as r;
    let name = request.v3_and_below_transactional_id.to_string();
    let who = (request.v3_and_below_producer_id.0, request.v3_and_below_producer_epoch);
    let topics = request.v3_and_below_topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|number| {
            let joined = state.join(&name, who, place(&topic.name, *number));
            let answer = r::AddPartitionsToTxnPartitionResult::default();
            answer.with_partition_index(*number).with_partition_error_code(code(&joined))
        });
        let partitions = partitions.collect();
        let answer = r::AddPartitionsToTxnTopicResult::default().with_name(topic.name);
        answer.with_results_by_partition(partitions)
    });
    let topics = topics.collect();
    m::AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics)
}

fn commit_within(
    state: &mut State,
    request: m::TxnOffsetCommitRequest,
) -> m::TxnOffsetCommitResponse {
    use m::txn_offset_commit_response as r;
    let who = (request.producer_id.0, request.producer_epoch);
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let at = (place(&topic.name, partition.partition_index), partition.committed_offset);
            let name = &request.transactional_id;
            let noted = state.commit_within(name, who, &request.group_id, at);
            let answer = r::TxnOffsetCommitResponsePartition::default();
            answer.with_partition_index(partition.partition_index).with_error_code(code(&noted))
        });
        let partitions = partitions.collect();
        r::TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    m::TxnOffsetCommitResponse::default().with_topics(topics.collect())
}
