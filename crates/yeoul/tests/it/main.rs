//! The program as people use it: started, asked, stopped, looked at.

mod ads;
mod command_line;
mod demo;
mod downstream;
mod kafka_wire;
mod kill;
mod letters;
mod nexmark;
mod plan;
mod program;
mod running;
mod served;
mod upstream;
mod wide;
