//! The sources there are. One line each.

use crate::file;
use crate::source::Open;

/// Name of the connector, and how its source is made.
pub(crate) const SOURCES: [(&str, Open); 1] = [("file", file::open)];
