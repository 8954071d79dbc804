//! Times the steps of one question on a loaded model: vision tower, prefill, decode, and the first token of a clip.
//! Inputs are the same for every implementation: `scripts/gpu-check/transformers_side.py` builds them again.

use std::ops::ControlFlow;
use std::time::Instant;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::load;
use crate::EngineError;
use crate::qwen3vl::{Config, Features, Kv, Model, Processor, ProcessorConfig, Prompt, Visual};

/// The tokens that NVIDIA's published table counts for one picture (TensorRT Edge-LLM, COCO images).
pub const PICTURE_TOKENS: f64 = 265.0;
/// Text tokens between two groups of a clip: a timestamp.
const TIMESTAMP: usize = 6;

/// What is measured. `scripts/gpu-check/transformers_side.py` has the same numbers, and the report fails where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Rows and columns of the picture, in visual tokens.
    pub picture: (usize, usize),
    /// Tokens of the text prompt.
    pub prefill: usize,
    /// Tokens that are decoded behind it.
    pub decode: usize,
    /// Frames of the clip.
    pub clip_frames: usize,
    /// Edge of the clip in pixels.
    pub clip_edge: usize,
    /// Repetitions, of which the median counts; one more comes before them.
    pub rounds: usize,
}

impl Sizes {
    /// The columns of NVIDIA's table for a DGX Spark, and a clip of 40 s.
    pub const FULL: Self =
        Self { picture: (11, 24), prefill: 2048, decode: 64, clip_frames: 80, clip_edge: 448, rounds: 3 };
    /// The same at sizes that a CPU answers in a second.
    pub const TINY: Self =
        Self { picture: (2, 3), prefill: 96, decode: 8, clip_frames: 4, clip_edge: 64, rounds: 2 };
}

/// The speed of one implementation on one shape.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Speed {
    /// The implementation: `homereel` or `transformers`.
    pub engine: String,
    /// The model's shape, for example `qwen3-vl-8b`.
    pub shape: String,
    /// Type of the weights.
    pub dtype: String,
    /// What was measured.
    pub sizes: Sizes,
    /// The figures.
    #[serde(flatten)]
    pub times: NetworkTimes,
    /// Most bytes of device memory beyond those at the start.
    pub peak_memory_bytes: u64,
}

/// The figures of one model on one device. Milliseconds are medians.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetworkTimes {
    /// Vision tower, per [`PICTURE_TOKENS`] visual tokens.
    pub vision_ms: f64,
    /// Prefill of `sizes.prefill` tokens.
    pub prefill_ms: f64,
    /// Tokens per second of one sequence, behind the prefill.
    pub decode_tokens_per_s: f64,
    /// Tokens per second of eight sequences together; `None` where the implementation has no batches.
    pub decode_batch_8_tokens_per_s: Option<f64>,
    /// Cutting the clip's frames into patches, on the host; `None` where it was not measured.
    pub clip_preprocess_ms: Option<f64>,
    /// Vision tower of the clip.
    pub clip_vision_ms: f64,
    /// From the clip's patches to its first token: vision tower, prefill and choice.
    pub clip_ttft_ms: f64,
    /// Tokens of the clip's prompt, visual ones included.
    pub clip_prompt_tokens: usize,
    /// Logits behind the text prompt, one per id.
    pub logits: Vec<f32>,
    /// Features of the picture's first and last visual token, `2 * hidden` values.
    pub features: Vec<f32>,
}

/// The number of weights in the parts of a dense model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// The decoder's layers.
    pub decoder: u64,
    /// The output head, which is the embedding where these are tied.
    pub head: u64,
    /// The vision tower, without its position table.
    pub vision: u64,
}

impl Parameters {
    /// Counts the matrices of `config`; norms and biases are too small to matter.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let (text, vision) = (&config.text, &config.vision);
        let heads = text.num_attention_heads + text.num_key_value_heads;
        let layer =
            2 * text.hidden_size * text.head_dim * heads + 3 * text.hidden_size * text.intermediate_size;
        let block =
            4 * vision.hidden_size * vision.hidden_size + 2 * vision.hidden_size * vision.intermediate_size;
        let merged = vision.hidden_size * vision.spatial_merge_size * vision.spatial_merge_size;
        let merger = merged * (merged + text.hidden_size);
        let mergers = 1 + vision.deepstack_visual_indexes.len();
        Self {
            decoder: (text.num_hidden_layers * layer) as u64,
            head: (text.vocab_size * text.hidden_size) as u64,
            vision: (vision.patch_len() * vision.hidden_size + vision.depth * block + mergers * merger)
                as u64,
        }
    }
}

/// Measures `model`.
///
/// # Errors
/// When the device fails, most often for want of memory.
pub fn measure(model: &Model, sizes: &Sizes) -> Result<NetworkTimes, EngineError> {
    let config = model.config();
    let device = model.device();
    let (rows, columns) = sizes.picture;
    let merge = config.vision.spatial_merge_size;
    let picture = visual(config, [1, rows * merge, columns * merge]);
    let vision_ms = median(device, sizes.rounds, || model.encode(&picture, &mut go_on))?;
    let features = model.encode(&picture, &mut go_on)?;

    let prompt = Prompt::new(config, text(0, sizes.prefill, config), &[], &[])?;
    let prefill_ms = median(device, sizes.rounds, || prefill(model, &prompt, None, &mut model.new_kv()))?;
    let mut kv = model.new_kv();
    let logits = prefill(model, &prompt, None, &mut kv)?;
    let decode_ms = median(device, sizes.rounds, || {
        kv.truncate(sizes.prefill);
        decode(model, &logits, &mut kv, sizes.decode)
    })?;

    let processor = processor(config)?;
    let edge = sizes.clip_edge as u32;
    let frames = load::noise(sizes.clip_frames, edge, edge, 1);
    let clip_preprocess_ms = median(device, sizes.rounds, || Ok(processor.video_patches(&frames)))?;
    let clip = visual(config, processor.video_grid(&frames)?.into());
    let clip_prompt = clip_prompt(config, clip.grid)?;
    let clip_vision_ms = median(device, sizes.rounds, || model.encode(&clip, &mut go_on))?;
    let clip_ttft_ms = median(device, sizes.rounds, || {
        let features = model.encode(&clip, &mut go_on)?;
        best(&prefill(model, &clip_prompt, Some(&features), &mut model.new_kv())?)
    })?;
    Ok(NetworkTimes {
        vision_ms: vision_ms * PICTURE_TOKENS / (rows * columns) as f64,
        prefill_ms,
        decode_tokens_per_s: 1e3 * sizes.decode as f64 / decode_ms,
        decode_batch_8_tokens_per_s: None,
        clip_preprocess_ms: Some(clip_preprocess_ms),
        clip_vision_ms,
        clip_ttft_ms,
        clip_prompt_tokens: clip_prompt.ids().len(),
        logits: logits.to_vec1()?,
        features: ends(&features)?,
    })
}

fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn prefill(
    model: &Model,
    prompt: &Prompt,
    features: Option<&Features>,
    kv: &mut Kv,
) -> Result<candle_core::Tensor, EngineError> {
    model.prefill(prompt, features, kv, &mut go_on)
}

/// Decodes `tokens` tokens greedily behind what `kv` holds.
fn decode(
    model: &Model,
    logits: &candle_core::Tensor,
    kv: &mut Kv,
    tokens: usize,
) -> Result<(), EngineError> {
    let mut token = best(logits)?;
    for _ in 0..tokens {
        token = best(&model.step(token, kv)?)?;
    }
    Ok(())
}

fn best(logits: &candle_core::Tensor) -> Result<u32, EngineError> {
    Ok(logits.argmax(0)?.to_scalar()?)
}

fn ends(features: &Features) -> Result<Vec<f32>, EngineError> {
    let rows = features.merged.to_dtype(candle_core::DType::F32)?;
    let mut values = rows.get(0)?.to_vec1::<f32>()?;
    values.extend(rows.get(features.tokens() - 1)?.to_vec1::<f32>()?);
    Ok(values)
}

/// Returns the median of the milliseconds that `work` takes, the device's part included.
fn median<T>(
    device: &Device,
    rounds: usize,
    mut work: impl FnMut() -> Result<T, EngineError>,
) -> Result<f64, EngineError> {
    let mut times = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        device.synchronize()?;
        let began = Instant::now();
        let result = work()?;
        device.synchronize()?;
        // The first round loads kernels and fills pools.
        if round > 0 {
            times.push(1e3 * began.elapsed().as_secs_f64());
        }
        drop(result);
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Values between -1 and 1 in a fixed order: value `i` is `(i * 7919 mod 2003) / 1001 - 1`.
fn visual(config: &Config, grid: [usize; 3]) -> Visual {
    let values = grid.iter().product::<usize>() * config.vision.patch_len();
    let value = |i: usize| (i * 7919 % 2003) as f32 / 1001.0 - 1.0;
    Visual { pixels: (0..values).map(value).collect(), grid }
}

/// Text tokens in a fixed order: token `i` is `i * 31 mod` 1000, or fewer where the vocabulary is smaller.
fn text(start: usize, count: usize, config: &Config) -> Vec<u32> {
    let few = (config.text.vocab_size / 2).min(1000);
    (start..start + count).map(|i| (i * 31 % few) as u32).collect()
}

/// A prompt that holds one clip: for each group a timestamp, the start mark, its visual tokens and the end mark; then
/// 32 tokens of text.
fn clip_prompt(config: &Config, grid: [usize; 3]) -> Result<Prompt, EngineError> {
    let merge = config.vision.spatial_merge_size;
    let tokens = grid[1] / merge * (grid[2] / merge);
    let mut ids = Vec::new();
    for group in 0..grid[0] {
        ids.extend(text(group, TIMESTAMP, config));
        ids.push(config.vision_start_token_id);
        ids.extend(std::iter::repeat_n(config.video_token_id, tokens));
        ids.push(config.vision_end_token_id);
    }
    ids.extend(text(0, 32, config));
    Prompt::new(config, ids, &[], &[grid])
}

/// The processor of the published models, with the patch of this configuration.
fn processor(config: &Config) -> Result<Processor, EngineError> {
    let vision = &config.vision;
    let rule = serde_json::json!({
        "patch_size": vision.patch_size, "merge_size": vision.spatial_merge_size,
        "temporal_patch_size": vision.temporal_patch_size,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "size": {"shortest_edge": 4096, "longest_edge": 25_165_824},
    });
    let json = serde_json::json!({"image_processor": rule, "video_processor": rule}).to_string();
    let read = |name: &str| (name == "processor_config.json").then(|| json.clone().into_bytes());
    Ok(Processor::new(ProcessorConfig::read(read).map_err(EngineError::Failed)?))
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::qwen3vl::Checkpoint;

    const SHAPE: &[u8] = include_bytes!("../../examples/shapes/tiny.json");

    #[test]
    fn the_published_shapes_have_the_published_numbers_of_weights() {
        let count = |json: &[u8]| Parameters::of(&Config::from_json("m", json).unwrap());
        let small = count(include_bytes!("../../examples/shapes/qwen3-vl-2b.json"));
        assert_eq!((small.decoder / 1_000_000, small.head / 1_000_000), (1409, 311));
        let large = count(include_bytes!("../../examples/shapes/qwen3-vl-8b.json"));
        assert_eq!((large.decoder / 1_000_000, large.head / 1_000_000), (6945, 622));
    }

    #[test]
    fn every_step_of_a_random_model_is_measured() {
        let checkpoint = Checkpoint::drawn("tiny", SHAPE).unwrap();
        let model = Model::load(&checkpoint, &Device::Cpu, DType::F32).unwrap();
        let times = measure(&model, &Sizes::TINY).unwrap();
        for value in [times.vision_ms, times.prefill_ms, times.decode_tokens_per_s, times.clip_ttft_ms] {
            assert!(value.is_finite() && value > 0.0, "{times:?}");
        }
        // Two groups of 2 x 2 visual tokens with 8 others each, and 32 of text.
        assert_eq!(times.clip_prompt_tokens, 2 * (4 + 8) + 32);
        let spread = times.logits.iter().fold(0_f32, |most, value| most.max(value.abs()));
        assert!(spread > 0.1, "the logits of random weights must differ, {spread}");
    }
}
