//! `EMIT ON WINDOW CLOSE`: a window is told once, when the watermark has passed its end, and a session when nothing can
//! prolong or join it.
//! The slow twin is the batch query over the rows that were not too late when they came.

use super::support::run;
use super::time::{BEGIN_US, Bench, SECOND, timestamp};

/// Queries over `{}`, and what says of their rows whether they are told at `$closed`.
const WINDOWS: [(&str, &str, &str); 8] = [
    (
        "paired",
        "SELECT a.w AS w, a.k, a.c, b.s FROM
         (SELECT window_end AS w, k, count(*) AS c FROM TUMBLE({}, t, INTERVAL '1 minute') GROUP BY window_end, k) a
         LEFT JOIN (SELECT window_end AS w, k, sum(n) AS s
                    FROM TUMBLE((SELECT * FROM {} WHERE n > 40), t, INTERVAL '1 minute') GROUP BY window_end, k) b
         ON a.w = b.w AND a.k = b.k",
        "w <= $closed",
    ),
    (
        "met",
        "SELECT a.w AS w, a.c, b.s FROM
         (SELECT window_end AS w, count(*) AS c FROM TUMBLE({}, t, INTERVAL '1 minute') GROUP BY window_end) a
         JOIN (SELECT window_end AS w, sum(n) AS s FROM HOP({}, t, INTERVAL '30 seconds', INTERVAL '1 minute')
               GROUP BY window_end) b ON a.w = b.w",
        "w <= $closed",
    ),
    ("tumbled", "SELECT window_start, k, count(*) AS c, sum(n) AS s, max(n) AS m
                 FROM TUMBLE({}, t, INTERVAL '1 minute') GROUP BY window_start, k",
     "window_start + INTERVAL '1 minute' <= $closed"),
    ("hopped", "SELECT window_end, count(DISTINCT k) AS ks, avg(n) AS a
                FROM HOP({}, t, INTERVAL '20 seconds', INTERVAL '1 minute') GROUP BY window_end",
     "window_end <= $closed"),
    ("cumulated", "SELECT k, window_end AS until, window_start, count(*) AS c
                   FROM CUMULATE({}, t, INTERVAL '30 seconds', INTERVAL '2 minutes')
                   GROUP BY window_start, window_end, k HAVING count(*) > 1",
     "until <= $closed"),
    ("shifted", "SELECT window_end AS w, sum(m) AS s FROM
                 TUMBLE((SELECT t, n * 2 AS m FROM {} WHERE n % 3 <> 0), t, INTERVAL '45 seconds')
                 GROUP BY window_end",
     "w <= $closed"),
    ("best", "SELECT w, k, c FROM (SELECT w, k, c, ROW_NUMBER() OVER (PARTITION BY w ORDER BY c DESC, k) AS r
              FROM (SELECT window_end AS w, k, count(*) AS c FROM TUMBLE({}, t, INTERVAL '1 minute')
                    GROUP BY window_end, k) x) y WHERE r <= 2",
     "w <= $closed"),
    ("both", "SELECT window_end AS w, count(*) AS c FROM TUMBLE({}, t, INTERVAL '1 minute') GROUP BY window_end
              UNION ALL SELECT window_end, sum(n) FROM TUMBLE({}, t, INTERVAL '2 minutes') GROUP BY window_end",
     "w <= $closed"),
];

/// The same of sessions.
const SESSIONS: [(&str, &str, &str); 12] = [
    ("visits", "SELECT k, window_start, window_end, count(*) AS c, sum(n) AS s, max(n) AS m
                FROM SESSION({} PARTITION BY k, t, INTERVAL '7 seconds') GROUP BY k, window_start, window_end",
     "window_end < $closed"),
    ("all_in_one", "SELECT window_end AS w, count(*) AS c, count(DISTINCT k) AS ks
                    FROM SESSION({}, t, INTERVAL '2 seconds') GROUP BY window_end HAVING count(*) > 1",
     "w < $closed"),
    ("some", "SELECT k, window_end AS w, sum(n) AS s FROM SESSION({} PARTITION BY k, t, INTERVAL '7 seconds')
              WHERE n % 3 <> 0 GROUP BY k, window_end",
     "w < $closed"),
    ("distinct_ones", "SELECT DISTINCT window_end AS w, k FROM SESSION({} PARTITION BY k, t, INTERVAL '7 seconds')",
     "w < $closed"),
    // Of live groups: their rows come and go.
    ("of_groups", "SELECT window_end AS w, k, sum(c) AS c, count(*) AS n FROM
                   SESSION((SELECT window_end AS e, k, count(*) AS c FROM TUMBLE({}, t, INTERVAL '10 seconds')
                            GROUP BY window_end, k) PARTITION BY k, e, INTERVAL '12 seconds')
                   GROUP BY window_end, k",
     "w <= $closed"),
    ("of_sessions", "SELECT window_end AS w, count(*) AS c, sum(s) AS s FROM
                     TUMBLE((SELECT k, window_end AS e, sum(n) AS s FROM SESSION({} PARTITION BY k, t, INTERVAL '7 seconds')
                             GROUP BY k, window_end), e, INTERVAL '1 minute') GROUP BY window_end",
     "w <= $closed"),
    ("both", "SELECT window_end AS w, count(*) AS c FROM SESSION({} PARTITION BY k, t, INTERVAL '7 seconds') GROUP BY k, window_end
              UNION ALL SELECT window_end, sum(n) FROM SESSION({}, t, INTERVAL '4 seconds') GROUP BY window_end",
     "w < $closed"),
    ("matched", "SELECT a.w AS w, a.k, a.c, b.s FROM
                 (SELECT window_end AS w, k, count(*) AS c FROM SESSION({} PARTITION BY k, t, INTERVAL '7 seconds')
                  GROUP BY window_end, k) a
                 LEFT JOIN (SELECT window_end AS w, k, sum(n) AS s
                            FROM SESSION((SELECT * FROM {} WHERE n > 20) PARTITION BY k, t, INTERVAL '7 seconds')
                            GROUP BY window_end, k) b
                 ON a.w = b.w AND a.k = b.k",
     "w < $closed"),
    ("best", "SELECT w, k, c FROM (SELECT w, k, c, ROW_NUMBER() OVER (PARTITION BY w ORDER BY c DESC, k) AS r
              FROM (SELECT window_end AS w, k, count(*) AS c FROM SESSION({} PARTITION BY k, t, INTERVAL '2 seconds')
                    GROUP BY window_end, k) x) y WHERE r <= 1",
     "w < $closed"),
    ("shares", "SELECT w, k, c, sum(c) OVER (PARTITION BY w) AS of_all, rank() OVER (PARTITION BY w ORDER BY c) AS r
                FROM (SELECT window_end AS w, k, count(*) AS c FROM TUMBLE({}, t, INTERVAL '30 seconds')
                      GROUP BY window_end, k) x",
     "w <= $closed"),
    ("lagged", "SELECT window_end AS w, sum(n - before) AS moved FROM
                (SELECT *, lag(n) OVER (PARTITION BY window_end, k ORDER BY t, n) AS before
                 FROM TUMBLE({}, t, INTERVAL '30 seconds')) x GROUP BY window_end",
     "w <= $closed"),
    ("sets", "SELECT window_end AS w, k, count(*) AS c FROM TUMBLE({}, t, INTERVAL '30 seconds')
              GROUP BY GROUPING SETS ((window_end, k), (window_end))",
     "w <= $closed"),
];

/// What comes of a row that is made up.
enum Fate {
    /// No query leaves it out.
    Taken,
    /// Every query leaves it out.
    Late,
    /// It is not sent: some queries would take it.
    Not,
}

/// Views of `cases` (name, query over `{}`, condition of what is told at `$closed`) over rows that come up to `behind`
/// seconds after newer ones and `ahead` seconds before, compared with their queries over the rows that were in time,
/// with restarts, a kill, and views made later.
fn told_once(
    bench: &mut Bench,
    cases: &[(&str, &str, &str)],
    (behind, ahead): (u64, u64),
    fate: impl Fn(i64, i64) -> Fate,
    mut each: impl FnMut(&Bench),
) {
    let columns = "n BIGINT, k VARCHAR, t TIMESTAMPTZ";
    bench.ok(&format!(
        "CREATE STREAM e ({columns}, WATERMARK FOR t AS t - INTERVAL '5 seconds') WITH (lateness = '10 seconds');
         CREATE STREAM taken ({columns})"
    ));
    let create = |bench: &Bench, at: usize, how: &str| {
        let (name, query, _) = cases[at];
        let query = query.replace("{}", "e");
        bench.ok(&format!(
            "CREATE {how} MATERIALIZED VIEW c_{name} AS {query} EMIT ON WINDOW CLOSE"
        ));
    };
    (0..cases.len()).step_by(2).for_each(|at| create(bench, at, ""));
    let (mut newest, mut closed) = (BEGIN_US, i64::MIN);
    let mut late = 0;
    for step in 0..45 {
        match step {
            // Until here nothing was late, so that these are built from the rows that the others took.
            10 => {
                (1..cases.len()).step_by(2).for_each(|at| create(bench, at, ""));
                create(bench, 0, "OR REPLACE");
            }
            18 | 32 => bench.again(step == 32),
            25 => bench.engine().checkpoint().expect("writes"),
            _ => {}
        }
        let (mut rows, mut kept) = (Vec::new(), Vec::new());
        for _ in 0..1 + bench.below(6) {
            let behind = if step < 10 { 10 } else { behind };
            let shift = i64::try_from(bench.below(behind + ahead)).expect("small");
            let time = newest + (shift - i64::try_from(behind).expect("small")) * SECOND;
            let (n, k) = (bench.below(50), bench.below(3));
            let row = format!("({n}, 'k{k}', {})", timestamp(time));
            match fate(time, closed) {
                Fate::Taken => kept.push(row.clone()),
                Fate::Late => late += 1,
                Fate::Not => continue,
            }
            rows.push((row, time));
        }
        if rows.is_empty() {
            continue;
        }
        let values: Vec<&str> = rows.iter().map(|(row, _)| row.as_str()).collect();
        bench.ok(&format!("INSERT INTO e VALUES {}", values.join(", ")));
        if !kept.is_empty() {
            bench.ok(&format!("INSERT INTO taken VALUES {}", kept.join(", ")));
        }
        newest = rows.iter().map(|(_, time)| *time).fold(newest, i64::max);
        closed = closed.max(newest - 15 * SECOND);
        for (at, (name, query, told)) in cases.iter().enumerate() {
            if at % 2 == 0 || step >= 10 {
                let query = query.replace("{}", "taken");
                let told = told.replace("$closed", &timestamp(closed));
                let query = format!("SELECT * FROM ({query}) q WHERE {told}");
                bench.same(&format!("c_{name}"), &query, &format!("step {step}"));
            }
        }
        each(bench);
    }
    assert!(late > 5, "too few rows were late to prove anything");
}

#[test]
fn windows_are_told_once_when_they_are_closed() {
    let mut bench = Bench::new();
    let fate = |time: i64, closed: i64| {
        let ends =
            |seconds: i64| time.div_euclid(seconds * SECOND) * seconds * SECOND + seconds * SECOND;
        // HOP and CUMULATE end a window every 20 and 30 seconds.
        if [20, 30, 45, 60, 120].iter().all(|seconds| ends(*seconds) > closed) {
            Fate::Taken
        } else if ends(120) <= closed && time + 60 * SECOND <= closed {
            Fate::Late
        } else {
            Fate::Not
        }
    };
    told_once(&mut bench, &WINDOWS, (100, 25), fate, |bench| {
        let query = "SELECT count(*) AS c, sum(s) AS s FROM c_tumbled";
        bench.ok(&format!("CREATE MATERIALIZED VIEW IF NOT EXISTS follows AS {query}"));
        bench.same("follows", query, "follows");
    });
    let listed = bench.ok("SELECT sum(rows) >= 1 FROM yeoul.late_rows WHERE stream = 'e'");
    assert_eq!(listed, ["true"]);
    bench.engine().shutdown().expect("stops");
}

#[test]
fn sessions_are_told_once_when_nothing_can_join_them() {
    let mut bench = Bench::new();
    let fate = |time: i64, closed: i64| {
        if time >= closed {
            Fate::Taken
        } else if time.div_euclid(30 * SECOND) * 30 * SECOND + 30 * SECOND > closed {
            // In time for a window, too late for a session.
            Fate::Not
        } else {
            Fate::Late
        }
    };
    told_once(&mut bench, &SESSIONS, (60, 15), fate, |_| {});
    let told = bench.ok("SELECT count(*) > 20 FROM c_visits");
    assert_eq!(told, ["true"], "too few sessions were told to prove anything");
    bench.engine().shutdown().expect("stops");
}

#[test]
fn what_is_kept_of_sessions_is_released_with_them() {
    let bench = Bench::new();
    bench.ok("CREATE STREAM s (n BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t);
         CREATE MATERIALIZED VIEW v AS
           SELECT n, window_start, window_end, count(*) AS c FROM SESSION(s PARTITION BY n, t, INTERVAL '10 seconds')
           GROUP BY n, window_start, window_end EMIT ON WINDOW CLOSE");
    for minute in 0..100 {
        let time = timestamp(BEGIN_US + minute * 60 * SECOND);
        let rows: Vec<String> = (0..20).map(|n| format!("({n}, {time})")).collect();
        bench.ok(&format!("INSERT INTO s VALUES {}", rows.join(", ")));
        if minute % 10 == 9 {
            bench.engine().checkpoint().expect("writes");
        }
    }
    // 2000 sessions and as many timers; parts are merged in the background, a few at a time.
    let kept = || {
        let sql = "SELECT coalesce(sum(rows), 0) FROM yeoul.parts WHERE tree IN ('v.1', 'v.2')";
        bench.ok(sql)[0].parse::<u64>().expect("a number")
    };
    for _ in 0..600 {
        if kept() < 2_000 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(kept() < 2_000, "{:?}", bench.ok("SELECT tree, rows, level FROM yeoul.parts"));
    assert_eq!(bench.ok("SELECT count(*) FROM v"), ["1980"]);
    bench.engine().shutdown().expect("stops");
}

#[test]
fn an_idle_stream_holds_no_session() {
    let mut bench = Bench::new();
    bench.ok(
        "CREATE STREAM a (n BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t) WITH (watermark_idle = '30 seconds');
         CREATE STREAM b (n BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t);
         CREATE MATERIALIZED VIEW both AS
           SELECT window_start AS f, window_end AS w, count(*) AS c, sum(n) AS s
           FROM SESSION((SELECT t, n FROM a UNION ALL SELECT t, n FROM b), t, INTERVAL '10 seconds')
           GROUP BY window_start, window_end EMIT ON WINDOW CLOSE",
    );
    let insert = |bench: &Bench, stream: &str, n: i64, second: i64| {
        let time = timestamp(BEGIN_US + second * SECOND);
        bench.ok(&format!("INSERT INTO {stream} VALUES ({n}, {time})"));
    };
    let told = |bench: &Bench| bench.ok("SELECT date_part('second', w), c, s FROM both ORDER BY w");
    insert(&bench, "a", 1, 0);
    insert(&bench, "b", 2, 4);
    // A row exactly a gap behind the last one is in the session.
    insert(&bench, "b", 4, 14);
    insert(&bench, "b", 8, 50);
    assert_eq!(told(&bench), Vec::<String>::new(), "a is still at the beginning");
    insert(&bench, "a", 16, 24);
    assert_eq!(told(&bench), Vec::<String>::new(), "24 is in the session, and so would be 34");
    bench.again(true);
    insert(&bench, "a", 32, 34);
    insert(&bench, "a", 64, 45);
    assert_eq!(told(&bench), ["44.0|5|55"], "nothing that comes now is before 45");
    // Too late for the session, whether it was told or goes on.
    insert(&bench, "b", 128, 40);
    insert(&bench, "b", 256, 44);
    bench.again(false);
    bench.pass(31 * SECOND);
    insert(&bench, "b", 512, 59);
    assert_eq!(told(&bench), ["44.0|5|55"], "the session of 45 goes on");
    bench.pass(31 * SECOND);
    insert(&bench, "b", 1024, 100);
    assert_eq!(told(&bench), ["44.0|5|55", "9.0|3|584"], "a is idle");
    bench.engine().shutdown().expect("stops");
}

#[test]
fn sessions_without_an_end_are_refused() {
    let bench = Bench::new();
    bench.ok(
        "CREATE STREAM s (n BIGINT, k VARCHAR, t TIMESTAMPTZ, u TIMESTAMPTZ, WATERMARK FOR t AS t)",
    );
    let refused = |query: &str, why: &str| {
        let create = format!("CREATE MATERIALIZED VIEW v AS {query} EMIT ON WINDOW CLOSE");
        let error = run(bench.engine(), &create).expect_err(query);
        let text = format!("{error:?}");
        assert!(text.contains(why), "{query}: {text}");
    };
    let gap = "INTERVAL '1 minute'";
    refused(
        &format!("SELECT window_end, count(*) AS c FROM SESSION(s, u, {gap}) GROUP BY window_end"),
        "not over the column that has the WATERMARK",
    );
    refused(
        &format!(
            "SELECT n, count(*) AS c FROM SESSION(s PARTITION BY k, t, {gap}) GROUP BY n, window_end"
        ),
        "not grouped by all of its columns",
    );
    refused("SELECT n, count(*) AS c FROM s GROUP BY n", "no window among its columns");
    refused(
        "SELECT window_end, count(*) AS c FROM TUMBLE((SELECT u FROM s), u, INTERVAL '1 minute') GROUP BY window_end",
        "no window among its columns",
    );
    refused(
        &format!("SELECT n, window_end FROM SESSION(s PARTITION BY k, t, {gap})"),
        "not grouped by all of its columns",
    );
    refused(
        &format!("SELECT count(*) AS c FROM (SELECT k, window_start AS w FROM SESSION(s PARTITION BY k, t, {gap})
                  GROUP BY k, window_start) x GROUP BY w"),
        "no window among its columns",
    );
    refused(
        &format!("SELECT k, w, lag(w) OVER (PARTITION BY k ORDER BY w) AS b FROM
                  (SELECT k, window_end AS w FROM SESSION(s PARTITION BY k, t, {gap}) GROUP BY k, window_end) x"),
        "goes on over several windows",
    );
    let text = bench.ok(&format!(
        "EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT k, window_start, window_end, count(*) AS c
         FROM SESSION(s PARTITION BY k, t, {gap}) GROUP BY k, window_start, window_end EMIT ON WINDOW CLOSE"
    ));
    let text = text.join("\n");
    assert!(text.contains("gap 1 min, told on window close"), "{text}");
    assert!(text.contains("passes window_end; rows behind it are in no session"), "{text}");
    bench.engine().shutdown().expect("stops");
}
