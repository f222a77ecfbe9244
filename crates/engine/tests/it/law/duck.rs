//! Cases for a second oracle: `bench/law.py` asks DuckDB the queries of a sample of scripts, over the rows that are
//! stored when the script ends, and compares its answers with the views.
//!
//! ```text
//!   DIR/SEED.json: {"setup": [sql, …], "views": [{"name", "sql", "kinds": […], "rows": [[cell, …], …]}, …]}
//! ```
//!
//! Each view is one of DuckDB over its views, so that a mistake that a view and its batch query share is seen, too.
//!
//! Not here: queries that have no words in DuckDB or another meaning there ([`Tree::only_ours`]), and what reads them;
//! columns of kinds whose values are written otherwise (lists, lengths of time, JSON), which are left out.
//!
//! [`Tree::only_ours`]: super::tree::Tree::only_ours

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::ArrayFormatter;
use yeoul_engine::Engine;

use super::base::{Base, Kind};
use super::cells;
use super::compare::query;
use super::plan;
use super::play::{honest, play};
use super::script::{Script, Step, View};
use super::tree::Cuts;
use super::views::Twin;

/// How many scripts when nothing else is said.
const SCRIPTS: u64 = 40;

/// A text in JSON.
fn json(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            c if u32::from(c) < 0x20 => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(",\n"))
}

/// How the values of a kind are compared; `None` when they are not.
fn compared_as(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Int | Kind::Big | Kind::Decimal => Some("number"),
        Kind::Float | Kind::Wild | Kind::Nan | Kind::Approx => Some("float"),
        Kind::Text | Kind::Bool | Kind::Date => Some("text"),
        Kind::Time => Some("time"),
        Kind::Length | Kind::Opaque | Kind::Ints | Kind::List => None,
    }
}

/// The statements that make a stream or table with these rows in DuckDB.
fn setup(engine: &Engine, base: &Base) -> Vec<String> {
    let of = |sql: &str| sql.replace("JSONB", "VARCHAR");
    let columns = base.columns.iter().zip(&base.types);
    let columns: Vec<String> = columns.map(|(c, sql)| format!("{} {}", c.name, of(sql))).collect();
    let mut all = vec![format!("CREATE TABLE {} ({})", base.name, columns.join(", "))];
    let stored = query(engine, &format!("SELECT * FROM {}", base.name)).expect("answers");
    let rows: Vec<String> = stored
        .iter()
        .flat_map(cells::rows)
        .map(|row| {
            let row: Vec<String> =
                row.iter().zip(&base.types).map(|(cell, sql)| cell.sql(&of(sql))).collect();
            format!("({})", row.join(", "))
        })
        .collect();
    if !rows.is_empty() {
        all.push(format!("INSERT INTO {} VALUES {}", base.name, rows.join(", ")));
    }
    all
}

/// A view with its answer.
fn entry(engine: &Engine, view: &View, sql: &str) -> String {
    let answer = query(engine, &format!("SELECT * FROM {}", view.name)).expect("answers");
    let kinds: Vec<Option<&str>> =
        view.query.columns.iter().map(|column| compared_as(column.kind)).collect();
    let mut rows = Vec::new();
    for batch in &answer {
        let shown: Vec<_> = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c, &Default::default()).expect("a shown type"))
            .collect();
        for row in 0..batch.num_rows() {
            let cell = |at: usize| match (kinds[at], batch.column(at)) {
                (_, column) if column.is_null(row) => "null".to_owned(),
                (Some("time"), column) => {
                    json(&column.as_primitive::<TimestampMicrosecondType>().value(row).to_string())
                }
                _ => json(&shown[at].value(row).to_string()),
            };
            let cells = (0..kinds.len()).filter(|at| kinds[*at].is_some()).map(cell);
            rows.push(format!("[{}]", cells.collect::<Vec<_>>().join(",")));
        }
    }
    let kinds = kinds.iter().map(|kind| kind.map_or_else(|| "null".to_owned(), json));
    let kinds: Vec<String> = kinds.collect();
    format!(
        "{{\"name\": {}, \"sql\": {}, \"kinds\": [{}], \"rows\": {}}}",
        json(&view.name),
        json(sql),
        kinds.join(","),
        list(rows)
    )
}

/// The views that are there at the end of a script, and DuckDB's words for them; those that it has none for, and
/// what reads them, are left out.
fn asked(script: &Script) -> Vec<(&View, String)> {
    let mut views: Vec<&View> = Vec::new();
    for step in &script.steps {
        match step {
            Step::Create { view, .. } => {
                views.retain(|other| other.name != view.name);
                views.push(view);
            }
            Step::Drop(name) => {
                let mut gone = vec![name.clone()];
                while let Some(name) = gone.pop() {
                    let reads = |view: &&View| view.query.reads.contains(&name);
                    gone.extend(views.iter().copied().filter(|v| reads(v)).map(|v| v.name.clone()));
                    views.retain(|view| view.name != name && !reads(view));
                }
            }
            _ => {}
        }
    }
    let mut asked: Vec<(&View, String)> = Vec::new();
    let is_base = |name: &String| script.bases.iter().any(|base| base.name == *name);
    // A view that was replaced stands behind those that read it: as often as something is found.
    loop {
        let known = |name: &String, asked: &[(&View, String)]| {
            is_base(name) || asked.iter().any(|(view, _)| view.name == *name)
        };
        let next = views.iter().find_map(|view| {
            let fresh = asked.iter().all(|(other, _)| other.name != view.name);
            let readable = view.query.reads.iter().all(|name| known(name, &asked));
            let plain = matches!(view.query.twin, Twin::Query);
            let sql = view.query.sql.duck(&Cuts::new());
            sql.filter(|_| fresh && readable && plain).map(|sql| (*view, sql))
        });
        match next {
            Some(found) => asked.push(found),
            None => return asked,
        }
    }
}

/// Plays a script and writes what DuckDB is asked.
fn write(seed: u64, folder: &Path) {
    let script = plan::script(seed);
    let mut text = String::new();
    let mut end = |engine: &Engine, absent: &[String]| {
        let setup =
            list(script.bases.iter().flat_map(|base| setup(engine, base)).map(|s| json(&s)));
        let views = asked(&script);
        let there = views.iter().filter(|(view, _)| !absent.contains(&view.name));
        let views = list(there.map(|(view, sql)| entry(engine, view, sql)));
        text = format!("{{\"setup\": {setup}, \"views\": {views}}}\n");
    };
    match play(script.knobs, &script.acts(), honest, &mut end) {
        Ok(_) => std::fs::write(folder.join(format!("{seed}.json")), text).expect("a folder"),
        Err(failure) => panic!("seed {seed}: {}", failure.text),
    }
}

#[test]
#[ignore = "writes what bench/law.py compares with DuckDB, into the folder YEOUL_LAW_DUCKDB"]
fn cases_for_duckdb() {
    let folder = std::env::var("YEOUL_LAW_DUCKDB").expect("YEOUL_LAW_DUCKDB is a folder");
    std::fs::create_dir_all(&folder).expect("a folder");
    let first = super::number("YEOUL_LAW_SEED").unwrap_or(super::FIRST_SEED);
    let scripts = super::number("YEOUL_LAW_SCRIPTS").unwrap_or(SCRIPTS);
    let (next, folder) = (AtomicU64::new(first), Path::new(&folder));
    let turn = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + scripts {
                return;
            }
            write(seed, folder);
        }
    };
    std::thread::scope(|scope| (0..super::THREADS).for_each(|_| drop(scope.spawn(turn))));
}
