//! `yeoul sql`: ask.

use std::io::{IsTerminal, Read};

use crate::arguments::SqlArguments;
use crate::config::POSTGRES_DEFAULT;
use crate::failure::{Exit, Failure};
use crate::instance;
use crate::project::without_mark;
use crate::secrets;
use crate::shell::{Backend, Shell, interact};

/// Runs the command.
pub(crate) fn run(arguments: &SqlArguments) -> Result<Exit, Failure> {
    let runtime = instance::runtime()?;
    let script = script(arguments)?;
    let backend = match &arguments.data {
        Some(data) => Backend::open(data)?,
        None => {
            let here = format!("postgres://yeoul@{POSTGRES_DEFAULT}/yeoul");
            let url = arguments.url.clone().or_else(|| secrets::environment("YEOUL_URL"));
            runtime.block_on(Backend::connect(&url.unwrap_or(here)))?
        }
    };
    let mut shell = Shell::new(backend, arguments.format);
    match script {
        Some(script) => {
            runtime.block_on(shell.run_script(without_mark(&script)))?;
        }
        None => interact(&mut shell, &runtime)?,
    }
    Ok(Exit::Success)
}

/// The statements to run; `None` when a person is to type them.
fn script(arguments: &SqlArguments) -> Result<Option<String>, Failure> {
    if let Some(command) = &arguments.command {
        return Ok(Some(command.clone()));
    }
    match &arguments.file {
        Some(path) if path.as_os_str() != "-" => {
            std::fs::read_to_string(path).map(Some).map_err(|e| Failure::file("read", path, &e))
        }
        None if std::io::stdin().is_terminal() => Ok(None),
        _ => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| Failure::new(format!("cannot read standard input: {e}")))?;
            Ok(Some(text))
        }
    }
}
