//! The listeners of an instance: HTTP, the Postgres wire, and a broker for producers of Kafka, each where the settings say. They listen
//! before the engine is open, so that who asks hears how far it is.

use std::net::{SocketAddr, ToSocketAddrs};

use yeoul_engine::{Engine, Recovery};
use yeoul_serve::{
    EngineSlot, HttpOptions, KafkaCredentials, KafkaOptions, PgOptions, Server, Shutdown,
    serve_http, serve_kafka, serve_pg,
};

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
        let [http_max, postgres_max, kafka_max] = connections(settings);
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
        if let Some(text) = &settings.kafka {
            let options = kafka_options(settings, kafka_max);
            let (slot, shutdown) = (self.slot.clone(), self.shutdown.clone());
            let address = match &options.credentials {
                Some(_) => known_address(text)?,
                None => address(text)?,
            };
            let server = serve_kafka(slot, address, options, shutdown).await.map_err(fail)?;
            self.places.push(format!("Kafka producers on {}", server.address()));
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

fn kafka_options(settings: &Settings, connections_max: usize) -> KafkaOptions {
    let (request, default) = (settings.kafka_request_bytes_max, KafkaOptions::default());
    let advertised = settings.kafka_advertised.as_ref().and_then(|text| text.rsplit_once(':'));
    let password = settings.kafka_password.as_ref().map(|secret| secret.0.clone());
    KafkaOptions {
        connections_max,
        request_bytes_max: request,
        // A request that may be sent is not too long for memory when it is alone.
        requests_bytes_max: request.max(default.requests_bytes_max),
        // The setting was checked: the port is one.
        advertised: advertised.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?))),
        credentials: settings
            .kafka_user
            .clone()
            .zip(password)
            .map(|(user, password)| KafkaCredentials { user, password }),
        ..default
    }
}

/// How many connections HTTP, the Postgres wire and producers of Kafka may have: what the settings say, unless the
/// system does not let so many files be open.
fn connections(settings: &Settings) -> [usize; 3] {
    let wanted = [
        settings.http.as_ref().map_or(0, |_| settings.http_connections_max),
        settings.postgres.as_ref().map_or(0, |_| settings.postgres_connections_max),
        settings.kafka.as_ref().map_or(0, |_| settings.kafka_connections_max),
    ];
    let Some(files) = descriptors::limit() else { return wanted };
    let shares = descriptors::shares(files, wanted);
    if shares.iter().zip(&wanted).any(|(share, wanted)| share < wanted) {
        let [http, postgres, kafka] = shares;
        tracing::info!(
            "the system lets {files} files be open: {http} connections of HTTP, {postgres} of Postgres and {kafka} of \
             Kafka producers at most; `ulimit -n`, or LimitNOFILE of systemd, allows more"
        );
    }
    shares
}

/// Where a listener listens that asks for no password.
fn address(text: &str) -> Result<SocketAddr, Failure> {
    let address = known_address(text)?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            "listening on {address}, where others can reach it; there is no authentication"
        );
    }
    Ok(address)
}

fn known_address(text: &str) -> Result<SocketAddr, Failure> {
    let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| Failure::usage(format!("address \"{text}\" is not known on this machine")))
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
        let settings = Settings { kafka_request_bytes_max: 4 << 30, ..Settings::default() };
        let options = kafka_options(&settings, 1);
        assert_eq!(options.request_bytes_max, 4 << 30);
        assert!(options.requests_bytes_max >= options.request_bytes_max);
        assert_eq!(options.advertised, None);
    }

    #[test]
    fn a_broker_says_where_it_is() {
        let settings = Settings {
            kafka_advertised: Some("shop.example.com:9092".into()),
            ..Settings::default()
        };
        let options = kafka_options(&settings, 1);
        assert_eq!(options.advertised, Some(("shop.example.com".into(), 9092)));
    }
}
