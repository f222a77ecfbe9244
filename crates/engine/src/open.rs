//! Opening a data folder: the catalog from the manifest, the trees, the log behind it.
//!
//! What must hold: replay goes through [`State::apply`] and [`State::install`], the code of live
//! commits; views that were not complete are built anew from empty trees.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use yeoul_batch::{CommitId, TreeId};
use yeoul_flow::{CacheBudget, Limits, Workers};
use yeoul_store::{
    DiskMedia, LogOptions, LogRecord, Media, Opening, RuleKind, Store, StoreOptions, TreeManifest,
    decode_batch,
};

use crate::catalog::{
    Body, BuildId, Catalog, Definer, LATE_ROWS, Relation, RelationId, Version, ViewBody,
    build_graph, dead_letters, dead_letters_without_key, late_rows, layout, logged_letters,
};
use crate::commit::{
    Arrived, Build, BuildStatus, CommitRows, DEAD_LETTERS, Definition, Late, MoveRecord, SourceKey,
    Sources, State, StreamState, VersionRecord, ViewClock, ViewState, add_late_rows, as_written,
    stopped_source, without, written_schema,
};
use crate::duplicates::Duplicates;
use crate::engine::Recovery;
use crate::error::{EngineError, ErrorKind};
use crate::meta::{BuildFunctionMeta, Counts, Meta, MoveMeta, PartitionMeta, RelationMeta};
use crate::options::EngineOptions;
use crate::planning::Planning;
use crate::record::{CommitRecord, DeliveryRecord};

/// The tree of `yeoul.dead_letters`.
const DEAD_LETTERS_TREE: u32 = 0;

/// How many trees are made between two checkpoints at most.
const SPARE_TREES: u32 = 1 << 20;

/// The data folder as a place for bytes.
pub(crate) fn media(dir: &Path, read_only: bool) -> Result<Arc<dyn Media>, EngineError> {
    let media = if read_only { DiskMedia::read_only(dir) } else { DiskMedia::open(dir) };
    Ok(Arc::new(media?))
}

/// Opens the store in `media` and brings its state to the last commit.
pub(crate) fn open(
    media: Arc<dyn Media>,
    options: &EngineOptions,
    planning: &Planning,
    read_only: bool,
    progress: &mut dyn FnMut(Recovery),
) -> Result<State, EngineError> {
    let store_options = StoreOptions {
        log: LogOptions { sync: options.sync, ..LogOptions::default() },
        memory_bytes_max: options.memory_bytes_max,
        read_only,
        ..StoreOptions::default()
    };
    let (store, mut opening) = Store::open(Arc::clone(&media), store_options)?;
    if let Some(torn) = opening.torn() {
        tracing::warn!("the last record of the log was not complete and is cut: {torn:?}");
    }
    let store = Arc::new(store);
    let duplicates = if read_only {
        None
    } else {
        let memory = options.seen_bytes_max;
        Some(Arc::new(Duplicates::open(media, opening.seen_runs(), memory)?))
    };
    let mut state = State {
        store: Arc::clone(&store),
        workers: Workers::new(options.workers),
        limits: Limits {
            caches: CacheBudget::new(options.cache_bytes_max),
            change_bytes_max: options.change_bytes_max,
            ..Limits::default()
        },
        commit: opening.commit(),
        time_us: 0,
        catalog: Arc::new(Catalog::default()),
        streams: Default::default(),
        tables: Default::default(),
        last_replay: CommitId(0),
        views: Default::default(),
        sinks: Default::default(),
        sources: Arc::new(Sources::default()),
        next_relation: DEAD_LETTERS.0 + 1,
        next_tree: DEAD_LETTERS_TREE + 1,
        spare_tree: DEAD_LETTERS_TREE + 1 + SPARE_TREES,
        ripe: Default::default(),
        given_up: Default::default(),
        duplicates,
    };
    load(&mut state, &opening, planning)?;
    replay(&mut state, &mut opening, planning, progress)?;
    if !read_only {
        crate::letters::give_keys(&mut state)?;
        add_late_rows(&mut state)?;
        state.note_kept()?;
        store.start()?;
    }
    Ok(state)
}

/// The catalog as of the manifest.
fn load(state: &mut State, opening: &Opening, planning: &Planning) -> Result<(), EngineError> {
    if opening.meta().is_empty() {
        let letters = dead_letters(DEAD_LETTERS, TreeId(DEAD_LETTERS_TREE));
        state.store.create_tree(letters.trees[0].clone())?;
        state.add(Arc::new(letters), None);
        return Ok(());
    }
    let meta = Meta::decode(opening.meta())?;
    let known = meta.relations.iter().find(|known| known.id == DEAD_LETTERS.0);
    let tree = known.and_then(|known| known.trees.first()).copied().unwrap_or(DEAD_LETTERS_TREE);
    let is_old =
        |tree: &TreeManifest| tree.id.0 == DEAD_LETTERS_TREE && tree.rule == RuleKind::Keep;
    let letters = if tree == DEAD_LETTERS_TREE && opening.trees().iter().any(is_old) {
        dead_letters_without_key(DEAD_LETTERS, TreeId(tree))
    } else {
        dead_letters(DEAD_LETTERS, TreeId(tree))
    };
    state.store.attach_tree(letters.trees[0].clone())?;
    state.add(Arc::new(letters), None);
    state.sources = Arc::new(Sources::from_meta(&meta.sources));
    state.next_relation = meta.next_relation;
    state.next_tree = meta.next_tree;
    state.spare_tree = meta.next_tree.saturating_add(SPARE_TREES);
    for sql in &meta.functions {
        state.add_function(planning, sql)?;
    }
    let mut builds: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for BuildFunctionMeta { build, sql } in meta.build_functions {
        builds.entry(build).or_default().push(sql);
    }
    for (build, functions) in builds {
        state.note_functions(planning, BuildId(build), &functions)?;
    }
    state.time_us = meta.time_us.unwrap_or_default();
    for known in &meta.relations {
        if known.id == LATE_ROWS.0 {
            let late = late_rows(TreeId(known.trees.first().copied().unwrap_or_default()));
            state.store.attach_tree(late.trees[0].clone())?;
            state.add(Arc::new(late), None);
        } else if known.id != DEAD_LETTERS.0 {
            load_relation(state, known, planning)?;
        }
    }
    for MoveMeta { from, to, build } in meta.moves {
        state.note_moves(BuildId(build), &[MoveRecord { from, to }]);
    }
    Ok(())
}

/// How a view that was not complete goes on: it is built from what is stored, unless that would be
/// wrong and not say so.
fn build_anew(state: &State, body: &ViewBody) -> Build {
    let failed = |why| {
        let status = BuildStatus { failed: Mutex::new(Some(why)), ..Default::default() };
        Build::Failed(Arc::new(status))
    };
    for source in body.inputs().filter_map(|(_, id, _)| state.catalog.by_id(id)) {
        let name = &source.name;
        if !source.keeps_rows() {
            return failed(format!(
                "it had stopped before, and cannot be built again because stream \"{name}\" keeps no rows"
            ));
        }
        let view = state.views.get(&source.id);
        if view.is_some_and(|view| matches!(view.build, Build::Failed(_))) {
            return failed(stopped_source(name));
        }
    }
    Build::Waiting(Arc::new(BuildStatus::default()))
}

/// What another version of the program has defined and this one refuses: the folder is not opened, so that nothing of
/// it is lost.
fn undefined(name: &str, error: EngineError) -> EngineError {
    let message =
        format!("this version of Yeoul refuses what defines \"{name}\": {}", error.message);
    let hint = format!(
        "start the data folder with the version of Yeoul that wrote it, and replace or drop \"{name}\" there"
    );
    EngineError { message, hint: Some(hint), ..error }
}

/// Whether a view's trees are not what this program makes of it, or it reads a view that is built anew.
fn is_outdated(state: &State, known: &RelationMeta, relation: &Relation) -> bool {
    let Body::View(body) = &relation.body else { return false };
    let other = match &known.layout {
        Some(known) => layout(relation).is_some_and(|layout| layout != *known),
        // Programs before the first that says it.
        None => known.trees.len() != relation.trees.len(),
    };
    let unready = |view: &ViewState| !matches!(view.build, Build::Ready);
    other || body.inputs().any(|(_, id, _)| state.views.get(&id).is_some_and(unready))
}

/// Refuses to build a view anew whose state is all that there is of some rows.
fn check_rebuild(state: &State, relation: &Relation) -> Result<(), EngineError> {
    let Body::View(body) = &relation.body else { return Ok(()) };
    let mut sources = body.inputs().filter_map(|(_, id, _)| state.catalog.by_id(id));
    let Some(stream) = sources.find(|source| !source.keeps_rows()) else { return Ok(()) };
    let message = format!(
        "view \"{}\" was kept by another version of Yeoul in another form, and cannot be built again because stream \
         \"{}\" keeps no rows",
        relation.name, stream.name
    );
    Err(EngineError::new(ErrorKind::Input, message).with_hint(
        "start the data folder with the version of Yeoul that wrote it, and copy or drop the view there",
    ))
}

/// A relation of the manifest. A view that was not complete, or was kept in another form, gets its trees empty and
/// waits to be built. They keep their numbers: the next free ones may be taken by a definition in the log.
fn load_relation(
    state: &mut State,
    known: &RelationMeta,
    planning: &Planning,
) -> Result<(), EngineError> {
    let created = CommitId(known.created);
    let version = known.version.as_ref().map(|version| Version {
        replaces: RelationId(version.replaces),
        build: BuildId(version.build),
    });
    let relation = match &version {
        Some(Version { replaces, build }) => {
            let (id, replaces) = (known.id, replaces.0);
            let (sql, trees) = (known.sql.clone(), known.trees.clone());
            let record = VersionRecord { id, replaces, sql, trees };
            state.version(planning, &record, *build, created)?
        }
        None => {
            let statement = planning.statement(&known.sql)?;
            let (id, trees) = (RelationId(known.id), known.trees.as_slice());
            let history = known.history.as_ref().map(|h| Arc::new(h.history())).unwrap_or_default();
            let catalog = Arc::clone(&state.catalog);
            let definer = Definer { catalog: &catalog, planning, id, created, history };
            let defined = state.define_by(&definer, &statement, &known.sql, Some(trees));
            defined.map_err(|error| undefined(&known.name, error))?
        }
    };
    let relation = Arc::new(relation);
    let mut building = known.building;
    if !building && is_outdated(state, known, &relation) {
        check_rebuild(state, &relation)?;
        tracing::info!(
            "view \"{}\" is built anew: another version of the program kept it in another form",
            relation.name
        );
        building = true;
    }
    for tree in &relation.trees {
        if building {
            state.store.create_tree(tree.clone())?;
        } else {
            state.store.attach_tree(tree.clone())?;
        }
    }
    let stream = match &relation.body {
        Body::Stream(body) => {
            let seen = state.open_seen(relation.id, body)?;
            let partitions = known.partitions.iter().map(PartitionMeta::time).collect();
            let state = StreamState::new(body, seen).resume(known.newest_us, partitions);
            Some(state.active_at(known.active_us))
        }
        _ => None,
    };
    match version {
        Some(version) => {
            state.catalog = Arc::new(state.catalog.with_version(Arc::clone(&relation), version));
        }
        None => state.add(Arc::clone(&relation), stream),
    }
    load_view(state, known, &relation, building)
}

/// How a view of the manifest goes on.
fn load_view(
    state: &mut State,
    known: &RelationMeta,
    relation: &Arc<Relation>,
    building: bool,
) -> Result<(), EngineError> {
    let Body::View(body) = &relation.body else { return Ok(()) };
    let (mut graph, _) = build_graph(&body.plan, &state.limits)?;
    graph.follow(body.sink.is_some());
    let stopped = state.load_sink(relation.id, known.sink.as_ref(), building);
    let build = match stopped {
        Some(stopped) => stopped,
        None if building => build_anew(state, body),
        None => Build::Ready,
    };
    let closed_us = known.closed_us.filter(|_| !building);
    let clock = ViewClock { closed_us, ..ViewClock::default() };
    let view = ViewState { relation: Arc::clone(relation), graph, build, clock, begun: None };
    if view.is_stepped() {
        for (source, _) in &body.sources {
            if let Some(source) = state.views.get_mut(source) {
                source.graph.follow(true);
            }
        }
    }
    state.views.insert(relation.id, view);
    Ok(())
}

fn replay(
    state: &mut State,
    opening: &mut Opening,
    planning: &Planning,
    progress: &mut dyn FnMut(Recovery),
) -> Result<(), EngineError> {
    let mut commits = 0;
    loop {
        let next = opening.replay().next();
        let Some(record) = next else { return Ok(()) };
        replay_record(state, &record?, planning)?;
        let at = opening.progress();
        commits += 1;
        let (done_bytes, total_bytes) = (at.bytes_read, at.bytes_total);
        progress(Recovery { commits, done_bytes, total_bytes });
    }
}

fn replay_record(
    state: &mut State,
    logged: &LogRecord,
    planning: &Planning,
) -> Result<(), EngineError> {
    let record = CommitRecord::decode(logged)?;
    let mut rows = CommitRows::default();
    for delivery in &record.deliveries {
        replay_delivery(state, delivery, logged.at_us, &mut rows)?;
    }
    for written in &record.tables {
        let id = RelationId(written.relation);
        let relation = relation(state, id)?;
        let batch = decode_batch(&written_schema(&relation), written.rows.clone())?;
        rows.tables.push((id, batch));
    }
    let mut batches = if record.steps_views() {
        state.apply(logged.commit, logged.at_us, rows)?
    } else {
        Vec::new()
    };
    for definition in &record.definitions {
        state.time_us = state.time_us.max(logged.at_us);
        let definition = Definition::decode(definition)?;
        batches.extend(state.replay_definition(planning, logged.commit, &definition)?);
    }
    state.commit = logged.commit;
    state.publish(batches)
}

fn relation(state: &State, id: RelationId) -> Result<Arc<Relation>, EngineError> {
    state.catalog.by_id(id).cloned().ok_or_else(|| {
        EngineError::new(
            ErrorKind::Internal,
            format!("the log has rows of unknown relation {}", id.0),
        )
        .with_hint("restore the data folder from a backup")
    })
}

fn replay_delivery(
    state: &mut State,
    delivery: &DeliveryRecord,
    at_us: i64,
    rows: &mut CommitRows,
) -> Result<(), EngineError> {
    let id = RelationId(delivery.relation);
    let relation = relation(state, id)?;
    let key = SourceKey {
        relation: id,
        source: delivery.source.as_str().into(),
        partition: delivery.partition.as_str().into(),
    };
    let schema = match delivery.changes {
        true => written_schema(&relation),
        false => Arc::clone(&relation.schema),
    };
    let accepted = match &delivery.rows {
        Some(encoded) => without(&decode_batch(&schema, encoded.clone())?, &delivery.dropped)?,
        None => RecordBatch::new_empty(schema),
    };
    let stored = accepted.num_rows() as u64;
    let now_us = state.time_us.max(at_us);
    if let Some(stream) = state.streams.get_mut(&id) {
        stream.remember(&relation, &accepted, at_us)?;
        let (_, too_late) = stream.observe(&key, delivery.pace, &accepted, now_us)?;
        rows.late.extend(Late::of(&relation, &key.source, &key.partition, &too_late, at_us));
    }
    match &relation.body {
        Body::Table(_) if delivery.changes => rows.tables.push((id, accepted)),
        Body::Table(_) => rows.tables.push((id, as_written(&accepted, &relation)?)),
        _ => rows.streams.push((id, accepted)),
    }
    let mut dead_letters = 0;
    if let Some(encoded) = &delivery.dead {
        let letters = decode_batch(logged_letters(), encoded.clone())?;
        dead_letters = letters.num_rows() as u64;
        let format = delivery.format.as_deref().map(Arc::from);
        rows.dead.push(Arrived { rows: letters, format });
    }
    if let Some(encoded) = &delivery.replayed {
        let letters = self::relation(state, DEAD_LETTERS)?;
        rows.returned.push(decode_batch(&letters.schema, encoded.clone())?);
    }
    let counts = Counts {
        received: u64::from(delivery.received) + dead_letters,
        stored,
        duplicates: u64::from(delivery.received) - stored,
        dead_letters,
        late: u64::from(delivery.late),
    };
    Arc::make_mut(&mut state.sources).note(key, delivery.position, counts);
    if let (Some(key), Some(duplicates)) = (delivery.idempotency, &state.duplicates) {
        duplicates.requests()?.lock().insert(&[key], at_us)?;
    }
    Ok(())
}
