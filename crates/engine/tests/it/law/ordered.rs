//! Queries that go by an order: rankings, first rows, window functions, LATERAL and ASOF joins.
//!
//! What must hold: of rows that tie in an order, only what they tie in is shown.

use super::base::{Column, Kind};
use super::exprs::COMPARISONS;
use super::related::{ORDERED, aliased};
use super::tree::{Tree, tree};
use super::views::{Query, Relation, Twin, Writer};

const WAYS: [&str; 4] = ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"];

/// Columns by which rows are put into an order, and how.
struct Order {
    columns: Vec<Column>,
    by: Tree,
}

impl Writer<'_> {
    fn order(&mut self, columns: &[Column], most: usize) -> Option<Order> {
        let ordered: Vec<Column> =
            columns.iter().filter(|c| ORDERED.contains(&c.kind)).cloned().collect();
        if ordered.is_empty() {
            return None;
        }
        let mut columns: Vec<Column> = Vec::new();
        for _ in 0..1 + self.chance.below(most) {
            let column = self.chance.pick(&ordered).clone();
            if columns.iter().all(|c| c.name != column.name) {
                columns.push(column);
            }
        }
        let by = columns.iter().map(|c| tree![&c.name, *self.chance.pick(&WAYS)]).collect();
        Some(Order { by: Tree::List { before: "ORDER BY ", between: ", ", items: by }, columns })
    }

    /// `a AS c0, b AS c1` of these columns.
    fn shown(&mut self, of: &[Column]) -> (Vec<Tree>, Vec<Column>) {
        let columns: Vec<Column> = (0..).zip(of).map(|(at, c)| self.column(at, c.kind)).collect();
        let items = of.iter().zip(&columns);
        (items.map(|(c, out)| tree![&c.name, " AS ", &out.name]).collect(), columns)
    }

    /// The first rows of an order, of all or of each.
    pub(super) fn ranking(&mut self) -> Query {
        let relation = self.narrow();
        let Some(order) = self.order(&relation.columns, 3) else { return self.union() };
        let (items, mut columns) = self.shown(&order.columns);
        let filter = self.filter(&relation.columns);
        let name = relation.name;
        let (reads, last) = (vec![name.clone()], 1 + self.chance.below(12));
        if self.chance.once_in(3) {
            let skip = self.chance.below(3);
            let skip = self.chance.maybe(format!(" OFFSET {skip}"));
            let items = Tree::list(items);
            let limit = format!(" LIMIT {last}");
            let sql =
                tree![Tree::select(items), " FROM ", name, filter, " ", order.by, limit, skip];
            return Query { sql, columns, reads, wide: false, twin: Twin::Query };
        }
        let call = *self.chance.pick(&["ROW_NUMBER", "RANK", "DENSE_RANK"]);
        let scope = self.scope(&relation.columns);
        let kind = scope.key_kind(self.chance);
        // By a condition the batch engine refuses its own plan, when it has made the condition simpler.
        let partition = match (kind, scope.one(self.chance, kind)) {
            (Kind::Bool, Some(column)) => column.into(),
            _ => scope.value(self.chance, kind),
        };
        let of = if self.chance.once_in(4) {
            Tree::from("")
        } else {
            self.chance.maybe(tree!["PARTITION BY ", partition, " "])
        };
        let list: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        let list = list.join(", ");
        let number = self.column(columns.len(), Kind::Int);
        let out = if self.chance.once_in(2) {
            let out = tree![", CAST(nth AS BIGINT) AS ", &number.name];
            columns.push(number);
            self.chance.maybe(out)
        } else {
            "".into()
        };
        let inner = tree![Tree::list(items), format!(", {call}() OVER ("), of, order.by];
        let sql = tree![
            format!("SELECT {list}"),
            out,
            " FROM (SELECT ",
            inner,
            format!(") AS nth FROM {name}"),
            filter,
            format!(") q WHERE nth <= {last}")
        ];
        Query { sql, columns, reads, wide: false, twin: Twin::Query }
    }

    /// The first row of each.
    pub(super) fn distinct_on(&mut self) -> Query {
        let relation = self.narrow();
        let Some(order) = self.order(&relation.columns, 4) else { return self.union() };
        let (items, columns) = self.shown(&order.columns);
        let filter = self.filter(&relation.columns);
        let key = &order.columns[0].name;
        let sql = tree![
            format!("SELECT DISTINCT ON ({key}) "),
            Tree::list(items),
            format!(" FROM {}", relation.name),
            filter,
            " ",
            order.by
        ];
        Query { sql, columns, reads: vec![relation.name], wide: false, twin: Twin::Query }
    }

    /// Window functions of what rows are ordered by, beside it.
    pub(super) fn over(&mut self) -> Query {
        let relation = self.narrow();
        let Some(order) = self.order(&relation.columns, 3) else { return self.union() };
        let scope = self.scope(&relation.columns);
        let mut partition = Vec::new();
        for _ in 0..self.chance.below(3) {
            let kind = *self.chance.pick(&[Kind::Int, Kind::Text, Kind::Bool, Kind::Date]);
            partition.extend(scope.one(self.chance, kind).map(|name| Column::new(name, kind)));
        }
        let (mut items, mut columns) =
            self.shown(&[partition.clone(), order.columns.clone()].concat());
        // One division for all calls: which of the rows that tie is before another is then the same for them. A
        // column that no longer divides is no longer shown.
        let mut of = Vec::new();
        for (column, item) in partition.iter().zip(&mut items) {
            let mark = self.chance.mark();
            let or = |full: Tree| Tree::Or(mark, vec![full, "".into()]);
            of.push(or(Tree::from(&column.name)));
            *item = or(item.clone());
        }
        let of = Tree::List { before: "PARTITION BY ", between: ", ", items: of };
        for _ in 0..1 + self.chance.below(2) {
            let (call, kind) = self.call(&order, &of);
            let column = self.column(columns.len(), kind);
            items.push(self.item(call, &column));
            columns.push(column);
        }
        let filter = self.filter(&relation.columns);
        let items = Tree::list(items);
        let sql = tree![Tree::select(items), " FROM ", &relation.name, filter];
        Query { sql, columns, reads: vec![relation.name], wide: relation.wide, twin: Twin::Query }
    }

    fn call(&mut self, order: &Order, of: &Tree) -> (Tree, Kind) {
        let column = self.chance.pick(&order.columns).clone();
        let c = &column.name;
        let number = matches!(column.kind, Kind::Int | Kind::Float | Kind::Decimal);
        let (call, kind, frames) = match self.chance.below(9) {
            0 => ("row_number()".to_owned(), Kind::Int, false),
            1 => {
                let name = *self.chance.pick(&["rank()", "dense_rank()", "ntile(3)"]);
                (name.to_owned(), Kind::Int, false)
            }
            2 => {
                let name = *self.chance.pick(&["percent_rank()", "cume_dist()"]);
                (name.to_owned(), Kind::Approx, false)
            }
            3 | 4 => {
                let name = *self.chance.pick(&["lag", "lead"]);
                (format!("{name}({c}, {})", 1 + self.chance.below(3)), column.kind, false)
            }
            5 => {
                let name = *self.chance.pick(&["first_value", "last_value"]);
                (format!("{name}({c})"), column.kind, true)
            }
            6 if number => (format!("sum({c})"), column.kind, true),
            7 if column.kind != Kind::Bool => {
                let name = *self.chance.pick(&["min", "max"]);
                (format!("{name}({c})"), column.kind, true)
            }
            _ => (format!("count({c})"), Kind::Int, true),
        };
        let frame = if frames { self.frame(order) } else { "".into() };
        let call = tree![call, " OVER (", of, " ", &order.by, frame, ")"];
        // Numbers of places are wider than other numbers.
        match kind {
            Kind::Int => (tree!["CAST(", call, " AS BIGINT)"], kind),
            _ => (call, kind),
        }
    }

    fn frame(&mut self, order: &Order) -> Tree {
        let unit = *self.chance.pick(&["", "ROWS", "ROWS", "GROUPS", "RANGE"]);
        let alone = match order.columns.as_slice() {
            [one] => Some(one.kind),
            _ => None,
        };
        let away = |n: usize| match (unit, alone) {
            ("RANGE", Some(Kind::Int)) => Some((3 * n).to_string()),
            ("RANGE", Some(Kind::Time)) => Some(format!("INTERVAL '{} seconds'", 20 * n)),
            ("RANGE", _) => None,
            _ => Some(n.to_string()),
        };
        let bound = |place: usize| {
            let distance = away(place.abs_diff(4));
            match (place, distance) {
                (0, _) => "UNBOUNDED PRECEDING".to_owned(),
                (8, _) => "UNBOUNDED FOLLOWING".to_owned(),
                (1..=3, Some(n)) => format!("{n} PRECEDING"),
                (5..=7, Some(n)) => format!("{n} FOLLOWING"),
                _ => "CURRENT ROW".to_owned(),
            }
        };
        if unit.is_empty() {
            return "".into();
        }
        let (a, b) = (self.chance.below(9), self.chance.below(9));
        let (first, last) = (bound(a.min(b).min(7)), bound(a.max(b).max(1)));
        self.chance.maybe(format!(" {unit} BETWEEN {first} AND {last}"))
    }

    /// For each row of one the first rows of another, or an aggregate of them.
    pub(super) fn lateral(&mut self) -> Query {
        let (outer, inner) = (self.narrow(), self.narrow());
        let (l, r) = (aliased(&outer.columns, "l"), aliased(&inner.columns, "r"));
        let Some(on) = self.equal(&l, &r, false) else { return self.union() };
        let Some(order) = self.order(&r, 2) else { return self.union() };
        let kinds = self.kinds(&l, 3);
        let (items, mut columns) = self.listed(&l, &kinds);
        let filter = self.filter(&l);
        let mut shown = vec![items];
        let mut inside = Vec::new();
        let ordered = self.chance.once_in(2);
        let calls: Vec<(Tree, Kind)> = if ordered {
            order.columns.iter().map(|c| (Tree::from(&c.name), c.kind)).collect()
        } else {
            vec![("count(*)".into(), Kind::Int), self.scope(&r).aggregate(self.chance, false)]
        };
        for (at, (value, kind)) in calls.into_iter().enumerate() {
            inside.push(tree![value, format!(" AS x{at}")]);
            let column = self.column(columns.len(), kind);
            shown.push(self.item(format!("t.x{at}").into(), &column));
            columns.push(column);
        }
        let tail = if ordered {
            tree![" ", order.by, format!(" LIMIT {}", 1 + self.chance.below(3))]
        } else {
            "".into()
        };
        let inside = tree![
            "(SELECT ",
            Tree::list(inside),
            format!(" FROM {} r WHERE ", inner.name),
            on,
            tail,
            ") t"
        ];
        let (before, behind) =
            *self.chance.pick(&[(", LATERAL ", ""), (" LEFT JOIN LATERAL ", " ON true")]);
        let from = tree![&outer.name, " l", before, inside, behind, filter];
        let sql = tree![Tree::select(Tree::list(shown)), " FROM ", from];
        Query { sql, columns, reads: vec![outer.name, inner.name], wide: true, twin: Twin::Query }
    }

    /// For each row of one the nearest of another.
    pub(super) fn asof(&mut self) -> Query {
        let (left, right) = (self.narrow(), self.narrow());
        let (l, r) = (aliased(&left.columns, "l"), aliased(&right.columns, "r"));
        let Some(near) = self.nearness(&l, &r) else { return self.union() };
        let on = self.equal(&l, &r, true).map(|on| self.chance.maybe(tree![on, " AND "]));
        let kinds = self.kinds(&l, 3);
        let (items, mut columns) = self.listed(&l, &kinds);
        let column = self.column(columns.len(), near.2);
        let nearest = self.item(near.1.into(), &column);
        columns.push(column);
        let word = *self.chance.pick(&["ASOF JOIN", "ASOF LEFT JOIN"]);
        let sql = Tree::only_ours(tree![
            Tree::select(Tree::list(vec![items, nearest])),
            format!(" FROM {} l {word} {} r ON ", left.name, right.name),
            on.unwrap_or_else(|| "".into()),
            near.0
        ]);
        Query {
            sql,
            columns,
            reads: vec![left.name, right.name],
            wide: left.wide,
            twin: Twin::Query,
        }
    }

    /// `l.a >= r.b`, the name of the right one and its kind.
    fn nearness(&mut self, l: &[Column], r: &[Column]) -> Option<(Tree, String, Kind)> {
        let kind = *self.chance.pick(&[Kind::Int, Kind::Decimal, Kind::Date]);
        let left = self.scope(l).one(self.chance, kind)?;
        let right = self.scope(r).one(self.chance, kind)?;
        let is = *self.chance.pick(&COMPARISONS[2..]);
        Some((tree![format!("{left} {is} {right}")], right, kind))
    }

    /// A row for every element of a list, or of a series.
    pub(super) fn unnested(&mut self) -> Query {
        let relation: Relation = self.relation();
        let l = aliased(&relation.columns, "l");
        let kinds = self.kinds(&l, 3);
        let (items, mut columns) = self.listed(&l, &kinds);
        let scope = self.scope(&l);
        let list = scope.value(self.chance, Kind::Ints);
        let number = scope.value(self.chance, Kind::Int);
        let column = self.column(columns.len(), Kind::Int);
        let name = &relation.name;
        let (item, from) = match self.chance.below(4) {
            0 => (tree!["unnest(", list, ")"], tree![name, " l"]),
            1 => {
                let of = Tree::only_ours(tree!["unnest(", list, ")"]);
                (tree!["x.v"], tree![name, " l CROSS JOIN LATERAL ", of, " AS x (v)"])
            }
            2 => {
                let of = Tree::only_ours(tree!["unnest(", list, ")"]);
                let from = tree![name, " l LEFT JOIN LATERAL ", of, " AS x (v) ON true"];
                (tree!["x.v"], from)
            }
            _ => {
                let of = tree!["generate_series(0, ", number, " % 4)"];
                let of = Tree::only_ours(of);
                (tree!["x.v"], tree![name, " l, LATERAL ", of, " AS x (v)"])
            }
        };
        let shown = tree![item, " AS ", &column.name];
        columns.push(column);
        let filter = self.filter(&l);
        let sql = tree![Tree::select(Tree::list(vec![items, shown])), " FROM ", from, filter];
        Query { sql, columns, reads: vec![relation.name], wide: true, twin: Twin::Query }
    }
}
