//! What is done in a case: first as a plan that can be made smaller, then act by act, then as a text.
//!
//! ```text
//!   Script ──lower──▶ acts ──play──▶ what differs        (`play.rs`)
//!      ▲                └──text──▶ a file that is read as acts again
//!      └── smaller, while it still fails                 (`shrink.rs`)
//! ```

use std::collections::BTreeMap;

use super::base::{Base, CLOSING_BEHIND_US, TimeType};
use super::cells::{Cell, time};
use super::tree::{Cuts, Tree};
use super::views::{Query, Twin};

/// Settings of an engine that no answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Knobs {
    pub workers: usize,
    pub commit_ms: u64,
    pub commit_rows: usize,
    pub memory_bytes: usize,
    pub merge_rows: usize,
    pub build_rows: usize,
}

impl Knobs {
    /// Those with which the least happens at once.
    pub(super) const CALM: Self = Self {
        workers: 1,
        commit_ms: 0,
        commit_rows: 65_536,
        memory_bytes: 256 << 20,
        merge_rows: 1 << 17,
        build_rows: 32_768,
    };
}

/// How rows come in.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// By a statement; `keep`: what is there stays.
    Insert { keep: bool },
    /// By a delivery, perhaps twice under one key, perhaps with letters that are dead.
    Sent { twice: bool, dead: usize, waits: bool },
}

/// A view that is made.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub name: String,
    pub query: Query,
}

/// A step of a case.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Create {
        view: View,
        replace: bool,
    },
    Drop(String),
    Feed {
        base: usize,
        rows: Vec<Vec<Cell>>,
        how: How,
    },
    Change(Tree),
    Checkpoint,
    Restart {
        crash: bool,
        knobs: Knobs,
    },
    /// The clock is set to so many microseconds since 1970.
    Clock(i64),
    /// Every view, when nothing is under way.
    Compare,
    /// One view, while things are under way; with what of it is read.
    Glance {
        view: String,
        filter: Tree,
    },
}

/// A whole case.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub time: TimeType,
    pub knobs: Knobs,
    pub bases: Vec<Base>,
    /// `CREATE FUNCTION`s.
    pub functions: Vec<Tree>,
    pub steps: Vec<Step>,
    pub cuts: Cuts,
    /// When set, only the last of these views is compared, and only they are made.
    pub focus: Option<Vec<String>>,
    /// Streams and tables that are not made.
    pub without: Vec<usize>,
}

/// What the engine is told.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Sql(String),
    Send {
        stream: String,
        rows: Vec<Vec<Cell>>,
        twice: bool,
        dead: usize,
        insert: String,
    },
    /// Every delivery is answered.
    Answered,
    Checkpoint,
    Restart {
        crash: bool,
        knobs: Knobs,
    },
    Clock(i64),
    Same(Same),
    /// The books of a stream or table: whether it is one, whether its ids are unique.
    Books {
        name: String,
        table: bool,
        unique: bool,
    },
}

/// A view and what it must be.
#[derive(Clone, Debug)]
pub(super) struct Same {
    pub view: String,
    pub query: String,
    /// What of both is read.
    pub filter: String,
    /// Whether the clock may not have been seen yet.
    pub clocked: bool,
}

/// Before every time of a closing stream.
const LONG_AGO_US: i64 = 0;

/// What is known of a view while acts are made.
struct Made<'a> {
    query: &'a Query,
    /// The commits of closing streams that were there when it was made.
    created: i64,
}

/// Turns steps into acts. What a closing stream's rows know of the watermark is found here.
struct Lowering<'a> {
    script: &'a Script,
    acts: Vec<(usize, Act)>,
    made: BTreeMap<&'a str, Made<'a>>,
    /// The number of commits and the newest time of closing streams: there is one at most.
    seq: i64,
    newest_us: Option<i64>,
}

impl Script {
    /// The acts, each with the number of its step; those before the first have none.
    pub(super) fn acts(&self) -> Vec<(usize, Act)> {
        let (acts, made) = (Vec::new(), BTreeMap::new());
        let mut lowering = Lowering { script: self, acts, made, seq: 0, newest_us: None };
        let created = self.wanted_bases().map(|base| base.sql.clone());
        let functions = self.functions.iter().map(|sql| sql.sql(&self.cuts));
        for sql in created.chain(functions.filter(|sql| !sql.is_empty())) {
            lowering.act(0, Act::Sql(sql));
        }
        for (at, step) in self.steps.iter().enumerate() {
            lowering.step(at, step);
        }
        lowering.acts
    }

    fn wanted_bases(&self) -> impl Iterator<Item = &Base> {
        let bases = self.bases.iter().enumerate();
        bases.filter(|(at, _)| !self.without.contains(at)).map(|(_, base)| base)
    }

    fn is_wanted(&self, view: &str) -> bool {
        self.focus.as_ref().is_none_or(|names| names.iter().any(|name| name == view))
    }
}

impl<'a> Lowering<'a> {
    fn act(&mut self, step: usize, act: Act) {
        self.acts.push((step, act));
    }

    fn step(&mut self, at: usize, step: &'a Step) {
        let cuts = &self.script.cuts;
        match step {
            Step::Create { view, .. } if !self.script.is_wanted(&view.name) => {}
            Step::Create { view, replace } => {
                let word = if *replace { "CREATE OR REPLACE" } else { "CREATE" };
                let query = view.query.sql.sql(cuts);
                self.act(
                    at,
                    Act::Sql(format!("{word} MATERIALIZED VIEW {} AS {query}", view.name)),
                );
                self.made.insert(&view.name, Made { query: &view.query, created: self.seq });
                if matches!(view.query.twin, Twin::Closed(_)) {
                    // What is late is told by the commits that come when it is complete.
                    self.act(at, Act::Answered);
                }
            }
            Step::Drop(name) => {
                if self.script.is_wanted(name) {
                    self.act(
                        at,
                        Act::Sql(format!("DROP MATERIALIZED VIEW IF EXISTS {name} CASCADE")),
                    );
                }
                self.forget(name);
            }
            Step::Feed { base, rows, how } if !self.script.without.contains(base) => {
                self.feed(at, *base, rows, *how);
            }
            Step::Feed { .. } => {}
            Step::Change(sql) => self.act(at, Act::Sql(sql.sql(cuts))),
            Step::Checkpoint => self.act(at, Act::Checkpoint),
            Step::Restart { crash, knobs } => {
                self.act(at, Act::Restart { crash: *crash, knobs: *knobs });
            }
            Step::Clock(us) => self.act(at, Act::Clock(*us)),
            Step::Compare => {
                self.act(at, Act::Answered);
                let names: Vec<&str> = self.made.keys().copied().collect();
                for name in names {
                    self.same(at, name, String::new());
                }
                for base in self.script.wanted_bases() {
                    let (name, table, unique) = (base.name.clone(), base.table, base.unique);
                    self.act(at, Act::Books { name, table, unique });
                }
            }
            Step::Glance { view, filter } => self.same(at, view, filter.sql(cuts)),
        }
    }

    fn same(&mut self, at: usize, name: &str, filter: String) {
        let last = self.script.focus.as_ref().and_then(|names| names.last());
        let Some(made) = self.made.get(name) else { return };
        if last.is_some_and(|last| last != name) {
            return;
        }
        let cuts = &self.script.cuts;
        let (query, clocked) = match &made.query.twin {
            Twin::Query => (made.query.sql.sql(cuts), false),
            Twin::Clocked => (made.query.sql.sql(cuts), true),
            Twin::Closed(twin) => {
                let closed = self.watermark_us().map_or(Cell::Null, Cell::Time);
                let closed = closed.sql(self.script.time.0);
                let created = made.created.to_string();
                (twin.sql(cuts).replace("$created", &created).replace("$closed", &closed), false)
            }
        };
        self.act(at, Act::Same(Same { view: name.to_owned(), query, filter, clocked }));
    }

    fn watermark_us(&self) -> Option<i64> {
        self.newest_us.map(|us| us - CLOSING_BEHIND_US)
    }

    /// A view is gone, and with it those that read it.
    fn forget(&mut self, name: &str) {
        let mut gone = vec![name.to_owned()];
        while let Some(name) = gone.pop() {
            self.made.remove(name.as_str());
            let readers = self.made.iter().filter(|(_, made)| made.query.reads.contains(&name));
            gone.extend(readers.map(|(reader, _)| (*reader).to_owned()));
        }
    }

    fn feed(&mut self, at: usize, base: usize, rows: &[Vec<Cell>], how: How) {
        if rows.is_empty() {
            return;
        }
        let base = &self.script.bases[base];
        let mut rows = rows.to_vec();
        if base.closing {
            self.seq += 1;
            let wm = self.watermark_us();
            let place = |name: &str| base.columns.iter().position(|c| c.name == name);
            let places = (place("seq"), place("wm"), place("ts"));
            let (Some(seq), Some(before), Some(ts)) = places else { return };
            for row in &mut rows {
                row[seq] = Cell::Int(self.seq);
                row[before] = Cell::Time(wm.unwrap_or(LONG_AGO_US));
                if let Cell::Time(us) = row[ts] {
                    self.newest_us = self.newest_us.max(Some(us));
                }
            }
        }
        let sql = insert(base, &rows, matches!(how, How::Insert { keep: true }));
        match how {
            How::Insert { .. } => self.act(at, Act::Sql(sql)),
            How::Sent { twice, dead, waits } => {
                let stream = base.name.clone();
                self.act(at, Act::Send { stream, rows, twice, dead, insert: sql });
                if waits {
                    self.act(at, Act::Answered);
                }
            }
        }
    }
}

/// An `INSERT` of the columns that have a value in some row.
fn insert(base: &Base, rows: &[Vec<Cell>], keep: bool) -> String {
    let is_told =
        |at: &usize| base.is_never_null(*at) || rows.iter().any(|row| row[*at] != Cell::Null);
    let told: Vec<usize> = (0..base.columns.len()).filter(is_told).collect();
    let names: Vec<&str> = told.iter().map(|at| base.columns[*at].name.as_str()).collect();
    let row = |row: &Vec<Cell>| {
        let cells: Vec<String> = told.iter().map(|at| row[*at].sql(base.types[*at])).collect();
        format!("({})", cells.join(", "))
    };
    let values: Vec<String> = rows.iter().map(row).collect();
    let tail = if keep { " ON CONFLICT DO NOTHING" } else { "" };
    format!("INSERT INTO {} ({}) VALUES {}{tail}", base.name, names.join(", "), values.join(", "))
}

impl Act {
    /// A line of a script; `None` for what only a running case does.
    fn text(&self) -> Option<String> {
        let knobs = |knobs: &Knobs| {
            format!(
                "{} {} {} {} {} {}",
                knobs.workers,
                knobs.commit_ms,
                knobs.commit_rows,
                knobs.memory_bytes,
                knobs.merge_rows,
                knobs.build_rows
            )
        };
        Some(match self {
            Self::Sql(sql) | Self::Send { insert: sql, .. } => format!("{sql};"),
            Self::Answered | Self::Books { .. } => return None,
            Self::Checkpoint => "-- checkpoint".to_owned(),
            Self::Restart { crash: false, knobs: k } => format!("-- restart {}", knobs(k)),
            Self::Restart { crash: true, knobs: k } => format!("-- crash {}", knobs(k)),
            Self::Clock(us) => format!("-- clock {us} ({})", time(*us, "Z")),
            Self::Same(same) if same.clocked => {
                format!("-- by the clock {} = {};", same.view, same.query)
            }
            Self::Same(same) => format!("-- same {} = {};", same.view, same.query),
        })
    }
}

/// The acts as a script that [`read`] reads.
pub(super) fn text(knobs: Knobs, acts: &[(usize, Act)]) -> String {
    let first = Act::Restart { crash: false, knobs }.text();
    let lines = acts.iter().map(|(_, act)| act.text());
    let lines: Vec<String> = std::iter::once(first).chain(lines).flatten().collect();
    lines.join("\n")
}

/// The acts of a script: statements end with `;` at the end of a line, other lines begin with `-- `.
pub(super) fn read(text: &str) -> (Knobs, Vec<(usize, Act)>) {
    let (mut first, mut acts, mut open) = (Knobs::CALM, Vec::new(), String::new());
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let (word, rest) = line
            .strip_prefix("-- ")
            .map_or(("", line), |note| note.split_once(' ').unwrap_or((note, "")));
        let act = match word {
            _ if !open.is_empty() || word.is_empty() => {
                open.push_str(if open.is_empty() { "" } else { "\n" });
                open.push_str(line);
                let Some(whole) = open.strip_suffix(';') else { continue };
                let act = read_whole(whole);
                open.clear();
                act
            }
            "same" | "by" => {
                open = line.to_owned();
                let Some(whole) = line.strip_suffix(';') else { continue };
                let act = read_whole(whole);
                open.clear();
                act
            }
            "checkpoint" => Act::Checkpoint,
            "clock" => {
                let us = rest.split(' ').next().unwrap_or_default();
                Act::Clock(us.parse().expect("microseconds"))
            }
            "restart" | "crash" => {
                let knobs = read_knobs(rest);
                if acts.is_empty() {
                    first = knobs;
                    continue;
                }
                Act::Restart { crash: word == "crash", knobs }
            }
            // A word for people.
            _ => continue,
        };
        acts.push((acts.len(), act));
    }
    assert!(open.is_empty(), "a statement without an end: {open}");
    (first, acts)
}

fn read_whole(whole: &str) -> Act {
    let same = whole.strip_prefix("-- same ").map(|rest| (rest, false));
    let Some((rest, clocked)) =
        same.or_else(|| whole.strip_prefix("-- by the clock ").map(|rest| (rest, true)))
    else {
        return Act::Sql(whole.to_owned());
    };
    let (view, query) = rest.split_once(" = ").expect("a view = its query");
    let (view, query) = (view.to_owned(), query.to_owned());
    Act::Same(Same { view, query, filter: String::new(), clocked })
}

fn read_knobs(rest: &str) -> Knobs {
    let numbers: Vec<usize> =
        rest.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let &[workers, commit_ms, commit_rows, memory_bytes, merge_rows, build_rows] = &numbers[..]
    else {
        return Knobs::CALM;
    };
    let commit_ms = commit_ms as u64;
    Knobs { workers, commit_ms, commit_rows, memory_bytes, merge_rows, build_rows }
}
