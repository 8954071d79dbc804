//! The interactive question: about a clip that the server has described already, asked at intervals.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use homereel_web::bench_result::RequestRecord;
use serde::Serialize;
use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::progress::{self, Progress, Watch};
use super::server::Server;
use crate::serve::client::TargetServer;
use crate::serve::dataset::{self, BenchPrompt};
use crate::statistics::summarize;

/// Time in which the server must process the question's clip.
const PREPARATION: Duration = Duration::from_secs(900);

/// Time after which a question counts as failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Limit of tokens per answer.
const MAX_TOKENS: usize = 64;

/// Questions to the idle server.
const ALONE: usize = 10;

/// What is asked, and how often.
#[derive(Debug, Clone)]
pub struct QuestionLoad {
    /// The question and its clip.
    pub prompt: BenchPrompt,
    /// Interval. The next question is asked after the answer to the last one.
    pub every: Duration,
}

/// Latency of the interactive question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuestionLatency {
    /// Questions that were answered.
    pub completed: usize,
    /// Questions that failed.
    pub failed: usize,
    /// Message of the first failure.
    pub failure: Option<String>,
    /// Median of the milliseconds from the question to the first token.
    pub median_ttft_ms: Option<f64>,
    /// 95th percentile of the same.
    pub p95_ttft_ms: Option<f64>,
}

/// A question that is ready to be asked.
pub(super) struct Question {
    target: TargetServer,
    body: Vec<u8>,
    every: Duration,
}

/// Uploads the question's clip, waits until the server has processed it, and asks once, so that its frames are decoded.
///
/// # Errors
/// When the upload or the question fails, or processing takes too long.
pub(super) async fn prepare(
    server: &Server,
    target: &TargetServer,
    load: &QuestionLoad,
    stop: &CancellationToken,
) -> anyhow::Result<Question> {
    let clip = load.prompt.clip.as_ref().context("the interactive question has no clip")?;
    let uploaded =
        server.upload(clip).await.with_context(|| format!("failed to upload {}", clip.display()))?;
    if !uploaded.duplicate {
        let mut clips = [Progress { id: uploaded.id.clone(), ..Progress::default() }];
        let watch = Watch { server, began: Instant::now(), limit: PREPARATION, stop, on_described: &|_| {} };
        progress::follow(watch, &mut clips, Progress::is_over).await?;
        ensure!(
            clips[0].is_over(),
            "the server did not process the clip of the interactive question in time"
        );
    }
    let content = dataset::about(&format!("homereel:{}", uploaded.id), &load.prompt.text);
    let body = json!({
        "model": target.model, "messages": [{ "role": "user", "content": content }],
        "max_tokens": MAX_TOKENS, "temperature": 0, "stream": true, "stream_options": { "include_usage": true },
    });
    let question = Question { target: target.clone(), body: serde_json::to_vec(&body)?, every: load.every };
    let first = question.ask().await;
    ensure!(
        first.error.is_none(),
        "the interactive question failed: {}",
        first.error.as_deref().unwrap_or_default()
    );
    Ok(question)
}

impl Question {
    async fn ask(&self) -> RequestRecord {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.target.send(self.body.clone())).await;
        answer.unwrap_or_else(|_| RequestRecord {
            error: Some(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
            ..RequestRecord::default()
        })
    }

    /// Asks several times, one after the other.
    pub(super) async fn ask_alone(&self) -> Vec<RequestRecord> {
        let mut records = Vec::with_capacity(ALONE);
        for _ in 0..ALONE {
            records.push(self.ask().await);
        }
        records
    }

    /// Asks at intervals until `ended`; the last answer is read to its end.
    pub(super) async fn ask_until(&self, ended: &CancellationToken) -> Vec<RequestRecord> {
        let mut beat = tokio::time::interval(self.every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut records = Vec::new();
        loop {
            tokio::select! {
                () = ended.cancelled() => return records,
                _ = beat.tick() => {}
            }
            records.push(self.ask().await);
        }
    }
}

/// Summarizes the answers.
pub(super) fn latency(records: &[RequestRecord]) -> QuestionLatency {
    let answered = records.iter().filter(|record| record.error.is_none());
    let times: Vec<f64> = answered.map(|record| 1e3 * record.ttft_s).collect();
    let summary = summarize(&times, &[95.0]);
    QuestionLatency {
        completed: times.len(),
        failed: records.len() - times.len(),
        failure: records.iter().find_map(|record| record.error.clone()),
        median_ttft_ms: summary.as_ref().map(|summary| summary.median),
        p95_ttft_ms: summary.as_ref().and_then(|summary| summary.percentile(95.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_questions_have_no_latency() {
        let answered = |ttft_s: f64| RequestRecord { ttft_s, ..RequestRecord::default() };
        let failed = RequestRecord { error: Some("refused".into()), ..RequestRecord::default() };
        let seen = latency(&[answered(0.25), failed, answered(0.75), answered(0.5)]);
        assert_eq!((seen.completed, seen.failed, seen.failure.as_deref()), (3, 1, Some("refused")));
        assert_eq!(seen.median_ttft_ms, Some(500.0));
        assert!(seen.p95_ttft_ms.is_some_and(|p95| (p95 - 725.0).abs() < 1e-9));
        assert_eq!(latency(&[]).median_ttft_ms, None);
    }
}
