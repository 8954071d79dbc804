//! Embeds the library's texts in the background: those that wait at the start, then each new one at once. Queries overtake them
//! in the model's queue.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use homereel_engine::{EngineError, EngineErrorKind, embed::Purpose};
use homereel_library::{Change, LibraryError, PendingText};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{Meaning, Opening, Parts, background::BACKGROUND, index::Index, vectors::normalize};
use crate::shutdown::Lifecycle;

/// Texts embedded at once.
const BATCH: usize = 32;

/// Batches after which the texts are counted, which takes longer with every text.
const COUNTED_EVERY: usize = 50;

/// The first pause after a failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The time after which the queue is read even if nothing has changed.
const POLL: Duration = Duration::from_secs(60);

/// Why texts were not embedded.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The model or its server.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The library.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl Meaning {
    /// Embeds texts until the server drains. Returns at once if search by meaning is off.
    pub async fn upkeep(self, lifecycle: Lifecycle) {
        let Some(parts) = self.0 else { return };
        // Subscribes before it reads the queue, so that no new text is missed.
        let mut changes = parts.library.subscribe();
        let soft = lifecycle.soft();
        let mut pause = FIRST_PAUSE;
        while !soft.is_cancelled() {
            match parts.embed_pending(soft).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    tokio::select! {
                        () = changed(&mut changes) => {}
                        () = tokio::time::sleep(POLL) => {}
                        () = soft.cancelled() => {}
                    }
                }
                Err(_) if soft.is_cancelled() => {}
                Err(error) => {
                    tracing::warn!(%error, pause_s = pause.as_secs(), "failed to embed texts for search by meaning; will retry");
                    metrics::counter!("homereel_embeddings_failures_total").increment(1);
                    parts.report(None, Some(error.to_string()));
                    parts.opening.send_if_modified(|opening| {
                        let pending = matches!(opening, Opening::Pending);
                        if pending {
                            *opening = Opening::Failed;
                        }
                        pending
                    });
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        // A person searches: perhaps it works again.
                        () = parts.wanted.notified() => {}
                        () = soft.cancelled() => {}
                    }
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Embeds until no text waits. [`Meaning::upkeep`] does that again and again.
    ///
    /// # Errors
    /// Those of the model or its server, and of the library.
    pub async fn embed_pending(&self, stop: &CancellationToken) -> Result<(), UpkeepError> {
        match &self.0 {
            Some(parts) => parts.embed_pending(stop).await,
            None => Ok(()),
        }
    }
}

impl Parts {
    /// Embeds until no text waits.
    async fn embed_pending(&self, stop: &CancellationToken) -> Result<(), UpkeepError> {
        let index = self.opened(stop).await?;
        let mut changed = index.refresh(&self.library).await?;
        for batch in 1.. {
            let mut texts = self.library.pending_texts(BATCH).await?;
            // Those that failed before come last and one by one, so that one of them does not keep others back.
            if texts.first().is_some_and(|text| text.tries > 0) {
                texts.truncate(1);
            }
            if texts.is_empty() {
                break;
            }
            self.embed(&index, texts, stop).await?;
            changed = true;
            if batch % COUNTED_EVERY == 0 {
                self.count(&index).await?;
            }
        }
        // Everything has a vector of this model, so those of others are of no use.
        if changed || !self.forgot_others.load(Ordering::Relaxed) {
            while !self.library.forget_other_models(index.model).await? {}
            self.forgot_others.store(true, Ordering::Relaxed);
        }
        if index.refresh(&self.library).await? || changed {
            self.count(&index).await?;
        }
        self.report(None, None);
        Ok(())
    }

    /// Returns the index, which is made and filled at first.
    async fn opened(&self, stop: &CancellationToken) -> Result<Arc<Index>, UpkeepError> {
        if let Opening::Ready(index) = &*self.opening.borrow() {
            return Ok(Arc::clone(index));
        }
        let identity = self.embedder.identify(stop).await?;
        let model = self.library.embedding_model(&identity.model_id, identity.dimension).await?;
        let texts = BACKGROUND.iter().map(|text| (*text).to_owned()).collect();
        let mut background = self.embedder.embed(texts, Purpose::Passage, stop).await?;
        background.iter_mut().for_each(|vector| normalize(vector));
        let index = Arc::new(Index::new(model, background));
        index.refresh(&self.library).await?;
        let (vectors, bytes) = index.size();
        tracing::info!(model = identity.name, vectors, bytes, "opened the index for search by meaning");
        self.count(&index).await?;
        self.opening.send_replace(Opening::Ready(Arc::clone(&index)));
        Ok(index)
    }

    async fn embed(
        &self,
        index: &Index,
        texts: Vec<PendingText>,
        stop: &CancellationToken,
    ) -> Result<(), UpkeepError> {
        let inputs = texts.iter().map(|text| text.text.clone()).collect();
        let vectors = match self.embedder.embed(inputs, Purpose::Passage, stop).await {
            Ok(vectors) => vectors,
            Err(error) => {
                // These texts may be at fault; a server that is out of reach says nothing about them.
                if matches!(error.kind(), EngineErrorKind::Invalid | EngineErrorKind::Failed) {
                    self.library.postpone_texts(&texts).await?;
                }
                return Err(error.into());
            }
        };
        let embedded: Vec<_> = texts
            .into_iter()
            .zip(vectors)
            .map(|(text, mut vector)| {
                normalize(&mut vector);
                (text, vector)
            })
            .collect();
        let stored = self.library.store_embeddings(index.model, &embedded).await?;
        metrics::counter!("homereel_embeddings_total").increment(stored as u64);
        index.refresh(&self.library).await?;
        Ok(())
    }

    /// Reports how many texts have a vector.
    #[expect(clippy::cast_precision_loss, reason = "numbers of texts are far below 2^52")]
    async fn count(&self, index: &Index) -> Result<(), LibraryError> {
        let counts = self.library.embedding_counts(index.model).await?;
        self.report(Some(counts), None);
        metrics::gauge!("homereel_embeddings_pending").set(counts.pending as f64);
        metrics::gauge!("homereel_embeddings_stored").set(counts.embedded as f64);
        metrics::gauge!("homereel_embeddings_index_bytes").set(index.size().1 as f64);
        Ok(())
    }
}

/// Waits until texts may have changed, or until the receiver has lagged and may have missed that.
async fn changed(changes: &mut broadcast::Receiver<Change>) {
    while let Ok(change) = changes.recv().await {
        if !matches!(change, Change::Progress { .. } | Change::Paused { .. }) {
            break;
        }
    }
    // What changed until now is read at once.
    while changes.try_recv().is_ok() {}
}
