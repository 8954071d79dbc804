//! One picture of a video, as a JPEG.

use homereel_video::{DecodeRequest, Plan, Probe, VideoError};
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use tokio_util::sync::CancellationToken;

use super::{MediaDecoder, Source};
use crate::ask_error::AskError;

/// Quality of the JPEG, of 100.
const QUALITY: u8 = 88;

/// A time that is this near before a picture, in seconds, is its own: times in URLs are rounded to milliseconds.
const NEAR: f64 = 0.0005;

/// A picture of a video.
#[derive(Debug)]
pub struct StillFrame {
    /// The picture as a JPEG.
    pub jpeg: Vec<u8>,
    /// When the video begins to show it, in seconds.
    pub time_s: f64,
}

impl MediaDecoder {
    /// Decodes the picture that a source shows at `second`, upright and at most `max_width` pixels wide.
    ///
    /// # Errors
    /// `Invalid` for a second outside of the video; see [`VideoError`].
    pub async fn frame_at(
        &self,
        source: &Source,
        second: f64,
        max_width: u32,
        cancel: &CancellationToken,
    ) -> Result<StillFrame, AskError> {
        let (probe, opened) = self.open(source, cancel).await?;
        let plan = shown_at(&probe, second)?;
        let (width, height) = size(probe.video.width, probe.video.height, max_width);
        let request = DecodeRequest::new(&probe, &plan, width, height);
        let mut stream = match opened {
            Some(opened) => opened.decode(request).await?,
            None => homereel_video::decode(&self.still_worker, source.open()?, request, cancel).await?,
        };
        let missing = || VideoError::Worker { message: "the decoder returned no picture".into() };
        let frame = stream.next().await?.ok_or_else(missing)?;
        let time_s = plan.times[0];
        let encoded = tokio::task::spawn_blocking(move || {
            let mut jpeg = Vec::new();
            JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
                .encode(&frame.rgb, frame.width, frame.height, ExtendedColorType::Rgb8)
                .map(|()| jpeg)
        });
        let jpeg = encoded.await.map_err(std::io::Error::other)?.map_err(std::io::Error::other)?;
        Ok(StillFrame { jpeg, time_s })
    }
}

/// Returns the frame that a clip shows at `second`.
fn shown_at(probe: &Probe, second: f64) -> Result<Plan, AskError> {
    if !(0.0..=probe.duration_s).contains(&second) {
        let message = format!("t is {second}; 0 to {:.3} (seconds) would fit", probe.duration_s);
        return Err(AskError::invalid("t", message));
    }
    let times = &probe.index.frame_times;
    let index = times.partition_point(|time| *time <= second + NEAR).saturating_sub(1);
    let Some(&time) = times.get(index) else {
        return Err(AskError::invalid("t", "the video has no pictures"));
    };
    Ok(Plan { indices: vec![index as u64], times: vec![time] })
}

/// Returns a size with the proportions of the video. Both sides are at least one pixel.
fn size(width: u32, height: u32, max_width: u32) -> (u32, u32) {
    let scaled = width.min(max_width).max(1);
    let exact = (u64::from(height) * u64::from(scaled) + u64::from(width) / 2) / u64::from(width.max(1));
    (scaled, u32::try_from(exact.max(1)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use homereel_video::{FrameIndex, ProbeSummary, fixtures::summary};

    fn probe() -> Probe {
        let index = FrameIndex { frame_times: vec![0.0, 0.5, 2.0], ..FrameIndex::default() };
        Probe { summary: ProbeSummary { duration_s: 3.0, ..summary() }, index }
    }

    #[test]
    fn the_frame_is_the_last_that_has_begun() {
        let probe = probe();
        for (second, index) in
            [(0.0, 0), (0.4, 0), (0.4995, 1), (0.5, 1), (1.99, 1), (2.0, 2), (2.9, 2), (3.0, 2)]
        {
            assert_eq!(shown_at(&probe, second).unwrap().indices, [index], "{second}");
        }
        for second in [-0.1, 3.1, f64::NAN, f64::INFINITY] {
            let error = shown_at(&probe, second).unwrap_err();
            assert!(error.to_string().contains("0 to 3.000"), "{error}");
        }
    }

    #[test]
    fn a_picture_keeps_its_proportions_and_is_not_enlarged() {
        assert_eq!(size(1920, 1080, 768), (768, 432));
        assert_eq!(size(320, 240, 768), (320, 240));
        assert_eq!(size(4000, 1, 16), (16, 1));
    }
}
