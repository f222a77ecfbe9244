//! Each row with the nearest one of another relation: how long rows are needed.
//!
//! ```text
//!   versions of a key   ──v₁────────v₂──────────v₃──▶ time
//!                             closed ┤ no row of before this comes any more, of either side
//! ```
//!
//! A row on the left is needed until no row that is not after it can come on the right. A row on the right is needed
//! until a later one is not after any row that may come on the left, nor after one that is still needed.
//!
//! What must hold: rows on the right only come, and the last one is the nearest; else what is nearest may change at any
//! time.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, Operator};
use yeoul_batch::ExprRef;

use super::bounded::{release_groups, table_beneath};
use super::expr::Scope;
use super::{Lowered, Lowering, closing};
use crate::error::SqlError;
use crate::explain::tidy;
use crate::lateral::NearestJoin;
use crate::view::{JoinTimes, Nearest, ViewNode};

impl Lowering<'_> {
    pub(super) fn nearest(&self, join: &NearestJoin) -> Result<Lowered, SqlError> {
        let (mut left, right) = (self.narrowed(&join.left)?, self.narrowed(&join.right)?);
        let one = |side: &Lowered, expr: &Expr| {
            side.scope.expr(expr, self.planner).map_err(|e| self.fail(e))
        };
        let pair = |(l, r): &(Expr, Expr)| Ok((one(&left, l)?, one(&right, r)?));
        let on = join.on.iter().map(pair).collect::<Result<Vec<_>, SqlError>>()?;
        let near = pair(&join.near)?;
        let nearest = match join.op {
            Operator::GtEq => Nearest::NotAfter,
            Operator::Gt => Nearest::Before,
            Operator::LtEq => Nearest::NotBefore,
            _ => Nearest::After,
        };
        let released = self.needed([&left, &right], &near, nearest);
        if let Ok(times) = &released {
            release_groups(&mut left.node, times.columns[0], times.lags_us[0]);
        }
        let node = ViewNode::AsOf {
            left: Box::new(left.node),
            right: Box::new(right.node),
            on,
            near,
            nearest,
            outer: join.outer,
            released,
            schema: Arc::new(join.schema.as_arrow().clone()),
        };
        Ok(Lowered { node, scope: Scope::whole(&join.schema), key: left.key, windows: Vec::new() })
    }

    fn needed(
        &self,
        sides: [&Lowered; 2],
        near: &(ExprRef, ExprRef),
        nearest: Nearest,
    ) -> Result<JoinTimes, String> {
        for side in sides {
            if let Some(table) = table_beneath(&side.node, self.catalog) {
                return Err(format!("rows of table {table} change at any time"));
            }
        }
        if !matches!(nearest, Nearest::NotAfter | Nearest::Before) {
            return Err("a later row may be the nearest at any time".to_owned());
        }
        if !sides[1].node.append_only() {
            return Err("rows of the second input change".to_owned());
        }
        let columns = [near.0.as_column(), near.1.as_column()];
        let mut lags_us = [0; 2];
        for at in 0..2 {
            let lag = |column: usize| closing::lags(&sides[at].node, self.catalog)[column];
            let name = |column: usize| tidy(sides[at].node.schema().field(column).name());
            let which = ["first", "second"][at];
            lags_us[at] = match columns[at].map(|column| (lag(column), name(column))) {
                Some((Some(lag), _)) => lag,
                Some((None, name)) => {
                    return Err(format!("{name} of the {which} input goes by no watermark"));
                }
                None => return Err(format!("what is near of the {which} input is no column")),
            };
        }
        let [Some(left), Some(right)] = columns else { unreachable!("both are columns") };
        let kept_us = lags_us[0].max(lags_us[1]);
        Ok(JoinTimes {
            columns: [left, right],
            least_us: Some(0),
            most_us: None,
            lags_us,
            kept_us: [Some(kept_us), None],
        })
    }
}
