//! Settings that are one of a few words, by the same words on the command line, in the environment and in the file.

use clap::ValueEnum;
use serde::Deserialize;

/// What runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// This program.
    Candle,
    /// A vLLM server.
    Vllm,
}

/// Where the engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor.
    Cpu,
    /// The first CUDA device (needs a build with the feature `cuda`).
    Cuda,
}

/// Type of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floats (the default on a processor).
    F32,
    /// 16-bit brain floats (the default on CUDA).
    Bf16,
    /// 16-bit IEEE floats.
    F16,
}

/// How the matrices of the text model are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
pub enum Quantize {
    /// 8.5 bits per weight.
    #[value(name = "q8_0")]
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4.5 bits per weight.
    #[value(name = "q4k")]
    #[serde(rename = "q4k")]
    Q4K,
}

/// Which transformers built the video prompts that a model expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
pub enum Wrapper {
    /// 5.x and vLLM.
    #[value(name = "5")]
    #[serde(rename = "5")]
    V5,
    /// 4.57, with which Qwen3-VL was published.
    #[value(name = "4.57")]
    #[serde(rename = "4.57")]
    V4_57,
}

/// What decodes videos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// NVIDIA's decoder chip where there is one and the pictures are large, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// NVIDIA's decoder chip for all that it knows.
    Nvdec,
}

impl From<Decoder> for homereel_video::Decoder {
    fn from(decoder: Decoder) -> Self {
        match decoder {
            Decoder::Auto => Self::Auto,
            Decoder::Cpu => Self::Cpu,
            Decoder::Nvdec => Self::Nvdec,
        }
    }
}
