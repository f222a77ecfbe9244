//! Queries that go by time: rows that are there by the clock, and windows that are told when they are closed.
//!
//! A closed window has an exact twin in batch, since each row of a closing stream knows the watermark that it came
//! behind (`wm`) and the number of its commit (`seq`):
//!
//! ```text
//!   taken:  seq <= $created OR window_end > wm      a view takes all rows that are stored when it is created
//!   told:   window_end <= $closed                   the watermark as it is
//!
//!   sessions:  seq <= $created OR ts >= wm, told with window_end < $closed
//! ```

use super::aggregates::unmixed;
use super::base::{Column, Kind};
use super::tree::{Tree, tree};
use super::views::{Query, Relation, Twin, Writer};

impl Writer<'_> {
    /// Rows of the last while, or of the next.
    pub(super) fn by_clock(&mut self) -> Query {
        let relation = self.narrow();
        let Some(time) = self.time_of(&relation) else { return self.union() };
        let clock = match self.chance.below(5) {
            0 => format!("{time} > now()"),
            1 => format!("{time} BETWEEN now() - INTERVAL '40 seconds' AND now()"),
            2 => format!("{time} + INTERVAL '20 seconds' <= now()"),
            3 => format!("now() - INTERVAL '2 minutes' < {time}"),
            _ => format!("{time} >= now() - INTERVAL '30 seconds'"),
        };
        let more = self.scope(&relation.columns).condition(self.chance, 1);
        let more = self.chance.maybe(tree![" AND ", more]);
        let filter = tree![" WHERE ", Tree::only_ours(clock), more];
        let scope = self.scope(&relation.columns);
        let reads = vec![relation.name.clone()];
        if self.chance.once_in(2) {
            let kinds = self.kinds(&relation.columns, 3);
            let (items, columns) = self.listed(&relation.columns, &kinds);
            let sql = tree![Tree::select(items), " FROM ", relation.name, filter];
            return Query { sql, columns, reads, wide: false, twin: Twin::Clocked };
        }
        let kind = *self.chance.pick(&[Kind::Int, Kind::Text, Kind::Bool]);
        let key = scope.value(self.chance, kind);
        let (call, called) = scope.aggregate(self.chance, relation.event_time);
        let columns = vec![self.column(0, kind), self.column(1, called)];
        let call = self.item(call, &columns[1]);
        let items = Tree::list(vec![tree![&key, " AS ", &columns[0].name], call]);
        let sql = tree![Tree::select(items), " FROM ", relation.name, filter, " GROUP BY ", key];
        Query { sql, columns, reads, wide: false, twin: Twin::Clocked }
    }

    /// Windows that are told once.
    pub(super) fn closing(&mut self) -> Query {
        let closing: Vec<Relation> = self.relations.iter().filter(|r| r.closing).cloned().collect();
        if closing.is_empty() {
            return self.session();
        }
        let relation = self.chance.pick(&closing).clone();
        if self.chance.once_in(2) {
            return self.closing_sessions(relation);
        }
        let name = &relation.name;
        let window = *self.chance.pick(&[
            "TUMBLE({}, ts, INTERVAL '1 minute')",
            "TUMBLE({}, ts, INTERVAL '20 seconds', INTERVAL '7 seconds')",
            "HOP({}, ts, INTERVAL '20 seconds', INTERVAL '1 minute')",
            "CUMULATE({}, ts, INTERVAL '30 seconds', INTERVAL '2 minutes')",
        ]);
        let of = |window: &str| window.replace("{}", name);
        let scope = self.scope(&relation.columns);
        let kinds = [Kind::Int, Kind::Text];
        let key = if self.chance.once_in(3) {
            None
        } else {
            let kind = *self.chance.pick(&kinds);
            scope.one(self.chance, kind).map(|key| (Tree::from(key), kind))
        };
        let mut keys = vec![(Tree::from("window_end"), Kind::Time)];
        if self.chance.once_in(2) {
            keys.push(("window_start".into(), Kind::Time));
        }
        keys.extend(key);
        let (mut items, mut columns) = (Vec::new(), Vec::<Column>::new());
        let mut calls = Vec::new();
        for _ in 0..1 + self.chance.below(3) {
            calls.push(self.scope(&relation.columns).aggregate(self.chance, false));
        }
        let calls = unmixed(calls);
        for (value, kind) in keys.iter().chain(&calls) {
            let column = self.column(columns.len(), *kind);
            let item = tree![value, " AS ", &column.name];
            items.push(if columns.is_empty() { item } else { self.chance.maybe(item) });
            columns.push(column);
        }
        let (filter, groups) = (self.filter(&relation.columns), keys.into_iter().map(|k| k.0));
        let head = tree![Tree::select(Tree::list(items)), " FROM "];
        let tail = Tree::List { before: " GROUP BY ", between: ", ", items: groups.collect() };
        let sql = tree![&head, of(window), &filter, &tail, " EMIT ON WINDOW CLOSE"];
        let sql = Tree::only_ours(sql);
        let taken = tree![
            &head,
            format!("(SELECT * FROM {} w0 WHERE seq <= $created OR window_end > wm) w", of(window)),
            filter,
            tail
        ];
        let told = &columns[0].name;
        let twin = tree!["SELECT * FROM (", taken, format!(") q WHERE {told} <= $closed")];
        Query { sql, columns, reads: vec![relation.name], wide: false, twin: Twin::Closed(twin) }
    }

    /// Sessions that are told once.
    pub(super) fn closing_sessions(&mut self, relation: Relation) -> Query {
        let scope = self.scope(&relation.columns);
        let kind = *self.chance.pick(&[Kind::Int, Kind::Text, Kind::Bool]);
        let key = if self.chance.once_in(4) {
            None
        } else {
            scope.one(self.chance, kind).map(|key| (Tree::from(key), kind))
        };
        let by =
            key.as_ref().map_or_else(|| Tree::from(""), |(key, _)| tree![" PARTITION BY ", key]);
        let gap = *self.chance.pick(&["2 seconds", "10 seconds", "1 minute"]);
        let mut keys =
            vec![(Tree::from("window_end"), Kind::Time), ("window_start".into(), Kind::Time)];
        keys.extend(key);
        let mut calls = Vec::new();
        for _ in 0..1 + self.chance.below(3) {
            calls.push(self.scope(&relation.columns).aggregate(self.chance, false));
        }
        let calls = unmixed(calls);
        let (mut items, mut columns) = (Vec::new(), Vec::<Column>::new());
        for (value, kind) in keys.iter().chain(&calls) {
            let column = self.column(columns.len(), *kind);
            let item = tree![value, " AS ", &column.name];
            items.push(if columns.is_empty() { item } else { self.chance.maybe(item) });
            columns.push(column);
        }
        let session = |of: &str| tree!["SESSION(", of, &by, format!(", ts, INTERVAL '{gap}')")];
        let groups = keys.iter().map(|(key, _)| key.clone()).collect();
        let head = tree![Tree::select(Tree::list(items)), " FROM "];
        let groups = Tree::List { before: " GROUP BY ", between: ", ", items: groups };
        let having = self.having(&calls);
        let tail = tree![self.filter(&relation.columns), groups, having];
        let sql = tree![&head, session(&relation.name), &tail, " EMIT ON WINDOW CLOSE"];
        let in_time =
            format!("(SELECT * FROM {} w WHERE seq <= $created OR ts >= wm)", relation.name);
        let told = &columns[0].name;
        let twin = tree![
            "SELECT * FROM (",
            head,
            session(&in_time),
            tail,
            format!(") q WHERE {told} < $closed")
        ];
        let sql = Tree::only_ours(sql);
        Query { sql, columns, reads: vec![relation.name], wide: false, twin: Twin::Closed(twin) }
    }
}
