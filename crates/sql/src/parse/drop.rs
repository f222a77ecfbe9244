//! `DROP`.

use super::reader::Reader;
use crate::ast::{Drop, ObjectKind};
use crate::error::SqlError;

pub(super) fn drop(r: &mut Reader<'_>) -> Result<Drop, SqlError> {
    r.advance();
    let kind = object_kind(r, "DROP")?;
    let if_exists = r.words(&["IF", "EXISTS"]);
    let mut names = vec![r.name()?];
    while r.word(",") {
        names.push(r.name()?);
    }
    let cascade = r.word("CASCADE");
    if !cascade {
        r.word("RESTRICT");
    }
    Ok(Drop { kind, names, if_exists, cascade })
}

/// The kind of object that `verb` is said of.
pub(super) fn object_kind(r: &mut Reader<'_>, verb: &str) -> Result<ObjectKind, SqlError> {
    let at = r.here();
    Ok(match r.peek_word().as_str() {
        "STREAM" => r.then(ObjectKind::Stream),
        "TABLE" => r.then(ObjectKind::Table),
        "VIEW" => r.then(ObjectKind::View),
        "SINK" => r.then(ObjectKind::Sink),
        "MATERIALIZED" => {
            r.advance();
            r.expect("VIEW")?;
            ObjectKind::View
        }
        word => {
            return Err(SqlError::unsupported(format!("{verb} {word} is not supported"))
                .detail(format!(
                    "{verb} STREAM, {verb} TABLE, {verb} [MATERIALIZED] VIEW and {verb} SINK are"
                ))
                .at(at));
        }
    })
}
