//! Messages, each of which is to be one object.
//!
//! A block is read as lines are, with the end of each message known: what does not end there is read
//! again alone, with line ends as the white space they are in JSON. (Where a gap with a line end in it
//! was learned, it is known in a block too. That cannot pass the end of a message unseen, since then
//! the object does not end where its message does.)

use super::cursor::Cursor;
use super::{Broken, JsonDecoder, JsonLayout};
use crate::decoded::{Decoded, Refusal};
use crate::error::FormatError;
use crate::messages::{Messages, behind_mark};

/// What is expected behind the object of a message.
const END: &str = "the end of the message";

impl JsonDecoder {
    /// Decodes messages, whatever the layout of texts is.
    pub(crate) fn decode_messages(&mut self, messages: &Messages) -> Result<Decoded, FormatError> {
        // Lines must not know the gaps that are learned here.
        self.learned = JsonLayout::Elements;
        let bytes_max = self.row_bytes_max;
        let progress =
            messages.decode_texts(bytes_max, |text, start, end| self.message(text, start, end));
        Ok(progress.finish(self.sheet.finish()?))
    }

    /// Decodes the message `text[start .. end]`.
    #[inline]
    fn message(&mut self, text: &str, start: usize, end: usize) -> Result<(), Refusal> {
        let mut cursor = Cursor::new(text, false);
        cursor.pos = start;
        if self.one_object(&mut cursor, end).is_ok() {
            return self.end_row(end - start);
        }
        self.alone(&text[start..end])
    }

    /// Decodes the object here, which is all there is before `end`.
    #[inline]
    fn one_object(&mut self, cursor: &mut Cursor<'_>, end: usize) -> Result<(), Broken> {
        if cursor.peek() != b'{' {
            cursor.pos += behind_mark(cursor.rest());
            cursor.skip_space();
            if cursor.peek() != b'{' {
                return Err(cursor.broken("an object"));
            }
        }
        self.object(cursor, 0)?;
        if cursor.pos != end {
            cursor.skip_space();
        }
        if cursor.pos == end { Ok(()) } else { Err(cursor.broken(END)) }
    }

    /// Decodes a message that is not one object on one line.
    #[cold]
    fn alone(&mut self, text: &str) -> Result<(), Refusal> {
        self.sheet.undo();
        match self.one_object(&mut Cursor::new(text, true), text.len()) {
            Ok(()) => self.end_row(text.len()),
            Err(broken) => {
                self.sheet.undo();
                Err(what_it_is(text, broken).into())
            }
        }
    }
}

/// Why a message that is not one object is none.
fn what_it_is(text: &str, broken: Broken) -> String {
    let mut cursor = Cursor::new(text, true);
    cursor.pos += behind_mark(cursor.rest());
    cursor.skip_space();
    let what = match cursor.peek() {
        _ if cursor.pos == text.len() => return "the message is blank".to_owned(),
        b'{' => return behind_object(text, broken),
        b'[' => "an array",
        b'"' => "a string",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        _ => "a number",
    };
    let whole = cursor.skip_value().and_then(|()| {
        cursor.skip_space();
        if cursor.pos == text.len() { Ok(()) } else { Err(cursor.broken(END)) }
    });
    match whole {
        Ok(()) => format!("the message is {what} and no object"),
        Err(broken) => broken.reason(0),
    }
}

/// The same of a message that begins with an object.
fn behind_object(text: &str, broken: Broken) -> String {
    if broken.expected == END {
        let mut cursor = Cursor::new(text, true);
        cursor.pos = broken.at;
        cursor.pos += usize::from(cursor.peek() == b',');
        cursor.skip_space();
        if cursor.peek() == b'{' {
            return "the message has more than one object".to_owned();
        }
    }
    broken.reason(0)
}
