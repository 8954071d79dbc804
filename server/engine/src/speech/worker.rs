//! The thread that owns a model of speech: loads it with the first window, transcribes windows in batches, and unloads it when
//! there has been no work for a while. A panic ends the batch and unloads the model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use super::WindowText;
use super::config::SAMPLE_RATE;
use super::model::{SpeechModel, WindowInput};
use super::transcribe::{WindowRequest, WindowTranscriber};
use crate::candle::DeviceKind;
use crate::panics::panicked;
use crate::{EngineError, ModelSource, hub, open_device};

/// Windows of one batch: they share the reading of the weights, which is most of the time of a token.
const BATCH: usize = 4;
/// Windows that may wait, beyond those whose senders wait themselves.
const QUEUE: usize = 2 * BATCH;
/// Samples of a window of all published checkpoints. Of a longer one, a model takes what it can.
const WINDOW: usize = 30 * SAMPLE_RATE;

/// A window that waits for its text.
struct Task {
    window: WindowRequest,
    reply: oneshot::Sender<Result<WindowText, EngineError>>,
}

/// A handle to the thread. Dropping it ends the thread after the current batch.
pub(super) struct Worker {
    tasks: mpsc::Sender<Task>,
}

impl Worker {
    /// Starts the thread, without a model.
    ///
    /// # Errors
    /// `Failed` when the system gives no thread.
    pub(super) fn spawn(model: ModelSource, device: DeviceKind, idle: Duration) -> Result<Self, EngineError> {
        let id = model.id();
        Self::spawn_with(idle, move || {
            let directory = locate(&model)?;
            SpeechModel::open(&id, &directory, &open_device(device)?)
        })
    }

    fn spawn_with<M: Transcribes>(
        idle: Duration,
        load: impl Fn() -> Result<M, EngineError> + Send + 'static,
    ) -> Result<Self, EngineError> {
        let fail = |error: std::io::Error| EngineError::Failed(format!("no thread for speech: {error}"));
        let runtime = Builder::new_current_thread().enable_time().build().map_err(fail)?;
        let (tasks, receiver) = mpsc::channel(QUEUE);
        let run = move || serve(&runtime, receiver, idle, load);
        thread::Builder::new().name("speech".into()).spawn(run).map_err(fail)?;
        Ok(Self { tasks })
    }
}

impl WindowTranscriber for Worker {
    fn window_samples(&self) -> usize {
        WINDOW
    }

    fn concurrency(&self) -> usize {
        // While one batch is transcribed, the next one waits.
        2 * BATCH
    }

    fn detects_language(&self) -> bool {
        true
    }

    fn transcribe(&self, window: WindowRequest) -> BoxFuture<'_, Result<WindowText, EngineError>> {
        async {
            let (reply, text) = oneshot::channel();
            self.tasks.send(Task { window, reply }).await.map_err(|_| EngineError::Incomplete)?;
            text.await.map_err(|_| EngineError::Incomplete)?
        }
        .boxed()
    }
}

/// A loaded model, of which tests have another one.
trait Transcribes: 'static {
    /// Returns one text per window; `None` for one for which `is_gone`.
    fn batch(
        &self,
        windows: &[WindowInput<'_>],
        is_gone: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Option<WindowText>>, EngineError>;

    /// Checks that the model knows a language.
    fn check(&self, window: &WindowRequest) -> Result<(), EngineError>;
}

impl Transcribes for SpeechModel {
    fn batch(
        &self,
        windows: &[WindowInput<'_>],
        is_gone: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Option<WindowText>>, EngineError> {
        self.transcribe(windows, is_gone)
    }

    fn check(&self, window: &WindowRequest) -> Result<(), EngineError> {
        self.language(window.language.as_deref()).map(|_| ())
    }
}

/// Returns the directory of a checkpoint, downloading it if need be.
fn locate(model: &ModelSource) -> Result<PathBuf, EngineError> {
    match model {
        ModelSource::Dir(directory) if directory.is_dir() => Ok(directory.clone()),
        ModelSource::Hub { id, revision } => hub::locate(id, revision.as_deref()),
        // The path is omitted, because errors are shown in browsers.
        ModelSource::Dir(_) | ModelSource::Demo => Err(EngineError::Model {
            model: model.id(),
            message: "there is no such speech model; a directory or a hub id such as openai/whisper-large-v3-turbo would fit"
                .into(),
        }),
    }
}

/// Transcribes until the handle is dropped.
fn serve<M: Transcribes>(
    runtime: &Runtime,
    mut tasks: mpsc::Receiver<Task>,
    idle: Duration,
    load: impl Fn() -> Result<M, EngineError>,
) {
    let mut loaded: Option<M> = None;
    loop {
        let next = match loaded {
            Some(_) => runtime.block_on(async { tokio::time::timeout(idle, tasks.recv()).await }),
            None => Ok(runtime.block_on(tasks.recv())),
        };
        let first = match next {
            Ok(Some(first)) => first,
            Ok(None) => return,
            Err(_) => {
                tracing::info!(idle_s = idle.as_secs(), "unloaded the speech model, which had no work");
                loaded = None;
                continue;
            }
        };
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(task) = tasks.try_recv()
        {
            batch.push(task);
        }
        batch.retain(|task| !task.reply.is_closed());
        if batch.is_empty() {
            continue;
        }
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let model = match &mut loaded {
                Some(model) => model,
                None => loaded.insert(timed_load(&load)?),
            };
            run(model, &mut batch);
            Ok(())
        }));
        let error = match ran {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(panic) => {
                // It may be in an inconsistent state.
                loaded = None;
                panicked("the speech model's", "during a batch", &*panic)
            }
        };
        tracing::warn!(%error, windows = batch.len(), "speech could not be transcribed");
        for task in batch {
            // Who has left does not listen.
            let _ = task.reply.send(Err(error.clone()));
        }
    }
}

fn timed_load<M>(load: impl Fn() -> Result<M, EngineError>) -> Result<M, EngineError> {
    let start = Instant::now();
    let model = load()?;
    tracing::info!(load_ms = start.elapsed().as_millis() as u64, "loaded the speech model into memory");
    Ok(model)
}

/// Transcribes a batch and removes what is answered.
fn run<M: Transcribes>(model: &M, batch: &mut Vec<Task>) {
    let mut fit = Vec::with_capacity(batch.len());
    for task in batch.drain(..) {
        match model.check(&task.window) {
            Ok(()) => fit.push(task),
            Err(error) => drop(task.reply.send(Err(error))),
        }
    }
    *batch = fit;
    if batch.is_empty() {
        return;
    }
    let windows: Vec<WindowInput<'_>> = batch
        .iter()
        .map(|task| WindowInput { samples: &task.window.samples, language: task.window.language.as_deref() })
        .collect();
    let results = model.batch(&windows, &|index| batch[index].reply.is_closed());
    match results {
        Ok(texts) => {
            for (task, text) in batch.drain(..).zip(texts) {
                let text = text.ok_or(EngineError::Cancelled);
                // Who has left does not listen.
                let _ = task.reply.send(text);
            }
        }
        Err(error) => {
            tracing::warn!(%error, windows = batch.len(), "a batch of speech failed");
            for task in batch.drain(..) {
                let _ = task.reply.send(Err(error.clone()));
            }
        }
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
