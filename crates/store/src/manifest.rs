//! The manifest: what the store is made of at one commit. `docs/format/manifest.md` has every byte.
//!
//! ```text
//!   manifest.new ──write, sync──▶ rename ──▶ manifest ──sync folder──▶ durable
//! ```
//!
//! What must hold: there is always one whole manifest, the old one or the new one. Only one is
//! kept: what an older one names (log segments, parts) is removed as soon as the new one is
//! durable, so it could not be opened anyway.
//!
//! Not here: the definitions of the trees (they are in the engine's `meta`).

mod wire;

use bytes::Bytes;
use yeoul_batch::{CommitId, TreeId};

use self::wire::{Reader, Writer};
use crate::{Media, PartMeta, RuleKind, StoreError, TreeManifest};

/// The file.
const NAME: &str = "manifest";
/// The file while it is written.
const NEW_NAME: &str = "manifest.new";
const MAGIC: [u8; 8] = *b"YEOULMAN";
/// The format version that is written, and the newest that is read.
const VERSION: u32 = 2;
/// From this version on a tree says how many rows its retention has dropped.
const VERSION_EXPIRED: u32 = 2;
/// That count where it is not known.
const NOT_COUNTED: u64 = u64::MAX;
/// The length of the head: magic, version, checksum, length of the body.
const HEAD_LEN: usize = 24;

/// A sorted run of the duplicate index: the file is `seen/<number>.run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRunMeta {
    /// Its number in this store, never reused.
    pub number: u64,
    /// The oldest arrival in it, in microseconds since 1970.
    pub from_us: i64,
    /// The newest arrival in it, in microseconds since 1970.
    pub to_us: i64,
    /// How many keys.
    pub keys: u64,
    /// How long the file is.
    pub bytes: u64,
}

/// What the store is made of at one commit.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Everything up to here is in the parts; the log holds the rest.
    pub commit: CommitId,
    /// The number of the next tree.
    pub next_tree: u32,
    /// The number of the next part and of the next run of the duplicate index.
    pub next_part: u64,
    /// The trees.
    pub trees: Vec<TreeManifest>,
    /// The runs of the duplicate index, oldest first.
    pub seen_runs: Vec<SeenRunMeta>,
    /// The engine's own state at `commit`, opaque here.
    pub meta: Bytes,
}

impl Default for Manifest {
    /// The empty store before the first commit.
    fn default() -> Self {
        Self {
            commit: CommitId(0),
            next_tree: 1,
            next_part: 1,
            trees: Vec::new(),
            seen_runs: Vec::new(),
            meta: Bytes::new(),
        }
    }
}

impl Manifest {
    /// The manifest of a store; `None` when it has none yet.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Newer`] when there is one that cannot be read.
    pub fn load(media: &dyn Media) -> Result<Option<Self>, StoreError> {
        if !media.exists(NAME)? {
            return Ok(None);
        }
        Self::decode(&media.read(NAME)?).map(Some)
    }

    /// Puts this manifest in the place of the old one. When it returns, this one is durable;
    /// after an error or a crash it is the old one or this one.
    pub fn store(&self, media: &dyn Media) -> Result<(), StoreError> {
        let bytes = self.encode();
        let mut file = media.create(NEW_NAME)?;
        file.append(&bytes)?;
        file.sync()?;
        drop(file);
        media.rename(NEW_NAME, NAME)?;
        media.sync_dir("")
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(HEAD_LEN);
        out.u64(self.commit.0);
        out.u32(self.next_tree);
        out.u64(self.next_part);
        out.count(self.trees.len());
        for tree in &self.trees {
            out.u32(tree.id.0);
            out.u8(rule_number(tree.rule));
            out.u64(tree.expired_rows.unwrap_or(NOT_COUNTED));
            out.count(tree.parts.len());
            for part in &tree.parts {
                write_part(&mut out, part);
            }
        }
        out.count(self.seen_runs.len());
        for run in &self.seen_runs {
            out.u64(run.number);
            out.i64(run.from_us);
            out.i64(run.to_us);
            out.u64(run.keys);
            out.u64(run.bytes);
        }
        out.bytes(&self.meta);
        let mut bytes = out.finish();
        let body_len = (bytes.len() - HEAD_LEN) as u64;
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&body_len.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a file's bytes, whatever they are.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut head = Reader::new(bytes);
        if head.take(8)? != MAGIC {
            return Err(corrupt(0, "the file is not a manifest of Yeoul".to_owned()));
        }
        let version = head.u32()?;
        let stored = head.u32()?;
        if version > VERSION {
            return Err(StoreError::Newer { path: NAME.into(), found: version, known: VERSION });
        }
        let found = crc32c::crc32c(&bytes[16..]);
        if stored != found || version == 0 {
            let reason = format!("its checksum is {stored:08x}, its bytes give {found:08x}");
            return Err(corrupt(12, reason));
        }
        let body_len = head.u64()?;
        if body_len != head.left() as u64 {
            let reason = format!("a body of {body_len} bytes should follow, not {}", head.left());
            return Err(corrupt(16, reason));
        }
        read_body(head, version)
    }
}

fn read_body(mut body: Reader<'_>, version: u32) -> Result<Manifest, StoreError> {
    let mut manifest = Manifest {
        commit: CommitId(body.u64()?),
        next_tree: body.u32()?,
        next_part: body.u64()?,
        ..Manifest::default()
    };
    for _ in 0..body.u32()? {
        let id = TreeId(body.u32()?);
        let rule = read_rule(&mut body)?;
        let expired = if version >= VERSION_EXPIRED { body.u64()? } else { NOT_COUNTED };
        let count = body.u32()?;
        let parts = (0..count).map(|_| read_part(&mut body)).collect::<Result<_, _>>()?;
        let expired_rows = (expired != NOT_COUNTED).then_some(expired);
        manifest.trees.push(TreeManifest { id, rule, expired_rows, parts });
    }
    for _ in 0..body.u32()? {
        manifest.seen_runs.push(SeenRunMeta {
            number: body.u64()?,
            from_us: body.i64()?,
            to_us: body.i64()?,
            keys: body.u64()?,
            bytes: body.u64()?,
        });
    }
    manifest.meta = Bytes::copy_from_slice(body.bytes()?);
    match body.left() {
        0 => Ok(manifest),
        left => Err(corrupt(body.offset(), format!("{left} bytes follow the engine's state"))),
    }
}

fn write_part(out: &mut Writer, part: &PartMeta) {
    out.u64(part.number);
    out.i64(part.partition);
    out.u64(part.rows);
    out.u64(part.bytes);
    out.u8(part.level);
    out.bytes(&part.first_key);
    out.bytes(&part.last_key);
}

fn read_part(body: &mut Reader<'_>) -> Result<PartMeta, StoreError> {
    Ok(PartMeta {
        number: body.u64()?,
        partition: body.i64()?,
        rows: body.u64()?,
        bytes: body.u64()?,
        level: body.u8()?,
        first_key: body.bytes()?.to_vec(),
        last_key: body.bytes()?.to_vec(),
    })
}

fn rule_number(rule: RuleKind) -> u8 {
    match rule {
        RuleKind::Keep => 1,
        RuleKind::Latest => 2,
        RuleKind::Combine => 3,
    }
}

fn read_rule(body: &mut Reader<'_>) -> Result<RuleKind, StoreError> {
    let offset = body.offset();
    match body.u8()? {
        1 => Ok(RuleKind::Keep),
        2 => Ok(RuleKind::Latest),
        3 => Ok(RuleKind::Combine),
        other => Err(corrupt(offset, format!("there is no merge rule {other}"))),
    }
}

fn corrupt(offset: usize, reason: String) -> StoreError {
    StoreError::Corrupt {
        path: NAME.to_owned(),
        offset: offset as u64,
        reason,
        hint: "restore the data folder from a backup; the files in `parts` can still be read as \
               Parquet"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
