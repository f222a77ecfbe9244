//! A door in front of a broker that has none: TLS, and SASL with one name and password, or one token.
//!
//! ```text
//!   client ══TLS══▶ front: ApiVersions, SaslHandshake, SaslAuthenticate ──▶ broker, once the client is known
//! ```
//!
//! Requests are passed one at a time, each with its answer. Brokers say where they are: what they say is changed into
//! where the front is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::protocol::{Decodable as _, Encodable as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use ring::{digest, hmac, pbkdf2};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::proxy::Said;

/// Requests by their numbers in the protocol.
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;
/// Errors by their numbers.
const UNSUPPORTED_MECHANISM: i16 = 33;
const AUTHENTICATION_FAILED: i16 = 58;
/// The longest request or answer that is passed.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// How often SCRAM hashes.
const ITERATIONS: u32 = 4096;

/// Who may come in.
#[derive(Clone, Debug)]
pub struct Sasl {
    /// As the protocol names it: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER`.
    pub mechanism: &'static str,
    /// The name; not looked at for tokens.
    pub name: String,
    /// The password, or the token.
    pub secret: String,
}

/// Certificates of an authority, a server and a client, as files.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// Makes new ones, for servers on this machine.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        let named = |name: &str, of: Vec<String>| {
            let mut params = CertificateParams::new(of).expect("names");
            // Without one of its own a certificate seems to be its own issuer.
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let mut params = named("authority", Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        let authority = authority.expect("an authority");
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).expect("is written");
        for name in ["server", "client"] {
            let key = KeyPair::generate().expect("a key");
            let params = named(name, vec!["127.0.0.1".to_owned()]);
            let certificate = params.signed_by(&key, &authority).expect("is signed");
            let write = |what: &str, text: String| {
                std::fs::write(dir.path().join(format!("{name}.{what}")), text)
                    .expect("is written");
            };
            write("pem", certificate.pem());
            write("key", key.serialize_pem());
        }
        Self { dir }
    }

    /// The file `ca.pem`, `client.pem`, `client.key`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a server with them takes; `asks` for the certificates of clients.
    fn config(&self, asks: bool) -> ServerConfig {
        let certificates = |name: &str| certificates(&self.file(name));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates("ca.pem"));
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_file(self.file("server.key")).expect("a key");
        builder.with_single_cert(certificates("server.pem"), key).expect("a certificate")
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_file_iter(path).expect("a file");
    all.collect::<Result<_, _>>().expect("certificates")
}

/// See the module. It ends when it is dropped.
pub struct Front {
    port: u16,
    ended: Arc<AtomicBool>,
    sasl: Arc<Mutex<Option<Sasl>>>,
}

/// What every connection knows.
#[derive(Clone)]
struct Door {
    server: u16,
    said: Said,
    tls: Option<Arc<ServerConfig>>,
    sasl: Arc<Mutex<Option<Sasl>>>,
}

impl Front {
    /// Begins to listen on `port`, for a broker on another one. With certificates it speaks TLS, and may ask for those of
    /// clients.
    ///
    /// # Panics
    /// When the port is taken.
    #[must_use]
    pub fn start(
        port: u16,
        server: u16,
        tls: Option<(&Certificates, bool)>,
        sasl: Option<Sasl>,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let port = listener.local_addr().expect("an address").port();
        let ended = Arc::new(AtomicBool::new(false));
        let sasl = Arc::new(Mutex::new(sasl));
        let door = Door {
            server,
            said: Said::new(server, port),
            tls: tls.map(|(certificates, asks)| Arc::new(certificates.config(asks))),
            sasl: Arc::clone(&sasl),
        };
        let is_over = Arc::clone(&ended);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let door = door.clone();
                std::thread::spawn(move || door.serve(client));
            }
        });
        Self { port, ended, sasl }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Others may come in from now on.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn let_in(&self, sasl: Sasl) {
        *self.sasl.lock().expect("no connection panics") = Some(sasl);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes who accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Door {
    fn serve(&self, client: TcpStream) {
        let Ok(broker) = TcpStream::connect(("127.0.0.1", self.server)) else { return };
        // A client that goes ends its connection, and that is all.
        let _ = match &self.tls {
            None => self.pass(client, broker),
            Some(config) => match ServerConnection::new(Arc::clone(config)) {
                Ok(connection) => self.pass(StreamOwned::new(connection, client), broker),
                Err(_) => None,
            },
        };
    }

    /// Passes requests and their answers until one of both is gone, or the client is refused.
    fn pass(&self, mut client: impl Read + Write, mut broker: TcpStream) -> Option<()> {
        let sasl = self.sasl.lock().ok()?.clone();
        let mut exchange = Exchange::default();
        let mut is_known = sasl.is_none();
        loop {
            let request = read(&mut client)?;
            let head = Head::of(&request)?;
            let answer = match (head.key, &sasl) {
                (SASL_HANDSHAKE, Some(sasl)) => handshake(&request, &head, sasl)?,
                (SASL_AUTHENTICATE, Some(sasl)) => {
                    let said = bytes(&request, head.body)?;
                    let outcome = exchange.next(sasl, said);
                    let is_over = outcome.is_none();
                    is_known |= matches!(outcome, Some((_, true)));
                    let answer = authenticated(&head, outcome.map(|(answer, _)| answer));
                    if is_over {
                        write(&mut client, &answer)?;
                        return None;
                    }
                    answer
                }
                (API_VERSIONS, _) => {
                    let answer = ask(&mut broker, &request)?;
                    if sasl.is_some() { with_sasl(&answer, head.version)? } else { answer }
                }
                _ if is_known => {
                    let mut answer = ask(&mut broker, &request)?;
                    self.said.change(&mut answer);
                    answer
                }
                _ => return None,
            };
            write(&mut client, &answer)?;
        }
    }
}

fn read(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok()?;
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).ok()?;
    Some(frame)
}

fn write(to: &mut impl Write, frame: &[u8]) -> Option<()> {
    let length = i32::try_from(frame.len()).ok()?;
    let all = [&length.to_be_bytes()[..], frame].concat();
    to.write_all(&all).and_then(|()| to.flush()).ok()
}

fn ask(broker: &mut TcpStream, request: &[u8]) -> Option<Vec<u8>> {
    write(broker, request)?;
    read(broker)
}

/// The head of a request.
struct Head {
    key: i16,
    version: i16,
    correlation: [u8; 4],
    /// Where the body of a request without tags begins.
    body: usize,
}

impl Head {
    fn of(request: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(i16::from_be_bytes(*request.get(at..)?.first_chunk()?));
        let client = usize::try_from(number(8)?.max(0)).ok()?;
        let correlation = *request.get(4..)?.first_chunk()?;
        Some(Self { key: number(0)?, version: number(2)?, correlation, body: 10 + client })
    }
}

fn bytes(request: &[u8], at: usize) -> Option<&[u8]> {
    let length = i32::from_be_bytes(*request.get(at..)?.first_chunk()?);
    request.get(at + 4..)?.get(..usize::try_from(length).ok()?)
}

fn handshake(request: &[u8], head: &Head, sasl: &Sasl) -> Option<Vec<u8>> {
    let length = i16::from_be_bytes(*request.get(head.body..)?.first_chunk()?);
    let asked = request.get(head.body + 2..)?.get(..usize::try_from(length).ok()?)?;
    let error = if asked == sasl.mechanism.as_bytes() { 0 } else { UNSUPPORTED_MECHANISM };
    let name = i16::try_from(sasl.mechanism.len()).ok()?;
    let mut answer = head.correlation.to_vec();
    answer.extend(error.to_be_bytes());
    answer.extend(1_i32.to_be_bytes());
    answer.extend(name.to_be_bytes());
    answer.extend(sasl.mechanism.as_bytes());
    Some(answer)
}

/// The answer with what the mechanism says, or the refusal.
fn authenticated(head: &Head, said: Option<Vec<u8>>) -> Vec<u8> {
    const REFUSED: &str = "the front does not know you";
    let mut answer = head.correlation.to_vec();
    let said = match said {
        Some(said) => {
            answer.extend(0_i16.to_be_bytes());
            answer.extend((-1_i16).to_be_bytes());
            said
        }
        None => {
            answer.extend(AUTHENTICATION_FAILED.to_be_bytes());
            answer.extend(i16::try_from(REFUSED.len()).unwrap_or(0).to_be_bytes());
            answer.extend(REFUSED.as_bytes());
            Vec::new()
        }
    };
    answer.extend(i32::try_from(said.len()).unwrap_or(0).to_be_bytes());
    answer.extend(said);
    if head.version > 0 {
        answer.extend(0_i64.to_be_bytes());
    }
    answer
}

/// The versions of a broker, and those of SASL.
fn with_sasl(answer: &[u8], version: i16) -> Option<Vec<u8>> {
    let mut body = Bytes::copy_from_slice(answer.get(4..)?);
    let mut versions = ApiVersionsResponse::decode(&mut body, version).ok()?;
    versions.api_keys.retain(|api| ![SASL_HANDSHAKE, SASL_AUTHENTICATE].contains(&api.api_key));
    for key in [SASL_HANDSHAKE, SASL_AUTHENTICATE] {
        let api = ApiVersion::default().with_api_key(key).with_min_version(0).with_max_version(1);
        versions.api_keys.push(api);
    }
    let mut all = BytesMut::from(answer.get(..4)?);
    versions.encode(&mut all, version).ok()?;
    Some(all.to_vec())
}

/// How far the words of a mechanism are.
#[derive(Default)]
struct Exchange {
    /// The first message of a client without its head, and our answer.
    scram: Option<(String, String)>,
}

impl Exchange {
    /// The answer to what a client says, and whether it is known now; `None`: it is refused.
    fn next(&mut self, sasl: &Sasl, said: &[u8]) -> Option<(Vec<u8>, bool)> {
        let said = std::str::from_utf8(said).ok()?;
        match sasl.mechanism {
            "PLAIN" => {
                let expected = format!("\0{}\0{}", sasl.name, sasl.secret);
                (said == expected).then(|| (Vec::new(), true))
            }
            "OAUTHBEARER" => {
                let expected = format!("\x01auth=Bearer {}\x01", sasl.secret);
                said.contains(&expected).then(|| (Vec::new(), true))
            }
            _ => self.scram(sasl, said),
        }
    }

    fn scram(&mut self, sasl: &Sasl, said: &str) -> Option<(Vec<u8>, bool)> {
        const SALT: &[u8] = b"a salt of the trials";
        let is_256 = sasl.mechanism == "SCRAM-SHA-256";
        let field = |text: &str, name: &str| {
            let mut all = text.split(',');
            all.find_map(|part| part.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        };
        let Some((first, answer)) = self.scram.take() else {
            let first = said.strip_prefix("n,,")?;
            if field(first, "n")? != sasl.name {
                return None;
            }
            let (nonce, salt) = (field(first, "r")?, BASE64_STANDARD.encode(SALT));
            let answer = format!("r={nonce}front,s={salt},i={ITERATIONS}");
            self.scram = Some((first.to_owned(), answer.clone()));
            return Some((answer.into_bytes(), false));
        };
        let (last, proof) = said.rsplit_once(",p=")?;
        let proof = BASE64_STANDARD.decode(proof).ok()?;
        if field(last, "r")? != field(&answer, "r")? {
            return None;
        }
        let (of_hmac, of_hash, of_hi): (_, _, _) = if is_256 {
            (hmac::HMAC_SHA256, &digest::SHA256, pbkdf2::PBKDF2_HMAC_SHA256)
        } else {
            (hmac::HMAC_SHA512, &digest::SHA512, pbkdf2::PBKDF2_HMAC_SHA512)
        };
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(of_hmac, key), text);
        let mut salted = vec![0; of_hash.output_len()];
        let iterations = NonZeroU32::new(ITERATIONS)?;
        pbkdf2::derive(of_hi, iterations, SALT, sasl.secret.as_bytes(), &mut salted);
        let all = format!("{first},{answer},{last}");
        let client_key = sign(&salted, b"Client Key");
        let stored = digest::digest(of_hash, client_key.as_ref());
        let signature = sign(stored.as_ref(), all.as_bytes());
        let found: Vec<u8> = signature.as_ref().iter().zip(&proof).map(|(a, b)| a ^ b).collect();
        if found != client_key.as_ref() {
            return None;
        }
        let server_key = sign(&salted, b"Server Key");
        let verdict = sign(server_key.as_ref(), all.as_bytes());
        Some((format!("v={}", BASE64_STANDARD.encode(verdict)).into_bytes(), true))
    }
}
