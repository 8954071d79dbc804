//! One request to an OpenAI-compatible server, streamed and timed. Knows nothing of loads and figures.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use reqwest::{Client, RequestBuilder, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dataset::Prompt;

/// Bytes that one line of a reply may have.
const MAX_LINE: usize = 8 << 20;
/// Characters of an error that are kept.
const MAX_ERROR: usize = 400;

/// The server under test.
#[derive(Debug, Clone)]
pub struct Target {
    client: Client,
    base: String,
    api_key: Option<String>,
    /// The model that is asked for.
    pub model: String,
}

/// How answers are to be made.
#[derive(Debug, Clone, Default)]
pub struct Sampling {
    /// Tokens of an answer, at most.
    pub max_tokens: usize,
    /// Goes on after the end of the answer, up to `max_tokens` (vLLM's extra).
    pub ignore_eos: bool,
    /// Temperature.
    pub temperature: f64,
    /// Frames a second to take of each clip; none leaves it to the server.
    pub fps: Option<f64>,
}

/// Why a request gave no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No connection, or it broke.
    Connection,
    /// Nothing came for too long.
    Timeout,
    /// 401 or 403.
    Refused,
    /// 429 or 503: the server has too much to do.
    Overload,
    /// 413, or a prompt that is too long.
    TooLarge,
    /// Another 4xx: the request does not suit the server.
    Request,
    /// 5xx, or an error in the stream.
    Server,
    /// What came is not the protocol.
    Protocol,
}

/// One request, measured. Times in seconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Taken {
    /// From the start of the run to when the request was due.
    pub due_s: f64,
    /// From the start of the run to when it was sent.
    pub start_s: f64,
    /// From sent to the first token.
    pub ttft_s: f64,
    /// Gaps between the chunks with tokens.
    pub itls_s: Vec<f64>,
    /// From sent to the last token.
    pub latency_s: f64,
    /// From `usage`.
    pub prompt_tokens: u64,
    /// From `usage`.
    pub completion_tokens: u64,
    /// Prompt tokens that the server had already, from `usage`.
    pub cached_tokens: u64,
    /// Seconds of video that were asked about.
    pub video_s: f64,
    /// Frames that the server says it took.
    pub frames: u64,
    /// Tokens that these frames became, by the size that the server tells.
    pub visual_tokens: u64,
    /// Stages in milliseconds, where the server tells them.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub stages_ms: Value,
    /// The answer.
    pub text: String,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Target {
    /// Makes a client of `base` (with or without `/v1`). Without a `model` the server's first one is taken.
    ///
    /// # Errors
    /// When the server can't be reached, refuses the key, or has no such model; the message says which it has.
    pub async fn connect(
        base: &str,
        model: Option<&str>,
        api_key: Option<String>,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(timeout)
            .pool_max_idle_per_host(usize::MAX)
            .tcp_nodelay(true)
            .build()?;
        let base = base.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        let mut target = Self { client, base, api_key, model: String::new() };
        let response =
            target.authorized(target.client.get(format!("{}/v1/models", target.base))).send().await;
        let response = response.with_context(|| format!("failed to reach {}", target.base))?;
        let status = response.status();
        let body = response.bytes().await.unwrap_or_default();
        anyhow::ensure!(
            !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
            "{} refused the key ({status}); give one with --api-key-env NAME",
            target.base
        );
        anyhow::ensure!(status.is_success(), "{}/v1/models answered {status}", target.base);
        let list: Value = serde_json::from_slice(&body).with_context(|| {
            format!("{}/v1/models sent no JSON: is it an OpenAI-compatible server?", target.base)
        })?;
        let known: Vec<&str> =
            list["data"].as_array().into_iter().flatten().filter_map(|one| one["id"].as_str()).collect();
        target.model = match model {
            Some(model) if known.contains(&model) => model.to_owned(),
            Some(model) => {
                anyhow::bail!("{} has no model '{model}'; it has {}", target.base, known.join(", "))
            }
            None => known.first().map(|&id| id.to_owned()).context("the server lists no model")?,
        };
        Ok(target)
    }

    /// Returns the server's address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Builds the body of a request, before any clock runs.
    ///
    /// # Errors
    /// When the prompt's clip can't be read.
    pub async fn body(&self, prompt: &Prompt, sampling: &Sampling) -> anyhow::Result<Vec<u8>> {
        let mut body = json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": prompt.content().await? }],
            "max_tokens": sampling.max_tokens, "temperature": sampling.temperature,
            "ignore_eos": sampling.ignore_eos,
            "stream": true, "stream_options": { "include_usage": true },
        });
        if let Some(fps) = sampling.fps {
            // -1 is vLLM's word for no number: as many as the rate gives.
            body["media_io_kwargs"] = json!({ "video": { "fps": fps, "num_frames": -1 } });
        }
        Ok(serde_json::to_vec(&body)?)
    }

    /// Sends `body` and reads the answer to its end. Failures are part of what was measured.
    pub async fn send(&self, body: Vec<u8>) -> Taken {
        let mut taken = Taken::default();
        let sent = Instant::now();
        if let Err((fault, error)) = self.stream(body, sent, &mut taken).await {
            taken.fault = Some(fault);
            taken.error = Some(error.chars().take(MAX_ERROR).collect());
        }
        taken
    }

    async fn stream(&self, body: Vec<u8>, sent: Instant, taken: &mut Taken) -> Result<(), (Fault, String)> {
        let request = self.client.post(format!("{}/v1/chat/completions", self.base));
        let request = self.authorized(request).header(header::CONTENT_TYPE, "application/json").body(body);
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        if !status.is_success() {
            let told = response.bytes().await.unwrap_or_default();
            let parsed: Value = serde_json::from_slice(&told).unwrap_or_default();
            let message = parsed["error"]["message"].as_str().or(parsed["message"].as_str());
            let message = message.map_or_else(|| String::from_utf8_lossy(&told).into_owned(), str::to_owned);
            return Err((fault_of(status), format!("{status}: {message}")));
        }
        let mut bytes = response.bytes_stream();
        let mut buffer = Vec::new();
        let mut last = None;
        let mut done = false;
        while let Some(chunk) = bytes.next().await {
            let now = sent.elapsed().as_secs_f64();
            buffer.extend_from_slice(&chunk.map_err(broken)?);
            while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let Some(data) = line.trim_ascii().strip_prefix(b"data:") else { continue };
                let data = data.trim_ascii();
                if data == b"[DONE]" {
                    done = true;
                    continue;
                }
                let event: Value = serde_json::from_slice(data)
                    .map_err(|error| (Fault::Protocol, format!("an event is no JSON: {error}")))?;
                take(&event, now, &mut last, taken)?;
            }
            if buffer.len() > MAX_LINE {
                return Err((Fault::Protocol, format!("the server sent a line of over {MAX_LINE} bytes")));
            }
        }
        if !done {
            return Err((Fault::Connection, "the stream ended before [DONE]".into()));
        }
        if taken.completion_tokens == 0 {
            return Err((Fault::Protocol, "the server told no usage, or an answer of no tokens".into()));
        }
        Ok(())
    }
}

/// Takes one event of the stream, which came `now` seconds after the request was sent.
fn take(event: &Value, now: f64, last: &mut Option<f64>, taken: &mut Taken) -> Result<(), (Fault, String)> {
    if let Some(message) = event["error"]["message"].as_str() {
        return Err((Fault::Server, message.to_owned()));
    }
    let delta = &event["choices"][0]["delta"];
    let piece = delta["content"].as_str().or(delta["reasoning_content"].as_str()).unwrap_or_default();
    if !piece.is_empty() {
        match last.replace(now) {
            None => taken.ttft_s = now,
            Some(before) => taken.itls_s.push(now - before),
        }
        taken.latency_s = now;
        taken.text.push_str(piece);
    }
    // Tokens that make no text (the end, half a character) still end the answer.
    if event["choices"][0]["finish_reason"].is_string() {
        taken.latency_s = now;
        if last.is_none() {
            taken.ttft_s = now;
        }
    }
    if let Some(usage) = event["usage"].as_object() {
        let number = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or_default();
        taken.prompt_tokens = number("prompt_tokens");
        taken.completion_tokens = number("completion_tokens");
        taken.cached_tokens =
            event["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or_default();
    }
    if let Some(extras) = event.get("homereel") {
        taken.stages_ms = extras["stages_ms"].clone();
        for one in extras["media"].as_array().into_iter().flatten() {
            let number = |name: &str| one[name].as_u64().unwrap_or_default();
            taken.frames += number("frames");
            taken.visual_tokens += visual_tokens(number("frames"), number("width"), number("height"));
        }
    }
    Ok(())
}

/// Tokens of a clip in Qwen3-VL: one for two frames of 32x32 pixels.
fn visual_tokens(frames: u64, width: u64, height: u64) -> u64 {
    frames.div_ceil(2) * (width / 32) * (height / 32)
}

fn broken(error: reqwest::Error) -> (Fault, String) {
    let fault = if error.is_timeout() { Fault::Timeout } else { Fault::Connection };
    // reqwest's own text hides the cause.
    let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
    (fault, format!("{error}{cause}"))
}

fn fault_of(status: StatusCode) -> Fault {
    match status.as_u16() {
        401 | 403 => Fault::Refused,
        413 => Fault::TooLarge,
        429 | 503 => Fault::Overload,
        400..500 => Fault::Request,
        _ => Fault::Server,
    }
}
