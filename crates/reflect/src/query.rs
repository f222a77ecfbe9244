//! From the parser's tree to plans of queries.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Cte, Distinct, Expr, Fetch, GroupByExpr, LimitClause, OrderByExpr, OrderByKind, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator as AstOperator,
    SetQuantifier, Value as Literal,
};

use super::Failure;
use super::compile::{Compiler, folded, path, unsupported};
use super::from::Conditions;
use super::kind::Kind;
use super::node::{Body, Node, Plan, Select as SelectPlan, SetOperator, Sort, Typed};
use super::scope::{Named, Scope};
use super::table::Column;

/// What a select list has become: outputs with their names.
type Outputs = Vec<(String, Typed)>;

/// What the end of a query says.
#[derive(Clone, Copy, Default)]
struct End<'a> {
    order: &'a [OrderByExpr],
}

impl Compiler<'_> {
    /// A query inside of `outer`.
    pub(super) fn query(
        &self,
        query: &Query,
        outer: Option<&Scope<'_>>,
    ) -> Result<Rc<Plan>, Failure> {
        let before = self.lowest.replace(usize::MAX);
        let depth = outer.map_or(0, |outer| outer.depth);
        let made = self.fresh_query(query, outer);
        let lowest = self.lowest.get();
        self.lowest.set(before.min(lowest));
        let mut plan = made?;
        plan.correlated = lowest <= depth;
        Ok(Rc::new(plan))
    }

    fn fresh_query(&self, query: &Query, outer: Option<&Scope<'_>>) -> Result<Plan, Failure> {
        let scope = Scope::names(outer);
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let named = self.with(cte, with.recursive, &scope)?;
                scope.named.borrow_mut().push((folded(&cte.alias.name), named));
            }
        }
        let order = match query.order_by.as_ref().map(|order| &order.kind) {
            Some(OrderByKind::Expressions(order)) => order.as_slice(),
            Some(OrderByKind::All(_)) => return Err(unsupported("ORDER BY ALL")),
            None => &[],
        };
        let mut plan = self.body(&query.body, End { order }, &scope)?;
        let (limit, offset) = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => (Some(limit), Some(offset)),
            None => (None, None),
        };
        let fetch = match &query.fetch {
            Some(Fetch { quantity: Some(quantity), .. }) => Some(quantity),
            _ => None,
        };
        let nothing = Scope::inside(outer);
        let count = |expr: Option<&Expr>| -> Result<Option<Typed>, Failure> {
            expr.map(|expr| self.want(self.expr(expr, &nothing)?, Kind::INT8)).transpose()
        };
        plan.limit = count(limit.or(fetch))?;
        plan.offset = count(offset)?;
        Ok(plan)
    }

    fn with(&self, cte: &Cte, recursive: bool, scope: &Scope<'_>) -> Result<Named, Failure> {
        let names: Vec<String> = cte.alias.columns.iter().map(|c| folded(&c.name)).collect();
        let name = folded(&cte.alias.name);
        if recursive
            && let SetExpr::SetOperation { left, op: AstOperator::Union, set_quantifier, right } =
                cte.query.body.as_ref()
        {
            let all = *set_quantifier == SetQuantifier::All;
            return self.recursive(&name, &names, left, right, all, scope);
        }
        let plan = self.query(&cte.query, Some(scope))?;
        Ok(Named::Plan(renamed(plan, &names)))
    }

    fn recursive(
        &self,
        name: &str,
        names: &[String],
        left: &SetExpr,
        right: &SetExpr,
        all: bool,
        scope: &Scope<'_>,
    ) -> Result<Named, Failure> {
        let inside = Scope::names(Some(scope));
        let first = renamed(Rc::new(self.body(left, End::default(), &inside)?), names);
        let working = self.workings.get();
        self.workings.set(working + 1);
        let columns = Arc::clone(&first.columns);
        let inside = Scope::names(Some(scope));
        let named = Named::Working(working, Arc::clone(&columns));
        inside.named.borrow_mut().push((name.to_owned(), named));
        let mut step = self.body(right, End::default(), &inside)?;
        if step.columns.len() != columns.len() {
            let message = "each UNION query must have the same number of columns";
            return Err(Failure::new("42601", message));
        }
        step.correlated = true;
        let body = Body::Recursive { first, step: Rc::new(step), working, all };
        Ok(Named::Plan(Rc::new(plan(columns, body, Vec::new()))))
    }

    fn body(&self, body: &SetExpr, end: End<'_>, scope: &Scope<'_>) -> Result<Plan, Failure> {
        match body {
            SetExpr::Select(select) => self.select(select, end, scope),
            SetExpr::Query(query) => {
                let inner = self.query(query, Some(scope))?;
                let columns = Arc::clone(&inner.columns);
                let order = ordinals(end.order, &columns)?;
                Ok(plan(columns, Body::Named(inner), order))
            }
            SetExpr::Values(values) => {
                let inside = Scope::inside(Some(scope));
                let rows = values
                    .rows
                    .iter()
                    .map(|row| row.content.iter().map(|expr| self.expr(expr, &inside)).collect());
                let rows: Vec<Vec<Typed>> = rows.collect::<Result<_, _>>()?;
                self.values(rows, end)
            }
            SetExpr::Table(table) => {
                let name = table.table_name.clone().unwrap_or_default().to_lowercase();
                let schema = table.schema_name.clone().map(|schema| schema.to_lowercase());
                let table = self.table(schema.as_deref(), &name)?;
                let columns = Arc::clone(&table.columns);
                let inner = plan(Arc::clone(&columns), Body::Values(Vec::new()), Vec::new());
                let _ = inner.known.set(table);
                let order = ordinals(end.order, &columns)?;
                Ok(plan(columns, Body::Named(Rc::new(inner)), order))
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let all = *set_quantifier == SetQuantifier::All;
                self.combination(left, *op, right, all, end, scope)
            }
            other => Err(unsupported(format!("the statement {other}"))),
        }
    }

    fn values(&self, mut rows: Vec<Vec<Typed>>, end: End<'_>) -> Result<Plan, Failure> {
        let width = rows.first().map_or(0, Vec::len);
        let mut columns = Vec::new();
        for at in 0..width {
            let column = rows.iter().filter_map(|row| row.get(at).cloned()).collect();
            let (kind, column) = self.of_one_kind(column)?;
            for (row, value) in rows.iter_mut().zip(column) {
                row[at] = value;
            }
            columns.push(Column { name: format!("column{}", at + 1).into(), kind });
        }
        let columns: Arc<[Column]> = columns.into();
        let order = ordinals(end.order, &columns)?;
        Ok(plan(columns, Body::Values(rows), order))
    }

    fn combination(
        &self,
        left: &SetExpr,
        operator: AstOperator,
        right: &SetExpr,
        all: bool,
        end: End<'_>,
        scope: &Scope<'_>,
    ) -> Result<Plan, Failure> {
        let side = |side: &SetExpr| -> Result<Rc<Plan>, Failure> {
            let before = self.lowest.replace(usize::MAX);
            let inside = Scope::names(Some(scope));
            let made = self.body(side, End::default(), &inside);
            let lowest = self.lowest.get();
            self.lowest.set(before.min(lowest));
            let mut plan = made?;
            plan.correlated = lowest <= scope.depth;
            Ok(Rc::new(plan))
        };
        let (left, right) = (side(left)?, side(right)?);
        if left.columns.len() != right.columns.len() {
            let message = "each UNION query must have the same number of columns";
            return Err(Failure::new("42601", message));
        }
        let operator = match operator {
            AstOperator::Union => SetOperator::Union,
            AstOperator::Intersect => SetOperator::Intersect,
            _ => SetOperator::Except,
        };
        // What one side leaves open, the other decides.
        let columns: Arc<[Column]> = left
            .columns
            .iter()
            .zip(right.columns.iter())
            .map(|(a, b)| {
                if a.kind == Kind::UNKNOWN {
                    Column { kind: b.kind, ..a.clone() }
                } else {
                    a.clone()
                }
            })
            .collect();
        let order = ordinals(end.order, &columns)?;
        Ok(plan(columns, Body::Union { left, right, operator, all }, order))
    }

    fn select(&self, select: &Select, end: End<'_>, outer: &Scope<'_>) -> Result<Plan, Failure> {
        let scope = Scope::inside(Some(outer));
        let conditions = self.from(&select.from, select.selection.as_ref(), &scope)?;
        scope.selects.set(true);
        let mut outputs = Outputs::new();
        for item in &select.projection {
            self.select_item(item, &scope, &mut outputs)?;
        }
        let visible = outputs.len();
        let group = match &select.group_by {
            GroupByExpr::Expressions(exprs, _) if exprs.is_empty() => None,
            GroupByExpr::Expressions(exprs, _) => Some(self.group(exprs, &outputs, &scope)?),
            GroupByExpr::All(_) => return Err(unsupported("GROUP BY ALL")),
        };
        let having = select.having.as_ref();
        let having = having.map(|having| self.expr(having, &scope)).transpose()?;
        let order = self.order(end.order, &mut outputs, visible, &scope)?;
        let distinct = match &select.distinct {
            Some(Distinct::Distinct) => Some(Vec::new()),
            Some(Distinct::On(exprs)) => {
                let mut over = Vec::new();
                for expr in exprs {
                    over.push(self.output(expr, &mut outputs, visible, &scope)?);
                }
                Some(over)
            }
            _ => None,
        };
        scope.selects.set(false);
        let aggregates = scope.aggregates.take();
        let grouped = group.is_some() || !aggregates.is_empty() || having.is_some();
        let columns = outputs[..visible].iter().map(|(name, typed)| {
            let kind = if typed.kind == Kind::UNKNOWN { Kind::TEXT } else { typed.kind };
            Column { name: name.as_str().into(), kind }
        });
        let columns: Arc<[Column]> = columns.collect();
        let outputs = outputs.into_iter().map(|(_, typed)| self.want(typed, Kind::TEXT));
        let Conditions { steps, before } = conditions;
        let body = Body::Select(Box::new(SelectPlan {
            from: steps,
            width: scope.width(),
            before,
            group: if grouped { Some(group.unwrap_or_default()) } else { None },
            aggregates,
            having,
            windows: scope.windows.take(),
            several: scope.several.take(),
            outputs: outputs.collect::<Result<_, _>>()?,
            distinct,
        }));
        Ok(plan(columns, body, order))
    }

    fn select_item(
        &self,
        item: &SelectItem,
        scope: &Scope<'_>,
        out: &mut Outputs,
    ) -> Result<(), Failure> {
        match item {
            SelectItem::UnnamedExpr(expr) => out.push((name_of(expr), self.expr(expr, scope)?)),
            SelectItem::ExprWithAlias { expr, alias } => {
                out.push((folded(alias), self.expr(expr, scope)?));
            }
            SelectItem::Wildcard(_) => self.all_columns(None, scope, out),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let qualifier = path(name);
                if scope.item(&qualifier).is_none() {
                    let message = format!("missing FROM-clause entry for table \"{name}\"");
                    return Err(Failure::new("42P01", message));
                }
                self.all_columns(qualifier.last(), scope, out);
            }
            other => return Err(unsupported(format!("the output {other}"))),
        }
        Ok(())
    }

    fn all_columns(&self, of: Option<&String>, scope: &Scope<'_>, out: &mut Outputs) {
        self.lowest.set(self.lowest.get().min(scope.depth));
        for item in scope.items.borrow().iter().filter(|item| of.is_none_or(|of| item.name == *of))
        {
            for (at, column) in item.columns.iter().enumerate() {
                if of.is_none() && item.merged.contains(&at) {
                    continue;
                }
                let node = Node::Column { up: 0, at: item.offset + at };
                out.push((column.name.to_string(), Typed::new(column.kind, node)));
            }
        }
    }

    fn group(
        &self,
        exprs: &[Expr],
        outputs: &Outputs,
        scope: &Scope<'_>,
    ) -> Result<Vec<Typed>, Failure> {
        scope.selects.set(false);
        let one = |expr: &Expr| {
            if let Some(at) = ordinal(expr, outputs.len()) {
                return Ok(outputs[at].1.clone());
            }
            match self.expr(expr, scope) {
                Err(error) => {
                    alias(expr, outputs, outputs.len()).map(|at| outputs[at].1.clone()).ok_or(error)
                }
                found => found,
            }
        };
        let group = exprs.iter().map(one).collect();
        scope.selects.set(true);
        group
    }

    fn order(
        &self,
        order: &[OrderByExpr],
        outputs: &mut Outputs,
        visible: usize,
        scope: &Scope<'_>,
    ) -> Result<Vec<Sort>, Failure> {
        let mut keys = Vec::new();
        for key in order {
            let at = self.output(&key.expr, outputs, visible, scope)?;
            let descending = key.options.asc == Some(false);
            keys.push((at, descending, key.options.nulls_first.unwrap_or(descending)));
        }
        Ok(keys)
    }

    /// The place of an output that is named, numbered, or added behind the visible ones.
    fn output(
        &self,
        expr: &Expr,
        outputs: &mut Outputs,
        visible: usize,
        scope: &Scope<'_>,
    ) -> Result<usize, Failure> {
        if let Some(at) = ordinal(expr, visible).or_else(|| alias(expr, outputs, visible)) {
            return Ok(at);
        }
        let typed = self.expr(expr, scope)?;
        outputs.push((String::new(), typed));
        Ok(outputs.len() - 1)
    }
}

fn plan(columns: Arc<[Column]>, body: Body, order: Vec<Sort>) -> Plan {
    let known = OnceCell::new();
    Plan { columns, body, order, limit: None, offset: None, correlated: false, known }
}

/// A query whose columns have other names.
pub(super) fn renamed(inner: Rc<Plan>, names: &[String]) -> Rc<Plan> {
    if names.is_empty() {
        return inner;
    }
    let column = |(at, column): (usize, &Column)| match names.get(at) {
        Some(name) => Column { name: name.as_str().into(), kind: column.kind },
        None => column.clone(),
    };
    let columns = inner.columns.iter().enumerate().map(column).collect();
    let correlated = inner.correlated;
    Rc::new(Plan { correlated, ..plan(columns, Body::Named(inner), Vec::new()) })
}

/// The output that `ORDER BY 2` means.
fn ordinal(expr: &Expr, count: usize) -> Option<usize> {
    let Expr::Value(value) = expr else { return None };
    let Literal::Number(text, _) = &value.value else { return None };
    text.parse::<usize>().ok()?.checked_sub(1).filter(|at| *at < count)
}

fn alias(expr: &Expr, outputs: &Outputs, count: usize) -> Option<usize> {
    let Expr::Identifier(name) = expr else { return None };
    let name = folded(name);
    outputs[..count].iter().position(|(known, _)| *known == name)
}

/// The keys of a query that is ordered by its columns only.
fn ordinals(order: &[OrderByExpr], columns: &[Column]) -> Result<Vec<Sort>, Failure> {
    let key = |key: &OrderByExpr| {
        let named = || {
            let Expr::Identifier(name) = &key.expr else { return None };
            let name = folded(name);
            columns.iter().position(|column| *column.name == *name)
        };
        let at = ordinal(&key.expr, columns.len()).or_else(named);
        let descending = key.options.asc == Some(false);
        at.map(|at| (at, descending, key.options.nulls_first.unwrap_or(descending)))
            .ok_or_else(|| unsupported(format!("ORDER BY {} here", key.expr)))
    };
    order.iter().map(key).collect()
}

/// What PostgreSQL calls an output without a name.
fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => folded(name),
        Expr::CompoundIdentifier(names) => names.last().map(folded).unwrap_or_default(),
        Expr::CompoundFieldAccess { root, access_chain } => {
            use datafusion::sql::sqlparser::ast::AccessExpr;
            let dots = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(name)) => Some(folded(name)),
                _ => None,
            });
            dots.unwrap_or_else(|| name_of(root))
        }
        Expr::Function(function) => path(&function.name).pop().unwrap_or_default(),
        Expr::Cast { expr, data_type, .. } => match name_of(expr).as_str() {
            "?column?" => super::compile::kind_of(data_type)
                .ok()
                .and_then(Kind::short)
                .unwrap_or("?column?")
                .to_owned(),
            name => name.to_owned(),
        },
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name_of(inner),
        Expr::Case { else_result: Some(inner), .. } => match name_of(inner).as_str() {
            "?column?" => "case".to_owned(),
            name => name.to_owned(),
        },
        Expr::Case { .. } => "case".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first() {
                Some(SelectItem::UnnamedExpr(expr)) => name_of(expr),
                Some(SelectItem::ExprWithAlias { alias, .. }) => folded(alias),
                _ => "?column?".to_owned(),
            },
            _ => "?column?".to_owned(),
        },
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        _ => "?column?".to_owned(),
    }
}
