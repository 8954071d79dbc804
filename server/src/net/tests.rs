//! Slow, silent and numerous clients of a real socket. The clock is simulated: it advances when nothing else can happen.

use std::{convert::Infallible, io, path::Path};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::IntoResponse as _,
    routing::{MethodRouter, get, post},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};

use super::*;

/// A running server.
struct TestServer {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl TestServer {
    async fn start(router: Router, config: NetConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(serve(listener, router, config, async move { stopped.cancelled().await }));
        Self { address, stop, task }
    }

    async fn with_limits(router: Router, total: usize, per_address: usize) -> Self {
        let limits = ConnectionLimits { total, per_address };
        Self::start(router, NetConfig { limits: limits.into(), ..NetConfig::default() }).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects and sends `text`.
    async fn sent(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Reads until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads one response of known length.
async fn response(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let read = stream.read_buf(&mut text).await.unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A route that answers "done" once it is released.
fn held() -> (tokio::sync::watch::Sender<()>, MethodRouter) {
    let (release, hold) = tokio::sync::watch::channel(());
    let wait = move || {
        let mut hold = hold.clone();
        async move {
            let _ = hold.changed().await;
            "done"
        }
    };
    (release, get(wait))
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

#[tokio::test(start_paused = true)]
async fn silent_clients_are_disconnected_in_every_phase() {
    let server = TestServer::start(hello(), NetConfig::default()).await;
    for (text, limit) in [("", stream::HEAD), ("GET / HTTP/1.1\r\nHost: lo", stream::HEAD)] {
        let began = Instant::now();
        let mut stream = server.sent(text).await;
        assert_eq!(rest(&mut stream).await, "");
        let waited = began.elapsed();
        assert!(waited >= limit && waited < limit * 2, "{text:?}: {waited:?}");
    }
    let mut stream = server.sent(GET).await;
    assert!(response(&mut stream, "hello").await.starts_with("HTTP/1.1 200"));
    let began = Instant::now();
    // The connection is kept for another request, but not for ever.
    stream.write_all(GET.as_bytes()).await.unwrap();
    response(&mut stream, "hello").await;
    assert_eq!(rest(&mut stream).await, "");
    assert!(began.elapsed() >= stream::IDLE);
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_header_section_that_drips_is_cut_off() {
    let server = TestServer::start(hello(), NetConfig::default()).await;
    let began = Instant::now();
    let mut stream = server.sent("GET / HTTP/1.1\r\n").await;
    while stream.write_all(b"a: b\r\n").await.is_ok() && began.elapsed() < 4 * stream::HEAD {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(began.elapsed() < 2 * stream::HEAD, "{:?}", began.elapsed());
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_or_drips_fails_and_frees_its_handler() {
    let (sender, mut outcomes) = mpsc::channel(8);
    let take = move |request: Request| {
        let sender = sender.clone();
        async move {
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
            let slow = body.as_ref().is_err_and(|error| RequestBodyError::is_too_slow(error));
            sender.try_send((body.map(|bytes| bytes.len()).unwrap_or(0), slow)).unwrap();
        }
    };
    let server = TestServer::start(Router::new().route("/", post(take)), NetConfig::default()).await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n";
    let _silent = server.sent(&format!("{head}abc")).await;
    assert_eq!(outcomes.recv().await, Some((0, true)));
    let mut drips = server.sent(head).await;
    let drip = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if drips.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        outcome = outcomes.recv() => assert_eq!(outcome, Some((0, true))),
        () = drip => {}
    }
    let mut prompt = server.sent(head).await;
    prompt.write_all(&[b'x'; 50_000]).await.unwrap();
    assert_eq!(outcomes.recv().await, Some((50_000, false)));
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_loses_its_stream() {
    struct Dropped(mpsc::Sender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.try_send(());
        }
    }
    let (sender, mut dropped) = mpsc::channel(8);
    let endless = move || {
        let guard = Dropped(sender.clone());
        let chunks = futures_util::stream::repeat_with(move || {
            let _ = &guard;
            Ok::<_, Infallible>("x".repeat(1 << 16))
        });
        async { Body::from_stream(chunks).into_response() }
    };
    let server = TestServer::start(Router::new().route("/", get(endless)), NetConfig::default()).await;
    let began = Instant::now();
    let _stream = server.sent(GET).await;
    dropped.recv().await.unwrap();
    assert!(began.elapsed() >= stream::UNREAD && began.elapsed() < 3 * stream::UNREAD);
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_make_room_and_busy_ones_stay() {
    let (release, wait) = held();
    let router = hello().route("/wait", wait);
    let server = TestServer::with_limits(router, 3, 3).await;
    let mut busy = server.sent("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = server.sent(GET).await;
        response(&mut stream, "hello").await;
        idle.push(stream);
    }
    let mut newcomer = server.sent(GET).await;
    response(&mut newcomer, "hello").await;
    assert_eq!(rest(&mut idle[0]).await, "", "the longest idle one made room");
    release.send(()).unwrap();
    assert!(response(&mut busy, "done").await.starts_with("HTTP/1.1 200"));
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_server_refuses_and_recovers() {
    let (release, wait) = held();
    let server = TestServer::with_limits(Router::new().route("/", wait), 8, 2).await;
    let mut busy = [server.sent(GET).await, server.sent(GET).await];
    // Both are busy once the third is refused.
    loop {
        let mut third = server.connect().await;
        if third.write_all(GET.as_bytes()).await.is_err() || rest(&mut third).await.is_empty() {
            break;
        }
    }
    release.send(()).unwrap();
    for stream in &mut busy {
        response(stream, "done").await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_stop_finishes_the_requests_in_flight() {
    let (entered, mut began) = mpsc::channel(8);
    let (release, hold) = tokio::sync::watch::channel(());
    let wait = move || {
        let mut hold = hold.clone();
        entered.try_send(()).unwrap();
        async move {
            let _ = hold.changed().await;
            "done"
        }
    };
    let server = TestServer::start(Router::new().route("/", get(wait)), NetConfig::default()).await;
    let mut busy = server.sent(GET).await;
    let mut idle = server.connect().await;
    began.recv().await.unwrap();
    server.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    release.send(()).unwrap();
    assert!(rest(&mut busy).await.ends_with("done"));
    server.task.await.unwrap();
}

#[tokio::test]
async fn the_client_behind_a_trusted_proxy_is_seen() {
    let seen = async |client: ClientInfo| format!("{:?} {} END", client.address, client.https);
    let router = Router::new().route("/", get(seen));
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n\r\n";
    for (trusted, expected) in [(vec![], "127.0.0.1) false"), (vec!["127.0.0.1"], "198.51.100.7) true")] {
        let trusted = TrustedProxies(trusted.iter().map(|text| text.parse().unwrap()).collect());
        let server = TestServer::start(router.clone(), NetConfig { trusted, ..NetConfig::default() }).await;
        let mut stream = server.sent(request).await;
        let text = response(&mut stream, "END").await;
        assert!(text.contains(expected), "{text}");
        server.end().await;
    }
}

mod https {
    use tokio_rustls::{
        TlsConnector,
        rustls::{
            ClientConfig, RootCertStore,
            crypto::ring,
            pki_types::{CertificateDer, ServerName, pem::PemObject as _},
        },
    };

    use super::*;

    fn file(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/net/testdata").join(name)
    }

    /// Sends a request over TLS, trusting only the certificate `name`.
    async fn get_with(address: SocketAddr, name: &str) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file(name)).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let server = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn a_changed_certificate_is_used_and_a_faulty_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (directory.path().join("crt"), directory.path().join("key"));
        let put = |name: &str| {
            std::fs::copy(file(&format!("{name}.crt")), &certificate).unwrap();
            std::fs::copy(file(&format!("{name}.key")), &key).unwrap();
        };
        put("one");
        let tls = Tls::load(&certificate, &key).unwrap();
        let config = NetConfig { tls: Some(tls.clone()), ..NetConfig::default() };
        let server = TestServer::start(hello(), config).await;
        assert!(get_with(server.address, "one.crt").await.unwrap().ends_with("hello"));
        get_with(server.address, "two.crt").await.unwrap_err();
        put("two");
        tls.reload();
        assert!(get_with(server.address, "two.crt").await.unwrap().ends_with("hello"));
        std::fs::write(&key, "nothing").unwrap();
        tls.reload();
        assert!(get_with(server.address, "two.crt").await.unwrap().ends_with("hello"));
        std::fs::copy(file("one.key"), &key).unwrap();
        assert!(Tls::load(&certificate, &key).unwrap_err().to_string().contains("do not fit together"));
        server.end().await;
    }

    #[tokio::test]
    async fn a_client_without_tls_is_redirected() {
        let tls = Tls::load(&file("one.crt"), &file("one.key")).unwrap();
        let server = TestServer::start(hello(), NetConfig { tls: Some(tls), ..NetConfig::default() }).await;
        let mut stream = server.sent("GET /a?b=c HTTP/1.1\r\nHost: reel.home:8080\r\n\r\n").await;
        let text = rest(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 308"), "{text}");
        assert!(text.contains("location: https://reel.home:8080/a?b=c\r\n"), "{text}");
        server.end().await;
    }
}
