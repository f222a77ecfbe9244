//! Slots as the JSON of Avro schemas.

use serde_json::{Map, Value, json};

use super::names::{self, TypeNames};
use super::slot::{Form, Slot};

/// What a schema is called that is a record.
pub(super) struct Record<'a> {
    pub(super) name: String,
    /// What it was to be called, if somebody said so.
    pub(super) real: Option<&'a str>,
    /// If empty, that of the record it is in.
    pub(super) namespace: &'a str,
}

impl Record<'_> {
    /// The record of `slots`.
    pub(super) fn json(&self, slots: &[Slot], types: &mut TypeNames) -> Value {
        let real: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        let fields = slots.iter().zip(names::of_fields(&real)).map(|(slot, field)| {
            let one = type_of(slot, &format!("{}_{field}", self.name), types);
            let doc = documented(&field, Some(&slot.name));
            let mut field = Map::from_iter([("name".to_owned(), field.into())]);
            field.extend(doc);
            field.insert("type".to_owned(), one);
            if slot.nullable {
                field.insert("default".to_owned(), Value::Null);
            }
            Value::Object(field)
        });
        let fields = fields.collect();
        self.of(fields)
    }

    /// The record of `fields`.
    pub(super) fn of(&self, fields: Vec<Value>) -> Value {
        let mut record = Map::from_iter([
            ("type".to_owned(), "record".into()),
            ("name".to_owned(), self.name.clone().into()),
        ]);
        if !self.namespace.is_empty() {
            record.insert("namespace".to_owned(), names::namespace(self.namespace).into());
        }
        record.extend(documented(&self.name, self.real));
        record.insert("fields".to_owned(), fields.into());
        Value::Object(record)
    }
}

/// The real name, where it is another.
fn documented(name: &str, real: Option<&str>) -> Option<(String, Value)> {
    let real = real.filter(|real| *real != name)?;
    Some(("doc".to_owned(), real.into()))
}

/// The type of a slot; records in it are called after `path`.
fn type_of(slot: &Slot, path: &str, types: &mut TypeNames) -> Value {
    let logical = |one: &str, name: &str| json!({"type": one, "logicalType": name});
    let one = match &slot.form {
        Form::Null => "null".into(),
        Form::Boolean => "boolean".into(),
        Form::Int => "int".into(),
        Form::Long => "long".into(),
        Form::Float => "float".into(),
        Form::Double => "double".into(),
        Form::Decimal { precision, scale } => json!({
            "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale,
        }),
        Form::Date => logical("int", "date"),
        Form::Time => logical("long", "time-micros"),
        Form::Timestamp { zoned: true } => logical("long", "timestamp-micros"),
        Form::Timestamp { zoned: false } => logical("long", "local-timestamp-micros"),
        Form::Text => "string".into(),
        Form::Uuid => logical("string", "uuid"),
        Form::Bytes => "bytes".into(),
        Form::Array(item) => json!({"type": "array", "items": type_of(item, path, types)}),
        Form::Record(slots) => {
            Record { name: types.take(path), real: None, namespace: "" }.json(slots, types)
        }
    };
    if slot.nullable { json!(["null", one]) } else { one }
}
