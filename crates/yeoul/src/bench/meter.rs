//! What a process has used: processor time and memory, from `/proc`. Zeros where there is none.

use std::fs;
use std::path::Path;

/// Clock ticks of `/proc/PID/stat` to a second: 100 on every Linux one can install.
const TICKS_PER_S: f64 = 100.0;

/// A process to be measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    pid: u32,
}

impl Meter {
    /// This process.
    pub(super) fn own() -> Self {
        Self { pid: std::process::id() }
    }

    /// Another one.
    pub(super) fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Processor seconds used so far, in the program and in the system for it.
    pub(super) fn cpu_s(self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name may hold anything, but it ends with the last bracket.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 =
            rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        ticks as f64 / TICKS_PER_S
    }

    /// Memory now, in MiB.
    pub(super) fn resident_mib(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory since [`Meter::forget_peak`], in MiB.
    pub(super) fn peak_mib(self) -> u64 {
        self.status("VmHWM:")
    }

    /// The peak is what is used now.
    pub(super) fn forget_peak(self) {
        let _ = fs::write(format!("/proc/{}/clear_refs", self.pid), "5");
    }

    fn status(self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.unwrap_or_default() / 1024
    }
}

/// The bytes of all files in a folder.
pub(super) fn folder_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_something() {
        let meter = Meter::own();
        assert!(meter.resident_mib() > 0);
        assert!(meter.peak_mib() >= meter.resident_mib());
        assert!(meter.cpu_s() >= 0.0);
    }

    #[test]
    fn folders_are_added_up() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("a")).expect("creates");
        fs::write(dir.path().join("a/b"), [0; 10]).expect("writes");
        fs::write(dir.path().join("c"), [0; 5]).expect("writes");
        assert_eq!(folder_bytes(dir.path()), 15);
    }
}
