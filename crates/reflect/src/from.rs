//! `FROM`: the order in which rows are put together, and where each condition is looked at.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, JoinConstraint, JoinOperator, ObjectName,
    TableAlias, TableFactor, TableWithJoins,
};

use super::Failure;
use super::compile::{Compiler, folded, path, unsupported};
use super::kind::Kind;
use super::node::{Comparison, Node, SeveralCall, Source, Step, Typed};
use super::query::renamed;
use super::scope::{Item, Named, Scope};
use super::table::{Column, Table};

/// `FROM` and `WHERE` of a query.
pub(super) struct Conditions {
    pub(super) steps: Vec<Step>,
    /// Conditions that need no row.
    pub(super) before: Vec<Typed>,
}

/// One condition, with how much of the row it needs.
struct Condition {
    whole: Typed,
    need: usize,
    /// The two sides of an equality, with how much each needs.
    sides: Option<[(Typed, usize); 2]>,
}

impl Compiler<'_> {
    pub(super) fn from(
        &self,
        from: &[TableWithJoins],
        filter: Option<&Expr>,
        scope: &Scope<'_>,
    ) -> Result<Conditions, Failure> {
        let mut steps = Vec::new();
        for item in from {
            self.joined(item, &mut steps, scope)?;
        }
        let mut before = Vec::new();
        for expr in filter.map(conjuncts).unwrap_or_default() {
            let condition = self.measured(expr, scope)?;
            if condition.need == 0 {
                before.push(condition.whole);
                continue;
            }
            let ends = |step: &Step| step.offset + step.width >= condition.need;
            let Some(step) = steps.iter_mut().find(|step| ends(step)) else {
                return Err(unsupported("a condition without a table"));
            };
            if !step.outer {
                take_lookup(step, &condition);
            }
            step.filter.push(condition.whole);
        }
        Ok(Conditions { steps, before })
    }

    fn measured(&self, expr: &Expr, scope: &Scope<'_>) -> Result<Condition, Failure> {
        let measure = |expr: &Expr| -> Result<(Typed, usize), Failure> {
            let before = scope.seen.replace(0);
            let typed = self.expr(expr, scope);
            let need = scope.seen.replace(before);
            Ok((typed?, need))
        };
        if let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = plain(expr) {
            let (left, right) = (measure(left)?, measure(right)?);
            let need = left.1.max(right.1);
            let whole = self.compared(Comparison::Equal, left.0, right.0)?;
            let sides = match &whole.node {
                Node::Compare(_, pair) => {
                    Some([(pair[0].clone(), left.1), (pair[1].clone(), right.1)])
                }
                _ => None,
            };
            return Ok(Condition { whole, need, sides });
        }
        let (whole, need) = measure(expr)?;
        let whole = self.want(whole, Kind::BOOL)?;
        Ok(Condition { whole, need, sides: None })
    }

    fn joined(
        &self,
        item: &TableWithJoins,
        steps: &mut Vec<Step>,
        scope: &Scope<'_>,
    ) -> Result<(), Failure> {
        if let Some(turned) = without_right(item) {
            return self.joined(&turned, steps, scope);
        }
        steps.push(self.factor(&item.relation, scope)?);
        for join in &item.joins {
            let (outer, constraint) = match &join.join_operator {
                JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::CrossJoin(c) => {
                    (false, c)
                }
                JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (true, c),
                _ => return Err(unsupported("joins of this kind")),
            };
            let mut step = self.factor(&join.relation, scope)?;
            step.outer = outer;
            for condition in self.constraint(constraint, &step, scope)? {
                take_lookup(&mut step, &condition);
                step.on.push(condition.whole);
            }
            steps.push(step);
        }
        Ok(())
    }

    fn constraint(
        &self,
        constraint: &JoinConstraint,
        step: &Step,
        scope: &Scope<'_>,
    ) -> Result<Vec<Condition>, Failure> {
        match constraint {
            JoinConstraint::None => Ok(Vec::new()),
            JoinConstraint::Natural => Err(unsupported("NATURAL")),
            JoinConstraint::On(expr) => {
                conjuncts(expr).into_iter().map(|expr| self.measured(expr, scope)).collect()
            }
            JoinConstraint::Using(names) => {
                let mut conditions = Vec::new();
                for name in names {
                    conditions.push(self.using(&path(name).join("."), step, scope)?);
                }
                Ok(conditions)
            }
        }
    }

    fn using(&self, name: &str, step: &Step, scope: &Scope<'_>) -> Result<Condition, Failure> {
        let mut items = scope.items.borrow_mut();
        let missing = || Failure::new("42703", format!("column \"{name}\" does not exist"));
        let (last, earlier) = items.split_last_mut().ok_or_else(missing)?;
        let own = last.columns.iter().position(|c| &*c.name == name).ok_or_else(missing)?;
        let theirs = earlier.iter().rev().find_map(|item| {
            let at = item.columns.iter().position(|c| &*c.name == name)?;
            (!item.merged.contains(&at)).then(|| (item.offset + at, item.columns[at].kind))
        });
        let (at, kind) = theirs.ok_or_else(missing)?;
        last.merged.push(own);
        let column = |at, kind| Typed::new(kind, Node::Column { up: 0, at });
        let left = (column(at, kind), at + 1);
        let place = step.offset + own;
        let right = (column(place, last.columns[own].kind), place + 1);
        let whole = self.compared(Comparison::Equal, left.0.clone(), right.0.clone())?;
        Ok(Condition { whole, need: place + 1, sides: Some([left, right]) })
    }

    /// One item of `FROM`, whose columns are added to the scope.
    fn factor(&self, factor: &TableFactor, scope: &Scope<'_>) -> Result<Step, Failure> {
        match factor {
            TableFactor::Table { name, alias, args, with_ordinality, .. } => match args {
                Some(args) => self.table_function(name, &args.args, *with_ordinality, alias, scope),
                None => self.relation(name, alias, scope),
            },
            TableFactor::Function { name, args, with_ordinality, alias, .. } => {
                self.table_function(name, args, *with_ordinality, alias, scope)
            }
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } => {
                let mut calls = Vec::new();
                for expr in array_exprs {
                    let arg = FunctionArg::Unnamed(FunctionArgExpr::Expr(expr.clone()));
                    calls.push(self.table_call("unnest", &[arg], scope)?);
                }
                Ok(self.calls(calls, "unnest", *with_ordinality, alias, scope))
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                // Only with LATERAL may it ask for columns of the items before it.
                let outer = if *lateral { Some(scope) } else { scope.outer };
                let plan = self.query(subquery, outer)?;
                Ok(self.derived(plan, *lateral, alias.as_ref(), scope))
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                let offset = scope.width();
                let mut steps = Vec::new();
                self.joined(table_with_joins, &mut steps, scope)?;
                Ok(step(Source::Nested(steps), offset, scope.width() - offset))
            }
            other => Err(unsupported(format!("{other} after FROM"))),
        }
    }

    fn derived(
        &self,
        plan: Rc<super::node::Plan>,
        lateral: bool,
        alias: Option<&TableAlias>,
        scope: &Scope<'_>,
    ) -> Step {
        let names: Vec<String> = alias
            .map(|alias| alias.columns.iter().map(|c| folded(&c.name)).collect())
            .unwrap_or_default();
        let plan = renamed(plan, &names);
        let name = alias.map(|alias| folded(&alias.name)).unwrap_or_default();
        let columns = Arc::clone(&plan.columns);
        let (offset, width) = add(scope, name, None, None, columns);
        step(Source::Query(plan, lateral), offset, width)
    }

    /// The table of this name. One of ours is known to the batch engine.
    pub(super) fn table(&self, schema: Option<&str>, name: &str) -> Result<Arc<Table>, Failure> {
        if let Some(table) = self.run.catalog.table(schema, name) {
            return Ok(table);
        }
        let full = schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"));
        let message = format!("relation \"{full}\" does not exist");
        let wanted = schema.unwrap_or("public");
        let mut ours = self.run.catalog.relations.iter();
        Err(match ours.any(|shown| shown.schema == wanted && shown.name == name) {
            true => Failure::unknown("42P01", message),
            false => Failure::new("42P01", message),
        })
    }

    fn relation(
        &self,
        name: &ObjectName,
        alias: &Option<TableAlias>,
        scope: &Scope<'_>,
    ) -> Result<Step, Failure> {
        let mut parts = path(name);
        let table = parts.pop().unwrap_or_default();
        let schema = parts.pop();
        let shown = alias.as_ref().map_or_else(|| table.clone(), |alias| folded(&alias.name));
        if schema.is_none()
            && let Some((named, depth)) = scope.named(&table)
        {
            return self.named(named, depth, shown, alias.as_ref(), scope);
        }
        let found = self.table(schema.as_deref(), &table)?;
        let columns = aliased(&found.columns, alias.as_ref());
        let (offset, width) = add(scope, shown, schema, Some(table), columns);
        Ok(step(Source::Table(found), offset, width))
    }

    fn named(
        &self,
        named: Named,
        depth: usize,
        shown: String,
        alias: Option<&TableAlias>,
        scope: &Scope<'_>,
    ) -> Result<Step, Failure> {
        let (source, columns) = match named {
            Named::Working(number, columns) => {
                self.lowest.set(self.lowest.get().min(depth));
                (Source::Working(number), columns)
            }
            Named::Plan(plan) => {
                if plan.correlated {
                    return Err(unsupported("a query of WITH that asks for columns around it"));
                }
                let columns = Arc::clone(&plan.columns);
                (Source::Query(plan, false), columns)
            }
        };
        let columns = aliased(&columns, alias);
        let (offset, width) = add(scope, shown, None, None, columns);
        Ok(step(source, offset, width))
    }

    fn table_function(
        &self,
        name: &ObjectName,
        args: &[FunctionArg],
        ordinality: bool,
        alias: &Option<TableAlias>,
        scope: &Scope<'_>,
    ) -> Result<Step, Failure> {
        let name = path(name).pop().unwrap_or_default();
        let call = self.table_call(&name, args, scope)?;
        Ok(self.calls(vec![call], &name, ordinality, alias, scope))
    }

    fn calls(
        &self,
        calls: Vec<SeveralCall>,
        name: &str,
        ordinality: bool,
        alias: &Option<TableAlias>,
        scope: &Scope<'_>,
    ) -> Step {
        let mut columns: Vec<Column> = calls.iter().flat_map(|call| call.columns.clone()).collect();
        let shown = alias.as_ref().map_or_else(|| name.to_owned(), |alias| folded(&alias.name));
        if let [only] = columns.as_mut_slice() {
            // The one column of a function goes by the name that its rows are given.
            only.name = shown.as_str().into();
        }
        if ordinality {
            columns.push(Column { name: "ordinality".into(), kind: Kind::INT8 });
        }
        let columns = aliased(&columns, alias.as_ref());
        let (offset, width) = add(scope, shown, None, None, columns);
        step(Source::Function { calls, ordinality }, offset, width)
    }
}

fn step(source: Source, offset: usize, width: usize) -> Step {
    let (on, filter) = (Vec::new(), Vec::new());
    Step { source, offset, width, outer: false, lookup: None, on, filter }
}

fn aliased(columns: &[Column], alias: Option<&TableAlias>) -> Arc<[Column]> {
    let names = alias.map(|alias| alias.columns.as_slice()).unwrap_or_default();
    let column = |(at, column): (usize, &Column)| match names.get(at) {
        Some(name) => Column { name: folded(&name.name).into(), kind: column.kind },
        None => column.clone(),
    };
    columns.iter().enumerate().map(column).collect()
}

fn add(
    scope: &Scope<'_>,
    name: String,
    schema: Option<String>,
    table: Option<String>,
    columns: Arc<[Column]>,
) -> (usize, usize) {
    let (offset, width) = (scope.width(), columns.len());
    let item = Item { name, schema, columns, offset, table, merged: Vec::new() };
    scope.items.borrow_mut().push(item);
    (offset, width)
}

/// Uses an equality to look the rows of a step up.
fn take_lookup(step: &mut Step, condition: &Condition) {
    let indexed = matches!(step.source, Source::Table(_) | Source::Query(..) | Source::Working(_));
    let Some(sides) = &condition.sides else { return };
    if step.lookup.is_some() || !indexed {
        return;
    }
    for (column, key) in [(&sides[0], &sides[1]), (&sides[1], &sides[0])] {
        if let Node::Column { up: 0, at } = column.0.node
            && at >= step.offset
            && key.1 <= step.offset
        {
            step.lookup = Some((at - step.offset, key.0.clone()));
            return;
        }
    }
}

fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => plain(inner),
        other => other,
    }
}

/// The parts of a condition that must all hold.
fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match plain(expr) {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let mut all = conjuncts(left);
            all.extend(conjuncts(right));
            all
        }
        other => vec![other],
    }
}

/// `a RIGHT JOIN b` as `b LEFT JOIN (a)`.
fn without_right(item: &TableWithJoins) -> Option<TableWithJoins> {
    let right = |operator: &JoinOperator| {
        matches!(operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_))
    };
    let at = item.joins.iter().rposition(|join| right(&join.join_operator))?;
    let (JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint)) =
        item.joins[at].join_operator.clone()
    else {
        return None;
    };
    let before =
        TableWithJoins { relation: item.relation.clone(), joins: item.joins[..at].to_vec() };
    let mut joins = item.joins[at..].to_vec();
    let relation = std::mem::replace(
        &mut joins[0].relation,
        TableFactor::NestedJoin { table_with_joins: Box::new(before), alias: None },
    );
    joins[0].join_operator = JoinOperator::LeftOuter(constraint);
    Some(TableWithJoins { relation, joins })
}
