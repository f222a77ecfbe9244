//! What can go wrong with a stored state.

/// The bytes of a state are not what was written: damaged, or of a newer version.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("the state of {function} cannot be read: {reason}")]
pub struct StateError {
    /// The function, by its SQL name.
    pub function: &'static str,
    /// What was found.
    pub reason: String,
}

impl From<StateError> for arrow::error::ArrowError {
    fn from(error: StateError) -> Self {
        Self::ExternalError(Box::new(error))
    }
}
