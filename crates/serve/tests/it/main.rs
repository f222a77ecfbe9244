//! The servers over real sockets, in front of a real engine in a temporary folder.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod corpus;
mod fixture;
mod http_ingest;
mod http_letters;
mod http_options;
mod http_sql;
mod intervals;
mod kafka_bytes;
mod kafka_client;
mod kafka_librdkafka;
mod kafka_old;
mod pg_catalogs;
mod pg_copy;
mod pg_query;
mod pg_tools;
mod pg_wire;
mod psql;
mod recovering;
mod slt;
mod slt_wire;
