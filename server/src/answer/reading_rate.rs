//! How long the model takes before its first token, per pixel of the frames that it reads.

use homereel_engine::{ContentPart, Message, RgbImage};

use crate::rate::Rate;

/// Least share of a prompt that must be computed: what the prefix cache holds takes no time.
const MIN_COMPUTED: f64 = 0.9;

/// Times of the last answers.
#[derive(Debug, Default)]
pub(super) struct ReadingRate {
    /// Vision tower and prefill, per pixel.
    both: Rate<1>,
    /// Vision tower, per request and per pixel.
    vision: Rate<2>,
    /// Prefill, per request and per token computed.
    prefill: Rate<2>,
}

/// What one answer tells about the rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Pixels of all frames in the prompt.
    pub(super) pixels: u64,
    /// Time in the vision tower, in milliseconds; 0 if its features were cached.
    pub(super) vision_ms: f64,
    /// Time in prefill, in milliseconds.
    pub(super) prefill_ms: f64,
    /// Tokens of the prompt.
    pub(super) prompt_tokens: usize,
    /// Tokens of the prompt that came from the prefix cache.
    pub(super) cached_tokens: usize,
}

impl ReadingRate {
    /// Records an answer, unless a cache saved part of the work.
    #[expect(clippy::cast_precision_loss, reason = "pixels and tokens are far below 2^52")]
    pub(super) fn record(&self, reading: Reading) {
        let computed = reading.prompt_tokens.saturating_sub(reading.cached_tokens) as f64;
        if reading.pixels == 0
            || reading.vision_ms <= 0.0
            || computed < MIN_COMPUTED * reading.prompt_tokens as f64
        {
            return;
        }
        let pixels = reading.pixels as f64;
        self.both.record([pixels], reading.vision_ms + reading.prefill_ms);
        self.vision.record([1.0, pixels], reading.vision_ms);
        self.prefill.record([1.0, computed], reading.prefill_ms);
    }

    /// Returns the expected time for `pixels`, in seconds; `None` before the first answer.
    #[expect(clippy::cast_precision_loss, reason = "pixels are far below 2^52")]
    pub(super) fn expected_s(&self, pixels: u64) -> Option<f64> {
        self.both.expected_s([pixels as f64])
    }

    /// Returns the expected time for `pixels` in a prompt of `tokens`, in seconds; `None` before the first answer.
    #[expect(clippy::cast_precision_loss, reason = "pixels and tokens are far below 2^52")]
    pub(super) fn expected_of_prompt_s(&self, pixels: u64, tokens: usize) -> Option<f64> {
        let vision = self.vision.expected_s([1.0, pixels as f64])?;
        Some(vision + self.prefill.expected_s([1.0, tokens as f64])?)
    }
}

/// Returns the number of pixels of all frames in `messages`.
pub(super) fn pixels(messages: &[Message]) -> u64 {
    let of_image = |image: &RgbImage| u64::from(image.width) * u64::from(image.height);
    let of_part = |part: &ContentPart| match part {
        ContentPart::Text(_) => 0,
        ContentPart::Image(image) => of_image(image),
        ContentPart::Video(clip) => clip.frames.iter().map(of_image).sum(),
    };
    messages.iter().flat_map(|message| &message.content).map(of_part).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READING: Reading = Reading {
        pixels: 1_000_000,
        vision_ms: 600.0,
        prefill_ms: 400.0,
        prompt_tokens: 1000,
        cached_tokens: 0,
    };

    #[test]
    fn work_that_a_cache_saved_does_not_count() {
        let rate = ReadingRate::default();
        assert_eq!(rate.expected_s(1), None);
        rate.record(Reading { cached_tokens: 900, ..READING });
        rate.record(Reading { vision_ms: 0.0, ..READING });
        rate.record(Reading { pixels: 0, ..READING });
        assert_eq!(rate.expected_s(1), None);
        rate.record(READING);
        let near =
            |got: Option<f64>, want: f64| assert!((got.unwrap() - want).abs() < 0.01, "{got:?}, not {want}");
        near(rate.expected_s(3_000_000), 3.0);
        for _ in 0..40 {
            rate.record(READING);
            rate.record(Reading {
                pixels: 3_000_000,
                vision_ms: 1600.0,
                prefill_ms: 700.0,
                prompt_tokens: 2000,
                ..READING
            });
        }
        // 0.1 s and 0.5 s per million pixels, 0.1 s and 0.3 s per thousand tokens.
        near(rate.expected_of_prompt_s(2_000_000, 1500), 1.1 + 0.55);
    }
}
