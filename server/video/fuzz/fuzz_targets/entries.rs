//! Fuzzes the search for random access points with packets of every supported codec.
#![no_main]

use libfuzzer_sys::fuzz_target;

const CODECS: [&str; 9] = ["h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9", "av1", "svq3"];

fuzz_target!(|input: (u8, Vec<u8>, Vec<Vec<u8>>)| {
    let (codec, header, packets) = input;
    homereel_video::fuzz::entries(CODECS[usize::from(codec) % CODECS.len()], &header, &packets);
});
