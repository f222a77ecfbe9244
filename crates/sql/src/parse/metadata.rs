//! `METADATA [FROM '…']` on a column: what its source tells beside an event.

use datafusion::arrow::datatypes::Field;
use datafusion::sql::sqlparser::parser::Parser;
use yeoul_batch::Metadata;

use super::reader::Reader;
use crate::ast::{Column, Name};
use crate::datatype;
use crate::error::{ErrorKind, Span, SqlError};
use crate::nearest::{did_you_mean, list};
use crate::options::{Connector, Values};

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(ErrorKind::InvalidDefinition, message)
}

/// What the column `name` is of, behind `METADATA`.
pub(super) fn of_column(
    r: &mut Reader<'_>,
    name: &Name,
    field: &Field,
    start: Span,
) -> Result<Metadata, SqlError> {
    let (wanted, span) = match r.word("FROM") {
        true => {
            let span = r.here();
            (r.run(Parser::parse_literal_string)?, span)
        }
        false => (name.value.clone(), name.span),
    };
    let known = || Metadata::ALL.iter().map(|metadata| metadata.name());
    let Some(metadata) = Metadata::ALL.into_iter().find(|metadata| metadata.name() == wanted)
    else {
        let mut error = invalid(format!("there is no metadata \"{wanted}\""))
            .detail(format!("there is {}", list(known())))
            .at(span);
        error.hint = did_you_mean(&wanted, known());
        return Err(error);
    };
    if metadata.fits(field) {
        return Ok(metadata);
    }
    Err(SqlError::new(
        ErrorKind::DatatypeMismatch,
        format!("metadata \"{}\" is no {}", metadata.name(), datatype::sql_name(field)),
    )
    .hint(format!("a column of it is {}", metadata.types()))
    .at(start.to(r.last())))
}

/// The columns that are told beside events, which their connector must do.
pub(super) fn of_columns(
    columns: &[Column],
    values: &Values,
    connector: &Connector,
) -> Result<Vec<(String, Metadata)>, SqlError> {
    let mut found = Vec::new();
    for Column { name, metadata, .. } in columns {
        let Some(metadata) = *metadata else { continue };
        if !values.tells(metadata) {
            let message = format!(
                "connector '{}' tells no {} beside an event",
                connector.name,
                metadata.name()
            );
            return Err(invalid(message).hint("leave METADATA out").at(name.span));
        }
        found.push((name.value.clone(), metadata));
    }
    Ok(found)
}
