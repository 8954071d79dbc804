//! One request's way: prepared, encoded, sent to a replica, and its answer passed on; to another replica while no token
//! has come, as long as that is of use.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tokio::task::spawn_blocking;

use super::answer::{self, Before, Sender};
use super::carry::{self, Carriage, Rules};
use super::client::Trouble;
use super::failure::{Elsewhere, Lost, RETRY_AFTER_S, Refusal};
use super::front::Front;
use super::pictures;
use super::pool::Pool;
use super::replica::Place;
use super::{body, sse};
use crate::candle::DEFAULT_MAX_TOKENS;
use crate::{Done, EngineError, Event, Part, Request, Stage};

/// A request, ready to be encoded.
pub(super) struct Prepared {
    request: Request,
    carriage: Carriage,
    /// For a replica that takes settings of media in requests.
    trusting: bool,
    /// Tokens of its prompt, where they can be counted here.
    prompt_tokens: Option<usize>,
    /// Tokens of its answer at most; none is what the upstream's context leaves.
    max_tokens: Option<usize>,
}

/// A request as it is sent; cheap to clone.
#[derive(Clone)]
struct Letter {
    pieces: Vec<bytes::Bytes>,
    trusting: bool,
    /// It holds settings that an untrusting replica refuses.
    has_settings: bool,
    prompt_tokens: Option<usize>,
    warnings: Vec<String>,
}

/// What is kept for another try, until the first token.
struct Kept {
    request: Request,
    letter: Letter,
}

/// When the request came and when it was on its way, at last.
#[derive(Clone, Copy)]
struct Times {
    submitted: Instant,
    preprocess_ms: f64,
}

/// Decides how the request travels and counts its tokens. Takes milliseconds for a page of text.
///
/// # Errors
/// `ContextLength` and `Invalid` for what can't be shown to the model.
pub(super) fn prepare(front: &Front, mut request: Request, trusting: bool) -> Result<Prepared, EngineError> {
    let defused = body::defuse(&mut request, &front.specials);
    let rules = Rules { trusting, sized: front.builder.is_some(), frame_rate: front.info.frame_rate };
    let mut carriage = carry::plan(&mut request, rules);
    if defused {
        carriage.warnings.push("the text spells control tokens of the model; they were broken up".into());
    }
    let (prompt_tokens, max_tokens) = match &front.builder {
        None => (None, request.max_tokens),
        Some(builder) => {
            let tokens = builder.build(&request)?.prompt.ids().len();
            let left = builder.context - tokens;
            (Some(tokens), Some(request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS).min(left)))
        }
    };
    Ok(Prepared { request, carriage, trusting, prompt_tokens, max_tokens })
}

/// Sends the request to `place` and, while no token has come, to others; passes the answer on.
///
/// # Errors
/// What the last replica that was asked did.
pub(super) async fn deliver(
    pool: Arc<Pool>,
    front: Arc<Front>,
    request: Request,
    prepared: Prepared,
    mut place: Place,
    submitted: Instant,
    sender: &Sender,
) -> Result<Done, EngineError> {
    pool.count_request();
    let video = video(&request).map(str::to_owned);
    let mut tried = Vec::new();
    let mut risked = false;
    let letter = encode(&front, prepared, sender).await?;
    let times = Times { submitted, preprocess_ms: submitted.elapsed().as_secs_f64() * 1e3 };
    let mut kept = Some(Kept { request, letter });
    loop {
        let lost = match attempt(&pool, &front, &place, &mut kept, times, sender).await {
            Ok(done) => return Ok(done),
            Err(lost) => lost,
        };
        let again = match lost.elsewhere {
            Elsewhere::Never => false,
            Elsewhere::Once => !std::mem::replace(&mut risked, true),
            Elsewhere::Any => true,
        };
        tried.push(place.replica.id);
        // Another model than the one that the request was prepared for would answer something else.
        let same = pool.front().is_some_and(|now| Arc::ptr_eq(&now, &front));
        if !again || !same || kept.is_none() || !pool.may_retry() {
            return Err(lost.error);
        }
        let Ok(next) = pool.choose(video.as_deref(), &tried) else { return Err(lost.error) };
        place.replica.count_failover();
        tracing::warn!(from = place.replica.url, to = next.replica.url, "a request is taken elsewhere");
        place = next;
    }
}

/// The key of the first video: what a replica's caches are found by.
pub(super) fn video(request: &Request) -> Option<&str> {
    let mut parts = request.messages.iter().flat_map(|message| &message.content);
    parts.find_map(|part| match part {
        Part::Video(clip) => clip.key.as_deref(),
        Part::Text(_) | Part::Image(_) => None,
    })
}

/// Asks one replica; a second time, if it turns out to refuse settings of media. Empties `kept` with the first token.
async fn attempt(
    pool: &Pool,
    front: &Arc<Front>,
    place: &Place,
    kept: &mut Option<Kept>,
    times: Times,
    sender: &Sender,
) -> Result<Done, Lost> {
    let replica = &place.replica;
    loop {
        let Some(Kept { request, letter }) = kept.as_mut() else {
            return Err(Lost::never(EngineError::Incomplete));
        };
        if letter.trusting != replica.is_trusting() && letter.holds_media() {
            *letter =
                anew(front, request.clone(), replica.is_trusting(), sender).await.map_err(Lost::never)?;
        }
        let Letter { pieces, has_settings, prompt_tokens, warnings, .. } = letter.clone();
        let sent = Instant::now();
        hint(sender, Stage::Prefill, 0, prompt_tokens.unwrap_or(1));
        let response = match replica.client.chat(pieces).await {
            Ok(response) => response,
            Err(Trouble::Unreachable { cause, delivered }) => {
                tracing::warn!(upstream = replica.url, cause, "the upstream can't be reached");
                replica.suspect();
                if !delivered {
                    // Nobody else needs to find out.
                    replica.lose("it can't be reached".into());
                    pool.settle();
                }
                let elsewhere = if delivered { Elsewhere::Once } else { Elsewhere::Any };
                let error = EngineError::Unavailable { retry_after_s: RETRY_AFTER_S };
                return Err(Lost { error, elsewhere });
            }
            Err(Trouble::Refused(refusal)) if has_settings && refusal.is_of_settings() => {
                tracing::warn!(
                    upstream = replica.url,
                    "the upstream refuses media_io_kwargs: clips go to it at a constant rate from now on"
                );
                replica.set_trusting(false);
                continue;
            }
            Err(Trouble::Refused(refusal)) => return Err(refused(refusal, place)),
        };
        let before = Before {
            submitted: times.submitted,
            sent,
            preprocess_ms: times.preprocess_ms,
            prompt_tokens,
            warnings,
        };
        let events = sse::Events::new(Box::pin(response.bytes_stream()));
        let begun = || {
            replica.prove();
            // The frames are with the upstream: nobody needs them here any more.
            *kept = None;
        };
        let told = answer::relay(events, before, sender, begun).await;
        let kind = told.as_ref().err().map(|lost| lost.error.kind());
        if matches!(kind, Some(crate::Kind::Failed | crate::Kind::NotReady)) {
            replica.suspect();
        }
        return told;
    }
}

fn refused(refusal: Refusal, place: &Place) -> Lost {
    if refusal.is_suspicious() {
        // It may serve another model by now, or none.
        place.replica.suspect();
    }
    let elsewhere = refusal.elsewhere();
    Lost { error: refusal.into_error(place.replica.in_flight()), elsewhere }
}

impl Letter {
    fn holds_media(&self) -> bool {
        self.pieces.len() > 1
    }
}

/// Prepares and encodes the request once more, for a replica of the other kind.
async fn anew(
    front: &Arc<Front>,
    request: Request,
    trusting: bool,
    sender: &Sender,
) -> Result<Letter, EngineError> {
    let own = Arc::clone(front);
    let prepared = blocking(move || prepare(&own, request, trusting)).await?;
    encode(front, prepared, sender).await
}

/// Encodes the pictures, on other threads, and builds the request around them.
async fn encode(front: &Front, prepared: Prepared, sender: &Sender) -> Result<Letter, EngineError> {
    let Prepared { request, carriage, trusting, prompt_tokens, max_tokens } = prepared;
    let Carriage { forms, settings, warnings } = carriage;
    let mut parts = request.messages.iter().flat_map(|message| &message.content);
    let letter = |request: &Request, media: &[pictures::Media], settings: &[(&'static str, Value)]| {
        body::pieces(&front.info.id, request, media, settings, max_tokens)
    };
    let has_settings = !settings.is_empty();
    let pieces = if parts.any(|part| !matches!(part, Part::Text(_))) {
        let sender = sender.clone();
        let (request, media) = blocking(move || {
            let media = pictures::encode(&request.messages, &forms, &|done, total| {
                hint(&sender, Stage::Preprocess, done, total);
                if sender.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            Ok((request, media))
        })
        .await?;
        letter(&request, &media, &settings)
    } else {
        letter(&request, &[], &settings)
    };
    Ok(Letter { pieces, trusting, has_settings, prompt_tokens, warnings })
}

fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> impl Future<Output = Result<T, EngineError>> {
    let task = spawn_blocking(work);
    async move { task.await.map_err(|error| EngineError::Failed(error.to_string()))? }
}

/// Tells of progress, which may get lost when the reader is behind.
fn hint(sender: &Sender, stage: Stage, done: usize, total: usize) {
    let _ = sender.try_send(Ok(Event::Progress { stage, done, total }));
}
