//! Values for `$1`, `$2`, …: from the texts of the Postgres wire and from JSON.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use yeoul_engine::{EngineError, ErrorKind, sql_type_name};

fn refused(text: &str, data_type: &DataType) -> EngineError {
    // The value may be long; what is shown of it is not.
    let shown: String = text.chars().take(64).collect();
    // A fraction is no integer, however large.
    let digits = text.trim().trim_start_matches(['+', '-']);
    let is_whole = !data_type.is_integer() || digits.bytes().all(|b| b.is_ascii_digit());
    if data_type.is_numeric() && is_whole && text.trim().parse::<f64>().is_ok_and(|n| !n.is_nan()) {
        let type_name = sql_type_name(data_type);
        let message = format!("'{shown}' is out of range for type {type_name}");
        return EngineError::new(ErrorKind::Input, message).with_sqlstate("22003");
    }
    EngineError::new(
        ErrorKind::Input,
        format!("'{shown}' is not a value of type {}", sql_type_name(data_type)),
    )
    .with_sqlstate("22P02")
}

/// NULL of a type.
pub(crate) fn null(data_type: &DataType) -> Result<ScalarValue, EngineError> {
    ScalarValue::try_from(data_type).map_err(|e| {
        EngineError::new(ErrorKind::Input, format!("a parameter cannot be NULL here: {e}"))
    })
}

/// Whether a number is what `text` says: digits that are too many for its type make it infinite.
fn held(text: &str, is_infinite: bool) -> bool {
    !is_infinite || text.to_ascii_lowercase().contains("inf")
}

/// The value that `text` stands for in SQL.
pub(crate) fn from_text(text: &str, data_type: &DataType) -> Result<ScalarValue, EngineError> {
    let refuse = || refused(text, data_type);
    Ok(match data_type {
        DataType::Utf8View | DataType::Null => ScalarValue::Utf8View(Some(text.to_owned())),
        DataType::Utf8 => ScalarValue::Utf8(Some(text.to_owned())),
        DataType::LargeUtf8 => ScalarValue::LargeUtf8(Some(text.to_owned())),
        DataType::Boolean => ScalarValue::Boolean(Some(boolean(text).ok_or_else(refuse)?)),
        DataType::Float32 => {
            let value: f32 = text.trim().parse().map_err(|_| refuse())?;
            ScalarValue::Float32(Some(
                held(text, value.is_infinite()).then_some(value).ok_or_else(refuse)?,
            ))
        }
        DataType::Float64 => {
            let value: f64 = text.trim().parse().map_err(|_| refuse())?;
            ScalarValue::Float64(Some(
                held(text, value.is_infinite()).then_some(value).ok_or_else(refuse)?,
            ))
        }
        DataType::Binary => ScalarValue::Binary(Some(bytea(text).ok_or_else(refuse)?)),
        DataType::FixedSizeBinary(16) => {
            ScalarValue::FixedSizeBinary(16, Some(uuid(text).ok_or_else(refuse)?.to_vec()))
        }
        DataType::List(item) => {
            let mut values = Vec::new();
            for element in elements(text).ok_or_else(refuse)? {
                values.push(match element {
                    Some(element) => from_text(&element, item.data_type())?,
                    None => null(item.data_type())?,
                });
            }
            list(&values, item.data_type())
        }
        other => {
            ScalarValue::try_from_string(text.trim().to_owned(), other).map_err(|_| refuse())?
        }
    })
}

/// The value that a JSON value stands for in SQL.
pub(crate) fn from_json(
    value: &serde_json::Value,
    data_type: &DataType,
) -> Result<ScalarValue, EngineError> {
    use serde_json::Value;
    match value {
        Value::Null => null(data_type),
        Value::String(text) => from_text(text, data_type),
        Value::Array(items) => {
            let DataType::List(item) = data_type else {
                return from_text(&value.to_string(), data_type);
            };
            let values: Result<Vec<_>, _> =
                items.iter().map(|value| from_json(value, item.data_type())).collect();
            Ok(list(&values?, item.data_type()))
        }
        // Numbers and booleans by their text; an object is a jsonb's.
        other => from_text(&other.to_string(), data_type),
    }
}

/// A list of values of type `item`.
pub(crate) fn list(values: &[ScalarValue], item: &DataType) -> ScalarValue {
    ScalarValue::List(ScalarValue::new_list(values, item, true))
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits = digits.as_bytes();
        if digits.len() % 2 == 1 {
            return None;
        }
        return digits.chunks(2).map(|pair| Some(hex(pair[0])? << 4 | hex(pair[1])?)).collect();
    }
    // The older form: a backslash and three octal digits, or two backslashes.
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
        } else if let Some(after) = rest.strip_prefix(b"\\") {
            bytes.push(b'\\');
            rest = after;
        } else {
            let octal = std::str::from_utf8(rest.get(..3)?).ok()?;
            bytes.push(u8::from_str_radix(octal, 8).ok()?);
            rest = &rest[3..];
        }
    }
    Some(bytes)
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let mut bytes = [0; 16];
    let mut digits = text.bytes().filter(|b| *b != b'-');
    for byte in &mut bytes {
        *byte = hex(digits.next()?)? << 4 | hex(digits.next()?)?;
    }
    digits.next().is_none().then_some(bytes)
}

/// The elements of `{a,"b c",NULL}`; `None` when it is not of that form.
fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut found = Vec::new();
    if inside.trim().is_empty() {
        return Some(found);
    }
    let mut characters = inside.chars().peekable();
    loop {
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        let mut element = String::new();
        let quoted = characters.next_if_eq(&'"').is_some();
        loop {
            match characters.peek() {
                None if quoted => return None,
                None => break,
                Some('"') if quoted => {
                    characters.next();
                    break;
                }
                Some(',') if !quoted => break,
                Some('{' | '}' | '"') if !quoted => return None,
                Some('\\') => {
                    characters.next();
                    element.push(characters.next()?);
                }
                Some(c) => {
                    element.push(*c);
                    characters.next();
                }
            }
        }
        if quoted {
            while characters.next_if(|c| c.is_whitespace()).is_some() {}
        } else {
            element.truncate(element.trim_end().len());
        }
        let null = !quoted && element.eq_ignore_ascii_case("null");
        found.push((!null).then_some(element));
        match characters.next() {
            None => return Some(found),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Field, TimeUnit};
    use std::sync::Arc;

    #[test]
    fn texts_become_values() {
        let check = |text: &str, data_type: DataType, expected: ScalarValue| {
            assert_eq!(from_text(text, &data_type).unwrap(), expected, "{text}");
        };
        check("7", DataType::Int64, ScalarValue::Int64(Some(7)));
        check("on", DataType::Boolean, ScalarValue::Boolean(Some(true)));
        check("Infinity", DataType::Float64, ScalarValue::Float64(Some(f64::INFINITY)));
        check("1.50", DataType::Decimal128(10, 2), ScalarValue::Decimal128(Some(150), 10, 2));
        check("\\x00ff", DataType::Binary, ScalarValue::Binary(Some(vec![0, 255])));
        check("a\\\\\\001", DataType::Binary, ScalarValue::Binary(Some(vec![97, 92, 1])));
        check(
            "1970-01-01 00:00:01.5+00",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ScalarValue::TimestampMicrosecond(Some(1_500_000), Some("UTC".into())),
        );
        check(
            "00000000-0000-0000-0000-0000000000ff",
            DataType::FixedSizeBinary(16),
            ScalarValue::FixedSizeBinary(16, Some([vec![0; 15], vec![255]].concat())),
        );
    }

    #[test]
    fn what_is_no_value_is_refused_with_its_type() {
        let error = from_text("seven", &DataType::Int64).unwrap_err();
        assert_eq!(error.message, "'seven' is not a value of type bigint");
        assert_eq!(error.sqlstate, "22P02");
        for (text, data_type) in [
            ("zz", DataType::FixedSizeBinary(16)),
            ("\\x0", DataType::Binary),
            ("\\9", DataType::Binary),
            ("2024-13-01", DataType::Date32),
        ] {
            assert!(from_text(text, &data_type).is_err(), "{text}");
        }
        for (text, data_type, state) in [
            ("2.5", DataType::Int32, "22P02"),
            ("3000000000", DataType::Int32, "22003"),
            ("1e40", DataType::Float32, "22003"),
            ("-1e400", DataType::Float64, "22003"),
        ] {
            assert_eq!(from_text(text, &data_type).unwrap_err().sqlstate, state, "{text}");
        }
    }

    #[test]
    fn arrays() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(elements("{}"), Some(vec![]));
        assert_eq!(
            elements(r#"{a, "b,\"c" ,NULL,"NULL"}"#),
            Some(vec![some("a"), some("b,\"c"), None, some("NULL")])
        );
        for bad in ["", "{", "{\"a}", "{a}b}", "{\"a\"b}"] {
            assert_eq!(elements(bad), None, "{bad}");
        }
        let data_type = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        let expected =
            list(&[ScalarValue::Int64(Some(1)), ScalarValue::Int64(None)], &DataType::Int64);
        assert_eq!(from_text("{1,NULL}", &data_type).unwrap(), expected);
        let json = serde_json::json!([1, null]);
        assert_eq!(from_json(&json, &data_type).unwrap(), expected);
    }
}
