//! Everything that must be green before a change lands, cheapest first, stopping at the first red.
//!
//! ```text
//!   fmt ─▶ tidy ─▶ clippy ─▶ doc ─▶ duckdb ─▶ servers ─▶ test ─▶ "N passed, N failed"
//! ```
//!
//! `duckdb` is the law's second oracle (`bench/law.py`): where Python or the package from PyPI cannot be had, it says so and
//! the rest goes on.
//!
//! `servers` are the brokers of the tests; the same goes for them.
//!
//! What must hold: the last line that is printed after the tests is the sum over all test binaries.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::{servers, tidy};

/// What `cargo run` tells of this package.
const OF_THIS_PACKAGE: [&str; 3] = ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"];
/// What `bench/law.py` ends with when DuckDB cannot be had.
const NOTHING_TO_ASK: i32 = 3;

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    Full,
    /// Without the documentation and without the tests that start whole programs.
    Fast,
}

/// Passed and failed tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// Runs the stages.
pub(crate) fn run(root: &Path, extent: Extent) -> ExitCode {
    let begun = Instant::now();
    let mut stages: Vec<(&str, Vec<&str>)> = vec![("format", vec!["fmt", "--all", "--check"])];
    let clippy =
        vec!["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    stages.push(("clippy", clippy));
    if extent == Extent::Full {
        stages.push(("doc", vec!["doc", "--quiet", "--workspace", "--no-deps"]));
    }
    for (at, (name, args)) in stages.iter().enumerate() {
        if !stage(root, name, args) {
            return ExitCode::FAILURE;
        }
        if at == 0 && !tidied(root) {
            return ExitCode::FAILURE;
        }
    }
    if extent == Extent::Full && !second_oracle(root) {
        return ExitCode::FAILURE;
    }
    let outcome = test(root, extent, servers(extent).as_deref());
    eprintln!("ci: {} s", begun.elapsed().as_secs());
    let (tally, success) = match outcome {
        Ok(outcome) => outcome,
        Err(e) => {
            eprintln!("ci: cannot run the tests: {e}");
            return ExitCode::FAILURE;
        }
    };
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if success && tally.failed == 0 && tally.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tidied(root: &Path) -> bool {
    eprintln!("ci: tidy");
    let findings = tidy::check(root);
    for finding in &findings {
        eprintln!("{finding}");
    }
    findings.is_empty()
}

fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root).env("RUSTDOCFLAGS", "-D warnings");
    // What `cargo run` told us about this package must not leak into the builds of others.
    for name in OF_THIS_PACKAGE {
        command.env_remove(name);
    }
    command
}

/// Compares a sample of the law's cases with DuckDB; true also when there is none to ask.
fn second_oracle(root: &Path) -> bool {
    let begun = Instant::now();
    eprintln!("ci: duckdb");
    let mut command = Command::new("python3");
    command.arg("bench/law.py").current_dir(root);
    for name in OF_THIS_PACKAGE {
        command.env_remove(name);
    }
    match command.status() {
        Ok(status) if status.success() => {
            eprintln!("ci: duckdb: {} s", begun.elapsed().as_secs());
            true
        }
        Ok(status) if status.code() == Some(NOTHING_TO_ASK) => {
            eprintln!("ci: duckdb is left out: the law has one oracle only");
            true
        }
        Ok(status) => {
            eprintln!("ci: duckdb is red ({status}): python3 bench/law.py");
            false
        }
        Err(e) => {
            eprintln!("ci: duckdb is left out: cannot start python3: {e}");
            true
        }
    }
}

/// The folder of the servers that tests talk to; `None` when they cannot be had.
fn servers(extent: Extent) -> Option<PathBuf> {
    if extent == Extent::Fast {
        return None;
    }
    eprintln!("ci: servers");
    servers::install()
        .inspect_err(|missing| eprintln!("ci: tests with real brokers are left out: {missing}"))
        .ok()
}

fn stage(root: &Path, name: &str, args: &[&str]) -> bool {
    let begun = Instant::now();
    eprintln!("ci: {name}");
    match cargo(root, args).status() {
        Ok(status) if status.success() => {
            eprintln!("ci: {name}: {} s", begun.elapsed().as_secs());
            true
        }
        Ok(status) => {
            eprintln!("ci: {name} is red ({status}): cargo {}", args.join(" "));
            false
        }
        Err(e) => {
            eprintln!("ci: cannot start cargo for {name}: {e}");
            false
        }
    }
}

/// Runs the tests, passing their output on, and adds their summaries up.
fn test(root: &Path, extent: Extent, servers: Option<&Path>) -> std::io::Result<(Tally, bool)> {
    eprintln!("ci: test");
    let mut args = vec!["test", "--workspace", "--no-fail-fast"];
    if extent == Extent::Fast {
        args.extend(["--lib", "--bins"]);
    }
    let folder = servers.unwrap_or(Path::new("none"));
    let mut child =
        cargo(root, &args).env(servers::VARIABLE, folder).stdout(Stdio::piped()).spawn()?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        let mut out = std::io::stdout().lock();
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let text = String::from_utf8_lossy(&line);
            if let Some(part) = summary(&text) {
                tally.passed += part.passed;
                tally.failed += part.failed;
            }
            writeln!(out, "{text}")?;
        }
    }
    Ok((tally, child.wait()?.success()))
}

/// The counts of a line like `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
fn summary(line: &str) -> Option<Tally> {
    let rest = line.strip_prefix("test result: ")?;
    let count = |word: &str| {
        let mut before = rest.split(word).next()?.rsplit([' ', '.', ';']).filter(|s| !s.is_empty());
        before.next()?.parse().ok()
    };
    Some(Tally { passed: count(" passed;")?, failed: count(" failed;")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_read() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; finished in 0.1s";
        assert_eq!(summary(line), Some(Tally { passed: 12, failed: 3 }));
        let line = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(summary(line), Some(Tally::default()));
        assert_eq!(summary("test a_test_result ... ok"), None);
    }
}
