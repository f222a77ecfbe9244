//! The state of one commit as a checkpoint will write it, if it is that commit's turn. Made with every
//! commit, so it only shares; the writing happens when the store asks, in the background.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use yeoul_store::{SeenRunMeta, Store, StoreError};

use crate::catalog::{Catalog, RelationId, layout};
use crate::duplicates::Duplicates;
use crate::meta::{BuildFunctionMeta, Meta, MoveMeta, PartitionMeta, RelationMeta, VersionMeta};

use super::alter::HistoryRecord;
use super::sinks::SinkState;
use super::sources::Sources;
use super::state::State;
use super::stream::StreamState;
use super::views::Build;

/// See the module.
pub(crate) struct MetaAt {
    catalog: Arc<Catalog>,
    sources: Arc<Sources>,
    next_relation: u32,
    next_tree: u32,
    building: Vec<RelationId>,
    newest_us: Vec<(RelationId, i64)>,
    partitions: Vec<(RelationId, Vec<PartitionMeta>)>,
    active_us: Vec<(RelationId, i64)>,
    closed_us: Vec<(RelationId, i64)>,
    sinks: BTreeMap<RelationId, SinkState>,
    time_us: i64,
    duplicates: Option<Arc<Duplicates>>,
    store: Weak<Store>,
}

impl MetaAt {
    pub(crate) fn new(state: &State) -> Self {
        let unready = |build: &Build| !matches!(build, Build::Ready);
        Self {
            catalog: Arc::clone(&state.catalog),
            sources: Arc::clone(&state.sources),
            next_relation: state.next_relation,
            next_tree: state.next_tree,
            building: state
                .views
                .iter()
                .filter(|(_, view)| unready(&view.build))
                .map(|(id, _)| *id)
                .collect(),
            newest_us: state
                .streams
                .iter()
                .filter_map(|(id, stream)| Some((*id, stream.reached_us(state.time_us)?)))
                .collect(),
            partitions: state
                .streams
                .iter()
                .map(|(id, stream)| {
                    (*id, stream.partitions().iter().map(PartitionMeta::of).collect())
                })
                .collect(),
            active_us: state
                .streams
                .iter()
                .filter_map(|(id, stream)| Some((*id, StreamState::active_us(stream)?)))
                .collect(),
            closed_us: state
                .views
                .iter()
                .filter_map(|(id, view)| Some((*id, view.clock.closed_us?)))
                .collect(),
            sinks: state.sinks.clone(),
            time_us: state.time_us,
            duplicates: state.duplicates.clone(),
            store: Arc::downgrade(&state.store),
        }
    }

    fn meta(&self) -> Meta {
        let of = |times: &[(RelationId, i64)], id: RelationId| {
            times.iter().find(|(other, _)| *other == id).map(|(_, time)| *time)
        };
        let partitions_of = |id: RelationId| {
            let found = self.partitions.iter().find(|(of, _)| *of == id);
            found.map_or_else(Vec::new, |(_, partitions)| partitions.clone())
        };
        let relations: Vec<RelationMeta> = self
            .catalog
            .in_order()
            .iter()
            .map(|relation| RelationMeta {
                id: relation.id.0,
                name: relation.name.clone(),
                sql: relation.sql.clone(),
                trees: relation.trees.iter().map(|tree| tree.id.0).collect(),
                created: relation.created.0,
                building: self.building.contains(&relation.id),
                layout: layout(relation),
                version: self.catalog.version(relation.id).map(|version| VersionMeta {
                    replaces: version.replaces.0,
                    build: version.build.0,
                }),
                history: HistoryRecord::of(&relation.history),
                newest_us: of(&self.newest_us, relation.id),
                partitions: partitions_of(relation.id),
                active_us: of(&self.active_us, relation.id),
                closed_us: of(&self.closed_us, relation.id),
                sink: self.sinks.get(&relation.id).cloned(),
            })
            .collect();
        Meta {
            version: Meta::version_of(&relations),
            next_relation: self.next_relation,
            next_tree: self.next_tree,
            functions: self.catalog.functions().all().map(|f| f.sql.clone()).collect(),
            time_us: (self.time_us != 0).then_some(self.time_us),
            relations,
            sources: self.sources.to_meta(),
            build_functions: self
                .catalog
                .builds()
                .iter()
                .flat_map(|build| {
                    let functions = self.catalog.functions_of(*build).iter();
                    functions.map(|f| BuildFunctionMeta { build: build.0, sql: f.sql.clone() })
                })
                .collect(),
            moves: self
                .catalog
                .moves()
                .map(|(to, version)| MoveMeta {
                    from: version.replaces.0,
                    to: to.0,
                    build: version.build.0,
                })
                .collect(),
        }
    }
}

impl yeoul_store::Meta for MetaAt {
    fn encode(&self) -> Vec<u8> {
        self.meta().encode()
    }

    fn seen_runs(
        &self,
        carried: &[SeenRunMeta],
        _number: &mut dyn FnMut() -> u64,
    ) -> Result<Vec<SeenRunMeta>, StoreError> {
        match (&self.duplicates, self.store.upgrade()) {
            (Some(duplicates), Some(store)) => duplicates.checkpoint_runs(&store),
            _ => Ok(carried.to_vec()),
        }
    }

    fn checkpointed(&self) {
        if let Some(duplicates) = &self.duplicates {
            duplicates.checkpointed();
        }
    }
}
