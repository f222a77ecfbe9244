//! Which key goes to which column, and which key comes next.
//!
//! Programs write their events with the keys in one order and with the same white space. So a
//! decoder remembers, for each key, the bytes that stood between its value and the value of the next
//! key (`,"user_id":` for example). Where they stand again, one comparison does the work of scanning,
//! unescaping and looking up a key. Where they do not, the key is read the long way and remembered.
//!
//! ```text
//!   {"event_id":          ,"ts":              ,"user_id":
//!   start ─────▶ event_id ─────▶ ts ───────────────────▶ user_id …
//! ```
//!
//! Limits: [`KEYS_MAX`] remembered keys per object; others share one place. Two guesses per place.

use hashbrown::HashMap;

use super::cursor::Cursor;
use super::{Broken, DecodePath};

/// How many unknown keys are remembered per object, so that hostile input cannot fill memory.
const KEYS_MAX: usize = 1_000;
/// The longest unknown key that is remembered.
const KEY_BYTES_MAX: usize = 64;
/// The longest text between two values that is remembered.
const GAP_BYTES_MAX: usize = 48;

/// What is done with the value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Nobody asks for it.
    Skip,
    /// It goes to one column.
    Column(usize),
    /// It is looked into: the number of the object's `Keys`.
    Enter(usize),
    /// Several of these.
    Several(Vec<Target>),
}

/// Bytes to be found at a place, compared 16 at a time. Held inline: a decoder of events whose keys
/// come in any order learns at every key.
#[derive(Debug, Clone, Copy)]
struct Gap {
    bytes: [u8; GAP_BYTES_MAX],
    len: usize,
    head: u128,
    mask: u128,
}

impl Gap {
    const NONE: Self = Self { bytes: [0; GAP_BYTES_MAX], len: 0, head: 0, mask: 0 };

    /// `gap`, which is at most [`GAP_BYTES_MAX`] long.
    fn new(gap: &[u8]) -> Self {
        let len = gap.len().min(GAP_BYTES_MAX);
        let mut bytes = [0; GAP_BYTES_MAX];
        bytes[..len].copy_from_slice(&gap[..len]);
        let head = bytes.first_chunk().copied().unwrap_or_default();
        let mask = if len >= 16 { u128::MAX } else { (1 << (8 * len)) - 1 };
        Self { bytes, len, head: u128::from_le_bytes(head), mask }
    }

    #[inline]
    fn stands_at(&self, rest: &[u8]) -> bool {
        let Some(chunk) = rest.first_chunk::<16>() else {
            return self.len > 0 && rest.starts_with(&self.bytes[..self.len]);
        };
        (u128::from_le_bytes(*chunk) ^ self.head) & self.mask == 0
            && self.len > 0
            && (self.len <= 16 || rest.starts_with(&self.bytes[..self.len]))
    }
}

/// A gap that stood behind a value, and the key it led to. An empty gap leads nowhere.
#[derive(Debug, Clone, Copy)]
struct Guess {
    gap: Gap,
    key: usize,
}

impl Guess {
    const NONE: Self = Self { gap: Gap::NONE, key: START };
}

/// A key that was seen, or is asked for.
#[derive(Debug, Clone)]
struct Key {
    target: Target,
    next: [Guess; 2],
}

/// The keys of one object.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// The first stands for the beginning of the object, the second for keys not remembered.
    keys: Vec<Key>,
    by_name: HashMap<String, usize>,
    /// The columns that are filled from this object or from one inside it.
    pub(super) columns: Vec<usize>,
}

/// The place before the first key.
pub(super) const START: usize = 0;
const FORGOTTEN: usize = 1;

impl Keys {
    pub(super) fn new() -> Self {
        let place = Key { target: Target::Skip, next: [Guess::NONE; 2] };
        Self { keys: vec![place.clone(), place], by_name: HashMap::new(), columns: Vec::new() }
    }

    /// Adds what is done with the value of `name`.
    pub(super) fn add(&mut self, name: &str, target: Target) {
        let key = self.remember(name, Target::Skip);
        let old = std::mem::replace(&mut self.keys[key].target, Target::Skip);
        self.keys[key].target = match old {
            Target::Skip => target,
            Target::Several(mut several) => {
                several.push(target);
                Target::Several(several)
            }
            one => Target::Several(vec![one, target]),
        };
    }

    /// The object behind `name`, if it is entered.
    pub(super) fn entered(&self, name: &str) -> Option<usize> {
        let of = |target: &Target| match target {
            Target::Enter(node) => Some(*node),
            _ => None,
        };
        match &self.keys[*self.by_name.get(name)?].target {
            Target::Several(several) => several.iter().find_map(of),
            one => of(one),
        }
    }

    /// Forgets what stands between keys: a text of another layout follows.
    pub(super) fn forget_gaps(&mut self) {
        self.keys.iter_mut().for_each(|key| key.next = [Guess::NONE; 2]);
    }

    fn remember(&mut self, name: &str, target: Target) -> usize {
        if let Some(&key) = self.by_name.get(name) {
            return key;
        }
        self.keys.push(Key { target, next: [Guess::NONE; 2] });
        let key = self.keys.len() - 1;
        self.by_name.insert(name.to_owned(), key);
        key
    }

    pub(super) fn target(&self, key: usize) -> &Target {
        &self.keys[key].target
    }

    /// Moves from behind the value of `from` to the value of the next key and gives that key; `None`
    /// behind the end of the object.
    #[inline]
    pub(super) fn next(
        &mut self,
        from: usize,
        cursor: &mut Cursor<'_>,
        scratch: &mut String,
    ) -> Result<Option<usize>, Broken> {
        let rest = cursor.rest();
        for guess in &self.keys[from].next {
            if guess.gap.stands_at(rest) {
                cursor.pos += guess.gap.len;
                if cursor.peek() <= b' ' {
                    // More white space than last time.
                    cursor.skip_space();
                }
                return Ok(Some(guess.key));
            }
        }
        self.read(from, cursor, scratch)
    }

    /// Reads the next key the long way.
    #[cold]
    fn read(
        &mut self,
        from: usize,
        cursor: &mut Cursor<'_>,
        scratch: &mut String,
    ) -> Result<Option<usize>, Broken> {
        let gap_start = cursor.pos;
        cursor.skip_space();
        if cursor.peek() == b'}' {
            cursor.pos += 1;
            return Ok(None);
        }
        if from != START {
            cursor.byte(b',', "a comma or the end of an object")?;
            cursor.skip_space();
        }
        if cursor.peek() != b'"' {
            return Err(cursor.broken("a key"));
        }
        let span = cursor.string()?;
        let name = cursor.unescape(span, scratch);
        let key = match self.by_name.get(name) {
            Some(&key) => key,
            None if self.by_name.len() < KEYS_MAX && name.len() <= KEY_BYTES_MAX => {
                self.remember(name, Target::Skip)
            }
            None => FORGOTTEN,
        };
        cursor.skip_space();
        cursor.byte(b':', "a colon")?;
        cursor.skip_space();
        let gap = &cursor.text.as_bytes()[gap_start..cursor.pos];
        if gap.len() <= GAP_BYTES_MAX && (key != FORGOTTEN || from != FORGOTTEN) {
            let next = &mut self.keys[from].next;
            next.swap(0, 1);
            next[0] = Guess { gap: Gap::new(gap), key };
        }
        Ok(Some(key))
    }
}

/// Builds the keys of all objects from the paths of every column: its value is where one of them leads. The first are
/// the root's.
pub(super) fn plan(paths: &[Vec<DecodePath>]) -> Vec<Keys> {
    let mut nodes = vec![Keys::new()];
    let all = paths.iter().enumerate();
    for (column, path) in all.flat_map(|(column, paths)| paths.iter().map(move |p| (column, p))) {
        let Some((last, parents)) = path.split_last() else { continue };
        let mut node = 0;
        for name in parents {
            nodes[node].columns.push(column);
            node = if let Some(child) = nodes[node].entered(name) {
                child
            } else {
                nodes.push(Keys::new());
                let child = nodes.len() - 1;
                nodes[node].add(name, Target::Enter(child));
                child
            };
        }
        nodes[node].columns.push(column);
        nodes[node].add(last, Target::Column(column));
    }
    nodes
}
