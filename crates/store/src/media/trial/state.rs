//! The state behind a [`super::TrialMedia`]: what is in memory, what is on the disk, what fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

use super::Fault;
use crate::media::parent;

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) chance: Chance,
    pub(super) operations: u64,
    pub(super) fault: Option<(u64, Fault)>,
    pub(super) crashed: bool,
    pub(super) files: BTreeMap<u64, Inode>,
    pub(super) next_inode: u64,
    pub(super) names: Names,
    pub(super) durable_names: Names,
    pub(super) name_changes: Vec<(String, NameChange)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) files: BTreeMap<String, u64>,
    pub(super) dirs: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
    CreateDir(String),
    RemoveDirAll(String),
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) bytes: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) changes: Vec<Change>,
}

#[derive(Debug)]
pub(super) enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Change {
    pub(super) fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => write_at(to, *at, bytes),
            Self::Truncate(len) => to.resize(*len, 0),
        }
    }
}

fn write_at(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[at..end].copy_from_slice(bytes);
}

impl Names {
    pub(super) fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Create(path, inode) => {
                self.files.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = self.files.remove(from) {
                    self.files.insert(to.clone(), inode);
                }
            }
            NameChange::Remove(path) => {
                self.files.remove(path);
            }
            NameChange::CreateDir(dir) => {
                self.dirs.insert(dir.clone());
            }
            NameChange::RemoveDirAll(dir) => {
                let inside = format!("{dir}/");
                self.dirs.retain(|d| d != dir && !d.starts_with(&inside));
                self.files.retain(|f, _| !f.starts_with(&inside));
            }
        }
    }

    pub(super) fn has_dir(&self, dir: &str) -> bool {
        dir.is_empty() || self.dirs.contains(dir)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough to choose failures.
#[derive(Clone, Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0 ..= most`.
    pub(super) fn up_to(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % (most as u64 + 1)).unwrap_or(most)
    }
}

/// What the disk does with an operation.
pub(super) enum Verdict {
    Do,
    DoThenCrash,
    DoPart(io::Error),
}

impl Disk {
    /// Counts an operation and decides its fate.
    pub(super) fn decide(&mut self) -> Result<Verdict, io::Error> {
        if self.crashed {
            return Err(crash());
        }
        self.operations += 1;
        let eio = || io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
        let full = || io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        match self.fault {
            Some((at, fault)) if at == self.operations => match fault {
                Fault::Io => Err(eio()),
                Fault::NoSpace => Err(full()),
                Fault::ShortWrite => Ok(Verdict::DoPart(eio())),
                Fault::CrashBefore => {
                    self.crashed = true;
                    Err(crash())
                }
                Fault::CrashAfter => {
                    self.crashed = true;
                    Ok(Verdict::DoThenCrash)
                }
            },
            _ => Ok(Verdict::Do),
        }
    }

    pub(super) fn inode(&mut self, number: u64) -> &mut Inode {
        self.files.entry(number).or_default()
    }

    pub(super) fn find(&self, path: &str) -> io::Result<&Inode> {
        let number = self.names.files.get(path).ok_or(ErrorKind::NotFound)?;
        self.files.get(number).ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn change_name(&mut self, dir: &str, change: NameChange) -> io::Result<()> {
        let verdict = self.decide()?;
        if let Verdict::DoPart(e) = verdict {
            return Err(e);
        }
        self.names.apply(&change);
        self.name_changes.push((dir.to_owned(), change));
        finish(&verdict)
    }

    pub(super) fn change_file(&mut self, number: u64, change: Change) -> io::Result<()> {
        let verdict = self.decide()?;
        let change = match (&verdict, change) {
            (Verdict::DoPart(_), Change::Write { at, mut bytes }) => {
                let kept = self.chance.up_to(bytes.len().saturating_sub(1));
                bytes.truncate(kept);
                Change::Write { at, bytes }
            }
            (Verdict::DoPart(_), Change::Truncate(_)) => return finish(&verdict),
            (_, change) => change,
        };
        let inode = self.inode(number);
        change.apply(&mut inode.bytes);
        inode.changes.push(change);
        finish(&verdict)
    }
}

pub(super) fn finish(verdict: &Verdict) -> io::Result<()> {
    match verdict {
        Verdict::Do => Ok(()),
        Verdict::DoThenCrash => Err(crash()),
        Verdict::DoPart(e) => Err(io::Error::new(e.kind(), e.to_string())),
    }
}

pub(super) fn crash() -> io::Error {
    io::Error::other("the trial's machine has stopped")
}

pub(super) fn surviving_names(disk: &Disk, chance: &mut Chance) -> Names {
    let mut kept = BTreeMap::new();
    for (dir, _) in &disk.name_changes {
        *kept.entry(dir.as_str()).or_insert(0_usize) += 1;
    }
    for count in kept.values_mut() {
        *count = chance.up_to(*count);
    }
    let mut names = disk.durable_names.clone();
    for (dir, change) in &disk.name_changes {
        if let Some(count) = kept.get_mut(dir.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            names.apply(change);
        }
    }
    // What is in a folder whose own name was lost cannot be reached.
    let known = names.clone();
    let reached = |path: &str| {
        let mut dir = parent(path);
        while !dir.is_empty() {
            if !known.has_dir(dir) {
                return false;
            }
            dir = parent(dir);
        }
        true
    };
    names.files.retain(|path, _| reached(path));
    names.dirs.retain(|path| reached(path));
    names
}

pub(super) fn surviving_bytes(inode: &Inode, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = inode.durable.clone();
    let kept = chance.up_to(inode.changes.len());
    for change in &inode.changes[..kept] {
        change.apply(&mut bytes);
    }
    if let Some(Change::Write { at, bytes: written }) = inode.changes.get(kept) {
        let part = chance.up_to(written.len());
        write_at(&mut bytes, *at, &written[..part]);
    }
    // The length may reach the disk before the bytes do.
    if bytes.len() < inode.bytes.len() && chance.up_to(2) == 0 {
        bytes.resize(inode.bytes.len(), 0);
    }
    bytes
}
