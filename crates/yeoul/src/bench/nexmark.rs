//! W3: the queries of Nexmark, each kept as a view of its own while the events come.
//!
//! The queries are in `bench/nexmark/yeoul`. One that cannot be kept yet is not measured: its figures say
//! with what message it was refused.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;
use yeoul_engine::{Engine, EngineOptions, SyncPolicy};

use super::{Figures, Place, batch, events, tables};
use crate::clock::SystemClock;
use crate::config::engine_options;
use crate::failure::Failure;
use crate::shell;

/// A query of Nexmark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    /// "q5".
    pub(super) name: &'static str,
    select: &'static str,
}

macro_rules! queries {
    ($($name:literal)*) => {
        [$(Query {
            name: $name,
            select: include_str!(concat!("../../../../bench/nexmark/yeoul/", $name, ".sql")),
        }),*]
    };
}

const QUERIES: [Query; 23] = queries!(
    "q0" "q1" "q2" "q3" "q4" "q5" "q6" "q7" "q8" "q9" "q10" "q11" "q12" "q13" "q14" "q15" "q16" "q17"
    "q18" "q19" "q20" "q21" "q22"
);
const STREAM: &str = include_str!("../../../../bench/nexmark/yeoul/stream.sql");
const SIDE_INPUT: &str = include_str!("../../../../bench/nexmark/yeoul/side_input.sql");
const EVENTS: &str = include_str!("../../../../bench/nexmark/yeoul/events.sql");

/// The query of this name, or all of them.
pub(super) fn chosen(name: Option<&str>) -> Result<Vec<Query>, Failure> {
    let Some(name) = name else { return Ok(QUERIES.to_vec()) };
    let found = QUERIES.into_iter().find(|query| query.name == name);
    found.map(|query| vec![query]).ok_or_else(|| {
        Failure::usage(format!("there is no query \"{name}\"\ndetail: the queries are q0 to q22"))
    })
}

/// Measures one query.
pub(super) fn w3(place: &Place, query: Query) -> Result<Figures, Failure> {
    let (events, side_input) = events::auctions_file(&place.dir, place.seed, place.events)?;
    let sources = sources(&events, &side_input);
    let view = format!("CREATE MATERIALIZED VIEW {} AS\n{EVENTS}{}", query.name, query.select);
    let workload = format!("W3 {}", query.name);
    if let Some(refused) = refusal(&sources, &view)? {
        return Ok(Figures { refused, ..Figures::new(&workload, place.events) });
    }
    let check = format!("SELECT count(*) FROM {}", query.name);
    let mut figures =
        batch::drained(place, "W3", format!("{sources}{view};"), &check, SyncPolicy::Os)?;
    figures.workload = workload;
    Ok(figures)
}

/// The stream, which keeps no rows, and the table of q13.
fn sources(events: &Path, side_input: &Path) -> String {
    let options = format!("{}retention = '0 seconds', ", tables::json_file(events));
    let side_input = side_input.display().to_string().replace('\'', "''");
    let side_input = format!("connector = 'file', path = '{side_input}', format = 'csv'");
    format!(
        "{}{}",
        STREAM.replace("{options}", &options),
        SIDE_INPUT.replace("{side_input}", &side_input)
    )
}

/// What the view is refused with, in one line; nothing when it is accepted.
fn refusal(sources: &str, view: &str) -> Result<Option<String>, Failure> {
    let folder = tempfile::tempdir()?;
    let options = EngineOptions { sync: SyncPolicy::Os, ..engine_options() };
    let engine = Engine::open(folder.path(), Arc::new(SystemClock), options, &mut |_| {})?;
    let (session, runtime) = (engine.session(), Runtime::new()?);
    let outcome = runtime.block_on(async {
        shell::ask(&session, sources).await?;
        Ok::<_, Failure>(shell::ask(&session, view).await.err())
    });
    engine.shutdown()?;
    Ok(outcome?.map(|failure| {
        let line = failure.message.lines().next().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_says_why() {
        let place =
            |dir: &tempfile::TempDir| Place { dir: dir.path().into(), events: 100, seed: 1 };
        let dir = tempfile::tempdir().expect("a folder");
        let (events, side_input) =
            events::auctions_file(dir.path(), 1, place(&dir).events).expect("writes");
        let sources = sources(&events, &side_input);
        let said = |view: &str| refusal(&sources, view).expect("an engine");
        assert_eq!(said("CREATE MATERIALIZED VIEW v AS SELECT event_type FROM nexmark"), None);
        let random = said("CREATE MATERIALIZED VIEW v AS SELECT random() AS x FROM nexmark");
        assert!(random.is_some_and(|why| why.contains("random") && !why.contains("error")));
        let figures = w3(&place(&dir), QUERIES[0]).expect("runs");
        assert_eq!((figures.workload.as_str(), figures.check.as_str()), ("W3 q0", "92"));
        assert_eq!(figures.refused, "");
    }

    #[test]
    fn queries_are_found_by_name() {
        assert_eq!(chosen(None).expect("all").len(), 23);
        assert_eq!(chosen(Some("q7")).expect("one")[0].name, "q7");
        let failure = chosen(Some("q23")).expect_err("there is none");
        assert!(failure.message.contains("q0 to q22"));
    }
}
