//! What to merge: a pure decision over the list of runs.
//!
//! Runs are in the order of their age and only neighbours are merged, so that a run covers a
//! stretch of time. Four neighbours of about the same size become one, until a run covers an
//! eighth of the horizon: then it waits for its age to remove it whole. A key is written about once per factor of
//! four, and there are about a dozen runs (eight full ones and a few of each smaller size).

use std::ops::Range;

/// So many neighbours of one size are merged, and at most twice as many.
const FAN_IN: usize = 4;
/// What a merge writes is at least this many times its largest input: it bounds how often a key
/// is written again.
const GROWTH: u64 = 3;
/// With more runs than this the two smallest neighbours are merged, whatever they cover.
const RUNS_MAX: usize = 24;
/// A merged run covers at most this part of the horizon.
const SPANS_PER_HORIZON: i64 = 8;
/// Times in a run are 32-bit milliseconds (49 days).
const SPAN_MS_MAX: i64 = u32::MAX as i64;

/// What the decision is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) keys: u64,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    /// Whether a merge may not join it with the run before it: a checkpoint lies between.
    pub(super) barred: bool,
}

/// Which neighbours to merge next, if any.
pub(super) fn plan(runs: &[Candidate], within_ms: i64) -> Option<Range<usize>> {
    let span_max = (within_ms / SPANS_PER_HORIZON).clamp(1, SPAN_MS_MAX);
    (0..=tier(u64::MAX)).find_map(|t| same_size(runs, t, span_max)).or_else(|| {
        let crowded = runs.len() > RUNS_MAX;
        crowded.then(|| smallest_pair(runs)).flatten()
    })
}

/// Sizes by powers of four.
fn tier(keys: u64) -> u32 {
    (keys / 1024).checked_ilog2().map_or(0, |log| log / 2 + 1)
}

/// The oldest stretch of at least [`FAN_IN`] neighbours up to tier `t` within the span.
fn same_size(runs: &[Candidate], t: u32, span_max: i64) -> Option<Range<usize>> {
    let mut start = 0;
    while start < runs.len() {
        let mut end = start;
        while end < runs.len()
            && tier(runs[end].keys) <= t
            && end - start < 2 * FAN_IN
            && (end == start || !runs[end].barred)
            && span_ms(&runs[start..=end]) <= span_max
        {
            end += 1;
        }
        let inputs = &runs[start..end];
        let largest = inputs.iter().map(|r| r.keys).max().unwrap_or(0);
        let all: u64 = inputs.iter().map(|r| r.keys).sum();
        if inputs.len() >= FAN_IN && all >= GROWTH * largest {
            return Some(start..end);
        }
        start += 1;
    }
    None
}

fn smallest_pair(runs: &[Candidate]) -> Option<Range<usize>> {
    (1..runs.len())
        .filter(|&i| !runs[i].barred && span_ms(&runs[i - 1..=i]) <= SPAN_MS_MAX)
        .min_by_key(|&i| runs[i - 1].keys + runs[i].keys)
        .map(|i| i - 1..i + 1)
}

fn span_ms(runs: &[Candidate]) -> i64 {
    let from = runs.iter().map(|r| r.from_ms).min().unwrap_or(0);
    let to = runs.iter().map(|r| r.to_ms).max().unwrap_or(0);
    to - from
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets time pass with one new run per step, and reports how many runs there were at most and
    /// how often a key was written.
    fn simulate(keys: u64, step_ms: i64, within_ms: i64, steps: i64) -> (usize, f64) {
        let mut runs: Vec<Candidate> = Vec::new();
        let (mut most, mut written) = (0, 0u64);
        for step in 0..steps {
            let now = step * step_ms;
            runs.retain(|r| r.to_ms > now - within_ms);
            runs.push(Candidate { keys, from_ms: now - step_ms, to_ms: now, barred: false });
            written += keys;
            while let Some(range) = plan(&runs, within_ms) {
                let merged = Candidate {
                    keys: runs[range.clone()].iter().map(|r| r.keys).sum(),
                    from_ms: runs[range.start].from_ms,
                    to_ms: runs[range.end - 1].to_ms,
                    barred: false,
                };
                written += merged.keys;
                runs.splice(range, [merged]);
            }
            most = most.max(runs.len());
        }
        (most, written as f64 / (keys * u64::try_from(steps).unwrap()) as f64)
    }

    #[test]
    fn runs_stay_few_and_keys_are_seldom_rewritten() {
        let hour = 3_600_000;
        for (keys, step_ms, within) in [
            (1 << 20, 10_000, hour),
            (1 << 20, 1000, hour),
            (50, 60_000, hour),
            (5000, 60_000, 24 * hour),
            (1 << 20, 10_000, 15_000),
            (1 << 20, 10_000, 2000 * hour),
            (300, 1, hour),
        ] {
            let (most, rewritten) = simulate(keys, step_ms, within, 5000);
            assert!(most <= RUNS_MAX, "{keys} keys each {step_ms} ms: {most} runs");
            assert!(rewritten < 8.0, "{keys} keys each {step_ms} ms: written {rewritten} times");
        }
    }

    #[test]
    fn never_joins_across_a_checkpoint() {
        let run = |barred| Candidate { keys: 10, from_ms: 0, to_ms: 1, barred };
        let runs = [run(false), run(false), run(true), run(false), run(false)];
        assert_eq!(plan(&runs, 1_000_000), None);
        let more: Vec<Candidate> = (0..40).map(|i| run(i % 2 == 0)).collect();
        assert_eq!(plan(&more, 1_000_000), Some(0..2));
        assert_eq!(plan(&vec![run(true); 40], 1_000_000), None);
    }
}
