//! A page of another origin calls the endpoint, as apps in the browser with OpenAI's client do.

use axum::{Router, response::Html, routing::get};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;

/// Serves an empty page. Returns its origin.
async fn app() -> anyhow::Result<String> {
    let page = Router::new().route("/", get(|| async { Html("<title>app</title><p id=\"out\"></p>") }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, page).await });
    Ok(origin)
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_asks_and_any_other_is_refused() -> anyhow::Result<()> {
    let (allowed, other) = (app().await?, app().await?);
    let server = Server::start_with(&["--allow-origin", &allowed]).await?;
    let clip = clips::simple(1)?;
    let url = format!("data:video/mp4;base64,{}", STANDARD.encode(std::fs::read(&clip.file)?));
    let content =
        json!([{ "type": "video_url", "video_url": { "url": url } }, { "type": "text", "text": COLOR }]);
    let body = json!({ "temperature": 0, "messages": [{ "role": "user", "content": content }] });
    // Headers as OpenAI's client sends them.
    let ask = format!(
        "fetch({}, {{ method: 'POST', body: JSON.stringify({body}), headers: {{
            authorization: 'Bearer unused', 'content-type': 'application/json', 'x-stainless-lang': 'js',
            'x-stainless-retry-count': '0', 'openai-organization': 'x' }} }})
            .then((response) => response.json())
            .then((told) => told.choices[0].message.content, (error) => error.name)
            .then((text) => {{ document.querySelector('#out').textContent = text; }});",
        json!(server.url("/v1/chat/completions"))
    );
    let browser = Browser::start(Settings::default()).await?;
    browser.open(&format!("{allowed}/")).await?;
    browser.run(&ask).await?;
    browser.wait_for("#out", colour(&clip)?).await?;
    browser.open(&format!("{other}/")).await?;
    browser.run(&ask).await?;
    browser.wait_for("#out", "TypeError").await?;
    browser.close().await
}
