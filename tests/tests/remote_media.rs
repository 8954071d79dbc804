//! Pictures and videos that requests name by URL: fetched from allowed hosts only, and never from elsewhere because of a
//! redirect.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, ensure};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::{StreamExt as _, stream};
use homereel_clips::Skill;
use homereel_tests::{PATIENCE, Server, clips};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

const QUESTION: &str = "What color is the object?";

/// What other machines would serve.
#[derive(Clone)]
struct Site {
    clip: Arc<Vec<u8>>,
    requests: Arc<AtomicUsize>,
    /// Signals that an endless body began, and that its reader left.
    began: Arc<Notify>,
    left: Arc<Notify>,
}

struct Left(Arc<Notify>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn endless(State(site): State<Site>) -> Response {
    let left = Left(Arc::clone(&site.left));
    site.began.notify_one();
    let body = stream::once(async { Ok::<_, std::io::Error>("x") }).chain(stream::pending());
    Body::from_stream(body.inspect(move |_| _ = &left)).into_response()
}

impl Site {
    /// Starts the site and returns its host and port.
    async fn start(clip: Vec<u8>) -> anyhow::Result<(Self, String)> {
        let site = Self {
            clip: Arc::new(clip),
            requests: Arc::default(),
            began: Arc::default(),
            left: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let clip = async |State(site): State<Site>| {
            site.requests.fetch_add(1, Ordering::Relaxed);
            // The declared type does not matter.
            ([(header::CONTENT_TYPE, "text/html")], site.clip.to_vec())
        };
        let to = |place: String| move || async move { (StatusCode::FOUND, [(header::LOCATION, place)]) };
        let app = Router::new()
            .route("/clip", get(clip))
            .route("/moved", get(to("/clip".into())))
            .route("/elsewhere", get(to("http://169.254.169.254/clip".into())))
            .route("/other", get(to(format!("http://localhost:{}/clip", listener.local_addr()?.port()))))
            .route("/page", get(async || "<html>SECRET</html>"))
            .route("/large", get(async || vec![0; 2_000_000]))
            .route("/endless", get(endless))
            .with_state(site.clone());
        tokio::spawn(async { axum::serve(listener, app).await });
        Ok((site, host))
    }
}

fn body(part: &Value) -> Value {
    let content = json!([part, { "type": "text", "text": QUESTION }]);
    json!({ "temperature": 0, "messages": [{ "role": "user", "content": content }] })
}

fn video(url: &str) -> Value {
    json!({ "type": "video_url", "video_url": { "url": url } })
}

#[tokio::test]
async fn a_clip_is_fetched_from_an_address_that_is_allowed() -> anyhow::Result<()> {
    let clip = clips::simple(1)?;
    let truth = clip.questions.iter().find(|q| q.skill == Skill::Colour).context("a colour")?;
    let (site, host) = Site::start(std::fs::read(&clip.file)?).await?;
    let server = Server::start_with(&["--allow-media-host", &host, "--max-body-bytes", "1000000"]).await?;
    let url = |path: &str| format!("http://{host}{path}");
    for part in [
        video(&url("/clip")),
        video(&url("/moved")),
        json!({ "type": "image_url", "image_url": { "url": url("/clip") } }),
        json!({ "type": "input_file", "file_url": url("/clip") }),
        json!({ "type": "file", "file": { "file_url": url("/clip") } }),
    ] {
        assert_eq!(server.answer(&body(&part)).await?, truth.answer, "{part}");
    }
    assert_eq!(site.requests.load(Ordering::Relaxed), 5);
    assert_eq!(std::fs::read_dir(server.data().join("incoming"))?.count(), 0);
    // What was fetched leaves no frames on the disk.
    assert_eq!(std::fs::read_dir(server.data().join("frames"))?.count(), 0);

    let port = host.rsplit(':').next().context("a port")?;
    for (part, status, place, word) in [
        (video(&url("/elsewhere")), 400, "video_url", "redirects to a URL that is not allowed"),
        (video(&url("/other")), 400, "video_url", "redirects to a URL that is not allowed"),
        (video(&url("/missing")), 400, "video_url", "did not return the file"),
        (video(&url("/large")), 413, "video_url", "larger than the 1000000 bytes"),
        (json!({ "type": "image_url", "image_url": url("/page") }), 400, "image_url", "text file"),
        (video(&url("/page")), 400, "video_url", ""),
        (video("http://127.0.0.1/clip"), 400, "video_url", "not allowed"),
        (video(&format!("http://localhost:{port}/clip")), 400, "video_url", "not allowed"),
        (video("http://169.254.169.254/latest/meta-data"), 400, "video_url", "not allowed"),
        (video(&format!("http://me:pw@{host}/clip")), 400, "video_url", "user name"),
        (json!({ "type": "input_file", "file_url": "ftp://x/clip" }), 400, "file_url", "not a supported URL"),
    ] {
        let response = server.chat(&body(&part)).await?;
        let (given, told) = (response.status().as_u16(), response.json::<Value>().await?);
        assert_eq!(given, status, "{part}: {told}");
        assert_eq!(told["error"]["param"], format!("messages[0].content[0].{place}"), "{told}");
        let message = told["error"]["message"].as_str().context("a message")?;
        ensure!(message.contains(word) && !message.contains("SECRET") && !message.contains("pw"), "{told}");
    }
    // Two that fit alone are together more than one request may fetch.
    let large = std::fs::read(&clip.file)?.len() as u64;
    let many = vec![video(&url("/clip")); 8];
    if 8 * large > 1_000_000 {
        let response = server.chat(&json!({ "messages": [{ "role": "user", "content": many }] })).await?;
        assert_eq!(response.status(), 413, "{}", response.text().await?);
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_fetched_by_default() -> anyhow::Result<()> {
    let (site, host) = Site::start(Vec::new()).await?;
    let server = Server::start().await?;
    let response = server.chat(&body(&video(&format!("http://{host}/clip")))).await?;
    let (status, told) = (response.status().as_u16(), response.json::<Value>().await?);
    assert_eq!((status, &told["error"]["code"]), (400, &json!("unsupported_url")), "{told}");
    ensure!(told["error"]["message"].as_str().is_some_and(|m| m.contains("no host is allowed")), "{told}");
    assert_eq!(site.requests.load(Ordering::Relaxed), 0);
    Ok(())
}

#[tokio::test]
async fn a_client_who_leaves_ends_the_fetch() -> anyhow::Result<()> {
    let (site, host) = Site::start(Vec::new()).await?;
    let server = Server::start_with(&["--allow-media-host", &host]).await?;
    let body = body(&video(&format!("http://{host}/endless")));
    let asking = server.chat(&body);
    tokio::select! {
        response = asking => anyhow::bail!("answered: {response:?}"),
        () = site.began.notified() => {}
    }
    tokio::time::timeout(PATIENCE, site.left.notified()).await.context("the fetch goes on")?;
    assert_eq!(std::fs::read_dir(server.data().join("incoming"))?.count(), 0);
    Ok(())
}
