//! The types of SQL and the Arrow types they are.
//!
//! | SQL | Arrow |
//! |---|---|
//! | boolean | Boolean |
//! | smallint, int, bigint | Int16, Int32, Int64 |
//! | real, double precision | Float32, Float64 |
//! | numeric(p, s) | Decimal128(p, s), without (p, s): (38, 9) |
//! | varchar, text, char | Utf8View, `varchar(n)` with `yeoul.length` |
//! | date, time | Date32, Time64(µs) |
//! | timestamp, timestamptz | Timestamp(µs), Timestamp(µs, "UTC") |
//! | interval | Interval(MonthDayNano) |
//! | jsonb | Utf8View, `yeoul.type` = jsonb |
//! | uuid | FixedSizeBinary(16), `yeoul.type` = uuid |
//! | T\[\] | List(T) |
//! | bytea | Binary |
//!
//! What must hold: every result of a query has one of these types ([`stored`]).

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    self as sql, ArrayElemTypeDef, CharacterLength, ExactNumberInfo, TimezoneInfo,
};

use crate::error::{ErrorKind, SqlError};
pub use yeoul_batch::{JSONB, LENGTH_KEY, TYPE_KEY, UUID};

/// The precision of `numeric` without one.
pub const NUMERIC_PRECISION: u8 = 38;
/// The scale of `numeric` without one.
pub const NUMERIC_SCALE: i8 = 9;

/// The type names of messages and documentation.
pub const NAMES: [&str; 18] = [
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "varchar",
    "text",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "jsonb",
    "uuid",
    "bytea",
    "T[]",
];

/// `timestamptz`.
#[must_use]
pub fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// `timestamp`.
#[must_use]
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// A nullable, unnamed `uuid`.
#[must_use]
pub fn uuid() -> Field {
    tagged(DataType::FixedSizeBinary(16), TYPE_KEY, UUID)
}

/// A nullable, unnamed `jsonb`.
#[must_use]
pub fn jsonb() -> Field {
    tagged(DataType::Utf8View, TYPE_KEY, JSONB)
}

fn tagged(data_type: DataType, key: &str, value: &str) -> Field {
    let metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
    Field::new("", data_type, true).with_metadata(metadata)
}

fn tag(field: &Field) -> Option<&str> {
    field.metadata().get(TYPE_KEY).map(String::as_str)
}

/// Whether the column holds `uuid`s.
#[must_use]
pub fn is_uuid(field: &Field) -> bool {
    tag(field) == Some(UUID) && *field.data_type() == DataType::FixedSizeBinary(16)
}

/// Whether the column holds `jsonb`.
#[must_use]
pub fn is_jsonb(field: &Field) -> bool {
    tag(field) == Some(JSONB)
}

/// Whether values of the type are strings.
pub(crate) fn is_string(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The Arrow field (nullable, without a name) of a SQL type.
pub fn from_sql(sql_type: &sql::DataType) -> Result<Field, SqlError> {
    use sql::DataType as T;
    let plain = |t: DataType| Ok(Field::new("", t, true));
    match sql_type {
        T::Bool | T::Boolean => plain(DataType::Boolean),
        T::Int2(None) | T::SmallInt(None) => plain(DataType::Int16),
        T::Int(None) | T::Integer(None) | T::Int4(None) => plain(DataType::Int32),
        T::BigInt(None) | T::Int8(None) => plain(DataType::Int64),
        T::Real | T::Float4 => plain(DataType::Float32),
        T::Float8 | T::DoublePrecision | T::Double(ExactNumberInfo::None) => {
            plain(DataType::Float64)
        }
        T::Float(ExactNumberInfo::None) => plain(DataType::Float64),
        T::Float(ExactNumberInfo::Precision(p)) => {
            plain(if *p <= 24 { DataType::Float32 } else { DataType::Float64 })
        }
        T::Numeric(info) | T::Decimal(info) | T::Dec(info) => numeric(info, sql_type),
        T::Text | T::String(None) | T::CharacterVarying(None) | T::Varchar(None) => {
            plain(DataType::Utf8View)
        }
        T::Char(n) | T::Character(n) | T::Varchar(n) | T::CharacterVarying(n) => {
            Ok(with_length(n.as_ref()))
        }
        T::Date => plain(DataType::Date32),
        T::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            plain(DataType::Time64(TimeUnit::Microsecond))
        }
        T::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => plain(timestamptz()),
        T::Timestamp(..) | T::TimestampNtz(_) | T::Datetime(_) => plain(timestamp()),
        T::Interval { .. } => plain(DataType::Interval(IntervalUnit::MonthDayNano)),
        T::JSON | T::JSONB => Ok(jsonb()),
        T::Uuid => Ok(uuid()),
        T::Bytea => plain(DataType::Binary),
        T::Array(
            ArrayElemTypeDef::SquareBracket(inner, _) | ArrayElemTypeDef::AngleBracket(inner),
        ) => {
            let item = from_sql(inner)?.with_name("item");
            plain(DataType::List(Arc::new(item)))
        }
        T::Custom(name, _) => custom(name, sql_type),
        other => Err(unknown(other)),
    }
}

/// Type names the parser does not know, among them those that Postgres's own tools cast to.
fn custom(name: &sql::ObjectName, sql_type: &sql::DataType) -> Result<Field, SqlError> {
    let last = name.0.last().map(ToString::to_string).unwrap_or_default().to_lowercase();
    let data_type = match last.trim_matches('"') {
        "name" | "bpchar" | "citext" => DataType::Utf8View,
        "oid" | "regclass" | "regtype" | "regproc" | "regnamespace" => DataType::Int64,
        _ => return Err(unknown(sql_type)),
    };
    Ok(Field::new("", data_type, true))
}

fn unknown(sql_type: &sql::DataType) -> SqlError {
    let name = sql_type.to_string().to_lowercase();
    let e = SqlError::new(ErrorKind::UndefinedObject, format!("type \"{name}\" does not exist"))
        .detail(format!("the types are {}", crate::nearest::list(NAMES)));
    let also = ["int", "bool", "decimal", "json", "float8", "char", "string"];
    match crate::nearest::did_you_mean(&name, NAMES.into_iter().chain(also)) {
        Some(hint) => e.hint(hint),
        None => e,
    }
}

fn with_length(length: Option<&CharacterLength>) -> Field {
    match length {
        Some(CharacterLength::IntegerLength { length, .. }) => {
            tagged(DataType::Utf8View, LENGTH_KEY, &length.to_string())
        }
        _ => Field::new("", DataType::Utf8View, true),
    }
}

fn numeric(info: &ExactNumberInfo, sql_type: &sql::DataType) -> Result<Field, SqlError> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => (u64::from(NUMERIC_PRECISION), i64::from(NUMERIC_SCALE)),
        ExactNumberInfo::Precision(p) => (p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (p, s),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p @ 1..=38), Ok(s)) if s >= 0 && i64::from(p) >= scale => {
            Ok(Field::new("", DataType::Decimal128(p, s), true))
        }
        _ => Err(SqlError::new(
            ErrorKind::InvalidDefinition,
            format!("\"{}\" is not a numeric type", sql_type.to_string().to_lowercase()),
        )
        .detail("numeric(p, s) needs 1 <= p <= 38 and 0 <= s <= p")),
    }
}

/// The name by which SQL knows the type of a column.
#[must_use]
pub fn sql_name(field: &Field) -> String {
    if is_jsonb(field) {
        return "jsonb".to_owned();
    }
    if is_uuid(field) {
        return "uuid".to_owned();
    }
    if let Some(n) = field.metadata().get(LENGTH_KEY) {
        return format!("varchar({n})");
    }
    sql_type_name(field.data_type())
}

/// The name by which SQL knows an Arrow type, its metadata aside.
#[must_use]
pub fn sql_type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Null => "unknown",
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::UInt64 => "numeric(20,0)",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar",
        DataType::FixedSizeBinary(16) => "uuid",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => return format!("numeric({p},{s})"),
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::ListView(f)
        | DataType::LargeListView(f)
        | DataType::FixedSizeList(f, _) => return format!("{}[]", sql_name(f)),
        DataType::Dictionary(_, v) => return sql_type_name(v),
        DataType::RunEndEncoded(_, v) => return sql_name(v),
        // What has no form in SQL goes out as JSON.
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => "json",
    };
    name.to_owned()
}

/// The type in which a value of `data_type` is stored and sent: one of the table above. `None`
/// where there is none (structs, maps and their like).
#[must_use]
pub fn stored(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Utf8View
        | DataType::Date32
        | DataType::FixedSizeBinary(16)
        | DataType::Binary => data_type.clone(),
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Decimal256(_, s) => DataType::Decimal128(38, *s),
        DataType::Date64 => timestamp(),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => timestamp(),
        DataType::Timestamp(_, Some(_)) => timestamptz(),
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Dictionary(_, v) => stored(v)?,
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => {
            let item = f.as_ref().clone().with_data_type(stored(f.data_type())?);
            DataType::List(Arc::new(item))
        }
        _ => return None,
    })
}

/// Gives DataFusion our types for the type names in queries.
#[derive(Debug, Default)]
pub(crate) struct OurTypes;

impl TypePlanner for OurTypes {
    fn plan_type_field(&self, sql_type: &sql::DataType) -> DfResult<Option<FieldRef>> {
        match from_sql(sql_type) {
            Ok(field) => Ok(Some(Arc::new(field))),
            Err(e) => Err(DataFusionError::External(Box::new(e))),
        }
    }
}
