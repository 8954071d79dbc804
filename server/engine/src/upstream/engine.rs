//! The face of the upstream engine: watches the upstream, checks and prepares requests where they come in, sends
//! them, and passes the answers on. An upstream that goes away makes the engine unready, not dead: it comes back.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, spawn_blocking};
use url::Url;

use super::answer::{self, Before, Sender};
use super::carry::{self, Carriage, Rules};
use super::client::{Card, Client, Trouble};
use super::failure::RETRY_AFTER_S;
use super::front::Front;
use super::pictures::{self, Media};
use super::{body, sse};
use crate::candle::{DEFAULT_MAX_TOKENS, check};
use crate::qwen3vl::PromptWrapper;
use crate::source::ModelSource;
use crate::{Done, Engine, EngineError, Event, Events, Health, ModelInfo, Request, Stage};

/// Events that may lie unread before the upstream is held back.
const CAPACITY: usize = 256;
/// How often the upstream is looked at, while it serves and while it doesn't.
const CALM: Duration = Duration::from_secs(10);
const EAGER: Duration = Duration::from_secs(1);

/// How to use an upstream.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamOptions {
    /// Where it listens.
    pub(crate) url: Url,
    /// The checkpoint that it serves, for its small files; none is what the upstream names, if that is here.
    pub(crate) files: Option<ModelSource>,
    /// Kind of video prompt.
    pub(crate) wrapper: PromptWrapper,
    /// Tokens that prompt and answer share; none is what the upstream says.
    pub(crate) max_model_len: Option<usize>,
    /// Requests that may be with the upstream at once.
    pub(crate) in_flight: usize,
}

/// A vLLM server.
pub(crate) struct UpstreamEngine {
    shared: Arc<Shared>,
    runtime: Handle,
    watcher: AbortHandle,
}

struct Shared {
    options: UpstreamOptions,
    client: Client,
    health: watch::Sender<Health>,
    front: RwLock<Option<Arc<Front>>>,
    /// The upstream takes settings of media in requests, as far as is known.
    trusting: AtomicBool,
    places: Arc<Semaphore>,
    /// Somebody found the upstream gone or changed.
    look_again: Notify,
}

/// A request, ready to be encoded.
struct Prepared {
    request: Request,
    carriage: Carriage,
    /// Tokens of its prompt, where they can be counted here.
    prompt_tokens: Option<usize>,
    /// Tokens of its answer at most; none is what the upstream's context leaves.
    max_tokens: Option<usize>,
}

impl UpstreamEngine {
    /// Starts to watch the upstream; returns at once.
    ///
    /// # Errors
    /// `Failed` outside of a tokio runtime, or when there can be no HTTP client.
    pub(crate) fn start(options: UpstreamOptions) -> Result<Self, EngineError> {
        let runtime = Handle::try_current().map_err(|error| EngineError::Failed(error.to_string()))?;
        let shared = Arc::new(Shared {
            client: Client::new(&options.url)?,
            health: watch::Sender::new(Health::Loading),
            front: RwLock::default(),
            trusting: AtomicBool::new(true),
            places: Arc::new(Semaphore::new(options.in_flight)),
            look_again: Notify::new(),
            options,
        });
        let watcher = runtime.spawn(Arc::clone(&shared).watch()).abort_handle();
        Ok(Self { shared, runtime, watcher })
    }
}

impl Drop for UpstreamEngine {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Engine for UpstreamEngine {
    fn info(&self) -> Result<ModelInfo, EngineError> {
        let mut info = self.shared.ready()?.info.clone();
        if !self.shared.trusting.load(Ordering::Relaxed) {
            info.backend += " (refuses media_io_kwargs: clips travel at a constant rate)";
        }
        Ok(info)
    }

    fn health(&self) -> Health {
        self.shared.health.borrow().clone()
    }

    fn watch_health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    fn video_size(&self, frames: usize, width: u32, height: u32) -> Result<(u32, u32), EngineError> {
        let again = !self.shared.trusting.load(Ordering::Relaxed);
        self.shared.ready()?.video_size(frames, width, height, again)
    }

    fn image_size(&self, width: u32, height: u32) -> Result<(u32, u32), EngineError> {
        self.shared.ready()?.image_size(width, height)
    }

    fn submit(&self, request: Request) -> Result<Events, EngineError> {
        let submitted = Instant::now();
        let front = self.shared.ready()?;
        check(&request)?;
        let place = Arc::clone(&self.shared.places).try_acquire_owned().map_err(|_| {
            EngineError::Overloaded { queued: self.shared.options.in_flight, retry_after_s: RETRY_AFTER_S }
        })?;
        let trusting = self.shared.trusting.load(Ordering::Relaxed);
        let prepared = prepare(&front, request.clone(), trusting)?;
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            let _place = place;
            let answered = shared.answer(&front, request, prepared, submitted, &sender);
            let result = tokio::select! {
                biased;
                // What is dropped here closes the connection, and the upstream stops.
                () = sender.closed() => return,
                result = answered => result,
            };
            // An error only says that the reader has left.
            let _ = sender.send(result.map(Event::Done)).await;
        });
        Ok(Events::new(receiver))
    }
}

/// Decides how the request travels and counts its tokens. Takes milliseconds for a page of text.
fn prepare(front: &Front, mut request: Request, trusting: bool) -> Result<Prepared, EngineError> {
    let defused = body::defuse(&mut request.messages, &front.specials);
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
    Ok(Prepared { request, carriage, prompt_tokens, max_tokens })
}

impl Shared {
    fn ready(&self) -> Result<Arc<Front>, EngineError> {
        let front = self.front.read().unwrap_or_else(PoisonError::into_inner).clone();
        match (&*self.health.borrow(), front) {
            (Health::Ready, Some(front)) => Ok(front),
            (Health::Failed(why), _) => Err(EngineError::Failed(why.clone())),
            // It served already: it is gone rather than loading.
            (Health::Loading, Some(_)) => Err(EngineError::Unavailable { retry_after_s: RETRY_AFTER_S }),
            (Health::Loading | Health::Ready, None) => Err(EngineError::NotReady),
        }
    }

    /// Looks at the upstream for as long as the engine lives.
    async fn watch(self: Arc<Self>) {
        let mut known: Option<Card> = None;
        let mut last_trouble = String::new();
        loop {
            let wait = match self.look(known.as_ref()).await {
                Ok(card) => {
                    known = Some(card);
                    last_trouble.clear();
                    CALM
                }
                Err(Look::Gone(why)) => {
                    // Once for each reason, not each second.
                    if why != last_trouble {
                        tracing::warn!(upstream = %self.options.url, why, "the upstream does not serve");
                        last_trouble = why;
                    }
                    known = None;
                    self.health.send_replace(Health::Loading);
                    EAGER
                }
                Err(Look::Wrong(error)) => {
                    self.health.send_replace(Health::Failed(error.to_string()));
                    return;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.look_again.notified() => {}
            }
        }
    }

    /// Asks which model is served; for another than `known`, reads its files and asks it for a word.
    async fn look(self: &Arc<Self>, known: Option<&Card>) -> Result<Card, Look> {
        let wanted = self.options.files.as_ref().map(ModelSource::id);
        let card = self.client.card(wanted.as_deref()).await.map_err(Look::Gone)?;
        if known == Some(&card) {
            return Ok(card);
        }
        let (shared, read) = (Arc::clone(self), card.clone());
        let front = spawn_blocking(move || Front::read(&read, &shared.options)).await;
        let front = front.map_err(|error| Look::Gone(error.to_string()))?.map_err(Look::Wrong)?;
        let trusting = self.client.is_trusting(&card.id).await.map_err(Look::Gone)?;
        self.trusting.store(trusting, Ordering::Relaxed);
        tracing::info!(
            upstream = %self.options.url,
            model = card.id,
            context = front.info.max_model_len,
            trusting,
            counts_tokens = front.builder.is_some(),
            "the upstream serves"
        );
        // First what is needed, then the state: whoever sees `Ready` finds it.
        *self.front.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(front));
        self.health.send_replace(Health::Ready);
        Ok(card)
    }

    /// Encodes, sends, and passes the answer on; a second time, if the upstream refuses settings of media.
    async fn answer(
        self: &Arc<Self>,
        front: &Arc<Front>,
        request: Request,
        mut prepared: Prepared,
        submitted: Instant,
        sender: &Sender,
    ) -> Result<Done, EngineError> {
        loop {
            let Carriage { settings, warnings, .. } = &prepared.carriage;
            let (settings, warnings) = (settings.clone(), warnings.clone());
            let (prompt_tokens, max_tokens) = (prepared.prompt_tokens, prepared.max_tokens);
            let (messages, media) = self.encode(prepared, sender).await?;
            let pieces = body::pieces(&front.info.id, &messages, &media, &settings, max_tokens);
            drop(media);
            let sent = Instant::now();
            let preprocess_ms = sent.duration_since(submitted).as_secs_f64() * 1e3;
            hint(sender, Stage::Prefill, 0, prompt_tokens.unwrap_or(1));
            let refusal = match self.client.chat(pieces).await {
                Ok(response) => {
                    // The frames are with the upstream: nobody needs them here any more.
                    drop((request, messages));
                    let before = Before { submitted, sent, preprocess_ms, prompt_tokens, warnings };
                    let events = sse::Events::new(Box::pin(response.bytes_stream()));
                    return answer::relay(events, before, sender).await;
                }
                Err(Trouble::Unreachable(why)) => {
                    tracing::warn!(why, "the upstream can't be reached");
                    self.look_again.notify_one();
                    return Err(EngineError::Unavailable { retry_after_s: RETRY_AFTER_S });
                }
                Err(Trouble::Refused(refusal)) => refusal,
            };
            if settings.is_empty() || !refusal.is_of_settings() {
                if matches!(refusal.status, 404 | 502..=504) {
                    // It may serve another model by now, or none.
                    self.look_again.notify_one();
                }
                let in_flight = self.options.in_flight - self.places.available_permits();
                return Err(refusal.into_error(in_flight));
            }
            tracing::warn!(
                "the upstream refuses media_io_kwargs: clips go to it at a constant rate from now on"
            );
            self.trusting.store(false, Ordering::Relaxed);
            let (front, request) = (Arc::clone(front), request.clone());
            prepared = blocking(move || prepare(&front, request, false)).await?;
        }
    }

    /// Encodes the pictures, on other threads; returns the request with them.
    async fn encode(
        &self,
        prepared: Prepared,
        sender: &Sender,
    ) -> Result<(Request, Vec<Media>), EngineError> {
        let Prepared { request, carriage, .. } = prepared;
        let mut parts = request.messages.iter().flat_map(|message| &message.content);
        if !parts.any(|part| !matches!(part, crate::Part::Text(_))) {
            return Ok((request, Vec::new()));
        }
        let sender = sender.clone();
        blocking(move || {
            let media = pictures::encode(&request.messages, &carriage.forms, &|done, total| {
                hint(&sender, Stage::Preprocess, done, total);
                if sender.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            Ok((request, media))
        })
        .await
    }
}

/// Why a look at the upstream did not find it serving.
enum Look {
    /// It is not there, or not yet.
    Gone(String),
    /// It can't be used as this program was told to.
    Wrong(EngineError),
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
