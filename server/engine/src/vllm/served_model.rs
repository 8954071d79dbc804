//! The model that the replicas serve: id and context length from vLLM; prompt, sizes and default sampling from the
//! checkpoint's small files, where these are on this machine.

use std::path::Path;

use super::client::ModelCard;
use super::options::VllmOptions;
use crate::qwen3vl::{
    ChatTemplate, Config, GenerationConfig, Processor, ProcessorConfig, PromptBuilder, Tokenizer,
};
use crate::source::{ModelFiles, ModelSource};
use crate::{EngineError, FrameRate, ModelInfo, SamplingParams, VideoBudget, hub};

/// Frame sampling where the checkpoint's files are not known: that of all published ones.
const FRAME_RATE: FrameRate = FrameRate { fps: 2.0, min_frames: 4, max_frames: 768 };
/// Pixel limits of a clip and of a picture where the checkpoint's rule is not known: vLLM resizes its input, and the
/// published checkpoints use no more than this.
const MAX_VIDEO_PIXELS: f64 = 25_165_824.0;
/// Pixels per frame of a capped budget where the checkpoint's files are not known: 768 tokens of 32 x 32.
const MAX_FRAME_PIXELS: f64 = 768.0 * 1024.0;
const MAX_IMAGE_PIXELS: f64 = 16_777_216.0;

/// The served model.
pub(super) struct ServedModel {
    /// Its entry in the model list.
    pub(super) card: ModelCard,
    pub(super) info: ModelInfo,
    /// Builds the same prompt as vLLM; `None` where the checkpoint's files are not known.
    pub(super) builder: Option<PromptBuilder>,
    /// Control tokens of the model.
    pub(super) specials: Vec<String>,
}

impl ServedModel {
    /// Reads the files of `card`'s model. Blocking.
    ///
    /// # Errors
    /// `Model` when the files that `--model` names are missing or damaged, or the context length is not known.
    pub(super) fn read(card: ModelCard, options: &VllmOptions) -> Result<Self, EngineError> {
        let parts = match &options.files {
            Some(source) => Some(CheckpointFiles::read(&named(source)?, &card, options)?),
            None => card.root.as_deref().and_then(here).and_then(|files| {
                let parts = CheckpointFiles::read(&files, &card, options);
                // These files are optional: without them only vLLM counts tokens.
                parts
                    .inspect_err(|error| {
                        tracing::warn!(
                            %error,
                            model = card.id,
                            "failed to read the checkpoint that vLLM serves; requests are sent without counting their tokens first"
                        )
                    })
                    .ok()
            }),
        };
        let fail = |message: String| EngineError::Model { model: card.id.clone(), message };
        let told = card.max_model_len.or(parts.as_ref().map(|parts| parts.most));
        let context = match (told, options.max_model_len) {
            (Some(told), Some(wanted)) if wanted > told => {
                return Err(fail(format!("--max-model-len is {wanted}; up to {told} would fit the replica")));
            }
            (told, wanted) => wanted.or(told),
        };
        let context = context.filter(|&context| context > 0).ok_or_else(|| {
            fail("the replica does not report its context length; --max-model-len TOKENS would fit".into())
        })?;
        let (builder, sampling, demo) = match parts {
            Some(CheckpointFiles { mut builder, sampling, demo, .. }) => {
                builder.context = context;
                (Some(builder), sampling, demo)
            }
            None => (None, SamplingParams::default(), false),
        };
        let info = ModelInfo {
            id: card.id.clone(),
            demo: demo || card.id == crate::demo::ID,
            max_model_len: context,
            frame_rate: builder.as_ref().map_or(FRAME_RATE, |builder| builder.processor.frame_rate()),
            backend: backend(options),
            on_cpu: false,
            sampling,
            kv_bytes_per_token: None,
            takes_extras: true,
        };
        let specials = builder.as_ref().map_or_else(Vec::new, |builder| {
            builder.tokenizer.specials().keys().map(|&token| token.to_owned()).collect()
        });
        Ok(Self { card, info, builder, specials })
    }

    /// Returns the size at which frames are sent. `again` means that vLLM resizes them once more, which must then change
    /// nothing.
    pub(super) fn video_size(
        &self,
        frames: usize,
        (width, height): (u32, u32),
        budget: VideoBudget,
        again: bool,
    ) -> Result<(u32, u32), EngineError> {
        let Some(builder) = &self.builder else {
            let share = MAX_VIDEO_PIXELS / frames.max(1) as f64;
            return match budget {
                VideoBudget::Full => bounded(width, height, share),
                VideoBudget::Capped => bounded(width, height, share.min(MAX_FRAME_PIXELS)),
            };
        };
        let mut size = builder.processor.video_size(frames, width, height, budget)?;
        // For odd numbers of frames, applying the rule again can change the size; a few steps reach a fixed point.
        let steps = if again { 8 } else { 0 };
        for _ in 0..steps {
            let next = builder.processor.video_size(frames, size.0, size.1, budget)?;
            if next == size {
                break;
            }
            size = next;
        }
        Ok(size)
    }

    /// Returns the size at which a picture is sent.
    pub(super) fn image_size(&self, width: u32, height: u32) -> Result<(u32, u32), EngineError> {
        match &self.builder {
            Some(builder) => builder.processor.image_size(width, height),
            None => bounded(width, height, MAX_IMAGE_PIXELS),
        }
    }
}

fn backend(options: &VllmOptions) -> String {
    let urls: Vec<&str> = options.urls.iter().map(|url| url.as_str().trim_end_matches('/')).collect();
    format!("vllm {}", urls.join(" "))
}

fn bounded(width: u32, height: u32, pixels: f64) -> Result<(u32, u32), EngineError> {
    if width == 0 || height == 0 {
        let message = format!("a picture has {width}x{height} pixels; at least 1x1 is needed");
        return Err(EngineError::invalid("messages", message));
    }
    let scale = (pixels / (f64::from(width) * f64::from(height))).sqrt().min(1.0);
    let side = |side: u32| ((f64::from(side) * scale) as u32).max(1);
    Ok((side(width), side(height)))
}

/// The contents of the small files.
struct CheckpointFiles {
    builder: PromptBuilder,
    sampling: SamplingParams,
    demo: bool,
    /// Tokens that the model supports.
    most: usize,
}

impl CheckpointFiles {
    fn read(files: &ModelFiles, card: &ModelCard, options: &VllmOptions) -> Result<Self, EngineError> {
        let fail = |message: String| EngineError::Model { model: card.id.clone(), message };
        let read = |name: &str| files.read(name);
        let needed = |name: &str| read(name).ok_or_else(|| fail(format!("{name} is missing")));
        let config = Config::from_json(&card.id, &needed("config.json")?)?;
        let most = config.text.max_position_embeddings;
        let builder = PromptBuilder {
            tokenizer: Tokenizer::from_json(&needed("tokenizer.json")?).map_err(fail)?,
            template: ChatTemplate::read(read).map_err(fail)?,
            processor: Processor::new(ProcessorConfig::read(read).map_err(fail)?),
            config,
            wrapper: options.wrapper,
            context: most,
        };
        builder.check().map_err(fail)?;
        let sampling = GenerationConfig::read(read).map_err(fail)?.sampling;
        Ok(Self { builder, sampling, demo: *files == ModelFiles::Demo, most })
    }
}

/// Returns the files that `--model` names.
fn named(source: &ModelSource) -> Result<ModelFiles, EngineError> {
    let fail = |message: &str| EngineError::Model { model: source.id(), message: message.into() };
    match source {
        ModelSource::Demo => Ok(ModelFiles::Demo),
        ModelSource::Dir(directory) if directory.is_dir() => Ok(ModelFiles::Dir(directory.clone())),
        ModelSource::Dir(_) => Err(fail("there is no such directory")),
        ModelSource::Hub { id, revision } => hub::cached(id, revision.as_deref())
            .map(|model| ModelFiles::Dir(model.path))
            .ok_or_else(|| {
                fail(
                    "its files are not on this machine; a directory with config.json, tokenizer.json, the chat \
                     template and the processor's files would fit, or no --model at all",
                )
            }),
    }
}

/// Returns the checkpoint that the replica names, if it is on this machine.
fn here(root: &str) -> Option<ModelFiles> {
    let directory = Path::new(root);
    if directory.is_absolute() && directory.is_dir() {
        return Some(ModelFiles::Dir(directory.to_owned()));
    }
    hub::cached(root, None).map(|model| ModelFiles::Dir(model.path))
}
