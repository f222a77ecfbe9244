//! What the server says, as bytes put at the end of a buffer.

use bytes::BufMut;
use yeoul_engine::EngineError;

use super::column::PgColumn;

/// Whether a transaction is open, as `ReadyForQuery` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transaction {
    /// None.
    Idle,
    /// One.
    Open,
    /// One in which a statement failed.
    Failed,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
    /// A word of caution.
    Warning,
}

/// Puts a message: its tag, its length, and what `body` puts.
pub(crate) fn put(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.put_u8(tag);
    let at = out.len();
    out.put_u32(0);
    body(out);
    close(out, at);
}

/// Fills in the length field at `at`, which counts itself.
pub(crate) fn close(out: &mut [u8], at: usize) {
    let length = u32::try_from(out.len() - at).expect("a message is flushed long before 4 GiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
}

/// A text and its final zero; a zero inside would end it early, so it is left out.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    for part in text.split('\0') {
        out.put_slice(part.as_bytes());
    }
    out.put_u8(0);
}

pub(crate) fn authentication_ok(out: &mut Vec<u8>) {
    put(out, b'R', |out| out.put_u32(0));
}

pub(crate) fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    put(out, b'S', |out| {
        put_text(out, name);
        put_text(out, value);
    });
}

pub(crate) fn backend_key(out: &mut Vec<u8>, pid: i32, secret: [u8; 4]) {
    put(out, b'K', |out| {
        out.put_i32(pid);
        out.put_slice(&secret);
    });
}

/// The newest minor version we speak is 0; these options are not known.
pub(crate) fn negotiate_version(out: &mut Vec<u8>, unknown: &[&str]) {
    put(out, b'v', |out| {
        out.put_u32(0);
        out.put_u32(u32::try_from(unknown.len()).unwrap_or(0));
        for name in unknown {
            put_text(out, name);
        }
    });
}

pub(crate) fn ready(out: &mut Vec<u8>, transaction: Transaction) {
    put(out, b'Z', |out| {
        out.put_u8(match transaction {
            Transaction::Idle => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        });
    });
}

pub(crate) fn parse_complete(out: &mut Vec<u8>) {
    put(out, b'1', |_| {});
}

pub(crate) fn bind_complete(out: &mut Vec<u8>) {
    put(out, b'2', |_| {});
}

pub(crate) fn close_complete(out: &mut Vec<u8>) {
    put(out, b'3', |_| {});
}

pub(crate) fn no_data(out: &mut Vec<u8>) {
    put(out, b'n', |_| {});
}

pub(crate) fn portal_suspended(out: &mut Vec<u8>) {
    put(out, b's', |_| {});
}

pub(crate) fn empty_query(out: &mut Vec<u8>) {
    put(out, b'I', |_| {});
}

pub(crate) fn command_complete(out: &mut Vec<u8>, tag: &str) {
    put(out, b'C', |out| put_text(out, tag));
}

pub(crate) fn parameter_description(out: &mut Vec<u8>, types: &[u32]) {
    put(out, b't', |out| {
        count(out, types.len());
        for &oid in types {
            out.put_u32(oid);
        }
    });
}

pub(crate) fn row_description(out: &mut Vec<u8>, columns: &[PgColumn]) {
    put(out, b'T', |out| {
        count(out, columns.len());
        for column in columns {
            put_text(out, &column.name);
            out.put_u32(0); // no table
            out.put_u16(0); // no column of one
            out.put_u32(column.kind.oid());
            out.put_i16(column.kind.length());
            out.put_i32(column.modifier());
            out.put_u16(u16::from(column.binary));
        }
    });
}

/// `G` lets the client send rows, `H` says that rows follow; all columns are text.
pub(crate) fn copy_response(out: &mut Vec<u8>, tag: u8, columns: usize) {
    put(out, tag, |out| {
        out.put_u8(0);
        count(out, columns);
        for _ in 0..columns.min(usize::from(u16::MAX)) {
            out.put_u16(0);
        }
    });
}

pub(crate) fn copy_done(out: &mut Vec<u8>) {
    put(out, b'c', |_| {});
}

/// An error, or a notice when it is only a warning.
pub(crate) fn error(out: &mut Vec<u8>, severity: Severity, error: &EngineError) {
    let word = match severity {
        Severity::Error => "ERROR",
        Severity::Fatal => "FATAL",
        Severity::Warning => "WARNING",
    };
    let tag = if severity == Severity::Warning { b'N' } else { b'E' };
    put(out, tag, |out| {
        let mut field = |code: u8, text: &str| {
            out.put_u8(code);
            put_text(out, text);
        };
        field(b'S', word);
        field(b'V', word);
        field(b'C', &error.sqlstate);
        field(b'M', &error.message);
        if let Some(detail) = &error.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &error.hint {
            field(b'H', hint);
        }
        if let Some(position) = error.position {
            field(b'P', &position.to_string());
        }
        out.put_u8(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use yeoul_engine::ErrorKind;

    #[test]
    fn an_error_has_all_its_fields() {
        let mut out = Vec::new();
        let mut e =
            EngineError::new(ErrorKind::Input, "no\0such").with_hint("try").with_detail("d");
        e.position = Some(7);
        error(&mut out, Severity::Error, &e);
        assert_eq!(out, b"E\x00\x00\x00\x2dSERROR\0VERROR\0C22000\0Mnosuch\0Dd\0Htry\0P7\0\0");
    }

    #[test]
    fn lengths_count_themselves() {
        let mut out = Vec::new();
        ready(&mut out, Transaction::Open);
        command_complete(&mut out, "SELECT 1");
        assert_eq!(out, b"Z\x00\x00\x00\x05TC\x00\x00\x00\x0dSELECT 1\0");
    }
}
