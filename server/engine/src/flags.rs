//! The engine's command-line flags, environment variables and TOML keys, and how they become an [`EngineConfig`].
//!
//! Behind the feature `clap`, so that the server and the benchmark program share them and other users of this crate need no
//! command-line parser.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::{
    BadModelSource, DeviceKind, EngineConfig, EngineKind, ModelSource, PromptWrapper, Quantization,
    WeightType,
};

/// Largest number of `--vllm-url`.
const MAX_URLS: usize = 64;

/// Flags that choose the model and where it runs; the TOML file has the same names.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Model")]
pub struct EngineFlags {
    /// What runs the model: this program, or a vLLM server [default: candle]
    #[arg(long, env = "HOMEREEL_ENGINE")]
    pub engine: Option<EngineName>,
    /// Address of the vLLM server, such as http://127.0.0.1:8000; repeat it for several that serve the same model (in the
    /// environment separated by commas, in the file a list)
    #[arg(long, env = "HOMEREEL_VLLM_URL", value_name = "URL", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub vllm_url: Vec<String>,
    /// Concurrent requests to one vLLM server [default: --max-requests plus one]
    #[arg(long, env = "HOMEREEL_VLLM_MAX_REQUESTS", value_name = "N")]
    pub vllm_max_requests: Option<usize>,
    /// "demo" (built in; knows coloured shapes only), a directory, or a hub id such as
    /// Qwen/Qwen3-VL-4B-Instruct, optionally with @revision [default: demo]. With --engine vllm: the checkpoint that vLLM
    /// serves, of which only the small files are read [default: the one that vLLM reports, if it is on this machine]
    #[arg(long, env = "HOMEREEL_MODEL")]
    pub model: Option<String>,
    /// Where the model runs [default: cpu]
    #[arg(long, env = "HOMEREEL_DEVICE")]
    pub device: Option<DeviceKind>,
    /// Type of the weights [default: f32 on cpu, bf16 on cuda]
    #[arg(long, env = "HOMEREEL_DTYPE")]
    pub dtype: Option<WeightType>,
    /// Quantize the model's matrices: less memory and faster answers, slightly less exact
    #[arg(long, env = "HOMEREEL_QUANTIZE")]
    pub quantize: Option<Quantization>,
    /// Version of transformers whose video prompts are reproduced [default: 5]
    #[arg(long, env = "HOMEREEL_PROMPT_WRAPPER", value_name = "VERSION")]
    pub prompt_wrapper: Option<PromptWrapper>,
    /// Maximum number of tokens of prompt and answer together [default: the model's own limit]
    #[arg(long, env = "HOMEREEL_MAX_MODEL_LEN", value_name = "TOKENS")]
    pub max_model_len: Option<usize>,
    /// Requests that candle processes at the same time, 1 to 256 [default: 8]
    #[arg(long, env = "HOMEREEL_MAX_NUM_SEQS", value_name = "N")]
    pub max_num_seqs: Option<usize>,
    /// Bytes of keys and values of the requests that candle processes at the same time; a request that does not fit waits
    /// [default: 4294967296]
    #[arg(long, env = "HOMEREEL_KV_CACHE_MEMORY_BYTES", value_name = "BYTES")]
    pub kv_cache_memory_bytes: Option<usize>,
    /// Prompt tokens that candle processes in one pass, 16 to 65536 [default: 512]
    #[arg(long, env = "HOMEREEL_MAX_NUM_BATCHED_TOKENS", value_name = "TOKENS")]
    pub max_num_batched_tokens: Option<usize>,
}

/// Value of `--engine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// This program.
    Candle,
    /// A vLLM server.
    Vllm,
}

/// Flags that are invalid, alone or together.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// `--model` is none of the supported forms.
    #[error(transparent)]
    Model(#[from] BadModelSource),
    /// vLLM's flags without `--engine vllm`.
    #[error("--vllm-url and --vllm-max-requests need --engine vllm")]
    NotVllm,
    /// A flag of the candle engine with `--engine vllm`.
    #[error("{0} is for a model in this program; with --engine vllm it is a setting of vLLM's")]
    NotCandle(&'static str),
    /// `--vllm-max-requests` is out of range.
    #[error("vllm_max_requests is {0}; 1 to 4096 would fit")]
    MaxRequests(usize),
    /// `--engine vllm` without `--vllm-url`.
    #[error("--engine vllm needs --vllm-url, such as http://127.0.0.1:8000")]
    NoUrl,
    /// `--vllm-url` is repeated too often.
    #[error(
        "--vllm-url is given {0} times; {MAX_URLS} would fit (beyond a handful, one URL in front of them: vLLM's own \
         data-parallel server, or Ray Serve)"
    )]
    TooManyUrls(usize),
    /// The same `--vllm-url` twice.
    #[error("--vllm-url {0} is given twice; once would fit")]
    DuplicateUrl(Url),
    /// `--vllm-url` does not parse.
    #[error("--vllm-url {text} is no URL; http://HOST:PORT would fit")]
    BadUrl {
        /// The value.
        text: String,
        /// The parser's error.
        source: url::ParseError,
    },
    /// `--vllm-url` has another scheme than HTTP, or no host.
    #[error("--vllm-url {0}: http://HOST:PORT would fit")]
    NotHttp(String),
    /// `--vllm-url` contains credentials. The value is omitted.
    #[error("--vllm-url holds a user or a password; http://HOST:PORT would fit")]
    Credentials,
    /// `--max-num-seqs` is out of range.
    #[error("--max-num-seqs is {0}; 1 to 256 would fit")]
    MaxNumSeqs(usize),
    /// `--max-num-batched-tokens` is out of range.
    #[error("--max-num-batched-tokens is {0}; 16 to 65536 would fit")]
    MaxNumBatchedTokens(usize),
    /// `--vllm-url` has a query or a fragment.
    #[error("--vllm-url {0} has a query; http://HOST:PORT would fit")]
    Query(String),
}

impl EngineFlags {
    /// Resolves the flags, which take precedence over those of the TOML file, and validates them together.
    /// `max_requests` is the server's limit of concurrent questions.
    ///
    /// # Errors
    /// When a value is out of range, or two flags contradict each other.
    pub fn resolve(self, file: Self, max_requests: usize) -> Result<EngineConfig, FlagError> {
        let model = self.model.or(file.model).map(|model| model.parse::<ModelSource>()).transpose()?;
        let mut config = EngineConfig::new(model.clone().unwrap_or(ModelSource::Demo));
        let texts = if self.vllm_url.is_empty() { file.vllm_url } else { self.vllm_url };
        let urls = texts.iter().map(|text| vllm_url(text)).collect::<Result<Vec<Url>, _>>()?;
        let limit = self.vllm_max_requests.or(file.vllm_max_requests);
        config.kind = match self.engine.or(file.engine).unwrap_or(EngineName::Candle) {
            EngineName::Candle if urls.is_empty() && limit.is_none() => EngineKind::Candle,
            EngineName::Candle => return Err(FlagError::NotVllm),
            EngineName::Vllm => EngineKind::Vllm {
                max_requests: vllm_max_requests(limit, max_requests)?,
                urls: vllm_urls(urls)?,
                files: model,
            },
        };
        let device = self.device.or(file.device);
        let max_num_seqs = self.max_num_seqs.or(file.max_num_seqs);
        if let Some(given) = max_num_seqs.filter(|given| !(1..=256).contains(given)) {
            return Err(FlagError::MaxNumSeqs(given));
        }
        let max_num_batched_tokens = self.max_num_batched_tokens.or(file.max_num_batched_tokens);
        if let Some(given) = max_num_batched_tokens.filter(|given| !(16..=65536).contains(given)) {
            return Err(FlagError::MaxNumBatchedTokens(given));
        }
        let kv_cache_memory_bytes = self.kv_cache_memory_bytes.or(file.kv_cache_memory_bytes);
        config.dtype = self.dtype.or(file.dtype);
        config.quantization = self.quantize.or(file.quantize);
        if config.kind != EngineKind::Candle {
            let candle_only = [
                ("--device", device.is_some()),
                ("--dtype", config.dtype.is_some()),
                ("--quantize", config.quantization.is_some()),
                ("--max-num-seqs", max_num_seqs.is_some()),
                ("--kv-cache-memory-bytes", kv_cache_memory_bytes.is_some()),
                ("--max-num-batched-tokens", max_num_batched_tokens.is_some()),
            ];
            if let Some((flag, _)) = candle_only.into_iter().find(|(_, given)| *given) {
                return Err(FlagError::NotCandle(flag));
            }
        }
        config.device = device.unwrap_or_default();
        config.max_num_seqs = max_num_seqs.unwrap_or(config.max_num_seqs);
        config.kv_cache_memory_bytes = kv_cache_memory_bytes.unwrap_or(config.kv_cache_memory_bytes);
        config.max_num_batched_tokens = max_num_batched_tokens.unwrap_or(config.max_num_batched_tokens);
        config.wrapper = self.prompt_wrapper.or(file.prompt_wrapper).unwrap_or_default();
        config.max_model_len = self.max_model_len.or(file.max_model_len);
        Ok(config)
    }
}

/// Background jobs are not counted among `max_requests`, hence one more by default.
fn vllm_max_requests(limit: Option<usize>, max_requests: usize) -> Result<usize, FlagError> {
    let limit = limit.unwrap_or(max_requests + 1);
    if (1..=4096).contains(&limit) { Ok(limit) } else { Err(FlagError::MaxRequests(limit)) }
}

fn vllm_urls(urls: Vec<Url>) -> Result<Vec<Url>, FlagError> {
    if urls.is_empty() {
        return Err(FlagError::NoUrl);
    }
    if urls.len() > MAX_URLS {
        return Err(FlagError::TooManyUrls(urls.len()));
    }
    for (index, url) in urls.iter().enumerate() {
        if urls[..index].contains(url) {
            return Err(FlagError::DuplicateUrl(url.clone()));
        }
    }
    Ok(urls)
}

fn vllm_url(text: &str) -> Result<Url, FlagError> {
    let owned = || text.to_owned();
    let url: Url = text.parse().map_err(|source| FlagError::BadUrl { text: owned(), source })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(FlagError::NotHttp(owned()));
    }
    // The URL is shown on pages and in logs.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FlagError::Credentials);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(FlagError::Query(owned()));
    }
    Ok(url)
}

/// Accepts one string in place of a list.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
