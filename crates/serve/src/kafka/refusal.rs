//! Why something is not taken, as a client of Kafka is told.

use kafka_protocol::error::ResponseError;
use yeoul_engine::{EngineError, ErrorKind, SubmitError};
use yeoul_format::FormatError;

use super::batch::BatchError;

/// What consumers and transactional producers are told.
pub(super) const INGEST_ONLY: &str = "this is an ingest listener of Yeoul: it takes what producers send; read with SQL, over HTTP or the Postgres wire";
/// What producers with transactions are told.
pub(super) const NO_TRANSACTIONS: &str = "Yeoul takes no transactions: leave transactional.id out; \
    enable.idempotence gives every record once";

/// A code that says what a client does next, and words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i16,
    pub(super) message: String,
    /// The record it is about, from 0, when it is about one.
    pub(super) record: Option<i32>,
}

impl Refusal {
    pub(super) fn new(code: ResponseError, message: impl Into<String>) -> Self {
        Self { code: code.code(), message: message.into(), record: None }
    }

    /// Whether the client sends it again and it will be taken: nothing is wrong.
    pub(super) fn passes(&self) -> bool {
        let passing = [
            ResponseError::NotEnoughReplicas,
            ResponseError::OutOfOrderSequenceNumber,
            ResponseError::LeaderNotAvailable,
        ];
        passing.iter().any(|code| code.code() == self.code)
    }

    /// What came of a delivery after it had been queued: it may be stored or not.
    pub(super) fn after(error: &EngineError) -> Self {
        let refusal = Self::from(error);
        match error.kind {
            ErrorKind::Unavailable => Self::new(ResponseError::RequestTimedOut, refusal.message),
            _ => refusal,
        }
    }
}

impl From<&EngineError> for Refusal {
    fn from(error: &EngineError) -> Self {
        let code = match error.kind {
            ErrorKind::Input => ResponseError::InvalidRecord,
            ErrorKind::NotFound => ResponseError::UnknownTopicOrPartition,
            ErrorKind::Conflict => ResponseError::TopicAlreadyExists,
            ErrorKind::Limit => ResponseError::MessageTooLarge,
            ErrorKind::Unavailable => ResponseError::KafkaStorageError,
            ErrorKind::Cancelled | ErrorKind::Internal => ResponseError::UnknownServerError,
        };
        let more = [&error.detail, &error.hint].into_iter().flatten();
        let message = more.fold(error.message.clone(), |told, more| format!("{told}; {more}"));
        Self::new(code, message)
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Self::from(&error)
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        match error {
            // Every client sends it again, and knows that nothing of it is stored.
            SubmitError::Busy { .. } => Self::new(
                ResponseError::NotEnoughReplicas,
                "the ingest queue is full, and was for as long as the request may wait",
            ),
            SubmitError::Refused(error) => error.into(),
        }
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        let code = match error {
            BatchError::Corrupt(_) | BatchError::Packed { .. } => ResponseError::CorruptMessage,
            BatchError::Old(_) => ResponseError::UnsupportedForMessageFormat,
            BatchError::Compression(_) => ResponseError::UnsupportedCompressionType,
            BatchError::TooLong(_) => ResponseError::MessageTooLarge,
            BatchError::Transaction => ResponseError::TransactionalIdAuthorizationFailed,
            BatchError::Several | BatchError::Empty => ResponseError::InvalidRecord,
        };
        Self::new(code, error.to_string())
    }
}

impl From<FormatError> for Refusal {
    fn from(error: FormatError) -> Self {
        crate::decode::refused(&error).into()
    }
}
