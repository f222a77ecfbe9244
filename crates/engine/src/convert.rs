//! Values as an assignment converts them: to the type of the column they go to.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, FixedSizeBinaryBuilder};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field};

use crate::error::{EngineError, ErrorKind};

/// `column` as the type of `field`; the error names the column.
pub(crate) fn assign(column: &ArrayRef, field: &Field) -> Result<ArrayRef, EngineError> {
    let target = field.data_type();
    if column.data_type() == target {
        return Ok(Arc::clone(column));
    }
    let text =
        matches!(column.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let outcome = if text && yeoul_sql::datatype::is_uuid(field) {
        uuids(column)
    } else if text && *target == DataType::Binary {
        byteas(column)
    } else {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(column, target, &options).map_err(EngineError::from)
    };
    outcome.map_err(|error| {
        let type_name = yeoul_sql::datatype::sql_name(field);
        EngineError::new(
            ErrorKind::Input,
            format!("a value does not fit column \"{}\" of type {type_name}", field.name()),
        )
        .with_sqlstate("22P02")
        .with_detail(error.message)
    })
}

fn uuids(column: &ArrayRef) -> Result<ArrayRef, EngineError> {
    let texts = cast(column, &DataType::Utf8View)?;
    let mut out = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
    for text in texts.as_string_view() {
        match text {
            None => out.append_null(),
            Some(text) => {
                let uuid = uuid::Uuid::try_parse(text).map_err(|e| {
                    EngineError::new(ErrorKind::Input, format!("\"{text}\" is no uuid: {e}"))
                })?;
                out.append_value(uuid.as_bytes())?;
            }
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Bytes as PostgreSQL writes them: `\x` and two digits each. Other text is its own bytes.
fn byteas(column: &ArrayRef) -> Result<ArrayRef, EngineError> {
    let texts = cast(column, &DataType::Utf8View)?;
    let mut out = BinaryBuilder::new();
    for text in texts.as_string_view() {
        match text.map(|text| (text, text.strip_prefix("\\x"))) {
            None => out.append_null(),
            Some((_, Some(hex))) => out.append_value(from_hex(hex)?),
            Some((text, None)) => out.append_value(text),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn from_hex(hex: &str) -> Result<Vec<u8>, EngineError> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    };
    pairs.map(byte).collect::<Option<Vec<u8>>>().ok_or_else(|| {
        EngineError::new(
            ErrorKind::Input,
            format!("\"\\x{hex}\" does not hold pairs of hexadecimal digits"),
        )
    })
}
