//! Applies changed settings to the running server on SIGHUP: the certificate, the limits and the names. The other settings
//! are read at the start only.

use std::{path::PathBuf, sync::Arc};

use homereel_engine::flags::EngineFlags;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::{self, ServerConfig, ServerFlags},
    net::{ConnectionLimits, NetConfig},
    state::AppState,
    supervisor,
};

/// Where the settings come from, to resolve them again.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Flags and environment of `serve`.
    pub server: ServerFlags,
    /// Those of the engine.
    pub engine: EngineFlags,
}

/// Starts to listen for SIGHUP.
///
/// # Errors
/// When the runtime cannot listen for signals.
pub(crate) fn on_hangup(state: &AppState, net: &NetConfig, settings: Settings) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (state, net) = (state.clone(), net.clone());
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            supervisor::reloading();
            reload(&state, &net, &settings);
            supervisor::ready();
        }
    });
    Ok(())
}

/// Settings that do not fit are reported, and those in use stay.
fn reload(state: &AppState, net: &NetConfig, settings: &Settings) {
    if let Some(tls) = &net.tls {
        tls.reload();
    }
    match applied(state, net, settings) {
        Ok(ignored) if ignored.is_empty() => tracing::info!("loaded the settings again"),
        Ok(ignored) => {
            tracing::warn!(
                settings = ignored.join(" "),
                "loaded the settings again; these have changed, but take effect at the next start only"
            );
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "the settings could not be loaded again; the previous ones stay in use");
        }
    }
}

/// Applies the settings that can change. Returns the names of those that have changed and cannot.
fn applied(state: &AppState, net: &NetConfig, settings: &Settings) -> anyhow::Result<Vec<&'static str>> {
    let Settings { file, server, engine } = settings.clone();
    let (new, _) = config::resolve(file.as_ref(), server, engine)?;
    let limits = ConnectionLimits::within_descriptors(new.max_connections, new.max_connections_per_address)
        .map_err(anyhow::Error::msg)?;
    let old = state.config.get();
    let ignored = fixed(&old, &new);
    net.limits.set(limits);
    state.library.set_quota(new.quota);
    state.library.set_files_quota(new.files_max_bytes);
    state.answers.set_max_requests(new.max_requests);
    state.config.set(Arc::new(ServerConfig {
        hosts: new.hosts,
        allow_origins: new.allow_origins,
        served_model_names: new.served_model_names,
        max_connections: new.max_connections,
        max_connections_per_address: new.max_connections_per_address,
        max_upload_bytes: new.max_upload_bytes,
        max_body_bytes: new.max_body_bytes,
        max_requests: new.max_requests,
        max_videos: new.max_videos,
        max_images: new.max_images,
        quota: new.quota,
        files_max_bytes: new.files_max_bytes,
        ..(*old).clone()
    }));
    Ok(ignored)
}

/// Returns the names of settings that differ and are read at the start only.
fn fixed(old: &ServerConfig, new: &ServerConfig) -> Vec<&'static str> {
    let same = [
        // Port 0 became the port that was free.
        ("listen", new.listen.port() == 0 || old.listen == new.listen),
        ("data", old.data == new.data),
        ("trusted_proxies", old.trusted_proxies == new.trusted_proxies),
        ("tls_cert, tls_key", old.tls == new.tls),
        ("frame_cache_bytes", old.frame_cache_bytes == new.frame_cache_bytes),
        ("video_workers", old.video_workers == new.video_workers),
        ("jobs", old.jobs == new.jobs),
        ("reading_budget", old.reading_budget == new.reading_budget),
        ("decoder", old.decoder == new.decoder),
        ("allow_media_hosts", old.allow_media_hosts == new.allow_media_hosts),
        ("files_keep", old.files_keep_s == new.files_keep_s),
        ("password_file", old.password_file == new.password_file),
        ("insecure_no_auth", old.insecure_no_auth == new.insecure_no_auth),
        ("window_seconds", old.window_s == new.window_s),
        ("watch", old.watch == new.watch),
        ("embed_model, embed_url, embed_url_model", old.embed == new.embed),
        ("speech_*", old.speech == new.speech),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state::tests::state_with;

    #[tokio::test]
    async fn limits_change_and_invalid_settings_do_not() {
        let data = tempfile::tempdir().unwrap();
        let (state, _engine) = state_with(data.path(), Vec::new()).await;
        let net = NetConfig::default();
        let file = data.path().join("homereel.toml");
        let settings = Settings {
            file: Some(file.clone()),
            server: ServerFlags { data: Some(data.path().to_owned()), ..ServerFlags::default() },
            ..Settings::default()
        };
        let write = |text: &str| fs::write(&file, text).unwrap();

        write(
            "[server]\nlisten = \"127.0.0.1:0\"\nquota = 1000\nmax_requests = 2\nmax_connections = 9\nmax_body_bytes = 77",
        );
        assert_eq!(applied(&state, &net, &settings).unwrap(), Vec::<&str>::new());
        assert_eq!((state.library.quota(), net.limits.get().total), (Some(1000), 9));
        assert_eq!(state.config.get().max_body_bytes, 77);

        write("[server]\nlisten = \"127.0.0.1:0\"\nmax_requests = 0");
        reload(&state, &net, &settings);
        assert_eq!((state.library.quota(), state.config.get().max_requests), (Some(1000), 2));

        write("[server]\nlisten = \"127.0.0.1:1\"\njobs = 3");
        assert_eq!(applied(&state, &net, &settings).unwrap(), ["listen", "jobs"]);
        assert_eq!((state.library.quota(), state.config.get().max_requests), (None, 32));
    }
}
