//! Messages into rows, as their plan says.

use super::cursor::{Broken, Cursor};
use super::plan::{Entry, Plan, Step};
use super::schema::TypeId;
use super::shown;
use super::value::{Failure, push};
use crate::sheet::Sheet;

/// Rows while they are read.
pub(super) struct Rows<'a> {
    pub(super) plan: &'a Plan,
    pub(super) sheet: &'a mut Sheet,
    pub(super) scratch: &'a mut Vec<u8>,
}

impl Rows<'_> {
    /// Reads the record that begins at `start` of `message` and ends with it. The row is not complete
    /// yet; on an error some of it is there.
    pub(super) fn message(&mut self, message: &[u8], start: usize) -> Result<(), String> {
        let mut cursor = Cursor::new(message, start);
        let plan = self.plan;
        if let Step::Record(steps) = &plan.root {
            for (place, step) in steps.iter().enumerate() {
                self.step(step, &mut cursor).map_err(|broken| {
                    let field = plan.fields.get(place).map_or("", String::as_str);
                    unreadable(&broken, &format!(", in field \"{field}\""))
                })?;
            }
        } else {
            self.step(&plan.root, &mut cursor).map_err(|broken| unreadable(&broken, ""))?;
        }
        match message.len() - cursor.pos {
            0 => Ok(()),
            1 => Err("the message has a byte more than its record".to_owned()),
            more => Err(format!("the message has {more} bytes more than its record")),
        }
    }

    fn step(&mut self, step: &Step, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        match step {
            Step::Column(id, column) => self.column(*id, *column, cursor),
            Step::Skip(id) => shown::skip(&self.plan.types, *id, cursor, 0),
            Step::Record(steps) => {
                cursor.count()?;
                steps.iter().try_for_each(|step| self.step(step, cursor))
            }
            Step::Union(steps) => {
                let branch = cursor.branch(steps.len())?;
                self.step(&steps[branch], cursor)
            }
            Step::Map(value, entries) => {
                cursor.elements(|cursor| self.entry(*value, entries, cursor))
            }
            Step::Several(steps) => {
                let (start, mut end) = (*cursor, *cursor);
                for step in steps {
                    end = start;
                    self.step(step, &mut end)?;
                }
                *cursor = end;
                Ok(())
            }
            Step::Alien => Err(cursor.broken("it is no record")),
        }
    }

    /// Reads the value here into a column.
    #[inline]
    fn column(&mut self, id: TypeId, index: usize, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        let start = *cursor;
        let column = self.sheet.begin(index);
        match push(&self.plan.types, id, cursor, column, self.scratch) {
            Ok(()) => Ok(()),
            Err(Failure::Broken(broken)) => Err(broken),
            Err(Failure::Misfit(misfit)) => {
                // The rest must be readable all the same.
                *cursor = start;
                self.scratch.clear();
                shown::write(&self.plan.types, id, cursor, 0, self.scratch)?;
                self.sheet.misfit(index, misfit, self.scratch);
                Ok(())
            }
        }
    }

    fn entry(
        &mut self,
        value: TypeId,
        entries: &[Entry],
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Broken> {
        let key = cursor.string()?;
        let Some(entry) = entries.iter().find(|entry| entry.key == key) else {
            return shown::skip(&self.plan.types, value, cursor, 0);
        };
        for &column in &entry.columns {
            self.sheet.begin(column);
        }
        self.step(&entry.step, cursor)
    }
}

#[cold]
fn unreadable(broken: &Broken, place: &str) -> String {
    format!("the message cannot be read at byte {}{place}: {}", broken.at(), broken.what())
}
