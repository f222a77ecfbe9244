//! The listeners of an instance: HTTP and the Postgres wire, each where the settings say. They listen
//! before the engine is open, so that who asks hears how far it is.

use std::net::{SocketAddr, ToSocketAddrs};

use yeoul_engine::{Engine, Recovery};
use yeoul_serve::{EngineSlot, HttpOptions, PgOptions, Server, Shutdown, serve_http, serve_pg};

use crate::config::Settings;
use crate::descriptors;
use crate::failure::Failure;

/// Listeners that listen.
pub(crate) struct Listeners {
    slot: EngineSlot,
    shutdown: Shutdown,
    servers: Vec<Server>,
    /// What is said when they serve.
    places: Vec<String>,
}

impl Listeners {
    /// Starts those that the settings ask for.
    pub(crate) async fn start(settings: &Settings) -> Result<Self, Failure> {
        let slot = EngineSlot::opening();
        let shutdown = Shutdown::new();
        let mut listeners = Self { slot, shutdown, servers: Vec::new(), places: Vec::new() };
        let started = listeners.add(settings).await;
        if let Err(failure) = started {
            listeners.stop().await;
            return Err(failure);
        }
        Ok(listeners)
    }

    /// The engine has replayed so much of its log.
    pub(crate) fn progress(&self, recovery: Recovery) {
        self.slot.progress(recovery);
    }

    /// The engine is open: from now on requests are served.
    pub(crate) fn ready(&self, engine: &Engine) {
        self.slot.ready(engine.clone());
        for place in &self.places {
            tracing::info!("{place}");
        }
    }

    async fn add(&mut self, settings: &Settings) -> Result<(), Failure> {
        let (http_max, postgres_max) = connections(settings);
        let fail = |e: yeoul_serve::ListenError| {
            Failure::new(format!("{e}\nhint: choose another address, or \"off\""))
        };
        if let Some(text) = &settings.http {
            let options = http_options(settings, http_max);
            let (slot, shutdown) = (self.slot.clone(), self.shutdown.clone());
            let server = serve_http(slot, address(text)?, options, shutdown).await.map_err(fail)?;
            let place = format!("http://{}", server.address());
            tracing::info!("opening the data folder; {place}/readyz says how far it is");
            self.places.push(format!("HTTP on {place}"));
            self.servers.push(server);
        }
        if let Some(text) = &settings.postgres {
            let options = PgOptions { connections_max: postgres_max, ..PgOptions::default() };
            let (slot, shutdown) = (self.slot.clone(), self.shutdown.clone());
            let server = serve_pg(slot, address(text)?, options, shutdown).await.map_err(fail)?;
            self.places.push(format!("Postgres on postgres://yeoul@{}/yeoul", server.address()));
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

fn http_options(settings: &Settings, connections_max: usize) -> HttpOptions {
    let (body, default) = (settings.http_body_bytes_max, HttpOptions::default());
    HttpOptions {
        connections_max,
        body_bytes_max: body,
        // A body that may be sent is not too long uncompressed, nor alone in memory.
        unpacked_bytes_max: body.max(default.unpacked_bytes_max),
        bodies_bytes_max: body.max(default.bodies_bytes_max),
        ..default
    }
}

/// How many connections HTTP and the Postgres wire may have: what the settings say, unless the system does not
/// let so many files be open.
fn connections(settings: &Settings) -> (usize, usize) {
    let wanted = (
        settings.http.as_ref().map_or(0, |_| settings.http_connections_max),
        settings.postgres.as_ref().map_or(0, |_| settings.postgres_connections_max),
    );
    let Some(files) = descriptors::limit() else { return wanted };
    let (http, postgres) = descriptors::shares(files, wanted.0, wanted.1);
    if http < wanted.0 || postgres < wanted.1 {
        tracing::info!(
            "the system lets {files} files be open: {http} connections of HTTP and {postgres} of Postgres at most; \
             `ulimit -n`, or LimitNOFILE of systemd, allows more"
        );
    }
    (http, postgres)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_as_long_as_the_setting_says_is_taken() {
        let settings = Settings { http_body_bytes_max: 4 << 30, ..Settings::default() };
        let options = http_options(&settings, 1);
        assert_eq!(options.body_bytes_max, 4 << 30);
        assert!(options.unpacked_bytes_max >= options.body_bytes_max);
        assert!(options.bodies_bytes_max >= options.body_bytes_max);
    }
}
