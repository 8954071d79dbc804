//! `homereel ask --server URL`: sends the file as a `data:` URL that is encoded while it is sent, so that the
//! server stores nothing and the client does not need the whole file in memory.

use std::{io, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{fs::File, io::AsyncReadExt as _};

use super::{
    AskArgs,
    outcome::{CompletedAnswer, Output},
    source,
};
use crate::media::MediaReport;

/// Timeout for the server to accept the connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Timeout between two reads; the server sends keep-alives more often.
const SILENCE: Duration = Duration::from_secs(120);

/// Bytes read per chunk: a multiple of three, so that the base64 chunks can be concatenated without padding.
const CHUNK: usize = 3 << 16;

/// Maximum length of one line of the response.
const MAX_LINE: usize = 8 << 20;

/// Placeholder for the data in the JSON of the request, which is split there.
const CUT: &str = "@@homereel-data@@";

/// Asks a running server.
pub(super) async fn ask(
    args: &AskArgs,
    server: &url::Url,
    output: &Output,
) -> anyhow::Result<CompletedAnswer> {
    source(&args.file)?;
    let url = server.join("v1/chat/completions").context("--server is not a base URL")?;
    let body = body(args).await?;
    let client = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build()?;
    output.progress.show("sending the video", 0, 0);
    let mut request =
        client.post(url).header("content-type", "application/json").body(reqwest::Body::wrap_stream(body));
    if let Some(key) = api_key() {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.with_context(|| format!("failed to reach {server}"))?;
    if !response.status().is_success() {
        let status = response.status();
        let told = response.bytes().await.unwrap_or_default();
        let told: Value = serde_json::from_slice(&told).unwrap_or_default();
        bail!("{}: {}", args.file.display(), told["error"]["message"].as_str().unwrap_or(status.as_str()));
    }
    let mut outcome = CompletedAnswer::default();
    let mut lines = Lines { bytes: response.bytes_stream().boxed(), buffer: Vec::new() };
    while let Some(line) = lines.next().await? {
        if let Some(comment) = line.strip_prefix(": ") {
            comment_shown(comment, output);
        } else if line == "data: [DONE]" {
            return Ok(outcome);
        } else if let Some(data) = line.strip_prefix("data: ") {
            let chunk = serde_json::from_str(data).context("the server sent an event that is not JSON")?;
            take(&mut outcome, &chunk, output)?;
        }
    }
    bail!("the answer is incomplete: the server ended the stream early")
}

/// Reads the API key from the environment; there is no flag, because every user of a machine sees its command lines.
pub(super) fn api_key() -> Option<String> {
    std::env::var("HOMEREEL_API_KEY").ok().filter(|key| !key.is_empty())
}

/// Returns the model to name in the request, which is that of the flag. `HOMEREEL_MODEL` is ignored: it names
/// the model that a server on this machine would load.
fn asked_model(model: Option<&str>) -> Option<&str> {
    let of_environment = std::env::var("HOMEREEL_MODEL").ok();
    model.filter(|model| of_environment.as_deref() != Some(model))
}

/// Builds the request around the file, which is read and encoded while it is sent.
async fn body(args: &AskArgs) -> anyhow::Result<impl Stream<Item = io::Result<Vec<u8>>> + Send + use<>> {
    let sampling = homereel_video::FrameSampling::from(args.sampling);
    let request = json!({
        "messages": [{ "role": "user", "content": [
            { "type": "video_url", "video_url": { "url": format!("data:{};base64,{CUT}", mime(&args.file)) } },
            { "type": "text", "text": args.question },
        ]}],
        "media_io_kwargs": { "video": sampling },
        "max_tokens": args.max_tokens, "temperature": args.temperature, "seed": args.seed,
        "model": asked_model(args.engine.model.as_deref()),
        "stream": true, "stream_options": { "include_usage": true },
    })
    .to_string();
    let (head, tail) = request.split_once(CUT).context("the request has no placeholder for the video")?;
    let (head, tail) = (head.as_bytes().to_vec(), tail.as_bytes().to_vec());
    let file = File::open(&args.file).await.with_context(|| args.file.display().to_string())?;
    let data = stream::try_unfold(file, |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        // A short read in the middle of the file would put padding there, so each chunk is filled completely.
        (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
        Ok((!chunk.is_empty()).then(|| (STANDARD.encode(&chunk).into_bytes(), file)))
    });
    Ok(stream::iter([Ok(head)]).chain(data).chain(stream::iter([Ok(tail)])))
}

fn mime(file: &Path) -> &'static str {
    match file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("webm") => "video/webm",
        Some("mkv") => "video/x-matroska",
        Some("mov") => "video/quicktime",
        Some("avi") => "video/x-msvideo",
        _ => "video/mp4",
    }
}

/// Shows `decode 3/8` and `queued 2`; other comments are keep-alives.
fn comment_shown(comment: &str, output: &Output) {
    let Some((stage, rest)) = comment.split_once(' ') else { return };
    let (done, total) = rest.split_once('/').unwrap_or((rest, "0"));
    if let (Ok(done), Ok(total)) = (done.parse(), total.parse()) {
        output.progress.stage(stage, done, total);
    }
}

fn take(outcome: &mut CompletedAnswer, chunk: &Value, output: &Output) -> anyhow::Result<()> {
    if let Some(message) = chunk["error"]["message"].as_str() {
        bail!("{message}");
    }
    if let Some(model) = chunk["model"].as_str() {
        model.clone_into(&mut outcome.model);
    }
    let choice = &chunk["choices"][0];
    if let Some(text) = choice["delta"]["content"].as_str() {
        output.piece(text)?;
        outcome.answer.push_str(text);
    }
    if choice["finish_reason"].is_string() {
        outcome.finish_reason = choice["finish_reason"].clone();
    }
    if let Some(extras) = chunk.get("homereel") {
        outcome.stages_ms = extras["stages_ms"].clone();
        outcome.warnings = serde_json::from_value(extras["warnings"].clone()).unwrap_or_default();
        let mut report: MediaReport = serde_json::from_value(extras["media"][0].clone()).unwrap_or_default();
        report.warnings.clone_from(&outcome.warnings);
        outcome.media = json!(report);
    }
    if chunk["usage"].is_object() {
        let usage = &chunk["usage"];
        outcome.usage = json!({
            "prompt_tokens": usage["prompt_tokens"],
            "completion_tokens": usage["completion_tokens"],
            "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        });
    }
    Ok(())
}

/// Splits a body into lines.
struct Lines<'a> {
    bytes: stream::BoxStream<'a, reqwest::Result<bytes::Bytes>>,
    buffer: Vec<u8>,
}

impl Lines<'_> {
    async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            anyhow::ensure!(
                self.buffer.len() < MAX_LINE,
                "the server sent a line of more than {MAX_LINE} bytes"
            );
            match self.bytes.next().await {
                Some(chunk) => self
                    .buffer
                    .extend_from_slice(&chunk.context("the connection was lost during the answer")?),
                None => return Ok(None),
            }
        }
    }
}
