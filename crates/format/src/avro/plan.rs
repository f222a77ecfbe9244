//! What is done with each field of a writer's schema: which column it goes to, or that it is passed.
//!
//! A column's value is found by its name, or by its path where one is mapped: through records by the
//! names of their fields, exactly or else without regard to case, and through maps by their keys.

use super::schema::{RecordField, Type, TypeId, WriterSchema};
use crate::error::FormatError;

/// What is done with a value.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Nobody asks for it.
    Skip(TypeId),
    /// It goes to a column.
    Column(TypeId, usize),
    /// It is a record, whose fields are looked at.
    Record(Vec<Step>),
    /// It is a map, of whose entries some are looked at.
    Map(TypeId, Vec<Entry>),
    /// It is one of these.
    Union(Vec<Step>),
    /// Several of these are done with it.
    Several(Vec<Step>),
    /// A message that is this is no record.
    Alien,
}

/// What is done with an entry of a map.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) step: Step,
    /// The columns it fills: when a key is repeated, what it said first is void.
    pub(super) columns: Vec<usize>,
}

/// A writer's schema and what is done with its messages.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) types: Vec<Type>,
    pub(super) root: Step,
    /// The names of the fields of a message, where there is one record.
    pub(super) fields: Vec<String>,
}

/// A column that is looked for, with what is left of its path.
#[derive(Clone, Copy)]
struct Wish<'a> {
    column: usize,
    path: &'a [String],
}

impl Plan {
    /// `paths` lead to the columns, whose names are `columns` for a message.
    pub(super) fn new(
        schema: WriterSchema,
        paths: &[Vec<String>],
        columns: &dyn Fn() -> String,
    ) -> Result<Self, FormatError> {
        let WriterSchema { types, root } = schema;
        let wishes: Vec<Wish<'_>> =
            paths.iter().enumerate().map(|(column, path)| Wish { column, path }).collect();
        let mut planner = Planner { types: &types, found: false };
        let (step, fields) = match &types[root] {
            Type::Record(fields) => {
                let names = fields.iter().map(|field| field.name.clone()).collect();
                (planner.record(fields, &wishes)?, names)
            }
            Type::Union(branches) => {
                let branches = branches.iter().map(|branch| match &types[*branch] {
                    Type::Record(fields) => planner.record(fields, &wishes),
                    _ => Ok(Step::Alien),
                });
                (Step::Union(branches.collect::<Result<_, _>>()?), Vec::new())
            }
            _ => return Err(FormatError::Schema("it is no record".to_owned())),
        };
        if !planner.found {
            let header = fields.join(",");
            return Err(FormatError::Header { what: "the schema", columns: columns(), header });
        }
        Ok(Self { types, root: step, fields })
    }
}

struct Planner<'a> {
    types: &'a [Type],
    /// Whether a column was found.
    found: bool,
}

impl Planner<'_> {
    fn step(&mut self, id: TypeId, wishes: &[Wish<'_>]) -> Result<Step, FormatError> {
        let mut steps = Vec::new();
        for wish in wishes.iter().filter(|wish| wish.path.is_empty()) {
            steps.push(Step::Column(id, wish.column));
        }
        self.found |= !steps.is_empty();
        let deeper: Vec<Wish<'_>> =
            wishes.iter().filter(|wish| !wish.path.is_empty()).copied().collect();
        if !deeper.is_empty() {
            match &self.types[id] {
                Type::Record(fields) => steps.push(self.record(fields, &deeper)?),
                Type::Map(value) => steps.push(self.map(*value, &deeper)?),
                Type::Union(branches) => {
                    let branches = branches.iter().map(|branch| self.step(*branch, &deeper));
                    steps.push(Step::Union(branches.collect::<Result<_, _>>()?));
                }
                // What is no object has nothing inside.
                _ => {}
            }
        }
        Ok(match steps.len() {
            0 => Step::Skip(id),
            1 => steps.remove(0),
            _ => Step::Several(steps),
        })
    }

    fn record(&mut self, fields: &[RecordField], wishes: &[Wish<'_>]) -> Result<Step, FormatError> {
        let mut of: Vec<Vec<Wish<'_>>> = vec![Vec::new(); fields.len()];
        for wish in wishes {
            let Some((name, path)) = wish.path.split_first() else { continue };
            if let Some(place) = place(fields, name)? {
                of[place].push(Wish { column: wish.column, path });
            }
        }
        let steps = fields.iter().zip(&of).map(|(field, wishes)| self.step(field.value, wishes));
        Ok(Step::Record(steps.collect::<Result<_, _>>()?))
    }

    fn map(&mut self, value: TypeId, wishes: &[Wish<'_>]) -> Result<Step, FormatError> {
        let mut entries: Vec<(&String, Vec<Wish<'_>>)> = Vec::new();
        for wish in wishes {
            let Some((key, path)) = wish.path.split_first() else { continue };
            let wish = Wish { column: wish.column, path };
            match entries.iter_mut().find(|(known, _)| *known == key) {
                Some((_, wishes)) => wishes.push(wish),
                None => entries.push((key, vec![wish])),
            }
        }
        let entries = entries.into_iter().map(|(key, wishes)| {
            let columns = wishes.iter().map(|wish| wish.column).collect();
            Ok(Entry { key: key.clone(), step: self.step(value, &wishes)?, columns })
        });
        Ok(Step::Map(value, entries.collect::<Result<_, FormatError>>()?))
    }
}

/// Which field is called `name`.
fn place(fields: &[RecordField], name: &str) -> Result<Option<usize>, FormatError> {
    let exact = fields.iter().position(|field| field.name == name);
    if exact.is_some() {
        return Ok(exact);
    }
    let mut similar = fields.iter().enumerate().filter(|(_, f)| f.name.eq_ignore_ascii_case(name));
    let first = similar.next();
    if similar.next().is_some() {
        return Err(FormatError::NamedTwice { what: "the schema", field: name.to_owned() });
    }
    Ok(first.map(|(place, _)| place))
}
