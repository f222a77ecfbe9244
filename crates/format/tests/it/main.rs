//! Decoders and encoders against tables of cases, slow twins and arbitrary bytes.

mod avro;
mod changes;
mod corpus;
mod csv;
mod encode;
mod json;
mod messages;
mod pieces;
mod sample;
mod sheet;
mod twin;
