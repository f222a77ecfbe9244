//! Good rows that become bad because of their time, with the bytes of their records.
//!
//! Hardly any piece of text has one, so the decoders know nothing of it: only where the newest time of
//! a piece is too far ahead its records are looked for.

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use bytes::Bytes;

use crate::decoded::{BadKind, BadRow, Decoded, count_lines};
use crate::error::FormatError;

/// Takes the rows `found` (ascending) out of what was decoded. `record` gives the bytes of a record
/// and the line it begins on; it is asked in ascending order.
pub(crate) fn refuse(
    decoded: Decoded,
    found: Vec<(usize, String)>,
    mut record: impl FnMut(usize) -> (Bytes, u64),
) -> Result<Decoded, FormatError> {
    let Decoded { rows, bad, records, lines, changes } = decoded;
    let mut keep = vec![true; rows.num_rows()];
    let mut all = Vec::with_capacity(bad.len() + found.len());
    let (mut bad, mut found) = (bad.into_iter().peekable(), found.into_iter().peekable());
    let mut row = 0;
    for (index, number) in (0..records).enumerate() {
        if let Some(known) = bad.next_if(|bad| bad.row == number) {
            all.push(known);
            continue;
        }
        if let Some((_, reason)) = found.next_if(|(at, _)| *at == row) {
            keep[row] = false;
            let (raw, line) = record(index);
            all.push(BadRow { raw, reason, kind: BadKind::Ahead, row: number, line });
        }
        row += 1;
    }
    let rows = filter_record_batch(&rows, &BooleanArray::from(keep))
        .map_err(|e| FormatError::Internal(e.to_string()))?;
    debug_assert!(changes.is_none(), "changes have no limit of time");
    Ok(Decoded { rows, bad: all, records, lines, changes })
}

/// The records of a text: `ends` is where each of them ends; `json` says that commas and brackets
/// may stand between them.
pub(crate) fn in_text(
    bytes: &[u8],
    ends: &[usize],
    json: bool,
) -> impl FnMut(usize) -> (Bytes, u64) {
    let end_of = |record: usize| ends.get(record).copied().unwrap_or(bytes.len());
    let (mut counted, mut line) = (0, 0);
    move |record| {
        let start = record.checked_sub(1).map_or(0, end_of);
        let (before, raw) = trimmed(&bytes[start..end_of(record)], json);
        let begin = start + before.len();
        line += count_lines(&bytes[counted..begin]);
        counted = begin;
        (Bytes::copy_from_slice(raw), line)
    }
}

/// A record without what separates it from others, and what stood before it.
fn trimmed(span: &[u8], json: bool) -> (&[u8], &[u8]) {
    // In a sheet spaces and tabs may be values.
    let ends_line = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let between =
        |byte: &u8| ends_line(byte) || (json && matches!(byte, b' ' | b'\t' | b',' | b'[' | b']'));
    let (before, raw) = span.split_at(span.iter().take_while(|byte| between(byte)).count());
    let end = raw.iter().rposition(|byte| !ends_line(byte)).map_or(0, |last| last + 1);
    (before, &raw[..end])
}
