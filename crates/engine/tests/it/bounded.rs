//! Joins in which one time bounds the other: the views equal their queries over the rows that were in time, whatever
//! comes late or twice and however often the engine stops, and what they keep does not grow with what has come.

use super::time::{BEGIN_US, Bench, SECOND, timestamp};

/// Name and query over the streams `a` and `b`.
const BOUNDED: [(&str, &str); 24] = [
    (
        "within",
        "SELECT x.id, y.id AS other FROM {a} x JOIN {b} y ON x.k = y.k
         AND y.t BETWEEN x.t - INTERVAL '20 seconds' AND x.t + INTERVAL '1 minute'",
    ),
    (
        "before",
        "SELECT x.id, y.id AS other, y.t FROM {a} x JOIN {b} y ON x.k = y.k
         AND y.t < x.t AND y.t + INTERVAL '30 seconds' >= x.t",
    ),
    (
        "apart",
        "SELECT x.id, y.id AS other FROM {a} x, {b} y
         WHERE x.t - y.t <= INTERVAL '10 seconds' AND x.t - y.t < INTERVAL '1 day' AND y.t - x.t < INTERVAL '5 seconds' AND x.k > y.k",
    ),
    (
        "left",
        "SELECT x.id, x.t, y.id AS other FROM {a} x LEFT JOIN {b} y ON x.k = y.k
         AND y.t BETWEEN x.t AND x.t + INTERVAL '40 seconds'",
    ),
    (
        "right",
        "SELECT x.id, y.id AS other FROM {a} x RIGHT JOIN {b} y ON x.k = y.k
         AND y.t BETWEEN x.t - INTERVAL '30 seconds' AND x.t - INTERVAL '10 seconds'",
    ),
    (
        "whole",
        "SELECT x.id, y.id AS other FROM {a} x FULL JOIN {b} y ON x.k = y.k
         AND x.t >= y.t - INTERVAL '15 seconds' AND x.t <= y.t + INTERVAL '15 seconds' AND x.id % 3 <> y.id % 3",
    ),
    (
        "met",
        "SELECT id, k FROM {a} x WHERE EXISTS (SELECT 1 FROM {b} y WHERE x.k = y.k
         AND y.t > x.t AND y.t <= x.t + INTERVAL '1 minute')",
    ),
    (
        "unmet",
        "SELECT id, k FROM {a} x WHERE NOT EXISTS (SELECT 1 FROM {b} y WHERE x.k = y.k
         AND y.t > x.t AND y.t <= x.t + INTERVAL '1 minute')",
    ),
    (
        "one_sided",
        "SELECT x.id, y.id AS other FROM {a} x JOIN {b} y ON x.k = y.k AND y.t >= x.t + INTERVAL '2 minutes'",
    ),
    (
        "at_once",
        "SELECT x.id, y.id AS other FROM {a} x JOIN {b} y ON x.k = y.k AND x.t = y.t",
    ),
    (
        "same_minute",
        "SELECT x.id, y.id AS other FROM {a} x JOIN {b} y ON x.k = y.k
         AND date_trunc('minute', x.t) = date_trunc('minute', y.t)",
    ),
    (
        "same_minute_or_none",
        "SELECT x.id, y.id AS other FROM {a} x LEFT JOIN {b} y ON x.k = y.k
         AND y.t >= date_trunc('minute', x.t) AND date_trunc('minute', y.t) <= x.t",
    ),
    (
        "tumbled",
        "SELECT x.id, y.id AS other, x.window_end FROM TUMBLE({a}, t, INTERVAL '1 minute') x
         JOIN TUMBLE({b}, t, INTERVAL '1 minute') y
         ON x.window_start = y.window_start AND x.window_end = y.window_end AND x.k = y.k",
    ),
    (
        "hopped",
        "SELECT x.id, x.window_start AS w, y.id AS other FROM HOP({a}, t, INTERVAL '30 seconds', INTERVAL '1 minute') x
         FULL JOIN CUMULATE({b}, t, INTERVAL '30 seconds', INTERVAL '1 minute') y
         ON x.window_end = y.window_end AND x.k = y.k",
    ),
    (
        "counted",
        "SELECT x.w, x.k, x.n, y.n AS others FROM
         (SELECT window_start AS w, k, count(*) AS n FROM TUMBLE({a}, t, INTERVAL '1 minute') GROUP BY window_start, k) x
         LEFT JOIN
         (SELECT window_start AS w, k, sum(id) AS n FROM TUMBLE({b}, t, INTERVAL '1 minute') GROUP BY window_start, k) y
         ON x.w = y.w AND x.k = y.k",
    ),
    (
        "busy",
        "SELECT id, w FROM (SELECT id, k, window_start AS w FROM TUMBLE({a}, t, INTERVAL '1 minute')) x
         WHERE (k, w) IN (SELECT k, window_start FROM TUMBLE({b}, t, INTERVAL '1 minute'))",
    ),
    (
        "chain",
        "SELECT x.id, y.id AS second, z.id AS third FROM {a} x
         JOIN {b} y ON x.k = y.k AND y.t BETWEEN x.t AND x.t + INTERVAL '30 seconds'
         JOIN {a} z ON z.k = y.k AND z.t BETWEEN y.t AND y.t + INTERVAL '30 seconds'",
    ),
    (
        "nested",
        "SELECT x.w, x.n, x.m, y.n AS others FROM
         (SELECT window_start AS w, count(*) AS n, max(other) AS m FROM TUMBLE(
           (SELECT l.t, r.id AS other FROM {a} l LEFT JOIN {b} r ON l.k = r.k
            AND r.t BETWEEN l.t - INTERVAL '10 seconds' AND l.t + INTERVAL '30 seconds'), t, INTERVAL '1 minute')
          GROUP BY window_start) x
         FULL JOIN
         (SELECT window_start AS w, count(*) AS n FROM HOP({b}, t, INTERVAL '30 seconds', INTERVAL '1 minute')
          GROUP BY window_start HAVING count(*) > 1) y
         ON x.w = y.w",
    ),
    (
        "twice",
        "SELECT x.w, x.k, y.k AS other, x.n + y.n AS n FROM
         (SELECT window_end AS w, k, count(*) AS n FROM TUMBLE({a}, t, INTERVAL '1 minute') GROUP BY window_end, k) x
         JOIN
         (SELECT window_end AS w, k, count(*) AS n FROM TUMBLE({a}, t, INTERVAL '1 minute') GROUP BY window_end, k) y
         ON x.w = y.w AND x.k < y.k
         WHERE EXISTS (SELECT 1 FROM {b} z WHERE z.t >= x.w - INTERVAL '1 minute' AND z.t < x.w)",
    ),
    (
        "summed",
        "SELECT k, count(*) AS n, count(other) AS matched FROM (SELECT x.k, y.id AS other FROM {a} x LEFT JOIN {b} y
         ON x.k = y.k AND y.t BETWEEN x.t AND x.t + INTERVAL '20 seconds') j GROUP BY k",
    ),
    (
        "as_of",
        "SELECT x.id, y.id AS other, y.t FROM {a} x ASOF JOIN {b} y ON x.k = y.k AND x.t >= y.t WHERE x.id % 5 <> 0",
    ),
    (
        "as_of_left",
        "SELECT x.id, y.id AS other FROM {a} x ASOF LEFT JOIN {b} y ON x.k = y.k AND x.t > y.t",
    ),
    (
        "as_of_any",
        "SELECT x.id, y.id AS other FROM {b} x LEFT JOIN LATERAL
         (SELECT * FROM {a} z WHERE z.id % 4 > 0 AND z.t <= x.t ORDER BY z.t DESC LIMIT 1) y ON true",
    ),
    (
        "as_of_counted",
        "SELECT q.w, q.k, q.n, z.id FROM (SELECT window_end AS w, k, count(*) AS n, sum(other) AS s FROM TUMBLE(
           (SELECT x.t, x.k, y.id AS other FROM {a} x ASOF LEFT JOIN {b} y ON x.k = y.k AND x.t >= y.t), t,
           INTERVAL '1 minute') GROUP BY window_end, k) q
         JOIN {b} z ON z.k = q.k AND z.t >= q.w - INTERVAL '1 minute' AND z.t < q.w",
    ),
];

/// Windows over the time of a side are closed when no row of the other can match any more: 30 seconds after their end.
const CLOSED: &str = "SELECT window_end AS w, k, count(*) AS n, sum(other) AS s FROM TUMBLE(
    (SELECT x.t, x.k, y.id AS other FROM {a} x LEFT JOIN {b} y ON x.k = y.k
     AND y.t BETWEEN x.t - INTERVAL '1 minute' AND x.t + INTERVAL '30 seconds'), t, INTERVAL '1 minute')
    GROUP BY window_end, k";

/// Of rows that meet the last one before them, as soon as none can come between.
const CLOSED_AS_OF: &str = "SELECT window_end AS w, k, count(*) AS n, sum(other) AS s FROM TUMBLE(
    (SELECT x.t, x.k, y.id AS other FROM {a} x ASOF LEFT JOIN {b} y ON x.k = y.k AND x.t >= y.t), t, INTERVAL '1 minute')
    GROUP BY window_end, k";

fn over(query: &str, a: &str, b: &str) -> String {
    query.replace("{a}", a).replace("{b}", b)
}

/// One of the two streams: its name, how far windows are closed behind its greatest time, and that time.
struct Stream {
    name: &'static str,
    behind_us: i64,
    newest: Option<i64>,
}

/// What is sent to the streams.
struct Sender {
    streams: [Stream; 2],
    id: i64,
    around: i64,
    /// Up to where windows are closed.
    closed: Option<i64>,
    late: usize,
}

impl Sender {
    fn new() -> Self {
        let streams = [("a", 15), ("b", 8)].map(|(name, behind)| Stream {
            name,
            behind_us: behind * SECOND,
            newest: None,
        });
        Self { streams, id: 0, around: BEGIN_US, closed: None, late: 0 }
    }

    /// Sends some rows to a stream, up to so many seconds old, and to its twin those that are in time.
    fn send(&mut self, bench: &mut Bench, behind: u64) {
        self.around += i64::try_from(bench.below(25)).expect("small") * SECOND;
        let at = usize::from(bench.below(2) == 0);
        let (mut all, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..1 + bench.below(6) {
            let shift = i64::try_from(bench.below(behind + 5)).expect("small");
            let time = self.around + (shift - i64::try_from(behind).expect("small")) * SECOND;
            // Few different times, so that some are equal.
            let time = time.div_euclid(3 * SECOND) * 3 * SECOND;
            let window = time.div_euclid(60 * SECOND) * 60 * SECOND;
            let is_late = self.closed.is_some_and(|closed| time < closed);
            // A row that is late while one of its windows is open is late for some views only.
            if is_late && self.closed.is_some_and(|closed| window + 90 * SECOND > closed) {
                continue;
            }
            self.id += 1;
            let row = format!("({}, {}, {})", self.id, bench.below(3), timestamp(time));
            // The same again is a duplicate.
            let times = 1 + usize::from(bench.below(4) == 0);
            all.extend(std::iter::repeat_n(row.clone(), times));
            match is_late {
                true => self.late += 1,
                false => taken.push(row),
            }
            let stream = &mut self.streams[at];
            stream.newest = stream.newest.max(Some(time));
        }
        if bench.below(5) == 0 {
            self.id += 1;
            let row = format!("({}, 1, NULL)", self.id);
            all.push(row.clone());
            taken.push(row);
        }
        let name = self.streams[at].name;
        for (name, rows) in [(name.to_owned(), all), (format!("{name}_taken"), taken)] {
            if !rows.is_empty() {
                bench.ok(&format!("INSERT INTO {name} VALUES {}", rows.join(", ")));
            }
        }
        let [a, b] = &self.streams;
        let closing = a.newest.zip(b.newest).map(|(l, r)| (l - a.behind_us).min(r - b.behind_us));
        self.closed = self.closed.max(closing);
    }
}

/// How many rows are in the trees beside a view's own, when all are in parts.
fn kept(bench: &Bench) -> Vec<u64> {
    bench.engine().checkpoint().expect("writes");
    // What is asked shows what the last commit shows.
    bench.ok("INSERT INTO quiet VALUES (1)");
    let rows = |(name, _): &(&str, &str)| {
        let sql =
            format!("SELECT coalesce(sum(rows), 0) FROM yeoul.parts WHERE tree LIKE 'j_{name}.%'");
        bench.ok(&sql)[0].parse().expect("a number")
    };
    BOUNDED.iter().map(rows).collect()
}

#[test]
fn views_are_their_queries_over_what_is_in_time() {
    let mut bench = Bench::new();
    let columns = "id BIGINT, k BIGINT, t TIMESTAMPTZ";
    bench.ok(&format!(
        "CREATE STREAM a ({columns}, WATERMARK FOR t AS t - INTERVAL '5 seconds')
           WITH (lateness = '10 seconds', unique_key = 'id', unique_within = '1 day', future_skew = 'unlimited');
         CREATE STREAM b ({columns}, WATERMARK FOR t AS t)
           WITH (lateness = '8 seconds', unique_key = 'id', unique_within = '1 day', future_skew = 'unlimited');
         CREATE STREAM a_taken ({columns}); CREATE STREAM b_taken ({columns})"
    ));
    let create = |bench: &Bench, at: usize| {
        let (name, query) = BOUNDED[at];
        bench.ok(&format!("CREATE MATERIALIZED VIEW j_{name} AS {}", over(query, "a", "b")));
    };
    (0..BOUNDED.len()).step_by(2).for_each(|at| create(&bench, at));
    let closed_view = over(CLOSED, "a", "b");
    bench.ok(&format!("CREATE MATERIALIZED VIEW j_closed AS {closed_view} EMIT ON WINDOW CLOSE"));
    let closed_view = over(CLOSED_AS_OF, "a", "b");
    let create_closed = format!("CREATE MATERIALIZED VIEW j_closed_as_of AS {closed_view}");
    bench.ok(&format!("{create_closed} EMIT ON WINDOW CLOSE"));
    let mut sender = Sender::new();
    for step in 0..60 {
        match step {
            // Until here nothing was late, so that these are built from the rows that the others took.
            12 => (1..BOUNDED.len()).step_by(2).for_each(|at| create(&bench, at)),
            20 | 41 => bench.again(step == 41),
            30 | 50 => bench.engine().checkpoint().map(|_| ()).expect("writes"),
            _ => {}
        }
        sender.send(&mut bench, if step < 12 { 3 } else { 200 });
        for (view, query, after) in [("j_closed", CLOSED, 30), ("j_closed_as_of", CLOSED_AS_OF, 0)]
        {
            let until = timestamp(sender.closed.map_or(0, |closed| closed - after * SECOND));
            let query = over(query, "a_taken", "b_taken");
            let query = format!("SELECT * FROM ({query}) q WHERE w <= {until}");
            bench.same(view, &query, &format!("step {step}"));
        }
        for (at, (name, query)) in BOUNDED.iter().enumerate() {
            if at % 2 == 0 || step >= 12 {
                let query = over(query, "a_taken", "b_taken");
                bench.same(&format!("j_{name}"), &query, &format!("step {step}"));
            }
        }
        assert!(step != 11 || sender.late == 0, "the others are not built from late rows");
    }
    assert!(sender.late > 5, "too few rows were late to prove anything");
    for (name, _) in BOUNDED {
        let rows = bench.ok(&format!("SELECT * FROM j_{name} LIMIT 1"));
        assert!(!rows.is_empty(), "{name} is empty, which proves nothing");
    }
    bench.engine().shutdown().expect("stops");
}

#[test]
fn what_is_kept_does_not_grow_with_what_has_come() {
    let mut bench = Bench::new();
    bench.ok("CREATE STREAM a (id BIGINT, k BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t - INTERVAL '5 seconds');
              CREATE STREAM b (id BIGINT, k BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t - INTERVAL '5 seconds');
              CREATE STREAM quiet (n BIGINT)");
    for (name, query) in BOUNDED {
        bench.ok(&format!("CREATE MATERIALIZED VIEW j_{name} AS {}", over(query, "a", "b")));
    }
    let minutes = |bench: &Bench, from: i64, to: i64| {
        for minute in from..to {
            for stream in ["a", "b"] {
                let rows: Vec<String> = (0..30)
                    .map(|n| {
                        let id = minute * 30 + n;
                        let time = BEGIN_US + (minute * 60 + n * 2) * SECOND;
                        format!("({id}, {}, {})", n % 7, timestamp(time))
                    })
                    .collect();
                bench.ok(&format!("INSERT INTO {stream} VALUES {}", rows.join(", ")));
            }
        }
    };
    minutes(&bench, 0, 10);
    let before = kept(&bench);
    minutes(&bench, 10, 30);
    bench.again(true);
    minutes(&bench, 30, 40);
    let came = 40 * 30 * 2;
    for (((name, _), before), after) in BOUNDED.iter().zip(before).zip(kept(&bench)) {
        match *name {
            // Rows of `a` may match whatever comes later; those of `b` are released.
            "one_sided" => assert!((1_200..1_500).contains(&after), "{name}: {after}"),
            // A version that went stays in its part until that is merged, and so does that it went.
            name if name.starts_with("as_of") => {
                assert!(
                    after <= 2 * before + 60 && after < came / 8,
                    "{name}: {before}, then {after}"
                )
            }
            _ => {
                assert!(after <= before + 60 && after < came / 2, "{name}: {before}, then {after}")
            }
        }
    }
    bench.engine().shutdown().expect("stops");
}

/// What `EXPLAIN` says of the state of the topmost join of a query.
fn explained(bench: &Bench, query: &str) -> String {
    let lines = bench.ok(&format!("EXPLAIN CREATE MATERIALIZED VIEW v AS {query}"));
    let text = lines.join("\n");
    let join = text.lines().skip_while(|line| !line.to_lowercase().contains("join")).nth(1);
    join.map(|line| line.trim().to_owned()).unwrap_or(text)
}

#[test]
fn explain_says_when_rows_are_released_or_why_never() {
    let bench = Bench::new();
    bench.ok("CREATE STREAM a (id BIGINT, k BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t);
              CREATE STREAM b (id BIGINT, k BIGINT, t TIMESTAMPTZ, WATERMARK FOR t AS t);
              CREATE STREAM c (id BIGINT, k BIGINT, t TIMESTAMPTZ);
              CREATE TABLE p (k BIGINT PRIMARY KEY, t TIMESTAMPTZ);
              CREATE MATERIALIZED VIEW of_p AS SELECT a.id, a.t FROM a JOIN p ON a.k = p.k");
    let released = "state: the rows of both inputs, by what they are compared by; by the watermark, less the lateness, ";
    let (_, counted) = BOUNDED.iter().find(|(name, _)| *name == "counted").expect("it is there");
    let sql = format!("EXPLAIN CREATE MATERIALIZED VIEW v AS {}", over(counted, "a", "b"));
    let lines = bench.ok(&sql);
    let groups = "state: one per group, released when the watermark, less the lateness, passes window_start + 1 min";
    assert_eq!(lines.iter().filter(|line| line.trim() == groups).count(), 2, "{lines:?}");
    for (query, expected) in [
        (over(BOUNDED[0].1, "a", "b"), format!("{released}the first input's released when it passes t + 1 min, the second input's released when it passes t + 20 s; rows behind it are not joined")),
        (over(BOUNDED[8].1, "a", "b"), format!("{released}the first input's never released: nothing bounds how much later rows of the second match, the second input's released when it passes t; rows behind it are not joined")),
        (over(BOUNDED[10].1, "a", "b"), format!("{released}the first input's released when it passes t + 1 min, the second input's released when it passes t + 1 min; rows behind it are not joined")),
        (over(BOUNDED[12].1, "a", "b"), format!("{released}the first input's released when it passes window_end, the second input's released when it passes window_end; rows behind it are not joined")),
        (over(BOUNDED[0].1, "a", "c"), "state: the rows of both inputs, by what they are compared by; never released: t of the second input goes by no watermark".to_owned()),
        (over(BOUNDED[0].1, "a", "p").replace("y.id", "y.k"), "state: the rows of both inputs, by what they are compared by; never released: rows of table p change at any time".to_owned()),
        (over(BOUNDED[20].1, "a", "b"), "state: the first input's rows, released when the watermark, less the lateness, passes t; of the second input the rows that are the nearest to such, the others released when the next one of their key comes; rows behind the watermark are not joined".to_owned()),
        (over(BOUNDED[20].1, "a", "c"), "state: the rows of both inputs; never released: t of the second input goes by no watermark".to_owned()),
        ("SELECT x.id FROM a x ASOF JOIN p ON x.k = p.k AND x.t >= p.t".to_owned(), "state: the rows of both inputs; never released: rows of table p change at any time".to_owned()),
        ("SELECT x.id FROM a x ASOF JOIN b ON x.k = b.k AND x.t <= b.t".to_owned(), "state: the rows of both inputs; never released: a later row may be the nearest at any time".to_owned()),
        ("SELECT x.id FROM of_p x JOIN a ON x.t = a.t".to_owned(), "state: the rows of both inputs, by what they are compared by; never released: rows of table p change at any time".to_owned()),
        ("SELECT x.id FROM a x JOIN b ON x.k = b.k".to_owned(), "state: the rows of both inputs, by what they are compared by; never released: no condition bounds the time of one input by that of the other".to_owned()),
    ] {
        assert_eq!(explained(&bench, &query), expected, "{query}");
    }
    bench.engine().shutdown().expect("stops");
}
