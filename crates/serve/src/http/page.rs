//! What people and their machines look at: the front page, health, metrics.

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::Shared;

const PAGE: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Yeoul</title>\n",
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}",
    "code{background:#eee;padding:.1rem .3rem;border-radius:.2rem}</style>\n",
    "<h1>Yeoul ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<p>Addresses of this server:</p>\n<ul>\n",
    "<li><code>POST /v1/ingest/{stream}</code> takes events: NDJSON, a JSON array or CSV\n",
    "<li><code>GET /v1/dead-letters/{stream}</code> gives what could not be decoded, as NDJSON\n",
    "<li><code>POST /v1/dead-letters/{stream}/replay</code> takes it back when it was mended\n",
    "<li><code>POST /v1/sql</code> answers SQL: JSON, CSV or Arrow\n",
    "<li><a href=\"/healthz\"><code>GET /healthz</code></a> says whether the process lives\n",
    "<li><a href=\"/readyz\"><code>GET /readyz</code></a> says whether it takes and answers\n",
    "<li><a href=\"/metrics\"><code>GET /metrics</code></a> counts, for Prometheus\n",
    "</ul>\n</html>\n"
);

pub(crate) async fn front() -> Html<&'static str> {
    Html(PAGE)
}

pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the engine has recovered and takes rows.
pub(crate) async fn readyz(State(shared): State<Shared>) -> Response {
    let Ok(engine) = shared.engine() else { return recovering(&shared) };
    let health = engine.health();
    let mut body = serde_json::json!({
        "ready": true,
        "status": "ready",
        "commit": health.commit.0,
        "building": health.building,
        "stopped": health.stopped,
    });
    let mut status = StatusCode::OK;
    if let Some(reason) = health.poisoned {
        status = StatusCode::SERVICE_UNAVAILABLE;
        body["ready"] = false.into();
        body["status"] = "failed".into();
        body["reason"] = reason.into();
    } else if shared.shutdown.has_begun() {
        status = StatusCode::SERVICE_UNAVAILABLE;
        body["ready"] = false.into();
        body["status"] = "stopping".into();
        body["reason"] = "the server is stopping".into();
    }
    (status, json_type(), format!("{body}\n")).into_response()
}

/// How far the replay of the log is. How many commits it has is not known before its end.
fn recovering(shared: &Shared) -> Response {
    let at = shared.slot.recovery();
    let body = serde_json::json!({
        "ready": false,
        "status": "recovering",
        "commits_replayed": at.commits,
        "bytes_replayed": at.done_bytes,
        "bytes_total": at.total_bytes,
    });
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, headers, format!("{body}\n")).into_response()
}

pub(crate) async fn metrics(State(shared): State<Shared>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    match shared.engine() {
        Ok(engine) => (kind, engine.metrics_text()).into_response(),
        Err(error) => error.into_response(),
    }
}

pub(crate) fn json_type() -> [(HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, "application/json")]
}
