//! The connectors there are. One line each.

use yeoul_engine::{ConnectorSpec, Connectors};

use crate::file;
use crate::source::Open;

/// A connector: what it takes, and how its source is made.
pub(crate) struct Entry {
    pub(crate) spec: &'static ConnectorSpec,
    pub(crate) open: Open,
}

pub(crate) static ENTRIES: [Entry; 1] = [Entry { spec: &file::SPEC, open: file::open }];

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
