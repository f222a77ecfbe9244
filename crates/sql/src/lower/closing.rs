//! `EMIT ON WINDOW CLOSE`: the groups of windows are told once, when no row of theirs can come any more.
//!
//! ```text
//!   Project ◀─ Aggregate by window ◀─ …    becomes    Project ◀─ Closing by window ◀─ …
//! ```
//!
//! That a group is complete is seen from its key. Of a column it is known *how far the watermark must be past a
//! value until rows with that value are complete*, its lag: an event time waits for one microsecond more than itself,
//! the end of a window for nothing more, the start of a window for the window's length.

use std::sync::Arc;

use super::bounded;
use crate::catalog::{Catalog, RelationKind};
use crate::error::{Span, SqlError};
use crate::view::{JoinKind, ViewNode};
use yeoul_batch::ExprRef;

/// The lag of each column, where it has one.
pub(crate) type Lags = Vec<Option<i64>>;

/// What window functions of a SESSION are called that is not grouped by its columns.
const SESSION: &str = "window_session_";

/// What there is, and the place for messages.
pub(super) struct Closing<'a> {
    pub(super) catalog: &'a dyn Catalog,
    /// Where `EMIT ON WINDOW CLOSE` stands.
    pub(super) at: Span,
}

impl Closing<'_> {
    /// Has every group of `node` told once. Each way from a source has to lead through such an aggregate.
    pub(super) fn close(&self, node: &mut ViewNode) -> Result<(), SqlError> {
        match node {
            ViewNode::Aggregate { .. } => return self.aggregate(node),
            ViewNode::Sessions { lag_us: Some(_), .. } => return Ok(()),
            ViewNode::Sessions { .. } => {
                return Err(self.refused("a SESSION is not over the column that has the WATERMARK"));
            }
            ViewNode::Over { .. } if has_session(node) => {
                return Err(self.refused("a SESSION is not grouped by all of its columns"));
            }
            ViewNode::Expiring { .. } => {
                return Err(self.refused("rows go by the clock after their window was told"));
            }
            ViewNode::AsOf { .. } => {
                return Err(
                    self.refused("a nearer row may come after the window of a row was told")
                );
            }
            ViewNode::Source { .. } | ViewNode::Values { .. } | ViewNode::Closing { .. } => {
                return Err(self.refused("there are rows that are not grouped by a window"));
            }
            _ => node.inputs_mut().into_iter().try_for_each(|input| self.close(input))?,
        }
        match node {
            ViewNode::Ranked { input, partition, .. }
                if !self.is_within_window(input, partition) =>
            {
                Err(self.refused("a ranking goes on over several windows"))
            }
            // Without a match until its window is closed: then none comes either.
            ViewNode::Join { left, right, kind, on, .. }
                if !matches!(kind, JoinKind::Inner | JoinKind::Semi)
                    && !self.is_within_windows(left, right, on) =>
            {
                Err(self.refused("an outer join does not compare the windows"))
            }
            ViewNode::Over { input, partition, whole, .. } => {
                *whole = self.is_within_window(input, partition) && input.append_only();
                match whole {
                    true => Ok(()),
                    false => Err(self.refused("a window function goes on over several windows")),
                }
            }
            _ => Ok(()),
        }
    }

    /// Makes the aggregate one that tells its groups when they are complete.
    fn aggregate(&self, node: &mut ViewNode) -> Result<(), SqlError> {
        let ViewNode::Aggregate { input, keys, calls, schema, .. } = node else { return Ok(()) };
        let below = lags(input, self.catalog);
        let lag_of = |at: usize| below.get(keys[at].as_column()?).copied().flatten();
        let window = (0..keys.len()).filter_map(|at| Some((lag_of(at)?, at))).min();
        let Some((lag_us, window)) = window else {
            return Err(self.refused(if !self.has_watermark(input) {
                "the rows come from a relation without a WATERMARK"
            } else if has_session(input) {
                "a SESSION is not grouped by all of its columns"
            } else {
                "a GROUP BY has no window among its columns"
            }));
        };
        if let Some(time) = keys[window].as_column() {
            bounded::release_groups(input, time, lag_us);
        }
        let (input, keys, calls) = (input.clone(), keys.clone(), calls.clone());
        *node =
            ViewNode::Closing { input, keys, calls, window, lag_us, schema: Arc::clone(schema) };
        Ok(())
    }

    /// Whether the rows of a partition are of windows that are closed together.
    fn is_within_window(&self, input: &ViewNode, partition: &[ExprRef]) -> bool {
        let told_by = self.told_by(input);
        told_by.is_some() && partition.iter().any(|by| by.as_column() == told_by)
    }

    /// Whether rows of two sides match only when they are of windows that are closed together.
    fn is_within_windows(
        &self,
        left: &ViewNode,
        right: &ViewNode,
        on: &[(ExprRef, ExprRef)],
    ) -> bool {
        let Some((l, r)) = self.told_by(left).zip(self.told_by(right)) else { return false };
        let is_pair =
            |(a, b): &(ExprRef, ExprRef)| (a.as_column(), b.as_column()) == (Some(l), Some(r));
        lags(left, self.catalog)[l] == lags(right, self.catalog)[r] && on.iter().any(is_pair)
    }

    /// The column that says when rows of a node that is closed are told.
    fn told_by(&self, node: &ViewNode) -> Option<usize> {
        match node {
            ViewNode::Closing { window, .. } => Some(*window),
            ViewNode::Sessions { keys, lag_us: Some(_), .. } => Some(keys.len() + 1),
            ViewNode::Filter { input, .. }
            | ViewNode::Ranked { input, .. }
            | ViewNode::Over { input, .. }
            | ViewNode::Window { input, .. } => self.told_by(input),
            ViewNode::Unnest { input, lists, .. } => {
                self.told_by(input).filter(|told_by| !lists.contains(told_by))
            }
            ViewNode::Project { input, exprs, .. } => {
                let below = self.told_by(input)?;
                exprs.iter().position(|expr| expr.as_column() == Some(below))
            }
            // Of the others the window of the left side may be null.
            ViewNode::Join { left, right, kind, on, .. }
                if !matches!(kind, JoinKind::Right | JoinKind::Full)
                    && self.is_within_windows(left, right, on) =>
            {
                self.told_by(left)
            }
            ViewNode::Union { inputs, .. } => {
                let told = |input| {
                    let column = self.told_by(input)?;
                    Some((column, lags(input, self.catalog)[column]))
                };
                let first = told(inputs.first()?)?;
                inputs.iter().all(|input| told(input) == Some(first)).then_some(first.0)
            }
            _ => None,
        }
    }

    /// Whether any relation that `node` reads has a watermark, whichever columns are read of it.
    fn has_watermark(&self, node: &ViewNode) -> bool {
        let has_lags =
            |relation| self.catalog.relation(relation).is_some_and(|r| !r.lags.is_empty());
        matches!(node, ViewNode::Source { relation, .. } if has_lags(relation))
            || node.inputs().into_iter().any(|input| self.has_watermark(input))
    }

    fn refused(&self, why: &str) -> SqlError {
        SqlError::unsupported("EMIT ON WINDOW CLOSE needs windows to close")
            .detail(why)
            .hint(
                "GROUP BY window_start or window_end of TUMBLE, HOP or CUMULATE, or by all columns of a SESSION, \
                 over the column that has the WATERMARK; rows that only come need no window to close",
            )
            .at(self.at)
    }
}

/// Whether rows of `node` have windows of a SESSION that no GROUP BY made sessions of.
fn has_session(node: &ViewNode) -> bool {
    matches!(node, ViewNode::Over { calls, .. } if calls.iter().any(|call| call.starts_with(SESSION)))
        || node.inputs().into_iter().any(has_session)
}

/// The lags of the columns of a node's rows.
pub(crate) fn lags(node: &ViewNode, catalog: &dyn Catalog) -> Lags {
    let width = node.schema().fields().len();
    let mut lags = match node {
        ViewNode::Source { relation, columns, .. } => {
            let of = catalog.relation(relation).map(|relation| relation.lags).unwrap_or_default();
            let lag = |column: &usize| of.iter().find(|(at, _)| at == column).map(|(_, lag)| *lag);
            columns.iter().map(lag).collect()
        }
        ViewNode::Filter { input, .. } | ViewNode::Lookup { input, .. } => lags(input, catalog),
        ViewNode::Project { input, exprs, .. } => {
            let below = lags(input, catalog);
            let lag = |expr: &ExprRef| below.get(expr.as_column()?).copied().flatten();
            exprs.iter().map(lag).collect()
        }
        ViewNode::Window { input, time, kind, .. } => {
            let mut lags = lags(input, catalog);
            // The last row of a window is a microsecond before its end.
            let end = time.as_column().and_then(|time| lags.get(time).copied().flatten());
            let end = end.map(|lag| lag.saturating_sub(1));
            lags.extend([end.map(|lag| lag.saturating_add(kind.length_us())), end]);
            lags
        }
        ViewNode::Union { inputs, .. } => {
            let all: Vec<Lags> = inputs.iter().map(|input| lags(input, catalog)).collect();
            let greatest = |column: usize| {
                let of = all.iter().map(|lags| lags.get(column).copied().flatten());
                of.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten()
            };
            (0..width).map(greatest).collect()
        }
        ViewNode::Join { .. } => joined(node, catalog),
        // A row comes anew with each nearer one.
        ViewNode::AsOf { released: Ok(times), .. } => {
            let mut lags = vec![None; width];
            lags[times.columns[0]] = times.kept_us[0];
            lags
        }
        ViewNode::Ranked { input, partition, .. } | ViewNode::Over { input, partition, .. } => {
            let below = lags(input, catalog);
            let of_partition = |column: usize| {
                partition.iter().any(|by| by.as_column() == Some(column)).then_some(below[column])
            };
            (0..below.len()).map(|column| of_partition(column).flatten()).collect()
        }
        ViewNode::Aggregate { input, keys, .. } | ViewNode::Closing { input, keys, .. } => {
            let below = lags(input, catalog);
            let lag = |key: &ExprRef| below.get(key.as_column()?).copied().flatten();
            keys.iter().map(lag).collect()
        }
        // One that begins before the watermark may go on. A live one changes with rows that are too late for it.
        ViewNode::Sessions { keys, lag_us: Some(lag_us), .. } => {
            let mut lags = vec![None; width];
            lags[keys.len() + 1] = Some(*lag_us);
            lags
        }
        ViewNode::Expand { input, lists, .. } => {
            let below = lags(input, catalog);
            let lag = |expr: &ExprRef| below.get(expr.as_column()?).copied().flatten();
            let greatest = |column: usize| {
                let of = lists.iter().map(|list| list.get(column).and_then(lag));
                of.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten()
            };
            (0..width).map(greatest).collect()
        }
        ViewNode::Unnest { input, lists: of, .. } => {
            let mut below = lags(input, catalog);
            of.iter().for_each(|&column| below[column] = None);
            below
        }
        // Rows of these come and go for other reasons than that rows of the sources come.
        _ => Lags::new(),
    };
    lags.resize(width, None);
    lags
}

/// A row of one side is matched anew when the other side changes. So its times say something only where they are
/// compared with times of the other side, whether they are equal or bounded, or where that side has no time: a table.
fn joined(node: &ViewNode, catalog: &dyn Catalog) -> Lags {
    let ViewNode::Join { left, right, kind, on, released, .. } = node else { return Lags::new() };
    let (mut of_left, mut of_right) = (lags(left, catalog), lags(right, catalog));
    let (before_left, before_right) = (of_left.clone(), of_right.clone());
    if !is_timeless(right, catalog) {
        of_left.fill(None);
    }
    if !is_timeless(left, catalog) {
        of_right.fill(None);
    }
    for (l, r) in on {
        let Some((l, r)) = l.as_column().zip(r.as_column()) else { continue };
        let both = before_left[l].zip(before_right[r]).map(|(l, r)| l.max(r));
        if both.is_some() {
            (of_left[l], of_right[r]) = (both, both);
        }
    }
    if let Ok(times) = released {
        bounded::joined_lags(times, &mut of_left, &mut of_right);
    }
    if !matches!(kind, JoinKind::Semi | JoinKind::Anti | JoinKind::Mark) {
        of_left.extend(of_right);
    }
    of_left
}

/// Whether a node has no streams beneath.
fn is_timeless(node: &ViewNode, catalog: &dyn Catalog) -> bool {
    match node {
        ViewNode::Source { relation, .. } => {
            catalog.relation(relation).is_some_and(|r| r.kind == RelationKind::Table)
        }
        other => other.inputs().into_iter().all(|input| is_timeless(input, catalog)),
    }
}
