//! Makes the script of a seed: what it reads, what comes, what is asked.

use super::base::{Base, Kind, Mood, SECOND_US, START_US, TimeType};
use super::chance::Chance;
use super::exprs::{Function, Scope};
use super::script::{How, Knobs, Script, Step, View};
use super::tree::{Cuts, Tree, tree};
use super::views::{Query, Relation, Twin, Writer};

/// Views that are there at once.
const VIEWS_MAX: usize = 12;

/// The script of a seed while it is made.
struct Plan {
    chance: Chance,
    mood: Mood,
    time: TimeType,
    bases: Vec<Base>,
    functions: Vec<Function>,
    /// Whether so few rows come that they are compared with each other.
    few: bool,
    views: Vec<View>,
    named: usize,
    clock_us: i64,
    steps: Vec<Step>,
}

/// The script of `seed`.
pub(super) fn script(seed: u64) -> Script {
    let mut chance = Chance::new(seed);
    let time = TimeType(if chance.once_in(3) { "TIMESTAMP" } else { "TIMESTAMPTZ" });
    let knobs = knobs(&mut chance);
    let mut bases = vec![Base::stream(&mut chance, "s0", time)];
    if chance.once_in(2) {
        bases.push(Base::stream(&mut chance, "s1", time));
    }
    bases.push(Base::table(&mut chance, "t0", time));
    if chance.once_in(2) {
        bases.push(Base::closing("c0", time));
    }
    let (mood, few) = (Mood::new(&mut chance), !chance.once_in(3));
    let functions = functions(&mut chance, time);
    let mut plan = Plan {
        chance,
        mood,
        time,
        bases,
        functions,
        few,
        views: Vec::new(),
        named: 0,
        clock_us: START_US,
        steps: Vec::new(),
    };
    for _ in 0..5 + plan.chance.below(5) {
        plan.create();
    }
    for _ in 0..2 {
        for _ in 0..7 + plan.chance.below(6) {
            plan.step();
        }
        plan.steps.push(Step::Compare);
    }
    plan.restart();
    plan.feed();
    plan.steps.push(Step::Compare);
    let functions = plan.functions.into_iter().map(|function| function.sql).collect();
    Script {
        time,
        knobs,
        bases: plan.bases,
        functions,
        steps: plan.steps,
        cuts: Cuts::new(),
        focus: None,
        without: Vec::new(),
    }
}

fn knobs(chance: &mut Chance) -> Knobs {
    Knobs {
        workers: *chance.pick(&[1, 2, 3, 7]),
        commit_ms: *chance.pick(&[0, 0, 1, 3]),
        commit_rows: *chance.pick(&[50, 1000, 65_536]),
        memory_bytes: *chance.pick(&[30_000, 300_000, 256 << 20]),
        merge_rows: *chance.pick(&[1, 1_000, 1 << 17]),
        build_rows: *chance.pick(&[3, 40, 32_768]),
    }
}

/// A few functions of SQL, each over its parameters.
fn functions(chance: &mut Chance, time: TimeType) -> Vec<Function> {
    use Kind as K;
    let of = |kind| match kind {
        K::Int => "BIGINT",
        K::Text => "TEXT",
        K::Bool => "BOOLEAN",
        _ => "DOUBLE PRECISION",
    };
    let kinds = [K::Int, K::Text, K::Bool, K::Float];
    let mut all: Vec<Function> = Vec::new();
    for number in 0..chance.below(3) {
        let takes: Vec<Kind> = (0..1 + chance.below(2)).map(|_| *chance.pick(&kinds)).collect();
        let named = |(at, kind): (usize, &Kind)| super::base::Column::new(format!("p{at}"), *kind);
        let columns: Vec<_> = takes.iter().enumerate().map(named).collect();
        let scope = Scope { columns: &columns, time, folded: true, functions: &all };
        let gives = *chance.pick(&takes);
        let body = scope.value(chance, gives);
        let parameters: Vec<String> =
            columns.iter().map(|c| format!("{} {}", c.name, of(c.kind))).collect();
        let name = format!("f{number}");
        let head =
            format!("CREATE FUNCTION {name}({}) RETURNS {} ", parameters.join(", "), of(gives));
        let strict = *chance.pick(&["", "", "STRICT "]);
        let sql = tree![head, strict, "LANGUAGE SQL AS $$ SELECT ", body, " $$"];
        let sql = chance.maybe(sql);
        all.push(Function { name, takes, gives, sql });
    }
    all
}

impl Plan {
    fn step(&mut self) {
        match self.chance.below(29) {
            0..=11 => self.feed(),
            12..=14 => self.change(),
            15..=17 => self.create(),
            18 | 19 => self.replace(),
            20 => self.drop_view(),
            21 | 22 => self.steps.push(Step::Checkpoint),
            23 => self.restart(),
            24..=26 => self.pass(),
            _ => self.glance(),
        }
    }

    fn feed(&mut self) {
        let at = self.chance.below(self.bases.len());
        let count = match self.chance.below(8) {
            0 => 1,
            1 if !self.few => 200 + self.chance.below(500),
            _ if self.few => 1 + self.chance.below(25),
            _ => 1 + self.chance.below(60),
        };
        let insert = self.bases[at].closing || self.chance.once_in(8);
        let count = if insert { count.min(8) } else { count };
        let rows = self.bases[at].rows(&mut self.chance, self.mood, count);
        let how = if insert {
            How::Insert { keep: self.bases[at].table && self.chance.once_in(3) }
        } else {
            let dead = if self.chance.once_in(8) { 1 + self.chance.below(3) } else { 0 };
            let (twice, waits) = (self.chance.once_in(8), self.chance.once_in(2));
            How::Sent { twice, dead, waits }
        };
        self.steps.push(Step::Feed { base: at, rows, how });
    }

    fn change(&mut self) {
        let table = self.bases.iter().find(|base| base.table).expect("every case has a table");
        let (columns, name) = (table.columns.clone(), table.name.clone());
        let scope = Scope { columns: &columns, time: self.time, folded: false, functions: &[] };
        let condition = match self.chance.once_in(8) {
            true => "true".into(),
            false => {
                let condition = scope.condition(&mut self.chance, 1);
                self.chance.or(condition, ["true".into()])
            }
        };
        let sql = if self.chance.once_in(3) {
            tree![format!("DELETE FROM {name} WHERE "), condition]
        } else {
            let set = *self.chance.pick(&[
                "n = n / 2 + 1",
                "k = 'k1'",
                "g = NULL",
                "f = f / 2, b = NOT b",
                "ts = ts + INTERVAL '1 minute'",
                "s = upper(s), d = d / 2",
                "n = n",
                "wild = f, big = n",
            ]);
            tree![format!("UPDATE {name} SET {set} WHERE "), condition]
        };
        self.steps.push(Step::Change(sql));
    }

    /// What a view may read; not `but`.
    fn relations(&self, but: Option<&str>) -> Vec<Relation> {
        let base = |base: &Base| Relation {
            name: base.name.clone(),
            columns: base.columns.clone(),
            event_time: base.event_time,
            wide: false,
            closing: base.closing,
        };
        let view = |view: &View| Relation {
            name: view.name.clone(),
            columns: view.query.columns.clone(),
            event_time: false,
            wide: view.query.wide,
            closing: false,
        };
        let views = self.views.iter().filter(|view| Some(view.name.as_str()) != but);
        self.bases.iter().map(base).chain(views.map(view)).collect()
    }

    fn query(&mut self, but: Option<&str>) -> Query {
        let relations = self.relations(but);
        self.named += 1;
        let mut writer = Writer {
            chance: &mut self.chance,
            relations: &relations,
            functions: &self.functions,
            time: self.time,
            prefix: format!("c{}", self.named),
            few: self.few,
            depth: 0,
        };
        writer.query()
    }

    fn create(&mut self) {
        if self.views.len() >= VIEWS_MAX {
            return self.replace();
        }
        let query = self.query(None);
        let view = View { name: format!("v{}", self.named), query };
        self.views.push(view.clone());
        self.steps.push(Step::Create { view, replace: false });
    }

    /// Another query where nobody reads the view, else fewer of its rows.
    fn replace(&mut self) {
        if self.views.is_empty() {
            return self.create();
        }
        let at = self.chance.below(self.views.len());
        let name = self.views[at].name.clone();
        let is_read = self.views.iter().any(|view| view.query.reads.contains(&name));
        let query = if is_read {
            let old = self.views[at].query.clone();
            if !matches!(old.twin, Twin::Query) {
                return self.feed();
            }
            let columns = old.columns.clone();
            let scope = Scope { columns: &columns, time: self.time, folded: true, functions: &[] };
            let condition = scope.condition(&mut self.chance, 1);
            let sql = tree!["SELECT * FROM (", old.sql, ") q WHERE ", condition];
            Query { sql, ..old }
        } else {
            self.query(Some(&name))
        };
        let view = View { name, query };
        // A view comes behind what it reads.
        self.views.remove(at);
        self.views.push(view.clone());
        self.steps.push(Step::Create { view, replace: true });
    }

    fn drop_view(&mut self) {
        if self.views.is_empty() {
            return;
        }
        let at = self.chance.below(self.views.len());
        let name = self.views[at].name.clone();
        self.steps.push(Step::Drop(name.clone()));
        let mut gone = vec![name];
        while let Some(name) = gone.pop() {
            let reads = |view: &View| view.query.reads.contains(&name);
            gone.extend(self.views.iter().filter(|v| reads(v)).map(|v| v.name.clone()));
            self.views.retain(|view| view.name != name && !reads(view));
        }
    }

    fn restart(&mut self) {
        let crash = self.chance.once_in(2);
        let knobs = knobs(&mut self.chance);
        self.steps.push(Step::Restart { crash, knobs });
    }

    /// Time passes, to about where the rows are.
    fn pass(&mut self) {
        let rows = self.bases.iter().map(Base::now_us).max().unwrap_or(START_US);
        let us = rows + self.chance.between(-60, 60) * SECOND_US;
        self.clock_us = us.max(self.clock_us + 2 * SECOND_US);
        self.steps.push(Step::Clock(self.clock_us));
    }

    fn glance(&mut self) {
        if self.views.is_empty() {
            return;
        }
        let at = self.chance.below(self.views.len());
        let view = self.views[at].clone();
        let filter: Tree = if self.chance.once_in(2) {
            let columns = &view.query.columns;
            let scope = Scope { columns, time: self.time, folded: false, functions: &[] };
            let condition = scope.condition(&mut self.chance, 1);
            self.chance.maybe(tree![" WHERE ", condition])
        } else {
            "".into()
        };
        self.steps.push(Step::Glance { view: view.name, filter });
    }
}

/// Seeds tell cases apart, and repeat them.
#[test]
fn cases_differ() {
    let text = |seed| {
        let script = script(seed);
        super::script::text(script.knobs, &script.acts())
    };
    assert_ne!(text(1), text(2));
    assert_eq!(text(1), text(1));
}
