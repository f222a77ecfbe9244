//! Joins, and what the planner makes of subqueries and of `INTERSECT` and `EXCEPT`.
//!
//! What must hold: rows are stored with the columns that are seen above, and no others.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::NullEquality;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan};
use yeoul_batch::ExprRef;

use super::aggregate::is_float;
use super::bounded::{self, Bounded};
use super::expr::Scope;
use super::{Lowered, Lowering};
use crate::error::SqlError;
use crate::functions::float;
use crate::view::{JoinKind, ViewNode};

/// Both inputs of a join; `swapped`: the plan has them the other way around.
struct Sides {
    left: Lowered,
    right: Lowered,
    swapped: bool,
}

impl Lowering<'_> {
    pub(super) fn join(&self, join: &Join) -> Result<Lowered, SqlError> {
        let (kind, swapped) = match join.join_type {
            JoinType::Inner => (JoinKind::Inner, false),
            JoinType::Left => (JoinKind::Left, false),
            JoinType::Right => (JoinKind::Right, false),
            JoinType::Full => (JoinKind::Full, false),
            JoinType::LeftSemi => (JoinKind::Semi, false),
            JoinType::LeftAnti => (JoinKind::Anti, false),
            JoinType::LeftMark => (JoinKind::Mark, false),
            JoinType::RightSemi => (JoinKind::Semi, true),
            JoinType::RightAnti => (JoinKind::Anti, true),
            JoinType::RightMark => (JoinKind::Mark, true),
        };
        let (left, right) =
            if swapped { (&join.right, &join.left) } else { (&join.left, &join.right) };
        let (left, right) = (self.narrowed(left)?, self.narrowed(right)?);
        let sides = Sides { left, right, swapped };
        if join.null_aware {
            return self.not_in(join, sides);
        }
        self.joined(join, kind, sides)
    }

    /// An input whose rows are exactly what is seen of it.
    pub(super) fn narrowed(&self, plan: &LogicalPlan) -> Result<Lowered, SqlError> {
        self.exactly_seen(self.node(plan)?)
    }

    /// The same rows with the columns that are seen, and no others.
    pub(super) fn exactly_seen(&self, lowered: Lowered) -> Result<Lowered, SqlError> {
        let width = lowered.node.schema().fields().len();
        if lowered.scope.columns.iter().copied().eq(0..width) {
            return Ok(lowered);
        }
        let fields = lowered.scope.columns.iter().map(|c| lowered.node.schema().field(*c).clone());
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let scope = Scope::whole(lowered.scope.schema());
        let (key, windows) = (lowered.key.clone(), Vec::new());
        Ok(Lowered { node: lowered.materialised(&schema)?, scope, key, windows })
    }

    fn joined(&self, join: &Join, kind: JoinKind, sides: Sides) -> Result<Lowered, SqlError> {
        let on = self.keys(join, &sides)?;
        let both = self.both(&sides)?;
        let residual = self.residual(join.filter.as_ref(), &both)?;
        let nulls_equal = join.null_equality == NullEquality::NullEqualsNull;
        let released = if nulls_equal {
            Err("rows without a time match each other".to_owned())
        } else {
            let sides = [&sides.left, &sides.right];
            Bounded { sides, catalog: self.catalog }.times(kind, &on, join)
        };
        let Sides { mut left, mut right, .. } = sides;
        if let Ok(times) = &released {
            for (at, side) in [&mut left, &mut right].into_iter().enumerate() {
                bounded::release_groups(&mut side.node, times.columns[at], times.lags_us[at]);
            }
        }
        let key = match kind {
            JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => left.key.clone(),
            _ => left.key.as_ref().zip(right.key.as_ref()).map(|(of_left, of_right)| {
                let width = left.node.schema().fields().len();
                of_left.iter().copied().chain(of_right.iter().map(|k| width + k)).collect()
            }),
        };
        let schema = Arc::new(join.schema.as_arrow().clone());
        let node = ViewNode::Join {
            left: Box::new(left.node),
            right: Box::new(right.node),
            kind,
            on,
            nulls_equal,
            residual,
            released,
            schema,
        };
        Ok(Lowered { node, scope: Scope::whole(&join.schema), key, windows: Vec::new() })
    }

    /// What rows match by, left and right.
    fn keys(&self, join: &Join, sides: &Sides) -> Result<Vec<(ExprRef, ExprRef)>, SqlError> {
        let one = |lowered: &Lowered, expr: &Expr| {
            let scope = &lowered.scope;
            // States compare bits.
            let form = is_float(expr, scope).then(|| float::one_form(expr.clone()));
            scope.expr(form.as_ref().unwrap_or(expr), self.planner).map_err(|e| self.fail(e))
        };
        let pair = |(left, right): &(Expr, Expr)| {
            let (left, right) = if sides.swapped { (right, left) } else { (left, right) };
            Ok((one(&sides.left, left)?, one(&sides.right, right)?))
        };
        join.on.iter().map(pair).collect()
    }

    /// The columns of both sides, one behind the other.
    fn both(&self, sides: &Sides) -> Result<Scope, SqlError> {
        let (left, right) = (sides.left.scope.schema(), sides.right.scope.schema());
        let both = left.join(right).map_err(|e| self.fail(e))?;
        Ok(Scope::whole(&both))
    }

    fn residual(&self, filter: Option<&Expr>, both: &Scope) -> Result<Option<ExprRef>, SqlError> {
        let lower = |filter: &Expr| both.expr(filter, self.planner).map_err(|e| self.fail(e));
        filter.map(lower).transpose()
    }

    /// `x NOT IN (SELECT y …)`: true when every y is known to be another value, so also when there is no y.
    ///
    /// Rows with an equal y go; then all that have a null among their y; of the rows whose x is null those
    /// stay that have no y at all.
    fn not_in(&self, join: &Join, sides: Sides) -> Result<Lowered, SqlError> {
        let [(x, y)] = join.on.as_slice() else {
            let e = SqlError::unsupported("NOT IN over several columns cannot be kept in a view");
            let place = self.query.text.find_keyword("IN", self.query.span);
            let e = e.detail("what it says of rows with nulls is not one comparison");
            return Err(e
                .hint("write NOT EXISTS (SELECT … WHERE … AND …), which says it of each column")
                .at(place.unwrap_or(self.query.span)));
        };
        let on = self.keys(join, &sides)?;
        let both = self.both(&sides)?;
        let residual = self.residual(join.filter.as_ref(), &both)?;
        let Sides { left, right, .. } = sides;
        let null = |side: &Lowered, expr: &Expr, negated: bool| {
            let expr = if negated { expr.clone().is_not_null() } else { expr.clone().is_null() };
            side.scope.expr(&expr, self.planner).map_err(|e| self.fail(e))
        };
        let may_be_null = |side: &Lowered, expr: &Expr| {
            side.scope.position(expr).is_none_or(|at| side.scope.schema().field(at).is_nullable())
        };
        let schema = Arc::clone(left.node.schema());
        let anti =
            |input: ViewNode, others: ViewNode, on: Vec<(ExprRef, ExprRef)>| ViewNode::Join {
                left: Box::new(input),
                right: Box::new(others),
                kind: JoinKind::Anti,
                on,
                nulls_equal: false,
                residual: residual.clone(),
                released: Err("NOT IN asks about all rows".to_owned()),
                schema: Arc::clone(&schema),
            };
        let filtered =
            |input: ViewNode, predicate| ViewNode::Filter { input: Box::new(input), predicate };
        let others = right.node.clone();
        let mut node = anti(left.node.clone(), others.clone(), on);
        if may_be_null(&right, y) {
            let nulls = filtered(others.clone(), null(&right, y, false)?);
            node = anti(node, nulls, Vec::new());
        }
        if may_be_null(&left, x) {
            let known = filtered(node.clone(), null(&left, x, true)?);
            let unknown = anti(filtered(node, null(&left, x, false)?), others, Vec::new());
            node = ViewNode::Union { inputs: vec![known, unknown], schema };
        }
        let scope = Scope::whole(&join.schema);
        Ok(Lowered { node, scope, key: left.key, windows: Vec::new() })
    }
}
