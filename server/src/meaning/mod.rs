//! Search by meaning: embeds texts of the library in the background (`upkeep.rs`), keeps their vectors in memory (`index.rs`),
//! and finds those that are near a query. Independent of HTTP.
//!
//! A search never waits for long and never fails for want of vectors: without them, words alone find.

mod background;
mod blocks;
mod floor;
mod index;
mod scan;
mod upkeep;
mod vectors;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use homereel_engine::{
    EngineError,
    embed::{EmbedConfig, EmbedSource, Embedder, Purpose},
};
use homereel_library::{ByteCache, Documents, EmbeddingCounts, Filter, Library, LibraryError, Near, Video};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::{
    index::{Index, NearError},
    vectors::{mean, normalize},
};

/// How long a search waits for the vector of its query: longer than a model of a home server takes to load.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long words alone are searched after the query's vector was not to be had.
const PAUSE: Duration = Duration::from_secs(3);

/// Bytes of cached vectors of queries, so that another page of a search needs no new one.
const CACHED: usize = 1 << 20;

/// Whether a search looked for meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MeaningState {
    /// Not: it is switched off, or the query has no words.
    Off,
    /// Yes.
    Used,
    /// Not: the model or its server is not available at present.
    Unavailable,
}

/// What is near a query, and whether it was looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearby {
    /// Whether it was looked for.
    pub state: MeaningState,
    /// The pieces, the nearest first.
    pub near: Vec<Near>,
}

/// How far the embedding of the library's texts is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeaningProgress {
    /// Name of the model; `None` until it was reached once.
    pub model: Option<String>,
    /// Texts with a vector, and without.
    pub counts: EmbeddingCounts,
    /// Bytes of the vectors in memory.
    pub index_bytes: usize,
    /// What is wrong at present, if something is.
    pub problem: Option<String>,
}

/// Search by meaning, if it is on. Cheap to clone; clones share the index.
#[derive(Debug, Clone, Default)]
pub struct Meaning(Option<Arc<Parts>>);

/// The parts of a search by meaning.
#[derive(Debug)]
struct Parts {
    embedder: Embedder,
    library: Library,
    /// Cancels what is computed.
    stop: CancellationToken,
    opening: watch::Sender<Opening>,
    /// Wakes the upkeep from its pause after a failure.
    wanted: Notify,
    queries: ByteCache<Vec<f32>>,
    /// Until when no query is embedded.
    paused: Mutex<Option<Instant>>,
    progress: Mutex<(EmbeddingCounts, Option<String>)>,
    /// Vectors of other models were deleted since the start.
    forgot_others: AtomicBool,
}

/// The state of the index.
#[derive(Debug, Clone)]
enum Opening {
    /// The model is being asked who it is, or the vectors are being read.
    Pending,
    /// That failed; it will be tried again.
    Failed,
    Ready(Arc<Index>),
}

impl Meaning {
    /// Opens search by meaning; without a source, it is off. `stop` cancels what is computed.
    ///
    /// # Errors
    /// As [`Embedder::open`].
    pub fn open(
        source: Option<EmbedSource>,
        library: Library,
        stop: CancellationToken,
    ) -> Result<Self, EngineError> {
        let Some(source) = source else { return Ok(Self::default()) };
        let embedder = Embedder::open(EmbedConfig::new(source))?;
        Ok(Self(Some(Arc::new(Parts {
            embedder,
            library,
            stop,
            opening: watch::Sender::new(Opening::Pending),
            wanted: Notify::new(),
            queries: ByteCache::new(CACHED),
            paused: Mutex::default(),
            progress: Mutex::default(),
            forgot_others: AtomicBool::new(false),
        }))))
    }

    /// Returns what computes vectors, for requests that ask for them; `None` means that it is off.
    #[must_use]
    pub fn embedder(&self) -> Option<&Embedder> {
        self.0.as_ref().map(|parts| &parts.embedder)
    }

    /// Returns how far it is; `None` means that it is off.
    #[must_use]
    pub fn progress(&self) -> Option<MeaningProgress> {
        let parts = self.0.as_ref()?;
        let index_bytes = match &*parts.opening.borrow() {
            Opening::Ready(index) => index.size().1,
            Opening::Pending | Opening::Failed => 0,
        };
        let (counts, problem) = parts.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(MeaningProgress {
            model: parts.embedder.identity().map(|identity| identity.name),
            counts,
            index_bytes,
            problem,
        })
    }

    /// Returns what is near the words of a query, among what its exact terms and the filter allow.
    ///
    /// # Errors
    /// `Invalid` for a malformed query; `Database`.
    pub async fn near_query(&self, text: &str, filter: &Filter) -> Result<Nearby, LibraryError> {
        let Some(parts) = &self.0 else { return Ok(Nearby::nothing(MeaningState::Off)) };
        let Some(query) = parts.library.meaning_query(text, filter).await? else {
            return Ok(Nearby::nothing(MeaningState::Off));
        };
        parts.near(&query.text, &query.documents).await
    }

    /// Returns what is near a question, in the whole library.
    ///
    /// # Errors
    /// `Database`.
    pub async fn near_question(&self, question: &str) -> Result<Nearby, LibraryError> {
        let Some(parts) = &self.0 else { return Ok(Nearby::nothing(MeaningState::Off)) };
        let documents = parts.library.untrashed_documents().await?;
        parts.near(question, &documents).await
    }

    /// Returns at most `limit` videos that are like one, the most alike first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn similar(
        &self,
        video_id: &str,
        limit: usize,
    ) -> Result<(MeaningState, Vec<Video>), LibraryError> {
        let Some(parts) = &self.0 else { return Ok((MeaningState::Off, Vec::new())) };
        let Opening::Ready(index) = parts.opening.borrow().clone() else {
            return Ok((MeaningState::Unavailable, Vec::new()));
        };
        let library = &parts.library;
        let own = library.embeddings_of_video(index.model, video_id).await?;
        let Some(mean) = mean(own.iter().map(|stored| stored.vector.as_slice())) else {
            return Ok((MeaningState::Used, Vec::new()));
        };
        let mut documents = library.untrashed_documents().await?;
        if let Documents::AllBut(ids) = &mut documents {
            ids.extend(own.first().map(|stored| stored.document));
        }
        let Nearby { state, near } = Nearby::of(index.nearest(library, &mean, &documents).await)?;
        Ok((state, library.videos_of(&near, limit).await?))
    }
}

impl Nearby {
    fn nothing(state: MeaningState) -> Self {
        Self { state, near: Vec::new() }
    }

    fn of(near: Result<Vec<Near>, NearError>) -> Result<Self, LibraryError> {
        match near {
            Ok(near) => Ok(Self { state: MeaningState::Used, near }),
            Err(NearError::Library(error)) => Err(error),
            Err(error) => {
                tracing::error!(%error, "a search by meaning failed; words alone were searched");
                Ok(Self::nothing(MeaningState::Unavailable))
            }
        }
    }
}

impl Parts {
    async fn near(&self, text: &str, documents: &Documents) -> Result<Nearby, LibraryError> {
        let nearby = match self.query(text).await {
            Some((index, vector)) => Nearby::of(index.nearest(&self.library, &vector, documents).await)?,
            None => Nearby::nothing(MeaningState::Unavailable),
        };
        let outcome = if nearby.state == MeaningState::Used { "used" } else { "unavailable" };
        metrics::counter!("homereel_meaning_searches_total", "outcome" => outcome).increment(1);
        Ok(nearby)
    }

    /// Returns the index and the vector of a query; `None` when the model is not available at present.
    async fn query(&self, text: &str) -> Option<(Arc<Index>, Arc<Vec<f32>>)> {
        let paused = || self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if paused().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let cancel = self.stop.child_token();
        let _cancelled_with_the_search = cancel.clone().drop_guard();
        let work = async {
            let index = self.index().await?;
            let vector = match self.queries.get(text) {
                Some(known) => known,
                None => self.vector(text, &index, &cancel).await?,
            };
            Ok((index, vector))
        };
        let started = Instant::now();
        let outcome = tokio::time::timeout(PATIENCE, work)
            .await
            .unwrap_or(Err(EngineError::Unavailable { retry_after_s: PAUSE.as_secs() }));
        match outcome {
            Ok(query) => {
                metrics::histogram!("homereel_meaning_query_seconds").record(started.elapsed().as_secs_f64());
                Some(query)
            }
            Err(error) => {
                if !self.stop.is_cancelled() {
                    tracing::warn!(%error, "a query could not be embedded; words alone were searched");
                }
                *paused() = Some(Instant::now() + PAUSE);
                self.wanted.notify_one();
                None
            }
        }
    }

    /// Waits until the vectors are in memory.
    async fn index(&self) -> Result<Arc<Index>, EngineError> {
        let mut opening = self.opening.subscribe();
        let known = opening.wait_for(|opening| !matches!(opening, Opening::Pending)).await;
        match known.map(|opening| opening.clone()) {
            Ok(Opening::Ready(index)) => Ok(index),
            _ => Err(EngineError::NotReady),
        }
    }

    async fn vector(
        &self,
        text: &str,
        index: &Index,
        cancel: &CancellationToken,
    ) -> Result<Arc<Vec<f32>>, EngineError> {
        let vectors = self.embedder.embed(vec![text.to_owned()], Purpose::Query, cancel).await?;
        let fits = |vector: &Vec<f32>| vector.len() == index.model.dimension();
        let mut vector = vectors.into_iter().next().filter(fits).ok_or_else(|| {
            EngineError::Failed(format!("the vector of a query has not {} values", index.model.dimension()))
        })?;
        normalize(&mut vector);
        let vector = Arc::new(vector);
        let bytes = text.len() + size_of_val(vector.as_slice());
        self.queries.put(text.to_owned(), Arc::clone(&vector), bytes);
        Ok(vector)
    }

    fn report(&self, counts: Option<EmbeddingCounts>, problem: Option<String>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.0 = counts.unwrap_or(progress.0);
        progress.1 = problem;
    }
}

pub use upkeep::UpkeepError;

#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;
