//! The metadata of a column that tells SQL types apart whose Arrow type is the same.

/// The key of the metadata that names the SQL type.
pub const TYPE_KEY: &str = "yeoul.type";
/// The value of [`TYPE_KEY`] for `jsonb`.
pub const JSONB: &str = "jsonb";
/// The value of [`TYPE_KEY`] for `uuid`.
pub const UUID: &str = "uuid";
/// The key of the metadata that holds the n of `varchar(n)`: how many characters a value may have.
pub const LENGTH_KEY: &str = "yeoul.length";
