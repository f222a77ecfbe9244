//! `ALTER`.

use super::ddl::object_kind;
use super::reader::Reader;
use crate::ast::{Alter, AlterAction, ObjectKind};
use crate::error::SqlError;

pub(super) fn alter(r: &mut Reader<'_>) -> Result<Alter, SqlError> {
    r.advance();
    let kind = object_kind(r, "ALTER")?;
    let if_exists = r.words(&["IF", "EXISTS"]);
    let name = r.name()?;
    let action = match kind {
        ObjectKind::View if r.words(&["CANCEL", "REPLACE"]) => AlterAction::CancelReplace,
        ObjectKind::View => return Err(r.expected("CANCEL REPLACE")),
        ObjectKind::Stream | ObjectKind::Table => return Err(r.expected("ADD COLUMN")),
    };
    Ok(Alter { kind, name, if_exists, action })
}
