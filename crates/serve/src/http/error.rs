//! Errors as HTTP answers: a status and `{"error": {"message", "detail", "hint", "code", "position"}}`.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use yeoul_engine::{EngineError, ErrorKind, Receipt, SubmitError};

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// Boxed: results carry an error by value, and almost none has one.
    pub(crate) error: Box<EngineError>,
    /// When to come back.
    pub(crate) retry_after: Option<Duration>,
    /// What of the request was committed before it failed.
    pub(crate) committed: Option<Receipt>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let error = EngineError::new(ErrorKind::Input, message).with_sqlstate(code);
        Self { status, error: Box::new(error), retry_after: None, committed: None }
    }

    /// A mistake in the request.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "22000", message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.error.hint = Some(hint.into());
        self
    }

    /// More than is taken at once.
    pub(crate) fn too_large(what: &str, limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "54000",
            format!("{what} is larger than the limit of {limit} bytes"),
        )
        .hint("send it as several requests")
    }

    /// Too much at once from all clients together.
    pub(crate) fn busy(message: &str, retry_after: Duration) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "53000", message)
            .hint("send it again after the time in Retry-After");
        error.retry_after = Some(retry_after);
        error
    }

    pub(crate) fn committed(mut self, receipt: Receipt) -> Self {
        self.committed = Some(receipt);
        self
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let status = match error.kind {
            ErrorKind::Input => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Cancelled => StatusCode::REQUEST_TIMEOUT,
            ErrorKind::Limit | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error: Box::new(error), retry_after: None, committed: None }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Busy { retry_after } => {
                Self::busy("the ingest queue is full", retry_after)
            }
            SubmitError::Refused(error) => error.into(),
        }
    }
}

/// The error as the object that stands under `"error"`.
pub(crate) fn object(error: &EngineError) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    let mut put = |name: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    put("message", Some(error.message.as_str().into()));
    put("detail", error.detail.as_deref().map(Into::into));
    put("hint", error.hint.as_deref().map(Into::into));
    put("code", Some(error.sqlstate.as_str().into()));
    put("position", error.position.map(Into::into));
    object.into()
}

/// The fields of a receipt.
pub(crate) fn receipt(receipt: &Receipt) -> serde_json::Value {
    serde_json::json!({
        "accepted": receipt.accepted,
        "duplicates": receipt.duplicates,
        "late": receipt.late,
        "dead_letters": receipt.dead_letters,
        "commit": receipt.commit.0,
    })
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = serde_json::json!({ "error": object(&self.error) });
        if let Some(committed) = &self.committed {
            body["committed"] = receipt(committed);
        }
        let mut response = Response::new(Body::from(format!("{body}\n")));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            // Whole seconds, and never 0: that would be "at once".
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_become_statuses() {
        let status = |kind| ApiError::from(EngineError::new(kind, "x")).status.as_u16();
        assert_eq!(status(ErrorKind::Input), 400);
        assert_eq!(status(ErrorKind::NotFound), 404);
        assert_eq!(status(ErrorKind::Cancelled), 408);
        assert_eq!(status(ErrorKind::Unavailable), 503);
    }

    #[test]
    fn busy_says_when_to_come_back() {
        let response = ApiError::from(SubmitError::Busy { retry_after: Duration::from_millis(20) })
            .into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
