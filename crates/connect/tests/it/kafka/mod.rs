//! Topics into an engine, with real brokers and with the mock cluster of librdkafka.

mod changes;
mod decoded;
mod groups;
mod secured;
mod sink;
mod source;
mod through;
mod transactions;
