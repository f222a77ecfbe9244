//! Queries that compare the rows of several relations: joins, subqueries, sets.
//!
//! What must hold: no answer depends on the order of reading. Of rows that tie in an order, only what they
//! tie in is shown.

use super::base::{Column, Kind};
use super::tree::{Tree, tree};
use super::views::{Query, Relation, Twin, Writer};

/// Kinds whose values are compared for equality. No times: of streams such a join takes no rows that are too late, and
/// has its own twin (`bounded.rs`). No floats: the batch engine prunes stored parts by the bounds of a
/// join's keys, in which it keeps both zeros apart; `found/joins_of_zeros.sql` has views of them.
const KEYS: [Kind; 5] = [Kind::Int, Kind::Text, Kind::Bool, Kind::Date, Kind::Decimal];
/// Kinds whose values have an order.
pub(super) const ORDERED: [Kind; 8] = [
    Kind::Int,
    Kind::Text,
    Kind::Time,
    Kind::Bool,
    Kind::Date,
    Kind::Float,
    Kind::Decimal,
    Kind::Big,
];

pub(super) fn aliased(columns: &[Column], alias: &str) -> Vec<Column> {
    columns.iter().map(|c| Column::new(format!("{alias}.{}", c.name), c.kind)).collect()
}

impl Writer<'_> {
    /// A relation of few enough rows to be compared with others.
    pub(super) fn narrow(&mut self) -> Relation {
        let narrow: Vec<&Relation> = self.relations.iter().filter(|r| !r.wide).collect();
        (*self.chance.pick(&narrow)).clone()
    }

    pub(super) fn related(&mut self) -> Query {
        match self.chance.below(18) {
            0..=3 => self.join(),
            4 => self.chain(),
            5..=7 => self.subquery(),
            8 | 9 => self.set(),
            10 | 11 => self.ranking(),
            12 => self.distinct_on(),
            13 | 14 => self.over(),
            15 => self.lateral(),
            16 => self.asof(),
            _ => self.values(),
        }
    }

    /// `l.a = r.b` for a kind that both have; unless `plain` perhaps so that nulls are equal.
    pub(super) fn equal(&mut self, left: &[Column], right: &[Column], plain: bool) -> Option<Tree> {
        let has = |columns: &[Column], kind| columns.iter().any(|c| c.kind == kind);
        let kinds: Vec<Kind> =
            KEYS.into_iter().filter(|kind| has(left, *kind) && has(right, *kind)).collect();
        if kinds.is_empty() {
            return None;
        }
        let kind = *self.chance.pick(&kinds);
        let left = self.scope(left).one(self.chance, kind)?;
        let right = self.scope(right).one(self.chance, kind)?;
        let is = if !plain && self.chance.once_in(6) { "IS NOT DISTINCT FROM" } else { "=" };
        Some(tree![format!("({left} {is} {right})")])
    }

    /// What two rows have to do with each other, and whether it begins with an equality.
    fn on(&mut self, left: &[Column], right: &[Column]) -> (Tree, bool) {
        let mut terms: Vec<Tree> = self.equal(left, right, false).into_iter().collect();
        let equal = !terms.is_empty();
        if self.chance.once_in(3) {
            let more = self.equal(left, right, false);
            terms.extend(more.map(|term| self.chance.maybe(term)));
        }
        if terms.is_empty() || self.chance.once_in(3) {
            let both = [left, right].concat();
            let term = self.scope(&both).condition(self.chance, 1);
            terms.push(self.chance.maybe(term));
        }
        if self.chance.once_in(4)
            && let Some(l) = self.scope(left).one(self.chance, Kind::Int)
            && let Some(r) = self.scope(right).one(self.chance, Kind::Int)
        {
            terms.push(self.chance.maybe(format!("{l} < {r}")));
        }
        (Tree::List { before: "", between: " AND ", items: terms }, equal)
    }

    /// ` JOIN name alias ON …` onto what `left` has.
    fn joined(&mut self, left: &[Column], right: &Relation, alias: &str) -> (Tree, Vec<Column>) {
        let r = aliased(&right.columns, alias);
        let (on, equal) = self.on(left, &r);
        let word = *self.chance.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
        // The batch engine joins fully by equal values only.
        let word = if equal { word } else { "JOIN" };
        let word = self.chance.or(word, [Tree::from("JOIN")]);
        (tree![" ", word, " ", &right.name, " ", alias, " ON ", on], [left, &r].concat())
    }

    fn join(&mut self) -> Query {
        let (left, right) = (self.narrow(), self.narrow());
        let l = aliased(&left.columns, "l");
        let (join, both) = self.joined(&l, &right, "r");
        let kinds = self.kinds(&both, 4);
        let (items, columns) = self.listed(&both, &kinds);
        let filter = self.filter(&both);
        let sql = tree![Tree::select(items), " FROM ", &left.name, " l", join, filter];
        Query { sql, columns, reads: vec![left.name, right.name], wide: true, twin: Twin::Query }
    }

    /// Three relations, of which the third is grouped so that the answer stays small.
    fn chain(&mut self) -> Query {
        let all = [self.narrow(), self.narrow(), self.narrow()];
        let l = aliased(&all[0].columns, "l");
        let (first, both) = self.joined(&l, &all[1], "r");
        let (second, three) = self.joined(&both, &all[2], "m");
        let scope = self.scope(&three);
        let kind = *self.chance.pick(&[Kind::Int, Kind::Text, Kind::Bool]);
        let key = scope.value(self.chance, kind);
        let counted = self.scope(&three).aggregate(self.chance, false);
        let columns =
            vec![self.column(0, kind), self.column(1, Kind::Int), self.column(2, counted.1)];
        let calls = [tree!["count(*)"], counted.0];
        let mut items = vec![tree![&key, " AS ", &columns[0].name]];
        for (call, column) in calls.into_iter().zip(&columns[1..]) {
            items.push(self.item(call, column));
        }
        let filter = self.filter(&three);
        let second = self.chance.maybe(second);
        let sql = tree![
            Tree::select(Tree::list(items)),
            " FROM ",
            &all[0].name,
            " l",
            first,
            second,
            filter,
            " GROUP BY ",
            key
        ];
        let reads = all.map(|r| r.name).to_vec();
        Query { sql, columns, reads, wide: false, twin: Twin::Query }
    }

    fn subquery(&mut self) -> Query {
        let (outer, inner) = (self.narrow(), self.narrow());
        let (l, r) = (aliased(&outer.columns, "l"), aliased(&inner.columns, "r"));
        let kinds = self.kinds(&l, 3);
        let (items, columns) = self.listed(&l, &kinds);
        let filter = self.filter(&r);
        let not = if self.chance.once_in(2) { "NOT " } else { "" };
        let x = self.scope(&l).one(self.chance, Kind::Int);
        let y = self.scope(&r).one(self.chance, Kind::Int);
        let from = tree![" FROM ", &inner.name, " r"];
        let condition = match (self.chance.below(6), x, y) {
            (0, Some(x), Some(y)) => {
                tree![format!("{x} {not}IN (SELECT {y}"), from, filter, ")"]
            }
            (1, Some(x), Some(y)) => {
                let call = *self.chance.pick(&["max", "min", "count"]);
                tree![format!("{x} > (SELECT {call}({y})"), from, filter, ")"]
            }
            (2, Some(x), Some(y)) => {
                let Some(on) = self.equal(&l, &r, false) else { return self.join() };
                tree![format!("{x} >= (SELECT max({y})"), from, " WHERE ", on, ")"]
            }
            (3, Some(x), Some(y)) => {
                let Some(on) = self.equal(&l, &r, false) else { return self.join() };
                // A scalar among the items, and a mark.
                let column = self.column(columns.len(), Kind::Int);
                let scalar = tree![format!("(SELECT count({y})"), from, " WHERE ", on, ")"];
                let scalar = self.item(scalar, &column);
                let items = Tree::list(vec![items, scalar]);
                let filter = self.chance.maybe(format!(" WHERE {x} % 2 = 0"));
                let sql = tree![Tree::select(items), " FROM ", &outer.name, " l", filter];
                let columns = [columns, vec![column]].concat();
                let reads = vec![outer.name, inner.name];
                return Query { sql, columns, reads, wide: outer.wide, twin: Twin::Query };
            }
            _ => {
                let Some(on) = self.equal(&l, &r, false) else { return self.join() };
                let more = self.scope(&r).condition(self.chance, 0);
                let more = self.chance.maybe(tree![" AND ", more]);
                tree![not, "EXISTS (SELECT 1", from, " WHERE ", on, more, ")"]
            }
        };
        let either = self.scope(&l).condition(self.chance, 0);
        let condition = match self.chance.below(4) {
            0 => self.chance.or(tree![&condition, " OR ", either], [condition.clone()]),
            1 => self.chance.or(tree![&condition, " AND ", either], [condition.clone()]),
            _ => condition,
        };
        let sql = tree![Tree::select(items), " FROM ", &outer.name, " l WHERE ", condition];
        Query { sql, columns, reads: vec![outer.name, inner.name], wide: false, twin: Twin::Query }
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
            let arm = tree![Tree::select(items), " FROM ", &relation.name, filter];
            arms.push(self.chance.maybe(arm));
            reads.push(relation.name);
        }
        let words = [" INTERSECT ", " EXCEPT ", " INTERSECT ALL ", " EXCEPT ALL "];
        let between = words[self.chance.below(words.len())];
        let sql = Tree::List { before: "", between, items: arms };
        Query { sql, columns, reads, wide: false, twin: Twin::Query }
    }

    /// A relation beside constants.
    fn values(&mut self) -> Query {
        let relation = self.narrow();
        let l = aliased(&relation.columns, "l");
        let Some(key) = self.scope(&l).one(self.chance, Kind::Int) else { return self.set() };
        let word = *self.chance.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN"]);
        let kinds = self.kinds(&l, 3);
        let (items, mut columns) = self.listed(&l, &kinds);
        let column = self.column(columns.len(), Kind::Text);
        let word_of = self.item("v.word".into(), &column);
        columns.push(column);
        let rows: Vec<Tree> = ["(1, 'one')", "(2, NULL)", "(NULL, 'none')", "(2, 'two')"]
            .into_iter()
            .map(|row| self.chance.maybe(row))
            .collect();
        let values = Tree::List { before: "VALUES ", between: ", ", items: rows };
        let sql = tree![
            Tree::select(Tree::list(vec![items, word_of])),
            format!(" FROM {} l {word} (", relation.name),
            values,
            format!(") AS v (x, word) ON v.x = {key}")
        ];
        Query { sql, columns, reads: vec![relation.name], wide: true, twin: Twin::Query }
    }
}
