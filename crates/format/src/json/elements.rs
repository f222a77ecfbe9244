//! Objects in an array, or one after the other without regard to lines.

use super::cursor::Cursor;
use super::{Broken, JsonDecoder};
use crate::decoded::{Progress, Refusal, count_lines};

/// What may stand between two elements. The brackets of the array around them are taken for
/// separators too, so that a piece of a long array needs no memory of where it came from.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']')
}

/// How many bytes at the beginning are whole elements with their separators.
pub(super) fn split(bytes: &[u8]) -> usize {
    let (mut at, mut end) = (0, 0);
    while at < bytes.len() {
        if is_separator(bytes[at]) {
            at += 1;
            end = at;
            continue;
        }
        let Some(len) = element_len(&bytes[at..]) else { break };
        at += len;
        end = at;
    }
    end
}

/// Where each element ends; the last one may be incomplete.
pub(super) fn ends(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (0, Vec::new());
    while at < bytes.len() {
        if is_separator(bytes[at]) {
            at += 1;
        } else {
            at = element_len(&bytes[at..]).map_or(bytes.len(), |len| at + len.max(1));
            ends.push(at);
        }
    }
    ends
}

/// Where the element around `at` begins and ends.
pub(super) fn around(bytes: &[u8], at: usize) -> (usize, usize) {
    let start = split(&bytes[..at]);
    let end = element_len(&bytes[start..]).map_or(bytes.len(), |len| start + len);
    (start, end.max(at + 1))
}

/// The length of the element here, if it is whole; only quotes and brackets are looked at.
fn element_len(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at += string_len(&bytes[at..])?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                at += 1;
                if depth <= 1 {
                    return Some(at);
                }
                depth -= 1;
            }
            byte if depth == 0 && is_separator(byte) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

fn string_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

impl JsonDecoder {
    pub(super) fn decode_elements(&mut self, text: &str, progress: &mut Progress) {
        let mut cursor = Cursor::new(text, true);
        loop {
            while is_separator(cursor.peek()) {
                progress.lines += u64::from(cursor.peek() == b'\n');
                cursor.pos += 1;
            }
            let start = cursor.pos;
            if start == text.len() {
                return;
            }
            if let Err(reason) = self.element(&mut cursor) {
                // Wherever the error is, the element ends where its brackets say.
                self.sheet.undo();
                let rest = &text.as_bytes()[start..];
                let len = element_len(rest).unwrap_or(rest.len()).max(1);
                progress.refuse(&rest[..len], self.row_bytes_max, reason);
                cursor.pos = start + len;
            } else {
                progress.records += 1;
            }
            progress.lines += count_lines(&text.as_bytes()[start..cursor.pos]);
        }
    }

    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Refusal> {
        let start = cursor.pos;
        let reason = |broken: Broken| Refusal::from(broken.reason(start));
        if cursor.peek() != b'{' {
            return Err(reason(cursor.broken("an object")));
        }
        self.object(cursor, 0).map_err(reason)?;
        self.end_row(cursor.pos - start)
    }
}
