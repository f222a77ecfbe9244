//! One client: its requests in their order, its answers in the same.
//!
//! ```text
//!   reading: frame ▶ request ▶ answer, or batches that are queued ─▶ at most IN_FLIGHT_MAX ─▶ writing: receipts ▶ socket
//! ```

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use yeoul_engine::ErrorKind;

use super::Shared;
use super::produce::{self, Outcomes, Producing, Sent};
use super::refusal::{INGEST_ONLY, NO_TRANSACTIONS, Refusal};
use super::reply::{self, Node};
use super::request::{Head, Request, read_request};
use super::sasl::{PLAIN, Standing};
use super::wire::{Ended, Incoming, send};
use crate::listen::Place;

/// Requests of a connection that are not answered yet. librdkafka sends up to a million without waiting,
/// the others 5.
pub(super) const IN_FLIGHT_MAX: usize = 32;

/// Topics of a connection that are not here and were named in the log.
const UNKNOWN_NAMED_MAX: usize = 16;

/// An answer, or what will be one.
enum Answer {
    /// As it is sent.
    Ready(Bytes),
    /// As it is sent; it is the last one.
    Last(Bytes),
    /// When everything is stored.
    Stored { head: Head, acks: i16, sent: Sent },
}

/// A connection from its first byte to its last.
pub(super) async fn run(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Option<Place>,
) {
    if place.is_none() {
        // The protocol has no word for it: clients come again after a pause.
        tracing::warn!(%peer, "too many connections of Kafka clients: one is closed");
        return;
    }
    let node = match (&shared.options.advertised, stream.local_addr()) {
        (Some((host, port)), _) => Node { host: host.clone(), port: *port },
        (None, Ok(here)) => Node { host: here.ip().to_canonical().to_string(), port: here.port() },
        (None, Err(_)) => return,
    };
    let standing = match shared.options.credentials {
        Some(_) => Standing::Unknown,
        None => Standing::Open,
    };
    let (read, mut write) = stream.into_split();
    let (answers, to_write) = mpsc::channel(IN_FLIGHT_MAX);
    let mut connection = Connection {
        shared: Arc::clone(&shared),
        peer,
        node,
        standing,
        producing: Producing::default(),
        unknown: HashSet::new(),
        refused: false,
    };
    let reading = connection.read(Incoming::new(read), answers);
    let writing = write_all(&shared, &mut write, to_write);
    tokio::pin!(reading, writing);
    // When the client has said all, what it waits for is still sent; when it cannot be told, it is not read on.
    let ended = tokio::select! {
        written = &mut writing => written,
        ended = &mut reading => writing.await.and(ended),
    };
    match ended {
        Err(error @ (Ended::Malformed(_) | Ended::NotStored(_) | Ended::Stranger)) => {
            tracing::warn!(%peer, "connection of a Kafka client ends: {error}");
        }
        Err(Ended::Unwritable(error)) => tracing::error!(%peer, %error, "connection ends"),
        Err(error) => tracing::debug!(%peer, %error, "connection of a Kafka client ends"),
        Ok(()) => {}
    }
    drop(place);
}

/// Sends answers in their order.
async fn write_all(
    shared: &Shared,
    stream: &mut OwnedWriteHalf,
    mut answers: mpsc::Receiver<Answer>,
) -> Result<(), Ended> {
    let timeout = shared.options.write_timeout;
    while let Some(answer) = answers.recv().await {
        match answer {
            Answer::Ready(bytes) => send(stream, &bytes, timeout).await?,
            Answer::Last(bytes) => return send(stream, &bytes, timeout).await,
            Answer::Stored { head, acks, sent } => {
                let (outcomes, end) = receipts(sent, acks).await;
                if acks != 0 {
                    send(stream, &reply::produce(&head, outcomes)?, timeout).await?;
                }
                if let Some(why) = end {
                    return Err(Ended::NotStored(why));
                }
            }
        }
    }
    Ok(())
}

/// Waits for receipts; with it why the connection must end. It ends when a client that wants no answer has to learn
/// that something was refused, and when a batch was not stored after the ones behind it had been queued: the
/// client sends all of them again, in order.
async fn receipts(sent: Sent, acks: i16) -> (Outcomes, Option<String>) {
    let (mut outcomes, mut end) = (Vec::with_capacity(sent.len()), None);
    for (topic, partitions) in sent {
        let mut of_topic = Vec::with_capacity(partitions.len());
        for (index, queued) in partitions {
            let outcome = match queued {
                Ok(pending) => match pending.receipt().await {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        let refusal = Refusal::after(&error);
                        end.get_or_insert_with(|| refusal.message.clone());
                        Err(refusal)
                    }
                },
                Err(refusal) => {
                    if acks == 0 {
                        end.get_or_insert_with(|| refusal.message.clone());
                    }
                    Err(refusal)
                }
            };
            of_topic.push((index, outcome));
        }
        outcomes.push((topic, of_topic));
    }
    (outcomes, end)
}

struct Connection {
    shared: Arc<Shared>,
    peer: SocketAddr,
    node: Node,
    standing: Standing,
    producing: Producing,
    /// Topics that were asked for and are not here.
    unknown: HashSet<String>,
    /// That a batch was refused was said in the log.
    refused: bool,
}

impl Connection {
    /// Reads requests until there are no more.
    async fn read(
        &mut self,
        mut incoming: Incoming,
        answers: mpsc::Sender<Answer>,
    ) -> Result<(), Ended> {
        loop {
            // With all places taken nothing is read, and the client waits.
            let Ok(place) = answers.reserve().await else { return Ok(()) };
            let stranger = self.standing != Standing::Open;
            let (frame, share) = incoming.frame(&self.shared, stranger).await?;
            if self.standing == (Standing::Asked { bare: true }) {
                if self.proves(&frame) {
                    place.send(Answer::Ready(reply::sasl_token()));
                    continue;
                }
                return Err(Ended::Stranger);
            }
            let (head, request) = read_request(frame)?;
            let answer = self.answer(head, request).await?;
            drop(share);
            let last = matches!(answer, Answer::Last(_));
            place.send(answer);
            if last {
                return Ok(());
            }
        }
    }

    async fn answer(&mut self, head: Head, request: Request) -> Result<Answer, Ended> {
        let allowed = matches!(
            request,
            Request::ApiVersions
                | Request::ApiVersionsUnknown
                | Request::SaslHandshake { .. }
                | Request::SaslAuthenticate(_)
        );
        if self.standing != Standing::Open && !allowed {
            return Err(Ended::Stranger);
        }
        let bytes = match request {
            Request::Produce(produce) => {
                let acks = produce.acks;
                let shutdown = self.shared.shutdown.clone();
                let queueing = self.producing.send(&self.shared, &head, produce);
                let sent = tokio::select! {
                    sent = queueing => sent,
                    // What has no bound is given up when the listener ends.
                    () = shutdown.begun(), if acks == 0 => return Err(Ended::Stopping),
                };
                self.say_refused(&sent);
                return Ok(Answer::Stored { head, acks, sent });
            }
            Request::SaslHandshake { mechanism } => return self.handshake(&head, &mechanism),
            Request::SaslAuthenticate(token) => return self.authenticate(&head, &token),
            Request::ApiVersions => reply::api_versions(&head, false)?,
            Request::ApiVersionsUnknown => reply::api_versions(&head, true)?,
            Request::Metadata(topics) => self.metadata(&head, topics)?,
            Request::InitProducerId { transactional_id } => {
                let id = match transactional_id {
                    None => Ok(self.shared.producers.next()),
                    Some(_) => Err(self.no_transactions().code),
                };
                reply::producer_id(&head, id)?
            }
            Request::CreateTopics(names) => self.create_topics(&head, names)?,
            Request::FindCoordinator { kind, keys } => {
                let refusal = match kind {
                    1 => self.no_transactions(),
                    _ => self.ingest_only(),
                };
                reply::find_coordinator(&head, &keys, &refusal)?
            }
            Request::Fetch(topics) => {
                self.ingest_only();
                reply::fetch(&head, topics)?
            }
            Request::ListOffsets(topics) => {
                self.ingest_only();
                reply::list_offsets(&head, topics)?
            }
            Request::Group => {
                self.ingest_only();
                reply::group(&head)?
            }
        };
        Ok(Answer::Ready(bytes))
    }

    /// Says the first refusal of a connection in the log: old versions of the protocol have no words for it, and
    /// many programs do not show those that there are.
    fn say_refused(&mut self, sent: &Sent) {
        if self.refused {
            return;
        }
        let mut outcomes = sent.iter().flat_map(|(_, partitions)| partitions);
        let refusal = outcomes.find_map(|(_, queued)| queued.as_ref().err());
        if let Some(refusal) = refusal.filter(|refusal| !refusal.passes()) {
            tracing::warn!(peer = %self.peer, "a batch of a Kafka producer is refused: {}", refusal.message);
            self.refused = true;
        }
    }

    fn ingest_only(&self) -> Refusal {
        if !self.shared.told_readers.swap(true, Ordering::Relaxed) {
            tracing::warn!(peer = %self.peer, "a Kafka client wants to read: {INGEST_ONLY}");
        }
        reply::ingest_only()
    }

    fn no_transactions(&self) -> Refusal {
        tracing::warn!(peer = %self.peer, "a producer wants transactions: {NO_TRANSACTIONS}");
        Refusal::new(ResponseError::TransactionalIdAuthorizationFailed, NO_TRANSACTIONS)
    }

    /// Where topics are.
    fn metadata(
        &mut self,
        head: &Head,
        wanted: Option<Vec<Option<String>>>,
    ) -> Result<Bytes, Ended> {
        let engine = self.shared.slot.engine();
        let topics: Vec<(Option<String>, i16)> = match (engine, wanted) {
            (Ok(engine), None) => {
                engine.stream_names().into_iter().map(|name| (Some(name), 0)).collect()
            }
            (Err(_), None) => Vec::new(),
            (engine, Some(wanted)) => {
                let mut topics = Vec::with_capacity(wanted.len());
                for name in wanted {
                    let code = match (&engine, &name) {
                        (_, None) => ResponseError::UnknownTopicId.code(),
                        (Err(error), Some(_)) => produce::opening(error).code,
                        (Ok(engine), Some(topic)) => match engine.stream(topic) {
                            Ok(_) => 0,
                            Err(error) => {
                                if self.unknown.len() < UNKNOWN_NAMED_MAX
                                    && self.unknown.insert(topic.clone())
                                {
                                    let why = Refusal::from(&error).message;
                                    tracing::warn!(peer = %self.peer, "a Kafka client asks for a topic: {why}");
                                }
                                ResponseError::UnknownTopicOrPartition.code()
                            }
                        },
                    };
                    topics.push((name, code));
                }
                topics
            }
        };
        Ok(reply::metadata(head, &self.node, &topics)?)
    }

    /// Streams are made by SQL alone, which says what their columns are.
    fn create_topics(&self, head: &Head, names: Vec<String>) -> Result<Bytes, Ended> {
        let refusal = |name: &str| match self.shared.slot.engine() {
            Err(error) => produce::opening(&error),
            Ok(engine) => match engine.stream(name) {
                Ok(_) => {
                    let message = format!("stream or table \"{name}\" is there already");
                    Refusal::new(ResponseError::TopicAlreadyExists, message)
                }
                Err(error) if error.kind == ErrorKind::NotFound => {
                    let why = Refusal::from(&error).message;
                    let message = format!(
                        "a topic of Yeoul is a stream, made with CREATE STREAM and its columns: {why}"
                    );
                    Refusal::new(ResponseError::PolicyViolation, message)
                }
                Err(error) => {
                    Refusal::new(ResponseError::PolicyViolation, Refusal::from(&error).message)
                }
            },
        };
        let topics: Vec<(String, Refusal)> = names
            .into_iter()
            .map(|name| {
                let refusal = refusal(&name);
                (name, refusal)
            })
            .collect();
        Ok(reply::create_topics(head, &topics)?)
    }

    fn handshake(&mut self, head: &Head, mechanism: &str) -> Result<Answer, Ended> {
        if self.shared.options.credentials.is_none() {
            tracing::warn!(
                peer = %self.peer,
                "a Kafka client wants to authenticate, and no user is set: set kafka.user and kafka.password, or \
                 let it use security.protocol=PLAINTEXT"
            );
            let code = ResponseError::IllegalSaslState.code();
            return Ok(Answer::Last(reply::sasl_handshake(head, code, &[])?));
        }
        if mechanism == PLAIN {
            self.standing = Standing::Asked { bare: head.version == 0 };
            return Ok(Answer::Ready(reply::sasl_handshake(head, 0, &[PLAIN])?));
        }
        let code = ResponseError::UnsupportedSaslMechanism.code();
        Ok(Answer::Ready(reply::sasl_handshake(head, code, &[PLAIN])?))
    }

    fn authenticate(&mut self, head: &Head, token: &[u8]) -> Result<Answer, Ended> {
        if self.standing == (Standing::Asked { bare: false }) {
            if self.proves(token) {
                return Ok(Answer::Ready(reply::sasl_authenticate(head, None)?));
            }
            let message = "the user or the password is wrong";
            let refusal = Refusal::new(ResponseError::SaslAuthenticationFailed, message);
            return Ok(Answer::Last(reply::sasl_authenticate(head, Some(&refusal))?));
        }
        let message = "a handshake must come first";
        let refusal = Refusal::new(ResponseError::IllegalSaslState, message);
        Ok(Answer::Last(reply::sasl_authenticate(head, Some(&refusal))?))
    }

    /// Whether the client has said who it is.
    fn proves(&mut self, token: &[u8]) -> bool {
        let credentials = self.shared.options.credentials.as_ref();
        let proved = credentials.is_some_and(|credentials| credentials.proves(token));
        if proved {
            self.standing = Standing::Open;
        } else {
            tracing::warn!(peer = %self.peer, "a Kafka client came with a wrong user or password");
        }
        proved
    }
}
