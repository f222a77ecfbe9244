//! `yeoul plan` and `yeoul apply`: what it takes to bring an instance to what its project says, and doing it.
//!
//! ```text
//!   definitions of the instance ─▶ an engine without rows ─┐
//!   files of the project ──────────────────────────────────┴▶ rehearsed ─▶ steps ─▶ shown, carried out
//! ```
//!
//! What must hold: each step is one statement, which is done whole or not at all. After a kill the plan is made
//! again and holds what is left; a view that is being built goes on where it was.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use yeoul_engine::{Change, Engine, EngineOptions, PlannedStep, Session, SyncPolicy};

use crate::arguments::{ApplyArguments, PlanArguments};
use crate::clock::SystemClock;
use crate::demo::screen::grouped;
use crate::failure::{Exit, Failure};
use crate::instance;
use crate::project::Project;
use crate::say::say;
use crate::shell::{self, Backend};

/// Stored rows that a building view takes in a second, for a guess of how long it will take.
const BUILD_ROWS_PER_SECOND: u64 = 500_000;
/// How often it is looked how far a building is.
const LOOK_EVERY: Duration = Duration::from_millis(50);

const DEFINITIONS: &str = "SELECT definition FROM yeoul.streams UNION ALL SELECT definition FROM yeoul.tables \
                           UNION ALL SELECT definition FROM yeoul.views \
                           UNION ALL SELECT definition FROM yeoul.functions";
const ROWS: &str = "SELECT name, rows FROM yeoul.streams UNION ALL SELECT name, stored_rows FROM yeoul.tables \
                    UNION ALL SELECT name, stored_rows FROM yeoul.views";
/// Views that are not what they will be; one that has failed says why.
const UNDER_WAY: &str = "SELECT name, replacement, built_rows, source_rows FROM yeoul.views \
     WHERE status IN ('building', 'waiting') OR replacement IN ('building', 'waiting', 'complete', 'moves') \
     OR replacement LIKE 'failed%' ORDER BY name";

/// What is planned for.
enum Target {
    /// A running instance, or a stopped one's folder open for reading.
    Asked(Box<Backend>),
    /// A stopped instance's folder, open for writing.
    Opened(Engine, Session),
    /// A folder in which nothing is yet.
    Nothing,
}

impl Target {
    async fn ask(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        match self {
            Self::Asked(backend) => backend.ask(sql).await,
            Self::Opened(_, session) => shell::ask(session, sql).await,
            Self::Nothing => Ok(Vec::new()),
        }
    }

    fn close(self) -> Result<(), Failure> {
        if let Self::Opened(engine, _) = self {
            engine.shutdown()?;
        }
        Ok(())
    }
}

/// Runs `yeoul plan`.
pub(crate) fn plan(arguments: &PlanArguments) -> Result<Exit, Failure> {
    let runtime = instance::runtime()?;
    let project = Project::read(&arguments.dir)?;
    let mut target = match &arguments.url {
        Some(url) => Target::Asked(Box::new(runtime.block_on(Backend::connect(url))?)),
        None => {
            let data = project.data(arguments.data.as_deref());
            match data.join("log").is_dir() {
                true => Target::Asked(Box::new(Backend::open(&data)?)),
                false => Target::Nothing,
            }
        }
    };
    let steps = steps(&runtime, &mut target, &project)?;
    let rows = runtime.block_on(target.ask(ROWS))?;
    show(&steps, &rows);
    Ok(Exit::Success)
}

/// Runs `yeoul apply`.
pub(crate) fn apply(arguments: &ApplyArguments) -> Result<Exit, Failure> {
    let runtime = instance::runtime()?;
    let project = Project::read(&arguments.plan.dir)?;
    let mut target = match &arguments.plan.url {
        Some(url) => Target::Asked(Box::new(runtime.block_on(Backend::connect(url))?)),
        None => open(&project, &project.data(arguments.plan.data.as_deref()))?,
    };
    let done = carry_out(&runtime, &mut target, &project, arguments.yes);
    let closed = target.close();
    done?;
    closed.map(|()| Exit::Success)
}

fn open(project: &Project, data: &Path) -> Result<Target, Failure> {
    let options = project.settings.engine.clone();
    let engine = Engine::open(data, Arc::new(SystemClock), options, &mut |_| {})?;
    let session = engine.session();
    Ok(Target::Opened(engine, session))
}

/// The steps from what `target` has to what the project says.
fn steps(
    runtime: &Runtime,
    target: &mut Target,
    project: &Project,
) -> Result<Vec<PlannedStep>, Failure> {
    let there = runtime.block_on(target.ask(DEFINITIONS))?;
    let there = there.into_iter().flatten().filter(|sql| !sql.is_empty());
    let there: Vec<(String, String)> = there.map(|sql| ("the instance".to_owned(), sql)).collect();
    let folder = tempfile::tempdir()?;
    let options = EngineOptions { sync: SyncPolicy::Os, ..project.settings.engine.clone() };
    let engine = Engine::open(folder.path(), Arc::new(SystemClock), options, &mut |_| {})?;
    let steps = engine.apply_project(&there).and_then(|_| engine.rehearse_project(&project.files));
    engine.shutdown()?;
    Ok(steps?)
}

fn show(steps: &[PlannedStep], rows: &[Vec<String>]) {
    for step in steps {
        say!("{}", headline(step, rows));
        for line in step.because.iter().flat_map(|because| because.lines()) {
            say!("    {line}");
        }
    }
    if steps.is_empty() {
        say!("nothing to do: the instance is as the project says");
        return;
    }
    let changes = [Change::Create, Change::Alter, Change::Rebuild, Change::Swap, Change::Drop];
    let counts =
        changes.map(|change| (word(change), steps.iter().filter(|s| s.change == change).count()));
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(word, count)| format!("{count} to {word}")).collect();
    say!("{}", counts.join(", "));
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Create => "create",
        Change::Alter => "alter",
        Change::Rebuild => "rebuild",
        Change::Swap => "swap",
        Change::Drop => "drop",
    }
}

/// What a step does, with how much is read for it and about how long that takes.
fn headline(step: &PlannedStep, rows: &[Vec<String>]) -> String {
    let mut line = format!("{} {} {}", word(step.change), step.kind, step.name);
    let of = |name: &String| -> u64 {
        let row = rows.iter().find(|row| row.first() == Some(name));
        row.and_then(|row| row.get(1)?.parse().ok()).unwrap_or_default()
    };
    let count: u64 = step.reads.iter().map(of).sum();
    if count > 0 {
        let seconds = count.div_ceil(BUILD_ROWS_PER_SECOND);
        line.push_str(&format!("  (reads {} rows, about {seconds} s)", grouped(count)));
    }
    if step.loses {
        line.push_str(match step.change {
            Change::Drop => "  (what it holds is lost)",
            _ => "  (the values of the column are lost)",
        });
    }
    line
}

fn carry_out(
    runtime: &Runtime,
    target: &mut Target,
    project: &Project,
    yes: bool,
) -> Result<(), Failure> {
    let steps = steps(runtime, target, project)?;
    let rows = runtime.block_on(target.ask(ROWS))?;
    show(&steps, &rows);
    if steps.iter().any(|step| step.loses) && !yes {
        agreed()?;
    }
    for step in &steps {
        let Some(sql) = &step.sql else { continue };
        say!("{} {} {} …", word(step.change), step.kind, step.name);
        runtime.block_on(target.ask(sql))?;
        // A function that changes takes the views that call it with it.
        if step.change == Change::Rebuild || (step.change, step.kind) == (Change::Alter, "function")
        {
            runtime.block_on(built(target, &steps))?;
        }
    }
    runtime.block_on(built(target, &steps))?;
    if !steps.is_empty() {
        say!("done: the instance is as the project says");
    }
    Ok(())
}

/// Whoever is there says that what is stored may go.
fn agreed() -> Result<(), Failure> {
    let refused =
        || Failure::usage("something that is stored would be lost\nhint: --yes lets it go");
    if !std::io::stdin().is_terminal() {
        return Err(refused());
    }
    eprint!("something that is stored is lost by this. Write \"yes\" to go on: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(refused()),
    }
}

/// Waits until every view is built and swapped in, and says how far it is. A replacement that failed
/// concerns those of `steps` only.
async fn built(target: &mut Target, steps: &[PlannedStep]) -> Result<(), Failure> {
    let mut told = String::new();
    let text = |row: &Vec<String>, at: usize| row.get(at).cloned().unwrap_or_default();
    let ours = |row: &Vec<String>| {
        let name = text(row, 0);
        steps.iter().any(|step| step.change == Change::Rebuild && step.name == name)
    };
    loop {
        let mut left = target.ask(UNDER_WAY).await?;
        left.retain(|row| ours(row) || !text(row, 1).starts_with("failed"));
        if let Some(failed) = left.iter().find(|row| text(row, 1).starts_with("failed")) {
            let message =
                format!("view \"{}\" was not replaced: {}", text(failed, 0), text(failed, 1));
            return Err(Failure::new(message));
        }
        if left.is_empty() {
            return Ok(());
        }
        let count =
            |at| left.iter().filter_map(|row| text(row, at).parse::<u64>().ok()).sum::<u64>();
        let percent = count(2).saturating_mul(10).checked_div(count(3)).unwrap_or_default() * 10;
        let line = format!("    {} views under way, {percent} % of the rows read", left.len());
        if line != told && percent > 0 {
            say!("{line}");
            told = line;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
