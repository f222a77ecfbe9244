//! Messages of a Postgres client: taken one by one until the bytes end or are refused.

use bytes::BytesMut;
use yeoul_serve::message::{take_message, take_opening};

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
