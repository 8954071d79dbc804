//! Runs the server: listens, starts the background tasks, serves until shutdown, then drains.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::Context as _;
use homereel_engine::Health;
use listenfd::ListenFd;
use tokio::net::TcpListener;

use crate::{
    answer::AnswerService,
    config::ServerConfig,
    http, import, jobs,
    net::{self, ConnectionLimits, NetConfig, TrustedProxies, tls::Tls},
    reload::{self, Settings},
    samples,
    shutdown::Lifecycle,
    state::AppState,
    supervisor, telemetry,
};

/// How long to wait for background tasks after the last request.
const LINGER: Duration = Duration::from_secs(2);

/// Takes the socket that systemd opened, or opens one, and stores its address in `config.listen`.
///
/// # Errors
/// When the address is in use, or systemd's socket is not a TCP listener.
pub async fn listen(config: &mut ServerConfig) -> anyhow::Result<TcpListener> {
    let inherited = ListenFd::from_env()
        .take_tcp_listener(0)
        .context("the socket that systemd passed is not a TCP listener")?;
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

/// Serves until the lifecycle ends, then waits for requests in flight.
///
/// # Errors
/// When a part of the server failed.
pub async fn serve(state: AppState, listener: TcpListener, settings: Settings) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let net_config = net_config(&state.config.get())?;
    reload::on_hangup(&state, &net_config, settings)?;
    let runner = tokio::spawn(jobs::run(state.job_context()));
    tokio::spawn(watch_engine(state.clone()));
    tokio::spawn(import::sweep(state.import_context()));
    if let Some(directory) = state.config.get().watch.clone() {
        tokio::spawn(import::watch(state.import_context(), directory));
    }
    tokio::spawn(state.meaning.clone().upkeep(state.lifecycle.clone()));
    tokio::spawn(samples::collect(state.clone()));
    tokio::spawn(telemetry::upkeep(state.metrics.clone()));
    tracing::info!(
        url = %state.config.get().url(address),
        data = %state.config.get().data.display(),
        "started the HTTP server"
    );
    warn_if_open(&state);
    print_setup_link(&state).await?;
    if let Some(tls) = &net_config.tls {
        tokio::spawn(tls.clone().watch());
    }
    // Requests are accepted from here on. A model may take minutes to load: pages show that, and `/readyz`
    // waits for it.
    supervisor::ready();
    tokio::spawn(supervisor::watchdog(state.library.clone(), state.lifecycle.clone(), address));

    let life = state.lifecycle.clone();
    let drained = drained(life.clone(), state.answers.clone());
    tokio::select! {
        () = net::serve(listener, http::router(state.clone()), net_config, drained) => {}
        () = life.hard().cancelled() => tracing::warn!("aborted all requests in flight, because the server must stop at once"),
    }
    supervisor::stopping();
    life.drain();
    if tokio::time::timeout(LINGER, runner).await.is_err() {
        tracing::warn!(
            jobs = state.jobs.running().join(" "),
            timeout_s = LINGER.as_secs(),
            "background jobs did not stop in time; the server exits, and its next start resumes them"
        );
    }
    state.library.close().await;
    anyhow::ensure!(!life.crashed(), "the engine failed");
    Ok(())
}

/// Checks the settings of connections and loads the certificate.
///
/// # Errors
/// When a file of the certificate does not fit, or the limits do not fit this process.
pub(crate) fn net_config(config: &ServerConfig) -> anyhow::Result<NetConfig> {
    let tls = match &config.tls {
        Some(files) => {
            let tls = Tls::load(&files.certificate, &files.key)?;
            Some(tls)
        }
        None => None,
    };
    let limits =
        ConnectionLimits::within_descriptors(config.max_connections, config.max_connections_per_address)
            .map_err(anyhow::Error::msg)?;
    Ok(NetConfig { limits: limits.into(), trusted: TrustedProxies(config.trusted_proxies.clone()), tls })
}

/// Without a login, a proxy in front of a loopback address passes on everyone who reaches it.
fn warn_if_open(state: &AppState) {
    let config = &state.config.get();
    let proxied = !config.hosts.is_empty() || !config.trusted_proxies.is_empty();
    if proxied && !state.auth.required() {
        let hosts = config.hosts.join(" ");
        tracing::warn!(
            hosts,
            "no login is required: everyone who reaches the proxy sees all videos; `homereel password set` sets a password"
        );
    }
}

/// Completes when the server drains and no answer is being generated. The port stays open until then, so that
/// `/readyz` can report the drain.
async fn drained(life: Lifecycle, answers: AnswerService) {
    life.soft().cancelled().await;
    answers.interactive_idle(Duration::MAX).await;
}

/// If a password is required and none is set, prints a one-time link that sets one. A log that is stored gets
/// no link, because a secret in it would outlive its use.
async fn print_setup_link(state: &AppState) -> anyhow::Result<()> {
    if !state.auth.required() || state.auth.has_password().await? {
        return Ok(());
    }
    let kept = std::env::var_os("JOURNAL_STREAM").is_some() && !std::io::stderr().is_terminal();
    if kept {
        tracing::warn!(
            "no household password is set, nobody can log in; `homereel password link` prints a link that sets one"
        );
    } else {
        let token = state.auth.make_link().await?;
        let url = http::login_link(state.config.get().listen, state.config.get().tls.is_some(), &token);
        tracing::warn!(%url, "no household password is set, whoever opens this link first sets it");
    }
    Ok(())
}

/// Reports readiness to systemd. Ends the process when the engine fails, so that systemd restarts it.
async fn watch_engine(state: AppState) {
    let mut watch = state.answers.engine().watch_health();
    loop {
        // Cloned, because a borrow would block the engine's updates.
        let health = watch.borrow_and_update().clone();
        match health {
            Health::Ready => {
                supervisor::status("answering");
                match state.answers.engine().info() {
                    Ok(info) => {
                        tracing::info!(
                            model = info.id,
                            backend = info.backend,
                            "the engine is ready; questions can be answered from now on"
                        )
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the engine is ready, but the name of its model could not be read; questions can be answered nevertheless")
                    }
                }
            }
            Health::Failed(reason) => {
                tracing::error!(
                    error = reason,
                    "the engine failed; the server stops with an error, so that systemd restarts it"
                );
                state.lifecycle.crash();
                return;
            }
            Health::Loading => supervisor::status("loading the model"),
        }
        tokio::select! {
            changed = watch.changed() => if changed.is_err() {
                tracing::error!("the engine thread ended unexpectedly; the server stops with an error, so that systemd restarts it");
                state.lifecycle.crash();
                return;
            },
            () = state.lifecycle.soft().cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use homereel_engine::fake::FakeEngine;

    use super::*;
    use crate::state::tests::{LOCAL, state_with};
    use homereel_library::{JobState, Poster, Step};
    use homereel_video::fixtures::summary;

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
        let result = within(serve(state, TcpListener::bind(LOCAL).await.unwrap(), Settings::default())).await;
        assert!(result.unwrap_err().to_string().contains("engine"));
    }

    #[tokio::test]
    async fn a_drained_server_ends_without_one() {
        let data = tempfile::tempdir().unwrap();
        let (state, _engine) = state(data.path()).await;
        state.lifecycle.drain();
        within(serve(state, TcpListener::bind(LOCAL).await.unwrap(), Settings::default())).await.unwrap();
    }

    #[tokio::test]
    async fn a_job_whose_worker_is_missing_waits_for_another_try() {
        let data = tempfile::tempdir().unwrap();
        let (state, _engine) = state(data.path()).await;
        let mut changes = state.library.subscribe();
        let mut incoming = state.library.incoming(None, 100).await.unwrap();
        incoming.write(b"bytes").await.unwrap();
        let video =
            incoming.seal().await.unwrap().commit("a.mp4", "video/mp4", &summary()).await.unwrap().video;
        let runner = tokio::spawn(jobs::run(state.job_context()));
        let job = loop {
            match changes.recv().await.unwrap() {
                homereel_library::Change::Job { job } if job.error.is_some() => break job,
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
