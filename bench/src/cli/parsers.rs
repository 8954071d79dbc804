//! Parsers of flag values that several commands share: positive numbers, frame sizes, clip lengths, frame rates and
//! percentiles.

/// Parses a number above 0.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0);
    parsed.ok_or_else(|| format!("'{text}' is not a number above 0"))
}

/// Parses a frame size such as `320x240`.
pub(super) fn frame_size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parsed
        .filter(|(w, h)| [*w, *h].iter().all(|v: &u32| v.is_multiple_of(2) && (32..=4096).contains(v)))
        .ok_or_else(|| {
            format!("'{text}' is not a frame size; WIDTHxHEIGHT, both even and 32 to 4096, would fit")
        })
}

/// Parses the length of a clip.
pub(super) fn clip_seconds(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|seconds| (1.0..=600.0).contains(seconds));
    parsed.ok_or_else(|| format!("'{text}' is not a length; 1 to 600 seconds would fit"))
}

/// Parses the frame rate of a clip.
pub(super) fn frame_rate(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|rate| (1.0..=240.0).contains(rate));
    parsed.ok_or_else(|| format!("'{text}' is not a frame rate; 1 to 240 would fit"))
}

/// Parses a percentile.
pub(super) fn percentile(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|p| (0.0..=100.0).contains(p));
    parsed.ok_or_else(|| format!("'{text}' is not a percentile; 0 to 100 would fit"))
}
