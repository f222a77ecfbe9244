//! Sources into an engine: files (formats, compression, places, restarts, followed and replayed), Kafka with real brokers.

mod bulk;
mod follow;
mod kafka;
mod options;
mod replay;
mod shop;
mod tables;
