//! Lists the versions of the ffmpeg libraries at run time, for `homereel doctor`.

use ffmpeg_next::{codec, decoder, format, util};

/// A decoder without which common home videos can't be read, and what they are.
const COMMON: [(&str, &str); 7] = [
    ("h264", "H.264: phones, cameras, most MP4"),
    ("hevc", "HEVC: newer phones"),
    ("libdav1d", "AV1: the web"),
    ("vp9", "VP9: the web"),
    ("mpeg4", "MPEG-4: older cameras"),
    ("mjpeg", "Motion JPEG: old cameras"),
    ("mpeg2video", "MPEG-2: DVD, TV"),
];

/// A library of ffmpeg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedLibrary {
    /// Its name, such as `libavcodec`.
    pub name: &'static str,
    /// Its version, such as `59.37.100`.
    pub version: String,
}

/// Returns the libraries that this process is linked with. No file is touched.
#[must_use]
pub fn libraries() -> Vec<LinkedLibrary> {
    let of = |name, version: u32| LinkedLibrary {
        name,
        version: format!("{}.{}.{}", version >> 16, (version >> 8) & 0xff, version & 0xff),
    };
    vec![
        of("libavcodec", codec::version()),
        of("libavformat", format::version()),
        of("libavutil", util::version()),
    ]
}

/// Returns what can't be decoded here for want of a decoder.
#[must_use]
pub fn missing_decoders() -> Vec<&'static str> {
    let missing = COMMON.iter().filter(|(name, _)| decoder::find_by_name(name).is_none());
    missing.map(|&(_, what)| what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_tell_their_versions() {
        for library in libraries() {
            let major: u32 = library.version.split('.').next().unwrap().parse().unwrap();
            assert!(major >= 57, "{library:?}");
        }
    }

    #[test]
    fn everything_common_can_be_decoded_here() {
        assert_eq!(missing_decoders(), Vec::<&str>::new());
    }
}
