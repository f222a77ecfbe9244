//! What is wrong with a decoder's options or its schema. What is wrong with a row is a
//! [`crate::BadRow`], never an error.

/// A decoder or an encoder cannot be made as asked: correct the option or the column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A column's type has no text form here.
    #[error("column \"{column}\" has the type {data_type}, which cannot be decoded")]
    UnsupportedType {
        /// The column.
        column: String,
        /// Its Arrow type.
        data_type: String,
    },
    /// Parquet is read by whoever has the file.
    #[error("parquet is no text and has no decoder here")]
    NotText,
    /// The format is none of single records.
    #[error("{0} is no format of messages; those are json, csv and tsv")]
    NoMessages(&'static str),
    /// Changes are decoded by [`crate::ChangeDecoder`], and only tables have them.
    #[error("format 'debezium-json' is for messages of a broker about a table with a primary key")]
    NoChanges,
    /// A text is one value.
    #[error("keys that are texts say one column, and the primary key has several")]
    TextKey,
    /// Messages have no first line that names the fields.
    #[error(
        "option \"header\" is for texts with many records, and a message is one record; \
         name the fields of a message with option \"columns\""
    )]
    MessageHeader,
    /// Fields without names are the columns in their order: there is nothing to map.
    #[error(
        "option \"mapping\" needs the names of the fields; \
         give those of a message with option \"columns\""
    )]
    MessageMapping,
    /// A writer's schema of Avro is none that messages can have.
    #[error("the schema cannot be used: {0}")]
    Schema(String),
    /// A column, or a value of it, has no form in Avro.
    #[error("column \"{column}\" cannot be written as Avro: {reason}")]
    NotAvro {
        /// The column.
        column: String,
        /// Why not.
        reason: String,
    },
    /// Messages are written with schemas that are not known yet: ask for them and try again.
    #[error("{}", schemas_missing(.0))]
    SchemasMissing(Vec<u32>),
    /// A column named by an option or a header is not there.
    #[error("column \"{column}\" in option \"{option}\" does not exist; the columns are {columns}")]
    UnknownColumn {
        /// The option that names it.
        option: &'static str,
        /// The name.
        column: String,
        /// The columns there are, separated by commas.
        columns: String,
    },
    /// The first record, or the option `columns`, does not name any column of the stream.
    #[error("{what} names none of the columns {columns}: {header}")]
    Header {
        /// What names the fields.
        what: &'static str,
        /// The columns there are.
        columns: String,
        /// The header as it was read.
        header: String,
    },
    /// The lines do not end as lines do, and all of them would be the header.
    #[error("the header has a carriage return in it; lines end with a line feed, or with both")]
    CarriageReturn,
    /// Two fields have the name under which a column stands: which of them is meant cannot be known.
    #[error("{what} names \"{field}\" twice")]
    NamedTwice {
        /// What names the fields.
        what: &'static str,
        /// The name.
        field: String,
    },
    /// The columns do not make a batch: a promise of ours is broken.
    #[error("decoded columns do not fit together: {0}")]
    Internal(String),
}

fn schemas_missing(ids: &[u32]) -> String {
    let shown: Vec<String> = ids.iter().map(u32::to_string).collect();
    let s = if ids.len() == 1 { "" } else { "s" };
    format!("schema{s} {} of these messages must be learned first", shown.join(", "))
}
