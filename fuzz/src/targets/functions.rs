//! Stored states of aggregates: refused, or they can be merged and finished.

use yeoul_functions::{Distinct, Percentiles};

/// A state of `approx_count_distinct`.
pub fn distinct_state(bytes: &[u8]) {
    if let Ok(state) = Distinct::from_bytes(bytes) {
        let written = state.to_bytes();
        assert_eq!(Distinct::from_bytes(&written).as_ref(), Ok(&state), "distinct: one form");
        let mut twice = state.clone();
        twice.merge(&state);
        assert_eq!(twice, state, "distinct: adding the same changes nothing");
        let _ = state.estimate();
    }
}

/// A state of `approx_percentile`.
pub fn percentile_state(bytes: &[u8]) {
    if let Ok(mut state) = Percentiles::from_bytes(bytes) {
        let written = state.to_bytes();
        let again = Percentiles::from_bytes(&written).expect("what was written is read");
        let _ = (state.value(0.5), state.value(1.0));
        state.merge(&again);
        state.add(1.0);
        let _ = state.value(0.5);
    }
}
