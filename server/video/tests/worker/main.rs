//! The crate from outside: clips that ffmpeg draws go through real worker processes.

mod clips;
mod decoding;
mod misbehaviour;
mod probing;
