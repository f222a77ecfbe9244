//! The broker of the trials as a process of its own, for measurements: `memory-broker PORT [MIB-OF-A-PARTITION]`.

use std::io;

use yeoul_trials::MemoryBroker;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().ok());
    let port = arguments.next().flatten().and_then(|port| u16::try_from(port).ok());
    let Some(port) = port else {
        return Err(io::Error::other("say on which port of loopback: memory-broker PORT [MIB]"));
    };
    let mib = arguments.next().flatten().unwrap_or(1024);
    let mut broker = MemoryBroker::new(port, port, mib << 20);
    broker.restart()?;
    loop {
        std::thread::park();
    }
}
