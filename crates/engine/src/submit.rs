//! The ways in for deliveries: refused, waited for, or queued now and waited for later.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::commit::{Prepared, prepare};
use crate::delivery::{Delivery, Pending, Receipt, SubmitError, Ticket};
use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    pub(crate) fn prepared(&self, delivery: Delivery) -> Result<Prepared, EngineError> {
        self.shared.check_writable()?;
        let relation = Arc::clone(&delivery.stream.0);
        prepare(delivery, relation, self.shared.clock.now_us())
    }

    /// Takes a delivery if the queue has room. Never waits.
    pub fn try_submit(&self, delivery: Delivery) -> Result<Ticket, SubmitError> {
        let prepared = self.prepared(delivery)?;
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let reply = Box::new(move |outcome| {
            let _ = sender.send(outcome);
        });
        match self.shared.queue.try_deliver(prepared, reply)? {
            true => Ok(Ticket { receiver }),
            false => Err(self.busy()),
        }
    }

    pub(crate) fn busy(&self) -> SubmitError {
        SubmitError::Busy { retry_after: Duration::from_secs(1) }
    }

    /// Takes a delivery, waiting for room in the queue. For plain threads.
    pub fn submit(&self, delivery: Delivery) -> Result<Ticket, EngineError> {
        let prepared = self.prepared(delivery)?;
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let reply = Box::new(move |outcome| {
            let _ = sender.send(outcome);
        });
        futures::executor::block_on(self.shared.queue.deliver(prepared, reply, None))?;
        Ok(Ticket { receiver })
    }

    /// Takes a delivery and waits for its receipt, without blocking a thread; `wait_for_room` bounds how
    /// long it waits for room in the queue. Must be called on a tokio runtime with timers.
    pub async fn ingest(
        &self,
        delivery: Delivery,
        wait_for_room: Duration,
    ) -> Result<Receipt, SubmitError> {
        Ok(self.enqueue(delivery, Some(wait_for_room)).await?.receipt().await?)
    }

    /// Takes a delivery as [`Engine::ingest`] does and does not wait for its receipt, so that who sends several has
    /// them queued in its order. Without `wait_for_room` it waits for as long as it takes.
    pub async fn enqueue(
        &self,
        delivery: Delivery,
        wait_for_room: Option<Duration>,
    ) -> Result<Pending, SubmitError> {
        let prepared = self.prepared(delivery)?;
        let (sender, receiver) = oneshot::channel();
        let reply = Box::new(move |outcome| {
            let _ = sender.send(outcome);
        });
        if !self.shared.queue.deliver(prepared, reply, wait_for_room).await? {
            return Err(self.busy());
        }
        Ok(Pending { receiver })
    }
}
