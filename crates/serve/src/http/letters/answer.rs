//! What became of letters that were put back, for the client.

use yeoul_engine::{LetterId, Receipt, Replayed};

use crate::http::error::{self, ApiError};

/// Failures that are listed; of the others the answer has the number.
const FAILED_SHOWN: usize = 1_000;

/// A letter that still cannot be decoded.
#[derive(Debug)]
pub(super) struct Failed {
    /// Its line in the request, from 1; 0 when it is not of a request.
    pub(super) line: usize,
    pub(super) id: LetterId,
    pub(super) reason: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) receipt: Receipt,
    before: u64,
    failed: Vec<Failed>,
    failed_count: u64,
}

impl Outcome {
    pub(super) fn add(&mut self, replayed: Replayed, failed: Vec<Failed>, before: u64) {
        let receipt = replayed.receipt;
        self.receipt.accepted += receipt.accepted;
        self.receipt.duplicates += receipt.duplicates;
        self.receipt.late += receipt.late;
        if receipt.accepted + receipt.duplicates > 0 {
            self.receipt.commit = self.receipt.commit.max(receipt.commit);
        }
        self.before += replayed.before + before;
        self.failed_count += failed.len() as u64;
        let room = FAILED_SHOWN.saturating_sub(self.failed.len());
        self.failed.extend(failed.into_iter().take(room));
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let failed = self.failed.iter().map(|failed| {
            let mut object = serde_json::json!({
                "id": failed.id.to_string(),
                "reason": failed.reason,
            });
            if failed.line > 0 {
                object["line"] = failed.line.into();
            }
            object
        });
        let failed: Vec<_> = failed.collect();
        let mut answer = error::receipt(&self.receipt);
        let replayed = self.receipt.accepted + self.receipt.duplicates;
        answer["replayed"] = replayed.into();
        answer["replayed_before"] = self.before.into();
        answer["dead_letters"] = self.failed_count.into();
        answer["failed"] = failed.into();
        answer
    }

    /// The error, with what was committed before it.
    pub(super) fn blame(&self, error: ApiError) -> ApiError {
        if self.receipt.commit.0 > 0 { error.committed(self.receipt) } else { error }
    }
}
