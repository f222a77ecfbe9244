//! Avro against a slow obvious reader, on random schemas and on random and damaged messages: it turns
//! a message into a line of JSON, whose decoder has a twin of its own.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use serde_json::Value;
use yeoul_format::{
    AvroDecoder, DecodeOptions, Decoder, FieldPath, Format, JsonLayout, Messages, TimestampUnit,
};

use super::random::{kind, list, named, random_schema, random_value};
use crate::sample::{decoder, shown, tagged};
use crate::twin;

/// The paths under which the columns are found.
const PATHS: [&[&str]; 12] = [
    &["id"],
    &["name"],
    &["price"],
    &["flag"],
    &["at"],
    &["attrs"],
    &["list"],
    &["total"],
    &["item", "id"],
    &["item", "inner", "x"],
    &["tags", "k"],
    &["item"],
];

fn schema() -> SchemaRef {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let utc = Some("UTC".into());
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8View, true),
        Field::new("price", DataType::Float64, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, utc), true),
        tagged("attrs", DataType::Utf8View, "jsonb"),
        Field::new("list", DataType::List(item), true),
        Field::new("total", DataType::Decimal128(12, 2), true),
        Field::new("item_id", DataType::Int64, true),
        Field::new("x", DataType::Int16, true),
        Field::new("tag", DataType::Utf8View, true),
        tagged("item", DataType::Utf8View, "jsonb"),
    ]))
}

fn options() -> DecodeOptions {
    let paths = PATHS.iter().zip(schema().fields().iter().cloned().collect::<Vec<_>>());
    let mapping = paths.map(|(path, field)| {
        (field.name().clone(), FieldPath::parse(&path.join(".")).expect("a path"))
    });
    let mapping = mapping.collect();
    DecodeOptions { mapping, timestamp_unit: TimestampUnit::Micros, ..DecodeOptions::default() }
}

/// Reads a message the slow way.
struct Slow<'a> {
    types: &'a HashMap<String, Value>,
    bytes: &'a [u8],
}

impl Slow<'_> {
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let taken = self.bytes.get(..len)?.to_vec();
        self.bytes = &self.bytes[len..];
        Some(taken)
    }

    fn long(&mut self) -> Option<i64> {
        let (mut number, mut shift) = (0_u128, 0);
        loop {
            let byte = self.take(1)?[0];
            number |= u128::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
            (shift < 70).then_some(())?;
        }
        let number = u64::try_from(number).ok()?;
        let half = i128::from(number / 2);
        i64::try_from(if number % 2 == 0 { half } else { -half - 1 }).ok()
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let len = usize::try_from(self.long()?).ok()?;
        self.take(len)
    }

    fn elements(
        &mut self,
        asked: bool,
        mut one: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        loop {
            let count = self.long()?;
            let mut end = None;
            match count {
                0 => return Some(()),
                1.. => {}
                _ => {
                    let size = usize::try_from(self.long()?).ok()?;
                    end = Some(self.bytes.len().checked_sub(size)?);
                    if !asked {
                        self.take(size)?;
                        continue;
                    }
                }
            }
            // All that is in arrays here has some bytes, so this ends.
            for _ in 0..count.unsigned_abs() {
                one(self)?;
            }
            end.is_none_or(|end| end == self.bytes.len()).then_some(())?;
        }
    }

    /// The value as JSON; some text if it is not asked for. `wanted` is what is left of the paths of
    /// columns that lead here or deeper.
    fn value(&mut self, schema: &Value, wanted: &[&[&str]]) -> Option<String> {
        let (kind, parts) = kind(schema, self.types);
        let whole = wanted.iter().any(|path| path.is_empty());
        let inside = |name: &str| -> Vec<&[&str]> {
            if whole {
                return vec![&[]];
            }
            let deeper = wanted.iter().filter_map(|path| path.split_first());
            deeper.filter(|(first, _)| **first == name).map(|(_, rest)| rest).collect()
        };
        let items: Vec<&[&str]> = if whole { vec![&[]] } else { Vec::new() };
        Some(match kind {
            "union" => {
                let branch = usize::try_from(self.long()?).ok()?;
                self.value(parts.get(branch)?, wanted)?
            }
            "array" => {
                let mut all = Vec::new();
                self.elements(whole, |slow| {
                    all.push(slow.value(&parts["items"], &items)?);
                    Some(())
                })?;
                format!("[{}]", all.join(","))
            }
            "map" => {
                let mut all = Vec::new();
                self.elements(!wanted.is_empty(), |slow| {
                    let key = slow.text()?;
                    let key = if wanted.is_empty() {
                        String::new()
                    } else {
                        String::from_utf8(key).ok()?
                    };
                    let value = slow.value(&parts["values"], &inside(&key))?;
                    all.push(format!("{}:{value}", Value::from(key)));
                    Some(())
                })?;
                format!("{{{}}}", all.join(","))
            }
            "record" => {
                let mut all = Vec::new();
                for field in list(parts, "fields") {
                    let name = field["name"].as_str()?;
                    let value = self.value(&field["type"], &inside(name))?;
                    all.push(format!("\"{name}\":{value}"));
                }
                format!("{{{}}}", all.join(","))
            }
            scalar => return self.scalar(scalar, parts, whole),
        })
    }

    fn scalar(&mut self, kind: &str, parts: &Value, asked: bool) -> Option<String> {
        Some(match kind {
            "null" => "null".to_owned(),
            "boolean" => ["false", "true"].get(usize::from(self.take(1)?[0]))?.to_string(),
            "int" => i32::try_from(self.long()?).ok()?.to_string(),
            "long" | "timestamp-micros" => self.long()?.to_string(),
            "timestamp-millis" => {
                let millis = self.long()?;
                (i128::from(millis) * 1_000).to_string()
            }
            "local-timestamp-nanos" => self.long()?.div_euclid(1_000).to_string(),
            "double" => number(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            "float" => number(f32::from_le_bytes(self.take(4)?.try_into().ok()?).into()),
            "string" => {
                let text = self.text()?;
                let text = if asked { String::from_utf8(text).ok()? } else { String::new() };
                Value::from(text).to_string()
            }
            "bytes" => hex(&self.text()?),
            "fixed" => hex(&self.take(3)?),
            "enum" => list(parts, "symbols").get(usize::try_from(self.long()?).ok()?)?.to_string(),
            "decimal" => {
                let digits = match parts.get("size").and_then(Value::as_u64) {
                    Some(size) => self.take(usize::try_from(size).ok()?)?,
                    None => self.text()?,
                };
                (digits.len() <= 64).then_some(())?;
                decimal(&digits, usize::try_from(parts["scale"].as_u64()?).ok()?)
            }
            other => unreachable!("{other}"),
        })
    }
}

fn number(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { format!("\"{value}\"") }
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"\\\\x{digits}\"")
}

/// A number in two's complement, by adding up its digits.
fn decimal(bytes: &[u8], scale: usize) -> String {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let mut digits = vec![0_u32];
    for byte in bytes {
        let byte = if negative { !byte } else { *byte };
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            carry += *digit * 256;
            (*digit, carry) = (carry % 10, carry / 10);
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    let mut carry = u32::from(negative);
    for digit in &mut digits {
        (*digit, carry) = ((*digit + carry) % 10, (*digit + carry) / 10);
    }
    digits.extend((carry > 0).then_some(carry));
    digits.resize(digits.len().max(scale + 1), 0);
    let mut text: String = digits.iter().rev().map(|digit| digit.to_string()).collect();
    if scale > 0 {
        text.insert(text.len() - scale, '.');
    }
    let whole = text.len() - scale - usize::from(scale > 0);
    let zeros = text[..whole - 1].bytes().take_while(|b| *b == b'0').count();
    format!("{}{}", if negative { "-" } else { "" }, &text[zeros..])
}

struct Topic {
    schemas: Vec<Value>,
    types: Vec<HashMap<String, Value>>,
}

impl Topic {
    fn random(rng: &mut StdRng) -> Self {
        let schemas: Vec<_> = (0..3).map(|_| random_schema(rng)).collect();
        let types = schemas.iter().map(|schema| {
            let mut found = HashMap::new();
            named(schema, &mut found);
            found
        });
        Self { types: types.collect(), schemas }
    }

    /// A message with the number of one of the schemas, or with one that is not there.
    fn message(&self, rng: &mut StdRng) -> Option<Vec<u8>> {
        let id = rng.random_range(0..self.schemas.len());
        let mut message = vec![0, 0, 0, 1, u8::try_from(id).expect("small")];
        random_value(rng, &self.schemas[id], &self.types[id], &mut message);
        match rng.random_range(0..24) {
            0 => return None,
            1 => message.clear(),
            2 => message.truncate(rng.random_range(0..message.len())),
            3 => message.push(rng.random()),
            4 => message[4] = 9,
            5..8 => {
                let mut body = message.split_off(5);
                twin::damage(rng, &mut body);
                message.extend(body);
            }
            8 => twin::damage(rng, &mut message),
            _ => {}
        }
        Some(message)
    }

    /// A message as a line of JSON.
    fn line(&self, message: Option<&[u8]>) -> Option<String> {
        let [0, 0, 0, 1, id, body @ ..] = message? else { return None };
        let (schema, types) = (self.schemas.get(usize::from(*id))?, &self.types[usize::from(*id)]);
        let mut slow = Slow { types, bytes: body };
        let line = slow.value(schema, &PATHS)?;
        slow.bytes.is_empty().then_some(line)
    }
}

fn push(messages: &mut Messages, message: Option<&[u8]>) {
    match message {
        Some(message) => messages.push(message),
        None => messages.push_null(),
    }
}

#[test]
fn blocks_agree_with_a_slow_reader() {
    let (schema, options) = (schema(), options());
    let mut json =
        decoder(&schema, &DecodeOptions { format: Some(Format::Json), ..options.clone() });
    if let Decoder::Json(json) = &mut json {
        json.set_layout(JsonLayout::Lines);
    }
    let (mut good, mut bad) = (0, 0);
    for seed in 0..6_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let topic = Topic::random(&mut rng);
        let all: Vec<_> = (0..rng.random_range(1..9)).map(|_| topic.message(&mut rng)).collect();
        let mut messages = Messages::default();
        for message in &all {
            push(&mut messages, message.as_deref());
        }
        let mut avro = AvroDecoder::registered(Arc::clone(&schema), &options).expect("plain types");
        for id in avro.missing(&messages) {
            let known =
                id.checked_sub(256).and_then(|id| topic.schemas.get(usize::try_from(id).ok()?));
            match known {
                Some(schema) => avro.learn(id, &schema.to_string(), &[]).expect("a schema"),
                None => avro.refuse(id, "gone"),
            }
        }
        let decoded = avro.decode_messages(&messages, None).expect("decodes");

        let lines: Vec<_> = all.iter().map(|message| topic.line(message.as_deref())).collect();
        let text = lines.iter().flatten().map(|line| format!("{line}\n")).collect::<String>();
        let slow = json.decode(text.as_bytes()).expect("decodes");
        let context = format!(
            "seed {seed}: {all:?}\n{:#?}\n{lines:#?}\n{:#?}\n{:#?}",
            topic.schemas, decoded.bad, slow.bad
        );
        let mut refused = slow.bad.iter().map(|bad| bad.row).peekable();
        let mut readable = 0;
        let expected: Vec<u64> = (0..)
            .zip(&lines)
            .filter(|(_, line)| {
                if line.is_none() {
                    return true;
                }
                readable += 1;
                refused.next_if_eq(&(readable - 1)).is_some()
            })
            .map(|(row, _)| row)
            .collect();
        let found: Vec<u64> = decoded.bad.iter().map(|bad| bad.row).collect();
        assert_eq!(found, expected, "{context}");
        assert_eq!(shown(&decoded.rows), shown(&slow.rows), "{context}");
        assert_eq!(decoded.records, all.len() as u64, "{context}");

        for bad in &decoded.bad {
            let mut alone = Messages::default();
            push(&mut alone, all[usize::try_from(bad.row).expect("small")].as_deref());
            assert_eq!(&bad.raw[..], alone.get(0), "{context}");
            let alone = avro.decode_messages(&alone, None).expect("decodes");
            assert_eq!(alone.bad[0].reason, bad.reason, "{context}");
        }
        good += decoded.rows.num_rows();
        bad += decoded.bad.len();
    }
    assert!(good > 5_000 && bad > 5_000, "{good} rows and {bad} bad ones");
}
