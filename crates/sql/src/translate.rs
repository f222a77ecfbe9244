//! The errors of the parser and of DataFusion, said in our words and put at their place.

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::error::{ErrorKind, Span, SqlError};
use crate::nearest::{did_you_mean, list};
use crate::text::Text;

/// The text with its first letter in lower case, unless the first word is an acronym.
pub(crate) fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    let (first, second) = (chars.next(), chars.clone().next());
    match (first, second) {
        (Some(a), Some(b)) if a.is_uppercase() && !b.is_uppercase() => {
            a.to_lowercase().chain(chars).collect()
        }
        _ => message.to_owned(),
    }
}

/// An error of the SQL parser; `within` is the statement.
pub(crate) fn parser(error: &ParserError, text: &Text, within: Span) -> SqlError {
    let message = match error {
        ParserError::ParserError(m) | ParserError::TokenizerError(m) => m.as_str(),
        ParserError::RecursionLimitExceeded => {
            return SqlError::new(ErrorKind::TooComplex, "the statement is nested too deeply")
                .at(within);
        }
    };
    let (message, location) = split_location(message);
    let place = location
        .and_then(|l| text.token_at(l))
        .unwrap_or_else(|| Span::new(within.end, within.end));
    let message = message.replacen("Expected: ", "expected ", 1);
    let message = message.replacen(", found: EOF", ", found the end of the statement", 1);
    let message = match message.split_once(", found: ") {
        Some((expected, found)) => format!("{expected}, found \"{found}\""),
        None => message,
    };
    SqlError::new(ErrorKind::Syntax, lower_first(&message)).at(place)
}

/// Takes ` at Line: 1, Column: 8` off the end.
fn split_location(message: &str) -> (&str, Option<Location>) {
    let Some((head, tail)) = message.rsplit_once(" at Line: ") else { return (message, None) };
    let location = tail.split_once(", Column: ").and_then(|(line, column)| {
        Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    });
    (head, location)
}

/// An error of DataFusion's planning about something that stands `within` the text.
pub(crate) fn planning(error: DataFusionError, text: &Text, within: Span) -> SqlError {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(e) => {
                let place = quoted_in(&e, text, within);
                e.or_at(place).or_at(Some(within))
            }
            Err(other) => SqlError::new(ErrorKind::Execution, other.to_string()).at(within),
        },
        DataFusionError::Context(_, inner) => planning(*inner, text, within),
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let span = diagnostic.span.map(|s| {
                let at = |l: datafusion::common::Location| {
                    text.offset(Location { line: l.line, column: l.column })
                };
                Span::new(at(s.start), at(s.end))
            });
            let e = planning(*inner, text, within);
            let placed = e.span.filter(|s| *s != within);
            let mut e = SqlError { span: placed.or(span).or(Some(within)), ..e };
            if e.hint.is_none() && e.kind != ErrorKind::UndefinedColumn {
                e.hint = diagnostic.helps.first().map(|h| lower_first(&h.message));
            }
            e
        }
        DataFusionError::Collection(mut errors) if !errors.is_empty() => {
            planning(errors.swap_remove(0), text, within)
        }
        DataFusionError::Shared(inner) => match inner.find_root() {
            // An error of ours that several threads were told.
            DataFusionError::External(root) if root.is::<SqlError>() => {
                let e = root.downcast_ref::<SqlError>().cloned();
                e.map_or_else(
                    || message(&inner.to_string(), text, within),
                    |e| e.or_at(Some(within)),
                )
            }
            _ => message(&inner.to_string(), text, within),
        },
        DataFusionError::SchemaError(e, _) => schema(&e, text, within),
        DataFusionError::Plan(m) => message(&m, text, within),
        DataFusionError::NotImplemented(m) => {
            let mut e = message(&m, text, within);
            e.kind = ErrorKind::NotSupported;
            e
        }
        DataFusionError::SQL(e, _) => parser(&e, text, within),
        DataFusionError::ArrowError(e, _) if matches!(*e, ArrowError::DivideByZero) => {
            SqlError::new(ErrorKind::DivisionByZero, "division by zero").at(within)
        }
        DataFusionError::ArrowError(e, _) => match overflow(&e) {
            Some(message) => SqlError::new(ErrorKind::OutOfRange, message).at(within),
            None => SqlError::new(ErrorKind::InvalidText, lower_first(&strip(&e.to_string())))
                .at(within),
        },
        DataFusionError::Execution(m) => {
            SqlError::new(ErrorKind::InvalidText, lower_first(&strip(&m))).at(within)
        }
        DataFusionError::ResourcesExhausted(m) => {
            SqlError::new(ErrorKind::OutOfResources, lower_first(&m))
                .hint("ask for less at once, or raise limits.query_bytes_max in yeoul.toml")
                .at(within)
        }
        DataFusionError::Internal(m) => SqlError::new(ErrorKind::Internal, lower_first(&m))
            .hint("this is a bug of Yeoul; please report it with the statement")
            .at(within),
        other => {
            SqlError::new(ErrorKind::Execution, lower_first(&strip(&other.to_string()))).at(within)
        }
    }
}

/// What is said when a number does not fit its type.
fn overflow(error: &ArrowError) -> Option<String> {
    match error {
        ArrowError::ArithmeticOverflow(_) => Some(lower_first(&strip(&error.to_string()))),
        // `abs` of the least integer.
        ArrowError::ComputeError(m) => {
            let (array, _) = m.split_once("Array overflow")?;
            Some(readable_types(array) + " out of range")
        }
        // A cast to a smaller integer.
        ArrowError::CastError(m) => {
            let (_, to) = m.strip_prefix("Can't cast value ")?.split_once(" to type ")?;
            to.starts_with("Int").then(|| readable_types(to) + " out of range")
        }
        _ => None,
    }
}

/// Where what an error of ours quotes stands: a literal in single quotes, a name in double ones,
/// or the window it is about.
fn quoted_in(e: &SqlError, text: &Text, within: Span) -> Option<Span> {
    if e.message == crate::functions::NOT_A_TIME {
        let windows = ["TUMBLE", "HOP", "CUMULATE", "SESSION"];
        return windows.iter().find_map(|w| text.find_keyword(w, within));
    }
    let part = |quote: char| e.message.split(quote).nth(1);
    match (part('\''), part('"')) {
        (Some(literal), _) => text.find_literal(literal, within),
        (None, Some(name)) => text.find_name(&[name.rsplit('.').next()?], within),
        (None, None) => None,
    }
}

/// An error met while a plan ran: no place in the text, only a kind and a message.
#[must_use]
pub fn execution(error: DataFusionError) -> SqlError {
    let text = Text::default();
    let e = planning(error, &text, Span::default());
    SqlError { span: None, ..e }
}

fn schema(error: &SchemaError, text: &Text, within: Span) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            unknown_column(field, valid_fields, text, within)
        }
        SchemaError::AmbiguousReference { field } => {
            let name = &field.name;
            SqlError::new(
                ErrorKind::AmbiguousColumn,
                format!("column \"{name}\" is ambiguous"),
            )
            .detail("more than one column has this name")
            .hint(format!(
                "write the relation before it, t.{name}, or give one of them another name with AS"
            ))
            .at(place(field, text, within))
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::new(ErrorKind::DuplicateColumn, format!("two columns are called \"{name}\""))
                .hint("give one of them another name with AS")
                .at(text.find_name(&[name], within).unwrap_or(within))
        }
    }
}

fn place(column: &Column, text: &Text, within: Span) -> Span {
    let table = column.relation.as_ref().map(|r| r.table());
    let parts: Vec<&str> = table.into_iter().chain([column.name.as_str()]).collect();
    let spans = column.spans.first().map(|s| {
        let at = |l: datafusion::common::Location| {
            text.offset(Location { line: l.line, column: l.column })
        };
        Span::new(at(s.start), at(s.end))
    });
    spans.or_else(|| text.find_name(&parts, within)).unwrap_or(within)
}

fn unknown_column(column: &Column, valid: &[Column], text: &Text, within: Span) -> SqlError {
    let span = place(column, text, within);
    let qualifier = column.relation.as_ref().map(|r| r.table().to_owned());
    if let Some(table) = qualifier.as_deref() {
        let known: Vec<&str> =
            valid.iter().filter_map(|c| c.relation.as_ref().map(|r| r.table())).collect();
        if !known.is_empty() && !known.contains(&table) {
            let mut tables = known.clone();
            tables.dedup();
            let mut e = SqlError::new(
                ErrorKind::UndefinedRelation,
                format!("relation \"{table}\" is not part of the query"),
            )
            .detail(format!("the query reads {}", list(tables)))
            .at(span);
            e.hint = did_you_mean(table, known);
            return e;
        }
    }
    let within_table = |c: &&Column| {
        qualifier.is_none() || c.relation.as_ref().map(|r| r.table()) == qualifier.as_deref()
    };
    let mut names: Vec<&str> = Vec::new();
    for column in valid.iter().filter(within_table) {
        if !names.contains(&column.name.as_str()) {
            names.push(&column.name);
        }
    }
    let mut tables: Vec<&str> = valid
        .iter()
        .filter(within_table)
        .filter_map(|c| Some(c.relation.as_ref()?.table()))
        .collect();
    tables.dedup();
    let name = &column.name;
    let mut e = match tables.as_slice() {
        [one] if *one != crate::planner::ANONYMOUS => SqlError::new(
            ErrorKind::UndefinedColumn,
            format!("column \"{name}\" does not exist in \"{one}\""),
        )
        .detail(format!("\"{one}\" has the columns {}", list(names.iter().copied()))),
        _ => {
            let e = SqlError::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{name}\" does not exist"),
            );
            if names.is_empty() {
                e
            } else {
                e.detail(format!("the columns are {}", list(names.iter().copied())))
            }
        }
    };
    e.hint = did_you_mean(name, names);
    e.at(span)
}

/// DataFusion's own preambles tell people nothing.
fn strip(message: &str) -> String {
    let mut m = message;
    for preamble in [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "Cast error: ",
        "Parser error: ",
        "Invalid argument error: ",
        "Optimizer rule 'simplify_expressions' failed",
        "type_coercion",
        "caused by",
        "\n",
        ": ",
    ] {
        m = m.trim_start().strip_prefix(preamble).unwrap_or(m);
    }
    m.trim_start().trim_end_matches('.').to_owned()
}

/// DataFusion's planning errors that come as text, told apart by what they say.
fn message(raw: &str, text: &Text, within: Span) -> SqlError {
    let m = strip(raw);
    let quoted = |after: &str| -> Option<String> {
        let tail = m.split_once(after)?.1;
        Some(tail.split(['\'', '"']).next()?.to_owned())
    };
    if m.contains("must appear in the GROUP BY clause")
        || m.contains("must be in GROUP BY")
        || m.contains("references non-aggregate values")
    {
        return grouping(&m, text, within);
    }
    if let Some(name) = quoted("Invalid function '") {
        return SqlError::new(
            ErrorKind::UndefinedFunction,
            format!("function \"{name}\" does not exist"),
        )
        .at(text.find_name(&[&name], within).unwrap_or(within));
    }
    if m.contains("No function matches") || m.contains("Failed to coerce arguments") {
        return arguments(&m, text, within);
    }
    let kind = if m.contains("coerce")
        || m.contains("convert")
        || m.contains("Cannot infer common")
        || m.contains("incompatible")
        || m.contains("type") && m.contains("cannot")
    {
        ErrorKind::DatatypeMismatch
    } else if m.contains("Placeholder") || m.contains("placeholder") {
        ErrorKind::UndefinedParameter
    } else if m.contains("Aggregate") || m.contains("aggregate") {
        ErrorKind::Grouping
    } else if m.contains("not supported")
        || m.contains("Unsupported")
        || m.contains("not implemented")
    {
        ErrorKind::NotSupported
    } else {
        ErrorKind::Syntax
    };
    let first_line = m.lines().next().unwrap_or_default();
    SqlError::new(kind, readable_types(&lower_first(first_line))).at(within)
}

fn grouping(m: &str, text: &Text, within: Span) -> SqlError {
    // … Expression projection of SELECT expression `"orders.amount"` …
    let column = m.split(['"', '`', '\'']).find(|part| {
        let last = part.rsplit('.').next().unwrap_or_default();
        !last.is_empty()
            && last.chars().all(|c| c.is_alphanumeric() || c == '_')
            && text.find_name(&[last], within).is_some()
    });
    match column {
        Some(column) => {
            let name = column.rsplit('.').next().unwrap_or(column);
            SqlError::new(
                ErrorKind::Grouping,
                format!("column \"{name}\" is neither in GROUP BY nor inside an aggregate"),
            )
            .hint(format!("add {name} to GROUP BY, or take one value of it: max({name})"))
            .at(text.find_name(&[name], within).unwrap_or(within))
        }
        None => SqlError::new(
            ErrorKind::Grouping,
            "a column is neither in GROUP BY nor inside an aggregate",
        )
        .at(within),
    }
}

/// The function exists, but not for these arguments.
fn arguments(m: &str, text: &Text, within: Span) -> SqlError {
    let call = m
        .split_once("argument types '")
        .and_then(|(_, tail)| tail.split_once('\'').map(|(call, _)| call.to_owned()));
    let name = match &call {
        Some(call) => call.split('(').next().map(str::to_owned),
        None => m
            .split_once("call to '")
            .and_then(|(_, tail)| tail.split_once('\'').map(|(name, _)| name.to_owned())),
    };
    let Some(name) = name else {
        return SqlError::new(ErrorKind::UndefinedFunction, lower_first(m)).at(within);
    };
    let types = call.and_then(|c| c.split_once('(').map(|(_, t)| readable_types(t)));
    let types = types.map(|t| t.trim_end_matches(')').to_owned()).unwrap_or_default();
    let message = if types.is_empty() {
        format!("function \"{name}\" does not take these arguments")
    } else {
        format!("function \"{name}\" does not take the arguments ({types})")
    };
    SqlError::new(ErrorKind::UndefinedFunction, message)
        .hint("convert the arguments with CAST")
        .at(text.find_name(&[&name], within).unwrap_or(within))
}

/// Arrow's type names as SQL's.
fn readable_types(message: &str) -> String {
    let names = [
        ("Timestamp(µs, \"UTC\")", "timestamptz"),
        ("Timestamp(µs)", "timestamp"),
        ("Timestamp(Microsecond, Some(\"UTC\"))", "timestamptz"),
        ("Timestamp(Microsecond, None)", "timestamp"),
        ("Interval(MonthDayNano)", "interval"),
        ("FixedSizeBinary(16)", "uuid"),
        ("Utf8View", "varchar"),
        ("LargeUtf8", "varchar"),
        ("Utf8", "varchar"),
        ("Int16", "smallint"),
        ("Int32", "integer"),
        ("Int64", "bigint"),
        ("Float32", "real"),
        ("Float64", "double precision"),
        ("Boolean", "boolean"),
        ("Date32", "date"),
        ("Decimal128", "numeric"),
    ];
    names.iter().fold(message.to_owned(), |m, (arrow, sql)| m.replace(arrow, sql))
}
