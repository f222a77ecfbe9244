//! What must hold while a case is played: views are their queries, rows that were acknowledged are there,
//! the books add up.

use std::time::Instant;

use arrow::array::RecordBatch;

use super::compare::{Bag, query};
use super::play::{Breach, Failure, PATIENCE, PAUSE, Stage, broken, head};
use super::script::Same;
use crate::support::run;

/// How the batch engine begins when its last check refuses a plan that it made itself: of an order by two columns
/// that are one, or by a condition that it has made simpler.
const OWN_PLAN: &str = "plan: [\"";

impl Stage {
    /// The rows of every stream and table.
    pub(super) fn contents(&self) -> Result<Vec<(String, Bag)>, Failure> {
        let rows = |name: &String| {
            let rows = self.fetch(&format!("SELECT * FROM {name}"), None)?;
            Ok((name.clone(), Bag::of(&rows)))
        };
        self.accepted.keys().map(rows).collect()
    }

    fn fetch(&self, sql: &str, view: Option<&str>) -> Result<Vec<RecordBatch>, Failure> {
        query(self.engine(), sql).map_err(|error| {
            let breach = Breach::Unanswered(head(&error.message));
            broken(breach, view, format!("refused: {sql}\n{error}"))
        })
    }

    fn number(&self, sql: &str) -> Result<u64, Failure> {
        match run(self.engine(), sql).as_deref() {
            Ok([one]) => Ok(one.parse().expect("a number")),
            other => Err(broken(Breach::Books, None, format!("{sql}\n{other:?}"))),
        }
    }

    /// What was there before a restart is there, and what was acknowledged.
    pub(super) fn kept(&mut self, before: Vec<(String, Bag)>, crash: bool) -> Result<(), Failure> {
        if !before.is_empty() {
            let after = self.contents()?;
            for ((name, before), (_, after)) in before.into_iter().zip(after) {
                if let Some(rows) = before.difference(after) {
                    let rows = rows.replace("only kept", "before").replace("only batch", "after");
                    let text = format!("{name} is not what it was:\n{rows}");
                    return Err(broken(Breach::Books, None, text));
                }
            }
        }
        let streams: Vec<String> =
            self.accepted.keys().filter(|name| !self.tables.contains(name)).cloned().collect();
        for name in streams {
            let stored = self.number(&format!("SELECT count(*) FROM {name}"))?;
            let known = self.accepted[&name];
            if stored < known || (!crash && stored != known) {
                let text = format!("{name}: {known} rows were acknowledged, {stored} are there");
                return Err(broken(Breach::Books, None, text));
            }
            self.accepted.insert(name, stored);
        }
        Ok(())
    }

    /// A view is its query: in one statement, which sees one commit, whatever is being committed meanwhile.
    pub(super) fn same(&mut self, same: &Same) -> Result<(), Failure> {
        let name = &same.view;
        if self.replacing {
            self.replaced()?;
        }
        if self.absent.contains(name) || self.engine().health().building.contains(name) {
            return Ok(());
        }
        let (filter, sql) = (&same.filter, (self.oracle)(&same.query));
        let both = format!(
            "SELECT CAST(0 AS BIGINT) AS side, * FROM {name}{filter} \
             UNION ALL SELECT CAST(1 AS BIGINT), * FROM ({sql}) q{filter}"
        );
        let begun = Instant::now();
        loop {
            let rows = match self.fetch(&both, Some(name)) {
                Err(failure) if failure.text.contains(OWN_PLAN) => {
                    self.tally.refused += 1;
                    return Ok(());
                }
                rows => rows?,
            };
            let [kept, batch] = Bag::sides(&rows);
            let (rows, counts) =
                (batch.rows(), format!("{} rows kept, {} in batch", kept.rows(), batch.rows()));
            let Some(difference) = kept.difference(batch) else {
                self.tally.comparisons += 1;
                self.tally.rows += rows;
                return Ok(());
            };
            // Within a second a view sees the clock.
            if !same.clocked || begun.elapsed() > PATIENCE / 5 {
                let text = format!("view {name} AS {sql}\nread{filter}: {counts}\n{difference}");
                return Err(broken(Breach::Differs, Some(name), text));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What came in is stored, a duplicate, or a dead letter; and it is as much as was acknowledged.
    pub(super) fn books(&self, name: &str, table: bool, unique: bool) -> Result<(), Failure> {
        let sums = ["received", "stored", "duplicates", "dead_letters"]
            .map(|column| format!("coalesce(sum({column}), 0)"))
            .join(", ");
        let entries = format!("SELECT {sums} FROM yeoul.sources WHERE stream = '{name}'");
        let stored = format!("SELECT count(*), count(DISTINCT id) FROM {name}");
        let fail = |text: String| Err(broken(Breach::Books, None, text));
        let mut n: Vec<u64> = Vec::new();
        for sql in [entries, stored] {
            let lines = match run(self.engine(), &sql) {
                Ok(lines) => lines.join("\n"),
                Err(error) => return fail(format!("refused: {sql}\n{error}")),
            };
            n.extend(lines.split('|').map(|cell| cell.parse::<u64>().expect("a number")));
        }
        let accepted = self.accepted[name];
        if n[0] != n[1] + n[2] + n[3] || (!table && (n[1] != n[4] || n[4] != accepted)) {
            return fail(format!(
                "the books of {name}: received, stored, duplicates, dead letters, rows, ids: {n:?}, \
                 {accepted} were acknowledged"
            ));
        }
        if unique && n[5] != n[4] {
            return fail(format!("{name}: {} rows of {} ids, which are unique", n[4], n[5]));
        }
        Ok(())
    }
}
