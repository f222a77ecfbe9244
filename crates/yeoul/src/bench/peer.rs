//! A peer on the same events: `bench/peer.py` runs it and prints figures as we do.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Figures, Place};
use crate::arguments::Workload;
use crate::failure::Failure;

/// Who can be measured.
const PEERS: [&str; 3] = ["chdb", "duckdb", "flink"];

/// Runs `workload`, or one query of it, with the peer named `name`.
pub(super) fn run(
    name: &str,
    workload: Workload,
    query: Option<&str>,
    place: &Place,
) -> Result<Figures, Failure> {
    if !PEERS.contains(&name) {
        return Err(Failure::usage(format!(
            "there is no peer \"{name}\"\ndetail: the peers are {}",
            PEERS.join(", ")
        )));
    }
    let script = PathBuf::from("bench/peer.py");
    if !script.exists() {
        return Err(Failure::usage(
            "peers are measured in the folder of the checkout: bench/peer.py is not here",
        ));
    }
    let workload = format!("{workload:?}").to_lowercase();
    let python = place.dir.join("venv/bin/python");
    let output = Command::new(if python.exists() { python } else { "python3".into() })
        .arg(script)
        .args([name, &workload, "--events", &place.events.to_string()])
        .args(["--seed", &place.seed.to_string(), "--dir"])
        .arg(&place.dir)
        .args(query.map(|query| format!("--query={query}")))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "peer \"{name}\" failed at {workload}\nhint: `bench/run.py --setup` installs the peers"
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|e| Failure::new(format!("cannot read \"{line}\": {e}")))
}

/// Ours against theirs: above 1 is better than the peer.
pub(super) fn compare(ours: &Figures, theirs: &Figures) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(a), Some(b)) = (ours.events_per_s, theirs.events_per_s) {
        lines.push(format!("{} {:.2} × {}", ours.workload, a / b, theirs.who));
    }
    for (name, value) in &ours.ms {
        if let (Some(a), Some(b)) = (value.as_f64(), theirs.ms.get(name).and_then(|v| v.as_f64())) {
            lines.push(format!("{} {name} {:.2} × {}", ours.workload, b / a, theirs.who));
        }
    }
    if !ours.check.is_empty() && !theirs.check.is_empty() && ours.check != theirs.check {
        lines.push(format!("the answers differ: {} and {}", ours.check, theirs.check));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_better_for_rates_and_less_for_times() {
        let mut ours = Figures::new("W5", 10);
        ours.took(1.0);
        ours.ms("count", 2.0);
        let mut theirs = Figures { who: "duckdb".into(), ..Figures::new("W5", 10) };
        theirs.took(2.0);
        theirs.ms("count", 1.0);
        assert_eq!(compare(&ours, &theirs), ["W5 2.00 × duckdb", "W5 count 0.50 × duckdb"]);
    }
}
