//! The promise behind a receipt, against sudden ends: producers send numbered events over HTTP until each is
//! acknowledged, while the program is killed at random moments, in commits, checkpoints, merges and recovery, and
//! started again.
//!
//! What must hold after every start: every acknowledged event is there exactly once and nothing that was never
//! sent; every view equals its query; and on the folder of a killed program the books balance.
//!
//! `YEOUL_KILLS=N` sets how often it is killed, `YEOUL_SEED=N` gives other moments and batches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::program::{good, project, rows, text};
use crate::running::{PATIENCE, Running, agent, differences};

/// How often it is killed unless the environment says otherwise.
const KILLS: u64 = 200;
const PRODUCERS: usize = 4;
/// The ids of one producer stand together.
const IDS: u64 = 10_000_000;
/// One in so many kills is followed by an audit of the folder it leaves.
const AUDIT_EVERY: u64 = 20;

/// Limits so small that checkpoints, merges of parts and runs of the duplicate index happen all the time.
const SETTINGS: &str = "[limits]\nmemory_bytes_max = '64 KiB'\nseen_bytes_max = '1 MiB'\n\
    commit_interval_ms = 1\nthreads = 2\n";

const STREAM: &str = "CREATE STREAM kill_events (id BIGINT NOT NULL, ts TIMESTAMPTZ NOT NULL, kind VARCHAR, \
    item BIGINT, cents BIGINT, WATERMARK FOR ts AS ts - INTERVAL '5 seconds') \
    WITH (unique_key = 'id', unique_within = '1 hour')";

const MINUTES: &str = "SELECT window_start, item, count(*) FILTER (WHERE kind = 'view') AS views, \
    count(*) FILTER (WHERE kind = 'click') AS clicks, sum(cents) AS cents \
    FROM TUMBLE(kill_events, ts, INTERVAL '1 minute') GROUP BY window_start, item";
const TOTAL: &str =
    "SELECT count(*) AS n, sum(cents) AS cents, min(id) AS first, max(id) AS last FROM kill_events";
const BUSY: &str = "SELECT item, sum(views) AS views, max(clicks) AS clicks, count(*) AS minutes \
    FROM minutes WHERE clicks > 0 GROUP BY item";
/// Not in the project: dropped and created again while it is killed.
const KINDS: &str =
    "SELECT kind, count(*) AS n, sum(cents) AS cents FROM kill_events GROUP BY kind";

const VIEWS: [(&str, &str); 3] = [("minutes", MINUTES), ("total", TOTAL), ("busy", BUSY)];

/// Per producer: count, distinct ids, first, last, sum.
const BY_PRODUCER: &str = "SELECT id / 10000000 AS producer, count(*), count(DISTINCT id), min(id), max(id), \
    sum(id) FROM kill_events GROUP BY 1 ORDER BY 1";

/// What the threads share.
#[derive(Default)]
struct Stage {
    address: String,
    stop: AtomicBool,
    pause: AtomicBool,
    producers: [Producer; PRODUCERS],
    /// Requests that had to be sent again.
    retries: AtomicU64,
    /// First answers to a batch that said duplicates: it had been stored and the answer was lost.
    lost_answers: AtomicU64,
    /// Acknowledged batches that were sent once more.
    repeats: AtomicU64,
}

/// How far a producer is, in its own events from 0.
#[derive(Default)]
struct Producer {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    idle: AtomicBool,
}

/// The events `from..to` of a producer, as lines. What an event says follows from its id.
fn events(producer: usize, from: u64, to: u64) -> String {
    let line = |n: u64| {
        let id = producer as u64 * IDS + n;
        let kind = if id.is_multiple_of(3) { "click" } else { "view" };
        // The clock of the events goes on by a second per 8 events, and back now and then.
        let second = (n / 8 + (id * 7) % 40) % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!(
            "{{\"id\":{id},\"ts\":\"2026-01-01T{hour:02}:{minute:02}:{second:02}Z\",\"kind\":\"{kind}\",\
             \"item\":{},\"cents\":{}}}\n",
            id % 7,
            id % 1009
        )
    };
    (from..to).map(line).collect()
}

/// Sends a batch until it is acknowledged; stored and dropped events, and whether it took more than one try. `None`
/// when everything ends before that.
fn deliver(
    stage: &Stage,
    agent: &ureq::Agent,
    body: &str,
    key: Option<&str>,
) -> Option<(u64, u64, bool)> {
    let url = format!("{}/v1/ingest/kill_events", stage.address);
    let begun = Instant::now();
    let mut again = false;
    while !stage.stop.load(SeqCst) {
        let mut request = agent.post(&url).header("content-type", "application/x-ndjson");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send(body).map_err(|e| e.to_string()).and_then(|mut response| {
            let status = response.status().as_u16();
            let text = response.body_mut().read_to_string().map_err(|e| e.to_string())?;
            if status == 200 { Ok(text) } else { Err(format!("{status} {text}")) }
        });
        match answer {
            Ok(text) => {
                let receipt: serde_json::Value = serde_json::from_str(&text).expect("a receipt");
                assert_eq!(receipt["dead_letters"], 0, "{text}");
                let count = |name: &str| receipt[name].as_u64().expect("a count");
                return Some((count("accepted"), count("duplicates"), again));
            }
            Err(error) => {
                assert!(begun.elapsed() < PATIENCE, "a batch is never taken: {error}");
                // While the program runs, the only reasons are that it was killed or that its queue is full.
                assert!(!error.starts_with("40"), "a good batch is refused: {error}");
                again = true;
                stage.retries.fetch_add(1, SeqCst);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    None
}

fn produce(number: usize, seed: u64, stage: &Stage) {
    let mut random = StdRng::seed_from_u64(seed ^ (number as u64 + 1) << 32);
    let (agent, own) = (agent(), &stage.producers[number]);
    let mut next = 0;
    while !stage.stop.load(SeqCst) {
        if stage.pause.load(SeqCst) {
            own.idle.store(true, SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        own.idle.store(false, SeqCst);
        let to = next + random.random_range(1..=24);
        let body = events(number, next, to);
        let key = random.random_bool(0.4).then(|| format!("producer {number} from {next}"));
        own.sent.store(to, SeqCst);
        let Some((stored, dropped, again)) = deliver(stage, &agent, &body, key.as_deref()) else {
            return;
        };
        assert_eq!(stored + dropped, to - next, "a receipt counts every event");
        assert!(dropped == 0 || (again && stored == 0), "a batch is stored whole or not at all");
        own.acknowledged.store(to, SeqCst);
        stage.lost_answers.fetch_add(u64::from(dropped > 0), SeqCst);
        if random.random_bool(0.1) {
            let Some((stored, _, _)) = deliver(stage, &agent, &body, key.as_deref()) else {
                return;
            };
            assert_eq!(stored, 0, "an acknowledged batch is stored a second time");
            stage.repeats.fetch_add(1, SeqCst);
        }
        next = to;
        std::thread::sleep(Duration::from_millis(random.random_range(1..=6)));
    }
}

/// The program under trial.
struct Trial<'a> {
    running: Running,
    stage: &'a Stage,
}

impl Trial<'_> {
    /// Every acknowledged event exactly once, every view equal to its query, while producers go on.
    fn check_running(&self) {
        let acknowledged: Vec<u64> =
            self.stage.producers.iter().map(|p| p.acknowledged.load(SeqCst)).collect();
        let found = self.running.ask(BY_PRODUCER);
        let sent: Vec<u64> = self.stage.producers.iter().map(|p| p.sent.load(SeqCst)).collect();
        check_events(&found, &acknowledged, &sent);
        assert_eq!(
            self.running.ask(&differences(&VIEWS)),
            [] as [&str; 0],
            "views differ from their queries"
        );
    }

    /// Drops and creates a view over what is stored.
    fn replace_view(&self) {
        self.running.ask("DROP MATERIALIZED VIEW IF EXISTS kinds");
        self.running.ask(&format!("CREATE MATERIALIZED VIEW kinds AS {KINDS}"));
    }

    /// Lets the producers finish, kills, looks at what is left, first as it lies there.
    fn audit(&mut self) {
        self.stage.pause.store(true, SeqCst);
        let begun = Instant::now();
        while !self.stage.producers.iter().all(|p| p.idle.load(SeqCst)) {
            assert!(begun.elapsed() < PATIENCE, "the producers do not come to an end");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.running.kill();
        let said = good(&["audit", "--data", text(&self.running.data)]);
        assert!(said.contains("every source balances"), "{said}");
        let acknowledged: Vec<u64> =
            self.stage.producers.iter().map(|p| p.acknowledged.load(SeqCst)).collect();
        check_events(&rows(&self.running.data, BY_PRODUCER), &acknowledged, &acknowledged);
        let differences = rows(&self.running.data, &differences(&VIEWS));
        assert_eq!(differences, [] as [&str; 0], "views differ from their queries");
        for producer in &self.stage.producers {
            producer.idle.store(false, SeqCst);
        }
        self.stage.pause.store(false, SeqCst);
    }
}

/// No producer goes on forever when a check fails.
impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.stage.stop.store(true, SeqCst);
    }
}

/// Of each producer a gapless beginning of its events, each once, at least what was acknowledged and at most what
/// was sent.
fn check_events(found: &[String], acknowledged: &[u64], sent: &[u64]) {
    let mut counts = [0; PRODUCERS];
    for line in found {
        let cells: Vec<u64> = line.split(',').map(|cell| cell.parse().expect("a number")).collect();
        let [producer, count, distinct, first, last, sum] =
            <[u64; 6]>::try_from(cells).expect("six columns");
        let base = producer * IDS;
        let whole = (count, base, base + count - 1, count * base + count * (count - 1) / 2);
        assert_eq!(
            (distinct, first, last, sum),
            whole,
            "the events of producer {producer} are not there exactly once: {found:?}"
        );
        counts[usize::try_from(producer).expect("small")] = count;
    }
    for (number, count) in counts.iter().enumerate() {
        let (least, most) = (acknowledged[number], sent[number]);
        assert!(
            (least..=most).contains(count),
            "producer {number}: {least} acknowledged, {most} sent, {count} there"
        );
    }
}

pub(crate) fn number_from(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// A port below those that the system gives to clients, so that no client takes it while nobody listens.
pub(crate) fn free_port(random: &mut StdRng) -> u16 {
    let tries = (0..100).map(|_| random.random_range(20_000..30_000));
    let mut free = tries.filter(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a free port")
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let (kills, seed) = (number_from("YEOUL_KILLS", KILLS), number_from("YEOUL_SEED", 1));
    println!("YEOUL_SEED={seed} YEOUL_KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed);
    let definitions =
        VIEWS.map(|(view, sql)| format!("CREATE MATERIALIZED VIEW {view} AS {sql};\n"));
    let dir = project(&format!("{STREAM};\n{}", definitions.concat()));
    std::fs::write(dir.path().join("yeoul.toml"), SETTINGS).expect("writes");
    // Ports are taken by chance that differs from run to run: two runs at once must not meet.
    let port = free_port(&mut StdRng::seed_from_u64(u64::from(std::process::id())));
    let stage = Stage { address: format!("http://127.0.0.1:{port}"), ..Stage::default() };
    let (mut in_recovery, mut written) = (0, 0);
    std::thread::scope(|scope| {
        let stage = &stage;
        let mut trial = Trial { running: Running::new(dir.path(), &stage.address), stage };
        for number in 0..PRODUCERS {
            scope.spawn(move || produce(number, seed, stage));
        }
        for kill in 1..=kills {
            trial.running.start();
            if random.random_bool(0.25) {
                let most = u64::try_from(trial.running.ready_after.as_micros()).expect("short");
                std::thread::sleep(Duration::from_micros(random.random_range(0..=most)));
                trial.running.kill();
                in_recovery += 1;
                continue;
            }
            trial.running.wait_ready();
            trial.check_running();
            let replace = random.random_bool(0.1);
            if replace {
                trial.replace_view();
            }
            let delay = if replace { 0..=20 } else { 5..=150 };
            std::thread::sleep(Duration::from_millis(random.random_range(delay)));
            if kill % AUDIT_EVERY == 0 { trial.audit() } else { trial.running.kill() }
        }
        trial.running.start();
        trial.running.wait_ready();
        trial.replace_view();
        wait_built(&trial);
        assert_eq!(trial.running.ask(&differences(&[("kinds", KINDS)])), [] as [&str; 0]);
        written = files_written(&trial);
        trial.audit();
    });
    let acknowledged: u64 = stage.producers.iter().map(|p| p.acknowledged.load(SeqCst)).sum();
    let [retries, lost, repeats] =
        [&stage.retries, &stage.lost_answers, &stage.repeats].map(|count| count.load(SeqCst));
    println!(
        "{kills} kills, {in_recovery} of them in recovery; {written} parts written; {acknowledged} events \
         acknowledged; {retries} requests sent again, {lost} answers lost after the commit, {repeats} batches repeated"
    );
    assert!(acknowledged > kills * 10, "hardly anything was sent: {acknowledged}");
    assert!(written > kills, "checkpoints and merges did not go on all the time: {written} parts");
    assert!(retries > kills && repeats > 0, "nothing was sent again");
}

/// The number of the newest part: they are never used twice, so it counts what checkpoints and merges wrote.
fn files_written(trial: &Trial<'_>) -> u64 {
    let number = |path: &String| path.rsplit('/').next()?.strip_suffix(".parquet")?.parse().ok();
    trial
        .running
        .ask("SELECT path FROM yeoul.parts")
        .iter()
        .filter_map(number)
        .max()
        .unwrap_or_default()
}

fn wait_built(trial: &Trial<'_>) {
    let begun = Instant::now();
    while trial.running.ask("SELECT status FROM yeoul.views WHERE name = 'kinds'") != ["ready"] {
        assert!(begun.elapsed() < PATIENCE, "the view is never built");
        std::thread::sleep(Duration::from_millis(5));
    }
}
