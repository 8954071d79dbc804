//! What a clip or picture would be for the model, without decoding it.

use std::sync::Arc;

use bytes::Bytes;
use homereel_engine::{ContentPart, Engine, RgbImage};
use tokio_util::sync::CancellationToken;

use super::{
    ClipRequest, MAX_PICTURE_PIXELS, MediaDecoder, MediaReport, Source, clip, decoding_work, report,
};
use crate::ask_error::AskError;

/// A clip or picture without its content.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The part of a message that it would be. All frames are black and share their bytes.
    pub part: ContentPart,
    /// Description of the frames; `None` for a picture.
    pub report: Option<MediaReport>,
    /// Expected time of decoding in seconds, by the last videos of this process; `None` before the first one.
    pub decode_s: Option<f64>,
}

impl MediaDecoder {
    /// Probes a video and chooses its frames.
    ///
    /// # Errors
    /// As [`MediaDecoder::clip`], as far as these do not come from decoding.
    pub async fn outline(
        &self,
        engine: &dyn Engine,
        source: &Source,
        request: ClipRequest,
        cancel: &CancellationToken,
    ) -> Result<Outline, AskError> {
        let planned = self.planned(engine, source, request, cancel).await?;
        let decode_s = self.decode_rate.expected_s(decoding_work(&planned.probe, &planned.plan));
        let report = report(&planned.probe, &planned.plan, planned.size);
        let frames = vec![black(planned.size); planned.plan.indices.len()];
        let part = ContentPart::Video(clip(&planned.probe, planned.plan, frames, None));
        Ok(Outline { part, report: Some(report), decode_s })
    }

    /// Reads the size of a picture.
    ///
    /// # Errors
    /// As [`MediaDecoder::picture`].
    pub async fn picture_outline(
        &self,
        engine: &Arc<dyn Engine>,
        source: &Source,
        cancel: &CancellationToken,
    ) -> Result<Outline, AskError> {
        let opened =
            homereel_video::open_picture(&self.worker, source.open()?, MAX_PICTURE_PIXELS, cancel).await?;
        let size = engine.image_size(opened.width(), opened.height())?;
        Ok(Outline { part: ContentPart::Image(black(size)), report: None, decode_s: Some(0.0) })
    }
}

fn black((width, height): (u32, u32)) -> RgbImage {
    RgbImage::new(width, height, Bytes::from(vec![0; 3 * width as usize * height as usize]))
}
