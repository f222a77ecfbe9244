//! Deliveries whose receipts are still to come, in their order.

use std::collections::VecDeque;

use yeoul_engine::{EngineError, Receipt, Ticket};

/// Deliveries without a receipt. The engine's queue is what holds them; this only bounds the list.
const TICKETS_MAX: usize = 256;

/// What a delivery became, and what was kept with it.
pub(crate) type Settled<T> = (Result<Receipt, EngineError>, T);

/// See the module; with each delivery something is kept until then.
pub(crate) struct Receipts<T>(VecDeque<(Ticket, T)>);

impl<T> Default for Receipts<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Receipts<T> {
    pub(crate) fn push(&mut self, ticket: Ticket, with: T) {
        self.0.push_back((ticket, with));
    }

    /// Whether one is to be waited for before the next delivery.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() > TICKETS_MAX
    }

    /// Waits for the receipt of the oldest delivery.
    pub(crate) fn wait(&mut self) -> Option<Settled<T>> {
        let (ticket, with) = self.0.pop_front()?;
        Some((ticket.wait(), with))
    }

    /// The receipt of the oldest delivery, if it is there.
    pub(crate) fn ready(&mut self) -> Option<Settled<T>> {
        let outcome = self.0.front()?.0.ready()?;
        self.0.pop_front().map(|(_, with)| (outcome, with))
    }
}
