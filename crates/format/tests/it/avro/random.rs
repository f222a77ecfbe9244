//! Random schemas of Avro, and random messages of a schema.

use std::collections::HashMap;

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::long;

fn items(unique: &str) -> Vec<Value> {
    vec![
        json!({"type": "record", "name": unique, "fields": [
            {"name": "inner", "type": ["null", {"type": "record", "name": format!("{unique}i"), "fields": [
                {"name": "x", "type": "long"},
                {"name": "list", "type": {"type": "array", "items": "boolean"}},
            ]}]},
            {"name": "id", "type": ["long", "null", "string"]},
        ]}),
        json!({"type": "map", "values": ["null", "long"]}),
        json!("long"),
    ]
}

/// A type for the field `name`, in a form that the line of JSON can say.
fn random_type(rng: &mut StdRng, name: &str, named: &mut usize) -> Value {
    *named += 1;
    let unique = format!("T{named}");
    let decimal = |scale: u8| json!({"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": scale});
    let enumerated = json!({"type": "enum", "name": unique, "symbols": ["1", "7", "red"]});
    let mut choices = match name {
        "id" => vec![json!("long"), json!("int"), json!("string"), json!("double"), enumerated],
        "name" => vec![
            json!("string"),
            json!({"type": "string", "avro.java.string": "String"}),
            json!("long"),
            json!("boolean"),
            json!({"type": "array", "items": ["null", "string"]}),
            json!({"type": "map", "values": "long"}),
            decimal(3),
            enumerated,
        ],
        "price" => vec![json!("double"), json!("float"), json!("int"), json!("string")],
        "flag" => vec![json!("boolean"), json!("int"), json!("string")],
        "at" => {
            let logical = |name: &str| json!({"type": "long", "logicalType": name});
            let names = ["timestamp-millis", "timestamp-micros", "local-timestamp-nanos"];
            names.into_iter().map(logical).chain([json!("long")]).collect()
        }
        "list" => vec![
            json!({"type": "array", "items": "long"}),
            json!({"type": "array", "items": ["null", "int"]}),
            json!({"type": "array", "items": "string"}),
            json!("int"),
        ],
        "total" => vec![
            decimal(0),
            decimal(2),
            decimal(5),
            json!({"type": "fixed", "name": unique, "size": 20, "logicalType": "decimal", "precision": 40, "scale": 2}),
            json!("long"),
            json!("double"),
        ],
        "item" => items(&unique),
        "tags" => vec![
            json!({"type": "map", "values": "string"}),
            json!({"type": "map", "values": ["int", "null"]}),
        ],
        _ => vec![
            json!("boolean"),
            json!({"type": "array", "items": {"type": "map", "values": "string"}}),
            json!({"type": "record", "name": unique, "fields": [
                {"name": "text", "type": "string"},
                {"name": "next", "type": ["null", unique]},
            ]}),
            json!({"type": "array", "items": "bytes"}),
        ],
    };
    if name == "junk" {
        choices.push(json!({"type": "fixed", "name": unique, "size": 3}));
    }
    // The first is what the column likes best.
    let choice = if rng.random_range(0..3) == 0 { rng.random_range(0..choices.len()) } else { 0 };
    let one = choices[choice].clone();
    match rng.random_range(0..if name == "id" { 12 } else { 4 }) {
        0 => json!(["null", one]),
        1 => json!([one, "null"]),
        _ => one,
    }
}

/// A record with most of the fields in any order, and some that nobody asks for.
pub(super) fn random_schema(rng: &mut StdRng) -> Value {
    let (mut fields, mut named) = (Vec::new(), 0);
    let mut names =
        vec!["id", "name", "price", "flag", "at", "attrs", "list", "total", "item", "tags"];
    names.extend(["junk", "more"]);
    while !names.is_empty() {
        let name = names.remove(rng.random_range(0..names.len()));
        if name == "id" || rng.random_range(0..5) > 0 {
            fields.push(json!({"name": name, "type": random_type(rng, name, &mut named)}));
        }
    }
    json!({"type": "record", "name": "Event", "fields": fields})
}

/// The types of a schema that have names.
pub(super) fn named(schema: &Value, found: &mut HashMap<String, Value>) {
    if let Value::Object(object) = schema {
        if let (Some(Value::String(name)), Some(_)) = (
            object.get("name"),
            object.get("symbols").or(object.get("size")).or(object.get("fields")),
        ) {
            found.insert(name.clone(), schema.clone());
        }
        object.values().for_each(|value| named(value, found));
    }
    if let Value::Array(all) = schema {
        all.iter().for_each(|value| named(value, found));
    }
}

/// What a type is: its kind, and where its parts are.
pub(super) fn kind<'a>(
    schema: &'a Value,
    types: &'a HashMap<String, Value>,
) -> (&'a str, &'a Value) {
    match schema {
        Value::Array(_) => ("union", schema),
        Value::String(name) => match types.get(name) {
            Some(one) => kind(one, types),
            None => (name, schema),
        },
        object => match object.get("logicalType").or(object.get("type")) {
            Some(Value::String(name)) => (name, object),
            other => unreachable!("{other:?}"),
        },
    }
}

pub(super) fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn random_blocks(
    rng: &mut StdRng,
    out: &mut Vec<u8>,
    mut one: impl FnMut(&mut StdRng, &mut Vec<u8>),
) {
    for _ in 0..rng.random_range(0..3) {
        let count = rng.random_range(1..3);
        let mut block = Vec::new();
        (0..count).for_each(|_| one(rng, &mut block));
        if rng.random_range(0..2) == 0 {
            long(count, out);
        } else {
            long(-count, out);
            long(block.len() as i64, out);
        }
        out.extend(block);
    }
    long(0, out);
}

pub(super) fn random_value(
    rng: &mut StdRng,
    schema: &Value,
    types: &HashMap<String, Value>,
    out: &mut Vec<u8>,
) {
    const TEXTS: [&str; 7] = ["1", "7", "0", "12", "여울", "a\"b\n", "longer than it needs"];
    let text = |rng: &mut StdRng, out: &mut Vec<u8>| {
        let text = TEXTS[rng.random_range(0..TEXTS.len())];
        long(text.len() as i64, out);
        out.extend_from_slice(text.as_bytes());
    };
    let (kind, parts) = kind(schema, types);
    match kind {
        "null" => {}
        "boolean" => out.push(rng.random_range(0..2)),
        "int" => long(rng.random_range(-3..300), out),
        "double" => out.extend((f64::from(rng.random_range(-80..800)) / 8.0).to_le_bytes()),
        "float" => out.extend((rng.random_range(-80..800) as f32 / 8.0).to_le_bytes()),
        "string" | "bytes" => text(rng, out),
        "fixed" => out.extend([1, 2, 3]),
        "enum" => long(rng.random_range(0..3), out),
        "decimal" => {
            let value = rng.random::<i64>() >> rng.random_range(0..60);
            let size = parts
                .get("size")
                .and_then(Value::as_u64)
                .map_or(9, |size| usize::try_from(size).expect("small"));
            let mut digits = i128::from(value).to_be_bytes().to_vec();
            while digits.len() < size {
                digits.insert(0, if value < 0 { 0xff } else { 0 });
            }
            digits.drain(..digits.len() - size);
            if parts.get("size").is_none() {
                long(size as i64, out);
            }
            out.extend(digits);
        }
        "union" => {
            let branches = list(&json!({"all": parts}), "all").to_vec();
            let branch = rng.random_range(0..branches.len());
            long(branch as i64, out);
            random_value(rng, &branches[branch], types, out);
        }
        "array" => random_blocks(rng, out, |rng, out| {
            random_value(rng, &parts["items"], types, out);
        }),
        "map" => random_blocks(rng, out, |rng, out| {
            let key = ["k", "id", "inner", "여"][rng.random_range(0..4)];
            long(key.len() as i64, out);
            out.extend_from_slice(key.as_bytes());
            random_value(rng, &parts["values"], types, out);
        }),
        "record" => {
            for field in list(parts, "fields") {
                random_value(rng, &field["type"], types, out);
            }
        }
        _ => long(rng.random::<i64>() >> rng.random_range(8..63), out),
    }
}
