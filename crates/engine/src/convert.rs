//! Values as an assignment converts them: to the type of the column they go to.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field};

use crate::error::{EngineError, ErrorKind};

/// `column` as the type of `field`; the error names the column.
pub(crate) fn assign(column: &ArrayRef, field: &Field) -> Result<ArrayRef, EngineError> {
    let target = field.data_type();
    if column.data_type() == target {
        return Ok(Arc::clone(column));
    }
    let text = matches!(column.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let outcome = if text && yeoul_sql::types::is_uuid(field) {
        uuids(column)
    } else {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(column, target, &options).map_err(EngineError::from)
    };
    outcome.map_err(|error| {
        let type_name = yeoul_sql::types::sql_name(field);
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
