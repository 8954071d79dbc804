//! Decides whether browsers can play a file as it is, by container and codecs, and by what the scan has found that they would
//! show otherwise.

use crate::ProbeSummary;

/// Maximum side that browsers' decoders support, in pixels.
const MAX_SIDE: u32 = 4096;

/// Returns the media type with which browsers play a clip as it is.
///
/// # Errors
/// Why browsers cannot play it, for display.
pub fn playable(probe: &ProbeSummary) -> Result<&'static str, String> {
    let video = &probe.video;
    let container = |name: &str| probe.container.split(',').any(|one| one == name);
    let (mime, codecs, sounds): (_, &[&str], &[&str]) = if container("mp4") {
        ("video/mp4", &["h264"], &["aac", "mp3"])
    } else if container("webm") && !matches!(video.codec.as_str(), "h264" | "hevc") {
        ("video/webm", &["vp8", "vp9"], &["opus", "vorbis"])
    } else {
        return Err(format!("browsers don't play files of the kind {}", probe.container));
    };
    if !codecs.contains(&video.codec.as_str()) {
        return Err(format!("not every browser plays pictures coded as {}", video.codec));
    }
    if let Some(sound) = &probe.audio
        && !sounds.contains(&sound.codec.as_str())
    {
        return Err(format!("browsers don't play sound coded as {}", sound.codec));
    }
    if !matches!(video.pixel_format.as_str(), "yuv420p" | "yuvj420p") {
        return Err(format!("not every browser shows pixels of the kind {}", video.pixel_format));
    }
    if let Some(curve @ ("smpte2084" | "arib-std-b67")) = video.transfer.as_deref() {
        return Err(format!("it is HDR ({curve}), which not every screen shows"));
    }
    if video.interlaced {
        return Err("it is interlaced".into());
    }
    if video.mirrored {
        return Err("it is mirrored, which browsers don't heed".into());
    }
    if let Some(difference) = &probe.difference {
        return Err(difference.clone());
    }
    if video.coded_width > MAX_SIDE || video.coded_height > MAX_SIDE {
        return Err(format!("its {}x{} pixels are too many", video.coded_width, video.coded_height));
    }
    Ok(mime)
}
