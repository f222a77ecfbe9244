//! Makes a case that fails small: whatever can go without the failure going goes.
//!
//! ```text
//!   views that the failing one does not read ─▶ steps behind the failure ─▶ calm settings
//!        ─▶ steps, by halves ─▶ rows, by halves ─▶ parts of queries ─▶ columns of nulls ─▶ again
//! ```
//!
//! What must hold: every script that is kept has failed, in the way of the first. It ends after [`LIMIT`], with
//! what it has.

use std::time::{Duration, Instant};

use super::base::Kind;
use super::cells::Cell;
use super::play::{Breach, Failure, Oracle, play};
use super::script::{How, Knobs, Script, Step};
use super::tree::{Mark, Tree};
use super::views::Twin;

/// How long is tried.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// A script that fails, and how.
pub(super) struct Shrunk {
    pub script: Script,
    pub failure: Failure,
    /// How many were played.
    pub tried: usize,
}

struct Shrinker {
    best: Shrunk,
    breach: Breach,
    oracle: Oracle,
    until: Instant,
}

/// The smallest script found that fails as `failure` does.
pub(super) fn shrink(script: Script, failure: Failure, oracle: Oracle) -> Shrunk {
    let breach = failure.breach.clone();
    let best = Shrunk { script, failure, tried: 0 };
    let mut shrinker = Shrinker { best, breach, oracle, until: Instant::now() + LIMIT };
    shrinker.run();
    shrinker.best
}

impl Shrinker {
    fn run(&mut self) {
        self.focus();
        let end = self.best.failure.step + 1;
        self.attempt(|script| script.steps.truncate(end));
        self.attempt(calm);
        self.attempt(|script| script.steps.retain(|s| !matches!(s, Step::Restart { .. })));
        for base in 0..self.best.script.bases.len() {
            self.attempt(|script| script.without.push(base));
        }
        loop {
            let before = self.size();
            self.steps();
            self.rows();
            self.cuts();
            self.columns();
            if self.size() >= before || Instant::now() > self.until {
                return;
            }
        }
    }

    /// How much is left: acts, letters of statements.
    fn size(&self) -> usize {
        let acts = self.best.script.acts();
        super::script::text(self.best.script.knobs, &acts).len()
    }

    /// Keeps what `change` makes of the script when it fails still.
    fn attempt(&mut self, change: impl FnOnce(&mut Script)) -> bool {
        if Instant::now() > self.until {
            return false;
        }
        let mut script = self.best.script.clone();
        change(&mut script);
        self.best.tried += 1;
        let played = play(script.knobs, &script.acts(), self.oracle, &mut |_, _| {});
        match played {
            Err(failure) if failure.breach == self.breach => {
                self.best = Shrunk { script, failure, tried: self.best.tried };
                true
            }
            _ => false,
        }
    }

    /// Only the view that fails, and what it reads.
    fn focus(&mut self) {
        let Some(view) = self.best.failure.view.clone() else { return };
        let mut names = vec![view];
        let mut at = 0;
        while at < names.len() {
            let read = self.best.script.steps.iter().filter_map(|step| match step {
                Step::Create { view, .. } if view.name == names[at] => Some(&view.query.reads),
                _ => None,
            });
            let read: Vec<String> = read.flatten().cloned().collect();
            read.into_iter().for_each(|name| {
                if !names.contains(&name) {
                    names.push(name);
                }
            });
            at += 1;
        }
        // The one that is compared is the last.
        names.reverse();
        self.attempt(|script| script.focus = Some(names));
    }

    /// Leaves out steps: all, halves, quarters, … down to single ones.
    fn steps(&mut self) {
        let count = self.best.script.steps.len();
        self.halves(count, |script, gone| {
            let mut at = 0;
            script.steps.retain(|_| {
                at += 1;
                !gone.contains(&(at - 1))
            });
        });
    }

    fn rows(&mut self) {
        let rows = |step: &Step| match step {
            Step::Feed { rows, .. } => rows.len(),
            _ => 0,
        };
        let count = self.best.script.steps.iter().map(rows).sum();
        self.halves(count, |script, gone| {
            let mut at = 0;
            for step in &mut script.steps {
                if let Step::Feed { rows, .. } = step {
                    rows.retain(|_| {
                        at += 1;
                        !gone.contains(&(at - 1))
                    });
                }
            }
        });
    }

    /// Takes ranges of `count` things out, ever smaller ones; those at the end first.
    fn halves(&mut self, mut count: usize, remove: impl Fn(&mut Script, std::ops::Range<usize>)) {
        let mut size = count;
        while size > 0 {
            let mut end = count;
            while end > 0 {
                let begin = end.saturating_sub(size);
                if self.attempt(|script| remove(script, begin..end)) {
                    count -= end - begin;
                }
                end = begin;
            }
            size /= 2;
        }
    }

    /// Simpler parts of statements, outer ones first.
    fn cuts(&mut self) {
        let mut tried: Vec<Mark> = Vec::new();
        loop {
            let next = trees(&self.best.script)
                .into_iter()
                .flat_map(|tree| tree.choices(&self.best.script.cuts))
                .find(|(mark, _)| !tried.contains(mark));
            let Some((mark, ways)) = next else { return };
            tried.push(mark);
            for way in (1..ways).rev() {
                if self.attempt(|script| script.cuts.extend([(mark, way)])) {
                    break;
                }
            }
        }
    }

    /// Columns without values, and with the simplest ones.
    fn columns(&mut self) {
        for base in 0..self.best.script.bases.len() {
            for column in 0..self.best.script.bases[base].columns.len() {
                let it = &self.best.script.bases[base];
                let (never_null, kind) = (it.is_never_null(column), it.columns[column].kind);
                if never_null || !self.attempt(|script| set(script, base, column, &Cell::Null)) {
                    let simple = match kind {
                        Kind::Text => Cell::Text("a".to_owned()),
                        Kind::Bool => Cell::Bool(true),
                        _ => continue,
                    };
                    self.attempt(|script| set(script, base, column, &simple));
                }
            }
        }
    }
}

fn set(script: &mut Script, wanted: usize, column: usize, cell: &Cell) {
    for step in &mut script.steps {
        if let Step::Feed { base, rows, .. } = step
            && *base == wanted
        {
            rows.iter_mut().filter(|row| row[column] != Cell::Null).for_each(|row| {
                row[column] = cell.clone();
            });
        }
    }
}

/// One worker, much memory, and every row by a statement that is waited for.
fn calm(script: &mut Script) {
    script.knobs = Knobs::CALM;
    for step in &mut script.steps {
        match step {
            Step::Restart { knobs, .. } => *knobs = Knobs::CALM,
            Step::Feed { how: how @ How::Sent { .. }, .. } => *how = How::Insert { keep: false },
            _ => {}
        }
    }
}

/// The texts that may be cut.
fn trees(script: &Script) -> Vec<&Tree> {
    let mut trees: Vec<&Tree> = script.functions.iter().collect();
    for step in &script.steps {
        match step {
            Step::Create { view, .. } => {
                trees.push(&view.query.sql);
                if let Twin::Closed(twin) = &view.query.twin {
                    trees.push(twin);
                }
            }
            Step::Change(tree) | Step::Glance { filter: tree, .. } => trees.push(tree),
            _ => {}
        }
    }
    trees
}
