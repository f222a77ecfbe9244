//! The bytes of a run file; `docs/format/seen.md` says what each is for.
//!
//! ```text
//!   head page │ key pages … │ tail: fences, filter │ foot (96 bytes)
//! ```

use crate::StoreError;

/// The length of the head and of every key page.
pub(super) const PAGE_LEN: usize = 4096;
/// What stands before a page's keys.
const PAGE_HEAD_LEN: usize = 16;
/// Keys of a page: 16 bytes and 4 bytes of time each.
pub(super) const PAGE_KEYS: usize = (PAGE_LEN - PAGE_HEAD_LEN) / 20;
/// Where a page's times begin.
const TIMES_AT: usize = PAGE_HEAD_LEN + PAGE_KEYS * 16;
/// The length of the foot.
pub(super) const FOOT_LEN: usize = 96;

const MAGIC: [u8; 8] = *b"YEOULRUN";
/// The format version that is written, and the newest that is read.
const VERSION: u32 = 1;

/// The name of a run's file.
pub(super) fn path(number: u64) -> String {
    format!("seen/{number}.run")
}

/// A run file that does not hold what was written.
pub(super) fn damaged(path: &str, offset: u64, reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        offset,
        reason: reason.into(),
        hint: "restore the data folder from a backup; the file is needed to tell duplicates"
            .to_owned(),
    }
}

/// The first page: what was known before the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The stream whose keys these are.
    pub(super) stream: u32,
    /// The time that the keys' times count from.
    pub(super) base_ms: i64,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE_LEN];
        page[0..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[16..20].copy_from_slice(&self.stream.to_le_bytes());
        page[24..32].copy_from_slice(&self.base_ms.to_le_bytes());
        let crc = crc32c::crc32c(&page[16..]);
        page[12..16].copy_from_slice(&crc.to_le_bytes());
        page
    }

    pub(super) fn decode(path: &str, page: &[u8]) -> Result<Self, StoreError> {
        if page.len() != PAGE_LEN || page[0..8] != MAGIC {
            return Err(damaged(path, 0, "the file is not a run of the duplicate index"));
        }
        let found = u32_at(page, 8);
        if found > VERSION {
            return Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION });
        }
        check(path, 12, u32_at(page, 12), &page[16..])?;
        if found == 0 || !is_zero(&page[20..24]) || !is_zero(&page[32..]) {
            return Err(damaged(path, 0, "its head is malformed"));
        }
        Ok(Self { stream: u32_at(page, 16), base_ms: u64_at(page, 24).cast_signed() })
    }
}

/// The last bytes: what was known after the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Foot {
    pub(super) keys: u64,
    pub(super) pages: u64,
    /// Times of the keys, oldest and newest.
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    /// The width of the filter's fingerprints and the logarithm of its segments.
    pub(super) filter_bits: u32,
    pub(super) filter_prefix: u32,
    /// The bytes of fences and filter together, and their checksum.
    pub(super) tail_len: u64,
    pub(super) tail_crc: u32,
}

impl Foot {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut foot = vec![0; FOOT_LEN];
        foot[8..16].copy_from_slice(&self.keys.to_le_bytes());
        foot[16..24].copy_from_slice(&self.pages.to_le_bytes());
        foot[24..32].copy_from_slice(&self.from_ms.to_le_bytes());
        foot[32..40].copy_from_slice(&self.to_ms.to_le_bytes());
        foot[40..44].copy_from_slice(&self.filter_bits.to_le_bytes());
        foot[44..48].copy_from_slice(&self.filter_prefix.to_le_bytes());
        foot[48..56].copy_from_slice(&self.tail_len.to_le_bytes());
        foot[56..60].copy_from_slice(&self.tail_crc.to_le_bytes());
        foot[88..96].copy_from_slice(&MAGIC);
        let crc = crc32c::crc32c(&foot[8..]);
        foot[0..4].copy_from_slice(&crc.to_le_bytes());
        foot
    }

    /// Reads the foot of a file of `len` bytes, and checks that its parts fill the file.
    pub(super) fn decode(path: &str, len: u64, foot: &[u8]) -> Result<Self, StoreError> {
        let at = len.saturating_sub(FOOT_LEN as u64);
        if foot.len() != FOOT_LEN || foot[88..96] != MAGIC {
            return Err(damaged(path, at, "the end of the run is missing"));
        }
        check(path, at, u32_at(foot, 0), &foot[8..])?;
        if !is_zero(&foot[4..8]) || !is_zero(&foot[60..88]) {
            return Err(damaged(path, at, "its foot is malformed"));
        }
        let foot = Self {
            keys: u64_at(foot, 8),
            pages: u64_at(foot, 16),
            from_ms: u64_at(foot, 24).cast_signed(),
            to_ms: u64_at(foot, 32).cast_signed(),
            filter_bits: u32_at(foot, 40),
            filter_prefix: u32_at(foot, 44),
            tail_len: u64_at(foot, 48),
            tail_crc: u32_at(foot, 56),
        };
        let pages = foot.pages.checked_add(1).and_then(|p| p.checked_mul(PAGE_LEN as u64));
        let whole = pages.and_then(|p| p.checked_add(foot.tail_len)?.checked_add(FOOT_LEN as u64));
        if whole != Some(len) || foot.keys.div_ceil(PAGE_KEYS as u64) != foot.pages {
            return Err(damaged(path, at, "the parts of the run do not fill the file"));
        }
        Ok(foot)
    }
}

/// A page of keys being filled.
#[derive(Debug)]
pub(super) struct PageBuilder {
    number: u32,
    count: usize,
    bytes: Vec<u8>,
}

impl PageBuilder {
    /// The first page.
    pub(super) fn new() -> Self {
        Self { number: 0, count: 0, bytes: vec![0; PAGE_LEN] }
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == PAGE_KEYS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    pub(super) fn push(&mut self, key: u128, time: u32) {
        let at = PAGE_HEAD_LEN + self.count * 16;
        self.bytes[at..at + 16].copy_from_slice(&key.to_le_bytes());
        let at = TIMES_AT + self.count * 4;
        self.bytes[at..at + 4].copy_from_slice(&time.to_le_bytes());
        self.count += 1;
    }

    /// Writes the page to `out` and starts the next one.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.bytes[4..8].copy_from_slice(&self.number.to_le_bytes());
        let count = u32::try_from(self.count).expect("a page has few keys");
        self.bytes[8..12].copy_from_slice(&count.to_le_bytes());
        let crc = crc32c::crc32c(&self.bytes[4..]);
        self.bytes[0..4].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&self.bytes);
        self.bytes.fill(0);
        self.number += 1;
        self.count = 0;
    }
}

/// A page of keys that has been read and checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    keys: &'a [[u8; 16]],
    times: &'a [[u8; 4]],
}

impl<'a> Page<'a> {
    /// Checks page `number` of a run of `run_keys` keys.
    pub(super) fn decode(
        path: &str,
        number: u64,
        run_keys: u64,
        page: &'a [u8],
    ) -> Result<Self, StoreError> {
        let at = (number + 1) * PAGE_LEN as u64;
        if page.len() != PAGE_LEN {
            return Err(damaged(path, at, "a page is cut short"));
        }
        check(path, at, u32_at(page, 0), &page[4..])?;
        let count = u32_at(page, 8) as usize;
        let before = number * PAGE_KEYS as u64;
        let expected = run_keys.saturating_sub(before).min(PAGE_KEYS as u64);
        if u64::from(u32_at(page, 4)) != number || count == 0 || count as u64 != expected {
            return Err(damaged(path, at, format!("this is not page {number} of keys")));
        }
        let (keys, times) = page.split_at(TIMES_AT);
        let (keys, no_keys) = keys[PAGE_HEAD_LEN..].split_at(count * 16);
        let (times, no_times) = times.split_at(count * 4);
        if !is_zero(&page[12..PAGE_HEAD_LEN]) || !is_zero(no_keys) || !is_zero(no_times) {
            return Err(damaged(path, at, "what must be zero in a page is not"));
        }
        Ok(Self { keys: keys.as_chunks().0, times: times.as_chunks().0 })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn get(&self, at: usize) -> (u128, u32) {
        (u128::from_le_bytes(self.keys[at]), u32::from_le_bytes(self.times[at]))
    }

    /// The time of `key`.
    pub(super) fn find(&self, key: u128) -> Option<u32> {
        let at = self.keys.binary_search_by_key(&key, |k| u128::from_le_bytes(*k)).ok()?;
        Some(u32::from_le_bytes(self.times[at]))
    }
}

fn check(path: &str, at: u64, stored: u32, bytes: &[u8]) -> Result<(), StoreError> {
    let found = crc32c::crc32c(bytes);
    if stored == found {
        return Ok(());
    }
    Err(damaged(path, at, format!("its checksum is {stored:08x}, its bytes give {found:08x}")))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
