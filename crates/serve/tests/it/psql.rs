//! psql, where it is installed.

use std::process::Command;

use crate::fixture::Fixture;

/// What psql prints for these commands; `None` when there is no psql.
fn psql(fixture: &Fixture, commands: &[&str]) -> Option<String> {
    let mut command = Command::new("psql");
    command
        .args(["-X", "-h", "127.0.0.1", "-U", "me", "-d", "yeoul", "-v", "ON_ERROR_STOP=1", "-p"])
        .arg(fixture.pg.port().to_string())
        .env("PGCONNECT_TIMEOUT", "10")
        .env("LC_ALL", "C");
    for text in commands {
        command.args(["-c", text]);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("psql cannot be run here ({error}): this test is skipped");
            return None;
        }
    };
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{commands:?}\n{out}\n{err}");
    Some(format!("{out}{err}"))
}

#[test]
fn queries_and_copies() {
    let fixture = Fixture::with_events();
    let Some(out) = psql(&fixture, &["SELECT 1 AS one, 'two' AS two"]) else { return };
    assert!(out.contains(" one | two \n-----+-----\n   1 | two\n(1 row)"), "{out}");
    let out = psql(&fixture, &["INSERT INTO events (event_id) VALUES ('a'), ('b')"]).unwrap();
    assert!(out.contains("INSERT 0 2"), "{out}");
    let out = psql(&fixture, &["COPY (SELECT event_id FROM events ORDER BY 1) TO STDOUT"]).unwrap();
    assert_eq!(out, "a\nb\n");
}

#[test]
fn backslash_commands() {
    let fixture = Fixture::with_events();
    fixture.sql("CREATE TABLE pairs (a BIGINT, b VARCHAR(9), PRIMARY KEY (a, b))");
    fixture.sql("CREATE MATERIALIZED VIEW users AS SELECT user_id, count(*) AS n FROM events GROUP BY user_id");
    for (command, expected) in [
        ("\\d", " public | users  | materialized view | yeoul"),
        ("\\dt", "events"),
        ("\\dt+", "| stream"),
        ("\\dm", "users"),
        ("\\dv yeoul.*", "streams"),
        ("\\di", "pairs_pkey"),
        ("\\d events", " ts       | timestamp with time zone |"),
        ("\\d pairs", "    \"pairs_pkey\" PRIMARY KEY, btree (a, b)"),
        ("\\d pairs", " b      | character varying(9) |           | not null |"),
        (
            "\\d+ users",
            "View definition:\nSELECT user_id, count(*) AS n FROM events GROUP BY user_id",
        ),
        ("\\d yeoul.streams", "watermark"),
        ("\\d pg_class", " relkind             | \"char\""),
        ("\\l+", " yeoul | yeoul | UTF8"),
        ("\\dn+", "public"),
        ("\\du", "Superuser"),
        ("\\dp pairs", "pairs"),
        ("\\db+", "pg_default"),
        ("\\dC", "timestamp with time zone"),
        ("\\dT int8", "bigint"),
        ("\\df lower", "lower"),
        ("\\dA", "btree"),
        ("\\dL", "plpgsql"),
        ("\\dOS", "POSIX"),
        ("\\do <<", "<<"),
        ("\\dFd", "english_stem"),
        ("\\dconfig search_path", "public"),
        ("\\conninfo", "\"me\""),
    ] {
        let Some(out) = psql(&fixture, &[command]) else { return };
        assert!(out.contains(expected), "{command}:\n{out}");
    }
    // Nothing of these is here, and that is what they say.
    for command in [
        "\\ds", "\\det", "\\dx", "\\dc", "\\dd", "\\dD", "\\ddp", "\\dE", "\\dP", "\\dX", "\\dy",
        "\\da", "\\dRp", "\\dRs", "\\dew", "\\des", "\\deu", "\\dl", "\\dAc", "\\dAf", "\\dAo",
        "\\dAp", "\\dF", "\\dFp", "\\dFt", "\\dtS", "\\z",
    ] {
        psql(&fixture, &[command]);
    }
}

#[test]
fn what_psql_makes_of_answers() {
    let fixture = Fixture::with_events();
    fixture.sql("INSERT INTO events (event_id) SELECT * FROM generate_series(1, 250)");
    for (commands, expected) in [
        (["\\x", "SELECT 1 AS one"], "one | 1"),
        (["\\timing", "SELECT 1"], "Time: "),
        (["\\set FETCH_COUNT 100", "SELECT event_id FROM events"], "(250 rows)"),
    ] {
        let Some(out) = psql(&fixture, &commands) else { return };
        assert!(out.contains(expected), "{commands:?}:\n{out}");
    }
}
