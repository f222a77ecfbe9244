//! The program: reads flags, settings, the environment and the clock, and puts the crates together.
//!
//! ```text
//!   arguments ─▶ commands ─▶ instance: engine + sources (connect) + listeners (serve)
//!                    └─────▶ shell, demo, bench
//! ```
//!
//! What must hold: nothing else in the project reads flags, the environment or the wall clock.
//!
//! Not here: anything that a library could do. This crate wires and talks to people.

mod allocator;
mod arguments;
mod bench;
mod clock;
mod commands;
mod config;
mod demo;
mod descriptors;
mod failure;
mod instance;
mod listeners;
mod progress;
mod project;
mod say;
mod secrets;
mod shell;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use arguments::{Arguments, Command};
use failure::{Exit, Failure};

/// Many short-lived column buffers from several threads: the system's allocator is the bottleneck
/// otherwise, and keeps what it was given.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    allocator::configure();
    let arguments = Arguments::parse();
    match log_to_stderr(&arguments).and_then(|()| dispatch(arguments.command)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.say();
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Sql(arguments) => commands::sql::run(&arguments),
        Command::Check { dir } => commands::check::run(&dir),
        Command::Plan(arguments) => commands::plan::plan(&arguments),
        Command::Apply(arguments) => commands::plan::apply(&arguments),
        Command::Inspect { path } => commands::inspect::run(&path),
        Command::DeadLetters(arguments) => commands::dead_letters::run(&arguments),
        Command::Audit { data } => commands::audit::run(&data),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
    }
}

/// The log goes to stderr, because stdout is for answers. What is asked for with the shell or the demo
/// on the screen is quieter: only what the person must know.
fn log_to_stderr(arguments: &Arguments) -> Result<(), Failure> {
    let quiet = !matches!(arguments.command, Command::Run(_));
    let level = if quiet && arguments.log == "info" { "warn" } else { &arguments.log };
    // DataFusion and its friends tell how they work at info.
    let filter = if level.contains(['=', ',']) {
        level.to_owned()
    } else {
        format!(
            "warn,yeoul={level},yeoul_engine={level},yeoul_store={level},yeoul_flow={level},yeoul_sql={level},yeoul_connect={level},yeoul_serve={level}"
        )
    };
    let filter = EnvFilter::try_new(&filter).map_err(|e| {
        Failure::usage(format!(
            "log level \"{level}\" cannot be read: {e}\nhint: use error, warn, info, debug or trace"
        ))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init()
        .map_err(|e| Failure::new(format!("cannot start logging: {e}")))
}
