//! The peer of a measurement: asks a vLLM the server's questions about the same windows, as a plain client would.
//!
//! A window is sent as a file, of which vLLM samples two frames per second, as many as the server sends. The three questions
//! about a window follow each other, as the server asks the demo model; several windows are asked about at the same time.
//! There are three differences: the server asks other models for all texts at once, it writes a summary of a long video in
//! addition, and it ends answers that repeat themselves.

use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use homereel_clips::{DESCRIBE, MOMENTS, TAGS};
use homereel_web::bench_result::RequestRecord;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::clips::MediaFile;
use super::per_second;
use super::question::{QuestionLatency, latency};
use crate::serve::client::TargetServer;
use crate::serve::dataset;

/// The texts of a video, with the prompts that the server asks for them.
pub(super) const QUESTIONS: [(&str, &str); 3] =
    [("description", DESCRIBE), ("moments", MOMENTS), ("tags", TAGS)];

/// Limit of tokens per answer, as on the server.
const MAX_TOKENS: usize = 1024;

/// Frames per second of video, as on the server.
const FPS: u32 = 2;

/// A measurement of the peer.
#[derive(Debug, Clone, Serialize)]
pub struct DirectRun {
    /// Address of the peer.
    pub base_url: String,
    /// The model that answered.
    pub model_id: String,
    /// Windows that were asked at the same time.
    pub max_concurrency: usize,
    /// Windows of all clips.
    pub windows: usize,
    /// Windows whose questions were all answered.
    pub windows_answered: usize,
    /// Length of these windows in seconds.
    pub video_s: f64,
    /// Seconds from the first question to the last answer.
    pub duration_s: f64,
    /// Hours of video per hour.
    pub hours_per_hour: Option<f64>,
    /// Questions that were answered.
    pub questions: usize,
    /// Questions that failed.
    pub failed: usize,
    /// Message of the first failure.
    pub failure: Option<String>,
    /// Prompt tokens of the answered questions.
    pub prompt_tokens: u64,
    /// Generated tokens of the answered questions.
    pub generation_tokens: u64,
    /// Answered questions per second.
    pub questions_per_s: Option<f64>,
    /// Prompt tokens per second.
    pub prompt_tokens_per_s: Option<f64>,
    /// Generated tokens per second.
    pub generation_tokens_per_s: Option<f64>,
    /// Median of the milliseconds from a question to its first token.
    pub median_ttft_ms: Option<f64>,
    /// 95th percentile of the same.
    pub p95_ttft_ms: Option<f64>,
    /// The run was stopped before all questions were asked.
    pub interrupted: bool,
}

/// A window's length, and the answers about it.
type Answers = (f64, Vec<RequestRecord>);

/// Asks about all `windows`, `concurrency` at a time, until `stop`. `on_window` is called after each.
pub async fn measure(
    target: &TargetServer,
    windows: &[MediaFile],
    concurrency: usize,
    stop: &CancellationToken,
    on_window: impl Fn(),
) -> DirectRun {
    let began = Instant::now();
    let answers: Vec<Answers> = stream::iter(windows)
        .map(async |window| {
            let records = ask(target, window).await;
            on_window();
            (window.duration_s, records)
        })
        .buffer_unordered(concurrency.max(1))
        .take_until(stop.cancelled())
        .collect()
        .await;
    let run = summarize(&answers, began.elapsed().as_secs_f64());
    DirectRun {
        base_url: target.base().to_owned(),
        model_id: target.model.clone(),
        max_concurrency: concurrency,
        windows: windows.len(),
        interrupted: answers.len() < windows.len(),
        ..run
    }
}

/// Asks the three questions about one window.
async fn ask(target: &TargetServer, window: &MediaFile) -> Vec<RequestRecord> {
    let url = match dataset::data_url(&window.path).await {
        Ok(url) => url,
        Err(error) => {
            let error = Some(format!("failed to read {error:#}"));
            return vec![RequestRecord { error, ..RequestRecord::default() }; QUESTIONS.len()];
        }
    };
    let mut records = Vec::with_capacity(QUESTIONS.len());
    for (text, prompt) in QUESTIONS {
        records.push(target.send(body(&target.model, &url, text, prompt).to_string().into_bytes()).await);
    }
    records
}

fn body(model: &str, url: &str, text: &str, prompt: &str) -> Value {
    // vLLM takes missing sampling parameters from the checkpoint's generation_config.json.
    let mut body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": dataset::about(url, prompt) }],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "repetition_penalty": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "stream": true,
        "stream_options": { "include_usage": true },
        // -1 is vLLM's value for "no fixed number". The processor must not sample the loader's frames again.
        "media_io_kwargs": { "video": { "fps": FPS, "num_frames": -1 } },
        "mm_processor_kwargs": { "do_sample_frames": false },
    });
    if let Some(schema) = schema(text) {
        body["response_format"] =
            json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } });
    }
    body
}

/// Returns the schema to which the server holds the answer. A description has none.
fn schema(text: &str) -> Option<Value> {
    match text {
        "moments" => Some(json!({
            "type": "object", "required": ["moments"], "additionalProperties": false,
            "properties": { "moments": { "type": "array", "items": {
                "type": "object", "required": ["start", "end", "text"], "additionalProperties": false,
                "properties": {
                    "start": { "type": "number", "minimum": 0 },
                    "end": { "type": "number", "minimum": 0 },
                    "text": { "type": "string", "minLength": 1 },
                },
            }}},
        })),
        "tags" => Some(json!({
            "type": "array", "maxItems": 8, "items": { "type": "string", "minLength": 1 },
        })),
        _ => None,
    }
}

/// Computes the figures. Address, model and load are left empty.
fn summarize(windows: &[Answers], duration_s: f64) -> DirectRun {
    let complete = |records: &[RequestRecord]| records.iter().all(|record| record.error.is_none());
    let whole: Vec<f64> =
        windows.iter().filter(|(_, records)| complete(records)).map(|(length, _)| *length).collect();
    let video_s: f64 = whole.iter().sum();
    let records: Vec<RequestRecord> =
        windows.iter().flat_map(|(_, records)| records.iter().cloned()).collect();
    let answered = || records.iter().filter(|record| record.error.is_none());
    let prompt_tokens: u64 = answered().map(|record| record.prompt_tokens).sum();
    let generation_tokens: u64 = answered().map(|record| record.completion_tokens).sum();
    let QuestionLatency { completed, failed, failure, median_ttft_ms, p95_ttft_ms } = latency(&records);
    let rate = |amount: f64| per_second(Some(amount), Some(duration_s));
    DirectRun {
        base_url: String::new(),
        model_id: String::new(),
        max_concurrency: 0,
        windows: windows.len(),
        windows_answered: whole.len(),
        video_s,
        duration_s,
        hours_per_hour: rate(video_s),
        questions: completed,
        failed,
        failure,
        prompt_tokens,
        generation_tokens,
        questions_per_s: rate(completed as f64),
        prompt_tokens_per_s: rate(prompt_tokens as f64),
        generation_tokens_per_s: rate(generation_tokens as f64),
        median_ttft_ms,
        p95_ttft_ms,
        interrupted: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_carries_the_frame_settings_and_lists_have_a_schema() {
        for (text, prompt) in QUESTIONS {
            let body = body("m", "data:video/mp4;base64,AA==", text, prompt);
            assert_eq!(body["messages"][0]["content"][0]["video_url"]["url"], "data:video/mp4;base64,AA==");
            assert_eq!(body["messages"][0]["content"][1]["text"], prompt);
            assert_eq!(body["media_io_kwargs"]["video"]["fps"], 2);
            assert_eq!(body["response_format"].is_null(), text == "description", "{text}");
        }
    }

    #[test]
    fn a_window_counts_only_with_all_of_its_answers() {
        let answered =
            RequestRecord { prompt_tokens: 100, completion_tokens: 10, ..RequestRecord::default() };
        let failed = RequestRecord { error: Some("refused".into()), ..RequestRecord::default() };
        let windows = [
            (60.0, vec![answered.clone(), answered.clone(), answered.clone()]),
            (30.0, vec![answered.clone(), failed, answered]),
        ];
        let run = summarize(&windows, 10.0);
        assert_eq!((run.windows, run.windows_answered, run.video_s), (2, 1, 60.0));
        assert_eq!((run.questions, run.failed, run.failure.as_deref()), (5, 1, Some("refused")));
        assert_eq!((run.hours_per_hour, run.questions_per_s), (Some(6.0), Some(0.5)));
        assert_eq!((run.prompt_tokens_per_s, run.generation_tokens_per_s), (Some(50.0), Some(5.0)));
    }
}
