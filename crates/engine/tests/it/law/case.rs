//! One case: an engine on a trial disk, what is done to it, and what must hold.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use yeoul_engine::{DeadLetter, Delivery, Engine, EngineOptions, Ticket};
use yeoul_store::TrialMedia;

use super::base::{Base, Kind, TimeType, values};
use super::chance::Chance;
use super::compare::{Bag, query};
use super::exprs::Scope;
use super::views::{Query, Relation, Writer};
use crate::support::{TestClock, settle};

const VIEWS_MAX: usize = 7;

/// What was compared, so that a run that compared nothing fails.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub views: usize,
    pub comparisons: usize,
    pub rows: usize,
    pub restarts: usize,
    pub crashes: usize,
    pub changes: usize,
}

struct View {
    name: String,
    query: Query,
}

/// A base, its rows that were answered for, and the deliveries that were not yet.
struct Fed {
    base: Base,
    accepted: u64,
    waiting: Vec<Ticket>,
}

pub(super) struct Case {
    seed: u64,
    chance: Chance,
    time: TimeType,
    media: TrialMedia,
    /// `None` only while it is opened again.
    running: Option<Engine>,
    bases: Vec<Fed>,
    /// Whether so few rows come that they are compared with each other.
    few: bool,
    views: Vec<View>,
    named: usize,
    /// What was done, newest last.
    done: Vec<String>,
    tally: Tally,
}

fn options(chance: &mut Chance) -> EngineOptions {
    EngineOptions {
        workers: *chance.pick(&[1, 2, 3, 7]),
        query_threads: 2,
        commit_interval: Duration::from_millis(*chance.pick(&[0, 1, 3])),
        commit_rows: *chance.pick(&[50, 1000, 65_536]),
        memory_bytes_max: *chance.pick(&[30_000, 300_000, 256 << 20]),
        merge_rows: *chance.pick(&[1, 1_000, 1 << 17]),
        ..EngineOptions::default()
    }
}

fn opened(media: &TrialMedia, options: EngineOptions) -> Engine {
    let media = Arc::new(media.clone());
    Engine::open_media(media, Arc::new(TestClock::default()), options, &mut |_| {}).expect("opens")
}

/// Runs the case of `seed`. Panics with everything that is needed to see it again.
pub(super) fn run(seed: u64) -> Tally {
    let mut case = Case::new(seed);
    for _ in 0..case.chance.between(20, 60) {
        case.step();
    }
    case.settled();
    case.restart(false);
    case.settled();
    case.engine().shutdown().expect("stops");
    case.tally
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let few = chance.once_in(2);
        let time = TimeType(if chance.once_in(3) { "TIMESTAMP" } else { "TIMESTAMPTZ" });
        let media = TrialMedia::new(chance.seed());
        let engine = opened(&media, options(&mut chance));
        let mut all = vec![Base::stream(&mut chance, "s0", time)];
        if chance.once_in(2) {
            all.push(Base::stream(&mut chance, "s1", time));
        }
        all.push(Base::table(&mut chance, "t0", time));
        let fed = |base| Fed { base, accepted: 0, waiting: Vec::new() };
        let mut case = Self {
            seed,
            chance,
            time,
            media,
            running: Some(engine),
            bases: all.into_iter().map(fed).collect(),
            few,
            views: Vec::new(),
            named: 0,
            done: Vec::new(),
            tally: Tally::default(),
        };
        let statements: Vec<String> = case.bases.iter().map(|f| f.base.sql.clone()).collect();
        for sql in statements {
            case.must(&sql);
        }
        for _ in 0..case.chance.below(4) {
            case.create();
        }
        case
    }

    fn engine(&self) -> &Engine {
        self.running.as_ref().expect("it runs between the steps")
    }

    fn fail(&self, what: &str) -> ! {
        let skip = self.done.len().saturating_sub(40);
        panic!(
            "the law is broken\nagain: YEOUL_LAW_SEED={} cargo test -p yeoul-engine --test it -- law\n\
             step {}\n{what}\nwhat was done:\n  {}",
            self.seed,
            self.done.len(),
            self.done[skip..].join("\n  ")
        );
    }

    fn note(&mut self, what: impl Into<String>) {
        let mut what = what.into();
        if let Some((at, _)) = what.char_indices().nth(1500) {
            what.truncate(at);
            what.push('…');
        }
        self.done.push(what);
    }

    fn must(&mut self, sql: &str) {
        self.note(sql);
        if let Err(error) = crate::support::run(self.engine(), sql) {
            self.fail(&format!("refused: {sql}\n{error}"));
        }
    }

    fn step(&mut self) {
        match self.chance.below(30) {
            0..=11 => self.deliver(),
            12..=13 => self.insert(),
            14..=16 => self.change(),
            17..=21 => self.create(),
            22 => self.drop_view(),
            23..=24 => {
                self.note("checkpoint");
                self.engine().checkpoint().expect("writes");
            }
            25 => self.restart(false),
            26 => self.restart(true),
            _ => self.settled(),
        }
        if self.chance.once_in(2) {
            self.compare_one();
        }
    }

    fn deliver(&mut self) {
        let at = self.chance.below(self.bases.len());
        let count = match self.chance.below(8) {
            0 => 1,
            1 if !self.few => 600 + self.chance.below(1500),
            _ => 1 + self.chance.below(60),
        };
        let handle = self.engine().stream(&self.bases[at].base.name).expect("it was created");
        let rows = self.bases[at].base.rows(&mut self.chance, handle.schema(), count);
        let what = format!("deliver {} rows to {}", rows.num_rows(), self.bases[at].base.name);
        let mut delivery = Delivery::new(handle, "law", rows);
        if self.chance.once_in(8) {
            delivery.dead_letters = (0..1 + self.chance.below(3))
                .map(|line| DeadLetter {
                    raw: "{".into(),
                    reason: "not JSON".to_owned(),
                    position: format!("line {line}"),
                })
                .collect();
        }
        if self.chance.once_in(8) {
            delivery.idempotency_key = Some(format!("key {}", self.done.len()));
            let ticket = self.engine().submit(delivery.clone()).expect("takes rows");
            self.bases[at].waiting.push(ticket);
        }
        self.note(what);
        let ticket = self.engine().submit(delivery).expect("takes rows");
        self.bases[at].waiting.push(ticket);
        if self.chance.once_in(2) {
            self.answered();
        }
    }

    /// Waits for every receipt.
    fn answered(&mut self) {
        for fed in &mut self.bases {
            for ticket in fed.waiting.drain(..) {
                fed.accepted += ticket.wait().expect("a receipt").accepted;
            }
        }
    }

    fn insert(&mut self) {
        let at = self.chance.below(self.bases.len());
        let handle = self.engine().stream(&self.bases[at].base.name).expect("it was created");
        let count = 1 + self.chance.below(8);
        let rows = self.bases[at].base.rows(&mut self.chance, handle.schema(), count);
        let name = self.bases[at].base.name.clone();
        let keep = self.bases[at].base.table && self.chance.once_in(3);
        let tail = if keep { " ON CONFLICT DO NOTHING" } else { "" };
        let sql = format!("INSERT INTO {name} VALUES {}{tail}", values(&rows, self.time));
        self.note(&sql);
        match crate::support::run(self.engine(), &sql) {
            Ok(tag) => {
                let count = tag[0].rsplit(' ').next().expect("INSERT 0 n").parse::<u64>();
                self.bases[at].accepted += count.expect("a number");
            }
            Err(error) => self.fail(&format!("refused: {sql}\n{error}")),
        }
    }

    fn change(&mut self) {
        let table = self.bases.iter().find(|f| f.base.table).expect("every case has a table");
        let columns = table.base.columns.clone();
        let name = table.base.name.clone();
        let scope = Scope { columns: &columns, time: self.time, folded: false };
        let condition = match self.chance.once_in(8) {
            true => "true".to_owned(),
            false => scope.condition(&mut self.chance, 1),
        };
        let sql = if self.chance.once_in(3) {
            format!("DELETE FROM {name} WHERE {condition}")
        } else {
            let set = *self.chance.pick(&[
                "n = n / 2 + 1",
                "k = 'k1'",
                "g = NULL",
                "f = f / 2, b = NOT b",
                "ts = ts + INTERVAL '1 minute'",
                "s = upper(s), d = d / 2",
                "n = n",
                "wild = f, big = n",
            ]);
            format!("UPDATE {name} SET {set} WHERE {condition}")
        };
        self.tally.changes += 1;
        self.must(&sql);
    }

    fn create(&mut self) {
        if self.views.len() >= VIEWS_MAX {
            return self.drop_view();
        }
        let mut relations: Vec<Relation> = self
            .bases
            .iter()
            .map(|f| Relation {
                name: f.base.name.clone(),
                columns: f.base.columns.clone(),
                event_time: f.base.event_time,
                wide: false,
            })
            .collect();
        relations.extend(self.views.iter().map(|v| Relation {
            name: v.name.clone(),
            columns: v.query.columns.clone(),
            event_time: false,
            wide: v.query.wide,
        }));
        self.named += 1;
        let name = format!("v{}", self.named);
        let mut writer = Writer {
            chance: &mut self.chance,
            relations: &relations,
            time: self.time,
            prefix: format!("c{}", self.named),
            few: self.few,
        };
        let query = writer.query();
        self.must(&format!("CREATE MATERIALIZED VIEW {name} AS {}", query.sql));
        self.tally.views += 1;
        self.views.push(View { name, query });
    }

    fn drop_view(&mut self) {
        if self.views.is_empty() {
            return;
        }
        let at = self.chance.below(self.views.len());
        let name = self.views[at].name.clone();
        self.must(&format!("DROP MATERIALIZED VIEW {name} CASCADE"));
        let mut gone = vec![name];
        // Views are in the order of their creation: readers come after what they read.
        self.views.retain(|view| {
            let goes =
                gone.contains(&view.name) || view.query.reads.iter().any(|r| gone.contains(r));
            if goes {
                gone.push(view.name.clone());
            }
            !goes
        });
    }

    fn restart(&mut self, crash: bool) {
        let options = options(&mut self.chance);
        self.note(format!(
            "{} with {} workers, {} bytes",
            if crash { "crash" } else { "restart" },
            options.workers,
            options.memory_bytes_max
        ));
        let quiet = self.chance.once_in(2);
        let before = if quiet { self.contents() } else { Vec::new() };
        if crash {
            let left = self.media.after_crash();
            self.engine().shutdown().expect("stops");
            for fed in &mut self.bases {
                fed.waiting.clear();
            }
            self.media = left;
            self.tally.crashes += 1;
        } else {
            self.engine().shutdown().expect("stops");
            self.answered();
            self.tally.restarts += 1;
        }
        // Nothing of the old one may be left: it would remove files that the new one has.
        self.running = None;
        self.running = Some(opened(&self.media, options));
        if quiet {
            let after = self.contents();
            for (fed, (before, after)) in self.bases.iter().zip(before.into_iter().zip(after)) {
                if let Some(rows) = before.difference(after) {
                    let rows = rows.replace("only kept", "before").replace("only batch", "after");
                    self.fail(&format!("{} is not what it was:\n{rows}", fed.base.name));
                }
            }
        }
        for at in 0..self.bases.len() {
            let base = &self.bases[at].base;
            if base.table {
                continue;
            }
            let stored = self.number(&format!("SELECT count(*) FROM {}", base.name));
            let known = self.bases[at].accepted;
            if stored < known || (!crash && stored != known) {
                let name = &self.bases[at].base.name;
                self.fail(&format!("{name}: {known} rows were acknowledged, {stored} are there"));
            }
            self.bases[at].accepted = stored;
        }
    }

    /// The rows of every stream and table, when all are answered for.
    fn contents(&mut self) -> Vec<Bag> {
        self.answered();
        let names = self.bases.iter().map(|fed| &fed.base.name);
        names.map(|name| Bag::of(&self.fetch(&format!("SELECT * FROM {name}")))).collect()
    }

    fn fetch(&self, sql: &str) -> Vec<RecordBatch> {
        query(self.engine(), sql)
            .unwrap_or_else(|error| self.fail(&format!("refused: {sql}\n{error}")))
    }

    fn number(&self, sql: &str) -> u64 {
        let rows = crate::support::run(self.engine(), sql);
        match rows.as_deref() {
            Ok([one]) => one.parse().expect("a number"),
            other => self.fail(&format!("{sql}\n{other:?}")),
        }
    }

    /// Everything that must hold when nothing is under way.
    fn settled(&mut self) {
        self.answered();
        settle(self.engine());
        self.note("compare all");
        for at in 0..self.views.len() {
            self.compare(at);
        }
        self.books();
        for at in 0..self.bases.len() {
            let base = &self.bases[at].base;
            if base.table {
                continue;
            }
            let name = base.name.clone();
            let stored = self.number(&format!("SELECT count(*) FROM {name}"));
            if stored != self.bases[at].accepted {
                let known = self.bases[at].accepted;
                self.fail(&format!("{name}: {known} rows were accepted, {stored} are there"));
            }
            let ids = self.number(&format!("SELECT count(DISTINCT id) FROM {name}"));
            if self.bases[at].base.unique && ids != stored {
                self.fail(&format!("{name}: {stored} rows of {ids} ids, which are unique"));
            }
        }
    }

    /// A view, if it is built: also while deliveries are under way.
    fn compare_one(&mut self) {
        if self.views.is_empty() {
            return;
        }
        let at = self.chance.below(self.views.len());
        let building = self.engine().health().building;
        if !building.contains(&self.views[at].name) {
            self.compare(at);
        }
        self.books();
    }

    fn compare(&mut self, at: usize) {
        let quiet = self.bases.iter().all(|f| f.waiting.is_empty());
        let view = &self.views[at];
        let scope = Scope { columns: &view.query.columns, time: self.time, folded: false };
        let filter = match self.chance.once_in(4) {
            true => format!(" WHERE {}", scope.condition(&mut self.chance, 1)),
            false => String::new(),
        };
        let apart = quiet && filter.is_empty() && self.chance.once_in(2);
        let (name, sql) = (&view.name, &view.query.sql);
        // One statement sees one commit, whatever is being committed meanwhile.
        let both = format!(
            "SELECT CAST(0 AS BIGINT) AS side, * FROM {name}{filter} \
             UNION ALL SELECT CAST(1 AS BIGINT), * FROM ({sql}) q{filter}"
        );
        let [kept, batch] = if apart {
            [Bag::of(&self.fetch(&format!("SELECT * FROM {name}"))), Bag::of(&self.fetch(sql))]
        } else {
            Bag::sides(&self.fetch(&both))
        };
        self.tally.comparisons += 1;
        self.tally.rows += batch.rows();
        let counts = format!("{} rows kept, {} in batch", kept.rows(), batch.rows());
        if let Some(rows) = kept.difference(batch) {
            self.fail(&format!("view {name} AS {sql}\nread{filter}: {counts}\n{rows}"));
        }
    }

    /// What came in is stored, a duplicate, or a dead letter; at every commit.
    fn books(&self) {
        for fed in &self.bases {
            let name = &fed.base.name;
            let sum = |column: &str| {
                format!(
                    "(SELECT coalesce(sum({column}), 0) FROM yeoul.sources WHERE stream = '{name}') \
                     AS {column}"
                )
            };
            let stored = format!("(SELECT count(*) FROM {name}) AS rows");
            let sql = format!(
                "SELECT {}, {}, {}, {}, {stored}",
                sum("received"),
                sum("stored"),
                sum("duplicates"),
                sum("dead_letters")
            );
            let line = match crate::support::run(self.engine(), &sql) {
                Ok(lines) => lines.join("\n"),
                Err(error) => self.fail(&format!("refused: {sql}\n{error}")),
            };
            let n: Vec<u64> = line.split('|').map(|cell| cell.parse().expect("a number")).collect();
            if n[0] != n[1] + n[2] + n[3] || (!fed.base.table && n[1] != n[4]) {
                self.fail(&format!(
                    "the books of {name}: received|stored|duplicates|dead letters|rows = {line}"
                ));
            }
        }
    }
}

/// Kinds that the conditions of a case can tell apart exist.
#[test]
fn cases_differ() {
    let kinds = |seed| {
        let base = Base::stream(&mut Chance::new(seed), "s", TimeType("TIMESTAMP"));
        assert!(base.columns.iter().any(|c| c.kind == Kind::Time));
        base.sql
    };
    assert_ne!(kinds(1), kinds(2));
    assert_eq!(kinds(1), kinds(1));
}
