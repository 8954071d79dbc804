//! The HTTP API as programs use it: OpenAI's endpoint, answers by JSON schema, the library, and clients that disconnect.

mod lists;
mod restart;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::StreamExt as _;
use homereel_clips::{Clip, Skill};
use homereel_tests::{PATIENCE, Server, clips, homereel};
use reqwest::{Response, header};
use serde_json::{Value, json};

/// Video workers that wait for the next video.
const SPARE: usize = 1;

const QUESTION: &str = "What color is the object?";

fn colour(clip: &Clip) -> anyhow::Result<String> {
    let question = clip.questions.iter().find(|q| q.skill == Skill::Colour);
    Ok(question.context("a clip of one object has a colour")?.answer.clone())
}

fn data_url(clip: &Clip) -> anyhow::Result<String> {
    Ok(format!("data:video/mp4;base64,{}", BASE64.encode(std::fs::read(&clip.file)?)))
}

fn chat(url: &str, question: &str) -> Value {
    let video = json!({"type": "video_url", "video_url": {"url": url}});
    let content = json!([video, {"type": "text", "text": question}]);
    json!({"messages": [{"role": "user", "content": content}], "temperature": 0})
}

/// The `data:` lines of a stream of server-sent events, up to `[DONE]`.
async fn events(response: Response) -> anyhow::Result<Vec<Value>> {
    let kind = response.headers()[header::CONTENT_TYPE].to_str()?.to_owned();
    ensure!(kind.starts_with("text/event-stream"), "{kind}");
    let text = response.text().await?;
    let mut lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    ensure!(lines.pop() == Some("[DONE]"), "no [DONE] at the end of {text}");
    lines.into_iter().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn joined(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn a_data_clip_gets_the_same_true_answer_whole_streamed_and_by_command_line() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let clip = clips::simple(1)?;
    let whole: Value =
        server.chat(&chat(&data_url(&clip)?, QUESTION)).await?.error_for_status()?.json().await?;
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    assert_eq!(whole["choices"][0]["message"]["role"], "assistant");
    assert_eq!(whole["choices"][0]["message"]["content"], colour(&clip)?.as_str());
    let usage = &whole["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    assert!(count("prompt_tokens") > 50 && count("completion_tokens") > 0, "{usage}");
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));

    let mut body = chat(&data_url(&clip)?, QUESTION);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let chunks = events(server.chat(&body).await?.error_for_status()?).await?;
    assert_eq!(joined(&chunks), colour(&clip)?);
    assert!(chunks.iter().all(|c| c["object"] == "chat.completion.chunk"), "{chunks:?}");
    let finish: Vec<&Value> =
        chunks.iter().map(|c| &c["choices"][0]["finish_reason"]).filter(|f| !f.is_null()).collect();
    assert_eq!(finish, ["stop"]);
    let streamed = chunks.iter().rev().find(|c| c["usage"].is_object()).context("usage in the stream")?;
    assert_eq!(streamed["usage"]["prompt_tokens"], usage["prompt_tokens"]);

    // The long product prompt, for more tokens than one.
    let describe = "Describe the video.";
    let whole = server.answer(&chat(&data_url(&clip)?, describe)).await?;
    let mut body = chat(&data_url(&clip)?, describe);
    body["stream"] = json!(true);
    assert_eq!(joined(&events(server.chat(&body).await?).await?), whole);
    let local = homereel(["ask".as_ref(), clip.file.as_os_str(), describe.as_ref()]).await?;
    assert_eq!(local.answer()?, whole);
    let url = server.url("");
    let remote = homereel([
        "ask".as_ref(),
        clip.file.as_os_str(),
        describe.as_ref(),
        "--server".as_ref(),
        url.as_ref(),
    ]);
    assert_eq!(remote.await?.answer()?, whole);
    Ok(())
}

#[tokio::test]
async fn probes_and_models_answer() -> anyhow::Result<()> {
    let server = Server::start().await?;
    assert_eq!(server.get("/healthz").await?.status(), 200);
    assert_eq!(server.get("/readyz").await?.status(), 200);
    let models = server.json("/v1/models").await?;
    assert_eq!(models["object"], "list");
    let id = models["data"][0]["id"].as_str().context("an id")?.to_owned();
    assert_eq!(server.json(&format!("/v1/models/{id}")).await?["id"], id.as_str());
    let system = server.json("/api/system").await?;
    assert_eq!(system["model"]["demo"], true);
    assert_eq!(system["engine"]["batch"]["max_num_seqs"], 8, "{system}");
    let metrics = server.get("/metrics").await?.text().await?;
    for metric in [
        "vllm:num_requests_running 0",
        "vllm:num_requests_waiting 0",
        "vllm:kv_cache_usage_perc 0",
        "vllm:num_preemptions_total 0",
        "homereel_batch_size 0",
    ] {
        assert!(metrics.lines().any(|line| line == metric), "no {metric} in {metrics}");
    }
    let missing = server.get("/no/such/page").await?;
    assert_eq!(missing.status(), 404);
    Ok(())
}

#[tokio::test]
async fn an_uploaded_clip_is_kept_served_and_answered_from() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let clip = clips::simple(1)?;
    let bytes = std::fs::read(&clip.file)?;
    let id = server.upload(&clip.file).await?;

    let list = server.json("/api/videos").await?;
    let videos = list["videos"].as_array().context("videos")?;
    assert_eq!(videos.len(), 1, "{list}");
    assert_eq!(videos[0]["id"], id.as_str());
    let asked = chat(&format!("homereel:{id}"), QUESTION);
    assert_eq!(server.answer(&asked).await?, colour(&clip)?);

    let path = format!("/api/videos/{id}/file");
    let whole = server.get(&path).await?;
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.bytes().await?, bytes);
    let part =
        |range: &'static str| server.client().get(server.url(&path)).header(header::RANGE, range).send();
    let middle = part("bytes=100-199").await?;
    assert_eq!(middle.status(), 206);
    assert_eq!(middle.headers()[header::CONTENT_RANGE], format!("bytes 100-199/{}", bytes.len()));
    assert_eq!(middle.bytes().await?, bytes[100..200]);
    assert_eq!(part("bytes=-10").await?.bytes().await?, bytes[bytes.len() - 10..]);
    assert_eq!(part("bytes=99999999-").await?.status(), 416);
    let longer = part("bytes=-99999999").await?;
    assert_eq!((longer.status().as_u16(), longer.bytes().await?.len()), (206, bytes.len()));
    assert_eq!(part("lines=1-2").await?.status(), 200);

    // A name that would open as a page is saved as what it is.
    let rename = server.client().patch(server.url(&format!("/api/videos/{id}")));
    rename.json(&json!({"name": "poly.html"})).send().await?.error_for_status()?;
    let saved = server.get(&format!("{path}?download=1")).await?;
    assert_eq!(saved.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let disposition = saved.headers()[header::CONTENT_DISPOSITION].to_str()?;
    assert_eq!(disposition, "attachment; filename=\"poly.mp4\"; filename*=UTF-8''poly.mp4");

    assert_eq!(server.get("/api/videos/no-such-id").await?.status(), 404);
    Ok(())
}

#[tokio::test]
async fn the_same_bytes_are_the_same_video_however_they_come() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let (one, two) = (clips::simple(1)?, clips::simple(2)?);
    let id = server.upload(&one.file).await?;
    assert_eq!(server.upload(&one.file).await?, id);
    // Both in one form, as a browser without script sends them.
    let boundary = "a-boundary-of-ours";
    let mut body = Vec::new();
    for (name, clip) in [("one.mp4", &one), ("two.mp4", &two)] {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: video/mp4\r\n\r\n"
        );
        body.extend(head.into_bytes());
        body.extend(std::fs::read(&clip.file)?);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").into_bytes());
    let post = server.client().post(server.url("/api/videos")).body(body);
    let response = post
        .header(header::CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))
        .header(header::ACCEPT, "application/json")
        .send()
        .await?;
    let told: Value = response.error_for_status()?.json().await?;
    let videos = told["videos"].as_array().context("videos")?;
    assert_eq!(videos.len(), 2, "{told}");
    assert_eq!(videos[0]["id"], id.as_str(), "{told}");
    assert_ne!(videos[1]["id"], id.as_str(), "{told}");
    let list = server.json("/api/videos").await?;
    assert_eq!(list["videos"].as_array().map(Vec::len), Some(2), "{list}");
    Ok(())
}

/// Returns the value of a counter; 0 where it has not been counted yet.
async fn count(server: &Server, counter: &str) -> anyhow::Result<u64> {
    let metrics = server.get("/metrics").await?.text().await?;
    let value = |line: &str| line.strip_prefix(counter)?.trim().parse().ok();
    Ok(metrics.lines().find_map(value).unwrap_or(0))
}

#[tokio::test]
async fn a_reader_who_leaves_while_the_clip_is_decoded_stops_the_decoder() -> anyhow::Result<()> {
    let server = Server::start().await?;
    // A minute of a large picture: many seconds of decoding on two cores.
    let source = "testsrc2=size=1920x1080:rate=30:duration=60";
    let file = clips::ffmpeg(
        "long.mp4",
        &["-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"],
    )?;
    let id = server.upload(&file).await?;
    // Its own description comes from a job; wait until that is over, so that what runs is ours.
    settled(&server).await?;
    let mut body = chat(&format!("homereel:{id}"), QUESTION);
    body["stream"] = json!(true);
    // A sampling of its own, so that nothing that is kept from the job answers it.
    body["media_io_kwargs"] = json!({"video": {"fps": 3}});
    let response = server.chat(&body).await?.error_for_status()?;
    wait_for(PATIENCE, async || Ok((server.workers()?.len() > SPARE).then_some(())))
        .await
        .context("no decoder was seen at work")?;
    let answered = count(&server, "vllm:request_success_total").await?;
    drop(response);
    settled(&server).await?;
    assert_eq!(
        count(&server, "vllm:request_success_total").await?,
        answered,
        "the request was answered to the end"
    );
    assert_eq!(
        server.answer(&chat(&data_url(&clips::simple(1)?)?, QUESTION)).await?,
        colour(&clips::simple(1)?)?
    );
    Ok(())
}

#[tokio::test]
async fn a_reader_who_leaves_while_tokens_come_stops_the_engine() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let clip = clips::simple(1)?;
    let mut body = chat(&data_url(&clip)?, "Describe the video.");
    // Thousands of tokens, which no patience would outlast.
    body["ignore_eos"] = json!(true);
    body["max_tokens"] = json!(6000);
    body["stream"] = json!(true);
    let response = server.chat(&body).await?.error_for_status()?;
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    while !text.contains("\"content\":\"") || text.len() < 2000 {
        let Some(chunk) = stream.next().await else { bail!("the stream ended: {text}") };
        text.push_str(&String::from_utf8_lossy(&chunk?));
    }
    ensure!(!text.contains("[DONE]"), "the answer was over too soon: {text}");
    assert_eq!(server.json("/api/system").await?["engine"]["in_flight"], 1);
    let answered = count(&server, "vllm:request_success_total").await?;
    drop(stream);
    settled(&server).await?;
    assert_eq!(
        count(&server, "vllm:request_success_total").await?,
        answered,
        "the request was answered to the end"
    );
    // The engine is free for the next request, which its queue would answer after the first one.
    assert_eq!(server.answer(&chat(&data_url(&clip)?, QUESTION)).await?, colour(&clip)?);
    Ok(())
}

/// Waits until no request is in flight, no job runs or waits, and no video worker is left.
async fn settled(server: &Server) -> anyhow::Result<()> {
    let idle = async || {
        let system = server.json("/api/system").await?;
        let jobs = server.json("/api/jobs").await?.to_string();
        let busy = jobs.contains("\"running\"") || jobs.contains("\"queued\"");
        let idle = system["engine"]["in_flight"] == 0 && !busy && server.workers()?.len() <= SPARE;
        Ok(idle.then_some(()))
    };
    wait_for(Duration::from_secs(120), idle).await.context("the server never came to rest")
}

/// Asks again and again until there is a value.
async fn wait_for<T>(
    patience: Duration,
    mut condition: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        ensure!(Instant::now() < end, "nothing after {patience:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_answer_is_held_to_a_json_schema() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let clip = clips::simple(11)?;
    let url = data_url(&clip)?;
    // A question that the demo model answers in words, held to a form that it never learned.
    let schema = json!({
        "type": "object", "required": ["colour", "sure"], "additionalProperties": false,
        "properties": { "colour": { "enum": ["red", "green", "blue"] }, "sure": { "type": "boolean" } },
    });
    let mut body = chat(&url, QUESTION);
    body["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
    let text = server.answer(&body).await?;
    let answer: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
    assert!(["red", "green", "blue"].contains(&answer["colour"].as_str().unwrap_or_default()), "{answer}");
    assert!(
        answer["sure"].is_boolean() && answer.as_object().map(serde_json::Map::len) == Some(2),
        "{answer}"
    );
    let streamed = {
        let mut body = body.clone();
        body["stream"] = true.into();
        joined(&events(server.chat(&body).await?).await?)
    };
    assert_eq!(streamed, text);
    body["response_format"] = json!({"type": "json_object"});
    body["max_tokens"] = 200.into();
    assert!(server.answer(&body).await?.trim_start().starts_with('{'));
    for (bad, word) in [
        (json!({"type": "json_schema"}), "schema"),
        (json!({"type": "json_schema", "json_schema": {"schema": {"type": "strin"}}}), "schema"),
        (json!({"type": "xml"}), "xml"),
    ] {
        body["response_format"] = bad;
        let refused = server.chat(&body).await?;
        assert_eq!(refused.status(), 400);
        let told: Value = refused.json().await?;
        assert!(told["error"]["message"].as_str().is_some_and(|m| m.contains(word)), "{told}");
    }
    Ok(())
}
