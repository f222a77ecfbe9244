//! Ranges of keys against a scan that is sorted and filtered.

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use yeoul_batch::{KeyCodec, KeyRange};
use yeoul_store::{
    Media, MediaFile, Rule, ScanOptions, StoreError, TreeSnapshot, TrialMedia, key_bytes,
    read_ranges, read_some, scan,
};

use crate::model::check_prefixes;
use crate::world::{Change, Engine, KINDS, Rng, random_changes, rows, small, texts};

/// Mostly one that differs from others only behind the 96 bytes that are kept of a sparse key.
pub(crate) fn long_text(name: &Option<String>) -> Option<String> {
    name.as_ref().map(|name| match name.len() % 5 {
        0 => name.clone(),
        _ => format!("{:a>120}{name}", ""),
    })
}

/// Of all lengths, and some of them bytes that are the greatest there are.
pub(crate) fn short_bytes(id: &Option<i64>) -> Option<Vec<u8>> {
    id.map(|id| match id % 4 {
        0 => Vec::new(),
        1 => vec![0xff; usize::try_from(id % 40).unwrap_or(3)],
        _ => id.to_be_bytes()[usize::try_from(id % 8).unwrap_or(0)..].to_vec(),
    })
}

/// What a tree holds, in the order of its keys, and of equal keys in the order of a scan.
struct Twin {
    rows: Vec<(Vec<u8>, String)>,
}

impl Twin {
    fn new(tree: &TreeSnapshot) -> Self {
        let codec = KeyCodec::new(&tree.spec().schema, &tree.spec().key).expect("plain types");
        let mut rows = Vec::new();
        for batch in scan(tree, ScanOptions::default()).expect("scans") {
            let batch = batch.expect("reads");
            let keys = codec.encode(&batch).expect("encodes");
            let keys = keys.iter().map(|key| key.as_ref().to_vec());
            rows.extend(keys.zip(texts(&batch)));
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        Self { rows }
    }

    /// The rows of a range, and whether there are more.
    fn expected(&self, range: &KeyRange, rows_max: usize, reverse: bool) -> (Vec<&str>, bool) {
        let within = |key: &[u8]| {
            let cut = |bound: &[u8]| key.len().min(bound.len());
            let above = match &range.from {
                Bound::Unbounded => true,
                Bound::Included(from) => key[..cut(from)] >= **from,
                Bound::Excluded(from) => key[..cut(from)] > **from,
            };
            above
                && match &range.to {
                    Bound::Unbounded => true,
                    Bound::Included(to) => key[..cut(to)] <= **to,
                    Bound::Excluded(to) => key[..cut(to)] < **to,
                }
        };
        let all = self.rows.iter().filter(|(key, _)| within(key)).map(|(_, text)| text.as_str());
        let mut all: Vec<&str> = all.collect();
        if reverse {
            all.reverse();
        }
        let more = all.len() > rows_max;
        all.truncate(rows_max);
        (all, more)
    }
}

/// Bytes of keys that may be in the tree, cut to some columns or, rarely, anywhere.
fn bounds(tree: &TreeSnapshot, probe: &RecordBatch, rng: &mut Rng) -> Vec<Vec<u8>> {
    let spec = tree.spec();
    let mut bounds = Vec::new();
    for columns in 1..=spec.key.len() {
        let key: Vec<ArrayRef> =
            spec.key[..columns].iter().map(|&c| Arc::clone(probe.column(c))).collect();
        let keys = key_bytes(spec, &key).expect("encodes");
        for key in keys.iter() {
            let key = key.as_ref();
            let len = if rng.below(8) == 0 { rng.index(key.len() + 1) } else { key.len() };
            bounds.push(key[..len].to_vec());
        }
    }
    bounds
}

fn bound(bounds: &[Vec<u8>], rng: &mut Rng) -> Bound<Vec<u8>> {
    let bytes = bounds[rng.index(bounds.len())].clone();
    match rng.below(7) {
        0 => Bound::Unbounded,
        1..4 => Bound::Excluded(bytes),
        _ => Bound::Included(bytes),
    }
}

/// Ranges of every sort: prefixes, the same twice, one within the other, with one end in common, from
/// anywhere to anywhere, turned round.
fn ranges(bounds: &[Vec<u8>], rng: &mut Rng, count: usize) -> Vec<KeyRange> {
    let mut ranges: Vec<KeyRange> = Vec::with_capacity(count);
    let shared = bound(bounds, rng);
    for _ in 0..count {
        let range = match rng.below(6) {
            0 | 1 => KeyRange::prefix(&bounds[rng.index(bounds.len())]),
            2 if !ranges.is_empty() => ranges[rng.index(ranges.len())].clone(),
            3 => KeyRange { from: bound(bounds, rng), to: shared.clone() },
            4 => KeyRange { from: shared.clone(), to: bound(bounds, rng) },
            _ => KeyRange { from: bound(bounds, rng), to: bound(bounds, rng) },
        };
        ranges.push(range);
    }
    ranges
}

/// `read_ranges` gives what a filtered, sorted scan gives. Says how many rows there were.
pub(crate) fn check_ranges(
    tree: &TreeSnapshot,
    probe: &RecordBatch,
    rng: &mut Rng,
    what: &str,
) -> usize {
    let twin = Twin::new(tree);
    let bounds = bounds(tree, probe, rng);
    check_some(tree, &twin, &ranges(&bounds, rng, 3), rng);
    let mut seen = 0;
    for rows_max in [[0, 2, 5_000], [1, 30, usize::MAX]][rng.index(2)] {
        let reverse = rng.below(2) == 0;
        let count = if rows_max > 100 { 5 } else { [0, 1, 9, 60][rng.index(4)] };
        let ranges = ranges(&bounds, rng, count);
        let found = read_ranges(tree, &ranges, rows_max, reverse).expect("reads ranges");
        let lines = texts(&found.rows);
        assert_eq!((lines.len(), ranges.len()), (found.ranges.len(), found.more.len()));
        assert!(found.ranges.is_sorted());
        let mut of_range: Vec<Vec<&str>> = vec![Vec::new(); ranges.len()];
        for (line, &range) in lines.iter().zip(&found.ranges) {
            of_range[range as usize].push(line);
        }
        seen += lines.len();
        for (number, range) in ranges.iter().enumerate() {
            let (wanted, more) = twin.expected(range, rows_max, reverse);
            let name = &tree.spec().name;
            let what = format!("{what}: {name}, {rows_max} rows, reverse {reverse}, {range:?}");
            assert_eq!(of_range[number], wanted, "{what}");
            assert_eq!(found.more[number], more, "{what}");
        }
    }
    seen
}

/// `read_some` gives the beginning of a range: as many rows as are wanted, or fewer where these take too much.
fn check_some(tree: &TreeSnapshot, twin: &Twin, ranges: &[KeyRange], rng: &mut Rng) {
    for range in ranges {
        let rows_max = 1 + rng.index(300);
        let bytes_max = [0, 500, 5_000, u64::MAX][rng.index(4)];
        let found = read_some(tree, range.clone(), rows_max, bytes_max);
        if !matches!(tree.spec().rule, Rule::Keep) {
            assert!(found.is_err(), "{}", tree.spec().name);
            continue;
        }
        let found = found.expect("reads");
        let (all, _) = twin.expected(range, usize::MAX, false);
        let count = found.rows.num_rows();
        assert_eq!(texts(&found.rows), all[..count], "{range:?}");
        assert_eq!(found.more, [count < all.len()], "{range:?}");
        assert!(count <= rows_max && (count > 0 || all.is_empty()), "{range:?}: {count}");
        match bytes_max {
            0 => assert!(count <= 1, "{range:?}: {count}"),
            u64::MAX => assert_eq!(count, all.len().min(rows_max), "{range:?}"),
            _ => {}
        }
    }
}

/// Parts of many blocks, several of them, with and without rows in memory beside them.
#[test]
fn ranges_of_large_parts() {
    for seed in 1..3 {
        let mut rng = Rng::new(seed);
        let mut engine = Engine::open(Arc::new(TrialMedia::new(seed)), small()).expect("opens");
        let create = (0..KINDS).map(|kind| Change::Create { id: kind + 1, kind });
        engine.commit(&create.collect::<Vec<_>>()).expect("commits");
        let mut seen = [0; 3];
        for step in 0..7 {
            grow(&mut engine, &mut rng);
            if step % 3 == 1 {
                engine.store.checkpoint().expect("checkpoints");
            }
            let snapshot = engine.store.snapshot();
            for tree in snapshot.trees().iter().filter(|tree| !tree.spec().key.is_empty()) {
                let kind: u32 = tree.spec().name["kind ".len()..].parse().expect("a number");
                let keys = [12, KEYS][rng.index(2)];
                let probe = rows(kind, &mut rng, snapshot.commit(), 40, keys);
                let found = check_ranges(tree, &probe, &mut rng, &format!("seed {seed}, {step}"));
                if step % 3 == 2 {
                    check_prefixes(tree, &probe, 1, &format!("seed {seed}, {step}"));
                }
                let blocks = tree.parts().iter().any(|part| part.meta().rows > 3 * 2_048);
                let memory = !tree.memory().is_empty();
                seen[0] += if blocks && !memory { found } else { 0 };
                seen[1] += if blocks && memory { found } else { 0 };
                seen[2] += if tree.parts().is_empty() { found } else { 0 };
            }
        }
        assert!(seen.iter().all(|&rows| rows > 10_000), "{seen:?} rows");
    }
}

const KEYS: u64 = 40_000;

/// Adds rows to every tree: many of different keys, and many of the same.
fn grow(engine: &mut Engine, rng: &mut Rng) {
    let commit = engine.commit.next();
    let mut changes = Vec::new();
    for (&id, &kind) in &engine.kinds {
        for keys in [12, KEYS] {
            let len = 500 + rng.index(if keys == KEYS { 9_000 } else { 1_500 });
            changes.push(Change::Rows { id, rows: rows(kind, rng, commit, len, keys) });
        }
    }
    engine.commit(&changes).expect("commits");
}

#[test]
fn a_tree_without_key_has_no_ranges() {
    let mut engine = Engine::open(Arc::new(TrialMedia::new(5)), small()).expect("opens");
    let changes = random_changes(&mut Rng::new(5), engine.commit.next(), &engine.kinds, 1, 10);
    engine.commit(&changes).expect("commits");
    for tree in engine.store.snapshot().trees() {
        let all = KeyRange { from: Bound::Unbounded, to: Bound::Unbounded };
        let found = read_ranges(tree, &[all], 1, false);
        assert_eq!(found.is_err(), tree.spec().key.is_empty(), "{}", tree.spec().name);
        let keep = matches!(tree.spec().rule, Rule::Keep) && tree.spec().key.is_empty();
        assert_eq!(yeoul_store::get_many(tree, &[]).is_err(), keep || !tree.spec().key.is_empty());
    }
}

/// A place for files that counts the bytes that are read.
#[derive(Debug)]
struct Counting {
    media: TrialMedia,
    read: AtomicUsize,
}

impl Media for Counting {
    fn create(&self, path: &str) -> Result<Box<dyn MediaFile>, StoreError> {
        self.media.create(path)
    }
    fn open_append(&self, path: &str, position: u64) -> Result<Box<dyn MediaFile>, StoreError> {
        self.media.open_append(path, position)
    }
    fn read(&self, path: &str) -> Result<Bytes, StoreError> {
        self.media.read(path)
    }
    fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        self.read.fetch_add(len, Ordering::Relaxed);
        self.media.read_at(path, offset, len)
    }
    fn len(&self, path: &str) -> Result<u64, StoreError> {
        self.media.len(path)
    }
    fn exists(&self, path: &str) -> Result<bool, StoreError> {
        self.media.exists(path)
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.media.rename(from, to)
    }
    fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.media.remove(path)
    }
    fn list(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        self.media.list(dir)
    }
    fn create_dir(&self, dir: &str) -> Result<(), StoreError> {
        self.media.create_dir(dir)
    }
    fn remove_dir_all(&self, dir: &str) -> Result<(), StoreError> {
        self.media.remove_dir_all(dir)
    }
    fn sync_dir(&self, dir: &str) -> Result<(), StoreError> {
        self.media.sync_dir(dir)
    }
    fn local_path(&self, path: &str) -> Option<PathBuf> {
        self.media.local_path(path)
    }
}

/// A few rows of a range that goes on for long cost a few pages, at either end and in the middle.
#[test]
fn few_rows_of_a_long_range_are_few_bytes() {
    let media = Arc::new(Counting { media: TrialMedia::new(6), read: AtomicUsize::new(0) });
    let shared: Arc<dyn Media> = Arc::<Counting>::clone(&media);
    let mut engine = Engine::open(shared, small()).expect("opens");
    let mut rng = Rng::new(6);
    // A `combine` and a `latest` tree.
    let kinds = [5, 7];
    let create = kinds.iter().map(|&kind| Change::Create { id: kind, kind });
    engine.commit(&create.collect::<Vec<_>>()).expect("commits");
    let commit = engine.commit.next();
    let all = kinds.iter().map(|&kind| Change::Rows {
        id: kind,
        rows: rows(kind, &mut rng, commit, 150_000, 1 << 24),
    });
    engine.commit(&all.collect::<Vec<_>>()).expect("commits");
    engine.store.checkpoint().expect("checkpoints");
    for tree in engine.store.snapshot().trees() {
        let [part] = tree.parts() else { unreachable!("one flush makes one part") };
        let probe = rows(tree.spec().id.0, &mut rng, commit, 1, 1 << 24);
        let bytes = bounds(tree, &probe, &mut rng).swap_remove(0);
        for from in [Bound::Unbounded, Bound::Included(bytes)] {
            let range = [KeyRange { from, to: Bound::Unbounded }];
            for reverse in [false, true] {
                // What is read once and kept is not counted.
                read_ranges(tree, &range, 1, reverse).expect("reads");
                let before = media.read.load(Ordering::Relaxed);
                let found = read_ranges(tree, &range, 10, reverse).expect("reads");
                let read = (media.read.load(Ordering::Relaxed) - before) as u64;
                let name = &tree.spec().name;
                assert_eq!(found.rows.num_rows(), 10, "{name}");
                let bytes = part.meta().bytes;
                assert!(read < bytes / 3, "{name}, reverse {reverse}: {read} of {bytes} bytes");
            }
        }
    }
}
