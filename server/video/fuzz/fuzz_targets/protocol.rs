//! What a hijacked worker may send to the server, and what a worker may be sent.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    homereel_video::fuzz::replies(bytes);
    homereel_video::fuzz::orders(bytes);
});
