//! Settings that are between the client and this connection: names that Postgres clients set and
//! show. All others belong to the engine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use yeoul_engine::{Client, EngineError, ErrorKind, Refusal};

/// The version that clients read to choose their catalog queries.
pub(crate) const SERVER_VERSION: &str = concat!("16.6 (Yeoul ", env!("CARGO_PKG_VERSION"), ")");

/// What a setting may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Anything; it changes nothing here.
    Any,
    /// Nothing.
    Fixed,
    /// Only values that begin with one of these words.
    Words(&'static [&'static str]),
}

/// Name, first value, whether every change is told to the client, rule.
type Row = (&'static str, &'static str, bool, Rule);

const ROWS: &[Row] = &[
    ("application_name", "", true, Rule::Any),
    ("client_encoding", "UTF8", true, Rule::Words(&["utf8", "utf-8", "unicode"])),
    ("DateStyle", "ISO, MDY", true, Rule::Words(&["iso"])),
    ("default_transaction_read_only", "off", true, Rule::Words(&["off", "false", "no", "0"])),
    ("in_hot_standby", "off", true, Rule::Fixed),
    ("integer_datetimes", "on", true, Rule::Fixed),
    ("IntervalStyle", "postgres", true, Rule::Words(&["postgres"])),
    ("is_superuser", "on", true, Rule::Fixed),
    ("server_encoding", "UTF8", true, Rule::Fixed),
    ("server_version", SERVER_VERSION, true, Rule::Fixed),
    ("session_authorization", "yeoul", true, Rule::Fixed),
    ("standard_conforming_strings", "on", true, Rule::Words(&["on", "true", "yes", "1"])),
    (
        "TimeZone",
        "UTC",
        true,
        Rule::Words(&["utc", "gmt", "etc/utc", "etc/gmt", "zulu", "default"]),
    ),
    ("backslash_quote", "safe_encoding", false, Rule::Any),
    ("bytea_output", "hex", false, Rule::Words(&["hex"])),
    ("check_function_bodies", "on", false, Rule::Any),
    ("client_min_messages", "notice", false, Rule::Any),
    ("default_table_access_method", "heap", false, Rule::Any),
    ("default_tablespace", "", false, Rule::Any),
    ("default_transaction_isolation", "read committed", false, Rule::Any),
    ("escape_string_warning", "on", false, Rule::Any),
    ("extra_float_digits", "1", false, Rule::Any),
    ("idle_in_transaction_session_timeout", "0", false, Rule::Any),
    ("jit", "off", false, Rule::Any),
    ("lc_collate", "C", false, Rule::Fixed),
    ("lc_ctype", "C", false, Rule::Fixed),
    ("lc_messages", "C", false, Rule::Any),
    ("lc_monetary", "C", false, Rule::Any),
    ("lc_numeric", "C", false, Rule::Any),
    ("lc_time", "C", false, Rule::Any),
    ("lock_timeout", "0", false, Rule::Any),
    ("max_identifier_length", "63", false, Rule::Fixed),
    ("max_index_keys", "32", false, Rule::Fixed),
    ("password_encryption", "scram-sha-256", false, Rule::Any),
    ("row_security", "on", false, Rule::Any),
    ("search_path", "\"$user\", public", false, Rule::Any),
    ("server_version_num", "160006", false, Rule::Fixed),
    ("synchronous_commit", "on", false, Rule::Any),
    ("transaction_deferrable", "off", false, Rule::Any),
    ("transaction_isolation", "read committed", false, Rule::Any),
    ("transaction_read_only", "off", false, Rule::Any),
    ("xmloption", "content", false, Rule::Any),
];

/// The settings of one connection. Copies are the same settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Only those that differ from their first value.
    changed: Arc<Mutex<Vec<(&'static str, String)>>>,
}

/// The setting's own spelling of `name`, when the connection has it.
pub(crate) fn known(name: &str) -> Option<&'static str> {
    ROWS.iter().map(|row| row.0).find(|known| known.eq_ignore_ascii_case(name))
}

impl Settings {
    /// The settings after a startup message with these parameters. What cannot be had is left as it
    /// is, as the status messages then tell.
    pub(crate) fn new(parameters: &[(String, String)]) -> Self {
        let settings = Self::default();
        for (name, value) in parameters {
            match name.as_str() {
                "user" => settings.put("session_authorization", value),
                name => {
                    if let Some(name) = known(name) {
                        let _ = settings.set(name, value);
                    }
                }
            }
        }
        settings
    }

    fn changed(&self) -> MutexGuard<'_, Vec<(&'static str, String)>> {
        // Nothing can fail while it is locked.
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, name: &'static str, value: &str) {
        let mut changed = self.changed();
        changed.retain(|(n, _)| *n != name);
        changed.push((name, value.to_owned()));
    }

    /// The value of a known setting.
    pub(crate) fn get(&self, name: &'static str) -> String {
        if let Some((_, value)) = self.changed().iter().find(|(n, _)| *n == name) {
            return value.clone();
        }
        ROWS.iter().find(|row| row.0 == name).map_or("", |row| row.1).to_owned()
    }

    /// Every setting that clients are told, with its value.
    pub(crate) fn reported(&self) -> impl Iterator<Item = (&'static str, String)> {
        ROWS.iter().filter(|row| row.2).map(|row| (row.0, self.get(row.0)))
    }

    /// Every setting with its value.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, String)> {
        ROWS.iter().map(|row| (row.0, self.get(row.0)))
    }

    /// Sets a known setting. Returns whether the client must be told.
    pub(crate) fn set(&self, name: &'static str, value: &str) -> Result<bool, EngineError> {
        let Some(&(_, first, reported, rule)) = ROWS.iter().find(|row| row.0 == name) else {
            return Ok(false);
        };
        if value.eq_ignore_ascii_case("default") {
            self.changed().retain(|(n, _)| *n != name);
            return Ok(reported);
        }
        match rule {
            Rule::Any => self.put(name, value),
            Rule::Fixed => {
                return Err(EngineError::new(
                    ErrorKind::Input,
                    format!("parameter \"{name}\" cannot be changed"),
                )
                .with_sqlstate("55P02"));
            }
            Rule::Words(words) => {
                let lower = value.to_ascii_lowercase();
                if !words.iter().any(|word| lower.starts_with(word)) {
                    return Err(EngineError::new(
                        ErrorKind::Input,
                        format!("parameter \"{name}\" cannot be '{value}'"),
                    )
                    .with_hint(format!("it is always {first}"))
                    .with_sqlstate("22023"));
                }
            }
        }
        Ok(reported)
    }

    /// Back to the first values, except for who is connected.
    pub(crate) fn reset(&self) {
        self.changed().retain(|(name, _)| *name == "session_authorization");
    }
}

/// A connection as the catalogs tell of it.
pub(crate) struct Told {
    pub(crate) settings: Settings,
    pub(crate) pid: i32,
}

impl Client for Told {
    fn user(&self) -> String {
        self.settings.get("session_authorization")
    }

    fn pid(&self) -> i32 {
        self.pid
    }

    fn setting(&self, name: &str) -> Option<String> {
        known(name).map(|name| self.settings.get(name))
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.settings.all().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Refusal> {
        match known(name) {
            Some(name) => Ok(self.settings.set(name, value).map(drop)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn startup_takes_what_it_can() {
        let settings = Settings::new(&[
            ("user".into(), "ann".into()),
            ("application_name".into(), "psql".into()),
            ("TimeZone".into(), "Europe/Berlin".into()),
        ]);
        assert_eq!(settings.get("session_authorization"), "ann");
        assert_eq!(settings.get("application_name"), "psql");
        assert_eq!(settings.get("TimeZone"), "UTC");
        assert!(settings.reported().any(|(n, v)| n == "server_version" && v.starts_with("16.6 (")));
    }

    #[test]
    fn what_is_not_so_is_refused() {
        let settings = Settings::new(&[]);
        assert!(settings.set("client_encoding", "utf8").unwrap());
        assert_eq!(settings.set("client_encoding", "latin1").unwrap_err().sqlstate, "22023");
        assert_eq!(settings.set("server_version", "17").unwrap_err().sqlstate, "55P02");
        assert!(!settings.set("extra_float_digits", "3").unwrap());
        assert_eq!(settings.get("extra_float_digits"), "3");
        settings.reset();
        assert_eq!(settings.get("extra_float_digits"), "1");
    }
}
