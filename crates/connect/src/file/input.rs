//! The bytes of a text file, decompressed.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::plan::Packing;

/// Compressed bytes read at once.
const PACKED_BYTES: usize = 256 << 10;

/// Which file an open one is, whatever its name is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// The identity and the length of what is at `path`; `None` when nothing is.
    pub(super) fn at(path: &Path) -> io::Result<Option<(Self, u64)>> {
        match std::fs::metadata(path) {
            Ok(m) => Ok(Some((Self { device: m.dev(), inode: m.ino() }, m.len()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Whether a record may end at the byte `position` of the file: where none does, it is another file than
/// the one that was read up to there. Objects of `json` may stand on one line.
pub(super) fn may_end_at(path: &Path, position: u64, json: bool) -> io::Result<bool> {
    let Some(before) = position.checked_sub(1) else { return Ok(true) };
    let file = match File::open(path) {
        // It went since it was found.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => file?,
    };
    let mut around = [0; 2];
    let count = file.read_at(&mut around, before)?;
    let parts = |byte: &u8| b" \t\r,[]}".contains(byte);
    Ok(match &around[..count] {
        [b'\n', ..] => true,
        around => json && around.iter().any(parts),
    })
}

/// An open text file.
pub(super) enum Input {
    Plain(File),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<File>>>),
}

impl Input {
    pub(super) fn open(path: &Path, packing: Packing) -> io::Result<(Self, Identity)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let identity = Identity { device: metadata.dev(), inode: metadata.ino() };
        let input = match packing {
            Packing::Plain => Self::Plain(file),
            Packing::Gzip => {
                let packed = BufReader::with_capacity(PACKED_BYTES, file);
                Self::Gzip(Box::new(MultiGzDecoder::new(packed)))
            }
            Packing::Zstd => {
                let packed = BufReader::with_capacity(PACKED_BYTES, file);
                Self::Zstd(Box::new(zstd::Decoder::with_buffer(packed)?))
            }
        };
        Ok((input, identity))
    }

    /// Reads up to `count` bytes behind `buffer`; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>, count: usize) -> io::Result<usize> {
        let limit = u64::try_from(count).unwrap_or(u64::MAX);
        match self {
            Self::Plain(file) => file.by_ref().take(limit).read_to_end(buffer),
            Self::Gzip(file) => file.by_ref().take(limit).read_to_end(buffer),
            Self::Zstd(file) => file.by_ref().take(limit).read_to_end(buffer),
        }
    }

    /// Whether the file still has a name: who has it open may go on writing to it.
    pub(super) fn is_named(&self) -> io::Result<bool> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(file) => file.get_ref().get_ref(),
            Self::Zstd(file) => file.get_ref().get_ref(),
        };
        Ok(file.metadata()?.nlink() > 0)
    }

    /// Goes to the byte `offset` at once, if it can.
    pub(super) fn seek(&mut self, offset: u64) -> io::Result<bool> {
        match self {
            Self::Plain(file) => file.seek(SeekFrom::Start(offset)).map(|_| true),
            Self::Gzip(_) | Self::Zstd(_) => Ok(false),
        }
    }
}
