//! Blocks of JSON into rows and bad rows.

use super::cursor::Cursor;
use super::keys::{Keys, START, Target};
use super::{Broken, Failure, JsonDecoder, JsonLayout, value};
use crate::decoded::{Decoded, Progress, Refusal, count_lines, too_long};
use crate::error::FormatError;

impl JsonDecoder {
    /// Decodes whole records. Text that comes in pieces is cut with [`JsonDecoder::split`] first.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FormatError> {
        let (mark, layout) = self.beginning(bytes);
        if self.learned == JsonLayout::Elements && layout != self.learned {
            self.keys.iter_mut().for_each(Keys::forget_gaps);
        }
        self.learned = layout;
        let mut progress = Progress::default();
        let mut rest = &bytes[mark..];
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.decode_text(text, layout, &mut progress);
                    break;
                }
                Err(error) => error,
            };
            // The record with the broken character is bad; what stands before and behind it is not.
            let (before, behind) = self.around(rest, error.valid_up_to(), layout);
            if let Ok(text) = std::str::from_utf8(&rest[..before]) {
                self.decode_text(text, layout, &mut progress);
            }
            let at = error.valid_up_to() - before;
            progress.refuse(
                &rest[before..behind],
                self.row_bytes_max,
                format!("invalid UTF-8 at byte {at}"),
            );
            progress.lines += count_lines(&rest[before..behind]);
            rest = &rest[behind..];
        }
        let rows = self.sheet.finish()?;
        Ok(progress.finish(rows))
    }

    /// Where the record around `at` begins and ends.
    fn around(&self, bytes: &[u8], at: usize, layout: JsonLayout) -> (usize, usize) {
        match layout {
            JsonLayout::Elements => super::elements::around(bytes, at),
            JsonLayout::Auto | JsonLayout::Lines => (
                memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |newline| newline + 1),
                memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |newline| at + newline + 1),
            ),
        }
    }

    fn decode_text(&mut self, text: &str, layout: JsonLayout, progress: &mut Progress) {
        match layout {
            JsonLayout::Elements => self.decode_elements(text, progress),
            JsonLayout::Auto | JsonLayout::Lines => self.decode_lines(text, progress),
        }
    }

    fn decode_lines(&mut self, text: &str, progress: &mut Progress) {
        let mut cursor = Cursor::new(text, false);
        while cursor.pos < text.len() {
            let start = cursor.pos;
            match self.line(&mut cursor) {
                Ok(records) => progress.records += records,
                Err(reason) => {
                    self.sheet.undo();
                    let line = &text.as_bytes()[start..];
                    let len = memchr::memchr(b'\n', line).unwrap_or(line.len());
                    progress.refuse(&line[..len], self.row_bytes_max, reason);
                    cursor.pos = start + len;
                }
            }
            // The line ends here, or the text does.
            if cursor.pos < text.len() {
                cursor.pos += 1;
                progress.lines += 1;
            }
        }
    }

    /// Decodes a line up to its end: one record, or none if it is blank.
    #[inline]
    fn line(&mut self, cursor: &mut Cursor<'_>) -> Result<u64, Refusal> {
        let start = cursor.pos;
        let reason = |broken: Broken| Refusal::from(broken.reason(start));
        if cursor.peek() != b'{' {
            cursor.skip_space();
            match cursor.peek() {
                b'{' => {}
                b'\n' => return Ok(0),
                _ if cursor.pos == cursor.text.len() => return Ok(0),
                _ => return Err(reason(cursor.broken("an object"))),
            }
        }
        self.object(cursor, 0).map_err(reason)?;
        cursor.skip_space();
        if cursor.peek() != b'\n' && cursor.pos < cursor.text.len() {
            return Err(reason(cursor.broken("the end of the line")));
        }
        self.end_row(cursor.pos - start)?;
        Ok(1)
    }

    /// Completes the row of a record of `len` bytes.
    #[inline]
    pub(super) fn end_row(&mut self, len: usize) -> Result<(), Refusal> {
        if len > self.row_bytes_max {
            return Err(too_long(len, self.row_bytes_max).into());
        }
        self.sheet.end_row()
    }

    /// Decodes the object here with the keys of `node`.
    pub(super) fn object(&mut self, cursor: &mut Cursor<'_>, node: usize) -> Result<(), Broken> {
        cursor.pos += 1;
        let mut key = START;
        loop {
            // The end of the object is the most likely thing that is no guess.
            if cursor.peek() == b'}' && key != START {
                cursor.pos += 1;
                return Ok(());
            }
            match self.keys[node].next(key, cursor, &mut self.scratch)? {
                Some(next) => key = next,
                None => return Ok(()),
            }
            match *self.keys[node].target(key) {
                Target::Column(column) => self.column(cursor, column)?,
                Target::Skip => cursor.skip_value()?,
                Target::Enter(child) => self.enter(cursor, child)?,
                Target::Several(_) => self.several(cursor, node, key)?,
            }
        }
    }

    /// Decodes the value here into a column.
    #[inline]
    fn column(&mut self, cursor: &mut Cursor<'_>, index: usize) -> Result<(), Broken> {
        let start = cursor.pos;
        let column = self.sheet.begin(index);
        match value::push(column, cursor, &mut self.scratch) {
            Ok(()) => Ok(()),
            Err(Failure::Broken(broken)) => Err(broken),
            Err(Failure::Misfit(misfit)) => {
                // A later value of the same key may still fit, and the rest must be JSON all the same.
                cursor.pos = start;
                cursor.skip_value()?;
                self.sheet.misfit(index, misfit, &cursor.text.as_bytes()[start..cursor.pos]);
                Ok(())
            }
        }
    }

    /// Looks into the value here; what is no object has nothing inside.
    fn enter(&mut self, cursor: &mut Cursor<'_>, node: usize) -> Result<(), Broken> {
        // When a key is repeated, what the first object said is void.
        for &column in &self.keys[node].columns {
            self.sheet.begin(column);
        }
        if cursor.peek() == b'{' { self.object(cursor, node) } else { cursor.skip_value() }
    }

    /// Decodes the value here once for each that asks for it.
    #[cold]
    fn several(&mut self, cursor: &mut Cursor<'_>, node: usize, key: usize) -> Result<(), Broken> {
        let start = cursor.pos;
        let Target::Several(targets) = self.keys[node].target(key).clone() else { return Ok(()) };
        for target in targets {
            cursor.pos = start;
            match target {
                Target::Column(column) => self.column(cursor, column)?,
                Target::Enter(child) => self.enter(cursor, child)?,
                Target::Skip | Target::Several(_) => {}
            }
        }
        Ok(())
    }
}

impl Broken {
    /// The reason for people; places count from `start`.
    pub(super) fn reason(self, start: usize) -> String {
        format!("not JSON at byte {}: expected {}", self.at - start, self.expected)
    }
}
