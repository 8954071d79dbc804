//! Search by meaning through the real program, with a stub of an embedding server: what is found, what pages and JSON say when
//! the server fails, videos that are alike, and `/v1/embeddings`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use homereel_tests::{PATIENCE, Server, clips, homereel};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Words with one meaning. A text's vector counts the words of each group; other words count nowhere.
const GROUPS: [&[&str]; 4] = [
    &["snow", "snowballs", "winter", "snowman"],
    &["children", "kids"],
    &["dog", "puppy"],
    &["sings", "song", "music"],
];

/// An embedding server.
struct Stub {
    url: String,
    down: Arc<AtomicBool>,
}

impl Stub {
    async fn start() -> anyhow::Result<Self> {
        let down = Arc::new(AtomicBool::new(false));
        let router = Router::new()
            .route("/v1/models", get(|| async { Json(json!({"data": [{"id": "stub/embed"}]})) }))
            .route("/v1/embeddings", post(embeddings))
            .with_state(Arc::clone(&down));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, down })
    }
}

async fn embeddings(
    State(down): State<Arc<AtomicBool>>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    if down.load(Ordering::Relaxed) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let texts = body["input"].as_array().ok_or(StatusCode::BAD_REQUEST)?;
    let data = texts.iter().enumerate().map(|(index, text)| {
        let vector = vector(text.as_str().unwrap_or_default());
        json!({"object": "embedding", "index": index, "embedding": vector})
    });
    Ok(Json(json!({
        "object": "list", "data": data.collect::<Vec<_>>(), "model": body["model"],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    })))
}

fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0f32; GROUPS.len()];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
        if let Some(group) = GROUPS.iter().position(|group| group.contains(&word)) {
            vector[group] += 1.0;
        }
    }
    vector
}

/// Uploads a clip and describes it.
async fn describe(server: &Server, clip: u64, description: &str) -> anyhow::Result<String> {
    let id = server.upload(&clips::simple(clip)?.file).await?;
    let path = server.url(&format!("/api/videos/{id}"));
    let body = json!({"description": description, "tags": ["clip"]});
    server.client().patch(&path).json(&body).send().await?.error_for_status()?;
    Ok(id)
}

/// Waits until the JSON at `path` is as it should be.
async fn until(server: &Server, path: &str, fits: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let value = server.json(path).await?;
        if fits(&value) {
            return Ok(value);
        }
        ensure!(Instant::now() < end, "{path} stays {value}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn ids(found: &Value) -> Vec<&str> {
    found["videos"].as_array().into_iter().flatten().filter_map(|video| video["id"].as_str()).collect()
}

#[tokio::test]
async fn videos_are_found_by_what_is_meant_and_by_words_alone_while_the_server_fails() -> anyhow::Result<()> {
    let stub = Stub::start().await?;
    let server = Server::start_with(&["--embed-url", &stub.url]).await?;
    let snow = describe(&server, 1, "Two children throw snowballs.").await?;
    let dog = describe(&server, 2, "A dog sleeps.").await?;

    let found = until(&server, "/api/search?q=kids%20winter", |found| ids(found) == [snow.as_str()]).await?;
    assert_eq!(found["meaning"], "used");
    let place = &found["videos"][0]["places"][0];
    assert_eq!((&place["why"], &place["kind"]), (&json!(["meaning"]), &json!("description")), "{found}");
    let both = server.json("/api/search?q=children").await?;
    assert_eq!(both["videos"][0]["places"][0]["why"], json!(["words", "meaning"]), "{both}");
    until(&server, "/api/search?q=puppy", |found| ids(found) == [dog.as_str()]).await?;
    for query in ["%22winter%22", "winter%20-children", "winter&favourite=1", "winter*"] {
        let found = server.json(&format!("/api/search?q={query}")).await?;
        assert_eq!((&found["total"], &found["meaning"]), (&json!(0), &json!("used")), "{query}");
    }
    let page = server.get("/search?q=kids%20winter").await?.text().await?;
    assert!(page.contains("<span class=\"why\">meaning</span>") && page.contains(&snow), "{page}");
    let system = server.get("/system").await?.text().await?;
    assert!(system.contains("Search by meaning") && system.contains("stub/embed"), "{system}");

    stub.down.store(true, Ordering::Relaxed);
    let words = server.json("/api/search?q=snowballs%20two").await?;
    assert_eq!((&words["meaning"], ids(&words)), (&json!("unavailable"), vec![snow.as_str()]), "{words}");
    let page = server.get("/search?q=snowballs%20throw").await?.text().await?;
    assert!(page.contains("Search by meaning is not available right now") && page.contains(&snow), "{page}");
    stub.down.store(false, Ordering::Relaxed);
    until(&server, "/api/search?q=kids%20snowman", |found| ids(found) == [snow.as_str()]).await?;
    Ok(())
}

#[tokio::test]
async fn vectors_survive_a_crash_and_are_gone_with_their_videos() -> anyhow::Result<()> {
    let stub = Stub::start().await?;
    let mut server = Server::start_with(&["--embed-url", &stub.url]).await?;
    let snow = describe(&server, 1, "Two children throw snowballs.").await?;
    until(&server, "/api/search?q=winter", |found| ids(found) == [snow.as_str()]).await?;
    server.kill_and_restart().await?;
    until(&server, "/api/search?q=winter", |found| ids(found) == [snow.as_str()]).await?;
    let path = server.url(&format!("/api/videos/{snow}"));
    server.client().delete(&path).send().await?.error_for_status()?;
    assert_eq!(server.json("/api/search?q=winter").await?["total"], 0, "it is in the trash");
    server.client().post(format!("{path}/restore")).send().await?.error_for_status()?;
    assert_eq!(ids(&server.json("/api/search?q=winter").await?), [snow.as_str()]);
    let body = json!({"description": "A song."});
    server.client().patch(&path).json(&body).send().await?.error_for_status()?;
    assert_eq!(server.json("/api/search?q=winter").await?["total"], 0, "it says something else now");
    until(&server, "/api/search?q=music", |found| ids(found) == [snow.as_str()]).await?;
    Ok(())
}

#[tokio::test]
async fn a_video_s_page_shows_videos_like_it() -> anyhow::Result<()> {
    let stub = Stub::start().await?;
    let server = Server::start_with(&["--embed-url", &stub.url]).await?;
    let first = describe(&server, 1, "Children throw snowballs in winter.").await?;
    let second = describe(&server, 2, "Kids build a snowman.").await?;
    describe(&server, 3, "Somebody sings a song.").await?;
    let path = format!("/api/videos/{first}/similar");
    let similar = until(&server, &path, |similar| ids(similar).first() == Some(&second.as_str())).await?;
    assert_eq!(similar["meaning"], "used");
    assert!(!ids(&similar).contains(&first.as_str()), "{similar}");
    let page = server.get(&format!("/videos/{first}")).await?.text().await?;
    let strip = page.split("More like this").nth(1).unwrap_or_default();
    assert!(strip.contains(&format!("href=\"/videos/{second}\"")), "{page}");
    assert_eq!(server.get("/api/videos/nothing/similar").await?.status(), 404);
    Ok(())
}

#[tokio::test]
async fn programs_get_vectors_in_openai_s_format() -> anyhow::Result<()> {
    let stub = Stub::start().await?;
    let server = Server::start_with(&["--embed-url", &stub.url]).await?;
    let ask = |body: Value| server.client().post(server.url("/v1/embeddings")).json(&body).send();
    let one: Value = ask(json!({"input": "A dog."})).await?.error_for_status()?.json().await?;
    assert_eq!((&one["object"], &one["model"]), (&json!("list"), &json!("stub/embed")));
    assert_eq!(one["data"][0]["embedding"], json!(vector("A dog.")));
    assert_eq!(one["usage"], json!({"prompt_tokens": 5, "total_tokens": 5}));
    let body = json!({"input": ["snow", "dog"], "model": "stub/embed", "encoding_format": "base64", "dimensions": 4});
    let two: Value = ask(body).await?.error_for_status()?.json().await?;
    for (at, text) in ["snow", "dog"].into_iter().enumerate() {
        let bytes = BASE64.decode(two["data"][at]["embedding"].as_str().unwrap_or_default())?;
        let expected: Vec<u8> = vector(text).iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!((bytes, &two["data"][at]["index"]), (expected, &json!(at)));
    }
    for (body, status, param) in [
        (json!({"input": [[1, 2]]}), 400, "input"),
        (json!({"input": []}), 400, "input"),
        (json!({"model": "stub/embed"}), 400, "input"),
        (json!({"input": "a", "dimensions": 3}), 400, "dimensions"),
        (json!({"input": "a", "encoding_format": "hex"}), 400, "encoding_format"),
        (json!({"input": "a", "model": "gpt"}), 404, "model"),
    ] {
        let response = ask(body.clone()).await?;
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(response.json::<Value>().await?["error"]["param"], param, "{body}");
    }
    stub.down.store(true, Ordering::Relaxed);
    assert_eq!(ask(json!({"input": "a"})).await?.status(), 503);
    Ok(())
}

#[tokio::test]
async fn without_a_model_words_are_searched_and_no_page_speaks_of_meaning() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let snow = describe(&server, 1, "Two children throw snowballs.").await?;
    let found = server.json("/api/search?q=snowballs").await?;
    assert_eq!((&found["meaning"], ids(&found)), (&json!("off"), vec![snow.as_str()]));
    assert_eq!(found["videos"][0]["places"][0]["why"], json!(["words"]));
    let page = server.get("/search?q=snowballs").await?.text().await?;
    assert!(!page.contains("class=\"why\"") && !page.contains("meaning"), "{page}");
    let similar = server.json(&format!("/api/videos/{snow}/similar")).await?;
    assert_eq!((&similar["meaning"], ids(&similar).len()), (&json!("off"), 0));
    let response =
        server.client().post(server.url("/v1/embeddings")).json(&json!({"input": "a"})).send().await?;
    assert_eq!(response.status(), 404);
    let message = response.json::<Value>().await?["error"]["message"].to_string();
    assert!(message.contains("--embed-model"), "{message}");
    Ok(())
}

#[tokio::test]
async fn settings_that_do_not_fit_are_refused_at_the_start() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let data = data.path().to_str().unwrap_or_default();
    for (flags, part) in [
        (vec!["--embed-model", "/nonexistent"], "not a directory"),
        (vec!["--embed-model", "a/b", "--embed-url", "http://127.0.0.1:1"], "one of them would fit"),
        (vec!["--embed-url", "spark"], "http://HOST:PORT"),
        (vec!["--embed-url-model", "x"], "embed_url is not"),
    ] {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data].into_iter();
        let output = homereel(serve.chain(flags.clone())).await?;
        assert_eq!(output.status, Some(2), "{flags:?}: {}", output.stderr);
        assert!(output.stderr.contains(part), "{flags:?}: {}", output.stderr);
    }
    Ok(())
}
