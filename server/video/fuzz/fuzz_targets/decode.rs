//! Fuzzes the whole worker with files: probe, frames, poster, sprites, rendition, sound, still picture.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| homereel_video::fuzz::file(bytes));
