//! JSON into columns: objects on lines, in an array, or one after the other.
//!
//! ```text
//!   block of whole lines ──▶ for each line: keys (mostly guessed) ──▶ values straight into columns
//! ```
//!
//! There is no tree of values and no split into lines beforehand: the scanners never pass a line end,
//! so a line that is right ends where its object does, and only a wrong one is searched for its end.
//!
//! What must hold: an object with a repeated key counts with the last; keys nobody asks for are
//! checked and passed over; names are compared exactly.

mod cursor;
mod decode;
mod elements;
mod keys;
mod messages;
mod value;

use arrow::datatypes::SchemaRef;

use crate::column::{Column, Forms};
use crate::decoded::line_ends;
use crate::error::FormatError;
use crate::record_format::RecordFormat;
use crate::sheet::{Sheet, paths_of};
use crate::value::Misfit;
use cursor::Cursor;
use keys::Keys;
use yeoul_batch::{DecodeOptions, FieldPath};

/// The keys that lead from an event to a column's value.
pub(crate) type DecodePath = Vec<String>;

/// Text that is not JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken {
    at: usize,
    expected: &'static str,
}

/// Why a value was not taken.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// It is not JSON.
    Broken(Broken),
    /// It is, and does not fit its column.
    Misfit(Misfit),
}

/// How objects follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonLayout {
    /// Told by the beginning of the text: see [`JsonLayout::detect`].
    #[default]
    Auto,
    /// One object on each line; what is wrong with a line stays on it.
    Lines,
    /// Objects separated by commas and white space (with line ends), with or without the brackets of
    /// an array around them.
    Elements,
}

impl JsonLayout {
    /// The layout of a text that begins with `head`: elements if it begins with a bracket, or if its
    /// first line is no whole value but the text begins with one; else lines.
    #[must_use]
    pub fn detect(head: &[u8]) -> Self {
        let valid = match std::str::from_utf8(head) {
            Ok(text) => text,
            Err(e) => std::str::from_utf8(&head[..e.valid_up_to()]).unwrap_or_default(),
        };
        let text = valid.strip_prefix('\u{feff}').unwrap_or(valid).trim_ascii_start();
        if text.starts_with('[') {
            return Self::Elements;
        }
        let whole = |lines_are_space| Cursor::new(text, lines_are_space).skip_value().is_ok();
        if !whole(false) && whole(true) { Self::Elements } else { Self::Lines }
    }
}

/// Decodes JSON. It learns the order of the keys, so one decoder should be kept for many blocks.
#[derive(Debug, Clone)]
pub struct JsonDecoder {
    keys: Vec<Keys>,
    sheet: Sheet,
    scratch: String,
    layout: JsonLayout,
    /// The layout of the text that was decoded last: of a list it learns gaps with line ends in them.
    learned: JsonLayout,
    mapping: Vec<(String, FieldPath)>,
    row_bytes_max: usize,
}

impl JsonDecoder {
    /// A decoder for the columns of `schema`.
    pub fn new(schema: SchemaRef, options: &DecodeOptions) -> Result<Self, FormatError> {
        let paths = paths_of(&schema, options)?;
        let paths: Vec<_> = paths.into_iter().map(|path| vec![path]).collect();
        Self::of_paths(schema, options, &paths)
    }

    /// A decoder whose columns are where one of their paths leads; the mapping of `options` is not looked at.
    pub(crate) fn of_paths(
        schema: SchemaRef,
        options: &DecodeOptions,
        paths: &[Vec<DecodePath>],
    ) -> Result<Self, FormatError> {
        Ok(Self {
            keys: keys::plan(paths),
            sheet: Sheet::new(schema, Forms::of(options))?,
            scratch: String::new(),
            layout: JsonLayout::Auto,
            learned: JsonLayout::Auto,
            mapping: options.mapping.clone(),
            row_bytes_max: options.row_bytes_max,
        })
    }

    /// Fixes the layout, for text that comes in pieces: only the first piece could tell it.
    pub fn set_layout(&mut self, layout: JsonLayout) {
        self.layout = layout;
    }

    /// The longest record that is taken.
    pub(crate) fn row_bytes_max(&self) -> usize {
        self.row_bytes_max
    }

    /// The layout in force.
    #[must_use]
    pub fn layout(&self) -> JsonLayout {
        self.layout
    }

    /// How the records are written, as [`crate::Decoder::record_format`] says it.
    pub(crate) fn record_format(&self) -> RecordFormat<'_> {
        RecordFormat { format: "json", mapping: &self.mapping, ..RecordFormat::default() }
    }

    /// Where each record in `bytes` ends.
    #[must_use]
    pub(crate) fn record_ends(&self, bytes: &[u8]) -> Vec<usize> {
        let (mark, layout) = self.beginning(bytes);
        let records = &bytes[mark..];
        let mut ends = match layout {
            JsonLayout::Elements => elements::ends(records),
            JsonLayout::Auto | JsonLayout::Lines => {
                line_ends(records, |line| line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')))
            }
        };
        ends.iter_mut().for_each(|end| *end += mark);
        ends
    }

    /// How many bytes of a byte order mark are in front, and the layout. Without a layout that was set before the
    /// bytes are a whole text: a mark elsewhere is a character, wherever the text was cut.
    fn beginning(&self, bytes: &[u8]) -> (usize, JsonLayout) {
        match self.layout {
            JsonLayout::Auto => {
                let mark = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
                (mark, JsonLayout::detect(bytes))
            }
            fixed => (0, fixed),
        }
    }

    /// How many bytes at the beginning of `bytes` are whole records. At the end of the text, what is
    /// left is decoded as it is.
    #[must_use]
    pub fn split(&self, bytes: &[u8]) -> usize {
        match self.layout {
            JsonLayout::Elements => elements::split(bytes),
            JsonLayout::Auto | JsonLayout::Lines => {
                memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1)
            }
        }
    }
}

/// The JSON value `text` without white space between its tokens; `None` if it is none.
pub(crate) fn compact(text: &str) -> Option<String> {
    let mut cursor = Cursor::new(text, true);
    let mut out = String::with_capacity(text.len());
    cursor.skip_space();
    cursor.walk_value(0, &mut |token| out.push_str(token)).ok()?;
    cursor.skip_space();
    (cursor.pos == text.len()).then_some(out)
}

/// Appends the elements of the JSON array `text` to a column of elements.
pub(crate) fn push_array(item: &mut Column, text: &str) -> Result<(), Misfit> {
    let mut cursor = Cursor::new(text, true);
    cursor.skip_space();
    match value::push_elements(item, &mut cursor, &mut String::new()) {
        Ok(()) => {}
        Err(Failure::Misfit(misfit)) => return Err(misfit),
        Err(Failure::Broken(_)) => return Err(Misfit::Invalid),
    }
    cursor.skip_space();
    if cursor.pos == text.len() { Ok(()) } else { Err(Misfit::Invalid) }
}
