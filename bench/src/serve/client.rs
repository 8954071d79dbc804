//! Sends one request to an OpenAI-compatible server, streams the answer, and times it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use homereel_web::bench_result::{FailureClass, RequestRecord};
use reqwest::{Client, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};

use super::dataset::BenchPrompt;

/// Longest line of a response in bytes.
const MAX_LINE: usize = 8 << 20;
/// Longest error message in characters; the rest is cut off.
const MAX_ERROR: usize = 400;

/// The server under test.
#[derive(Debug, Clone)]
pub struct TargetServer {
    client: Client,
    base: String,
    api_key: Option<String>,
    /// Id of the requested model.
    pub model: String,
}

/// Parameters of a request besides its prompt.
#[derive(Debug, Clone, Default)]
pub struct AnswerOptions {
    /// Limit of tokens per answer.
    pub max_tokens: usize,
    /// Continue to `max_tokens` after the end of the answer (an extension of vLLM).
    pub ignore_eos: bool,
    /// Temperature.
    pub temperature: f64,
    /// Frames per second to sample. `None` leaves it to the server.
    pub fps: Option<f64>,
}

impl TargetServer {
    /// Connects to the server at `base` (with or without `/v1`). `model` defaults to the first one that the server lists.
    ///
    /// # Errors
    /// When the server is unreachable, rejects the key, or does not have the model; the message lists its models.
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
            "{} rejected the key ({status}); set one with --api-key-env NAME",
            target.base
        );
        anyhow::ensure!(status.is_success(), "{}/v1/models answered {status}", target.base);
        let list: Value = serde_json::from_slice(&body).with_context(|| {
            format!("{}/v1/models did not return JSON: is it an OpenAI-compatible server?", target.base)
        })?;
        let models: Vec<&str> =
            list["data"].as_array().into_iter().flatten().filter_map(|one| one["id"].as_str()).collect();
        target.model = match model {
            Some(model) if models.contains(&model) => model.to_owned(),
            Some(model) => {
                anyhow::bail!("{} has no model '{model}'; it has {}", target.base, models.join(", "))
            }
            None => models.first().map(|&id| id.to_owned()).context("the server lists no model")?,
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

    /// Builds the body of a request. Not part of any measured time.
    ///
    /// # Errors
    /// When reading the prompt's clip fails.
    pub async fn body(&self, prompt: &BenchPrompt, options: &AnswerOptions) -> anyhow::Result<Vec<u8>> {
        let mut body = json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": prompt.content().await? }],
            "max_tokens": options.max_tokens, "temperature": options.temperature,
            "ignore_eos": options.ignore_eos,
            "stream": true, "stream_options": { "include_usage": true },
        });
        if let Some(fps) = options.fps {
            // -1 is vLLM's value for "no fixed number".
            body["media_io_kwargs"] = json!({ "video": { "fps": fps, "num_frames": -1 } });
        }
        Ok(serde_json::to_vec(&body)?)
    }

    /// Sends `body` and reads the answer to its end. A failure is recorded, too.
    pub async fn send(&self, body: Vec<u8>) -> RequestRecord {
        let mut record = RequestRecord::default();
        let sent = Instant::now();
        if let Err((class, error)) = self.stream(body, sent, &mut record).await {
            record.fault = Some(class);
            record.error = Some(error.chars().take(MAX_ERROR).collect());
        }
        record
    }

    async fn stream(
        &self,
        body: Vec<u8>,
        sent: Instant,
        record: &mut RequestRecord,
    ) -> Result<(), (FailureClass, String)> {
        let request = self.client.post(format!("{}/v1/chat/completions", self.base));
        let request = self.authorized(request).header(header::CONTENT_TYPE, "application/json").body(body);
        let response = request.send().await.map_err(connection_error)?;
        let status = response.status();
        if !status.is_success() {
            let body = response.bytes().await.unwrap_or_default();
            let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
            let message = parsed["error"]["message"].as_str().or(parsed["message"].as_str());
            let message = message.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
            return Err((class_of(status), format!("{status}: {message}")));
        }
        let mut bytes = response.bytes_stream();
        let mut buffer = Vec::new();
        let mut last = None;
        let mut done = false;
        while let Some(chunk) = bytes.next().await {
            let now = sent.elapsed().as_secs_f64();
            buffer.extend_from_slice(&chunk.map_err(connection_error)?);
            while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let Some(data) = line.trim_ascii().strip_prefix(b"data:") else { continue };
                let data = data.trim_ascii();
                if data == b"[DONE]" {
                    done = true;
                    continue;
                }
                let event: Value = serde_json::from_slice(data).map_err(|error| {
                    (FailureClass::Protocol, format!("the server sent an event that is not JSON: {error}"))
                })?;
                record_event(&event, now, &mut last, record)?;
            }
            if buffer.len() > MAX_LINE {
                return Err((
                    FailureClass::Protocol,
                    format!("the server sent a line of over {MAX_LINE} bytes"),
                ));
            }
        }
        if !done {
            return Err((FailureClass::Connection, "the stream ended before [DONE]".into()));
        }
        if record.completion_tokens == 0 {
            return Err((
                FailureClass::Protocol,
                "the server sent no usage, or an answer without tokens".into(),
            ));
        }
        Ok(())
    }
}

/// Records one event of the stream, which arrived `now` seconds after the request was sent. `last` is the time of the last text.
fn record_event(
    event: &Value,
    now: f64,
    last: &mut Option<f64>,
    record: &mut RequestRecord,
) -> Result<(), (FailureClass, String)> {
    if let Some(message) = event["error"]["message"].as_str() {
        return Err((FailureClass::Server, message.to_owned()));
    }
    let delta = &event["choices"][0]["delta"];
    let piece = delta["content"].as_str().or(delta["reasoning_content"].as_str()).unwrap_or_default();
    if !piece.is_empty() {
        match last.replace(now) {
            None => record.ttft_s = now,
            Some(before) => record.itls_s.push(now - before),
        }
        record.latency_s = now;
        record.text.push_str(piece);
    }
    // Tokens without text (end of sequence, half a character) still end the answer.
    if event["choices"][0]["finish_reason"].is_string() {
        record.latency_s = now;
        if last.is_none() {
            record.ttft_s = now;
        }
    }
    if let Some(usage) = event["usage"].as_object() {
        let number = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or_default();
        record.prompt_tokens = number("prompt_tokens");
        record.completion_tokens = number("completion_tokens");
        record.cached_tokens =
            event["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or_default();
    }
    if let Some(extras) = event.get("homereel") {
        record.stages_ms = serde_json::from_value(extras["stages_ms"].clone()).ok();
        for one in extras["media"].as_array().into_iter().flatten() {
            let number = |name: &str| one[name].as_u64().unwrap_or_default();
            record.frames += number("frames");
            record.visual_tokens += visual_tokens(number("frames"), number("width"), number("height"));
        }
    }
    Ok(())
}

/// Visual tokens of a clip in Qwen3-VL: one per two frames of 32x32 pixels.
fn visual_tokens(frames: u64, width: u64, height: u64) -> u64 {
    frames.div_ceil(2) * (width / 32) * (height / 32)
}

fn connection_error(error: reqwest::Error) -> (FailureClass, String) {
    let class = if error.is_timeout() { FailureClass::Timeout } else { FailureClass::Connection };
    // The text of a reqwest error does not include its cause.
    let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
    (class, format!("{error}{cause}"))
}

fn class_of(status: StatusCode) -> FailureClass {
    match status.as_u16() {
        401 | 403 => FailureClass::Refused,
        413 => FailureClass::TooLarge,
        429 | 503 => FailureClass::Overload,
        400..500 => FailureClass::Request,
        _ => FailureClass::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        json!({ "choices": [{ "delta": { "content": text } }] })
    }

    #[test]
    fn times_of_a_record_are_those_of_its_events() {
        let role = json!({ "choices": [{ "delta": { "role": "assistant", "content": "" } }] });
        let end = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] });
        let usage = json!({ "choices": [], "usage": { "prompt_tokens": 100, "completion_tokens": 11 } });
        let (mut record, mut last) = (RequestRecord::default(), None);
        let events =
            [(0.5, role), (2.0, text("a")), (2.25, text("b")), (3.0, text("c")), (3.5, end), (4.0, usage)];
        for (now, event) in events {
            record_event(&event, now, &mut last, &mut record).unwrap();
        }
        assert_eq!((record.ttft_s, record.latency_s), (2.0, 3.5));
        assert_eq!(record.itls_s, [0.25, 0.75]);
        assert_eq!((record.prompt_tokens, record.completion_tokens), (100, 11));
        assert_eq!(record.text, "abc");
    }

    #[test]
    fn an_answer_without_text_ends_at_its_reason() {
        let end = json!({ "choices": [{ "delta": {}, "finish_reason": "length" }] });
        let (mut record, mut last) = (RequestRecord::default(), None);
        record_event(&end, 1.5, &mut last, &mut record).unwrap();
        assert_eq!((record.ttft_s, record.latency_s), (1.5, 1.5));
        let error = json!({ "error": { "message": "out of memory" } });
        let (class, message) = record_event(&error, 2.0, &mut last, &mut record).unwrap_err();
        assert_eq!((class, message.as_str()), (FailureClass::Server, "out of memory"));
    }
}
