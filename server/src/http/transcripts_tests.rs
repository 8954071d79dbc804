//! Transcripts by HTTP without a decoder: every form, edits, errors, and the page.

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use homereel_library::NewLine;
use homereel_video::fixtures::summary;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{http, speech::tests::counting, state::AppState, state::tests::state_with};

const HOSTILE: &str = "</track><script>alert(1)</script> 00:00 --> 00:09 & more";

struct App {
    router: axum::Router,
    id: String,
    state: AppState,
    _data: tempfile::TempDir,
}

impl App {
    async fn new(is_on: bool) -> Self {
        let data = tempfile::tempdir().unwrap();
        let (mut state, _) = state_with(data.path(), Vec::new()).await;
        state.speech = is_on.then(|| counting(Vec::new()));
        let mut incoming = state.library.incoming(None, 100).await.unwrap();
        incoming.write(b"bytes").await.unwrap();
        let stored = incoming.seal().await.unwrap().commit("a.mp4", "video/mp4", &summary()).await.unwrap();
        Self { router: http::router(state.clone()), id: stored.video.id, state, _data: data }
    }

    /// Stores lines at every fourth second, as far as `state` says.
    async fn transcribe(&self, texts: &[&str]) {
        let (library, id) = (&self.state.library, &self.id);
        library.begin_transcript(id, "tiny").await.unwrap();
        let line = |(at, text): (usize, &&str)| {
            let start = at as f64 * 4.0;
            NewLine { start, end: start + 2.5, text: (**text).into(), language: None, confidence: 0.5 }
        };
        let lines: Vec<NewLine> = texts.iter().enumerate().map(line).collect();
        library.append_transcript(id, &lines, texts.len() as f64 * 4.0, Some("en")).await.unwrap();
        library.finish_transcript(id, None).await.unwrap();
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, String, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE).or(response.headers().get(header::LOCATION));
        let kind = kind.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let body = to_bytes(response.into_body(), 1 << 22).await.unwrap();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String, String) {
        let url = path.replace("ID", &self.id);
        self.send(Request::get(url).header(header::ACCEPT, "text/html,*/*").body(Body::empty()).unwrap())
            .await
    }

    async fn call(&self, method: &str, path: &str, kind: &str, body: &str) -> (StatusCode, String, String) {
        let request = Request::builder().method(method).uri(path.replace("ID", &self.id));
        let request = request.header(header::CONTENT_TYPE, kind).body(Body::from(body.to_owned())).unwrap();
        self.send(request).await
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_transcript_comes_in_every_form() {
    let app = App::new(true).await;
    app.transcribe(&["Look at the frog!", HOSTILE]).await;
    let (status, kind, body) = app.get("/api/videos/ID/transcript.json").await;
    let json = parsed(&body);
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"));
    assert_eq!(
        (&json["state"], &json["language"], &json["model"]),
        (&json!("done"), &json!("en"), &json!("tiny"))
    );
    assert_eq!((&json["line_count"], &json["lines"][1]["start"]), (&json!(2), &json!(4.0)));
    let page = parsed(&app.get("/api/videos/ID/transcript.json?first=1&limit=1").await.2);
    assert_eq!(page["lines"].as_array().unwrap().len(), 1);
    assert_eq!(page["lines"][0]["index"], 1);
    for (form, kind) in [("vtt", "text/vtt"), ("srt", "application/x-subrip"), ("txt", "text/plain")] {
        let (status, found, body) = app.get(&format!("/api/videos/ID/transcript.{form}")).await;
        assert!(status == StatusCode::OK && found.starts_with(kind), "{form}: {status} {found}");
        assert!(body.contains("Look at the frog!"));
        if form != "txt" {
            assert_eq!(body.matches(" --> ").count(), 2, "one per cue: {body}");
            assert!(!body.contains("<script"), "{body}");
        }
    }
    let video = parsed(&app.get("/api/videos/ID").await.2);
    assert_eq!(video["transcript"]["line_count"], 2);
    let (_, _, html) = app.get("/videos/ID").await;
    assert!(html.contains("Look at the frog!") && html.contains("transcript.vtt?v=2"), "{html}");
    assert!(!html.contains("<script>alert"), "{html}");
}

#[tokio::test]
async fn a_line_is_corrected_by_json_and_by_a_form() {
    let app = App::new(true).await;
    app.transcribe(&["Look at the fog!"]).await;
    let url = "/api/videos/ID/transcript/0";
    let (status, _, body) =
        app.call("PATCH", url, "application/json", r#"{"text": "Look at the frog!"}"#).await;
    let line = parsed(&body);
    assert_eq!(
        (status, &line["text"], &line["start"]),
        (StatusCode::OK, &json!("Look at the frog!"), &json!(0.0))
    );
    assert!(line["edited_ms"].is_number());
    assert_eq!(parsed(&app.get("/api/search?q=frog").await.2)["videos"][0]["places"][0]["kind"], "speech");
    for (url, body, expected) in [
        (url, r#"{"text": ""}"#, StatusCode::BAD_REQUEST),
        (url, r#"{"words": "x"}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("/api/videos/ID/transcript/1", r#"{"text": "x"}"#, StatusCode::NOT_FOUND),
        ("/api/videos/ID/transcript/x", r#"{"text": "x"}"#, StatusCode::NOT_FOUND),
        ("/api/videos/nothing/transcript/0", r#"{"text": "x"}"#, StatusCode::NOT_FOUND),
    ] {
        assert_eq!(app.call("PATCH", url, "application/json", body).await.0, expected, "{url} {body}");
    }
    let form = "application/x-www-form-urlencoded";
    let (status, location, _) = app.call("POST", "/videos/ID/transcript/0", form, "text=A+toad").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(location, format!("/videos/{}?lines=0#line-0", app.id));
    assert_eq!(app.get("/api/videos/ID/transcript.txt").await.2, "A toad\n");
}

#[tokio::test]
async fn a_video_is_transcribed_again_unless_speech_is_off() {
    let app = App::new(true).await;
    let (status, _, body) = app.get("/api/videos/ID/transcript.json").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.contains("not begun"), "{body}");
    app.transcribe(&["one"]).await;
    assert_eq!(app.call("POST", "/api/videos/ID/transcript", "", "").await.0, StatusCode::ACCEPTED);
    assert_eq!(app.call("POST", "/api/videos/ID/transcript", "", "").await.0, StatusCode::CONFLICT, "queued");
    assert_eq!(parsed(&app.get("/api/videos/ID").await.2)["transcript"], Value::Null);
    assert!(app.get("/videos/ID").await.2.contains("Will be transcribed soon."));

    let off = App::new(false).await;
    let (status, _, body) = off.call("POST", "/api/videos/ID/transcript", "", "").await;
    assert_eq!((status, &parsed(&body)["code"]), (StatusCode::CONFLICT, &json!("speech_off")));
    assert!(off.get("/api/videos/ID/transcript.vtt").await.2.contains("--speech-model"));
    assert!(!off.get("/videos/ID").await.2.contains("What is said"));
}

#[tokio::test]
async fn ten_thousand_lines_are_shown_page_by_page() {
    let app = App::new(true).await;
    let texts: Vec<String> = (0..10_000).map(|at| format!("line number {at} of a long talk")).collect();
    app.transcribe(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (_, _, first) = app.get("/videos/ID").await;
    assert!(first.contains("line number 0 of") && first.contains("line number 59 of"));
    assert!(!first.contains("line number 60 of") && first.contains("?lines=60#transcript"), "{first}");
    assert!(first.len() < 60_000, "{}", first.len());
    // The page with the second of the URL.
    let (_, _, middle) = app.get("/videos/ID?t=20001.5").await;
    assert!(middle.contains("line number 5000 of") && middle.contains("data-from=\"19920.0\""), "{middle}");
    assert!(middle.contains("?lines=4920#transcript") && middle.contains("?lines=5040#transcript"));
    let (_, _, last) = app.get("/videos/ID?lines=99999").await;
    assert!(last.contains("line number 9999 of") && last.contains("data-until=\"Infinity\""), "{last}");
    let (_, _, found) = app.get("/videos/ID?said=number+777+").await;
    assert!(found.contains("line number 777 of") && !found.contains("line number 778 of"), "{found}");
    assert!(app.get("/videos/ID?said=xyzzy").await.2.contains("No line has these words."));
    let (_, _, editing) = app.get("/videos/ID?lines=60&edit=61").await;
    assert!(editing.contains("action=\"/videos/") && editing.contains("/transcript/61\""), "{editing}");
}
