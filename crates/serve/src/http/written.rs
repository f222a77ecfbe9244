//! How the events of a request are written: the parameters behind the `?`, else the `Content-Type`,
//! else what the stream was created with, else JSON.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use yeoul_engine::decode_options_with;
use yeoul_format::{DecodeOptions, Format};

use super::error::ApiError;

/// What stands behind the `?`.
pub(super) fn parameters(uri: &Uri) -> Result<Vec<(String, String)>, ApiError> {
    let parsed = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let Query(pairs) = parsed.map_err(|e| ApiError::bad(e.body_text()))?;
    let twice = (1..pairs.len()).find(|i| pairs[..*i].iter().any(|pair| pair.0 == pairs[*i].0));
    match twice {
        Some(i) => Err(ApiError::bad(format!("parameter \"{}\" is given twice", pairs[i].0))),
        None => Ok(pairs),
    }
}

/// The name of a stream in an address.
pub(super) fn name(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let unreadable = |_| {
        ApiError::bad("the name in the address is no text")
            .hint("characters beyond ASCII are the bytes of UTF-8, each as % and two digits")
    };
    path.map(|Path(name)| name).map_err(unreadable)
}

/// How the body is decoded: as the stream says, in the format that the request says.
pub(super) fn decode_options(
    stream: &DecodeOptions,
    headers: &HeaderMap,
    given: &[(String, String)],
) -> Result<DecodeOptions, ApiError> {
    let format = format(headers)?;
    // Rows of a stream that is fed with Parquet files may be sent as well.
    let own = stream.format.filter(|format| !matches!(format, Format::Parquet | Format::Avro));
    let options = stream.for_format(format.or(own).unwrap_or_default());
    if given.is_empty() { Ok(options) } else { Ok(decode_options_with(&options, given)?) }
}

/// The format of the body by its `Content-Type`, if that says one.
fn format(headers: &HeaderMap) -> Result<Option<Format>, ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let value = value.to_str().unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        // What `curl --data-binary` says unless told otherwise; nobody sends events as a form.
        "" | "application/x-www-form-urlencoded" | "application/octet-stream" | "text/plain" => {
            Ok(None)
        }
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/json"
        | "application/json-lines" => Ok(Some(Format::Json)),
        "text/csv" | "application/csv" => Ok(Some(Format::Csv)),
        "text/tab-separated-values" => Ok(Some(Format::Tsv)),
        other => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "0A000",
            format!("Content-Type \"{other}\" is not supported"),
        )
        .hint(
            "it may be application/x-ndjson, application/json, text/csv or \
             text/tab-separated-values",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_given_once() {
        let of = |uri: &str| parameters(&uri.parse().unwrap());
        assert_eq!(of("/?format=csv&header=false").unwrap().len(), 2);
        let error = of("/?header=true&header=false").unwrap_err();
        assert_eq!(error.error.message, "parameter \"header\" is given twice");
    }

    #[test]
    fn formats_by_header() {
        let of = |value: &str| {
            format(&HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]))
        };
        assert_eq!(format(&HeaderMap::new()).unwrap(), None);
        assert_eq!(of("application/octet-stream").unwrap(), None);
        assert_eq!(of("application/json; charset=utf-8").unwrap(), Some(Format::Json));
        assert_eq!(of("Text/CSV").unwrap(), Some(Format::Csv));
        assert_eq!(of("image/png").unwrap_err().status, 415);
    }
}
