//! Which part of a partition a changed row can reach.
//!
//! ```text
//!   in order:   · · ○ ○ ● ◐ ◐ ○ · · ·       ● changed   ◐ sees it: its answer may be another
//!                   └─ stretch ─┘            ○ is seen by those, so it is needed to evaluate them
//! ```
//!
//! A stretch is evaluated like a partition of its own, and only the answers of ● and ◐ are looked at. A row
//! between which and the nearest changed one there are as many unchanged rows as it sees has the same rows
//! around it as before.

use std::ops::Range;

use yeoul_batch::PartitionFunction;

use super::near::MARK_ROWS;
use super::touched::Touched;
use super::{TASK_ROWS, Task};

/// The stretches of parts of partitions that are evaluated.
pub(super) struct Stretches<'a> {
    touched: &'a Touched,
    /// Whether the answer of each row may be another.
    affected: Vec<bool>,
    /// Rows, and the state that they begin behind.
    stretches: Vec<(Range<usize>, Option<u32>)>,
}

impl<'a> Stretches<'a> {
    pub(super) fn of(touched: &'a Touched, function: &dyn PartitionFunction) -> Self {
        let state = |part: usize| touched.states.as_ref().and_then(|(_, of)| of[part]);
        let (before, after) = (&touched.before, &touched.after);
        let Some(reach) = function.reach() else {
            let affected = vec![true; before.len()];
            let parts = touched.parts.iter().cloned().enumerate();
            let stretches = parts.map(|(part, rows)| (rows, state(part))).collect();
            return Self { touched, affected, stretches };
        };
        let mut affected: Vec<bool> = before.iter().zip(after).map(|(b, a)| b != a).collect();
        let mut stretches = Vec::new();
        for (number, part) in touched.parts.iter().enumerate() {
            let tied = |at: usize| at > part.start && touched.ties(at);
            let ties: Vec<bool> = part.clone().map(tied).collect();
            let affected = &mut affected[part.clone()];
            // Of what is not affected there is as much as before.
            let counts = &before[part.clone()];
            if reach.peers {
                spread_to_ties(affected, &ties);
            }
            let changed = affected.to_vec();
            spread(affected, &changed, counts, reach.preceding, false);
            spread(affected, &changed, counts, reach.following, true);
            if reach.peers {
                spread_to_ties(affected, &ties);
            }
            let mut needed = affected.to_vec();
            spread(&mut needed, affected, counts, reach.following, false);
            spread(&mut needed, affected, counts, reach.preceding, true);
            if reach.peers {
                spread_to_ties(&mut needed, &ties);
            }
            stretches.extend(runs(&needed, part.start).into_iter().map(|run| (run, state(number))));
        }
        Self { touched, affected, stretches }
    }

    /// What is to be evaluated when each row is there as often as `counts` says. A stretch of which no answer
    /// is wanted is left out. `marked`: states are wanted, too.
    pub(super) fn tasks(&self, counts: &[usize], marked: bool) -> Vec<Task> {
        let mut tasks = Vec::new();
        let mut task = Task::default();
        for (stretch, state) in &self.stretches {
            if !stretch.clone().any(|at| self.affected[at] && counts[at] > 0) {
                continue;
            }
            let start = task.rows.len();
            for (row, at) in (0u32..).skip(stretch.start).zip(stretch.clone()) {
                task.rows.extend(std::iter::repeat_n(row, counts[at]));
                task.wanted.extend(std::iter::repeat_n(self.affected[at], counts[at]));
            }
            task.partitions.push(start..task.rows.len());
            task.behind.push(*state);
            if marked {
                self.mark(&mut task, start);
            }
            if task.rows.len() >= TASK_ROWS {
                tasks.push(std::mem::take(&mut task));
            }
        }
        if !task.rows.is_empty() {
            tasks.push(task);
        }
        tasks
    }

    /// Wants states of some of the rows from `start` on.
    fn mark(&self, task: &mut Task, start: usize) {
        let Some(order) = &self.touched.order else { return };
        let place = |at: usize| task.rows.get(at).map(|&row| order.value(row as usize));
        let mut since = start;
        for at in start..task.rows.len() {
            if at + 1 - since >= MARK_ROWS && place(at) != place(at + 1) {
                task.marked.push(u32::try_from(at).expect("rows of a task are counted in 32 bits"));
                since = at + 1;
            }
        }
    }
}

/// Marks the rows behind those of `from` (`back`: before them) until `far` rows that are not of `from` have
/// been passed; a row stands there `counts` times.
fn spread(marks: &mut [bool], from: &[bool], counts: &[usize], far: Option<usize>, back: bool) {
    let Some(far) = far else {
        let marked = from.iter().position(|m| *m).zip(from.iter().rposition(|m| *m));
        if let Some((first, last)) = marked {
            let all = if back { 0..last } else { first..marks.len() };
            marks[all].fill(true);
        }
        return;
    };
    let mut passed = far;
    let mut visit = |at: usize| {
        if from[at] {
            passed = 0;
        } else if passed < far {
            marks[at] = true;
            passed += counts[at];
        }
    };
    if back { (0..from.len()).rev().for_each(&mut visit) } else { (0..from.len()).for_each(visit) }
}

/// Marks all rows that tie with a marked one.
fn spread_to_ties(marks: &mut [bool], ties: &[bool]) {
    let mut start = 0;
    while start < marks.len() {
        let more = ties[start + 1..].iter().take_while(|tie| **tie).count();
        let peers = &mut marks[start..=start + more];
        if peers.contains(&true) {
            peers.fill(true);
        }
        start += more + 1;
    }
}

/// The runs of marks, `offset` further.
fn runs(marks: &[bool], offset: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in marks.iter().enumerate().filter(|(_, mark)| **mark) {
        match runs.last_mut() {
            Some(run) if run.end == offset + at => run.end += 1,
            _ => runs.push(offset + at..offset + at + 1),
        }
    }
    runs
}
