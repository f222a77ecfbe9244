//! What a step knows of time. It comes from the caller, who reads it from the commit, so that a commit that
//! is replayed does what it did.

/// See the module. All instants are in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepTime {
    /// The commit's clock. It never goes back.
    pub now_us: i64,
    /// Up to where windows were closed before: those that end by then are told, and change no more.
    pub closed_us: Option<i64>,
    /// Up to where windows are closed now: the least watermark of the sources, less what they may be late.
    /// It never goes back either.
    pub closing_us: Option<i64>,
}
