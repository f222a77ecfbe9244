//! `JOIN … USING (x)`: the column that stands for both.
//!
//! ```text
//!   SELECT x, * FROM a FULL JOIN b USING (x)
//!     ─▶  SELECT coalesce(a.x, b.x) AS x, coalesce(a.x, b.x) AS x, a.* EXCEPT (x), b.* EXCEPT (x)
//!         FROM a FULL JOIN b ON a.x = b.x
//! ```
//!
//! DataFusion takes the left column, and for `*` that of the relation whose name comes first: it is null where an outer
//! join found no row there. It does not know the column when a third relation is joined by it. Joins of relations without
//! names are left to it where that does no harm.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self as sql, Spanned};

use super::outside;
use super::pieces::{and, binary, call, said_name};
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
    columns: Vec<Column>,
}

struct Column {
    name: sql::Ident,
    /// The first of these that is not null. One list: `coalesce` within `coalesce` is twice as large when it is planned.
    parts: Vec<sql::Expr>,
}

impl Column {
    fn is(&self, name: &sql::Ident) -> bool {
        fold(&self.name) == fold(name)
    }

    fn expr(&self) -> sql::Expr {
        match self.parts.as_slice() {
            [only] => only.clone(),
            parts => call("coalesce", parts.to_vec()),
        }
    }
}

/// Rewrites a `SELECT`, and what its query is ordered by.
pub(super) fn rewrite(
    select: &mut sql::Select,
    order_by: Option<&mut sql::OrderBy>,
    text: &Text,
) -> Result<(), SqlError> {
    let mut all = Merged::default();
    for from in &mut select.from {
        if from.joins.iter().any(is_natural) {
            let e = SqlError::unsupported("NATURAL outer joins are not supported")
                .hint("name the columns: USING (a, b)");
            return Err(e.or_at(text.span(from.span())));
        }
        let mut using = from.joins.iter().filter_map(using_of).peekable();
        if using.peek().is_none() {
            continue;
        }
        let one_sided = using.any(|(side, _)| side != Side::Left);
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
    let names: Vec<String> = select.projection.iter().filter_map(said_name).collect();
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
        all.columns.retain(|column| !names.contains(&fold(&column.name)));
        all.name(order_by);
    }
    Ok(())
}

/// Whose column stands for both, and which columns those are.
fn using_of(join: &sql::Join) -> Option<(Side, Vec<sql::Ident>)> {
    let (side, sql::JoinConstraint::Using(names)) = side_of(join)? else { return None };
    let column = |name: &sql::ObjectName| name.0.last()?.as_ident().cloned();
    Some((side, names.iter().filter_map(column).collect()))
}

fn side_of(join: &sql::Join) -> Option<(Side, &sql::JoinConstraint)> {
    use sql::JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    match &join.join_operator {
        Join(c) | Inner(c) | Left(c) | LeftOuter(c) => Some((Side::Left, c)),
        Right(c) | RightOuter(c) => Some((Side::Right, c)),
        FullOuter(c) => Some((Side::Both, c)),
        _ => None,
    }
}

/// Whether it is an outer join by all columns of the same name: which those are, is not known here.
fn is_natural(join: &sql::Join) -> bool {
    use sql::JoinOperator::{Inner, Join};
    let is_inner = matches!(&join.join_operator, Join(_) | Inner(_));
    let natural = |constraint| matches!(constraint, &sql::JoinConstraint::Natural);
    !is_inner && side_of(join).is_some_and(|(_, constraint)| natural(constraint))
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
            if join.global {
                return None;
            }
            if let Some((side, columns)) = using_of(join) {
                let terms = columns.iter().map(|column| {
                    let of_right = member(&right.name, column);
                    let of_left = merged.left(column)?;
                    right.merged.push(column.clone());
                    let term = binary(of_left, sql::BinaryOperator::Eq, of_right.clone());
                    merged.merge(column, side, of_right);
                    Some(term)
                });
                let terms = terms.collect::<Option<Vec<_>>>()?;
                constraints.push(sql::JoinConstraint::On(terms.into_iter().reduce(and)?));
                // Those of the last join come first.
                let at = |column: &Column| columns.iter().position(|name| column.is(name));
                merged.columns.sort_by_key(|column| at(column).unwrap_or(usize::MAX));
            }
            merged.relations.push(right);
        }
        Some((merged, constraints))
    }

    fn column(&self, name: &sql::Ident) -> Option<sql::Expr> {
        self.columns.iter().find(|column| column.is(name)).map(Column::expr)
    }

    /// The column of what is joined so far; from now on it is a merged one.
    fn left(&mut self, name: &sql::Ident) -> Option<sql::Expr> {
        if let Some(expr) = self.column(name) {
            return Some(expr);
        }
        let [only] = self.relations.as_mut_slice() else { return None };
        only.merged.push(name.clone());
        let expr = member(&only.name, name);
        self.columns.push(Column { name: name.clone(), parts: vec![expr.clone()] });
        Some(expr)
    }

    fn merge(&mut self, name: &sql::Ident, side: Side, right: sql::Expr) {
        let Some(column) = self.columns.iter_mut().find(|column| column.is(name)) else { return };
        match side {
            Side::Left => {}
            Side::Right => column.parts = vec![right],
            Side::Both => column.parts.push(right),
        }
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
            let shown = |column: &&Column| !left_out.contains(&fold(&column.name));
            items.extend(self.columns.iter().filter(shown).map(|column| {
                sql::SelectItem::ExprWithAlias { expr: column.expr(), alias: column.name.clone() }
            }));
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
                *expr = merged;
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
