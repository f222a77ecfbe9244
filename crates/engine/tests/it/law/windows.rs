//! Windows, and aggregates over them, over groups and over sets of groups.

use super::aggregates::unmixed;
use super::base::{Column, Kind};
use super::tree::{Cuts, Tree, tree};
use super::views::{Input, Query, Relation, Twin, Writer};

const WINDOW_COLUMNS: [&str; 2] = ["window_start", "window_end"];
const SETS_MAX: usize = 4;

fn bounds() -> [Column; 2] {
    WINDOW_COLUMNS.map(|name| Column::new(name, Kind::Time))
}

impl Writer<'_> {
    /// A time of the relation that is not the bound of a window.
    pub(super) fn time_of(&mut self, relation: &Relation) -> Option<String> {
        let is_time =
            |c: &&Column| c.kind == Kind::Time && !WINDOW_COLUMNS.contains(&c.name.as_str());
        let times: Vec<&Column> = relation.columns.iter().filter(is_time).collect();
        (!times.is_empty()).then(|| self.chance.pick(&times).name.clone())
    }

    /// The rows of a relation, or some of them.
    fn windowed(&mut self, relation: &Relation) -> Tree {
        let filter = self.filter(&relation.columns);
        if self.chance.once_in(2) {
            return relation.name.clone().into();
        }
        let inner = tree!["(SELECT * FROM ", &relation.name, filter, ")"];
        self.chance.or(inner, [Tree::from(&relation.name)])
    }

    pub(super) fn window(&mut self, relation: Relation, time: &str) -> Input {
        let of = self.windowed(&relation);
        let text = match self.chance.below(6) {
            0 => self.tumble(&of, time, "1 day", "0 seconds"),
            1 => self.tumble(&of, time, "1 minute", "7 seconds"),
            2 => self.tumble(&of, time, "10 seconds", "0 seconds"),
            3 => hop(&of, time, "20 seconds", "1 minute"),
            4 => hop(&of, time, "1 minute", "90 seconds"),
            _ => Tree::only_ours(tree![
                "CUMULATE(",
                of,
                format!(", {time}, INTERVAL '15 minutes', INTERVAL '1 hour')")
            ]),
        };
        let mut input = Input::of(relation);
        input.columns.extend(bounds());
        let keys = 1 + self.chance.below(2);
        Input { text, keys: bounds()[..keys].to_vec(), ..input }
    }

    fn tumble(&mut self, of: &Tree, time: &str, size: &str, offset: &str) -> Tree {
        let behind = match offset {
            "0 seconds" => String::new(),
            offset => format!(", INTERVAL '{offset}'"),
        };
        let ours = tree!["TUMBLE(", of, format!(", {time}, INTERVAL '{size}'{behind})")];
        // Of a day there are other words, and years before 2000 begin elsewhere.
        let start = format!(
            "time_bucket(INTERVAL '{size}', {time}, TIMESTAMP '2000-01-01' + INTERVAL '{offset}')"
        );
        let start = match self.time.0 {
            "TIMESTAMPTZ" => {
                start.replace("TIMESTAMP '2000-01-01'", "TIMESTAMPTZ '2000-01-01 00:00:00Z'")
            }
            _ => start,
        };
        let duck = tree![
            format!(
                "(SELECT *, {start} AS window_start, {start} + INTERVAL '{size}' AS window_end FROM "
            ),
            of,
            " w) w"
        ];
        Tree::said(ours, duck)
    }

    pub(super) fn aggregate(&mut self, from: Input) -> Query {
        let scope = super::exprs::Scope { folded: from.folded, ..self.scope(&from.columns) };
        let mut keys: Vec<(Tree, Kind)> =
            from.keys.iter().map(|c| (Tree::from(&c.name), c.kind)).collect();
        let more = if self.chance.once_in(5) { 0 } else { 1 + self.chance.skewed(3) };
        for _ in 0..more {
            let kind = scope.key_kind(self.chance);
            keys.push((scope.value(self.chance, kind), kind));
            // A cast, which the planner calls as it calls the column.
            if self.chance.once_in(8)
                && let Some(column) = scope.one(self.chance, Kind::Int)
            {
                keys.push((tree![format!("CAST({column} AS VARCHAR)")], Kind::Text));
            }
        }
        let calls: Vec<(Tree, Kind)> = (0..1 + self.chance.below(4))
            .map(|_| scope.aggregate(self.chance, from.event_time))
            .collect();
        let calls = unmixed(calls);
        let hidden = self.chance.once_in(6);
        let (mut items, mut groups, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (value, kind)) in keys.iter().chain(&calls).enumerate() {
            let column = self.column(columns.len(), *kind);
            let item = tree![value, " AS ", &column.name];
            // A key that goes is gone from both lists.
            let mark = self.chance.mark();
            let or = |full: Tree| Tree::Or(mark, vec![full, "".into()]);
            if at < keys.len() {
                groups.push(or(value.clone()));
            }
            if at >= keys.len() || !hidden {
                items.push(or(item));
                columns.push(column);
            }
        }
        let filter = self.filter(&from.columns);
        let groups = Tree::List { before: " GROUP BY ", between: ", ", items: groups };
        let having = self.having(&calls);
        let sql =
            tree![Tree::select(Tree::list(items)), " FROM ", from.text, filter, groups, having];
        Query { sql, columns, wide: from.wide, reads: from.reads, twin: Twin::Query }
    }

    pub(super) fn having(&mut self, calls: &[(Tree, Kind)]) -> Tree {
        if !self.chance.once_in(4) {
            return "".into();
        }
        let having = match calls.iter().find(|(_, kind)| *kind == Kind::Int) {
            Some((call, _)) => tree![" HAVING ", call, " % 2 = 0"],
            None => tree![" HAVING count(*) > 2"],
        };
        self.chance.maybe(having)
    }

    /// `ROLLUP`, `CUBE` and `GROUPING SETS`.
    pub(super) fn grouping(&mut self) -> Query {
        let from = self.from();
        // Keys that are constants: the batch engine takes each part of a union for all of their group.
        if !from.keys.is_empty() || from.folded {
            return self.aggregate(from);
        }
        let scope = super::exprs::Scope { folded: from.folded, ..self.scope(&from.columns) };
        let mut keys: Vec<(Tree, Kind)> = Vec::new();
        for _ in 0..1 + self.chance.below(3) {
            let kind = scope.key_kind(self.chance);
            let key = scope.value(self.chance, kind);
            // The planner refuses sets with the same key twice.
            let text = key.sql(&Cuts::new());
            let constant = scope.of(&[kind]).is_empty();
            if !constant && keys.iter().all(|(other, _)| other.sql(&Cuts::new()) != text) {
                keys.push((key, kind));
            }
        }
        if keys.is_empty() {
            return self.aggregate(from);
        }
        let mut items = Vec::new();
        let mut columns = Vec::new();
        for (value, kind) in &keys {
            let column = self.column(columns.len(), *kind);
            items.push(self.item(value.clone(), &column));
            columns.push(column);
        }
        if self.chance.once_in(2) {
            let column = self.column(columns.len(), Kind::Int);
            let number = tree!["CAST(grouping(", &keys[0].0, ") AS BIGINT)"];
            items.push(self.item(number, &column));
            columns.push(column);
        }
        let calls: Vec<(Tree, Kind)> = (0..1 + self.chance.below(3))
            .map(|_| scope.aggregate(self.chance, from.event_time))
            .collect();
        let calls = unmixed(calls);
        for (call, kind) in &calls {
            let column = self.column(columns.len(), *kind);
            items.push(self.item(call.clone(), &column));
            columns.push(column);
        }
        let values = || keys.iter().map(|(value, _)| value.clone());
        let groups = match self.chance.below(3) {
            0 => tree!["ROLLUP (", Tree::list(values().collect()), ")"],
            1 => tree!["CUBE (", Tree::list(values().collect()), ")"],
            _ => {
                let mut sets = Vec::new();
                for _ in 0..1 + self.chance.below(SETS_MAX) {
                    let some = values().filter(|_| self.chance.once_in(2)).collect();
                    let set = tree!["(", Tree::list(some), ")"];
                    sets.push(self.chance.maybe(set));
                }
                // Every key is in some set.
                sets.push(tree!["(", Tree::list(values().collect()), ")"]);
                tree!["GROUPING SETS (", Tree::list(sets), ")"]
            }
        };
        let filter = self.filter(&from.columns);
        let having = self.having(&calls);
        let items = Tree::list(items);
        let sql =
            tree![Tree::select(items), " FROM ", from.text, filter, " GROUP BY ", groups, having];
        Query { sql, columns, wide: from.wide, reads: from.reads, twin: Twin::Query }
    }

    /// Sessions, grouped by all that makes them, or their rows.
    pub(super) fn session(&mut self) -> Query {
        let relation = self.relation();
        if relation.closing && self.chance.once_in(2) {
            return self.closing_sessions(relation);
        }
        let Some(time) = self.time_of(&relation) else { return self.union() };
        let of = self.windowed(&relation);
        let gap = *self.chance.pick(&["2 seconds", "10 seconds", "1 minute"]);
        let scope = self.scope(&relation.columns);
        let key = if self.chance.once_in(4) {
            None
        } else {
            let kind = *self.chance.pick(&[Kind::Int, Kind::Text, Kind::Bool, Kind::Date]);
            scope.one(self.chance, kind).map(|name| Column::new(name, kind))
        };
        let by = key.as_ref().map_or(String::new(), |c| format!(" PARTITION BY {}", c.name));
        let text =
            Tree::only_ours(tree!["SESSION(", of, format!("{by}, {time}, INTERVAL '{gap}')")]);
        let mut input = Input::of(relation);
        input.columns.extend(bounds());
        let keys = key.into_iter().chain(bounds()).collect();
        let input = Input { text, keys, event_time: false, ..input };
        if self.chance.once_in(5) {
            // Its rows, whatever they are grouped by.
            return self.aggregate(Input { keys: Vec::new(), ..input });
        }
        self.aggregate(input)
    }
}

fn hop(of: &Tree, time: &str, slide: &str, size: &str) -> Tree {
    Tree::only_ours(tree!["HOP(", of, format!(", {time}, INTERVAL '{slide}', INTERVAL '{size}')")])
}
