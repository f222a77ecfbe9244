//! `yeoul dead-letters`: what could not be decoded, from a running instance and back to it.
//!
//! ```text
//!   list, export ◀── GET /v1/dead-letters/{stream}          a person mends "raw"
//!   replay ────────▶ POST /v1/dead-letters/{stream}/replay  each letter at most once
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::arguments::{DeadLettersArguments, LetterAction};
use crate::demo::screen::grouped;
use crate::failure::{Exit, Failure};
use crate::say::say;
use crate::shell::{Column, Kind, table};

/// Letters that `list` shows.
const SHOWN: usize = 1_000;

/// How much of the bytes of a letter `list` shows.
const RAW_CHARS: usize = 60;

/// How long a request may take: a replay of all letters is one request.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// How often a request that is told to wait is sent again.
const TRIES: usize = 60;

/// A line of an export, as far as it is shown.
#[derive(Deserialize)]
struct Letter {
    id: String,
    source: String,
    position: String,
    reason: String,
    raw: Option<String>,
}

/// What became of a replay.
#[derive(Deserialize)]
struct Outcome {
    accepted: u64,
    duplicates: u64,
    dead_letters: u64,
    replayed: u64,
    replayed_before: u64,
    failed: Vec<Failed>,
    commit: u64,
}

#[derive(Deserialize)]
struct Failed {
    id: String,
    line: Option<u64>,
    reason: String,
}

/// An answer other than 200.
#[derive(Deserialize)]
struct Refusal {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

/// Runs the command.
pub(crate) fn run(arguments: &DeadLettersArguments) -> Result<Exit, Failure> {
    let address = arguments.http.trim_end_matches('/');
    let address = address.strip_prefix("http://").unwrap_or(address);
    let url = format!("http://{address}/v1/dead-letters/{}", encoded(&arguments.stream));
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .new_agent();
    match arguments.action {
        LetterAction::List if arguments.file.is_some() => {
            Err(Failure::usage("list takes no file\nhint: export writes one"))
        }
        LetterAction::List => list(&agent, &url),
        LetterAction::Export => export(&agent, &url, arguments.file.as_deref()),
        LetterAction::Replay => {
            let lines = match &arguments.file {
                Some(path) => read(path)?,
                None => Vec::new(),
            };
            if arguments.file.is_some() && lines.trim_ascii().is_empty() {
                // An empty request would try all letters.
                say!("there are no dead letters in the file: nothing is put back");
                return Ok(Exit::Success);
            }
            replay(&agent, &format!("{url}/replay"), &lines)
        }
    }
}

/// The name as a part of an address.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(one).collect()
}

type Answer = ureq::http::Response<ureq::Body>;

/// Sends a request until it is answered; waits when it is told to.
fn answered(url: &str, send: impl Fn() -> Result<Answer, ureq::Error>) -> Result<Answer, Failure> {
    for _ in 0..TRIES {
        let answer = send().map_err(|e| {
            Failure::new(format!(
                "cannot ask {url}: {e}\nhint: --http is where the running instance serves HTTP"
            ))
        })?;
        let header = answer.headers().get("retry-after");
        let after = header.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        match (answer.status().as_u16(), after) {
            (200, _) => return Ok(answer),
            (429 | 503, Some(seconds)) => thread::sleep(Duration::from_secs(seconds.clamp(1, 5))),
            (status, _) => return Err(refused(url, status, answer)),
        }
    }
    Err(Failure::new(format!(
        "{url} is busy: it asked to wait {TRIES} times\nhint: try again later"
    )))
}

fn refused(url: &str, status: u16, answer: Answer) -> Failure {
    let text = answer.into_body().read_to_string().unwrap_or_default();
    let Ok(Refusal { error }) = serde_json::from_str(&text) else {
        return Failure::new(format!("{url} answered {status}: {text}"));
    };
    let mut message = error.message;
    for (title, more) in [("detail", error.detail), ("hint", error.hint)] {
        if let Some(more) = more {
            message.push_str(&format!("\n{title}: {more}"));
        }
    }
    Failure::new(message)
}

fn list(agent: &ureq::Agent, url: &str) -> Result<Exit, Failure> {
    let answer = answered(url, || agent.get(url).call())?;
    let mut rows = Vec::new();
    let mut count = 0_u64;
    for line in BufReader::new(answer.into_body().into_reader()).lines() {
        let line = line?;
        count += 1;
        if rows.len() < SHOWN {
            let letter: Letter = serde_json::from_str(&line)
                .map_err(|e| Failure::new(format!("cannot read the letter {line}: {e}")))?;
            let raw = letter.raw.unwrap_or_else(|| "(not text)".to_owned());
            let mut shown: String = raw.chars().take(RAW_CHARS).collect();
            if shown.len() < raw.len() {
                shown.push('…');
            }
            rows.push(vec![letter.id, letter.source, letter.position, letter.reason, shown]);
        }
    }
    if count == 0 {
        say!("there are no dead letters that nobody has put back");
        return Ok(Exit::Success);
    }
    let names = ["id", "source", "position", "reason", "raw"];
    let columns = names.map(|name| Column { name: name.to_owned(), kind: Kind::Text });
    say!("{}", table(&columns, &rows));
    say!("({} dead letters, {} shown)", grouped(count), grouped(rows.len() as u64));
    Ok(Exit::Success)
}

fn export(agent: &ureq::Agent, url: &str, file: Option<&Path>) -> Result<Exit, Failure> {
    let answer = answered(url, || agent.get(url).call())?;
    let mut lines = answer.into_body().into_reader();
    match file.filter(|path| path.as_os_str() != "-") {
        None => {
            io::copy(&mut lines, &mut io::stdout().lock())?;
        }
        Some(path) => {
            let failed = |e: io::Error| Failure::file("write", path, &e);
            // What somebody has mended is not written over.
            let file = File::create_new(path).map_err(failed)?;
            let mut file = BufWriter::new(file);
            io::copy(&mut lines, &mut file).map_err(failed)?;
            file.flush().map_err(failed)?;
            say!("written to {}: mend \"raw\" and replay the file", path.display());
        }
    }
    Ok(Exit::Success)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    if path.as_os_str() == "-" {
        let mut lines = Vec::new();
        io::stdin().read_to_end(&mut lines)?;
        return Ok(lines);
    }
    std::fs::read(path).map_err(|e| Failure::file("read", path, &e))
}

fn replay(agent: &ureq::Agent, url: &str, lines: &[u8]) -> Result<Exit, Failure> {
    let kind = "application/x-ndjson";
    let answer = answered(url, || agent.post(url).header("content-type", kind).send(lines))?;
    let text = answer.into_body().read_to_string().map_err(|e| Failure::new(e.to_string()))?;
    let outcome: Outcome = serde_json::from_str(&text)
        .map_err(|e| Failure::new(format!("cannot read the answer {text}: {e}")))?;
    say!(
        "{} put back: {} stored, {} duplicates; {} had been put back before; {} still dead; commit {}",
        grouped(outcome.replayed),
        grouped(outcome.accepted),
        grouped(outcome.duplicates),
        grouped(outcome.replayed_before),
        grouped(outcome.dead_letters),
        outcome.commit
    );
    for failed in &outcome.failed {
        match failed.line {
            Some(line) => say!("line {line}: {}: {}", failed.id, failed.reason),
            None => say!("{}: {}", failed.id, failed.reason),
        }
    }
    let more = outcome.dead_letters.saturating_sub(outcome.failed.len() as u64);
    if more > 0 {
        say!("and {} more", grouped(more));
    }
    Ok(if outcome.dead_letters > 0 { Exit::RefusedRows } else { Exit::Success })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_an_address() {
        assert_eq!(encoded("clicks_2"), "clicks_2");
        assert_eq!(encoded("a/b ö"), "a%2Fb%20%C3%B6");
    }
}
