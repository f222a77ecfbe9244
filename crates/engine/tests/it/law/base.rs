//! The streams and tables of a case, and rows for them.

use super::cells::Cell;
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
    /// Lists of whole numbers.
    Ints,
    /// Other lists: read, never computed with.
    List,
}

/// A column of a relation.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
}

impl Column {
    pub(super) fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// How the values of a case are strewn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mood {
    /// One value in so many is null.
    nulls: usize,
    /// How many different keys there are.
    keys: usize,
    /// Whether few of them have most of the rows.
    skewed: bool,
    /// One delivery in so many has rows twice.
    doubled: usize,
}

impl Mood {
    pub(super) fn new(chance: &mut Chance) -> Self {
        Self {
            nulls: *chance.pick(&[12, 12, 40, 3, 2]),
            keys: *chance.pick(&[1, 3, 9, 9, 60]),
            skewed: !chance.once_in(4),
            doubled: *chance.pick(&[4, 4, 1, 20]),
        }
    }

    /// A number below `end`.
    fn key(self, chance: &mut Chance, end: usize) -> i64 {
        let key = if self.skewed { chance.skewed(end) } else { chance.below(end) };
        i64::try_from(key).expect("small")
    }
}

/// A stream or table.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub name: String,
    pub table: bool,
    pub columns: Vec<Column>,
    /// The types of the columns.
    pub types: Vec<&'static str>,
    pub sql: String,
    /// Whether a stored id never comes twice.
    pub unique: bool,
    /// Whether it has a watermark.
    pub event_time: bool,
    /// Whether windows over it may be told when they are closed: every row knows the watermark before it.
    pub closing: bool,
    /// The columns that are never null.
    never_null: Vec<&'static str>,
    next_id: i64,
}

const COLUMNS: [(&str, &str, Kind); 18] = [
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
    ("li", "BIGINT[]", Kind::Ints),
];

/// The columns of a stream whose windows are closed: `seq` is the number of the commit, `wm` the watermark before it.
const CLOSING: [(&str, &str, Kind); 7] = [
    ("id", "BIGINT", Kind::Int),
    ("ts", "", Kind::Time),
    ("k", "VARCHAR", Kind::Text),
    ("g", "INT", Kind::Int),
    ("n", "BIGINT", Kind::Int),
    ("seq", "BIGINT", Kind::Int),
    ("wm", "", Kind::Time),
];

/// How far the watermark of such a stream is behind its newest row, less its lateness.
pub(super) const CLOSING_BEHIND_US: i64 = 15 * SECOND_US;

const TEXTS: [&str; 10] =
    ["", "a", "ä", "日本語", "🦀🦀", "null", " x ", "A|B,'q'", "longer than twelve bytes", "Z\n\t"];

/// 2026-01-01T00:00:00Z
pub(super) const START_US: i64 = 1_767_225_600_000_000;
pub(super) const SECOND_US: i64 = 1_000_000;
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
        if event_time {
            // The law holds in the year 2200, too.
            options.push("future_skew = 'unlimited'".to_owned());
            if chance.once_in(3) {
                options.push("lateness = '1 minute'".to_owned());
            }
        }
        let watermark = event_time.then_some("WATERMARK FOR ts AS ts - INTERVAL '5 seconds'");
        let mut base = Self::new(name, &COLUMNS, time, never_null);
        base.declare("STREAM", watermark, &options);
        Self { unique, event_time, ..base }
    }

    /// A stream whose windows are closed by rows that come one commit after another.
    pub(super) fn closing(name: &str, time: TimeType) -> Self {
        let mut base = Self::new(name, &CLOSING, time, vec!["id"]);
        let options =
            ["lateness = '10 seconds'".to_owned(), "future_skew = 'unlimited'".to_owned()];
        let watermark = "WATERMARK FOR ts AS ts - INTERVAL '5 seconds'";
        base.declare("STREAM", Some(watermark), &options);
        Self { event_time: true, closing: true, ..base }
    }

    pub(super) fn table(chance: &mut Chance, name: &str, time: TimeType) -> Self {
        let never_null = if chance.once_in(3) { vec!["id", "day"] } else { vec!["id"] };
        let key = format!("PRIMARY KEY ({})", never_null.join(", "));
        let mut base = Self::new(name, &COLUMNS, time, never_null);
        base.declare("TABLE", Some(&key), &[]);
        Self { table: true, ..base }
    }

    fn new(
        name: &str,
        columns: &[(&'static str, &'static str, Kind)],
        time: TimeType,
        never_null: Vec<&'static str>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            table: false,
            columns: columns.iter().map(|c| Column::new(c.0, c.2)).collect(),
            types: columns.iter().map(|c| if c.2 == Kind::Time { time.0 } else { c.1 }).collect(),
            sql: String::new(),
            unique: false,
            event_time: false,
            closing: false,
            never_null,
            next_id: 0,
        }
    }

    fn declare(&mut self, what: &str, last: Option<&str>, options: &[String]) {
        let line = |(column, sql): (&Column, &&str)| {
            let never_null = self.never_null.contains(&column.name.as_str());
            format!("{} {sql}{}", column.name, if never_null { " NOT NULL" } else { "" })
        };
        let mut lines: Vec<String> = self.columns.iter().zip(&self.types).map(line).collect();
        lines.extend(last.map(str::to_owned));
        let with = match options {
            [] => String::new(),
            options => format!(" WITH ({})", options.join(", ")),
        };
        self.sql = format!("CREATE {what} {} ({}){with}", self.name, lines.join(", "));
    }

    /// Whether a column has a value in every row.
    pub(super) fn is_never_null(&self, column: usize) -> bool {
        self.never_null.contains(&self.columns[column].name.as_str())
    }

    /// About where the times of new rows are.
    pub(super) fn now_us(&self) -> i64 {
        START_US + self.next_id * SECOND_US
    }

    /// New rows, known ids again, late ones, nulls.
    pub(super) fn rows(&mut self, chance: &mut Chance, mood: Mood, rows: usize) -> Vec<Vec<Cell>> {
        let mut all: Vec<Vec<Cell>> = (0..rows)
            .map(|_| {
                let id = self.id(chance);
                (0..self.columns.len()).map(|at| self.cell(chance, mood, at, id)).collect()
            })
            .collect();
        if !self.table && rows > 1 && chance.once_in(mood.doubled) {
            all.extend_from_within(..rows / 2);
        }
        all
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

    fn cell(&self, c: &mut Chance, mood: Mood, at: usize, id: i64) -> Cell {
        if !self.is_never_null(at) && c.once_in(mood.nulls) {
            return Cell::Null;
        }
        match self.columns[at].name.as_str() {
            "id" => Cell::Int(id),
            "ts" if self.closing => Cell::Time(time_near(c, self.next_id)),
            "ts" => Cell::Time(time_us(c, self.next_id)),
            "k" => Cell::Text(format!("k{}", mood.key(c, mood.keys))),
            "g" => Cell::Int(mood.key(c, mood.keys + 3) - 2),
            "n" => Cell::Int(c.between(-1000, 1000)),
            "big" => Cell::Int(*c.pick(&[
                i64::MIN,
                i64::MIN + 1,
                -1,
                0,
                1,
                1 << 53,
                i64::MAX - 1,
                i64::MAX,
            ])),
            "f" | "r" => Cell::Float(quarter(c)),
            "nan" if c.once_in(5) => Cell::Float(f64::NAN),
            "wild" | "nan" => Cell::Float(*c.pick(&WILD)),
            "d" => Cell::Decimal(i128::from(c.between(-50_000, 50_000))),
            "b" => Cell::Bool(c.once_in(3)),
            "s" => Cell::Text(text(c)),
            "day" => Cell::Date(20_400 + i32::try_from(c.skewed(4)).expect("small")),
            "u" => {
                let mut bytes = [0_u8; 16];
                bytes[c.below(2) * 15] = u8::try_from(c.skewed(5)).expect("small");
                Cell::Uuid(bytes)
            }
            "j" => Cell::Text(format!(r#"{{"page":"p{}","n":{}}}"#, c.skewed(4), c.below(3))),
            "i" => {
                let (months, days) = *c.pick(&[(0, 0), (0, 1), (-3, 0), (14, -3)]);
                Cell::Length(months, days, c.between(-3, 3) * 1_500_000_000)
            }
            "li" => {
                let count = c.skewed(5);
                let item = |c: &mut Chance| (!c.once_in(5)).then(|| c.between(-3, 9));
                Cell::Ints((0..count).map(|_| item(c)).collect())
            }
            // Told by whoever commits the row.
            "seq" | "wm" => Cell::Null,
            other => panic!("no values for the column {other}"),
        }
    }
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

fn quarter(chance: &mut Chance) -> f64 {
    f64::from(i16::try_from(chance.between(-4000, 4000)).expect("small")) / 4.0
}

fn text(chance: &mut Chance) -> String {
    if chance.once_in(3) {
        return format!("word {}", chance.below(12));
    }
    (*chance.pick(&TEXTS)).to_owned()
}

/// Around an hour that goes on with the ids; sometimes days late, rarely far away.
fn time_us(chance: &mut Chance, moving: i64) -> i64 {
    if chance.once_in(150) {
        return *chance.pick(&[-1, 0, -2_208_988_800 * SECOND_US, 7_258_118_400 * SECOND_US]);
    }
    let near = time_near(chance, moving);
    if chance.once_in(15) {
        return near - chance.between(0, 3) * DAY_US - chance.between(0, 7200) * SECOND_US;
    }
    near
}

/// Around half a minute on both sides of where the ids are; sometimes some minutes behind.
fn time_near(chance: &mut Chance, moving: i64) -> i64 {
    let jitter = chance.between(-30 * SECOND_US, 30 * SECOND_US);
    let behind = if chance.once_in(8) { chance.between(0, 240) * SECOND_US } else { 0 };
    let near = START_US + moving * SECOND_US + jitter - behind;
    // Whole seconds too, so that times are equal and stand on the edges of windows.
    if chance.once_in(3) { near - near.rem_euclid(10 * SECOND_US) } else { near }
}
