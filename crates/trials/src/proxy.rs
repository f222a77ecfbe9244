//! A network between a client and a server on this machine, that fails when it is told to.
//!
//! ```text
//!   client ──▶ proxy ──▶ server        each direction is a thread per connection
//! ```
//!
//! Brokers of Kafka say where they are: what they say is changed into where the proxy is.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a connection looks whether anything has changed.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes that pass at once while the network is slow, and how long after each other.
const SLOW_BYTES: usize = 4 << 10;
const SLOW_PAUSE: Duration = Duration::from_millis(20);

/// What is wrong with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Nothing.
    None,
    /// Connections are cut, and no new one is taken.
    Cut,
    /// Nothing arrives at the server, and nobody says so.
    Deaf,
    /// Nothing comes back from the server, and nobody says so.
    Mute,
    /// Some hundred thousand bytes a second.
    Slow,
}

/// All faults there are.
const FAULTS: [Fault; 5] = [Fault::None, Fault::Cut, Fault::Deaf, Fault::Mute, Fault::Slow];

struct Shared {
    fault: AtomicU8,
    ended: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Shared {
    fn fault(&self) -> Fault {
        FAULTS[usize::from(self.fault.load(Ordering::Relaxed))]
    }

    fn cut(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in connections.drain(..) {
            // One that has ended already needs no end.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// See the module. It ends when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Begins to listen on `port`, for a server on another one.
    ///
    /// # Panics
    /// When the port is taken.
    #[must_use]
    pub fn start(port: u16, server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        listener.set_nonblocking(true).expect("a listener");
        let shared = Arc::new(Shared {
            fault: AtomicU8::new(Fault::None as u8),
            ended: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let of = Arc::clone(&shared);
        let server = SocketAddr::from(([127, 0, 0, 1], server));
        let said = Said::new(server.port(), port);
        std::thread::spawn(move || accept(&listener, server, &of, said));
        Self { port, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The network is like this from now on.
    pub fn set(&self, fault: Fault) {
        self.shared.fault.store(fault as u8, Ordering::Relaxed);
        if fault == Fault::Cut {
            self.shared.cut();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.cut();
    }
}

/// Where a broker says that it is, and where it is to say that it is.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    server: [u8; 13],
    proxy: [u8; 13],
}

impl Said {
    pub(crate) fn new(server: u16, proxy: u16) -> Self {
        let place = |port: u16| {
            let mut place = *b"127.0.0.1\0\0\0\0";
            place[9..].copy_from_slice(&i32::from(port).to_be_bytes());
            place
        };
        Self { server: place(server), proxy: place(proxy) }
    }

    pub(crate) fn change(&self, bytes: &mut [u8]) {
        let len = self.server.len();
        let mut at = 0;
        while at + len <= bytes.len() {
            if bytes[at..at + len] == self.server {
                bytes[at..at + len].copy_from_slice(&self.proxy);
            }
            at += 1;
        }
    }
}

fn accept(listener: &TcpListener, server: SocketAddr, shared: &Arc<Shared>, said: Said) {
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(LOOK);
            continue;
        };
        if shared.fault() == Fault::Cut {
            continue;
        }
        // A server that is away takes no connection either.
        let Ok(server) = TcpStream::connect(server) else { continue };
        let ends = [client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone()];
        let [Ok(from), Ok(to), Ok(one), Ok(two)] = ends else { continue };
        shared.connections.lock().unwrap_or_else(PoisonError::into_inner).extend([one, two]);
        let of = Arc::clone(shared);
        std::thread::spawn(move || pass(from, to, Fault::Deaf, &of, None));
        let of = Arc::clone(shared);
        std::thread::spawn(move || pass(server, client, Fault::Mute, &of, Some(said)));
    }
}

/// Passes bytes on, but for while the network has `fault`.
fn pass(mut from: TcpStream, mut to: TcpStream, fault: Fault, shared: &Shared, said: Option<Said>) {
    let mut buffer = vec![0; 64 << 10];
    let wait = from.set_nonblocking(false).and_then(|()| from.set_read_timeout(Some(LOOK)));
    while wait.is_ok() && !shared.ended.load(Ordering::Relaxed) {
        let now = shared.fault();
        if now == fault {
            std::thread::sleep(LOOK);
            continue;
        }
        let room = if now == Fault::Slow { SLOW_BYTES } else { buffer.len() };
        match from.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(count) => {
                if let Some(said) = said {
                    said.change(&mut buffer[..count]);
                }
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
                if now == Fault::Slow {
                    std::thread::sleep(SLOW_PAUSE);
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
