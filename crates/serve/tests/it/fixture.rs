//! A running engine with its servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tokio::runtime::Runtime;
use yeoul_engine::{Clock, Engine, EngineOptions};
use yeoul_serve::{
    HttpOptions, KafkaOptions, PgOptions, Server, Shutdown, serve_http, serve_kafka, serve_pg,
};

/// Goes on from a fixed instant.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now_us(&self) -> i64 {
        1_800_000_000_000_000 + i64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

pub(crate) struct Fixture {
    pub(crate) runtime: Runtime,
    pub(crate) engine: Engine,
    pub(crate) http: SocketAddr,
    pub(crate) pg: SocketAddr,
    pub(crate) kafka: SocketAddr,
    pub(crate) shutdown: Shutdown,
    servers: Vec<Server>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(HttpOptions::default(), PgOptions::default())
    }

    pub(crate) fn with(http: HttpOptions, pg: PgOptions) -> Self {
        Self::of(EngineOptions::default(), http, pg, KafkaOptions::default())
    }

    pub(crate) fn with_kafka(engine: EngineOptions, kafka: KafkaOptions) -> Self {
        Self::of(engine, HttpOptions::default(), PgOptions::default(), kafka)
    }

    fn of(options: EngineOptions, http: HttpOptions, pg: PgOptions, kafka: KafkaOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(Instant::now()));
        let engine = Engine::open(folder.path(), clock, options, &mut |_| {}).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let shutdown = Shutdown::new();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let servers = runtime.block_on(async {
            let http = serve_http(engine.clone(), any, http, shutdown.clone()).await.unwrap();
            let pg = serve_pg(engine.clone(), any, pg, shutdown.clone()).await.unwrap();
            let kafka = serve_kafka(engine.clone(), any, kafka, shutdown.clone()).await.unwrap();
            vec![http, pg, kafka]
        });
        let [http, pg, kafka] = [0, 1, 2].map(|at: usize| servers[at].address());
        Self { runtime, engine, http, pg, kafka, shutdown, servers, _folder: folder }
    }

    /// With a stream of events.
    pub(crate) fn with_events() -> Self {
        let fixture = Self::new();
        fixture.create_events();
        fixture
    }

    pub(crate) fn create_events(&self) {
        self.sql(
            "CREATE STREAM events (event_id VARCHAR, ts TIMESTAMPTZ, user_id VARCHAR, price DOUBLE PRECISION) \
             WITH (unique_key = 'event_id', unique_within = '1 hour')",
        );
    }

    /// Sends a request with headers `(name, value)`.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.post(format!("http://{}{path}", self.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body).unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        answer(agent.get(format!("http://{}{path}", self.http)).call().unwrap())
    }

    /// Runs a statement, which must not fail.
    pub(crate) fn sql(&self, sql: &str) -> Value {
        let answer = self.post("/v1/sql", &[], sql.as_bytes());
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        answer.json()
    }

    /// The first column of the first row of a query.
    pub(crate) fn one(&self, sql: &str) -> Value {
        let answer = self.sql(sql);
        let row = answer["rows"][0].as_object().unwrap_or_else(|| panic!("{sql}: {answer}"));
        row.values().next().unwrap().clone()
    }

    /// Connects as a driver does.
    pub(crate) async fn connect(&self) -> tokio_postgres::Client {
        let config = format!("host=127.0.0.1 port={} user=me dbname=yeoul", self.pg.port());
        let (client, connection) =
            tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Ends the servers in order; says how long it took.
    pub(crate) fn stop(mut self) -> std::time::Duration {
        let begin = Instant::now();
        self.shutdown.begin();
        for server in std::mem::take(&mut self.servers) {
            self.runtime.block_on(server.finished());
        }
        begin.elapsed()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.begin();
        self.engine.shutdown().unwrap();
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let header =
        |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (kind, retry_after) = (header("content-type").unwrap_or_default(), header("retry-after"));
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
    Answer { status, kind, retry_after, body }
}
