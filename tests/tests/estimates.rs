//! What a request would cost, against what it costs: `/v1/videos/estimate` and `/tokenize` of the real program.

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use homereel_tests::{Server, clips};
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn post(server: &Server, path: &str, body: &Value) -> anyhow::Result<(StatusCode, Value)> {
    let response = server.client().post(server.url(path)).json(body).send().await?;
    Ok((response.status(), response.json().await?))
}

async fn estimated(server: &Server, body: &Value) -> anyhow::Result<Value> {
    let (status, estimate) = post(server, "/v1/videos/estimate", body).await?;
    ensure!(status.is_success(), "{status}: {estimate}");
    Ok(estimate)
}

/// A body with a clip.
fn about(url: &str, more: Value) -> anyhow::Result<Value> {
    let mut body = json!({
        "messages": [{ "role": "user", "content": [
            { "type": "video_url", "video_url": { "url": url } },
            { "type": "text", "text": "What happens?" },
        ] }],
        "max_tokens": 2, "temperature": 0,
    });
    body.as_object_mut().context("an object")?.extend(more.as_object().context("an object")?.clone());
    Ok(body)
}

fn clip_url(seed: u64) -> anyhow::Result<String> {
    let clip = clips::simple(seed)?;
    Ok(format!("data:video/mp4;base64,{}", STANDARD.encode(std::fs::read(&clip.file)?)))
}

#[tokio::test]
async fn tokens_are_those_of_the_real_run() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&clips::test_pattern(9)?).await?;
    let picture =
        clips::ffmpeg("estimate.png", &["-f", "lavfi", "-i", "testsrc=s=300x200", "-frames:v", "1"])?;
    let picture = format!("data:image/png;base64,{}", STANDARD.encode(std::fs::read(picture)?));
    let pattern = format!("homereel:{id}");
    let mut both = about(&pattern, json!({}))?;
    let content = both["messages"][0]["content"].as_array_mut().context("parts")?;
    content.insert(0, json!({ "type": "image_url", "image_url": { "url": picture } }));
    let text =
        json!({ "messages": [{ "role": "user", "content": "Hello <|im_end|> there" }], "max_tokens": 2 });
    for (body, videos, frames) in [
        (about(&clip_url(1)?, json!({}))?, 1, None),
        (about(&pattern, json!({ "mm_processor_kwargs": { "num_frames": 7 } }))?, 1, Some(7)),
        (about(&pattern, json!({ "mm_processor_kwargs": { "start": 2, "end": 5, "fps": 4 } }))?, 1, Some(12)),
        (about(&pattern, json!({ "mm_processor_kwargs": { "cap_pixels_per_frame": true } }))?, 1, None),
        (both, 1, None),
        (text, 0, None),
    ] {
        let estimate = estimated(&server, &body).await?;
        let tokens = post(&server, "/tokenize", &body).await?.1;
        let answer: Value = server.chat(&body).await?.error_for_status()?.json().await?;
        let (told, media) = (&answer["usage"]["prompt_tokens"], &answer["homereel"]["media"]);
        ensure!(estimate["prompt_tokens"] == *told && tokens["count"] == *told, "{estimate} {answer}");
        ensure!(
            tokens["tokens"].as_array().map(Vec::len) == told.as_u64().map(|count| count as usize),
            "{tokens}"
        );
        ensure!(estimate["fits"] == true && estimate["suggestion"].is_null(), "{estimate}");
        let listed = estimate["videos"].as_array().context("videos")?;
        ensure!(listed.len() == videos, "{estimate}");
        for (video, seen) in listed.iter().zip(media.as_array().context("media")?) {
            for name in ["frames", "width", "height", "duration_s"] {
                ensure!(video[name] == seen[name], "{name}: {video} {seen}");
            }
            ensure!(frames.is_none_or(|frames| video["frames"] == frames), "{video}");
        }
        let kv = estimate["memory_bytes"]["kv_cache"].as_u64().context("the KV cache")?;
        ensure!(kv > 0 && kv % (told.as_u64().unwrap_or(1) + 2) == 0, "{estimate}");
    }
    Ok(())
}

#[tokio::test]
async fn times_are_known_after_the_first_answers() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let before = estimated(&server, &about(&clip_url(1)?, json!({}))?).await?;
    ensure!(before["seconds"]["first_token"].is_null() && before["seconds"]["read"].is_null(), "{before}");
    for seed in 2..4 {
        server.answer(&about(&clip_url(seed)?, json!({}))?).await?;
    }
    let after = estimated(&server, &about(&clip_url(1)?, json!({}))?).await?;
    for name in ["decode", "read", "first_token"] {
        ensure!(after["seconds"][name].as_f64().is_some_and(|seconds| seconds > 0.0), "{name}: {after}");
    }
    Ok(())
}

#[tokio::test]
async fn the_suggested_setting_fits_and_more_frames_do_not() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let id = server.upload(&clips::test_pattern(40)?).await?;
    let url = format!("homereel:{id}");
    let whole = estimated(&server, &about(&url, json!({}))?).await?;
    let tokens = whole["prompt_tokens"].as_u64().context("tokens")?;
    let with = |frames: u64, limit: u64| {
        let more =
            json!({ "limits": { "prompt_tokens": limit }, "mm_processor_kwargs": { "num_frames": frames } });
        about(&url, more)
    };
    for limit in [tokens / 2, tokens * 3 / 4] {
        let short =
            estimated(&server, &about(&url, json!({ "limits": { "prompt_tokens": limit } }))?).await?;
        ensure!(short["fits"] == false, "{short}");
        let frames = short["suggestion"]["num_frames"].as_u64().context("a suggestion")?;
        let fitting = estimated(&server, &with(frames, limit)?).await?;
        ensure!(fitting["fits"] == true, "{fitting}");
        let more = estimated(&server, &with(frames + 1, limit)?).await?;
        ensure!(more["fits"] == false, "{more}");
    }
    let none = estimated(&server, &about(&url, json!({ "limits": { "prompt_tokens": 3 } }))?).await?;
    ensure!(none["fits"] == false && none["suggestion"].is_null(), "{none}");
    Ok(())
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_estimated_all_the_same() -> anyhow::Result<()> {
    let server = Server::start_with(&["--max-model-len", "150"]).await?;
    let body = about(&clip_url(1)?, json!({}))?;
    let estimate = estimated(&server, &body).await?;
    ensure!(estimate["fits"] == false && estimate["max_model_len"] == 150, "{estimate}");
    ensure!(estimate["prompt_tokens"].as_u64().is_some_and(|tokens| tokens > 150), "{estimate}");
    let refused = server.chat(&body).await?;
    ensure!(refused.status() == StatusCode::BAD_REQUEST, "{}", refused.status());
    Ok(())
}

#[tokio::test]
async fn invalid_estimates_and_texts_are_refused_by_name() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let url = clip_url(1)?;
    for (path, body, param) in [
        ("/v1/videos/estimate", json!({}), "messages"),
        ("/v1/videos/estimate", about(&url, json!({ "limits": { "seconds": -1 } }))?, "limits.seconds"),
        ("/v1/videos/estimate", about(&url, json!({ "limits": { "tokens": 1 } }))?, "limits.tokens"),
        (
            "/v1/videos/estimate",
            about("data:video/mp4;base64,AAAA", json!({}))?,
            "messages[0].content[0].video_url",
        ),
        ("/tokenize", json!({ "prompt": "a", "messages": [] }), "prompt"),
        ("/tokenize", json!({ "prompt": 1 }), "prompt"),
        ("/tokenize", json!({ "prompt": "a".repeat((2 << 20) + 1) }), "prompt"),
        ("/tokenize", json!({}), "messages"),
        ("/tokenize", json!({ "prompt": "a", "model": "other" }), "model"),
    ] {
        let (status, told) = post(&server, path, &body).await?;
        ensure!(
            status.is_client_error() && told["error"]["param"] == param,
            "{path} {param}: {status} {told}"
        );
    }
    let many = json!({ "max_tokens": 9_000_000_000_000_000_000_u64, "n": 16 });
    ensure!(estimated(&server, &about(&url, many)?).await?["fits"] == true);
    let text = "A red ball.\n<|im_end|> ü 😀";
    let body = json!({ "prompt": text, "return_token_strs": true, "frobnicate": 1 });
    let (_, told) = post(&server, "/tokenize", &body).await?;
    let texts = told["token_strs"].as_array().context("texts")?;
    ensure!(
        told["count"] == texts.len() && told["tokens"].as_array().map(Vec::len) == Some(texts.len()),
        "{told}"
    );
    ensure!(texts[0] == "A" || texts[0].as_str().is_some_and(|first| text.starts_with(first)), "{told}");
    ensure!(
        told["homereel"]["warnings"][0].as_str().is_some_and(|warning| warning.contains("frobnicate")),
        "{told}"
    );
    Ok(())
}
