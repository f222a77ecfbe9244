//! The engine's limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use yeoul_sql::{Connectors, Spanned, SqlError, Statement, Surroundings};
use yeoul_store::SyncPolicy;

/// Gives the values of `${NAME}` in options: the program passes the environment. Values are never
/// shown.
#[derive(Clone)]
pub struct Secrets(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Secrets {
    /// Secrets that `get` knows.
    pub fn new(get: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(get))
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// Limits and policies of an engine. Every queue, buffer and thread count comes from here.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How long deliveries are gathered into one commit at most.
    pub commit_interval: Duration,
    /// How many rows make a commit full.
    pub commit_rows: usize,
    /// Bytes of decoded rows that may wait for the commit thread before producers wait.
    pub queue_bytes_max: usize,
    /// When the log is made durable.
    pub sync: SyncPolicy,
    /// Bytes of rows and states in memory layers before they are written to parts.
    pub memory_bytes_max: usize,
    /// Bytes for what the operators of all views know of their trees.
    pub cache_bytes_max: usize,
    /// Bytes of rows that one commit may change in a join that a view keeps ungrouped.
    pub change_bytes_max: usize,
    /// Bytes for the duplicate index.
    pub seen_bytes_max: usize,
    /// Bytes all running queries may use.
    pub query_bytes_max: usize,
    /// Stored rows given to the commit thread at once while a view is built: by default a few
    /// milliseconds of its time.
    pub build_rows: usize,
    /// About how many stored rows of a view or table each thread of a query merges at once.
    pub merge_rows: usize,
    /// How long a query may run.
    pub query_timeout: Duration,
    /// Threads that step views.
    pub workers: usize,
    /// Threads that run queries.
    pub query_threads: usize,
    /// Values of `${NAME}` in options.
    pub secrets: Secrets,
    /// The connectors that streams and tables may name.
    pub connectors: Connectors,
}

/// What statements are read with.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    secrets: Secrets,
    pub(crate) connectors: Connectors,
}

impl Reading {
    pub(crate) fn new(options: &EngineOptions) -> Self {
        Self { secrets: options.secrets.clone(), connectors: options.connectors }
    }

    /// The statements of `sql`.
    pub(crate) fn parse(&self, sql: &str) -> Result<Vec<Spanned<Statement>>, SqlError> {
        let secrets = |name: &str| self.secrets.get(name);
        let connectors = self.connectors;
        yeoul_sql::parse_with(sql, Surroundings { secrets: &secrets, connectors })
    }

    /// Those of what was accepted before. A secret that cannot be had is left as it is written: whoever needs it says
    /// so, and a folder can be looked at without it.
    pub(crate) fn parse_stored(&self, sql: &str) -> Result<Vec<Spanned<Statement>>, SqlError> {
        let secrets = |name: &str| self.secrets.get(name).or_else(|| Some(format!("${{{name}}}")));
        let connectors = self.connectors;
        yeoul_sql::parse_stored(sql, Surroundings { secrets: &secrets, connectors })
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            commit_interval: Duration::from_millis(10),
            commit_rows: 65_536,
            queue_bytes_max: 64 << 20,
            sync: SyncPolicy::Always,
            memory_bytes_max: 256 << 20,
            cache_bytes_max: 128 << 20,
            change_bytes_max: 256 << 20,
            seen_bytes_max: 600 << 20,
            query_bytes_max: 1 << 30,
            build_rows: 32_768,
            merge_rows: 1 << 17,
            query_timeout: Duration::from_secs(300),
            workers: cores,
            query_threads: cores,
            secrets: Secrets::new(|_| None),
            connectors: &[],
        }
    }
}
