//! Whether the books are right: every claim of `yeoul.sources` is held against what is stored.
//!
//! ```text
//!   books of a source ──┬─▶ received = stored + duplicates + dead letters
//!                       ├─▶ dead letters = those of it in yeoul.dead_letters
//!                       ├─▶ the source dead_letters: received = letters that are marked as replayed
//!                       └─▶ positions: where counting began + all deliveries = where it stands
//!   books of a stream ────▶ stored by all its sources = rows in its tree + rows its retention dropped
//! ```
//!
//! Which row came from which source is not stored, so rows are compared for a stream as a whole. The
//! rows of a part are those that its file has, not those that the manifest says.
//!
//! Not compared: rows of a table, which replace each other, and of a stream that keeps none.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use yeoul_sql::RelationKind;
use yeoul_store::{ScanOptions, TreeSnapshot, scan};

use crate::catalog::{Body, Relation, RelationId, letter_column as column};
use crate::commit::{SourceKey, SourceState};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::letters;
use crate::meta::Counts;
use crate::world::World;

/// The books of one source of one stream, its partitions together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedSource {
    /// The stream or table.
    pub stream: String,
    /// The source.
    pub source: String,
    /// How many partitions it has delivered.
    pub partitions: u64,
    /// Rows and dead letters that came.
    pub received: u64,
    /// Rows stored.
    pub stored: u64,
    /// Rows dropped as duplicates.
    pub duplicates: u64,
    /// Rows kept in `yeoul.dead_letters`.
    pub dead_letters: u64,
}

/// What is stored of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedStream {
    /// The stream or table.
    pub stream: String,
    /// Rows that its sources say are stored.
    pub stored: u64,
    /// Rows in its tree.
    pub rows: u64,
    /// Rows that its retention dropped, if they were counted.
    pub expired: Option<u64>,
    /// Why the three are not compared, if they are not.
    pub not_compared: Option<&'static str>,
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// By stream and source.
    pub sources: Vec<AuditedSource>,
    /// By name.
    pub streams: Vec<AuditedStream>,
    /// What does not add up, a sentence each, naming the source. Empty when everything does.
    pub problems: Vec<String>,
    /// What could not be looked at, and why.
    pub notes: Vec<String>,
}

/// Letters by where they came from, and those put back by stream.
#[derive(Default)]
struct Letters {
    arrived: BTreeMap<(RelationId, String, String), u64>,
    replayed: BTreeMap<RelationId, u64>,
    /// Of streams that have been dropped.
    orphans: u64,
}

impl Engine {
    /// Checks the books of every source against what is stored, as of one commit. Reads the footer of
    /// every part and all keys of dead letters.
    pub fn audit(&self) -> Result<Audit, EngineError> {
        let world = self.shared.world.load_full();
        let mut audit = Audit::default();
        let letters = letters_of(&world, &mut audit)?;
        let mut stored: BTreeMap<RelationId, u64> = BTreeMap::new();
        for (key, state) in world.sources.iter() {
            let Some(relation) = world.catalog.by_id(key.relation) else { continue };
            *stored.entry(key.relation).or_default() += state.counts.stored;
            audit.add(relation, key, state.counts);
            audit.check_counts(relation, key, state.counts);
            audit.check_chain(relation, key, state);
            if let Some(letters) = &letters {
                audit.check_letters(relation, key, state.counts, letters);
            }
        }
        for relation in world.catalog.relations() {
            let tree = world.snapshot.tree(relation.tree());
            let takes =
                !matches!(relation.body, Body::View(_)) && relation.kind != RelationKind::System;
            if let (Some(tree), true) = (tree, takes) {
                let stored = stored.get(&relation.id).copied().unwrap_or(0);
                audit.check_tree(relation, tree, stored)?;
            }
            if let (Some(letters), true) = (&letters, takes) {
                audit.check_unknown(relation, &world, letters);
            }
        }
        Ok(audit)
    }
}

fn place(relation: &Relation, key: &SourceKey) -> String {
    let source = format!("source \"{}\" of \"{}\"", key.source, relation.name);
    if key.partition.is_empty() {
        source
    } else {
        format!("{source}, partition \"{}\"", key.partition)
    }
}

impl Audit {
    fn add(&mut self, relation: &Relation, key: &SourceKey, counts: Counts) {
        let same = |entry: &&mut AuditedSource| {
            entry.stream == relation.name && *entry.source == *key.source
        };
        let entry = match self.sources.iter_mut().find(same) {
            Some(entry) => entry,
            None => {
                self.sources.push(AuditedSource {
                    stream: relation.name.clone(),
                    source: key.source.to_string(),
                    partitions: 0,
                    received: 0,
                    stored: 0,
                    duplicates: 0,
                    dead_letters: 0,
                });
                self.sources.last_mut().expect("one was just added")
            }
        };
        entry.partitions += 1;
        entry.received += counts.received;
        entry.stored += counts.stored;
        entry.duplicates += counts.duplicates;
        entry.dead_letters += counts.dead_letters;
    }

    fn check_counts(&mut self, relation: &Relation, key: &SourceKey, counts: Counts) {
        let Counts { received, stored, duplicates, dead_letters, .. } = counts;
        let sum = stored.checked_add(duplicates).and_then(|sum| sum.checked_add(dead_letters));
        if sum != Some(received) {
            self.problems.push(format!(
                "{}: received {received} is not stored {stored} + duplicates {duplicates} + dead \
                 letters {dead_letters}",
                place(relation, key)
            ));
        }
    }

    fn check_chain(&mut self, relation: &Relation, key: &SourceKey, state: &SourceState) {
        let Some(chain) = state.chain else {
            if state.position > 0 {
                self.notes.push(format!(
                    "{}: its positions were not counted by the version that wrote them",
                    place(relation, key)
                ));
            }
            return;
        };
        let position = state.position;
        if chain.begin.checked_add(chain.covered) != Some(position) {
            self.problems.push(format!(
                "{}: it stands at {position}, and what it delivered from {} on is {} long",
                place(relation, key),
                chain.begin,
                chain.covered
            ));
        } else if chain.gaps > 0 {
            self.problems.push(format!(
                "{}: {} of its deliveries did not begin where the one before ended",
                place(relation, key),
                chain.gaps
            ));
        }
    }

    fn check_letters(
        &mut self,
        relation: &Relation,
        key: &SourceKey,
        counts: Counts,
        letters: &Letters,
    ) {
        let from = (key.relation, key.source.to_string(), key.partition.to_string());
        let kept = letters.arrived.get(&from).copied().unwrap_or(0);
        let dead = counts.dead_letters;
        if kept != dead {
            self.problems.push(format!(
                "{}: its books count {dead} dead letters, yeoul.dead_letters has {kept} of it",
                place(relation, key)
            ));
        }
    }

    /// Letters of sources that have no books, and letters put back that nobody received.
    fn check_unknown(&mut self, relation: &Relation, world: &World, letters: &Letters) {
        let books = || world.sources.iter().filter(|(key, _)| key.relation == relation.id);
        let replayed = letters.replayed.get(&relation.id).copied().unwrap_or(0);
        let received: u64 = books()
            .filter(|(key, _)| &*key.source == letters::SOURCE)
            .map(|(_, state)| state.counts.received)
            .sum();
        if replayed != received {
            self.problems.push(format!(
                "source \"{}\" of \"{}\": it received {received} rows, yeoul.dead_letters has \
                 {replayed} letters marked as replayed",
                letters::SOURCE,
                relation.name
            ));
        }
        for ((id, source, partition), count) in &letters.arrived {
            let same = |key: &SourceKey| *key.source == **source && *key.partition == **partition;
            let known = || books().any(|(key, _)| same(key));
            if *id == relation.id && !known() {
                self.problems.push(format!(
                    "source \"{source}\" of \"{}\", partition \"{partition}\": it has no books, \
                     and yeoul.dead_letters has {count} of it",
                    relation.name
                ));
            }
        }
    }

    fn check_tree(
        &mut self,
        relation: &Relation,
        tree: &TreeSnapshot,
        stored: u64,
    ) -> Result<(), EngineError> {
        for part in tree.parts() {
            // Refuses a file that has not the rows that the manifest says.
            part.metadata()?;
        }
        let (rows, expired) = (tree.rows(), tree.expired_rows());
        let not_compared = match (&relation.body, expired) {
            (Body::Table(_), _) => Some("rows of a table replace each other"),
            _ if !relation.keeps_rows() => Some("its retention is zero, so no rows are kept"),
            (_, None) => Some("an earlier version did not count what retention dropped"),
            _ => None,
        };
        if let (None, Some(gone)) = (not_compared, expired)
            && rows.checked_add(gone) != Some(stored)
        {
            let books: Vec<String> = self
                .sources
                .iter()
                .filter(|entry| entry.stream == relation.name)
                .map(|entry| format!("\"{}\" {}", entry.source, entry.stored))
                .collect();
            self.problems.push(format!(
                "stream \"{}\": its sources say that {stored} rows are stored ({}), its tree has {rows} \
                 and its retention dropped {gone}",
                relation.name,
                if books.is_empty() { "there are none".to_owned() } else { books.join(", ") }
            ));
        }
        let stream = relation.name.clone();
        self.streams.push(AuditedStream { stream, stored, rows, expired, not_compared });
        Ok(())
    }
}

/// `None` when the letters of the folder have no keys.
fn letters_of(world: &World, audit: &mut Audit) -> Result<Option<Letters>, EngineError> {
    let Ok((tree, _)) = letters::keyed(world) else {
        audit.notes.push(
            "dead letters are not compared: this folder was written before they had ids; start it \
             once with \"yeoul run\""
                .to_owned(),
        );
        return Ok(None);
    };
    let projection = vec![
        column::STREAM,
        column::SOURCE,
        column::PARTITION,
        column::COMMIT,
        column::REPLAYED_COMMIT,
    ];
    let options = ScanOptions { projection: Some(projection), ..ScanOptions::default() };
    let mut letters = Letters::default();
    for batch in scan(tree, options)? {
        letters.count(&batch?, world);
    }
    if letters.orphans > 0 {
        audit.notes.push(format!(
            "{} dead letters are of streams that were dropped; nobody has books of them",
            letters.orphans
        ));
    }
    Ok(Some(letters))
}

impl Letters {
    fn count(&mut self, batch: &RecordBatch, world: &World) {
        let text = |at: usize, row: usize| batch.column(at).as_string_view().value(row);
        let number = |at: usize, row: usize| {
            batch.column(at).as_primitive::<Int64Type>().value(row).unsigned_abs()
        };
        for row in 0..batch.num_rows() {
            // A stream made anew under the same name has new books.
            let relation = world.catalog.get(text(0, row));
            let since = |commit: u64| relation.filter(|relation| commit >= relation.created.0);
            match since(number(3, row)) {
                Some(relation) => {
                    let from = (relation.id, text(1, row).to_owned(), text(2, row).to_owned());
                    *self.arrived.entry(from).or_default() += 1;
                }
                None => self.orphans += 1,
            }
            if batch.column(4).is_valid(row)
                && let Some(relation) = since(number(4, row))
            {
                *self.replayed.entry(relation.id).or_default() += 1;
            }
        }
    }
}
