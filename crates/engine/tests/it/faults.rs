//! The engine on a disk that fails: a scripted workload runs while one durable operation fails or the machine stops
//! there, then the engine is opened on what a crash leaves.
//!
//! ```text
//!   script on TrialMedia, fault at operation k ──▶ after_crash ──▶ open ──▶ check ──▶ script again ──▶ check
//!         └ what was acknowledged                    └ sometimes a second fault here
//! ```
//!
//! What must hold: nothing is acknowledged that is not there afterwards; a delivery is there whole or not at all; after
//! a failed write the engine says so and takes nothing more; views equal their queries; books balance; the script
//! sent again gives what a run without faults gives.
//!
//! `YEOUL_FAULTS=N` sets the number of trials, `YEOUL_SEED=N` chooses others.

mod watch;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use yeoul_engine::{
    Clock, DeadLetter, Delivery, Engine, EngineError, EngineOptions, ErrorKind, Position, Receipt,
};
use yeoul_store::{Fault, TrialMedia};

use self::watch::Watched;
use super::support::{TestClock, ok, options, run, settle};

/// How many trials there are unless the environment says otherwise.
const TRIALS: u64 = 60;

const FAULTS: [Fault; 5] =
    [Fault::ShortWrite, Fault::NoSpace, Fault::Io, Fault::CrashBefore, Fault::CrashAfter];

const STREAM: &str = "CREATE STREAM IF NOT EXISTS events (id BIGINT, ts TIMESTAMPTZ, kind VARCHAR, item BIGINT, \
     price DOUBLE PRECISION, WATERMARK FOR ts AS ts - INTERVAL '5 seconds') \
     WITH (unique_key = 'id', unique_within = '1 hour')";
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS products (id BIGINT PRIMARY KEY, category VARCHAR, price BIGINT)";

/// The views and their queries; the last two are made when rows are there already.
const VIEWS: [(&str, &str); 6] = [
    (
        "ctr",
        "SELECT window_start, item, count(*) FILTER (WHERE kind = 'view') AS views, \
         count(*) FILTER (WHERE kind = 'click') AS clicks \
         FROM TUMBLE(events, ts, INTERVAL '1 minute') GROUP BY window_start, item",
    ),
    ("total", "SELECT count(*) AS n, sum(price) AS price, max(id) AS last FROM events"),
    (
        "busy",
        "SELECT item, max(views) AS views, count(*) AS n FROM ctr WHERE clicks > 1 GROUP BY item",
    ),
    (
        "by_category",
        "SELECT category, count(*) AS n, min(price) AS least FROM products GROUP BY category",
    ),
    (
        "kinds",
        "SELECT kind, count(*) AS n, avg(price) AS price, min(ts) AS first FROM events GROUP BY kind",
    ),
    ("rates", "SELECT item, clicks * 100 / (views + 1) AS rate FROM ctr"),
];

/// A step of the workload.
#[derive(Clone, Debug)]
enum Step {
    /// A statement that may be run again.
    Sql(String),
    /// Events of these ids; some of them were delivered before.
    Deliver {
        ids: Range<i64>,
        key: Option<&'static str>,
        position: Option<Position>,
        dead: bool,
    },
    Checkpoint,
    Settle,
}

fn sql(text: impl Into<String>) -> Step {
    Step::Sql(text.into())
}

fn view(number: usize) -> Step {
    let (name, query) = VIEWS[number];
    sql(format!("CREATE MATERIALIZED VIEW IF NOT EXISTS {name} AS {query}"))
}

fn deliver(ids: Range<i64>) -> Step {
    Step::Deliver { ids, key: None, position: None, dead: false }
}

fn keyed(ids: Range<i64>, key: &'static str) -> Step {
    Step::Deliver { ids, key: Some(key), position: None, dead: false }
}

/// The next rows of a file: ids as positions from 1000 on.
fn from_file(from: u64, to: u64) -> Step {
    let ids = 1000 + i64::try_from(from).expect("small")..1000 + i64::try_from(to).expect("small");
    Step::Deliver { ids, key: None, position: Some(Position { from, to }), dead: false }
}

fn script() -> Vec<Step> {
    vec![
        sql(STREAM),
        sql(TABLE),
        view(0),
        view(1),
        view(2),
        view(3),
        deliver(0..40),
        sql("INSERT INTO products VALUES (1, 'a', 5), (2, 'a', 7), (3, 'b', 1)"),
        keyed(30..90, "first"),
        from_file(0, 50),
        Step::Checkpoint,
        deliver(60..120),
        sql("UPDATE products SET price = 9 WHERE category = 'b'"),
        keyed(30..90, "first"),
        // A view over what is stored, and a checkpoint while it may still be being built.
        view(4),
        Step::Checkpoint,
        sql("CREATE TABLE IF NOT EXISTS late (id BIGINT PRIMARY KEY, n BIGINT)"),
        sql("INSERT INTO late VALUES (1, 1)"),
        from_file(50, 80),
        Step::Deliver { ids: 120..160, key: None, position: None, dead: true },
        Step::Settle,
        view(5),
        deliver(150..220),
        sql("DELETE FROM products WHERE id = 1"),
        sql("INSERT INTO products VALUES (2, 'c', 2), (4, 'c', 4)"),
        Step::Checkpoint,
        from_file(80, 110),
        keyed(220..300, "second"),
        sql("DROP TABLE IF EXISTS late"),
        deliver(290..330),
    ]
}

/// What an id's event says.
fn event_rows(engine: &Engine, ids: &Range<i64>) -> Result<Delivery, EngineError> {
    let stream = engine.stream("events")?;
    let all = || ids.clone();
    let micros = all().map(|i| 1_767_225_600_000_000 + i * 7 % 300 * 1_000_000);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(all())),
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC")),
        Arc::new(StringViewArray::from_iter_values(
            all().map(|i| if i % 3 == 0 { "click" } else { "view" }),
        )),
        Arc::new(Int64Array::from_iter_values(all().map(|i| i % 5))),
        Arc::new(Float64Array::from_iter_values(all().map(|i| (i % 11) as f64 + 0.5))),
    ];
    let rows = RecordBatch::try_new(Arc::clone(stream.schema()), columns).expect("the stream's");
    Ok(Delivery::new(stream, "test", rows))
}

/// What the workload was told.
#[derive(Default)]
struct Told {
    /// Deliveries that were acknowledged, and those that were not.
    acknowledged: Vec<Range<i64>>,
    refused: Vec<Range<i64>>,
    /// Whether the last change of the table was acknowledged, by step.
    statements: Vec<bool>,
    /// The first error.
    error: Option<EngineError>,
}

impl Told {
    fn note<T>(&mut self, outcome: &Result<T, EngineError>) {
        if let (Err(error), None) = (outcome, &self.error) {
            self.error = Some(error.clone());
        }
    }
}

/// Runs the script on a disk with a fault; the clock goes on over restarts.
struct Trial {
    disk: TrialMedia,
    clock: Arc<dyn Clock>,
    /// For messages: which fault where.
    name: String,
}

impl Trial {
    fn options() -> EngineOptions {
        EngineOptions {
            commit_interval: std::time::Duration::ZERO,
            memory_bytes_max: 48 << 10,
            ..options()
        }
    }

    fn open(&self) -> (Result<Engine, EngineError>, Arc<Watched>) {
        let media = Arc::new(Watched::new(self.disk.clone()));
        let clock = Arc::clone(&self.clock);
        (Engine::open_media(Arc::clone(&media) as _, clock, Self::options(), &mut |_| {}), media)
    }

    /// One delivery; the receipt must count every row.
    fn deliver(&self, engine: &Engine, step: &Step) -> Result<Receipt, EngineError> {
        let Step::Deliver { ids, key, position, dead } = step else { panic!("{step:?}") };
        let mut delivery = event_rows(engine, ids)?;
        delivery.partition = if position.is_some() { "file".into() } else { "".into() };
        delivery.position = *position;
        delivery.idempotency_key = key.map(str::to_owned);
        if *dead {
            // Dead letters have no key of their own: the whole delivery needs one.
            delivery.idempotency_key = Some("dead".to_owned());
            delivery.dead_letters.push(DeadLetter {
                raw: "{\"id\":".into(),
                reason: "not JSON".to_owned(),
                position: "line 1".to_owned(),
            });
        }
        let receipt = engine.submit(delivery)?.wait()?;
        let count = ids.end.abs_diff(ids.start);
        assert_eq!(receipt.accepted + receipt.duplicates, count, "{} {step:?}", self.name);
        Ok(receipt)
    }

    /// The script to its end, whatever fails.
    fn run(&self, engine: &Engine, told: &mut Told) {
        for step in script() {
            match &step {
                Step::Sql(text) => {
                    let outcome = run(engine, text);
                    told.note(&outcome);
                    if changes_products(text) {
                        told.statements.push(outcome.is_ok());
                    }
                }
                Step::Deliver { ids, .. } => {
                    // A client sends again what was not acknowledged.
                    let outcome = self.deliver(engine, &step);
                    told.note(&outcome);
                    if outcome.is_ok() || self.deliver(engine, &step).is_ok() {
                        told.acknowledged.push(ids.clone());
                    } else {
                        told.refused.push(ids.clone());
                    }
                }
                Step::Checkpoint => told.note(&engine.checkpoint()),
                Step::Settle => wait_built(engine),
            }
        }
    }

    /// After a failed write nothing is taken, not even what seems to be there already.
    fn check_refuses(&self, engine: &Engine, media: &Watched) {
        // What failed in the background may show only now.
        let _ = engine.checkpoint();
        if media.failed_tidying() {
            return;
        }
        let poisoned = engine.health().poisoned;
        assert!(poisoned.is_some(), "{}: the engine goes on after {}", self.name, media.failed());
        for step in script().iter().filter(|step| matches!(step, Step::Deliver { .. })) {
            let error = match self.deliver(engine, step) {
                Ok(receipt) => panic!("{}: {step:?} is acknowledged: {receipt:?}", self.name),
                Err(error) => error,
            };
            // Without its stream there is nothing to deliver to.
            if engine.stream("events").is_ok() {
                assert_eq!(error.kind, ErrorKind::Unavailable, "{}: {error}", self.name);
                assert!(error.hint.is_some(), "{}: {error}", self.name);
            }
        }
        for text in
            ["CREATE TABLE another (id BIGINT PRIMARY KEY)", "DELETE FROM products WHERE id = -1"]
        {
            assert!(run(engine, text).is_err(), "{}: {text} succeeds", self.name);
        }
    }

    /// What must be there after the machine came back.
    fn check_recovered(&self, engine: &Engine, told: &Told) {
        if engine.stream("events").is_err() {
            assert!(told.acknowledged.is_empty(), "{}: the stream is gone", self.name);
            return;
        }
        let there = self.ids(engine);
        let mut known = BTreeSet::new();
        for ids in &told.acknowledged {
            let missing: Vec<i64> = ids.clone().filter(|id| !there.contains(id)).collect();
            assert!(missing.is_empty(), "{}: acknowledged and lost: {missing:?}", self.name);
            known.extend(ids.clone());
        }
        for ids in &told.refused {
            let new: Vec<i64> = ids.clone().filter(|id| !known.contains(id)).collect();
            let found = new.iter().filter(|id| there.contains(id)).count();
            let whole = found == 0 || found == new.len();
            assert!(whole, "{}: {found} of {ids:?}, refused, are there", self.name);
            known.extend(ids.clone().filter(|id| there.contains(id)));
        }
        assert_eq!(there, known, "{}: events that nobody sent", self.name);
        if engine.stream("products").is_ok() {
            let found = products(engine);
            let possible = possible_products(&told.statements);
            assert!(possible.contains(&found), "{}: {found:?}", self.name);
        } else {
            assert!(!told.statements.contains(&true), "{}: the table is gone", self.name);
        }
        self.check_views(engine);
    }

    /// The ids that are there; each once.
    fn ids(&self, engine: &Engine) -> BTreeSet<i64> {
        let lines = ok(engine, "SELECT id FROM events");
        let ids: BTreeSet<i64> = lines.iter().map(|line| line.parse().expect("a number")).collect();
        assert_eq!(ids.len(), lines.len(), "{}: an event is there twice", self.name);
        ids
    }

    /// Every view that is there equals its query, and the books balance.
    fn check_views(&self, engine: &Engine) -> usize {
        settle(engine);
        let mut count = 0;
        for (view, query) in VIEWS.iter().filter(|(view, _)| engine.definition(view).is_some()) {
            let sorted = |sql: &str| {
                let mut lines = ok(engine, sql);
                lines.sort();
                lines
            };
            let found = sorted(&format!("SELECT * FROM {view}"));
            assert_eq!(found, sorted(query), "{}: view {view}", self.name);
            count += 1;
        }
        let wrong =
            "SELECT * FROM yeoul.sources WHERE received <> stored + duplicates + dead_letters";
        assert_eq!(ok(engine, wrong), [] as [&str; 0], "{}", self.name);
        let books = ok(
            engine,
            "SELECT coalesce(sum(stored), 0) FROM yeoul.sources WHERE stream = 'events'",
        );
        let rows = ok(engine, "SELECT count(*) FROM events");
        assert_eq!(books, rows, "{}: the books and the rows", self.name);
        count
    }

    /// Sends everything again: what is there in the end is what a run without faults gives.
    fn complete(&self, engine: &Engine) {
        let mut told = Told::default();
        self.run(engine, &mut told);
        let said = told.error.map(|error| error.to_string());
        assert_eq!(said, None, "{}: the script does not run through", self.name);
        let all: BTreeSet<i64> = (0..330).chain(1000..1110).collect();
        assert_eq!(self.ids(engine), all, "{}", self.name);
        assert_eq!(products(engine), ["2|c|2", "3|b|9", "4|c|4"], "{}", self.name);
        assert_eq!(ok(engine, "SELECT count(*) FROM yeoul.dead_letters"), ["1"], "{}", self.name);
        assert_eq!(self.check_views(engine), VIEWS.len(), "{}: views are missing", self.name);
    }
}

/// As [`settle`], but on a disk that may have failed, where a view is never built.
fn wait_built(engine: &Engine) {
    for _ in 0..400 {
        let health = engine.health();
        if health.building.is_empty() || health.poisoned.is_some() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn changes_products(sql: &str) -> bool {
    ["INSERT INTO products", "UPDATE products", "DELETE FROM products"]
        .iter()
        .any(|start| sql.starts_with(start))
}

fn products(engine: &Engine) -> Vec<String> {
    ok(engine, "SELECT id, category, price FROM products ORDER BY id")
}

/// What the table may hold: every acknowledged statement was carried out, each of the others was or was not.
fn possible_products(acknowledged: &[bool]) -> Vec<Vec<String>> {
    type Rows = std::collections::BTreeMap<i64, (&'static str, i64)>;
    let statements: [fn(&mut Rows); 4] = [
        |rows| rows.extend([(1, ("a", 5)), (2, ("a", 7)), (3, ("b", 1))]),
        |rows| rows.values_mut().filter(|row| row.0 == "b").for_each(|row| row.1 = 9),
        |rows| rows.retain(|id, _| *id != 1),
        |rows| rows.extend([(2, ("c", 2)), (4, ("c", 4))]),
    ];
    let mut possible = vec![Rows::new()];
    for (statement, &done) in statements.iter().zip(acknowledged) {
        let mut next = if done { Vec::new() } else { possible.clone() };
        for mut rows in possible {
            statement(&mut rows);
            next.push(rows);
        }
        possible = next;
    }
    let lines = |rows: &Rows| rows.iter().map(|(id, (c, p))| format!("{id}|{c}|{p}")).collect();
    possible.iter().map(lines).collect()
}

fn number_from(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// How many operations a run without faults makes.
fn operations(seed: u64) -> u64 {
    let name = "no fault".to_owned();
    let trial = Trial { disk: TrialMedia::new(seed), clock: Arc::new(TestClock::default()), name };
    let (engine, _) = trial.open();
    let engine = engine.expect("opens");
    trial.complete(&engine);
    engine.shutdown().expect("stops");
    trial.disk.operations()
}

/// What a trial met.
#[derive(Default)]
struct Tally {
    /// Faults that struck.
    struck: u64,
    /// Faults that struck while the engine was opened the first time.
    at_opening: u64,
    /// Second faults that struck in recovery.
    in_recovery: u64,
    /// Deliveries that were refused.
    refused: usize,
    acknowledged: usize,
}

fn trial(seed: u64, at: u64, fault: Fault, random: &mut StdRng, tally: &mut Tally) {
    let disk = TrialMedia::with_fault(seed, at, fault);
    let name = format!("YEOUL_SEED={seed}, {fault:?} at operation {at}");
    let mut trial = Trial { disk, clock: Arc::new(TestClock::default()), name };
    let mut told = Told::default();
    let (engine, media) = trial.open();
    match engine {
        Ok(engine) => {
            trial.run(&engine, &mut told);
            if media.failed_at_all() {
                trial.check_refuses(&engine, &media);
            }
            // Whether that is possible is the fault's to say.
            let _ = engine.shutdown();
        }
        Err(_) => tally.at_opening += 1,
    }
    trial.name += &format!(" ({})", media.failed());
    tally.struck += u64::from(media.failed_at_all());
    tally.refused += told.refused.len();
    tally.acknowledged += told.acknowledged.len();
    trial.disk = trial.disk.after_crash();
    if random.random_bool(0.4) {
        let (at, fault) = (random.random_range(1..=14), FAULTS[random.random_range(0..5)]);
        trial.disk.fail_at(at, fault);
        let (engine, media) = trial.open();
        if let Ok(engine) = engine {
            let _ = engine.shutdown();
        }
        trial.name += &format!(", then {fault:?} at {at} ({})", media.failed());
        tally.in_recovery += u64::from(media.failed_at_all());
        trial.disk = trial.disk.after_crash();
    }
    let opened = trial.open().0;
    let engine = opened.unwrap_or_else(|error| panic!("{}: {error}", trial.name));
    trial.check_recovered(&engine, &told);
    trial.complete(&engine);
    engine.shutdown().expect("stops");
}

#[test]
fn whatever_the_disk_does_nothing_acknowledged_is_lost() {
    let (trials, seed) = (number_from("YEOUL_FAULTS", TRIALS), number_from("YEOUL_SEED", 1));
    let mut random = StdRng::seed_from_u64(seed);
    let all = operations(seed);
    println!("YEOUL_SEED={seed} YEOUL_FAULTS={trials}; {all} operations");
    let mut tally = Tally::default();
    for number in 0..trials {
        // One operation of each stretch; the kinds of faults take turns.
        let (from, to) = (number * all / trials, (number + 1) * all / trials);
        let at = random.random_range(from..to.max(from + 1)) + 1;
        let fault = FAULTS[usize::try_from((number + seed) % 5).expect("small")];
        trial(seed.wrapping_add(number), at, fault, &mut random, &mut tally);
    }
    let Tally { struck, at_opening, in_recovery, refused, acknowledged } = tally;
    println!(
        "{trials} trials, {struck} faults struck, {at_opening} of them at the first opening, {in_recovery} more in \
         recovery; {acknowledged} deliveries acknowledged, {refused} refused"
    );
    assert!(struck * 10 >= trials * 7, "few faults struck: {struck} of {trials}");
    assert!(in_recovery > 0 && refused > 0 && acknowledged > 0);
}
