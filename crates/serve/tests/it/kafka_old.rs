//! Versions of Produce that no library has any more: old clients look for them, and very old ones speak them.

use std::io::Write;

use bytes::BufMut;

use crate::kafka_bytes::{fixture, ids, versions};
use crate::kafka_client::{Client, PLAIN, batch};

#[test]
fn producers_of_long_ago() {
    let fixture = fixture();
    let mut client = Client::new(fixture.kafka);
    assert_eq!(versions(&fixture, 0), 0..=12);
    let batch = batch(PLAIN, &["{\"id\":1}"]);
    let mut old = batch.clone();
    old[16] = 1;
    for version in 0..=2 {
        for (records, code) in [(&batch, 0), (&old, 43)] {
            let mut request = Vec::new();
            request.put_slice(&[
                0,
                0,
                0,
                u8::try_from(version).unwrap(),
                0,
                0,
                0,
                9,
                0,
                2,
                b'm',
                b'e',
            ]);
            request.put_i16(1);
            request.put_i32(1000);
            request.put_slice(&[0, 0, 0, 1, 0, 3, b'r', b'a', b'w', 0, 0, 0, 1, 0, 0, 0, 0]);
            request.put_i32(i32::try_from(records.len()).unwrap());
            request.put_slice(records);
            let size = u32::try_from(request.len()).unwrap().to_be_bytes();
            client.0.write_all(&[&size[..], &request].concat()).unwrap();
            let mut expected = vec![
                0, 0, 0, 9, 0, 0, 0, 1, 0, 3, b'r', b'a', b'w', 0, 0, 0, 1, 0, 0, 0, 0, 0, code,
            ];
            expected.put_i64(-1);
            if version >= 2 {
                expected.put_i64(-1);
            }
            if version >= 1 {
                expected.put_i32(0);
            }
            assert_eq!(client.receive(), expected, "version {version}");
        }
    }
    assert_eq!(ids(&fixture), "1 1 1");
}
