//! `yeoul inspect`: what a data folder, or a file in it, holds. For people who want to know, or have to
//! mend. Reads only, and can be used while an instance runs.

use std::fs::{self, File};
use std::path::Path;

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use yeoul_store::{DiskMedia, Manifest, SegmentEnd, SegmentReport, inspect};

use crate::demo::screen::grouped;
use crate::failure::{Exit, Failure};
use crate::say::say;
use crate::shell::{Column, Kind, table};

/// Records at each end of a segment that are listed one by one.
const RECORDS_SHOWN: usize = 5;

/// The first bytes of a manifest.
const MANIFEST_MAGIC: &[u8] = b"YEOULMAN";
/// The first bytes of a Parquet file.
const PARQUET_MAGIC: &[u8] = b"PAR1";

/// Runs the command.
pub(crate) fn run(path: &Path) -> Result<Exit, Failure> {
    if path.is_dir() {
        return folder(path);
    }
    let bytes = fs::read(path).map_err(|e| Failure::file("read", path, &e))?;
    if bytes.starts_with(PARQUET_MAGIC) {
        return part(path);
    }
    if bytes.starts_with(MANIFEST_MAGIC) {
        let manifest =
            Manifest::decode(&bytes).map_err(|e| Failure::with(Exit::Damaged, e.to_string()))?;
        show_manifest(&manifest);
        return Ok(Exit::Success);
    }
    if path.extension().is_some_and(|e| e == "log") {
        let report = inspect(Bytes::from(bytes));
        show_segment(&report);
        return Ok(segment_exit(&report));
    }
    Err(Failure::usage(format!(
        "\"{}\" is not a data folder, a log segment, a manifest or a part\nhint: parts end with .parquet, log segments with .log",
        path.display()
    )))
}

fn folder(dir: &Path) -> Result<Exit, Failure> {
    let damaged = |e: yeoul_store::StoreError| Failure::with(Exit::Damaged, e.to_string());
    let media = DiskMedia::read_only(dir).map_err(|e| Failure::new(e.to_string()))?;
    match Manifest::load(&media).map_err(damaged)? {
        Some(manifest) => show_manifest(&manifest),
        None => say!("no manifest: nothing has been written to parts yet"),
    }
    let mut segments: Vec<_> = fs::read_dir(dir.join("log"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    segments.sort();
    let mut exit = Exit::Success;
    let mut rows = Vec::new();
    for path in &segments {
        let bytes = fs::read(path).map_err(|e| Failure::file("read", path, &e))?;
        let report = inspect(Bytes::from(bytes));
        if segment_exit(&report) != Exit::Success {
            exit = Exit::Damaged;
        }
        let commit = |at: Option<&yeoul_store::RecordReport>| {
            at.map_or_else(|| "-".into(), |record| record.commit.to_string())
        };
        rows.push(vec![
            path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            grouped(report.records.len() as u64),
            commit(report.records.first()),
            commit(report.records.last()),
            grouped(report.records.iter().map(|r| r.bytes).sum()),
            end_in_words(&report.end),
        ]);
    }
    print_table(
        &[
            ("log segment", false),
            ("records", true),
            ("first commit", true),
            ("last commit", true),
            ("bytes", true),
            ("end", false),
        ],
        &rows,
    );
    Ok(exit)
}

fn show_manifest(manifest: &Manifest) {
    say!(
        "manifest: commit {}, next tree {}, next part {}, {} bytes of the engine's own",
        manifest.commit,
        manifest.next_tree,
        manifest.next_part,
        manifest.meta.len()
    );
    let rows: Vec<Vec<String>> = manifest
        .trees
        .iter()
        .map(|tree| {
            let partitions: std::collections::BTreeSet<i64> =
                tree.parts.iter().map(|part| part.partition).collect();
            vec![
                tree.id.to_string(),
                format!("{:?}", tree.rule).to_lowercase(),
                grouped(tree.parts.len() as u64),
                grouped(partitions.len() as u64),
                grouped(tree.parts.iter().map(|part| part.rows).sum()),
                grouped(tree.parts.iter().map(|part| part.bytes).sum()),
            ]
        })
        .collect();
    print_table(
        &[
            ("tree", true),
            ("rule", false),
            ("parts", true),
            ("partitions", true),
            ("rows", true),
            ("bytes", true),
        ],
        &rows,
    );
    if !manifest.seen_runs.is_empty() {
        let keys: u64 = manifest.seen_runs.iter().map(|run| run.keys).sum();
        let bytes: u64 = manifest.seen_runs.iter().map(|run| run.bytes).sum();
        say!(
            "duplicate index: {} runs, {} keys, {} bytes",
            manifest.seen_runs.len(),
            grouped(keys),
            grouped(bytes)
        );
    }
}

fn show_segment(report: &SegmentReport) {
    match &report.first {
        Ok(commit) => say!("log segment from commit {commit}"),
        Err(reason) => say!("log segment with a damaged head: {reason}"),
    }
    let count = report.records.len();
    let mut rows = Vec::new();
    for (at, record) in report.records.iter().enumerate() {
        if at >= RECORDS_SHOWN && at + RECORDS_SHOWN < count {
            continue;
        }
        let sections: Vec<String> =
            record.sections.iter().map(|s| format!("{}/{}: {}", s.kind, s.id, s.bytes)).collect();
        rows.push(vec![
            record.commit.to_string(),
            record.offset.to_string(),
            grouped(record.bytes),
            record.at_us.to_string(),
            sections.join(", "),
        ]);
    }
    print_table(
        &[
            ("commit", true),
            ("at byte", true),
            ("bytes", true),
            ("time µs", true),
            ("sections (kind/id: bytes)", false),
        ],
        &rows,
    );
    if count > 2 * RECORDS_SHOWN {
        say!("({} records, the first and last {RECORDS_SHOWN} shown)", grouped(count as u64));
    }
    say!("end: {}", end_in_words(&report.end));
}

fn end_in_words(end: &SegmentEnd) -> String {
    match end {
        SegmentEnd::Clean { offset } => format!("clean at byte {offset}"),
        SegmentEnd::Torn { offset, reason } => {
            format!("torn at byte {offset} ({reason}); cut when it is opened")
        }
        SegmentEnd::Damaged { offset, reason, .. } => format!("DAMAGED at byte {offset}: {reason}"),
    }
}

fn segment_exit(report: &SegmentReport) -> Exit {
    let damaged = report.first.is_err() || matches!(report.end, SegmentEnd::Damaged { .. });
    if damaged { Exit::Damaged } else { Exit::Success }
}

/// A part is a Parquet file that any reader of Parquet can open; this shows what is ours about it.
fn part(path: &Path) -> Result<Exit, Failure> {
    let damaged = |e: parquet::errors::ParquetError| {
        Failure::with(Exit::Damaged, format!("part \"{}\": {e}", path.display()))
    };
    let file = File::open(path).map_err(|e| Failure::file("read", path, &e))?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let file = reader.metadata().file_metadata();
    say!(
        "part: {} rows in {} row groups, written by {}",
        file.num_rows(),
        reader.metadata().num_row_groups(),
        file.created_by().unwrap_or("nobody known")
    );
    for entry in file.key_value_metadata().into_iter().flatten() {
        if entry.key != "ARROW:schema" {
            say!("{}: {}", entry.key, entry.value.as_deref().unwrap_or("nothing"));
        }
    }
    let columns = file.schema_descr().columns().iter().enumerate();
    let rows: Vec<Vec<String>> = columns
        .map(|(at, column)| {
            let chunks = reader.metadata().row_groups().iter().map(|group| group.column(at));
            let bytes: i64 = chunks.clone().map(|chunk| chunk.compressed_size()).sum();
            let wide: i64 = chunks.map(|chunk| chunk.uncompressed_size()).sum();
            vec![
                column.path().string(),
                column.physical_type().to_string(),
                grouped(bytes.unsigned_abs()),
                grouped(wide.unsigned_abs()),
            ]
        })
        .collect();
    print_table(
        &[("column", false), ("stored as", false), ("bytes", true), ("uncompressed", true)],
        &rows,
    );
    Ok(Exit::Success)
}

/// Titles with whether they are of numbers.
fn print_table(columns: &[(&str, bool)], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let columns: Vec<Column> = columns
        .iter()
        .map(|(name, number)| Column {
            name: (*name).to_owned(),
            kind: if *number { Kind::Number } else { Kind::Text },
        })
        .collect();
    say!("{}", table(&columns, rows));
}
