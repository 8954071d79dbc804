//! The events of an answer.

use homereel_engine::{FinishReason, StageTimes, TokenLogprob, Usage};
use serde::Serialize;

use crate::{media::Report, stage::Stage};

/// One step of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum AskEvent {
    /// Waiting behind `position` others.
    Queued {
        /// Requests ahead.
        position: usize,
    },
    /// Work before the first token. May be left out when the reader is slow.
    Progress {
        /// What is being done.
        stage: Stage,
        /// Units done.
        done: usize,
        /// Units in all.
        total: usize,
    },
    /// A video is decoded: what the model will see of it.
    Media(Report),
    /// One token. `text` may be empty while a character is incomplete.
    Token {
        /// Text that became certain with this token.
        text: String,
        /// Id of the token. `None` where the engine does not report it.
        id: Option<u32>,
        /// Log-probabilities, if asked for.
        logprob: Option<TokenLogprob>,
    },
    /// What the answer holds besides text (calls of tools, thoughts), as a piece of OpenAI's `delta`.
    Delta(serde_json::Map<String, serde_json::Value>),
    /// The end.
    Done(Finished),
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finished {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Token counts.
    pub usage: Usage,
    /// Where the time went.
    pub stages_ms: StagesMs,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Id of the model.
    pub model: String,
}

/// Where the time went, milliseconds per stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct StagesMs {
    /// Waiting for the engine.
    pub queue: f64,
    /// Finding out what is in the files.
    pub probe: f64,
    /// Decoding video.
    pub decode: f64,
    /// Pixels to patches, text to tokens.
    pub preprocess: f64,
    /// Vision tower.
    pub vision: f64,
    /// Prompt through the text model.
    pub prefill: f64,
    /// From the question to the first token, probe and decode included.
    pub ttft: f64,
    /// Tokens after the first.
    pub generate: f64,
    /// From the question to the end.
    pub total: f64,
}

impl StagesMs {
    /// Takes over what the engine measured.
    pub(super) fn add_engine(&mut self, engine: &StageTimes) {
        self.queue = engine.queue_ms;
        self.preprocess = engine.preprocess_ms;
        self.vision = engine.vision_ms;
        self.prefill = engine.prefill_ms;
        self.generate = engine.generate_ms;
    }

    /// Feeds the histograms of `/metrics`, from the very numbers that the answer carries.
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
