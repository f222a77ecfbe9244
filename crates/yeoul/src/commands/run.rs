//! `yeoul run`: start a project.

use crate::arguments::RunArguments;
use crate::config::{Settings, listen_address};
use crate::failure::{Exit, Failure};
use crate::instance::{self, Ending, Instance};
use crate::project::Project;
use crate::shell;

/// Rows that were refused and that nobody has put back.
const UNRESOLVED: &str = "SELECT count(*) FROM yeoul.dead_letters WHERE state = 'dead'";

/// Runs the command.
pub(crate) fn run(arguments: &RunArguments) -> Result<Exit, Failure> {
    let mut project = Project::read(&arguments.dir)?;
    addresses(&mut project.settings, arguments)?;
    let data = project.data(arguments.data.as_deref());
    let runtime = instance::runtime()?;
    let mut instance = Instance::listen(&project, &data, &runtime)?;
    let outcome = runtime.block_on(async {
        instance.serve().await?;
        instance.start_sources()?;
        if arguments.until_drained {
            match instance.drained_or_asked().await? {
                Ending::Drained => refused(&instance).await,
                Ending::Asked => Err(Failure::new(
                    "stopped before every source was read to its end\n\
                     hint: start it again: it goes on where it was",
                )),
            }
        } else {
            instance.until_asked().await.map(|()| Exit::Success)
        }
    });
    let closed = instance.shutdown(&runtime);
    let exit = outcome?;
    closed.map(|()| exit)
}

/// Flags win over settings; what only reads files needs no listener.
fn addresses(settings: &mut Settings, arguments: &RunArguments) -> Result<(), Failure> {
    if arguments.until_drained {
        settings.http = None;
        settings.postgres = None;
        settings.kafka = None;
    }
    let address = |flag: &str, text: &str| {
        listen_address(text).map_err(|e| Failure::usage(format!("flag {flag} {e}")))
    };
    if let Some(text) = &arguments.http {
        settings.http = address("--http", text)?;
    }
    if let Some(text) = &arguments.pg {
        settings.postgres = address("--pg", text)?;
    }
    if let Some(text) = &arguments.kafka {
        settings.kafka = address("--kafka", text)?;
    }
    Ok(())
}

/// Whether everything that was read could be stored.
async fn refused(instance: &Instance) -> Result<Exit, Failure> {
    let session = instance.engine().session();
    let rows = shell::ask(&session, UNRESOLVED).await?;
    let count: u64 = rows.first().and_then(|row| row.first()?.parse().ok()).unwrap_or_default();
    if count == 0 {
        return Ok(Exit::Success);
    }
    tracing::warn!(
        "{count} rows were refused; yeoul.dead_letters has them, `yeoul dead-letters` puts them back"
    );
    Ok(Exit::RefusedRows)
}
