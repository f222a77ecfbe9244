//! Records as they were before a producer compressed them.
//!
//! What must hold: never more than `bytes_max` come out, whatever a few bytes claim to be.

use std::borrow::Cow;
use std::io::Read;

use super::batch::BatchError;

/// How far back a frame of zstd may look: 32 MiB, which is what level 19 uses.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// How snappy is written by Java: this, two versions of four bytes, then blocks with their lengths in front.
const SNAPPY_BLOCKS: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_HEADER_BYTES: usize = 16;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// snappy, as one block or as Java's blocks.
    Snappy,
    /// A frame of lz4.
    Lz4,
    /// zstd.
    Zstd,
}

impl Compression {
    /// By the lowest three bits of a batch's attributes.
    pub(super) fn of(attributes: i16) -> Result<Self, BatchError> {
        match attributes & 7 {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            other => Err(BatchError::Compression(other)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// What `packed` was.
    pub(super) fn unpack(
        self,
        packed: &[u8],
        bytes_max: usize,
    ) -> Result<Cow<'_, [u8]>, BatchError> {
        let broken = |why: std::io::Error| self.broken(&why);
        match self {
            Self::None if packed.len() > bytes_max => Err(BatchError::TooLong(bytes_max)),
            Self::None => Ok(packed.into()),
            Self::Gzip => self.read(flate2::read::MultiGzDecoder::new(packed), bytes_max),
            Self::Lz4 => self.read(lz4_flex::frame::FrameDecoder::new(packed), bytes_max),
            Self::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(packed).map_err(broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
                self.read(decoder, bytes_max)
            }
            Self::Snappy => {
                let mut unpacked = Vec::new();
                if packed.starts_with(SNAPPY_BLOCKS) {
                    let mut rest = packed.get(SNAPPY_HEADER_BYTES..).unwrap_or_default();
                    while let Some((length, after)) = rest.split_first_chunk() {
                        let length = usize::try_from(u32::from_be_bytes(*length));
                        let cut = length.ok().and_then(|length| after.split_at_checked(length));
                        let (block, after) = cut.ok_or_else(|| self.broken(&"a block is cut"))?;
                        self.block(block, &mut unpacked, bytes_max)?;
                        rest = after;
                    }
                } else {
                    self.block(packed, &mut unpacked, bytes_max)?;
                }
                Ok(unpacked.into())
            }
        }
    }

    fn broken(self, why: &dyn std::fmt::Display) -> BatchError {
        BatchError::Packed { how: self.name(), why: why.to_string() }
    }

    fn read(self, from: impl Read, bytes_max: usize) -> Result<Cow<'static, [u8]>, BatchError> {
        let mut unpacked = Vec::new();
        let one_more = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        from.take(one_more).read_to_end(&mut unpacked).map_err(|why| self.broken(&why))?;
        if unpacked.len() > bytes_max {
            Err(BatchError::TooLong(bytes_max))
        } else {
            Ok(unpacked.into())
        }
    }

    /// Adds what a block of snappy was.
    fn block(self, block: &[u8], to: &mut Vec<u8>, bytes_max: usize) -> Result<(), BatchError> {
        let length = snap::raw::decompress_len(block).map_err(|why| self.broken(&why))?;
        let begin = to.len();
        if length > bytes_max - begin {
            return Err(BatchError::TooLong(bytes_max));
        }
        to.resize(begin + length, 0);
        let written = snap::raw::Decoder::new().decompress(block, &mut to[begin..]);
        to.truncate(begin + written.map_err(|why| self.broken(&why))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(text: &[u8]) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn snappy(text: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(text).unwrap()
    }

    fn java_snappy(text: &[u8]) -> Vec<u8> {
        let mut packed = [SNAPPY_BLOCKS, &1_i32.to_be_bytes(), &1_i32.to_be_bytes()].concat();
        for block in text.chunks(1_000) {
            let block = snappy(block);
            packed.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
            packed.extend_from_slice(&block);
        }
        packed
    }

    fn all(text: &[u8]) -> [(Compression, Vec<u8>); 6] {
        [
            (Compression::None, text.to_vec()),
            (Compression::Gzip, gzip(text)),
            (Compression::Snappy, snappy(text)),
            (Compression::Snappy, java_snappy(text)),
            (Compression::Lz4, lz4(text)),
            (Compression::Zstd, zstd::encode_all(text, 3).unwrap()),
        ]
    }

    #[test]
    fn what_was_compressed_comes_back_whole_or_not_at_all() {
        let text = b"{\"a\":1}\n".repeat(5_000);
        for (compression, packed) in all(&text) {
            assert_eq!(compression.unpack(&packed, text.len()).unwrap(), text, "{compression:?}");
            let error = compression.unpack(&packed, text.len() - 1).unwrap_err();
            assert_eq!(error, BatchError::TooLong(text.len() - 1), "{compression:?}");
            if compression != Compression::None {
                let cut = compression.unpack(&packed[..packed.len() / 2], text.len());
                let cut = cut.map(Cow::into_owned);
                assert!(matches!(cut, Err(BatchError::Packed { .. })), "{compression:?} {cut:?}");
            }
        }
    }
}
