//! The Qwen3-VL network: loads a checkpoint and computes features and logits equal to those of transformers.
//!
//! [`Checkpoint`] → [`Model`]; [`Visual`] → [`Features`]; [`Prompt`] → logits.

mod attention;
mod config;
pub(crate) mod cpu;
mod drawn;
mod flash;
mod generation;
mod input;
mod kv;
mod layers;
mod model;
mod moe;
mod pass;
mod processor;
mod processor_config;
mod prompt;
mod rope;
mod template;
mod text;
mod tokenizer;
mod vision;
mod weights;

pub(crate) use attention::attend;
pub(crate) use config::Section;
pub use config::{Activation, Config, MoeConfig, TextConfig, VisionConfig};
pub use generation::GenerationConfig;
pub use input::{Features, PatchFn, ProgressFn, Prompt, Visual};
pub use kv::Kv;
pub(crate) use kv::{LayerKv, Past};
pub use layers::Quantization;
pub(crate) use layers::{LayerNorm, Linear, TensorScope};
pub use model::{Checkpoint, Model, PREFILL_CHUNK};
pub use pass::{Pass, SpanLogits, TokenSpan};
pub use processor::{Grid, Processor};
pub use processor_config::ProcessorConfig;
pub use prompt::{PreparedPrompt, PromptBuilder, PromptMedia, PromptWrapper};
pub use rope::Positions;
pub use template::ChatTemplate;
pub use tokenizer::{TextStream, Tokenizer};
pub use vision::Encoding;
pub use weights::Weights;

/// Inside the network, errors are the device's unless a signature says otherwise.
type Result<T, E = candle_core::Error> = std::result::Result<T, E>;

impl From<candle_core::Error> for crate::EngineError {
    fn from(error: candle_core::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
