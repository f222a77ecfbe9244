//! Where a value goes: a field of a record or an element of an array, and what type of Avro is there.

use arrow::datatypes::{DataType, Field};

use crate::encode::cells::Cells;

/// See the module.
#[derive(Debug)]
pub(super) struct Slot {
    /// The column's own name, which may be none of Avro's.
    pub(super) name: String,
    /// Whether it is a union of null and `form`.
    pub(super) nullable: bool,
    pub(super) form: Form,
}

/// A type of Avro.
#[derive(Debug)]
pub(super) enum Form {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Decimal { precision: u8, scale: usize },
    Date,
    Time,
    Timestamp { zoned: bool },
    Text,
    Uuid,
    Bytes,
    Array(Box<Slot>),
    Record(Vec<Slot>),
}

/// What holds every unsigned number of 64 bits.
const UNSIGNED: Form = Form::Decimal { precision: 20, scale: 0 };

impl Slot {
    /// The slot of the values `cells` of a column `field`.
    pub(super) fn new(field: &Field, cells: &Cells) -> Self {
        let form = Form::new(field.data_type(), cells);
        // Null alone: a union must not have a type twice.
        let nullable = field.is_nullable() && !matches!(form, Form::Null);
        Self { name: field.name().clone(), nullable, form }
    }
}

impl Form {
    fn new(data_type: &DataType, cells: &Cells) -> Self {
        match (cells, data_type) {
            (_, DataType::Dictionary(_, value)) => Self::new(value, cells),
            (Cells::List(_, items), DataType::List(item))
            | (Cells::List(_, items), DataType::LargeList(item))
            | (Cells::List(_, items), DataType::FixedSizeList(item, _)) => {
                Self::Array(Box::new(Slot::new(item, items)))
            }
            (Cells::Struct(_, columns), DataType::Struct(fields)) => {
                let slots = fields.iter().zip(columns);
                Self::Record(slots.map(|(field, (_, cells))| Slot::new(field, cells)).collect())
            }
            (Cells::Int(_), DataType::Int64) => Self::Long,
            (Cells::Int(_), _) => Self::Int,
            (Cells::Unsigned(_), DataType::UInt64) => UNSIGNED,
            (Cells::Unsigned(_), DataType::UInt32) => Self::Long,
            (Cells::Unsigned(_), _) => Self::Int,
            (Cells::Decimal(values, scale), _) => {
                Self::Decimal { precision: values.precision(), scale: *scale }
            }
            (Cells::Null, _) => Self::Null,
            (Cells::Bool(_), _) => Self::Boolean,
            (Cells::Float32(_), _) => Self::Float,
            (Cells::Float64(_), _) => Self::Double,
            (Cells::Date(_), _) => Self::Date,
            (Cells::Time(_), _) => Self::Time,
            (Cells::Timestamp { zoned, .. }, _) => Self::Timestamp { zoned: *zoned },
            (Cells::Uuid(_), _) => Self::Uuid,
            (Cells::Binary(_), _) => Self::Bytes,
            (Cells::Interval(_) | Cells::Text(_) | Cells::Json(_), _) => Self::Text,
            (Cells::List(..) | Cells::Struct(..), _) => {
                unreachable!("only lists and structs have their cells")
            }
        }
    }
}
