//! A broker of the trials' own: one node, topics in memory, transactions, and answers as soon as there is something.
//!
//! The brokers that can be installed are each wrong somewhere, and slow where it matters for a measurement. This one does
//! little, and that as [the protocol](https://kafka.apache.org/protocol) says: it dedupes batches of idempotent producers, shows
//! readers of committed messages nothing else, keeps to the sizes that readers ask for, and has what it had when it is started
//! again. It tells readers nothing of each other: there are no members of groups, only their offsets.
//!
//! ```text
//!   a thread per connection ──▶ answer() ──▶ State (one lock) ──▶ log of each partition
//!                                  ▲                │
//!                                  └── fetches wait ┘ until there is more
//! ```

mod log;
mod serve;
mod state;

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use state::State;

/// See the module. It stops when this is dropped.
pub struct MemoryBroker {
    port: u16,
    shared: Arc<Shared>,
    running: Option<Running>,
}

struct Running {
    stopping: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    listening: JoinHandle<()>,
}

/// What all connections share.
struct Shared {
    state: Mutex<State>,
    /// There is something new.
    more: Condvar,
    /// The port that clients are told to come to.
    advertised: u16,
    /// Bytes kept of a partition, about.
    bytes_max: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryBroker {
    /// A broker that does not run yet, on a port of loopback, whose clients are to come to `advertised`; it keeps about
    /// `bytes_max` of each partition.
    #[must_use]
    pub fn new(port: u16, advertised: u16, bytes_max: usize) -> Self {
        let (state, more) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { state, more, advertised, bytes_max });
        Self { port, shared, running: None }
    }

    /// Starts it, with what it had when it was stopped.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        let listener = TcpListener::bind(("127.0.0.1", self.port))?;
        let (stopping, streams) =
            (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let (ending, open, shared) =
            (Arc::clone(&stopping), Arc::clone(&streams), Arc::clone(&self.shared));
        let listening = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ending.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                // Without a delay: an answer is one write.
                let ready = stream.set_nodelay(true).and_then(|()| stream.try_clone());
                let Ok(other) = ready else { continue };
                let mut open = lock(&open);
                open.retain(|stream| stream.peer_addr().is_ok());
                open.push(other);
                let (shared, ending) = (Arc::clone(&shared), Arc::clone(&ending));
                // It ends with its client.
                std::thread::spawn(move || drop(serve::serve(stream, &shared, &ending)));
            }
        });
        self.running = Some(Running { stopping, streams, listening });
        Ok(())
    }

    /// Stops it at once: whoever waits for an answer gets none.
    pub fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.stopping.store(true, Ordering::Relaxed);
        // So that it looks.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        drop(running.listening.join());
        for stream in lock(&running.streams).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        self.shared.more.notify_all();
    }
}

impl Drop for MemoryBroker {
    fn drop(&mut self) {
        self.stop();
    }
}
