//! Values that `INSERT` and `UPDATE` write are held to their columns.

use super::support::{ok, open, run};

#[test]
fn what_does_not_fit_is_refused_with_its_column() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    const COLUMNS: &str = "v VARCHAR(3), c CHAR(2), n NUMERIC(5, 2), i SMALLINT, j JSONB, u UUID, \
                           t TIME, ts TIMESTAMPTZ, a VARCHAR(2)[]";
    ok(&engine, &format!("CREATE TABLE tab (id BIGINT PRIMARY KEY, {COLUMNS})"));
    ok(&engine, &format!("CREATE STREAM str (id BIGINT, {COLUMNS})"));
    ok(&engine, "INSERT INTO tab (id) VALUES (1)");
    for (column, value, state) in [
        ("v", "'abcd'", "22001"),
        ("c", "'abc'", "22001"),
        ("v", "'여울' || '가람'", "22001"),
        ("n", "1000", "22003"),
        ("n", "'1000.00'", "22003"),
        ("n", "1e10", "22003"),
        ("n", "'ten'", "22P02"),
        ("i", "70000", "22003"),
        ("j", "'{\"a\": }'", "22P02"),
        ("j", "'{\"a\"' || ': 01}'", "22P02"),
        ("u", "'550e8400'", "22P02"),
        ("t", "'25:61:00'", "22P02"),
        ("ts", "'2026-13-01'", "22P02"),
        ("a", "['ab', 'abc']", "22001"),
    ] {
        let statements = [
            format!("INSERT INTO str (id, {column}) VALUES (1, NULL), (2, {value})"),
            format!("INSERT INTO tab (id, {column}) SELECT 2, {value}"),
            format!("INSERT INTO tab (id, {column}) VALUES (1, {value}) ON CONFLICT DO NOTHING"),
            format!("UPDATE tab SET {column} = {value}"),
        ];
        for statement in statements {
            let error = run(&engine, &statement).expect_err(&statement);
            assert_eq!(error.sqlstate, state, "{statement}\n{error}");
            let said = error.to_string();
            let named =
                said.contains(&format!("column \"{column}\"")) || said.contains("is not a uuid");
            assert!(named || said.contains("2026-13-01"), "{statement}\n{said}");
        }
    }
    assert_eq!(ok(&engine, "SELECT count(*) FROM str"), ["0"]);
    ok(
        &engine,
        "INSERT INTO tab VALUES (2, '여울가', 'ab', 999.994, 7, ' {\"a\" : [1, 2] } ', \
         '550e8400-e29b-41d4-a716-446655440000', '23:59:59', '2026-01-01', ['ab', NULL])",
    );
    ok(&engine, "UPDATE tab SET j = '[ 1 ]', v = 'abc' WHERE id = 1");
    assert_eq!(
        ok(&engine, "SELECT id, v, c, n, i, j FROM tab ORDER BY id"),
        ["1|abc||||[1]", "2|여울가|ab|999.99|7|{\"a\":[1,2]}"]
    );
    // A text of one column into a uuid, and a uuid into a text.
    ok(&engine, "CREATE TABLE other (id BIGINT PRIMARY KEY, u UUID, s VARCHAR(36))");
    ok(&engine, "INSERT INTO other SELECT id, u, u AS s FROM tab");
    ok(&engine, "UPDATE other SET u = s");
    assert_eq!(ok(&engine, "SELECT count(*) FROM other WHERE u::text = s"), ["1"]);
    engine.shutdown().expect("stops");
}

#[test]
fn numbers_are_rounded_as_postgresql_rounds_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, i INTEGER, b BIGINT, n NUMERIC(6, 2), \
         m NUMERIC(38, 9), d DOUBLE PRECISION)",
    );
    ok(&engine, "INSERT INTO t (k, i) VALUES (1, 2.5), (2, -2.5), (3, 2.4), (4, 1e3), (5, 7)");
    ok(&engine, "INSERT INTO t (k, i) SELECT 6, 2.5::DOUBLE PRECISION");
    ok(&engine, "INSERT INTO t (k, i) SELECT 7, 2.5::NUMERIC(3, 1)");
    ok(&engine, "INSERT INTO t (k, i) VALUES (8, 0)");
    ok(&engine, "UPDATE t SET i = 8.5 WHERE k = 8");
    assert_eq!(
        ok(&engine, "SELECT i FROM t ORDER BY k"),
        ["3", "-3", "2", "1000", "7", "2", "3", "9"]
    );
    ok(
        &engine,
        "INSERT INTO t (k, b, n, m) VALUES (9, 9223372036854775807.4, 1.005, \
         12345678901234567890123456789.123456789)",
    );
    assert_eq!(
        ok(&engine, "SELECT b, n, m FROM t WHERE k = 9"),
        ["9223372036854775807|1.01|12345678901234567890123456789.123456789"]
    );
    for (column, value, state) in [
        ("i", "'2.5'", "22P02"),
        ("i", "2147483647.5", "22003"),
        ("i", "'NaN'::DOUBLE PRECISION", "22003"),
        ("b", "9223372036854775807.5", "22003"),
        ("n", "9999.995", "22003"),
        ("d", "1e400", "22003"),
        ("d", "'-1e400'", "22003"),
    ] {
        let statement = format!("INSERT INTO t (k, {column}) VALUES (10, {value})");
        let error = run(&engine, &statement).expect_err(&statement);
        assert_eq!(error.sqlstate, state, "{statement}: {error}");
    }
    ok(&engine, "INSERT INTO t (k, d) VALUES (10, 'infinity')");
}

#[test]
fn a_value_of_another_sort_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(
        &engine,
        "CREATE TABLE t (k BIGINT PRIMARY KEY, b BOOLEAN, ts TIMESTAMPTZ, d DATE, c TIME, \
         a INTEGER[], v VARCHAR, w TIMESTAMP)",
    );
    for (column, value) in [
        ("b", "1"),
        ("ts", "1700000000"),
        ("d", "12"),
        ("c", "12"),
        ("a", "5"),
        ("a", "'{1,2}'"),
        ("k", "now()"),
        ("k", "true"),
        ("ts", "true"),
    ] {
        for statement in [
            format!("INSERT INTO t ({column}) VALUES ({value})"),
            format!("INSERT INTO t ({column}) SELECT {value}"),
        ] {
            // The key has no value in most of them, which is said first.
            let statement = match column {
                "k" => statement,
                _ => statement.replacen('(', "(k, ", 1).replacen(value, &format!("1, {value}"), 1),
            };
            let error = run(&engine, &statement).expect_err(&statement);
            assert_eq!(error.sqlstate, "42804", "{statement}: {error}");
            assert!(error.message.contains(&format!("\"{column}\"")), "{error}");
        }
    }
    ok(
        &engine,
        "INSERT INTO t VALUES (1, 'yes', '2026-01-01T00:00:00+09:00', '2026-01-01', '10:00', \
         ARRAY[1, NULL], 5, '2026-01-01T00:00:00+09:00')",
    );
    assert_eq!(
        ok(&engine, "SELECT * FROM t"),
        ["1|true|2025-12-31T15:00:00Z|2026-01-01|10:00:00|[1, ]|5|2026-01-01T00:00:00"]
    );
}

#[test]
fn bytes_are_compared_with_the_text_that_writes_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY, b BYTEA)");
    ok(&engine, "INSERT INTO t VALUES (1, '\\x00ff'), (2, 'abc')");
    for condition in
        ["b = '\\x00ff'", "'\\x00ff' = b", "b = '\\x00ff'::BYTEA", "b < 'abc'", "b <> '\\x616263'"]
    {
        let sql = format!("SELECT k FROM t WHERE {condition}");
        assert_eq!(ok(&engine, &sql), ["1"], "{sql}");
    }
    assert_eq!(
        run(&engine, "SELECT * FROM t WHERE b = '\\x0'").expect_err("odd").sqlstate,
        "22P02"
    );
    assert_eq!(run(&engine, "SELECT k / (k - 1) FROM t").expect_err("zero").sqlstate, "22012");
    assert_eq!(run(&engine, "SELECT 1 / 0").expect_err("zero").sqlstate, "22012");
}
