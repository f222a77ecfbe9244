//! Files as pieces with their places, whatever the files are, and under which names.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use yeoul_engine::StreamHandle;
use yeoul_format::{Decoded, Decoder, Format};

use super::deliver::SOURCE;
use super::input::{Identity, may_end_at};
use super::parquet::{ParquetFileError, ParquetReader};
use super::plan::{FileName, Kind, Packing, Plan};
use super::text::{TextError, TextOptions, TextReader};
use crate::error::ConnectError;
use crate::source::Context;

/// A file under the name of its partition.
#[derive(Debug)]
pub(super) struct Partition {
    /// The name its positions have.
    pub(super) name: Arc<str>,
    /// The name messages have.
    pub(super) shown: Arc<str>,
    pub(super) path: PathBuf,
    /// Whether its positions are bytes.
    pub(super) in_bytes: bool,
}

/// On which line the first piece of an opened file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstLine {
    /// Behind so many lines.
    Behind(u64),
    /// Behind so many bytes of the plain file; their lines are counted if somebody asks.
    At(u64),
}

/// Some records of a file. It begins where the piece before ended.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) partition: Arc<Partition>,
    /// Where it ends.
    pub(super) to: u64,
    /// Set on the first piece of an opened file.
    pub(super) first: Option<FirstLine>,
    /// Lines before its records: the header's.
    pub(super) lines_skipped: u64,
    /// How its records are written, for those that turn out to be bad.
    pub(super) format: Option<Arc<str>>,
    pub(super) payload: Payload,
}

/// What a piece holds.
#[derive(Debug)]
pub(super) enum Payload {
    /// Whole records.
    Text { decoder: Arc<Decoder>, bytes: Vec<u8> },
    /// Rows already.
    Rows(Decoded),
}

/// What a reader has next.
#[derive(Debug)]
pub(super) enum Step {
    Piece(Piece),
    /// Nothing now; the file may grow.
    Pending,
    /// Nothing more.
    End,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Text(#[from] TextError),
    #[error("{0}")]
    Parquet(#[from] ParquetFileError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// An open file.
pub(super) enum Reader {
    Text(Box<TextReader>),
    Parquet(Box<ParquetReader>),
}

impl Piece {
    /// Whether there is more in it than white space.
    pub(super) fn has_records(&self) -> bool {
        match &self.payload {
            Payload::Text { bytes, .. } => !bytes.iter().all(u8::is_ascii_whitespace),
            Payload::Rows(_) => true,
        }
    }
}

impl Reader {
    /// The next piece.
    pub(super) fn next(&mut self) -> Result<Step, ReadError> {
        Ok(match self {
            Self::Text(text) => text.next()?,
            Self::Parquet(parquet) => parquet.next()?,
        })
    }
}

/// Opens the files of a source where they were left.
pub(super) struct Opener<'a> {
    plan: &'a Plan,
    stream: &'a StreamHandle,
    context: &'a Context,
    block_bytes: usize,
    decoder: Decoder,
}

impl<'a> Opener<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        stream: &'a StreamHandle,
        context: &'a Context,
        block_bytes: usize,
    ) -> Result<Self, ConnectError> {
        let decoder = Decoder::new(Arc::clone(stream.schema()), &plan.decode)
            .map_err(|e| ConnectError::new(stream.name(), e.to_string()))?;
        Ok(Self { plan, stream, context, block_bytes, decoder })
    }

    /// Opens `file` under the name that `generation` gives it.
    pub(super) fn open(&self, file: &FileName, generation: u32) -> Result<Reader, ReadError> {
        let name = name_of(file, generation);
        let position = self.position(&name);
        let in_bytes = self.plan.kind(file) != Kind::Parquet;
        let (shown, path) = (Arc::clone(&file.shown), file.path.clone());
        let partition = Arc::new(Partition { name, shown, path, in_bytes });
        let schema = Arc::clone(self.stream.schema());
        Ok(match self.plan.kind(file) {
            Kind::Parquet => {
                let mapping = &self.plan.decode.mapping;
                let reader = ParquetReader::open(partition, schema, mapping, position)?;
                Reader::Parquet(Box::new(reader))
            }
            Kind::Text(packing) => {
                let options = TextOptions {
                    decoder: self.decoder.clone(),
                    schema,
                    packing,
                    block_bytes: self.block_bytes,
                    row_bytes_max: self.plan.decode.row_bytes_max,
                    tail: self.plan.follow && packing == Packing::Plain,
                };
                Reader::Text(Box::new(TextReader::open(partition, options, position)?))
            }
        })
    }

    /// Whether anything of the `generation` of `file` was stored.
    pub(super) fn is_stored(&self, file: &FileName, generation: u32) -> bool {
        self.position(&name_of(file, generation)) > 0
    }

    fn position(&self, partition: &str) -> u64 {
        self.context.engine.position(self.stream.name(), SOURCE, partition)
    }

    /// The newest generation of `file` that delivered; the next one if the file is shorter than that
    /// read, or has no end of a record where that stopped.
    pub(super) fn generation(&self, file: &FileName) -> Result<u32, ReadError> {
        if !self.plan.follow {
            return Ok(0);
        }
        let delivered = (1..).take_while(|g| self.is_stored(file, *g)).last();
        let newest = delivered.unwrap_or(0);
        if self.plan.kind(file) != Kind::Text(Packing::Plain) {
            return Ok(newest);
        }
        let len = Identity::at(&file.path)?.map_or(0, |(_, len)| len);
        let position = self.position(&name_of(file, newest));
        let json = matches!(self.plan.decode.format, None | Some(Format::Json));
        let same = len >= position && may_end_at(&file.path, position, json)?;
        Ok(newest + u32::from(!same))
    }
}

/// The name of a partition.
fn name_of(file: &FileName, generation: u32) -> Arc<str> {
    match generation {
        0 => Arc::clone(&file.shown),
        _ => format!("{}#{generation}", file.shown).into(),
    }
}
