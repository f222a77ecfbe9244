//! `POST /v1/sql`: statements in, the answer of the last one out.

use std::time::Instant;

use arrow::array::RecordBatch;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::Fuse;
use serde::Deserialize;
use yeoul_engine::{Answer, CancelHandle, EngineError, RowStream, Session};

use super::answer::{self, Rows};
use super::error::ApiError;
use super::written::parameters;
use super::{Shared, body, page};
use crate::parameter::from_json;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Json,
    Csv,
    Arrow,
}

/// A statement as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    sql: String,
    #[serde(default)]
    parameters: Option<Vec<serde_json::Value>>,
}

/// Ends what a session runs when the client does not wait for it any more.
pub(crate) struct Cancelling(CancelHandle);

impl Drop for Cancelling {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

pub(crate) async fn sql(State(shared): State<Shared>, request: Request) -> Response {
    match answer(&shared, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// What `?format=` says; nothing else may follow the `?`.
fn format_of(uri: &Uri) -> Result<Option<String>, ApiError> {
    let mut format = None;
    for (name, value) in parameters(uri)? {
        if name != "format" {
            return Err(ApiError::bad(format!("parameter \"{name}\" does not exist")).hint(
                "the only one is format; values of $1, $2, … stand in a body of application/json",
            ));
        }
        format = Some(value);
    }
    Ok(format)
}

async fn answer(shared: &Shared, request: Request) -> Result<Response, ApiError> {
    let begin = Instant::now();
    let (head, body) = request.into_parts();
    let layout = layout(format_of(&head.uri)?.as_deref(), &head.headers)?;
    let options = &shared.options;
    let length = body::length(&head.headers);
    let bytes = body::read(body, length, options.sql_bytes_max, options.body_timeout).await?;
    let statement = statement(&head.headers, &bytes)?;
    let session = shared.engine()?.session();
    let cancelling = Cancelling(session.cancel_handle());
    match run(&session, statement).await? {
        Answer::Rows { schema, commit, rows } => {
            let (first, rows) = first(rows).await?;
            let rows = Rows { schema, commit, first, rows, begin, cancelling };
            answer::respond(rows, layout)
        }
        Answer::Done { tag, commit } => {
            let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
            let body = serde_json::json!({
                "tag": tag,
                "commit": commit.map(|commit| commit.0),
                "took_us": took,
            });
            Ok((page::json_type(), format!("{body}\n")).into_response())
        }
        // COPY … TO STDOUT is a query whose answer says how it is written.
        Answer::CopyOut { .. } => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, "0A000", "COPY TO STDOUT is not for HTTP")
                .hint("send the query itself, with ?format=csv"))
        }
        Answer::CopyIn(_) => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, "0A000", "COPY FROM STDIN needs rows")
                .hint("send rows to POST /v1/ingest/{stream}, or use COPY on the Postgres wire"))
        }
    }
}

/// By `?format=`, else by the `Accept` header, else JSON.
fn layout(format: Option<&str>, headers: &HeaderMap) -> Result<Layout, ApiError> {
    if let Some(format) = format {
        return match format.to_ascii_lowercase().as_str() {
            "json" => Ok(Layout::Json),
            "csv" => Ok(Layout::Csv),
            "arrow" => Ok(Layout::Arrow),
            _ => Err(ApiError::bad(format!("format \"{format}\" is not known"))
                .hint("it may be json, csv or arrow")),
        };
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let Some(accept) = accept else { return Ok(Layout::Json) };
    for kind in accept.split(',') {
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/json" | "*/*" | "application/*" | "" => return Ok(Layout::Json),
            "text/csv" | "text/*" => return Ok(Layout::Csv),
            "application/vnd.apache.arrow.stream" => return Ok(Layout::Arrow),
            _ => {}
        }
    }
    Err(ApiError::new(
        StatusCode::NOT_ACCEPTABLE,
        "0A000",
        format!("none of the types in Accept can be given: {accept}"),
    )
    .hint("it may be application/json, text/csv or application/vnd.apache.arrow.stream"))
}

fn statement(headers: &HeaderMap, bytes: &[u8]) -> Result<Statement, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("application/json"))
    {
        return serde_json::from_slice(bytes).map_err(|e| {
            ApiError::bad(format!("the request body is not a statement: {e}"))
                .hint("it has the form {\"sql\": \"SELECT $1\", \"parameters\": [1]}")
        });
    }
    match std::str::from_utf8(bytes) {
        Ok(sql) => Ok(Statement { sql: sql.to_owned(), parameters: None }),
        Err(_) => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, "22021", "the request body is not UTF-8"))
        }
    }
}

async fn run(session: &Session, statement: Statement) -> Result<Answer, ApiError> {
    let Some(values) = statement.parameters else {
        let answers = session.execute(&statement.sql).await;
        let mut last = None;
        for answer in answers {
            last = Some(answer?);
        }
        return last.ok_or_else(|| {
            ApiError::new(StatusCode::BAD_REQUEST, "42601", "there is no statement")
                .hint("the request body is the SQL text")
        });
    };
    let prepared = session.prepare(&statement.sql, &[]).await?;
    if values.len() != prepared.parameters.len() {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "08P01",
            format!(
                "the statement has {} parameters, and {} values were given",
                prepared.parameters.len(),
                values.len()
            ),
        ));
    }
    let mut parameters = Vec::with_capacity(values.len());
    for (i, (value, data_type)) in values.iter().zip(&prepared.parameters).enumerate() {
        let parameter = from_json(value, data_type);
        parameters.push(parameter.map_err(|mut error| {
            error.message = format!("parameter ${}: {}", i + 1, error.message);
            error
        })?);
    }
    Ok(session.run(&prepared, parameters).await?)
}

/// Waits for the first rows: errors up to there still have a status of their own.
async fn first(rows: RowStream) -> Result<(Option<RecordBatch>, Fuse<RowStream>), EngineError> {
    let mut rows = rows.fuse();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            return Ok((Some(batch), rows));
        }
    }
    Ok((None, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> HeaderMap {
        [(header::ACCEPT, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn layouts() {
        let none = HeaderMap::new();
        assert_eq!(layout(None, &none).unwrap(), Layout::Json);
        assert_eq!(layout(Some("Arrow"), &none).unwrap(), Layout::Arrow);
        assert_eq!(layout(Some("xml"), &none).unwrap_err().status, 400);
        assert_eq!(layout(None, &accept("text/csv; q=1, */*")).unwrap(), Layout::Csv);
        assert_eq!(layout(None, &accept("image/png, */*")).unwrap(), Layout::Json);
        assert_eq!(layout(None, &accept("image/png")).unwrap_err().status, 406);
    }

    #[test]
    fn statements_as_json_or_text() {
        let json: HeaderMap =
            [(header::CONTENT_TYPE, "application/json".parse().unwrap())].into_iter().collect();
        let got = statement(&json, br#"{"sql": "select $1", "parameters": [1]}"#).unwrap();
        assert_eq!((got.sql.as_str(), got.parameters.map(|p| p.len())), ("select $1", Some(1)));
        assert!(statement(&json, br#"{"query": "x"}"#).is_err());
        let got = statement(&HeaderMap::new(), b"select 1").unwrap();
        assert_eq!(got.sql, "select 1");
        assert!(statement(&HeaderMap::new(), &[0xff]).is_err());
    }
}
