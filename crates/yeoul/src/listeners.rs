//! The listeners of an instance: HTTP and the Postgres wire, each where the settings say.

use std::net::{SocketAddr, ToSocketAddrs};

use yeoul_engine::Engine;
use yeoul_serve::{HttpOptions, PgOptions, Server, Shutdown, serve_http, serve_pg};

use crate::config::Settings;
use crate::failure::Failure;

/// Listeners that listen.
pub(crate) struct Listeners {
    shutdown: Shutdown,
    servers: Vec<Server>,
}

impl Listeners {
    /// Starts those that the settings ask for.
    pub(crate) async fn start(engine: &Engine, settings: &Settings) -> Result<Self, Failure> {
        let mut listeners = Self { shutdown: Shutdown::new(), servers: Vec::new() };
        let started = listeners.add(engine, settings).await;
        if let Err(failure) = started {
            listeners.stop().await;
            return Err(failure);
        }
        Ok(listeners)
    }

    async fn add(&mut self, engine: &Engine, settings: &Settings) -> Result<(), Failure> {
        let fail = |e: yeoul_serve::ListenError| {
            Failure::new(format!("{e}\nhint: choose another address, or \"off\""))
        };
        if let Some(text) = &settings.http {
            let options = HttpOptions {
                connections_max: settings.http_connections_max,
                body_bytes_max: settings.http_body_bytes_max,
                bodies_bytes_max: settings
                    .http_body_bytes_max
                    .max(HttpOptions::default().bodies_bytes_max),
                ..HttpOptions::default()
            };
            let (engine, shutdown) = (engine.clone(), self.shutdown.clone());
            let server =
                serve_http(engine, address(text)?, options, shutdown).await.map_err(fail)?;
            tracing::info!("HTTP on http://{}", server.address());
            self.servers.push(server);
        }
        if let Some(text) = &settings.postgres {
            let options = PgOptions {
                connections_max: settings.postgres_connections_max,
                ..PgOptions::default()
            };
            let (engine, shutdown) = (engine.clone(), self.shutdown.clone());
            let server = serve_pg(engine, address(text)?, options, shutdown).await.map_err(fail)?;
            tracing::info!("Postgres on postgres://yeoul@{}/yeoul", server.address());
            self.servers.push(server);
        }
        Ok(())
    }

    /// Takes nothing new, finishes what runs, and ends.
    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        for server in self.servers {
            server.finished().await;
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
    let address = found.ok_or_else(|| {
        Failure::usage(format!("address \"{text}\" is not known on this machine"))
    })?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            "listening on {address}, where others can reach it; there is no authentication"
        );
    }
    Ok(address)
}
