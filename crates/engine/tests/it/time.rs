//! Views that go by time: rows that are there by the clock, and windows that are told when they are closed. The clock is
//! set by hand; `now()` of a query is the same clock, so a query asked at a moment says what the view has to hold.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use yeoul_engine::{Clock, Engine};

use super::path::copy_dir;
use super::support::{ok, options, run, settle};

pub(crate) const BEGIN_US: i64 = 1_767_225_600_000_000; // 2026-01-01
pub(crate) const SECOND: i64 = 1_000_000;

/// A clock that is set by hand.
#[derive(Debug)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// An engine whose clock is set by hand, and chance.
pub(crate) struct Bench {
    clock: Arc<HandClock>,
    dir: tempfile::TempDir,
    engine: Option<Engine>,
    draw: u64,
}

fn open(dir: &Path, clock: &Arc<HandClock>) -> Engine {
    Engine::open(dir, Arc::<HandClock>::clone(clock), options(), &mut |_| {}).expect("opens")
}

impl Bench {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(HandClock(AtomicI64::new(BEGIN_US)));
        let dir = tempfile::tempdir().expect("a folder");
        let engine = Some(open(dir.path(), &clock));
        Self { clock, dir, engine, draw: 11 }
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it is only away while it is opened again")
    }

    pub(crate) fn ok(&self, sql: &str) -> Vec<String> {
        ok(self.engine(), sql)
    }

    fn sorted(&self, sql: &str) -> Vec<String> {
        let mut lines = self.ok(sql);
        lines.sort();
        lines
    }

    pub(crate) fn pass(&self, us: i64) {
        self.clock.0.fetch_add(us, Ordering::SeqCst);
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.draw = self
            .draw
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.draw >> 33) % bound
    }

    /// A time around the clock.
    fn time(&mut self, before: u64, after: u64) -> String {
        let shift = i64::try_from(self.below(before + after)).expect("small");
        let us = self.clock.now_us() + (shift - i64::try_from(before).expect("small")) * SECOND;
        format!("to_timestamp_micros({us})")
    }

    /// The view is what the query answers now; a tick may be on its way.
    pub(crate) fn same(&self, view: &str, query: &str, when: &str) {
        settle(self.engine());
        let mut got = Vec::new();
        let expected = self.sorted(query);
        for _ in 0..600 {
            got = self.sorted(&format!("SELECT * FROM {view}"));
            if got == expected {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(got, expected, "{when}: {view}: {query}");
    }

    /// Goes on from what a stop or a kill leaves.
    pub(crate) fn again(&mut self, killed: bool) {
        let copy = tempfile::tempdir().expect("a folder");
        if killed {
            self.ok("FLUSH");
            copy_dir(self.dir.path(), copy.path());
        }
        self.engine.take().expect("it is open").shutdown().expect("stops");
        if killed {
            self.dir = copy;
        }
        self.engine = Some(open(self.dir.path(), &self.clock));
    }
}

const BY_CLOCK: [(&str, &str); 9] = [
    ("recent", "SELECT id, n FROM s WHERE ts > now() - INTERVAL '1 minute'"),
    ("between", "SELECT id, ts FROM s WHERE ts BETWEEN now() - INTERVAL '40 seconds' AND now()"),
    ("ahead", "SELECT id FROM s WHERE ts > now()"),
    (
        "age",
        "SELECT id FROM s WHERE now() - ts < INTERVAL '50 seconds' AND INTERVAL '10 seconds' >= ts - now() AND ts - now() > INTERVAL '-1 day'",
    ),
    ("due", "SELECT id, n FROM s WHERE ts + INTERVAL '20 seconds' <= current_timestamp"),
    (
        "counted",
        "SELECT n % 3 AS k, count(*) AS c, sum(n) AS total, max(n) AS most FROM s
                 WHERE ts >= now() - INTERVAL '30 seconds' AND n > 2 GROUP BY n % 3",
    ),
    ("valid", "SELECT id, v FROM t WHERE ends > now() AND now() >= begins"),
    (
        "at_most",
        "SELECT v, count(*) AS c FROM t WHERE begins < now() GROUP BY v HAVING max(ends) < now()",
    ),
    (
        "joined",
        "SELECT s.id, t.v FROM s JOIN t ON s.n = t.id
                WHERE s.ts > now() - INTERVAL '1 minute' AND t.ends > now()",
    ),
];

#[test]
fn rows_come_and_go_by_the_clock() {
    let mut bench = Bench::new();
    bench.ok(
        "CREATE STREAM s (id BIGINT, ts TIMESTAMPTZ, n BIGINT, WATERMARK FOR ts AS ts) WITH (future_skew = 'unlimited');
         CREATE TABLE t (id BIGINT PRIMARY KEY, begins TIMESTAMPTZ, ends TIMESTAMP, v BIGINT)",
    );
    let create = |bench: &Bench, at: usize| {
        let (name, query) = BY_CLOCK[at];
        bench.ok(&format!("CREATE MATERIALIZED VIEW v_{name} AS {query}"));
    };
    let mut id = 0;
    for step in 0..36 {
        match step {
            0 => (0..BY_CLOCK.len()).step_by(2).for_each(|at| create(&bench, at)),
            // Built from stored rows, of which some are decided for ever.
            12 => {
                (1..BY_CLOCK.len()).step_by(2).for_each(|at| create(&bench, at));
                bench.ok("CREATE MATERIALIZED VIEW over AS SELECT count(*) AS c, sum(n) AS s FROM v_recent");
            }
            20 | 30 => bench.again(step == 30),
            26 => bench.engine().checkpoint().expect("writes"),
            _ => {}
        }
        for _ in 0..bench.below(3) {
            id += 1;
            let (time, n) = (bench.time(70, 40), bench.below(9));
            let time = if bench.below(9) == 0 { "NULL".to_owned() } else { time };
            bench.ok(&format!("INSERT INTO s VALUES ({id}, {time}, {n}), ({id}, {time}, {n})"));
            let (key, begins, ends) = (bench.below(9), bench.time(60, 60), bench.time(20, 90));
            bench.ok(&format!("DELETE FROM t WHERE id = {key}"));
            bench.ok(&format!(
                "INSERT INTO t VALUES ({key}, {begins}, CAST({ends} AS TIMESTAMP), {})",
                key % 4
            ));
        }
        let gone = bench.below(20);
        bench.ok(&format!("DELETE FROM t WHERE id = {gone}"));
        let seconds = i64::try_from(1 + bench.below(15)).expect("small");
        bench.pass(seconds * SECOND);
        for (at, (name, query)) in BY_CLOCK.iter().enumerate() {
            if at % 2 == 0 || step >= 12 {
                bench.same(&format!("v_{name}"), query, &format!("step {step}"));
            }
        }
        if step >= 12 {
            bench.same(
                "over",
                &format!("SELECT count(*) AS c, sum(n) AS s FROM ({}) x", BY_CLOCK[0].1),
                "over",
            );
        }
    }
    // Long after nothing is recent, and with nothing due there are no commits.
    bench.pass(3_600 * SECOND);
    for (name, query) in BY_CLOCK {
        bench.same(&format!("v_{name}"), query, "long after");
    }
    let wait = || std::thread::sleep(std::time::Duration::from_millis(200));
    wait();
    let quiet = bench.engine().health().commit;
    bench.pass(3_600 * SECOND);
    wait();
    assert_eq!(bench.engine().health().commit, quiet, "nothing is due");
    bench.engine().shutdown().expect("stops");
}

#[test]
fn now_elsewhere_is_refused() {
    let bench = Bench::new();
    bench.ok("CREATE STREAM s (id BIGINT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts)");
    for query in [
        "SELECT id, now() AS seen FROM s",
        "SELECT id FROM s WHERE ts > now() OR id = 1",
        "SELECT id FROM s WHERE ts > now() - INTERVAL '1 month'",
        "SELECT id FROM s WHERE ts <> now()",
        "SELECT id FROM s WHERE id > extract(epoch FROM now())",
        "SELECT a.id FROM s a LEFT JOIN s b ON a.id = b.id AND a.ts > now()",
        "SELECT max(now() - ts) AS age FROM s",
    ] {
        let error = run(bench.engine(), &format!("CREATE MATERIALIZED VIEW v AS {query}"));
        let error = error.expect_err(query).to_string();
        assert!(error.contains("now()"), "{query}: {error}");
    }
    bench.engine().shutdown().expect("stops");
}

pub(crate) fn timestamp(us: i64) -> String {
    format!("to_timestamp_micros({us})")
}

#[test]
fn the_least_watermark_closes_and_an_idle_stream_holds_nothing() {
    let mut bench = Bench::new();
    bench.ok(
        "CREATE STREAM a (n BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t) WITH (watermark_idle = '30 seconds');
         CREATE STREAM b (n BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t);
         CREATE MATERIALIZED VIEW of_a AS SELECT t, n FROM a WHERE n > 0;
         CREATE MATERIALIZED VIEW both AS
           SELECT window_end, count(*) AS c, sum(n) AS s
           FROM TUMBLE((SELECT t, n FROM of_a UNION ALL SELECT t, n FROM b), t, INTERVAL '1 minute')
           GROUP BY window_end EMIT ON WINDOW CLOSE;
         CREATE MATERIALIZED VIEW longer AS
           SELECT window_end AS w, sum(s) AS s FROM TUMBLE((SELECT window_end AS e, s FROM both), e, INTERVAL '2 minutes')
           GROUP BY window_end EMIT ON WINDOW CLOSE",
    );
    // A stream to which nothing has come yet holds windows, until it is idle too.
    bench.pass(29 * SECOND);
    let insert = |bench: &Bench, stream: &str, n: i64, minute: i64| {
        let time = timestamp(BEGIN_US + minute * 60 * SECOND);
        bench.ok(&format!("INSERT INTO {stream} VALUES ({n}, {time})"));
    };
    let told =
        |bench: &Bench| bench.sorted("SELECT date_part('minute', window_end), c, s FROM both");
    insert(&bench, "b", 2, 0);
    insert(&bench, "b", 4, 5);
    assert_eq!(told(&bench), Vec::<String>::new(), "a has not been quiet for long enough");
    insert(&bench, "a", 1, 0);
    assert_eq!(told(&bench), Vec::<String>::new(), "a is still at the beginning");
    insert(&bench, "a", 8, 1);
    assert_eq!(told(&bench), ["1|2|3"]);
    bench.again(true);
    insert(&bench, "b", 16, 9);
    bench.pass(20 * SECOND);
    insert(&bench, "b", 32, 10);
    assert_eq!(told(&bench), ["1|2|3"], "a has been quiet for too short a time");
    bench.pass(10 * SECOND);
    // No row comes: the clock alone lets a be idle.
    bench.same(
        "both",
        "SELECT * FROM (SELECT window_end, count(*) AS c, sum(n) AS s
           FROM TUMBLE((SELECT t, n FROM of_a UNION ALL SELECT t, n FROM b), t, INTERVAL '1 minute')
           GROUP BY window_end) x WHERE window_end <= TIMESTAMPTZ '2026-01-01 00:10:00Z'",
        "a is idle",
    );
    let minutes = bench.sorted("SELECT date_part('minute', w), s FROM longer");
    assert_eq!(minutes, ["2|3", "4|8", "8|4"], "the window of 10 to 12 is open");
    // What comes from a now is late, and changes nothing.
    let before = told(&bench);
    insert(&bench, "a", 64, 2);
    bench.again(false);
    insert(&bench, "a", 128, 3);
    assert_eq!(told(&bench), before);
    bench.engine().shutdown().expect("stops");
}

#[test]
fn what_has_no_window_to_close_is_refused() {
    let bench = Bench::new();
    bench.ok("CREATE STREAM s (n BIGINT, t TIMESTAMPTZ, u TIMESTAMPTZ, WATERMARK FOR t AS t);
         CREATE TABLE p (n BIGINT PRIMARY KEY, name VARCHAR)");
    for query in [
        "SELECT n, t FROM s",
        "SELECT a.w, a.n, b.c FROM
         (SELECT window_end AS w, n FROM TUMBLE(s, t, INTERVAL '1 minute') GROUP BY window_end, n) a LEFT JOIN
         (SELECT window_end AS w, count(*) AS c FROM TUMBLE(s, t, INTERVAL '1 minute') GROUP BY window_end) b ON a.n = b.c",
        "SELECT a.b, a.e, b.c FROM
         (SELECT window_start AS b, window_end AS e, count(*) AS c
          FROM CUMULATE(s, t, INTERVAL '1 minute', INTERVAL '2 minutes') GROUP BY window_start, window_end) a LEFT JOIN
         (SELECT window_start AS b, count(*) AS c FROM TUMBLE(s, t, INTERVAL '2 minutes') GROUP BY window_start) b
         ON a.b = b.b",
        "SELECT b, e, c FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY b ORDER BY c DESC, e) AS r FROM
         (SELECT window_start AS b, window_end AS e, count(*) AS c
          FROM CUMULATE(s, t, INTERVAL '1 minute', INTERVAL '2 minutes') GROUP BY window_start, window_end) x) y
         WHERE r = 1",
        "SELECT count(*) AS c FROM s",
        "SELECT n, count(*) AS c FROM s GROUP BY n",
        "SELECT window_end, count(*) AS c FROM TUMBLE(s, u, INTERVAL '1 minute') GROUP BY window_end",
        "SELECT window_end AS w, a.n FROM TUMBLE(s, t, INTERVAL '1 minute') a JOIN s b ON a.n = b.n
         GROUP BY window_end, a.n",
        "SELECT w, c, name FROM (SELECT window_end AS w, n, count(*) AS c
         FROM TUMBLE(s, t, INTERVAL '1 minute') GROUP BY window_end, n) x JOIN p ON x.n = p.n",
    ] {
        let error = run(
            bench.engine(),
            &format!("CREATE MATERIALIZED VIEW v AS {query} EMIT ON WINDOW CLOSE"),
        );
        let error = error.expect_err(query).to_string();
        assert!(error.contains("EMIT ON WINDOW CLOSE"), "{query}: {error}");
    }
    let text =
        bench.ok("EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT window_start, name, count(*) AS c
         FROM TUMBLE(s, t, INTERVAL '1 minute') a JOIN p ON a.n = p.n
         WHERE t > now() - INTERVAL '1 hour' GROUP BY window_start, name");
    assert!(text.join("\n").contains("Rows by the clock: until t + 1 h"), "{text:?}");
    let text =
        bench.ok("EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT window_start, name, count(*) AS c
         FROM TUMBLE(s, t, INTERVAL '1 minute') a JOIN p ON a.n = p.n
         GROUP BY window_start, name EMIT ON WINDOW CLOSE");
    assert!(text.join("\n").contains("passes window_start + 1 min"), "{text:?}");
    bench.engine().shutdown().expect("stops");
}

#[test]
fn what_is_kept_of_closed_windows_is_released() {
    let bench = Bench::new();
    bench.ok("CREATE STREAM s (n BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t);
         CREATE MATERIALIZED VIEW v AS
           SELECT window_end, n, count(*) AS c FROM TUMBLE(s, t, INTERVAL '1 minute')
           GROUP BY window_end, n EMIT ON WINDOW CLOSE;
         CREATE MATERIALIZED VIEW r AS SELECT n, t FROM s WHERE t > now() - INTERVAL '1 minute'");
    let kept = |bench: &Bench, tree: &str| -> u64 {
        let sql = format!("SELECT coalesce(sum(rows), 0) FROM yeoul.parts WHERE tree = '{tree}'");
        bench.ok(&sql)[0].parse().expect("a number")
    };
    for minute in 0..100 {
        let time = timestamp(bench.clock.now_us());
        let rows: Vec<String> = (0..20).map(|n| format!("({n}, {time})")).collect();
        bench.ok(&format!("INSERT INTO s VALUES {}", rows.join(", ")));
        bench.pass(60 * SECOND);
        if minute % 10 == 9 {
            bench.engine().checkpoint().expect("writes");
        }
    }
    // 2000 groups were told and 2000 rows came and went. Parts are merged in the background, a few at a time.
    let merged = |bench: &Bench| kept(bench, "v.1") < 1_000 && kept(bench, "r.2") < 1_000;
    for _ in 0..600 {
        if merged(&bench) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(merged(&bench), "{:?}", bench.ok("SELECT tree, rows, level FROM yeoul.parts"));
    assert_eq!(bench.ok("SELECT count(*) FROM v"), ["1980"]);
    bench.engine().shutdown().expect("stops");
}
