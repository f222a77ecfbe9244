//! A connector to read statements with: files, without what would read them.

use yeoul_sql::{
    ConnectorSpec, Connectors, Format, OptionSpec, OptionType, Spanned, SqlError, Statement,
    Surroundings, parse_with,
};

static FILE: ConnectorSpec = ConnectorSpec {
    name: "file",
    options: &[
        OptionSpec::of_source("path", OptionType::Text, "", "the files"),
        OptionSpec::of_source(
            "speed",
            OptionType::Form("'max' or '2x'", |text| text == "max" || text.ends_with('x')),
            "max",
            "how fast they are replayed",
        ),
        OptionSpec::of_source("follow", OptionType::Bool, "false", "whether to wait for more"),
    ],
    called: &[],
    required: &[("path", "path = 'data/*.csv'")],
    metadata: &[],
    formats: &["json", "csv", "tsv", "parquet"],
    sink_formats: &[],
    check: None,
    format: Some(|options| {
        let path = options.text("path").unwrap_or_default();
        let endings = [(".csv", Format::Csv), (".tsv", Format::Tsv), (".parquet", Format::Parquet)];
        endings.into_iter().find(|(ending, _)| path.contains(ending)).map(|(_, format)| format)
    }),
};

pub(crate) static CONNECTORS: Connectors = &[&FILE];

/// The statements of `sql`, in which `${DIR}` is `/data`.
pub(crate) fn parse(sql: &str) -> Result<Vec<Spanned<Statement>>, SqlError> {
    let secrets = |name: &str| (name == "DIR").then(|| "/data".to_owned());
    parse_with(sql, Surroundings { secrets: &secrets, connectors: CONNECTORS })
}
