//! Checks of the program's dependencies: ffmpeg, the sandbox, the library directory, a password, a model.

use std::{path::Path, time::Duration};

use homereel_engine::{EngineConfig, EngineKind, ModelSource, hub};
use homereel_library::Auth;
use homereel_video::Worker;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Check, CheckState};
use crate::config::ServerConfig;

/// Timeout of a vLLM server's `/v1/models`.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn ffmpeg() -> Check {
    let libraries = homereel_video::libraries();
    let words: Vec<_> =
        libraries.iter().map(|library| format!("{} {}", library.name, library.version)).collect();
    let facts: serde_json::Map<_, _> =
        libraries.into_iter().map(|library| (library.name.into(), library.version.into())).collect();
    let missing = homereel_video::missing_decoders();
    let check = |state| Check::new("ffmpeg", state, words.join(", ")).facts(Value::Object(facts.clone()));
    if missing.is_empty() {
        check(CheckState::Ok)
    } else {
        check(CheckState::Warn).mend(format!(
            "this ffmpeg cannot decode {}; install the distribution's own ffmpeg libraries",
            missing.join("; ")
        ))
    }
}

pub(super) async fn sandbox() -> Check {
    let found = match Worker::this_program() {
        Ok(worker) => homereel_video::sandbox(&worker, &CancellationToken::new()).await,
        Err(error) => Err(error),
    };
    let sandbox = match found {
        Ok(sandbox) => sandbox,
        Err(error) => {
            return Check::new(
                "sandbox",
                CheckState::Fail,
                format!("the video worker does not start: {error}"),
            );
        }
    };
    let missing = sandbox.missing();
    let facts = serde_json::to_value(sandbox).unwrap_or_default();
    if missing.is_empty() {
        let version = sandbox.landlock_abi.unwrap_or(0);
        return Check::new(
            "sandbox",
            CheckState::Ok,
            format!("the video worker runs in its sandbox (Landlock {version}, seccomp)"),
        )
        .facts(facts);
    }
    Check::new("sandbox", CheckState::Warn, "the video worker's sandbox lacks layers")
        .mend(missing.join("; "))
        .facts(facts)
}

pub(super) fn data(path: &Path) -> Check {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let writable = rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    match writable {
        Ok(()) if there == path => Check::new("library", CheckState::Ok, path.display().to_string()),
        Ok(()) => {
            Check::new("library", CheckState::Ok, format!("{} (created at the first start)", path.display()))
        }
        Err(error) => Check::new("library", CheckState::Fail, format!("{}: {error}", there.display()))
            .mend("run this as the user that owns it, or choose another directory with --data"),
    }
}

pub(super) async fn password(server: &ServerConfig) -> Check {
    let check = |state, words: &str| Check::new("password", state, words);
    if server.insecure_no_auth {
        return check(CheckState::Warn, "not required (--insecure-no-auth)")
            .mend("remove the flag and set a password with `homereel password link`");
    }
    // Opening the library would create it, and doctor changes nothing.
    let there = server.data.join("homereel.db").exists();
    let set = match if there { Some(Auth::open(&server.data).await) } else { None } {
        Some(Ok(auth)) => auth.has_password().await.unwrap_or(false),
        Some(Err(error)) => return check(CheckState::Note, &format!("unknown: {error}")),
        None => server.password_file.is_some(),
    };
    match (set, server.listen.ip().is_loopback()) {
        (true, _) => check(CheckState::Ok, "set"),
        (false, true) => {
            check(CheckState::Note, "none; none is needed, because only this machine can reach the server")
        }
        (false, false) => check(CheckState::Warn, "not set; nobody can log in")
            .mend("`homereel password link` prints a link that sets it"),
    }
}

/// Suggested fix for a vLLM server that does not respond.
const MEND: &str =
    "`systemctl status 'homereel-vllm@*'`, `journalctl -u 'homereel-vllm@*'`; starting takes minutes";

pub(super) async fn model(engine: &EngineConfig) -> Check {
    if let EngineKind::Vllm { urls, .. } = &engine.kind {
        return upstreams(urls).await;
    }
    let check = |state, words: String| Check::new("model", state, words);
    match &engine.model {
        ModelSource::Demo => check(CheckState::Ok, "demo, built in: it only knows coloured shapes".into()),
        ModelSource::Dir(path) if path.join("config.json").is_file() => {
            check(CheckState::Ok, path.display().to_string())
        }
        ModelSource::Dir(path) => check(CheckState::Fail, format!("{} has no config.json", path.display()))
            .mend("choose a directory in the layout of Hugging Face with --model"),
        ModelSource::Hub { id, revision } => match hub::cached(id, revision.as_deref()) {
            Some(model) if model.complete => {
                check(CheckState::Ok, format!("{id} at {} in {}", model.commit, model.path.display()))
            }
            _ if std::env::var_os("HF_HUB_OFFLINE").is_some_and(|value| value == "1") => check(
                CheckState::Fail,
                format!("{id} is not complete on this machine, and HF_HUB_OFFLINE forbids its download"),
            )
            .mend(format!("`HF_HUB_OFFLINE=0 homereel model pull {id}`")),
            _ => check(CheckState::Warn, format!("{id} is not complete on this machine"))
                .mend(format!("`homereel model pull {id}` (otherwise the server downloads it at its start)")),
        },
    }
}

/// Combines the checks of several replicas; the result is as bad as the worst.
async fn upstreams(urls: &[url::Url]) -> Check {
    if let [url] = urls {
        return upstream(url).await;
    }
    let mut checks = Vec::with_capacity(urls.len());
    for url in urls {
        checks.push(upstream(url).await);
    }
    let silent = checks.iter().filter(|check| check.state == CheckState::Fail).count();
    let found = checks.iter().map(|check| check.found.as_str()).collect::<Vec<_>>().join("; ");
    match silent {
        0 => Check::new("model", CheckState::Ok, found),
        _ if silent < checks.len() => Check::new("model", CheckState::Warn, found).mend(MEND),
        _ => Check::new("model", CheckState::Fail, found).mend(MEND),
    }
}

async fn upstream(url: &url::Url) -> Check {
    let ask = async || -> anyhow::Result<Value> {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(client.get(url.join("v1/models")?).send().await?.error_for_status()?.json().await?)
    };
    match ask().await {
        Ok(told) => {
            let ids: Vec<_> =
                told["data"].as_array().into_iter().flatten().filter_map(|one| one["id"].as_str()).collect();
            Check::new("model", CheckState::Ok, format!("vLLM at {url} serves {}", ids.join(", ")))
                .facts(json!({ "models": ids }))
        }
        Err(error) => {
            Check::new("model", CheckState::Fail, format!("vLLM at {url} does not respond: {error:#}"))
                .mend(MEND)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_model_is_named() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let check = runtime.block_on(model(&EngineConfig::new(ModelSource::Dir("/tmp".into()))));
        assert_eq!(check.state, CheckState::Fail);
        assert!(check.found.contains("/tmp"));
        assert_eq!(runtime.block_on(model(&EngineConfig::new(ModelSource::Demo))).state, CheckState::Ok);
    }

    #[test]
    fn a_directory_that_can_t_be_written_is_a_failure() {
        assert_eq!(data(Path::new("/tmp/homereel-not-there")).state, CheckState::Ok);
        assert_eq!(data(Path::new("/proc/self/homereel")).state, CheckState::Fail);
    }

    #[test]
    fn looking_makes_nothing() {
        // Doctor only reads: a missing library is not created.
        let data = tempfile::tempdir().unwrap();
        let missing = data.path().join("library");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = ServerConfig { listen: ([0, 0, 0, 0], 1).into(), ..ServerConfig::new(missing.clone()) };
        assert_eq!(runtime.block_on(password(&server)).state, CheckState::Warn);
        assert!(!missing.exists());
        assert!(std::fs::read_dir(data.path()).unwrap().next().is_none());
    }
}
