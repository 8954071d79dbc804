//! The `homereel` program.
fn main() {}
