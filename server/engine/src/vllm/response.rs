//! Converts vLLM's stream to engine events. A stream that breaks off, ends without a finish reason, or reports a failure
//! is an error, never a finished answer.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::errors::{AttemptError, ErrorResponse};
use super::sse::{self, ChunkChoice, SseData, WireUsage};
use crate::{Done, EngineError, FinishReason, GenerationEvent, StageTimes, TokenLogprob, Usage};

/// Bytes of one answer; far above what any context holds.
const MAX_ANSWER: usize = 16 << 20;

/// Time to read the end of the body after the last event, so that the connection can be reused.
const LAST_BYTES: Duration = Duration::from_millis(50);

/// Where events go. Bounded, so that a slow reader slows the replica's connection down.
pub(super) type Sender = mpsc::Sender<Result<GenerationEvent, EngineError>>;

/// What is known when the request is sent.
#[derive(Debug)]
pub(super) struct ResponseContext {
    pub(super) submitted: Instant,
    /// When the request was sent.
    pub(super) sent: Instant,
    pub(super) preprocess_ms: f64,
    /// Tokens of the prompt by our own count.
    pub(super) prompt_tokens: Option<usize>,
    pub(super) warnings: Vec<String>,
}

/// Relays the stream; returns its final event, which the caller sends. Calls `on_first_token` at the first token.
///
/// # Errors
/// `Incomplete` when the stream breaks off; the failure that vLLM reports; `Cancelled` when the reader has left. Until the
/// first token the request can be retried.
pub(super) async fn relay(
    mut events: sse::SseEvents,
    before: ResponseContext,
    sender: &Sender,
    mut on_first_token: impl FnMut() + Send,
) -> Result<Done, AttemptError> {
    let mut first = None;
    let end = pass_on(&mut events, sender, &mut first, &mut on_first_token).await;
    let end =
        end.map_err(|failure| if first.is_some() { AttemptError::never(failure.error) } else { failure })?;
    let _ = tokio::time::timeout(LAST_BYTES, events.next()).await;
    Ok(done(end, first, before))
}

/// How the stream ended.
struct StreamEnd {
    finish_reason: FinishReason,
    /// About a finish reason that OpenAI does not have.
    warning: Option<String>,
    usage: Option<WireUsage>,
    tokens: usize,
}

async fn pass_on(
    events: &mut sse::SseEvents,
    sender: &Sender,
    first: &mut Option<Instant>,
    on_first_token: &mut (impl FnMut() + Send),
) -> Result<StreamEnd, AttemptError> {
    let mut finish = None;
    let mut usage = None;
    let (mut tokens, mut bytes) = (0, 0);
    loop {
        let data = events.next().await.map_err(|cause| {
            tracing::warn!(
                error = cause,
                tokens,
                "lost the connection to a replica during an answer; will retry if the client has received no token, else the client gets an error"
            );
            AttemptError::once(EngineError::Incomplete)
        })?;
        let chunk = match data {
            Some(SseData::Chunk(chunk)) => chunk,
            end => {
                let whole = finish.filter(|_| end.is_some());
                let Some((finish_reason, warning)) = whole else {
                    tracing::warn!(
                        tokens,
                        "a replica closed the connection before the end of an answer; will retry if the client has received no token, else the client gets an error"
                    );
                    return Err(AttemptError::once(EngineError::Incomplete));
                };
                return Ok(StreamEnd { finish_reason, warning, usage, tokens });
            }
        };
        if let Some(error) = chunk.error {
            let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
            let refusal = ErrorResponse { status, retry_after_s: None, body: error.to_string() };
            let retry = refusal.retry();
            return Err(AttemptError { error: refusal.into_error(0), retry });
        }
        usage = chunk.usage.or(usage);
        for choice in chunk.choices {
            if let Some(reason) = choice.finish_reason.as_deref() {
                finish = Some(finish_reason(reason).map_err(AttemptError::once)?);
            }
            for event in events_of(choice) {
                if first.is_none() {
                    *first = Some(Instant::now());
                    on_first_token();
                }
                match &event {
                    GenerationEvent::Token { text, .. } => {
                        bytes += text.len();
                        tokens += 1;
                    }
                    GenerationEvent::Delta(besides) => bytes += size(besides),
                    GenerationEvent::Queued { .. }
                    | GenerationEvent::Progress { .. }
                    | GenerationEvent::Done(_) => {}
                }
                if bytes > MAX_ANSWER {
                    let message = format!("the replica's answer exceeds {MAX_ANSWER} bytes");
                    return Err(AttemptError::never(EngineError::Failed(message)));
                }
                sender.send(Ok(event)).await.map_err(|_| AttemptError::never(EngineError::Cancelled))?;
            }
        }
    }
}

/// Estimates the bytes of a chunk's fields other than text.
fn size(besides: &serde_json::Map<String, serde_json::Value>) -> usize {
    besides.values().map(|value| value.as_str().map_or_else(|| value.to_string().len(), str::len)).sum()
}

/// Returns the finish reason in OpenAI's terms, and a warning where it has another name.
fn finish_reason(reason: &str) -> Result<(FinishReason, Option<String>), EngineError> {
    match reason {
        "stop" => Ok((FinishReason::Stop, None)),
        "length" => Ok((FinishReason::Length, None)),
        "tool_calls" => Ok((FinishReason::ToolCalls, None)),
        "repetition" => {
            let warning = "the model's server ended the answer since it repeated itself".to_owned();
            Ok((FinishReason::Stop, Some(warning)))
        }
        // The answer is incomplete.
        "abort" | "error" => {
            tracing::warn!(
                finish_reason = reason,
                "a replica gave up an answer; will retry if the client has received no token, else the client gets an error"
            );
            Err(EngineError::Incomplete)
        }
        other => {
            let other: String = other.chars().take(100).collect();
            Ok((
                FinishReason::Stop,
                Some(format!("the model's server ended the answer for the reason {other:?}")),
            ))
        }
    }
}

/// Returns the events of a chunk: fields other than text first, then its text.
fn events_of(mut choice: ChunkChoice) -> Vec<GenerationEvent> {
    let mut besides = serde_json::Map::new();
    let names = [choice.delta.reasoning.take(), choice.delta.reasoning_content.take()];
    if let Some(reasoning) = names.into_iter().flatten().find(|text| !text.is_empty()) {
        besides.insert("reasoning".into(), reasoning.into());
    }
    if let Some(calls) = choice.delta.tool_calls.take().filter(|calls| !calls.is_empty()) {
        besides.insert("tool_calls".into(), calls.into());
    }
    if besides.is_empty() {
        return tokens_of(choice);
    }
    let mut events = vec![GenerationEvent::Delta(besides)];
    // Tokens of reasoning and tool calls have no text.
    if choice.delta.content.as_ref().is_some_and(|text| !text.is_empty()) {
        events.extend(tokens_of(choice));
    }
    events
}

/// Returns one event per token where vLLM reports tokens, else one per chunk.
fn tokens_of(choice: ChunkChoice) -> Vec<GenerationEvent> {
    let ChunkChoice { delta, logprobs, token_ids, .. } = choice;
    let text = delta.content.unwrap_or_default();
    let ids = token_ids.unwrap_or_default();
    let entries = logprobs.and_then(|logprobs| logprobs.content).unwrap_or_default();
    if entries.is_empty() {
        if text.is_empty() && ids.is_empty() {
            // The chunk that only names the role.
            return Vec::new();
        }
        let id = if let [id] = ids[..] { Some(id) } else { None };
        return vec![GenerationEvent::Token { text, id, logprob: None }];
    }
    // Where the texts of the tokens do not add up (a character of several tokens, a truncated stop string), the whole text
    // belongs to the last token, which made it final.
    let adds_up = entries.iter().map(|entry| entry.token.as_str()).collect::<String>() == text;
    let last = entries.len() - 1;
    let mut rest = Some(text);
    entries
        .into_iter()
        .enumerate()
        .map(|(at, entry)| {
            let id = ids.get(at).copied();
            let text = if adds_up {
                entry.token.clone()
            } else if at == last {
                rest.take().unwrap_or_default()
            } else {
                String::new()
            };
            let top = entry
                .top_logprobs
                .into_iter()
                .map(|other| {
                    let chosen = other.token == entry.token && other.logprob == entry.logprob;
                    (other.token, id.filter(|_| chosen), other.logprob)
                })
                .collect();
            GenerationEvent::Token { text, id, logprob: Some(TokenLogprob { logprob: entry.logprob, top }) }
        })
        .collect()
}

fn done(end: StreamEnd, first: Option<Instant>, before: ResponseContext) -> Done {
    let StreamEnd { finish_reason, warning, usage, tokens } = end;
    let ResponseContext { submitted, sent, preprocess_ms, prompt_tokens, mut warnings } = before;
    warnings.extend(warning);
    let usage = match usage {
        Some(usage) => Usage {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            cached_tokens: usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
        },
        None => {
            warnings.push("the model's server reported no token counts; these are Homereel's own".into());
            let prompt_tokens = prompt_tokens.unwrap_or(0);
            Usage { prompt_tokens, completion_tokens: tokens, cached_tokens: 0 }
        }
    };
    if let Some(ours) = prompt_tokens.filter(|&ours| ours != usage.prompt_tokens) {
        warnings.push(format!(
            "the model's server counted {} prompt tokens where this program expected {ours}: it saw the video or the \
             text otherwise (is --model the checkpoint that it serves?)",
            usage.prompt_tokens
        ));
    }
    let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
    let now = Instant::now();
    let first = first.unwrap_or(now);
    let stages = StageTimes {
        queue_ms: 0.0,
        preprocess_ms,
        // vLLM does not report its stages: everything up to the first token counts as prefill.
        vision_ms: 0.0,
        prefill_ms: ms(sent, first),
        ttft_ms: ms(submitted, first),
        generate_ms: ms(first, now),
    };
    Done { finish_reason, usage, stages, warnings }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
