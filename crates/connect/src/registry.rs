//! The connectors there are. One line each.

use yeoul_engine::{ConnectorSpec, Connectors};

use crate::sink::OpenSink;
use crate::source::Open;
use crate::{file, kafka};

/// A connector: what it takes, and how its source and its sink are made.
pub(crate) struct Entry {
    pub(crate) spec: &'static ConnectorSpec,
    pub(crate) open: Open,
    /// How a sink is made, where it takes changes.
    pub(crate) open_sink: Option<OpenSink>,
}

pub(crate) static ENTRIES: [Entry; 2] = [
    Entry { spec: &file::SPEC, open: file::open, open_sink: None },
    Entry { spec: &kafka::SPEC, open: kafka::open, open_sink: Some(kafka::open_sink) },
];

/// What each connector takes, for whoever reads statements.
pub static CONNECTORS: Connectors = &{
    let mut specs = [ENTRIES[0].spec; ENTRIES.len()];
    let mut at = 0;
    while at < ENTRIES.len() {
        specs[at] = ENTRIES[at].spec;
        at += 1;
    }
    specs
};
