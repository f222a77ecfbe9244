//! Queries that can be kept, over relations whose columns are known.

use super::base::{Column, Kind, TimeType};
use super::chance::Chance;
use super::exprs::{Function, Scope};
use super::tree::{Tree, tree};

/// What a view can read.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub name: String,
    pub columns: Vec<Column>,
    /// Whether `first_value(x)` goes by the event time of its rows.
    pub event_time: bool,
    /// Whether it may have as many rows as two others have pairs.
    pub wide: bool,
    /// Whether windows over it may be told when they are closed.
    pub closing: bool,
}

/// What a view is compared with.
#[derive(Clone, Debug)]
pub(super) enum Twin {
    /// Its query.
    Query,
    /// Its query, and so much later that the clock has been seen.
    Clocked,
    /// This query, for windows that are told when they are closed; see [`super::closing`].
    Closed(Tree),
}

/// A query and its columns.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub sql: Tree,
    pub columns: Vec<Column>,
    pub reads: Vec<String>,
    /// See [`Relation::wide`].
    pub wide: bool,
    pub twin: Twin,
}

/// What stands after `FROM`.
pub(super) struct Input {
    pub text: Tree,
    pub columns: Vec<Column>,
    pub reads: Vec<String>,
    pub wide: bool,
    pub event_time: bool,
    /// The columns that must be grouped by.
    pub keys: Vec<Column>,
    /// Whether it is a subquery, whose columns may be constants.
    pub folded: bool,
}

impl Input {
    pub(super) fn of(relation: Relation) -> Self {
        Self {
            text: relation.name.clone().into(),
            columns: relation.columns,
            reads: vec![relation.name],
            wide: relation.wide,
            event_time: relation.event_time,
            keys: Vec::new(),
            folded: false,
        }
    }

    /// The query in parentheses, named `q`.
    fn within(inner: Query) -> Self {
        Self {
            text: tree!["(", inner.sql, ") q"],
            columns: inner.columns,
            reads: inner.reads,
            wide: inner.wide,
            event_time: false,
            keys: Vec::new(),
            folded: true,
        }
    }
}

/// Writes the query of one view.
pub(super) struct Writer<'a> {
    pub chance: &'a mut Chance,
    pub relations: &'a [Relation],
    pub functions: &'a [Function],
    pub time: TimeType,
    /// Begins the names of the columns, so that they are names of no input.
    pub prefix: String,
    /// Whether relations have few enough rows to be compared with each other.
    pub few: bool,
    /// How many queries this one is within.
    pub depth: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn query(&mut self) -> Query {
        if self.few && self.chance.once_in(2) {
            return self.related();
        }
        match self.chance.below(20) {
            0..=2 => self.linear(),
            3 | 4 => self.distinct(),
            5 | 6 => self.union(),
            7 | 8 => self.grouping(),
            9 => self.session(),
            10 => self.unnested(),
            11 => self.by_clock(),
            12 => self.closing(),
            _ => {
                let from = self.from();
                self.aggregate(from)
            }
        }
    }

    pub(super) fn scope<'b>(&self, columns: &'b [Column]) -> Scope<'b>
    where
        'a: 'b,
    {
        Scope { columns, time: self.time, folded: false, functions: self.functions }
    }

    pub(super) fn relation(&mut self) -> Relation {
        self.chance.pick(self.relations).clone()
    }

    pub(super) fn column(&self, at: usize, kind: Kind) -> Column {
        Column::new(format!("{}_{at}", self.prefix), kind)
    }

    /// A `WHERE`, or nothing.
    pub(super) fn filter(&mut self, columns: &[Column]) -> Tree {
        if self.chance.once_in(2) {
            return "".into();
        }
        let condition = self.scope(columns).condition(self.chance, 2);
        self.chance.maybe(tree![" WHERE ", condition])
    }

    /// `value AS name`, which may be left out.
    pub(super) fn item(&mut self, value: Tree, column: &Column) -> Tree {
        self.chance.maybe(tree![value, " AS ", &column.name])
    }

    /// One value for each of `kinds`, named.
    pub(super) fn listed(&mut self, from: &[Column], kinds: &[Kind]) -> (Tree, Vec<Column>) {
        let columns: Vec<Column> = (0..).zip(kinds).map(|(at, k)| self.column(at, *k)).collect();
        let mut items = Vec::new();
        for column in &columns {
            let value = self.scope(from).value(self.chance, column.kind);
            items.push(self.item(value, column));
        }
        (Tree::list(items), columns)
    }

    /// Kinds of columns of `from`.
    pub(super) fn kinds(&mut self, from: &[Column], most: usize) -> Vec<Kind> {
        (0..1 + self.chance.below(most)).map(|_| self.chance.pick(from).kind).collect()
    }

    fn linear(&mut self) -> Query {
        let from = self.from();
        let kinds = self.kinds(&from.columns, 6);
        let (items, columns) = self.listed(&from.columns, &kinds);
        let filter = self.filter(&from.columns);
        let sql = tree![Tree::select(items), " FROM ", from.text, filter];
        Query { sql, columns, wide: from.wide, reads: from.reads, twin: Twin::Query }
    }

    fn distinct(&mut self) -> Query {
        let from = self.from();
        let kinds: Vec<Kind> = (0..1 + self.chance.below(3))
            .map(|_| self.scope(&from.columns).key_kind(self.chance))
            .collect();
        let (items, columns) = self.listed(&from.columns, &kinds);
        let filter = self.filter(&from.columns);
        let word = self.chance.maybe("DISTINCT ");
        let sql = tree![Tree::select(tree![word, items]), " FROM ", from.text, filter];
        Query { sql, columns, wide: from.wide, reads: from.reads, twin: Twin::Query }
    }

    pub(super) fn union(&mut self) -> Query {
        use Kind as K;
        let all = if self.chance.once_in(4) { " UNION " } else { " UNION ALL " };
        let usual = [K::Int, K::Text, K::Float, K::Time, K::Bool, K::Date, K::Decimal];
        let kinds: Vec<Kind> =
            (0..1 + self.chance.below(4)).map(|_| *self.chance.pick(&usual)).collect();
        let (mut reads, mut arms) = (Vec::new(), Vec::new());
        let mut columns = Vec::new();
        let mut wide = false;
        for _ in 0..2 + self.chance.below(2) {
            let relation = self.relation();
            wide |= relation.wide;
            let (items, named) = self.listed(&relation.columns, &kinds);
            columns = named;
            let filter = self.filter(&relation.columns);
            let arm = tree![Tree::select(items), " FROM ", &relation.name, filter];
            arms.push(self.chance.maybe(arm));
            reads.push(relation.name);
        }
        let sql = Tree::List { before: "", between: all, items: arms };
        Query { sql, columns, reads, wide, twin: Twin::Query }
    }

    /// A relation, a window over it, or a subquery.
    pub(super) fn from(&mut self) -> Input {
        let relation = self.relation();
        match self.chance.below(10) {
            0 if self.depth == 0 => Input::within(self.inner()),
            1..=5 => match self.time_of(&relation) {
                Some(time) => self.window(relation, &time),
                None => Input::of(relation),
            },
            _ => Input::of(relation),
        }
    }

    /// A query within this one.
    fn inner(&mut self) -> Query {
        let mut writer = Writer {
            chance: self.chance,
            prefix: format!("{}i", self.prefix),
            depth: self.depth + 1,
            ..*self
        };
        match writer.chance.below(3) {
            0 => writer.union(),
            1 if writer.few => writer.related(),
            _ => {
                let relation = writer.relation();
                writer.aggregate(Input::of(relation))
            }
        }
    }
}
