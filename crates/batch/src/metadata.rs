//! What a source tells of an event beside the event itself.

use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::field::{JSONB, TYPE_KEY};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// The key of a message, as bytes or as text.
    Key,
    /// The topic.
    Topic,
    /// The number of its partition.
    Partition,
    /// The place in the partition.
    Offset,
    /// The time of a message: when it was made, or when the broker took it, as the topic says.
    Timestamp,
    /// The headers: an object of texts; a header that is there several times is a list of them.
    Headers,
}

impl Metadata {
    /// All there is.
    pub const ALL: [Self; 6] =
        [Self::Key, Self::Topic, Self::Partition, Self::Offset, Self::Timestamp, Self::Headers];

    /// Its name in `METADATA FROM '…'`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Topic => "topic",
            Self::Partition => "partition",
            Self::Offset => "offset",
            Self::Timestamp => "timestamp",
            Self::Headers => "headers",
        }
    }

    /// The types that a column of it may have, in words.
    #[must_use]
    pub fn types(self) -> &'static str {
        match self {
            Self::Key => "bytea or text",
            Self::Topic => "text",
            Self::Partition => "integer or bigint",
            Self::Offset => "bigint",
            Self::Timestamp => "timestamptz or timestamp",
            Self::Headers => "jsonb",
        }
    }

    /// Whether a column may hold it.
    #[must_use]
    pub fn fits(self, column: &Field) -> bool {
        let kind = column.metadata().get(TYPE_KEY).map(String::as_str);
        match (self, column.data_type()) {
            (Self::Key, DataType::Binary) => true,
            (Self::Key | Self::Topic, DataType::Utf8View) => kind.is_none(),
            (Self::Headers, DataType::Utf8View) => kind == Some(JSONB),
            (Self::Partition, DataType::Int32 | DataType::Int64) => true,
            (Self::Offset, DataType::Int64) => true,
            (Self::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, _)) => true,
            _ => false,
        }
    }
}
