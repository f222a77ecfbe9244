//! Functions that people write: an expression with a name, put in where it is called.
//!
//! ```text
//!   CREATE FUNCTION twice(x int) RETURNS int LANGUAGE SQL AS 'SELECT x * 2'
//!   twice(a + 1)  ─▶  CAST((CAST((a + 1) AS int) * 2) AS int)
//! ```
//!
//! What must hold: the expression names its parameters and nothing else, so that it means the same wherever
//! it is put; no function leads back to itself.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF, TableSource};
use datafusion::sql::sqlparser::ast::{self as sql, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::Span as TokenSpan;

use crate::ast::{CreateFunction, Query};
use crate::catalog::{Catalog, Relation};
use crate::error::{ErrorKind, SqlError};
use crate::planner::Planner;
use crate::text::fold;

/// A function of an expression.
#[derive(Clone, Debug)]
pub struct SqlFunction {
    /// Its name, folded.
    pub name: String,
    /// The names of its parameters, where they have one, and their types.
    pub parameters: Vec<(Option<String>, sql::DataType)>,
    /// The type of its value.
    pub returns: sql::DataType,
    /// Whether it is null as soon as an argument is.
    pub strict: bool,
    /// The expression.
    pub body: sql::Expr,
}

/// Which function: its name, and how many arguments it takes.
pub type FunctionKey = (String, usize);

impl SqlFunction {
    /// What tells it from others.
    #[must_use]
    pub fn key(&self) -> FunctionKey {
        (self.name.clone(), self.parameters.len())
    }

    /// Whether both say the same, however their types are called.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let same_type = |one: &sql::DataType, other: &sql::DataType| {
            let fields = (crate::datatype::from_sql(one), crate::datatype::from_sql(other));
            one == other || matches!(fields, (Ok(one), Ok(other)) if one == other)
        };
        self.key() == other.key()
            && self.strict == other.strict
            && self.body == other.body
            && same_type(&self.returns, &other.returns)
            && self
                .parameters
                .iter()
                .zip(&other.parameters)
                .all(|(one, other)| one.0 == other.0 && same_type(&one.1, &other.1))
    }

    /// The functions it may call: those of any name and number of arguments in its expression.
    #[must_use]
    pub fn calls(&self) -> HashSet<FunctionKey> {
        let mut calls = HashSet::new();
        let _ = sql::visit_expressions(&self.body, |expr| collect(expr, &mut calls));
        calls
    }

    /// The name of a type as it is shown.
    #[must_use]
    pub fn type_name(data_type: &sql::DataType) -> String {
        data_type.to_string().to_lowercase()
    }

    /// Its parameters as they are written: `x integer, y integer`.
    #[must_use]
    pub fn signature(&self) -> String {
        let parameters = self.parameters.iter().map(|(name, data_type)| match name {
            Some(name) => format!("{name} {}", Self::type_name(data_type)),
            None => Self::type_name(data_type),
        });
        parameters.collect::<Vec<_>>().join(", ")
    }

    /// The expression for these arguments, which are as many as parameters.
    pub(crate) fn applied(&self, arguments: Vec<sql::Expr>) -> sql::Expr {
        let given: Vec<sql::Expr> = arguments
            .into_iter()
            .zip(&self.parameters)
            .map(|(argument, (_, data_type))| cast(argument, data_type.clone()))
            .collect();
        let mut body = self.body.clone();
        // Nothing breaks off.
        let _ = body.visit(&mut Put { function: self, given: &given });
        if self.strict {
            let null = |e: &sql::Expr| sql::Expr::IsNull(Box::new(e.clone()));
            let either = |left, right| sql::Expr::BinaryOp {
                left: Box::new(left),
                op: sql::BinaryOperator::Or,
                right: Box::new(right),
            };
            if let Some(condition) = given.iter().map(null).reduce(either) {
                let result = sql::Expr::value(sql::Value::Null);
                body = sql::Expr::Case {
                    case_token: sql::helpers::attached_token::AttachedToken::empty(),
                    end_token: sql::helpers::attached_token::AttachedToken::empty(),
                    operand: None,
                    conditions: vec![sql::CaseWhen { condition, result }],
                    else_result: Some(Box::new(body)),
                };
            }
        }
        cast(body, self.returns.clone())
    }

    /// Which parameter an expression is.
    fn parameter(&self, expr: &sql::Expr) -> Option<usize> {
        match expr {
            sql::Expr::Identifier(ident) => {
                let name = fold(ident);
                self.parameters.iter().position(|(n, _)| n.as_ref() == Some(&name))
            }
            sql::Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [function, ident] if fold(function) == self.name => {
                    self.parameter(&sql::Expr::Identifier(ident.clone()))
                }
                _ => None,
            },
            sql::Expr::Value(value) => match &value.value {
                sql::Value::Placeholder(id) => {
                    let number: usize = id.strip_prefix('$')?.parse().ok()?;
                    number.checked_sub(1).filter(|at| *at < self.parameters.len())
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Says what is wrong with an expression that names something other than parameters.
    pub(crate) fn check_names(&self) -> Result<(), SqlError> {
        let walked = sql::visit_expressions(&self.body, |expr| {
            let what = match expr {
                _ if self.parameter(expr).is_some() => return ControlFlow::Continue(()),
                sql::Expr::Identifier(_) | sql::Expr::CompoundIdentifier(_) => {
                    format!("\"{expr}\" is no parameter of the function")
                }
                sql::Expr::Value(v) if matches!(v.value, sql::Value::Placeholder(_)) => {
                    format!("\"{expr}\" is no parameter of the function")
                }
                sql::Expr::Subquery(_)
                | sql::Expr::InSubquery { .. }
                | sql::Expr::Exists { .. } => "a function reads no relations".to_owned(),
                _ => return ControlFlow::Continue(()),
            };
            ControlFlow::Break(what)
        });
        match walked {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(what) => Err(SqlError::new(ErrorKind::InvalidDefinition, what)
                .detail("a function is one expression over its parameters")),
        }
    }
}

/// Without the places of its words: they are of another text than the one that it is put into.
pub(crate) fn without_places(expr: &mut sql::Expr) {
    struct Places;
    impl VisitorMut for Places {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<()> {
            let forget = |ident: &mut sql::Ident| ident.span = TokenSpan::empty();
            match expr {
                sql::Expr::Identifier(ident) => forget(ident),
                sql::Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(forget),
                sql::Expr::Function(function) => {
                    for part in &mut function.name.0 {
                        if let sql::ObjectNamePart::Identifier(ident) = part {
                            forget(ident);
                        }
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    // Nothing breaks off.
    let _ = expr.visit(&mut Places);
}

fn cast(expr: sql::Expr, data_type: sql::DataType) -> sql::Expr {
    sql::Expr::Cast {
        kind: sql::CastKind::Cast,
        expr: Box::new(sql::Expr::Nested(Box::new(expr))),
        data_type,
        array: false,
        format: None,
    }
}

/// Puts arguments in the places of parameters.
struct Put<'a> {
    function: &'a SqlFunction,
    given: &'a [sql::Expr],
}

impl VisitorMut for Put<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<()> {
        if let Some(at) = self.function.parameter(expr) {
            *expr = self.given[at].clone();
        }
        ControlFlow::Continue(())
    }
}

fn collect(expr: &sql::Expr, calls: &mut HashSet<FunctionKey>) -> ControlFlow<()> {
    if let sql::Expr::Function(call) = expr
        && let Some(key) = called(call)
    {
        calls.insert(key);
    }
    ControlFlow::Continue(())
}

/// Which function of ours a call may be of.
pub(crate) fn called(call: &sql::Function) -> Option<FunctionKey> {
    let [sql::ObjectNamePart::Identifier(ident)] = call.name.0.as_slice() else { return None };
    let sql::FunctionArguments::List(list) = &call.args else { return None };
    Some((fold(ident), list.args.len()))
}

/// The arguments of a call that has nothing else.
pub(crate) fn arguments(call: &sql::Function) -> Option<Vec<sql::Expr>> {
    let sql::FunctionArguments::List(list) = &call.args else { return None };
    let bare = call.over.is_none() && call.filter.is_none() && call.within_group.is_empty();
    let bare = bare && list.duplicate_treatment.is_none() && list.clauses.is_empty();
    let one = |argument: &sql::FunctionArg| match argument {
        sql::FunctionArg::Unnamed(sql::FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    bare.then(|| list.args.iter().map(one).collect()).flatten()
}

impl Query {
    /// The functions it may call: of any name and number of arguments in it.
    #[must_use]
    pub fn calls(&self) -> HashSet<FunctionKey> {
        let mut calls = HashSet::new();
        let _ = sql::visit_expressions(self.ast.as_ref(), |expr| collect(expr, &mut calls));
        calls
    }
}

impl Planner {
    /// Says what is wrong with a new function, if something is.
    pub fn check_function(
        &self,
        create: &CreateFunction,
        catalog: &dyn Catalog,
    ) -> Result<(), SqlError> {
        let function = &create.function;
        let at = create.name.span;
        let name = &function.name;
        if self.function_names.contains(name) {
            let message = format!("function \"{name}\" is there already, and not yours");
            return Err(SqlError::new(ErrorKind::DuplicateRelation, message)
                .hint("give yours another name")
                .at(at));
        }
        if leads_to(function, &function.key(), catalog) {
            let message = format!("function \"{name}\" calls itself");
            return Err(SqlError::new(ErrorKind::InvalidDefinition, message)
                .detail("a function is put in where it is called, which would never end")
                .at(at));
        }
        let nulls = function
            .parameters
            .iter()
            .map(|(_, data_type)| cast(sql::Expr::value(sql::Value::Null), data_type.clone()));
        let value = function.applied(nulls.collect());
        let mut query = crate::parse::parse_query("SELECT 1 AS value")?;
        if let sql::SetExpr::Select(select) = query.ast.body.as_mut()
            && let [sql::SelectItem::ExprWithAlias { expr, .. }] = select.projection.as_mut_slice()
        {
            *expr = value;
        }
        let whole = Query { ast: query.ast, span: create.span, text: Arc::clone(&create.text) };
        let planned =
            self.query(&whole, &Functions(catalog), &[]).map_err(|e| e.or_at(Some(at)))?;
        let mut plan = &planned.plan;
        while let LogicalPlan::Projection(projection) = plan {
            plan = &projection.input;
        }
        if matches!(plan, LogicalPlan::EmptyRelation(_)) {
            return Ok(());
        }
        Err(SqlError::unsupported("a function is one expression over its parameters")
            .detail("it has no aggregate, no OVER and makes no rows")
            .at(at))
    }
}

/// Whether what a function calls leads to `key`.
fn leads_to(function: &SqlFunction, key: &FunctionKey, catalog: &dyn Catalog) -> bool {
    let mut open: Vec<FunctionKey> = function.calls().into_iter().collect();
    let mut seen = HashSet::new();
    while let Some(next) = open.pop() {
        if next == *key {
            return true;
        }
        if !seen.insert(next.clone()) {
            continue;
        }
        let known = catalog.sql_functions(&next.0);
        for callee in known.iter().filter(|f| f.key() == next) {
            open.extend(callee.calls());
        }
    }
    false
}

/// The functions of a catalog and nothing else of it.
struct Functions<'a>(&'a dyn Catalog);

impl Catalog for Functions<'_> {
    fn relation(&self, _name: &str) -> Option<Relation> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn source(&self, _name: &TableReference) -> Option<Arc<dyn TableSource>> {
        None
    }

    fn function(&self, _name: &str) -> Option<Arc<ScalarUDF>> {
        None
    }

    fn sql_functions(&self, name: &str) -> Vec<Arc<SqlFunction>> {
        self.0.sql_functions(name)
    }
}
