//! Messages, each of which is to be one record.
//!
//! No record passes the end of its message: a quoted field is looked for in the message only, and any
//! other ends with the line.

use super::CsvDecoder;
use crate::decoded::{Decoded, Refusal};
use crate::error::FormatError;
use crate::messages::{Messages, behind_mark};

impl CsvDecoder {
    /// Decodes messages. Those of a text with a header are none.
    pub(crate) fn decode_messages(&mut self, messages: &Messages) -> Result<Decoded, FormatError> {
        if self.needs_header() {
            return Err(FormatError::MessageHeader);
        }
        let progress = messages.decode_texts(self.row_bytes_max, |text, start, end| {
            self.message(text, start, end).inspect_err(|_| self.sheet.undo())
        });
        Ok(progress.finish(self.sheet.finish()?))
    }

    /// Decodes the message `text[start .. end]`: one record and perhaps blank lines.
    #[inline]
    fn message(&mut self, text: &str, start: usize, end: usize) -> Result<(), Refusal> {
        let message = &text.as_bytes()[..end];
        let begin = start + behind_mark(&message[start..]);
        let begin = begin + blank_len(&message[begin..]);
        if begin == end {
            return Err("the message is blank".to_owned().into());
        }
        let record = self.fields(text, begin, end).map_err(|reason| reason.to_owned())?;
        if let Some(behind) = message.get(record.end..)
            && blank_len(behind) < behind.len()
        {
            return Err("the message has more than one record".to_owned().into());
        }
        self.end_row(&record, end - start)
    }
}

/// How many bytes at the beginning are blank lines.
#[inline]
fn blank_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match &bytes[at..] {
            [b'\n', ..] => at += 1,
            [b'\r', b'\n', ..] => at += 2,
            _ => return at,
        }
    }
}
