//! Reports to systemd: readiness, a status line, the watchdog and the stop. Without systemd every report is a no-op.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use homereel_library::Library;
use sd_notify::NotifyState;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::shutdown::Lifecycle;

/// Timeout of one check.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reports that the server accepts requests.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Reports that the server loads its settings again.
pub(crate) fn reloading() {
    // Without the time, systemd cannot tell this reload from an earlier one.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// Sets the status line that `systemctl status` shows.
pub(crate) fn status(words: &str) {
    notify(&[NotifyState::Status(words)]);
}

/// Reports that the server is stopping.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState<'_>]) {
    // Fails without systemd, which is fine.
    let _ = sd_notify::notify(false, state);
}

/// Notifies the watchdog as long as the server is healthy: each time, a request goes through the port and the
/// database.
pub(crate) async fn watchdog(library: Library, lifecycle: Lifecycle, address: SocketAddr) {
    let mut limit_us = 0;
    if !sd_notify::watchdog_enabled(false, &mut limit_us) {
        return;
    }
    let period = Duration::from_micros(limit_us) / 3;
    loop {
        match timeout(TIMEOUT, check(&library, &lifecycle, address)).await {
            Ok(Ok(())) => notify(&[NotifyState::Watchdog]),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the self-check failed, so no keep-alive was sent to systemd; systemd restarts the server if this goes on")
            }
            Err(_) => tracing::warn!(
                timeout_s = TIMEOUT.as_secs(),
                "the self-check (database, then /healthz) timed out, so no keep-alive was sent to systemd; systemd restarts the server if this goes on"
            ),
        }
        sleep(period).await;
    }
}

/// Requests `/healthz` and reads a number from the library. With TLS, the redirect to HTTPS shows that the port answers. A draining server passes, because its port closes
/// on purpose.
async fn check(library: &Library, lifecycle: &Lifecycle, address: SocketAddr) -> io::Result<()> {
    if lifecycle.draining() {
        return Ok(());
    }
    library.video_count().await.map_err(io::Error::other)?;
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut stream = TcpStream::connect((host, address.port())).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if head.ends_with(b" 200") || head.ends_with(b" 308") {
        Ok(())
    } else {
        Err(io::Error::other("the status of /healthz is not 200"))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::{http, state::tests::state_with};

    #[tokio::test]
    async fn a_check_takes_the_way_of_a_request() {
        let data = tempfile::tempdir().unwrap();
        let (state, _engine) = state_with(data.path(), Vec::new()).await;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, http::router(state.clone())).into_future());
        check(&state.library, &state.lifecycle, address).await.unwrap();
        // Nothing listens on the port: the check fails.
        server.abort();
        let _ = server.await;
        check(&state.library, &state.lifecycle, address).await.unwrap_err();
    }
}
