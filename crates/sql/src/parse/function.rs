//! `CREATE FUNCTION` and `DROP FUNCTION`.

use datafusion::sql::sqlparser::ast as sql;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::reader::{Reader, word_of};
use crate::ast::{CreateFunction, DropFunction, Name};
use crate::datatype;
use crate::error::{ErrorKind, SqlError};
use crate::function::{SqlFunction, without_places};

/// The most parameters of a function.
const PARAMETERS_MAX: usize = 100;

/// What stands behind the type of the value, in any order.
#[derive(Default)]
struct Attributes {
    sql: bool,
    strict: bool,
    body: Option<sql::Expr>,
}

/// Behind `CREATE [OR REPLACE] FUNCTION`.
pub(super) fn create(r: &mut Reader<'_>, or_replace: bool) -> Result<CreateFunction, SqlError> {
    let name = r.name()?;
    let parameters = parameters(r)?;
    r.expect("RETURNS")?;
    if matches!(r.peek_word().as_str(), "TABLE" | "SETOF") {
        return Err(SqlError::unsupported("a function that returns rows is not supported")
            .hint("a materialized view holds rows")
            .at(r.here()));
    }
    let at = r.here();
    let returns = r.run(Parser::parse_data_type)?;
    datatype::from_sql(&returns).map_err(|e| e.or_at(Some(at.to(r.last()))))?;
    let mut attributes = Attributes::default();
    while !r.peek_word().is_empty() {
        attribute(r, &mut attributes)?;
    }
    let Attributes { sql, strict, body } = attributes;
    let Some(body) = body else {
        return Err(r.expected("AS 'SELECT …' or RETURN …"));
    };
    if !sql {
        return Err(SqlError::new(ErrorKind::Syntax, "the function does not say LANGUAGE SQL")
            .at(name.span));
    }
    let function = SqlFunction { name: name.value.clone(), parameters, returns, strict, body };
    function.check_names().map_err(|e| e.at(name.span))?;
    Ok(CreateFunction { name, or_replace, function, span: r.span(), text: r.text() })
}

/// `(a int, b int)`, `(int, int)`, `()`
fn parameters(r: &mut Reader<'_>) -> Result<Vec<(Option<String>, sql::DataType)>, SqlError> {
    let mut all: Vec<(Option<String>, sql::DataType)> = Vec::new();
    r.expect("(")?;
    while !r.word(")") {
        if !all.is_empty() {
            r.expect(",")?;
        }
        let at = r.here();
        if matches!(r.peek_word().as_str(), "OUT" | "INOUT" | "VARIADIC") {
            let message = format!("{} parameters are not supported", r.peek_word());
            return Err(SqlError::unsupported(message).at(at));
        }
        if r.peek_word() == "IN" {
            r.advance();
        }
        let unnamed = r.run(|p| p.maybe_parse(type_alone))?;
        let parameter = match unnamed {
            Some(data_type) => (None, data_type),
            None => {
                let name = r.ident()?.value;
                (Some(name), r.run(Parser::parse_data_type)?)
            }
        };
        datatype::from_sql(&parameter.1).map_err(|e| e.or_at(Some(at.to(r.last()))))?;
        if matches!(r.peek_word().as_str(), "DEFAULT" | "=") {
            return Err(SqlError::unsupported("defaults of parameters are not supported")
                .hint("write a second function of that name with fewer parameters")
                .at(r.here()));
        }
        if parameter.0.is_some() && all.iter().any(|(name, _)| *name == parameter.0) {
            let message = "two parameters have the same name";
            return Err(SqlError::new(ErrorKind::InvalidDefinition, message).at(at));
        }
        all.push(parameter);
        if all.len() > PARAMETERS_MAX {
            let message = format!("a function has at most {PARAMETERS_MAX} parameters");
            return Err(SqlError::unsupported(message).at(at));
        }
    }
    Ok(all)
}

/// A type behind which no type follows.
fn type_alone(parser: &mut Parser<'_>) -> Result<sql::DataType, ParserError> {
    let data_type = parser.parse_data_type()?;
    match parser.peek_token_ref().token {
        Token::Comma | Token::RParen => Ok(data_type),
        _ => Err(ParserError::ParserError("a name, then".to_owned())),
    }
}

fn attribute(r: &mut Reader<'_>, attributes: &mut Attributes) -> Result<(), SqlError> {
    let at = r.here();
    let nulls = ["ON", "NULL", "INPUT"];
    match r.peek_word().as_str() {
        "IMMUTABLE" | "STABLE" | "VOLATILE" | "LEAKPROOF" => r.advance(),
        "STRICT" => attributes.strict = r.then(true),
        "NOT" => {
            r.advance();
            r.expect("LEAKPROOF")?;
        }
        "CALLED" => {
            r.advance();
            nulls.iter().try_for_each(|word| r.expect(word))?;
        }
        "RETURNS" => {
            r.advance();
            r.expect("NULL")?;
            nulls.iter().try_for_each(|word| r.expect(word))?;
            attributes.strict = true;
        }
        "PARALLEL" | "COST" => {
            r.advance();
            r.advance();
        }
        "LANGUAGE" => {
            r.advance();
            let language = match &r.parser().peek_token_ref().token {
                Token::SingleQuotedString(name) => name.to_uppercase(),
                token => word_of(token),
            };
            if language != "SQL" {
                let message = format!("functions in {language} are not supported");
                return Err(SqlError::unsupported(message).hint("LANGUAGE SQL is").at(r.here()));
            }
            r.advance();
            attributes.sql = true;
        }
        "AS" | "RETURN" if attributes.body.is_some() => {
            return Err(SqlError::new(ErrorKind::Syntax, "the function has two bodies").at(at));
        }
        "RETURN" => {
            r.advance();
            attributes.body = Some(placeless(r.expr()?));
            // What is written so is always SQL.
            attributes.sql = true;
        }
        "AS" => {
            r.advance();
            let at = r.here();
            let text = match &r.parser().peek_token_ref().token {
                Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text.clone(),
                Token::DollarQuotedString(text) => text.value.clone(),
                _ => return Err(r.expected("the function's text in quotes")),
            };
            r.advance();
            attributes.body =
                Some(placeless(body(&text).map_err(|e| SqlError { span: None, ..e }.at(at))?));
        }
        _ => return Err(r.expected("LANGUAGE SQL, IMMUTABLE, STRICT, AS or RETURN")),
    }
    Ok(())
}

fn placeless(mut expr: sql::Expr) -> sql::Expr {
    without_places(&mut expr);
    expr
}

/// The expression of `SELECT expression`.
fn body(text: &str) -> Result<sql::Expr, SqlError> {
    let wrong = || {
        SqlError::unsupported("the function is not SELECT and an expression")
            .detail("a function is one expression over its parameters")
            .hint("AS 'SELECT a + b', or RETURN a + b")
    };
    let query = super::parse_query(text)?.ast;
    let sql::Query { with: None, body, order_by: None, limit_clause: None, fetch: None, .. } =
        *query
    else {
        return Err(wrong());
    };
    let sql::SetExpr::Select(select) = *body else { return Err(wrong()) };
    let ungrouped =
        matches!(&select.group_by, sql::GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let bare = select.from.is_empty()
        && select.selection.is_none()
        && select.having.is_none()
        && select.distinct.is_none()
        && ungrouped;
    match select.projection.as_slice() {
        [sql::SelectItem::UnnamedExpr(expr) | sql::SelectItem::ExprWithAlias { expr, .. }]
            if bare =>
        {
            Ok(expr.clone())
        }
        _ => Err(wrong()),
    }
}

/// Behind `DROP FUNCTION`.
pub(super) fn drop(r: &mut Reader<'_>) -> Result<DropFunction, SqlError> {
    let if_exists = r.words(&["IF", "EXISTS"]);
    let mut functions: Vec<(Name, Option<usize>)> = Vec::new();
    loop {
        let name = r.name()?;
        let arguments = match r.peek_word().as_str() {
            "(" => Some(parameters(r)?.len()),
            _ => None,
        };
        functions.push((name, arguments));
        if !r.word(",") {
            break;
        }
    }
    if r.peek_word() == "CASCADE" {
        return Err(SqlError::unsupported("DROP FUNCTION … CASCADE is not supported")
            .hint("drop what uses the function first")
            .at(r.here()));
    }
    r.word("RESTRICT");
    Ok(DropFunction { functions, if_exists })
}
