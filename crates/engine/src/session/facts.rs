//! The relations of the newest world, as the catalogs of PostgreSQL tell of them.

use std::sync::Arc;

use yeoul_reflect::{Facts, Shown, ShownFunction};
use yeoul_sql::{RelationKind, Statement};

use crate::catalog::{Body, DEAD_LETTERS_NAME, Function, Relation};
use crate::shared::Shared;
use crate::system;
use crate::world::World;

/// Where the numbers of system tables and of all other relations begin. A relation takes four.
const SYSTEM_FROM: i64 = 17_000;
const STORED_SYSTEM_FROM: i64 = 17_500;
const RELATIONS_FROM: i64 = 20_000;
/// Where those of functions begin, behind all relations that there can be.
const FUNCTIONS_FROM: i64 = RELATIONS_FROM + 4 * (1 << 29);

/// See the module.
pub(super) fn of(shared: &Arc<Shared>) -> Facts {
    let world = shared.world.load_full();
    let mut relations = Vec::new();
    let mut oid = SYSTEM_FROM;
    for name in system::NAMES {
        oid += 4;
        let Some(table) = system::table(name, &world, shared) else { continue };
        relations.push(Shown {
            oid,
            schema: "yeoul",
            name: name.trim_start_matches("yeoul.").to_owned(),
            kind: RelationKind::System,
            fields: table.schema(),
            key: Vec::new(),
            sql: String::new(),
            rows: 0,
            bytes: 0,
            comment: "system table".to_owned(),
        });
    }
    relations.extend(
        world
            .catalog
            .relations()
            .filter(|r| r.kind != RelationKind::Sink)
            .map(|relation| shown(relation, &world)),
    );
    let planning = Arc::clone(shared);
    let view_query = move |sql: &str| match planning.planning.statement(sql).ok()? {
        Statement::CreateView(view) => Some(view.query.sql().trim().to_owned()),
        _ => None,
    };
    let functions = world.catalog.functions().all().zip(FUNCTIONS_FROM..).map(shown_function);
    let functions = functions.collect();
    Facts { relations, functions, now_us: shared.clock.now_us(), view_query: Box::new(view_query) }
}

fn shown_function((function, oid): (&Arc<Function>, i64)) -> ShownFunction {
    let meaning = &function.function;
    let parameter = |(name, data_type): &(Option<String>, _)| {
        (name.clone().unwrap_or_default(), yeoul_sql::SqlFunction::type_name(data_type))
    };
    ShownFunction {
        oid,
        name: meaning.name.clone(),
        parameters: meaning.parameters.iter().map(parameter).collect(),
        returns: yeoul_sql::SqlFunction::type_name(&meaning.returns),
        sql: function.sql.clone(),
    }
}

fn shown(relation: &Relation, world: &World) -> Shown {
    let tree = world.snapshot.tree(relation.tree());
    let (key, comment) = match &relation.body {
        Body::Stream(stream) => {
            let time = stream.event_time.map(|at| relation.schema.field(at).name());
            let time = time.map(|name| format!(", event time {name}")).unwrap_or_default();
            (Vec::new(), format!("stream{time}"))
        }
        Body::Table(_) => (relation.primary_key().to_vec(), "table".to_owned()),
        Body::View(_) => (Vec::new(), "materialized view".to_owned()),
    };
    let system = relation.kind == RelationKind::System;
    let oid = match (system, relation.name == DEAD_LETTERS_NAME) {
        (true, true) => STORED_SYSTEM_FROM,
        (true, false) => STORED_SYSTEM_FROM + 4,
        (false, _) => RELATIONS_FROM + 4 * i64::from(relation.id.0),
    };
    Shown {
        oid,
        schema: if system { "yeoul" } else { "public" },
        name: relation.name.trim_start_matches("yeoul.").to_owned(),
        kind: relation.kind,
        fields: Arc::clone(&relation.schema),
        key: if system { Vec::new() } else { key },
        sql: relation.sql.clone(),
        rows: tree.map_or(0, |tree| tree.rows()),
        bytes: tree.map_or(0, |tree| tree.part_bytes() + tree.memory_bytes() as u64),
        comment: if system { "system table".to_owned() } else { comment },
    }
}
