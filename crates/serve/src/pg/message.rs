//! What a Postgres client says, decoded from bytes.
//!
//! ```text
//!   first message:  length i32 | code i32 | …          (TLS, GSS, cancel, start)
//!   later ones:     tag u8 | length i32 | body          length counts itself, not the tag
//! ```
//!
//! What must hold: no input panics, no count in a message makes us reserve more memory than
//! the message has bytes, and a message never reads into the next one.
//!
//! Limits: [`OPENING_BYTES_MAX`] for the first message, the connection's own limit for the others.
//!
//! Not here: sockets, state, answers. This is the fuzzing entry of the wire.

use bytes::{Buf, Bytes, BytesMut};

/// The longest first message. PostgreSQL's own limit is 10,000 bytes.
pub const OPENING_BYTES_MAX: usize = 10_000;

/// The longest message of a kind that carries no SQL, parameters or rows: two names and a number.
const SMALL_BYTES_MAX: usize = 10_000;

const CODE_TLS: u32 = 80_877_103;
const CODE_GSS: u32 = 80_877_104;
const CODE_CANCEL: u32 = 80_877_102;

/// Why bytes are not a message. The connection cannot go on after one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The length of a message is less than the length field itself.
    #[error("message length {0} is impossible")]
    Length(u32),
    /// A message is longer than it may be.
    #[error("message of {length} bytes is longer than the limit of {limit} bytes")]
    TooLong {
        /// How long it says it is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A message ends before its fields do, or goes on after them.
    #[error("{0} message does not have the form of the protocol")]
    Form(&'static str),
    /// A text is not UTF-8.
    #[error("{0} message has text that is not UTF-8")]
    Text(&'static str),
    /// No message begins with this byte.
    #[error("message type 0x{0:02x} is not known")]
    Tag(u8),
    /// The first message asks for a protocol that is not version 3.
    #[error("protocol version {major}.{minor} is not supported")]
    Version {
        /// Before the point.
        major: u16,
        /// After the point.
        minor: u16,
    },
}

/// The first message of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Asks for TLS.
    Tls,
    /// Asks for GSS encryption.
    Gss,
    /// Asks to end the running statement of another connection.
    Cancel {
        /// The other connection's process id.
        pid: i32,
        /// What proves the right to ask.
        secret: Bytes,
    },
    /// Begins a session.
    Start {
        /// The minor version of protocol 3.
        minor: u16,
        /// "user", "database", "application_name", … in the order sent.
        parameters: Vec<(String, String)>,
    },
}

/// What `Describe` and `Close` are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

/// Every later message. An empty name is the unnamed statement or portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frontend {
    /// Statements as one text.
    Query(String),
    /// Prepare a statement.
    Parse {
        /// Under this name.
        name: String,
        /// Its text.
        sql: String,
        /// The types the client claims for `$1`, …; 0 = unknown.
        types: Vec<u32>,
    },
    /// Make a portal of a prepared statement.
    Bind(Bind),
    /// What are its parameters and columns?
    Describe(Target, String),
    /// Run a portal.
    Execute {
        /// Its name.
        portal: String,
        /// How many rows at most; 0 = all.
        rows_max: u32,
    },
    /// Forget it.
    Close(Target, String),
    /// End of a group of messages: errors up to here are over.
    Sync,
    /// Send what is ready.
    Flush,
    /// A password, for servers that ask.
    Password,
    /// Rows of a running `COPY … FROM STDIN`.
    CopyData(Bytes),
    /// Its end.
    CopyDone,
    /// Its end by the client's fault.
    CopyFail(String),
    /// Goodbye.
    Terminate,
}

/// Values for a prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The portal to make.
    pub portal: String,
    /// The statement to make it of.
    pub statement: String,
    /// 0 text, 1 binary: none, one for all, or one each.
    pub parameter_formats: Vec<i16>,
    /// The values; `None` is NULL.
    pub parameters: Vec<Option<Bytes>>,
    /// As the parameter formats, for the columns of the answer.
    pub result_formats: Vec<i16>,
}

/// The first message, when all of it is in `buffer`; it is taken out.
pub fn take_opening(buffer: &mut BytesMut) -> Result<Option<Opening>, Malformed> {
    let Some(length) = length_at(buffer, 0, OPENING_BYTES_MAX)? else { return Ok(None) };
    if buffer.len() < length {
        return Ok(None);
    }
    let mut body = Reader::new("startup", buffer.split_to(length).freeze());
    body.u32()?;
    match body.u32()? {
        CODE_TLS => body.end(Opening::Tls),
        CODE_GSS => body.end(Opening::Gss),
        CODE_CANCEL => {
            let pid = body.i32()?;
            let secret = body.rest();
            // Protocol 3.2 allows 4 to 256 bytes.
            if !(4..=256).contains(&secret.len()) {
                return Err(Malformed::Form("cancel"));
            }
            Ok(Some(Opening::Cancel { pid, secret }))
        }
        version => {
            let [a, b, c, d] = version.to_be_bytes();
            let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            if major != 3 {
                return Err(Malformed::Version { major, minor });
            }
            let mut parameters = Vec::new();
            loop {
                let name = body.text()?;
                if name.is_empty() {
                    return body.end(Opening::Start { minor, parameters });
                }
                parameters.push((name, body.text()?));
            }
        }
    }
}

/// The next message, when all of it is in `buffer`; it is taken out. A message that says that it is
/// longer than `bytes_max` is refused before its body is waited for.
pub fn take_message(
    buffer: &mut BytesMut,
    bytes_max: usize,
) -> Result<Option<Frontend>, Malformed> {
    let Some(&tag) = buffer.first() else { return Ok(None) };
    let limit = match tag {
        b'Q' | b'P' | b'B' | b'd' => bytes_max,
        b'D' | b'E' | b'C' | b'S' | b'H' | b'p' | b'c' | b'f' | b'X' => SMALL_BYTES_MAX,
        _ => return Err(Malformed::Tag(tag)),
    };
    let Some(length) = length_at(buffer, 1, limit)? else { return Ok(None) };
    if buffer.len() < 1 + length {
        // The whole message will come: one allocation instead of many that double.
        buffer.reserve(1 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(5);
    decode(tag, buffer.split_to(length - 4).freeze()).map(Some)
}

/// The length field at `at`, itself included.
fn length_at(buffer: &[u8], at: usize, limit: usize) -> Result<Option<usize>, Malformed> {
    let Some(field) = buffer.get(at..at + 4).and_then(|f| <[u8; 4]>::try_from(f).ok()) else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(field);
    if length < 4 || (at == 0 && length < 8) {
        return Err(Malformed::Length(length));
    }
    let length = length as usize;
    if length > limit {
        return Err(Malformed::TooLong { length, limit });
    }
    Ok(Some(length))
}

fn decode(tag: u8, body: Bytes) -> Result<Frontend, Malformed> {
    let name = match tag {
        b'Q' => "query",
        b'P' => "parse",
        b'B' => "bind",
        b'D' => "describe",
        b'E' => "execute",
        b'C' => "close",
        b'd' => return Ok(Frontend::CopyData(body)),
        b'f' => "copy fail",
        b'p' => return Ok(Frontend::Password),
        _ => "empty",
    };
    let mut body = Reader::new(name, body);
    let message = match tag {
        b'Q' => Frontend::Query(body.text()?),
        b'P' => Frontend::Parse { name: body.text()?, sql: body.text()?, types: body.u32s()? },
        b'B' => Frontend::Bind(bind(&mut body)?),
        b'D' => Frontend::Describe(body.target()?, body.text()?),
        b'E' => Frontend::Execute { portal: body.text()?, rows_max: body.u32()? },
        b'C' => Frontend::Close(body.target()?, body.text()?),
        b'S' => Frontend::Sync,
        b'H' => Frontend::Flush,
        b'c' => Frontend::CopyDone,
        b'f' => Frontend::CopyFail(body.text()?),
        b'X' => Frontend::Terminate,
        _ => return Err(Malformed::Tag(tag)),
    };
    match body.end(message)? {
        Some(message) => Ok(message),
        None => Err(Malformed::Form(name)),
    }
}

fn bind(body: &mut Reader) -> Result<Bind, Malformed> {
    let (portal, statement) = (body.text()?, body.text()?);
    let parameter_formats = body.i16s()?;
    let count = body.u16()?;
    let mut parameters = Vec::new();
    for _ in 0..count {
        let length = body.i32()?;
        parameters.push(match usize::try_from(length) {
            Ok(length) => Some(body.take(length)?),
            Err(_) if length == -1 => None,
            Err(_) => return Err(Malformed::Form("bind")),
        });
    }
    let result_formats = body.i16s()?;
    Ok(Bind { portal, statement, parameter_formats, parameters, result_formats })
}

/// The fields of one message.
struct Reader {
    message: &'static str,
    body: Bytes,
}

impl Reader {
    fn new(message: &'static str, body: Bytes) -> Self {
        Self { message, body }
    }

    fn short(&self) -> Malformed {
        Malformed::Form(self.message)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if self.body.len() < length {
            return Err(self.short());
        }
        Ok(self.body.split_to(length))
    }

    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.body)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.take(N)?;
        <[u8; N]>::try_from(bytes.as_ref()).map_err(|_| self.short())
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn i16s(&mut self) -> Result<Vec<i16>, Malformed> {
        let count = self.u16()?;
        (0..count).map(|_| Ok(i16::from_be_bytes(self.array()?))).collect()
    }

    fn u32s(&mut self) -> Result<Vec<u32>, Malformed> {
        let count = self.u16()?;
        (0..count).map(|_| self.u32()).collect()
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let end = memchr::memchr(0, &self.body).ok_or_else(|| self.short())?;
        let bytes = self.body.split_to(end);
        self.body.advance(1);
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Malformed::Text(self.message)),
        }
    }

    fn target(&mut self) -> Result<Target, Malformed> {
        match self.array()? {
            [b'S'] => Ok(Target::Statement),
            [b'P'] => Ok(Target::Portal),
            _ => Err(self.short()),
        }
    }

    fn end<T>(&self, message: T) -> Result<Option<T>, Malformed> {
        if self.body.is_empty() { Ok(Some(message)) } else { Err(self.short()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::from(&[tag][..]);
        bytes.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn messages_come_whole_or_not_at_all() {
        let whole = message(b'Q', b"select 1\0");
        for cut in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..cut]);
            assert_eq!(take_message(&mut part, 1 << 20), Ok(None), "cut at {cut}");
            assert_eq!(part.len(), cut);
        }
        let mut two = whole.clone();
        two.extend_from_slice(&message(b'S', b""));
        assert_eq!(take_message(&mut two, 100), Ok(Some(Frontend::Query("select 1".into()))));
        assert_eq!(take_message(&mut two, 100), Ok(Some(Frontend::Sync)));
        assert!(two.is_empty());
    }

    #[test]
    fn a_message_never_reads_into_the_next() {
        let mut two = message(b'P', b"s\0select 1\0\x00\x02\x00\x00\x00\x17");
        two.extend_from_slice(&message(b'S', b""));
        assert_eq!(take_message(&mut two, 100), Err(Malformed::Form("parse")));
    }

    #[test]
    fn limits_are_told_before_the_body_comes() {
        let mut head = BytesMut::from(&b"Q\x00\x10\x00\x00"[..]);
        assert_eq!(
            take_message(&mut head, 1000),
            Err(Malformed::TooLong { length: 0x0010_0000, limit: 1000 })
        );
        let mut head = BytesMut::from(&b"Q\x00\x00\x00\x03"[..]);
        assert_eq!(take_message(&mut head, 1000), Err(Malformed::Length(3)));
        assert_eq!(take_message(&mut BytesMut::from("zzzzz"), 9), Err(Malformed::Tag(b'z')));
    }

    #[test]
    fn bind_carries_nulls_and_formats() {
        let body = b"p\0s\0\x00\x01\x00\x01\x00\x02\xff\xff\xff\xff\x00\x00\x00\x02ab\x00\x00";
        let got = take_message(&mut message(b'B', body), 100);
        assert_eq!(
            got,
            Ok(Some(Frontend::Bind(Bind {
                portal: "p".into(),
                statement: "s".into(),
                parameter_formats: vec![1],
                parameters: vec![None, Some(Bytes::from_static(b"ab"))],
                result_formats: vec![],
            })))
        );
        let negative = b"p\0s\0\x00\x00\x00\x01\xff\xff\xff\xfe\x00\x00";
        assert_eq!(take_message(&mut message(b'B', negative), 100), Err(Malformed::Form("bind")));
    }

    #[test]
    fn openings() {
        let mut bytes = BytesMut::from(&b"\x00\x00\x00\x08\x04\xd2\x16\x2f"[..]);
        assert_eq!(take_opening(&mut bytes), Ok(Some(Opening::Tls)));
        let mut bytes = BytesMut::from(
            &b"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x07\x01\x02\x03\x04"[..],
        );
        assert_eq!(
            take_opening(&mut bytes),
            Ok(Some(Opening::Cancel { pid: 7, secret: Bytes::from_static(&[1, 2, 3, 4]) }))
        );
        let mut bytes = BytesMut::from(&b"\x00\x00\x00\x11\x00\x03\x00\x00user\0me\0\0"[..]);
        let start =
            Opening::Start { minor: 0, parameters: vec![("user".to_owned(), "me".to_owned())] };
        assert_eq!(take_opening(&mut bytes), Ok(Some(start)));
        let mut bytes = BytesMut::from(&b"\x00\x00\x00\x08\x00\x02\x00\x00"[..]);
        assert_eq!(take_opening(&mut bytes), Err(Malformed::Version { major: 2, minor: 0 }));
    }

    #[test]
    fn no_bytes_panic() {
        // A seeded walk over noise that looks like messages; the fuzz target walks further.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u8::try_from(state >> 56).unwrap()
        };
        for _ in 0..20_000 {
            let tag = b"QPBDECSHpcfXdz"[usize::from(next()) % 14];
            let body: Vec<u8> = (0..next() % 40).map(|_| next() % 5).collect();
            let mut bytes = message(tag, &body);
            let _ = take_message(&mut bytes, 1 << 16);
            let mut opening = BytesMut::from(&bytes[..]);
            let _ = take_opening(&mut opening);
        }
    }
}
