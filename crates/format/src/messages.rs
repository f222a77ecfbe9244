//! Messages of a broker: events that are already apart, one record in each.
//!
//! ```text
//!   bytes   {"a":1} \n {"a":2} \n \n {"a":3} \n        ends   7  15  16  24   (before the line feed)
//!                                 ▲ an empty one, or one without a value: `nulls` says which
//! ```
//!
//! They lie one behind the other in one buffer, with where each ends, so that a block is decoded in
//! one go and nothing is allocated per message. Behind each stands a line feed that is not a part of
//! it: scanners stop there, and a whole block is text when every message is.
//!
//! What must hold: message `n` is record `n` of what is decoded, and its row or bad row follows from
//! it alone. Every decoder looks at a whole block first and at a message alone where that does not
//! end with the message.
//!
//! Not here: offsets, keys and headers of messages, which their source keeps beside them.

use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use crate::ahead;
use crate::decoded::{BadKind, Decoded, Progress, Refusal, too_long};
use crate::decoder::Decoder;
use crate::error::FormatError;
use yeoul_batch::{DecodeOptions, Format, TimeLimit};

/// What may stand in front of a message and is no part of its record.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A block of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    bytes: Vec<u8>,
    /// Where each message ends in `bytes`; behind it stands a line feed.
    ends: Vec<usize>,
    /// Those without a value, ascending.
    nulls: Vec<usize>,
}

impl Messages {
    /// No messages, with room for `messages` that have `bytes` together.
    #[must_use]
    pub fn with_capacity(messages: usize, bytes: usize) -> Self {
        let room = Vec::with_capacity(bytes.saturating_add(messages));
        Self { bytes: room, ends: Vec::with_capacity(messages), nulls: Vec::new() }
    }

    /// Adds a message.
    pub fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
        self.bytes.push(b'\n');
    }

    /// Adds a message without a value (Kafka's tombstone), which is not the same as an empty one.
    pub fn push_null(&mut self) {
        self.nulls.push(self.ends.len());
        self.push(b"");
    }

    /// Adds a message, or one without a value.
    pub fn push_option(&mut self, message: Option<&[u8]>) {
        match message {
            Some(message) => self.push(message),
            None => self.push_null(),
        }
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes the messages have together.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len() - self.ends.len()
    }

    /// The message `index`; one without a value is empty.
    ///
    /// # Panics
    /// When there is no such message.
    #[must_use]
    pub fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..self.ends[index]]
    }

    /// Whether the message `index` has no value.
    #[must_use]
    pub fn is_null(&self, index: usize) -> bool {
        self.nulls.binary_search(&index).is_ok()
    }

    /// All of them, in their order; those without a value are `None`.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        (0..self.len()).map(|index| (!self.is_null(index)).then(|| self.get(index)))
    }

    /// Takes all messages out and keeps the room they had.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.nulls.clear();
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before] + 1)
    }

    /// Why the empty message `index` is no record.
    pub(crate) fn nothing(&self, index: usize) -> Refusal {
        if self.is_null(index) {
            Refusal { kind: BadKind::Null, reason: "the message has no value".to_owned() }
        } else {
            "the message is empty".to_owned().into()
        }
    }

    /// Gives every message to `one`, as a place in a text that holds many of them, and counts what
    /// became of it. Those that are empty, too long or no text are refused before.
    #[inline]
    pub(crate) fn decode_texts(
        &self,
        bytes_max: usize,
        mut one: impl FnMut(&str, usize, usize) -> Result<(), Refusal>,
    ) -> Progress {
        let mut progress = Progress::default();
        let mut first = 0;
        while first < self.len() {
            let base = self.start(first);
            let (text, broken) = self.text(first);
            for index in first..broken.as_ref().map_or(self.len(), |(index, _)| *index) {
                let (start, end) = (self.start(index) - base, self.ends[index] - base);
                let done = if start == end {
                    Err(self.nothing(index))
                } else if end - start > bytes_max {
                    Err(too_long(end - start, bytes_max).into())
                } else {
                    one(text, start, end)
                };
                match done {
                    Ok(()) => progress.take_message(),
                    Err(why) => progress.refuse_message(self.get(index), bytes_max, why),
                }
            }
            let Some((index, why)) = broken else { break };
            progress.refuse_message(self.get(index), bytes_max, why);
            first = index + 1;
        }
        progress
    }

    /// The messages from `first` on as a text that ends before the first one that is none, and
    /// which that is.
    fn text(&self, first: usize) -> (&str, Option<(usize, String)>) {
        let base = self.start(first);
        let rest = &self.bytes[base..];
        let error = match std::str::from_utf8(rest) {
            Ok(text) => return (text, None),
            Err(error) => error,
        };
        let at = base + error.valid_up_to();
        let index = self.ends.partition_point(|end| *end <= at);
        let start = self.start(index);
        let text = std::str::from_utf8(&rest[..start - base]).unwrap_or_default();
        (text, Some((index, format!("invalid UTF-8 at byte {}", at - start))))
    }

    /// Takes the rows out that are further ahead than `limit` allows.
    pub(crate) fn refuse_ahead(
        &self,
        decoded: Decoded,
        bytes_max: usize,
        limit: Option<&TimeLimit>,
    ) -> Result<Decoded, FormatError> {
        let found = limit.map(|limit| limit.ahead(&decoded.rows)).unwrap_or_default();
        if found.is_empty() {
            return Ok(decoded);
        }
        ahead::refuse(decoded, found, |record| (self.cut(record, bytes_max), record as u64))
    }

    /// The bytes of the message `index`, at most so many.
    pub(crate) fn cut(&self, index: usize, bytes_max: usize) -> Bytes {
        cut(self.get(index), bytes_max)
    }
}

/// Where a record begins in a message: behind a byte order mark.
#[inline]
pub(crate) fn behind_mark(message: &[u8]) -> usize {
    if message.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
}

fn cut(message: &[u8], bytes_max: usize) -> Bytes {
    Bytes::copy_from_slice(&message[..message.len().min(bytes_max)])
}

impl Progress {
    /// Counts a message that became a row. Each message is a line.
    #[inline]
    pub(crate) fn take_message(&mut self) {
        self.records += 1;
        self.lines += 1;
    }

    /// Counts a message that did not.
    #[cold]
    pub(crate) fn refuse_message(
        &mut self,
        message: &[u8],
        bytes_max: usize,
        why: impl Into<Refusal>,
    ) {
        self.push_bad(cut(message, bytes_max), why.into());
        self.lines += 1;
    }
}

impl Decoder {
    /// A decoder of messages: [`Decoder::decode_messages`]. Without the option `columns` the fields
    /// of a CSV message are the columns of `schema` in their order.
    pub fn for_messages(schema: SchemaRef, options: &DecodeOptions) -> Result<Self, FormatError> {
        let mut options = options.clone();
        match options.format.unwrap_or_default() {
            Format::Json => {}
            Format::Csv | Format::Tsv if options.header == Some(true) => {
                return Err(FormatError::MessageHeader);
            }
            Format::Csv | Format::Tsv
                if options.columns.is_none() && !options.mapping.is_empty() =>
            {
                return Err(FormatError::MessageMapping);
            }
            Format::Csv | Format::Tsv => options.header = Some(false),
            Format::CopyText => return Err(FormatError::NoMessages("the text of COPY")),
            Format::Parquet => return Err(FormatError::NoMessages("parquet")),
            Format::Avro => return Err(FormatError::NotText),
            Format::DebeziumJson => return Err(FormatError::NoChanges),
        }
        Self::new(schema, &options)
    }

    /// Decodes messages: message `n` is record `n`, a row or a bad row with its bytes as they came
    /// (cut to the limit of a row). Rows whose times are beyond `limit` are bad. Each message counts
    /// as one line, whatever it holds.
    pub fn decode_messages(
        &mut self,
        messages: &Messages,
        limit: Option<&TimeLimit>,
    ) -> Result<Decoded, FormatError> {
        let (decoded, bytes_max) = match self {
            Self::Json(json) => (json.decode_messages(messages)?, json.row_bytes_max()),
            Self::Csv(csv) => (csv.decode_messages(messages)?, csv.row_bytes_max()),
            Self::Copy(_) => return Err(FormatError::NoMessages("the text of COPY")),
        };
        assert_eq!(decoded.records, messages.len() as u64, "every message is a record");
        messages.refuse_ahead(decoded, bytes_max, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_pushed() {
        let mut messages = Messages::with_capacity(4, 8);
        assert!(messages.is_empty());
        messages.push(b"a\nb");
        messages.push(b"");
        messages.push_null();
        messages.push(b"\n");
        assert_eq!((messages.len(), messages.bytes_len()), (4, 4));
        let all: Vec<_> = messages.iter().collect();
        assert_eq!(all, [Some(&b"a\nb"[..]), Some(b""), None, Some(b"\n")]);
        assert_eq!(
            (messages.get(2), messages.is_null(2), messages.is_null(1)),
            (&b""[..], true, false)
        );
        let taken = std::mem::take(&mut messages);
        assert_eq!((taken.len(), messages.len()), (4, 0));
        let mut taken = taken;
        taken.clear();
        assert_eq!(taken, messages);
    }
}
