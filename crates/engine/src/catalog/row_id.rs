//! The hidden key of a table without a primary key.
//!
//! ```text
//!   bytes 0 – 7    the commit that wrote the row first, big-endian
//!   bytes 8 – 15   the row's number among the new rows of the table in this commit, big-endian
//! ```
//!
//! What must hold: the number follows from the log, so that a replayed commit gives the same one. Nobody
//! sees the column but `UPDATE` and `DELETE`, which write rows back under it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, FixedSizeBinaryBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use yeoul_batch::CommitId;

use super::{Body, Relation, TableBody};
use crate::error::{EngineError, ErrorKind};
use crate::scan::{NewestRow, TreeView};

const NAME: &str = "_row_id";
const BYTES: i32 = 16;

/// The columns `schema` and the row id, and the key that it is.
pub(super) fn added(schema: &SchemaRef) -> Result<(SchemaRef, Vec<usize>), EngineError> {
    if schema.index_of(NAME).is_ok() {
        return Err(EngineError::new(
            ErrorKind::Input,
            format!("column \"{NAME}\" is what numbers the rows of a table without a primary key"),
        )
        .with_sqlstate("42701")
        .with_hint("give the column another name, or the table a primary key"));
    }
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(NAME, DataType::FixedSizeBinary(BYTES), true)));
    Ok((Arc::new(Schema::new(fields)), vec![schema.fields().len()]))
}

/// The table `whole` as people see it, with the columns `schema`.
pub(super) fn hidden(whole: Relation, schema: SchemaRef) -> Relation {
    let Body::Table(body) = &whole.body else { unreachable!("only tables have row ids") };
    let stored = Arc::clone(&whole.trees[0].schema);
    let rule = Arc::new(NewestRow::new(stored, Arc::clone(&schema), body.key.clone()));
    Relation {
        id: whole.id,
        name: whole.name.clone(),
        kind: whole.kind,
        sql: whole.sql.clone(),
        created: whole.created,
        schema,
        trees: whole.trees.clone(),
        view: TreeView::Merged { rule, keys: HashMap::new() },
        history: Arc::clone(&whole.history),
        body: Body::Table(TableBody {
            key: body.key.clone(),
            on_error: body.on_error,
            decode: body.decode.clone(),
            connector: body.connector.clone(),
            with_row_id: Some(Arc::new(whole)),
        }),
    }
}

/// `rows`, of which those that have no row id in the column `column` get one.
pub(crate) fn numbered(
    rows: &RecordBatch,
    column: usize,
    commit: CommitId,
) -> Result<RecordBatch, EngineError> {
    let given = rows.column(column).as_fixed_size_binary();
    let mut ids = FixedSizeBinaryBuilder::with_capacity(rows.num_rows(), BYTES);
    let mut number = 0u64;
    for row in 0..rows.num_rows() {
        if given.is_valid(row) {
            ids.append_value(given.value(row))?;
            continue;
        }
        let id = (u128::from(commit.0) << 64) | u128::from(number);
        ids.append_value(id.to_be_bytes())?;
        number += 1;
    }
    let mut columns = rows.columns().to_vec();
    columns[column] = Arc::new(ids.finish());
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}
