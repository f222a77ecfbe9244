//! What clients hear while the engine is still opening.

use std::net::SocketAddr;
use std::sync::Arc;

use yeoul_engine::{Clock, Engine, EngineOptions, Recovery};
use yeoul_serve::{EngineSlot, HttpOptions, PgOptions, Shutdown, serve_http, serve_pg};

struct Stopped;

impl Clock for Stopped {
    fn now_us(&self) -> i64 {
        1_700_000_000_000_000
    }
}

#[test]
fn listeners_answer_before_the_engine_is_open() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (slot, shutdown) = (EngineSlot::opening(), Shutdown::new());
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (http, pg) = runtime.block_on(async {
        let http = serve_http(slot.clone(), any, HttpOptions::default(), shutdown.clone());
        let pg = serve_pg(slot.clone(), any, PgOptions::default(), shutdown.clone());
        (http.await.unwrap(), pg.await.unwrap())
    });
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let agent: ureq::Agent = config.into();
    let address = |path: &str| format!("http://{}{path}", http.address());
    let get = |path: &str| {
        let mut answer = agent.get(address(path)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    slot.progress(Recovery { commits: 3, done_bytes: 10, total_bytes: 40 });
    assert_eq!(get("/healthz").0, 200);
    let (status, body) = get("/readyz");
    assert_eq!(status, 503);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "ready": false, "status": "recovering", "commits_replayed": 3, "bytes_replayed": 10, "bytes_total": 40
        })
    );
    for path in ["/v1/ingest/events", "/v1/sql", "/v1/dead-letters/events/replay"] {
        let mut answer = agent.post(address(path)).send("SELECT 1").unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        assert_eq!(answer.headers()["retry-after"], "1", "{path}");
        let body = answer.body_mut().read_to_string().unwrap();
        assert!(body.contains("starting up") && body.contains("10 of 40 bytes"), "{body}");
    }
    assert_eq!(get("/metrics").0, 503);
    let config = format!("host=127.0.0.1 port={} user=me", pg.address().port());
    let connect = || runtime.block_on(tokio_postgres::connect(&config, tokio_postgres::NoTls));
    let error = connect().err().unwrap();
    let error = error.as_db_error().unwrap();
    assert_eq!((error.code().code(), error.severity()), ("57P03", "FATAL"));
    assert_eq!(error.message(), "the database system is starting up");

    let folder = tempfile::tempdir().unwrap();
    let options = EngineOptions::default();
    let engine = Engine::open(folder.path(), Arc::new(Stopped), options, &mut |_| {}).unwrap();
    slot.ready(engine.clone());
    let (status, body) = get("/readyz");
    assert!(status == 200 && body.contains("\"status\":\"ready\""), "{status} {body}");
    let answer = agent.post(address("/v1/sql")).send("SELECT 1").unwrap();
    assert_eq!(answer.status(), 200);
    assert!(connect().is_ok());
    shutdown.begin();
    runtime.block_on(async {
        http.finished().await;
        pg.finished().await;
    });
    engine.shutdown().unwrap();
}
