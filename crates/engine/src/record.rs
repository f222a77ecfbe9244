//! What a commit's log record says: the engine's sections and their bytes.
//!
//! ```text
//!   delivery header │ rows │ dead letters │ delivery header │ rows │ … │ table rows │ … │ definition
//! ```
//!
//! `docs/format/commit.md` specifies them field by field. A delivery's rows are logged as they were
//! encoded by the thread that decoded them; rows that turned out to be duplicates are listed in the
//! header by number, so that nothing is encoded twice and replay asks nobody what was a duplicate.
//!
//! Not here: framing and checksums (the store), the catalog.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use yeoul_batch::CommitId;
use yeoul_store::{LogRecord, Section};

use crate::delivery::{Pace, Position};
use crate::error::{EngineError, ErrorKind};

/// Section kinds. Never renumbered.
const DELIVERY: u8 = 1;
const ROWS: u8 = 2;
const DEAD: u8 = 3;
const TABLE: u8 = 4;
const DEFINITION: u8 = 5;
const REPLAYED: u8 = 6;
const TICK: u8 = 7;

/// Flags of a delivery's header: which fields follow.
const HAS_POSITION: u8 = 1;
const HAS_IDEMPOTENCY: u8 = 2;
const HAS_FORMAT: u8 = 4;
/// Flags that say whose watermark the rows move; without them that of the stream.
const OF_PARTITION: u8 = 8;
const LEFT: u8 = 16;
/// The rows have `_deleted` behind their columns.
const CHANGES: u8 = 32;

/// One delivery as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryRecord {
    /// The relation the rows go to.
    pub relation: u32,
    /// The source's name.
    pub source: String,
    /// The source's partition.
    pub partition: String,
    /// Where the partition stands afterwards.
    pub position: Option<Position>,
    /// Whose watermark the rows move.
    pub pace: Pace,
    /// The hash of the client's key for the whole delivery.
    pub idempotency: Option<u128>,
    /// Rows dropped as duplicates, ascending.
    pub dropped: Vec<u32>,
    /// Rows received, dead letters not counted.
    pub received: u32,
    /// Of the stored rows, how many were behind the watermark.
    pub late: u32,
    /// Whether the rows have `_deleted` behind the columns of their table.
    pub changes: bool,
    /// The encoded rows, `None` when there are none.
    pub rows: Option<Bytes>,
    /// The encoded dead letters, `None` when there are none.
    pub dead: Option<Bytes>,
    /// How the bytes of the dead letters are written, when that is known.
    pub format: Option<String>,
    /// The encoded dead letters that the rows were, for a delivery that puts them back.
    pub replayed: Option<Bytes>,
}

/// Rows written to a table by SQL or by changes of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableRecord {
    /// The table.
    pub relation: u32,
    /// Encoded rows: the table's columns and `_deleted`.
    pub rows: Bytes,
}

/// All that a commit does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommitRecord {
    /// Deliveries in order.
    pub deliveries: Vec<DeliveryRecord>,
    /// Writes to tables in order.
    pub tables: Vec<TableRecord>,
    /// Changes of the catalog, as JSON.
    pub definitions: Vec<Bytes>,
    /// Views are stepped by the record's time alone.
    pub tick: bool,
}

impl CommitRecord {
    /// Whether views are stepped by it; else it changes nothing but what follows from earlier ones.
    pub(crate) fn steps_views(&self) -> bool {
        self.tick || !self.deliveries.is_empty() || !self.tables.is_empty()
    }

    /// The record to log.
    pub(crate) fn encode(&self, commit: CommitId, at_us: i64) -> LogRecord {
        let mut sections = Vec::new();
        for d in &self.deliveries {
            sections.push(Section { kind: DELIVERY, id: d.relation, bytes: header(d) });
            if let Some(rows) = &d.rows {
                sections.push(Section { kind: ROWS, id: d.relation, bytes: rows.clone() });
            }
            if let Some(dead) = &d.dead {
                sections.push(Section { kind: DEAD, id: d.relation, bytes: dead.clone() });
            }
            if let Some(letters) = &d.replayed {
                sections.push(Section { kind: REPLAYED, id: d.relation, bytes: letters.clone() });
            }
        }
        for t in &self.tables {
            sections.push(Section { kind: TABLE, id: t.relation, bytes: t.rows.clone() });
        }
        for definition in &self.definitions {
            sections.push(Section { kind: DEFINITION, id: 0, bytes: definition.clone() });
        }
        if self.tick {
            sections.push(Section { kind: TICK, id: 0, bytes: Bytes::new() });
        }
        LogRecord { commit, at_us, sections }
    }

    /// What a logged record says.
    pub(crate) fn decode(record: &LogRecord) -> Result<Self, EngineError> {
        let mut out = Self::default();
        for section in &record.sections {
            match section.kind {
                DELIVERY => out.deliveries.push(parse_header(section.id, section.bytes.clone())?),
                ROWS | DEAD | REPLAYED => {
                    let last = out.deliveries.last_mut().ok_or_else(|| damaged("rows"))?;
                    if last.relation != section.id {
                        return Err(damaged("rows of another stream"));
                    }
                    let slot = match section.kind {
                        ROWS => &mut last.rows,
                        DEAD => &mut last.dead,
                        _ => &mut last.replayed,
                    };
                    if slot.replace(section.bytes.clone()).is_some() {
                        return Err(damaged("rows of a delivery stand there twice"));
                    }
                }
                TABLE => out
                    .tables
                    .push(TableRecord { relation: section.id, rows: section.bytes.clone() }),
                DEFINITION => out.definitions.push(section.bytes.clone()),
                TICK if section.bytes.is_empty() => out.tick = true,
                TICK => return Err(damaged("a tick says nothing")),
                other => {
                    return Err(EngineError::new(
                        ErrorKind::Internal,
                        format!("commit {} has a section of unknown kind {other}", record.commit),
                    )
                    .with_hint("the log was written by a newer version of the program"));
                }
            }
        }
        Ok(out)
    }
}

fn damaged(what: &str) -> EngineError {
    EngineError::new(ErrorKind::Internal, format!("a log record is malformed: {what}"))
}

fn header(d: &DeliveryRecord) -> Bytes {
    let mut out =
        BytesMut::with_capacity(64 + d.source.len() + d.partition.len() + 4 * d.dropped.len());
    put_text(&mut out, &d.source);
    put_text(&mut out, &d.partition);
    let mut flags = 0;
    if d.position.is_some() {
        flags |= HAS_POSITION;
    }
    if d.idempotency.is_some() {
        flags |= HAS_IDEMPOTENCY;
    }
    if d.format.is_some() {
        flags |= HAS_FORMAT;
    }
    if d.changes {
        flags |= CHANGES;
    }
    flags |= match d.pace {
        Pace::Stream => 0,
        Pace::Partition => OF_PARTITION,
        Pace::Left => LEFT,
    };
    out.put_u8(flags);
    if let Some(position) = d.position {
        out.put_u64_le(position.from);
        out.put_u64_le(position.to);
    }
    if let Some(key) = d.idempotency {
        out.put_u128_le(key);
    }
    if let Some(format) = &d.format {
        put_text(&mut out, format);
    }
    out.put_u32_le(d.received);
    out.put_u32_le(d.late);
    out.put_u32_le(u32::try_from(d.dropped.len()).expect("fewer dropped rows than u32 rows"));
    for row in &d.dropped {
        out.put_u32_le(*row);
    }
    out.freeze()
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u32_le(u32::try_from(text.len()).expect("names are shorter than 4 GiB"));
    out.put_slice(text.as_bytes());
}

fn parse_header(relation: u32, mut bytes: Bytes) -> Result<DeliveryRecord, EngineError> {
    let source = take_text(&mut bytes)?;
    let partition = take_text(&mut bytes)?;
    let flags = bytes.try_get_u8().map_err(|_| damaged("flags"))?;
    let pace = match flags & !(HAS_POSITION | HAS_IDEMPOTENCY | HAS_FORMAT | CHANGES) {
        0 => Pace::Stream,
        OF_PARTITION => Pace::Partition,
        LEFT => Pace::Left,
        _ => return Err(damaged("unknown flags")),
    };
    let word = |bytes: &mut Bytes| bytes.try_get_u64_le().map_err(|_| damaged("position"));
    let position = if flags & HAS_POSITION == 0 {
        None
    } else {
        Some(Position { from: word(&mut bytes)?, to: word(&mut bytes)? })
    };
    let idempotency = if flags & HAS_IDEMPOTENCY == 0 {
        None
    } else {
        Some(bytes.try_get_u128_le().map_err(|_| damaged("idempotency key"))?)
    };
    let format = match flags & HAS_FORMAT {
        0 => None,
        _ => Some(take_text(&mut bytes)?),
    };
    let mut count = || bytes.try_get_u32_le().map_err(|_| damaged("count"));
    let (received, late, dropped_len) = (count()?, count()?, count()?);
    if bytes.remaining() != dropped_len as usize * 4 {
        return Err(damaged("dropped rows"));
    }
    let dropped = (0..dropped_len).map(|_| bytes.get_u32_le()).collect();
    Ok(DeliveryRecord {
        relation,
        source,
        partition,
        position,
        pace,
        idempotency,
        dropped,
        received,
        late,
        changes: flags & CHANGES != 0,
        rows: None,
        dead: None,
        format,
        replayed: None,
    })
}

fn take_text(bytes: &mut Bytes) -> Result<String, EngineError> {
    let len = bytes.try_get_u32_le().map_err(|_| damaged("text length"))? as usize;
    if bytes.remaining() < len {
        return Err(damaged("text"));
    }
    String::from_utf8(bytes.split_to(len).to_vec()).map_err(|_| damaged("text encoding"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> CommitRecord {
        CommitRecord {
            deliveries: vec![DeliveryRecord {
                relation: 7,
                source: "file".into(),
                partition: "a.csv".into(),
                position: Some(Position { from: 3, to: 9 }),
                pace: Pace::Stream,
                idempotency: Some(42),
                dropped: vec![0, 5],
                received: 6,
                late: 1,
                changes: false,
                rows: Some(Bytes::from_static(b"rows")),
                dead: None,
                format: None,
                replayed: None,
            }],
            tables: vec![TableRecord { relation: 8, rows: Bytes::from_static(b"t") }],
            definitions: vec![Bytes::from_static(b"{}")],
            tick: false,
        }
    }

    #[test]
    fn a_record_survives_the_log() {
        let record = sample();
        let logged = record.encode(CommitId(5), 17);
        assert_eq!(CommitRecord::decode(&logged).expect("decodes"), record);
    }

    /// A record with everything in it, as version 1 writes it: kind, id and content of each section.
    const FULL: [(u8, u32, &str); 6] = [
        (
            DELIVERY,
            7,
            "04000000 66696c65 \
             05000000 612e637376 \
             03 \
             0300000000000000 0900000000000000 \
             2a000000000000000000000000000000 \
             06000000 01000000 \
             02000000 00000000 05000000",
        ),
        (ROWS, 7, "726f7773"),
        // Without partition, position and key; of its two events neither could be decoded.
        (DELIVERY, 9, "04000000 68747470 00000000 00 00000000 00000000 00000000"),
        (DEAD, 9, "64656164"),
        (TABLE, 8, "74"),
        (DEFINITION, 0, "7b7d"),
    ];

    fn full() -> CommitRecord {
        let mut record = sample();
        record.deliveries.push(DeliveryRecord {
            relation: 9,
            source: "http".into(),
            partition: String::new(),
            position: None,
            pace: Pace::Stream,
            idempotency: None,
            dropped: Vec::new(),
            received: 0,
            late: 0,
            changes: false,
            rows: None,
            dead: Some(Bytes::from_static(b"dead")),
            format: None,
            replayed: None,
        });
        record
    }

    /// What came to version 1 later: how dead letters are written, letters put back, partitions with watermarks of
    /// their own, and changes.
    const ADDED: [(u8, u32, &str); 8] = [
        (DELIVERY, 9, "04000000 68747470 00000000 04 02000000 7b7d 00000000 00000000 00000000"),
        (DEAD, 9, "64656164"),
        (DELIVERY, 9, "00000000 00000000 00 01000000 00000000 01000000 00000000"),
        (REPLAYED, 9, "6c"),
        (DELIVERY, 9, "00000000 00000000 08 00000000 00000000 00000000"),
        (DELIVERY, 9, "00000000 00000000 10 00000000 00000000 00000000"),
        (DELIVERY, 9, "00000000 00000000 20 01000000 00000000 00000000"),
        (ROWS, 9, "72"),
    ];

    fn added() -> CommitRecord {
        let mut late = full().deliveries.remove(1);
        late.format = Some("{}".into());
        let replay = DeliveryRecord {
            source: String::new(),
            dropped: vec![0],
            received: 1,
            dead: None,
            format: None,
            replayed: Some(Bytes::from_static(b"l")),
            ..late.clone()
        };
        let bare = DeliveryRecord {
            pace: Pace::Partition,
            dropped: Vec::new(),
            received: 0,
            replayed: None,
            ..replay.clone()
        };
        let left = DeliveryRecord { pace: Pace::Left, ..bare.clone() };
        let changes = DeliveryRecord {
            pace: Pace::Stream,
            received: 1,
            changes: true,
            rows: Some(Bytes::from_static(b"r")),
            ..bare.clone()
        };
        let deliveries = vec![late, replay, bare, left, changes];
        CommitRecord { deliveries, ..CommitRecord::default() }
    }

    fn bytes_of(hex: &str) -> Bytes {
        let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let pair = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(text, 16).expect("digits")
        };
        digits.chunks(2).map(pair).collect::<Vec<u8>>().into()
    }

    fn logged(sections: &[(u8, u32, &str)]) -> LogRecord {
        let sections = sections
            .iter()
            .map(|&(kind, id, hex)| Section { kind, id, bytes: bytes_of(hex) })
            .collect();
        LogRecord { commit: CommitId(5), at_us: 17, sections }
    }

    #[test]
    fn version_1_means_what_it_meant() {
        assert_eq!(CommitRecord::decode(&logged(&FULL)).expect("decodes"), full());
        // And it is what is written: the page in docs/format holds for new logs too.
        assert_eq!(full().encode(CommitId(5), 17), logged(&FULL));
        assert_eq!(CommitRecord::decode(&logged(&[])).expect("decodes"), CommitRecord::default());
        assert_eq!(CommitRecord::decode(&logged(&ADDED)).expect("decodes"), added());
        assert_eq!(added().encode(CommitId(5), 17), logged(&ADDED));
        // Since there are views that go by time.
        let tick = CommitRecord { tick: true, ..CommitRecord::default() };
        assert_eq!(CommitRecord::decode(&logged(&[(TICK, 0, "")])).expect("decodes"), tick);
        assert_eq!(tick.encode(CommitId(5), 17), logged(&[(TICK, 0, "")]));
    }

    #[test]
    fn what_version_1_does_not_have_is_refused() {
        let refused = |sections: &[(u8, u32, &str)]| {
            CommitRecord::decode(&logged(sections)).expect_err("refused").to_string()
        };
        let header = "00000000 00000000 00 00000000 00000000 00000000";
        assert!(CommitRecord::decode(&logged(&[(DELIVERY, 1, header)])).is_ok());
        let flags = "00000000 00000000 18 00000000 00000000 00000000";
        assert!(refused(&[(DELIVERY, 1, flags)]).contains("unknown flags"));
        assert!(refused(&[(ROWS, 1, "00")]).contains("malformed"));
        assert!(refused(&[(DELIVERY, 1, header), (ROWS, 2, "00")]).contains("another stream"));
        assert!(refused(&[(DELIVERY, 1, header), (DEAD, 1, ""), (DEAD, 1, "")]).contains("twice"));
        assert!(refused(&[(TICK, 0, "00")]).contains("tick"));
        assert!(refused(&[(8, 0, "")]).contains("unknown kind 8"));
    }

    #[test]
    fn a_cut_header_is_an_error_and_never_a_panic() {
        let mut delivery = sample().deliveries.remove(0);
        delivery.format = Some("{}".into());
        let whole = header(&delivery);
        for len in 0..whole.len() {
            assert!(parse_header(7, whole.slice(..len)).is_err(), "cut at {len}");
        }
    }
}
