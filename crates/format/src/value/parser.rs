//! Single values as text, for whoever has no records: parameters of queries, bounds, defaults.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::Field;

use super::{Misfit, push_text};
use crate::column::{Column, Forms};
use crate::error::FormatError;

/// Reads the texts of values of one type, by the same rules as every decoder.
#[derive(Debug, Clone)]
pub struct ValueParser {
    column: Column,
}

impl ValueParser {
    /// A parser for the type of `field`.
    pub fn new(field: &Field) -> Result<Self, FormatError> {
        Ok(Self { column: Column::new(field, Forms::default())? })
    }

    /// An array of the value of each text; `None` is null. The error names the first text that is
    /// not a value of the type.
    pub fn parse<'a>(
        &mut self,
        texts: impl IntoIterator<Item = Option<&'a str>>,
    ) -> Result<ArrayRef, String> {
        for (row, text) in texts.into_iter().enumerate() {
            let Some(text) = text else {
                self.column.push_null();
                continue;
            };
            if let Err(misfit) = push_text(&mut self.column, text) {
                self.column.truncate(row);
                self.column.truncate(0);
                let kind = &self.column.values;
                return Err(match misfit {
                    Misfit::OutOfRange => format!("\"{text}\" is out of range for {kind}"),
                    Misfit::TooLong => format!("\"{text}\" is too long for {kind}"),
                    Misfit::Invalid | Misfit::Null => format!("\"{text}\" is not a valid {kind}"),
                });
            }
        }
        let array = self.column.finish().map_err(|e| e.to_string())?;
        debug_assert_eq!(array.offset(), 0, "a built array begins at 0");
        Ok(array)
    }
}
