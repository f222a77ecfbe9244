//! The beginning of a connection: encryption asked for, cancel requests, the session's parameters.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use yeoul_engine::{EngineError, ErrorKind};

use super::PgOptions;
use super::connection::Connection;
use super::message::Opening;
use super::registry::Registry;
use super::reply::{self, Severity, Transaction};
use super::settings::{Settings, Told};
use super::wire::{Wire, WireError};
use crate::decode::Decoding;
use crate::listen::{Place, Shutdown};
use crate::slot::EngineSlot;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) slot: EngineSlot,
    pub(crate) options: PgOptions,
    pub(crate) registry: Arc<Registry>,
    pub(crate) decoding: Decoding,
    pub(crate) shutdown: Shutdown,
}

/// A connection from its first byte to its last.
pub(crate) async fn run(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Option<Place>,
) {
    let options = &shared.options;
    let mut wire = Wire::new(stream, options.message_bytes_max, options.write_timeout);
    let opened = tokio::time::timeout(options.startup_timeout, open(&shared, &mut wire)).await;
    let parameters = match opened {
        Ok(Ok(Some(parameters))) => parameters,
        Ok(Ok(None)) => return wire.close().await,
        Ok(Err(error)) => return end(wire, peer, &error).await,
        Err(_) => {
            tracing::debug!(%peer, "no startup message in time");
            return;
        }
    };
    if place.is_none() {
        let limit = options.connections_max;
        let error = EngineError::new(ErrorKind::Limit, "too many connections")
            .with_detail(format!("{limit} connections are open, as many as are allowed"))
            .with_sqlstate("53300");
        reply::error(&mut wire.out, Severity::Fatal, &error);
        return wire.close().await;
    }
    let session = match shared.slot.engine() {
        Ok(engine) => engine.session(),
        Err(error) => {
            reply::error(&mut wire.out, Severity::Fatal, &error);
            return wire.close().await;
        }
    };
    let settings = Settings::new(&parameters);
    let registered = shared.registry.enter(session.cancel_handle());
    let told = Told { settings: settings.clone(), pid: registered.pid };
    let session = session.of_client(Arc::new(told));
    reply::authentication_ok(&mut wire.out);
    for (name, value) in settings.reported() {
        reply::parameter_status(&mut wire.out, name, &value);
    }
    reply::backend_key(&mut wire.out, registered.pid, registered.secret);
    reply::ready(&mut wire.out, Transaction::Idle);
    tracing::debug!(%peer, pid = registered.pid, "Postgres session begins");
    let mut connection = Connection::new(Arc::clone(&shared), wire, session, settings);
    let ended = connection.run().await;
    // A statement that still runs for a client that is gone is ended.
    connection.session.cancel_handle().cancel();
    drop(registered);
    match ended {
        Ok(()) => connection.wire.close().await,
        Err(error) => end(connection.wire, peer, &error).await,
    }
    drop(place);
}

/// The parameters of the session; `None` when it was only a cancel request.
async fn open(
    shared: &Shared,
    wire: &mut Wire,
) -> Result<Option<Vec<(String, String)>>, WireError> {
    loop {
        match wire.opening().await? {
            Opening::Tls | Opening::Gss => {
                wire.out.extend_from_slice(b"N");
                wire.flush().await?;
            }
            Opening::Cancel { pid, secret } => {
                shared.registry.cancel(pid, &secret);
                return Ok(None);
            }
            Opening::Start { minor, parameters } => {
                let unknown: Vec<&str> = parameters
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .filter(|name| name.starts_with("_pq_."))
                    .collect();
                if minor > 0 || !unknown.is_empty() {
                    reply::negotiate_version(&mut wire.out, &unknown);
                }
                let replicates = parameters.iter().any(|(name, value)| {
                    name == "replication" && !matches!(value.as_str(), "false" | "off" | "no" | "0")
                });
                if replicates {
                    let error = EngineError::new(ErrorKind::Input, "replication is not offered")
                        .with_sqlstate("0A000");
                    reply::error(&mut wire.out, Severity::Fatal, &error);
                    return Ok(None);
                }
                return Ok(Some(parameters));
            }
        }
    }
}

/// Ends a connection that cannot go on; the client is told if it can hear it.
async fn end(mut wire: Wire, peer: SocketAddr, error: &WireError) {
    tracing::debug!(%peer, %error, "Postgres connection ends");
    if let WireError::Malformed(malformed) = error {
        let error =
            EngineError::new(ErrorKind::Input, malformed.to_string()).with_sqlstate("08P01");
        reply::error(&mut wire.out, Severity::Fatal, &error);
        wire.close().await;
    }
}
