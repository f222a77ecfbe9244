//! The index against a plain map with times, over failing disks and reopenings.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::format::{Head, PAGE_LEN};
use super::job::Done;
use super::run::{Cursor, Run, RunWriter};
use super::{Seen, SeenFolder, SeenOptions, Spawn};
use crate::manifest::SeenRunMeta;
use crate::{Fault, Media, StoreError, TrialMedia};

/// Seeded numbers (splitmix64, S. Vigna).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn key(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// Key number n as a hash.
fn key(n: u64) -> u128 {
    Random::new(n).key()
}

/// Work is done at once, on the calling thread.
fn at_once() -> Spawn {
    Arc::new(|_, work| work())
}

/// Work is done by a thread per piece.
fn on_threads() -> Spawn {
    Arc::new(|_, work| drop(std::thread::spawn(work)))
}

fn options() -> SeenOptions {
    SeenOptions { stream: 7, within_us: 5_000_000, memory_bytes: 1_000_000, table_keys: 300 }
}

/// The slow obvious twin: every key with the time of its last acceptance.
#[derive(Clone, Default)]
struct Twin {
    accepted: HashMap<u128, i64>,
    clock_ms: i64,
}

impl Twin {
    fn probe_and_insert(&mut self, keys: &[u128], now_us: i64, within_ms: i64) -> Vec<bool> {
        self.clock_ms = self.clock_ms.max(now_us.div_euclid(1000));
        let answer = |key: &u128| match self.accepted.get(key) {
            Some(t) if self.clock_ms - t < within_ms => true,
            _ => {
                self.accepted.insert(*key, self.clock_ms);
                false
            }
        };
        keys.iter().map(answer).collect()
    }
}

impl Twin {
    fn knows(&self, key: u128, now_us: i64, within_ms: i64) -> bool {
        let clock_ms = self.clock_ms.max(now_us.div_euclid(1000));
        self.accepted.get(&key).is_some_and(|t| clock_ms - t < within_ms)
    }
}

/// A store in small: an index, its manifest, and the log of what was committed.
struct Trial {
    media: TrialMedia,
    spawn: Spawn,
    options: SeenOptions,
    manifest: Vec<SeenRunMeta>,
    /// Commits behind the manifest: accepted keys and time.
    log: Vec<(Vec<u128>, i64)>,
    seen: Seen,
    twin: Twin,
}

impl Trial {
    fn new(media: TrialMedia, spawn: Spawn, options: SeenOptions) -> Result<Self, StoreError> {
        let shared: Arc<dyn Media> = Arc::new(media.clone());
        let folder = SeenFolder::open(shared, Arc::clone(&spawn), &[])?;
        let seen = folder.index(options.clone())?;
        let (manifest, log, twin) = (Vec::new(), Vec::new(), Twin::default());
        Ok(Self { media, spawn, options, manifest, log, seen, twin })
    }

    fn commit(&mut self, keys: &[u128], now_us: i64) -> Result<(), StoreError> {
        if let Some(first) = keys.first() {
            let known = self.twin.knows(*first, now_us, self.seen.within_ms);
            assert_eq!(self.seen.knows(*first, now_us)?, known, "at {now_us}");
        }
        let mut found = Vec::new();
        self.seen.probe_and_insert(keys, now_us, &mut found)?;
        let expected = self.twin.probe_and_insert(keys, now_us, self.seen.within_ms);
        assert_eq!(found, expected, "at {now_us}");
        let accepted = keys.iter().zip(&found).filter(|(_, d)| !**d).map(|(k, _)| *k).collect();
        self.log.push((accepted, now_us));
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.seen.begin_checkpoint()?;
        let at = self.log.len();
        self.finish_checkpoint(at)
    }

    /// The manifest becomes durable: the log up to `at` is no longer needed.
    fn finish_checkpoint(&mut self, at: usize) -> Result<(), StoreError> {
        self.manifest = self.seen.wait_checkpoint_runs()?;
        self.log.drain(..at);
        self.seen.end_checkpoint();
        Ok(())
    }

    /// Opens again from the manifest and replays the log.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let media: Arc<dyn Media> = Arc::new(self.media.clone());
        let folder = SeenFolder::open(media, Arc::clone(&self.spawn), &self.manifest)?;
        self.seen = folder.index(self.options.clone())?;
        for (keys, now_us) in &self.log {
            self.seen.insert(keys, *now_us)?;
        }
        // The engine's clock goes on where it stood.
        self.seen.insert(&[], self.twin.clock_ms.saturating_mul(1000))
    }

    /// Exactly the files that are asked or named exist, once all work is done.
    fn check_files(&mut self) {
        while self.seen.flushing || self.seen.tending {
            self.seen.poll().unwrap();
        }
        let files = self.media.list("seen").unwrap();
        let mut known: Vec<String> = self
            .seen
            .runs
            .iter()
            .map(|l| l.run.meta.number)
            .chain(self.manifest.iter().map(|r| r.number))
            .map(|n| format!("{n}.run"))
            .collect();
        known.sort_unstable();
        known.dedup();
        assert_eq!(files, known);
    }
}

fn random_keys(random: &mut Random, most: u64, pool: u64) -> Vec<u128> {
    (0..random.below(most)).map(|_| key(random.below(pool))).collect()
}

#[test]
fn equals_a_map_with_times() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let spawn = if seed % 3 == 0 { on_threads() } else { at_once() };
        let mut trial = Trial::new(TrialMedia::new(seed), spawn, options()).unwrap();
        let mut now_us = 1_700_000_000_000_000i64;
        let pool = [500, 4000, 40_000][usize::try_from(seed % 3).unwrap()];
        for _ in 0..250 {
            // Mostly forwards, sometimes a jump, sometimes back.
            now_us += match random.below(40) {
                0 => -3_000_000,
                1 => 4_999_000,
                _ => i64::try_from(random.below(60_000)).unwrap(),
            };
            // Large batches are answered in another order.
            let most = if random.below(8) == 0 { 4000 } else { 300 };
            let keys = random_keys(&mut random, most, pool);
            trial.commit(&keys, now_us).unwrap();
            match random.below(25) {
                0 => trial.checkpoint().unwrap(),
                1 => trial.reopen().unwrap(),
                _ => {}
            }
        }
        if seed % 3 != 0 {
            trial.check_files();
            assert!(trial.seen.stats().runs <= 25, "seed {seed}: {:?}", trial.seen);
        }
    }
}

/// Between an index and what its work reports: of a merge it hears one thing at a time.
struct Trickle {
    reports: Receiver<Result<Done, StoreError>>,
    of_merges: VecDeque<Result<Done, StoreError>>,
    index: Sender<Result<Done, StoreError>>,
}

impl Trickle {
    fn new(seen: &mut Seen) -> Self {
        let (index, receiver) = unbounded();
        let reports = std::mem::replace(&mut seen.receiver, receiver);
        Self { reports, of_merges: VecDeque::new(), index }
    }

    /// Passes on one report of a merge, and all of flushes: the index would wait for them.
    fn step(&mut self, seen: &mut Seen) {
        loop {
            for report in self.reports.try_iter() {
                match report {
                    Ok(Done::Rising(_) | Done::Merged { .. }) => self.of_merges.push_back(report),
                    other => self.index.send(other).unwrap(),
                }
            }
            seen.poll().unwrap();
            if seen.frozen.is_empty() {
                break;
            }
        }
        self.of_merges.pop_front().into_iter().for_each(|one| self.index.send(one).unwrap());
    }
}

#[test]
fn answers_are_right_while_runs_are_merged_part_by_part() {
    for (seed, memory_bytes) in [(0, 1_000_000), (1, 60_000), (2, 30_000)] {
        let options = SeenOptions { memory_bytes, within_us: 60_000_000, ..options() };
        let mut trial = Trial::new(TrialMedia::new(seed), at_once(), options).unwrap();
        let mut trickle = Trickle::new(&mut trial.seen);
        let mut random = Random::new(seed);
        let mut while_rising = 0;
        for step in 0..600 {
            trickle.step(&mut trial.seen);
            let most = if step % 8 == 0 { 1500 } else { 150 };
            let keys = random_keys(&mut random, most, 40_000);
            trial.commit(&keys, 1_000_000_000 + step * 200_000).unwrap();
            while_rising += usize::from(trial.seen.rising.is_some());
        }
        assert!(while_rising > 100, "seed {seed}: {while_rising} steps");
    }
}

#[test]
fn the_edge_of_the_horizon_is_exact() {
    let mut trial = Trial::new(TrialMedia::new(0), at_once(), options()).unwrap();
    let mut found = Vec::new();
    let ask = |trial: &mut Trial, at_us: i64, found: &mut Vec<bool>| {
        trial.seen.probe_and_insert(&[key(1), key(1)], at_us, found).unwrap();
        found.clone()
    };
    let start = 1_000_000_000_000i64;
    assert_eq!(ask(&mut trial, start, &mut found), [false, true]);
    trial.checkpoint().unwrap();
    // A duplicate does not prolong.
    assert_eq!(ask(&mut trial, start + 4_999_999, &mut found), [true, true]);
    assert_eq!(ask(&mut trial, start + 5_000_000, &mut found), [false, true]);
    assert_eq!(ask(&mut trial, start + 9_999_999, &mut found), [true, true]);
    assert_eq!(ask(&mut trial, start + 10_000_000, &mut found), [false, true]);
}

#[test]
fn a_checkpoint_holds_what_came_before_it_and_nothing_else() {
    let media = TrialMedia::new(1);
    let mut trial = Trial::new(media, at_once(), options()).unwrap();
    let now = 1_000_000_000i64;
    let before: Vec<u128> = (0..1000).map(key).collect();
    let after: Vec<u128> = (1000..5000).map(key).collect();
    before.chunks(100).for_each(|keys| trial.commit(keys, now).unwrap());
    trial.seen.begin_checkpoint().unwrap();
    let at = trial.log.len();
    // Enough to freeze and merge tables while the checkpoint is under way.
    after.chunks(100).for_each(|keys| trial.commit(keys, now).unwrap());
    trial.finish_checkpoint(at).unwrap();
    // The commits after the checkpoint were never durable: their keys are new again.
    trial.log.clear();
    trial.reopen().unwrap();
    let mut found = Vec::new();
    trial.seen.probe_and_insert(&before, now, &mut found).unwrap();
    assert!(found.iter().all(|d| *d));
    trial.seen.probe_and_insert(&after, now, &mut found).unwrap();
    assert!(found.iter().all(|d| !*d));
}

#[test]
fn stays_right_with_hardly_any_memory() {
    for memory_bytes in [0, 30_000, 44_000] {
        let options = SeenOptions { memory_bytes, within_us: 60_000_000, ..options() };
        let mut trial = Trial::new(TrialMedia::new(3), at_once(), options).unwrap();
        let mut random = Random::new(3);
        for step in 0..150 {
            let keys = random_keys(&mut random, 300, 30_000);
            trial.commit(&keys, 1_000_000_000 + step * 100_000).unwrap();
        }
        let stats = trial.seen.stats();
        assert!(stats.filter_bits < 12, "{stats:?}");
        // It gives up bits step by step. Fences and segments stay.
        (0..200).for_each(|_| trial.seen.poll().unwrap());
        let (bytes, most) = (trial.seen.run_bytes(), trial.seen.run_bytes_max());
        assert!(bytes <= most.max(7000), "{memory_bytes}: {bytes} of {most}");
    }
}

/// Commits, checkpoints and reopenings until something fails.
fn run_until_failure(trial: &mut Trial, seed: u64, steps: i64) -> Result<(), StoreError> {
    let mut random = Random::new(seed);
    let start = trial.twin.clock_ms.max(1_000_000) * 1000;
    for step in 0..steps {
        let keys = random_keys(&mut random, 200, 3000);
        trial.commit(&keys, start + step * 120_000)?;
        if step % 7 == 6 {
            trial.checkpoint()?;
        }
        if step % 23 == 22 {
            trial.reopen()?;
        }
    }
    Ok(())
}

#[test]
fn survives_a_fault_at_every_operation() {
    let steps = 60;
    let plain = TrialMedia::new(0);
    let mut trial = Trial::new(plain.clone(), at_once(), options()).unwrap();
    run_until_failure(&mut trial, 5, steps).unwrap();
    let operations = plain.operations();
    assert!(operations > 60, "{operations} operations are too few to try");
    for operation in 1..=operations {
        for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::ShortWrite] {
            let media = TrialMedia::new(operation);
            media.fail_at(operation, fault);
            let Ok(mut trial) = Trial::new(media.clone(), at_once(), options()) else { continue };
            let Err(_) = run_until_failure(&mut trial, 5, steps) else { continue };
            trial.media = media.after_crash();
            trial.reopen().unwrap_or_else(|e| panic!("{fault:?} at {operation}: {e}"));
            // The twin has the commits that succeeded and no others.
            run_until_failure(&mut trial, 6, 10)
                .unwrap_or_else(|e| panic!("{fault:?} at {operation}: {e}"));
        }
    }
}

#[test]
fn damage_is_noticed() {
    let mut trial = Trial::new(TrialMedia::new(9), at_once(), options()).unwrap();
    let keys: Vec<u128> = (0..2500).map(key).collect();
    keys.chunks(250).for_each(|k| trial.commit(k, 1_000_000_000).unwrap());
    trial.checkpoint().unwrap();
    trial.log.clear();
    let number = trial.manifest[0].number;
    let file = format!("seen/{number}.run");
    let bytes = trial.media.read(&file).unwrap();
    let mut noticed_late = 0;
    for at in (0..bytes.len()).step_by(397) {
        let mut wrong = bytes.to_vec();
        wrong[at] ^= 0x10;
        trial.media.create(&file).unwrap().append(&wrong).unwrap();
        match trial.reopen() {
            Err(StoreError::Corrupt { path, .. }) => assert_eq!(path, file),
            Err(StoreError::Newer { .. }) => {}
            Err(other) => panic!("byte {at}: {other}"),
            Ok(()) => {
                // Only a page of keys is read later.
                let mut found = Vec::new();
                let answer = trial.seen.probe_and_insert(&keys, 1_000_000_000, &mut found);
                assert!(matches!(answer, Err(StoreError::Corrupt { .. })), "byte {at}");
                let again = trial.seen.probe_and_insert(&keys, 1_000_000_000, &mut found);
                assert!(matches!(again, Err(StoreError::Poisoned(_))), "byte {at}");
                noticed_late += 1;
            }
        }
    }
    assert!(noticed_late > 5);
}

#[test]
fn removing_the_index_removes_its_files() {
    let mut trial = Trial::new(TrialMedia::new(2), at_once(), options()).unwrap();
    (0..40).for_each(|n| trial.commit(&[key(n), key(n + 1)], 1_000_000).unwrap());
    trial.checkpoint().unwrap();
    assert_eq!(trial.media.list("seen").unwrap().len(), 1);
    trial.seen.remove_all().unwrap();
    assert_eq!(trial.media.list("seen").unwrap(), Vec::<String>::new());
}

const BASE_MS: i64 = 1_700_000_000_000;

/// A media with run 1: `count` keys, each accepted 7 ms after the one before.
fn one_run(count: u64) -> (TrialMedia, SeenRunMeta) {
    let media = TrialMedia::new(0);
    media.create_dir("seen").unwrap();
    let shared: Arc<dyn Media> = Arc::new(media.clone());
    let head = Head { stream: 7, base_ms: BASE_MS };
    let mut writer = RunWriter::create(&shared, 1, head, count, 8).unwrap();
    let mut keys: Vec<_> = (0..count).map(|n| (key(n), BASE_MS + n.cast_signed() * 7)).collect();
    keys.sort_unstable();
    keys.iter().for_each(|&(key, at_ms)| writer.push(key, at_ms).unwrap());
    let (run, _) = writer.finish().unwrap().unwrap();
    (media, run.meta)
}

#[test]
fn version_1_is_read() {
    let bytes =
        crate::fixture("seen.v1.run", || one_run(500).0.read("seen/1.run").unwrap().to_vec());
    let meta = SeenRunMeta {
        number: 1,
        from_us: BASE_MS * 1000,
        to_us: (BASE_MS + 499 * 7) * 1000,
        keys: 500,
        bytes: bytes.len() as u64,
    };
    let media = TrialMedia::new(0);
    media.put("seen/1.run", bytes);
    let folder = SeenFolder::open(Arc::new(media), at_once(), &[meta]).unwrap();
    let mut seen = folder.index(options()).unwrap();
    // Key 250 is just as old as the horizon, so what came after it is known.
    let now_us = (BASE_MS + 250 * 7) * 1000 + options().within_us;
    let mut found = Vec::new();
    seen.probe_and_insert(&(0..600).map(key).collect::<Vec<_>>(), now_us, &mut found).unwrap();
    let known: Vec<bool> = (0..600).map(|n| (251..500).contains(&n)).collect();
    assert_eq!(found, known);
}

/// Reads a whole run, as a merge does.
fn read_through(media: &TrialMedia, meta: &SeenRunMeta) -> Result<u64, StoreError> {
    let media: Arc<dyn Media> = Arc::new(media.clone());
    let (run, _) = Run::open(&media, meta, 7)?;
    let mut cursor = Cursor::new(Arc::new(run))?;
    let mut keys = 0;
    while cursor.current().is_some() {
        keys += 1;
        cursor.advance()?;
    }
    Ok(keys)
}

#[test]
fn a_run_that_contradicts_itself_is_refused_whatever_its_checksums_say() {
    let (media, meta) = one_run(300);
    assert_eq!(read_through(&media, &meta).unwrap(), 300);
    let run = media.read("seen/1.run").unwrap().to_vec();
    let (page_0, page_1, foot) = (PAGE_LEN, 2 * PAGE_LEN, run.len() - 96);
    let (times, key_96) = (16 + 204 * 16, 16 + 96 * 16);
    let first_of_page_0: Vec<u8> = run[page_0 + 16..][..16].to_vec();
    // Where, which bytes instead, the checksum to put right and what it is of.
    type Case<'a> = (&'a str, usize, &'a [u8], usize, std::ops::Range<usize>);
    let cases: [Case<'_>; 9] = [
        ("version", 8, &[0], 12, 16..PAGE_LEN),
        ("zeros of the head", 20, &[1], 12, 16..PAGE_LEN),
        ("base", 24, &(BASE_MS + 1).to_le_bytes(), 12, 16..PAGE_LEN),
        ("keys in order", page_0 + 32, &first_of_page_0, page_0, page_0 + 4..page_1),
        ("keys over pages", page_1 + 16, &first_of_page_0, page_1, page_1 + 4..page_1 + PAGE_LEN),
        ("count", page_1 + 8, &[95], page_1, page_1 + 4..page_1 + PAGE_LEN),
        ("zeros of a page", page_1 + key_96, &[1], page_1, page_1 + 4..page_1 + PAGE_LEN),
        ("time", page_0 + times + 40, &[255; 4], page_0, page_0 + 4..page_1),
        ("zeros of the foot", foot + 60, &[1], foot, foot + 8..run.len()),
    ];
    for (what, at, bytes, checksum_at, checked) in cases {
        let mut wrong = run.clone();
        wrong[at..at + bytes.len()].copy_from_slice(bytes);
        let checksum = crc32c::crc32c(&wrong[checked]);
        wrong[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
        media.put("seen/1.run", wrong);
        let answer = read_through(&media, &meta);
        assert!(matches!(answer, Err(StoreError::Corrupt { .. })), "{what}: {answer:?}");
    }
}
