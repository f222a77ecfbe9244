//! The connectors there are. One line each.

use yeoul_engine::{ConnectorSpec, Connectors};

use crate::source::Open;
use crate::{file, kafka};

/// A connector: what it takes, and how its source is made.
pub(crate) struct Entry {
    pub(crate) spec: &'static ConnectorSpec,
    pub(crate) open: Open,
}

pub(crate) static ENTRIES: [Entry; 2] = [
    Entry { spec: &file::SPEC, open: file::open },
    Entry { spec: &kafka::SPEC, open: kafka::open },
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
