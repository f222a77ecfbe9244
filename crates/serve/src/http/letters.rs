//! Dead letters: out as lines, and back in after they were mended.
//!
//! ```text
//!   GET  /v1/dead-letters/{stream}          ▶ {"id", "reason", "position", "raw", …} a line, oldest first
//!   POST /v1/dead-letters/{stream}/replay   ▶ the same lines, `raw` mended; or nothing: all as they are
//!            lines ▶ every id is known ▶ thousands at a time: decoded alone ▶ rows and new state, one commit
//! ```
//!
//! What must hold: nothing is stored while a line is malformed or an id is unknown; a letter is stored at
//! most once, however often its line is sent; what still cannot be decoded stays as it was.

mod answer;
mod lines;
mod mend;

use std::time::Instant;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use yeoul_engine::{LetterId, StreamHandle};

use super::body::{self, Coding, Source};
use super::error::ApiError;
use super::written::name;
use super::{Shared, page};
use answer::Outcome;
use lines::Line;
use mend::{Mended, mend};

/// Letters that are read or put back together: with raws of 100 bytes about 4 MiB with their rows.
const LETTERS_MAX: usize = 10_000;

/// Letters written at once.
const PAGE_LETTERS: usize = 1_000;

/// `GET /v1/dead-letters/{stream}`: those that nobody has put back.
pub(crate) async fn list(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    let name = match stream_of(&shared, path) {
        Ok(stream) => stream.name().to_owned(),
        Err(error) => return error.into_response(),
    };
    let pages = futures::stream::unfold(Some(None), move |after: Option<Option<LetterId>>| {
        let (shared, name) = (std::sync::Arc::clone(&shared), name.clone());
        async move {
            let after = after?;
            let engine = shared.engine().ok()?.clone();
            let read = move || engine.unresolved_letters(&name, after, PAGE_LETTERS);
            match shared.decoding.run(read).await.and_then(|page| page) {
                Ok(page) => {
                    let last = page.last()?.id;
                    let whole = page.len() == PAGE_LETTERS;
                    Some((Ok(lines::write(&page)), whole.then_some(Some(last))))
                }
                Err(error) => Some((Err(error), None)),
            }
        }
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(pages)).into_response()
}

/// `POST /v1/dead-letters/{stream}/replay`.
pub(crate) async fn replay(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let begin = Instant::now();
    let (head, body) = request.into_parts();
    let stream = match stream_of(&shared, path)
        .and_then(|stream| Ok((stream, Coding::of(&head.headers)?)))
    {
        Ok(stream) => stream,
        Err(error) => {
            body::drain(body).await;
            return error.into_response();
        }
    };
    let (stream, coding) = stream;
    match put_back(&shared, stream, coding, body::length(&head.headers), body).await {
        Ok(outcome) => {
            let mut answer = outcome.json();
            let us = begin.elapsed().as_micros();
            answer["took_us"] = u64::try_from(us).unwrap_or(u64::MAX).into();
            (page::json_type(), format!("{answer}\n")).into_response()
        }
        Err(error) => error.into_response(),
    }
}

fn stream_of(
    shared: &Shared,
    path: Result<Path<String>, PathRejection>,
) -> Result<StreamHandle, ApiError> {
    Ok(shared.engine()?.stream(&name(path)?)?)
}

async fn put_back(
    shared: &Shared,
    stream: StreamHandle,
    coding: Coding,
    length: Option<usize>,
    body: Body,
) -> Result<Outcome, ApiError> {
    let room = shared.room.body(length).await?;
    let options = &shared.options;
    let text = body::read(body, length, options.body_bytes_max, options.body_timeout).await?;
    let (limit, engine) = (options.body_bytes_max, shared.engine()?.clone());
    let unpacked_room = match coding {
        Coding::Plain => None,
        _ => Some(shared.room.unpacking(limit).await?),
    };
    let name = stream.name().to_owned();
    let read = move || -> Result<_, ApiError> {
        let lines = lines::read(&unpacked(text, coding, limit)?)?;
        mend::check_known(&engine, &name, &lines)?;
        Ok(lines)
    };
    let lines = shared.decoding.run(read).await??;
    let mut outcome = Outcome::default();
    let done = match lines {
        Some(lines) => these(shared, &stream, lines, &mut outcome).await,
        None => all(shared, &stream, &mut outcome).await,
    };
    drop((room, unpacked_room));
    done.map_err(|error| outcome.blame(error))?;
    if outcome.receipt.commit.0 == 0 {
        outcome.receipt.commit = shared.engine()?.health().commit;
    }
    Ok(outcome)
}

/// Puts back the letters of the request.
async fn these(
    shared: &Shared,
    stream: &StreamHandle,
    mut lines: Vec<Line>,
    outcome: &mut Outcome,
) -> Result<(), ApiError> {
    while !lines.is_empty() {
        let mut bytes = 0;
        let fits = lines.iter().take(LETTERS_MAX).take_while(|line| {
            bytes += line.raw.as_ref().map_or(0, |raw| raw.len());
            bytes <= shared.options.delivery_bytes_max
        });
        let rest = lines.split_off(fits.count().max(1).min(lines.len()));
        let some = std::mem::replace(&mut lines, rest);
        one_commit(shared, stream, some, outcome).await?;
    }
    Ok(())
}

/// Tries all letters of the stream once more, as they are.
async fn all(
    shared: &Shared,
    stream: &StreamHandle,
    outcome: &mut Outcome,
) -> Result<(), ApiError> {
    let mut after = None;
    loop {
        let (engine, name) = (shared.engine()?.clone(), stream.name().to_owned());
        let read = move || engine.unresolved_letters(&name, after, PAGE_LETTERS);
        let page = shared.decoding.run(read).await??;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        let whole = page.len() == PAGE_LETTERS;
        let lines = page.into_iter().map(|letter| Line { number: 0, id: letter.id, raw: None });
        one_commit(shared, stream, lines.collect(), outcome).await?;
        if !whole {
            return Ok(());
        }
    }
}

async fn one_commit(
    shared: &Shared,
    stream: &StreamHandle,
    lines: Vec<Line>,
    outcome: &mut Outcome,
) -> Result<(), ApiError> {
    let (engine, stream) = (shared.engine()?.clone(), stream.clone());
    let work = move || -> Result<_, ApiError> {
        let Mended { ids, rows, failed, before } = mend(&engine, &stream, &lines)?;
        let replayed = engine.replay_letters(&stream, &rows, &ids)?;
        Ok((replayed, failed, before))
    };
    let (replayed, failed, before) = shared.decoding.run(work).await??;
    outcome.add(replayed, failed, before);
    Ok(())
}

/// The whole text of a body.
fn unpacked(body: bytes::Bytes, coding: Coding, limit: usize) -> Result<bytes::Bytes, ApiError> {
    if coding == Coding::Plain {
        return Ok(body);
    }
    let mut source = Source::new(body, coding)?;
    let mut text = BytesMut::new();
    while !source.fill(&mut text, 1 << 20, coding)? {
        if text.len() > limit {
            return Err(ApiError::too_large("the uncompressed request body", limit));
        }
    }
    Ok(text.freeze())
}
