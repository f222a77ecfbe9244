//! What tests of connectors share: real servers, and a network between that can fail.
//!
//! Never shipped: only tests depend on it. Servers are processes of their own, started and ended by a test; they are
//! installed by `cargo xtask servers`.
//!
//! Not here: what must hold (the tests themselves).

mod broker;
mod front;
mod memory;
mod proxy;

pub use broker::{Broker, Kind, free_port, producer, send, send_one, servers_folder};
pub use front::{Certificates, Front, Sasl};
pub use memory::MemoryBroker;
pub use proxy::{Fault, Proxy};
