//! The events of an answer.

use homereel_engine::{FinishReason, Stage, StageTimes, TokenLogprob, Usage};
use serde::Serialize;

use crate::media::MediaReport;

/// An event of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum AskEvent {
    /// Waiting behind `position` requests.
    Queued {
        /// Requests ahead in the queue.
        position: usize,
    },
    /// Progress before the first token. Events may be dropped if the reader is slow.
    Progress {
        /// Current stage.
        stage: Stage,
        /// Finished units of work.
        done: usize,
        /// Total units of work.
        total: usize,
    },
    /// A video was decoded: what the model will see of it.
    Media(MediaReport),
    /// One token. `text` may be empty while a character is incomplete.
    Token {
        /// Text that this token completed.
        text: String,
        /// Id of the token. `None` where the engine does not report it.
        id: Option<u32>,
        /// Log-probabilities, if requested.
        logprob: Option<TokenLogprob>,
    },
    /// Content other than text (tool calls, reasoning), as fields of OpenAI's `delta`.
    Delta(serde_json::Map<String, serde_json::Value>),
    /// The end of the answer.
    Done(Finished),
}

impl AskEvent {
    /// Returns about how much memory the event takes.
    pub(super) fn bytes(&self) -> usize {
        let more = match self {
            Self::Token { text, logprob, .. } => {
                let top = logprob.iter().flat_map(|logprob| &logprob.top);
                text.len()
                    + top
                        .map(|(text, ..)| size_of::<(String, Option<u32>, f32)>() + text.len())
                        .sum::<usize>()
            }
            Self::Delta(fields) => serde_json::to_string(fields).map_or(0, |text| text.len()),
            Self::Media(report) => 8 * report.timestamps.len(),
            Self::Queued { .. } | Self::Progress { .. } | Self::Done(_) => 0,
        };
        size_of::<Self>() + more
    }
}

/// Result of a finished answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finished {
    /// Why generation stopped.
    pub finish_reason: FinishReason,
    /// Token counts.
    pub usage: Usage,
    /// Durations of the stages.
    pub stages_ms: StagesMs,
    /// Warnings for the user.
    pub warnings: Vec<String>,
    /// Id of the model.
    pub model: String,
}

/// Durations of the stages in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct StagesMs {
    /// Waiting for the engine.
    pub queue: f64,
    /// Probing the files.
    pub probe: f64,
    /// Decoding video.
    pub decode: f64,
    /// Turning pixels into patches and text into tokens.
    pub preprocess: f64,
    /// Vision tower.
    pub vision: f64,
    /// Prompt processing in the text model.
    pub prefill: f64,
    /// Time from the question to the first token, including probe and decode.
    pub ttft: f64,
    /// Generating the tokens after the first.
    pub generate: f64,
    /// Time from the question to the end of the answer.
    pub total: f64,
}

impl StagesMs {
    /// Copies the durations that the engine measured.
    pub(super) fn add_engine(&mut self, engine: &StageTimes) {
        self.queue = engine.queue_ms;
        self.preprocess = engine.preprocess_ms;
        self.vision = engine.vision_ms;
        self.prefill = engine.prefill_ms;
        self.generate = engine.generate_ms;
    }

    /// Records the histograms of `/metrics` from the same numbers that the answer carries.
    pub(super) fn record(&self, usage: &Usage) {
        let seconds = |ms: f64| ms / 1e3;
        metrics::histogram!("vllm:time_to_first_token_seconds").record(seconds(self.ttft));
        metrics::histogram!("vllm:e2e_request_latency_seconds").record(seconds(self.total));
        metrics::histogram!("vllm:request_queue_time_seconds").record(seconds(self.queue));
        metrics::histogram!("vllm:request_prefill_time_seconds").record(seconds(self.prefill));
        metrics::histogram!("vllm:request_decode_time_seconds").record(seconds(self.generate));
        if let Some(later) = usage.completion_tokens.checked_sub(1).filter(|&later| later > 0) {
            #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
            let per_token = seconds(self.generate) / later as f64;
            metrics::histogram!("vllm:request_time_per_output_token_seconds").record(per_token);
        }
        for (stage, ms) in [
            ("queue", self.queue),
            ("probe", self.probe),
            ("decode", self.decode),
            ("preprocess", self.preprocess),
            ("vision", self.vision),
            ("prefill", self.prefill),
            ("generate", self.generate),
        ] {
            metrics::histogram!("homereel_stage_seconds", "stage" => stage).record(seconds(ms));
        }
        metrics::counter!("vllm:prompt_tokens_total").increment(usage.prompt_tokens as u64);
        metrics::counter!("vllm:generation_tokens_total").increment(usage.completion_tokens as u64);
        metrics::counter!("vllm:prompt_tokens_cached_total").increment(usage.cached_tokens as u64);
        metrics::counter!("vllm:request_success_total").increment(1);
    }
}
