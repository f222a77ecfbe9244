//! Columns of an answer as Postgres knows them: which type an Arrow column is told as, and its
//! values ready to go out as text or binary.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use yeoul_engine::{EngineError, ErrorKind};
use yeoul_format::encode::TextColumn;

use super::values::{Values, render, rendered};

/// A type of Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    /// An `oid` or one of its aliases (regclass, regtype, …), by its own oid.
    Oid(u32),
    Float4,
    Float8,
    Numeric,
    Text,
    /// A text that is an identifier.
    Name,
    /// The one-byte `"char"` of the catalog.
    Char,
    Json,
    Jsonb,
    Bytea,
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
}

impl Kind {
    /// The type's oid, and the oid of an array of it.
    fn oids(self) -> (u32, u32) {
        match self {
            Self::Bool => (16, 1000),
            Self::Int2 => (21, 1005),
            Self::Int4 => (23, 1007),
            Self::Int8 => (20, 1016),
            Self::Oid(oid) => (oid, if oid == 26 { 1028 } else { oid + 4 }),
            Self::Float4 => (700, 1021),
            Self::Float8 => (701, 1022),
            Self::Numeric => (1700, 1231),
            Self::Text => (25, 1009),
            Self::Name => (19, 1003),
            Self::Char => (18, 1002),
            Self::Json => (114, 199),
            Self::Jsonb => (3802, 3807),
            Self::Bytea => (17, 1001),
            Self::Uuid => (2950, 2951),
            Self::Date => (1082, 1182),
            Self::Time => (1083, 1183),
            Self::Timestamp => (1114, 1115),
            Self::Timestamptz => (1184, 1185),
            Self::Interval => (1186, 1187),
        }
    }

    /// The length of its binary form, −1 when it varies.
    fn length(self) -> i16 {
        match self {
            Self::Bool | Self::Char => 1,
            Self::Int2 => 2,
            Self::Int4 | Self::Float4 | Self::Date | Self::Oid(_) => 4,
            Self::Int8 | Self::Float8 | Self::Time | Self::Timestamp | Self::Timestamptz => 8,
            Self::Interval | Self::Uuid => 16,
            Self::Numeric | Self::Text | Self::Name | Self::Json | Self::Jsonb | Self::Bytea => -1,
        }
    }
}

/// A type of Postgres or an array of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PgType {
    pub(crate) kind: Kind,
    pub(crate) array: bool,
}

impl PgType {
    fn one(kind: Kind) -> Self {
        Self { kind, array: false }
    }

    pub(crate) fn oid(self) -> u32 {
        let (one, many) = self.kind.oids();
        if self.array { many } else { one }
    }

    pub(crate) fn length(self) -> i16 {
        if self.array { -1 } else { self.kind.length() }
    }
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PgColumn {
    pub(crate) name: String,
    pub(crate) kind: PgType,
    /// Whether its values go out in the binary form.
    pub(crate) binary: bool,
    field: FieldRef,
}

impl PgColumn {
    pub(crate) fn new(field: &FieldRef, binary: bool) -> Self {
        let kind = type_of(field);
        Self { name: field.name().clone(), kind, binary, field: Arc::clone(field) }
    }

    /// The same column, going out in the binary form or as text.
    pub(crate) fn in_binary(self, binary: bool) -> Self {
        Self { binary, ..self }
    }

    /// All columns of `schema`, as text.
    pub(crate) fn of(schema: &Schema) -> Vec<Self> {
        schema.fields().iter().map(|field| Self::new(field, false)).collect()
    }

    /// Precision and scale of a numeric as Postgres packs them, −1 otherwise.
    pub(crate) fn modifier(&self) -> i32 {
        match self.field.data_type() {
            DataType::Decimal128(precision, scale) if *scale >= 0 => {
                ((i32::from(*precision) << 16) | i32::from(*scale)) + 4
            }
            _ => -1,
        }
    }

    /// The values of `array` ready to be encoded as this column. A batch may differ in its array
    /// types from what was described (a literal, a dictionary): then it is cast.
    pub(crate) fn cells(&self, array: &ArrayRef, field: &Field) -> Result<Cells, EngineError> {
        if array.data_type() != self.field.data_type() && type_of(field) != self.kind {
            let array = cast(array, self.field.data_type()).map_err(broken)?;
            return Cells::new(&array, &self.field, self.binary);
        }
        Cells::new(array, field, self.binary)
    }
}

fn broken(error: impl std::fmt::Display) -> EngineError {
    EngineError::new(ErrorKind::Internal, format!("rows cannot be encoded: {error}"))
}

/// The values of one column of a batch, as they go out.
#[derive(Debug)]
pub(crate) enum Cells {
    Text(TextColumn),
    Binary(Values),
}

impl Cells {
    fn new(array: &ArrayRef, field: &Field, binary: bool) -> Result<Self, EngineError> {
        if binary {
            return Values::new(array, field).map(Self::Binary).map_err(broken);
        }
        if rendered(array.data_type()) {
            let json: ArrayRef = Arc::new(render(array, field).map_err(broken)?);
            let field = Field::new("", DataType::Utf8View, true);
            return TextColumn::new(&field, &json).map(Self::Text).map_err(broken);
        }
        TextColumn::new(field, array).map(Self::Text).map_err(broken)
    }

    /// Whether the value of `row` is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Text(text) => text.is_null(row),
            Self::Binary(values) => values.is_null(row),
        }
    }

    /// Appends the value of `row`, without its length.
    pub(crate) fn put(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => text.write(row, out),
            Self::Binary(values) => super::binary::put_value(values, row, out),
        }
    }
}

fn word_of(field: &Field) -> &str {
    let metadata = field.metadata();
    metadata
        .get("yeoul.type")
        .or_else(|| metadata.get("ARROW:extension:name"))
        .map_or("", String::as_str)
}

/// The type an Arrow column is told as.
pub(crate) fn type_of(field: &Field) -> PgType {
    let metadata = field.metadata();
    if let Some(alias) = metadata.get("pg.oid_alias")
        && field.data_type() == &DataType::Int32
        && let Some(oid) = alias_oid(alias)
    {
        return PgType::one(Kind::Oid(oid));
    }
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PgType::one(text_kind(field)),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            let item = type_of(item);
            // Arrays of arrays may be ragged here, which Postgres has no form for.
            if item.array || rendered(field.data_type()) {
                PgType::one(Kind::Json)
            } else {
                PgType { kind: item.kind, array: true }
            }
        }
        DataType::Dictionary(_, value) => {
            type_of(&Field::new("", value.as_ref().clone(), true).with_metadata(metadata.clone()))
        }
        DataType::RunEndEncoded(_, value) => type_of(value),
        data_type => PgType::one(plain_kind(data_type)),
    }
}

pub(crate) fn text_kind(field: &Field) -> Kind {
    match word_of(field) {
        "jsonb" => Kind::Jsonb,
        "arrow.json" | "json" => Kind::Json,
        _ if field.metadata().contains_key("pg.char") => Kind::Char,
        _ if field.metadata().contains_key("pg.name") => Kind::Name,
        _ => Kind::Text,
    }
}

fn plain_kind(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Boolean => Kind::Bool,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Kind::Int2,
        DataType::UInt16 | DataType::Int32 => Kind::Int4,
        DataType::UInt32 | DataType::Int64 => Kind::Int8,
        DataType::Float16 | DataType::Float32 => Kind::Float4,
        DataType::Float64 => Kind::Float8,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Kind::Numeric,
        DataType::FixedSizeBinary(16) => Kind::Uuid,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Kind::Bytea,
        DataType::Date32 | DataType::Date64 => Kind::Date,
        DataType::Time32(_) | DataType::Time64(_) => Kind::Time,
        DataType::Timestamp(_, None) => Kind::Timestamp,
        DataType::Timestamp(_, Some(_)) => Kind::Timestamptz,
        DataType::Interval(_) | DataType::Duration(_) => Kind::Interval,
        DataType::Struct(_) | DataType::Map(..) => Kind::Json,
        _ => Kind::Text,
    }
}

fn alias_oid(alias: &str) -> Option<u32> {
    Some(match alias {
        "oid" => 26,
        "regproc" => 24,
        "regprocedure" => 2202,
        "regoper" => 2203,
        "regoperator" => 2204,
        "regclass" => 2205,
        "regtype" => 2206,
        "regnamespace" => 4089,
        "regrole" => 4096,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::TimeUnit;
    use std::collections::HashMap;

    fn tagged(data_type: DataType, key: &str, value: &str) -> Field {
        Field::new("c", data_type, true)
            .with_metadata(HashMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn arrow_types_become_postgres_types() {
        let plain = |data_type| type_of(&Field::new("c", data_type, true)).oid();
        assert_eq!(plain(DataType::Utf8View), 25);
        assert_eq!(plain(DataType::Int64), 20);
        assert_eq!(plain(DataType::UInt64), 1700);
        assert_eq!(plain(DataType::FixedSizeBinary(16)), 2950);
        assert_eq!(plain(DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))), 1184);
        let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
        assert_eq!(plain(list(DataType::Int64)), 1016);
        assert_eq!(plain(list(list(DataType::Int64))), 114);
        assert_eq!(type_of(&tagged(DataType::Utf8View, "yeoul.type", "jsonb")).oid(), 3802);
        assert_eq!(type_of(&tagged(DataType::Int32, "pg.oid_alias", "regclass")).oid(), 2205);
        assert_eq!(type_of(&tagged(DataType::Utf8, "pg.char", "true")).oid(), 18);
    }

    #[test]
    fn a_numeric_tells_its_scale() {
        let field = Arc::new(Field::new("n", DataType::Decimal128(12, 2), true));
        assert_eq!(PgColumn::new(&field, false).modifier(), (12 << 16 | 2) + 4);
    }
}
