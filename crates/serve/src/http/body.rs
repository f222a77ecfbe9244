//! The body of a request: read within limits, then uncompressed piece by piece.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use tokio::time::Instant;

use super::error::ApiError;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Plain,
    Gzip,
    Zstd,
}

impl Coding {
    /// By the `Content-Encoding` header.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        let values: Vec<_> = values.map(|value| value.to_str().unwrap_or("?").trim()).collect();
        match values.join(", ").to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "0A000",
                format!("Content-Encoding \"{other}\" is not supported"),
            )
            .hint("it may be gzip, zstd or identity")),
        }
    }
}

/// The length the request says its body has.
pub(crate) fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How fast a body has to come on average, after `timeout` once: its room is kept from others for as long
/// as it takes.
const BYTES_PER_SECOND_MIN: u32 = 32 << 10;

/// Reads a body of at most `bytes_max`; each piece of it has to come within `timeout`, and all of it not
/// much slower than [`BYTES_PER_SECOND_MIN`].
pub(crate) async fn read(
    body: Body,
    length: Option<usize>,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large("the request body", bytes_max);
    if length.is_some_and(|length| length > bytes_max) {
        drain(body).await;
        return Err(too_large());
    }
    let mut pieces = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut first: Option<Bytes> = None;
    // When a body that is as slow as it may be has sent what came so far.
    let mut slowest = Instant::now();
    loop {
        let end = (slowest + timeout).min(Instant::now() + timeout);
        let piece = match tokio::time::timeout_at(end, pieces.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => {
                return Err(ApiError::bad(format!("the request body cannot be read: {error}")));
            }
            Err(_) => {
                return Err(ApiError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "57014",
                    "the request body did not come in time",
                )
                .hint("send smaller bodies: a pause of 30 s ends one, and a pace below 32 KiB a second"));
            }
        };
        let bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        slowest += Duration::from_secs(1) * bytes / BYTES_PER_SECOND_MIN;
        if whole.is_empty() && first.is_none() {
            // A body in one piece is not copied.
            first = Some(piece);
            continue;
        }
        if let Some(first) = first.take() {
            whole.reserve(length.unwrap_or(2 * (first.len() + piece.len())));
            whole.extend_from_slice(&first);
        }
        if whole.len() + piece.len() > bytes_max {
            drain(Body::from_stream(pieces)).await;
            return Err(too_large());
        }
        whole.extend_from_slice(&piece);
    }
    match first {
        Some(first) if first.len() > bytes_max => Err(too_large()),
        Some(first) => Ok(first),
        None => Ok(whole.freeze()),
    }
}

/// Reads on for a little, so that a client that is still sending hears why it is refused instead of
/// a broken connection.
pub(crate) async fn drain(body: Body) {
    const BYTES_MAX: usize = 16 << 20;
    const TIME_MAX: Duration = Duration::from_secs(2);
    let mut pieces = body.into_data_stream();
    let mut passed = 0;
    let all = async {
        while let Some(Ok(piece)) = pieces.next().await {
            passed += piece.len();
            if passed > BYTES_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(TIME_MAX, all).await;
}

/// The uncompressed bytes of a body, in order.
pub(crate) enum Source {
    Plain(Bytes),
    Packed(Box<dyn Read + Send>),
}

impl Source {
    pub(crate) fn new(body: Bytes, coding: Coding) -> Result<Self, ApiError> {
        Ok(match coding {
            Coding::Plain => Self::Plain(body),
            Coding::Gzip => {
                // Several gzip members in a row are one text, as `gzip` and `cat` make them.
                Self::Packed(Box::new(flate2::read::MultiGzDecoder::new(body.reader())))
            }
            Coding::Zstd => {
                let unreadable = |error| packed(Coding::Zstd, &error);
                let mut decoder =
                    zstd::stream::read::Decoder::new(body.reader()).map_err(unreadable)?;
                // A frame may ask for a window of up to 2 GiB; 32 MiB is what level 19 uses.
                decoder.window_log_max(25).map_err(unreadable)?;
                Self::Packed(Box::new(decoder))
            }
        })
    }

    /// Adds up to `bytes` to `to`; returns whether that was the end.
    pub(crate) fn fill(
        &mut self,
        to: &mut BytesMut,
        bytes: usize,
        coding: Coding,
    ) -> Result<bool, ApiError> {
        match self {
            Self::Plain(body) => {
                to.extend_from_slice(&body.split_to(bytes.min(body.len())));
                Ok(body.is_empty())
            }
            Self::Packed(reader) => {
                let mut left = bytes;
                let mut piece = [0; 32 << 10];
                while left > 0 {
                    let room = piece.len().min(left);
                    let read = match reader.read(&mut piece[..room]) {
                        Ok(0) => return Ok(true),
                        Ok(read) => read,
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                        Err(e) => return Err(packed(coding, &e)),
                    };
                    to.extend_from_slice(&piece[..read]);
                    left -= read;
                }
                Ok(false)
            }
        }
    }
}

fn packed(coding: Coding, error: &std::io::Error) -> ApiError {
    let name = if coding == Coding::Gzip { "gzip" } else { "zstd" };
    ApiError::bad(format!("the request body is not readable {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn a_body_that_trickles_is_cut_off() {
        let pieces = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
        });
        // No pause is as long as the timeout, and it would go on for six hours.
        let timeout = Duration::from_millis(300);
        let error = read(Body::from_stream(pieces), None, 1 << 20, timeout).await.unwrap_err();
        assert_eq!(error.status, 408);
        let pieces = futures::stream::unfold(0, |sent| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (sent < 30).then(|| (Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 4096])), sent + 1))
        });
        let whole = read(Body::from_stream(pieces), None, 1 << 20, timeout).await.unwrap();
        assert_eq!(whole.len(), 30 * 4096);
    }

    fn unpacked(body: Vec<u8>, coding: Coding) -> Result<Vec<u8>, ApiError> {
        let mut source = Source::new(body.into(), coding)?;
        let mut to = BytesMut::new();
        while !source.fill(&mut to, 1000, coding)? {}
        Ok(to.to_vec())
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bodies_are_uncompressed() {
        let text = b"{\"a\":1}\n".repeat(5_000);
        assert_eq!(unpacked(gzip(&text), Coding::Gzip).unwrap(), text);
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(unpacked(two, Coding::Gzip).unwrap(), b"one two");
        let packed = zstd::encode_all(&text[..], 3).unwrap();
        assert_eq!(unpacked(packed, Coding::Zstd).unwrap(), text);
        assert_eq!(unpacked(text.clone(), Coding::Plain).unwrap(), text);
    }

    #[test]
    fn broken_bodies_are_refused() {
        let mut cut = gzip(&b"text ".repeat(1000));
        cut.truncate(cut.len() / 2);
        assert_eq!(unpacked(cut, Coding::Gzip).unwrap_err().status, 400);
        assert_eq!(unpacked(b"not zstd at all".to_vec(), Coding::Zstd).unwrap_err().status, 400);
    }

    #[test]
    fn codings_by_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(Coding::of(&headers).unwrap(), Coding::Plain);
        headers.insert(header::CONTENT_ENCODING, "GZIP".parse().unwrap());
        assert_eq!(Coding::of(&headers).unwrap(), Coding::Gzip);
        headers.insert(header::CONTENT_ENCODING, "br".parse().unwrap());
        assert_eq!(Coding::of(&headers).unwrap_err().status, 415);
        // Two codings, one upon the other.
        headers.insert(header::CONTENT_ENCODING, "identity".parse().unwrap());
        headers.append(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(Coding::of(&headers).unwrap_err().status, 415);
    }
}
