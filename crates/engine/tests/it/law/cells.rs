//! Values of rows: as columns for a delivery, as SQL for a statement.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, Int64Builder, IntervalMonthDayNanoArray,
    ListBuilder, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, SchemaRef, TimestampMicrosecondType,
};
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Float(f64),
    /// Hundredths.
    Decimal(i128),
    Text(String),
    Bool(bool),
    /// Microseconds since 1970.
    Time(i64),
    /// Days since 1970.
    Date(i32),
    Uuid([u8; 16]),
    /// Months, days, nanoseconds.
    Length(i32, i32, i64),
    Ints(Vec<Option<i64>>),
}

/// The columns of `schema` out of rows of cells.
pub(super) fn batch(schema: &SchemaRef, rows: &[Vec<Cell>]) -> RecordBatch {
    let column = |(at, field): (usize, &Arc<Field>)| array(field, rows.iter().map(|row| &row[at]));
    let arrays = schema.fields().iter().enumerate().map(column).collect();
    RecordBatch::try_new(Arc::clone(schema), arrays).expect("rows of the schema")
}

/// One array; a cell that is not of the type of the column is a mistake of these tests.
fn array<'a>(field: &Field, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    macro_rules! values {
        ($pattern:pat => $value:expr) => {
            cells.map(|cell| match cell {
                Cell::Null => None,
                $pattern => Some($value),
                other => panic!("{other:?} in {field:?}"),
            })
        };
    }
    match field.data_type() {
        DataType::Int64 => Arc::new(Int64Array::from_iter(values!(Cell::Int(x) => *x))),
        DataType::Int32 => Arc::new(Int32Array::from_iter(
            values!(Cell::Int(x) => i32::try_from(*x).expect("small")),
        )),
        DataType::Float64 => Arc::new(Float64Array::from_iter(values!(Cell::Float(x) => *x))),
        // Quarters up to a thousand, which are exact.
        #[expect(clippy::cast_possible_truncation, reason = "values of REAL have few digits")]
        DataType::Float32 => {
            Arc::new(Float32Array::from_iter(values!(Cell::Float(x) => *x as f32)))
        }
        DataType::Decimal128(precision, scale) => {
            let array = Decimal128Array::from_iter(values!(Cell::Decimal(x) => *x));
            let array = array.with_precision_and_scale(*precision, *scale);
            Arc::new(array.expect("digits that fit"))
        }
        DataType::Utf8View => {
            Arc::new(StringViewArray::from_iter(values!(Cell::Text(x) => x.as_str())))
        }
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values!(Cell::Bool(x) => *x))),
        DataType::Timestamp(_, zone) => {
            let times = TimestampMicrosecondArray::from_iter(values!(Cell::Time(x) => *x));
            Arc::new(times.with_timezone_opt(zone.clone()))
        }
        DataType::Date32 => Arc::new(Date32Array::from_iter(values!(Cell::Date(x) => *x))),
        DataType::FixedSizeBinary(_) => {
            let values = values!(Cell::Uuid(x) => x);
            let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16);
            Arc::new(array.expect("16 bytes each"))
        }
        DataType::Interval(_) => Arc::new(IntervalMonthDayNanoArray::from_iter(
            values!(Cell::Length(m, d, n) => IntervalMonthDayNano::new(*m, *d, *n)),
        )),
        DataType::List(item) => {
            let mut lists = ListBuilder::new(Int64Builder::new()).with_field(Arc::clone(item));
            for list in values!(Cell::Ints(x) => x) {
                lists.append_option(list.map(|list| list.iter().copied()));
            }
            Arc::new(lists.finish())
        }
        other => panic!("no values of {other}"),
    }
}

/// The rows of a batch, whose columns are of types that [`batch`] makes.
pub(super) fn rows(batch: &RecordBatch) -> Vec<Vec<Cell>> {
    let row = |at| batch.columns().iter().map(|column| cell(column, at)).collect();
    (0..batch.num_rows()).map(row).collect()
}

fn cell(column: &ArrayRef, at: usize) -> Cell {
    if column.is_null(at) {
        return Cell::Null;
    }
    match column.data_type() {
        DataType::Int64 => Cell::Int(column.as_primitive::<Int64Type>().value(at)),
        DataType::Int32 => Cell::Int(column.as_primitive::<Int32Type>().value(at).into()),
        DataType::Float64 => Cell::Float(column.as_primitive::<Float64Type>().value(at)),
        DataType::Float32 => Cell::Float(column.as_primitive::<Float32Type>().value(at).into()),
        DataType::Decimal128(..) => {
            Cell::Decimal(column.as_primitive::<Decimal128Type>().value(at))
        }
        DataType::Utf8View => Cell::Text(column.as_string_view().value(at).to_owned()),
        DataType::Boolean => Cell::Bool(column.as_boolean().value(at)),
        DataType::Timestamp(..) => {
            Cell::Time(column.as_primitive::<TimestampMicrosecondType>().value(at))
        }
        DataType::Date32 => Cell::Date(column.as_primitive::<Date32Type>().value(at)),
        DataType::FixedSizeBinary(_) => {
            let bytes = column.as_fixed_size_binary().value(at);
            Cell::Uuid(bytes.try_into().expect("16 bytes"))
        }
        DataType::Interval(_) => {
            let length = column.as_primitive::<IntervalMonthDayNanoType>().value(at);
            Cell::Length(length.months, length.days, length.nanoseconds)
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>().value(at);
            Cell::Ints(list.as_primitive::<Int64Type>().iter().collect())
        }
        other => panic!("no cells of {other}"),
    }
}

impl Cell {
    /// As an expression of the type `sql`.
    pub(super) fn sql(&self, sql: &str) -> String {
        let cast = |text: String| format!("CAST('{}' AS {sql})", text.replace('\'', "''"));
        match self {
            Self::Null => format!("CAST(NULL AS {sql})"),
            // The least number is not read as one: it is the negative of one that does not fit.
            Self::Int(x) if x.unsigned_abs() < 1 << 31 => x.to_string(),
            Self::Int(x) => cast(x.to_string()),
            Self::Float(x) => cast(format!("{x:?}")),
            Self::Decimal(x) => {
                let sign = if *x < 0 { "-" } else { "" };
                let x = x.abs();
                cast(format!("{sign}{}.{:02}", x / 100, x % 100))
            }
            Self::Text(x) if sql != "JSONB" => format!("'{}'", x.replace('\'', "''")),
            Self::Text(x) => cast(x.clone()),
            Self::Bool(x) => x.to_string(),
            Self::Time(us) => cast(time(*us, if sql == "TIMESTAMPTZ" { "Z" } else { "" })),
            Self::Date(day) => {
                let date = date32_to_datetime(*day).expect("a day that is shown");
                cast(date.date().to_string())
            }
            Self::Uuid(bytes) => {
                let mut text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                for at in [20, 16, 12, 8] {
                    text.insert(at, '-');
                }
                cast(text)
            }
            Self::Length(months, days, ns) => {
                let us = ns / 1000;
                let sign = if us < 0 { "-" } else { "" };
                let us = us.abs();
                let seconds = format!("{sign}{}.{:06}", us / 1_000_000, us % 1_000_000);
                cast(format!("{months} months {days} days {seconds} seconds"))
            }
            Self::Ints(list) => {
                let item = |x: &Option<i64>| x.map_or_else(|| "NULL".to_owned(), |x| x.to_string());
                let items: Vec<String> = list.iter().map(item).collect();
                format!("CAST(ARRAY[{}] AS {sql})", items.join(", "))
            }
        }
    }
}

/// An instant as text.
pub(super) fn time(us: i64, zone: &str) -> String {
    let time = timestamp_us_to_datetime(us).expect("an instant that is shown");
    format!("{}{zone}", time.to_string().replace(' ', "T"))
}
