//! Reports the version of libavcodec that this program is linked to, and the FFmpeg series it belongs to.

/// Returns libavcodec's version (`59.37.100`) and the series of FFmpeg that it belongs to (`5.1`), where known.
#[must_use]
pub fn libavcodec() -> (String, Option<&'static str>) {
    let version = ffmpeg_next::codec::version();
    let (major, minor, micro) = (version >> 16, version >> 8 & 0xff, version & 0xff);
    let series = match (major, minor) {
        (59, 0..=18) => Some("5.0"),
        (59, _) => Some("5.1"),
        (60, 0..=3) => Some("6.0"),
        (60, _) => Some("6.1"),
        (61, 0..=3) => Some("7.0"),
        (61, _) => Some("7.1"),
        (62, 0..=11) => Some("8.0"),
        (62, _) => Some("8.1"),
        _ => None,
    };
    (format!("{major}.{minor}.{micro}"), series)
}
