//! Definitions after an `ALTER`: the statement that would have created the stream or table as it is now,
//! and what stored rows have to be told of their columns.
//!
//! What must hold: the statement written here means what is in memory; the caller parses it, so that
//! all that is checked of a definition is checked of the new one.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::{DataType, Field};

use crate::ast::{
    AlterAction, Column, CreateSink, CreateStream, CreateTable, Micros, Name, SinkOrigin,
    Statement, WrittenOption,
};
use crate::error::{ErrorKind, SqlError};
use crate::nearest::{did_you_mean, list};
use crate::options::{Connectors, Target};
use crate::text::quoted;
use crate::{datatype, options};

/// Options that say how rows are stored or known, or where they come from: they cannot be set anew.
const FIXED: [(&str, &str); 5] = [
    ("unique_key", "events that are stored are known by it"),
    ("unique_within", "keys are kept in files by it"),
    ("order_by", "stored rows are sorted by it"),
    ("partition_by", "stored rows are divided by it"),
    ("connector", "where a stream comes from is counted in its books"),
];

/// The same of sinks.
const FIXED_OF_SINK: [(&str, &str); 4] = [
    ("connector", "what was sent would be elsewhere"),
    ("envelope", "what was sent has another form"),
    ("key", "what was sent is known by it"),
    ("snapshot", "it says how the sink began"),
];

/// What became of the columns of a relation since it was created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnHistory {
    /// The names that a column had before, the newest first, by the one it has.
    pub was: BTreeMap<String, Vec<String>>,
    /// The value of a column in rows that are older than it: a text, or NULL.
    pub added: BTreeMap<String, Option<String>>,
    /// Names that no column may have any more.
    pub retired: Vec<String>,
}

/// A definition that was changed.
#[derive(Clone, Debug)]
pub struct Altered {
    /// The statement that creates it as it is now.
    pub sql: String,
    /// What became of its columns.
    pub history: ColumnHistory,
    /// The column that was renamed, went or got another type, by the name it had.
    pub touched: Option<String>,
}

/// A stream or table of which the parts that a change needs are taken out.
struct Definition {
    stream: bool,
    name: Name,
    columns: Vec<Column>,
    watermark: Option<(String, Micros)>,
    primary_key: Vec<String>,
    written: Vec<WrittenOption>,
    /// What the columns are for that cannot go: `(column, what for)`.
    uses: Vec<(String, &'static str)>,
}

/// The definition `create` after `action`; `None` when nothing changes.
pub fn altered(
    create: &Statement,
    history: &ColumnHistory,
    action: &AlterAction,
    connectors: Connectors,
) -> Result<Option<Altered>, SqlError> {
    if let Statement::CreateSink(sink) = create {
        let AlterAction::Set(given) = action else { return Ok(None) };
        let sql = altered_sink(sink, given, connectors)?;
        return Ok(Some(Altered { sql, history: history.clone(), touched: None }));
    }
    let mut definition = Definition::of(create)?;
    let mut history = history.clone();
    let mut touched = None;
    match action {
        AlterAction::AddColumn { column, default, if_not_exists } => {
            if *if_not_exists && definition.position(&column.name.value).is_some() {
                return Ok(None);
            }
            definition.add(column, default.as_ref(), &mut history)?;
        }
        AlterAction::DropColumn { name, if_exists } => {
            if *if_exists && definition.position(&name.value).is_none() {
                return Ok(None);
            }
            touched = Some(name.value.clone());
            definition.remove(name, &mut history)?;
        }
        AlterAction::RenameColumn { from, to } => {
            touched = Some(from.value.clone());
            definition.rename_column(from, to, &mut history)?;
        }
        AlterAction::ColumnType { name, field } => {
            touched = Some(name.value.clone());
            if !definition.widen(name, field)? {
                return Ok(None);
            }
        }
        AlterAction::Set(given) => definition.set(given, connectors)?,
        AlterAction::Rename(to) => definition.name = to.clone(),
        AlterAction::CancelReplace | AlterAction::Rewind(_) => return Ok(None),
    }
    let sql = definition.sql();
    Ok(Some(Altered { sql, history, touched }))
}

/// The sink with these options.
fn altered_sink(
    sink: &CreateSink,
    given: &[WrittenOption],
    connectors: Connectors,
) -> Result<String, SqlError> {
    let mut written = sink.written.clone();
    for option in given {
        if let Some((name, why)) = FIXED_OF_SINK.iter().find(|(name, _)| *name == option.name) {
            let message = format!("option \"{name}\" of a sink cannot be changed");
            return Err(SqlError::new(ErrorKind::InvalidOption, message)
                .detail(*why)
                .hint("DROP SINK and CREATE SINK send everything anew"));
        }
        set(&mut written, option, Target::Sink, connectors)?;
    }
    let name = quoted(&sink.name.value);
    let options = written_sql(&written);
    Ok(match &sink.origin {
        SinkOrigin::Relation(of) => {
            format!("CREATE SINK {name} FROM {}{options}", quoted(&of.value))
        }
        SinkOrigin::Query => format!("CREATE SINK {name}{options} AS {}", sink.query.sql()),
    })
}

/// Sets an option anew.
fn set(
    written: &mut Vec<WrittenOption>,
    option: &WrittenOption,
    target: Target,
    connectors: Connectors,
) -> Result<(), SqlError> {
    options::check_name(&option.name, target, connectors)?;
    match written.iter_mut().find(|written| written.name == option.name) {
        Some(written) => written.value.clone_from(&option.value),
        None => written.push(option.clone()),
    }
    Ok(())
}

fn written_sql(written: &[WrittenOption]) -> String {
    if written.is_empty() {
        return String::new();
    }
    let options: Vec<_> = written.iter().map(|o| format!("{} = {}", o.name, o.value)).collect();
    format!(" WITH (\n  {}\n)", options.join(",\n  "))
}

impl Definition {
    fn of(create: &Statement) -> Result<Self, SqlError> {
        match create {
            Statement::CreateStream(stream) => Ok(Self::of_stream(stream)),
            Statement::CreateTable(table) => Ok(Self::of_table(table)),
            _ => Err(SqlError::unsupported("only streams and tables have columns to alter")),
        }
    }

    fn of_stream(stream: &CreateStream) -> Self {
        let named = |at: usize| stream.columns[at].name.value.clone();
        let mut uses = Vec::new();
        uses.extend(stream.watermark.iter().map(|w| (named(w.column), "is the event time")));
        let options = &stream.options;
        uses.extend(
            options.partition_by.iter().map(|by| (named(by.column), "divides stored rows")),
        );
        uses.extend(options.unique_key.iter().map(|at| (named(*at), "is part of the unique key")));
        uses.extend(
            options.order_by.iter().map(|at| (named(*at), "is what stored rows are sorted by")),
        );
        Self {
            stream: true,
            name: stream.name.clone(),
            columns: stream.columns.clone(),
            watermark: stream.watermark.as_ref().map(|w| (named(w.column), w.delay)),
            primary_key: Vec::new(),
            written: stream.written.clone(),
            uses,
        }
    }

    fn of_table(table: &CreateTable) -> Self {
        let named = |at: &usize| table.columns[*at].name.value.clone();
        let primary_key: Vec<String> = table.primary_key.iter().map(named).collect();
        let uses = primary_key.iter().map(|name| (name.clone(), "is part of the primary key"));
        Self {
            stream: false,
            name: table.name.clone(),
            columns: table.columns.clone(),
            watermark: None,
            uses: uses.collect(),
            primary_key,
            written: table.written.clone(),
        }
    }

    fn noun(&self) -> &'static str {
        if self.stream { "stream" } else { "table" }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.value == name)
    }

    fn found(&self, name: &Name) -> Result<usize, SqlError> {
        let names = || self.columns.iter().map(|column| column.name.value.as_str());
        self.position(&name.value).ok_or_else(|| {
            let message = format!(
                "column \"{}\" does not exist in {} \"{}\"",
                name.value,
                self.noun(),
                self.name.value
            );
            let mut error = SqlError::new(ErrorKind::UndefinedColumn, message)
                .detail(format!("its columns are {}", list(names())))
                .at(name.span);
            error.hint = did_you_mean(&name.value, names());
            error
        })
    }

    /// A name for a column that is new or renamed.
    fn check_free(&self, name: &Name, history: &ColumnHistory) -> Result<(), SqlError> {
        if self.position(&name.value).is_some() {
            let message = format!("column \"{}\" is there already", name.value);
            return Err(SqlError::new(ErrorKind::DuplicateColumn, message).at(name.span));
        }
        if history.retired.contains(&name.value) {
            let message = format!("another column was called \"{}\" before", name.value);
            return Err(SqlError::new(ErrorKind::DuplicateColumn, message)
                .detail("stored rows still have its values under that name")
                .hint("choose another name")
                .at(name.span));
        }
        Ok(())
    }

    fn add(
        &mut self,
        column: &Column,
        default: Option<&String>,
        history: &mut ColumnHistory,
    ) -> Result<(), SqlError> {
        self.check_free(&column.name, history)?;
        if default.is_none() && !column.field.is_nullable() {
            let message = format!("column \"{}\" must not be null", column.name.value);
            return Err(SqlError::new(ErrorKind::InvalidDefinition, message)
                .detail("the rows that are there have no value for it")
                .hint("add DEFAULT and a constant, or leave NOT NULL out")
                .at(column.name.span));
        }
        history.added.insert(column.name.value.clone(), default.cloned());
        self.columns.push(column.clone());
        Ok(())
    }

    fn check_unused(&self, name: &Name, done: &str) -> Result<(), SqlError> {
        let Some((_, what)) = self.uses.iter().find(|(used, _)| *used == name.value) else {
            return Ok(());
        };
        Err(SqlError::new(
            ErrorKind::InvalidDefinition,
            format!("column \"{}\" cannot {done}", name.value),
        )
        .detail(format!("it {what} of {} \"{}\"", self.noun(), self.name.value))
        .at(name.span))
    }

    fn remove(&mut self, name: &Name, history: &mut ColumnHistory) -> Result<(), SqlError> {
        let at = self.found(name)?;
        self.check_unused(name, "be dropped")?;
        if self.columns.len() == 1 {
            let message = format!("\"{}\" is the only column", name.value);
            return Err(SqlError::new(ErrorKind::InvalidDefinition, message).at(name.span));
        }
        self.columns.remove(at);
        history.was.remove(&name.value);
        history.added.remove(&name.value);
        history.retired.push(name.value.clone());
        for option in self.written.iter_mut().filter(|option| option.name == "mapping") {
            options::remap(&mut option.value, &name.value, None);
        }
        self.written.retain(|option| option.name != "mapping" || option.value != "''");
        Ok(())
    }

    fn rename_column(
        &mut self,
        from: &Name,
        to: &Name,
        history: &mut ColumnHistory,
    ) -> Result<(), SqlError> {
        let at = self.found(from)?;
        self.check_free(to, history)?;
        let renamed = |name: &mut String| {
            if *name == from.value {
                name.clone_from(&to.value);
            }
        };
        self.columns[at].name = to.clone();
        self.primary_key.iter_mut().for_each(renamed);
        self.watermark.iter_mut().for_each(|(column, _)| renamed(column));
        for option in &mut self.written {
            match option.name.as_str() {
                "unique_key" | "order_by" => {
                    options::rename_in_list(&mut option.value, &from.value, &to.value)
                }
                "partition_by" => {
                    options::rename_in_call(&mut option.value, &from.value, &to.value)
                }
                "mapping" => options::remap(&mut option.value, &from.value, Some(&to.value)),
                _ => {}
            }
        }
        let mut was = history.was.remove(&from.value).unwrap_or_default();
        was.insert(0, from.value.clone());
        history.was.insert(to.value.clone(), was);
        if let Some(value) = history.added.remove(&from.value) {
            history.added.insert(to.value.clone(), value);
        }
        history.retired.push(from.value.clone());
        Ok(())
    }

    /// Whether the type changes.
    fn widen(&mut self, name: &Name, wanted: &Field) -> Result<bool, SqlError> {
        let at = self.found(name)?;
        let old = self.columns[at].field.as_ref();
        if datatype::sql_name(old) == datatype::sql_name(wanted) {
            return Ok(false);
        }
        let (from, to) = (datatype::sql_name(old), datatype::sql_name(wanted));
        if !is_wider(old, wanted) {
            let message = format!("column \"{}\" cannot become {to}", name.value);
            return Err(SqlError::new(ErrorKind::DatatypeMismatch, message)
                .detail(format!("it is {from}, and stored rows are not converted: not every value of it would be the same"))
                .hint("a type may become a wider one of its kind: smallint, integer, bigint; real, double precision; a longer varchar; a numeric with more digits")
                .at(name.span));
        }
        if old.data_type() != wanted.data_type() {
            self.check_unused(name, "have another type")?;
        }
        let nullable = old.is_nullable();
        let field = wanted.clone().with_name(name.value.clone()).with_nullable(nullable);
        self.columns[at].field = field.into();
        Ok(true)
    }

    fn set(&mut self, given: &[WrittenOption], connectors: Connectors) -> Result<(), SqlError> {
        for option in given {
            if let Some((name, why)) = FIXED.iter().find(|(name, _)| *name == option.name) {
                return Err(SqlError::new(
                    ErrorKind::InvalidOption,
                    format!("option \"{name}\" cannot be changed"),
                )
                .detail(*why));
            }
            let target = if self.stream { Target::Stream } else { Target::Table };
            set(&mut self.written, option, target, connectors)?;
        }
        Ok(())
    }

    fn sql(&self) -> String {
        let word = if self.stream { "STREAM" } else { "TABLE" };
        let mut lines: Vec<String> = self.columns.iter().map(column_sql).collect();
        if let Some((column, delay)) = &self.watermark {
            let column = quoted(column);
            lines.push(match delay.0 {
                0 => format!("WATERMARK FOR {column} AS {column}"),
                _ => format!("WATERMARK FOR {column} AS {column} - INTERVAL '{}'", length(*delay)),
            });
        }
        if !self.primary_key.is_empty() {
            let names: Vec<String> = self.primary_key.iter().map(|name| quoted(name)).collect();
            lines.push(format!("PRIMARY KEY ({})", names.join(", ")));
        }
        let mut sql =
            format!("CREATE {word} {} (\n  {}\n)", quoted(&self.name.value), lines.join(",\n  "));
        sql.push_str(&written_sql(&self.written));
        sql
    }
}

fn column_sql(column: &Column) -> String {
    let null = if column.field.is_nullable() { "" } else { " NOT NULL" };
    let beside = column.metadata.map(|m| format!(" METADATA FROM '{}'", m.name()));
    let (name, kind) = (quoted(&column.name.value), datatype::sql_name(&column.field));
    format!("{name} {kind}{null}{}", beside.unwrap_or_default())
}

/// A length of time in the largest unit that it is a multiple of.
fn length(Micros(us): Micros) -> String {
    let units = [(3_600_000_000, "hours"), (60_000_000, "minutes"), (1_000_000, "seconds")];
    let unit = units.into_iter().find(|(unit, _)| us % unit == 0);
    match unit.or((us % 1_000 == 0).then_some((1_000, "milliseconds"))) {
        Some((unit, name)) => format!("{} {name}", us / unit),
        None => format!("{us} microseconds"),
    }
}

/// Whether every value of `old` is one of `new`.
fn is_wider(old: &Field, new: &Field) -> bool {
    use DataType::{Decimal128, Float32, Float64, Int16, Int32, Int64, Utf8View};
    let plain = |field: &Field| !field.metadata().contains_key(yeoul_batch::TYPE_KEY);
    if !plain(old) || !plain(new) {
        return false;
    }
    let length = |field: &Field| -> u64 {
        let length = field.metadata().get(yeoul_batch::LENGTH_KEY);
        length.and_then(|n| n.parse().ok()).unwrap_or(u64::MAX)
    };
    match (old.data_type(), new.data_type()) {
        (Int16, Int32 | Int64) | (Int32, Int64) | (Float32, Float64) => true,
        (Utf8View, Utf8View) => length(new) >= length(old),
        (Decimal128(p, s), Decimal128(wide_p, wide_s)) => {
            let whole = |p: &u8, s: &i8| i16::from(*p) - i16::from(*s);
            wide_s >= s && whole(wide_p, wide_s) >= whole(p, s)
        }
        _ => false,
    }
}
