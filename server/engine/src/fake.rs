//! A fake engine for tests of the server: sends scripted events instead of running a model. The command line cannot
//! select it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::{
    Engine, EngineError, FrameRate, GenerationEvent, GenerationEvents, Health, ModelInfo, PromptTokens,
    Request, SamplingParams, VideoBudget,
};

/// One step of a script.
#[derive(Debug, Clone)]
pub enum ScriptStep {
    /// Sends an event.
    Event(GenerationEvent),
    /// Waits.
    Wait(Duration),
    /// Ends the stream with an error.
    Fail(EngineError),
    /// Ends the stream without `Done`, as a crashed engine does.
    Vanish,
}

/// An engine that plays the same script for every request.
pub struct FakeEngine {
    info: ModelInfo,
    script: Vec<ScriptStep>,
    health: watch::Sender<Health>,
    requests: Mutex<Vec<Request>>,
    concurrency: AtomicUsize,
    /// Receives one message per stream whose reader left before its end.
    left: watch::Sender<usize>,
}

impl FakeEngine {
    /// Creates a ready engine named `id` that plays `script`.
    #[must_use]
    pub fn new(id: &str, script: Vec<ScriptStep>) -> Self {
        let info = ModelInfo {
            id: id.to_owned(),
            demo: false,
            max_model_len: 32_768,
            frame_rate: FrameRate { fps: 2.0, min_frames: 4, max_frames: 768 },
            backend: "fake".to_owned(),
            on_cpu: false,
            sampling: SamplingParams::default(),
            kv_bytes_per_token: None,
            takes_extras: false,
        };
        Self {
            info,
            script,
            health: watch::Sender::new(Health::Ready),
            requests: Mutex::default(),
            concurrency: AtomicUsize::new(1),
            left: watch::Sender::new(0),
        }
    }

    /// Sets what [`Engine::health`] returns.
    pub fn set_health(&self, health: Health) {
        self.health.send_replace(health);
    }

    /// Sets what [`Engine::concurrency`] returns.
    pub fn set_concurrency(&self, requests: usize) {
        self.concurrency.store(requests, Ordering::Relaxed);
    }

    /// Returns the requests received so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watches how many readers left before the end.
    #[must_use]
    pub fn left(&self) -> watch::Receiver<usize> {
        self.left.subscribe()
    }
}

impl Engine for FakeEngine {
    fn info(&self) -> Result<ModelInfo, EngineError> {
        match self.health() {
            Health::Ready => Ok(self.info.clone()),
            Health::Loading => Err(EngineError::NotReady),
            Health::Failed(why) => Err(EngineError::Failed(why)),
        }
    }

    fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    fn concurrency(&self) -> usize {
        self.concurrency.load(Ordering::Relaxed)
    }

    fn watch_health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn video_size(
        &self,
        _: usize,
        width: u32,
        height: u32,
        _: VideoBudget,
    ) -> Result<(u32, u32), EngineError> {
        self.image_size(width, height)
    }

    fn image_size(&self, width: u32, height: u32) -> Result<(u32, u32), EngineError> {
        let whole = |edge: u32| (edge.min(4096) / 32).max(1) * 32;
        Ok((whole(width), whole(height)))
    }

    fn prompt_tokens(&self, _: &Request) -> Result<Option<PromptTokens>, EngineError> {
        Ok(None)
    }

    fn text_tokens(&self, _: &str) -> Result<Option<Vec<u32>>, EngineError> {
        Ok(None)
    }

    fn token_text(&self, _: u32) -> Result<Option<String>, EngineError> {
        Ok(None)
    }

    fn submit(&self, request: Request) -> Result<GenerationEvents, EngineError> {
        self.info()?;
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let (sender, receiver) = mpsc::channel(16);
        let (script, left) = (self.script.clone(), self.left.clone());
        tokio::spawn(async move {
            for step in script {
                let sent = match step {
                    ScriptStep::Wait(time) => tokio::select! {
                        () = tokio::time::sleep(time) => Ok(()),
                        () = sender.closed() => Err(()),
                    },
                    ScriptStep::Event(event) => sender.send(Ok(event)).await.map_err(|_| ()),
                    ScriptStep::Fail(error) => sender.send(Err(error)).await.map_err(|_| ()),
                    ScriptStep::Vanish => return,
                };
                if sent.is_err() {
                    left.send_modify(|count| *count += 1);
                    return;
                }
            }
        });
        Ok(GenerationEvents::new(receiver))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GenerationOptions;

    fn request() -> Request {
        Request { messages: Vec::new(), options: GenerationOptions::default() }
    }

    #[tokio::test]
    async fn a_stream_that_vanishes_is_incomplete() {
        let queued = ScriptStep::Event(GenerationEvent::Queued { position: 1 });
        let engine = FakeEngine::new("fake", vec![queued, ScriptStep::Vanish]);
        let mut events = engine.submit(request()).unwrap();
        assert!(matches!(events.next().await, Some(Ok(GenerationEvent::Queued { position: 1 }))));
        assert!(matches!(events.next().await, Some(Err(EngineError::Incomplete))));
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_counted() {
        let engine = FakeEngine::new("fake", vec![ScriptStep::Wait(Duration::from_secs(60))]);
        drop(engine.submit(request()).unwrap());
        engine.left().wait_for(|count| *count == 1).await.unwrap();
        assert_eq!(engine.requests().len(), 1);
    }
}
