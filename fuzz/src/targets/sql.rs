//! SQL text: statements, or an error that points into the text.

/// Parses statements.
pub fn sql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(statements) = yeoul_sql::parse(text) {
        assert!(statements.len() <= text.len(), "sql: statements are made of text");
    }
    let _ = yeoul_sql::parse_query(text);
}
