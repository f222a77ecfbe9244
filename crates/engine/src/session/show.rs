//! `SHOW`, `DESCRIBE`, `SET`: what is there, and the settings of a connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parking_lot::Mutex;
use yeoul_batch::CommitId;
use yeoul_sql::{Name, RelationKind, SetSetting, Show, Statement};

use super::built::BACKGROUND_DDL;
use super::{Answer, Session};
use crate::catalog::{Body, Relation};
use crate::error::{EngineError, ErrorKind};
use crate::planning::missing;

/// Settings with a meaning of their own, and what they are at first. Others are accepted and kept:
/// clients of PostgreSQL set many.
const KNOWN: [(&str, &str); 13] = [
    ("application_name", ""),
    (BACKGROUND_DDL, "off"),
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, MDY"),
    ("extra_float_digits", "1"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("search_path", "public"),
    ("server_version", "16.6"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
];

/// The settings of one connection.
#[derive(Debug, Default)]
pub(super) struct Settings(Mutex<BTreeMap<String, String>>);

impl Settings {
    /// How many settings a connection may have made up.
    const COUNT_MAX: usize = 1_000;

    pub(super) fn set(&self, set: &SetSetting) -> Result<(), EngineError> {
        let mut values = self.0.lock();
        let Some(name) = &set.name else {
            values.clear();
            return Ok(());
        };
        let name = name.value.to_lowercase();
        let Some(value) = &set.value else {
            values.remove(&name);
            return Ok(());
        };
        if name == "statement_timeout" {
            timeout_ms(value)?;
        }
        if (name == "timezone" || name == "time zone")
            && !["utc", "gmt", "etc/utc", "default"].contains(&value.to_lowercase().as_str())
        {
            tracing::debug!(value, "times are shown in UTC whatever a client asks for");
            return Ok(());
        }
        drop(values);
        self.put(&name, value)
    }

    /// Keeps a setting of any name.
    pub(super) fn put(&self, name: &str, value: &str) -> Result<(), EngineError> {
        let mut values = self.0.lock();
        let name = name.to_lowercase();
        if values.len() >= Self::COUNT_MAX && !values.contains_key(&name) {
            return Err(EngineError::new(ErrorKind::Limit, "too many settings on one connection"));
        }
        values.insert(name, value.to_owned());
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        let name = name.to_lowercase();
        self.0.lock().get(&name).cloned().or_else(|| {
            let known = KNOWN.iter().find(|(known, _)| *known == name);
            known.map(|(_, value)| (*value).to_owned())
        })
    }

    pub(super) fn all(&self) -> Vec<(String, String)> {
        let mut all: BTreeMap<String, String> =
            KNOWN.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.extend(self.0.lock().clone());
        all.into_iter().collect()
    }

    /// How long a query may run: the connection's `statement_timeout`, else `default`.
    pub(super) fn timeout(&self, default: Duration) -> Duration {
        match self.get("statement_timeout").and_then(|value| timeout_ms(&value).ok()) {
            None | Some(0) => default,
            Some(ms) => Duration::from_millis(ms),
        }
    }
}

/// `5000`, `5s`, `2min` in milliseconds.
fn timeout_ms(value: &str) -> Result<u64, EngineError> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => Some(1),
        "s" => Some(1_000),
        "min" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    number.parse::<u64>().ok().zip(factor).and_then(|(n, f)| n.checked_mul(f)).ok_or_else(|| {
        EngineError::new(ErrorKind::Input, format!("statement_timeout cannot be \"{value}\""))
            .with_sqlstate("22023")
            .with_hint("give milliseconds, or a number with ms, s, min or h")
    })
}

fn text_schema(names: &[&str]) -> SchemaRef {
    let field = |name: &&str| Field::new(*name, DataType::Utf8View, true);
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

fn rows(names: &[&str], columns: Vec<Vec<String>>, commit: CommitId) -> Answer {
    let schema = text_schema(names);
    let columns: Vec<ArrayRef> = columns
        .into_iter()
        .map(|column| Arc::new(StringViewArray::from_iter_values(column)) as ArrayRef)
        .collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(EngineError::from);
    Answer::Rows { schema, commit, rows: Box::pin(futures::stream::iter([batch])) }
}

const RELATIONS: [&str; 2] = ["name", "status"];
const COLUMNS: [&str; 4] = ["column", "type", "nullable", "role"];

impl Session {
    /// A text as an answer of one column, a row per line.
    pub(super) fn lines(&self, column: &str, text: &str, commit: CommitId) -> Answer {
        rows(&[column], vec![text.lines().map(str::to_owned).collect()], commit)
    }

    /// The columns of the answers that are always the same.
    pub(super) fn fixed_schema(&self, statement: &Statement) -> Result<SchemaRef, EngineError> {
        Ok(match statement {
            Statement::Show(Show::Setting(name)) => text_schema(&[name.value.as_str()]),
            Statement::Show(Show::AllSettings) => text_schema(&["name", "setting"]),
            Statement::Show(Show::Create(_)) => text_schema(&["definition"]),
            Statement::Show(Show::Columns(_)) | Statement::Describe(_) => text_schema(&COLUMNS),
            Statement::Show(Show::Functions) => text_schema(&super::function::COLUMNS),
            Statement::Show(_) => text_schema(&RELATIONS),
            _ => text_schema(&["plan"]),
        })
    }

    pub(super) async fn show(&self, show: &Show) -> Result<Answer, EngineError> {
        let world = self.shared.world.load_full();
        let commit = world.commit();
        let of = |kind: RelationKind| {
            let all: Vec<_> = world.catalog.relations().filter(|r| r.kind == kind).collect();
            let status = |relation: &Arc<Relation>| match world.readable(relation) {
                Ok(()) => "ready".to_owned(),
                Err(error) => error.message,
            };
            let names = all.iter().map(|r| r.name.clone()).collect();
            rows(&RELATIONS, vec![names, all.iter().map(|r| status(r)).collect()], commit)
        };
        Ok(match show {
            Show::Streams => of(RelationKind::Stream),
            Show::Tables => of(RelationKind::Table),
            Show::Views => of(RelationKind::View),
            Show::Sinks => of(RelationKind::Sink),
            Show::Functions => {
                let columns = super::function::listed(&world.catalog);
                rows(&super::function::COLUMNS, columns, commit)
            }
            Show::AllSettings => {
                let (names, values) = self.settings.all().into_iter().unzip();
                rows(&["name", "setting"], vec![names, values], commit)
            }
            Show::Setting(name) => {
                let value = self.settings.get(&name.value).ok_or_else(|| {
                    EngineError::new(
                        ErrorKind::NotFound,
                        format!("setting \"{}\" does not exist", name.value),
                    )
                    .with_sqlstate("42704")
                    .with_hint("SHOW ALL lists the settings")
                })?;
                rows(&[name.value.as_str()], vec![vec![value]], commit)
            }
            Show::Create(name) => {
                let relation = self.named(name)?;
                rows(&["definition"], vec![vec![relation.sql.clone()]], commit)
            }
            Show::Columns(name) => self.describe_relation(name)?,
        })
    }

    fn named(&self, name: &Name) -> Result<Arc<Relation>, EngineError> {
        let world = self.shared.world.load();
        let relation = world.catalog.get(&name.value).cloned();
        relation.ok_or_else(|| missing(&world.catalog, &name.value))
    }

    pub(super) fn describe_relation(&self, name: &Name) -> Result<Answer, EngineError> {
        let relation = self.named(name)?;
        let role = |index: usize| match &relation.body {
            Body::Stream(stream) => {
                let time = stream.event_time == Some(index);
                let unique = stream.unique.as_ref().is_some_and(|(key, _)| key.contains(&index));
                let words = [time.then_some("event time"), unique.then_some("unique key")];
                words.into_iter().flatten().collect::<Vec<_>>().join(", ")
            }
            Body::Table(_) if relation.primary_key().contains(&index) => "primary key".to_owned(),
            _ => String::new(),
        };
        let fields = relation.schema.fields();
        let yes_no = |yes| if yes { "yes" } else { "no" };
        Ok(rows(
            &COLUMNS,
            vec![
                fields.iter().map(|f| f.name().clone()).collect(),
                fields.iter().map(|f| yeoul_sql::datatype::sql_name(f)).collect(),
                fields.iter().map(|f| yes_no(f.is_nullable()).to_owned()).collect(),
                (0..fields.len()).map(role).collect(),
            ],
            self.shared.world.load().commit(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_units() {
        for (text, ms) in
            [("0", 0), ("250", 250), ("5s", 5_000), ("2 min", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(timeout_ms(text).expect(text), ms);
        }
        for text in ["", "-1", "5 days", "s"] {
            assert!(timeout_ms(text).is_err(), "{text}");
        }
    }
}
