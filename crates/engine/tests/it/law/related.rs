//! Queries that compare the rows of several relations, or of one with each other: joins, subqueries, sets,
//! rankings.
//!
//! What must hold: no answer depends on the order of reading. Of rows that tie in an order, only what they
//! tie in is shown.

use super::base::{Column, Kind};
use super::exprs::Scope;
use super::views::{Query, Relation, Writer};

/// Kinds whose values are compared for equality.
const KEYS: [Kind; 5] = [Kind::Int, Kind::Text, Kind::Time, Kind::Bool, Kind::Date];
/// Kinds whose values have an order.
const ORDERED: [Kind; 8] = [
    Kind::Int,
    Kind::Text,
    Kind::Time,
    Kind::Bool,
    Kind::Date,
    Kind::Float,
    Kind::Decimal,
    Kind::Big,
];

fn aliased(relation: &Relation, alias: &str) -> Vec<Column> {
    let column = |c: &Column| Column { name: format!("{alias}.{}", c.name), kind: c.kind };
    relation.columns.iter().map(column).collect()
}

impl Writer<'_> {
    /// A relation of few enough rows to be compared with others.
    fn narrow(&mut self) -> Relation {
        let narrow: Vec<&Relation> = self.relations.iter().filter(|r| !r.wide).collect();
        (*self.chance.pick(&narrow)).clone()
    }

    pub(super) fn related(&mut self) -> Query {
        match self.chance.below(8) {
            0..=2 => self.join(),
            3 | 4 => self.subquery(),
            5 => self.set(),
            _ => self.ranking(),
        }
    }

    /// `l.a = r.b` for a kind that both have.
    fn equal(&mut self, left: &[Column], right: &[Column]) -> Option<String> {
        let kinds: Vec<Kind> = KEYS
            .into_iter()
            .filter(|kind| {
                left.iter().any(|c| c.kind == *kind) && right.iter().any(|c| c.kind == *kind)
            })
            .collect();
        if kinds.is_empty() {
            return None;
        }
        let kind = *self.chance.pick(&kinds);
        let of = |columns: &[Column]| -> Vec<String> {
            columns.iter().filter(|c| c.kind == kind).map(|c| c.name.clone()).collect()
        };
        let (left, right) =
            (self.chance.pick(&of(left)).clone(), self.chance.pick(&of(right)).clone());
        let is = if self.chance.once_in(6) { "IS NOT DISTINCT FROM" } else { "=" };
        Some(format!("({left} {is} {right})"))
    }

    /// What two rows have to do with each other.
    fn on(&mut self, left: &[Column], right: &[Column]) -> String {
        let mut terms: Vec<String> = self.equal(left, right).into_iter().collect();
        if self.chance.once_in(3) {
            terms.extend(self.equal(left, right));
        }
        if terms.is_empty() || self.chance.once_in(3) {
            let both = [left, right].concat();
            let scope = Scope { columns: &both, time: self.time, folded: false };
            terms.push(scope.condition(self.chance, 1));
        }
        if self.chance.once_in(4) {
            let of = |columns: &[Column]| -> Vec<String> {
                columns.iter().filter(|c| c.kind == Kind::Int).map(|c| c.name.clone()).collect()
            };
            let (left, right) = (of(left), of(right));
            if !left.is_empty() && !right.is_empty() {
                let (left, right) = (self.chance.pick(&left), self.chance.pick(&right));
                terms.push(format!("{left} < {right}"));
            }
        }
        terms.join(" AND ")
    }

    fn join(&mut self) -> Query {
        let (left, right) = (self.narrow(), self.narrow());
        let (l, r) = (aliased(&left, "l"), aliased(&right, "r"));
        let on = self.on(&l, &r);
        let word = *self.chance.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
        // The batch engine joins fully by equal values only.
        let word = if on.contains(" = ") { word } else { "JOIN" };
        let both = [l, r].concat();
        let kinds: Vec<Kind> =
            (0..1 + self.chance.below(4)).map(|_| self.chance.pick(&both).kind).collect();
        let (items, columns) = self.listed(&both, &kinds);
        let filter = self.filter(&both);
        let from = format!("{} l {word} {} r ON {on}", left.name, right.name);
        let sql = format!("SELECT {items} FROM {from}{filter}");
        Query { sql, columns, reads: vec![left.name, right.name], wide: true }
    }

    fn subquery(&mut self) -> Query {
        let (outer, inner) = (self.narrow(), self.narrow());
        let (l, r) = (aliased(&outer, "l"), aliased(&inner, "r"));
        let kinds: Vec<Kind> =
            (0..1 + self.chance.below(3)).map(|_| self.chance.pick(&l).kind).collect();
        let (items, columns) = self.listed(&l, &kinds);
        let filter = self.filter(&r);
        let not = if self.chance.once_in(2) { "NOT " } else { "" };
        let int = |columns: &[Column]| {
            let ints: Vec<&Column> = columns.iter().filter(|c| c.kind == Kind::Int).collect();
            ints.first().map(|c| c.name.clone())
        };
        let condition = match (self.chance.below(5), int(&l), int(&r)) {
            (0, Some(x), Some(y)) => {
                format!("{x} {not}IN (SELECT {y} FROM {} r{filter})", inner.name)
            }
            (1, Some(x), Some(y)) => {
                let call = *self.chance.pick(&["max", "min", "count"]);
                format!("{x} > (SELECT {call}({y}) FROM {} r{filter})", inner.name)
            }
            (2, Some(x), Some(y)) => {
                let Some(on) = self.equal(&l, &r) else { return self.join() };
                format!("{x} >= (SELECT max({y}) FROM {} r WHERE {on})", inner.name)
            }
            _ => {
                let Some(on) = self.equal(&l, &r) else { return self.join() };
                format!("{not}EXISTS (SELECT 1 FROM {} r WHERE {on})", inner.name)
            }
        };
        let sql = format!("SELECT {items} FROM {} l WHERE {condition}", outer.name);
        Query { sql, columns, reads: vec![outer.name, inner.name], wide: false }
    }

    fn set(&mut self) -> Query {
        let usual = [Kind::Int, Kind::Text, Kind::Bool, Kind::Date];
        let kinds: Vec<Kind> =
            (0..1 + self.chance.below(2)).map(|_| *self.chance.pick(&usual)).collect();
        let mut arms = Vec::new();
        let (mut reads, mut columns) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let relation = self.narrow();
            let (items, named) = self.listed(&relation.columns, &kinds);
            columns = named;
            let filter = self.filter(&relation.columns);
            arms.push(format!("SELECT {items} FROM {}{filter}", relation.name));
            reads.push(relation.name);
        }
        let word = *self.chance.pick(&["INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"]);
        Query { sql: arms.join(&format!(" {word} ")), columns, reads, wide: false }
    }

    /// The first rows of an order, of all or of each.
    fn ranking(&mut self) -> Query {
        let relation = self.narrow();
        let shown: Vec<Column> =
            relation.columns.iter().filter(|c| ORDERED.contains(&c.kind)).cloned().collect();
        if shown.is_empty() {
            return self.join();
        }
        let mut order: Vec<Column> = Vec::new();
        for _ in 0..1 + self.chance.below(3) {
            let column = self.chance.pick(&shown).clone();
            if order.iter().all(|c| c.name != column.name) {
                order.push(column);
            }
        }
        let ways = ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"];
        let by: Vec<String> =
            order.iter().map(|c| format!("{}{}", c.name, self.chance.pick(&ways))).collect();
        let by = by.join(", ");
        let columns: Vec<Column> =
            (0..).zip(&order).map(|(at, c)| self.column(at, c.kind)).collect();
        let items: Vec<String> = order
            .iter()
            .zip(&columns)
            .map(|(c, out)| format!("{} AS {}", c.name, out.name))
            .collect();
        let items = items.join(", ");
        let filter = self.filter(&relation.columns);
        let name = relation.name;
        let (reads, last) = (vec![name.clone()], 1 + self.chance.below(12));
        if self.chance.once_in(3) {
            let skip = self.chance.below(3);
            let sql = format!(
                "SELECT {items} FROM {name}{filter} ORDER BY {by} LIMIT {last} OFFSET {skip}"
            );
            return Query { sql, columns, reads, wide: false };
        }
        let call = *self.chance.pick(&["ROW_NUMBER", "RANK", "DENSE_RANK"]);
        let scope = Scope { columns: &relation.columns, time: self.time, folded: false };
        let kind = scope.key_kind(self.chance);
        let partition = scope.value(self.chance, kind);
        let of = if self.chance.once_in(4) {
            String::new()
        } else {
            format!("PARTITION BY {partition} ")
        };
        let mut columns = columns;
        let number = self.column(columns.len(), Kind::Int);
        let (shown, out) = if self.chance.once_in(2) {
            let out = format!(", CAST(nth AS BIGINT) AS {}", number.name);
            columns.push(number);
            (columns.len() - 1, out)
        } else {
            (columns.len(), String::new())
        };
        let list: Vec<&str> = columns[..shown].iter().map(|c| c.name.as_str()).collect();
        let sql = format!(
            "SELECT {}{out} FROM (SELECT {items}, {call}() OVER ({of}ORDER BY {by}) AS nth \
             FROM {name}{filter}) q WHERE nth <= {last}",
            list.join(", ")
        );
        Query { sql, columns, reads, wide: false }
    }
}
