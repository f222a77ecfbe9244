//! How fast the duplicate index is with an hour of keys at 100,000 per second, and what it holds, by hand:
//! `cargo test --release -p yeoul-store --test it -- --ignored --nocapture measure_duplicates`.
//! `YEOUL_KEYS` is the number of keys (420 million when not set, of which 360 million are remembered).
//!
//! Every answer is checked: a key is the mix of a number, and one in 50 is of an earlier number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use yeoul_store::{DiskMedia, Seen, SeenFolder, SeenOptions, Spawn, Urgency};

use crate::measure::Folder;
use crate::world::Rng;

const HOUR_US: i64 = 3_600_000_000;
const BATCH: u64 = 65_536;
/// What 100,000 keys per second are apart.
const KEY_US: i64 = 10;
const TOLD_EVERY: u64 = 30_000_000;

fn key(number: u64) -> u128 {
    let half = |salt: u64| {
        let mut x = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt;
        for _ in 0..3 {
            x = (x ^ (x >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        }
        u128::from(x ^ (x >> 32))
    };
    half(1) << 64 | half(2)
}

fn status_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a known field");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") / 1024
}

/// Two threads, as the engine has them.
fn workers() -> Spawn {
    let worker = || {
        let (sender, jobs) = unbounded::<Box<dyn FnOnce() + Send>>();
        std::thread::spawn(move || jobs.iter().for_each(|job| job()));
        sender
    };
    let (soon, later) = (worker(), worker());
    Arc::new(move |urgency, job| {
        let sender = if urgency == Urgency::Soon { &soon } else { &later };
        sender.send(job).expect("the thread lives");
    })
}

/// One batch: new numbers from `next` on, some of them replaced by numbers of the last hour. Which are,
/// is in the second list.
fn batch(rng: &mut Rng, next: u64) -> (Vec<u128>, Vec<bool>) {
    let mut numbers: Vec<(u64, bool)> = (next..next + BATCH).map(|n| (n, false)).collect();
    let oldest = next.saturating_sub(HOUR_US.cast_unsigned() / KEY_US.cast_unsigned() - 2 * BATCH);
    if next > BATCH {
        for at in numbers.iter_mut().step_by(50) {
            // Not of those that were replaced themselves.
            let earlier = oldest + rng.below(next - oldest);
            let of_batch = earlier % BATCH;
            *at = (if of_batch.is_multiple_of(50) { earlier + 1 } else { earlier }, true);
        }
    }
    numbers.into_iter().map(|(number, repeated)| (key(number), repeated)).unzip()
}

fn checkpoint(seen: &mut Seen) {
    seen.begin_checkpoint().expect("begins");
    while seen.checkpoint_runs().expect("writes").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    seen.end_checkpoint();
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::cast_precision_loss, reason = "a measurement for people")]
fn measure_duplicates() {
    let total = std::env::var("YEOUL_KEYS").map_or(420_000_000, |n| n.parse().expect("a number"));
    let folder = Folder::new("duplicates");
    let media = Arc::new(DiskMedia::open(folder.path()).expect("a folder"));
    let seen = SeenFolder::open(media, workers(), &[]).expect("opens");
    let mut seen = seen.index(SeenOptions::new(1, HOUR_US)).expect("opens");
    let mut rng = Rng::new(5);
    let (mut answers, mut spent, mut worst) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    let (mut next, mut told) = (0, 0);
    let before = status_mib("VmRSS");
    while next < total {
        let (keys, repeated) = batch(&mut rng, next);
        let begun = Instant::now();
        let now_us = next.cast_signed() * KEY_US;
        seen.probe_and_insert(&keys, now_us, &mut answers).expect("answers");
        spent += begun.elapsed();
        worst = worst.max(begun.elapsed());
        assert!(answers == repeated, "a wrong answer among the keys from {next} on");
        next += BATCH;
        // As the engine does: every few seconds of events.
        if next % (BATCH * 64) == 0 {
            let begun = Instant::now();
            checkpoint(&mut seen);
            spent += begun.elapsed();
        }
        if next - told >= TOLD_EVERY || next >= total {
            let rate = (next - told) as f64 / 1e6 / spent.as_secs_f64();
            let stats = seen.stats();
            let rss = status_mib("VmRSS").saturating_sub(before);
            println!(
                "{:3} M keys: {rate:.2} M/s, slowest batch {worst:.0?}, {rss} MiB resident, {} MiB counted, \
                 {} runs, filters of {} bits or more, {} pages read, {} MiB on disk",
                next / 1_000_000,
                stats.memory_bytes >> 20,
                stats.runs,
                stats.filter_bits,
                stats.pages_read,
                stats.disk_bytes >> 20,
            );
            (told, spent, worst) = (next, Duration::ZERO, Duration::ZERO);
        }
    }
}
