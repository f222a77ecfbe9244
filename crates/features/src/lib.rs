//! Nothing: see `Cargo.toml` of this crate for what it is there for.
