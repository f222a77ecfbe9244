//! The writer's schema: what stands in a message, field by field (Avro 1.12 specification, "Schema
//! Declaration" and "Logical Types").
//!
//! Types are numbered and name each other by number, so that a type may hold itself. A logical type
//! that is unknown or does not fit its type is ignored, as the specification asks.

use hashbrown::HashMap;
use serde_json::{Map, Value};

use crate::error::FormatError;

/// The number of a type.
pub(super) type TypeId = usize;

/// What a number of time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticks {
    Millis,
    Micros,
    Nanos,
}

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    Array(TypeId),
    /// Keys are strings.
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Vec<RecordField>),
    Date,
    /// As an int for milliseconds, else as a long.
    Time(Ticks),
    /// `zoned` for an instant, else what a clock on the wall shows.
    Timestamp {
        ticks: Ticks,
        zoned: bool,
    },
    /// As bytes, or as so many bytes.
    Decimal {
        scale: u16,
        fixed: Option<usize>,
    },
    /// As 16 bytes. (What is written as a string is a string.)
    Uuid,
    /// Months, days and milliseconds.
    Duration,
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RecordField {
    pub(super) name: String,
    pub(super) value: TypeId,
}

/// A schema: its types, and which of them a message is.
#[derive(Clone, Debug)]
pub(super) struct WriterSchema {
    pub(super) types: Vec<Type>,
    pub(super) root: TypeId,
}

impl WriterSchema {
    /// Reads the text of a schema, and before it those that it names types of.
    pub(super) fn parse(text: &str, references: &[&str]) -> Result<Self, FormatError> {
        let mut parser = Parser { types: Vec::new(), named: HashMap::new() };
        for reference in references {
            parser.text(reference)?;
        }
        let root = parser.text(text)?;
        Ok(Self { types: parser.types, root })
    }
}

struct Parser {
    types: Vec<Type>,
    /// Types by their full names.
    named: HashMap<String, TypeId>,
}

fn wrong(reason: impl Into<String>) -> FormatError {
    FormatError::Schema(reason.into())
}

impl Parser {
    fn text(&mut self, text: &str) -> Result<TypeId, FormatError> {
        let schema: Value = match serde_json::from_str(text) {
            Ok(schema) => schema,
            // A lone name may stand without quotes.
            Err(_) if primitive(text.trim()).is_some() => Value::String(text.trim().to_owned()),
            Err(error) => return Err(wrong(format!("it is not JSON: {error}"))),
        };
        self.schema(&schema, "")
    }

    fn add(&mut self, one: Type) -> TypeId {
        self.types.push(one);
        self.types.len() - 1
    }

    /// The type that `schema` says; names in it without a namespace are of `namespace`.
    fn schema(&mut self, schema: &Value, namespace: &str) -> Result<TypeId, FormatError> {
        match schema {
            Value::String(name) => self.name(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.schema(branch, namespace));
                let branches = branches.collect::<Result<Vec<_>, _>>()?;
                if branches.iter().any(|branch| matches!(self.types[*branch], Type::Union(_))) {
                    return Err(wrong("a union stands in a union"));
                }
                Ok(self.add(Type::Union(branches)))
            }
            Value::Object(object) => self.object(object, namespace),
            other => Err(wrong(format!("{other} is no type"))),
        }
    }

    fn name(&mut self, name: &str, namespace: &str) -> Result<TypeId, FormatError> {
        if let Some(one) = primitive(name) {
            return Ok(self.add(one));
        }
        let known = self.named.get(&full_name(name, namespace)).or_else(|| self.named.get(name));
        known.copied().ok_or_else(|| wrong(format!("it has no type \"{name}\"")))
    }

    fn object(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<TypeId, FormatError> {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(inner) => return self.schema(inner, namespace),
            None => return Err(wrong("an object has no \"type\"")),
        };
        match kind {
            "record" | "error" => self.record(object, namespace),
            "enum" => {
                let symbols = list(object, "symbols")?.iter().map(|symbol| {
                    let symbol = symbol.as_str().map(str::to_owned);
                    symbol.ok_or_else(|| wrong("a symbol of an enum is no string"))
                });
                let symbols = symbols.collect::<Result<_, _>>()?;
                let id = self.add(Type::Enum(symbols));
                self.define(object, namespace, id).map(|_| id)
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| wrong("a fixed type has no \"size\""))?;
                let id = self.add(logical(Type::Fixed(size), object));
                self.define(object, namespace, id).map(|_| id)
            }
            "array" => {
                let item = self.part(object, "items", namespace)?;
                Ok(self.add(Type::Array(item)))
            }
            "map" => {
                let value = self.part(object, "values", namespace)?;
                Ok(self.add(Type::Map(value)))
            }
            name => match primitive(name) {
                Some(one) => Ok(self.add(logical(one, object))),
                None => self.name(name, namespace),
            },
        }
    }

    fn part(
        &mut self,
        object: &Map<String, Value>,
        key: &str,
        namespace: &str,
    ) -> Result<TypeId, FormatError> {
        let part = object.get(key).ok_or_else(|| wrong(format!("a type has no \"{key}\"")))?;
        self.schema(part, namespace)
    }

    fn record(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<TypeId, FormatError> {
        // Named before its fields are read, which may be of the same type.
        let id = self.add(Type::Null);
        let namespace = self.define(object, namespace, id)?;
        let mut fields = Vec::new();
        for field in list(object, "fields")? {
            let field = field.as_object().ok_or_else(|| wrong("a field is no object"))?;
            let name = field.get("name").and_then(Value::as_str);
            let name = name.ok_or_else(|| wrong("a field has no \"name\""))?.to_owned();
            let value = self.part(field, "type", &namespace)?;
            fields.push(RecordField { name, value });
        }
        self.types[id] = Type::Record(fields);
        Ok(id)
    }

    /// Notes the name of the type `id`, and gives the namespace it is in.
    fn define(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
        id: TypeId,
    ) -> Result<String, FormatError> {
        let name = object.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| wrong("a named type has no \"name\""))?;
        let namespace = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let name = full_name(name, namespace);
        let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        if self.named.insert(name.clone(), id).is_some() {
            return Err(wrong(format!("type \"{name}\" is defined twice")));
        }
        Ok(namespace)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a Vec<Value>, FormatError> {
    let list = object.get(key).and_then(Value::as_array);
    list.ok_or_else(|| wrong(format!("a type has no list of \"{key}\"")))
}

fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "string" => Type::String,
        _ => return None,
    })
}

/// `one` with the logical type that stands beside it, if that fits.
fn logical(one: Type, object: &Map<String, Value>) -> Type {
    let Some(name) = object.get("logicalType").and_then(Value::as_str) else { return one };
    let number = |key: &str| object.get(key).and_then(Value::as_u64);
    let timestamp = |ticks, zoned| Type::Timestamp { ticks, zoned };
    match (name, &one) {
        ("date", Type::Int) => Type::Date,
        ("time-millis", Type::Int) => Type::Time(Ticks::Millis),
        ("time-micros", Type::Long) => Type::Time(Ticks::Micros),
        ("timestamp-millis", Type::Long) => timestamp(Ticks::Millis, true),
        ("timestamp-micros", Type::Long) => timestamp(Ticks::Micros, true),
        ("timestamp-nanos", Type::Long) => timestamp(Ticks::Nanos, true),
        ("local-timestamp-millis", Type::Long) => timestamp(Ticks::Millis, false),
        ("local-timestamp-micros", Type::Long) => timestamp(Ticks::Micros, false),
        ("local-timestamp-nanos", Type::Long) => timestamp(Ticks::Nanos, false),
        ("decimal", Type::Bytes | Type::Fixed(_)) => {
            let scale = number("scale").unwrap_or(0);
            let precision = number("precision").unwrap_or(0);
            let fixed = if let Type::Fixed(size) = one { Some(size) } else { None };
            match u16::try_from(scale) {
                Ok(places) if precision > 0 && scale <= precision => {
                    Type::Decimal { scale: places, fixed }
                }
                _ => one,
            }
        }
        ("uuid", Type::Fixed(16)) => Type::Uuid,
        ("duration", Type::Fixed(12)) => Type::Duration,
        _ => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<WriterSchema, String> {
        WriterSchema::parse(text, &[]).map_err(|e| e.to_string())
    }

    /// The types of the fields of a record.
    fn fields(schema: &WriterSchema) -> Vec<(&str, &Type)> {
        let Type::Record(fields) = &schema.types[schema.root] else { panic!("{schema:?}") };
        fields.iter().map(|field| (field.name.as_str(), &schema.types[field.value])).collect()
    }

    #[test]
    fn logical_types_count_where_they_fit() {
        let field = |name: &str, one: &str| format!("{{\"name\":\"{name}\",\"type\":{one}}}");
        let all = [
            field("a", r#"{"type":"int","logicalType":"date"}"#),
            field("b", r#"{"type":"long","logicalType":"date"}"#),
            field("c", r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#),
            field("d", r#"{"type":"bytes","logicalType":"decimal","precision":1,"scale":2}"#),
            field("e", r#"{"type":{"type":"long","logicalType":"timestamp-nanos"}}"#),
            field("f", r#"{"type":"fixed","name":"id","size":16,"logicalType":"uuid"}"#),
            field("g", r#"{"type":"string","logicalType":"uuid"}"#),
            // Beside the type of a field it says nothing of the type.
            r#"{"name":"h","type":"int","logicalType":"time-millis"}"#.to_owned(),
        ];
        let text = format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, all.join(","));
        let schema = parse(&text).expect("a schema");
        let expected = [
            ("a", &Type::Date),
            ("b", &Type::Long),
            ("c", &Type::Decimal { scale: 2, fixed: None }),
            ("d", &Type::Bytes),
            ("e", &Type::Timestamp { ticks: Ticks::Nanos, zoned: true }),
            ("f", &Type::Uuid),
            ("g", &Type::String),
            ("h", &Type::Int),
        ];
        assert_eq!(fields(&schema), expected);
    }

    #[test]
    fn names_are_found_in_their_namespace() {
        let text = r#"{"type":"record","name":"shop.Order","fields":[
            {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A"]}},
            {"name":"same","type":"Kind"},
            {"name":"full","type":"shop.Kind"},
            {"name":"other","type":["null","ext.Price","Order"]}]}"#;
        assert_eq!(
            parse(text).err().as_deref(),
            Some("the schema cannot be used: it has no type \"ext.Price\"")
        );
        let price = r#"{"type":"fixed","name":"Price","namespace":"ext","size":4}"#;
        let schema = WriterSchema::parse(text, &[price]).expect("a schema");
        let found = fields(&schema);
        assert_eq!((found[1].1, found[2].1), (found[0].1, found[0].1));
        let Type::Union(branches) = found[3].1 else { panic!("{found:?}") };
        assert_eq!(schema.types[branches[1]], Type::Fixed(4));
        assert_eq!(branches[2], schema.root, "a record may hold itself");
    }

    #[test]
    fn what_is_no_schema_says_why() {
        for (text, reason) in [
            ("{", "it is not JSON"),
            ("1", "1 is no type"),
            ("\"text\"", "it has no type \"text\""),
            ("{}", "an object has no \"type\""),
            (r#"{"type":"array"}"#, "a type has no \"items\""),
            (r#"{"type":"record","name":"R"}"#, "a type has no list of \"fields\""),
            (r#"{"type":"record","fields":[]}"#, "a named type has no \"name\""),
            (
                r#"{"type":"record","name":"R","fields":[{"type":"int"}]}"#,
                "a field has no \"name\"",
            ),
            (r#"{"type":"fixed","name":"F"}"#, "a fixed type has no \"size\""),
            (r#"["null",["int"]]"#, "a union stands in a union"),
            (
                r#"["null",{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":2}]"#,
                "type \"F\" is defined twice",
            ),
        ] {
            let error = parse(text).err().unwrap_or_default();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(parse("string").is_ok());
    }
}
