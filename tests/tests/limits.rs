//! Limits on connections and bodies, and which hosts and origins are served: hostile clients are held off, honest ones
//! are not.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use homereel_tests::{PATIENCE, Server};
use reqwest::{Client, Method, StatusCode, header};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

fn address(server: &Server) -> anyhow::Result<SocketAddr> {
    let url = server.url("");
    Ok(url.strip_prefix("http://").context("no address")?.parse()?)
}

/// Connects from 127.0.`network`.`number` and sends `text`.
async fn connect(server: &Server, network: u8, number: u8, text: &str) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, network, number), 0).into())?;
    let mut stream = socket.connect(address(server)?).await?;
    // The server may have closed the connection already.
    let _ = stream.write_all(text.as_bytes()).await;
    Ok(stream)
}

/// Sends `text` and returns what comes back until the connection is closed.
async fn raw(server: &Server, text: &str) -> anyhow::Result<String> {
    let mut stream = connect(server, 2, 1, text).await?;
    let mut answer = Vec::new();
    // A reset ends the answer as well.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn connections(server: &Server) -> anyhow::Result<u32> {
    let text = server.get("/metrics").await?.text().await?;
    let count = text.lines().find_map(|line| line.strip_prefix("homereel_connections "));
    Ok(count.context("no count of connections")?.parse()?)
}

fn half(path: &str, kind: &str, length: usize, begin: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{begin}"
    )
}

#[tokio::test]
async fn connections_that_wait_do_not_lock_anybody_out() -> anyhow::Result<()> {
    let server = Server::start_with(&["--max-connections", "60"]).await?;
    let form = half("/login", "application/x-www-form-urlencoded", 9000, "password=");
    let chat = half("/v1/chat/completions", "application/json", 9000, "{");
    let mut held = Vec::new();
    for number in 1..=40 {
        for text in ["", "GET / HTTP/1.1\r\nHost: lo"] {
            held.push(connect(&server, 1, number, text).await?);
        }
    }
    for number in 1..=10 {
        held.push(connect(&server, 1, number, &form).await?);
        held.push(connect(&server, 1, number, &chat).await?);
    }
    for number in 1..=30 {
        let client = Client::builder().local_address(std::net::IpAddr::from([127, 0, 2, number])).build()?;
        let status = client.get(server.url("/")).send().await?.status();
        ensure!(status == StatusCode::OK, "client {number}: {status}");
    }
    ensure!(connections(&server).await? <= 60);
    drop(held);
    let began = Instant::now();
    while connections(&server).await? > 2 {
        ensure!(began.elapsed() < PATIENCE, "connections are not released");
    }
    Ok(())
}

/// Lets this test open as many connections as the hard limit of open files permits.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // The limit may be as high as it can be already.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[tokio::test]
async fn half_sent_bodies_hold_little_memory() -> anyhow::Result<()> {
    raise_open_files();
    let server = Server::start().await?;
    let chat = half("/v1/chat/completions", "application/json", 500_000_000, "{");
    let mut held = Vec::new();
    for number in 0..1100_u32 {
        held.push(connect(&server, 1, u8::try_from(1 + number % 250)?, &chat).await?);
    }
    let body = json!({ "messages": [{ "role": "user", "content": "Hello" }], "max_tokens": 4 });
    let status = server.chat(&body).await?.status();
    ensure!(status == StatusCode::OK, "{status}");
    Ok(())
}

#[tokio::test]
async fn bodies_are_bounded_in_bytes_and_values() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let sent = async |body: String| {
        let request = server.client().post(server.url("/v1/chat/completions"));
        let response = request.header(header::CONTENT_TYPE, "application/json").body(body).send().await?;
        let status = response.status();
        anyhow::Ok((status, response.text().await?))
    };
    let (status, text) = sent(format!(r#"{{"messages":[],"tools":[{}0]}}"#, "[0],".repeat(300_000))).await?;
    ensure!(status == StatusCode::BAD_REQUEST && text.contains("JSON values"), "{status} {text}");
    let (status, text) = sent(format!(r#"{{"messages":"{}"}}"#, "x".repeat(5 << 20))).await?;
    ensure!(status == StatusCode::PAYLOAD_TOO_LARGE, "{status} {text}");
    let (status, text) = sent("[".repeat(1000)).await?;
    ensure!(status == StatusCode::BAD_REQUEST && text.contains("nested"), "{status} {text}");
    let schema = json!({ "type": "integer", "multipleOf": 1_999_993 });
    let body = json!({
        "messages": [{ "role": "user", "content": "A number." }],
        "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": schema } },
    });
    let (status, text) = sent(body.to_string()).await?;
    ensure!(status == StatusCode::BAD_REQUEST && text.contains("multipleOf"), "{status} {text}");
    Ok(())
}

#[tokio::test]
async fn an_endless_preamble_of_a_form_is_refused() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let text = half("/api/videos", "multipart/form-data; boundary=b", 1 << 30, &"x".repeat(3 << 20));
    let answer = raw(&server, &text).await?;
    ensure!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let login = half("/login", "application/x-www-form-urlencoded", 1 << 20, &"x".repeat(1 << 20));
    let answer = raw(&server, &login).await?;
    ensure!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn without_a_login_only_known_hosts_are_served() -> anyhow::Result<()> {
    for arguments in [vec![], vec!["--listen", "0.0.0.0:0", "--insecure-no-auth"]] {
        let server = Server::start_with(&arguments).await?;
        for (line, host, status) in [
            ("/healthz", "localhost", "200"),
            ("/healthz", "evil.example", "403"),
            ("http://evil.example/healthz", "localhost", "403"),
            ("/healthz", "localhost\r\nHost: evil.example", "4"),
        ] {
            let text = format!("GET {line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = raw(&server, &text).await?;
            ensure!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{arguments:?} {line} {host}: {answer}"
            );
        }
        // The preface of HTTP/2 gets no frames of HTTP/2.
        let answer = raw(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_allowed_origin_uses_a_key_and_never_a_cookie() -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "correct horse battery")?;
    let path = file.path().to_str().context("a path")?;
    let server = Server::start_with(&["--password-file", path, "--allow-origin", "app://reel"]).await?;
    let login = server.client().post(server.url("/login")).form(&[("password", "correct horse battery")]);
    let login = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()?
        .execute(login.build()?)
        .await?;
    let cookie =
        login.headers()[header::SET_COOKIE].to_str()?.split(';').next().context("a cookie")?.to_owned();
    let get = async |origin: &str, cookie: &str, method: Method| {
        let request = server.client().request(method, server.url("/api/videos"));
        let request = request.header(header::ORIGIN, origin).header(header::COOKIE, cookie);
        request.header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET").send().await
    };
    let preflight = get("app://reel", "", Method::OPTIONS).await?;
    ensure!(preflight.status() == StatusCode::NO_CONTENT, "{}", preflight.status());
    ensure!(preflight.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN] == "app://reel");
    ensure!(!preflight.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    let own = get(&server.url(""), &cookie, Method::GET).await?;
    ensure!(own.status() == StatusCode::OK, "{}", own.status());
    let with_cookie = get("app://reel", &cookie, Method::GET).await?;
    ensure!(with_cookie.status() == StatusCode::UNAUTHORIZED, "{}", with_cookie.status());
    ensure!(
        with_cookie.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN] == "app://reel",
        "the page may read the reason"
    );
    let other = get("app://other", &cookie, Method::OPTIONS).await?;
    ensure!(!other.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    Ok(())
}
