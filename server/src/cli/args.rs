//! Flags and arguments of each command.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use homereel_engine::flags::EngineFlags;
use homereel_library::Role;
use homereel_video::{Decoder, FrameSampling};

use super::UsageError;
use crate::config::{self, ServerFlags};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub(super) server: ServerFlags,
    #[command(flatten)]
    pub(super) engine: EngineFlags,
    /// TOML configuration file with [server] and [engine]; the environment and flags override it
    #[arg(long, env = "HOMEREEL_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// Video file
    pub(super) file: PathBuf,
    /// Question about it
    pub(super) question: String,
    #[command(flatten)]
    pub(super) sampling: FrameSamplingArgs,
    /// Maximum number of tokens in the answer
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_tokens: u32,
    /// Sampling temperature, 0 to 2; 0 always picks the most likely token [default: the model's]
    #[arg(long, value_name = "T", value_parser = temperature)]
    pub(super) temperature: Option<f64>,
    /// Seed of the sampler; the same seed gives the same answer
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Print one JSON object: answer, finish_reason, usage, model, stages_ms, media
    #[arg(long)]
    pub(super) json: bool,
    /// Hardware to decode the video with
    #[arg(long, env = "HOMEREEL_DECODER", default_value = "auto")]
    pub(super) decoder: Decoder,
    /// Ask a running server (http://HOST:PORT) instead of loading a model; HOMEREEL_API_KEY may hold its API key
    #[arg(long, value_name = "URL", env = "HOMEREEL_SERVER")]
    pub(super) server: Option<url::Url>,
    #[command(flatten)]
    pub(super) engine: EngineFlags,
    /// TOML configuration file with [engine]; the environment and flags override it
    #[arg(long, env = "HOMEREEL_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Address of a Homereel or vLLM server, such as http://127.0.0.1:8080; HOMEREEL_API_KEY may hold its API key
    pub(super) url: url::Url,
    /// Fail unless the server serves this model
    #[arg(long, value_name = "NAME")]
    pub(super) model: Option<String>,
    /// Ask about this video instead of the built-in clip
    #[arg(long, value_name = "FILE", requires_all = ["question", "expect"])]
    pub(super) file: Option<PathBuf>,
    /// Question to ask [default: the built-in clip's]
    #[arg(long, value_name = "TEXT", requires = "expect")]
    pub(super) question: Option<String>,
    /// Text that the answer must contain, in any case [default: the built-in clip's]
    #[arg(long, value_name = "TEXT")]
    pub(super) expect: Option<String>,
    /// Maximum number of seconds to wait until the server is ready
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(super) wait: u64,
    /// Stop waiting when this process exits
    #[arg(long, value_name = "PID", requires = "wait", value_parser = clap::value_parser!(i32).range(1..))]
    pub(super) pid: Option<i32>,
    /// Maximum number of seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(super) timeout: u64,
    /// Print one JSON object: url, question, expected, passed, seconds, and answer, model, stages_ms or error
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct FramesArgs {
    /// Video file
    pub(super) file: PathBuf,
    /// Output directory, created if missing
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    #[command(flatten)]
    pub(super) sampling: FrameSamplingArgs,
    /// Width of the frames in pixels [default: the video's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16384))]
    pub(super) width: Option<u32>,
    /// Height of the frames in pixels [default: the video's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16384))]
    pub(super) height: Option<u32>,
    /// Hardware to decode the video with
    #[arg(long, env = "HOMEREEL_DECODER", default_value = "auto")]
    pub(super) decoder: Decoder,
}

#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct FrameSamplingArgs {
    /// Frames to sample per second of video [default: the model's]
    #[arg(long, value_name = "F", conflicts_with = "num_frames")]
    pub(super) fps: Option<f64>,
    /// Sample exactly this many frames
    #[arg(long, value_name = "N")]
    pub(super) num_frames: Option<usize>,
    /// Start at this second of the video
    #[arg(long, value_name = "S")]
    pub(super) start: Option<f64>,
    /// Stop at this second of the video
    #[arg(long, value_name = "S")]
    pub(super) end: Option<f64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Download a model from the Hugging Face Hub and verify it
    Pull {
        /// Model id: owner/name, optionally with @revision
        id: String,
    },
    /// List the models on this machine
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show a model's architecture and size
    Info {
        /// "demo", a directory, or a hub id
        model: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct DataArgs {
    /// Library directory [default: ~/.local/share/homereel]
    #[arg(long, env = "HOMEREEL_DATA", value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// TOML configuration file, which may set the library directory
    #[arg(long, env = "HOMEREEL_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl DataArgs {
    pub(super) fn resolve(self) -> anyhow::Result<PathBuf> {
        Ok(config::data(self.data, self.config.as_ref()).map_err(UsageError)?)
    }
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Print a Markdown list
    #[arg(long, conflicts_with = "json")]
    pub(super) markdown: bool,
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Create a key and print it; it cannot be shown again
    Add {
        /// Name of the key, such as "phone"
        name: String,
        /// Role of the key: viewers watch, members also upload and ask, admins also delete
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
    /// Revoke a key
    Revoke {
        /// Name or id of the key
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PasswordCommand {
    /// Print a one-time link that sets the password
    Link {
        /// Address of the server in the link
        #[arg(long, env = "HOMEREEL_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
        listen: std::net::SocketAddr,
        /// Certificate of the server, if it has one: the link begins with https
        #[arg(long, env = "HOMEREEL_TLS_CERT", value_name = "FILE")]
        tls_cert: Option<PathBuf>,
        /// Do nothing if a password is set already
        #[arg(long)]
        if_unset: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Set the password to the first line of standard input; ends all sessions
    Set {
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct GuardArgs {
    /// Stop the units when less memory than this is available
    #[arg(long, value_name = "MIB", required_unless_present = "wait_mib")]
    pub(super) floor_mib: Option<u64>,
    /// Units to stop; accepts patterns of systemctl
    #[arg(long, value_name = "UNIT", default_value = "homereel-vllm@*.service")]
    pub(super) unit: Vec<String>,
    /// Start the units again when this much memory has been available for a minute, at most once an hour
    #[arg(long, value_name = "MIB")]
    pub(super) restart_mib: Option<u64>,
    /// File to append a note to for each stop
    #[arg(long, value_name = "FILE")]
    pub(super) notes: Option<PathBuf>,
    /// Also apply the memory limit of this control group (for containers)
    #[arg(long, value_name = "DIR")]
    pub(super) cgroup: Option<PathBuf>,
    /// Only wait until this much memory is available, then exit
    #[arg(long, value_name = "MIB", conflicts_with = "floor_mib")]
    pub(super) wait_mib: Option<u64>,
    /// Maximum number of seconds to wait with --wait-mib
    #[arg(long, value_name = "S", default_value_t = 180)]
    pub(super) timeout_s: u64,
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=2.0).contains(&value) => Ok(value),
        _ => Err("a number from 0 to 2 would fit".into()),
    }
}

impl From<FrameSamplingArgs> for FrameSampling {
    fn from(FrameSamplingArgs { fps, num_frames, start, end }: FrameSamplingArgs) -> Self {
        Self { fps, num_frames, start, end }
    }
}
