//! Queries that can be kept, over relations whose columns are known.

use super::base::{Column, Kind, TimeType};
use super::chance::Chance;
use super::exprs::Scope;

/// What a view can read.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub name: String,
    pub columns: Vec<Column>,
    /// Whether `first_value(x)` goes by the event time of its rows.
    pub event_time: bool,
    /// Whether it may have as many rows as two others have pairs.
    pub wide: bool,
}

/// A query and its columns.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub sql: String,
    pub columns: Vec<Column>,
    pub reads: Vec<String>,
    /// See [`Relation::wide`].
    pub wide: bool,
}

/// What stands after `FROM`.
struct Input {
    text: String,
    columns: Vec<Column>,
    reads: Vec<String>,
    wide: bool,
    event_time: bool,
    windowed: bool,
    /// Whether it is a subquery, whose columns may be constants.
    folded: bool,
}

/// Writes the query of one view.
pub(super) struct Writer<'a> {
    pub chance: &'a mut Chance,
    pub relations: &'a [Relation],
    pub time: TimeType,
    /// Begins the names of the columns, so that they are names of no input.
    pub prefix: String,
    /// Whether relations have few enough rows to be compared with each other.
    pub few: bool,
}

const WINDOW_COLUMNS: [&str; 2] = ["window_start", "window_end"];

impl Writer<'_> {
    pub(super) fn query(&mut self) -> Query {
        if self.few && self.chance.once_in(2) {
            return self.related();
        }
        match self.chance.below(10) {
            0 | 1 => self.linear(),
            2 => self.distinct(),
            3 => self.union(),
            _ => self.aggregate(),
        }
    }

    fn relation(&mut self) -> Relation {
        self.chance.pick(self.relations).clone()
    }

    pub(super) fn column(&self, at: usize, kind: Kind) -> Column {
        Column { name: format!("{}_{at}", self.prefix), kind }
    }

    pub(super) fn filter(&mut self, columns: &[Column]) -> String {
        if self.chance.once_in(2) {
            return String::new();
        }
        let scope = Scope { columns, time: self.time, folded: false };
        format!(" WHERE {}", scope.condition(self.chance, 2))
    }

    /// Some values of these columns, named.
    fn items(&mut self, from: &Input) -> (String, Vec<Column>) {
        let scope = Scope { columns: &from.columns, time: self.time, folded: false };
        let count = 1 + self.chance.below(6);
        let mut texts = Vec::new();
        let mut columns = Vec::new();
        for at in 0..count {
            let kind = self.chance.pick(&from.columns).kind;
            let value = scope.value(self.chance, kind);
            columns.push(self.column(at, kind));
            texts.push(format!("{value} AS {}", columns[at].name));
        }
        (texts.join(", "), columns)
    }

    fn linear(&mut self) -> Query {
        let from = self.from();
        let (items, columns) = self.items(&from);
        let filter = self.filter(&from.columns);
        let sql = format!("SELECT {items} FROM {}{filter}", from.text);
        Query { sql, columns, wide: from.wide, reads: from.reads }
    }

    fn distinct(&mut self) -> Query {
        let from = self.from();
        let scope = Scope { columns: &from.columns, time: self.time, folded: false };
        let kinds: Vec<Kind> =
            (0..1 + self.chance.below(3)).map(|_| scope.key_kind(self.chance)).collect();
        let (items, columns) = self.listed(&from.columns, &kinds);
        let filter = self.filter(&from.columns);
        let sql = format!("SELECT DISTINCT {items} FROM {}{filter}", from.text);
        Query { sql, columns, wide: from.wide, reads: from.reads }
    }

    /// One value for each of `kinds`, named.
    pub(super) fn listed(&mut self, from: &[Column], kinds: &[Kind]) -> (String, Vec<Column>) {
        let scope = Scope { columns: from, time: self.time, folded: false };
        let columns: Vec<Column> = (0..).zip(kinds).map(|(at, k)| self.column(at, *k)).collect();
        let texts: Vec<String> = columns
            .iter()
            .map(|c| format!("{} AS {}", scope.value(self.chance, c.kind), c.name))
            .collect();
        (texts.join(", "), columns)
    }

    fn union(&mut self) -> Query {
        use Kind as K;
        let all = if self.chance.once_in(4) { "" } else { " ALL" };
        let usual = [K::Int, K::Text, K::Float, K::Time, K::Bool, K::Date];
        let kinds: Vec<Kind> =
            (0..1 + self.chance.below(4)).map(|_| *self.chance.pick(&usual)).collect();
        let mut reads = Vec::new();
        let mut arms = Vec::new();
        let mut columns = Vec::new();
        let mut wide = false;
        for _ in 0..2 + self.chance.below(2) {
            let relation = self.relation();
            wide |= relation.wide;
            let (items, named) = self.listed(&relation.columns, &kinds);
            columns = named;
            let filter = self.filter(&relation.columns);
            arms.push(format!("SELECT {items} FROM {}{filter}", relation.name));
            reads.push(relation.name);
        }
        Query { sql: arms.join(&format!(" UNION{all} ")), columns, reads, wide }
    }

    /// A relation, a window over it, or a subquery.
    fn from(&mut self) -> Input {
        let relation = self.relation();
        let times: Vec<String> = relation
            .columns
            .iter()
            .filter(|c| c.kind == Kind::Time && !WINDOW_COLUMNS.contains(&c.name.as_str()))
            .map(|c| c.name.clone())
            .collect();
        match self.chance.below(10) {
            0 => {
                let inner = self.union();
                Input {
                    text: format!("({}) q", inner.sql),
                    columns: inner.columns,
                    reads: inner.reads,
                    wide: inner.wide,
                    event_time: false,
                    windowed: false,
                    folded: true,
                }
            }
            1..=5 if !times.is_empty() => {
                let time = self.chance.pick(&times).clone();
                self.window(relation, &time)
            }
            _ => Input {
                text: relation.name.clone(),
                columns: relation.columns,
                reads: vec![relation.name],
                wide: relation.wide,
                event_time: relation.event_time,
                windowed: false,
                folded: false,
            },
        }
    }

    fn window(&mut self, relation: Relation, time: &str) -> Input {
        let (name, time) = (&relation.name, time);
        let inner = match self.filter(&relation.columns) {
            filter if filter.is_empty() || self.chance.once_in(2) => name.clone(),
            filter => format!("(SELECT * FROM {name}{filter})"),
        };
        let text = match self.chance.below(6) {
            0 => format!("TUMBLE({inner}, {time}, INTERVAL '1 day')"),
            1 => format!("TUMBLE({inner}, {time}, INTERVAL '1 minute', INTERVAL '7 seconds')"),
            2 => format!("TUMBLE({inner}, {time}, INTERVAL '10 seconds')"),
            3 => format!("HOP({inner}, {time}, INTERVAL '20 seconds', INTERVAL '1 minute')"),
            4 => format!("HOP({inner}, {time}, INTERVAL '1 minute', INTERVAL '90 seconds')"),
            _ => format!("CUMULATE({inner}, {time}, INTERVAL '15 minutes', INTERVAL '1 hour')"),
        };
        let mut columns = relation.columns;
        columns
            .extend(WINDOW_COLUMNS.map(|name| Column { name: name.to_owned(), kind: Kind::Time }));
        Input {
            text,
            columns,
            reads: vec![relation.name],
            wide: relation.wide,
            event_time: relation.event_time,
            windowed: true,
            folded: false,
        }
    }

    fn aggregate(&mut self) -> Query {
        let from = self.from();
        let scope = Scope { columns: &from.columns, time: self.time, folded: from.folded };
        let mut keys: Vec<(String, Kind)> = Vec::new();
        if from.windowed {
            let bounds = 1 + self.chance.below(2);
            keys.extend(WINDOW_COLUMNS.iter().take(bounds).map(|n| ((*n).to_owned(), Kind::Time)));
        }
        let more = if self.chance.once_in(5) { 0 } else { 1 + self.chance.skewed(3) };
        for _ in 0..more {
            let kind = scope.key_kind(self.chance);
            keys.push((scope.value(self.chance, kind), kind));
            // A cast, which the planner calls as it calls the column.
            if self.chance.once_in(8)
                && let Some(column) = from.columns.iter().find(|c| c.name == keys[keys.len() - 1].0)
                && matches!(column.kind, Kind::Int | Kind::Big | Kind::Date)
            {
                keys.push((format!("CAST({} AS VARCHAR)", column.name), Kind::Text));
            }
        }
        let calls: Vec<(String, Kind)> = (0..1 + self.chance.below(4))
            .map(|_| scope.aggregate(self.chance, from.event_time))
            .collect();
        let hidden = self.chance.once_in(6);
        let shown: Vec<&(String, Kind)> = keys.iter().filter(|_| !hidden).chain(&calls).collect();
        let columns: Vec<Column> =
            shown.iter().enumerate().map(|(at, (_, kind))| self.column(at, *kind)).collect();
        let items: Vec<String> =
            shown.iter().zip(&columns).map(|((t, _), c)| format!("{t} AS {}", c.name)).collect();
        let filter = self.filter(&from.columns);
        let mut sql = format!("SELECT {} FROM {}{filter}", items.join(", "), from.text);
        if !keys.is_empty() {
            let keys: Vec<&str> = keys.iter().map(|(text, _)| text.as_str()).collect();
            sql = format!("{sql} GROUP BY {}", keys.join(", "));
        }
        if self.chance.once_in(4) {
            let having = match calls.iter().find(|(_, kind)| *kind == Kind::Int) {
                Some((call, _)) => format!("{call} % 2 = 0"),
                None => "count(*) > 2".to_owned(),
            };
            sql = format!("{sql} HAVING {having}");
        }
        Query { sql, columns, wide: from.wide, reads: from.reads }
    }
}
