//! The value of `--decoder`, with the same names on the command line, in the environment and in the file.

use clap::ValueEnum;
use serde::Deserialize;

/// Hardware that decodes videos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// An NVIDIA hardware decoder if there is one and the frames are large, otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA hardware decoder for every codec it supports.
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
