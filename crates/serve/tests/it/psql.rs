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
    for (command, expected) in [
        ("\\d", "events"),
        ("\\dt", "events"),
        ("\\d events", "event_id"),
        ("\\l", "yeoul"),
        ("\\dn", "public"),
    ] {
        let Some(out) = psql(&fixture, &[command]) else { return };
        assert!(out.contains(expected), "{command}:\n{out}");
    }
}
