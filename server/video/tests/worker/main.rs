//! Integration tests of the video crate: its public functions run real worker processes on clips made by ffmpeg.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod browsers;
mod clips;
mod colours;
mod cuts;
mod damage;
mod dates;
mod decoding;
mod derived;
mod drawn;
mod ends;
mod joins;
mod misbehaviour;
mod nvdec;
mod pictures;
mod probing;
mod sandbox;
mod sizes;
mod speech;
mod streams;
