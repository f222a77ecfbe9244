//! `yeoul.toml`: every setting defined once. The reader, its messages and
//! `docs/guide/configuration.md` all come from [`SETTINGS`].
//!
//! Not here: flags (they win over the file, in `commands`), SQL options.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use toml::{Table, Value};
use yeoul_engine::{EngineOptions, Secrets, SyncPolicy, nearest};

use crate::secrets::{self, Secret};

/// What a project says about how it wants to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where data is kept; relative to the project's folder.
    pub(crate) data: PathBuf,
    /// Where HTTP is served, if it is.
    pub(crate) http: Option<String>,
    /// How many connections HTTP takes at once.
    pub(crate) http_connections_max: usize,
    /// The largest request body, in bytes.
    pub(crate) http_body_bytes_max: usize,
    /// Where the Postgres wire is served, if it is.
    pub(crate) postgres: Option<String>,
    /// How many connections the Postgres wire takes at once.
    pub(crate) postgres_connections_max: usize,
    /// Where producers of Kafka are served, if they are.
    pub(crate) kafka: Option<String>,
    /// Where they are told to come to, when that is another address.
    pub(crate) kafka_advertised: Option<String>,
    /// How many of them may be connected at once.
    pub(crate) kafka_connections_max: usize,
    /// The largest request of theirs, in bytes.
    pub(crate) kafka_request_bytes_max: usize,
    /// Who they must be, if anybody.
    pub(crate) kafka_user: Option<String>,
    /// What they must know then.
    pub(crate) kafka_password: Option<Secret>,
    /// The engine's limits.
    pub(crate) engine: EngineOptions,
}

/// The port of HTTP, when none is said.
pub(crate) const HTTP_DEFAULT: &str = "127.0.0.1:7070";
/// The port of the Postgres wire, when none is said.
pub(crate) const POSTGRES_DEFAULT: &str = "127.0.0.1:5433";

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("yeoul-data"),
            http: Some(HTTP_DEFAULT.into()),
            http_connections_max: 1024,
            http_body_bytes_max: 64 << 20,
            postgres: Some(POSTGRES_DEFAULT.into()),
            postgres_connections_max: 256,
            kafka: None,
            kafka_advertised: None,
            kafka_connections_max: 256,
            kafka_request_bytes_max: 64 << 20,
            kafka_user: None,
            kafka_password: None,
            engine: engine_options(),
        }
    }
}

/// The options of an engine unless settings say otherwise.
pub(crate) fn engine_options() -> EngineOptions {
    EngineOptions {
        connectors: yeoul_connect::CONNECTORS,
        secrets: Secrets::new(secrets::environment),
        ..EngineOptions::default()
    }
}

/// One setting.
pub(crate) struct Setting {
    /// `section.name`, or just the name.
    pub(crate) key: &'static str,
    /// What its value is, in words.
    pub(crate) kind: &'static str,
    /// What holds when it is not given.
    pub(crate) default: &'static str,
    /// What it does.
    pub(crate) help: &'static str,
    set: fn(&mut Settings, &Value) -> Result<(), String>,
}

const ADDRESS: &str = "address:port, or \"off\"";
const BYTES: &str = "bytes, or text such as \"256 MiB\"";
const COUNT: &str = "number";
const MILLIS: &str = "milliseconds";

/// The most threads: twice as many are started, and each has a stack of 8 MiB of addresses.
const THREADS_MAX: usize = 1024;
/// The longest time that rows are gathered: who sends them waits that long for a receipt.
const GATHER_MS_MAX: usize = 60_000;

const fn setting(
    key: &'static str,
    kind: &'static str,
    default: &'static str,
    help: &'static str,
    set: fn(&mut Settings, &Value) -> Result<(), String>,
) -> Setting {
    Setting { key, kind, default, help, set }
}

/// All settings, in the order of the documentation.
pub(crate) static SETTINGS: [Setting; 23] = [
    setting("data", "path", "yeoul-data", "the data folder, relative to the project", |s, v| {
        let path = text(v)?;
        // Its files would lie among the project's.
        if path.trim().is_empty() {
            Err("must not be empty".to_owned())
        } else {
            s.data = path.into();
            Ok(())
        }
    }),
    setting("http.listen", ADDRESS, HTTP_DEFAULT, "where HTTP is served", |s, v| {
        address(v).map(|v| s.http = v)
    }),
    setting("http.connections_max", COUNT, "1024", "how many may be connected at once", |s, v| {
        count(v).map(|v| s.http_connections_max = v)
    }),
    setting("http.body_bytes_max", BYTES, "64 MiB", "the largest request body", |s, v| {
        bytes(v).map(|v| s.http_body_bytes_max = v)
    }),
    setting(
        "postgres.listen",
        ADDRESS,
        POSTGRES_DEFAULT,
        "where Postgres clients connect",
        |s, v| address(v).map(|v| s.postgres = v),
    ),
    setting(
        "postgres.connections_max",
        COUNT,
        "256",
        "how many may be connected at once",
        |s, v| count(v).map(|v| s.postgres_connections_max = v),
    ),
    setting("kafka.listen", ADDRESS, "off", "where producers of Kafka connect", |s, v| {
        address(v).map(|v| s.kafka = v)
    }),
    setting(
        "kafka.advertised",
        "address:port",
        "the address that they came to",
        "where producers are told to come to",
        |s, v| match listen_address(&text(v)?)? {
            Some(address) => {
                s.kafka_advertised = Some(address);
                Ok(())
            }
            None => Err("must be an address such as broker.example.com:9092".to_owned()),
        },
    ),
    setting("kafka.connections_max", COUNT, "256", "how many may be connected at once", |s, v| {
        count(v).map(|v| s.kafka_connections_max = v)
    }),
    setting(
        "kafka.request_bytes_max",
        BYTES,
        "64 MiB",
        "the largest request, and the largest batch uncompressed",
        |s, v| bytes(v).map(|v| s.kafka_request_bytes_max = v),
    ),
    setting(
        "kafka.user",
        "text",
        "nobody is asked",
        "who producers must be: SASL PLAIN, with `kafka.password`",
        |s, v| given(v).map(|v| s.kafka_user = Some(v)),
    ),
    setting(
        "kafka.password",
        "text",
        "none",
        "what they must know; `\"${NAME}\"` takes it from the environment",
        |s, v| given(v).map(|v| s.kafka_password = Some(Secret(v))),
    ),
    setting(
        "limits.commit_interval_ms",
        MILLIS,
        "10",
        "how long rows are gathered into one commit",
        |s, v| {
            at_most(v, GATHER_MS_MAX).and_then(|()| millis(v)).map(|v| s.engine.commit_interval = v)
        },
    ),
    setting("limits.commit_rows", COUNT, "65536", "how many rows make a commit full", |s, v| {
        count(v).map(|v| s.engine.commit_rows = v)
    }),
    setting(
        "limits.sync",
        "\"always\", \"os\" or milliseconds",
        "always",
        "when the log is made durable: before a receipt, when the system does, or this often",
        |s, v| sync(v).map(|v| s.engine.sync = v),
    ),
    setting(
        "limits.queue_bytes_max",
        BYTES,
        "64 MiB",
        "decoded rows that may wait before producers wait",
        |s, v| bytes(v).map(|v| s.engine.queue_bytes_max = v),
    ),
    setting(
        "limits.memory_bytes_max",
        BYTES,
        "256 MiB",
        "rows and states in memory before they are written to parts",
        |s, v| bytes(v).map(|v| s.engine.memory_bytes_max = v),
    ),
    setting(
        "limits.cache_bytes_max",
        BYTES,
        "128 MiB",
        "what the operators of all views know of their stored states",
        |s, v| bytes(v).map(|v| s.engine.cache_bytes_max = v),
    ),
    setting(
        "limits.change_bytes_max",
        BYTES,
        "256 MiB",
        "joined rows that one commit may change in a view that does not group them",
        |s, v| bytes(v).map(|v| s.engine.change_bytes_max = v),
    ),
    setting(
        "limits.seen_bytes_max",
        BYTES,
        "600 MiB",
        "memory of the duplicate index of each stream",
        |s, v| bytes(v).map(|v| s.engine.seen_bytes_max = v),
    ),
    setting(
        "limits.query_bytes_max",
        BYTES,
        "1 GiB",
        "memory of all running queries together",
        |s, v| bytes(v).map(|v| s.engine.query_bytes_max = v),
    ),
    setting("limits.query_timeout_ms", MILLIS, "300000", "how long a query may run", |s, v| {
        millis(v).map(|v| s.engine.query_timeout = v)
    }),
    setting(
        "limits.threads",
        COUNT,
        "the number of cores",
        "threads that keep views, and as many that answer queries",
        |s, v| {
            at_most(v, THREADS_MAX).and_then(|()| count(v)).map(|v| {
                s.engine.workers = v.max(1);
                s.engine.query_threads = v.max(1);
            })
        },
    ),
];

/// All settings for `yeoul run --help`.
pub(crate) fn help() -> String {
    let mut text = String::from("Settings of yeoul.toml (section.name):\n");
    for s in &SETTINGS {
        let _ = writeln!(text, "  {:<26} {} [{}; default: {}]", s.key, s.help, s.kind, s.default);
    }
    text
}

/// Reads the text of a `yeoul.toml`.
pub(crate) fn parse(source: &str) -> Result<Settings, String> {
    let table: Table = source.parse().map_err(|e: toml::de::Error| format!("yeoul.toml: {e}"))?;
    let mut settings = Settings::default();
    for (key, value) in flatten(&table) {
        let at = line_of(source, &key);
        let Some(setting) = SETTINGS.iter().find(|s| s.key == key) else {
            return Err(format!("yeoul.toml:{at}: {}", unknown(&key)));
        };
        (setting.set)(&mut settings, value)
            .map_err(|e| format!("yeoul.toml:{at}: setting \"{key}\" {e}"))?;
    }
    match (&settings.kafka_user, &settings.kafka_password) {
        (Some(_), None) => Err(lonely(source, "kafka.user", "kafka.password")),
        (None, Some(_)) => Err(lonely(source, "kafka.password", "kafka.user")),
        _ => Ok(settings),
    }
}

/// One setting means nothing without the other.
fn lonely(source: &str, key: &str, other: &str) -> String {
    format!("yeoul.toml:{}: setting \"{key}\" needs \"{other}\"", line_of(source, key))
}

/// `section.name` for the two levels there are. Deeper ones become unknown keys.
fn flatten(table: &Table) -> Vec<(String, &Value)> {
    let mut flat = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(section) if !section.is_empty() => {
                flat.extend(section.iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            _ => flat.push((key.clone(), value)),
        }
    }
    flat
}

fn unknown(key: &str) -> String {
    let known = SETTINGS.iter().map(|s| s.key);
    // A right name in the wrong section is nearer than any misspelling.
    let name = key.rsplit('.').next().unwrap_or(key);
    let same_name = SETTINGS.iter().map(|s| s.key).find(|k| k.rsplit('.').next() == Some(name));
    match same_name.or_else(|| nearest(key, known.clone())) {
        Some(near) => format!("there is no setting \"{key}\"\nhint: did you mean \"{near}\"?"),
        None => {
            let list: Vec<&str> = known.collect();
            format!("there is no setting \"{key}\"\ndetail: the settings are {}", list.join(", "))
        }
    }
}

/// The line on which a key stands, from 1.
fn line_of(source: &str, key: &str) -> usize {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut here = section.is_empty();
    for (at, line) in source.lines().enumerate() {
        let line = line.trim();
        if let Some(title) = line.strip_prefix('[') {
            here = title.trim_end_matches(']').trim() == section;
        }
        let word = line.split(['=', ' ', '\t']).next().unwrap_or_default();
        if (here && word == name) || word == key {
            return at + 1;
        }
    }
    1
}

fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| "must be text".to_owned())?;
    secrets::expand(text, &secrets::environment)
}

/// A text that says something.
fn given(value: &Value) -> Result<String, String> {
    match text(value)? {
        text if text.is_empty() => Err("must not be empty".to_owned()),
        text => Ok(text),
    }
}

fn address(value: &Value) -> Result<Option<String>, String> {
    listen_address(&text(value)?)
}

/// An address to listen on, `None` for "off".
pub(crate) fn listen_address(text: &str) -> Result<Option<String>, String> {
    if text == "off" {
        return Ok(None);
    }
    let port = text.rsplit_once(':').map(|(host, port)| (!host.is_empty(), port.parse::<u16>()));
    match port {
        Some((true, Ok(_))) => Ok(Some(text.to_owned())),
        _ => {
            Err(format!("must be an address such as {HTTP_DEFAULT}, or \"off\"; found \"{text}\""))
        }
    }
}

fn count(value: &Value) -> Result<usize, String> {
    let number = value.as_integer().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    number.ok_or_else(|| "must be a whole number above 0".to_owned())
}

fn at_most(value: &Value, most: usize) -> Result<(), String> {
    if count(value)? > most { Err(format!("must be at most {most}")) } else { Ok(()) }
}

fn millis(value: &Value) -> Result<Duration, String> {
    count(value).map(|n| Duration::from_millis(n as u64))
}

fn sync(value: &Value) -> Result<SyncPolicy, String> {
    match value.as_str() {
        Some("always") => Ok(SyncPolicy::Always),
        Some("os") => Ok(SyncPolicy::Os),
        Some(other) => {
            Err(format!("must be \"always\", \"os\" or milliseconds; found \"{other}\""))
        }
        None => millis(value).map(SyncPolicy::Interval),
    }
}

fn bytes(value: &Value) -> Result<usize, String> {
    let Some(text) = value.as_str() else { return count(value) };
    let wrong = || format!("must be bytes, such as 1048576 or \"256 MiB\"; found \"{text}\"");
    let digits = text.trim().trim_end_matches(|c: char| c.is_alphabetic() || c == ' ');
    let number: usize = digits.parse().map_err(|_| wrong())?;
    let unit: usize = match text.trim()[digits.len()..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).filter(|n| *n > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let settings = parse(
            "data = 'd'\n[http]\nlisten = '0.0.0.0:80'\n[postgres]\nlisten = 'off'\n\
             [limits]\nsync = 50\nmemory_bytes_max = '2 GiB'\ncommit_rows = 10\n",
        )
        .expect("valid");
        assert_eq!(settings.data, PathBuf::from("d"));
        assert_eq!(settings.http.as_deref(), Some("0.0.0.0:80"));
        assert_eq!(settings.postgres, None);
        assert_eq!(settings.engine.sync, SyncPolicy::Interval(Duration::from_millis(50)));
        assert_eq!(settings.engine.memory_bytes_max, 2 << 30);
        assert_eq!(settings.engine.commit_rows, 10);
        assert_eq!(parse("").expect("nothing is valid").data, PathBuf::from("yeoul-data"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let cases = [
            (
                "dta = 'x'",
                "yeoul.toml:1: there is no setting \"dta\"\nhint: did you mean \"data\"?",
            ),
            (
                "\n[http]\nlisen = 'x'",
                "yeoul.toml:3: there is no setting \"http.lisen\"\nhint: did you mean \"http.listen\"?",
            ),
            ("listen = 'x'", "hint: did you mean \"http.listen\"?"),
            ("colour = 1", "detail: the settings are data, http.listen"),
            ("[http]\nlisten = 'here'", "yeoul.toml:2: setting \"http.listen\" must be an address"),
            ("[limits]\nquery_bytes_max = '5 parsecs'", "must be bytes"),
            ("[limits]\ncommit_rows = 0", "must be a whole number above 0"),
            ("[limits]\nthreads = 100000", "must be at most 1024"),
            ("[limits]\ncommit_interval_ms = 999999999", "must be at most 60000"),
            ("data = ''", "must not be empty"),
            (
                "[kafka]\nuser = 'shop'",
                "yeoul.toml:2: setting \"kafka.user\" needs \"kafka.password\"",
            ),
            ("[kafka]\npassword = ''", "must not be empty"),
            ("[kafka]\nadvertised = 'off'", "must be an address"),
            ("data = [", "yeoul.toml: "),
        ];
        for (source, expected) in cases {
            let message = parse(source).expect_err(source);
            assert!(message.contains(expected), "{source}: {message}");
        }
    }

    #[test]
    fn the_defaults_in_words_are_the_defaults() {
        let d = Settings::default();
        assert_eq!(d.engine.commit_interval, Duration::from_millis(10));
        assert_eq!(d.engine.commit_rows, 65_536);
        assert_eq!(d.engine.queue_bytes_max, 64 << 20);
        assert_eq!(d.engine.memory_bytes_max, 256 << 20);
        assert_eq!(d.engine.seen_bytes_max, 600 << 20);
        assert_eq!(d.engine.query_bytes_max, 1 << 30);
        assert_eq!(d.engine.query_timeout, Duration::from_millis(300_000));
        assert_eq!(d.engine.sync, SyncPolicy::Always);
        let kafka = yeoul_serve::KafkaOptions::default();
        assert_eq!((d.kafka_connections_max, d.kafka_request_bytes_max), (256, 64 << 20));
        assert_eq!(kafka.connections_max, d.kafka_connections_max);
        assert_eq!(kafka.request_bytes_max, d.kafka_request_bytes_max);
    }

    #[test]
    fn the_guide_lists_every_setting() {
        let guide = include_str!("../../../docs/guide/configuration.md");
        for s in &SETTINGS {
            let row = format!("| `{}` | {} | {} | {} |", s.key, s.kind, s.default, s.help);
            assert!(guide.contains(&row), "docs/guide/configuration.md must have the line\n{row}");
        }
    }
}
