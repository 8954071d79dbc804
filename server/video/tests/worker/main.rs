//! The crate from outside: clips that ffmpeg draws go through real worker processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod chip;
mod clips;
mod colours;
mod decoding;
mod derived;
mod misbehaviour;
mod pictures;
mod probing;
mod sandbox;
mod sizes;
