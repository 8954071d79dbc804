//! Reads and validates a checkpoint's processor files: `processor_config.json` (transformers 5.x), or
//! `preprocessor_config.json` and `video_preprocessor_config.json` (4.57). Only the sampling rate has defaults.

use serde::Deserialize;

use super::processor::Grid;

/// Upper bound of patch, merge and temporal sizes.
const MAX_EDGE: usize = 256;

/// How pixels become patches.
#[derive(Debug, Clone)]
pub struct PatchRule {
    /// Edge of a patch in pixels.
    pub patch_size: usize,
    /// Patches per visual token along each edge.
    pub merge_size: usize,
    /// Frames per temporal patch.
    pub temporal_patch_size: usize,
    /// Minimum pixels: of the image, or of all frames of a clip together.
    pub min_pixels: f64,
    /// Maximum pixels.
    pub max_pixels: f64,
    mean: [f64; 3],
    std: [f64; 3],
    rescale: f64,
}

impl PatchRule {
    /// Returns the edge in pixels of one visual token.
    #[must_use]
    pub fn factor(&self) -> f64 {
        (self.patch_size * self.merge_size) as f64
    }

    /// Returns the grid of `t` temporal patches of `width` x `height` pixels.
    #[must_use]
    pub fn grid(&self, t: usize, width: u32, height: u32) -> Grid {
        Grid { t, h: height as usize / self.patch_size, w: width as usize / self.patch_size }
    }

    /// Returns the normalised value of every byte for R, G and B: the reference's fused form
    /// `(x - mean / rescale) / (std / rescale)` in f32; other forms differ in the last bit.
    #[must_use]
    pub fn tables(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            let scale = 1.0 / self.rescale;
            let mean = (self.mean[channel] as f32) * (scale as f32);
            let std = (self.std[channel] as f32) * (scale as f32);
            std::array::from_fn(|byte| (byte as f32 - mean) / std)
        })
    }
}

/// How a clip is sampled and split into patches.
#[derive(Debug, Clone)]
pub struct VideoRule {
    /// Pixels to patches.
    pub patch: PatchRule,
    /// Frames per second of video.
    pub fps: f64,
    /// Minimum number of frames.
    pub min_frames: usize,
    /// Maximum number of frames.
    pub max_frames: usize,
    /// Maximum number of visual tokens per frame (`cap_pixels_per_frame`), where the files set it.
    pub cap: Option<f64>,
}

/// The contents of the processor files.
#[derive(Debug, Clone)]
pub struct ProcessorConfig {
    /// Images.
    pub image: PatchRule,
    /// Videos.
    pub video: VideoRule,
}

impl ProcessorConfig {
    /// Reads the files through `read`, which returns a file's bytes or `None`.
    ///
    /// # Errors
    /// Names the missing file or the value that is out of range.
    pub fn read(read: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Self, String> {
        let joint = match read("processor_config.json") {
            Some(bytes) => parse::<RawJoint>("processor_config.json", &bytes)?,
            None => RawJoint::default(),
        };
        let image = joint.image_processor.map_or_else(|| separate(&read, IMAGE_FILE), Ok)?;
        let video = joint.video_processor.map_or_else(|| separate(&read, VIDEO_FILE), Ok)?;
        let patch = video.rule(VIDEO_FILE)?;
        let rule = VideoRule {
            fps: video.fps.unwrap_or(2.0),
            min_frames: video.min_frames.unwrap_or(4),
            max_frames: video.max_frames.unwrap_or(768),
            cap: video
                .cap_pixels_per_frame
                .unwrap_or(false)
                .then(|| video.max_video_tokens.unwrap_or(768) as f64),
            patch,
        };
        if !(rule.fps.is_finite() && rule.fps > 0.0) {
            return Err(format!("{VIDEO_FILE}: fps is {}; it must be positive", rule.fps));
        }
        if rule.min_frames > rule.max_frames || rule.max_frames == 0 {
            return Err(format!(
                "{VIDEO_FILE}: min_frames {} and max_frames {} contradict each other",
                rule.min_frames, rule.max_frames
            ));
        }
        let image = image.rule(IMAGE_FILE)?;
        let edges = |rule: &PatchRule| (rule.patch_size, rule.merge_size, rule.temporal_patch_size);
        if edges(&image) != edges(&rule.patch) {
            return Err(format!(
                "{IMAGE_FILE} and {VIDEO_FILE} disagree on patch, merge or temporal size: {:?} and {:?}",
                edges(&image),
                edges(&rule.patch)
            ));
        }
        Ok(Self { image, video: rule })
    }
}

const IMAGE_FILE: &str = "preprocessor_config.json";
const VIDEO_FILE: &str = "video_preprocessor_config.json";

fn separate(read: &impl Fn(&str) -> Option<Vec<u8>>, file: &str) -> Result<RawProcessor, String> {
    let bytes = read(file)
        .ok_or_else(|| format!("{file} is missing, and processor_config.json doesn't replace it"))?;
    parse(file, &bytes)
}

fn parse<T: for<'de> Deserialize<'de>>(file: &str, bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("{file}: {error}"))
}

#[derive(Deserialize, Default)]
struct RawJoint {
    image_processor: Option<RawProcessor>,
    video_processor: Option<RawProcessor>,
}

#[derive(Deserialize)]
struct RawProcessor {
    size: Option<RawSize>,
    min_pixels: Option<f64>,
    max_pixels: Option<f64>,
    patch_size: usize,
    merge_size: usize,
    temporal_patch_size: usize,
    image_mean: [f64; 3],
    image_std: [f64; 3],
    rescale_factor: Option<f64>,
    fps: Option<f64>,
    min_frames: Option<usize>,
    max_frames: Option<usize>,
    cap_pixels_per_frame: Option<bool>,
    max_video_tokens: Option<usize>,
}

#[derive(Deserialize, Default)]
struct RawSize {
    shortest_edge: Option<f64>,
    longest_edge: Option<f64>,
}

impl RawProcessor {
    fn rule(&self, file: &str) -> Result<PatchRule, String> {
        let size = self.size.as_ref();
        let min_pixels = self.min_pixels.or_else(|| size.and_then(|size| size.shortest_edge));
        let max_pixels = self.max_pixels.or_else(|| size.and_then(|size| size.longest_edge));
        let (Some(min_pixels), Some(max_pixels)) = (min_pixels, max_pixels) else {
            return Err(format!("{file}: size must hold shortest_edge and longest_edge"));
        };
        if !(min_pixels >= 0.0 && max_pixels >= min_pixels.max(1.0) && max_pixels.is_finite()) {
            return Err(format!("{file}: size {min_pixels}..{max_pixels} is no range of pixels"));
        }
        for (name, edge) in [
            ("patch_size", self.patch_size),
            ("merge_size", self.merge_size),
            ("temporal_patch_size", self.temporal_patch_size),
        ] {
            if edge == 0 || edge > MAX_EDGE {
                return Err(format!("{file}: {name} is {edge}; it must be 1 to {MAX_EDGE}"));
            }
        }
        let rescale = self.rescale_factor.unwrap_or(1.0 / 255.0);
        if !(rescale.is_normal() && self.image_std.iter().all(|std| std.is_normal())) {
            return Err(format!("{file}: rescale_factor and image_std must not be 0"));
        }
        Ok(PatchRule {
            patch_size: self.patch_size,
            merge_size: self.merge_size,
            temporal_patch_size: self.temporal_patch_size,
            min_pixels,
            max_pixels,
            mean: self.image_mean,
            std: self.image_std,
            rescale,
        })
    }
}
