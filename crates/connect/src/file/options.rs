//! What `WITH (connector = 'file', …)` may say.

use yeoul_engine::{Connector, ConnectorOptions, ConnectorSpec, Format, OptionSpec, OptionType};

/// The connector.
pub(crate) static SPEC: ConnectorSpec = ConnectorSpec {
    name: "file",
    options: &[
        OptionSpec::of_source(
            "path",
            OptionType::Text,
            "",
            "the files, with * and ** as wildcards",
        ),
        OptionSpec::of_source(
            "compression",
            OptionType::Choice(&["auto", "none", "gzip", "zstd"]),
            "auto",
            "how a file is compressed; auto goes by its ending",
        ),
        OptionSpec::of_source(
            "speed",
            OptionType::Form("'max', or a multiple of real time such as '1x' or '60x'", |text| {
                Speed::parse(text).is_some()
            }),
            "max",
            "how fast files are replayed, by event time",
        ),
        OptionSpec::of_source(
            "follow",
            OptionType::Bool,
            "false",
            "whether to wait for more at the end, instead of stopping",
        ),
    ],
    called: &[],
    required: &[("path", "path = 'data/*.csv'")],
    metadata: &[],
    formats: &["json", "csv", "tsv", "parquet"],
    sink_formats: &[],
    check: None,
    format: Some(|options| options.text("path").and_then(by_ending)),
};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// As its ending says: `.gz`, `.zst`, else not at all.
    Auto,
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// How fast files are replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speed {
    /// As fast as they are taken.
    Max,
    /// By event time, this many times as fast as it happened.
    Times(f64),
}

impl Speed {
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("max") {
            return Some(Self::Max);
        }
        let times: f64 = text.strip_suffix(['x', 'X'])?.trim().parse().ok()?;
        (times.is_finite() && times > 0.0).then_some(Self::Times(times))
    }
}

/// The options of one stream or table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileOptions {
    /// The files, with `*` and `**` as wildcards.
    pub(super) path: String,
    /// How they are compressed.
    pub(super) compression: Compression,
    /// How fast they are replayed.
    pub(super) speed: Speed,
    /// Whether to wait for more at the end.
    pub(super) follow: bool,
}

impl FileOptions {
    pub(super) fn of(connector: &Connector) -> Self {
        let given: &ConnectorOptions = &connector.options;
        let compression = match given.text("compression") {
            Some("none") => Compression::None,
            Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            _ => Compression::Auto,
        };
        Self {
            path: given.text("path").unwrap_or_default().to_owned(),
            compression,
            speed: given.text("speed").and_then(Speed::parse).unwrap_or(Speed::Max),
            follow: given.bool("follow").unwrap_or(false),
        }
    }
}

fn by_ending(path: &str) -> Option<Format> {
    let endings = [(".csv", Format::Csv), (".tsv", Format::Tsv), (".parquet", Format::Parquet)];
    endings.into_iter().find(|(ending, _)| path.contains(ending)).map(|(_, format)| format)
}
