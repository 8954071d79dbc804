//! From the upstream's stream to events of ours. A stream that breaks off, ends without a reason or says that it
//! failed is an error, never a finished answer. Knows no HTTP.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::failure::Refusal;
use super::sse::{self, Choice, Data, WireUsage};
use crate::{Done, EngineError, Event, FinishReason, StageTimes, TokenLogprob, Usage};

/// Bytes of one answer; far above what any context holds.
const MAX_ANSWER: usize = 16 << 20;

/// How long the end of the body may take to follow the end of the answer; then the connection serves again.
const LAST_BYTES: Duration = Duration::from_millis(50);

/// Where events go. Bounded: a reader that is slow holds the upstream's connection back.
pub(super) type Sender = mpsc::Sender<Result<Event, EngineError>>;

/// What is known before the first token comes.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) submitted: Instant,
    /// When the request was on its way.
    pub(super) sent: Instant,
    pub(super) preprocess_ms: f64,
    /// Tokens of the prompt by our own count.
    pub(super) prompt_tokens: Option<usize>,
    pub(super) warnings: Vec<String>,
}

/// Passes the stream on; returns its end, which is still to be sent.
///
/// # Errors
/// `Incomplete` when the stream breaks off or is none; what the upstream says of its own failure; `Cancelled` when
/// the reader has left.
pub(super) async fn relay(
    mut events: sse::Events,
    before: Before,
    sender: &Sender,
) -> Result<Done, EngineError> {
    let mut finish = None;
    let mut usage = None;
    let mut first = None;
    let (mut tokens, mut bytes) = (0, 0);
    loop {
        let data = events.next().await.map_err(|cause| {
            tracing::warn!(cause, "the upstream's answer broke off");
            EngineError::Incomplete
        })?;
        let chunk = match data {
            Some(Data::Chunk(chunk)) => chunk,
            Some(Data::Done) if finish.is_some() => break,
            Some(Data::Done) | None => {
                tracing::warn!("the upstream's answer ended without a reason");
                return Err(EngineError::Incomplete);
            }
        };
        if let Some(error) = chunk.error {
            let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
            return Err(Refusal { status, retry_after_s: None, body: error.to_string() }.into_error(0));
        }
        usage = chunk.usage.or(usage);
        for choice in chunk.choices {
            if let Some(reason) = choice.finish_reason.as_deref() {
                finish = Some(finish_reason(reason)?);
            }
            for event in events_of(choice) {
                first.get_or_insert_with(Instant::now);
                if let Event::Token { text, .. } = &event {
                    bytes += text.len();
                    tokens += 1;
                }
                if bytes > MAX_ANSWER {
                    return Err(EngineError::Failed(format!(
                        "the upstream's answer exceeds {MAX_ANSWER} bytes"
                    )));
                }
                sender.send(Ok(event)).await.map_err(|_| EngineError::Cancelled)?;
            }
        }
    }
    let _ = tokio::time::timeout(LAST_BYTES, events.next()).await;
    // The loop only ends with a reason.
    let finish_reason = finish.unwrap_or(FinishReason::Stop);
    Ok(done(finish_reason, usage, tokens, first, before))
}

fn finish_reason(reason: &str) -> Result<FinishReason, EngineError> {
    match reason {
        "stop" => Ok(FinishReason::Stop),
        "length" => Ok(FinishReason::Length),
        // `abort`, and what further versions may say: the answer is not whole.
        other => {
            tracing::warn!(reason = other, "the upstream gave up an answer");
            Err(EngineError::Incomplete)
        }
    }
}

/// Returns one event per token where the upstream tells them apart, else one per piece of text.
fn events_of(choice: Choice) -> Vec<Event> {
    let Choice { delta, logprobs, token_ids, .. } = choice;
    let text = delta.content.unwrap_or_default();
    let ids = token_ids.unwrap_or_default();
    let entries = logprobs.and_then(|logprobs| logprobs.content).unwrap_or_default();
    if entries.is_empty() {
        if text.is_empty() && ids.is_empty() {
            // The chunk that only names the role.
            return Vec::new();
        }
        let id = if let [id] = ids[..] { Some(id) } else { None };
        return vec![Event::Token { text, id, logprob: None }];
    }
    // Where the tokens' texts don't add up (a character in several tokens, a stop string cut off), the text belongs
    // to the last: with it, it became certain.
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
            Event::Token { text, id, logprob: Some(TokenLogprob { logprob: entry.logprob, top }) }
        })
        .collect()
}

fn done(
    finish_reason: FinishReason,
    usage: Option<WireUsage>,
    tokens: usize,
    first: Option<Instant>,
    before: Before,
) -> Done {
    let Before { submitted, sent, preprocess_ms, prompt_tokens, mut warnings } = before;
    let usage = match usage {
        Some(usage) => Usage {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            cached_tokens: usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
        },
        None => {
            warnings.push("the model's server told no token counts; these are this program's own".into());
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
    let end = Instant::now();
    let first = first.unwrap_or(end);
    let stages = StageTimes {
        queue_ms: 0.0,
        preprocess_ms,
        // The upstream's own stages are not told apart: all until the first token counts as prefill.
        vision_ms: 0.0,
        prefill_ms: ms(sent, first),
        ttft_ms: ms(submitted, first),
        generate_ms: ms(first, end),
    };
    Done { finish_reason, usage, stages, warnings }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(prompt_tokens: Option<usize>) -> Before {
        let now = Instant::now();
        Before { submitted: now, sent: now, preprocess_ms: 1.0, prompt_tokens, warnings: Vec::new() }
    }

    async fn told(chunks: &[&str], expected: Option<usize>) -> (Vec<Event>, Result<Done, EngineError>) {
        let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from(body))]);
        let (sender, mut receiver) = mpsc::channel(64);
        let result = relay(sse::Events::new(body), before(expected), &sender).await;
        drop(sender);
        let mut events = Vec::new();
        while let Some(event) = receiver.recv().await {
            events.push(event.unwrap());
        }
        (events, result)
    }

    const ROLE: &str = r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    const RED: &str = r#"{"choices":[{"delta":{"content":"Red"},"finish_reason":null}]}"#;
    const STOP: &str = r#"{"choices":[{"delta":{"content":"."},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,
        "prompt_tokens_details":{"cached_tokens":4}}}"#;

    fn usage() -> String {
        USAGE.replace('\n', "")
    }

    #[tokio::test]
    async fn a_whole_answer_ends_with_its_usage() {
        let (events, done) = told(&[ROLE, RED, STOP, &usage(), "[DONE]"], Some(9)).await;
        let done = done.unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(done.usage, Usage { prompt_tokens: 9, completion_tokens: 2, cached_tokens: 4 });
        assert_eq!((done.finish_reason, done.warnings.len()), (FinishReason::Stop, 0));
    }

    #[tokio::test]
    async fn other_counts_than_ours_and_none_at_all_are_told() {
        let (_, done) = told(&[RED, STOP, &usage(), "[DONE]"], Some(8)).await;
        assert!(done.unwrap().warnings[0].contains("counted 9 prompt tokens"));
        let (_, done) = told(&[RED, STOP, "[DONE]"], Some(8)).await;
        let done = done.unwrap();
        assert_eq!((done.usage.prompt_tokens, done.usage.completion_tokens), (8, 2));
        assert!(done.warnings[0].contains("no token counts"));
    }

    #[tokio::test]
    async fn what_is_not_whole_is_no_answer() {
        let aborted = RED.replace("null", "\"abort\"");
        for chunks in
            [&[RED][..], &[RED, "[DONE]"], &[RED, STOP], &[RED, &aborted, "[DONE]"], &[RED, "{oops"]]
        {
            let (_, done) = told(chunks, None).await;
            assert!(matches!(done, Err(EngineError::Incomplete)), "{chunks:?}: {done:?}");
        }
        let error = r#"{"error":{"message":"/root died","code":500}}"#;
        let (_, done) = told(&[RED, error, "[DONE]"], None).await;
        assert!(matches!(done, Err(EngineError::Failed(_))));
    }

    #[tokio::test]
    async fn tokens_carry_their_ids_and_logprobs() {
        let chunk = r#"{"choices":[{"delta":{"content":"I only"},"token_ids":[40,355],"logprobs":{"content":[
            {"token":"I","logprob":-0.5,"top_logprobs":[{"token":"I","logprob":-0.5},{"token":"[]","logprob":-8}]},
            {"token":" only","logprob":-0.25,"top_logprobs":[]}]}}]}"#
            .replace('\n', "");
        let (events, _) = told(&[&chunk], None).await;
        let [
            Event::Token { text: a, id: Some(40), logprob: Some(first) },
            Event::Token { text: b, id: Some(355), .. },
        ] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!((a.as_str(), b.as_str()), ("I", " only"));
        assert_eq!(first.top, [("I".to_owned(), Some(40), -0.5), ("[]".to_owned(), None, -8.0)]);
        let cut = chunk.replace("I only", "I");
        let (events, _) = told(&[&cut], None).await;
        let texts: Vec<&str> = events
            .iter()
            .map(|event| if let Event::Token { text, .. } = event { text.as_str() } else { "" })
            .collect();
        assert_eq!(texts, ["", "I"]);
    }
}
