//! A partition: batches as they came, one behind the other, and which of them count.
//!
//! A batch begins with where it begins in the partition, which the broker says; then come its length and, from byte 16 on,
//! what is read here ([the format](https://kafka.apache.org/documentation/#recordbatch)).

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

/// Bytes of a batch before its records.
const HEADER: usize = 61;
/// The only format of batches that is known.
const MAGIC: i8 = 2;
/// Batches of a producer that are known again when they come again.
const REMEMBERED: usize = 5;
const TRANSACTIONAL: i16 = 1 << 4;

/// Records that came together.
struct Batch {
    base: i64,
    /// The offset behind its last record.
    next: i64,
    at_ms: i64,
    bytes: Bytes,
}

/// A transaction that does not count.
pub(super) struct Aborted {
    pub(super) producer: i64,
    pub(super) first: i64,
    last: i64,
}

/// What a producer has sent last.
#[derive(Default)]
struct Sent {
    epoch: i16,
    /// First sequence numbers, and where the batches are.
    batches: VecDeque<(i32, i64)>,
    /// The sequence number that is next.
    next: i32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Partition {
    batches: VecDeque<Batch>,
    pub(super) start: i64,
    pub(super) end: i64,
    bytes: usize,
    /// Where open transactions of producers begin.
    open: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
    sent: HashMap<i64, Sent>,
}

/// What a reader gets.
pub(super) struct Read {
    pub(super) records: Bytes,
    pub(super) aborted: Vec<Aborted>,
}

impl Partition {
    /// Adds a batch; where it is. One that came before is where it was.
    pub(super) fn append(&mut self, bytes: Bytes) -> Result<i64, ResponseError> {
        if bytes.len() < HEADER || bytes[16].cast_signed() != MAGIC {
            return Err(ResponseError::CorruptMessage);
        }
        let mut header = &bytes[21..HEADER];
        let attributes = header.get_i16();
        let records = header.get_i32().saturating_add(1);
        header.advance(8);
        let at_ms = header.get_i64();
        let (producer, epoch, sequence) = (header.get_i64(), header.get_i16(), header.get_i32());
        if producer >= 0 && sequence >= 0 {
            let sent = self.sent.entry(producer).or_default();
            if epoch < sent.epoch {
                return Err(ResponseError::InvalidProducerEpoch);
            }
            if epoch > sent.epoch {
                *sent = Sent { epoch, ..Sent::default() };
            }
            if let Some((_, base)) = sent.batches.iter().find(|(first, _)| *first == sequence) {
                return Ok(*base);
            }
            if sequence != sent.next {
                return Err(ResponseError::OutOfOrderSequenceNumber);
            }
            sent.next = sequence.wrapping_add(records) & i32::MAX;
            sent.batches.push_back((sequence, self.end));
            if sent.batches.len() > REMEMBERED {
                sent.batches.pop_front();
            }
        }
        let base = self.end;
        if attributes & TRANSACTIONAL != 0 {
            self.open.entry(producer).or_insert(base);
        }
        self.push(records, at_ms, bytes);
        Ok(base)
    }

    fn push(&mut self, records: i32, at_ms: i64, bytes: Bytes) {
        let base = self.end;
        self.end += i64::from(records);
        self.bytes += bytes.len();
        self.batches.push_back(Batch { base, next: self.end, at_ms, bytes });
    }

    /// Ends the transaction of a producer, if it has one here.
    pub(super) fn end_transaction(&mut self, producer: i64, epoch: i16, commits: bool, now: i64) {
        let Some(first) = self.open.remove(&producer) else { return };
        if !commits {
            self.aborted.push(Aborted { producer, first, last: self.end });
        }
        self.push(1, now, marker(producer, epoch, commits, now));
    }

    /// Up to where readers of committed messages read.
    pub(super) fn stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Batches from the one of `offset` on, at most `bytes_max` of them, but at least one where `one` is asked for.
    pub(super) fn read(
        &self,
        offset: i64,
        bytes_max: usize,
        one: bool,
        committed: bool,
    ) -> Result<Read, ResponseError> {
        if offset < self.start || offset > self.end {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let until = if committed { self.stable() } else { self.end };
        let first = self.batches.partition_point(|batch| batch.next <= offset);
        let mut records = BytesMut::new();
        let mut reached = offset;
        for batch in self.batches.range(first..).take_while(|batch| batch.next <= until) {
            let fits = records.len() + batch.bytes.len() <= bytes_max;
            if !(fits || one && records.is_empty()) {
                break;
            }
            records.put_i64(batch.base);
            records.put_slice(&batch.bytes[8..]);
            reached = batch.next;
        }
        let within = |aborted: &&Aborted| aborted.last >= offset && aborted.first < reached;
        let aborted = self.aborted.iter().filter(within).map(|aborted| Aborted { ..*aborted });
        Ok(Read { records: records.freeze(), aborted: aborted.collect() })
    }

    /// The offset of the first batch that has something as late as this.
    pub(super) fn at_time(&self, at_ms: i64) -> Option<(i64, i64)> {
        let batch = self.batches.iter().find(|batch| batch.at_ms >= at_ms)?;
        Some((batch.base.max(self.start), batch.at_ms))
    }

    /// Forgets what is before `offset`.
    pub(super) fn forget(&mut self, offset: i64) {
        self.start = offset.clamp(self.start, self.end);
        while let Some(batch) = self.batches.front()
            && batch.next <= self.start
        {
            self.bytes -= batch.bytes.len();
            self.batches.pop_front();
        }
    }

    /// Forgets the oldest batches until no more than `bytes_max` are left.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some(second) = self.batches.get(1).map(|batch| batch.base)
        {
            self.forget(second);
        }
    }
}

/// The batch that says how a transaction has ended.
fn marker(producer: i64, epoch: i16, commits: bool, now: i64) -> Bytes {
    let mut key = BytesMut::new();
    key.put_i16(0);
    key.put_i16(commits.into());
    let record = Record {
        transactional: true,
        control: true,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: producer,
        producer_epoch: epoch,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: now,
        key: Some(key.freeze()),
        value: Some(Bytes::from_static(&[0; 6])),
        headers: IndexMap::new(),
    };
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, [&record], &options).expect("a marker can be written");
    bytes.freeze()
}
