//! A text file, cut into blocks of whole records.
//!
//! What must hold: the pieces of a file follow each other without a gap, and each ends behind a whole
//! record (or behind what can be none: a record longer than the limit is given up at its line's end).

use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use yeoul_format::{BadKind, BadRow, Decoded, Decoder, FormatError};

use super::input::{Identity, Input};
use super::plan::Packing;
use super::reader::{FirstLine, Partition, Payload, Piece, Step};

/// How much of a text is looked at to find its header and its layout, if that is enough.
const HEAD_BYTES: usize = 64 << 10;
/// How much of a record over the limit is kept as a dead letter.
const OVERLONG_KEPT_BYTES: usize = 64 << 10;

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TextError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is not readable {0}: {1}")]
    Packed(&'static str, io::Error),
    #[error("{0}")]
    Format(#[from] FormatError),
    #[error("the header is longer than {0} bytes")]
    Header(usize),
}

/// What became of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is where it was, and may grow.
    There,
    /// It has another name now. Who has it open may write to it for a while.
    Moved,
    /// It was cut or removed.
    Over,
}

/// How a text is read.
#[derive(Clone)]
pub(super) struct TextOptions {
    /// A decoder that has seen nothing.
    pub(super) decoder: Decoder,
    pub(super) schema: SchemaRef,
    pub(super) packing: Packing,
    pub(super) block_bytes: usize,
    pub(super) row_bytes_max: usize,
    /// Whether more may come behind the end.
    pub(super) tail: bool,
}

/// An open text file.
pub(super) struct TextReader {
    partition: Arc<Partition>,
    options: TextOptions,
    input: Input,
    identity: Identity,
    /// The decoder after the header, once that is read.
    begun: Option<Arc<Decoder>>,
    /// Where to begin.
    position: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins.
    offset: u64,
    /// The beginning of a record over the limit that is being passed over.
    overlong: Option<Vec<u8>>,
    first: Option<FirstLine>,
    lines_skipped: u64,
    /// How its records are written, once the header is read.
    format: Option<Arc<str>>,
}

impl TextReader {
    /// Opens the file to read it from `position` on.
    pub(super) fn open(
        partition: Arc<Partition>,
        options: TextOptions,
        position: u64,
    ) -> Result<Self, TextError> {
        let (input, identity) = Input::open(&partition.path, options.packing)?;
        Ok(Self {
            partition,
            options,
            input,
            identity,
            begun: None,
            position,
            buffer: Vec::new(),
            offset: 0,
            overlong: None,
            first: None,
            lines_skipped: 0,
            format: None,
        })
    }

    /// What became of the file since it was opened.
    pub(super) fn fate(&self) -> io::Result<Fate> {
        let read = self.offset + self.buffer.len() as u64;
        Ok(match Identity::at(&self.partition.path)? {
            Some((identity, len)) if identity == self.identity && len >= read => Fate::There,
            Some((identity, _)) if identity == self.identity => Fate::Over,
            _ if self.input.is_named()? => Fate::Moved,
            _ => Fate::Over,
        })
    }

    /// Nothing more will come: the last record ends with the text.
    pub(super) fn end_tail(&mut self) {
        self.options.tail = false;
    }

    /// The next piece.
    pub(super) fn next(&mut self) -> Result<Step, TextError> {
        let decoder = match &self.begun {
            Some(decoder) => Arc::clone(decoder),
            None => match self.begin()? {
                Some(decoder) => decoder,
                None if self.options.tail => return Ok(Step::Pending),
                None => return Ok(Step::End),
            },
        };
        let mut wanted = self.options.block_bytes;
        loop {
            let at_end = self.fill(wanted)?;
            if self.overlong.is_some() {
                match self.pass_over(at_end) {
                    Some(step) => return Ok(step),
                    None => continue,
                }
            }
            let last = at_end && !self.options.tail;
            let cut = if last { self.buffer.len() } else { decoder.split(&self.buffer) };
            if cut > 0 {
                let bytes = self.take(cut);
                return Ok(Step::Piece(self.piece(Payload::Text { decoder, bytes })));
            }
            if self.buffer.len() > self.options.row_bytes_max {
                if let Some(newline) = memchr::memchr(b'\n', &self.buffer) {
                    // Its quotes are wrong, or it is too long: the decoder says which.
                    let bytes = self.take(newline + 1);
                    return Ok(Step::Piece(self.piece(Payload::Text { decoder, bytes })));
                }
                self.overlong = Some(Vec::new());
            } else if at_end {
                return Ok(if last { Step::End } else { Step::Pending });
            } else {
                wanted = self.buffer.len() + self.options.block_bytes;
            }
        }
    }

    /// Reads until the buffer has `wanted` bytes; true at the end of the file.
    fn fill(&mut self, wanted: usize) -> Result<bool, TextError> {
        let missing = wanted.saturating_sub(self.buffer.len());
        if missing == 0 {
            return Ok(false);
        }
        self.buffer.reserve(missing);
        let read = self.input.read(&mut self.buffer, missing);
        let read = read.map_err(|error| match self.options.packing {
            Packing::Plain => TextError::Io(error),
            Packing::Gzip => TextError::Packed("gzip", error),
            Packing::Zstd => TextError::Packed("zstd", error),
        })?;
        Ok(read < missing)
    }

    /// Takes `count` bytes from the buffer.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut next = Vec::with_capacity(self.options.block_bytes + self.buffer.len() - count);
        next.extend_from_slice(&self.buffer[count..]);
        self.buffer.truncate(count);
        self.offset += count as u64;
        std::mem::replace(&mut self.buffer, next)
    }

    fn piece(&mut self, payload: Payload) -> Piece {
        Piece {
            partition: Arc::clone(&self.partition),
            to: self.offset,
            first: self.first.take(),
            lines_skipped: std::mem::take(&mut self.lines_skipped),
            format: self.format.clone(),
            payload,
        }
    }

    /// Reads the head, then goes to the position. `None` when the head is not there (yet): nobody has
    /// written to an empty file.
    fn begin(&mut self) -> Result<Option<Arc<Decoder>>, TextError> {
        let mut wanted = HEAD_BYTES;
        let (decoder, head) = loop {
            let at_end = self.fill(wanted)?;
            let last = at_end && !self.options.tail;
            if at_end && !last && !self.buffer.contains(&b'\n')
                || last && self.buffer.iter().all(u8::is_ascii_whitespace)
            {
                return Ok(None);
            }
            let mut decoder = self.options.decoder.clone();
            if let Some(head) = decoder.begin(&self.buffer, last)? {
                break (decoder, head);
            }
            if at_end {
                return Ok(None);
            }
            if self.buffer.len() > self.options.row_bytes_max {
                return Err(TextError::Header(self.options.row_bytes_max));
            }
            wanted = self.buffer.len() + HEAD_BYTES;
        };
        let head_lines = count_lines(&self.buffer[..head]);
        self.take(head);
        if self.position <= self.offset {
            (self.first, self.lines_skipped) = (Some(FirstLine::Behind(0)), head_lines);
        } else if self.input.seek(self.position)? {
            self.buffer.clear();
            (self.offset, self.first) = (self.position, Some(FirstLine::At(self.position)));
        } else {
            let lines = head_lines + self.skip_to_position()?;
            self.first = Some(FirstLine::Behind(lines));
        }
        self.format = Some(decoder.record_format().into());
        let decoder = Arc::new(decoder);
        self.begun = Some(Arc::clone(&decoder));
        Ok(Some(decoder))
    }

    /// Passes the decompressed bytes before the position and counts their lines.
    fn skip_to_position(&mut self) -> Result<u64, TextError> {
        let mut lines = 0;
        while self.offset < self.position {
            if self.buffer.is_empty()
                && self.fill(self.options.block_bytes)?
                && self.buffer.is_empty()
            {
                // The file is shorter than it was: nothing is left.
                break;
            }
            let left = usize::try_from(self.position - self.offset).unwrap_or(usize::MAX);
            let bytes = self.take(left.min(self.buffer.len()));
            lines += count_lines(&bytes);
        }
        Ok(lines)
    }

    /// Drops the rest of a record over the limit; a piece when its end is found.
    fn pass_over(&mut self, at_end: bool) -> Option<Step> {
        let newline = memchr::memchr(b'\n', &self.buffer);
        let bytes = self.take(newline.map_or(self.buffer.len(), |at| at + 1));
        let kept = self.overlong.get_or_insert_default();
        let room = OVERLONG_KEPT_BYTES.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
        let last = at_end && !self.options.tail;
        if newline.is_none() && !last {
            return at_end.then_some(Step::Pending);
        }
        let raw = Bytes::from(self.overlong.take().unwrap_or_default());
        let limit = self.options.row_bytes_max;
        let reason = format!("the record is longer than {limit} bytes");
        let decoded = Decoded {
            rows: RecordBatch::new_empty(Arc::clone(&self.options.schema)),
            bad: vec![BadRow { raw, reason, kind: BadKind::Malformed, row: 0, line: 0 }],
            records: 1,
            lines: u64::from(newline.is_some()),
            changes: None,
        };
        Some(Step::Piece(self.piece(Payload::Rows(decoded))))
    }
}

/// How many lines end in `bytes`.
pub(super) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
