//! State that request handlers share.

use std::sync::Arc;

use anyhow::Context as _;
use homereel_engine::Engine;
use homereel_library::{Auth, Library};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{
    answer::AnswerService,
    audit::AuditLog,
    budget::MemoryBudget,
    config::{self, ServerConfig},
    fetch::Fetcher,
    import::ImportContext,
    jobs::{JobContext, JobSlots, Jobs},
    live::Live,
    meaning::Meaning,
    media::MediaDecoder,
    samples::Samples,
    shutdown::Lifecycle,
    speech::SpeechService,
};

/// Memory for the JSON of all request bodies together. Media are on disk.
const BODY_MEMORY: usize = 256 << 20;

/// State that request handlers share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState {
    /// Answers questions about videos with the engine and the decoder.
    pub answers: AnswerService,
    /// Passwords, sessions, API keys.
    pub auth: Auth,
    /// Records logins, changes of users and keys, and deletions.
    pub audit: AuditLog,
    /// Videos, texts, answers, jobs.
    pub library: Library,
    /// Cancels and retries background jobs.
    pub jobs: Jobs,
    /// Slots of the model's lane.
    pub slots: JobSlots,
    /// Settings.
    pub config: Live<Arc<ServerConfig>>,
    /// Shutdown state of the process.
    pub lifecycle: Lifecycle,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// Memory budget of the JSON of all request bodies together.
    pub bodies: MemoryBudget,
    /// Fetches media of requests from allowed hosts.
    pub fetcher: Fetcher,
    /// How the server did over the last days.
    pub samples: Samples,
    /// Search by meaning.
    pub meaning: Meaning,
    /// Transcribes. `None` means that nothing does.
    pub speech: Option<SpeechService>,
}

impl AppState {
    /// Opens the library and the other dependencies of the handlers.
    ///
    /// A login is required on every address but loopback, and wherever a password is set.
    ///
    /// # Errors
    /// When the library cannot be opened, the password file cannot be read, or no thread can be started.
    pub async fn open(
        config: ServerConfig,
        engine: Arc<dyn Engine>,
        media: MediaDecoder,
        metrics: PrometheusHandle,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Self> {
        let library = Library::open(&config.data)
            .await
            .with_context(|| format!("failed to open the library in {}", config.data.display()))?
            .with_quota(config.quota)
            .with_files_quota(config.files_max_bytes);
        let auth = open_auth(&config, &library).await?;
        let frames = library.frames_dir();
        let media = media
            .with_frames_in(&frames, config.frame_cache_bytes)
            .with_context(|| format!("failed to open the frame cache {}", frames.display()))?;
        let slots = JobSlots::new(config.jobs);
        let answers = AnswerService::new(engine, media, config.max_requests);
        let observed = slots.clone();
        answers.observe_first_tokens(move |ttft_ms, tokens| observed.observe(ttft_ms, tokens));
        let stop = lifecycle.hard().clone();
        let meaning = Meaning::open(config.embed.clone(), library.clone(), stop)
            .context("failed to open search by meaning")?;
        Ok(Self {
            audit: AuditLog::new(&config.data),
            auth,
            answers,
            slots,
            jobs: Jobs::new(library.clone()),
            library,
            bodies: MemoryBudget::new(BODY_MEMORY),
            fetcher: Fetcher::new(config.allow_media_hosts.clone()).context("failed to set up TLS")?,
            samples: Samples::default(),
            meaning,
            speech: config.speech.as_ref().map(SpeechService::open).transpose()?,
            config: Arc::new(config).into(),
            lifecycle,
            metrics,
        })
    }

    /// Returns the dependencies of the job runner.
    #[must_use]
    pub fn job_context(&self) -> JobContext {
        JobContext {
            library: self.library.clone(),
            answers: self.answers.clone(),
            jobs: self.jobs.clone(),
            lifecycle: self.lifecycle.clone(),
            window_s: self.config.get().window_s,
            budget: self.config.get().reading_budget,
            slots: self.slots.clone(),
            speech: self.speech.clone(),
            // The other video workers are free for questions and the model's lane.
            media_jobs: self.config.get().video_workers.div_ceil(2),
        }
    }

    /// Returns the dependencies of importing files.
    #[must_use]
    pub fn import_context(&self) -> ImportContext {
        ImportContext {
            library: self.library.clone(),
            media: self.answers.media().clone(),
            lifecycle: self.lifecycle.clone(),
            max_upload_bytes: self.config.get().max_upload_bytes,
            files_keep_s: self.config.get().files_keep_s,
        }
    }
}

async fn open_auth(config: &ServerConfig, library: &Library) -> anyhow::Result<Auth> {
    let auth = Auth::new(library.pool().clone(), false);
    if let Some(file) = &config.password_file {
        auth.declare_password(config::password(file)?).await.with_context(|| file.display().to_string())?;
    }
    let required = !config.listen.ip().is_loopback() || auth.has_password().await?;
    Ok(Auth::new(library.pool().clone(), required && !config.insecure_no_auth))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{net::SocketAddr, path::Path};

    use homereel_engine::fake::{self, FakeEngine};
    use homereel_video::Worker;

    use super::*;
    use crate::telemetry;

    pub(crate) const LOCAL: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// A server on temporary data with a scripted engine and without a video worker.
    pub(crate) async fn state_with(
        data: &Path,
        script: Vec<fake::ScriptStep>,
    ) -> (AppState, Arc<FakeEngine>) {
        let engine = Arc::new(FakeEngine::new("fake", script));
        let config = ServerConfig { listen: LOCAL, ..ServerConfig::new(data.to_owned()) };
        let media = MediaDecoder::new(Worker::new("/nonexistent".into(), &[]));
        let metrics = telemetry::unrecorded().unwrap();
        let state = AppState::open(config, engine.clone(), media, metrics, Lifecycle::default());
        (state.await.unwrap(), engine)
    }
}
