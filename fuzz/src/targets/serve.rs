//! Messages of a Postgres client, requests and batches of a Kafka producer: taken one by one until the bytes end or
//! are refused.

use bytes::{Bytes, BytesMut};
use yeoul_serve::batch::Batch;
use yeoul_serve::message::{take_message, take_opening};
use yeoul_serve::request::{Request, read_request, take_frame};

/// The first byte says whether an opening message comes first.
pub fn postgres(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let mut buffer = BytesMut::from(rest);
    if first % 2 == 0 && !matches!(take_opening(&mut buffer), Ok(Some(_))) {
        return;
    }
    loop {
        let before = buffer.len();
        match take_message(&mut buffer, 1 << 20) {
            Ok(Some(_)) => assert!(buffer.len() < before, "postgres: a message takes bytes"),
            Ok(None) | Err(_) => return,
        }
    }
}

/// How long a batch of the targets may be uncompressed.
const UNPACKED_BYTES_MAX: usize = 1 << 20;

/// Requests, and the batches in them.
pub fn kafka_request(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    loop {
        let before = buffer.len();
        match take_frame(&mut buffer, 1 << 20) {
            Ok(Some(frame)) => {
                assert!(buffer.len() < before, "kafka_request: a request takes bytes");
                let Ok((_, Request::Produce(produce))) = read_request(frame) else { continue };
                for (_, partitions) in produce.topics {
                    for records in partitions.into_iter().filter_map(|(_, records)| records) {
                        batch(records);
                    }
                }
            }
            Ok(None) | Err(_) => return,
        }
    }
}

/// A batch, whose length and checksum are made right first.
pub fn kafka_batch(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if bytes.len() > 21 {
        let length = u32::try_from(bytes.len() - 12).expect("short").to_be_bytes();
        let checksum = crc32c::crc32c(&bytes[21..]).to_be_bytes();
        bytes[8..12].copy_from_slice(&length);
        bytes[17..21].copy_from_slice(&checksum);
    }
    batch(bytes.into());
}

fn batch(bytes: Bytes) {
    let Ok(batch) = Batch::read(bytes) else { return };
    let Ok(messages) = batch.messages(UNPACKED_BYTES_MAX, None) else { return };
    assert_eq!(
        i32::try_from(messages.len()),
        Ok(batch.count),
        "kafka_batch: every record is a message"
    );
    assert!(messages.bytes_len() <= UNPACKED_BYTES_MAX, "kafka_batch: no more than there is");
}
