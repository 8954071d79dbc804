//! Fuzzes the messages between parent and worker, in both directions.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    homereel_video::fuzz::replies(bytes);
    homereel_video::fuzz::orders(bytes);
});
