//! The command line. Its words are an API: they do not change.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Real-time commerce analytics in one program: events in, views kept, SQL answered.
#[derive(Debug, Parser)]
#[command(name = "yeoul", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// What is logged to stderr: error, warn, info, debug, trace, or a filter such as `yeoul=debug`
    #[arg(long, global = true, env = "YEOUL_LOG", default_value = "info", value_name = "LEVEL")]
    pub(crate) log: String,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the project in a folder
    #[command(after_long_help = crate::config::help())]
    Run(RunArguments),
    /// Ask with SQL: a shell, one statement, or a file
    Sql(SqlArguments),
    /// Say what is wrong with a project, without starting it
    Check {
        /// The project's folder
        dir: PathBuf,
    },
    /// Say what it takes to bring an instance to what its project says
    Plan(PlanArguments),
    /// Bring an instance to what its project says
    Apply(ApplyArguments),
    /// Say what a data folder or one of its files holds
    Inspect {
        /// A data folder, or a log segment, manifest or part in it
        path: PathBuf,
    },
    /// List, export and put back what could not be decoded
    DeadLetters(DeadLettersArguments),
    /// Prove the books of every source against what is stored
    Audit {
        /// The data folder of a stopped instance
        #[arg(long, value_name = "PATH")]
        data: PathBuf,
    },
    /// Measure a workload, alone or beside a peer
    Bench(BenchArguments),
    /// Replay real ad traffic, then run a living shop
    Demo(DemoArguments),
}

/// `yeoul run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArguments {
    /// The project's folder
    pub(crate) dir: PathBuf,

    /// The data folder, instead of what yeoul.toml says
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,

    /// Where HTTP is served, or "off"
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<String>,

    /// Where Postgres clients connect, or "off"
    #[arg(long, value_name = "ADDR")]
    pub(crate) pg: Option<String>,

    /// Where producers of Kafka connect, or "off"
    #[arg(long, value_name = "ADDR")]
    pub(crate) kafka: Option<String>,

    /// Read every source to its end, then stop. Nothing is served unless an address is given
    #[arg(long)]
    pub(crate) until_drained: bool,
}

/// `yeoul plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArguments {
    /// The project's folder
    pub(crate) dir: PathBuf,

    /// A running instance; without it, a stopped one
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub(crate) url: Option<String>,

    /// The data folder of a stopped instance, instead of what yeoul.toml says
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
}

/// `yeoul apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArguments {
    #[command(flatten)]
    pub(crate) plan: PlanArguments,

    /// Let go what is stored and not in the project any more, without asking
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `yeoul sql`.
#[derive(Debug, clap::Args)]
pub(crate) struct SqlArguments {
    /// A running instance; without it and without --data, the one that YEOUL_URL names, or that on this
    /// machine
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub(crate) url: Option<String>,

    /// The data folder of a stopped instance, opened for reading
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,

    /// Run these statements and end
    #[arg(short = 'c', value_name = "SQL", conflicts_with = "file")]
    pub(crate) command: Option<String>,

    /// Run the statements of this file and end; "-" is standard input
    #[arg(short = 'f', value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// How rows are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// Comma-separated values, with a header line
    Csv,
    /// One object per line
    Json,
}

/// `yeoul dead-letters`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeadLettersArguments {
    /// What to do
    #[arg(value_enum)]
    pub(crate) action: LetterAction,

    /// The stream or table that they were sent to
    pub(crate) stream: String,

    /// Where they are exported to, or the mended ones come from; "-" is standard input or output.
    /// Without it, replay tries all letters of the stream as they are
    pub(crate) file: Option<PathBuf>,

    /// Where the running instance serves HTTP
    #[arg(long, value_name = "ADDR", default_value = crate::config::HTTP_DEFAULT)]
    pub(crate) http: String,
}

/// What `yeoul dead-letters` can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LetterAction {
    /// Show those that nobody has put back
    List,
    /// Write them as lines of JSON: mend "raw" and replay the file
    Export,
    /// Put mended ones back, each at most once
    Replay,
}

/// `yeoul bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArguments {
    /// What to measure
    #[arg(value_enum)]
    pub(crate) workload: Workload,

    /// How many events
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    pub(crate) events: u64,

    /// A peer to measure in the same call: chdb, duckdb, flink (w1, w2 and w3)
    #[arg(long, value_name = "NAME")]
    pub(crate) peer: Option<String>,

    /// One query of w3 instead of all of them: q0 to q22
    #[arg(long, value_name = "NAME")]
    pub(crate) query: Option<String>,

    /// Where Kafka brokers listen, from which events are read (w8, w12)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) brokers: Option<String>,

    /// Events are sent by a producer of Kafka to the instance itself (w8)
    #[arg(long, conflicts_with = "brokers")]
    pub(crate) wire: bool,

    /// Print the results as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Where events and scratch data are kept between runs
    #[arg(long, env = "YEOUL_BENCH_DIR", value_name = "PATH")]
    pub(crate) dir: Option<PathBuf>,

    /// The seed of the events
    #[arg(long, default_value_t = 42, value_name = "N")]
    pub(crate) seed: u64,
}

/// What `yeoul bench` can measure. `bench/README.md` describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Ads: look up, filter, count per campaign per 10 s
    W1,
    /// CTR per product per minute
    W2,
    /// Nexmark: each of its queries as a view
    W3,
    /// Keep and roll up, with bytes per row
    W4,
    /// Ask: the queries of dashboards on W4's data
    W5,
    /// Fresh: from sending an event to seeing it in a query, under load
    W7,
    /// Hold: a steady rate with bursts over HTTP, from Kafka (--brokers) or as its broker (--wire), nothing lost or
    /// doubled, and how soon an event is in an answer
    W8,
    /// Come back: kill -9, then the first correct query
    W9,
    /// Outgrow: as many groups as events, and a join of two fifths as many rows a side
    W10,
    /// Rebuild: W7 while a view is built from as many stored rows
    W11,
    /// Kafka: a backlog beside a consumer that only counts, and a sink beside a producer
    W12,
    /// Idle: memory, processor time and start
    Idle,
    /// Only write the events of W2 to the folder
    Events,
    /// Only write the events and the side input of W3 to the folder
    NexmarkEvents,
}

/// `yeoul demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArguments {
    /// Where HTTP is served
    #[arg(long, value_name = "ADDR", default_value = crate::config::HTTP_DEFAULT)]
    pub(crate) http: String,

    /// Where Postgres clients connect
    #[arg(long, value_name = "ADDR", default_value = crate::config::POSTGRES_DEFAULT)]
    pub(crate) pg: String,

    /// Send the shop's events as a producer of Kafka does, to a listener of Yeoul itself
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9092")]
    pub(crate) kafka: Option<String>,

    /// The project that is replayed first
    #[arg(long, value_name = "DIR", default_value = "examples/ads")]
    pub(crate) project: PathBuf,

    /// The data folder; without it, a temporary one that is removed at the end
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,

    /// Events of the living shop per second, outside of its bursts
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    pub(crate) rate: u64,

    /// How long the shop lives
    #[arg(long, default_value_t = 30, value_name = "N")]
    pub(crate) seconds: u64,

    /// The seed of the shop
    #[arg(long, default_value_t = 7, value_name = "N")]
    pub(crate) seed: u64,

    /// End after that, instead of serving until Ctrl-C
    #[arg(long)]
    pub(crate) exit: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_words_are_kept() {
        let lines = [
            "yeoul run examples/ads --data d --http 127.0.0.1:1 --pg off --kafka 127.0.0.1:2 --until-drained",
            "yeoul sql --url postgres://localhost/yeoul -c SELECT --format csv",
            "yeoul sql --data d -f x.sql --format json",
            "yeoul check examples/ads",
            "yeoul plan examples/ads --url postgres://localhost/yeoul",
            "yeoul apply examples/ads --data d --yes",
            "yeoul inspect d/manifest",
            "yeoul audit --data d",
            "yeoul dead-letters list clicks --http 127.0.0.1:1",
            "yeoul dead-letters export clicks bad.ndjson",
            "yeoul dead-letters replay clicks bad.ndjson",
            "yeoul dead-letters replay clicks",
            "yeoul bench w2 --events 1000 --peer duckdb --json",
            "yeoul demo --rate 100 --seconds 5 --exit",
        ];
        for line in lines {
            if let Err(e) = Arguments::try_parse_from(line.split(' ')) {
                panic!("{line}: {e}");
            }
        }
    }
}
