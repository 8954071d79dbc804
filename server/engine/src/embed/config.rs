//! Reads the small files of a sentence model in the Hugging Face layout: the network's shape, the modules behind it, the
//! limit of tokens and the prompts. Files of sentence-transformers 2 to 6 are read; every value is checked.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Prompts;
use crate::source::ModelFiles;

/// Upper bounds, against hostile files.
const MAX_WIDTH: usize = 1 << 14;
const MAX_INNER: usize = 1 << 16;
const MAX_LAYERS: usize = 128;
const MAX_VOCABULARY: usize = 1 << 21;
const MAX_POSITIONS: usize = 1 << 16;
const MAX_MODULES: usize = 8;
const MAX_PROMPT: usize = 4096;

/// Token types of BERT: texts of one sequence only have the first.
const MAX_TYPES: usize = 16;

/// The shape of a network of the BERT family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EncoderConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) activation: Gelu,
    pub(super) layer_norm_eps: f32,
    /// Learned positions.
    pub(super) positions: usize,
    /// The padding token, where positions are counted behind its id and it has no position of its own (RoBERTa).
    pub(super) counted_from: Option<u32>,
    pub(super) types: usize,
}

/// GELU by the error function, or by its approximation with tanh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gelu {
    Exact,
    Tanh,
}

impl EncoderConfig {
    /// Returns the largest number of tokens that have positions.
    pub(super) fn max_tokens(&self) -> usize {
        self.positions - self.counted_from.map_or(0, |padding| padding as usize + 1)
    }
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolingMode {
    Mean,
    /// The first token's.
    Cls,
    /// The largest value of each number.
    Max,
}

/// What the files of a sentence model say, without its weights and tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SentenceConfig {
    pub(super) encoder: EncoderConfig,
    pub(super) pooling: PoolingMode,
    /// Whether vectors are scaled to length 1.
    pub(super) normalize: bool,
    /// Tokens of a text, special ones included; more are cut off.
    pub(super) max_tokens: usize,
    /// Whether texts become lower case before the tokenizer sees them.
    pub(super) lower_case: bool,
    pub(super) prompts: Prompts,
}

impl SentenceConfig {
    /// Reads the files. Errors name the file, the value, and what would fit.
    pub(super) fn read(files: &ModelFiles) -> Result<Self, String> {
        let modules = read_modules(files)?;
        let encoder = read_encoder(files)?;
        let pooling = read_pooling(files, &modules.pooling, encoder.hidden_size)?;
        let prompts = read_prompts(files)?;
        if !pooling.include_prompt && prompts != Prompts::default() {
            return Err(format!(
                "{}/config.json: include_prompt is false; only true is supported beside prompts",
                modules.pooling
            ));
        }
        let sentence: SentenceFile = optional(files, "sentence_bert_config.json")?.unwrap_or_default();
        let tokenizer: TokenizerFile = optional(files, "tokenizer_config.json")?.unwrap_or_default();
        let own = match sentence.max_seq_length {
            Some(limit) => limit as f64,
            // Files without a limit have 10³⁰.
            None => tokenizer.model_max_length.unwrap_or(f64::INFINITY),
        };
        let most = encoder.max_tokens();
        if own < 2.0 || own.is_nan() {
            return Err(format!("the limit of tokens is {own}; a number from 2 would fit"));
        }
        Ok(Self {
            max_tokens: if own < most as f64 { own as usize } else { most },
            encoder,
            pooling: pooling.mode,
            normalize: modules.normalize,
            lower_case: sentence.do_lower_case,
            prompts,
        })
    }
}

/// Reads a JSON file, `None` where it is missing.
fn optional<T: DeserializeOwned>(files: &ModelFiles, name: &str) -> Result<Option<T>, String> {
    let Some(bytes) = files.read(name) else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| format!("{name}: {error}"))
}

fn required<T: DeserializeOwned>(files: &ModelFiles, name: &str) -> Result<T, String> {
    optional(files, name)?.ok_or_else(|| {
        format!(
            "{name} is missing; the files of a sentence model, as sentence-transformers saves it, would fit"
        )
    })
}

#[derive(Deserialize)]
struct EncoderFile {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    pad_token_id: Option<u32>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
}

fn read_encoder(files: &ModelFiles) -> Result<EncoderConfig, String> {
    const FILE: &str = "config.json";
    let file: EncoderFile = required(files, FILE)?;
    let counted = match file.model_type.as_str() {
        "bert" => false,
        "xlm-roberta" | "roberta" => true,
        other => {
            return Err(format!(
                "{FILE}: model_type {other:?} is not one that this engine embeds with; bert, roberta and xlm-roberta \
                 would fit, or a server with --embed-url"
            ));
        }
    };
    let size = |key: &str, value: usize, most: usize| match (1..=most).contains(&value) {
        true => Ok(value),
        false => Err(format!("{FILE}: {key} is {value}; a whole number from 1 to {most} would fit")),
    };
    let activation = match file.hidden_act.as_str() {
        "gelu" => Gelu::Exact,
        "gelu_new" | "gelu_pytorch_tanh" => Gelu::Tanh,
        other => {
            return Err(format!(
                "{FILE}: hidden_act is {other:?}; gelu, gelu_new or gelu_pytorch_tanh would fit"
            ));
        }
    };
    let kind = file.position_embedding_type.as_deref().unwrap_or("absolute");
    if kind != "absolute" || file.is_decoder {
        return Err(format!(
            "{FILE}: position_embedding_type is {kind:?} and is_decoder {}; \"absolute\" and false would fit",
            file.is_decoder
        ));
    }
    let eps = file.layer_norm_eps;
    if !(eps > 0.0 && eps < 1.0) {
        return Err(format!("{FILE}: layer_norm_eps is {eps}; a number between 0 and 1 would fit"));
    }
    let config = EncoderConfig {
        vocab_size: size("vocab_size", file.vocab_size, MAX_VOCABULARY)?,
        hidden_size: size("hidden_size", file.hidden_size, MAX_WIDTH)?,
        intermediate_size: size("intermediate_size", file.intermediate_size, MAX_INNER)?,
        num_hidden_layers: size("num_hidden_layers", file.num_hidden_layers, MAX_LAYERS)?,
        num_attention_heads: size("num_attention_heads", file.num_attention_heads, MAX_WIDTH)?,
        activation,
        layer_norm_eps: eps as f32,
        positions: size("max_position_embeddings", file.max_position_embeddings, MAX_POSITIONS)?,
        counted_from: counted.then(|| file.pad_token_id.unwrap_or(1)),
        types: size("type_vocab_size", file.type_vocab_size, MAX_TYPES)?,
    };
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        return Err(format!(
            "{FILE}: hidden_size is {}, which num_attention_heads {} does not divide",
            config.hidden_size, config.num_attention_heads
        ));
    }
    // Two special tokens at least.
    if let Some(padding) = config.counted_from
        && padding as usize + 3 > config.positions
    {
        return Err(format!(
            "{FILE}: pad_token_id is {padding}, but there are only {} positions, which are counted behind it",
            config.positions
        ));
    }
    Ok(config)
}

#[derive(Deserialize)]
struct ModuleFile {
    #[serde(rename = "type")]
    class: String,
    #[serde(default)]
    path: String,
}

/// The modules of a sentence model: the network, pooling, and perhaps normalization.
#[derive(Debug)]
struct Modules {
    /// Directory of the pooling's configuration.
    pooling: String,
    normalize: bool,
}

fn read_modules(files: &ModelFiles) -> Result<Modules, String> {
    const FILE: &str = "modules.json";
    let modules: Vec<ModuleFile> = required(files, FILE)?;
    if modules.len() > MAX_MODULES {
        return Err(format!("{FILE} has {} modules; at most {MAX_MODULES} would fit", modules.len()));
    }
    // The class's path differs between releases of sentence-transformers.
    let classes: Vec<&str> =
        modules.iter().map(|module| module.class.rsplit('.').next().unwrap_or_default()).collect();
    let normalize = match classes.as_slice() {
        ["Transformer", "Pooling"] => false,
        ["Transformer", "Pooling", "Normalize"] => true,
        other => {
            return Err(format!(
                "{FILE} has the modules {other:?}; Transformer, Pooling and optionally Normalize would fit, or a server \
                 with --embed-url"
            ));
        }
    };
    if !modules[0].path.is_empty() {
        return Err(format!("{FILE}: the path of Transformer is {:?}; \"\" would fit", modules[0].path));
    }
    let pooling = modules[1].path.clone();
    // The path comes from a file, and must not lead out of the model's directory.
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if pooling.is_empty() || pooling.len() > 64 || !pooling.chars().all(plain) {
        return Err(format!(
            "{FILE}: the path of Pooling is {pooling:?}; a name such as 1_Pooling would fit"
        ));
    }
    Ok(Modules { pooling, normalize })
}

#[derive(Deserialize)]
struct PoolingFile {
    #[serde(alias = "embedding_dimension")]
    word_embedding_dimension: usize,
    /// One mode, or several whose vectors are joined.
    pooling_mode: Option<OneOrMore>,
    #[serde(default = "yes")]
    include_prompt: bool,
    #[serde(flatten)]
    others: HashMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn yes() -> bool {
    true
}

struct Pooling {
    mode: PoolingMode,
    include_prompt: bool,
}

/// Keys of files before sentence-transformers 6, one per mode.
const LEGACY: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];

fn read_pooling(files: &ModelFiles, directory: &str, hidden_size: usize) -> Result<Pooling, String> {
    let name = format!("{directory}/config.json");
    let file: PoolingFile = required(files, &name)?;
    if file.word_embedding_dimension != hidden_size {
        return Err(format!(
            "{name}: the dimension is {}, but hidden_size of config.json is {hidden_size}; they must be equal",
            file.word_embedding_dimension
        ));
    }
    let is_on = |key: &str| file.others.get(key).is_some_and(|value| value.as_bool() == Some(true));
    let modes: Vec<String> = match file.pooling_mode {
        Some(OneOrMore::One(mode)) => vec![mode],
        Some(OneOrMore::More(modes)) => modes,
        None => LEGACY.into_iter().filter(|(key, _)| is_on(key)).map(|(_, mode)| mode.to_owned()).collect(),
    };
    let modes: Vec<&str> = modes.iter().map(String::as_str).collect();
    let mode = match modes.as_slice() {
        // As sentence-transformers, which takes the mean where the file names nothing.
        [] | ["mean"] => PoolingMode::Mean,
        ["cls"] => PoolingMode::Cls,
        ["max"] => PoolingMode::Max,
        other => {
            return Err(format!("{name}: the pooling is {other:?}; one of mean, cls and max would fit"));
        }
    };
    Ok(Pooling { mode, include_prompt: file.include_prompt })
}

#[derive(Deserialize, Default)]
struct SentenceFile {
    max_seq_length: Option<u32>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Deserialize, Default)]
struct TokenizerFile {
    model_max_length: Option<f64>,
}

#[derive(Deserialize, Default)]
struct PromptsFile {
    #[serde(default)]
    prompts: HashMap<String, Option<String>>,
}

/// Reads the prompts. sentence-transformers calls those of passages `document`, and older files by other names.
fn read_prompts(files: &ModelFiles) -> Result<Prompts, String> {
    const FILE: &str = "config_sentence_transformers.json";
    let file: PromptsFile = optional(files, FILE)?.unwrap_or_default();
    let prompt = |names: &[&str]| {
        let mut known = names.iter().filter_map(|name| file.prompts.get(*name).cloned().flatten());
        known.find(|prompt| !prompt.is_empty()).unwrap_or_default()
    };
    let prompts = Prompts { query: prompt(&["query"]), passage: prompt(&["document", "passage", "corpus"]) };
    for prompt in [&prompts.query, &prompts.passage] {
        if prompt.len() > MAX_PROMPT {
            return Err(format!(
                "{FILE}: a prompt has {} bytes; at most {MAX_PROMPT} would fit",
                prompt.len()
            ));
        }
    }
    Ok(prompts)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
