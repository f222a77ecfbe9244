//! Nothing is built here; the file makes the build dependencies count.
fn main() {}
