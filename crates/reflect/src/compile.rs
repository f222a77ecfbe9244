//! From the parser's tree to expressions with types: names, literals, casts, `CASE`.

use std::cell::{Cell, RefCell};

use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, CaseWhen, DataType, Expr, Function, FunctionArguments, Ident,
    ObjectName, Query, Subscript, UnaryOperator, Value as Literal,
};

use super::kind::{Family, Kind};
use super::node::{Comparison, Node, Typed};
use super::run::Run;
use super::scope::Scope;
use super::value::Value;
use super::{Failure, cast};

/// Compiles the queries of one statement.
pub(super) struct Compiler<'a> {
    pub(super) run: &'a Run<'a>,
    /// The types of the parameters, as far as they are known.
    pub(super) parameters: RefCell<Vec<Option<Kind>>>,
    /// The outermost query that the present one has asked for a column.
    pub(super) lowest: Cell<usize>,
    pub(super) workings: Cell<usize>,
}

/// A name as PostgreSQL folds it.
pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The parts of a name with dots.
pub(super) fn path(name: &ObjectName) -> Vec<String> {
    let parts = name.0.iter();
    parts.map(|part| part.as_ident().map_or_else(|| part.to_string(), folded)).collect()
}

pub(super) fn unsupported(what: impl std::fmt::Display) -> Failure {
    Failure::unknown("0A000", format!("catalog queries cannot have {what}"))
}

impl Compiler<'_> {
    pub(super) fn expr(&self, expr: &Expr, scope: &Scope<'_>) -> Result<Typed, Failure> {
        match expr {
            Expr::Identifier(name) => self.name(&[], &folded(name), name, scope),
            Expr::CompoundIdentifier(parts) => self.compound(parts, scope),
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.access(root, access_chain, scope)
            }
            Expr::Value(value) => self.literal(&value.value),
            Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => self.expr(inner, scope),
            Expr::Prefixed { value, .. } => self.expr(value, scope),
            Expr::TypedString(typed) => {
                let text = typed.value.value.clone().into_string().unwrap_or_default();
                self.cast(
                    Typed::constant(Kind::UNKNOWN, Value::text(text)),
                    kind_of(&typed.data_type)?,
                )
            }
            Expr::Cast { expr, data_type, .. } => {
                let inner = self.expr(expr, scope)?;
                self.cast(inner, kind_of(data_type)?)
            }
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, scope),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, scope),
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), scope)
            }
            Expr::Function(function) => self.function(function, scope),
            Expr::Subquery(query) => self.subquery(query, scope, Node::Scalar),
            Expr::Exists { subquery, negated } => {
                let exists = self.subquery(subquery, scope, Node::Exists)?;
                Ok(negate(Typed::new(Kind::BOOL, exists.node), *negated))
            }
            Expr::Array(array) => self.array(&array.elem, scope),
            Expr::Tuple(items) => {
                let items = items.iter().map(|item| self.expr(item, scope));
                Ok(Typed::new(Kind::RECORD, Node::Array(items.collect::<Result<_, _>>()?)))
            }
            other => self.condition(other, scope),
        }
    }

    /// The rest: conditions, and what the parser has syntax of its own for.
    fn condition(&self, expr: &Expr, scope: &Scope<'_>) -> Result<Typed, Failure> {
        let is = |inner: &Expr, wanted: bool, negated: bool| {
            let inner = self.want(self.expr(inner, scope)?, Kind::BOOL)?;
            let node = Node::Is(Box::new(inner), wanted);
            Ok(negate(Typed::new(Kind::BOOL, node), negated))
        };
        match expr {
            Expr::IsTrue(inner) => is(inner, true, false),
            Expr::IsNotTrue(inner) => is(inner, true, true),
            Expr::IsFalse(inner) => is(inner, false, false),
            Expr::IsNotFalse(inner) => is(inner, false, true),
            Expr::IsNull(inner) | Expr::IsUnknown(inner) => self.is_null(inner, false, scope),
            Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => self.is_null(inner, true, scope),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                let (left, right) = (self.expr(left, scope)?, self.expr(right, scope)?);
                let same = self.compared(Comparison::Same, left, right)?;
                Ok(negate(same, matches!(expr, Expr::IsDistinctFrom(..))))
            }
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, scope),
            Expr::InSubquery { expr, subquery, negated } => {
                self.in_query(expr, subquery, *negated, scope)
            }
            Expr::Between { expr, negated, low, high } => {
                let (low, high) = (self.expr(low, scope)?, self.expr(high, scope)?);
                let value = self.expr(expr, scope)?;
                let above = self.compared(Comparison::MoreEqual, value.clone(), low)?;
                let below = self.compared(Comparison::LessEqual, value, high)?;
                Ok(negate(and(above, below), *negated))
            }
            Expr::Like { negated, expr, pattern, .. } => self.matched(
                expr,
                pattern,
                Comparison::Like { fold: false, negated: *negated },
                scope,
            ),
            Expr::ILike { negated, expr, pattern, .. } => self.matched(
                expr,
                pattern,
                Comparison::Like { fold: true, negated: *negated },
                scope,
            ),
            Expr::AnyOp { left, compare_op, right, .. } => {
                self.any(left, compare_op, right, false, scope)
            }
            Expr::AllOp { left, compare_op, right } => {
                self.any(left, compare_op, right, true, scope)
            }
            other => self.syntax(other, scope),
        }
    }

    fn is_null(&self, inner: &Expr, negated: bool, scope: &Scope<'_>) -> Result<Typed, Failure> {
        let inner = self.expr(inner, scope)?;
        Ok(negate(Typed::new(Kind::BOOL, Node::IsNull(Box::new(inner))), negated))
    }

    fn name(
        &self,
        qualifier: &[String],
        name: &str,
        ident: &Ident,
        scope: &Scope<'_>,
    ) -> Result<Typed, Failure> {
        let missing = match scope.column(qualifier, name) {
            Ok(found) => {
                self.lowest.set(self.lowest.get().min(found.depth));
                return Ok(Typed::new(found.kind, Node::Column { up: found.up, at: found.at }));
            }
            Err(error) => error,
        };
        if missing.sqlstate != "42703" {
            return Err(missing);
        }
        if name == "tableoid" {
            return self.table_number(qualifier, scope);
        }
        let whole: Vec<String> = qualifier.iter().cloned().chain([name.to_owned()]).collect();
        if let Some((offset, columns, up, depth)) = scope.item(&whole) {
            self.lowest.set(self.lowest.get().min(depth));
            let column = |(at, column): (usize, &super::table::Column)| {
                Typed::new(column.kind, Node::Column { up, at: offset + at })
            };
            let all: Vec<Typed> = columns.iter().enumerate().map(column).collect();
            // A function that gives single values is called by its own name: `unnest(…) AS x`.
            if let [only] = all.as_slice() {
                return Ok(only.clone());
            }
            return Ok(Typed::new(Kind::RECORD, Node::Array(all)));
        }
        let bare = ["user", "session_user", "current_user", "current_schema", "current_catalog"];
        if ident.quote_style.is_none() && qualifier.is_empty() && bare.contains(&name) {
            return self.call(name, Vec::new());
        }
        Err(missing)
    }

    /// The catalog that an item of `FROM` is, as `tableoid` tells.
    fn table_number(&self, qualifier: &[String], scope: &Scope<'_>) -> Result<Typed, Failure> {
        let items = scope.items.borrow();
        let item = items.iter().find(|item| match qualifier.last() {
            Some(name) => item.name == *name,
            None => item.table.is_some(),
        });
        let table = item.and_then(|item| item.table.clone());
        let number = table.and_then(|name| self.run.catalog.relation_number(&[name]));
        match number {
            Some(number) => Ok(Typed::constant(Kind::OID, Value::Int(number))),
            None => Err(Failure::new("42703", "column \"tableoid\" does not exist")),
        }
    }

    fn compound(&self, parts: &[Ident], scope: &Scope<'_>) -> Result<Typed, Failure> {
        let names: Vec<String> = parts.iter().map(folded).collect();
        let Some(((name, qualifier), ident)) = names.split_last().zip(parts.last()) else {
            return Err(unsupported("an empty name"));
        };
        let found = self.name(qualifier, name, ident, scope);
        // `keys.n` may be a field of a column that holds rows.
        if found.is_err()
            && let [.., record, _] = names.as_slice()
            && let Some(record_ident) = parts.get(parts.len().wrapping_sub(2))
            && let before = &names[..names.len() - 2]
            && let Ok(record) = self.name(before, record, record_ident, scope)
            && let Ok(field) = self.field(record, name)
        {
            return Ok(field);
        }
        found
    }

    /// A field of a row.
    fn field(&self, record: Typed, name: &str) -> Result<Typed, Failure> {
        let fields = record.kind.fields().unwrap_or_default();
        let Some(at) = fields.iter().position(|field| &*field.name == name) else {
            return Err(Failure::new("42703", format!("column \"{name}\" does not exist")));
        };
        let number = i64::try_from(at).unwrap_or(0) + 1;
        let at = Typed::constant(Kind::INT4, Value::Int(number));
        // The items of any array are told as texts unless they are numbers.
        let kind = if fields[at_of(number)].kind.0 == 2277 {
            Kind::INT4
        } else {
            fields[at_of(number)].kind
        };
        Ok(Typed::new(kind, Node::Item(Box::new([record, at]))))
    }

    fn access(
        &self,
        root: &Expr,
        chain: &[AccessExpr],
        scope: &Scope<'_>,
    ) -> Result<Typed, Failure> {
        // `t.column[1]` comes as the name `t` with an access to `column`.
        let mut begun = None;
        let mut rest = chain;
        let mut names = match root {
            Expr::Identifier(name) => vec![name.clone()],
            Expr::CompoundIdentifier(names) => names.clone(),
            _ => Vec::new(),
        };
        if !names.is_empty() {
            while let [AccessExpr::Dot(Expr::Identifier(name)), tail @ ..] = rest {
                names.push(name.clone());
                rest = tail;
            }
            begun = Some(self.compound(&names, scope)?);
        }
        let mut value = match begun {
            Some(value) => value,
            None => self.expr(root, scope)?,
        };
        for access in rest {
            value = match access {
                AccessExpr::Dot(Expr::Identifier(name)) => self.field(value, &folded(name))?,
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    let index = self.want(self.expr(index, scope)?, Kind::INT4)?;
                    let kind = value.kind.item().unwrap_or(Kind::TEXT);
                    let value = counted_from_0(value);
                    Typed::new(kind, Node::Item(Box::new([value, index])))
                }
                other => return Err(unsupported(format!("the access {other}"))),
            };
        }
        Ok(value)
    }

    fn literal(&self, literal: &Literal) -> Result<Typed, Failure> {
        Ok(match literal {
            Literal::Number(text, _) => match text.parse::<i64>() {
                Ok(v) => {
                    let kind = if i32::try_from(v).is_ok() { Kind::INT4 } else { Kind::INT8 };
                    Typed::constant(kind, Value::Int(v))
                }
                Err(_) => Typed::constant(Kind::FLOAT8, super::value::parse(text, Kind::FLOAT8)?),
            },
            Literal::Boolean(v) => Typed::constant(Kind::BOOL, Value::Bool(*v)),
            Literal::Null => Typed::constant(Kind::UNKNOWN, Value::Null),
            Literal::Placeholder(name) => {
                let number = name.trim_start_matches('$').parse::<usize>().ok();
                let Some(at) = number.and_then(|number| number.checked_sub(1)) else {
                    return Err(Failure::new("42P02", format!("there is no parameter {name}")));
                };
                let mut kinds = self.parameters.borrow_mut();
                if kinds.len() <= at {
                    kinds.resize(at + 1, None);
                }
                Typed::new(kinds[at].unwrap_or(Kind::UNKNOWN), Node::Parameter(at))
            }
            other => match other.clone().into_string() {
                Some(text) => Typed::constant(Kind::UNKNOWN, Value::text(text)),
                None => return Err(unsupported(format!("the literal {other}"))),
            },
        })
    }

    /// Makes what has no type yet one of `kind`; others are left as they are.
    pub(super) fn want(&self, typed: Typed, kind: Kind) -> Result<Typed, Failure> {
        if typed.kind != Kind::UNKNOWN || kind == Kind::UNKNOWN {
            return Ok(typed);
        }
        match typed.node {
            Node::Const(Value::Null) => Ok(Typed::constant(kind, Value::Null)),
            Node::Const(value) => {
                let value = cast::cast(self.run, value, Kind::TEXT, kind)?;
                Ok(Typed::constant(kind, value))
            }
            Node::Parameter(at) => {
                // Drivers send names of objects as texts.
                let told = if kind.family() == Family::Named { Kind::TEXT } else { kind };
                if let Some(known) = self.parameters.borrow_mut().get_mut(at) {
                    known.get_or_insert(told);
                }
                self.cast(Typed::new(told, Node::Parameter(at)), kind)
            }
            node => Ok(Typed::new(Kind::TEXT, node)),
        }
    }

    pub(super) fn cast(&self, inner: Typed, kind: Kind) -> Result<Typed, Failure> {
        if inner.kind == kind {
            return Ok(inner);
        }
        if inner.kind == Kind::UNKNOWN {
            return self.want(inner, kind);
        }
        Ok(Typed::new(kind, Node::Cast(Box::new(inner), kind)))
    }

    fn unary(&self, op: UnaryOperator, expr: &Expr, scope: &Scope<'_>) -> Result<Typed, Failure> {
        let inner = self.expr(expr, scope)?;
        match op {
            UnaryOperator::Not => Ok(negate(self.want(inner, Kind::BOOL)?, true)),
            UnaryOperator::Plus => Ok(inner),
            UnaryOperator::Minus => {
                let inner = self.want(inner, Kind::INT4)?;
                let zero = Typed::constant(inner.kind, Value::Int(0));
                let kind = inner.kind;
                let minus = super::node::Arithmetic::Minus;
                Ok(Typed::new(kind, Node::Arithmetic(minus, Box::new([zero, inner]))))
            }
            other => Err(unsupported(format!("the operator {other}"))),
        }
    }

    fn case(
        &self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        scope: &Scope<'_>,
    ) -> Result<Typed, Failure> {
        let mut tests = Vec::new();
        let mut values = Vec::new();
        for branch in conditions {
            let condition = self.expr(&branch.condition, scope)?;
            tests.push(match operand {
                None => self.want(condition, Kind::BOOL)?,
                Some(operand) => {
                    let operand = self.expr(operand, scope)?;
                    self.compared(Comparison::Equal, operand, condition)?
                }
            });
            values.push(self.expr(&branch.result, scope)?);
        }
        let has_else = otherwise.is_some();
        if let Some(otherwise) = otherwise {
            values.push(self.expr(otherwise, scope)?);
        }
        let (kind, mut values) = self.of_one_kind(values)?;
        let otherwise = if has_else { values.pop().map(Box::new) } else { None };
        Ok(Typed::new(kind, Node::Case(tests.into_iter().zip(values).collect(), otherwise)))
    }

    /// Values that stand for each other, made to be of one type.
    pub(super) fn of_one_kind(&self, values: Vec<Typed>) -> Result<(Kind, Vec<Typed>), Failure> {
        let known = || values.iter().map(|value| value.kind).filter(|kind| *kind != Kind::UNKNOWN);
        let first = known().next().unwrap_or(Kind::TEXT);
        let rank = |kind: Kind| match kind.family() {
            Family::Text => 3,
            Family::Float => 2,
            Family::Int => 1,
            _ => 0,
        };
        let mixed = known().any(|kind| kind.family() != first.family());
        let widest = known().max_by_key(|kind| rank(*kind)).unwrap_or(first);
        let kind = match (mixed, first.family()) {
            (true, Family::Named) => Kind::TEXT,
            (true, _) => widest,
            // "char" beside text is text.
            (false, Family::Text) if known().any(|kind| kind != first) => Kind::TEXT,
            (false, Family::Int) if known().any(|kind| kind == Kind::INT8) => Kind::INT8,
            _ => first,
        };
        let values = values.into_iter().map(|value| self.cast(value, kind));
        Ok((kind, values.collect::<Result<_, _>>()?))
    }

    fn array(&self, items: &[Expr], scope: &Scope<'_>) -> Result<Typed, Failure> {
        let items = items.iter().map(|item| self.expr(item, scope)).collect::<Result<_, _>>()?;
        let (kind, items) = self.of_one_kind(items)?;
        Ok(Typed::new(kind.array().unwrap_or(Kind::TEXT_ARRAY), Node::Array(items)))
    }

    pub(super) fn subquery(
        &self,
        query: &Query,
        scope: &Scope<'_>,
        node: fn(std::rc::Rc<super::node::Plan>) -> Node,
    ) -> Result<Typed, Failure> {
        let plan = self.query(query, Some(scope))?;
        let kind = plan.columns.first().map_or(Kind::TEXT, |column| column.kind);
        Ok(Typed::new(kind, node(plan)))
    }

    fn function(&self, function: &Function, scope: &Scope<'_>) -> Result<Typed, Failure> {
        let name = path(&function.name).pop().unwrap_or_default();
        match &function.args {
            FunctionArguments::Subquery(query) if name == "array" => {
                let gathered = self.subquery(query, scope, Node::Gather)?;
                let kind = gathered.kind.array().unwrap_or(Kind::TEXT_ARRAY);
                Ok(Typed::new(kind, gathered.node))
            }
            FunctionArguments::Subquery(_) => Err(unsupported("a query as an argument")),
            FunctionArguments::None => self.call(&name, Vec::new()),
            FunctionArguments::List(list) => self.called(&name, function, list, scope),
        }
    }
}

/// A vector of the catalog still begins at 0 when it is cast to an array.
fn counted_from_0(value: Typed) -> Typed {
    match value.node {
        Node::Cast(inner, _) if matches!(inner.kind, Kind::INT2VECTOR | Kind::OIDVECTOR) => *inner,
        node => Typed::new(value.kind, node),
    }
}

fn at_of(number: i64) -> usize {
    usize::try_from(number - 1).unwrap_or(0)
}

pub(super) fn negate(typed: Typed, negated: bool) -> Typed {
    if negated { Typed::new(Kind::BOOL, Node::Not(Box::new(typed))) } else { typed }
}

pub(super) fn and(left: Typed, right: Typed) -> Typed {
    Typed::new(Kind::BOOL, Node::And(Box::new([left, right])))
}

/// The type that a cast names.
pub(super) fn kind_of(data_type: &DataType) -> Result<Kind, Failure> {
    if let DataType::Array(
        ArrayElemTypeDef::SquareBracket(item, _) | ArrayElemTypeDef::AngleBracket(item),
    ) = data_type
    {
        return kind_of(item)?.array().ok_or_else(|| unsupported(format!("the type {data_type}")));
    }
    let text = match data_type {
        DataType::Custom(name, _) => path(name).pop().unwrap_or_default(),
        DataType::Timestamp(_, info) => {
            let zone = info.to_string().to_uppercase();
            let with = zone.contains("WITH TIME ZONE") || zone == "TZ";
            (if with { "timestamptz" } else { "timestamp" }).to_owned()
        }
        other => other.to_string(),
    };
    let name = match data_type {
        // What is written "char" is a type of its own.
        DataType::Custom(name, _) if name.to_string().contains("\"char\"") => "\"char\"".to_owned(),
        _ => text,
    };
    match Kind::by_name(&name) {
        Some(kind) => Ok(kind),
        None => Err(Failure::unknown("42704", format!("type \"{name}\" does not exist"))),
    }
}
