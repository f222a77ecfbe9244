//! Joins in which the time of one side's rows bounds that of the rows that match: how long rows are needed.
//!
//! ```text
//!   c.at BETWEEN s.at AND s.at + INTERVAL '1 minute'      0 ≤ c.at - s.at ≤ 1 minute
//!   x.window_start = y.window_start                       0 ≤ x.window_start - y.window_start ≤ 0
//!   date_trunc('hour', x.at) = date_trunc('hour', y.at)   -1 hour < x.at - y.at < 1 hour
//! ```
//!
//! A row is needed until every row that it could match comes too late, which is known from the lag of the other
//! side's time (`closing`). A row by which it is counted whether others have a match is needed as long as those are.
//!
//! What must hold: rows of both sides change only because rows of streams come. The change of a table comes at any
//! time, and would be too late for the rows that it changes.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Join, Operator};
use yeoul_batch::ExprRef;

use super::Lowered;
use super::clock::length_us;
use super::closing::{self, Lags};
use crate::catalog::{Catalog, RelationKind};
use crate::explain::tidy;
use crate::functions::{self, length};
use crate::view::{GroupTime, JoinKind, JoinTimes, ViewNode};

const LEFT: usize = 0;
const RIGHT: usize = 1;

/// By how much the time of the left side is after that of the right, in microseconds.
#[derive(Clone, Copy, Default)]
struct Apart {
    least: Option<i64>,
    most: Option<i64>,
}

/// A time of one side and what is added to it, at least and at most.
struct Moved {
    side: usize,
    column: usize,
    least_us: i64,
    most_us: i64,
}

impl Moved {
    fn by(self, least_us: i64, most_us: i64) -> Option<Self> {
        Some(Self {
            least_us: self.least_us.checked_add(least_us)?,
            most_us: self.most_us.checked_add(most_us)?,
            ..self
        })
    }
}

/// The inputs of a join.
pub(super) struct Bounded<'a> {
    pub(super) sides: [&'a Lowered; 2],
    pub(super) catalog: &'a dyn Catalog,
}

impl Bounded<'_> {
    /// How long the rows of a join by `on` and `filter` are needed, or why that is not known.
    pub(super) fn times(
        &self,
        kind: JoinKind,
        on: &[(ExprRef, ExprRef)],
        join: &Join,
    ) -> Result<JoinTimes, String> {
        for side in self.sides {
            if let Some(table) = table_beneath(&side.node, self.catalog) {
                return Err(format!("rows of table {table} change at any time"));
            }
        }
        let lags = self.sides.map(|side| closing::lags(&side.node, self.catalog));
        let mut pairs = BTreeMap::new();
        for (left, right) in on {
            if let Some((left, right)) = left.as_column().zip(right.as_column()) {
                self.bound(&mut pairs, [left, right], Operator::Eq, [0, 0]);
            }
        }
        for (one, other) in &join.on {
            self.compared(&mut pairs, one, Operator::Eq, other);
        }
        for condition in join.filter.as_ref().map(split_conjunction).into_iter().flatten() {
            self.condition(&mut pairs, condition);
        }
        let mut why = "no condition bounds the time of one input by that of the other".to_owned();
        let mut best: Option<JoinTimes> = None;
        for (columns, Apart { least: least_us, most: most_us }) in pairs {
            let of = [LEFT, RIGHT].map(|side| lags[side][columns[side]]);
            let [Some(left), Some(right)] = of else {
                why = self.timeless(columns, of);
                continue;
            };
            let lags_us = [left, right];
            let kept_us = kept(kind, Apart { least: least_us, most: most_us }, lags_us);
            let shorter = |best: &JoinTimes| length(kept_us) < length(best.kept_us);
            if kept_us != [None, None] && best.as_ref().is_none_or(shorter) {
                best = Some(JoinTimes { columns, least_us, most_us, lags_us, kept_us });
            }
        }
        best.ok_or(why)
    }

    /// That of a pair of times one goes by no watermark.
    fn timeless(&self, columns: [usize; 2], lags: [Option<i64>; 2]) -> String {
        let at = usize::from(lags[LEFT].is_some());
        let which = ["first", "second"][at];
        let schema = self.sides[at].node.schema();
        format!(
            "{} of the {which} input goes by no watermark",
            tidy(schema.field(columns[at]).name())
        )
    }

    /// Notes that `left op right + more` of the times at `columns`, for some `more` in a range.
    fn bound(
        &self,
        pairs: &mut BTreeMap<[usize; 2], Apart>,
        columns: [usize; 2],
        op: Operator,
        [lowest, highest]: [i64; 2],
    ) {
        let is_time = |(side, column): (&&Lowered, &usize)| {
            let data_type = side.node.schema().field(*column).data_type();
            matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _))
        };
        if !self.sides.iter().zip(&columns).all(is_time) {
            return;
        }
        let (least, most) = match op {
            Operator::Eq => (Some(lowest), Some(highest)),
            Operator::Lt => (None, highest.checked_sub(1)),
            Operator::LtEq => (None, Some(highest)),
            Operator::Gt => (lowest.checked_add(1), None),
            Operator::GtEq => (Some(lowest), None),
            _ => return,
        };
        let apart = pairs.entry(columns).or_default();
        apart.least = apart.least.max(least);
        apart.most = [apart.most, most].into_iter().flatten().min();
    }

    fn condition(&self, pairs: &mut BTreeMap<[usize; 2], Apart>, condition: &Expr) {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                self.compared(pairs, left, *op, right);
            }
            Expr::Between(between) if !between.negated => {
                self.compared(pairs, &between.expr, Operator::GtEq, &between.low);
                self.compared(pairs, &between.expr, Operator::LtEq, &between.high);
            }
            _ => {}
        }
    }

    fn compared(
        &self,
        pairs: &mut BTreeMap<[usize; 2], Apart>,
        one: &Expr,
        op: Operator,
        other: &Expr,
    ) {
        let both = match (self.moved(one), self.moved(other)) {
            (Some(one), Some(other)) => Some((one, other, op)),
            (None, None) => {
                self.difference(one, op, other).or_else(|| self.difference(other, op.swap()?, one))
            }
            _ => None,
        };
        let Some((one, other, op)) = both else { return };
        let (left, right, op) = match (one.side, other.side) {
            (LEFT, RIGHT) => (one, other, op),
            (RIGHT, LEFT) => match op.swap() {
                Some(op) => (other, one, op),
                None => return,
            },
            _ => return,
        };
        let lowest = right.least_us.checked_sub(left.most_us);
        let highest = right.most_us.checked_sub(left.least_us);
        if let (Some(lowest), Some(highest)) = (lowest, highest) {
            self.bound(pairs, [left.column, right.column], op, [lowest, highest]);
        }
    }

    /// `one - other op length`, as `one op other + length`.
    fn difference(
        &self,
        difference: &Expr,
        op: Operator,
        length: &Expr,
    ) -> Option<(Moved, Moved, Operator)> {
        let difference = length::stands_for(difference).unwrap_or(difference);
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) =
            without_casts(functions::difference(difference).unwrap_or(difference), |to| {
                matches!(to, DataType::Interval(_) | DataType::Duration(_))
            })
        else {
            return None;
        };
        let (one, other) = (self.moved(left)?, self.moved(right)?);
        let length_us = length_us(length)?;
        Some((one, other.by(length_us, length_us)?, op))
    }

    /// A time of one side with lengths of time added.
    fn moved(&self, expr: &Expr) -> Option<Moved> {
        let is_time = |to: &DataType| {
            matches!(to, DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _))
        };
        match without_casts(expr, is_time) {
            column @ Expr::Column(_) => (LEFT..=RIGHT).find_map(|side| {
                let scope = &self.sides[side].scope;
                let column = scope.columns[scope.position(column)?];
                Some(Moved { side, column, least_us: 0, most_us: 0 })
            }),
            Expr::ScalarFunction(call) => {
                let (cut_us, time) = functions::cut(call)?;
                // What is cut off is less than the unit.
                self.moved(time)?.by(cut_us.checked_sub(1)?.checked_neg()?, 0)
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (moved, by) = match (op, self.moved(left), self.moved(right)) {
                    (Operator::Plus, Some(moved), None) => (moved, length_us(right)?),
                    (Operator::Plus, None, Some(moved)) => (moved, length_us(left)?),
                    (Operator::Minus, Some(moved), None) => {
                        (moved, length_us(right)?.checked_neg()?)
                    }
                    _ => return None,
                };
                moved.by(by, by)
            }
            _ => None,
        }
    }
}

/// An expression without the names and casts around it that change nothing of what it says.
fn without_casts(expr: &Expr, harmless: impl Fn(&DataType) -> bool) -> &Expr {
    let mut expr = expr;
    loop {
        expr = match expr {
            Expr::Alias(alias) => &alias.expr,
            Expr::Cast(cast) if harmless(cast.field.data_type()) => &cast.expr,
            _ => return expr,
        };
    }
}

/// How long rows of both sides are needed together, for comparing.
fn length(kept_us: [Option<i64>; 2]) -> i64 {
    kept_us.into_iter().map(|kept| kept.unwrap_or(i64::MAX / 2)).fold(0, i64::saturating_add)
}

/// How far the watermark must be past the time of a row of each side until nothing depends on the row any more.
fn kept(kind: JoinKind, apart: Apart, lags: [i64; 2]) -> [Option<i64>; 2] {
    let width = apart.least.zip(apart.most).map(|(least, most)| most.saturating_sub(least));
    // By the rows of a side it is counted whether rows of the other have a match.
    let counts = [
        matches!(kind, JoinKind::Right | JoinKind::Full),
        !matches!(kind, JoinKind::Inner | JoinKind::Right),
    ];
    let matched = [
        apart.least.map(|least| lags[RIGHT].saturating_sub(least)),
        apart.most.map(|most| lags[LEFT].saturating_add(most)),
    ];
    [LEFT, RIGHT].map(|side| {
        let own = matched[side]?.max(lags[side]);
        if !counts[side] {
            return Some(own);
        }
        Some(own.max(width?.saturating_add(lags[side])))
    })
}

/// The lags of the columns of both sides of a join, where its times say something of them: a row comes anew with
/// each row that it matches.
pub(super) fn joined_lags(times: &JoinTimes, of_left: &mut Lags, of_right: &mut Lags) {
    let [left, right] = times.columns;
    let [lag_left, lag_right] = times.lags_us;
    of_left[left] = times.least_us.map(|least| lag_left.max(lag_right.saturating_sub(least)));
    of_right[right] = times.most_us.map(|most| lag_right.max(lag_left.saturating_add(most)));
}

/// Lets an aggregate beneath go of groups whose rows come too late for what is above it, a join, closed windows or
/// sessions: `column` is their time.
pub(super) fn release_groups(node: &mut ViewNode, column: usize, lag_us: i64) {
    match node {
        ViewNode::Filter { input, .. } => release_groups(input, column, lag_us),
        ViewNode::Project { input, exprs, .. } => {
            if let Some(below) = exprs[column].as_column() {
                release_groups(input, below, lag_us);
            }
        }
        ViewNode::Window { input, time, kind, .. } => {
            // A window begins by the time of each of its rows, and ends by its length behind it.
            let (time, width) = (time.as_column(), input.schema().fields().len());
            match (column.checked_sub(width), time) {
                (None, _) => release_groups(input, column, lag_us),
                (Some(0), Some(time)) => release_groups(input, time, lag_us),
                (Some(_), Some(time)) => {
                    release_groups(input, time, lag_us.saturating_add(kind.length_us()));
                }
                (Some(_), None) => {}
            }
        }
        ViewNode::Aggregate { keys, released, .. } if column < keys.len() => {
            *released = Some(GroupTime { key: column, lag_us });
        }
        _ => {}
    }
}

/// A table whose changes change the rows of a node.
pub(super) fn table_beneath(node: &ViewNode, catalog: &dyn Catalog) -> Option<String> {
    match node {
        ViewNode::Source { relation, .. } => {
            let found = catalog.relation(relation)?;
            match found.kind {
                RelationKind::Table => Some(relation.clone()),
                _ => found.of_table,
            }
        }
        other => other.inputs().into_iter().find_map(|input| table_beneath(input, catalog)),
    }
}
