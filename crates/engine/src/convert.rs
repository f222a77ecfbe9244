//! Values as an assignment converts them: to the type of the column they go to.

use arrow::array::ArrayRef;
use arrow::datatypes::Field;

use crate::error::EngineError;

/// `column` as the type of `field`; the error names the column. Values of the right type are taken as
/// they are: whoever made them has held them to it.
pub(crate) fn assign(column: &ArrayRef, field: &Field) -> Result<ArrayRef, EngineError> {
    if column.data_type() == field.data_type() {
        return Ok(ArrayRef::clone(column));
    }
    yeoul_sql::assign(column, field).map_err(|e| EngineError::sql(&e, ""))
}
