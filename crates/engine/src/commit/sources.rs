//! Where every partition of every source stands, and what came from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::RelationId;
use crate::delivery::Position;
use crate::error::{EngineError, ErrorKind};
use crate::meta::{Chain, Counts, SourceMeta};

/// A partition of a source of a relation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceKey {
    pub relation: RelationId,
    pub source: Arc<str>,
    pub partition: Arc<str>,
}

/// Position and counts of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceState {
    pub position: u64,
    /// `None` for a partition that never delivered with a position.
    pub chain: Option<Chain>,
    pub counts: Counts,
}

/// What to do with a delivery, by its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is the next one.
    Next,
    /// It was committed before: there is nothing to do.
    Repeated,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(BTreeMap<SourceKey, SourceState>);

impl Sources {
    /// The state of a partition; zero before its first delivery.
    pub(crate) fn get(&self, key: &SourceKey) -> SourceState {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// Whether it has ever delivered.
    pub(crate) fn has(&self, key: &SourceKey) -> bool {
        self.0.contains_key(key)
    }

    /// Whose turn it is: see [`Position`].
    pub(crate) fn turn(
        &self,
        key: &SourceKey,
        position: Option<Position>,
    ) -> Result<Turn, EngineError> {
        let Some(position) = position else { return Ok(Turn::Next) };
        let stands = self.get(key).position;
        if position.to <= stands && position.from < stands {
            return Ok(Turn::Repeated);
        }
        if position.from == stands {
            return Ok(Turn::Next);
        }
        Err(EngineError::new(
            ErrorKind::Conflict,
            format!(
                "source \"{}\" delivered {} to {} of \"{}\", which stands at {stands}",
                key.source, position.from, position.to, key.partition
            ),
        )
        .with_hint("the source resumes at the stored position"))
    }

    /// Takes note of a delivery.
    pub(crate) fn note(&mut self, key: SourceKey, position: Option<Position>, counts: Counts) {
        let state = self.0.entry(key).or_default();
        if let Some(position) = position {
            // An earlier program may have brought it where it stands.
            let begin = state.position;
            let chain = state.chain.get_or_insert(Chain { begin, ..Chain::default() });
            chain.covered += position.to.saturating_sub(position.from);
            chain.gaps += u64::from(position.from != state.position);
            state.position = position.to;
        }
        state.counts.received += counts.received;
        state.counts.stored += counts.stored;
        state.counts.duplicates += counts.duplicates;
        state.counts.dead_letters += counts.dead_letters;
        state.counts.late += counts.late;
    }

    /// Forgets those of dropped relations.
    pub(crate) fn drop_relations(&mut self, ids: &[RelationId]) {
        self.0.retain(|key, _| !ids.contains(&key.relation));
    }

    /// All partitions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SourceKey, &SourceState)> {
        self.0.iter()
    }

    /// For the manifest.
    pub(crate) fn to_meta(&self) -> Vec<SourceMeta> {
        self.iter()
            .map(|(key, state)| SourceMeta {
                relation: key.relation.0,
                source: key.source.to_string(),
                partition: key.partition.to_string(),
                position: state.position,
                chain: state.chain,
                counts: state.counts,
            })
            .collect()
    }

    /// From the manifest.
    pub(crate) fn from_meta(meta: &[SourceMeta]) -> Self {
        let entry = |m: &SourceMeta| {
            let key = SourceKey {
                relation: RelationId(m.relation),
                source: m.source.as_str().into(),
                partition: m.partition.as_str().into(),
            };
            (key, SourceState { position: m.position, chain: m.chain, counts: m.counts })
        };
        Self(meta.iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_taken_once_and_gaps_are_refused() {
        let key =
            SourceKey { relation: RelationId(1), source: "file".into(), partition: "a".into() };
        let mut sources = Sources::default();
        let at = |from, to| Some(Position { from, to });
        assert_eq!(sources.turn(&key, at(0, 10)).expect("first"), Turn::Next);
        sources.note(
            key.clone(),
            at(0, 10),
            Counts { received: 10, stored: 10, ..Counts::default() },
        );
        assert_eq!(sources.turn(&key, at(0, 10)).expect("again"), Turn::Repeated);
        assert_eq!(sources.turn(&key, at(10, 10)).expect("empty"), Turn::Next);
        assert!(sources.turn(&key, at(5, 15)).is_err());
        assert!(sources.turn(&key, at(11, 15)).is_err());
        let chain = Chain { begin: 0, covered: 10, gaps: 0 };
        assert_eq!(sources.get(&key).chain, Some(chain));
        // Only a damaged log has one that does not follow; it is not forgotten.
        sources.note(key.clone(), at(12, 15), Counts::default());
        assert_eq!(sources.get(&key).chain, Some(Chain { covered: 13, gaps: 1, ..chain }));
        assert_eq!(Sources::from_meta(&sources.to_meta()).get(&key), sources.get(&key));
    }
}
