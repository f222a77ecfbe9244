//! Topics into an engine, with real brokers and with the mock cluster of librdkafka.

mod decoded;
mod sink;
mod source;
