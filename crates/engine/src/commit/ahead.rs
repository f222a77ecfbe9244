//! Rows that are dated too far ahead, on whatever way they came: they are not stored.
//!
//! What must hold: this is decided once, before the row is queued, and so before the log; recovery does
//! not ask the clock again. Decoders have refused such rows already, with their bytes; what is found here
//! came typed (Parquet, SQL).

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;

use crate::catalog::Relation;
use crate::delivery::{DeadLetter, Delivery, SQL};
use crate::error::{EngineError, ErrorKind};

/// Takes the rows that are too far ahead out of a delivery and makes dead letters of them. A statement
/// is refused as a whole, and so is a delivery to who refuses bad rows.
pub(super) fn refuse(
    delivery: &mut Delivery,
    relation: &Relation,
    now_us: i64,
) -> Result<(), EngineError> {
    let Some(limit) = relation.time_limit(now_us) else { return Ok(()) };
    let rows = delivery.rows.batch();
    let found = limit.ahead(rows);
    let Some((_, first)) = found.first() else { return Ok(()) };
    if &*delivery.source == SQL || relation.refuses_bad_rows() {
        return Err(EngineError::new(ErrorKind::Input, first.clone())
            .with_sqlstate("22008")
            .with_detail(format!(
                "a watermark of \"{}\" that far ahead would make all other rows late",
                relation.name
            ))
            .with_hint("correct the time, or create the stream with a longer future_skew"));
    }
    let mut keep = vec![true; rows.num_rows()];
    for (row, _) in &found {
        keep[*row] = false;
    }
    let keep = BooleanArray::from(keep);
    let refused = filter_record_batch(rows, &arrow::compute::not(&keep)?)?;
    let letters = found.into_iter().zip(texts(&refused)?).map(|((row, reason), raw)| DeadLetter {
        raw,
        reason,
        position: format!("row {} of its delivery", row + 1),
    });
    let rows = filter_record_batch(rows, &keep)?;
    delivery.dead_letters.extend(letters);
    delivery.rows = rows.into();
    Ok(())
}

/// Each row as a JSON object, since there are no bytes it came from.
fn texts(rows: &RecordBatch) -> Result<Vec<Bytes>, EngineError> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(rows)?;
    writer.finish()?;
    let text = Bytes::from(writer.into_inner());
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(|line| text.slice_ref(line)).collect())
}
