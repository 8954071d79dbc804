//! What systemd is told: ready, how it goes, that we are alive, that we stop. Without systemd nobody is told anything.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::app::AppState;

/// How long one look may take before it counts as none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells that requests are taken.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells in a few words how it goes (`systemctl status` shows them).
pub(crate) fn status(words: &str) {
    tell(&[NotifyState::Status(words)]);
}

/// Tells that the end was asked for.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(false, state);
}

/// Tells that we live, as long as we do: each time the way of a request is gone, from the port to the database.
pub(crate) async fn watchdog(state: AppState, address: SocketAddr) {
    let mut limit_us = 0;
    if !sd_notify::watchdog_enabled(false, &mut limit_us) {
        return;
    }
    let period = Duration::from_micros(limit_us) / 3;
    loop {
        match timeout(PATIENCE, look(&state, address)).await {
            Ok(Ok(())) => tell(&[NotifyState::Watchdog]),
            Ok(Err(error)) => tracing::warn!(%error, "the server does not answer itself"),
            Err(_) => tracing::warn!("the server does not answer itself within {PATIENCE:?}"),
        }
        sleep(period).await;
    }
}

/// Asks `/healthz` through the port and the library for a number. After the drain the port is closed for good reason.
async fn look(state: &AppState, address: SocketAddr) -> io::Result<()> {
    if state.lifecycle.draining() {
        return Ok(());
    }
    state.library.video_count().await.map_err(io::Error::other)?;
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut stream = TcpStream::connect((host, address.port())).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if head.ends_with(b" 200") { Ok(()) } else { Err(io::Error::other("/healthz does not answer 200")) }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::{app::tests::state_with, http};

    #[tokio::test]
    async fn a_look_goes_the_way_of_a_request() {
        let data = tempfile::tempdir().unwrap();
        let (state, _engine) = state_with(data.path(), Vec::new()).await;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, http::router(state.clone())).into_future());
        look(&state, address).await.unwrap();
        // Nobody at the port, or no database: no sign of life.
        server.abort();
        let _ = server.await;
        look(&state, address).await.unwrap_err();
    }
}
