//! `yeoul audit`: whether the books of a stopped instance balance. For every source and stream:
//! received = stored + duplicates + dead letters.

use std::path::Path;

use tokio::runtime::Runtime;

use crate::arguments::Format;
use crate::failure::{Exit, Failure};
use crate::shell::{Backend, Shell};

/// One row per source and stream.
const BOOKS: &str = "SELECT stream, source, received, stored, duplicates, dead_letters, \
    received = stored + duplicates + dead_letters AS balanced \
    FROM yeoul.sources ORDER BY stream, source";

const UNBALANCED: &str = "SELECT count(*) FROM yeoul.sources \
    WHERE received <> stored + duplicates + dead_letters";

/// Runs the command.
pub(crate) fn run(data: &Path) -> Result<Exit, Failure> {
    let runtime = Runtime::new()?;
    let mut backend = Backend::open(data)?;
    let wrong = runtime.block_on(backend.ask(UNBALANCED))?;
    let wrong = wrong.first().and_then(|row| row.first()).map_or("", String::as_str) != "0";
    let mut shell = Shell::new(backend, Format::Table);
    runtime.block_on(shell.run_script(BOOKS))?;
    if wrong {
        return Err(Failure::with(Exit::Unbalanced, "the books do not balance"));
    }
    println!("every source balances: received = stored + duplicates + dead letters");
    Ok(Exit::Success)
}
