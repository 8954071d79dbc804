//! Ctrl-C: the first ends a run and keeps its measurements, the second ends the program.

use tokio_util::sync::CancellationToken;

/// Returns a token that the first Ctrl-C cancels.
pub(super) fn cancel_on_ctrl_c() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopping.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    stop
}
