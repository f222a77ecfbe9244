//! `POST /v1/ingest/{stream}`: events in, a receipt out.
//!
//! One request is one delivery, and so one commit, when its uncompressed text is not longer than
//! `delivery_bytes_max`. A longer one becomes several deliveries in their order; while one is committed the
//! next is decoded. If a later one fails, the answer says what was committed before it.

use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use yeoul_engine::{DeadLetter, Delivery, DeliveryRows, Receipt, StreamHandle};
use yeoul_format::{BadKind, DecodeOptions, Decoded, Decoder, TimeLimit};

use super::body::{self, Coding, Source};
use super::error::{self, ApiError};
use super::room::{Share, shrink};
use super::written::{decode_options, name, parameters};
use super::{HttpOptions, INLINE_BYTES_MAX, Shared, page};
use crate::decode::{HEAD_BYTES, refused, sqlstate};

/// The longest key of a delivery.
const KEY_BYTES_MAX: usize = 255;

pub(crate) async fn ingest(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let begin = Instant::now();
    let (head, body) = request.into_parts();
    match check(&shared, path, &head.uri, &head.headers).await {
        Ok(wish) => match wish.carry_out(&shared, body).await {
            Ok(receipt) => {
                let mut answer = error::receipt(&receipt);
                let us = begin.elapsed().as_micros();
                answer["took_us"] = u64::try_from(us).unwrap_or(u64::MAX).into();
                (page::json_type(), format!("{answer}\n")).into_response()
            }
            Err(error) => error.into_response(),
        },
        Err(error) => {
            body::drain(body).await;
            error.into_response()
        }
    }
}

/// A request whose head is right.
struct Wish {
    stream: StreamHandle,
    decode: DecodeOptions,
    /// Whether these are the stream's own options.
    own: bool,
    coding: Coding,
    key: Option<String>,
    length: Option<usize>,
    /// Its share of the memory for bodies, until it is answered.
    room: Share,
}

async fn check(
    shared: &Shared,
    path: Result<Path<String>, PathRejection>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Wish, ApiError> {
    let stream = shared.engine()?.stream(&name(path)?)?;
    let given = parameters(uri)?;
    let decode = decode_options(stream.decode_options(), headers, &given)?;
    let own = given.is_empty();
    let coding = Coding::of(headers)?;
    let key = key(headers)?;
    let length = body::length(headers);
    let room = shared.room.body(length).await?;
    Ok(Wish { stream, decode, own, coding, key, length, room })
}

fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let fits = |key: &str| {
        (1..=KEY_BYTES_MAX).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
    };
    match value.to_str() {
        Ok(key) if fits(key) && values.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad(format!(
            "Idempotency-Key must be one of 1 to {KEY_BYTES_MAX} printable ASCII characters"
        ))),
    }
}

impl Wish {
    async fn carry_out(self, shared: &Shared, body: axum::body::Body) -> Result<Receipt, ApiError> {
        let options = &shared.options;
        let bytes =
            body::read(body, self.length, options.body_bytes_max, options.body_timeout).await?;
        // A piece that waits for its commit, and the next one.
        let mut unpacked = match self.coding {
            Coding::Plain => None,
            _ => Some(shared.room.unpacking(2 * options.delivery_bytes_max).await?),
        };
        let decoder = shared.decoding.take(&self.stream, &self.decode, self.own);
        let decoder = decoder.map_err(|e| refused(&e))?;
        let small = self.coding == Coding::Plain && bytes.len() <= INLINE_BYTES_MAX;
        let mut job = Job::new(bytes, self.coding, decoder, options);
        let mut total = Receipt::default();
        let mut pieces = 0_usize;
        let mut waiting: Option<Delivery> = None;
        loop {
            job.limit = shared.engine()?.time_limit(&self.stream);
            // The one before is committed while this one is decoded.
            let decode = async {
                let stream = self.stream.clone();
                let work = move || encoded(job.step()?, &stream);
                if small { Ok(work()) } else { shared.decoding.run(work).await }
            };
            let commit = self.commit(shared, waiting.take());
            let (decoded, committed) = tokio::join!(decode, commit);
            let receipt = committed.map_err(|e| blame(e, &total, pieces))?;
            add(&mut total, receipt);
            let (piece, rest) = decoded
                .map_err(ApiError::from)
                .and_then(|d| d)
                .map_err(|e| blame(e, &total, pieces))?;
            if let (Some(letter), Some(kind)) = (piece.dead_letters.first(), piece.first_kind)
                && self.stream.refuses_bad_rows()
            {
                return Err(blame(refused_row(letter, kind), &total, pieces));
            }
            let bytes = piece.bytes;
            waiting = self.delivery(piece, pieces);
            pieces += 1;
            match rest {
                Step::More(next) => job = *next,
                Step::End(decoder) => {
                    if let Some(unpacked) = &mut unpacked {
                        shrink(unpacked, bytes);
                    }
                    if self.own {
                        shared.decoding.give(&self.stream, decoder);
                    }
                    break;
                }
            }
        }
        let committed = self.commit(shared, waiting).await;
        let receipt = committed.map_err(|e| blame(e, &total, pieces))?;
        add(&mut total, receipt);
        if total.commit.0 == 0 {
            total.commit = shared.engine()?.health().commit;
        }
        drop((self.room, unpacked));
        Ok(total)
    }

    /// The delivery of a piece, unless there is nothing in it.
    fn delivery(&self, piece: Piece, number: usize) -> Option<Delivery> {
        if piece.rows.num_rows() == 0 && piece.dead_letters.is_empty() {
            return None;
        }
        let mut delivery = Delivery::new(self.stream.clone(), "http", piece.rows);
        delivery.dead_letters = piece.dead_letters;
        delivery.format = piece.format.map(Into::into);
        // A text is always cut at the same places, so a repetition finds its pieces again.
        delivery.idempotency_key = self.key.as_ref().map(|key| match number {
            0 => key.clone(),
            number => format!("{key}\u{1f}{number}"),
        });
        Some(delivery)
    }

    async fn commit(
        &self,
        shared: &Shared,
        delivery: Option<Delivery>,
    ) -> Result<Receipt, ApiError> {
        match delivery {
            Some(delivery) => {
                Ok(shared.engine()?.ingest(delivery, shared.options.queue_timeout).await?)
            }
            None => Ok(Receipt::default()),
        }
    }
}

/// The stream takes a request whole or not at all.
fn refused_row(letter: &DeadLetter, kind: BadKind) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        sqlstate(kind),
        format!("{}: {}", letter.position, letter.reason),
    )
    .hint("the stream has on_error = 'fail': mend the event and send the request again")
}

/// Says what was committed before the error, if anything was.
fn blame(error: ApiError, total: &Receipt, pieces: usize) -> ApiError {
    if pieces > 0 && total.commit.0 > 0 { error.committed(*total) } else { error }
}

fn add(total: &mut Receipt, receipt: Receipt) {
    total.accepted += receipt.accepted;
    total.duplicates += receipt.duplicates;
    total.late += receipt.late;
    total.dead_letters += receipt.dead_letters;
    total.commit = total.commit.max(receipt.commit);
}

/// The piece with its rows encoded for the log: beside the decoding, not on the thread that commits.
fn encoded((piece, rest): (Piece, Step), stream: &StreamHandle) -> Result<(Piece, Step), ApiError> {
    let rows = match piece.rows {
        DeliveryRows::Plain(rows) => stream.encode(rows)?.into(),
        encoded @ DeliveryRows::Encoded(_) => encoded,
    };
    Ok((Piece { rows, ..piece }, rest))
}

/// The rows of one delivery.
struct Piece {
    /// How long its text was.
    bytes: usize,
    rows: DeliveryRows,
    dead_letters: Vec<DeadLetter>,
    /// What is wrong with the first of them.
    first_kind: Option<BadKind>,
    /// How the dead letters are written, when there are any.
    format: Option<String>,
}

enum Step {
    More(Box<Job>),
    End(Decoder),
}

/// How much text is added to a `tail` that holds no whole record. Each time all of it is looked through again, so a
/// record that is longer than a delivery gets the rest of what it may have at once.
fn more(tail: usize, delivery_bytes_max: usize) -> usize {
    match delivery_bytes_max.saturating_sub(tail) {
        0 => delivery_bytes_max.max(1),
        missing => missing.max(1 << 16),
    }
}

/// A body on its way into rows.
struct Job {
    body: Bytes,
    source: Option<Source>,
    coding: Coding,
    decoder: Decoder,
    /// Which times are believed.
    limit: Option<TimeLimit>,
    /// Uncompressed text that is not decoded yet.
    tail: BytesMut,
    begun: bool,
    /// Lines passed.
    lines: u64,
    unpacked: usize,
    unpacked_bytes_max: usize,
    delivery_bytes_max: usize,
}

impl Job {
    fn new(body: Bytes, coding: Coding, decoder: Decoder, options: &HttpOptions) -> Self {
        Self {
            body,
            source: None,
            coding,
            decoder,
            limit: None,
            tail: BytesMut::new(),
            begun: false,
            lines: 0,
            unpacked: 0,
            unpacked_bytes_max: options.unpacked_bytes_max,
            delivery_bytes_max: options.delivery_bytes_max,
        }
    }

    /// Decodes the next piece.
    fn step(mut self) -> Result<(Piece, Step), ApiError> {
        if self.coding == Coding::Plain && !self.begun && self.body.len() <= self.delivery_bytes_max
        {
            // All of it at once, from where it lies.
            let body = std::mem::take(&mut self.body);
            let passed = self.begin(&body, true)?.unwrap_or(0);
            let piece = self.decode(&body[passed..])?;
            return Ok((piece, Step::End(self.decoder)));
        }
        let mut source = match self.source.take() {
            Some(source) => source,
            None => Source::new(std::mem::take(&mut self.body), self.coding)?,
        };
        loop {
            let before = self.tail.len();
            let more = more(before, self.delivery_bytes_max);
            let end = source.fill(&mut self.tail, more, self.coding)?;
            self.unpacked += self.tail.len() - before;
            if self.unpacked > self.unpacked_bytes_max {
                let what = "the uncompressed request body";
                return Err(ApiError::too_large(what, self.unpacked_bytes_max));
            }
            if !self.begun {
                let head = std::mem::take(&mut self.tail);
                let passed = self.begin(&head, end)?;
                self.tail = head;
                match passed {
                    Some(passed) => drop(self.tail.split_to(passed)),
                    None => continue,
                }
            }
            let whole = if end { self.tail.len() } else { self.decoder.split(&self.tail) };
            if end || whole > 0 {
                let text = self.tail.split_to(whole);
                let piece = self.decode(&text)?;
                if end {
                    return Ok((piece, Step::End(self.decoder)));
                }
                self.source = Some(source);
                return Ok((piece, Step::More(Box::new(self))));
            }
            if self.tail.len() >= 2 * self.delivery_bytes_max {
                return Err(ApiError::too_large("one record", 2 * self.delivery_bytes_max));
            }
        }
    }

    fn begin(&mut self, text: &[u8], all: bool) -> Result<Option<usize>, ApiError> {
        let head = &text[..text.len().min(HEAD_BYTES)];
        let all = all && head.len() == text.len();
        let passed = self.decoder.begin(head, all).map_err(|e| refused(&e))?;
        if passed.is_none() && text.len() >= HEAD_BYTES {
            return Err(ApiError::too_large("the header", HEAD_BYTES));
        }
        self.begun = passed.is_some();
        if let Some(passed) = passed {
            let lines = memchr::memchr_iter(b'\n', &text[..passed]).count();
            self.lines += u64::try_from(lines).unwrap_or(0);
        }
        Ok(passed)
    }

    fn decode(&mut self, text: &[u8]) -> Result<Piece, ApiError> {
        let Decoded { rows, bad, lines, .. } =
            self.decoder.decode_until(text, self.limit.as_ref()).map_err(|e| refused(&e))?;
        let first_kind = bad.first().map(|bad| bad.kind);
        let format = (!bad.is_empty()).then(|| self.decoder.record_format());
        let dead_letters = bad
            .into_iter()
            .map(|bad| DeadLetter {
                raw: bad.raw,
                reason: bad.reason,
                position: format!("line {}", self.lines + bad.line + 1),
            })
            .collect();
        self.lines += lines;
        Ok(Piece { bytes: text.len(), rows: rows.into(), dead_letters, format, first_kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;
    use yeoul_format::Format;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn keys_have_a_length() {
        let of = |value: &str| key(&headers(&[("idempotency-key", value)]));
        assert_eq!(of("abc").unwrap().as_deref(), Some("abc"));
        assert_eq!(of(&"x".repeat(256)).unwrap_err().status, 400);
        assert_eq!(of("").unwrap_err().status, 400);
        assert_eq!(of("a b").unwrap().as_deref(), Some("a b"));
        assert_eq!(of("a\tb").unwrap_err().status, 400);
        let mut two = headers(&[("idempotency-key", "a")]);
        two.append("idempotency-key", "b".parse().unwrap());
        assert_eq!(key(&two).unwrap_err().status, 400);
    }

    fn job(body: &[u8], coding: Coding, format: Format, delivery_bytes_max: usize) -> Job {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8View, true),
        ]));
        let decoder = Decoder::new(schema, &DecodeOptions::new(format)).unwrap();
        let options = HttpOptions {
            unpacked_bytes_max: 1 << 20,
            delivery_bytes_max,
            ..HttpOptions::default()
        };
        Job::new(Bytes::copy_from_slice(body), coding, decoder, &options)
    }

    fn steps(mut job: Job) -> Result<(usize, usize, Vec<String>), ApiError> {
        let (mut rows, mut pieces, mut dead) = (0, 0, Vec::new());
        loop {
            let (piece, step) = job.step()?;
            rows += piece.rows.num_rows();
            pieces += 1;
            dead.extend(piece.dead_letters.into_iter().map(|letter| letter.position));
            match step {
                Step::More(next) => job = *next,
                Step::End(_) => return Ok((rows, pieces, dead)),
            }
        }
    }

    #[test]
    fn pieces_hold_the_same_rows_as_the_whole() {
        let mut text = String::new();
        for i in 0..20_000 {
            if i % 5_000 == 4_999 {
                text.push_str("{broken\n");
            } else {
                text.push_str(&format!("{{\"id\":{i},\"name\":\"n{i}\"}}\n"));
            }
        }
        let whole = steps(job(text.as_bytes(), Coding::Plain, Format::Json, 1 << 30)).unwrap();
        assert_eq!((whole.0, whole.1), (19_996, 1));
        assert_eq!(whole.2, ["line 5000", "line 10000", "line 15000", "line 20000"]);
        let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
        for (body, coding) in [(text.as_bytes(), Coding::Plain), (&packed[..], Coding::Zstd)] {
            let cut = steps(job(body, coding, Format::Json, 100_000)).unwrap();
            assert!(cut.1 > 3, "{} pieces", cut.1);
            assert_eq!((cut.0, &cut.2), (whole.0, &whole.2));
        }
    }

    #[test]
    fn an_array_and_a_sheet_in_pieces() {
        let objects: Vec<String> = (0..9_000).map(|i| format!("{{\"id\":{i}}}")).collect();
        let array = format!("[{}]", objects.join(",\n"));
        assert_eq!(
            steps(job(array.as_bytes(), Coding::Plain, Format::Json, 70_000)).unwrap().0,
            9_000
        );
        let sheet: String = (0..9_000).map(|i| format!("n{i},{i}\n")).collect();
        let sheet = format!("name,id\n{sheet}bad,x\n");
        let got = steps(job(sheet.as_bytes(), Coding::Plain, Format::Csv, 70_000)).unwrap();
        assert_eq!((got.0, got.2), (9_000, vec!["line 9002".to_owned()]));
    }

    #[test]
    fn an_endless_record_is_looked_through_a_few_times() {
        for delivery in [1, 1 << 10, (1 << 20) + 1, 16 << 20] {
            let (mut tail, mut times) = (0, 0);
            while tail < 2 * delivery {
                tail += more(tail, delivery);
                times += 1;
            }
            assert!(times <= 3, "{times} times for {delivery}");
        }
    }

    #[test]
    fn a_bomb_is_stopped() {
        let packed = zstd::encode_all(&b"{\"id\":1}\n".repeat(1 << 18)[..], 3).unwrap();
        assert!(packed.len() < 10_000);
        let error = steps(job(&packed, Coding::Zstd, Format::Json, 1 << 18)).unwrap_err();
        assert_eq!(error.status, 413);
        assert!(error.error.message.contains("1048576 bytes"), "{}", error.error.message);
    }
}
