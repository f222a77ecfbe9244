//! `JOIN … USING (x)` where the column that stands for both is not simply that of the left side.
//!
//! ```text
//!   SELECT x, * FROM a FULL JOIN b USING (x)
//!     ─▶  SELECT coalesce(a.x, b.x) AS x, coalesce(a.x, b.x) AS x, a.* EXCEPT (x), b.* EXCEPT (x)
//!         FROM a FULL JOIN b ON a.x = b.x
//! ```
//!
//! DataFusion takes the left column, which is null where a `RIGHT` or `FULL` join found no row there, and does not know the column when a third
//! relation is joined by it. Other joins with `USING` are left to it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self as sql, Spanned};

use super::outside;
use crate::error::SqlError;
use crate::text::{Text, fold};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

/// A relation, and which of its columns are merged with others.
struct Relation {
    name: sql::Ident,
    merged: Vec<sql::Ident>,
}

/// The columns that stand for several, in the order in which `*` gives them.
#[derive(Default)]
struct Merged {
    relations: Vec<Relation>,
    columns: Vec<(sql::Ident, sql::Expr)>,
}

/// Rewrites a `SELECT`, and what its query is ordered by.
pub(super) fn rewrite(
    select: &mut sql::Select,
    order_by: Option<&mut sql::OrderBy>,
    text: &Text,
) -> Result<(), SqlError> {
    let mut all = Merged::default();
    for from in &mut select.from {
        let Some(joins) = joined(&from.joins) else { continue };
        let one_sided = joins.iter().any(|(side, _)| *side != Side::Left);
        match Merged::of(from) {
            Some((merged, constraints)) => {
                let using = from.joins.iter_mut().filter_map(constraint_of);
                for (constraint, on) in using.zip(constraints) {
                    *constraint = on;
                }
                all.relations.extend(merged.relations);
                all.columns.extend(merged.columns);
            }
            None if one_sided => {
                let e = SqlError::unsupported("it is not known which columns USING compares")
                    .hint("give each relation a name, and write ON a.x = b.x");
                return Err(e.or_at(text.span(from.span())));
            }
            None => {}
        }
    }
    if all.columns.is_empty() {
        return Ok(());
    }
    all.stars(select);
    let names: Vec<String> = select.projection.iter().filter_map(output_name).collect();
    for part in select.projection.iter_mut() {
        if let sql::SelectItem::UnnamedExpr(sql::Expr::Identifier(ident)) = part
            && all.column(ident).is_some()
        {
            let (expr, alias) = (sql::Expr::Identifier(ident.clone()), ident.clone());
            *part = sql::SelectItem::ExprWithAlias { expr, alias };
        }
        all.name(part);
    }
    all.name(&mut select.selection);
    all.name(&mut select.group_by);
    all.name(&mut select.having);
    all.name(&mut select.named_window);
    if let Some(order_by) = order_by {
        // A column of the answer comes first.
        all.columns.retain(|(column, _)| !names.contains(&fold(column)));
        all.name(order_by);
    }
    Ok(())
}

/// The joins with `USING` behind a relation, if there are some that DataFusion does not do.
fn joined(joins: &[sql::Join]) -> Option<Vec<(Side, Vec<sql::Ident>)>> {
    let using: Vec<_> = joins.iter().filter_map(using_of).collect();
    let mut columns: Vec<String> = using.iter().flat_map(|(_, c)| c.iter().map(fold)).collect();
    let all = columns.len();
    columns.sort();
    columns.dedup();
    let is_done = all == columns.len() && using.iter().all(|(side, _)| *side == Side::Left);
    (!is_done).then_some(using)
}

/// Whose column stands for both, and which columns those are.
fn using_of(join: &sql::Join) -> Option<(Side, Vec<sql::Ident>)> {
    use sql::JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    let (side, constraint) = match &join.join_operator {
        Join(c) | Inner(c) | Left(c) | LeftOuter(c) => (Side::Left, c),
        Right(c) | RightOuter(c) => (Side::Right, c),
        FullOuter(c) => (Side::Both, c),
        _ => return None,
    };
    let sql::JoinConstraint::Using(names) = constraint else { return None };
    let column = |name: &sql::ObjectName| name.0.last()?.as_ident().cloned();
    Some((side, names.iter().filter_map(column).collect()))
}

fn constraint_of(join: &mut sql::Join) -> Option<&mut sql::JoinConstraint> {
    use sql::JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    match &mut join.join_operator {
        Join(c) | Inner(c) | Left(c) | LeftOuter(c) | Right(c) | RightOuter(c) | FullOuter(c) => {
            matches!(c, sql::JoinConstraint::Using(_)).then_some(c)
        }
        _ => None,
    }
}

fn relation(factor: &sql::TableFactor) -> Option<Relation> {
    let name = match factor {
        sql::TableFactor::Table { alias: Some(alias), .. }
        | sql::TableFactor::Derived { alias: Some(alias), .. }
        | sql::TableFactor::Function { alias: Some(alias), .. }
        | sql::TableFactor::UNNEST { alias: Some(alias), .. } => alias.name.clone(),
        sql::TableFactor::Table { name, args: None, .. } => name.0.last()?.as_ident()?.clone(),
        _ => return None,
    };
    Some(Relation { name, merged: Vec::new() })
}

impl Merged {
    /// What the joins of `from` merge, and what they become; nothing where it is not known of which relation a column is.
    fn of(from: &sql::TableWithJoins) -> Option<(Self, Vec<sql::JoinConstraint>)> {
        let mut merged = Self { relations: vec![relation(&from.relation)?], columns: Vec::new() };
        let mut constraints = Vec::new();
        for join in &from.joins {
            let mut right = relation(&join.relation)?;
            if let Some((side, columns)) = using_of(join) {
                let terms = columns.iter().map(|column| {
                    let of_right = member(&right.name, column);
                    let of_left = merged.left(column)?;
                    merged.merge(column, side, &of_left, &of_right);
                    right.merged.push(column.clone());
                    Some(binary(of_left, sql::BinaryOperator::Eq, of_right))
                });
                let terms = terms.collect::<Option<Vec<_>>>()?;
                let and = |l, r| binary(l, sql::BinaryOperator::And, r);
                constraints.push(sql::JoinConstraint::On(terms.into_iter().reduce(and)?));
                // Those of the last join come first.
                let at = |(column, _): &(sql::Ident, sql::Expr)| {
                    columns.iter().position(|c| fold(c) == fold(column)).unwrap_or(usize::MAX)
                };
                merged.columns.sort_by_key(at);
            }
            merged.relations.push(right);
        }
        Some((merged, constraints))
    }

    fn column(&self, name: &sql::Ident) -> Option<&sql::Expr> {
        let same = |(column, _): &&(sql::Ident, sql::Expr)| fold(column) == fold(name);
        self.columns.iter().find(same).map(|(_, expr)| expr)
    }

    /// The column of what is joined so far.
    fn left(&mut self, column: &sql::Ident) -> Option<sql::Expr> {
        if let Some(expr) = self.column(column) {
            return Some(expr.clone());
        }
        let [only] = self.relations.as_mut_slice() else { return None };
        only.merged.push(column.clone());
        Some(member(&only.name, column))
    }

    fn merge(&mut self, column: &sql::Ident, side: Side, left: &sql::Expr, right: &sql::Expr) {
        let expr = match side {
            Side::Left => left.clone(),
            Side::Right => right.clone(),
            Side::Both => super::rows::call("coalesce", vec![left.clone(), right.clone()]),
        };
        self.columns.retain(|(other, _)| fold(other) != fold(column));
        self.columns.push((column.clone(), expr));
    }

    /// `*`: what is merged, and the rest of each relation.
    fn stars(&self, select: &mut sql::Select) {
        let mut items = Vec::new();
        for item in std::mem::take(&mut select.projection) {
            let sql::SelectItem::Wildcard(options) = &item else {
                items.push(item);
                continue;
            };
            let left_out: Vec<String> = match &options.opt_except {
                Some(e) => std::iter::once(&e.first_element)
                    .chain(&e.additional_elements)
                    .map(fold)
                    .collect(),
                None => Vec::new(),
            };
            items.extend(
                self.columns.iter().filter(|(column, _)| !left_out.contains(&fold(column))).map(
                    |(column, expr)| sql::SelectItem::ExprWithAlias {
                        expr: expr.clone(),
                        alias: column.clone(),
                    },
                ),
            );
            items.extend(self.relations.iter().map(|relation| relation.rest(options)));
        }
        select.projection = items;
    }

    /// Puts what a merged column is in the place of its name.
    fn name(&self, part: &mut impl sql::VisitMut) {
        outside::each(part, |expr| {
            if let sql::Expr::Identifier(ident) = expr
                && let Some(merged) = self.column(ident)
            {
                *expr = merged.clone();
            }
            ControlFlow::Continue(())
        });
    }
}

impl Relation {
    /// `r.* EXCEPT (…)`
    fn rest(&self, options: &sql::WildcardAdditionalOptions) -> sql::SelectItem {
        let mut options = options.clone();
        let given = options.opt_except.take();
        let given = given
            .into_iter()
            .flat_map(|e| std::iter::once(e.first_element).chain(e.additional_elements));
        let mut columns = self.merged.clone();
        columns.extend(given.filter(|c| self.merged.iter().all(|m| fold(m) != fold(c))));
        if !columns.is_empty() {
            let first_element = columns.remove(0);
            options.opt_except =
                Some(sql::ExceptSelectItem { first_element, additional_elements: columns });
        }
        let name = sql::ObjectName::from(vec![self.name.clone()]);
        let kind = sql::SelectItemQualifiedWildcardKind::ObjectName(name);
        sql::SelectItem::QualifiedWildcard(kind, options)
    }
}

fn member(relation: &sql::Ident, column: &sql::Ident) -> sql::Expr {
    sql::Expr::CompoundIdentifier(vec![relation.clone(), column.clone()])
}

fn binary(left: sql::Expr, op: sql::BinaryOperator, right: sql::Expr) -> sql::Expr {
    sql::Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn output_name(item: &sql::SelectItem) -> Option<String> {
    match item {
        sql::SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
        sql::SelectItem::UnnamedExpr(sql::Expr::Identifier(ident)) => Some(fold(ident)),
        sql::SelectItem::UnnamedExpr(sql::Expr::CompoundIdentifier(parts)) => {
            parts.last().map(fold)
        }
        _ => None,
    }
}
