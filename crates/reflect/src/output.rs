//! Rows of catalog queries as Arrow, and parameters from it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    ListArray, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;

use super::Failure;
use super::cast::shown;
use super::kind::{Family, Kind};
use super::run::Run;
use super::table::{Column, Table};
use super::value::Value;

/// The type in which a column leaves. Object numbers that are names leave as their names, the vectors of the
/// catalog and rows as texts: that is what every client shows, and none needs another form.
fn leaves_as(kind: Kind) -> Kind {
    match kind.family() {
        Family::Named | Family::Record => Kind::TEXT,
        Family::Array if matches!(kind, Kind::INT2VECTOR | Kind::OIDVECTOR) => Kind::TEXT,
        Family::Array => match kind.item() {
            Some(item) if item.family() == Family::Named || item == Kind::ACLITEM => {
                Kind::TEXT_ARRAY
            }
            _ => kind,
        },
        _ => kind,
    }
}

fn field(name: &str, kind: Kind) -> Field {
    if let (Family::Array, Some(item)) = (kind.family(), kind.item()) {
        let item = Arc::new(field("item", item));
        return Field::new(name, DataType::List(item), true);
    }
    let (data_type, tag) = kind.arrow();
    let tags = tag.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Field::new(name, data_type, true).with_metadata(HashMap::from_iter(tags))
}

pub(super) fn schema(columns: &[Column]) -> SchemaRef {
    let fields = columns.iter().map(|column| field(&column.name, leaves_as(column.kind)));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub(super) fn batch(
    run: &Run<'_>,
    table: &Table,
    schema: &SchemaRef,
) -> Result<RecordBatch, Failure> {
    let mut arrays = Vec::new();
    for (at, (column, field)) in table.columns.iter().zip(schema.fields()).enumerate() {
        let text = leaves_as(column.kind) != column.kind;
        let values = table.rows.iter().map(|row| match &row[at] {
            Value::Null => Value::Null,
            value if text && leaves_as(column.kind) == Kind::TEXT => {
                Value::text(shown(run, value, column.kind))
            }
            value => value.clone(),
        });
        let values: Vec<Value> = values.collect();
        arrays.push(array(run, &values, field, column.kind));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(table.rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
        .map_err(|error| Failure::new("XX000", error.to_string()))
}

fn array(run: &Run<'_>, values: &[Value], field: &FieldRef, kind: Kind) -> ArrayRef {
    let ints = || values.iter().map(|value| if value.is_null() { None } else { value.int() });
    match field.data_type() {
        DataType::Boolean => {
            let bools = values.iter().map(|value| match value {
                Value::Bool(v) => Some(*v),
                _ => None,
            });
            Arc::new(bools.collect::<BooleanArray>())
        }
        DataType::Int16 => Arc::new(ints().map(|v| i16::try_from(v?).ok()).collect::<Int16Array>()),
        DataType::Int32 => Arc::new(ints().map(|v| i32::try_from(v?).ok()).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(ints().collect::<Int64Array>()),
        #[expect(clippy::cast_possible_truncation, reason = "what real holds of it")]
        DataType::Float32 => {
            Arc::new(values.iter().map(|v| v.float().map(|v| v as f32)).collect::<Float32Array>())
        }
        DataType::Float64 => Arc::new(values.iter().map(Value::float).collect::<Float64Array>()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Arc::new(ints().collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        DataType::List(item) => list(run, values, item, kind.item().unwrap_or(Kind::TEXT)),
        _ => {
            let texts = values.iter().map(|value| match value {
                Value::Null => None,
                value => Some(shown(run, value, kind)),
            });
            Arc::new(texts.collect::<StringArray>())
        }
    }
}

fn list(run: &Run<'_>, values: &[Value], item: &FieldRef, kind: Kind) -> ArrayRef {
    let items = |value: &Value| value.items().cloned().unwrap_or_default();
    let lengths = values.iter().map(|value| items(value).len());
    let offsets = OffsetBuffer::from_lengths(lengths);
    let present: Vec<bool> = values.iter().map(|value| value.items().is_some()).collect();
    let all: Vec<Value> = values.iter().flat_map(|value| items(value).to_vec()).collect();
    let array = array(run, &all, item, kind);
    Arc::new(ListArray::new(Arc::clone(item), offsets, array, Some(NullBuffer::from(present))))
}

/// The type of a parameter of an Arrow type.
pub(super) fn kind(data_type: &DataType) -> Kind {
    Kind::of_field(&Field::new("", data_type.clone(), true)).0
}

/// The Arrow type in which a parameter is asked for.
pub(super) fn wanted(kind: Kind) -> DataType {
    match kind {
        // As the batch engine has it, so that the wire reads it in the same way.
        Kind::OID => DataType::Int64,
        kind => field("", leaves_as(kind)).data_type().clone(),
    }
}

/// The value of a parameter.
pub(super) fn parameter(value: &ScalarValue) -> Value {
    if value.is_null() {
        return Value::Null;
    }
    match value {
        ScalarValue::Boolean(Some(v)) => Value::Bool(*v),
        ScalarValue::Utf8(Some(v))
        | ScalarValue::Utf8View(Some(v))
        | ScalarValue::LargeUtf8(Some(v)) => Value::text(v),
        ScalarValue::Float32(Some(v)) => Value::Float(f64::from(*v)),
        ScalarValue::Float64(Some(v)) => Value::Float(*v),
        ScalarValue::List(list) => {
            let items = list.value(0);
            let items = (0..items.len()).map(|at| ScalarValue::try_from_array(&items, at));
            Value::list(items.map(|item| item.map_or(Value::Null, |item| parameter(&item))))
        }
        other => match other.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(v))) => Value::Int(v),
            _ => Value::text(other.to_string()),
        },
    }
}
