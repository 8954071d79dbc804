//! The engine that proxies to vLLM: validates and prepares requests, then dispatches them. Without a healthy replica
//! the engine is not ready; it recovers when a replica does.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::options::VllmOptions;
use super::pool::Pool;
use super::{dispatch, encode, health_check};
use crate::validate::check;
use crate::{
    Engine, EngineError, GenerationEvent, GenerationEvents, Health, ModelInfo, PromptTokens, ReplicaStatus,
    Request, RgbImage, VideoBudget,
};

/// Unread events before the replica is slowed down.
const CAPACITY: usize = 256;

/// An engine backed by one or several vLLM replicas that serve the same model.
pub(crate) struct VllmEngine {
    pool: Arc<Pool>,
    runtime: Handle,
    watchers: Vec<AbortHandle>,
}

impl VllmEngine {
    /// Starts the health checks; returns immediately.
    ///
    /// # Errors
    /// `Failed` outside of a tokio runtime, or when no HTTP client can be created.
    pub(crate) fn start(options: VllmOptions) -> Result<Self, EngineError> {
        let runtime = Handle::try_current().map_err(|error| EngineError::Failed(error.to_string()))?;
        let pool = Arc::new(Pool::new(options)?);
        let watch = |replica| runtime.spawn(health_check::run(Arc::clone(&pool), replica)).abort_handle();
        let watchers = pool.replicas.iter().map(Arc::clone).map(watch).collect();
        Ok(Self { pool, runtime, watchers })
    }
}

impl Drop for VllmEngine {
    fn drop(&mut self) {
        self.watchers.iter().for_each(AbortHandle::abort);
    }
}

impl Engine for VllmEngine {
    fn info(&self) -> Result<ModelInfo, EngineError> {
        let mut info = self.pool.ready()?.info.clone();
        if !self.pool.all_accept_mm_kwargs() {
            info.backend += " (rejects media_io_kwargs: clips are sent at a constant rate)";
        }
        Ok(info)
    }

    fn health(&self) -> Health {
        self.pool.health()
    }

    fn watch_health(&self) -> watch::Receiver<Health> {
        self.pool.watch_health()
    }

    fn concurrency(&self) -> usize {
        self.pool
            .replicas
            .iter()
            .filter(|replica| replica.is_usable())
            .map(|replica| replica.capacity())
            .sum()
    }

    fn video_size(
        &self,
        frames: usize,
        width: u32,
        height: u32,
        budget: VideoBudget,
    ) -> Result<(u32, u32), EngineError> {
        let again = !self.pool.all_accept_mm_kwargs();
        self.pool.ready()?.video_size(frames, (width, height), budget, again)
    }

    fn image_size(&self, width: u32, height: u32) -> Result<(u32, u32), EngineError> {
        self.pool.ready()?.image_size(width, height)
    }

    fn preencode_frame(&self, frame: &RgbImage) {
        encode::preencode_frame(frame);
    }

    fn prompt_tokens(&self, request: &Request) -> Result<Option<PromptTokens>, EngineError> {
        let model = self.pool.ready()?;
        check(request)?;
        let Some(builder) = &model.builder else { return Ok(None) };
        let mut request = request.clone();
        let mm_kwargs = self.pool.replicas.iter().any(|replica| replica.accepts_mm_kwargs());
        dispatch::adapt(&model, &mut request, mm_kwargs);
        builder.tokens_of(&request).map(Some)
    }

    fn text_tokens(&self, text: &str) -> Result<Option<Vec<u32>>, EngineError> {
        let model = self.pool.ready()?;
        model.builder.as_ref().map(|builder| builder.text_tokens(text)).transpose()
    }

    fn token_text(&self, id: u32) -> Result<Option<String>, EngineError> {
        let model = self.pool.ready()?;
        Ok(model.builder.as_ref().map(|builder| builder.tokenizer.token_text(id)))
    }

    fn submit(&self, request: Request) -> Result<GenerationEvents, EngineError> {
        let submitted = Instant::now();
        let model = self.pool.ready()?;
        check(&request)?;
        let slot = self.pool.choose(dispatch::video(&request), &[])?;
        let prepared = dispatch::prepare(&model, request.clone(), &slot.replica)?;
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let pool = Arc::clone(&self.pool);
        self.runtime.spawn(async move {
            let delivered = dispatch::send_request(pool, model, request, prepared, slot, submitted, &sender);
            let result = tokio::select! {
                biased;
                // Dropping the request closes its connection, and vLLM stops.
                () = sender.closed() => return,
                result = delivered => result,
            };
            // Fails only if the reader has left.
            let _ = sender.send(result.map(GenerationEvent::Done)).await;
        });
        Ok(GenerationEvents::new(receiver))
    }

    fn replicas(&self) -> Vec<ReplicaStatus> {
        self.pool.replicas.iter().map(|replica| replica.status()).collect()
    }

    fn drain_replica(&self, id: usize, draining: bool) -> bool {
        let Some(replica) = self.pool.replicas.get(id) else { return false };
        replica.set_draining(draining);
        tracing::info!(
            replica = replica.url,
            draining,
            "an administrator changed whether a replica is draining; a draining replica gets no new requests"
        );
        self.pool.update_health();
        true
    }
}
