//! Long chains of one operator made trees of logarithmic depth.
//!
//! ```text
//!   ((a OR b) OR c) OR d   ─▶   (a OR b) OR (c OR d)
//! ```
//!
//! The parser makes the left tree, one level for every operator, and everybody behind it walks a level
//! at a time. `AND`, `OR` and `UNION` mean the same however they are put together; lists of thousands of
//! conditions are what programs write.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, SetExpr, SetOperator, SetQuantifier, Value, Values, VisitMut,
    VisitorMut,
};

/// Shorter chains stay as they are written.
pub(super) const CHAIN_MIN: usize = 16;

/// Balances every chain in `tree`.
pub(super) fn balance(tree: &mut impl VisitMut) {
    // Nothing breaks off.
    let _ = tree.visit(&mut Chains);
}

struct Chains;

impl VisitorMut for Chains {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::BinaryOp { op, .. } = expr else { return ControlFlow::Continue(()) };
        if !matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            return ControlFlow::Continue(());
        }
        let op = op.clone();
        let mut terms = Vec::new();
        let mut rest = std::mem::replace(expr, Expr::value(Value::Null));
        rest = loop {
            match rest {
                Expr::BinaryOp { left, op: same, right } if same == op => {
                    terms.push(*right);
                    rest = *left;
                }
                other => break other,
            }
        };
        terms.push(rest);
        terms.reverse();
        let join = |left, right| Expr::BinaryOp {
            left: Box::new(left),
            op: op.clone(),
            right: Box::new(right),
        };
        *expr = put_together(terms, &join).unwrap_or_else(|| Expr::value(Value::Null));
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let mut queries = Vec::new();
        let nothing = || {
            SetExpr::Values(Values { explicit_row: false, value_keyword: false, rows: Vec::new() })
        };
        let mut rest = std::mem::replace(query.body.as_mut(), nothing());
        let mut kind = None;
        rest = loop {
            match rest {
                SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, left, right }
                    if kind.is_none_or(|kind: SetQuantifier| kind == set_quantifier) =>
                {
                    kind = Some(set_quantifier);
                    queries.push(*right);
                    rest = *left;
                }
                other => break other,
            }
        };
        queries.push(rest);
        queries.reverse();
        let join = |left, right| SetExpr::SetOperation {
            op: SetOperator::Union,
            set_quantifier: kind.unwrap_or(SetQuantifier::None),
            left: Box::new(left),
            right: Box::new(right),
        };
        *query.body = put_together(queries, &join).unwrap_or_else(nothing);
        ControlFlow::Continue(())
    }
}

/// One tree of `terms`, in their order: a balanced one where there are many.
fn put_together<T>(terms: Vec<T>, join: &impl Fn(T, T) -> T) -> Option<T> {
    if terms.len() <= CHAIN_MIN {
        return terms.into_iter().reduce(join);
    }
    let mut level = terms;
    while level.len() > 1 {
        let mut above = Vec::with_capacity(level.len().div_ceil(2));
        let mut terms = level.into_iter();
        while let Some(left) = terms.next() {
            above.push(match terms.next() {
                Some(right) => join(left, right),
                None => left,
            });
        }
        level = above;
    }
    level.pop()
}
