//! Answers, written by the generated structures of `kafka-protocol`.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, CreateTopicsResponse, FetchResponse, FindCoordinatorResponse,
    HeartbeatResponse, InitProducerIdResponse, JoinGroupResponse, LeaveGroupResponse,
    ListOffsetsResponse, MetadataResponse, OffsetFetchResponse, ProduceResponse, ProducerId,
    ResponseHeader, SaslAuthenticateResponse, SaslHandshakeResponse, SyncGroupResponse, TopicName,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};

use super::produce::Outcomes;
use super::refusal::{INGEST_ONLY, Refusal};
use super::request::{Head, OFFERS, Partitions};

/// The one broker that there is.
const NODE: BrokerId = BrokerId(1);
/// Where nothing is known: offsets, epochs.
const UNKNOWN: i64 = -1;

/// An answer that the protocol cannot hold: a mistake of ours.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be written: {0}")]
pub(super) struct Unwritable(String);

/// Where clients are told to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The bytes of an answer.
fn write<T: Encodable + HeaderVersion>(head: &Head, answer: &T) -> Result<Bytes, Unwritable> {
    let failed = |why: &dyn std::fmt::Display| Unwritable(why.to_string());
    let header = ResponseHeader::default().with_correlation_id(head.correlation);
    let header_version = T::header_version(head.version);
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    header.encode(&mut bytes, header_version).map_err(|why| failed(&why))?;
    answer.encode(&mut bytes, head.version).map_err(|why| failed(&why))?;
    let length = i32::try_from(bytes.len() - 4).map_err(|why| failed(&why))?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes.freeze())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

/// What is offered; `unknown`: the client asked for a version of this that is not.
pub(super) fn api_versions(head: &Head, unknown: bool) -> Result<Bytes, Unwritable> {
    let offered = OFFERS.iter().map(|offer| {
        ApiVersion::default()
            .with_api_key(offer.key)
            .with_min_version(offer.least)
            .with_max_version(offer.most)
    });
    let code = if unknown { ResponseError::UnsupportedVersion.code() } else { 0 };
    let answer = ApiVersionsResponse::default().with_error_code(code);
    write(head, &answer.with_api_keys(offered.collect()))
}

/// Where topics are; those that are not here have a code instead.
pub(super) fn metadata(
    head: &Head,
    node: &Node,
    topics: &[(Option<String>, i16)],
) -> Result<Bytes, Unwritable> {
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE)
        .with_host(text(&node.host))
        .with_port(i32::from(node.port));
    let topics = topics.iter().map(|(name, code)| {
        let partition = MetadataResponsePartition::default()
            .with_leader_id(NODE)
            .with_leader_epoch(if head.version >= 7 { 0 } else { -1 })
            .with_replica_nodes(vec![NODE])
            .with_isr_nodes(vec![NODE]);
        let name = match name {
            // Before topics had ids, one without a name cannot be written.
            None if head.version < 12 => Some(TopicName::default()),
            name => name.as_deref().map(topic),
        };
        MetadataResponseTopic::default()
            .with_error_code(*code)
            .with_name(name)
            .with_partitions(if *code == 0 { vec![partition] } else { Vec::new() })
    });
    let answer = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_static_str("yeoul")))
        .with_controller_id(NODE)
        .with_topics(topics.collect());
    write(head, &answer)
}

/// What became of batches, by topic and partition.
pub(super) fn produce(head: &Head, outcomes: Outcomes) -> Result<Bytes, Unwritable> {
    if head.version < 3 {
        return old_produce(head, &outcomes);
    }
    let topics = outcomes.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, outcome)| {
            let partition = PartitionProduceResponse::default()
                .with_index(index)
                .with_base_offset(UNKNOWN)
                .with_log_append_time_ms(UNKNOWN)
                .with_log_start_offset(UNKNOWN);
            match outcome {
                Ok(()) => partition,
                Err(refusal) => refused(partition, &refusal, head.version),
            }
        });
        TopicProduceResponse::default()
            .with_name(topic(&name))
            .with_partition_responses(partitions.collect())
    });
    write(head, &ProduceResponse::default().with_responses(topics.collect()))
}

/// The answer of versions that the generated structures do not have any more:
///
/// ```text
///   count i32 | (topic string | count i32 | (index i32 | code i16 | offset i64 | [2] time i64)*)* | [1] throttle i32
/// ```
fn old_produce(head: &Head, outcomes: &Outcomes) -> Result<Bytes, Unwritable> {
    let failed = |why: std::num::TryFromIntError| Unwritable(why.to_string());
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    bytes.put_i32(head.correlation);
    bytes.put_i32(i32::try_from(outcomes.len()).map_err(failed)?);
    for (name, partitions) in outcomes {
        bytes.put_i16(i16::try_from(name.len()).map_err(failed)?);
        bytes.put_slice(name.as_bytes());
        bytes.put_i32(i32::try_from(partitions.len()).map_err(failed)?);
        for (index, outcome) in partitions {
            bytes.put_i32(*index);
            bytes.put_i16(outcome.as_ref().err().map_or(0, |refusal| refusal.code));
            bytes.put_i64(UNKNOWN);
            if head.version >= 2 {
                bytes.put_i64(UNKNOWN);
            }
        }
    }
    if head.version >= 1 {
        bytes.put_i32(0);
    }
    let length = i32::try_from(bytes.len() - 4).map_err(failed)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes.freeze())
}

fn refused(
    partition: PartitionProduceResponse,
    refusal: &Refusal,
    version: i16,
) -> PartitionProduceResponse {
    let partition = partition.with_error_code(refusal.code);
    // The first version that has words.
    if version < 8 {
        return partition;
    }
    let record = refusal.record.map(|index| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(index)
            .with_batch_index_error_message(Some(text(&refusal.message)))
    });
    partition
        .with_record_errors(record.into_iter().collect())
        .with_error_message(Some(text(&refusal.message)))
}

/// A new producer's number, or why it gets none.
pub(super) fn producer_id(head: &Head, id: Result<i64, i16>) -> Result<Bytes, Unwritable> {
    let (code, id, epoch) = match id {
        Ok(id) => (0, id, 0),
        Err(code) => (code, -1, -1),
    };
    let answer = InitProducerIdResponse::default()
        .with_error_code(code)
        .with_producer_id(ProducerId(id))
        .with_producer_epoch(epoch);
    write(head, &answer)
}

/// Which mechanisms there are, and whether the wished one is.
pub(super) fn sasl_handshake(
    head: &Head,
    code: i16,
    mechanisms: &[&'static str],
) -> Result<Bytes, Unwritable> {
    let mechanisms = mechanisms.iter().map(|name| StrBytes::from_static_str(name)).collect();
    let answer = SaslHandshakeResponse::default().with_error_code(code);
    write(head, &answer.with_mechanisms(mechanisms))
}

/// Whether the client is who it says.
pub(super) fn sasl_authenticate(
    head: &Head,
    refusal: Option<&Refusal>,
) -> Result<Bytes, Unwritable> {
    let answer = SaslAuthenticateResponse::default()
        .with_error_code(refusal.map_or(0, |refusal| refusal.code))
        .with_error_message(refusal.map(|refusal| text(&refusal.message)));
    write(head, &answer)
}

/// The answer to a token that came without a request around it: nothing, in a frame of its own.
pub(super) fn sasl_token() -> Bytes {
    Bytes::from_static(&[0; 4])
}

/// Why no topic was made.
pub(super) fn create_topics(
    head: &Head,
    topics: &[(String, Refusal)],
) -> Result<Bytes, Unwritable> {
    let topics = topics.iter().map(|(name, refusal)| {
        CreatableTopicResult::default()
            .with_name(topic(name))
            .with_error_code(refusal.code)
            .with_error_message(Some(text(&refusal.message)))
    });
    write(head, &CreateTopicsResponse::default().with_topics(topics.collect()))
}

/// Nobody looks after groups or transactions here.
pub(super) fn find_coordinator(
    head: &Head,
    keys: &[String],
    refusal: &Refusal,
) -> Result<Bytes, Unwritable> {
    let message = Some(text(&refusal.message));
    let answer = FindCoordinatorResponse::default();
    let answer = if head.version >= 4 {
        let each = keys.iter().map(|key| {
            Coordinator::default()
                .with_key(text(key))
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(refusal.code)
                .with_error_message(message.clone())
        });
        answer.with_coordinators(each.collect())
    } else {
        let answer = answer.with_error_code(refusal.code).with_node_id(BrokerId(-1)).with_port(-1);
        if head.version >= 1 { answer.with_error_message(message) } else { answer }
    };
    write(head, &answer)
}

/// The code of all that has no room for words.
fn invalid() -> i16 {
    ResponseError::InvalidRequest.code()
}

/// There is nothing to read here.
pub(super) fn fetch(head: &Head, topics: Partitions) -> Result<Bytes, Unwritable> {
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|index| {
            PartitionData::default()
                .with_partition_index(index)
                .with_error_code(invalid())
                .with_high_watermark(UNKNOWN)
                .with_records(Some(Bytes::new()))
        });
        FetchableTopicResponse::default()
            .with_topic(topic(&name))
            .with_partitions(partitions.collect())
    });
    write(head, &FetchResponse::default().with_responses(topics.collect()))
}

/// Nothing that is here has offsets.
pub(super) fn list_offsets(head: &Head, topics: Partitions) -> Result<Bytes, Unwritable> {
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|index| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(invalid())
                .with_timestamp(UNKNOWN)
                .with_offset(UNKNOWN)
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic(&name))
            .with_partitions(partitions.collect())
    });
    write(head, &ListOffsetsResponse::default().with_topics(topics.collect()))
}

/// There are no groups here.
pub(super) fn group(head: &Head) -> Result<Bytes, Unwritable> {
    let code = invalid();
    match head.api {
        9 => write(head, &OffsetFetchResponse::default().with_error_code(code)),
        11 => write(head, &JoinGroupResponse::default().with_error_code(code)),
        12 => write(head, &HeartbeatResponse::default().with_error_code(code)),
        13 => write(head, &LeaveGroupResponse::default().with_error_code(code)),
        _ => write(head, &SyncGroupResponse::default().with_error_code(code)),
    }
}

/// What is said of all that consumers ask.
pub(super) fn ingest_only() -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, INGEST_ONLY)
}
