//! Serves connections: accepts within caps, enforces timeouts, terminates TLS, and finds out the client's address.
//!
//! A connection is in one of four phases (`admission::Phase`). A client that is slow or silent in its phase is
//! disconnected, and what it held is released. When all places are taken, a connection without a complete request makes
//! room for a new one, so that idle clients cannot lock others out.

mod admission;
mod body;
mod client;
mod service;
mod stream;
pub mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use admission::ConnectionLimits;
use admission::{Admission, Admitted};
pub use body::RequestBodyError;
pub use client::{ClientInfo, TrustedProxies, TrustedProxy};
use service::ConnectionService;
use stream::TimedStream;
use tls::Tls;

use crate::live::Live;

/// Maximum size of a request's header section.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Maximum number of headers of a request.
const MAX_HEADERS: usize = 100;

/// Buffer of a connection in each direction.
const BUFFER: usize = 128 << 10;

/// Pause after `accept` failed, normally because descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Timeout of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Settings of [`serve`].
#[derive(Debug, Clone, Default)]
pub struct NetConfig {
    /// Caps on connections.
    pub limits: Live<ConnectionLimits>,
    /// Proxies whose forwarded headers are believed.
    pub trusted: TrustedProxies,
    /// Certificate and key. `None` means plain HTTP.
    pub tls: Option<Tls>,
}

/// Everything that connections share.
struct Shared {
    router: Router,
    admission: Admission,
    config: NetConfig,
    http: http1::Builder,
    draining: CancellationToken,
}

/// Serves `router` until `shutdown` completes, then finishes the requests in flight.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: NetConfig,
    shutdown: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        // `TimedStream` has the timeouts of all phases.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(BUFFER);
    let draining = CancellationToken::new();
    let shared = Arc::new(Shared {
        router,
        admission: Admission::new(config.limits.clone()),
        config,
        http,
        draining: draining.clone(),
    });
    let connections = TaskTracker::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(&shared, &connections, stream, peer),
            Err(error) if broken_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection; will retry in a moment");
                shared.admission.evict_one();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    draining.cancel();
    connections.close();
    connections.wait().await;
}

/// The client left before its connection was accepted.
fn broken_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Starts the task of a connection, or drops it if there is no place.
fn admit(shared: &Arc<Shared>, connections: &TaskTracker, stream: TcpStream, peer: SocketAddr) {
    let trusted = shared.config.trusted.contains(peer.ip());
    let Some(place) = shared.admission.admit(peer.ip(), trusted) else { return };
    let shared = Arc::clone(shared);
    connections.spawn(async move {
        let evicted = place.evicted().clone();
        tokio::select! {
            () = run(&shared, stream, peer, &place) => {}
            () = evicted.cancelled() => metrics::counter!("homereel_connections_evicted_total").increment(1),
        }
    });
}

async fn run(shared: &Shared, stream: TcpStream, peer: SocketAddr, place: &Admitted) {
    // Each token is a small packet. With Nagle's algorithm it would wait up to 40 ms for the acknowledgement of the
    // one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "failed to set TCP_NODELAY on a connection; its answers may arrive later");
    }
    let Some(tls) = &shared.config.tls else {
        let service = ConnectionService::new(shared, peer, false, place.state());
        return http(shared, TimedStream::new(stream, place.state()), service).await;
    };
    match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(tls::Accepted::Encrypted(stream))) => {
            let service = ConnectionService::new(shared, peer, true, place.state());
            http(shared, TimedStream::new(stream, place.state()), service).await;
        }
        // A browser that was given `http://`: it is redirected.
        Ok(Ok(tls::Accepted::Plain(stream))) => {
            let service = ConnectionService::redirect_to_https(shared, peer, place.state());
            http(shared, TimedStream::new(stream, place.state()), service).await;
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, %peer, "the TLS handshake with a client failed; closed its connection")
        }
        Err(_) => tracing::debug!(%peer, "the TLS handshake with a client timed out; closed its connection"),
    }
}

async fn http<S>(shared: &Shared, stream: TimedStream<S>, service: ConnectionService)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let connection = shared.http.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return finished(result),
        () = shared.draining.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    finished(connection.await);
}

/// A client that leaves, is too slow, or sends no HTTP is not the operator's concern.
fn finished(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::trace!(%error, "a client's connection ended with an error: it disconnected, was too slow, or did not send HTTP");
    }
}

#[cfg(test)]
mod tests;
