//! A sorted run of keys in a file: written once, asked for single keys, read through when merged.
//!
//! ```text
//!   key ──filter──▶ perhaps ──fences──▶ the one page it can be in ──read 4 KiB, check──▶ time
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::SEGMENT_KEYS;
use super::build::FilterBuilder;
use super::filter::{Filter, halves};
use super::format::{FOOT_LEN, Foot, Head, PAGE_KEYS, PAGE_LEN, Page, PageBuilder, damaged, path};
use crate::manifest::SeenRunMeta;
use crate::{Media, MediaFile, StoreError};

/// Pages are written and read through in groups of this many (256 KiB).
const PAGES_AT_A_TIME: usize = 64;

/// Where a run's bytes come from: an open file where there is one, so that a probe costs one
/// system call and a removed file can still be read.
#[derive(Debug)]
enum Bytesource {
    File(File),
    Media(Arc<dyn Media>),
}

/// A run that can be read.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) meta: SeenRunMeta,
    path: String,
    base_ms: i64,
    /// The times of the keys, oldest and newest.
    from_ms: i64,
    to_ms: i64,
    pages: u64,
    /// The high half of each page's first key.
    fences: Vec<u64>,
    source: Bytesource,
}

impl Run {
    /// Opens the run that the manifest describes, with its filter.
    pub(super) fn open(
        media: &Arc<dyn Media>,
        meta: &SeenRunMeta,
        stream: u32,
    ) -> Result<(Self, Filter), StoreError> {
        let path = path(meta.number);
        let len = media.len(&path)?;
        if len != meta.bytes || len < (PAGE_LEN + FOOT_LEN) as u64 {
            let reason = format!("it has {len} bytes, the manifest says {}", meta.bytes);
            return Err(damaged(&path, 0, reason));
        }
        let head = Head::decode(&path, &media.read_at(&path, 0, PAGE_LEN)?)?;
        if head.stream != stream {
            let reason = format!("it belongs to stream {}, not {stream}", head.stream);
            return Err(damaged(&path, 16, reason));
        }
        let foot = media.read_at(&path, len - FOOT_LEN as u64, FOOT_LEN)?;
        let foot = Foot::decode(&path, len, &foot)?;
        let times = (foot.from_ms.wrapping_mul(1000), foot.to_ms.wrapping_mul(1000));
        if foot.keys != meta.keys || times != (meta.from_us, meta.to_us) {
            return Err(damaged(&path, len, "it is not the run that the manifest names"));
        }
        let span = foot.to_ms.checked_sub(head.base_ms).map(u32::try_from);
        if head.base_ms > foot.from_ms || foot.from_ms > foot.to_ms || !matches!(span, Some(Ok(_)))
        {
            return Err(damaged(&path, len - FOOT_LEN as u64, "its times are out of order"));
        }
        let tail_at = (foot.pages + 1) * PAGE_LEN as u64;
        let tail_len = usize::try_from(foot.tail_len)
            .map_err(|_| damaged(&path, tail_at, "its tail does not fit in memory"))?;
        let tail = media.read_at(&path, tail_at, tail_len)?;
        if crc32c::crc32c(&tail) != foot.tail_crc {
            return Err(damaged(&path, tail_at, "its filter does not match its checksum"));
        }
        let (fences, filter) = read_tail(&tail, &foot)
            .ok_or_else(|| damaged(&path, tail_at, "its filter is malformed"))?;
        let source = open_source(media, &path)?;
        let run = Self {
            meta: meta.clone(),
            path,
            base_ms: head.base_ms,
            from_ms: foot.from_ms,
            to_ms: foot.to_ms,
            pages: foot.pages,
            fences,
            source,
        };
        Ok((run, filter))
    }

    /// The memory of the fences.
    pub(super) fn bytes(&self) -> usize {
        self.fences.capacity() * size_of::<u64>()
    }

    /// When `key` was accepted, if it is here.
    pub(super) fn time_ms(&self, key: u128, page: &mut Vec<u8>) -> Result<Option<i64>, StoreError> {
        let (high, _) = halves(key);
        // Keys with the fence's own high half may also end the page before it.
        let not_before = self.fences.partition_point(|&f| f < high);
        let equal = self.fences[not_before..].iter().take_while(|&&f| f == high).count();
        let (first, last) = (not_before.saturating_sub(1), not_before + equal);
        for number in first..last {
            self.read_pages(number as u64, 1, page)?;
            if let Some(time) = self.page(number as u64, page)?.find(key) {
                return self.at_ms(number as u64, time).map(Some);
            }
        }
        Ok(None)
    }

    fn page<'a>(&self, number: u64, bytes: &'a [u8]) -> Result<Page<'a>, StoreError> {
        Page::decode(&self.path, number, self.meta.keys, bytes)
    }

    /// The time of a key of page `number`.
    fn at_ms(&self, number: u64, time: u32) -> Result<i64, StoreError> {
        let at_ms = self.base_ms.saturating_add(i64::from(time));
        if (self.from_ms..=self.to_ms).contains(&at_ms) {
            return Ok(at_ms);
        }
        Err(self.damaged_page(number, "a key's time is not among those of the run"))
    }

    fn damaged_page(&self, number: u64, reason: &str) -> StoreError {
        damaged(&self.path, (number + 1) * PAGE_LEN as u64, reason)
    }

    fn read_pages(&self, first: u64, count: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let offset = (first + 1) * PAGE_LEN as u64;
        let len = count * PAGE_LEN;
        match &self.source {
            Bytesource::File(file) => {
                out.resize(len, 0);
                file.read_exact_at(out, offset)
                    .map_err(|e| StoreError::io("cannot read", &self.path, e))
            }
            Bytesource::Media(media) => {
                let bytes: Bytes = media.read_at(&self.path, offset, len)?;
                out.clear();
                out.extend_from_slice(&bytes);
                Ok(())
            }
        }
    }
}

fn open_source(media: &Arc<dyn Media>, path: &str) -> Result<Bytesource, StoreError> {
    let Some(local) = media.local_path(path) else {
        return Ok(Bytesource::Media(Arc::clone(media)));
    };
    let file = File::open(local).map_err(|e| StoreError::io("cannot open", path, e))?;
    Ok(Bytesource::File(file))
}

fn read_tail(tail: &[u8], foot: &Foot) -> Option<(Vec<u64>, Filter)> {
    let fences_len = usize::try_from(foot.pages).ok()?.checked_mul(8)?;
    let (fences, filter) = tail.split_at_checked(fences_len)?;
    let fences: Vec<u64> = fences.as_chunks().0.iter().map(|f| u64::from_le_bytes(*f)).collect();
    let filter = Filter::decode(foot.filter_bits, foot.filter_prefix, filter)?;
    fences.is_sorted().then_some((fences, filter))
}

/// Reads a run from its first key to its last.
#[derive(Debug)]
pub(super) struct Cursor {
    run: Arc<Run>,
    pages: Vec<u8>,
    /// The first page in `pages`, the page of it being read, and the keys read of that one.
    first: u64,
    page: usize,
    at: usize,
    entries: Vec<(u128, i64)>,
    /// The last key of the pages before.
    last: Option<u128>,
}

impl Cursor {
    pub(super) fn new(run: Arc<Run>) -> Result<Self, StoreError> {
        let mut cursor = Self {
            run,
            pages: Vec::new(),
            first: 0,
            page: 0,
            at: 0,
            entries: Vec::new(),
            last: None,
        };
        cursor.load()?;
        Ok(cursor)
    }

    /// The key it stands on and its time, or nothing behind the last.
    #[inline]
    pub(super) fn current(&self) -> Option<(u128, i64)> {
        self.entries.get(self.at).copied()
    }

    /// Steps to the next key.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<(), StoreError> {
        self.at += 1;
        if self.at == self.entries.len() { self.load() } else { Ok(()) }
    }

    /// Decodes the next page.
    fn load(&mut self) -> Result<(), StoreError> {
        if self.page * PAGE_LEN == self.pages.len() {
            self.first += (self.pages.len() / PAGE_LEN) as u64;
            let left = self.run.pages - self.first;
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(PAGES_AT_A_TIME);
            self.page = 0;
            self.run.read_pages(self.first, count, &mut self.pages)?;
        }
        self.entries.clear();
        self.at = 0;
        let start = self.page * PAGE_LEN;
        if let Some(bytes) = self.pages.get(start..start + PAGE_LEN) {
            let number = self.first + self.page as u64;
            let page = self.run.page(number, bytes)?;
            for (key, time) in (0..page.len()).map(|at| page.get(at)) {
                if self.last.is_some_and(|last| last >= key) {
                    return Err(self.run.damaged_page(number, "its keys are out of order"));
                }
                self.last = Some(key);
                self.entries.push((key, self.run.at_ms(number, time)?));
            }
            self.page += 1;
        }
        Ok(())
    }
}

/// Writes a run from keys in ascending order.
#[derive(Debug)]
pub(super) struct RunWriter {
    media: Arc<dyn Media>,
    file: Box<dyn MediaFile>,
    number: u64,
    path: String,
    base_ms: i64,
    foot: Foot,
    page: PageBuilder,
    pages: Vec<u8>,
    fences: Vec<u64>,
    filter: FilterBuilder,
    /// The closed parts of the filter that were handed over.
    handed: usize,
    last: Option<u128>,
}

/// What of a run can be asked while the rest is being written.
#[derive(Debug)]
pub(super) struct Rising {
    pub(super) run: Run,
    pub(super) filter: Filter,
    /// It has the keys whose high half is below this.
    pub(super) below: u64,
}

impl RunWriter {
    /// Begins the run `number` for about `keys` keys, with times from `head.base_ms` on and a
    /// filter of `bits` bits.
    pub(super) fn create(
        media: &Arc<dyn Media>,
        number: u64,
        head: Head,
        keys: u64,
        bits: u32,
    ) -> Result<Self, StoreError> {
        let path = path(number);
        let mut file = media.create(&path)?;
        file.append(&head.encode())?;
        Ok(Self {
            media: Arc::clone(media),
            file,
            number,
            path,
            base_ms: head.base_ms,
            foot: Foot { from_ms: i64::MAX, to_ms: i64::MIN, ..Foot::default() },
            page: PageBuilder::new(),
            pages: Vec::with_capacity(PAGES_AT_A_TIME * PAGE_LEN),
            fences: Vec::with_capacity(usize::try_from(keys).unwrap_or(0) / PAGE_KEYS + 1),
            filter: FilterBuilder::new(keys, bits, SEGMENT_KEYS),
            handed: 0,
            last: None,
        })
    }

    /// Adds the next key.
    pub(super) fn push(&mut self, key: u128, at_ms: i64) -> Result<(), StoreError> {
        assert!(self.last.is_none_or(|last| last < key), "seen: a run is in order");
        self.last = Some(key);
        let time = u32::try_from(at_ms - self.base_ms)
            .expect("merges are planned within the span of a run's times");
        if self.page.is_empty() {
            self.fences.push(halves(key).0);
        }
        self.page.push(key, time);
        self.filter.push(key);
        self.foot.keys += 1;
        self.foot.from_ms = self.foot.from_ms.min(at_ms);
        self.foot.to_ms = self.foot.to_ms.max(at_ms);
        if self.page.is_full() {
            self.page.finish(&mut self.pages);
            if self.pages.len() >= PAGES_AT_A_TIME * PAGE_LEN {
                self.file.append(&self.pages)?;
                self.pages.clear();
            }
        }
        Ok(())
    }

    /// What can be asked already, when it has become more by a part of the filter. It is also made
    /// durable, so that the disk does not get all of a large run at once.
    pub(super) fn rising(&mut self) -> Result<Option<Rising>, StoreError> {
        let (closed, parts) = self.filter.parts();
        // At the end of a page all keys of the closed parts are in whole pages.
        if closed <= self.handed || parts == 0 || !self.page.is_empty() {
            return Ok(None);
        }
        self.handed = closed;
        self.file.append(&self.pages)?;
        self.pages.clear();
        self.file.sync()?;
        let run = self.run(self.fences.clone())?;
        let below = (u64::MAX / parts as u64 + 1) * closed as u64;
        Ok(Some(Rising { run, filter: self.filter.so_far(), below }))
    }

    /// The run as far as its pages are written.
    fn run(&self, fences: Vec<u64>) -> Result<Run, StoreError> {
        let meta = SeenRunMeta {
            number: self.number,
            from_us: self.foot.from_ms.wrapping_mul(1000),
            to_us: self.foot.to_ms.wrapping_mul(1000),
            keys: self.foot.keys,
            bytes: self.file.position(),
        };
        Ok(Run {
            meta,
            path: self.path.clone(),
            base_ms: self.base_ms,
            from_ms: self.foot.from_ms,
            to_ms: self.foot.to_ms,
            pages: fences.len() as u64,
            fences,
            source: open_source(&self.media, &self.path)?,
        })
    }

    /// Makes the run durable. Without keys there is no run and no file.
    pub(super) fn finish(mut self) -> Result<Option<(Run, Filter)>, StoreError> {
        if self.foot.keys == 0 {
            drop(self.file);
            self.media.remove(&self.path)?;
            return Ok(None);
        }
        if !self.page.is_empty() {
            self.page.finish(&mut self.pages);
        }
        let filter = std::mem::replace(&mut self.filter, FilterBuilder::new(0, 0, 1)).finish();
        self.fences.shrink_to_fit();
        let fences: Vec<u8> = self.fences.iter().flat_map(|f| f.to_le_bytes()).collect();
        let segments = filter.encode_segments();
        // The slots are most of the memory: they are written from where they are.
        let tail: Vec<&[u8]> = [&*fences, &*segments].into_iter().chain(filter.slots()).collect();
        self.foot.pages = self.fences.len() as u64;
        self.foot.filter_bits = filter.bits();
        self.foot.filter_prefix = filter.prefix_bits();
        self.foot.tail_len = tail.iter().map(|piece| piece.len() as u64).sum();
        self.foot.tail_crc = tail.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        let foot = self.foot.encode();
        let pieces: Vec<&[u8]> = [&*self.pages].into_iter().chain(tail).chain([&*foot]).collect();
        self.file.append_vectored(&pieces)?;
        self.file.sync()?;
        self.media.sync_dir("seen")?;
        let fences = std::mem::take(&mut self.fences);
        Ok(Some((self.run(fences)?, filter)))
    }
}
