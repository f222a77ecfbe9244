//! The files of the data folder: damage is an error, never a panic and never a wrong answer.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use yeoul_batch::CommitId;
use yeoul_store::{
    Log, LogOptions, Manifest, Media, SeenFolder, SeenOptions, SeenRunMeta, TrialMedia,
    decode_batch, encode_batch, inspect,
};

/// A manifest as it is, and with its checksum put right: what is read is written the same.
pub fn manifest(bytes: &[u8]) {
    let mut mended = bytes.to_vec();
    if mended.len() >= 24 {
        let crc = crc32c::crc32c(&mended[16..]);
        mended[12..16].copy_from_slice(&crc.to_le_bytes());
    }
    for bytes in [bytes, &mended] {
        if let Ok(manifest) = Manifest::decode(bytes) {
            let written = manifest.encode();
            let again = Manifest::decode(&written).expect("what was written is read");
            assert_eq!(again.encode(), written, "manifest: one form");
        }
    }
}

/// Puts every checksum and every place of a segment's records right.
fn mend_log(segment: &mut [u8]) {
    let Some((head, _)) = segment.split_first_chunk_mut::<64>() else { return };
    let crc = crc32c::crc32c(&head[..60]);
    head[60..].copy_from_slice(&crc.to_le_bytes());
    let mut at = 64;
    while let Some(record) = segment.get_mut(at..).filter(|rest| rest.len() >= 48) {
        let body = u32::from_le_bytes([record[4], record[5], record[6], record[7]]) as usize;
        let Some(crc) = record.get(48..48 + body).map(crc32c::crc32c) else { return };
        record[28..32].copy_from_slice(&crc.to_le_bytes());
        record[32..40].copy_from_slice(&(at as u64).to_le_bytes());
        let crc = crc32c::crc32c(&record[..44]);
        record[44..48].copy_from_slice(&crc.to_le_bytes());
        at += 48 + body;
    }
}

/// A segment of the log as it is, and with its checksums put right: described and replayed.
pub fn log(bytes: &[u8]) {
    let mut mended = bytes.to_vec();
    mend_log(&mut mended);
    for bytes in [bytes, &mended] {
        let _ = inspect(Bytes::copy_from_slice(bytes));
        let media = TrialMedia::new(0);
        media.put("log/00000000000000000001.log", bytes);
        let media: Arc<dyn Media> = Arc::new(media);
        let Ok((_, replay)) = Log::open(media, LogOptions::default(), CommitId(0)) else {
            continue;
        };
        let mut last = CommitId(0);
        for record in replay {
            let Ok(record) = record else { break };
            assert_eq!(record.commit, last.next(), "log: commits without gaps");
            last = record.commit;
        }
    }
}

/// Columns of every kind of layout.
fn columns() -> SchemaRef {
    let item = Arc::new(Field::new_list_field(DataType::Utf8View, true));
    let kinds = [
        DataType::Boolean,
        DataType::Int64,
        DataType::Float64,
        DataType::Utf8View,
        DataType::Binary,
        DataType::FixedSizeBinary(16),
        DataType::Decimal128(38, 9),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::List(item),
    ];
    let fields = kinds.into_iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A batch of rows: what is decoded can be encoded and is the same again.
pub fn batch(bytes: &[u8]) {
    let schema = columns();
    if let Ok(rows) = decode_batch(&schema, Bytes::copy_from_slice(bytes)) {
        let written = encode_batch(&rows).expect("what was decoded is encoded");
        let again = decode_batch(&schema, written).expect("what was encoded is decoded");
        assert_eq!(again, rows, "batch: the same rows");
    }
}

const PAGE: usize = 4096;
const FOOT: usize = 96;

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Puts every checksum of a run right.
fn mend_run(run: &mut [u8]) {
    let foot = run.len() - FOOT;
    let tail = usize::try_from(u64_at(run, foot + 48)).unwrap_or(usize::MAX);
    let Some(tail_at) = foot.checked_sub(tail) else { return };
    let crc = crc32c::crc32c(&run[tail_at..foot]);
    run[foot + 56..foot + 60].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&run[foot + 8..]);
    run[foot..foot + 4].copy_from_slice(&crc.to_le_bytes());
    for (number, page) in run[..tail_at].chunks_exact_mut(PAGE).enumerate() {
        let (at, from) = if number == 0 { (12, 16) } else { (0, 4) };
        let crc = crc32c::crc32c(&page[from..]);
        page[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// A run of the duplicate index as it is, and with its checksums put right: it is refused, or
/// answers.
pub fn seen_run(bytes: &[u8]) {
    if bytes.len() < PAGE + FOOT {
        return;
    }
    let mut mended = bytes.to_vec();
    mend_run(&mut mended);
    for run in [bytes, &mended] {
        let foot = run.len() - FOOT;
        let time = |at: usize| u64_at(run, at).cast_signed().wrapping_mul(1000);
        let meta = SeenRunMeta {
            number: 1,
            from_us: time(foot + 24),
            to_us: time(foot + 32),
            keys: u64_at(run, foot + 8),
            bytes: run.len() as u64,
        };
        let media = TrialMedia::new(0);
        media.put("seen/1.run", run);
        let Ok(folder) = SeenFolder::open(Arc::new(media), Arc::new(|_, work| work()), &[meta])
        else {
            continue;
        };
        let stream = u32::from_le_bytes([run[16], run[17], run[18], run[19]]);
        let options = SeenOptions { table_keys: 64, ..SeenOptions::new(stream, 3_600_000_000) };
        let Ok(mut seen) = folder.index(options) else { continue };
        let (keys, _) = run[PAGE..].as_chunks::<16>();
        let keys: Vec<u128> = keys.iter().take(256).map(|k| u128::from_le_bytes(*k)).collect();
        let mut duplicates = Vec::new();
        if seen.probe_and_insert(&keys, time(foot + 32), &mut duplicates).is_ok()
            && seen.probe_and_insert(&keys, time(foot + 32), &mut duplicates).is_ok()
        {
            assert!(duplicates.iter().all(|d| *d), "seen: what was put in is there");
        }
    }
}
