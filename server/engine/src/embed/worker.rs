//! The thread that owns a sentence model: loads it when texts arrive, serves queries between the layers of a batch of
//! passages, and unloads it when it was idle for long.
//!
//! Unlike the engine's thread, it survives failures: a search without vectors still finds words. After a failure to load, the
//! next attempt is at most once per minute, since it may be a download.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::queue::{Queue, Taken, Task, Vectors};
use super::{Identity, Purpose, model::SentenceModel};
use crate::EngineError;
use crate::panics::panicked;

/// How long a failure to load is remembered.
const RETRY: Duration = Duration::from_secs(60);

/// A model that a thread owns.
pub(super) trait TextModel {
    /// Returns what has to be known of it.
    fn identity(&self) -> &Identity;

    /// Returns one vector per text. Calls `between` several times; its error ends the work.
    fn embed(
        &self,
        texts: &[String],
        purpose: Purpose,
        between: &mut dyn FnMut() -> Result<(), EngineError>,
    ) -> Vectors;
}

impl TextModel for SentenceModel {
    fn identity(&self) -> &Identity {
        self.identity()
    }

    fn embed(
        &self,
        texts: &[String],
        purpose: Purpose,
        between: &mut dyn FnMut() -> Result<(), EngineError>,
    ) -> Vectors {
        self.embed(texts, purpose, between)
    }
}

/// A handle to the thread. Dropping it ends the thread after the current layer.
pub(super) struct Worker {
    name: String,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
}

/// What the thread reports.
#[derive(Default)]
struct Shared {
    identity: OnceLock<Identity>,
    loaded: AtomicBool,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).field("loaded", &self.is_loaded()).finish()
    }
}

impl Worker {
    /// Starts the thread. `load` runs on it, again after each time that the model was unloaded.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn spawn<M: TextModel>(
        name: String,
        idle: Duration,
        load: impl Fn() -> Result<M, EngineError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, shared) = (Arc::<Queue>::default(), Arc::<Shared>::default());
        let thread =
            Thread { name: name.clone(), queue: Arc::clone(&queue), shared: Arc::clone(&shared), idle };
        thread::Builder::new().name("embed".into()).spawn(move || thread.run(load))?;
        Ok(Self { name, queue, shared })
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.shared.identity.get().cloned()
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.shared.loaded.load(Ordering::Relaxed)
    }

    /// Returns one vector per text.
    pub(super) async fn embed(
        &self,
        texts: Vec<String>,
        purpose: Purpose,
        cancel: &CancellationToken,
    ) -> Vectors {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Task { texts, purpose, cancel: cancel.clone(), reply })?;
        tokio::select! {
            // First, since the thread drops a task that was cancelled.
            biased;
            () = cancel.cancelled() => Err(EngineError::Cancelled),
            answer = answer => answer.unwrap_or(Err(EngineError::Incomplete)),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The thread's part of the state.
struct Thread {
    name: String,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    idle: Duration,
}

impl Thread {
    fn run<M: TextModel>(self, load: impl Fn() -> Result<M, EngineError>) {
        let mut model: Option<M> = None;
        let mut failed: Option<(Instant, EngineError)> = None;
        loop {
            self.shared.loaded.store(model.is_some(), Ordering::Relaxed);
            let task = match self.queue.take(model.is_some().then_some(self.idle)) {
                Taken::Task(task) if task.is_gone() => continue,
                Taken::Task(task) => task,
                Taken::Idle => {
                    tracing::info!(model = self.name, "unloaded the sentence model, which was idle");
                    model = None;
                    continue;
                }
                Taken::Closed => return,
            };
            if model.is_none() {
                match self.load(&load, &mut failed) {
                    Ok(loaded) => model = Some(loaded),
                    Err(error) => {
                        task.answer(Err(error));
                        continue;
                    }
                }
                self.shared.loaded.store(true, Ordering::Relaxed);
            }
            if let Some(loaded) = &model
                && !self.serve(loaded, task)
            {
                model = None;
            }
        }
    }

    /// Loads the model, unless that failed a short time ago.
    fn load<M: TextModel>(
        &self,
        load: impl Fn() -> Result<M, EngineError>,
        failed: &mut Option<(Instant, EngineError)>,
    ) -> Result<M, EngineError> {
        if let Some((at, error)) = failed
            && at.elapsed() < RETRY
        {
            return Err(error.clone());
        }
        let start = Instant::now();
        let loaded = catch_unwind(AssertUnwindSafe(load))
            .unwrap_or_else(|panic| Err(panicked("the sentence model's", "while loading the model", &*panic)))
            .and_then(|model| self.check(model));
        match &loaded {
            Ok(model) => {
                let dimension = model.identity().dimension;
                let load_ms = start.elapsed().as_millis() as u64;
                tracing::info!(model = self.name, dimension, load_ms, "loaded the sentence model");
                *failed = None;
            }
            Err(error) => {
                tracing::warn!(model = self.name, %error, "failed to load the sentence model; searches find words only");
                *failed = Some((Instant::now(), error.clone()));
            }
        }
        loaded
    }

    /// Checks that a model that is loaded again is the same: vectors of another must not be mixed with its own.
    fn check<M: TextModel>(&self, model: M) -> Result<M, EngineError> {
        let known = self.shared.identity.get_or_init(|| model.identity().clone());
        if known == model.identity() {
            return Ok(model);
        }
        Err(EngineError::Model {
            model: self.name.clone(),
            message: format!(
                "its files changed while the server ran, from {} to {}; restart the server",
                known.model_id,
                model.identity().model_id
            ),
        })
    }

    /// Computes and sends the vectors of a task. Returns whether the model can be used further, which it can't after a panic.
    fn serve<M: TextModel>(&self, model: &M, task: Task) -> bool {
        let mut usable = true;
        let work = || {
            model.embed(&task.texts, task.purpose, &mut || {
                if task.is_gone() || self.queue.is_closed() {
                    return Err(EngineError::Cancelled);
                }
                if task.purpose != Purpose::Query {
                    while let Some(query) = self.queue.take_query() {
                        usable &= self.serve(model, query);
                    }
                }
                Ok(())
            })
        };
        let vectors = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let error = panicked("the sentence model's", "during a request", &*panic);
            tracing::error!(model = self.name, %error, "the sentence model panicked; it is loaded anew");
            Err(error)
        });
        usable &= !matches!(vectors, Err(EngineError::Failed(_)));
        task.answer(vectors);
        usable
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
