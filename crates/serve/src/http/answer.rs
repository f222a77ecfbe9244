//! Rows as the body of an answer: written batch by batch as they come.
//!
//! JSON: `{"columns":[{"name","type"}…],"commit":n,"rows":[{…},…],"row_count":n,"took_us":n}`. An error
//! after the first rows ends the list and stands as `"error"` behind it; in the other layouts it breaks the
//! connection off, which is the only sign that they have.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::Fuse;
use yeoul_engine::{CommitId, EngineError, ErrorKind, RowStream, renamed};
use yeoul_format::encode::{Encoder, JsonRow};

use super::error::{self, ApiError};
use super::sql::{Cancelling, Layout};

/// An answer of rows, of which the first batch is there.
pub(crate) struct Rows {
    pub(crate) schema: SchemaRef,
    pub(crate) commit: CommitId,
    pub(crate) first: Option<RecordBatch>,
    /// The others; it may have ended already.
    pub(crate) rows: Fuse<RowStream>,
    pub(crate) begin: Instant,
    /// Dropped with the body: the query ends when the client is gone.
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) cancelling: Cancelling,
}

/// Puts batches into bytes.
enum Writer {
    Json { rows: u64 },
    Csv,
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

/// The body on its way.
struct Stream {
    answer: Rows,
    writer: Writer,
    started: bool,
    ended: bool,
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::new(ErrorKind::Internal, format!("rows cannot be encoded: {error}"))
}

/// The answer to the request.
pub(crate) fn respond(mut answer: Rows, layout: Layout) -> Result<Response, ApiError> {
    if layout != Layout::Csv {
        answer.schema = distinct_names(&answer.schema);
    }
    let (writer, kind) = match layout {
        Layout::Json => (Writer::Json { rows: 0 }, "application/json"),
        Layout::Csv => (Writer::Csv, "text/csv; charset=utf-8"),
        Layout::Arrow => {
            let writer = StreamWriter::try_new(Vec::new(), &answer.schema).map_err(failed)?;
            (Writer::Arrow(Box::new(writer)), "application/vnd.apache.arrow.stream")
        }
    };
    let commit = HeaderValue::from(answer.commit.0);
    let stream = Stream { answer, writer, started: false, ended: false };
    let pieces = futures::stream::unfold(stream, |mut stream| async move {
        let piece = stream.next().await?;
        Some((piece, stream))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("yeoul-commit", commit);
    Ok(response)
}

/// The columns with `_2`, `_3`, … behind a name that was there before: members of an object have names
/// of their own.
fn distinct_names(schema: &SchemaRef) -> SchemaRef {
    let mut taken = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let mut name = field.name().clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{}_{number}", field.name());
            number += 1;
        }
        field.as_ref().clone().with_name(name)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl Stream {
    /// The next piece of the body. An error in it breaks the connection off.
    async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        if self.ended {
            return None;
        }
        let mut piece = Vec::new();
        if !self.started {
            self.started = true;
            if let Err(error) = self.head(&mut piece) {
                self.ended = true;
                return Some(Err(error));
            }
        }
        let batch = match self.answer.first.take() {
            Some(batch) => Some(Ok(batch)),
            None => self.answer.rows.next().await,
        };
        let result = match batch {
            Some(Ok(batch)) => self.named(batch).and_then(|b| self.writer.put(&b, &mut piece)),
            Some(Err(error)) => Err(error),
            None => {
                self.ended = true;
                self.tail(&mut piece, None)
            }
        };
        if let Err(error) = result {
            self.ended = true;
            if !matches!(self.writer, Writer::Json { .. }) {
                return Some(Err(error));
            }
            let _ = self.tail(&mut piece, Some(&error));
        }
        Some(Ok(piece.into()))
    }

    /// A batch under the names of the answer.
    fn named(&self, batch: RecordBatch) -> Result<RecordBatch, EngineError> {
        let same = |(a, b): (&FieldRef, &FieldRef)| a.name() == b.name();
        if batch.schema_ref().fields().iter().zip(self.answer.schema.fields()).all(same) {
            return Ok(batch);
        }
        renamed(&batch, &self.answer.schema)
    }

    fn head(&mut self, piece: &mut Vec<u8>) -> Result<(), EngineError> {
        match &mut self.writer {
            Writer::Json { .. } => {
                let columns: Vec<_> = self
                    .answer
                    .schema
                    .fields()
                    .iter()
                    .map(|field| {
                        serde_json::json!({
                            "name": field.name(),
                            "type": yeoul_engine::sql_name(field),
                        })
                    })
                    .collect();
                let columns = serde_json::Value::from(columns);
                let commit = self.answer.commit;
                piece.extend_from_slice(
                    format!("{{\"columns\":{columns},\"commit\":{commit},\"rows\":[").as_bytes(),
                );
            }
            Writer::Csv => {
                let none = RecordBatch::new_empty(self.answer.schema.clone());
                Encoder::csv(&none, b',').map_err(failed)?.header(piece);
            }
            // The schema is written when the writer is made.
            Writer::Arrow(_) => {}
        }
        Ok(())
    }

    fn tail(
        &mut self,
        piece: &mut Vec<u8>,
        error: Option<&EngineError>,
    ) -> Result<(), EngineError> {
        match &mut self.writer {
            Writer::Json { rows } => {
                let took = self.answer.begin.elapsed().as_micros();
                piece.extend_from_slice(b"\n]");
                if let Some(error) = error {
                    let error = error::object(error);
                    piece.extend_from_slice(format!(",\"error\":{error}").as_bytes());
                }
                piece.extend_from_slice(
                    format!(",\"row_count\":{rows},\"took_us\":{took}}}\n").as_bytes(),
                );
            }
            Writer::Csv => {}
            Writer::Arrow(writer) => {
                writer.finish().map_err(failed)?;
                piece.append(writer.get_mut());
            }
        }
        Ok(())
    }
}

impl Writer {
    fn put(&mut self, batch: &RecordBatch, piece: &mut Vec<u8>) -> Result<(), EngineError> {
        match self {
            Self::Json { rows } => {
                let encoder = Encoder::json(batch, JsonRow::Object).map_err(failed)?;
                for row in 0..encoder.rows() {
                    piece.extend_from_slice(if *rows == 0 { b"\n" } else { b",\n" });
                    encoder.row(row, piece);
                    *rows += 1;
                }
            }
            Self::Csv => Encoder::csv(batch, b',').map_err(failed)?.all(piece),
            Self::Arrow(writer) => {
                let written: Result<(), ArrowError> = writer.write(batch);
                written.map_err(failed)?;
                piece.append(writer.get_mut());
            }
        }
        Ok(())
    }
}
