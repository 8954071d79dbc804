//! Logs and metrics of the process.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::printable::LogWriter;

/// Upper bounds of the buckets in seconds, from a cached token to an hour of video.
const SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];

/// Interval at which recorded values are aggregated.
const UPKEEP: Duration = Duration::from_secs(5);

/// Logs to stderr: readable lines on a terminal, compact ones elsewhere, or JSON with
/// `HOMEREEL_LOG_FORMAT=json`. Each event is one line without control characters. `default` is the filter if `RUST_LOG` is
/// not set.
pub fn log(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let colours = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || LogWriter::new(io::stderr(), colours))
        .with_ansi(colours);
    let json = std::env::var("HOMEREEL_LOG_FORMAT").is_ok_and(|format| format == "json");
    // A second call, as in tests, has no effect.
    let _ = if json { builder.json().try_init() } else { builder.with_target(false).try_init() };
}

tokio::task_local! {
    /// Id of the HTTP request that the task works on.
    static REQUEST_ID: String;
}

/// Runs `work` as part of the request `id`: at most 128 ASCII letters, digits, `-`, `_` and `.`.
pub(crate) async fn with_request_id<T>(id: String, work: impl Future<Output = T>) -> T {
    REQUEST_ID.scope(id, work).await
}

/// Returns the id of the request that this task works on; `None` outside of one.
pub(crate) fn request_id() -> Option<String> {
    REQUEST_ID.try_with(String::clone).ok()
}

/// Installs the recorder behind `/metrics`.
///
/// # Errors
/// When a recorder is installed already.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    builder()?.install_recorder()
}

/// Aggregates recorded values periodically: a histogram keeps every value until then, even if nobody reads
/// `/metrics`.
pub async fn upkeep(metrics: PrometheusHandle) {
    let mut beat = tokio::time::interval(UPKEEP);
    loop {
        beat.tick().await;
        metrics.run_upkeep();
    }
}

/// Creates a handle without a recorder, for tests.
///
/// # Errors
/// Never in practice: the list of buckets is not empty.
pub fn unrecorded() -> Result<PrometheusHandle, BuildError> {
    Ok(builder()?.build_recorder().handle())
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;
    use crate::printable::tests::EVIL;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn foreign_text_cannot_add_lines_or_terminal_codes_to_the_log() {
        for colours in [false, true] {
            let captured = Captured::default();
            let out = captured.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_writer(move || LogWriter::new(out.clone(), colours))
                .with_ansi(colours)
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                let _span = tracing::info_span!("import", name = %EVIL, quoted = EVIL).entered();
                tracing::info!(path = %EVIL, debug = ?EVIL, quoted = EVIL, "imported {EVIL}");
            });
            let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            assert!(text.ends_with('\n') && !text.contains('\x07') && !text.contains("\x1b]"), "{text:?}");
            assert_eq!(text.contains("\x1b["), colours, "{text:?}");
            assert!(text.contains("fake line"), "{text:?}");
        }
    }
}
