//! Operators: comparisons, `IN`, `ANY`, patterns, arithmetic.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query, TrimWhereField};

use super::Failure;
use super::compile::{Compiler, and, negate, unsupported};
use super::kind::{Family, Kind};
use super::node::{Arithmetic, Comparison, Node, Typed};
use super::scope::Scope;
use super::value::Value;

/// The comparison that an operator is.
fn comparison(operator: &BinaryOperator) -> Option<Comparison> {
    Some(match operator {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::Different,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessEqual,
        BinaryOperator::Gt => Comparison::More,
        BinaryOperator::GtEq => Comparison::MoreEqual,
        BinaryOperator::PGRegexMatch => Comparison::Regex { fold: false, negated: false },
        BinaryOperator::PGRegexIMatch => Comparison::Regex { fold: true, negated: false },
        BinaryOperator::PGRegexNotMatch => Comparison::Regex { fold: false, negated: true },
        BinaryOperator::PGRegexNotIMatch => Comparison::Regex { fold: true, negated: true },
        BinaryOperator::PGLikeMatch => Comparison::Like { fold: false, negated: false },
        BinaryOperator::PGILikeMatch => Comparison::Like { fold: true, negated: false },
        BinaryOperator::PGNotLikeMatch => Comparison::Like { fold: false, negated: true },
        BinaryOperator::PGNotILikeMatch => Comparison::Like { fold: true, negated: true },
        // OPERATOR(pg_catalog.~)
        BinaryOperator::PGCustomBinaryOperator(parts) => {
            return named(parts.last().map_or("", String::as_str));
        }
        _ => return None,
    })
}

fn named(operator: &str) -> Option<Comparison> {
    Some(match operator {
        "=" => Comparison::Equal,
        "<>" | "!=" => Comparison::Different,
        "<" => Comparison::Less,
        "<=" => Comparison::LessEqual,
        ">" => Comparison::More,
        ">=" => Comparison::MoreEqual,
        "~" => Comparison::Regex { fold: false, negated: false },
        "~*" => Comparison::Regex { fold: true, negated: false },
        "!~" => Comparison::Regex { fold: false, negated: true },
        "!~*" => Comparison::Regex { fold: true, negated: true },
        "~~" => Comparison::Like { fold: false, negated: false },
        "~~*" => Comparison::Like { fold: true, negated: false },
        _ => return None,
    })
}

fn arithmetic(operator: &BinaryOperator) -> Option<Arithmetic> {
    Some(match operator {
        BinaryOperator::Plus => Arithmetic::Plus,
        BinaryOperator::Minus => Arithmetic::Minus,
        BinaryOperator::Multiply => Arithmetic::Times,
        BinaryOperator::Divide => Arithmetic::Divide,
        BinaryOperator::Modulo => Arithmetic::Modulo,
        BinaryOperator::StringConcat => Arithmetic::Concat,
        BinaryOperator::BitwiseAnd => Arithmetic::BitAnd,
        BinaryOperator::BitwiseOr => Arithmetic::BitOr,
        BinaryOperator::PGCustomBinaryOperator(parts) if parts.last()? == "||" => {
            Arithmetic::Concat
        }
        BinaryOperator::PGCustomBinaryOperator(parts) if parts.last()? == "+" => Arithmetic::Plus,
        _ => return None,
    })
}

impl Compiler<'_> {
    pub(super) fn binary(
        &self,
        left: &Expr,
        operator: &BinaryOperator,
        right: &Expr,
        scope: &Scope<'_>,
    ) -> Result<Typed, Failure> {
        let (left, right) = (self.expr(left, scope)?, self.expr(right, scope)?);
        match operator {
            BinaryOperator::And => {
                Ok(and(self.want(left, Kind::BOOL)?, self.want(right, Kind::BOOL)?))
            }
            BinaryOperator::Or => {
                let pair = [self.want(left, Kind::BOOL)?, self.want(right, Kind::BOOL)?];
                Ok(Typed::new(Kind::BOOL, Node::Or(Box::new(pair))))
            }
            BinaryOperator::AtArrow => self.call("array_contains_all", vec![left, right]),
            BinaryOperator::PGOverlap => self.call("array_overlaps", vec![left, right]),
            operator => match (comparison(operator), arithmetic(operator)) {
                (Some(how), _) => self.compared(how, left, right),
                (_, Some(how)) => self.computed(how, left, right),
                _ => Err(unsupported(format!("the operator {operator}"))),
            },
        }
    }

    /// Two values that are compared, made comparable.
    pub(super) fn compared(
        &self,
        how: Comparison,
        left: Typed,
        right: Typed,
    ) -> Result<Typed, Failure> {
        let (left, right) = match how {
            Comparison::Regex { .. } | Comparison::Like { .. } => {
                (self.as_text(left)?, self.as_text(right)?)
            }
            _ => self.comparable(left, right)?,
        };
        Ok(Typed::new(Kind::BOOL, Node::Compare(how, Box::new([left, right]))))
    }

    fn as_text(&self, typed: Typed) -> Result<Typed, Failure> {
        if typed.kind.family() == Family::Text && typed.kind != Kind::UNKNOWN {
            return Ok(typed);
        }
        self.cast(typed, Kind::TEXT)
    }

    fn comparable(&self, left: Typed, right: Typed) -> Result<(Typed, Typed), Failure> {
        let (left, right) = match (left.kind == Kind::UNKNOWN, right.kind == Kind::UNKNOWN) {
            (true, true) => (self.want(left, Kind::TEXT)?, self.want(right, Kind::TEXT)?),
            (true, false) => (self.want(left, right.kind)?, right),
            (false, true) => {
                let kind = left.kind;
                (left, self.want(right, kind)?)
            }
            (false, false) => (left, right),
        };
        let (a, b) = (left.kind.family(), right.kind.family());
        Ok(match (a, b) {
            _ if a == b => (left, right),
            // A text beside a number is read as one.
            (Family::Text, Family::Int | Family::Float | Family::Bool | Family::Named) => {
                let kind = right.kind;
                (self.cast(left, kind)?, right)
            }
            (Family::Int | Family::Float | Family::Bool | Family::Named, Family::Text) => {
                let kind = left.kind;
                (left, self.cast(right, kind)?)
            }
            (Family::Array, Family::Text) => {
                let kind = left.kind;
                (left, self.cast(right, kind)?)
            }
            _ => (left, right),
        })
    }

    fn computed(&self, how: Arithmetic, left: Typed, right: Typed) -> Result<Typed, Failure> {
        let pair = |kind, left, right| {
            Ok(Typed::new(kind, Node::Arithmetic(how, Box::new([left, right]))))
        };
        if how == Arithmetic::Concat {
            let array = [&left, &right].into_iter().find(|side| side.kind.item().is_some());
            return match array.map(|side| side.kind) {
                Some(kind) => pair(kind, self.want(left, kind)?, self.want(right, kind)?),
                None => pair(Kind::TEXT, self.as_text(left)?, self.as_text(right)?),
            };
        }
        let known = if left.kind == Kind::UNKNOWN { right.kind } else { left.kind };
        let known = if known == Kind::UNKNOWN { Kind::INT4 } else { known };
        let (left, right) = (self.want(left, known)?, self.want(right, known)?);
        let float = [left.kind, right.kind].iter().any(|kind| kind.family() == Family::Float);
        let long = [left.kind, right.kind].contains(&Kind::INT8);
        let kind = match (float, long) {
            (true, _) => Kind::FLOAT8,
            (_, true) => Kind::INT8,
            _ => Kind::INT4,
        };
        pair(kind, left, right)
    }

    pub(super) fn in_list(
        &self,
        expr: &Expr,
        list: &[Expr],
        negated: bool,
        scope: &Scope<'_>,
    ) -> Result<Typed, Failure> {
        let value = self.expr(expr, scope)?;
        let mut any: Option<Typed> = None;
        for item in list {
            let item = self.expr(item, scope)?;
            let one = self.compared(Comparison::Equal, value.clone(), item)?;
            any = Some(match any {
                None => one,
                Some(any) => Typed::new(Kind::BOOL, Node::Or(Box::new([any, one]))),
            });
        }
        let any = any.unwrap_or_else(|| Typed::constant(Kind::BOOL, Value::Bool(false)));
        Ok(negate(any, negated))
    }

    /// The values of a query as an array.
    fn gathered(&self, query: &Query, scope: &Scope<'_>) -> Result<(Typed, Kind), Failure> {
        let gathered = self.subquery(query, scope, Node::Gather)?;
        let item = gathered.kind;
        Ok((Typed::new(item.array().unwrap_or(Kind::TEXT_ARRAY), gathered.node), item))
    }

    pub(super) fn in_query(
        &self,
        expr: &Expr,
        query: &Query,
        negated: bool,
        scope: &Scope<'_>,
    ) -> Result<Typed, Failure> {
        if let Expr::Tuple(_) = expr {
            return Err(unsupported("rows before IN"));
        }
        let (list, item) = self.gathered(query, scope)?;
        let value = self.expr(expr, scope)?;
        let any = self.any_of(Comparison::Equal, value, list, item, false)?;
        Ok(negate(any, negated))
    }

    pub(super) fn any(
        &self,
        left: &Expr,
        operator: &BinaryOperator,
        right: &Expr,
        all: bool,
        scope: &Scope<'_>,
    ) -> Result<Typed, Failure> {
        let Some(how) = comparison(operator) else {
            return Err(unsupported(format!("ANY with the operator {operator}")));
        };
        let value = self.expr(left, scope)?;
        let mut right = right;
        while let Expr::Nested(inner) = right {
            right = inner;
        }
        if let Expr::Subquery(query) = right {
            let (list, item) = self.gathered(query, scope)?;
            return self.any_of(how, value, list, item, all);
        }
        let wanted = if value.kind == Kind::UNKNOWN { Kind::TEXT } else { value.kind };
        let array = wanted.array().unwrap_or(Kind::TEXT_ARRAY);
        let list = self.want(self.expr(right, scope)?, array)?;
        let item = list.kind.item().unwrap_or(Kind::TEXT);
        self.any_of(how, value, list, item, all)
    }

    fn any_of(
        &self,
        how: Comparison,
        value: Typed,
        list: Typed,
        item: Kind,
        all: bool,
    ) -> Result<Typed, Failure> {
        let value = self.want(value, item)?;
        let list = match (value.kind.family(), item.family()) {
            (a, b) if a == b => list,
            _ => self.cast(list, value.kind.array().unwrap_or(Kind::TEXT_ARRAY))?,
        };
        Ok(Typed::new(Kind::BOOL, Node::Any(how, Box::new([value, list]), all)))
    }

    pub(super) fn matched(
        &self,
        expr: &Expr,
        pattern: &Expr,
        how: Comparison,
        scope: &Scope<'_>,
    ) -> Result<Typed, Failure> {
        let (left, right) = (self.expr(expr, scope)?, self.expr(pattern, scope)?);
        self.compared(how, left, right)
    }

    /// Functions that the parser has syntax of its own for.
    pub(super) fn syntax(&self, expr: &Expr, scope: &Scope<'_>) -> Result<Typed, Failure> {
        match expr {
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let mut arguments = vec![self.expr(expr, scope)?];
                for part in [substring_from, substring_for].into_iter().flatten() {
                    arguments.push(self.expr(part, scope)?);
                }
                self.call("substring", arguments)
            }
            Expr::Position { expr, r#in } => {
                let arguments = vec![self.expr(r#in, scope)?, self.expr(expr, scope)?];
                self.call("strpos", arguments)
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                };
                let mut arguments = vec![self.expr(expr, scope)?];
                let what = trim_what.as_deref();
                let listed = trim_characters.as_ref().and_then(|listed| listed.first());
                for part in what.into_iter().chain(listed) {
                    arguments.push(self.expr(part, scope)?);
                }
                self.call(name, arguments)
            }
            Expr::Floor { expr, .. } => self.call("floor", vec![self.expr(expr, scope)?]),
            Expr::Ceil { expr, .. } => self.call("ceil", vec![self.expr(expr, scope)?]),
            other => Err(unsupported(format!("the expression {other}"))),
        }
    }
}
