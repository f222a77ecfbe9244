//! `CREATE`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::sql::sqlparser::ast as sql;
use datafusion::sql::sqlparser::parser::Parser;

use yeoul_batch::DecodeOptions;

use super::metadata;
use super::reader::Reader;
use crate::ast::{
    Column, CreateStream, CreateTable, CreateView, Micros, Name, Statement, StreamOptions,
    Watermark,
};
use crate::error::{ErrorKind, Span, SqlError};
use crate::nearest::{did_you_mean, list};
use crate::options::{Connector, Given, PartitionBy, Target, Values};
use crate::{datatype, interval, text};

/// The most columns a stream or table can have.
const COLUMNS_MAX: usize = 1024;

/// What makes the answers of a view final.
const ON_CLOSE: [&str; 4] = ["EMIT", "ON", "WINDOW", "CLOSE"];

pub(super) fn create(r: &mut Reader<'_>) -> Result<Statement, SqlError> {
    r.advance();
    let replace_from = r.here();
    let replaces = r.words(&["OR", "REPLACE", "FUNCTION"]);
    if replaces || r.word("FUNCTION") {
        let create = super::function::create(r, replaces)?;
        return Ok(Statement::CreateFunction(Box::new(create)));
    }
    let or_replace = r.words(&["OR", "REPLACE"]).then(|| replace_from.to(r.last()));
    let at = r.here();
    let word = r.peek_word();
    if let (Some(span), "STREAM" | "TABLE") = (or_replace, word.as_str()) {
        let noun = word.to_lowercase();
        return Err(SqlError::unsupported(format!("a {noun} cannot be replaced"))
            .detail(format!(
                "its rows are what was sent to it: a {noun} is changed, not made again"
            ))
            .hint(format!("ALTER {word} changes its columns and options"))
            .at(span));
    }
    match word.as_str() {
        "STREAM" => {
            r.advance();
            create_relation(r, true)
        }
        "TABLE" => {
            r.advance();
            create_relation(r, false)
        }
        "MATERIALIZED" => {
            r.advance();
            if or_replace.is_some() && r.word("VIEWS") {
                return r.replaced_views().map(Statement::ReplaceViews);
            }
            r.expect("VIEW")?;
            create_view(r, or_replace).map(Statement::CreateView)
        }
        "SINK" if or_replace.is_none() => {
            r.advance();
            super::sink::create(r).map(Statement::CreateSink)
        }
        "SINK" => Err(SqlError::unsupported("a sink cannot be replaced")
            .detail("what it has sent cannot be taken back")
            .hint("ALTER SINK changes its options; DROP SINK and CREATE SINK send everything anew")
            .at(at)),
        "VIEW" => Err(SqlError::unsupported("a view is always materialized here")
            .hint("write CREATE MATERIALIZED VIEW")
            .at(at)),
        "SOURCE" => Err(SqlError::unsupported("a source is part of a stream here")
            .hint("write CREATE STREAM … WITH (connector = …)")
            .at(at)),
        "TEMP" | "TEMPORARY" | "UNLOGGED" => {
            Err(SqlError::unsupported("temporary tables are not supported").at(at))
        }
        word => {
            let word = word.to_owned();
            let known = ["STREAM", "TABLE", "MATERIALIZED VIEW", "SINK"];
            let e = SqlError::unsupported(format!("CREATE {word} is not supported"))
                .detail("CREATE STREAM, CREATE TABLE, CREATE MATERIALIZED VIEW and CREATE SINK are")
                .at(at);
            Err(match did_you_mean(&word, known) {
                Some(hint) => e.hint(hint),
                None => e,
            })
        }
    }
}

/// What stands between the parentheses of `CREATE STREAM` and `CREATE TABLE`.
#[derive(Default)]
struct Body {
    columns: Vec<Column>,
    primary_key: Vec<Name>,
    primary_key_span: Option<Span>,
    watermark: Option<(Name, sql::Expr, Span)>,
}

fn create_relation(r: &mut Reader<'_>, stream: bool) -> Result<Statement, SqlError> {
    let if_not_exists = r.words(&["IF", "NOT", "EXISTS"]);
    let name = r.name()?;
    if r.peek_word() == "AS" {
        return Err(SqlError::unsupported("CREATE TABLE … AS is not supported")
            .hint("CREATE MATERIALIZED VIEW keeps the result of a query")
            .at(r.here()));
    }
    let body = body(r)?;
    let append_only = r.words(&["APPEND", "ONLY"]);
    on_conflict(r)?;
    let mut given = r.options()?;
    let append_only = only_grows(&mut given) || append_only;
    let target = if stream || append_only { Target::Stream } else { Target::Table };
    let written = given.iter().map(|given| r.written(given)).collect();
    let values = Values::check(target, &given, r.connectors())?;
    let connector = values.connector(r.span(), r.stored)?;
    let mut decode = values.decode(&connector)?;
    check_decode(&decode, &body.columns, &values)?;
    decode.metadata = metadata::of_columns(&body.columns, &values, &connector)?;
    let columns = Columns(&body.columns);
    values.check_changes(&decode, target, !body.primary_key.is_empty())?;
    if target == Target::Table {
        if let Some((_, _, span)) = body.watermark {
            return Err(SqlError::new(
                ErrorKind::InvalidDefinition,
                format!("table \"{}\" cannot have a watermark", name.value),
            )
            .hint("write CREATE STREAM, or APPEND ONLY after the columns")
            .at(span));
        }
        let primary_key = columns.positions(&body.primary_key)?;
        let on_error = values.on_error();
        let columns = not_null(body.columns, &primary_key);
        return Ok(Statement::CreateTable(CreateTable {
            name,
            if_not_exists,
            columns,
            written,
            primary_key,
            on_error,
            decode,
            connector,
        }));
    }
    if let Some(span) = body.primary_key_span {
        return Err(SqlError::new(
            ErrorKind::InvalidDefinition,
            format!("stream \"{}\" cannot have a primary key", name.value),
        )
        .detail("a stream keeps every row")
        .hint("unique_key = '…' drops duplicate events; CREATE TABLE keeps the last row of a key")
        .at(span));
    }
    let watermark = body.watermark.as_ref().map(|w| columns.watermark(w)).transpose()?;
    let options = stream_options(&columns, watermark.as_ref(), &values, decode, connector)?;
    let columns = body.columns;
    let stream = CreateStream { name, if_not_exists, columns, written, watermark, options };
    Ok(Statement::CreateStream(stream))
}

/// What becomes of a row whose key is there: in a table it takes the other's place.
fn on_conflict(r: &mut Reader<'_>) -> Result<(), SqlError> {
    let start = r.here();
    if !r.words(&["ON", "CONFLICT"]) || r.word("OVERWRITE") || r.words(&["DO", "UPDATE", "FULL"]) {
        return Ok(());
    }
    Err(SqlError::unsupported("a table always keeps the last row of a key")
        .hint("leave ON CONFLICT out; INSERT … ON CONFLICT DO NOTHING keeps the row that is there")
        .at(start.to(r.here())))
}

/// Takes `appendonly = 'true'` out of the options: how `APPEND ONLY` was written once.
fn only_grows(given: &mut Vec<Given>) -> bool {
    let before = given.len();
    given.retain(|option| {
        !(option.name.eq_ignore_ascii_case("appendonly")
            && option.value.eq_ignore_ascii_case("true"))
    });
    given.len() < before
}

/// The columns of a primary key are never null.
fn not_null(mut columns: Vec<Column>, key: &[usize]) -> Vec<Column> {
    for &i in key {
        let field = columns[i].field.as_ref().clone().with_nullable(false);
        columns[i].field = Arc::new(field);
    }
    columns
}

fn body(r: &mut Reader<'_>) -> Result<Body, SqlError> {
    let mut body = Body::default();
    r.expect("(")?;
    loop {
        let start = r.here();
        if r.word("CONSTRAINT") {
            r.ident()?;
        }
        if r.peek_word() == "WATERMARK" && r.peek_second() == "FOR" {
            r.advance();
            r.advance();
            let column = r.ident()?;
            r.expect("AS")?;
            let expr = r.run(Parser::parse_expr)?;
            let span = start.to(r.last());
            if body.watermark.replace((column, expr, span)).is_some() {
                return Err(invalid("a stream has one watermark").at(span));
            }
        } else if r.words(&["PRIMARY", "KEY"]) {
            let names = r.names()?;
            set_primary_key(&mut body, names, start.to(r.last()))?;
        } else if matches!(r.peek_word().as_str(), "UNIQUE" | "CHECK" | "FOREIGN" | "EXCLUDE")
            && r.peek_second() != ","
        {
            let word = r.peek_word();
            return Err(
                SqlError::unsupported(format!("{word} constraints are not supported")).at(start)
            );
        } else {
            column(r, &mut body)?;
        }
        // A comma behind the last column is passed over.
        if !r.word(",") || r.peek_word() == ")" {
            break;
        }
    }
    r.expect(")")?;
    if body.columns.len() > COLUMNS_MAX {
        return Err(invalid(format!("more than {COLUMNS_MAX} columns")));
    }
    Ok(body)
}

fn set_primary_key(body: &mut Body, names: Vec<Name>, span: Span) -> Result<(), SqlError> {
    if body.primary_key_span.replace(span).is_some() {
        return Err(invalid("a table has one primary key")
            .hint("name all its columns at the end: PRIMARY KEY (a, b)")
            .at(span));
    }
    body.primary_key = names;
    Ok(())
}

/// A type.
pub(super) fn type_of(r: &mut Reader<'_>) -> Result<Field, SqlError> {
    let type_start = r.here();
    let sql_type = r.run(Parser::parse_data_type)?;
    datatype::from_sql(&sql_type).map_err(|e| e.or_at(Some(type_start.to(r.last()))))
}

fn column(r: &mut Reader<'_>, body: &mut Body) -> Result<(), SqlError> {
    let name = r.ident()?;
    let field = type_of(r)?;
    let mut nullable = true;
    let mut metadata = None;
    loop {
        let start = r.here();
        if r.words(&["NOT", "NULL"]) {
            nullable = false;
        } else if r.word("METADATA") {
            metadata = Some(metadata::of_column(r, &name, &field, start)?);
        } else if r.words(&["PRIMARY", "KEY"]) {
            set_primary_key(body, vec![name.clone()], start.to(r.last()))?;
        } else if r.word("NULL") {
        } else if matches!(
            r.peek_word().as_str(),
            "DEFAULT" | "UNIQUE" | "CHECK" | "REFERENCES" | "GENERATED" | "COLLATE"
        ) {
            let word = r.peek_word();
            return Err(
                SqlError::unsupported(format!("{word} is not supported on a column")).at(start)
            );
        } else {
            break;
        }
    }
    if body.columns.iter().any(|c| c.name.value == name.value) {
        return Err(SqlError::new(
            ErrorKind::DuplicateColumn,
            format!("column \"{}\" is there twice", name.value),
        )
        .at(name.span));
    }
    let field = field.with_name(name.value.clone()).with_nullable(nullable);
    body.columns.push(Column { name, field: Arc::new(field), metadata });
    Ok(())
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(ErrorKind::InvalidDefinition, message)
}

struct Columns<'a>(&'a [Column]);

impl Columns<'_> {
    fn position(&self, name: &str, span: Option<Span>) -> Result<usize, SqlError> {
        if let Some(i) = self.0.iter().position(|c| c.name.value == name) {
            return Ok(i);
        }
        let names = || self.0.iter().map(|c| c.name.value.as_str());
        let mut e =
            SqlError::new(ErrorKind::UndefinedColumn, format!("column \"{name}\" does not exist"))
                .detail(format!("the columns are {}", list(names())))
                .or_at(span);
        e.hint = did_you_mean(name, names());
        Err(e)
    }

    fn positions(&self, names: &[Name]) -> Result<Vec<usize>, SqlError> {
        names.iter().map(|n| self.position(&n.value, Some(n.span))).collect()
    }

    fn option(&self, values: &Values, name: &str) -> Result<Vec<usize>, SqlError> {
        let span = values.span(name);
        values.names(name).unwrap_or_default().iter().map(|n| self.position(n, span)).collect()
    }

    fn time_column(&self, name: &str, span: Option<Span>) -> Result<usize, SqlError> {
        let i = self.position(name, span)?;
        match self.0[i].field.data_type() {
            DataType::Timestamp(..) => Ok(i),
            _ => Err(SqlError::new(
                ErrorKind::DatatypeMismatch,
                format!("column \"{name}\" is not a time"),
            )
            .detail(format!("it has the type {}", datatype::sql_name(&self.0[i].field)))
            .hint("event time is a timestamptz or a timestamp")
            .or_at(span)),
        }
    }

    fn watermark(
        &self,
        (name, expr, span): &(Name, sql::Expr, Span),
    ) -> Result<Watermark, SqlError> {
        let column = self.time_column(&name.value, Some(name.span))?;
        let same =
            |e: &sql::Expr| matches!(e, sql::Expr::Identifier(i) if text::fold(i) == name.value);
        let delay = match expr {
            e if same(e) => Some(Ok(Micros(0))),
            sql::Expr::BinaryOp { left, op: sql::BinaryOperator::Minus, right } if same(left) => {
                interval::literal(right)
            }
            _ => None,
        };
        match delay {
            Some(Ok(delay)) => Ok(Watermark { column, delay }),
            Some(Err(why)) => {
                Err(invalid("the watermark's delay is not a length of time").hint(why).at(*span))
            }
            None => {
                Err(SqlError::unsupported("the watermark must be its column minus an interval")
                    .hint(format!("WATERMARK FOR {0} AS {0} - INTERVAL '5 seconds'", name.value))
                    .at(*span))
            }
        }
    }
}

fn stream_options(
    columns: &Columns<'_>,
    watermark: Option<&Watermark>,
    values: &Values,
    decode: DecodeOptions,
    connector: Connector,
) -> Result<StreamOptions, SqlError> {
    let partition_by = match values.partition("partition_by") {
        Some((unit, name)) => {
            let column = columns.time_column(name, values.span("partition_by"))?;
            Some(PartitionBy { unit, column })
        }
        None => watermark
            .map(|w| PartitionBy { unit: crate::options::PartitionUnit::Day, column: w.column }),
    };
    let needs_time = |name: &str| {
        SqlError::new(
            ErrorKind::InvalidOption,
            format!("option \"{name}\" needs a stream with an event time"),
        )
        .hint("add WATERMARK FOR column AS column - INTERVAL '5 seconds' to the columns")
        .or_at(values.span(name))
    };
    let retention = values.duration("retention");
    if partition_by.is_none() && retention.is_some_and(|kept| kept.0 > 0) {
        return Err(needs_time("retention"));
    }
    for name in ["lateness", "watermark_idle"] {
        if watermark.is_none() && values.span(name).is_some() {
            return Err(needs_time(name));
        }
    }
    // What a retention drops goes by the partitions, with or without a watermark.
    let moved = watermark.is_some() || values.span("retention").is_some();
    if !moved && values.span("future_skew").is_some() {
        return Err(needs_time("future_skew"));
    }
    let unique_key = columns.option(values, "unique_key")?;
    if unique_key.is_empty() && values.span("unique_within").is_some() {
        return Err(SqlError::new(
            ErrorKind::InvalidOption,
            "option \"unique_within\" needs the option \"unique_key\"",
        )
        .or_at(values.span("unique_within")));
    }
    let mut order_by = columns.option(values, "order_by")?;
    if order_by.is_empty() {
        order_by.extend(watermark.map(|w| w.column));
    }
    Ok(StreamOptions {
        unique_key,
        unique_within: values.duration("unique_within"),
        order_by,
        partition_by,
        retention,
        lateness: values.duration("lateness").unwrap_or_default(),
        watermark_idle: values.duration("watermark_idle"),
        future_skew: values.future_skew(),
        on_error: values.on_error(),
        decode,
        connector,
    })
}

/// Names on the left of a mapping are columns of ours, and so is one of `columns` at least.
fn check_decode(
    decode: &DecodeOptions,
    columns: &[Column],
    values: &Values,
) -> Result<(), SqlError> {
    for (column, _) in &decode.mapping {
        Columns(columns).position(column, values.span("mapping"))?;
    }
    let Some(given) = &decode.columns else { return Ok(()) };
    let field_of = |column: &Column| {
        let mapped = decode.mapping.iter().find(|(name, _)| *name == column.name.value);
        mapped.map_or(column.name.value.clone(), |(_, path)| path.name().to_owned())
    };
    let fields: Vec<String> = columns.iter().map(field_of).collect();
    if given.iter().any(|name| fields.iter().any(|field| field.eq_ignore_ascii_case(name))) {
        return Ok(());
    }
    Err(SqlError::new(ErrorKind::InvalidOption, "option \"columns\" names no column")
        .detail(format!("the columns are {}", list(fields.iter().map(String::as_str))))
        .or_at(values.span("columns")))
}

fn create_view(r: &mut Reader<'_>, or_replace: Option<Span>) -> Result<CreateView, SqlError> {
    let if_not_exists = r.words(&["IF", "NOT", "EXISTS"]);
    if let (Some(span), true) = (or_replace, if_not_exists) {
        return Err(SqlError::new(
            ErrorKind::Syntax,
            "OR REPLACE and IF NOT EXISTS contradict each other",
        )
        .hint("say OR REPLACE to change the view that is there, IF NOT EXISTS to keep it")
        .at(span.to(r.last())));
    }
    let or_replace = or_replace.is_some();
    let name = r.name()?;
    let columns = if r.peek_word() == "(" { r.names()? } else { Vec::new() };
    Values::check(Target::View, &r.options()?, r.connectors())?;
    // Here, or at the end.
    let start = r.here();
    let ahead = r.words(&ON_CLOSE).then(|| start.to(r.last()));
    r.expect("AS")?;
    // Before the query, in which EMIT would be read as the name of a relation.
    let on_close = ahead.or_else(|| r.cut(&ON_CLOSE));
    let query = r.query()?;
    if r.words(&["WITH", "NO", "DATA"]) {
        return Err(SqlError::unsupported("WITH NO DATA is not supported")
            .hint("a view is always filled from the rows that are stored")
            .at(r.last()));
    }
    r.words(&["WITH", "DATA"]);
    Ok(CreateView { name, if_not_exists, or_replace, columns, query, on_close })
}
