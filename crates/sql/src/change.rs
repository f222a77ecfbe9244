//! `INSERT`, `UPDATE` and `DELETE` as queries whose rows are the rows to write.
//!
//! | statement | rows of the plan |
//! |---|---|
//! | `INSERT` | the new rows, all columns of the relation |
//! | `UPDATE` | the rows as they shall be, all columns; written over the old ones by their key |
//! | `DELETE` | the rows that shall go, all columns |
//!
//! What must hold: the columns of the plan are those of the relation, in its order, of its types.
//! Whether a column may be null is checked by whoever writes the rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Column, DataFusionError, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::sql::sqlparser::ast as sql;

use crate::ast::{Delete, Insert, Name, Query, Update};
use crate::catalog::{Catalog, Relation, RelationKind};
use crate::coerce;
use crate::error::{ErrorKind, Span, SqlError};
use crate::nearest::{did_you_mean, list};
use crate::planner::{Planner, QueryPlan, unknown_relation};
use crate::text::{Text, quoted};
use crate::{assign, datatype, functions, number, translate};

/// A change ready to be run: [`QueryPlan::plan`] gives the rows.
#[derive(Clone, Debug)]
pub struct ChangePlan {
    /// What is written to.
    pub table: String,
    /// What it is.
    pub relation: Relation,
    /// The rows, all columns of the relation.
    pub rows: QueryPlan,
}

impl Planner {
    /// Plans an `INSERT`.
    pub fn insert(
        &self,
        insert: &Insert,
        catalog: &dyn Catalog,
        parameters: &[Option<DataType>],
    ) -> Result<ChangePlan, SqlError> {
        let relation = target(&insert.table, catalog)?;
        if insert.keep_existing && relation.kind != RelationKind::Table {
            return Err(SqlError::new(
                ErrorKind::WrongKind,
                format!(
                    "ON CONFLICT needs a table, and \"{}\" is a {}",
                    insert.table.value, relation.kind
                ),
            )
            .at(insert.table.span));
        }
        let columns = positions(&insert.columns, &insert.table, &relation)?;
        let mut declared = parameters.to_vec();
        declare_values(&insert.source, &columns, &relation, &mut declared);
        let source = cast_values(&insert.source, &columns, &relation)?;
        let fields: Vec<_> = columns.iter().map(|c| &relation.schema.fields()[*c]).collect();
        let is_values = matches!(source.ast.body.as_ref(), sql::SetExpr::Values(_));
        let rows = self.rows(&source, catalog, &declared, is_values.then_some(&fields[..]))?;
        let given = rows.schema.fields().len();
        if given > columns.len() || (!insert.columns.is_empty() && given < columns.len()) {
            let (more, less) =
                if given > columns.len() { ("values", "columns") } else { ("columns", "values") };
            return Err(SqlError::new(
                ErrorKind::Syntax,
                format!("INSERT has more {more} than {less}"),
            )
            .detail(format!("{given} values for {} columns", columns.len()))
            .at(insert.source.span));
        }
        let source = |i| columns.iter().position(|c| *c == i).filter(|p| *p < given);
        let sources: Vec<Source> = (0..relation.schema.fields().len())
            .map(|i| Source { from: source(i), stays: false })
            .collect();
        for (field, source) in relation.schema.fields().iter().zip(&sources) {
            if source.from.is_none() && !field.is_nullable() {
                return Err(SqlError::new(
                    ErrorKind::NotNull,
                    format!(
                        "column \"{}\" of \"{}\" has no value",
                        field.name(),
                        insert.table.value
                    ),
                )
                .detail("it is NOT NULL")
                .at(insert.table.span));
            }
        }
        self.finish(
            &insert.table,
            relation,
            rows,
            &sources,
            &insert.source.text,
            insert.source.span,
        )
    }

    /// Plans an `UPDATE`.
    pub fn update(
        &self,
        update: &Update,
        catalog: &dyn Catalog,
        parameters: &[Option<DataType>],
    ) -> Result<ChangePlan, SqlError> {
        let relation = changeable("UPDATE", &update.table, catalog)?;
        let names: Vec<Name> = update.assignments.iter().map(|a| a.0.clone()).collect();
        let assigned = positions(&names, &update.table, &relation)?;
        let alias = update.alias.as_ref().unwrap_or(&update.table);
        let mut declared = parameters.to_vec();
        let mut items: Vec<sql::SelectItem> = Vec::new();
        for (i, field) in relation.schema.fields().iter().enumerate() {
            let at = assigned.iter().position(|a| *a == i);
            if let Some(at) = at.filter(|_| relation.primary_key.contains(&i)) {
                return Err(SqlError::unsupported(format!(
                    "column \"{}\" is part of the primary key and cannot be updated",
                    field.name()
                ))
                .hint("delete the row and insert it under its new key")
                .at(update.assignments[at].0.span));
            }
            let expr = match at {
                Some(at) => {
                    let mut expr = update.assignments[at].1.clone();
                    number::exact(&mut expr, field);
                    declare(&expr, field.data_type(), &mut declared);
                    expr
                }
                None => column(&alias.value, field.name()),
            };
            let alias = sql::Ident::with_quote('"', field.name());
            items.push(sql::SelectItem::ExprWithAlias { expr, alias });
        }
        let selection = update.selection.clone();
        let query = rows_of(&update.table, alias, items, selection, &update.text)?;
        let rows = self.query(&query, catalog, &declared)?;
        // What is not assigned is as it was.
        let source = |i| Source { from: Some(i), stays: !assigned.contains(&i) };
        let sources: Vec<Source> = (0..items_of(&relation)).map(source).collect();
        self.finish(&update.table, relation, rows, &sources, &update.text, query.span)
    }

    /// Plans a `DELETE`.
    pub fn delete(
        &self,
        delete: &Delete,
        catalog: &dyn Catalog,
        parameters: &[Option<DataType>],
    ) -> Result<ChangePlan, SqlError> {
        let relation = changeable("DELETE", &delete.table, catalog)?;
        let alias = delete.alias.as_ref().unwrap_or(&delete.table);
        let items = relation
            .schema
            .fields()
            .iter()
            .map(|f| sql::SelectItem::UnnamedExpr(column(&alias.value, f.name())))
            .collect();
        let query = rows_of(&delete.table, alias, items, delete.selection.clone(), &delete.text)?;
        let rows = self.query(&query, catalog, parameters)?;
        let source = |i| Source { from: Some(i), stays: true };
        let sources: Vec<Source> = (0..items_of(&relation)).map(source).collect();
        self.finish(&delete.table, relation, rows, &sources, &delete.text, query.span)
    }

    /// Brings the columns of `rows` into the order and the types of the relation.
    fn finish(
        &self,
        table: &Name,
        relation: Relation,
        rows: QueryPlan,
        sources: &[Source],
        text: &Text,
        within: Span,
    ) -> Result<ChangePlan, SqlError> {
        let fail = |e: DataFusionError| translate::planning(e, text, within);
        let fields = relation.schema.fields();
        let exprs = fields
            .iter()
            .zip(sources)
            .map(|(field, source)| written(&rows.plan, field, source))
            .collect::<Result<Vec<_>, _>>()
            .map_err(fail)?;
        let input = Arc::new(rows.plan);
        let plan = Projection::try_new(exprs, input).map(LogicalPlan::Projection).map_err(fail)?;
        let plan = coerce::prepare(plan).map_err(fail)?;
        let plan = coerce::typed(plan, self.state().config_options()).map_err(fail)?;
        let schema = Arc::clone(&relation.schema);
        let rows = QueryPlan { plan, schema, parameters: rows.parameters };
        Ok(ChangePlan { table: table.value.clone(), relation, rows })
    }
}

fn items_of(relation: &Relation) -> usize {
    relation.schema.fields().len()
}

/// Where the values of a column of the relation come from.
struct Source {
    /// The column of the rows; `None`: there is none, and they are null.
    from: Option<usize>,
    /// Whether they stand in this column already.
    stays: bool,
}

fn written(plan: &LogicalPlan, field: &FieldRef, source: &Source) -> Result<Expr, DataFusionError> {
    let Some(from) = source.from else {
        let null = ScalarValue::try_from(field.data_type())?;
        return Ok(Expr::Literal(null, None).alias(field.name()));
    };
    let (qualifier, given) = plan.schema().qualified_field(from);
    let mut expr = Expr::Column(Column::from((qualifier, given)));
    let mut same = given.data_type() == field.data_type();
    if datatype::is_uuid(given) && datatype::is_string(field.data_type()) {
        (expr, same) = (functions::uuid_to_text().call(vec![expr]), true);
    }
    if !source.stays && (!same || assign::is_constrained(field)) {
        expr = assign::expr(expr, field);
    }
    Ok(expr.alias(field.name()))
}

/// The relation an `INSERT` writes to.
fn target(table: &Name, catalog: &dyn Catalog) -> Result<Relation, SqlError> {
    let relation = catalog
        .relation(&table.value)
        .ok_or_else(|| unknown_relation(&table.value, Some(table.span), catalog))?;
    match relation.kind {
        RelationKind::Stream | RelationKind::Table => Ok(relation),
        kind => Err(SqlError::new(
            ErrorKind::WrongKind,
            format!("\"{}\" is a {kind} and cannot be written to", table.value),
        )
        .hint("write to the streams and tables beneath it")
        .at(table.span)),
    }
}

/// The relation an `UPDATE` or `DELETE` changes.
fn changeable(verb: &str, table: &Name, catalog: &dyn Catalog) -> Result<Relation, SqlError> {
    let relation = target(table, catalog)?;
    if relation.kind == RelationKind::Stream {
        return Err(SqlError::new(
            ErrorKind::WrongKind,
            format!("{verb} needs a table, and \"{}\" is a stream", table.value),
        )
        .detail("the rows of a stream never change")
        .hint("retention removes old rows; CREATE TABLE … PRIMARY KEY keeps rows that change")
        .at(table.span));
    }
    Ok(relation)
}

/// The positions of the named columns; all of them where none is named.
fn positions(names: &[Name], table: &Name, relation: &Relation) -> Result<Vec<usize>, SqlError> {
    let fields = relation.schema.fields();
    if names.is_empty() {
        return Ok((0..fields.len()).collect());
    }
    let mut positions: Vec<usize> = Vec::with_capacity(names.len());
    for name in names {
        let all = || fields.iter().map(|f| f.name().as_str());
        let Some(i) = all().position(|f| f == name.value) else {
            let mut e = SqlError::new(
                ErrorKind::UndefinedColumn,
                format!(
                    "column \"{}\" does not exist in {} \"{}\"",
                    name.value, relation.kind, table.value
                ),
            )
            .detail(format!("\"{}\" has the columns {}", table.value, list(all())))
            .at(name.span);
            e.hint = did_you_mean(&name.value, all());
            return Err(e);
        };
        if positions.contains(&i) {
            return Err(SqlError::new(
                ErrorKind::DuplicateColumn,
                format!("column \"{}\" is named twice", name.value),
            )
            .at(name.span));
        }
        positions.push(i);
    }
    Ok(positions)
}

/// A parameter that stands alone has the type of the column it is written to.
fn declare(expr: &sql::Expr, data_type: &DataType, declared: &mut Vec<Option<DataType>>) {
    let sql::Expr::Value(value) = expr else { return };
    let sql::Value::Placeholder(id) = &value.value else { return };
    let Some(number) = id.strip_prefix('$').and_then(|n| n.parse::<u16>().ok()) else { return };
    let Some(index) = usize::from(number).checked_sub(1) else { return };
    if declared.len() <= index {
        declared.resize(index + 1, None);
    }
    let slot = &mut declared[index];
    if slot.is_none() {
        *slot = Some(data_type.clone());
    }
}

fn declare_values(
    source: &Query,
    columns: &[usize],
    relation: &Relation,
    declared: &mut Vec<Option<DataType>>,
) {
    let sql::SetExpr::Values(values) = source.ast.body.as_ref() else { return };
    for row in &values.rows {
        for (expr, column) in row.iter().zip(columns) {
            declare(expr, relation.schema.field(*column).data_type(), declared);
        }
    }
}

/// Every value of `VALUES` is of the type of its column, whatever stands in the other rows;
/// `DEFAULT` is null.
fn cast_values(source: &Query, columns: &[usize], relation: &Relation) -> Result<Query, SqlError> {
    let mut source = source.clone();
    let sql::SetExpr::Values(values) = source.ast.body.as_mut() else { return Ok(source) };
    let fields: Vec<_> = columns.iter().map(|c| relation.schema.field(*c)).collect();
    let types = fields
        .iter()
        .map(|field| match datatype::is_jsonb(field) {
            // Whether it is JSON is said with the column.
            true => crate::parse::parse_type("varchar"),
            false => crate::parse::parse_type(&datatype::sql_name(field)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    for row in &mut values.rows {
        for ((expr, data_type), field) in row.content.iter_mut().zip(&types).zip(&fields) {
            let is_default = matches!(expr, sql::Expr::Identifier(i)
                if i.quote_style.is_none() && i.value.eq_ignore_ascii_case("default"));
            let mut value =
                if is_default { sql::Expr::value(sql::Value::Null) } else { expr.clone() };
            number::exact(&mut value, field);
            *expr = sql::Expr::Cast {
                kind: sql::CastKind::Cast,
                expr: Box::new(value),
                data_type: data_type.clone(),
                array: false,
                format: None,
            };
        }
    }
    Ok(source)
}

fn column(table: &str, name: &str) -> sql::Expr {
    let ident = |n: &str| sql::Ident::with_quote('"', n);
    sql::Expr::CompoundIdentifier(vec![ident(table), ident(name)])
}

/// `SELECT items FROM table AS alias WHERE selection`
fn rows_of(
    table: &Name,
    alias: &Name,
    items: Vec<sql::SelectItem>,
    selection: Option<sql::Expr>,
    text: &Arc<Text>,
) -> Result<Query, SqlError> {
    let skeleton = format!("SELECT * FROM {} AS {}", quoted(&table.value), quoted(&alias.value));
    let mut query = crate::parse::parse_query(&skeleton)?;
    if let sql::SetExpr::Select(select) = query.ast.body.as_mut() {
        select.projection = items;
        select.selection = selection;
    }
    // Places in the user's expressions are places in the user's text.
    Ok(Query {
        span: Span::new(table.span.start, text.as_str().len()),
        text: Arc::clone(text),
        ..query
    })
}
