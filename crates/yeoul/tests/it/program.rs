//! Running `yeoul` and reading what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a run said.
#[derive(Debug)]
pub(crate) struct Said {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// The program with these arguments, not started yet.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yeoul"));
    command.args(arguments).stdin(Stdio::null()).env_remove("YEOUL_LOG").env_remove("YEOUL_URL");
    command
}

/// Runs it to its end.
pub(crate) fn yeoul(arguments: &[&str]) -> Said {
    let Output { status, stdout, stderr } =
        command(arguments).output().expect("the program starts");
    Said {
        code: status.code(),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

/// Runs it, expects success, and gives its output.
pub(crate) fn good(arguments: &[&str]) -> String {
    let said = yeoul(arguments);
    assert_eq!(said.code, Some(0), "yeoul {arguments:?}\n{}{}", said.out, said.err);
    said.out
}

/// Rows of a query on a stopped instance, one line each, values between commas.
pub(crate) fn rows(data: &Path, sql: &str) -> Vec<String> {
    let out = good(&["sql", "--data", text(data), "--format", "csv", "-c", sql]);
    out.lines().skip(1).map(str::to_owned).collect()
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// The folder of the checkout.
pub(crate) fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("crates/yeoul is in the checkout").to_path_buf()
}

/// A project with one SQL file.
pub(crate) fn project(sql: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("project.sql"), sql).expect("writes");
    dir
}
