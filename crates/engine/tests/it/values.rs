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
