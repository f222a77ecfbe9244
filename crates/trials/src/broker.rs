//! Brokers, started for a test and ended with it, and what tests do with them.
//!
//! `cargo xtask servers` installs those of others. They are wrong in different places, so that tests name the one they need:
//! tansu tells a wrong end of a partition, knows no times and shows what was aborted; noida never forgets a member that has
//! died, nor what was aborted; [our own](crate::MemoryBroker) has no members of groups.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tempfile::TempDir;

use crate::memory::MemoryBroker;

/// How long a broker may take to do anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// tansu.
    Tansu,
    /// noida.
    Noida,
    /// The trials' own, in this process.
    Memory,
}

/// Bytes that a broker of the trials keeps of a partition.
const MEMORY_MAX: usize = 1 << 30;

/// A broker that runs. It is ended when this is dropped.
pub struct Broker {
    port: u16,
    /// The port that it tells clients to come to.
    advertised: u16,
    server: Server,
}

enum Server {
    Process(Process),
    Memory(MemoryBroker),
}

struct Process {
    kind: Kind,
    program: PathBuf,
    dir: TempDir,
    child: Option<Child>,
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The folder of the servers and of clients in other languages; `None` when the tests that need it are to be left out.
///
/// # Panics
/// When it should be there and is not.
#[must_use]
pub fn servers_folder() -> Option<PathBuf> {
    let folder = match std::env::var("YEOUL_SERVERS_DIR") {
        Ok(none) if none == "none" => return None,
        Ok(folder) => folder.into(),
        Err(_) => {
            let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
            Path::new(&home).join(".cache/yeoul/servers")
        }
    };
    assert!(
        folder.join("installed").exists(),
        "there are no brokers in {}: run `cargo xtask servers`, or set YEOUL_SERVERS_DIR=none",
        folder.display()
    );
    Some(folder)
}

impl Broker {
    /// Starts a broker; `None` when there are none here.
    pub fn start(kind: Kind) -> Option<Self> {
        let port = free_port();
        let mut broker = Self::new(kind, port, port)?;
        broker.restart();
        Some(broker)
    }

    /// A broker that does not run yet, on a port of its own, whose clients are to come to `advertised`.
    pub fn new(kind: Kind, port: u16, advertised: u16) -> Option<Self> {
        let process = |name: &str| {
            let program = servers_folder()?.join("bin").join(name);
            let dir = TempDir::new().expect("a folder");
            Some(Server::Process(Process { kind, program, dir, child: None }))
        };
        let server = match kind {
            Kind::Tansu => process("tansu")?,
            Kind::Noida => process("noida-db")?,
            Kind::Memory => Server::Memory(MemoryBroker::new(port, advertised, MEMORY_MAX)),
        };
        Some(Self { port, advertised, server })
    }

    /// Where clients come to.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.advertised)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again, after [`Broker::kill`] on what noida had stored.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        match &mut self.server {
            Server::Process(process) => process.start(self.port, self.advertised),
            Server::Memory(broker) => broker.restart().expect("the broker starts"),
        }
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the broker does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, which stores what it has.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn stop(&mut self) {
        match &mut self.server {
            Server::Process(process) => {
                if let Some(mut child) = process.child.take() {
                    let asked = Command::new("kill").arg(child.id().to_string()).status();
                    assert!(asked.is_ok_and(|asked| asked.success()), "it can be asked");
                    drop(child.wait());
                }
            }
            Server::Memory(broker) => broker.stop(),
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        match &mut self.server {
            Server::Process(process) => {
                if let Some(mut child) = process.child.take() {
                    drop(child.kill());
                    drop(child.wait());
                }
            }
            Server::Memory(broker) => broker.stop(),
        }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        config(&self.address()).create().expect("an admin")
    }

    /// A topic of so many partitions.
    ///
    /// # Panics
    /// When the broker refuses it; so do all the others here.
    pub fn create(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = block_on(self.admin().create_topics([&new], &AdminOptions::new()));
        made.expect("answers").remove(0).expect("is created");
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// See [`Broker::create`].
    pub fn delete(&self, topic: &str) {
        let gone = block_on(self.admin().delete_topics(&[topic], &AdminOptions::new()));
        gone.expect("answers").remove(0).expect("is deleted");
    }

    /// Gives a topic so many partitions.
    ///
    /// # Panics
    /// See [`Broker::create`].
    pub fn extend(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let made = block_on(self.admin().create_partitions([&new], &AdminOptions::new()));
        made.expect("answers").remove(0).expect("is extended");
    }

    /// Deletes the messages before `offset`.
    pub fn forget(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        block_on(self.admin().delete_records(&before, &AdminOptions::new())).expect("answers");
    }

    /// A producer to it, with these settings of librdkafka.
    #[must_use]
    pub fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        producer(&self.address(), settings)
    }
}

impl Process {
    fn start(&mut self, port: u16, advertised: u16) {
        let mut command = Command::new(&self.program);
        if self.kind == Kind::Tansu {
            let listen = format!("tcp://127.0.0.1:{port}");
            let advertised = format!("tcp://127.0.0.1:{advertised}");
            command.args(["broker", "--cluster-id", "test", "--listener-url", &listen]);
            command.args(["--advertised-listener-url", &advertised]);
            command.args(["--storage-engine", "memory://tansu/"]).env("RUST_LOG", "warn");
        } else {
            command.arg("start").arg("--data-dir").arg(self.dir.path());
            command.args(["--host", "127.0.0.1", "--only", "kafka", "--kafka-port"]);
            command.arg(port.to_string());
        }
        let log = std::fs::File::create(self.dir.path().join("log")).expect("a log");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.expect("the broker starts"));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn config(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("message.timeout.ms", "60000");
    config
}

/// A producer to the brokers at `address`, with these settings of librdkafka.
///
/// # Panics
/// When a setting is none.
#[must_use]
pub fn producer(address: &str, settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = config(address);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().expect("a producer")
}

/// Sends messages to a partition, and waits until the broker has them.
pub fn send<'a>(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    values: impl IntoIterator<Item = &'a str>,
) {
    for value in values {
        send_one(producer, BaseRecord::<(), str>::to(topic).partition(partition).payload(value));
    }
    producer.flush(PATIENCE).expect("the broker takes them");
}

/// Sends a message when there is room for it.
pub fn send_one<K: ToBytes + ?Sized>(producer: &BaseProducer, record: BaseRecord<'_, K, str>) {
    let mut record = record;
    while let Err((error, back)) = producer.send(record) {
        let full = error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::QueueFull);
        assert!(full, "{error}");
        producer.poll(Duration::from_millis(10));
        record = back;
    }
}
