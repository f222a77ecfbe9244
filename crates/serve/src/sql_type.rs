//! The SQL names of column types, for answers and messages.

use std::borrow::Cow;

use arrow::datatypes::{DataType, Field};

/// The SQL name of a column's type: "bigint", "numeric(10,2)", "timestamptz", "varchar[]".
pub(crate) fn name_of(field: &Field) -> Cow<'static, str> {
    match field.metadata().get("yeoul.type").map(String::as_str) {
        Some("jsonb") => "jsonb".into(),
        Some("uuid") => "uuid".into(),
        _ => name(field.data_type()),
    }
}

/// The SQL name of a type.
pub(crate) fn name(data_type: &DataType) -> Cow<'static, str> {
    match data_type {
        DataType::Null => "unknown".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => "smallint".into(),
        DataType::UInt16 | DataType::Int32 => "integer".into(),
        DataType::UInt32 | DataType::Int64 => "bigint".into(),
        DataType::UInt64 => "numeric(20,0)".into(),
        DataType::Float16 | DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => format!("numeric({p},{s})").into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar".into(),
        DataType::FixedSizeBinary(16) => "uuid".into(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".into(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".into(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("{}[]", name_of(item)).into(),
        DataType::Dictionary(_, value) => name(value),
        DataType::RunEndEncoded(_, value) => name_of(value),
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => "json".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn names() {
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)));
        assert_eq!(name(&list), "varchar[]");
        assert_eq!(name(&DataType::Decimal128(10, 2)), "numeric(10,2)");
    }
}
