//! An alias may be used by a later item of the same list.
//!
//! `count(*) FILTER (…) AS clicks, ctr(clicks, impressions)` becomes
//! `count(*) FILTER (…) AS clicks, ctr((count(*) FILTER (…)), …)`. A column of the input wins over
//! an alias of the same name, as everywhere in SQL.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self as sql, VisitMut, VisitorMut};

use super::outside;
use crate::error::{ErrorKind, Span, SqlError};
use crate::parse::DEPTH_MAX;
use crate::planner::Context;
use crate::text::{Text, fold};

/// How many parts an item may have after its aliases were put in. `a+a AS b, b+b AS c, …` doubles
/// with every item, so thirty short items would fill the memory.
const PARTS_MAX: usize = 100_000;

pub(super) struct Aliases<'a> {
    context: &'a Context<'a>,
    text: &'a Text,
    within: Span,
    /// The `WITH` clauses around the query that is visited, outermost first.
    scopes: Vec<Option<sql::With>>,
}

impl<'a> Aliases<'a> {
    pub(super) fn new(context: &'a Context<'a>, text: &'a Text, within: Span) -> Self {
        Self { context, text, within, scopes: Vec::new() }
    }

    fn select(&mut self, select: &mut sql::Select) -> Result<(), SqlError> {
        let mut aliases: HashMap<String, sql::Expr> = HashMap::new();
        let mut columns: Option<HashSet<String>> = None;
        for i in 0..select.projection.len() {
            let mut used = UsedNames::default();
            let _ = select.projection[i].visit(&mut used);
            if used.names.iter().any(|n| aliases.contains_key(n)) {
                let columns = match &columns {
                    Some(columns) => columns,
                    None => columns.insert(self.columns(&select.from)),
                };
                let fits = put_in(&mut select.projection[i], &aliases, columns);
                let mut size = Size::default();
                let _ = select.projection[i].visit(&mut size);
                if !fits || size.depth_max > DEPTH_MAX {
                    return Err(self.too_large(&select.projection[i]));
                }
            }
            if let sql::SelectItem::ExprWithAlias { expr, alias } = &select.projection[i] {
                aliases.entry(fold(alias)).or_insert_with(|| expr.clone());
            }
        }
        Ok(())
    }

    fn too_large(&self, item: &sql::SelectItem) -> SqlError {
        let alias = match item {
            sql::SelectItem::ExprWithAlias { alias, .. } => self.text.span(alias.span),
            _ => None,
        };
        SqlError::new(
            ErrorKind::TooComplex,
            "an item is too large once the aliases in it are put in",
        )
        .detail(format!("it may have {PARTS_MAX} parts, {DEPTH_MAX} of them within each other"))
        .hint("compute the shared part in a subquery")
        .at(alias.unwrap_or(self.within))
    }

    /// The names of the columns of a `FROM`. Where it cannot be planned, real planning says why.
    fn columns(&self, from: &[sql::TableWithJoins]) -> HashSet<String> {
        let Ok(template) = crate::parse::parse_query("SELECT * FROM t") else {
            return HashSet::new();
        };
        let mut query = template.ast;
        if let sql::SetExpr::Select(select) = query.body.as_mut() {
            select.from = from.to_vec();
        }
        query.with = self.scope();
        let plan = self.context.plan(*query, Vec::new());
        plan.map(|p| p.schema().fields().iter().map(|f| f.name().clone()).collect())
            .unwrap_or_default()
    }

    /// All `WITH` clauses as one; an inner name hides an outer one.
    fn scope(&self) -> Option<sql::With> {
        let mut all: Option<sql::With> = None;
        for with in self.scopes.iter().flatten() {
            match &mut all {
                None => all = Some(with.clone()),
                Some(all) => {
                    let inner =
                        |name: &str| with.cte_tables.iter().any(|c| fold(&c.alias.name) == name);
                    all.cte_tables.retain(|c| !inner(&fold(&c.alias.name)));
                    all.cte_tables.extend(with.cte_tables.iter().cloned());
                    all.recursive |= with.recursive;
                }
            }
        }
        all
    }
}

impl VisitorMut for Aliases<'_> {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &mut sql::Query) -> ControlFlow<Self::Break> {
        // The clause is taken out, so that each common table expression is visited once and what
        // follows sees it rewritten.
        let mut with = query.with.take();
        if let Some(with) = &mut with {
            self.scopes.push(Some(sql::With {
                with_token: with.with_token.clone(),
                recursive: with.recursive,
                cte_tables: Vec::new(),
            }));
            for i in 0..with.cte_tables.len() {
                with.cte_tables[i].query.visit(self)?;
                if let Some(Some(scope)) = self.scopes.last_mut() {
                    scope.cte_tables.push(with.cte_tables[i].clone());
                }
            }
            self.scopes.pop();
        }
        self.scopes.push(with);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut sql::Query) -> ControlFlow<Self::Break> {
        query.with = self.scopes.pop().flatten();
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut sql::Select) -> ControlFlow<Self::Break> {
        match self.select(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => ControlFlow::Break(Box::new(e)),
        }
    }
}

/// The plain names an item uses.
#[derive(Default)]
struct UsedNames {
    names: HashSet<String>,
}

impl VisitorMut for UsedNames {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<()> {
        if let sql::Expr::Identifier(ident) = expr {
            self.names.insert(fold(ident));
        }
        ControlFlow::Continue(())
    }
}

/// Puts the meanings of `aliases` in the place of their names; false when that is too much.
fn put_in(
    item: &mut sql::SelectItem,
    aliases: &HashMap<String, sql::Expr>,
    columns: &HashSet<String>,
) -> bool {
    let mut parts = 0;
    outside::each(item, |expr| {
        let sql::Expr::Identifier(ident) = expr else { return ControlFlow::Continue(()) };
        let name = fold(ident);
        let Some(meaning) = aliases.get(&name).filter(|_| !columns.contains(&name)) else {
            return ControlFlow::Continue(());
        };
        let mut size = Size::default();
        let _ = meaning.clone().visit(&mut size);
        parts += size.parts;
        if parts > PARTS_MAX {
            return ControlFlow::Break(());
        }
        *expr = sql::Expr::Nested(Box::new(meaning.clone()));
        ControlFlow::Continue(())
    });
    parts <= PARTS_MAX
}

/// How large an expression is.
#[derive(Default)]
struct Size {
    parts: usize,
    depth: usize,
    depth_max: usize,
}

impl VisitorMut for Size {
    type Break = ();

    fn pre_visit_expr(&mut self, _expr: &mut sql::Expr) -> ControlFlow<()> {
        self.parts += 1;
        self.depth += 1;
        self.depth_max = self.depth_max.max(self.depth);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _expr: &mut sql::Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}
