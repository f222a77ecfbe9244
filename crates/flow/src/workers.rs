//! Plain threads that divide a step's work.
//!
//! What must hold: the order of results is the order of the items, however many threads there
//! are; with one there are no threads at all. A panic in a piece of work is the caller's panic.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, unbounded};

/// The stack of a thread that plans statements or evaluates expressions, which are as deep as the
/// parser lets them be. Only what is used becomes memory.
pub const STACK_BYTES: usize = 8 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads. The caller's thread works too, so `N` workers are `N - 1` threads.
#[derive(Debug)]
pub struct Workers {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// `count` workers, at least one.
    ///
    /// # Panics
    /// When the operating system refuses a thread.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let (jobs, inbox) = unbounded::<Job>();
        let threads = (1..count.max(1))
            .map(|number| {
                let inbox = inbox.clone();
                std::thread::Builder::new()
                    .name(format!("flow-{number}"))
                    .stack_size(STACK_BYTES)
                    .spawn(move || inbox.iter().for_each(|job| job()))
                    .expect("the operating system gives a thread")
            })
            .collect();
        Self { jobs: Some(jobs), threads }
    }

    /// How many workers, the caller's thread included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.threads.len() + 1
    }

    /// `work` on every item, divided among the workers; the results in the items' order.
    pub fn map<T, R>(&self, items: Vec<T>, work: impl Fn(T) -> R + Send + Sync + 'static) -> Vec<R>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let Some(jobs) = self.jobs.as_ref().filter(|_| items.len() > 1 && self.count() > 1) else {
            return items.into_iter().map(work).collect();
        };
        let work = Arc::new(work);
        let total = items.len();
        let (todo, queue) = unbounded();
        for item in items.into_iter().enumerate() {
            todo.send(item).expect("the queue is held here");
        }
        drop(todo);
        let (done, results) = unbounded();
        let run = move || {
            for (index, item) in queue.iter() {
                let result = catch_unwind(AssertUnwindSafe(|| work(item)));
                if done.send((index, result)).is_err() {
                    break;
                }
            }
        };
        for _ in 1..self.count().min(total) {
            jobs.send(Box::new(run.clone())).expect("the threads live as long as the pool");
        }
        run();
        drop(run);
        let mut ordered: Vec<Option<R>> = (0..total).map(|_| None).collect();
        for (index, result) in results.iter().take(total) {
            match result {
                Ok(value) => ordered[index] = Some(value),
                Err(panic) => resume_unwind(panic),
            }
        }
        ordered.into_iter().map(|r| r.expect("every item gives one result")).collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A job catches its own panics, so a thread ends only because the channel closed.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        for count in [1, 2, 3, 7] {
            let pool = Workers::new(count);
            assert_eq!(pool.count(), count);
            let squares = pool.map((0..100u64).collect(), |x| x * x);
            assert_eq!(squares, (0..100u64).map(|x| x * x).collect::<Vec<_>>());
            assert!(pool.map(Vec::<u64>::new(), |x| x).is_empty());
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let pool = Workers::new(3);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.map(vec![1, 2, 3], |x| {
                assert!(x != 2, "two");
                x
            })
        }));
        assert!(caught.is_err());
        assert_eq!(pool.map(vec![1, 2], |x| x + 1), vec![2, 3]);
    }
}
