//! Brokers that ask who comes, and whose connections are encrypted.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use yeoul_trials::{Broker, Certificates, Front, Kind, Sasl, send};

use super::source::wait_for;
use crate::shop::Shop;

const NAME: &str = "shop";
const PASSWORD: &str = "p,=:% ü";

fn sasl(mechanism: &'static str) -> Sasl {
    Sasl { mechanism, name: NAME.to_owned(), secret: PASSWORD.to_owned() }
}

/// A broker with a topic of three events and one for changes.
fn broker() -> Option<Broker> {
    let broker = Broker::start(Kind::Noida)?;
    broker.create("events", 1);
    broker.create("out", 1);
    send(&broker.producer(&[]), "events", 0, ["{\"id\":1}", "{\"id\":2}", "{\"id\":3}"]);
    Some(broker)
}

/// Reads through the front and sends through it again.
fn passes(front: &Front, broker: &Broker, options: &str) {
    let shop = Shop::new();
    let of = |address: &str, topic: &str, options: &str| {
        format!("connector = 'kafka', brokers = '{address}', topic = '{topic}'{options}")
    };
    let front = front.address();
    let columns = "(id BIGINT)";
    shop.run(&format!("CREATE STREAM events {columns} WITH ({})", of(&front, "events", options)));
    shop.run(&format!("CREATE SINK out FROM events WITH ({})", of(&front, "out", options)));
    // What is sent is read without the front.
    let plain = of(&broker.address(), "out", "");
    shop.run(&format!("CREATE STREAM back {columns} WITH ({plain})"));
    let (sources, sinks) = (shop.start().expect("starts"), shop.start_sinks());
    wait_for(&shop, "SELECT id FROM events ORDER BY id", &["1", "2", "3"]);
    wait_for(&shop, "SELECT DISTINCT id FROM back ORDER BY id", &["1", "2", "3"]);
    sources.stop();
    sinks.stop();
}

/// Does not get through, and says why, in the source and in the sink.
fn is_refused(front: &Front, options: &str, why: &str) {
    let shop = Shop::new();
    let to = format!("connector = 'kafka', brokers = '{}', topic = 'events'", front.address());
    shop.run(&format!("CREATE STREAM events (id BIGINT) WITH ({to}{options})"));
    shop.run(&format!("CREATE SINK out FROM events WITH ({to}{options})"));
    let (sources, sinks) = (shop.start().expect("starts"), shop.start_sinks());
    for of in ["sources", "sinks"] {
        wait_for(&shop, &format!("SELECT error LIKE '%{why}%' FROM yeoul.{of}"), &["true"]);
    }
    assert_eq!(shop.rows("SELECT count(*) FROM events"), ["0"]);
    sources.stop();
    sinks.stop();
}

#[test]
fn names_and_passwords_are_said_as_brokers_ask() {
    for (mechanism, word) in
        [("PLAIN", "plain"), ("SCRAM-SHA-256", "scram-sha-256"), ("SCRAM-SHA-512", "scram-sha-512")]
    {
        let Some(broker) = broker() else { return };
        let front = Front::start(0, broker.port(), None, Some(sasl(mechanism)));
        let who = |name: &str, password: &str| {
            format!(", sasl_mechanism = '{word}', username = '{name}', password = '{password}'")
        };
        passes(&front, &broker, &who(NAME, PASSWORD));
        is_refused(&front, &who(NAME, "wrong"), "the front does not know you");
    }
}

#[test]
fn connections_are_encrypted_with_whom_certificates_say() {
    let Some(broker) = broker() else { return };
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let file = |of: &Certificates, name: &str| of.file(name).display().to_string();
    let authority = format!(", tls = 'true', tls_ca = '{}'", file(&certificates, "ca.pem"));
    let front =
        Front::start(0, broker.port(), Some((&certificates, false)), Some(sasl("SCRAM-SHA-512")));
    let who =
        format!(", sasl_mechanism = 'scram-sha-512', username = '{NAME}', password = '{PASSWORD}'");
    passes(&front, &broker, &format!("{authority}{who}"));
    let stranger = format!(", tls = 'true', tls_ca = '{}'", file(&others, "ca.pem"));
    is_refused(&front, &format!("{stranger}{who}"), "certificate verify failed");
    // One that asks for ours too.
    let front = Front::start(0, broker.port(), Some((&certificates, true)), None);
    let ours = |of: &Certificates| {
        let (certificate, key) = (file(of, "client.pem"), file(of, "client.key"));
        format!("{authority}, tls_certificate = '{certificate}', tls_key = '{key}'")
    };
    passes(&front, &broker, &ours(&certificates));
    is_refused(&front, &authority, "SSL");
}

/// Gives tokens, one after the other, to who has the right name and secret; how many it gave.
fn endpoint(lifetime_s: u32) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).is_ok_and(|bytes| bytes <= 2) {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let body = String::from_utf8(body).expect("is text");
            // "shop" and the password, escaped and encoded.
            let is_known = head.contains("Basic c2hvcDpwJTJDJTNEJTNBJTI1JTIwJUMzJUJD")
                && body == "grant_type=client_credentials&scope=kafka%20read";
            let (status, answer) = if is_known {
                count.fetch_add(1, Ordering::Relaxed);
                let token =
                    "{\"access_token\":\"header.claims.signature\",\"token_type\":\"Bearer\"";
                ("200 OK", format!("{token},\"expires_in\":{lifetime_s}}}"))
            } else {
                ("401 Unauthorized", "{\"error\":\"invalid_client\"}".to_owned())
            };
            let length = answer.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
            );
            stream.write_all(answer.as_bytes()).expect("is answered");
        }
    });
    (port, given)
}

#[test]
fn tokens_are_got_where_clients_are_known() {
    let Some(broker) = broker() else { return };
    let (port, given) = endpoint(3600);
    let token = "header.claims.signature".to_owned();
    let bearer = Sasl { mechanism: "OAUTHBEARER", name: String::new(), secret: token };
    let front = Front::start(0, broker.port(), None, Some(bearer.clone()));
    let who = |password: &str| {
        format!(
            ", sasl_mechanism = 'oauthbearer', username = '{NAME}', password = '{password}', \
             oauth_token_url = 'http://127.0.0.1:{port}/token', oauth_scope = 'kafka read'"
        )
    };
    passes(&front, &broker, &who(PASSWORD));
    // The source, and of the sink who sends and who asks the group.
    assert_eq!(given.load(Ordering::Relaxed), 3);
    is_refused(&front, &who("wrong"), "it answers 401");
    front.let_in(Sasl { secret: "another".to_owned(), ..bearer });
    is_refused(&front, &who(PASSWORD), "the front does not know you");
}
