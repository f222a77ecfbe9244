//! The streams and tables of a case, and rows for them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, SchemaRef};
use arrow::util::display::ArrayFormatter;

use super::chance::Chance;

/// What may be done with the values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole numbers so small that no sum of them overflows.
    Int,
    /// Whole numbers up to the ends of their type: compared, never added.
    Big,
    /// Floats whose sums are exact in every order.
    Float,
    /// Floats up to the ends of their type, and both zeros: compared, never added.
    Wild,
    /// The same with NaN among them.
    Nan,
    /// Floats that depend on the order of additions: compared with a tolerance only.
    Approx,
    /// Decimals.
    Decimal,
    /// Texts.
    Text,
    /// Truths.
    Bool,
    /// Event times.
    Time,
    /// Days.
    Date,
    /// Lengths of time.
    Length,
    /// Values that are compared for equality at most.
    Opaque,
    /// Lists: read, never computed with.
    List,
}

/// A column of a relation.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
}

/// A stream or table.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub name: String,
    pub table: bool,
    pub columns: Vec<Column>,
    pub sql: String,
    /// Whether a stored id never comes twice.
    pub unique: bool,
    /// Whether it has a watermark.
    pub event_time: bool,
    /// The columns that are never null.
    never_null: Vec<&'static str>,
    next_id: i64,
}

const COLUMNS: [(&str, &str, Kind); 17] = [
    ("id", "BIGINT", Kind::Int),
    ("ts", "", Kind::Time),
    ("k", "VARCHAR", Kind::Text),
    ("g", "INT", Kind::Int),
    ("n", "BIGINT", Kind::Int),
    ("big", "BIGINT", Kind::Big),
    ("f", "DOUBLE PRECISION", Kind::Float),
    ("wild", "DOUBLE PRECISION", Kind::Wild),
    ("nan", "DOUBLE PRECISION", Kind::Nan),
    ("r", "REAL", Kind::Float),
    ("d", "NUMERIC(12, 2)", Kind::Decimal),
    ("b", "BOOLEAN", Kind::Bool),
    ("s", "TEXT", Kind::Text),
    ("day", "DATE", Kind::Date),
    ("u", "UUID", Kind::Opaque),
    ("j", "JSONB", Kind::Opaque),
    ("i", "INTERVAL", Kind::Length),
];

const TEXTS: [&str; 10] =
    ["", "a", "ä", "日本語", "🦀🦀", "null", " x ", "A|B,'q'", "longer than twelve bytes", "Z\n\t"];

/// 2026-01-01T00:00:00Z
const START_US: i64 = 1_767_225_600_000_000;
const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// The type of every `ts` of a case: unions need the same everywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeType(pub &'static str);

impl Base {
    pub(super) fn stream(chance: &mut Chance, name: &str, time: TimeType) -> Self {
        let event_time = !chance.once_in(5);
        let mut never_null = vec!["id"];
        if chance.once_in(2) {
            never_null.push("k");
        }
        let mut options = Vec::new();
        let mut unique = false;
        if !chance.once_in(3) {
            options.push("unique_key = 'id'".to_owned());
            unique = !chance.once_in(3);
            if !unique {
                options.push("unique_within = '1 hour'".to_owned());
            }
        }
        if chance.once_in(3) {
            options.push(format!("order_by = '{}'", chance.pick(&["k, ts", "s, n", "f", "b, id"])));
        }
        if chance.once_in(3) {
            options.push(format!("partition_by = '{}(ts)'", chance.pick(&["hour", "day"])));
        }
        let mut lines = columns(&never_null, time);
        if event_time {
            lines.push("WATERMARK FOR ts AS ts - INTERVAL '5 seconds'".to_owned());
            // The law holds in the year 2200, too.
            options.push("future_skew = 'unlimited'".to_owned());
        }
        let with = match options.is_empty() {
            true => String::new(),
            false => format!(" WITH ({})", options.join(", ")),
        };
        let sql = format!("CREATE STREAM {name} ({}){with}", lines.join(", "));
        Self::new(name, false, sql, unique, event_time, never_null)
    }

    pub(super) fn table(chance: &mut Chance, name: &str, time: TimeType) -> Self {
        let never_null = if chance.once_in(3) { vec!["id", "day"] } else { vec!["id"] };
        let mut lines = columns(&never_null, time);
        lines.push(format!("PRIMARY KEY ({})", never_null.join(", ")));
        let sql = format!("CREATE TABLE {name} ({})", lines.join(", "));
        Self::new(name, true, sql, false, false, never_null)
    }

    fn new(
        name: &str,
        table: bool,
        sql: String,
        unique: bool,
        event_time: bool,
        never_null: Vec<&'static str>,
    ) -> Self {
        let column = |c: &(&str, &str, Kind)| Column { name: c.0.to_owned(), kind: c.2 };
        let columns = COLUMNS.iter().map(column).collect();
        let name = name.to_owned();
        Self { name, table, columns, sql, unique, event_time, never_null, next_id: 0 }
    }

    /// Rows of `schema`: new ones, known ids again, late ones, nulls.
    pub(super) fn rows(
        &mut self,
        chance: &mut Chance,
        schema: &SchemaRef,
        rows: usize,
    ) -> RecordBatch {
        let arrays = schema.fields().iter().map(|field| self.array(chance, field, rows)).collect();
        let batch = RecordBatch::try_new(Arc::clone(schema), arrays).expect("rows of the schema");
        if !self.table && rows > 1 && chance.once_in(4) {
            let doubled =
                arrow::compute::concat_batches(schema, [&batch, &batch.slice(0, rows / 2)]);
            return doubled.expect("rows of one schema");
        }
        batch
    }

    fn id(&mut self, chance: &mut Chance) -> i64 {
        if self.table {
            return i64::try_from(chance.skewed(60)).expect("small");
        }
        if self.next_id > 0 && chance.once_in(6) {
            return (self.next_id - chance.between(1, 200)).max(0);
        }
        self.next_id += 1;
        self.next_id
    }

    fn array(&mut self, chance: &mut Chance, field: &Field, rows: usize) -> ArrayRef {
        let nulls = !self.never_null.contains(&field.name().as_str());
        let moving = self.next_id;
        let c = chance;
        match field.name().as_str() {
            "id" => Arc::new(Int64Array::from_iter_values((0..rows).map(|_| self.id(c)))),
            "ts" => {
                let times = each(c, rows, nulls, |c| time_us(c, moving));
                let times = TimestampMicrosecondArray::from_iter(times);
                match field.data_type() {
                    DataType::Timestamp(_, Some(zone)) => {
                        Arc::new(times.with_timezone(Arc::clone(zone)))
                    }
                    _ => Arc::new(times),
                }
            }
            "k" => Arc::new(StringViewArray::from_iter(each(c, rows, nulls, |c| {
                format!("k{}", c.skewed(9))
            }))),
            "g" => Arc::new(Int32Array::from_iter(each(c, rows, nulls, |c| {
                i32::try_from(c.skewed(12)).expect("small") - 2
            }))),
            "n" => {
                Arc::new(Int64Array::from_iter(each(c, rows, nulls, |c| c.between(-1000, 1000))))
            }
            "big" => Arc::new(Int64Array::from_iter(each(c, rows, nulls, |c| {
                *c.pick(&[i64::MIN, i64::MIN + 1, -1, 0, 1, 1 << 53, i64::MAX - 1, i64::MAX])
            }))),
            "f" => {
                Arc::new(Float64Array::from_iter(each(c, rows, nulls, |c| f64::from(quarter(c)))))
            }
            "wild" => Arc::new(Float64Array::from_iter(each(c, rows, nulls, |c| *c.pick(&WILD)))),
            "nan" => Arc::new(Float64Array::from_iter(each(c, rows, nulls, |c| {
                if c.once_in(5) { f64::NAN } else { *c.pick(&WILD) }
            }))),
            "r" => Arc::new(Float32Array::from_iter(each(c, rows, nulls, quarter))),
            "d" => {
                let values = each(c, rows, nulls, |c| i128::from(c.between(-50_000, 50_000)));
                let array = Decimal128Array::from_iter(values).with_precision_and_scale(12, 2);
                Arc::new(array.expect("digits that fit"))
            }
            "b" => Arc::new(BooleanArray::from(each(c, rows, nulls, |c| c.once_in(3)))),
            "s" => Arc::new(StringViewArray::from_iter(each(c, rows, nulls, text))),
            "day" => Arc::new(Date32Array::from_iter(each(c, rows, nulls, |c| {
                20_400 + i32::try_from(c.skewed(4)).expect("small")
            }))),
            "u" => {
                let values = each(c, rows, nulls, |c| {
                    let mut bytes = [0_u8; 16];
                    bytes[c.below(2) * 15] = u8::try_from(c.skewed(5)).expect("small");
                    bytes
                });
                let array =
                    FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), 16);
                Arc::new(array.expect("16 bytes each"))
            }
            "j" => Arc::new(StringViewArray::from_iter(each(c, rows, nulls, |c| {
                format!(r#"{{"page":"p{}","n":{}}}"#, c.skewed(4), c.below(3))
            }))),
            "i" => Arc::new(IntervalMonthDayNanoArray::from(each(c, rows, nulls, |c| {
                let (months, days) = *c.pick(&[(0, 0), (0, 1), (-3, 0), (14, -3)]);
                IntervalMonthDayNano::new(months, days, c.between(-3, 3) * 1_500_000_000)
            }))),
            other => panic!("no values for the column {other}"),
        }
    }
}

fn columns(never_null: &[&str], time: TimeType) -> Vec<String> {
    let line = |(name, sql, kind): &(&str, &str, Kind)| {
        let sql = if *kind == Kind::Time { time.0 } else { sql };
        let suffix = if never_null.contains(name) { " NOT NULL" } else { "" };
        format!("{name} {sql}{suffix}")
    };
    COLUMNS.iter().map(line).collect()
}

const WILD: [f64; 12] = [
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    5e-324,
    -5e-324,
    1e300,
    0.0,
    -0.0,
    1.5,
    -2.5,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

fn each<T>(
    chance: &mut Chance,
    rows: usize,
    nulls: bool,
    mut value: impl FnMut(&mut Chance) -> T,
) -> Vec<Option<T>> {
    (0..rows).map(|_| (!nulls || !chance.once_in(12)).then(|| value(chance))).collect()
}

fn quarter(chance: &mut Chance) -> f32 {
    f32::from(i16::try_from(chance.between(-4000, 4000)).expect("small")) / 4.0
}

fn text(chance: &mut Chance) -> String {
    match chance.once_in(4) {
        true => format!("{}-{}", chance.pick(&TEXTS), chance.below(50)),
        false => (*chance.pick(&TEXTS)).to_owned(),
    }
}

/// Around an hour that goes on with the ids; sometimes days late, rarely far away.
fn time_us(chance: &mut Chance, moving: i64) -> i64 {
    let jitter = chance.between(-30 * SECOND_US, 30 * SECOND_US);
    let near = START_US + moving * SECOND_US + jitter;
    if chance.once_in(150) {
        return *chance.pick(&[-1, 0, -2_208_988_800 * SECOND_US, 7_258_118_400 * SECOND_US]);
    }
    if chance.once_in(15) {
        return near - chance.between(0, 3) * DAY_US - chance.between(0, 7200) * SECOND_US;
    }
    // Whole seconds too, so that times are equal and stand on the edges of windows.
    if chance.once_in(3) { near - near.rem_euclid(10 * SECOND_US) } else { near }
}

/// The rows as `VALUES`.
pub(super) fn values(rows: &RecordBatch, time: TimeType) -> String {
    let formatters: Vec<_> = rows
        .columns()
        .iter()
        .map(|c| ArrayFormatter::try_new(c, &Default::default()).expect("a shown type"))
        .collect();
    let cell = |row: usize, column: usize| {
        let (name, sql, _) = COLUMNS
            .iter()
            .find(|c| c.0 == rows.schema_ref().field(column).name())
            .expect("a column of ours");
        let sql = if *name == "ts" { time.0 } else { sql };
        if rows.column(column).is_null(row) {
            return format!("CAST(NULL AS {sql})");
        }
        let mut text = formatters[column].value(row).to_string().replace('\'', "''");
        if *name == "u" {
            for at in [20, 16, 12, 8] {
                text.insert(at, '-');
            }
        }
        format!("CAST('{text}' AS {sql})")
    };
    let row = |row| {
        let cells: Vec<String> = (0..rows.num_columns()).map(|c| cell(row, c)).collect();
        format!("({})", cells.join(", "))
    };
    (0..rows.num_rows()).map(row).collect::<Vec<_>>().join(", ")
}
