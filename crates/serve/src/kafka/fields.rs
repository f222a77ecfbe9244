//! Fields of Kafka's protocol, read from a message that is all there.
//!
//! ```text
//!   string  length i16 | bytes               -1: null        array  count i32 | entries      -1: null
//!   compact length + 1 as varint | bytes      0: null               count + 1 as varint | …   0: null
//!   tags    count varint | (number varint | length varint | bytes)*       behind every flexible structure
//! ```
//!
//! What must hold: nothing is read behind the end, and no count or length makes us reserve memory for more than
//! there are bytes.
//!
//! Limits: [`ENTRIES_MAX`] in all arrays of a message together.

use bytes::{Buf, Bytes};

use super::request::Malformed;

/// Entries of all arrays of a message: of each a few dozen bytes are kept, however short it is in the message.
const ENTRIES_MAX: usize = 100_000;

/// What of a message is not read yet.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    bytes: Bytes,
    /// Whether lengths are varints and structures end with tags.
    pub(super) flexible: bool,
    entries_left: usize,
}

impl Fields {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, flexible: false, entries_left: ENTRIES_MAX }
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.bytes.len() {
            Err(Malformed::Short)
        } else {
            Ok(self.bytes.split_to(length))
        }
    }

    pub(super) fn i8(&mut self) -> Result<i8, Malformed> {
        self.bytes.try_get_i8().map_err(|_| Malformed::Short)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.bytes.try_get_i16().map_err(|_| Malformed::Short)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.bytes.try_get_i32().map_err(|_| Malformed::Short)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.bytes.try_get_i64().map_err(|_| Malformed::Short)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.i8()? != 0)
    }

    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.bytes.try_get_u8().map_err(|_| Malformed::Short)?;
            let low = u32::from(byte & 0x7f);
            if shift == 28 && low > 0xf {
                break;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Number)
    }

    /// A length or count of the message's way to write them: `None` is null.
    fn length(&mut self, short: bool) -> Result<Option<usize>, Malformed> {
        let length = match (self.flexible, short) {
            (true, _) => match self.varint()? {
                0 => return Ok(None),
                length => i64::from(length) - 1,
            },
            (false, true) => i64::from(self.i16()?),
            (false, false) => i64::from(self.i32()?),
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(Malformed::Number),
        }
    }

    pub(super) fn nullable_bytes(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.length(false)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<String>, Malformed> {
        match self.length(true)? {
            Some(length) => {
                let bytes = self.take(length)?;
                let text = std::str::from_utf8(&bytes).map_err(|_| Malformed::Text)?;
                Ok(Some(text.to_owned()))
            }
            None => Ok(None),
        }
    }

    pub(super) fn string(&mut self) -> Result<String, Malformed> {
        self.nullable_string()?.ok_or(Malformed::Null)
    }

    /// A string as it is before anything is known of the version: never a compact one.
    pub(super) fn plain_string(&mut self) -> Result<Option<String>, Malformed> {
        let flexible = std::mem::replace(&mut self.flexible, false);
        let text = self.nullable_string();
        self.flexible = flexible;
        text
    }

    /// An array of what `entry` reads.
    pub(super) fn nullable_array<T>(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<Vec<T>>, Malformed> {
        let Some(count) = self.length(false)? else { return Ok(None) };
        // Every entry has a byte at least.
        if count > self.bytes.len() {
            return Err(Malformed::Short);
        }
        self.entries_left = self.entries_left.checked_sub(count).ok_or(Malformed::Many)?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(entry(self)?);
        }
        Ok(Some(entries))
    }

    pub(super) fn array<T>(
        &mut self,
        entry: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        self.nullable_array(entry)?.ok_or(Malformed::Null)
    }

    /// Passes the tags at the end of a structure, of which none is known here.
    pub(super) fn tags(&mut self) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(usize::try_from(length).map_err(|_| Malformed::Number)?)?;
        }
        Ok(())
    }

    /// Passes 16 bytes.
    pub(super) fn uuid(&mut self) -> Result<[u8; 16], Malformed> {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&self.take(16)?);
        Ok(uuid)
    }
}
