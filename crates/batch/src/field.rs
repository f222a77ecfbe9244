//! The metadata of a column that tells SQL types apart whose Arrow type is the same.

/// The key of the metadata that names the SQL type.
pub const TYPE_KEY: &str = "yeoul.type";
/// The value of [`TYPE_KEY`] for `jsonb`.
pub const JSONB: &str = "jsonb";
/// The value of [`TYPE_KEY`] for `uuid`.
pub const UUID: &str = "uuid";
/// The key of the metadata that holds the n of `varchar(n)`: how many characters a value may have.
pub const LENGTH_KEY: &str = "yeoul.length";
/// The key of the metadata that every column of an altered relation has: the names that the column had in
/// older parts, separated by [`WAS_SEPARATOR`]; mostly none. A name never comes back as that of another
/// column.
pub const WAS_KEY: &str = "yeoul.was";
/// See [`WAS_KEY`].
pub const WAS_SEPARATOR: char = '\u{1f}';
/// The key of the metadata of a column that older parts do not have: the value of their rows as text, or
/// [`ADDED_NULL`].
pub const ADDED_KEY: &str = "yeoul.added";
/// The value of [`ADDED_KEY`] for NULL: no text of a value is this character.
pub const ADDED_NULL: &str = "\u{0}";
