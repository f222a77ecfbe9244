//! How the records of a text are written, as text: so that one of them can be decoded again without
//! the rest.

use std::fmt;

use yeoul_batch::FieldPath;

use crate::encode::json_string;

/// See the module and [`crate::Decoder::record_format`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecordFormat<'a> {
    pub(crate) format: &'static str,
    /// The names of the fields, in their order.
    pub(crate) columns: &'a [String],
    pub(crate) mapping: &'a [(String, FieldPath)],
    /// What stands between fields, where there are fields.
    pub(crate) delimiter: Option<u8>,
    pub(crate) quote: Option<u8>,
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    json_string(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn byte(byte: Option<u8>) -> String {
    byte.map(|byte| char::from(byte).to_string()).unwrap_or_default()
}

impl fmt::Display for RecordFormat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"format\":{}", quoted(self.format))?;
        if !self.columns.is_empty() {
            let names: Vec<String> = self.columns.iter().map(|name| quoted(name)).collect();
            write!(f, ",\"columns\":[{}]", names.join(","))?;
        }
        if self.delimiter.is_some() {
            write!(f, ",\"delimiter\":{}", quoted(&byte(self.delimiter)))?;
            write!(f, ",\"quote\":{}", quoted(&byte(self.quote)))?;
        }
        if !self.mapping.is_empty() {
            let pairs = self.mapping.iter();
            let pairs: Vec<String> = pairs
                .map(|(column, path)| format!("{}:{}", quoted(column), quoted(path.as_str())))
                .collect();
            write!(f, ",\"mapping\":{{{}}}", pairs.join(","))?;
        }
        f.write_str("}")
    }
}
