//! The video crate from outside: clips made by ffmpeg go through real worker processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod clips;
mod colours;
mod decoding;
mod derived;
mod misbehaviour;
mod nvdec;
mod pictures;
mod probing;
mod sandbox;
mod sizes;
