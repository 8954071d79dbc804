//! The flags of `serve`, which are also the keys of the TOML file and, with HOMEREEL_ before them, environment variables.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use homereel_engine::VideoBudget;
use homereel_video::Decoder;
use serde::Deserialize;

use super::AllowedOrigin;
use crate::{fetch::AllowedHost, jobs::JobsLimit, net::TrustedProxy};

/// Flags of `serve`; the TOML file has the same names.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Server")]
pub struct ServerFlags {
    /// Address and port to listen on; port 0 picks a free port [default: 127.0.0.1:8080]
    #[arg(long, env = "HOMEREEL_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Library directory [default: ~/.local/share/homereel]
    #[arg(long, env = "HOMEREEL_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Additional host name under which browsers reach this server, such as a proxy's; may be repeated
    #[arg(long = "host", env = "HOMEREEL_HOSTS", value_name = "NAME", value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// Address or network of a reverse proxy whose X-Forwarded-For and X-Forwarded-Proto are believed; may be repeated
    #[arg(
        long = "trusted-proxy",
        env = "HOMEREEL_TRUSTED_PROXIES",
        value_name = "ADDRESS[/BITS]",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Origin (scheme://host) of another web page or app that may call /v1 and /api with an API key; may be repeated
    #[arg(
        long = "allow-origin",
        env = "HOMEREEL_ALLOW_ORIGINS",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub allow_origins: Vec<AllowedOrigin>,
    /// Host (name, *.name or address, with an optional port) from which pictures and videos that requests name by URL are
    /// fetched; may be repeated [default: none]
    #[arg(
        long = "allow-media-host",
        env = "HOMEREEL_ALLOW_MEDIA_HOSTS",
        value_name = "HOST[:PORT]",
        value_delimiter = ','
    )]
    pub allow_media_hosts: Vec<AllowedHost>,
    /// Name under which requests may name the model, in addition to its own; answers to such requests have it; may be repeated
    #[arg(
        long = "served-model-name",
        env = "HOMEREEL_SERVED_MODEL_NAMES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub served_model_names: Vec<String>,
    /// PEM file with the certificate chain for HTTPS; it is loaded again when it changes
    #[arg(long, env = "HOMEREEL_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key of --tls-cert
    #[arg(long, env = "HOMEREEL_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Maximum number of connections [default: 4096, or what the limit of open files permits]
    #[arg(long, env = "HOMEREEL_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,
    /// Maximum number of connections from one address [default: 256]
    #[arg(long, env = "HOMEREEL_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub max_connections_per_address: Option<usize>,
    /// Maximum size of one upload [default: 64 GiB]
    #[arg(long, env = "HOMEREEL_MAX_UPLOAD_BYTES", value_name = "BYTES")]
    pub max_upload_bytes: Option<u64>,
    /// Maximum size of all videos, including the trash, files of /v1/files, unfinished uploads and media of kept responses
    /// [default: limited by the disk]
    #[arg(long, env = "HOMEREEL_QUOTA", value_name = "BYTES")]
    pub quota: Option<u64>,
    /// Maximum size of all files of /v1/files, including unfinished uploads of them [default: 16 GiB]
    #[arg(long, env = "HOMEREEL_FILES_MAX_BYTES", value_name = "BYTES")]
    pub files_max_bytes: Option<u64>,
    /// Time in seconds after which a file of /v1/files expires; requests may ask for a shorter one [default: 86400]
    #[arg(long, env = "HOMEREEL_FILES_KEEP", value_name = "SECONDS")]
    pub files_keep: Option<u64>,
    /// Size of the on-disk cache of decoded frames, which speeds up further questions about a video; 0 disables it
    /// [default: 2 GiB]
    #[arg(long, env = "HOMEREEL_FRAME_CACHE_BYTES", value_name = "BYTES")]
    pub frame_cache_bytes: Option<u64>,
    /// Maximum size of a JSON request body, including videos as data: URLs [default: 512 MiB]
    #[arg(long, env = "HOMEREEL_MAX_BODY_BYTES", value_name = "BYTES")]
    pub max_body_bytes: Option<usize>,
    /// Maximum number of concurrent questions; further ones are refused with status 429 [default: 32]
    #[arg(long, env = "HOMEREEL_MAX_REQUESTS", value_name = "N")]
    pub max_requests: Option<usize>,
    /// Number of videos to decode concurrently [default: half of the CPU cores]
    #[arg(long, env = "HOMEREEL_VIDEO_WORKERS", value_name = "N")]
    pub video_workers: Option<usize>,
    /// Number of videos that the model describes concurrently in the background: `auto` or a number from 1 to 256. `auto` is
    /// one less than the engine processes at once, and fewer while people wait longer for their answers [default: auto]
    #[arg(long, env = "HOMEREEL_JOBS", value_name = "N|auto")]
    pub jobs: Option<JobsLimit>,
    /// Visual tokens that the model spends on a video of the library: `capped` at 768 per frame, as in the reference
    /// implementation, or `full`, as for questions over HTTP, where a short clip costs as many as two minutes [default: capped]
    #[arg(long, env = "HOMEREEL_READING_BUDGET", value_name = "capped|full", value_parser = reading_budget)]
    #[serde(deserialize_with = "budget_of_file")]
    pub reading_budget: Option<VideoBudget>,
    /// Hardware to decode videos with; the CPU decodes what the hardware decoder cannot [default: auto]
    #[arg(long, env = "HOMEREEL_DECODER")]
    pub decoder: Option<Decoder>,
    /// File that contains the household's password [default: set by `homereel password`]
    #[arg(long, env = "HOMEREEL_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Length in seconds of the windows in which the model reads long videos [default: 120]
    #[arg(long, env = "HOMEREEL_WINDOW_SECONDS", value_name = "S")]
    pub window_seconds: Option<f64>,
    /// Directory to import new videos from; the files stay there
    #[arg(long, env = "HOMEREEL_WATCH", value_name = "DIR")]
    pub watch: Option<PathBuf>,
    /// Sentence model for search by meaning, such as intfloat/multilingual-e5-small: a hub id, a directory, or `off` [default: off]
    #[arg(long, env = "HOMEREEL_EMBED_MODEL", value_name = "ID|DIR|off")]
    pub embed_model: Option<String>,
    /// Server with OpenAI's /v1/embeddings that computes the vectors for search by meaning, instead of --embed-model
    #[arg(long, env = "HOMEREEL_EMBED_URL", value_name = "URL")]
    pub embed_url: Option<String>,
    /// Model of --embed-url [default: the first of its /v1/models]
    #[arg(long, env = "HOMEREEL_EMBED_URL_MODEL", value_name = "NAME")]
    pub embed_url_model: Option<String>,
    /// Whisper model that transcribes what is said in videos: `off`, a hub id such as openai/whisper-large-v3-turbo, or a
    /// directory [default: off]
    #[arg(long, env = "HOMEREEL_SPEECH_MODEL", value_name = "off|ID|DIR")]
    pub speech_model: Option<String>,
    /// Address of a server that transcribes instead, with OpenAI's /v1/audio/transcriptions, such as http://127.0.0.1:8000;
    /// HOMEREEL_SPEECH_API_KEY may hold its API key
    #[arg(long, env = "HOMEREEL_SPEECH_URL", value_name = "URL")]
    pub speech_url: Option<String>,
    /// Name of the model of --speech-url
    #[arg(long, env = "HOMEREEL_SPEECH_URL_MODEL", value_name = "NAME")]
    pub speech_url_model: Option<String>,
    /// Code of the language that is spoken, such as en [default: detected in each video]
    #[arg(long, env = "HOMEREEL_SPEECH_LANGUAGE", value_name = "CODE")]
    pub speech_language: Option<String>,
    /// Allow access from other machines without a login: anyone who reaches the port sees all videos
    #[arg(long, env = "HOMEREEL_INSECURE_NO_AUTH")]
    pub insecure_no_auth: bool,
}

fn reading_budget(text: &str) -> Result<VideoBudget, String> {
    match text {
        "capped" => Ok(VideoBudget::Capped),
        "full" => Ok(VideoBudget::Full),
        _ => Err(format!("{text} is neither `capped` nor `full`")),
    }
}

fn budget_of_file<'de, D: serde::Deserializer<'de>>(file: D) -> Result<Option<VideoBudget>, D::Error> {
    let text = String::deserialize(file)?;
    reading_budget(&text).map(Some).map_err(serde::de::Error::custom)
}
