//! What a Kafka client asks, read from bytes.
//!
//! ```text
//!   size i32 | api key i16 | version i16 | correlation id i32 | client id string | tags | body
//! ```
//!
//! Read here and not by the generated structures of `kafka-protocol`, which reserve memory for as many entries as a
//! message claims to have; our answers are written by those.
//!
//! What must hold: no input panics, and nothing is reserved for what is not there. What a body has behind its last known
//! field is passed over.
//!
//! Limits: [`take_frame`]'s. This is the fuzzing entry of the listener, with [`super::batch`].

use bytes::{Buf, Bytes, BytesMut};

use super::fields::Fields;

/// Why bytes are not a request. The connection cannot go on after one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The size in front is negative.
    #[error("request of {0} bytes is impossible: is this a client of Kafka?")]
    Size(i32),
    /// A request is longer than it may be.
    #[error("request of {length} bytes is longer than the limit of {limit} bytes")]
    TooLong {
        /// How long it says it is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// It ends before its fields do.
    #[error("request ends before its fields do")]
    Short,
    /// A length or count is none.
    #[error("request has a length that is impossible")]
    Number,
    /// It has more topics and partitions than it may have.
    #[error("request has too many entries")]
    Many,
    /// A text is not UTF-8.
    #[error("request has text that is not UTF-8")]
    Text,
    /// Something is null that must not be.
    #[error("request has no value where one must be")]
    Null,
    /// Nobody knows such requests.
    #[error("api key {0} is not known here")]
    Api(i16),
    /// A version that was not offered.
    #[error("version {version} of api key {api} is not offered")]
    Version {
        /// The number of the API.
        api: i16,
        /// The version that was asked for.
        version: i16,
    },
}

/// How a request begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the API.
    pub api: i16,
    /// The version in which the rest is written, and in which the answer is.
    pub version: i16,
    /// Comes back with the answer.
    pub correlation: i32,
    /// What the client calls itself.
    pub client: Option<String>,
}

/// Something of each partition, by the names of topics and the numbers of partitions.
pub type ByTopic<T> = Vec<(String, Vec<(i32, T)>)>;

/// Partitions of topics, by name.
pub type Partitions = Vec<(String, Vec<i32>)>;

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Which versions are spoken here?
    ApiVersions,
    /// [`Request::ApiVersions`] in a version that nobody knows here.
    ApiVersionsUnknown,
    /// Where are these topics? `None`: all there are. A topic without a name was asked for by its id.
    Metadata(Option<Vec<Option<String>>>),
    /// Batches of records.
    Produce(Produce),
    /// A number for a producer that wants nothing twice.
    InitProducerId {
        /// Set by those who want transactions.
        transactional_id: Option<String>,
    },
    /// How the client wants to say who it is.
    SaslHandshake {
        /// "PLAIN", "SCRAM-SHA-256", …
        mechanism: String,
    },
    /// Who the client is, in the way of the mechanism.
    SaslAuthenticate(Bytes),
    /// New topics.
    CreateTopics(Vec<String>),
    /// Who looks after this group or these transactions?
    FindCoordinator {
        /// 0: of a group, 1: of transactions.
        kind: i8,
        /// Their names.
        keys: Vec<String>,
    },
    /// Messages of these partitions.
    Fetch(Partitions),
    /// Where these partitions begin and end.
    ListOffsets(Partitions),
    /// Something about a group, whose answer has one error for all.
    Group,
}

/// A request with records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produce {
    /// Set by producers with transactions.
    pub transactional_id: Option<String>,
    /// 0: no answer; 1 and -1: when it is stored.
    pub acks: i16,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: i32,
    /// By topic, the records of its partitions.
    pub topics: ByTopic<Option<Bytes>>,
}

/// An API and the versions of it that are offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) key: i16,
    pub(super) least: i16,
    pub(super) most: i16,
    /// The first version whose messages are flexible.
    flexible: i16,
    read: fn(&mut Fields, i16) -> Result<Request, Malformed>,
}

const fn offer(
    key: i16,
    (least, most): (i16, i16),
    flexible: i16,
    read: fn(&mut Fields, i16) -> Result<Request, Malformed>,
) -> Offer {
    Offer { key, least, most, flexible, read }
}

/// The number of ApiVersions.
pub(super) const API_VERSIONS: i16 = 18;
/// The number of Produce.
pub(super) const PRODUCE: i16 = 0;
/// The first version that no message is flexible in.
const NEVER: i16 = i16::MAX;

/// Everything that is answered. What consumers ask is in it because they then hear in words what this is, and because
/// librdkafka takes from the versions of Fetch and FindCoordinator which compressions a broker knows; so it does from
/// versions 0 to 2 of Produce, in which it never sends to who offers a later one.
pub(super) static OFFERS: [Offer; 15] = [
    offer(PRODUCE, (0, 12), 9, produce),
    offer(1, (4, 11), 12, fetch),
    offer(2, (1, 5), 6, list_offsets),
    offer(3, (0, 13), 9, metadata),
    // OffsetFetch.
    offer(9, (2, 7), 6, |_, _| Ok(Request::Group)),
    offer(10, (0, 6), 3, find_coordinator),
    // JoinGroup, Heartbeat, LeaveGroup, SyncGroup.
    offer(11, (0, 9), 6, |_, _| Ok(Request::Group)),
    offer(12, (0, 4), 4, |_, _| Ok(Request::Group)),
    offer(13, (0, 5), 4, |_, _| Ok(Request::Group)),
    offer(14, (0, 5), 4, |_, _| Ok(Request::Group)),
    offer(17, (0, 1), NEVER, |fields, _| {
        Ok(Request::SaslHandshake { mechanism: fields.string()? })
    }),
    offer(API_VERSIONS, (0, 4), 3, |_, _| Ok(Request::ApiVersions)),
    offer(19, (2, 7), 5, create_topics),
    offer(22, (0, 4), 2, |fields, _| {
        Ok(Request::InitProducerId { transactional_id: fields.nullable_string()? })
    }),
    offer(36, (0, 2), 2, |fields, _| {
        let token = fields.nullable_bytes()?.ok_or(Malformed::Null)?;
        Ok(Request::SaslAuthenticate(token))
    }),
];

/// Takes one request, without the size in front of it, from the front of `buffer` when all of it is there.
pub fn take_frame(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, Malformed> {
    let Some(length) = frame_length(buffer, bytes_max)? else { return Ok(None) };
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// How long the request is that `buffer` begins with, when that is there.
pub(super) fn frame_length(buffer: &[u8], bytes_max: usize) -> Result<Option<usize>, Malformed> {
    let Some(size) = buffer.first_chunk().map(|size| i32::from_be_bytes(*size)) else {
        return Ok(None);
    };
    let length = usize::try_from(size).map_err(|_| Malformed::Size(size))?;
    if length > bytes_max {
        return Err(Malformed::TooLong { length, limit: bytes_max });
    }
    Ok(Some(length))
}

/// Reads a request.
pub fn read_request(frame: Bytes) -> Result<(Head, Request), Malformed> {
    let mut fields = Fields::new(frame);
    let (api, version, correlation) = (fields.i16()?, fields.i16()?, fields.i32()?);
    let offer = OFFERS.iter().find(|offer| offer.key == api).ok_or(Malformed::Api(api))?;
    if version < offer.least || version > offer.most {
        // The client asks again in a version that the answer names. It is written in version 0.
        if api == API_VERSIONS {
            let head = Head { api, version: 0, correlation, client: None };
            return Ok((head, Request::ApiVersionsUnknown));
        }
        return Err(Malformed::Version { api, version });
    }
    fields.flexible = version >= offer.flexible;
    let client = fields.plain_string()?;
    fields.tags()?;
    let request = (offer.read)(&mut fields, version)?;
    Ok((Head { api, version, correlation, client }, request))
}

fn produce(fields: &mut Fields, version: i16) -> Result<Request, Malformed> {
    let transactional_id = if version >= 3 { fields.nullable_string()? } else { None };
    let (acks, timeout_ms) = (fields.i16()?, fields.i32()?);
    let topics = fields.array(|fields| {
        let name = fields.string()?;
        let partitions = fields.array(|fields| {
            let partition = (fields.i32()?, fields.nullable_bytes()?);
            fields.tags()?;
            Ok(partition)
        })?;
        fields.tags()?;
        Ok((name, partitions))
    })?;
    Ok(Request::Produce(Produce { transactional_id, acks, timeout_ms, topics }))
}

fn metadata(fields: &mut Fields, version: i16) -> Result<Request, Malformed> {
    let topics = fields.nullable_array(|fields| {
        if version >= 10 {
            fields.uuid()?;
        }
        let name = if version >= 10 { fields.nullable_string()? } else { Some(fields.string()?) };
        fields.tags()?;
        Ok(name)
    })?;
    // Before it could be null, an empty list asked for all.
    Ok(Request::Metadata(topics.filter(|topics| version > 0 || !topics.is_empty())))
}

fn create_topics(fields: &mut Fields, _: i16) -> Result<Request, Malformed> {
    let names = fields.array(|fields| {
        let name = fields.string()?;
        fields.i32()?;
        fields.i16()?;
        fields.array(|fields| {
            fields.i32()?;
            fields.array(Fields::i32)?;
            fields.tags()
        })?;
        fields.array(|fields| {
            fields.string()?;
            fields.nullable_string()?;
            fields.tags()
        })?;
        fields.tags()?;
        Ok(name)
    })?;
    Ok(Request::CreateTopics(names))
}

fn find_coordinator(fields: &mut Fields, version: i16) -> Result<Request, Malformed> {
    if version >= 4 {
        let kind = fields.i8()?;
        return Ok(Request::FindCoordinator { kind, keys: fields.array(Fields::string)? });
    }
    let keys = vec![fields.string()?];
    let kind = if version >= 1 { fields.i8()? } else { 0 };
    Ok(Request::FindCoordinator { kind, keys })
}

fn fetch(fields: &mut Fields, version: i16) -> Result<Request, Malformed> {
    for _ in ["replica", "longest wait", "least bytes", "most bytes"] {
        fields.i32()?;
    }
    // Isolation; session and its epoch.
    fields.i8()?;
    if version >= 7 {
        fields.i64()?;
    }
    let topics = partitions(fields, |fields| {
        if version >= 9 {
            fields.i32()?;
        }
        fields.i64()?;
        if version >= 5 {
            fields.i64()?;
        }
        fields.i32().map(drop)
    })?;
    Ok(Request::Fetch(topics))
}

fn list_offsets(fields: &mut Fields, version: i16) -> Result<Request, Malformed> {
    fields.i32()?;
    if version >= 2 {
        fields.bool()?;
    }
    let topics = partitions(fields, |fields| {
        if version >= 4 {
            fields.i32()?;
        }
        fields.i64().map(drop)
    })?;
    Ok(Request::ListOffsets(topics))
}

/// Topics with their partitions; `rest` passes what follows the number of one.
fn partitions(
    fields: &mut Fields,
    rest: impl Fn(&mut Fields) -> Result<(), Malformed>,
) -> Result<Partitions, Malformed> {
    fields.array(|fields| {
        let name = fields.string()?;
        let partitions = fields.array(|fields| {
            let index = fields.i32()?;
            rest(fields)?;
            Ok(index)
        })?;
        Ok((name, partitions))
    })
}
