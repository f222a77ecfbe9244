//! Lines on standard output, for people and pipes.
//!
//! What must hold: when nobody reads any more (`yeoul audit --data d | head -1`) the program goes on and ends
//! with the code that it would have ended with.

use std::fmt;
use std::io::{self, Write};

use crate::failure::{Exit, Failure};

/// As `println!`, which panics when nobody reads any more.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// Writes a line.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    match writeln!(io::stdout(), "{text}") {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Failure::new(format!("cannot write to standard output: {e}")).say();
            std::process::exit(Exit::Failure as i32);
        }
        _ => {}
    }
}
