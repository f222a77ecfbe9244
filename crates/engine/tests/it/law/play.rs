//! Plays the acts of a case on an engine with a trial disk, and says what does not hold.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use yeoul_engine::{Clock, DeadLetter, Delivery, Engine, EngineError, EngineOptions, Ticket};
use yeoul_store::TrialMedia;

use super::base::START_US;
use super::cells::batch;
use super::script::{Act, Knobs};
use crate::support::{options, run};

/// How long a view may take to see the clock, or to be built.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const PAUSE: Duration = Duration::from_millis(2);

/// What was compared, so that a run that compared nothing fails.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub views: usize,
    pub refused: usize,
    pub comparisons: usize,
    pub rows: usize,
    pub restarts: usize,
    pub crashes: usize,
    pub changes: usize,
    /// Where the time goes.
    pub created: Duration,
    pub fed: Duration,
    pub compared: Duration,
    pub opened: Duration,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.views += other.views;
        self.refused += other.refused;
        self.comparisons += other.comparisons;
        self.rows += other.rows;
        self.restarts += other.restarts;
        self.crashes += other.crashes;
        self.changes += other.changes;
        self.created += other.created;
        self.fed += other.fed;
        self.compared += other.compared;
        self.opened += other.opened;
    }
}

/// What is the same about two failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    /// A view is not its query.
    Differs,
    /// A statement that must work does not: how its message begins.
    Refused(String),
    /// A query of the comparison does not.
    Unanswered(String),
    /// The books, or rows that are gone.
    Books,
    /// The engine or this test gave up.
    Panic(String),
}

/// Why a case fails.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub breach: Breach,
    /// The view that it is about.
    pub view: Option<String>,
    /// The step, and what was done in it.
    pub step: usize,
    pub text: String,
}

/// Refusals that are as they should be: how their message begins, and why.
const LIMITS: [(&str, &str); 2] = [
    (
        "two columns are called",
        "the planner calls a cast as what is cast, and refuses two casts of a column as keys",
    ),
    (
        "EMIT ON WINDOW CLOSE needs windows",
        "of a condition that is never true the planner leaves no windows",
    ),
];

/// A clock that is set by the case.
#[derive(Debug)]
struct CaseClock(AtomicI64);

impl Clock for CaseClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the batch query is asked as: itself, unless the way that failures are made small is tried.
pub(super) type Oracle = fn(&str) -> String;

/// As it is.
pub(super) fn honest(sql: &str) -> String {
    sql.to_owned()
}

pub(super) struct Stage {
    clock: Arc<CaseClock>,
    media: TrialMedia,
    /// `None` only while it is opened again.
    running: Option<Engine>,
    /// For each stream or table the rows that were acknowledged.
    pub accepted: BTreeMap<String, u64>,
    /// Which of them are tables.
    pub tables: Vec<String>,
    waiting: Vec<(String, Ticket)>,
    /// Views that were not made, since they are beyond a limit.
    pub absent: Vec<String>,
    /// Whether a view may still be what it was before it was replaced.
    pub replacing: bool,
    pub oracle: Oracle,
    pub tally: Tally,
}

/// Plays a case; `end` sees the engine before it stops.
pub(super) fn play(
    knobs: Knobs,
    acts: &[(usize, Act)],
    oracle: Oracle,
    end: &mut dyn FnMut(&Engine, &[String]),
) -> Result<Tally, Failure> {
    let mut at = 0;
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut stage = Stage::new(knobs, oracle);
        for (step, act) in acts {
            at = *step;
            stage.act(act)?;
        }
        stage.answered()?;
        end(stage.engine(), &stage.absent);
        stage.engine().shutdown().expect("stops");
        Ok(stage.tally)
    }));
    match played {
        Ok(outcome) => outcome.map_err(|failure| Failure { step: at, ..failure }),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            Err(Failure { breach: Breach::Panic(head(&text)), view: None, step: at, text })
        }
    }
}

/// The beginning of a message, without numbers: what stays when a failure is made small.
pub(super) fn head(text: &str) -> String {
    text.chars().filter(|c| c.is_alphabetic() || *c == ' ').take(50).collect()
}

fn opened(media: &TrialMedia, clock: &Arc<CaseClock>, knobs: Knobs) -> Engine {
    let options = EngineOptions {
        workers: knobs.workers,
        query_threads: 1,
        commit_interval: Duration::from_millis(knobs.commit_ms),
        commit_rows: knobs.commit_rows,
        memory_bytes_max: knobs.memory_bytes,
        cache_bytes_max: knobs.memory_bytes,
        merge_rows: knobs.merge_rows,
        build_rows: knobs.build_rows,
        ..options()
    };
    let (media, clock) = (Arc::new(media.clone()), Arc::<CaseClock>::clone(clock));
    Engine::open_media(media, clock, options, &mut |_| {}).expect("opens")
}

pub(super) fn broken(breach: Breach, view: Option<&str>, text: String) -> Failure {
    Failure { breach, view: view.map(str::to_owned), step: 0, text }
}

impl Stage {
    fn new(knobs: Knobs, oracle: Oracle) -> Self {
        let begun = Instant::now();
        let clock = Arc::new(CaseClock(AtomicI64::new(START_US)));
        let media = TrialMedia::new(1);
        let running = Some(opened(&media, &clock, knobs));
        let tally = Tally { opened: begun.elapsed(), ..Tally::default() };
        let (accepted, waiting) = (BTreeMap::new(), Vec::new());
        let (tables, absent) = (Vec::new(), Vec::new());
        Self {
            clock,
            media,
            running,
            accepted,
            tables,
            waiting,
            absent,
            replacing: false,
            oracle,
            tally,
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        self.running.as_ref().expect("it runs between the steps")
    }

    fn act(&mut self, act: &Act) -> Result<(), Failure> {
        let begun = Instant::now();
        match act {
            Act::Sql(sql) => self.sql(sql)?,
            Act::Send { stream, rows, twice, dead, .. } => {
                let handle = self.engine().stream(stream).expect("it was created");
                let rows = batch(handle.schema(), rows);
                let mut delivery = Delivery::new(handle, "law", rows);
                delivery.dead_letters = (0..*dead).map(dead_letter).collect();
                if *twice {
                    let number = self.engine().health().commit;
                    delivery.idempotency_key = Some(format!("{number:?} {begun:?}"));
                    let ticket = self.engine().submit(delivery.clone()).expect("takes rows");
                    self.waiting.push((stream.clone(), ticket));
                }
                let ticket = self.engine().submit(delivery).expect("takes rows");
                self.waiting.push((stream.clone(), ticket));
            }
            Act::Answered => self.answered()?,
            Act::Checkpoint => self.engine().checkpoint().expect("writes"),
            Act::Restart { crash, knobs } => self.restart(*crash, *knobs)?,
            Act::Clock(us) => self.clock.0.store(*us, Ordering::SeqCst),
            Act::Same(same) => self.same(same)?,
            Act::Books { name, table, unique } => self.books(name, *table, *unique)?,
        }
        let spent = match act {
            Act::Sql(sql) if is_of_view(sql) => &mut self.tally.created,
            Act::Same(_) => &mut self.tally.compared,
            Act::Restart { .. } => &mut self.tally.opened,
            _ => &mut self.tally.fed,
        };
        *spent += begun.elapsed();
        Ok(())
    }

    fn sql(&mut self, sql: &str) -> Result<(), Failure> {
        let view = view_made(sql);
        if is_of_view(sql) {
            self.replaced()?;
            self.replacing = sql.starts_with("CREATE OR REPLACE");
        }
        self.tally.views += usize::from(view.is_some());
        let outcome = run(self.engine(), sql);
        let said = match outcome {
            Ok(said) => said,
            Err(error) => return self.refused(sql, view, &error),
        };
        if let Some(rest) = sql.strip_prefix("INSERT INTO ") {
            let name = rest.split(' ').next().unwrap_or_default();
            let count = said[0].rsplit(' ').next().expect("INSERT 0 n").parse::<u64>();
            *self.accepted.entry(name.to_owned()).or_default() += count.expect("a number");
        } else if let Some((table, name)) = base_made(sql) {
            self.accepted.insert(name.to_owned(), 0);
            self.tables.extend(table.then(|| name.to_owned()));
        } else if view.is_none() {
            self.tally.changes += 1;
        }
        Ok(())
    }

    fn refused(
        &mut self,
        sql: &str,
        view: Option<&str>,
        error: &EngineError,
    ) -> Result<(), Failure> {
        let message = error.message.as_str();
        let beyond = LIMITS.iter().any(|(limit, _)| message.starts_with(limit))
            || self.absent.iter().any(|name| message.contains(&format!("\"{name}\"")));
        match view {
            Some(view) if beyond => {
                self.tally.views -= 1;
                self.tally.refused += 1;
                self.absent.push(view.to_owned());
                Ok(())
            }
            _ => {
                let breach = Breach::Refused(head(message));
                Err(broken(breach, view, format!("refused: {sql}\n{error}")))
            }
        }
    }

    /// Waits until no view is being built or replaced.
    pub(super) fn replaced(&mut self) -> Result<(), Failure> {
        const LEFT: &str = "SELECT name FROM yeoul.views WHERE status = 'building' OR replacement \
                            IN ('building', 'waiting', 'complete', 'moves')";
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let is_quiet = self.engine().health().building.is_empty();
            let is_left = || run(self.engine(), LEFT).is_ok_and(|names| !names.is_empty());
            if is_quiet && !(self.replacing && is_left()) {
                self.replacing = false;
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        let views = run(self.engine(), "SELECT * FROM yeoul.views");
        let text = format!("views are still being built: {views:?}");
        Err(broken(Breach::Panic("still being built".to_owned()), None, text))
    }

    /// Waits for every receipt and every view.
    fn answered(&mut self) -> Result<(), Failure> {
        self.receipts()?;
        self.replaced()
    }

    fn receipts(&mut self) -> Result<(), Failure> {
        for (stream, ticket) in self.waiting.drain(..) {
            match ticket.wait() {
                Ok(receipt) => *self.accepted.entry(stream).or_default() += receipt.accepted,
                Err(error) => {
                    let text = format!("a delivery to {stream}: {error}");
                    return Err(broken(Breach::Refused(head(&error.message)), None, text));
                }
            }
        }
        Ok(())
    }

    fn restart(&mut self, crash: bool, knobs: Knobs) -> Result<(), Failure> {
        let before = if self.waiting.is_empty() { self.contents()? } else { Vec::new() };
        if crash {
            let left = self.media.after_crash();
            self.engine().shutdown().expect("stops");
            self.waiting.clear();
            self.media = left;
            self.tally.crashes += 1;
        } else {
            self.engine().shutdown().expect("stops");
            self.receipts()?;
            self.tally.restarts += 1;
        }
        // Nothing of the old one may be left: it would remove files that the new one has.
        self.running = None;
        self.running = Some(opened(&self.media, &self.clock, knobs));
        self.kept(before, crash)
    }
}

fn dead_letter(line: usize) -> DeadLetter {
    DeadLetter { raw: "{".into(), reason: "not JSON".to_owned(), position: format!("line {line}") }
}

/// The stream or table that a statement makes, and whether it is a table.
fn base_made(sql: &str) -> Option<(bool, &str)> {
    let table = sql.starts_with("CREATE TABLE ");
    let rest = sql.strip_prefix("CREATE TABLE ").or_else(|| sql.strip_prefix("CREATE STREAM "))?;
    Some((table, rest.split_whitespace().next()?))
}

/// The view that a statement makes.
fn view_made(sql: &str) -> Option<&str> {
    let rest = sql
        .strip_prefix("CREATE MATERIALIZED VIEW ")
        .or_else(|| sql.strip_prefix("CREATE OR REPLACE MATERIALIZED VIEW "))?;
    rest.split_whitespace().next()
}

fn is_of_view(sql: &str) -> bool {
    view_made(sql).is_some() || sql.starts_with("DROP MATERIALIZED")
}
