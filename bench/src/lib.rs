//! What is shared by the benchmark program and the tests: clips whose truth is known.

pub mod draw;
