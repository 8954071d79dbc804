//! The `homereel-bench` program.
fn main() {}
