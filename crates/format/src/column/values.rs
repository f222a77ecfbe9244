//! The values of a column by their type.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalMonthDayNano, IntervalUnit, TimeUnit};

use super::{Column, Forms, TextValues};
use crate::error::FormatError;
use yeoul_batch::{JSONB, LENGTH_KEY, TYPE_KEY, TimestampUnit, UUID};

/// The values of a column; which variant is its type.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    Bool(Vec<bool>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal { values: Vec<i128>, precision: u8, scale: i8 },
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp { values: Vec<i64>, zone: Option<Arc<str>>, unit: TimestampUnit },
    Interval(Vec<IntervalMonthDayNano>),
    Text { values: TextValues, chars_max: usize },
    Json(TextValues),
    Uuid(Vec<[u8; 16]>),
    Binary { ends: Vec<i32>, bytes: Vec<u8> },
    List { ends: Vec<i32>, item: Box<Column>, field: FieldRef },
}

impl Values {
    pub(crate) fn new(field: &Field, forms: Forms) -> Result<Self, FormatError> {
        let sql_type = field.metadata().get(TYPE_KEY).map(String::as_str);
        Ok(match field.data_type() {
            DataType::Boolean => Self::Bool(Vec::new()),
            DataType::Int16 => Self::Int16(Vec::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::Float32 => Self::Float32(Vec::new()),
            DataType::Float64 => Self::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => {
                Self::Decimal { values: Vec::new(), precision: *precision, scale: *scale }
            }
            DataType::Date32 => Self::Date(Vec::new()),
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Self::Timestamp { values: Vec::new(), zone: zone.clone(), unit: forms.unit }
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::Interval(Vec::new()),
            DataType::Utf8View if sql_type == Some(JSONB) => Self::Json(TextValues::default()),
            DataType::Utf8View => {
                let length = field.metadata().get(LENGTH_KEY).and_then(|n| n.parse().ok());
                Self::Text {
                    values: TextValues::default(),
                    chars_max: length.unwrap_or(usize::MAX),
                }
            }
            DataType::FixedSizeBinary(16) if sql_type == Some(UUID) => Self::Uuid(Vec::new()),
            DataType::Binary => Self::Binary { ends: Vec::new(), bytes: Vec::new() },
            DataType::List(item) => Self::List {
                ends: Vec::new(),
                item: Box::new(Column::new(item, forms)?),
                field: Arc::clone(item),
            },
            other => {
                return Err(FormatError::UnsupportedType {
                    column: field.name().clone(),
                    data_type: other.to_string(),
                });
            }
        })
    }

    /// Appends the value that stands where a null is.
    pub(crate) fn push_zero(&mut self) {
        match self {
            Self::Bool(v) => v.push(false),
            Self::Int16(v) => v.push(0),
            Self::Int32(v) | Self::Date(v) => v.push(0),
            Self::Int64(v) | Self::Time(v) | Self::Timestamp { values: v, .. } => v.push(0),
            Self::Float32(v) => v.push(0.0),
            Self::Float64(v) => v.push(0.0),
            Self::Decimal { values, .. } => values.push(0),
            Self::Interval(v) => v.push(IntervalMonthDayNano::ZERO),
            Self::Text { values, .. } | Self::Json(values) => values.push_empty(),
            Self::Uuid(v) => v.push([0; 16]),
            Self::Binary { ends, .. } | Self::List { ends, .. } => {
                ends.push(ends.last().copied().unwrap_or(0));
            }
        }
    }

    /// Forgets the values from `len` on, and what a failed push left behind them.
    pub(crate) fn truncate(&mut self, len: usize) {
        match self {
            Self::Bool(v) => v.truncate(len),
            Self::Int16(v) => v.truncate(len),
            Self::Int32(v) | Self::Date(v) => v.truncate(len),
            Self::Int64(v) | Self::Time(v) | Self::Timestamp { values: v, .. } => v.truncate(len),
            Self::Float32(v) => v.truncate(len),
            Self::Float64(v) => v.truncate(len),
            Self::Decimal { values, .. } => values.truncate(len),
            Self::Interval(v) => v.truncate(len),
            Self::Text { values, .. } | Self::Json(values) => values.truncate(len),
            Self::Uuid(v) => v.truncate(len),
            Self::Binary { ends, bytes } => {
                ends.truncate(len);
                bytes.truncate(ends.last().map_or(0, |&end| usize::try_from(end).unwrap_or(0)));
            }
            Self::List { ends, item, .. } => {
                ends.truncate(len);
                item.truncate(ends.last().map_or(0, |&end| usize::try_from(end).unwrap_or(0)));
            }
        }
    }
}

/// The type's SQL name, for messages.
impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool(_) => "boolean",
            Self::Int16(_) => "smallint",
            Self::Int32(_) => "integer",
            Self::Int64(_) => "bigint",
            Self::Float32(_) => "real",
            Self::Float64(_) => "double precision",
            Self::Decimal { precision, scale, .. } => {
                return write!(f, "numeric({precision},{scale})");
            }
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::Timestamp { zone: None, .. } => "timestamp",
            Self::Timestamp { .. } => "timestamptz",
            Self::Interval(_) => "interval",
            Self::Text { chars_max: usize::MAX, .. } => "varchar",
            Self::Text { chars_max, .. } => return write!(f, "varchar({chars_max})"),
            Self::Json(_) => "jsonb",
            Self::Uuid(_) => "uuid",
            Self::Binary { .. } => "bytea",
            Self::List { item, .. } => return write!(f, "{}[]", item.values),
        })
    }
}
