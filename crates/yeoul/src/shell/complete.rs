//! Tab completion: SQL words, functions of the field, and the relations and columns there are.

use std::sync::{Arc, PoisonError, RwLock};

use reedline::{Completer, CompletionResult, Span, Suggestion};

/// The words of the language that are worth completing.
const WORDS: [&str; 96] = [
    "ALL",
    "AND",
    "APPEND",
    "ARRAY",
    "AS",
    "ASC",
    "BETWEEN",
    "BIGINT",
    "BOOLEAN",
    "BY",
    "CASE",
    "CAST",
    "CREATE",
    "CROSS",
    "CUMULATE",
    "DATE",
    "DECIMAL",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DOUBLE PRECISION",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL",
    "GROUP BY",
    "HAVING",
    "HOP",
    "IF EXISTS",
    "IF NOT EXISTS",
    "IN",
    "INNER",
    "INSERT INTO",
    "INT",
    "INTERVAL",
    "IS",
    "JOIN",
    "JSONB",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MATERIALIZED",
    "MATERIALIZED VIEW",
    "NOT",
    "NULL",
    "NULLS FIRST",
    "NULLS LAST",
    "NUMERIC",
    "OFFSET",
    "ON",
    "ONLY",
    "OR",
    "ORDER BY",
    "OVER",
    "PARTITION BY",
    "PRIMARY KEY",
    "REAL",
    "RIGHT",
    "SELECT",
    "SET",
    "SHOW STREAMS",
    "SHOW TABLES",
    "SHOW VIEWS",
    "STREAM",
    "TABLE",
    "THEN",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "TRUE",
    "TUMBLE",
    "UNION ALL",
    "UPDATE",
    "USING",
    "VALUES",
    "VARCHAR",
    "VIEW",
    "WATERMARK FOR",
    "WHEN",
    "WHERE",
    "WITH",
    "approx_count_distinct(",
    "approx_percentile(",
    "count(",
    "ctr(",
    "date_trunc(",
    "sum(",
    "wilson_lower(",
    "wilson_upper(",
];

/// Names that come and go: relations and their columns.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<RwLock<Vec<String>>>);

impl Names {
    /// These are the names from now on.
    pub(super) fn set(&self, names: Vec<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = names;
    }
}

/// Completes the word before the cursor.
pub(super) struct WordCompleter {
    names: Names,
}

impl WordCompleter {
    pub(super) fn new(names: Names) -> Self {
        Self { names }
    }

    /// The completions of the word before `pos`, and where it begins.
    fn candidates(&self, line: &str, pos: usize) -> (usize, Vec<String>) {
        let before = line.get(..pos).unwrap_or(line);
        let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let begin = before
            .rfind(|c: char| !part(c))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let word = &before[begin..];
        if word.is_empty() {
            return (begin, Vec::new());
        }
        let starts = |candidate: &str| {
            candidate.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
        };
        let names = self.names.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<String> = names.iter().filter(|n| starts(n)).cloned().collect();
        // A person who writes small letters gets small letters.
        let small = !word.chars().any(char::is_uppercase);
        let words = WORDS.iter().filter(|w| starts(w));
        found.extend(words.map(|w| if small { w.to_lowercase() } else { (*w).to_owned() }));
        (begin, found)
    }
}

impl Completer for WordCompleter {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let (begin, found) = self.candidates(line, pos);
        let suggestions: Vec<Suggestion> = found
            .into_iter()
            .map(|value| Suggestion {
                append_whitespace: !value.ends_with('('),
                value,
                span: Span::new(begin, pos),
                ..Suggestion::default()
            })
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names_are_completed() {
        let names = Names::default();
        names.set(vec!["ctr_1m".into(), "yeoul.streams".into()]);
        let completer = WordCompleter::new(names);
        let found = |line: &str| completer.candidates(line, line.len());
        assert_eq!(found("sel"), (0, vec!["select".into()]));
        assert_eq!(found("SELECT * FROM ct"), (14, vec!["ctr_1m".into(), "ctr(".into()]));
        assert_eq!(found("SELECT * FROM yeoul.s"), (14, vec!["yeoul.streams".into()]));
        assert_eq!(found("SELECT é").1, Vec::<String>::new());
        assert_eq!(found(""), (0, Vec::new()));
    }
}
