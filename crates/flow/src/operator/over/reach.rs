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

use yeoul_batch::{PartitionFunction, PartitionOrder};

use super::{TASK_ROWS, Task, Touched};
use crate::error::FlowError;

/// The parts of partitions that are evaluated.
pub(super) struct Stretches {
    /// Rows, partition by partition; in order where it matters.
    rows: Vec<u32>,
    /// Whether the answer of each of them may be another.
    affected: Vec<bool>,
    /// Ranges of `rows`.
    stretches: Vec<Range<usize>>,
}

impl Stretches {
    pub(super) fn of(
        touched: &Touched,
        function: &dyn PartitionFunction,
    ) -> Result<Self, FlowError> {
        let Some(reach) = function.reach() else {
            let count = touched.rows.num_rows();
            return Ok(Self {
                rows: (0u32..).take(count).collect(),
                affected: vec![true; count],
                stretches: touched.partitions.clone(),
            });
        };
        let PartitionOrder { rows, ties } = function.order(&touched.rows, &touched.partitions)?;
        let counts = |row: u32| (touched.before[row as usize], touched.after[row as usize]);
        let mut affected: Vec<bool> = rows.iter().map(|&r| counts(r).0 != counts(r).1).collect();
        // Of what is not affected there is as much as before.
        let counts: Vec<usize> = rows.iter().map(|&row| touched.before[row as usize]).collect();
        let mut stretches = Vec::new();
        for partition in &touched.partitions {
            let affected = &mut affected[partition.clone()];
            let (counts, ties) = (&counts[partition.clone()], &ties[partition.clone()]);
            if reach.peers {
                spread_to_ties(affected, ties);
            }
            let changed = affected.to_vec();
            spread(affected, &changed, counts, reach.preceding, false);
            spread(affected, &changed, counts, reach.following, true);
            if reach.peers {
                spread_to_ties(affected, ties);
            }
            let mut needed = affected.to_vec();
            spread(&mut needed, affected, counts, reach.following, false);
            spread(&mut needed, affected, counts, reach.preceding, true);
            if reach.peers {
                spread_to_ties(&mut needed, ties);
            }
            stretches.extend(runs(&needed, partition.start));
        }
        Ok(Self { rows, affected, stretches })
    }

    /// What is to be evaluated when each row is there as often as `counts` says. A stretch of which no answer
    /// is wanted is left out.
    pub(super) fn tasks(&self, counts: &[usize]) -> Vec<Task> {
        let mut tasks = Vec::new();
        let mut task = Task::default();
        for stretch in &self.stretches {
            let times = |at: usize| counts[self.rows[at] as usize];
            if !stretch.clone().any(|at| self.affected[at] && times(at) > 0) {
                continue;
            }
            let start = task.rows.len();
            for at in stretch.clone() {
                task.rows.extend(std::iter::repeat_n(self.rows[at], times(at)));
                task.wanted.extend(std::iter::repeat_n(self.affected[at], times(at)));
            }
            task.partitions.push(start..task.rows.len());
            if task.rows.len() >= TASK_ROWS {
                tasks.push(std::mem::take(&mut task));
            }
        }
        if !task.rows.is_empty() {
            tasks.push(task);
        }
        tasks
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
