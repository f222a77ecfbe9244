//! The Postgres wire byte by byte: what no driver would send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use yeoul_serve::{HttpOptions, PgOptions};

use crate::fixture::Fixture;

fn message(tag: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [tag, &length, body].concat()
}

fn start(fixture: &Fixture) -> TcpStream {
    let mut stream = TcpStream::connect(fixture.pg).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&message(b"", b"\x00\x03\x00\x00user\0me\0\0")).unwrap();
    stream
}

/// Messages up to the one with this tag.
fn until(stream: &mut TcpStream, last: u8) -> Vec<(u8, Vec<u8>)> {
    let mut messages = Vec::new();
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut body).unwrap();
        messages.push((head[0], body));
        if head[0] == last {
            return messages;
        }
    }
}

fn tags(messages: &[(u8, Vec<u8>)]) -> String {
    messages.iter().map(|(tag, _)| char::from(*tag)).collect()
}

#[test]
fn a_session_begins_with_its_settings() {
    let fixture = Fixture::new();
    let mut stream = TcpStream::connect(fixture.pg).unwrap();
    stream.write_all(&message(b"", b"\x04\xd2\x16\x2f")).unwrap();
    let mut no = [0; 1];
    stream.read_exact(&mut no).unwrap();
    assert_eq!(&no, b"N");
    stream.write_all(&message(b"", b"\x00\x03\x00\x02user\0me\0_pq_.x\0y\0\0")).unwrap();
    let hello = until(&mut stream, b'Z');
    assert_eq!(hello[0].0, b'v');
    let settings: Vec<String> = hello
        .iter()
        .filter(|(tag, _)| *tag == b'S')
        .map(|(_, body)| String::from_utf8_lossy(body).replace('\0', "="))
        .collect();
    for expected in ["client_encoding=UTF8=", "TimeZone=UTC=", "integer_datetimes=on="] {
        assert!(settings.iter().any(|s| s == expected), "{settings:?}");
    }
    assert_eq!(hello.iter().find(|(tag, _)| *tag == b'K').unwrap().1.len(), 8);
}

#[test]
fn after_an_error_everything_up_to_sync_is_passed_over() {
    let fixture = Fixture::new();
    let mut stream = start(&fixture);
    until(&mut stream, b'Z');
    let group = [
        message(b"P", b"\0SELECT wrong\0\0\0"),
        message(b"B", b"\0\0\0\0\0\0\0\0"),
        message(b"E", b"\0\0\0\0\0"),
        message(b"S", b""),
        message(b"P", b"\0SELECT 1\0\0\0"),
        message(b"B", b"\0\0\0\0\0\0\0\0"),
        message(b"D", b"P\0"),
        message(b"E", b"\0\0\0\0\0"),
        message(b"S", b""),
    ];
    stream.write_all(&group.concat()).unwrap();
    assert_eq!(tags(&until(&mut stream, b'Z')), "EZ");
    assert_eq!(tags(&until(&mut stream, b'Z')), "12TDCZ");
}

#[test]
fn after_an_error_a_simple_query_is_passed_over_too() {
    let fixture = Fixture::with_events();
    let mut stream = start(&fixture);
    until(&mut stream, b'Z');
    let group = [
        message(b"P", b"\0SELECT wrong\0\0\0"),
        message(b"Q", b"INSERT INTO events (event_id) VALUES ('x')\0"),
        message(b"S", b""),
        message(b"Q", b"SELECT count(*) FROM events\0"),
    ];
    stream.write_all(&group.concat()).unwrap();
    assert_eq!(tags(&until(&mut stream, b'Z')), "EZ");
    assert_eq!(tags(&until(&mut stream, b'Z')), "TDCZ");
    assert_eq!(fixture.one("SELECT count(*) FROM events"), 0);
}

#[test]
fn what_is_not_the_protocol_ends_the_connection_only() {
    let fixture = Fixture::new();
    for bytes in [
        message(b"z", b""),
        b"Q\x00\x00\x00\x01".to_vec(),
        message(b"P", b"no end"),
        b"Q\x7f\xff\xff\xff".to_vec(),
    ] {
        let mut stream = start(&fixture);
        until(&mut stream, b'Z');
        stream.write_all(&bytes).unwrap();
        let error = until(&mut stream, b'E');
        let text = String::from_utf8_lossy(&error[0].1).into_owned();
        assert!(text.contains("FATAL") && text.contains("08P01"), "{text}");
        assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    }
    let mut stream = start(&fixture);
    until(&mut stream, b'Z');
    stream.write_all(&message(b"Q", b"SELECT 1\0")).unwrap();
    assert_eq!(tags(&until(&mut stream, b'Z')), "TDCZ");
}

#[test]
fn limits_of_a_connection() {
    let options = PgOptions {
        connections_max: 2,
        message_bytes_max: 1_000,
        statements_max: 3,
        ..PgOptions::default()
    };
    let fixture = Fixture::with(HttpOptions::default(), options);
    let mut stream = start(&fixture);
    until(&mut stream, b'Z');
    for i in 0..4 {
        stream.write_all(&message(b"P", format!("s{i}\0SELECT 1\0\0\0").as_bytes())).unwrap();
    }
    stream.write_all(&message(b"S", b"")).unwrap();
    let answer = until(&mut stream, b'Z');
    assert_eq!(tags(&answer), "111EZ");
    assert!(String::from_utf8_lossy(&answer[3].1).contains("limit is 3"));

    let _second = start(&fixture);
    std::thread::sleep(Duration::from_millis(50));
    let mut third = start(&fixture);
    let answer = until(&mut third, b'E');
    assert!(String::from_utf8_lossy(&answer[0].1).contains("53300"));

    let long = [b"SELECT '".to_vec(), vec![b'x'; 2_000], b"'\0".to_vec()].concat();
    stream.write_all(&message(b"Q", &long)).unwrap();
    let answer = until(&mut stream, b'E');
    assert!(String::from_utf8_lossy(&answer[0].1).contains("limit of 1000 bytes"));
}

#[test]
fn those_who_are_told_that_there_are_too_many_are_not_too_many_themselves() {
    let options = PgOptions { connections_max: 1, ..PgOptions::default() };
    let fixture = Fixture::with(HttpOptions::default(), options);
    // They say nothing and wait.
    let mut streams: Vec<TcpStream> =
        (0..80).map(|_| TcpStream::connect(fixture.pg).unwrap()).collect();
    let last = streams.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(last.read(&mut [0; 16]).unwrap(), 0);
}

/// Without it a client whose machine is gone holds its place for ever.
#[test]
fn the_system_looks_whether_a_silent_client_is_there() {
    const ESTABLISHED: &str = "01";
    const KEEPALIVE: &str = "02:";
    let fixture = Fixture::new();
    for address in [fixture.pg, fixture.http] {
        let _silent = TcpStream::connect(address).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let here = format!(":{:04X}", address.port());
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let timers: Vec<&str> = sockets
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields[1].ends_with(&here) && fields[3] == ESTABLISHED)
            .map(|fields| fields[5])
            .collect();
        assert!(timers.len() == 1 && timers[0].starts_with(KEEPALIVE), "{timers:?} for {address}");
    }
}

#[test]
fn a_stopping_server_says_goodbye() {
    let fixture = Fixture::new();
    let mut stream = start(&fixture);
    until(&mut stream, b'Z');
    assert!(fixture.stop() < Duration::from_secs(5));
    let answer = until(&mut stream, b'E');
    assert!(String::from_utf8_lossy(&answer[0].1).contains("57P01"));
}
