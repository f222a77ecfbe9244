//! Dead letters as lines of JSON.
//!
//! `{"id":"4711-0","received_from":"http","position":"line 3","reason":"…","raw":"…"}`; bytes that are no
//! text stand as `raw_hex` instead. Of a line that comes back only `id` and `raw` (or `raw_hex`) count.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;
use yeoul_engine::{Letter, LetterId};

use crate::http::error::ApiError;

/// A letter that is to be put back.
#[derive(Debug)]
pub(super) struct Line {
    /// Which line of the request it is, from 1; 0 when it is not of a request.
    pub(super) number: usize,
    pub(super) id: LetterId,
    /// What it is now; as it was when `None`.
    pub(super) raw: Option<Bytes>,
}

#[derive(Deserialize)]
struct Members {
    id: String,
    raw: Option<String>,
    raw_hex: Option<String>,
}

/// The letters as lines.
pub(super) fn write(letters: &[Letter]) -> Bytes {
    let mut out = Vec::new();
    for letter in letters {
        let mut line = serde_json::json!({
            "id": letter.id.to_string(),
            "source": letter.source,
            "position": letter.position,
            "reason": letter.reason,
        });
        match std::str::from_utf8(&letter.raw) {
            Ok(text) => line["raw"] = text.into(),
            Err(_) => line["raw_hex"] = hex(&letter.raw).into(),
        }
        out.extend_from_slice(line.to_string().as_bytes());
        out.push(b'\n');
    }
    out.into()
}

/// The lines of a request; `None` when there are none.
pub(super) fn read(text: &[u8]) -> Result<Option<Vec<Line>>, ApiError> {
    let mut lines = Vec::new();
    let mut named: HashMap<LetterId, usize> = HashMap::new();
    for (number, line) in (1..).zip(text.split(|&b| b == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let wrong = |what: String| {
            ApiError::bad(format!("line {number}: {what}")).hint(
                "each line is an object with \"id\" and \"raw\", as GET /v1/dead-letters/{stream} gives \
                 them; nothing of the request was stored",
            )
        };
        let members: Members =
            serde_json::from_slice(line).map_err(|e| wrong(format!("not a dead letter: {e}")))?;
        let id: LetterId =
            members.id.parse().map_err(|e: yeoul_engine::EngineError| wrong(e.message))?;
        let raw = match (members.raw, members.raw_hex) {
            (Some(_), Some(_)) => return Err(wrong("it has \"raw\" and \"raw_hex\"".to_owned())),
            (None, None) => return Err(wrong("\"raw\" is missing".to_owned())),
            (Some(text), None) => text.into(),
            (None, Some(digits)) => unhex(&digits).ok_or_else(|| {
                wrong("\"raw_hex\" is not pairs of hexadecimal digits".to_owned())
            })?,
        };
        if let Some(first) = named.insert(id, number) {
            return Err(wrong(format!("dead letter {id} stands on line {first} already")));
        }
        lines.push(Line { number, id, raw: Some(raw) });
    }
    Ok((!lines.is_empty()).then_some(lines))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Bytes> {
    let digits = digits.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().error.message
    }

    #[test]
    fn lines_are_read_and_refused_with_their_number() {
        let text = "\n{\"id\":\"1-0\",\"raw\":\"{}\",\"reason\":\"x\"}\r\n{\"id\":\"1-1\",\"raw_hex\":\"ff0A\"}\n";
        let lines = read(text.as_bytes()).unwrap().unwrap();
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(lines[1].raw.as_deref(), Some(&[0xff, 0x0a][..]));
        assert!(read(b" \n\n").unwrap().is_none());
        assert!(
            refused("{\"id\":\"1-0\",\"raw\":\"\"}\nnothing")
                .starts_with("line 2: not a dead letter")
        );
        assert_eq!(refused("{\"id\":\"1-0\"}"), "line 1: \"raw\" is missing");
        assert_eq!(
            refused("{\"id\":\"x\",\"raw\":\"\"}"),
            "line 1: \"x\" is not the id of a dead letter"
        );
        let twice = "{\"id\":\"1-0\",\"raw\":\"\"}\n{\"id\":\"1-0\",\"raw\":\"\"}";
        assert_eq!(refused(twice), "line 2: dead letter 1-0 stands on line 1 already");
        assert!(refused("{\"id\":\"1-0\",\"raw_hex\":\"f\"}").contains("hexadecimal"));
        assert!(refused("{\"id\":\"1-0\",\"raw\":\"\",\"raw_hex\":\"\"}").contains("\"raw\" and"));
    }
}
