//! Reads and validates the settings of a Whisper checkpoint in the Hugging Face layout: `config.json`,
//! `generation_config.json` and `preprocessor_config.json`, from tiny.en to large-v3-turbo.

use serde_json::Value;

use crate::EngineError;
use crate::qwen3vl::Section;

/// Samples per second that every published checkpoint expects.
pub const SAMPLE_RATE: usize = 16_000;
/// Samples from one frame of features to the next.
pub(super) const HOP: usize = 160;
/// Samples of the Fourier transform of one frame.
pub(super) const FFT: usize = 400;
/// Samples of one position of the encoder, which is also the step of timestamps: 0.02 s.
pub(super) const TIMESTAMP_STEP: usize = 2 * HOP;

/// Longest window in seconds; all published checkpoints have it.
const MAX_WINDOW_S: u64 = 30;
/// Upper bound of every width, against hostile files; the largest published one is 5120, or 51 866 for the vocabulary.
const MAX_SIZE: u64 = 1 << 17;
/// Upper bound of layer counts; large has 32.
const MAX_LAYERS: u64 = 128;
/// Upper bound of a list of tokens; published ones have at most 100.
const MAX_LIST: usize = 4096;

/// The shape of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Width of the residual streams; the heads divide it.
    pub d_model: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Heads of the encoder.
    pub encoder_heads: usize,
    /// Heads of the decoder.
    pub decoder_heads: usize,
    /// Width of the encoder's MLP.
    pub encoder_ffn: usize,
    /// Width of the decoder's MLP.
    pub decoder_ffn: usize,
    /// Rows of the embedding matrix.
    pub vocab_size: usize,
    /// Bins of the spectrogram: 80, or 128 from large-v3 on.
    pub mel_bins: usize,
    /// Positions of the encoder: two frames of features each.
    pub source_positions: usize,
    /// Tokens that prompt and text share.
    pub target_positions: usize,
    /// Whether the output head is the embedding matrix.
    pub tie_word_embeddings: bool,
}

impl Config {
    /// Reads `config.json`. `model` is the name that errors carry.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming the key, its value and what would fit.
    pub fn from_json(model: &str, json: &[u8]) -> Result<Self, EngineError> {
        parse(model, "config.json", json, read_config)
    }

    /// Returns the samples of a window.
    #[must_use]
    pub fn window_samples(&self) -> usize {
        self.source_positions * TIMESTAMP_STEP
    }
}

fn read_config(section: &Section<'_>) -> Result<Config, String> {
    match section.value.get("model_type").and_then(Value::as_str) {
        Some("whisper") => {}
        Some(other) => return Err(format!("model_type is {other:?}; whisper would fit")),
        None => return Err("model_type is missing; whisper would fit".into()),
    }
    match section.value.get("activation_function").and_then(Value::as_str) {
        None | Some("gelu") => {}
        Some(other) => return Err(format!("activation_function is {other:?}; gelu would fit")),
    }
    let size = |key| section.size(key, 1, MAX_SIZE);
    let config = Config {
        d_model: size("d_model")?,
        encoder_layers: section.size("encoder_layers", 1, MAX_LAYERS)?,
        decoder_layers: section.size("decoder_layers", 1, MAX_LAYERS)?,
        encoder_heads: size("encoder_attention_heads")?,
        decoder_heads: size("decoder_attention_heads")?,
        encoder_ffn: size("encoder_ffn_dim")?,
        decoder_ffn: size("decoder_ffn_dim")?,
        vocab_size: size("vocab_size")?,
        mel_bins: section.size("num_mel_bins", 1, FFT as u64 / 2)?,
        source_positions: section.size("max_source_positions", 1, MAX_WINDOW_S * 50)?,
        target_positions: section.size("max_target_positions", 8, 1 << 16)?,
        tie_word_embeddings: section.boolean("tie_word_embeddings")?.unwrap_or(true),
    };
    section.divides("d_model", config.d_model, "encoder_attention_heads", config.encoder_heads)?;
    section.divides("d_model", config.d_model, "decoder_attention_heads", config.decoder_heads)?;
    Ok(config)
}

/// What `generation_config.json` says, or `config.json` where it is older; `None` means that neither does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationConfig {
    /// Token that begins every prompt.
    pub start: u32,
    /// Token that ends every text.
    pub end: u32,
    /// Token that switches timestamps off; the first timestamp follows it.
    pub no_timestamps: Option<u32>,
    /// Tokens of languages by their text, such as `<|en|>`.
    pub languages: Vec<(String, u32)>,
    /// Token of the task of transcription.
    pub transcribe: Option<u32>,
    /// Whether the checkpoint knows languages.
    pub multilingual: Option<bool>,
    /// Tokens that are never chosen.
    pub suppress: Vec<u32>,
    /// Tokens that are not chosen first.
    pub begin_suppress: Vec<u32>,
    /// Latest first timestamp, in steps of 0.02 s.
    pub max_initial_timestamp: Option<usize>,
    /// Tokens that a text may have, its end included.
    pub max_length: usize,
}

impl GenerationConfig {
    /// Reads `generation_config.json`, which may be missing. What it does not say comes from `config.json`, whose contents are
    /// `config_json` and `config`. `model` is the name that errors carry.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming the key, its value and what would fit.
    pub fn from_json(
        model: &str,
        json: Option<&[u8]>,
        config_json: &[u8],
        config: &Config,
    ) -> Result<Self, EngineError> {
        let older = |section: &Section<'_>| {
            read_generation(&[Section { name: section.name, value: section.value }], config)
        };
        let Some(json) = json else { return parse(model, "config.json", config_json, older) };
        let fallback: Value = serde_json::from_slice(config_json).unwrap_or_default();
        parse(model, "generation_config.json", json, |section| {
            let own = Section { name: section.name, value: section.value };
            read_generation(&[own, Section { name: "config.json", value: &fallback }], config)
        })
    }
}

/// Reads from the first of `sections` that has a key.
fn read_generation(sections: &[Section<'_>], config: &Config) -> Result<GenerationConfig, String> {
    let last = config.vocab_size as u64 - 1;
    let with = |key: &str| sections.iter().find(|section| section.has(key));
    let id = |key: &str| match with(key) {
        Some(section) => section.size(key, 0, last).map(|id| Some(id as u32)),
        None => Ok(None),
    };
    let ids = |key: &str| match with(key) {
        Some(section) => {
            // -1 stands for a list that openai's package has built in.
            if section.value[key] == serde_json::json!([-1]) {
                return Ok(Vec::new());
            }
            let ids = section.sizes(key, MAX_LIST, last)?;
            Ok::<_, String>(ids.into_iter().map(|id| id as u32).collect())
        }
        None => Ok(Vec::new()),
    };
    let map = |key: &str| match with(key) {
        Some(section) => tokens_of(section, key, last),
        None => Ok(Vec::new()),
    };
    let tasks = map("task_to_id")?;
    let required = |key: &str, id: Option<u32>| id.ok_or_else(|| format!("{key} is missing"));
    Ok(GenerationConfig {
        start: required("decoder_start_token_id", id("decoder_start_token_id")?)?,
        end: match with("eos_token_id") {
            // Some files list one token.
            Some(section) if section.value["eos_token_id"].is_array() => {
                section.sizes("eos_token_id", 1, last)?.first().copied().ok_or("eos_token_id is empty")?
                    as u32
            }
            _ => required("eos_token_id", id("eos_token_id")?)?,
        },
        no_timestamps: id("no_timestamps_token_id")?,
        languages: map("lang_to_id")?,
        transcribe: tasks.into_iter().find(|(task, _)| task == "transcribe").map(|(_, id)| id),
        multilingual: match with("is_multilingual") {
            Some(section) => section.boolean("is_multilingual")?,
            None => None,
        },
        suppress: ids("suppress_tokens")?,
        begin_suppress: ids("begin_suppress_tokens")?,
        max_initial_timestamp: match with("max_initial_timestamp_index") {
            Some(section) => Some(section.size("max_initial_timestamp_index", 0, 1500)?),
            None => None,
        },
        max_length: match with("max_length") {
            Some(section) => section.size("max_length", 1, 1 << 20)?.min(config.target_positions),
            None => config.target_positions,
        },
    })
}

/// Reads an object from text to token, in the order of the file.
fn tokens_of(section: &Section<'_>, key: &str, last: u64) -> Result<Vec<(String, u32)>, String> {
    let wrong = |value: &Value| format!("{key} is {value}; an object from text to token would fit");
    let value = &section.value[key];
    let entries = value.as_object().filter(|map| map.len() <= MAX_LIST).ok_or_else(|| wrong(value))?;
    let entry = |(text, id): (&String, &Value)| {
        let id = id.as_u64().filter(|id| *id <= last);
        let id = id.ok_or_else(|| format!("{key}.{text:?} is no token; 0 to {last} would fit"))?;
        Ok((text.clone(), id as u32))
    };
    entries.iter().map(entry).collect()
}

/// Checks `preprocessor_config.json`, which may be missing, against what this engine computes.
///
/// # Errors
/// [`EngineError::Model`] naming the key, its value and what would fit.
pub(super) fn check_preprocessor(
    model: &str,
    json: Option<&[u8]>,
    config: &Config,
) -> Result<(), EngineError> {
    let Some(json) = json else { return Ok(()) };
    let expected = [
        ("feature_size", config.mel_bins),
        ("sampling_rate", SAMPLE_RATE),
        ("hop_length", HOP),
        ("n_fft", FFT),
        ("n_samples", config.window_samples()),
        ("nb_max_frames", 2 * config.source_positions),
    ];
    parse(model, "preprocessor_config.json", json, |section| {
        for (key, want) in expected {
            if section.has(key) && section.value[key].as_u64() != Some(want as u64) {
                return Err(format!("{key} is {}; {want} would fit", section.value[key]));
            }
        }
        for key in ["do_normalize", "dither"] {
            if !matches!(section.value.get(key), None | Some(Value::Null | Value::Bool(false)))
                && section.value[key].as_f64() != Some(0.0)
            {
                return Err(format!("{key} is {}; only without would fit", section.value[key]));
            }
        }
        Ok(())
    })
}

/// Reads a file of JSON by `read`; errors name the model and the file.
fn parse<T>(
    model: &str,
    file: &str,
    json: &[u8],
    read: impl FnOnce(&Section<'_>) -> Result<T, String>,
) -> Result<T, EngineError> {
    let fail = |message| EngineError::Model { model: model.into(), message };
    let value: Value =
        serde_json::from_slice(json).map_err(|error| fail(format!("{file} is not valid JSON: {error}")))?;
    read(&Section { name: "", value: &value }).map_err(|message| fail(format!("{file}: {message}")))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
