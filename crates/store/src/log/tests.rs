//! The log keeps what it acknowledged, whatever happens to the machine or the file.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{DiskMedia, Fault, Manifest, TrialMedia};

const SMALL: LogOptions =
    LogOptions { sync: SyncPolicy::Always, segment_bytes_max: 700, preallocate_bytes: 2048 };

/// The record of a commit: any content will do if it follows from the number.
fn record(commit: u64) -> LogRecord {
    let sections = (0..commit % 4)
        .map(|n| Section {
            kind: u8::try_from(n).unwrap(),
            id: u32::try_from(commit * 10 + n).unwrap(),
            bytes: Bytes::from(vec![
                u8::try_from(commit % 251).unwrap() + 1;
                usize::try_from(13 * (commit + n) % 97).unwrap()
            ]),
        })
        .collect();
    LogRecord { commit: CommitId(commit), at_us: commit.cast_signed() * 1000, sections }
}

fn open(media: &TrialMedia, after: u64) -> Result<(Log, LogReplay), StoreError> {
    Log::open(Arc::new(media.clone()), SMALL, CommitId(after))
}

fn replayed(replay: LogReplay) -> Result<Vec<u64>, StoreError> {
    replay
        .map(|found| {
            let found = found?;
            assert_eq!(found, record(found.commit.0));
            Ok(found.commit.0)
        })
        .collect()
}

/// A log with the commits 1 to `last`.
fn written(last: u64, options: LogOptions) -> TrialMedia {
    let media = TrialMedia::new(1);
    let (mut log, _) = Log::open(Arc::new(media.clone()), options, CommitId(0)).unwrap();
    for commit in 1..=last {
        log.append(&record(commit)).unwrap();
    }
    media
}

fn commits(from: u64, to: u64) -> Vec<u64> {
    (from..=to).collect()
}

#[test]
fn what_is_appended_is_replayed() {
    let media = written(40, SMALL);
    assert!(media.list(DIR).unwrap().len() > 3, "several segments");
    for after in 0..=40 {
        let (log, replay) = open(&media, after).unwrap();
        assert_eq!((log.last_commit(), log.durable_commit()), (CommitId(40), CommitId(40)));
        assert_eq!(log.torn(), None);
        assert_eq!(replayed(replay).unwrap(), commits(after + 1, 40), "after {after}");
    }
}

#[test]
fn a_folder_replays_with_progress() {
    let dir = tempfile::tempdir().unwrap();
    let media: Arc<dyn Media> = Arc::new(DiskMedia::open(dir.path()).unwrap());
    let options = LogOptions { segment_bytes_max: 100_000, ..LogOptions::default() };
    let big = |commit: u64| LogRecord {
        commit: CommitId(commit),
        at_us: 0,
        sections: vec![Section {
            kind: 1,
            id: 2,
            bytes: vec![7; if commit == 5 { 1 << 20 } else { 30_000 }].into(),
        }],
    };
    let (mut log, _) = Log::open(Arc::clone(&media), options.clone(), CommitId(0)).unwrap();
    (1..=9).for_each(|commit| log.append(&big(commit)).unwrap());
    let bytes = log.bytes();
    drop(log);
    let (log, mut replay) = Log::open(media, options, CommitId(0)).unwrap();
    assert_eq!(log.bytes(), bytes);
    assert_eq!(replay.progress(), LogProgress { bytes_read: 0, bytes_total: bytes });
    let mut seen = 0;
    for commit in 1..=9 {
        assert_eq!(replay.next().unwrap().unwrap(), big(commit));
        assert!(replay.progress().bytes_read > seen);
        seen = replay.progress().bytes_read;
    }
    assert!(replay.next().is_none());
    assert_eq!(replay.progress().bytes_read, bytes);
}

#[test]
fn appending_goes_on_after_reopening() {
    let media = written(5, SMALL);
    for commit in 6..=20 {
        let (mut log, replay) = open(&media, 0).unwrap();
        assert_eq!(replayed(replay).unwrap(), commits(1, commit - 1));
        log.append(&record(commit)).unwrap();
    }
    assert_eq!(replayed(open(&media, 0).unwrap().1).unwrap(), commits(1, 20));
}

#[test]
fn old_segments_are_removed_whole() {
    let media = written(40, SMALL);
    let (mut log, _) = open(&media, 0).unwrap();
    let before = log.bytes();
    let freed = log.truncate_before(CommitId(20)).unwrap();
    assert_eq!(log.bytes(), before - freed);
    assert!(freed > 0);
    assert_eq!(replayed(open(&media, 19).unwrap().1).unwrap(), commits(20, 40));
    assert_eq!(log.truncate_before(CommitId(20)).unwrap(), 0);
    log.truncate_before(CommitId(41)).unwrap();
    assert_eq!((log.bytes(), log.segments()), (0, 0));
    log.append(&record(41)).unwrap();
    assert_eq!(replayed(open(&media, 40).unwrap().1).unwrap(), [41]);
}

#[test]
fn a_log_behind_the_manifest_starts_anew() {
    let media = written(10, SMALL);
    let (mut log, replay) = open(&media, 15).unwrap();
    assert_eq!(replayed(replay).unwrap(), commits(1, 0));
    assert!(media.list(DIR).unwrap().is_empty());
    log.append(&record(16)).unwrap();
    assert_eq!(replayed(open(&media, 15).unwrap().1).unwrap(), [16]);
}

#[test]
fn intervals_are_counted_from_the_oldest_record() {
    let options = LogOptions { sync: SyncPolicy::Interval(Duration::from_millis(5)), ..SMALL };
    let media = TrialMedia::new(1);
    let (mut log, _) = Log::open(Arc::new(media.clone()), options, CommitId(0)).unwrap();
    log.append(&record(1)).unwrap();
    log.append(&record(2)).unwrap();
    assert_eq!(log.durable_commit(), CommitId(0));
    assert!(!log.sync_if_due(5_999).unwrap());
    assert!(log.sync_if_due(6_000).unwrap());
    assert_eq!(log.durable_commit(), CommitId(2));
    assert!(!log.sync_if_due(1_000_000).unwrap());
    log.append(&record(3)).unwrap();
    assert!(log.sync_if_due(-5).unwrap(), "a clock that was set back syncs at once");
}

#[test]
fn nothing_is_written_after_a_failure() {
    let media = TrialMedia::new(1);
    let (mut log, _) = open(&media, 0).unwrap();
    log.append(&record(1)).unwrap();
    media.fail_at(media.operations() + 1, Fault::NoSpace);
    assert!(matches!(log.append(&record(2)), Err(StoreError::Io { .. })));
    let operations = media.operations();
    assert!(matches!(log.append(&record(2)), Err(StoreError::Poisoned(_))));
    assert!(matches!(log.sync(), Err(StoreError::Poisoned(_))));
    assert_eq!(media.operations(), operations);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let options = LogOptions { segment_bytes_max: 1 << 20, preallocate_bytes: 0, ..SMALL };
    let media = written(7, options);
    let path = path_of(CommitId(1));
    let whole = media.read(&path).unwrap();
    let report = inspect(whole.clone());
    let ends: Vec<u64> = report.records.iter().map(|r| r.offset + r.bytes).collect();
    assert_eq!(ends.len(), 7);
    for cut in 0..=whole.len() {
        for zeros in [false, true] {
            let mut bytes = whole[..cut].to_vec();
            if zeros {
                bytes.resize(whole.len() + 100, 0);
            }
            let kept = ends
                .iter()
                .filter(|end| {
                    let end = usize::try_from(**end).unwrap();
                    bytes.get(..end) == Some(&whole[..end])
                })
                .count() as u64;
            let media = TrialMedia::new(cut as u64);
            media.put(&path, bytes);
            let opened = open(&media, 0);
            if zeros && cut < FILE_HEAD_LEN && whole[cut..FILE_HEAD_LEN].iter().any(|b| *b != 0) {
                assert!(matches!(opened, Err(StoreError::Corrupt { offset: 0, .. })), "{cut}");
                continue;
            }
            let (mut log, replay) = opened.unwrap();
            assert_eq!(replayed(replay).unwrap(), commits(1, kept), "cut at {cut}");
            log.append(&record(kept + 1)).unwrap();
            let (log, replay) = open(&media, 0).unwrap();
            assert_eq!(replayed(replay).unwrap(), commits(1, kept + 1), "cut at {cut}");
            assert_eq!(log.torn(), None);
        }
    }
}

#[test]
fn damage_before_whole_records_is_refused() {
    let media = written(6, LogOptions { segment_bytes_max: 1 << 20, ..SMALL });
    let path = path_of(CommitId(1));
    let whole = media.read(&path).unwrap();
    let records = inspect(whole.clone()).records;
    let last = usize::try_from(records[5].offset).unwrap();
    for at in 0..last {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x10;
        let media = TrialMedia::new(1);
        media.put(&path, bytes);
        match open(&media, 0) {
            Err(StoreError::Corrupt { path: named, offset, hint, .. }) => {
                let start = records.iter().rfind(|r| r.offset <= at as u64);
                assert_eq!((named, offset), (path.clone(), start.map_or(0, |r| r.offset)));
                assert!(hint.contains("yeoul inspect"), "{hint}");
            }
            Err(StoreError::Newer { .. }) => assert!((8..12).contains(&at)),
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn damage_in_older_segments_stops_the_replay() {
    let media = written(30, SMALL);
    let names = media.list(DIR).unwrap();
    let path = format!("{DIR}/{}", names[1]);
    let whole = media.read(&path).unwrap().to_vec();
    let first = first_of(&names[1]).unwrap().0;
    // Even where it looks like a torn tail.
    for damaged in [whole[..whole.len() - 1].to_vec(), whole[..40].to_vec(), Vec::new()] {
        media.put(&path, damaged);
        let (_, mut replay) = open(&media, 0).unwrap();
        let found: Vec<_> = replay.by_ref().take_while(Result::is_ok).collect();
        assert!(found.len() as u64 >= first - 1);
        assert!(replay.next().is_none(), "nothing after an error");
    }
    media.put(&path, whole);
    media.remove(&path).unwrap();
    let (_, replay) = open(&media, 0).unwrap();
    assert!(matches!(replayed(replay), Err(StoreError::Corrupt { .. })), "a gap");
    media.remove(&format!("{DIR}/{}", names[0])).unwrap();
    assert!(matches!(open(&media, 0), Err(StoreError::Corrupt { .. })), "no beginning");
}

#[test]
fn a_repeated_commit_is_refused() {
    let media = TrialMedia::new(1);
    let mut bytes = file_head(CommitId(1)).to_vec();
    for commit in [1, 2, 2] {
        let parts = Framer::default().frame(&record(commit), bytes.len() as u64).concat();
        bytes.extend(parts);
    }
    media.put(&path_of(CommitId(1)), bytes.clone());
    assert!(matches!(open(&media, 0), Err(StoreError::Corrupt { .. })));
    assert!(matches!(inspect(bytes.into()).end, SegmentEnd::Damaged { .. }));
}

#[test]
fn a_newer_format_is_refused() {
    let mut head = file_head(CommitId(1)).to_vec();
    head[8] = 2;
    let crc = crc32c::crc32c(&head[..60]);
    head[60..64].copy_from_slice(&crc.to_le_bytes());
    head.resize(200, 0);
    let media = TrialMedia::new(1);
    media.put(&path_of(CommitId(1)), head);
    assert!(matches!(open(&media, 0), Err(StoreError::Newer { found: 2, known: 1, .. })));
}

#[test]
fn the_image_of_a_record_is_not_taken_for_one() {
    let image = Framer::default().frame(&record(3), 64).concat();
    let holder = LogRecord {
        commit: CommitId(1),
        at_us: 0,
        sections: vec![Section { kind: 0, id: 0, bytes: image.into() }],
    };
    let mut bytes = file_head(CommitId(1)).to_vec();
    bytes.extend(Framer::default().frame(&holder, 64).concat());
    bytes.extend([1; 64]);
    bytes[70] ^= 1;
    assert!(matches!(inspect(bytes.into()).end, SegmentEnd::Torn { offset: 64, .. }));
}

/// What a run was told before it ended.
#[derive(Debug, Default)]
struct Told {
    appended: u64,
    flushed: u64,
    flushing: u64,
}

/// Appends, checkpoints and truncates until the end or the first error.
fn run(media: &TrialMedia, told: &mut Told) -> Result<(), StoreError> {
    let (mut log, _) = open(media, 0)?;
    for commit in 1..=12 {
        log.append(&record(commit))?;
        told.appended = commit;
        if commit % 5 == 0 {
            told.flushing = commit - 1;
            let manifest = Manifest { commit: CommitId(commit - 1), ..Manifest::default() };
            manifest.store(media)?;
            told.flushed = commit - 1;
            log.truncate_before(CommitId(commit))?;
        }
    }
    told.flushing = 12;
    Manifest { commit: CommitId(12), ..Manifest::default() }.store(media)?;
    told.flushed = 12;
    log.truncate_before(CommitId(13)).map(|_| ())
}

/// What `run` was told is there, and nothing half.
fn check(media: &TrialMedia, told: &Told, case: &str) {
    let manifest = Manifest::load(media).unwrap().unwrap_or_default();
    let flushed = manifest.commit.0;
    assert!([told.flushed, told.flushing].contains(&flushed), "{case}: {flushed} {told:?}");
    let (mut log, replay) = open(media, flushed).unwrap_or_else(|e| panic!("{case}: {e}"));
    let found = replayed(replay).unwrap_or_else(|e| panic!("{case}: {e}"));
    let last = log.last_commit().0;
    assert_eq!(found, commits(flushed + 1, last), "{case}");
    assert!(last == told.appended || last == told.appended + 1, "{case}: {last} {told:?}");
    log.append(&record(last + 1)).unwrap();
    let (_, replay) = open(media, flushed).unwrap();
    assert_eq!(replayed(replay).unwrap(), commits(flushed + 1, last + 1), "{case}");
}

#[test]
fn every_operation_may_fail() {
    let clean = TrialMedia::new(0);
    run(&clean, &mut Told::default()).unwrap();
    let total = clean.operations();
    assert!(total > 50, "{total}");
    let faults =
        [Fault::CrashBefore, Fault::CrashAfter, Fault::ShortWrite, Fault::Io, Fault::NoSpace];
    for at in 1..=total {
        for fault in faults {
            for seed in 0..6 {
                let case = format!("operation {at}, {fault:?}, seed {seed}");
                let media = TrialMedia::with_fault(seed, at, fault);
                let mut told = Told::default();
                assert!(run(&media, &mut told).is_err(), "{case}");
                check(&media.after_crash(), &told, &case);
                if !media.has_crashed() {
                    check(&media, &told, &format!("{case}, restarted"));
                }
            }
        }
    }
}

#[test]
fn a_lazy_policy_loses_only_the_end() {
    for seed in 0..300 {
        let media = TrialMedia::new(seed);
        let options = LogOptions { sync: SyncPolicy::Os, preallocate_bytes: 0, ..SMALL };
        let (mut log, _) = Log::open(Arc::new(media.clone()), options, CommitId(0)).unwrap();
        (1..=20).for_each(|commit| log.append(&record(commit)).unwrap());
        let durable = log.durable_commit().0;
        let (log, replay) = open(&media.after_crash(), 0).unwrap();
        let last = log.last_commit().0;
        assert!(last >= durable, "seed {seed}");
        assert_eq!(replayed(replay).unwrap(), commits(1, last), "seed {seed}");
    }
}

#[test]
fn version_1_is_read() {
    let bytes = crate::fixture("log.v1.log", || {
        let media = written(3, LogOptions { preallocate_bytes: 1024, ..SMALL });
        media.read(&path_of(CommitId(1))).unwrap().to_vec()
    });
    let media = TrialMedia::new(1);
    media.put(&path_of(CommitId(1)), bytes);
    let (log, replay) = open(&media, 0).unwrap();
    assert_eq!(log.torn(), None);
    assert_eq!(replayed(replay).unwrap(), [1, 2, 3]);
}

proptest! {
    #[test]
    fn any_bytes_can_be_inspected(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = inspect(bytes.clone().into());
        let mut file = file_head(CommitId(1)).to_vec();
        file.extend(bytes);
        prop_assert!(inspect(file.into()).records.is_empty());
    }

    #[test]
    fn a_flipped_bit_is_found(commits in 1_u64..9, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let media = written(commits, LogOptions { segment_bytes_max: 1 << 20, ..SMALL });
        let bytes = media.read(&path_of(CommitId(1))).unwrap();
        let whole = inspect(bytes.clone());
        let mut bytes = bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let found = inspect(bytes.into());
        prop_assert_ne!(&found, &whole);
        prop_assert!(whole.records.starts_with(&found.records));
        let clean = found.first.is_ok() && matches!(found.end, SegmentEnd::Clean { .. });
        prop_assert!(!clean);
    }
}
