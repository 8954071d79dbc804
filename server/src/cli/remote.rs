//! `homereel ask --server URL`: the file travels as a `data:` URL, encoded on the way, so that nothing of it stays
//! on the server and no file is too large for this side's memory.

use std::{io, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{fs::File, io::AsyncReadExt as _};

use super::{
    AskArgs,
    ask::{Outcome, Output},
    source,
};
use crate::media::Report;

/// How long the server may take to answer the connection.
const CONNECT: Duration = Duration::from_secs(10);

/// How long it may be silent; it sends keep-alives more often.
const SILENCE: Duration = Duration::from_secs(120);

/// Bytes per chunk: a multiple of three, so that chunks of base64 join without padding.
const CHUNK: usize = 3 << 16;

/// Bytes that one line of the reply may have.
const MAX_LINE: usize = 8 << 20;

/// Stands for the data in the request until it is cut there.
const CUT: &str = "@@homereel-data@@";

/// Asks a running server.
pub(super) async fn ask(args: &AskArgs, server: &url::Url, output: &Output) -> anyhow::Result<Outcome> {
    source(&args.file)?;
    let url = server.join("v1/chat/completions").context("--server is no base URL")?;
    let body = body(args).await?;
    let client = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build()?;
    output.progress.show("sending the video", 0, 0);
    let mut request =
        client.post(url).header("content-type", "application/json").body(reqwest::Body::wrap_stream(body));
    // By the environment only: what is typed is seen by everybody on the machine.
    if let Ok(key) = std::env::var("HOMEREEL_API_KEY") {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.with_context(|| format!("failed to ask {server}"))?;
    if !response.status().is_success() {
        let status = response.status();
        let told = response.bytes().await.unwrap_or_default();
        let told: Value = serde_json::from_slice(&told).unwrap_or_default();
        bail!("{}: {}", args.file.display(), told["error"]["message"].as_str().unwrap_or(status.as_str()));
    }
    let mut outcome = Outcome::default();
    let mut lines = Lines { bytes: response.bytes_stream().boxed(), buffer: Vec::new() };
    while let Some(line) = lines.next().await? {
        if let Some(comment) = line.strip_prefix(": ") {
            comment_shown(comment, output);
        } else if line == "data: [DONE]" {
            return Ok(outcome);
        } else if let Some(data) = line.strip_prefix("data: ") {
            let chunk = serde_json::from_str(data).context("the server sent no JSON")?;
            take(&mut outcome, &chunk, output)?;
        }
    }
    bail!("the answer is incomplete: the server stopped before the end")
}

/// Returns the model to name in the request: the flag's. `HOMEREEL_MODEL` says what a server here would load, which
/// tells nothing of the one that is asked.
fn asked_model(model: Option<&str>) -> Option<&str> {
    let of_environment = std::env::var("HOMEREEL_MODEL").ok();
    model.filter(|model| of_environment.as_deref() != Some(model))
}

/// Builds the request around the file's bytes, which are read and encoded as they are sent.
async fn body(args: &AskArgs) -> anyhow::Result<impl Stream<Item = io::Result<Vec<u8>>> + Send + use<>> {
    let sampling = crate::media::FrameSampling::from(args.sampling);
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
    let (head, tail) = request.split_once(CUT).context("the request has no place for the video")?;
    let (head, tail) = (head.as_bytes().to_vec(), tail.as_bytes().to_vec());
    let file = File::open(&args.file).await.with_context(|| args.file.display().to_string())?;
    let data = stream::try_unfold(file, |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        // A short read in the middle would put padding there: read until the chunk is full or the file ends.
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

/// Reads `decode 3/8` and `queued 2`; anything else is a keep-alive.
fn comment_shown(comment: &str, output: &Output) {
    let Some((stage, rest)) = comment.split_once(' ') else { return };
    let (done, total) = rest.split_once('/').unwrap_or((rest, "0"));
    if let (Ok(done), Ok(total)) = (done.parse(), total.parse()) {
        output.progress.stage(stage, done, total);
    }
}

fn take(outcome: &mut Outcome, chunk: &Value, output: &Output) -> anyhow::Result<()> {
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
        let mut report: Report = serde_json::from_value(extras["media"][0].clone()).unwrap_or_default();
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

/// Cuts a body into lines.
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
            anyhow::ensure!(self.buffer.len() < MAX_LINE, "the server sent a line of over {MAX_LINE} bytes");
            match self.bytes.next().await {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.context("the answer broke off")?),
                None => return Ok(None),
            }
        }
    }
}
