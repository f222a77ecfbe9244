//! `yeoul audit`: whether the books of a stopped instance are right, source by source, against what is
//! stored: rows, dead letters, positions.

use std::path::Path;

use yeoul_engine::{Audit, AuditedStream};

use crate::demo::screen::grouped;
use crate::failure::{Exit, Failure};
use crate::say::say;
use crate::shell::{Column, Kind, open_stopped, table};

/// Runs the command.
pub(crate) fn run(data: &Path) -> Result<Exit, Failure> {
    let audit = open_stopped(data)?.audit()?;
    show(&audit);
    if audit.problems.is_empty() {
        say!("every source balances: received = stored + duplicates + dead letters");
        return Ok(Exit::Success);
    }
    let count = audit.problems.len();
    let lines = audit.problems.join("\n");
    let message = format!("the books do not balance, {count} times\n{lines}");
    Err(Failure::with(Exit::Unbalanced, message))
}

fn show(audit: &Audit) {
    let number = |count: u64| grouped(count);
    let sources = audit.sources.iter().map(|s| {
        vec![
            s.stream.clone(),
            s.source.clone(),
            number(s.partitions),
            number(s.received),
            number(s.stored),
            number(s.duplicates),
            number(s.dead_letters),
        ]
    });
    print(
        &["stream", "source", "partitions", "received", "stored", "duplicates", "dead letters"],
        &sources.collect::<Vec<_>>(),
        2,
    );
    let streams = audit.streams.iter().map(|s| {
        let expired = s.expired.map_or_else(|| "not known".to_owned(), number);
        vec![s.stream.clone(), number(s.stored), number(s.rows), expired, verdict(s)]
    });
    print(
        &[
            "stream",
            "stored by its sources",
            "rows in its tree",
            "dropped by retention",
            "compared",
        ],
        &streams.collect::<Vec<_>>(),
        1,
    );
    for note in &audit.notes {
        say!("note: {note}");
    }
}

fn verdict(stream: &AuditedStream) -> String {
    match stream.not_compared {
        Some(why) => format!("no: {why}"),
        None if stream.expired.map(|gone| gone + stream.rows) == Some(stream.stored) => {
            "equal".into()
        }
        None => "NOT EQUAL".into(),
    }
}

/// A table whose first columns are text.
fn print(names: &[&str], rows: &[Vec<String>], texts: usize) {
    if rows.is_empty() {
        return;
    }
    let kind = |at: usize, name: &str| {
        if at < texts || name == "compared" { Kind::Text } else { Kind::Number }
    };
    let columns = names.iter().enumerate();
    let columns: Vec<Column> = columns
        .map(|(at, name)| Column { name: (*name).to_owned(), kind: kind(at, name) })
        .collect();
    say!("{}", table(&columns, rows));
}
