//! `yeoul bench`: the workloads of `bench/README.md`, measured.
//!
//! ```text
//!   batch    W1 to W5      an engine in this process, events from a file
//!   outgrow  W10           the same, with more state than memory
//!   served   W8 W9 idle    a child `yeoul run`, events over HTTP, questions over the Postgres wire
//!   fresh    W7 W11        the same, and how soon an event is in an answer
//!   topic    W12           the same from a Kafka broker that runs beside
//!   peer                   the same file through another program, in the same call
//! ```
//!
//! A figure without another one beside it says little: `bench/run.py` runs these and the peers in turn
//! and prints ratios.

mod auctions;
mod batch;
mod child;
mod events;
mod fresh;
mod hold;
mod meter;
mod nexmark;
mod outgrow;
mod peer;
mod queries;
mod served;
mod tables;
mod topic;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::arguments::{BenchArguments, Workload};
use crate::demo::screen::grouped;
use crate::failure::{Exit, Failure};
use crate::say::say;

/// What was measured. Fields that a workload does not have are left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// The workload: "W2".
    workload: String,
    /// Who did it: "yeoul", "duckdb-1.4".
    who: String,
    /// Events or rows.
    events: u64,
    /// Wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// Events in a second of wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    events_per_s: Option<f64>,
    /// Processor time.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_s: Option<f64>,
    /// The most memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_mib: Option<u64>,
    /// Bytes on disk per row at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_row: Option<f64>,
    /// Named times in milliseconds: queries, percentiles.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    ms: serde_json::Map<String, serde_json::Value>,
    /// What the answer was, to be compared with that of the peer.
    #[serde(skip_serializing_if = "String::is_empty")]
    check: String,
    /// Why it was not measured: the message with which its view was refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    refused: String,
    /// The topic that was read, for the peers.
    #[serde(skip_serializing_if = "String::is_empty")]
    topic: String,
    /// Anything else.
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
}

impl Figures {
    fn new(workload: &str, events: u64) -> Self {
        Self { workload: workload.into(), who: "yeoul".into(), events, ..Self::default() }
    }

    fn took(&mut self, seconds: f64) {
        self.seconds = Some(round(seconds, 3));
        self.events_per_s = Some((self.events as f64 / seconds).round());
    }

    fn ms(&mut self, name: &str, value: f64) {
        self.ms.insert(name.to_owned(), round(value, 3).into());
    }

    /// One line for people.
    fn line(&self) -> String {
        let mut parts = vec![format!("{:<5} {:<14}", self.workload, self.who)];
        if let (Some(rate), Some(seconds)) = (self.events_per_s, self.seconds) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
            parts.push(format!("{:>12}/s in {seconds} s", grouped(rate as u64)));
        }
        if let Some(cpu_s) = self.cpu_s {
            parts.push(format!("cpu {cpu_s:.1} s"));
        }
        if let Some(mib) = self.peak_mib {
            parts.push(format!("peak {mib} MiB"));
        }
        if let Some(bytes) = self.bytes_per_row {
            parts.push(format!("{bytes:.1} bytes/row"));
        }
        for (name, value) in &self.ms {
            parts.push(format!("{name} {value} ms"));
        }
        if !self.refused.is_empty() {
            parts.push(format!("refused: {}", self.refused));
        }
        for text in [&self.check, &self.note] {
            if !text.is_empty() {
                parts.push(text.clone());
            }
        }
        parts.join("  ")
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// Where events and scratch data are kept.
fn folder(arguments: &BenchArguments) -> Result<PathBuf, Failure> {
    let dir = arguments.dir.clone().or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".cache").join("yeoul-bench"))
    });
    let dir = dir.ok_or_else(|| Failure::usage("say with --dir where events may be kept"))?;
    std::fs::create_dir_all(&dir).map_err(|e| Failure::file("create", &dir, &e))?;
    Ok(dir)
}

/// Runs the command.
pub(crate) fn run(arguments: &BenchArguments) -> Result<Exit, Failure> {
    let dir = folder(arguments)?;
    let place = Place { dir, events: arguments.events.max(1), seed: arguments.seed };
    if arguments.query.is_some() && arguments.workload != Workload::W3 {
        return Err(Failure::usage("--query chooses one of the queries of w3"));
    }
    let ours = match arguments.workload {
        Workload::W1 => batch::w1(&place)?,
        Workload::W2 => batch::w2(&place)?,
        Workload::W3 => {
            for query in nexmark::chosen(arguments.query.as_deref())? {
                beside(arguments, &place, &nexmark::w3(&place, query)?, Some(query.name))?;
            }
            return Ok(Exit::Success);
        }
        Workload::W4 => batch::w4(&place)?,
        Workload::W5 => queries::w5(&place)?,
        Workload::W7 => fresh::w7(&place)?,
        Workload::W8 => {
            let way = match (&arguments.brokers, arguments.wire) {
                (Some(brokers), _) => hold::Way::Brokers(brokers.clone()),
                (None, true) => hold::Way::Wire,
                (None, false) => hold::Way::Http,
            };
            hold::w8(&place, &way)?
        }
        Workload::W9 => served::w9(&place)?,
        Workload::W10 => {
            for figures in [outgrow::groups(&place)?, outgrow::sides(&place)?] {
                beside(arguments, &place, &figures, None)?;
            }
            return Ok(Exit::Success);
        }
        Workload::W11 => fresh::w11(&place)?,
        Workload::W12 => {
            let brokers = arguments.brokers.as_deref();
            let brokers = brokers.ok_or_else(|| {
                Failure::usage("w12 reads from Kafka: say where with --brokers HOST:PORT")
            })?;
            for figures in topic::w12(&place, brokers)? {
                beside(arguments, &place, &figures, None)?;
            }
            return Ok(Exit::Success);
        }
        Workload::Idle => served::idle(&place)?,
        Workload::Events => {
            say!("{}", events::shop_file(&place.dir, place.seed, place.events)?.display());
            return Ok(Exit::Success);
        }
        Workload::NexmarkEvents => {
            let (events, side_input) = events::auctions_file(&place.dir, place.seed, place.events)?;
            say!("{}\n{}", events.display(), side_input.display());
            return Ok(Exit::Success);
        }
    };
    beside(arguments, &place, &ours, None)?;
    Ok(Exit::Success)
}

/// Shows our figures, and those of the peer that was asked for.
fn beside(
    arguments: &BenchArguments,
    place: &Place,
    ours: &Figures,
    query: Option<&str>,
) -> Result<(), Failure> {
    show(ours, arguments.json)?;
    if let Some(name) = &arguments.peer {
        let theirs = peer::run(name, arguments.workload, query, place)?;
        show(&theirs, arguments.json)?;
        if !arguments.json {
            for line in peer::compare(ours, &theirs) {
                say!("{line}");
            }
        }
    }
    Ok(())
}

fn show(figures: &Figures, json: bool) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string(figures).map_err(|e| Failure::new(e.to_string()))?;
        say!("{text}");
    } else {
        say!("{}", figures.line());
    }
    Ok(())
}

/// What a workload is run with.
#[derive(Clone, Debug)]
struct Place {
    dir: PathBuf,
    events: u64,
    seed: u64,
}

impl Place {
    /// An empty folder for data, under a name of its own.
    fn fresh(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|e| Failure::file("remove", &path, &e))?;
        }
        Ok(path)
    }
}
