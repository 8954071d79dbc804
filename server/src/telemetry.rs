//! Logs and metrics of the process.

use std::{io::IsTerminal, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Upper bounds in seconds, from a cached token to an hour of video.
const SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];

/// How often recorded values are summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts logging to stderr: words for people on a terminal, else lines that say less and keep their order.
/// `default` is the filter without `RUST_LOG`; JSON with `HOMEREEL_LOG_FORMAT=json`.
pub fn log(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let json = std::env::var("HOMEREEL_LOG_FORMAT").is_ok_and(|format| format == "json");
    // A second call (tests) changes nothing.
    let _ = if json { builder.json().try_init() } else { builder.with_target(false).try_init() };
}

/// Installs the recorder behind `/metrics`.
///
/// # Errors
/// When another recorder is installed.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    builder()?.install_recorder()
}

/// Sums up what was recorded, again and again: a histogram keeps every value until somebody does, and nobody may be
/// reading `/metrics`.
pub async fn upkeep(metrics: PrometheusHandle) {
    let mut beat = tokio::time::interval(UPKEEP);
    loop {
        beat.tick().await;
        metrics.run_upkeep();
    }
}

/// Makes a handle that nothing records into, for tests.
///
/// # Errors
/// Never in practice: the buckets are not empty.
pub fn unrecorded() -> Result<PrometheusHandle, BuildError> {
    Ok(builder()?.build_recorder().handle())
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
}
