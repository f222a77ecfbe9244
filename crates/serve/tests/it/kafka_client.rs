//! A client of Kafka that says exactly what it is told to, in the version it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn name(name: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(name))
}

/// A client that says exactly what it is told to.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub(crate) fn frame<R: Request>(version: i16, correlation: i32, request: &R) -> Vec<u8> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(StrBytes::from_static_str("producer-1")));
        let mut body = BytesMut::new();
        header.encode(&mut body, R::header_version(version)).unwrap();
        request.encode(&mut body, version).unwrap();
        let size = i32::try_from(body.len()).unwrap().to_be_bytes();
        [&size[..], &body].concat()
    }

    pub(crate) fn send<R: Request>(&mut self, version: i16, correlation: i32, request: &R) {
        self.0.write_all(&Self::frame(version, correlation, request)).unwrap();
    }

    /// The next frame.
    pub(crate) fn receive(&mut self) -> Bytes {
        let mut size = [0; 4];
        self.0.read_exact(&mut size).unwrap();
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        self.0.read_exact(&mut frame).unwrap();
        frame.into()
    }

    /// The next answer; nothing is behind it in its frame.
    pub(crate) fn answer<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let mut frame = self.receive();
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).unwrap();
        let answer = R::Response::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "api {} version {version}: {frame:?}", R::KEY);
        (header.correlation_id, answer)
    }

    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, 7, request);
        let (correlation, answer) = self.answer::<R>(version);
        assert_eq!(correlation, 7);
        answer
    }

    pub(crate) fn produce(
        &mut self,
        version: i16,
        topic: &'static str,
        batch: Vec<u8>,
    ) -> PartitionProduceResponse {
        let answer = self.ask(version, &produce(topic, 0, -1, batch));
        answer.responses[0].partition_responses[0].clone()
    }

    /// Whether the server closes, without another word.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0; 1]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

pub(crate) fn produce(
    topic: &'static str,
    index: i32,
    acks: i16,
    batch: Vec<u8>,
) -> ProduceRequest {
    let partition =
        PartitionProduceData::default().with_index(index).with_records(Some(batch.into()));
    let topic =
        TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// A batch of a producer, `(id, epoch, base sequence)`; -1 for those that are not idempotent.
pub(crate) fn batch((producer, epoch, sequence): (i64, i16, i32), values: &[&str]) -> Vec<u8> {
    let record = |(at, value): (i32, &&str)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: producer,
        producer_epoch: epoch,
        timestamp_type: TimestampType::Creation,
        offset: i64::from(at),
        sequence: if sequence < 0 { -1 } else { sequence.wrapping_add(at) & i32::MAX },
        timestamp: 1_767_225_600_000 + i64::from(at),
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: [(StrBytes::from_static_str("h"), Some(Bytes::from_static(b"1")))]
            .into_iter()
            .collect(),
    };
    let records: Vec<Record> = (0..).zip(values).map(record).collect();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.to_vec()
}

/// The producer of batches that are not idempotent.
pub(crate) const PLAIN: (i64, i16, i32) = (-1, -1, -1);

/// The batch with other bytes behind its header, compressed as `attributes` say.
pub(crate) fn with_records(batch: &[u8], attributes: i16, count: i32, records: &[u8]) -> Vec<u8> {
    let mut checked = batch[21..61].to_vec();
    checked[..2].copy_from_slice(&attributes.to_be_bytes());
    checked[36..].copy_from_slice(&count.to_be_bytes());
    checked.extend_from_slice(records);
    checksummed(batch, &checked)
}

/// The batch with another base sequence.
pub(crate) fn with_sequence(batch: &[u8], sequence: i32) -> Vec<u8> {
    let mut checked = batch[21..].to_vec();
    checked[32..36].copy_from_slice(&sequence.to_be_bytes());
    checksummed(batch, &checked)
}

pub(crate) fn checksummed(batch: &[u8], checked: &[u8]) -> Vec<u8> {
    let mut whole = batch[..8].to_vec();
    whole.put_i32(i32::try_from(checked.len() + 9).unwrap());
    whole.put_slice(&batch[12..17]);
    whole.put_u32(crc32c::crc32c(checked));
    [&whole, checked].concat()
}
