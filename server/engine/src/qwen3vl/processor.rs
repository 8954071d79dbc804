//! The image and video processor of a checkpoint: computes sizes and patch grids, and converts frames to patch rows.
//!
//! Bit-exact with transformers 5.x (`Qwen2VLImageProcessor`, `Qwen3VLVideoProcessor`), with all numbers from the
//! checkpoint's files. Frames must already have the size that [`Processor::image_size`] or [`Processor::video_size`]
//! returns; resizing is the video crate's task.

use std::ops::Range;

use rayon::prelude::*;

use super::input::Visual;
use super::processor_config::{PatchRule, ProcessorConfig, VideoRule};
use crate::{EngineError, FrameRate, RgbImage, VideoBudget, VideoInput};

/// Largest aspect ratio that the rule accepts.
const MAX_ASPECT: f64 = 200.0;
const CHANNELS: usize = 3;
/// Visual tokens per frame of a capped budget (qwen-vl-utils' `VIDEO_MAX_TOKEN_NUM`).
const MAX_FRAME_TOKENS: f64 = 768.0;

/// Temporal patches, patch rows and patch columns of one image or video (`grid_thw`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Temporal patches (1 for an image).
    pub t: usize,
    /// Rows of patches.
    pub h: usize,
    /// Columns of patches.
    pub w: usize,
}

impl From<Grid> for [usize; 3] {
    fn from(Grid { t, h, w }: Grid) -> Self {
        [t, h, w]
    }
}

impl Grid {
    /// Returns the number of patches, which is the number of rows of `pixel_values`.
    #[must_use]
    pub fn patches(self) -> usize {
        self.t * self.h * self.w
    }
}

/// The processor of one checkpoint.
#[derive(Debug, Clone)]
pub struct Processor {
    config: ProcessorConfig,
}

impl Processor {
    /// Wraps a validated configuration.
    #[must_use]
    pub fn new(config: ProcessorConfig) -> Self {
        Self { config }
    }

    /// Returns the default sampling of videos.
    #[must_use]
    pub fn frame_rate(&self) -> FrameRate {
        let VideoRule { fps, min_frames, max_frames, .. } = self.config.video;
        FrameRate { fps, min_frames, max_frames }
    }

    /// Returns the edge in pixels of one visual token.
    #[must_use]
    pub fn merge_size(&self) -> usize {
        self.config.video.patch.merge_size
    }

    /// Returns (width, height) at which an image of `width` x `height` is processed.
    ///
    /// # Errors
    /// `Invalid` for an empty image or an aspect ratio above 200.
    pub fn image_size(&self, width: u32, height: u32) -> Result<(u32, u32), EngineError> {
        let source = Extent::new(width, height)?;
        source.check_aspect()?;
        self.image_budget().resize(&self.config.image, source)
    }

    /// Returns (width, height) at which `frames` frames of `width` x `height` are processed.
    ///
    /// One frame counts as two: temporal padding repeats it anyway (transformers refuses it).
    ///
    /// # Errors
    /// `Invalid` for no frames, empty frames, or an aspect ratio above 200.
    pub fn video_size(
        &self,
        frames: usize,
        width: u32,
        height: u32,
        budget: VideoBudget,
    ) -> Result<(u32, u32), EngineError> {
        let rule = &self.config.video.patch;
        if frames == 0 {
            return Err(EngineError::invalid("messages", "a video has 0 frames; at least 1 is needed"));
        }
        let mut source = Extent::new(width, height)?;
        let factor = rule.factor();
        if source.height < factor || source.width < factor {
            let scale = (factor / source.height).max(factor / source.width);
            source.height = (source.height * scale).trunc();
            source.width = (source.width * scale).trunc();
        }
        source.check_aspect()?;
        self.video_budget(frames, budget).resize(rule, source)
    }

    /// Returns the patch grid of an image.
    ///
    /// # Errors
    /// `Invalid` when the image does not have the size that [`Processor::image_size`] returns.
    pub fn image_grid(&self, image: &RgbImage) -> Result<Grid, EngineError> {
        let rule = &self.config.image;
        let want = if self.image_budget().admits(rule, image) {
            (image.width, image.height)
        } else {
            self.image_size(image.width, image.height)?
        };
        check_frame(image, want, "an image")?;
        Ok(rule.grid(1, image.width, image.height))
    }

    /// Returns the patch grid of a clip.
    ///
    /// # Errors
    /// `Invalid` when frames, times and sizes disagree or the size is not the model's.
    pub fn video_grid(&self, clip: &VideoInput) -> Result<Grid, EngineError> {
        let Some(first) = clip.frames.first() else {
            return Err(EngineError::invalid("messages", "a video has 0 frames; at least 1 is needed"));
        };
        if clip.times.len() != clip.frames.len() {
            let message = format!("a video has {} frames but {} times", clip.frames.len(), clip.times.len());
            return Err(EngineError::invalid("messages", message));
        }
        if let Some(time) = clip.times.iter().find(|time| !time.is_finite() || **time < 0.0) {
            let message = format!("a frame's time is {time} s; times are finite and not negative");
            return Err(EngineError::invalid("messages", message));
        }
        let rule = &self.config.video.patch;
        // A capped budget is within the full one.
        let want = if self.video_budget(clip.frames.len(), VideoBudget::Full).admits(rule, first) {
            (first.width, first.height)
        } else {
            self.video_size(clip.frames.len(), first.width, first.height, VideoBudget::Full)?
        };
        for frame in &clip.frames {
            check_frame(frame, want, "a frame")?;
        }
        let temporal = clip.frames.len().div_ceil(rule.temporal_patch_size);
        Ok(rule.grid(temporal, first.width, first.height))
    }

    /// Returns the patch rows of one image that has passed [`Processor::image_grid`] (`pixel_values`).
    #[must_use]
    pub fn image_patches(&self, image: &RgbImage) -> Visual {
        let rule = &self.config.image;
        patches(rule, &vec![image; rule.temporal_patch_size])
    }

    /// Returns the patch rows of one clip that has passed [`Processor::video_grid`]
    /// (`pixel_values_videos`); the last frame fills an incomplete group.
    #[must_use]
    pub fn video_patches(&self, clip: &VideoInput) -> Visual {
        let groups = clip.frames.len().div_ceil(self.config.video.patch.temporal_patch_size);
        self.video_group_patches(clip, 0..groups)
    }

    /// Returns the part of [`Processor::video_patches`] for some temporal groups.
    #[must_use]
    pub fn video_group_patches(&self, clip: &VideoInput, groups: Range<usize>) -> Visual {
        let rule = &self.config.video.patch;
        let size = rule.temporal_patch_size;
        let last = clip.frames.last().into_iter().cycle();
        let frames = clip.frames.iter().chain(last);
        let frames: Vec<&RgbImage> = frames.skip(groups.start * size).take(groups.len() * size).collect();
        patches(rule, &frames)
    }

    /// Returns whether a clip of this grid was scaled down to the pixel budget, so that fewer frames would only be larger.
    #[must_use]
    pub fn is_scaled_to_budget(&self, frames: usize, grid: Grid) -> bool {
        let Budget { max_pixels, .. } = self.video_budget(frames, VideoBudget::Full);
        let edge = self.config.video.patch.patch_size;
        let pixels = frames * grid.h * grid.w * edge * edge;
        pixels as f64 > 0.75 * max_pixels
    }

    /// Returns the mean time of each temporal group of a clip, in seconds.
    #[must_use]
    pub fn group_times(&self, times: &[f64]) -> Vec<f64> {
        let size = self.config.video.patch.temporal_patch_size;
        times
            .chunks(size)
            .map(|group| {
                let (first, last) = (group[0], group[group.len() - 1]);
                // A short last group is padded with its last frame.
                (first + last) / 2.0
            })
            .collect()
    }

    fn image_budget(&self) -> Budget {
        let PatchRule { min_pixels, max_pixels, .. } = self.config.image;
        Budget { frames: 1.0, rounded: 1.0, min_pixels, max_pixels }
    }

    fn video_budget(&self, frames: usize, budget: VideoBudget) -> Budget {
        let VideoRule { patch: rule, cap, .. } = &self.config.video;
        let frames = frames.max(rule.temporal_patch_size) as f64;
        let temporal = rule.temporal_patch_size as f64;
        let rounded = (frames / temporal).round_ties_even() * temporal;
        let capped = |max_tokens: f64| {
            let per_frame = max_tokens * rule.factor() * rule.factor();
            let share = per_frame.min((rule.max_pixels / frames).floor());
            share.max((rule.min_pixels * 1.05).trunc()) * frames
        };
        let max_pixels = match (*cap, budget) {
            (Some(max_tokens), _) => capped(max_tokens),
            // With many frames, the reference's minimum per frame exceeds the budget of the whole video.
            (None, VideoBudget::Capped) => capped(MAX_FRAME_TOKENS).min(rule.max_pixels),
            (None, VideoBudget::Full) => rule.max_pixels,
        };
        Budget { frames, rounded, min_pixels: rule.min_pixels, max_pixels }
    }
}

/// Pixel budget of all frames together. The reference compares with `rounded` frames but scales by `frames`, also for odd
/// counts.
struct Budget {
    frames: f64,
    rounded: f64,
    min_pixels: f64,
    max_pixels: f64,
}

impl Budget {
    /// `smart_resize`: sides rounded (half to even) to whole merged patches, scaled into the budget.
    fn resize(&self, rule: &PatchRule, source: Extent) -> Result<(u32, u32), EngineError> {
        let Extent { width, height } = source;
        let factor = rule.factor();
        let mut h = (height / factor).round_ties_even() * factor;
        let mut w = (width / factor).round_ties_even() * factor;
        if self.rounded * h * w > self.max_pixels {
            let beta = (self.frames * height * width / self.max_pixels).sqrt();
            h = factor.max((height / beta / factor).floor() * factor);
            w = factor.max((width / beta / factor).floor() * factor);
        } else if self.rounded * h * w < self.min_pixels {
            let beta = (self.min_pixels / (self.frames * height * width)).sqrt();
            h = (height * beta / factor).ceil() * factor;
            w = (width * beta / factor).ceil() * factor;
        }
        if h < factor || w < factor || h > f64::from(u32::MAX) || w > f64::from(u32::MAX) {
            let message = format!("a picture of {width}x{height} pixels has no size that the model takes");
            return Err(EngineError::invalid("messages", message));
        }
        Ok((w as u32, h as u32))
    }

    /// Returns whether [`Budget::resize`] can return this frame size. The rule is not idempotent for odd frame counts, nor where
    /// a side is clamped to one merged patch.
    fn admits(&self, rule: &PatchRule, frame: &RgbImage) -> bool {
        let factor = rule.factor();
        let (width, height) = (f64::from(frame.width), f64::from(frame.height));
        let (short, long) = (width.min(height), width.max(height));
        if short < factor || width % factor != 0.0 || height % factor != 0.0 {
            return false;
        }
        let least = self.frames.min(self.rounded) * width * height;
        let most = self.frames.max(self.rounded) * width * height;
        let clamped = short == factor && long <= factor * MAX_ASPECT;
        most >= self.min_pixels && (least <= self.max_pixels || clamped)
    }
}

/// Size of a source in pixels, as the floats that the reference uses.
#[derive(Clone, Copy)]
struct Extent {
    width: f64,
    height: f64,
}

impl Extent {
    fn new(width: u32, height: u32) -> Result<Self, EngineError> {
        if width == 0 || height == 0 {
            let message = format!("a picture has {width}x{height} pixels; at least 1x1 is needed");
            return Err(EngineError::invalid("messages", message));
        }
        Ok(Self { width: f64::from(width), height: f64::from(height) })
    }

    fn check_aspect(self) -> Result<(), EngineError> {
        let aspect = self.width.max(self.height) / self.width.min(self.height);
        if aspect > MAX_ASPECT {
            let message = format!(
                "a picture of {}x{} pixels has an aspect ratio of {aspect:.1}; the model takes up to {MAX_ASPECT}",
                self.width, self.height
            );
            return Err(EngineError::invalid("messages", message));
        }
        Ok(())
    }
}

fn check_frame(frame: &RgbImage, (width, height): (u32, u32), what: &str) -> Result<(), EngineError> {
    if (frame.width, frame.height) != (width, height) {
        let message = format!(
            "{what} has {}x{} pixels but the model wants {width}x{height}",
            frame.width, frame.height
        );
        return Err(EngineError::invalid("messages", message));
    }
    let bytes = CHANNELS * width as usize * height as usize;
    if frame.rgb.len() != bytes {
        let message = format!("{what} of {width}x{height} has {} bytes; RGB8 is {bytes}", frame.rgb.len());
        return Err(EngineError::invalid("messages", message));
    }
    Ok(())
}

/// Cuts frames into patch rows in the order (t, block row, block column, row in block, column in block),
/// each row flattened as (channel, frame in group, y, x).
fn patches(rule: &PatchRule, frames: &[&RgbImage]) -> Visual {
    let PatchRule { patch_size: patch, merge_size: merge, temporal_patch_size: temporal, .. } = *rule;
    let tables = rule.tables();
    let (width, height) = (frames[0].width as usize, frames[0].height as usize);
    let (grid_h, grid_w) = (height / patch, width / patch);
    let row_len = CHANNELS * temporal * patch * patch;
    let rows = frames.len() / temporal * grid_h * grid_w;
    let mut values = vec![0f32; rows * row_len];
    values.par_chunks_mut(row_len).enumerate().for_each(|(row, out)| {
        let (t, within) = (row / (grid_h * grid_w), row % (grid_h * grid_w));
        let (block, cell) = (within / (merge * merge), within % (merge * merge));
        let y0 = (block / (grid_w / merge) * merge + cell / merge) * patch;
        let x0 = (block % (grid_w / merge) * merge + cell % merge) * patch;
        let mut out = out.iter_mut();
        for (channel, table) in tables.iter().enumerate() {
            for frame in &frames[t * temporal..(t + 1) * temporal] {
                for y in y0..y0 + patch {
                    let line = &frame.rgb[(y * width + x0) * CHANNELS..][..patch * CHANNELS];
                    let bytes = line.iter().skip(channel).step_by(CHANNELS);
                    // `zip` asks its left side first: on the right, `out` would lose a value per line.
                    for (byte, value) in bytes.zip(out.by_ref()) {
                        *value = table[usize::from(*byte)];
                    }
                }
            }
        }
    });
    Visual { grid: [frames.len() / temporal, grid_h, grid_w], pixels: values }
}

#[cfg(test)]
#[path = "processor_tests.rs"]
mod tests;
