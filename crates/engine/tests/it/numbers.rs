//! Numbers mean in queries and in views what they mean in PostgreSQL: nothing wraps, nothing is cut,
//! -0 is 0, and NaN is the greatest.

use yeoul_engine::Engine;

use super::support::{ok, open, run, settle};

/// The answer of `query` and that of a view of it, which are the same, in any order.
fn both(engine: &Engine, name: &str, query: &str) -> Vec<String> {
    let sorted = |sql: &str| {
        let mut lines = ok(engine, sql);
        lines.sort();
        lines
    };
    ok(engine, &format!("CREATE MATERIALIZED VIEW {name} AS {query}"));
    settle(engine);
    let (kept, batch) = (sorted(&format!("SELECT * FROM {name}")), sorted(query));
    assert_eq!(kept, batch, "{query}");
    batch
}

/// The error of `query`, which a view of it has too, and says when it is built or asked.
fn neither(engine: &Engine, name: &str, query: &str) -> String {
    let error = run(engine, query).expect_err(query);
    assert_eq!(error.sqlstate, "22003", "{query}\n{error}");
    if let Err(stopped) = run(engine, &format!("CREATE MATERIALIZED VIEW {name} AS {query}")) {
        assert_eq!(stopped.sqlstate, "55000", "{query}\n{stopped}");
        assert!(stopped.message.contains(&error.message), "{query}\n{stopped}");
    }
    let said = run(engine, &format!("SELECT * FROM {name}")).expect_err(query);
    assert!(["22003", "55000"].contains(&said.sqlstate.as_str()), "{query}\n{said}");
    assert!(said.message.contains(&error.message), "{query}\n{said}");
    error.message
}

/// A stream `s` and a table `t` with the same rows.
fn opened(columns: &str, rows: &str) -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, &format!("CREATE STREAM s (k BIGINT, {columns})"));
    ok(&engine, &format!("CREATE TABLE t (k BIGINT PRIMARY KEY, {columns})"));
    for relation in ["s", "t"] {
        ok(&engine, &format!("INSERT INTO {relation} VALUES {rows}"));
    }
    (dir, engine)
}

#[test]
fn integers_do_not_wrap() {
    let (_dir, engine) = opened(
        "b BIGINT, i INTEGER, h SMALLINT, x BIGINT",
        "(1, 9223372036854775807, 2147483647, 32767, 1), \
         (2, -9223372036854775807, -2147483648, -32768, 2), (3, 7, 7, 7, NULL)",
    );
    let overflows = [
        ("b + 1", "bigint out of range"),
        ("b - 2", "bigint out of range"),
        ("b * 2", "bigint out of range"),
        ("x - b - b", "bigint out of range"),
        ("-(b - 1)", "bigint out of range"),
        ("i + i", "integer out of range"),
        ("i - i - i", "integer out of range"),
        ("i * i", "integer out of range"),
        ("-i", "integer out of range"),
        ("h + h", "smallint out of range"),
        ("h * h", "smallint out of range"),
        ("-h", "smallint out of range"),
        ("abs(i)", "integer out of range"),
        ("CAST(b AS INTEGER)", "integer out of range"),
        ("CAST(i AS SMALLINT)", "smallint out of range"),
    ];
    for (number, (expr, message)) in overflows.iter().enumerate() {
        for relation in ["s", "t"] {
            let query = format!("SELECT {expr} AS a FROM {relation}");
            let name = format!("{relation}{number}");
            assert_eq!(neither(&engine, &name, &query), *message, "{query}");
        }
    }
    // What fits, up to the last number; a null next to a number.
    let fits = [
        ("b - 1", ["-9223372036854775808", "6", "9223372036854775806"]),
        ("-b", ["-7", "-9223372036854775807", "9223372036854775807"]),
        ("b + x - x", ["", "-9223372036854775807", "9223372036854775807"]),
        // Constants are bigints, where PostgreSQL's are integers and the sum does not fit.
        ("i + 1", ["-2147483647", "2147483648", "8"]),
        ("h * 70000 + 1", ["-2293759999", "2293690001", "490001"]),
    ];
    for (number, (expr, expected)) in fits.iter().enumerate() {
        // The sum of the first row would not fit.
        let expr = expr.replace("b + x", "b + x * CAST(b < 0 AS BIGINT)");
        let expr = expr.replace(" - x", " - x * CAST(b < 0 AS BIGINT)");
        let query = format!("SELECT {expr} AS a FROM s");
        assert_eq!(both(&engine, &format!("f{number}"), &query), expected, "{query}");
    }
    // What is written is not stored: nothing wraps on its way into a column either.
    let error = run(&engine, "UPDATE t SET b = b + 1").expect_err("an overflow");
    assert_eq!(error.sqlstate, "22003", "{error}");
    let error = run(&engine, "SELECT 9223372036854775807 + 1").expect_err("an overflow");
    assert_eq!(error.sqlstate, "22003", "{error}");
    assert_eq!(ok(&engine, "SELECT -9223372036854775808, 1 + 2 * 3"), ["-9223372036854775808|7"]);
    engine.shutdown().expect("stops");
}

#[test]
fn sums_are_exact_or_errors() {
    let (_dir, engine) = opened(
        "b BIGINT, g BIGINT",
        "(1, 9223372036854775807, 1), (2, 9223372036854775807, 1), (3, -9223372036854775807, 1), \
         (4, -9223372036854775808, 2), (5, 1, 2), (6, NULL, 3), (7, 5, 4), (8, 5, 4)",
    );
    for relation in ["s", "t"] {
        let name = |what: &str| format!("{what}_{relation}");
        // The parts do not fit, the whole does.
        let query = format!("SELECT sum(b) AS a FROM {relation} WHERE k < 6");
        assert_eq!(both(&engine, &name("whole"), &query), ["0"]);
        let query = format!("SELECT g, sum(b) AS a FROM {relation} GROUP BY g");
        assert_eq!(
            both(&engine, &name("groups"), &query),
            ["1|9223372036854775807", "2|-9223372036854775807", "3|", "4|10"]
        );
        let query =
            format!("SELECT g, sum(DISTINCT b) AS a, count(*) AS n FROM {relation} GROUP BY g");
        assert_eq!(
            both(&engine, &name("once"), &query),
            ["1|0|3", "2|-9223372036854775807|2", "3||1", "4|5|2"]
        );
        let query = format!("SELECT g, sum(DISTINCT b) AS a FROM {relation} GROUP BY g");
        assert_eq!(
            both(&engine, &name("only"), &query),
            ["1|0", "2|-9223372036854775807", "3|", "4|5"]
        );
        let query =
            format!("SELECT sum(b) FILTER (WHERE k > 6) AS a, count(*) AS n FROM {relation}");
        assert_eq!(both(&engine, &name("filtered"), &query), ["10|8"]);
        let query = format!("SELECT sum(b) AS a FROM {relation} WHERE g = 3");
        assert_eq!(both(&engine, &name("nothing"), &query), [""]);
        for (number, what) in [
            "SELECT sum(b) AS a FROM {} WHERE k < 3",
            "SELECT sum(DISTINCT b) AS a FROM {} WHERE k = 4 OR k = 3",
            "SELECT sum(DISTINCT b) AS a, count(*) AS n FROM {} WHERE k = 4 OR k = 3",
            "SELECT g, sum(b) AS a FROM {} WHERE k < 3 OR k > 5 GROUP BY g",
        ]
        .iter()
        .enumerate()
        {
            let query = what.replace("{}", relation);
            let message = neither(&engine, &name(&format!("over{number}")), &query);
            assert_eq!(message, "sum() is out of range for bigint", "{query}");
        }
        let frames = |frame: &str| {
            format!("SELECT sum(b) OVER (ORDER BY k {frame}) AS a FROM {relation} WHERE k > 2")
        };
        let sliding = frames("ROWS BETWEEN 1 PRECEDING AND CURRENT ROW");
        let error = run(&engine, &sliding).expect_err("an overflow");
        assert_eq!(error.sqlstate, "22003", "{error}");
        let sliding = sliding.replace("k > 2", "k > 4");
        assert_eq!(ok(&engine, &sliding), ["1", "1", "5", "10"]);
        let growing = frames("").replace("k > 2", "k > 3");
        assert_eq!(
            ok(&engine, &growing),
            [
                "-9223372036854775808",
                "-9223372036854775807",
                "-9223372036854775807",
                "-9223372036854775802",
                "-9223372036854775797"
            ]
        );
    }
    engine.shutdown().expect("stops");
}

#[test]
fn casts_to_integers_round() {
    let (_dir, engine) = opened(
        "x DOUBLE PRECISION, r REAL, d NUMERIC(12, 2)",
        "(1, 0.5, 0.5, 0.5), (2, 1.5, 1.5, 1.5), (3, 2.5, 2.5, 2.5), (4, -0.5, -0.5, -0.5), \
         (5, -2.5, -2.5, -2.5), (6, 2.4, 2.4, 2.49), (7, -2.6, -2.6, -2.51), (8, NULL, NULL, NULL)",
    );
    for relation in ["s", "t"] {
        let query = format!(
            "SELECT k, CAST(x AS BIGINT) AS x, CAST(r AS INTEGER) AS r, CAST(d AS SMALLINT) AS d \
             FROM {relation}"
        );
        assert_eq!(
            both(&engine, &format!("rounded_{relation}"), &query),
            [
                "1|0|0|1",
                "2|2|2|2",
                "3|2|2|3",
                "4|0|0|-1",
                "5|-2|-2|-3",
                "6|2|2|2",
                "7|-3|-3|-3",
                "8|||"
            ]
        );
        let query = format!(
            "SELECT CAST(x AS INTEGER) AS x, count(*) AS n FROM {relation} \
             WHERE CAST(x AS INTEGER) >= 0 GROUP BY CAST(x AS INTEGER)"
        );
        assert_eq!(both(&engine, &format!("grouped_{relation}"), &query), ["0|2", "2|3"]);
        for (number, (expr, message)) in [
            ("CAST(x * 1e300 AS BIGINT)", "bigint out of range"),
            ("CAST(x * 9223372036854775807 AS BIGINT)", "bigint out of range"),
            (
                "CAST(CASE WHEN k = 3 THEN CAST('NaN' AS REAL) ELSE r END AS BIGINT)",
                "bigint out of range",
            ),
            ("CAST(x * 1e10 AS INTEGER)", "integer out of range"),
            ("CAST(d * 100000 AS SMALLINT)", "smallint out of range"),
        ]
        .iter()
        .enumerate()
        {
            let query = format!("SELECT {expr} AS a FROM {relation}");
            let name = format!("far{number}_{relation}");
            assert_eq!(neither(&engine, &name, &query), *message, "{query}");
        }
    }
    // Numbers in the text are numeric, unless they are said to be double.
    for (expr, expected) in [
        (
            "CAST(2.5 AS INTEGER), CAST(-2.5 AS INTEGER), 0.5::BIGINT, CAST(1e3 AS SMALLINT)",
            "3|-3|1|1000",
        ),
        ("CAST(CAST(2.5 AS DOUBLE PRECISION) AS INTEGER), 3.5::REAL::INTEGER", "2|4"),
        ("CAST(2.5 * 1 AS NUMERIC(3, 1))::INTEGER", "3"),
    ] {
        assert_eq!(ok(&engine, &format!("SELECT {expr}")), [expected], "{expr}");
    }
    for number in ["3000000000.5", "1e300", "CAST('NaN' AS DOUBLE PRECISION)"] {
        let error = run(&engine, &format!("SELECT CAST({number} AS INTEGER)")).expect_err(number);
        assert_eq!(
            (error.sqlstate.as_str(), error.message.as_str()),
            ("22003", "integer out of range")
        );
    }
    engine.shutdown().expect("stops");
}

#[test]
fn a_zero_and_a_nan_are_one_value() {
    let nan = "CAST('NaN' AS DOUBLE PRECISION)";
    let (_dir, engine) = opened(
        "g BIGINT, x DOUBLE PRECISION, y DOUBLE PRECISION",
        &format!(
            "(1, 1, 0.0, 1e308), (2, 1, -0.0, 1e308), (3, 1, {nan}, 1e308), (4, 1, -1.5, 1e308), \
             (5, 2, {nan}, 1), (6, 2, 3.5, 1e308), (7, 3, {nan}, 1), (8, 4, NULL, 1)"
        ),
    );
    for relation in ["s", "t"] {
        let view = |what: &str| format!("{what}_{relation}");
        for of in ["DOUBLE PRECISION", "REAL"] {
            let short = if of == "REAL" { "r" } else { "d" };
            let from = format!("(SELECT k, g, CAST(x AS {of}) AS x FROM {relation}) q");
            let query = format!("SELECT x, count(*) AS n FROM {from} GROUP BY x");
            assert_eq!(
                both(&engine, &view(&format!("groups_{short}")), &query),
                ["-1.5|1", "0.0|2", "3.5|1", "NaN|3", "|1"]
            );
            let query = format!("SELECT DISTINCT x FROM {from}");
            assert_eq!(
                both(&engine, &view(&format!("once_{short}")), &query),
                ["", "-1.5", "0.0", "3.5", "NaN"]
            );
            let query = format!("SELECT count(DISTINCT x) AS n, max(x) AS m FROM {from}");
            assert_eq!(both(&engine, &view(&format!("count_{short}")), &query), ["4|NaN"]);
            let query = format!(
                "SELECT g, min(x) AS l, max(x) AS m, count(DISTINCT x) AS n FROM {from} GROUP BY g"
            );
            assert_eq!(
                both(&engine, &view(&format!("ends_{short}")), &query),
                ["1|-1.5|NaN|3", "2|3.5|NaN|2", "3|NaN|NaN|1", "4|||0"]
            );
        }
        let query =
            format!("SELECT array_agg(DISTINCT x ORDER BY x) AS a FROM {relation} WHERE g = 1");
        assert_eq!(both(&engine, &view("list"), &query), ["[-1.5, 0.0, NaN]"]);
        // NaN of a computation has a sign, and is the same NaN.
        let query = format!(
            "SELECT min(z) AS l, max(z) AS m, count(DISTINCT z) AS n FROM (SELECT x AS z FROM {relation} \
             UNION ALL SELECT y * 10 - y * 10 FROM {relation} WHERE y > 1) q"
        );
        assert_eq!(both(&engine, &view("signs"), &query), ["-1.5|NaN|4"]);
        let query = format!("SELECT -x AS z, count(*) AS n FROM {relation} GROUP BY -x");
        assert_eq!(
            both(&engine, &view("less"), &query),
            ["-3.5|1", "0.0|2", "1.5|1", "NaN|3", "|1"]
        );
        let conditions =
            [("x = 0", "2"), ("x >= 0", "6"), ("x < 0", "1"), ("x > 1e300", "3"), ("x <> 0", "5")];
        for (number, (condition, expected)) in conditions.iter().enumerate() {
            let query = format!("SELECT count(*) AS n FROM {relation} WHERE {condition}");
            assert_eq!(
                both(&engine, &view(&format!("where{number}")), &query),
                [*expected],
                "{query}"
            );
        }
        let first = format!(
            "SELECT g, max(x) AS m FROM {relation} GROUP BY g ORDER BY max(x) DESC, g LIMIT 3"
        );
        let first = first.replace("DESC", "DESC NULLS LAST");
        assert_eq!(ok(&engine, &first), ["1|NaN", "2|NaN", "3|NaN"]);
        let frames = format!(
            "SELECT max(x) OVER (ORDER BY k ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS a FROM {relation} \
             WHERE k BETWEEN 3 AND 6"
        );
        assert_eq!(ok(&engine, &frames), ["NaN", "NaN", "NaN", "NaN"]);
    }
    // Rows that go take their NaN with them.
    ok(&engine, &format!("UPDATE t SET x = 0.0 WHERE x = {nan}"));
    assert_eq!(ok(&engine, "SELECT * FROM count_d_t"), ["3|3.5"]);
    engine.shutdown().expect("stops");
}

#[test]
fn a_key_and_its_cast_are_two_keys() {
    let (_dir, engine) = opened("g BIGINT", "(1, 1), (2, 1), (3, 2)");
    for relation in ["s", "t"] {
        let queries = [
            (
                "a",
                "SELECT g, CAST(g AS VARCHAR) AS c, count(*) AS n FROM {} GROUP BY g, CAST(g AS VARCHAR)",
            ),
            (
                "b",
                "SELECT g, CAST(g AS VARCHAR) AS c, count(*) AS n FROM {} GROUP BY CAST(g AS VARCHAR), g",
            ),
            (
                "c",
                "SELECT g, CAST(g AS VARCHAR) AS c, count(*) AS n FROM {} GROUP BY g, CAST(g AS VARCHAR) \
                 HAVING CAST(g AS VARCHAR) <> '7'",
            ),
        ];
        for (name, query) in queries {
            let query = query.replace("{}", relation);
            assert_eq!(both(&engine, &format!("{name}_{relation}"), &query), ["1|1|2", "2|2|1"]);
            let ordered = format!("{query} ORDER BY CAST(g AS VARCHAR) DESC LIMIT 1");
            assert_eq!(ok(&engine, &ordered), ["2|2|1"]);
        }
    }
    engine.shutdown().expect("stops");
}
