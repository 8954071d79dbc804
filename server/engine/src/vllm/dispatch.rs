//! Dispatches one request: prepares and encodes it, sends it to a replica, relays the answer, and retries on another
//! replica as long as no token has arrived.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tokio::task::spawn_blocking;
use tracing::Instrument as _;

use super::client::TransportError;
use super::encode;
use super::errors::{AttemptError, ErrorResponse, RETRY_AFTER_S, RetryScope};
use super::pool::Pool;
use super::replica::{Replica, ReplicaSlot};
use super::response::{self, ResponseContext, Sender};
use super::served_model::ServedModel;
use super::transport::{self, TransportRules, VideoTransport};
use super::{request_body, sse};
use crate::validate::max_tokens;
use crate::{ContentPart, Done, EngineError, GenerationEvent, Request, Stage};

/// vLLM's priority of background requests; lower numbers go first, and others have 0.
const BACKGROUND: i64 = 1;

/// A request that is ready to be encoded.
pub(super) struct PreparedRequest {
    request: Request,
    transport: VideoTransport,
    /// Whether the target replica accepts `media_io_kwargs`.
    mm_kwargs: bool,
    /// Whether to send a lower priority: the request is a background one, and the target replica accepts it.
    priority: bool,
    /// Tokens of the prompt; `None` where the checkpoint's files are not known.
    prompt_tokens: Option<usize>,
    /// Limit of the answer's tokens; `None` means what the replica's context leaves.
    max_tokens: Option<usize>,
}

/// The body of a request and what it was built for; cheap to clone.
#[derive(Clone)]
struct EncodedRequest {
    pieces: Vec<bytes::Bytes>,
    mm_kwargs: bool,
    priority: bool,
    /// Whether it holds settings that a replica without `--trust-request-mm-kwargs` rejects.
    has_settings: bool,
    prompt_tokens: Option<usize>,
    warnings: Vec<String>,
}

/// What a retry needs; dropped at the first token.
struct Retryable {
    request: Request,
    encoded: EncodedRequest,
}

/// Timing of the request up to its dispatch.
#[derive(Clone, Copy)]
struct DispatchTimes {
    submitted: Instant,
    preprocess_ms: f64,
}

/// Plans how the clips are transported and counts the prompt's tokens. Takes milliseconds for a page of text.
///
/// # Errors
/// `ContextLength` and `Invalid` for what the model cannot be shown.
pub(super) fn prepare(
    model: &ServedModel,
    mut request: Request,
    replica: &Replica,
) -> Result<PreparedRequest, EngineError> {
    let mm_kwargs = replica.accepts_mm_kwargs();
    let priority = request.options.background && replica.accepts_priority();
    let transport = adapt(model, &mut request, mm_kwargs);
    let (prompt_tokens, max_tokens) = match &model.builder {
        None => (None, request.options.max_tokens),
        Some(builder) => {
            let tokens = builder.build(&request)?.prompt.ids().len();
            let left = builder.context - tokens;
            (Some(tokens), Some(max_tokens(&request.options, left)))
        }
    };
    Ok(PreparedRequest { request, transport, mm_kwargs, priority, prompt_tokens, max_tokens })
}

/// Breaks up control tokens in the text, and plans how the clips are transported, which can change their times.
pub(super) fn adapt(model: &ServedModel, request: &mut Request, mm_kwargs: bool) -> VideoTransport {
    let neutralized = request_body::neutralize(request, &model.specials);
    let rules =
        TransportRules { mm_kwargs, sized: model.builder.is_some(), frame_rate: model.info.frame_rate };
    let mut transport = transport::plan(request, rules);
    if neutralized {
        transport.warnings.push("the text spells control tokens of the model; they were broken up".into());
    }
    transport
}

/// Sends the request to `slot` and, until the first token, to other replicas on failure; relays the answer.
///
/// # Errors
/// The error of the last replica tried.
pub(super) async fn send_request(
    pool: Arc<Pool>,
    model: Arc<ServedModel>,
    request: Request,
    prepared: PreparedRequest,
    mut slot: ReplicaSlot,
    submitted: Instant,
    sender: &Sender,
) -> Result<Done, EngineError> {
    pool.count_request();
    let video = video(&request).map(str::to_owned);
    let mut tried = Vec::new();
    let mut retried_once = false;
    let encoded = encode_request(&model, prepared, sender).await?;
    let times = DispatchTimes { submitted, preprocess_ms: submitted.elapsed().as_secs_f64() * 1e3 };
    let mut retryable = Some(Retryable { request, encoded });
    loop {
        let span = tracing::warn_span!("attempt", replica = slot.replica.url);
        let sending = attempt(&pool, &model, &slot, &mut retryable, times, sender).instrument(span);
        let failure = match sending.await {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        let again = match failure.retry {
            RetryScope::Never => false,
            RetryScope::Once => !std::mem::replace(&mut retried_once, true),
            RetryScope::Any => true,
        };
        tried.push(slot.replica.id);
        // A replica that serves another model since would give another answer.
        let same = pool.model().is_some_and(|now| Arc::ptr_eq(&now, &model));
        if !again || !same || retryable.is_none() || !pool.may_retry() {
            return Err(failure.error);
        }
        let Ok(next) = pool.choose(video.as_deref(), &tried) else { return Err(failure.error) };
        slot.replica.count_failover();
        tracing::warn!(
            error = %failure.error,
            from = slot.replica.url,
            to = next.replica.url,
            "failed to get an answer from a replica; will retry on another"
        );
        slot = next;
    }
}

/// Returns the key of the first video, which decides the replica by affinity.
pub(super) fn video(request: &Request) -> Option<&str> {
    let mut parts = request.messages.iter().flat_map(|message| &message.content);
    parts.find_map(|part| match part {
        ContentPart::Video(clip) => clip.key.as_deref(),
        ContentPart::Text(_) | ContentPart::Image(_) => None,
    })
}

/// Sends the request to one replica, and again if that turns out to reject `media_io_kwargs`. Clears `retryable` at the
/// first token.
async fn attempt(
    pool: &Pool,
    model: &Arc<ServedModel>,
    slot: &ReplicaSlot,
    retryable: &mut Option<Retryable>,
    times: DispatchTimes,
    sender: &Sender,
) -> Result<Done, AttemptError> {
    let replica = &slot.replica;
    loop {
        let Some(Retryable { request, encoded }) = retryable.as_mut() else {
            return Err(AttemptError::never(EngineError::Incomplete));
        };
        let other_media = encoded.mm_kwargs != replica.accepts_mm_kwargs() && encoded.holds_media();
        if other_media || (encoded.priority && !replica.accepts_priority()) {
            *encoded =
                encode_again(model, request.clone(), replica, sender).await.map_err(AttemptError::never)?;
        }
        let EncodedRequest { pieces, has_settings, prompt_tokens, warnings, .. } = encoded.clone();
        let sent = Instant::now();
        send_progress(sender, Stage::Prefill, 0, prompt_tokens.unwrap_or(1));
        let response = match replica.client.chat(pieces, request.options.request_id.as_deref()).await {
            Ok(response) => response,
            Err(TransportError::Unreachable { cause, delivered }) => {
                tracing::warn!(
                    error = cause,
                    delivered,
                    "failed to send a request to a replica; will retry on another, or return an error if there is none"
                );
                replica.request_check();
                if !delivered {
                    // Spares other requests the same timeout.
                    replica.mark_unreachable("it can't be reached".into());
                    pool.update_health();
                }
                let retry = if delivered { RetryScope::Once } else { RetryScope::Any };
                let error = EngineError::Unavailable { retry_after_s: RETRY_AFTER_S };
                return Err(AttemptError { error, retry });
            }
            Err(TransportError::Refused(refusal)) if has_settings && refusal.is_about_mm_kwargs() => {
                tracing::warn!(
                    rejection = refusal.body,
                    "this replica rejects media_io_kwargs; will send it clips at a constant frame rate from now on"
                );
                replica.set_accepts_mm_kwargs(false);
                continue;
            }
            Err(TransportError::Refused(refusal)) if encoded.priority && refusal.is_about_priority() => {
                tracing::warn!(
                    "this replica rejects request priorities; will send it background requests without a priority from now on (`vllm serve --scheduling-policy priority` allows them)"
                );
                replica.set_accepts_priority(false);
                continue;
            }
            Err(TransportError::Refused(refusal)) => return Err(refused(refusal, slot)),
        };
        let before = ResponseContext {
            submitted: times.submitted,
            sent,
            preprocess_ms: times.preprocess_ms,
            prompt_tokens,
            warnings,
        };
        let events = sse::SseEvents::new(Box::pin(response.bytes_stream()));
        let on_first_token = || {
            replica.record_success();
            // The replica has the frames, so the copy here is no longer needed.
            *retryable = None;
        };
        let result = response::relay(events, before, sender, on_first_token).await;
        let kind = result.as_ref().err().map(|failure| failure.error.kind());
        if matches!(kind, Some(crate::EngineErrorKind::Failed | crate::EngineErrorKind::NotReady)) {
            replica.request_check();
        }
        return result;
    }
}

fn refused(refusal: ErrorResponse, slot: &ReplicaSlot) -> AttemptError {
    if refusal.concerns_health() {
        // It may have been restarted with another model.
        slot.replica.request_check();
    }
    let retry = refusal.retry();
    AttemptError { error: refusal.into_error(slot.replica.in_flight()), retry }
}

impl EncodedRequest {
    fn holds_media(&self) -> bool {
        self.pieces.len() > 1
    }
}

/// Prepares and encodes the request again, for a replica that accepts other settings.
async fn encode_again(
    model: &Arc<ServedModel>,
    request: Request,
    replica: &Arc<Replica>,
    sender: &Sender,
) -> Result<EncodedRequest, EngineError> {
    let (own, replica) = (Arc::clone(model), Arc::clone(replica));
    let prepared = blocking(move || prepare(&own, request, &replica)).await?;
    encode_request(model, prepared, sender).await
}

/// Encodes the frames on other threads and builds the request around them.
async fn encode_request(
    model: &ServedModel,
    prepared: PreparedRequest,
    sender: &Sender,
) -> Result<EncodedRequest, EngineError> {
    let PreparedRequest { request, transport, mm_kwargs, priority, prompt_tokens, max_tokens } = prepared;
    let VideoTransport { encodings, mut settings, warnings } = transport;
    let mut parts = request.messages.iter().flat_map(|message| &message.content);
    let encoded = |request: &Request, media: &[encode::EncodedMedia], settings: &[(&'static str, Value)]| {
        request_body::pieces(&model.info.id, request, media, settings, max_tokens)
    };
    let has_settings = !settings.is_empty();
    if priority {
        settings.push(("priority", BACKGROUND.into()));
    }
    let pieces = if parts.any(|part| !matches!(part, ContentPart::Text(_))) {
        let sender = sender.clone();
        let (request, media) = blocking(move || {
            let media = encode::encode(&request.messages, &encodings, &|done, total| {
                send_progress(&sender, Stage::Preprocess, done, total);
                if sender.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            Ok((request, media))
        })
        .await?;
        encoded(&request, &media, &settings)
    } else {
        encoded(&request, &[], &settings)
    };
    Ok(EncodedRequest { pieces, mm_kwargs, priority, has_settings, prompt_tokens, warnings })
}

fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> impl Future<Output = Result<T, EngineError>> {
    let task = spawn_blocking(work);
    async move { task.await.map_err(|error| EngineError::Failed(error.to_string()))? }
}

/// Sends progress, which is dropped when the reader is behind.
fn send_progress(sender: &Sender, stage: Stage, done: usize, total: usize) {
    let _ = sender.try_send(Ok(GenerationEvent::Progress { stage, done, total }));
}
