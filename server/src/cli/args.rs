//! The flags of each command.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use homereel_engine::flags::EngineFlags;
use homereel_library::Role;

use super::Usage;
use crate::{
    config::{self, Decoder, ServerFlags},
    media::FrameSampling,
};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub(super) server: ServerFlags,
    #[command(flatten)]
    pub(super) engine: EngineFlags,
    /// TOML file with [server] and [engine]; environment and flags go first
    #[arg(long, env = "HOMEREEL_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// The video
    pub(super) file: PathBuf,
    /// The question
    pub(super) question: String,
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
    /// Tokens of the answer at most
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_tokens: u32,
    /// 0 always takes the likeliest word; more is more varied [default: the model's]
    #[arg(long, value_name = "T", value_parser = temperature)]
    pub(super) temperature: Option<f64>,
    /// The same seed gives the same answer
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Print one JSON object: answer, usage, model, stages_ms, media
    #[arg(long)]
    pub(super) json: bool,
    /// What decodes the video
    #[arg(long, env = "HOMEREEL_DECODER", default_value = "auto")]
    pub(super) decoder: Decoder,
    /// Ask a running server (http://HOST:PORT) instead of loading a model here; an API key that it wants is taken from
    /// HOMEREEL_API_KEY
    #[arg(long, value_name = "URL", env = "HOMEREEL_SERVER")]
    pub(super) server: Option<url::Url>,
    #[command(flatten)]
    pub(super) engine: EngineFlags,
    /// TOML file with [engine]; environment and flags go first
    #[arg(long, env = "HOMEREEL_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct FramesArgs {
    /// The video
    pub(super) file: PathBuf,
    /// Directory to write to; made if missing
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
    /// Pixels per row [default: the clip's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16384))]
    pub(super) width: Option<u32>,
    /// Rows [default: the clip's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16384))]
    pub(super) height: Option<u32>,
    /// What decodes the video
    #[arg(long, env = "HOMEREEL_DECODER", default_value = "auto")]
    pub(super) decoder: Decoder,
}

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct SamplingArgs {
    /// Frames per second of video [default: the model's]
    #[arg(long, value_name = "F", conflicts_with = "num_frames")]
    pub(super) fps: Option<f64>,
    /// Exactly so many frames
    #[arg(long, value_name = "N")]
    pub(super) num_frames: Option<usize>,
    /// From this second on
    #[arg(long, value_name = "S")]
    pub(super) start: Option<f64>,
    /// Up to this second
    #[arg(long, value_name = "S")]
    pub(super) end: Option<f64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Download a model of the Hugging Face hub and check it
    Pull {
        /// owner/name, optionally with @revision
        id: String,
    },
    /// List the models on this machine
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Describe a model
    Info {
        /// "demo", a directory or a hub id
        model: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct DataArgs {
    /// Directory of the library [default: ~/.local/share/homereel]
    #[arg(long, env = "HOMEREEL_DATA", value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// TOML file that may name it
    #[arg(long, env = "HOMEREEL_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl DataArgs {
    pub(super) fn resolve(self) -> anyhow::Result<PathBuf> {
        Ok(config::data(self.data, self.config.as_ref()).map_err(Usage)?)
    }
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key and print it, once
    Add {
        /// What it is for, such as "phone"
        name: String,
        /// viewer watches, member also adds and asks, admin also deletes
        #[arg(long, value_enum, default_value = "member")]
        role: Role,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List the keys, without their secrets
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Make a key worthless
    Revoke {
        /// Name or id
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PasswordCommand {
    /// Print a link; whoever opens it first sets the password
    Link {
        /// Address that the server listens on, if it is another than the settings say
        #[arg(long, env = "HOMEREEL_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
        listen: std::net::SocketAddr,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Set the password to a line of standard input; everybody has to log in again
    Set {
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct GuardArgs {
    /// Stop the units when less than this is available
    #[arg(long, value_name = "MIB", required_unless_present = "wait_mib")]
    pub(super) floor_mib: Option<u64>,
    /// Units to stop; patterns as systemctl takes them
    #[arg(long, value_name = "UNIT", default_value = "homereel-vllm@*.service")]
    pub(super) unit: Vec<String>,
    /// Start them again, once an hour at most, when this has been available for a minute
    #[arg(long, value_name = "MIB")]
    pub(super) restart_mib: Option<u64>,
    /// File to note each stop in
    #[arg(long, value_name = "FILE")]
    pub(super) notes: Option<PathBuf>,
    /// Count what this control group may still take, too (for containers)
    #[arg(long, value_name = "DIR")]
    pub(super) cgroup: Option<PathBuf>,
    /// Guard nothing: only wait until this much is available (before a model starts)
    #[arg(long, value_name = "MIB", conflicts_with = "floor_mib")]
    pub(super) wait_mib: Option<u64>,
    /// Wait so long at most
    #[arg(long, value_name = "S", default_value_t = 180)]
    pub(super) timeout_s: u64,
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=2.0).contains(&value) => Ok(value),
        _ => Err("a number from 0 to 2 would fit".into()),
    }
}

impl From<SamplingArgs> for FrameSampling {
    fn from(SamplingArgs { fps, num_frames, start, end }: SamplingArgs) -> Self {
        Self { fps, num_frames, start, end }
    }
}
