//! The server put together: what handlers see, and how it is started and stopped.

use std::{future::IntoFuture, io::IsTerminal as _, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use homereel_engine::{Engine, Health};
use listenfd::ListenFd;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::{
    ask::Asker,
    auth::Auth,
    config::{self, Server},
    http, intake,
    jobs::{self, Jobs},
    library::Library,
    media::Media,
    shutdown::Lifecycle,
    supervisor, telemetry,
};

/// How long the process lingers after the last request for tasks that were told to stop.
const LINGER: Duration = Duration::from_secs(2);

/// What handlers see. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState {
    /// Engine and media.
    pub asker: Asker,
    /// Who may come in.
    pub auth: Auth,
    /// Videos, texts, answers, jobs.
    pub library: Library,
    /// The background runner's face.
    pub jobs: Jobs,
    /// Settings.
    pub config: Arc<Server>,
    /// How the process ends.
    pub lifecycle: Lifecycle,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Bytes of request bodies that may lie in memory at once, in MiB.
    pub bodies: http::Bodies,
}

impl AppState {
    /// Puts the parts together.
    ///
    /// Beyond this machine, and wherever a password was set, callers have to show who they are.
    ///
    /// # Errors
    /// When the library cannot be opened, or the password's file not be read.
    pub async fn open(
        config: Server,
        engine: Arc<dyn Engine>,
        media: Media,
        metrics: PrometheusHandle,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Self> {
        let library = Library::open(&config.data).await?.with_quota(config.quota);
        let auth = door(&config, &library).await?;
        let frames = library.frames_dir();
        let media = media
            .with_frames_in(&frames, config.frame_cache_bytes)
            .with_context(|| format!("failed to keep frames in {}", frames.display()))?;
        Ok(Self {
            auth,
            asker: Asker::new(engine, media, config.max_requests),
            jobs: Jobs::new(library.clone()),
            library,
            bodies: http::Bodies::new(config.max_body_bytes.saturating_mul(2)),
            config: Arc::new(config),
            lifecycle,
            metrics,
        })
    }
}

async fn door(config: &Server, library: &Library) -> anyhow::Result<Auth> {
    let auth = Auth::new(library.pool().clone(), false);
    if let Some(file) = &config.password_file {
        auth.declare_password(config::password(file)?).await.with_context(|| file.display().to_string())?;
    }
    let guarded = !config.listen.ip().is_loopback() || auth.has_password().await?;
    Ok(Auth::new(library.pool().clone(), guarded && !config.insecure_no_auth))
}

/// Takes the socket that systemd opened, or opens one; `config.listen` is the address that it has from now on.
///
/// # Errors
/// When the address is taken, or systemd's socket is no TCP listener.
pub async fn listen(config: &mut Server) -> anyhow::Result<TcpListener> {
    let inherited =
        ListenFd::from_env().take_tcp_listener(0).context("the socket of systemd does not fit")?;
    let listener = match inherited {
        Some(listener) => {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?
        }
        None => TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("failed to listen on {}", config.listen))?,
    };
    config.listen = listener.local_addr()?;
    Ok(listener)
}

/// Serves until the lifecycle ends, then waits for what is in flight.
///
/// # Errors
/// When a part of the server died.
pub async fn serve(state: AppState, listener: TcpListener) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let runner = tokio::spawn(jobs::run(state.clone()));
    tokio::spawn(watch_engine(state.clone()));
    tokio::spawn(intake::sweep(state.clone()));
    if let Some(directory) = state.config.watch.clone() {
        tokio::spawn(intake::watch(state.clone(), directory));
    }
    tokio::spawn(telemetry::upkeep(state.metrics.clone()));
    announce(address, &state.config.data);
    invite(&state).await?;
    // Ready to be asked. A model may take minutes to load, and pages show that: `/readyz` waits for it.
    supervisor::ready();
    tokio::spawn(supervisor::watchdog(state.clone(), address));

    let life = state.lifecycle.clone();
    let drained = drained(life.clone(), state.asker.clone());
    // Each token is a small packet of its own: held back for the one before to be acknowledged, it comes 40 ms late.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps small packets back");
        }
    });
    let service = http::router(state.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(drained);
    tokio::select! {
        result = server.into_future() => result.context("failed to serve")?,
        () = life.hard().cancelled() => tracing::warn!("requests in flight were cut off"),
    }
    supervisor::stopping();
    life.drain();
    if tokio::time::timeout(LINGER, runner).await.is_err() {
        tracing::warn!("a job did not stop in time; it starts again with the next server");
    }
    state.library.close().await;
    anyhow::ensure!(!life.crashed(), "the engine failed");
    Ok(())
}

/// Ends when the server drains and no answer is in the making: until then the door stays open, so that whoever
/// asks `/readyz` is told.
async fn drained(life: Lifecycle, asker: Asker) {
    life.soft().cancelled().await;
    asker.interactive_idle(Duration::MAX).await;
}

/// Where a password is needed and nobody set one, tells how: by a link, unless the log is kept (a secret there would
/// outlive its use).
async fn invite(state: &AppState) -> anyhow::Result<()> {
    if !state.auth.required() || state.auth.has_password().await? {
        return Ok(());
    }
    let kept = std::env::var_os("JOURNAL_STREAM").is_some() && !std::io::stderr().is_terminal();
    if kept {
        tracing::warn!("no password is set yet: `homereel password link` prints a link that sets one");
    } else {
        let url = http::login_link(state.config.listen, &state.auth.make_link().await?);
        tracing::warn!("no password is set yet; whoever opens this link first sets it: {url}");
    }
    Ok(())
}

fn announce(address: SocketAddr, data: &Path) {
    tracing::info!(data = %data.display(), "listening on http://{address}");
}

/// Reports readiness, and ends the process when the engine dies, so that systemd starts it anew.
async fn watch_engine(state: AppState) {
    let mut watch = state.asker.engine().watch_health();
    loop {
        // Copied, so that nothing is borrowed while the engine wants to change it.
        let health = watch.borrow_and_update().clone();
        match health {
            Health::Ready => {
                supervisor::status("answering");
                match state.asker.engine().info() {
                    Ok(info) => tracing::info!(model = info.id, backend = info.backend, "ready"),
                    Err(error) => tracing::warn!(%error, "ready, but the model does not describe itself"),
                }
            }
            Health::Failed(reason) => {
                tracing::error!(reason, "the engine failed; the server stops");
                state.lifecycle.crash();
                return;
            }
            Health::Loading => supervisor::status("loading the model"),
        }
        tokio::select! {
            changed = watch.changed() => if changed.is_err() {
                tracing::error!("the engine died; the server stops");
                state.lifecycle.crash();
                return;
            },
            () = state.lifecycle.soft().cancelled() => return,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use homereel_engine::fake::{self, FakeEngine};
    use homereel_video::Worker;

    use super::*;
    use crate::library::{JobState, Poster, Step, tests::probe};

    const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// A server on scratch data, on an engine that plays `script`, without a video worker.
    pub(crate) async fn state_with(data: &Path, script: Vec<fake::Step>) -> (AppState, Arc<FakeEngine>) {
        let engine = Arc::new(FakeEngine::new("fake", script));
        let config = Server { listen: LOCAL, ..Server::new(data.to_owned()) };
        let media = Media::new(Worker::new("/nonexistent".into(), &[]));
        let metrics = telemetry::unrecorded().unwrap();
        let state = AppState::open(config, engine.clone(), media, metrics, Lifecycle::default());
        (state.await.unwrap(), engine)
    }

    async fn within<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), work).await.unwrap()
    }

    async fn state(data: &Path) -> (AppState, Arc<FakeEngine>) {
        state_with(data, Vec::new()).await
    }

    #[tokio::test]
    async fn a_dead_engine_ends_the_server_with_an_error() {
        let data = tempfile::tempdir().unwrap();
        let (state, engine) = state(data.path()).await;
        engine.set_health(Health::Failed("out of memory".into()));
        let result = within(serve(state, TcpListener::bind(LOCAL).await.unwrap())).await;
        assert!(result.unwrap_err().to_string().contains("engine"));
    }

    #[tokio::test]
    async fn a_drained_server_ends_without_one() {
        let data = tempfile::tempdir().unwrap();
        let (state, _engine) = state(data.path()).await;
        state.lifecycle.drain();
        within(serve(state, TcpListener::bind(LOCAL).await.unwrap())).await.unwrap();
    }

    #[tokio::test]
    async fn a_job_whose_worker_is_missing_waits_for_another_try() {
        let data = tempfile::tempdir().unwrap();
        let (state, _engine) = state(data.path()).await;
        let mut changes = state.library.subscribe();
        let mut incoming = state.library.incoming(None, 100).await.unwrap();
        incoming.write(b"bytes").await.unwrap();
        let video =
            incoming.seal().await.unwrap().commit("a.mp4", "video/mp4", &probe()).await.unwrap().video;
        let runner = tokio::spawn(jobs::run(state.clone()));
        let job = loop {
            match changes.recv().await.unwrap() {
                crate::library::Change::Job { job } if job.error.is_some() => break job,
                _ => {}
            }
        };
        assert_eq!((job.state, job.step, job.attempts), (JobState::Queued, Step::Describe, 1));
        assert!(job.warnings[0].starts_with("no poster"), "{:?}", job.warnings);
        assert_eq!(state.library.video(&video.id).await.unwrap().poster, Poster::Failed);
        state.lifecycle.drain();
        runner.await.unwrap();
    }
}
