//! What every listener does: bind, accept up to a bound, and end in order.
//!
//! ```text
//!   Shutdown::begin ─▶ no new connections ─▶ running requests finish, for `grace` at most ─▶ the rest is cut
//! ```
//!
//! What must hold: clients cannot take the file descriptors that the store needs, however many connect.
//!
//! Limits: the connections allowed, and [`TURNED_AWAY_MAX`] that are being told that there are too many.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Clients beyond the allowed connections that are told so at once; further ones are closed without a
/// word.
const TURNED_AWAY_MAX: usize = 16;

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1_024;

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for {protocol} on {address}: {reason}")]
pub struct ListenError {
    /// "HTTP", "Postgres" or "Kafka".
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub reason: io::Error,
}

/// The switch that ends servers. One for all of them.
#[derive(Clone, Debug)]
pub struct Shutdown {
    sender: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A switch that is not thrown yet.
    #[must_use]
    pub fn new() -> Self {
        Self { sender: Arc::new(watch::Sender::new(false)) }
    }

    /// Throws it: servers stop accepting, finish what runs, and end.
    pub fn begin(&self) {
        self.sender.send_replace(true);
    }

    /// Waits until it is thrown.
    pub async fn begun(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.sender.subscribe().wait_for(|begun| *begun).await;
    }

    /// Whether it is thrown.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.sender.borrow()
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Where it listens; the port is the real one when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has ended: after [`Shutdown::begin`], no later than its grace period.
    pub async fn finished(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "server ended abnormally");
        }
    }
}

/// A place among the connections that may be open at once.
pub(crate) type Place = OwnedSemaphorePermit;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The port is free again as soon as the server before has ended.
    socket.set_reuseaddr(true)?;
    // What is accepted inherits it: a client whose machine is gone would keep its place for ever.
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Opens a listener and accepts until `shutdown`. A connection is handed to `serve` with its place,
/// or with none when all are taken: then it is to be told and closed.
pub(crate) async fn listen<F, Fut>(
    protocol: &'static str,
    address: SocketAddr,
    connections_max: usize,
    grace: Duration,
    shutdown: Shutdown,
    serve: F,
) -> Result<Server, ListenError>
where
    F: Fn(TcpStream, SocketAddr, Option<Place>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let failed = |reason| ListenError { protocol, address, reason };
    let listener = bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    let task = tokio::spawn(async move {
        let mut running = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = running.join_next() => continue,
                () = shutdown.begun() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Answers are small and awaited: never hold one back to fill a packet.
                    let _ = stream.set_nodelay(true);
                    let place = Arc::clone(&places).try_acquire_owned().ok();
                    let told = match &place {
                        Some(_) => None,
                        None => match Arc::clone(&turned_away).try_acquire_owned() {
                            Ok(told) => Some(told),
                            Err(_) => continue,
                        },
                    };
                    let served = serve(stream, peer, place);
                    running.spawn(async move {
                        served.await;
                        drop(told);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: closing connections frees them.
                    tracing::warn!(%error, protocol, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        let all = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!(protocol, "connections still busy after the grace period are cut");
        }
        running.shutdown().await;
    });
    Ok(Server { address, task })
}
