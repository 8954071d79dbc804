//! Settings: defaults < TOML file < environment (`HOMEREEL_*`) < flags, resolved and validated once.

mod embed;
mod flags;
mod models;
mod origin;
mod speech;

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, ensure};
use homereel_engine::{EngineConfig, VideoBudget, embed::EmbedSource, flags::EngineFlags};
use homereel_video::Decoder;
use serde::Deserialize;

pub use flags::ServerFlags;
pub use origin::AllowedOrigin;
pub use speech::{SpeechBackend, SpeechConfig};

pub use crate::fetch::AllowedHost;
use crate::{jobs::JobsLimit, net::TrustedProxy};

/// Shortest time for which files are kept, in seconds, as in OpenAI's API; and the longest.
pub const MIN_FILES_KEEP_S: u64 = 3600;
const MAX_FILES_KEEP_S: u64 = 30 * 24 * 3600;

/// The TOML file, with `[server]` and `[engine]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConfigFile {
    server: ServerFlags,
    engine: EngineFlags,
}

/// Resolved settings of `serve`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Library directory.
    pub data: PathBuf,
    /// Additional host names of this server.
    pub hosts: Vec<String>,
    /// Proxies whose forwarded headers are believed.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Other origins whose pages may call the API with a key.
    pub allow_origins: Vec<AllowedOrigin>,
    /// Hosts from which media of requests are fetched.
    pub allow_media_hosts: Vec<AllowedHost>,
    /// Further names of the model.
    pub served_model_names: Vec<String>,
    /// Certificate and key. `None` means plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Maximum number of connections. `None` means the default of [`crate::net::ConnectionLimits`].
    pub max_connections: Option<usize>,
    /// Maximum number of connections from one address. `None` means the default.
    pub max_connections_per_address: Option<usize>,
    /// Maximum size of one upload.
    pub max_upload_bytes: u64,
    /// Maximum size of all videos. `None` means that only the disk limits it.
    pub quota: Option<u64>,
    /// Maximum size of all files of `/v1/files`.
    pub files_max_bytes: u64,
    /// Seconds after which a file expires.
    pub files_keep_s: u64,
    /// Size of the on-disk cache of decoded frames.
    pub frame_cache_bytes: u64,
    /// Maximum size of one JSON body.
    pub max_body_bytes: usize,
    /// Maximum number of concurrent questions.
    pub max_requests: usize,
    /// Maximum number of videos per request.
    pub max_videos: usize,
    /// Maximum number of images per request.
    pub max_images: usize,
    /// Number of videos that are decoded concurrently.
    pub video_workers: usize,
    /// Number of videos that the model describes concurrently.
    pub jobs: JobsLimit,
    /// Visual tokens that the model spends on a video of the library.
    pub reading_budget: VideoBudget,
    /// Hardware that decodes them.
    pub decoder: Decoder,
    /// File that contains the household's password.
    pub password_file: Option<PathBuf>,
    /// Whether anyone who reaches the port has access.
    pub insecure_no_auth: bool,
    /// Length of the windows in which the model reads long videos.
    pub window_s: f64,
    /// Directory from which new videos are imported.
    pub watch: Option<PathBuf>,
    /// What embeds texts for search by meaning. `None` means that it is off.
    pub embed: Option<EmbedSource>,
    /// What transcribes. `None` means that nothing does.
    pub speech: Option<SpeechConfig>,
}

/// Files of a TLS certificate, in PEM format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl ServerConfig {
    /// Returns the URL of this server at `address`.
    #[must_use]
    pub fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    /// Returns the defaults for a library in `data`, listening on loopback.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            allow_origins: Vec::new(),
            allow_media_hosts: Vec::new(),
            served_model_names: Vec::new(),
            tls: None,
            max_connections: None,
            max_connections_per_address: None,
            max_upload_bytes: 64 << 30,
            quota: None,
            files_max_bytes: 16 << 30,
            files_keep_s: 24 * 3600,
            frame_cache_bytes: 2 << 30,
            max_body_bytes: 512 << 20,
            max_requests: 32,
            max_videos: 8,
            max_images: 32,
            window_s: 120.0,
            watch: None,
            embed: None,
            speech: None,
            video_workers: std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2)),
            jobs: JobsLimit::Auto,
            reading_budget: VideoBudget::Capped,
            decoder: Decoder::Auto,
            password_file: None,
            insecure_no_auth: false,
        }
    }
}

/// Merges the TOML file with the flags, which already include the environment and take precedence.
///
/// # Errors
/// When the file cannot be read, or contains an unknown key or an invalid value; when a setting is out of
/// range.
pub fn resolve(
    file: Option<&PathBuf>,
    flags: ServerFlags,
    engine: EngineFlags,
) -> anyhow::Result<(ServerConfig, EngineConfig)> {
    let file = read(file)?;
    let from_file = file.server;
    let data = flags.data.or(from_file.data).map_or_else(default_data, Ok)?;
    let defaults = ServerConfig::new(data);
    let server = ServerConfig {
        listen: flags.listen.or(from_file.listen).unwrap_or(defaults.listen),
        hosts: either(flags.hosts, from_file.hosts),
        trusted_proxies: either(flags.trusted_proxies, from_file.trusted_proxies),
        allow_origins: either(flags.allow_origins, from_file.allow_origins),
        allow_media_hosts: either(flags.allow_media_hosts, from_file.allow_media_hosts),
        served_model_names: either(flags.served_model_names, from_file.served_model_names),
        tls: tls_files(flags.tls_cert.or(from_file.tls_cert), flags.tls_key.or(from_file.tls_key))?,
        max_connections: flags.max_connections.or(from_file.max_connections),
        max_connections_per_address: flags
            .max_connections_per_address
            .or(from_file.max_connections_per_address),
        max_upload_bytes: flags
            .max_upload_bytes
            .or(from_file.max_upload_bytes)
            .unwrap_or(defaults.max_upload_bytes),
        quota: flags.quota.or(from_file.quota),
        files_max_bytes: flags
            .files_max_bytes
            .or(from_file.files_max_bytes)
            .unwrap_or(defaults.files_max_bytes),
        files_keep_s: flags.files_keep.or(from_file.files_keep).unwrap_or(defaults.files_keep_s),
        frame_cache_bytes: flags
            .frame_cache_bytes
            .or(from_file.frame_cache_bytes)
            .unwrap_or(defaults.frame_cache_bytes),
        max_body_bytes: flags.max_body_bytes.or(from_file.max_body_bytes).unwrap_or(defaults.max_body_bytes),
        max_requests: flags.max_requests.or(from_file.max_requests).unwrap_or(defaults.max_requests),
        reading_budget: flags.reading_budget.or(from_file.reading_budget).unwrap_or(defaults.reading_budget),
        jobs: flags.jobs.or(from_file.jobs).unwrap_or(defaults.jobs),
        decoder: flags.decoder.or(from_file.decoder).unwrap_or(defaults.decoder),
        video_workers: flags.video_workers.or(from_file.video_workers).unwrap_or(defaults.video_workers),
        password_file: flags.password_file.or(from_file.password_file).or_else(password_credential),
        insecure_no_auth: flags.insecure_no_auth || from_file.insecure_no_auth,
        window_s: flags.window_seconds.or(from_file.window_seconds).unwrap_or(defaults.window_s),
        watch: flags.watch.or(from_file.watch),
        embed: embed::source(
            flags.embed_model.or(from_file.embed_model),
            flags.embed_url.or(from_file.embed_url),
            flags.embed_url_model.or(from_file.embed_url_model),
        )?,
        speech: speech::resolve(
            flags.speech_model.or(from_file.speech_model),
            flags.speech_url.or(from_file.speech_url),
            flags.speech_url_model.or(from_file.speech_url_model),
            flags.speech_language.or(from_file.speech_language),
        )?,
        ..defaults
    };
    if let Some(directory) = &server.watch {
        ensure!(directory.is_dir(), "--watch {} is not a directory", directory.display());
    }
    ensure!(
        (1.0..=3600.0).contains(&server.window_s),
        "window_seconds is {}; 1 to 3600 would fit",
        server.window_s
    );
    ensure!(
        (MIN_FILES_KEEP_S..=MAX_FILES_KEEP_S).contains(&server.files_keep_s),
        "files_keep is {}; {MIN_FILES_KEEP_S} to {MAX_FILES_KEEP_S} (seconds) would fit",
        server.files_keep_s
    );
    for (name, value) in [("max_requests", server.max_requests), ("video_workers", server.video_workers)] {
        ensure!((1..=1024).contains(&value), "{name} is {value}; 1 to 1024 would fit");
    }
    let caps = [
        ("max_connections", server.max_connections),
        ("max_connections_per_address", server.max_connections_per_address),
    ];
    for (name, value) in caps {
        ensure!(value != Some(0), "{name} is 0; 1 or more would fit");
    }
    let engine = engine.resolve(file.engine, server.max_requests)?;
    Ok((server, engine))
}

/// Returns the flags' values, or the file's if there are none.
fn either<T>(flags: Vec<T>, from_file: Vec<T>) -> Vec<T> {
    if flags.is_empty() { from_file } else { flags }
}

fn tls_files(certificate: Option<PathBuf>, key: Option<PathBuf>) -> anyhow::Result<Option<TlsFiles>> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => anyhow::bail!("tls_cert is set, but tls_key is not"),
        (None, Some(_)) => anyhow::bail!("tls_key is set, but tls_cert is not"),
    }
}

/// Resolves only the engine's settings (for `ask`).
///
/// # Errors
/// See [`resolve`].
pub fn engine(file: Option<&PathBuf>, flags: EngineFlags) -> anyhow::Result<EngineConfig> {
    Ok(flags.resolve(read(file)?.engine, 1)?)
}

fn read(file: Option<&PathBuf>) -> anyhow::Result<ConfigFile> {
    let Some(path) = file else { return Ok(ConfigFile::default()) };
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        // The error's own text spans several lines.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        anyhow::anyhow!("{} is not a valid configuration: line {line}: {}", path.display(), error.message())
    })
}

/// Reads the household's password: the file's text without trailing line ends.
///
/// # Errors
/// When the file cannot be read or is not UTF-8.
pub fn password(file: &std::path::Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// The password of systemd (`LoadCredential=password:…`); an empty one counts as missing.
fn password_credential() -> Option<PathBuf> {
    let file = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join("password");
    fs::metadata(&file).is_ok_and(|found| found.len() > 0).then_some(file)
}

/// Resolves the library directory for commands that need no other setting (`keys`, `password`, `notes`).
///
/// # Errors
/// When no directory is given and there is no home directory.
pub fn data(flag: Option<PathBuf>, file: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    flag.or(read(file)?.server.data).map_or_else(default_data, Ok)
}

fn default_data() -> anyhow::Result<PathBuf> {
    // systemd's StateDirectory= first, then the XDG directory.
    let candidates =
        [("STATE_DIRECTORY", ""), ("XDG_DATA_HOME", "homereel"), ("HOME", ".local/share/homereel")];
    candidates
        .into_iter()
        .find_map(|(name, below)| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(|value| PathBuf::from(value).join(below))
        })
        .context("there is no home directory for the library; choose a directory with --data")
}

#[cfg(test)]
mod tests;
