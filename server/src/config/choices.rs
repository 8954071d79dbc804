//! Value of `--decoder`: the same words on the command line, in the environment and in the file.

use clap::ValueEnum;
use serde::Deserialize;

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
