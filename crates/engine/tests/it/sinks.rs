//! Sinks: whatever stops, the changes of a commit are the same when they are asked for again, and all of them together
//! are the rows of what is followed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::util::display::ArrayFormatter;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use yeoul_engine::{
    ChangeId, Changes, CommitId, ConnectorSpec, Engine, EngineOptions, OptionSpec, OptionType,
    SinkSpec,
};
use yeoul_store::TrialMedia;

use super::support::{TestClock, ok, options, run, settle};

/// Where changes go that the tests take themselves.
static PLACE: ConnectorSpec = ConnectorSpec {
    name: "place",
    options: &[OptionSpec::of_sink("path", OptionType::Text, "", "where it is")],
    called: &[],
    required: &[],
    metadata: &[],
    formats: &[],
    format: None,
    sink_formats: &["json"],
    check: None,
};

static CONNECTORS: &[&ConnectorSpec] = &[&PLACE];

fn open_with(media: &TrialMedia, more: impl Fn(&mut EngineOptions)) -> Engine {
    let mut options = EngineOptions { connectors: CONNECTORS, ..options() };
    more(&mut options);
    Engine::open_media(
        Arc::new(media.clone()),
        Arc::new(TestClock::default()),
        options,
        &mut |_| {},
    )
    .expect("opens")
}

fn open(media: &TrialMedia) -> Engine {
    open_with(media, |_| {})
}

fn sink(engine: &Engine, name: &str) -> Option<SinkSpec> {
    engine.sinks().into_iter().find(|sink| sink.name() == name)
}

/// The rows of changes as text, with the changes they are of and their diffs.
fn lines(changes: &Changes) -> Vec<(i64, String, i64)> {
    let columns: Vec<_> = changes
        .rows
        .columns()
        .iter()
        .map(|c| ArrayFormatter::try_new(c, &Default::default()).expect("a shown type"))
        .collect();
    let line = |row: usize| {
        let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
        (changes.ids.value(row), cells.join("|"), changes.diffs.value(row))
    };
    (0..changes.len()).map(line).collect()
}

/// What one sink has sent, by change; each sorted.
#[derive(Default)]
struct Place {
    by_change: BTreeMap<i64, Vec<(String, i64)>>,
    through: ChangeId,
}

impl Place {
    /// Takes some changes; what it has already must be the same.
    fn take(&mut self, engine: &Engine, name: &str, rows: usize) -> bool {
        let Some(sink) = sink(engine, name) else { return false };
        let after = self.through.max(sink.after());
        // Odd ones by what they take, even ones by their number.
        let most = if rows.is_multiple_of(2) {
            (rows, u64::MAX)
        } else {
            (usize::MAX / 2, rows as u64 * 40)
        };
        let changes = engine.changes(&sink, after, most).expect("they are there");
        assert!(changes.through >= after);
        let mut came: BTreeMap<i64, Vec<(String, i64)>> = BTreeMap::new();
        let mut last = i64::try_from(after.0).expect("small") + 1;
        for (change, line, diff) in lines(&changes) {
            assert!(change >= last, "changes come in order");
            last = change;
            came.entry(change).or_default().push((line, diff));
        }
        for (change, mut lines) in came {
            lines.sort();
            let had = self.by_change.entry(change).or_insert_with(|| lines.clone());
            assert_eq!(*had, lines, "{name}: change {change} is another one");
        }
        let more = changes.through > after && !changes.is_empty();
        self.through = changes.through;
        more
    }

    /// The rows that are there when all changes are applied.
    fn rows(&self) -> Vec<String> {
        let mut bag: BTreeMap<&str, i64> = BTreeMap::new();
        for (change, lines) in &self.by_change {
            for (line, diff) in lines {
                *bag.entry(line).or_default() += diff;
            }
            for (line, _) in lines {
                assert!(bag[line.as_str()] >= 0, "change {change}: {line} went, and was not there");
            }
        }
        let times = |(line, count): (&&str, &i64)| {
            std::iter::repeat_n((*line).to_owned(), usize::try_from(*count).expect("is positive"))
                .collect::<Vec<_>>()
        };
        bag.iter().flat_map(times).collect()
    }
}

const RELATIONS: &str = "
    CREATE STREAM IF NOT EXISTS e (k BIGINT, n BIGINT, s TEXT);
    CREATE TABLE IF NOT EXISTS t (id BIGINT PRIMARY KEY, name TEXT);
    CREATE TABLE IF NOT EXISTS bare (a BIGINT);";
const VIEWS: &str = "
    CREATE MATERIALIZED VIEW sums AS SELECT k, sum(n) AS total, count(*) AS c FROM e GROUP BY k;
    CREATE MATERIALIZED VIEW joined AS SELECT e.k, e.n, t.name FROM e JOIN t ON e.k = t.id;
    CREATE MATERIALIZED VIEW top AS SELECT k, total FROM sums ORDER BY total DESC, k LIMIT 3;
    CREATE MATERIALIZED VIEW number AS SELECT count(*) AS c FROM t;";
/// Sinks and what they send.
const SINKS: [(&str, &str, &str); 8] = [
    ("of_e", "FROM e WITH (connector = 'place')", "SELECT * FROM e"),
    ("of_t", "FROM t WITH (connector = 'place')", "SELECT * FROM t"),
    ("of_bare", "FROM bare WITH (connector = 'place', key = 'a')", "SELECT * FROM bare"),
    ("of_sums", "FROM sums WITH (connector = 'place')", "SELECT * FROM sums"),
    ("of_joined", "FROM joined WITH (connector = 'place', key = 'k, n')", "SELECT * FROM joined"),
    ("of_top", "FROM top WITH (connector = 'place', key = 'k')", "SELECT * FROM top"),
    ("of_number", "FROM number WITH (connector = 'place', key = 'c')", "SELECT * FROM number"),
    (
        "of_query",
        "WITH (connector = 'place') AS SELECT total * 2 AS twice, k FROM sums WHERE total > 40",
        "SELECT total * 2 AS twice, k FROM sums WHERE total > 40",
    ),
];

/// Something that changes rows.
fn change(engine: &Engine, random: &mut StdRng) {
    let few = random.random_range(1..30);
    let mut of = |n: i64| random.random_range(0..n);
    let rows = |f: &mut dyn FnMut() -> String| (0..few).map(|_| f()).collect::<Vec<_>>().join(", ");
    let sql = match of(8) {
        0..3 => {
            let rows = rows(&mut || format!("({}, {}, 's{}')", of(9), of(50), of(3)));
            format!("INSERT INTO e VALUES {rows}")
        }
        3 | 4 => {
            let rows = rows(&mut || format!("({}, 'n{}')", of(12), of(4)));
            format!("INSERT INTO t VALUES {rows}")
        }
        5 => format!("DELETE FROM t WHERE id % 5 = {}", of(5)),
        6 => format!("INSERT INTO bare VALUES ({}), (1)", of(4)),
        _ => format!("DELETE FROM bare WHERE a = {}", of(4)),
    };
    ok(engine, &sql);
}

fn trial(seed: u64) {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut media = TrialMedia::new(seed);
    let mut engine = open(&media);
    ok(&engine, RELATIONS);
    for _ in 0..random.random_range(0..6) {
        change(&engine, random);
    }
    ok(&engine, VIEWS);
    let mut places: BTreeMap<&str, Place> = BTreeMap::new();
    for _ in 0..120 {
        match random.random_range(0..20) {
            0..9 => change(&engine, random),
            9..14 => {
                let name = SINKS[random.random_range(0..SINKS.len())].0;
                if let Some(place) = places.get_mut(name) {
                    // What was sent in a transaction that did not end is sent again.
                    let before = place.through;
                    place.take(&engine, name, random.random_range(1..40));
                    if random.random_bool(0.3) {
                        place.through = before;
                    } else if random.random_bool(0.5)
                        && let Some(sink) = sink(&engine, name)
                    {
                        engine.release_changes(&sink, place.through).expect("is taken");
                    }
                }
            }
            14 | 15 => {
                if let Some((name, what, _)) = SINKS.get(places.len()) {
                    ok(&engine, &format!("CREATE SINK {name} {what}"));
                    places.insert(name, Place::default());
                }
            }
            16 => engine.checkpoint().expect("writes"),
            17 | 18 => {
                media = media.after_crash();
                drop(engine);
                engine = open(&media);
            }
            _ => {
                engine.shutdown().expect("stops");
                drop(engine);
                engine = open(&media);
            }
        }
    }
    settle(&engine);
    for (name, _, query) in SINKS {
        let Some(place) = places.get_mut(name) else { continue };
        while place.take(&engine, name, 7) {}
        let mut expected = ok(&engine, query);
        expected.sort();
        assert_eq!(place.rows(), expected, "seed {seed}: {name}");
    }
    engine.shutdown().expect("stops");
}

#[test]
fn what_sinks_send_is_what_is_there_whatever_stops() {
    let trials: u64 =
        std::env::var("YEOUL_SINKS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let seed: u64 =
        std::env::var("YEOUL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    for seed in seed..seed + trials {
        trial(seed);
    }
}

fn refused(engine: &Engine, sql: &str) -> String {
    let error = run(engine, sql).expect_err(sql);
    let and = |text: Option<String>| text.map(|text| format!("; {text}")).unwrap_or_default();
    format!("{} {}{}{}", error.sqlstate, error.message, and(error.detail), and(error.hint))
}

/// What stands behind `CREATE SINK s`, and what is said.
const UNSENT: &[(&str, &str)] = &[
    (
        "FROM ee WITH (connector = 'place')",
        "42P01 relation \"ee\" does not exist; there are bare, ",
    ),
    ("FROM e", "22023 a sink needs the option \"connector\"; connector = 'kafka'"),
    (
        "FROM e WITH (connector = 'http')",
        "22023 connector 'http' takes no changes; a sink is of connector 'kafka'",
    ),
    ("FROM e WITH (connector = 'plce')", "22023 'plce' is not a value of option \"connector\"; "),
    (
        "FROM e WITH (connector = 'place', format = 'avro')",
        "22023 connector 'place' writes no format 'avro'; it writes json",
    ),
    (
        "FROM e WITH (connector = 'place', envelop = 'upsert')",
        "22023 option \"envelop\" does not exist for a sink; ",
    ),
    (
        "FROM e WITH (connector = 'place', envelope = 'upsert')",
        "22023 sink \"s\" needs the columns by which a row is known where it is sent; add key = 'column, …'",
    ),
    (
        "FROM t WITH (connector = 'place', envelope = 'append')",
        "22023 envelope 'append' is for rows that only come, and rows that sink \"s\" sends change; ",
    ),
    ("FROM bare WITH (connector = 'place')", "22023 sink \"s\" needs the columns by which"),
    (
        "FROM t WITH (connector = 'place', key = 'nme')",
        "22023 column \"nme\" does not exist in what sink \"s\" sends; did you mean \"name\"?",
    ),
    (
        "WITH (connector = 'place') AS SELECT k, count(*) AS n FROM e GROUP BY k",
        "0A000 the query of sink \"s\" does more than choose rows and columns; CREATE MATERIALIZED VIEW",
    ),
    (
        "WITH (connector = 'place') AS SELECT name AS _diff FROM t",
        "sink \"s\" cannot send a column \"_diff\"",
    ),
    ("AS SELECT 1", "22023 a sink needs the option"),
    ("ON e", "42601 "),
];

/// What is done where there are the sinks `s` of a view and `of_s` of a stream, and what is said.
const BESIDE_SINKS: &[(&str, &str)] = &[
    ("SELECT * FROM s", "42P01"),
    ("CREATE SINK s FROM e WITH (connector = 'place')", "sink \"s\" exists already"),
    ("CREATE SINK again FROM s WITH (connector = 'place')", "42P01"),
    ("CREATE MATERIALIZED VIEW s AS SELECT 1 AS a", "sink \"s\" exists already"),
    ("INSERT INTO s VALUES (1)", "sink \"s\" takes no rows"),
    ("DROP MATERIALIZED VIEW sums", "2BP01 view \"sums\" is read by "),
    (
        "ALTER SINK os PAUSE",
        "42P01 sink \"os\" does not exist; there are of_s, s; did you mean \"s\"?",
    ),
    ("DROP SINK nobody", "42P01 sink \"nobody\" does not exist; there are of_s, s"),
    ("DROP STREAM s", "42809 \"s\" is a sink; DROP SINK s drops it"),
    ("ALTER SINK e PAUSE", "42809 \"e\" is a stream; "),
    ("ALTER SINK nobody REWIND TO EARLIEST", "42P01"),
    ("ALTER SINK s SET (key = 'k')", "option \"key\" of a sink cannot be changed"),
    (
        "ALTER SINK s SET (kep = '1 hour')",
        "there is no option \"kep\" for a sink; did you mean \"keep\"?",
    ),
    ("ALTER SINK s RENAME TO r", "PAUSE, RESUME, REWIND or SET"),
    ("CREATE OR REPLACE SINK s FROM e WITH (connector = 'place')", "a sink cannot be replaced"),
    (
        "CREATE OR REPLACE MATERIALIZED VIEW sums AS SELECT k, sum(n) + 1 AS total, count(*) AS c FROM e GROUP BY k",
        "2BP01 sink \"s\" sends its changes",
    ),
    ("ALTER STREAM e ADD COLUMN more BIGINT", "of_s"),
];

#[test]
fn what_a_sink_cannot_send_is_refused() {
    let media = TrialMedia::new(1);
    let engine = open(&media);
    ok(&engine, RELATIONS);
    ok(&engine, VIEWS);
    for &(sql, expected) in UNSENT {
        let error = refused(&engine, &format!("CREATE SINK s {sql}"));
        assert!(error.contains(expected), "{sql}:\n{error}\n{expected}");
    }
    ok(&engine, "CREATE SINK s FROM sums WITH (connector = 'place')");
    ok(&engine, "CREATE SINK IF NOT EXISTS s FROM e WITH (connector = 'place')");
    ok(&engine, "CREATE SINK of_s FROM e WITH (connector = 'place')");
    for &(sql, expected) in BESIDE_SINKS {
        let error = refused(&engine, sql);
        assert!(error.contains(expected), "{sql}:\n{error}\n{expected}");
    }
    assert_eq!(ok(&engine, "SHOW SINKS"), ["of_s|ready", "s|ready"]);
    let shown = ok(&engine, "SHOW CREATE SINK s").join("\n");
    assert_eq!(shown, "CREATE SINK s FROM sums WITH (connector = 'place')");
    assert_eq!(ok(&engine, "SELECT count(*) FROM pg_class WHERE relname IN ('s', 'of_s')"), ["0"]);
    ok(&engine, "DROP MATERIALIZED VIEW sums CASCADE");
    assert_eq!(ok(&engine, "SHOW SINKS"), ["of_s|ready"]);
    ok(&engine, "DROP SINK of_s");
    ok(&engine, "ALTER STREAM e ADD COLUMN more BIGINT");
    engine.shutdown().expect("stops");
}

#[test]
fn keys_and_envelopes_follow_from_what_is_sent() {
    let media = TrialMedia::new(2);
    let engine = open(&media);
    ok(&engine, RELATIONS);
    ok(&engine, VIEWS);
    ok(
        &engine,
        "CREATE MATERIALIZED VIEW two AS SELECT s, k % 2 AS odd, count(*) AS c FROM e GROUP BY s, k % 2",
    );
    for (name, what, envelope, key) in [
        ("a", "FROM e WITH (connector = 'place')", "append", ""),
        ("b", "FROM e WITH (connector = 'place', key = 's, k')", "append", "s, k"),
        ("c", "FROM t WITH (connector = 'place')", "upsert", "id"),
        ("d", "FROM sums WITH (connector = 'place', envelope = 'debezium')", "debezium", "k"),
        ("f", "FROM two WITH (connector = 'place')", "upsert", "s, odd"),
        ("g", "WITH (connector = 'place') AS SELECT c, k AS key FROM sums", "upsert", "key"),
        ("h", "FROM e WITH (connector = 'place', envelope = 'debezium')", "debezium", ""),
    ] {
        ok(&engine, &format!("CREATE SINK {name} {what}"));
        let sink = sink(&engine, name).expect("is there");
        let field = |column: &usize| sink.schema().field(*column).name().clone();
        let found = sink.key().iter().map(field).collect::<Vec<_>>().join(", ");
        assert_eq!((sink.envelope().word(), found.as_str()), (envelope, key), "{what}");
    }
    // The groups of a view are a key only where all of them are seen.
    let hidden = "CREATE SINK i WITH (connector = 'place') AS SELECT c, s FROM two";
    assert!(refused(&engine, hidden).contains("needs the columns by which a row is known"));
    engine.shutdown().expect("stops");
}

#[test]
fn a_sink_that_is_too_far_behind_is_given_up_for_good() {
    let media = TrialMedia::new(3);
    let engine = open(&media);
    ok(&engine, RELATIONS);
    ok(&engine, "CREATE SINK s FROM e WITH (connector = 'place', kept_rows_max = '100')");
    ok(&engine, "CREATE SINK other FROM e WITH (connector = 'place')");
    let spec = sink(&engine, "s").expect("is there");
    let first = spec.identity();
    ok(&engine, "INSERT INTO e SELECT v, v, 'x' FROM generate_series(1, 101) AS g(v)");
    let failed = |engine: &Engine| {
        for _ in 0..1000 {
            let state =
                ok(engine, "SELECT state, error FROM yeoul.sinks WHERE name = 's'").remove(0);
            if state.starts_with("failed") {
                return state;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("it goes on: {:?}", ok(engine, "SELECT state, error, kept_rows FROM yeoul.sinks"));
    };
    let why = "failed|more than 100 changed rows would have to be kept (kept_rows_max), and none is kept any more";
    assert_eq!(failed(&engine), why);
    let error = engine.changes(&spec, ChangeId(0), (10, u64::MAX)).expect_err("they are gone");
    assert!(error.message.contains("has stopped: more than 100 changed rows"), "{error}");
    assert_eq!(ok(&engine, "SELECT kept_rows FROM yeoul.sinks ORDER BY name"), ["101", "0"]);
    assert!(refused(&engine, "ALTER SINK s REWIND TO EARLIEST").contains("has stopped"));
    engine.shutdown().expect("stops");
    drop(engine);
    let engine = open(&media);
    assert_eq!(failed(&engine), why);
    assert!(sink(&engine, "s").is_none());
    ok(&engine, "DROP SINK s");
    // The rows that are there are no lag.
    ok(&engine, "CREATE SINK s FROM e WITH (connector = 'place', kept_rows_max = '100')");
    settle(&engine);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let spec = sink(&engine, "s").expect("is there");
    assert_ne!(spec.identity(), first, "what was known of the first is not of this one");
    let changes = engine.changes(&spec, spec.after(), (1000, u64::MAX)).expect("they are there");
    assert_eq!(changes.len(), 101);
    let ahead = engine.changes(&spec, ChangeId::end_of(CommitId(1_000_000)), (1, u64::MAX));
    let error = ahead.expect_err("there is no such commit");
    assert!(error.message.contains("is as of commit 1000000, and this data folder is at commit"));
    engine.shutdown().expect("stops");
}

#[test]
fn what_is_kept_is_sent_again_from_where_it_is_told() {
    let media = TrialMedia::new(4);
    let engine = open(&media);
    ok(&engine, RELATIONS);
    ok(&engine, "CREATE SINK s FROM e WITH (connector = 'place')");
    let mut commits = Vec::new();
    for k in 0..5 {
        ok(&engine, &format!("INSERT INTO e VALUES ({k}, 1, 'x')"));
        commits.push(engine.commit());
    }
    let spec = sink(&engine, "s").expect("is there");
    let released = engine.changes(&spec, spec.after(), (3, u64::MAX)).expect("they are there");
    assert_eq!((released.len(), released.through), (2, ChangeId::new(commits[1], 0)));
    engine.release_changes(&spec, released.through).expect("is taken");
    ok(&engine, "FLUSH");
    let error = refused(&engine, &format!("ALTER SINK s REWIND TO COMMIT {}", commits[0].0));
    assert!(
        error.contains(&format!("it keeps those from behind commit {}", commits[1].0)),
        "{error}"
    );
    for (to, expected) in [("EARLIEST".to_owned(), 3), (format!("COMMIT {}", commits[3].0), 1)] {
        ok(&engine, &format!("ALTER SINK s REWIND TO {to}"));
        let again = sink(&engine, "s").expect("is there");
        assert_ne!(again, spec);
        assert_ne!(again.identity(), spec.identity());
        let changes =
            engine.changes(&again, again.after(), (100, u64::MAX)).expect("they are there");
        assert_eq!(changes.len(), expected, "{to}");
    }
    let before = sink(&engine, "s").expect("is there");
    let media = media.after_crash();
    drop(engine);
    let engine = open(&media);
    let now = sink(&engine, "s").expect("is there");
    assert_eq!((now.identity(), now.after()), (before.identity(), before.after()));
    ok(&engine, "ALTER SINK s PAUSE");
    assert!(sink(&engine, "s").is_none());
    ok(&engine, "ALTER SINK s RESUME");
    assert_eq!(sink(&engine, "s").map(|s| s.identity()), Some(now.identity()));
    engine.shutdown().expect("stops");
}
