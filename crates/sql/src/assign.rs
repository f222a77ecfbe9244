//! Values on their way into a column, as `INSERT` and `UPDATE` write them: converted to its type and
//! held to it, by the rules that events are decoded by.
//!
//! | column | what is refused | SQLSTATE |
//! |---|---|---|
//! | any | a value of a type that is none of its own: a number for a time, a truth for a number | 42804 |
//! | any | a text that is no value of the type | 22P02 |
//! | numbers | a value that the type cannot hold | 22003 |
//! | varchar(n) | a text of more than n characters | 22001 |
//! | jsonb | a text that is not JSON; what is, is stored compact | 22P02 |
//!
//! An error names the column and shows the value. (`COPY` decodes its rows and needs nothing of this.)

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, FixedSizeBinaryBuilder, ListArray, StringViewArray,
};
use datafusion::arrow::compute::{CastOptions, can_cast_types, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as DfResult, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Values, Volatility,
};
use yeoul_batch::compact_json;
use yeoul_batch::text::Misfit;

use crate::datatype::{self, LENGTH_KEY};
use crate::error::{ErrorKind, SqlError};
use crate::{functions, number};

/// How much of a value a message shows.
const SHOWN_CHARS: usize = 60;

/// `values` as the column `field` takes them. The error names the column and the first value that
/// does not fit.
pub fn assign(values: &ArrayRef, field: &Field) -> Result<ArrayRef, SqlError> {
    let target = field.data_type();
    if !is_assignable(values.data_type(), target) {
        return Err(mismatch(&Field::new("", values.data_type().clone(), true), field));
    }
    let converted = if values.data_type() == target {
        Arc::clone(values)
    } else if datatype::is_string(values.data_type()) && datatype::is_uuid(field) {
        uuids(values, field)?
    } else if datatype::is_string(values.data_type()) && *target == DataType::Binary {
        byteas(values, field)?
    } else if target.is_integer() {
        let whole = number::whole(values).map_err(|e| invalid(&e.to_string(), field))?;
        cast_all(&whole, field)?
    } else if datatype::is_string(values.data_type()) && functions::is_read(target) {
        let texts = texts(values)?;
        functions::read(&texts, target, |row, why| Err(misread(texts.value(row), why, field)))?
    } else {
        cast_all(values, field)?
    };
    held(&converted, field, field)
}

/// Whether a value of the right Arrow type may still not fit the column.
pub(crate) fn is_constrained(field: &Field) -> bool {
    match field.data_type() {
        DataType::List(item) => is_constrained(item),
        _ => datatype::is_jsonb(field) || field.metadata().contains_key(LENGTH_KEY),
    }
}

fn refused(kind: ErrorKind, what: &str, shown: &str, column: &Field) -> SqlError {
    let mut text: String = shown.chars().take(SHOWN_CHARS).collect();
    if text.len() < shown.len() {
        text.push('…');
    }
    let (name, type_name) = (column.name(), datatype::sql_name(column));
    // A cast has no column.
    let place = if name.is_empty() { String::new() } else { format!("column \"{name}\" of ") };
    SqlError::new(kind, format!("'{text}' {what} {place}type {type_name}"))
}

fn invalid(shown: &str, column: &Field) -> SqlError {
    refused(ErrorKind::InvalidText, "is not a value for", shown, column)
}

/// A text that is no value of the column; a cast has none.
pub(crate) fn misread(text: &str, why: Misfit, column: &Field) -> SqlError {
    if why == Misfit::OutOfRange {
        return refused(ErrorKind::OutOfRange, "is out of range for", text, column);
    }
    let error = invalid(text, column);
    let word = text.trim().to_ascii_lowercase();
    match word.trim_start_matches(['+', '-']) {
        "infinity" | "inf" | "nan" => error.detail("there is no infinite value of this type"),
        "now" | "today" | "tomorrow" | "yesterday" => {
            error.hint("now() is the time, and CURRENT_DATE the day")
        }
        "epoch" => error.hint("write '1970-01-01'"),
        _ => error,
    }
}

fn cast_all(values: &ArrayRef, field: &Field) -> Result<ArrayRef, SqlError> {
    let options = |safe| CastOptions { safe, ..CastOptions::default() };
    match cast_with_options(values, field.data_type(), &options(false)) {
        Ok(out) if field.data_type().is_floating() => finite(values, out, field),
        Ok(out) => Ok(out),
        // Once more without stopping, to see which value it is.
        Err(error) => match cast_with_options(values, field.data_type(), &options(true)) {
            Ok(out) => Err((0..values.len())
                .find(|&row| values.is_valid(row) && out.is_null(row))
                .map_or_else(
                    || invalid(&error.to_string(), field),
                    |row| misfit(values, row, field),
                )),
            Err(_) => Err(invalid(&error.to_string(), field)),
        },
    }
}

/// What is wrong with the value of `row`: a number is too large, another text is none.
fn misfit(values: &ArrayRef, row: usize, field: &Field) -> SqlError {
    let shown = array_value_to_string(values, row).unwrap_or_default();
    let is_number = field.data_type().is_numeric() && shown.trim().parse::<f64>().is_ok();
    // A text with a fraction is no integer; a number is one, once it is rounded.
    let is_text = datatype::is_string(values.data_type()) && field.data_type().is_integer();
    let digits =
        |text: &str| text.trim().trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit());
    if is_number && (!is_text || digits(&shown)) {
        return refused(ErrorKind::OutOfRange, "is out of range for", &shown, field);
    }
    invalid(&shown, field)
}

/// A number that the type cannot hold is refused, not made infinite.
fn finite(values: &ArrayRef, out: ArrayRef, field: &Field) -> Result<ArrayRef, SqlError> {
    let is_infinite = |row: usize| match out.as_primitive_opt::<Float32Type>() {
        Some(real) => real.value(row).is_infinite(),
        None => out.as_primitive::<Float64Type>().value(row).is_infinite(),
    };
    for row in 0..out.len() {
        if out.is_valid(row) && is_infinite(row) {
            let shown = array_value_to_string(values, row).unwrap_or_default();
            if !shown.to_ascii_lowercase().contains("inf") {
                return Err(refused(ErrorKind::OutOfRange, "is out of range for", &shown, field));
            }
        }
    }
    Ok(out)
}

/// Whether a value of the type `from` may be written into a column of the type `to`.
fn is_assignable(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::Dictionary(_, from), to) => is_assignable(from, to),
        (T::List(from) | T::LargeList(from) | T::FixedSizeList(from, _), T::List(to)) => {
            is_assignable(from.data_type(), to.data_type())
        }
        (T::Null, _) => true,
        (_, T::List(_)) => false,
        (from, T::Utf8View) => !from.is_nested(),
        (from, _) if datatype::is_string(from) => true,
        (T::Date32 | T::Date64, T::Timestamp(..)) => true,
        (T::Timestamp(..), T::Date32 | T::Time64(_)) => true,
        (from, to) if from.is_numeric() || to.is_numeric() => from.is_numeric() && to.is_numeric(),
        _ => sort(from) == sort(to),
    }
}

/// What sort of type it is, of those that are no numbers, texts or lists.
fn sort(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Boolean => Some(0),
        DataType::Date32 | DataType::Date64 => Some(1),
        DataType::Time32(_) | DataType::Time64(_) => Some(2),
        DataType::Timestamp(..) => Some(3),
        DataType::Interval(_) | DataType::Duration(_) => Some(4),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Some(5),
        DataType::FixedSizeBinary(_) => Some(5),
        _ => None,
    }
}

fn mismatch(given: &Field, column: &Field) -> SqlError {
    let (name, type_name) = (column.name(), datatype::sql_name(column));
    let error = SqlError::new(
        ErrorKind::DatatypeMismatch,
        format!("column \"{name}\" is of type {type_name}, and the value is not"),
    )
    .detail(format!("the value has the type {}", datatype::sql_name(given)));
    match column.data_type() {
        DataType::Timestamp(..) if given.data_type().is_numeric() => error
            .hint("to_timestamp(x) takes seconds since 1970, to_timestamp_millis(x) milliseconds"),
        DataType::List(_) => error.hint("an array is written ARRAY[1, 2]"),
        _ => error,
    }
}

fn texts(values: &ArrayRef) -> Result<StringViewArray, SqlError> {
    let texts = cast(values, &DataType::Utf8View);
    let texts = texts.map_err(|e| SqlError::new(ErrorKind::Internal, e.to_string()))?;
    Ok(texts.as_string_view().clone())
}

fn uuids(values: &ArrayRef, field: &Field) -> Result<ArrayRef, SqlError> {
    let mut out = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
    for text in &texts(values)? {
        match text {
            None => out.append_null(),
            Some(text) => {
                let bytes = functions::parse_uuid(text).ok_or_else(|| invalid(text, field))?;
                out.append_value(bytes).map_err(|_| invalid(text, field))?;
            }
        }
    }
    Ok(Arc::new(out.finish()))
}

fn byteas(values: &ArrayRef, field: &Field) -> Result<ArrayRef, SqlError> {
    let mut out = BinaryBuilder::new();
    for text in &texts(values)? {
        match text {
            None => out.append_null(),
            Some(text) => out.append_value(bytes(text).ok_or_else(|| invalid(text, field))?),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Bytes as PostgreSQL writes them: `\x` and two digits each. Other text is its own bytes.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    let Some(hex) = text.strip_prefix("\\x") else { return Some(text.as_bytes().to_vec()) };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

/// Values of the right Arrow type as `field` holds them; `column` is what messages name.
fn held(values: &ArrayRef, field: &Field, column: &Field) -> Result<ArrayRef, SqlError> {
    if !is_constrained(field) {
        return Ok(Arc::clone(values));
    }
    if let (DataType::List(item), Some(lists)) = (field.data_type(), values.as_list_opt::<i32>()) {
        let items = held(lists.values(), item, column)?;
        let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
        let lists = ListArray::try_new(Arc::clone(item), offsets, items, nulls);
        return Ok(Arc::new(lists.map_err(|e| SqlError::new(ErrorKind::Internal, e.to_string()))?));
    }
    let texts = texts(values)?;
    if datatype::is_jsonb(field) {
        let compact = |text: Option<&str>| {
            text.map(|text| compact_json(text).ok_or_else(|| invalid(text, column))).transpose()
        };
        let all = texts.iter().map(compact).collect::<Result<StringViewArray, _>>()?;
        return Ok(Arc::new(all));
    }
    let limit = field.metadata().get(LENGTH_KEY).and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    match texts.iter().flatten().find(|text| text.len() > limit && text.chars().count() > limit) {
        None => Ok(Arc::clone(values)),
        Some(text) => Err(refused(ErrorKind::TooLong, "is too long for", text, column)
            .detail(format!("it has {} characters, and {limit} fit", text.chars().count()))),
    }
}

/// [`assign`] in a plan.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Assign {
    field: FieldRef,
    signature: Signature,
}

/// `expr` as the column `field` takes it.
pub(crate) fn expr(expr: Expr, field: &Field) -> Expr {
    let field = Arc::new(field.clone().with_nullable(true));
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(Assign { field, signature }).call(vec![expr])
}

/// The rows of `VALUES` were cast to the types of the columns they are written to, so that rows of
/// different types meet; the casts are made assignments, whose errors name the column.
pub(crate) fn values(plan: LogicalPlan, columns: &[&FieldRef]) -> DfResult<LogicalPlan> {
    let plan = plan.transform_down(|node| {
        let LogicalPlan::Values(Values { schema, values }) = node else {
            return Ok(Transformed::no(node));
        };
        let assigned = |(at, value): (usize, Expr)| match (value, columns.get(at)) {
            (Expr::Cast(cast), Some(field)) if cast.field.data_type() == field.data_type() => {
                expr(*cast.expr, field)
            }
            (value, _) => value,
        };
        let row = |row: Vec<Expr>| row.into_iter().enumerate().map(assigned).collect();
        let values = values.into_iter().map(row).collect();
        let node = LogicalPlan::Values(Values { schema, values });
        Ok(Transformed::new(node, true, TreeNodeRecursion::Stop))
    })?;
    Ok(plan.data)
}

impl ScalarUDFImpl for Assign {
    fn name(&self) -> &str {
        "assign"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let Some(given) = args.arg_fields.first() else {
            return internal_err!("assign takes a value");
        };
        let (from, to) = (given.data_type(), self.field.data_type());
        let text = datatype::is_string(from)
            && (datatype::is_uuid(&self.field) || *to == DataType::Binary);
        if is_assignable(from, to) && (from == to || text || can_cast_types(from, to)) {
            return Ok(Arc::clone(&self.field));
        }
        Err(DataFusionError::External(Box::new(mismatch(given, &self.field))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        // A single value of a list type would lose the metadata of its items.
        if matches!(self.field.data_type(), DataType::List(_)) {
            let values = args.args[0].to_array(args.number_rows)?;
            let values = assign(&values, &self.field);
            return values
                .map(ColumnarValue::Array)
                .map_err(|e| DataFusionError::External(Box::new(e)));
        }
        functions::each(&args, |array| {
            let array = datafusion::arrow::array::make_array(array.to_data());
            assign(&array, &self.field).map_err(|e| DataFusionError::External(Box::new(e)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float64Array, Int64Array, StringArray};
    use std::collections::HashMap;

    fn column(sql_type: &str) -> Field {
        let ast = crate::parse::parse_type(sql_type).expect("a type");
        datatype::from_sql(&ast).expect("a type").with_name("c")
    }

    fn check(values: ArrayRef, sql_type: &str, expected: Result<&str, (&str, &str)>) {
        let found = assign(&values, &column(sql_type));
        let found = found.map(|array| array_value_to_string(&array, 0).expect("is shown"));
        let found = found.map_err(|e| (e.sqlstate(), e.message));
        let expected = expected.map(str::to_owned).map_err(|(state, m)| (state, m.to_owned()));
        assert_eq!(found, expected, "{sql_type}");
    }

    #[test]
    fn values_are_held_to_their_column() {
        let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        check(text("여울가"), "varchar(3)", Ok("여울가"));
        check(
            text("abcd"),
            "varchar(3)",
            Err(("22001", "'abcd' is too long for column \"c\" of type varchar(3)")),
        );
        check(text(" { \"a\" : 1 } "), "jsonb", Ok("{\"a\":1}"));
        check(
            text("{a}"),
            "jsonb",
            Err(("22P02", "'{a}' is not a value for column \"c\" of type jsonb")),
        );
        check(text("12.345"), "numeric(4,2)", Ok("12.35"));
        check(
            text("123.4"),
            "numeric(4,2)",
            Err(("22003", "'123.4' is out of range for column \"c\" of type numeric(4,2)")),
        );
        check(
            Arc::new(Float64Array::from(vec![1e30])),
            "numeric(4,2)",
            Err(("22003", "'1e30' is out of range for column \"c\" of type numeric(4,2)")),
        );
        check(
            Arc::new(Int64Array::from(vec![70_000])),
            "smallint",
            Err(("22003", "'70000' is out of range for column \"c\" of type smallint")),
        );
        check(
            Arc::new(Float64Array::from(vec![1e300])),
            "real",
            Err(("22003", "'1e300' is out of range for column \"c\" of type real")),
        );
        check(
            text("x"),
            "integer",
            Err(("22P02", "'x' is not a value for column \"c\" of type integer")),
        );
        check(
            text("25:61"),
            "time",
            Err(("22P02", "'25:61' is not a value for column \"c\" of type time")),
        );
        check(
            text("zz"),
            "uuid",
            Err(("22P02", "'zz' is not a value for column \"c\" of type uuid")),
        );
        check(
            text("\\xzz"),
            "bytea",
            Err(("22P02", "'\\xzz' is not a value for column \"c\" of type bytea")),
        );
    }

    #[test]
    fn elements_are_held_too() {
        let item = Field::new("item", DataType::Utf8View, true)
            .with_metadata(HashMap::from([(LENGTH_KEY.to_owned(), "1".to_owned())]));
        let field = Field::new("c", DataType::List(Arc::new(item.clone())), true);
        let list = |texts: Vec<&str>| -> ArrayRef {
            let items: ArrayRef = Arc::new(StringViewArray::from(texts));
            let offsets = datafusion::arrow::buffer::OffsetBuffer::from_lengths([items.len()]);
            Arc::new(ListArray::new(Arc::new(item.clone()), offsets, items, None))
        };
        assert!(assign(&list(vec!["a", "b"]), &field).is_ok());
        assert_eq!(assign(&list(vec!["a", "bc"]), &field).expect_err("long").sqlstate(), "22001");
    }
}
