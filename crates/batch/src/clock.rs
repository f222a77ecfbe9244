//! Instants. Only the program reads the wall clock; everybody else is handed a [`Clock`].

/// Microseconds since 1970-01-01T00:00:00Z: when something happened, by its own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every event: the watermark of a stream that has seen nothing.
    pub const MIN: Self = Self(i64::MIN);
}

/// The wall clock as an argument, so that a test or a simulation can hold it.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970-01-01T00:00:00Z.
    fn now_us(&self) -> i64;
}
