//! The face of the upstream engine: checks and prepares requests where they come in, and hands them on. Upstreams that
//! go away make the engine unready, not dead: they come back.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use url::Url;

use super::pool::Pool;
use super::{deliver, pictures, watch as watcher};
use crate::candle::check;
use crate::qwen3vl::PromptWrapper;
use crate::source::ModelSource;
use crate::{Engine, EngineError, Event, Events, Frame, Health, ModelInfo, Request, UpstreamStatus};

/// Events that may lie unread before the upstream is held back.
const CAPACITY: usize = 256;

/// How to use upstreams.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamOptions {
    /// Where they listen.
    pub(crate) urls: Vec<Url>,
    /// The checkpoint that they serve, for its small files; none is what an upstream names, if that is here.
    pub(crate) files: Option<ModelSource>,
    /// Kind of video prompt.
    pub(crate) wrapper: PromptWrapper,
    /// Tokens that prompt and answer share; none is what the upstream says.
    pub(crate) max_model_len: Option<usize>,
    /// Requests that may be with one upstream at once.
    pub(crate) max_requests: usize,
}

/// One vLLM server or several that serve the same.
pub(crate) struct UpstreamEngine {
    pool: Arc<Pool>,
    runtime: Handle,
    watchers: Vec<AbortHandle>,
}

impl UpstreamEngine {
    /// Starts to watch the upstreams; returns at once.
    ///
    /// # Errors
    /// `Failed` outside of a tokio runtime, or when there can be no HTTP client.
    pub(crate) fn start(options: UpstreamOptions) -> Result<Self, EngineError> {
        let runtime = Handle::try_current().map_err(|error| EngineError::Failed(error.to_string()))?;
        let pool = Arc::new(Pool::new(options)?);
        let watch = |replica| runtime.spawn(watcher::watch(Arc::clone(&pool), replica)).abort_handle();
        let watchers = pool.replicas.iter().map(Arc::clone).map(watch).collect();
        Ok(Self { pool, runtime, watchers })
    }
}

impl Drop for UpstreamEngine {
    fn drop(&mut self) {
        self.watchers.iter().for_each(AbortHandle::abort);
    }
}

impl Engine for UpstreamEngine {
    fn info(&self) -> Result<ModelInfo, EngineError> {
        let mut info = self.pool.ready()?.info.clone();
        if !self.pool.all_trusting() {
            info.backend += " (refuses media_io_kwargs: clips travel at a constant rate)";
        }
        Ok(info)
    }

    fn health(&self) -> Health {
        self.pool.health()
    }

    fn watch_health(&self) -> watch::Receiver<Health> {
        self.pool.watch_health()
    }

    fn video_size(&self, frames: usize, width: u32, height: u32) -> Result<(u32, u32), EngineError> {
        let again = !self.pool.all_trusting();
        self.pool.ready()?.video_size(frames, width, height, again)
    }

    fn image_size(&self, width: u32, height: u32) -> Result<(u32, u32), EngineError> {
        self.pool.ready()?.image_size(width, height)
    }

    fn anticipate(&self, frame: &Frame) {
        pictures::anticipate(frame);
    }

    fn submit(&self, request: Request) -> Result<Events, EngineError> {
        let submitted = Instant::now();
        let front = self.pool.ready()?;
        check(&request)?;
        let place = self.pool.choose(deliver::video(&request), &[])?;
        let prepared = deliver::prepare(&front, request.clone(), place.replica.is_trusting())?;
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let pool = Arc::clone(&self.pool);
        self.runtime.spawn(async move {
            let delivered = deliver::deliver(pool, front, request, prepared, place, submitted, &sender);
            let result = tokio::select! {
                biased;
                // What is dropped here closes the connection, and the upstream stops.
                () = sender.closed() => return,
                result = delivered => result,
            };
            // An error only says that the reader has left.
            let _ = sender.send(result.map(Event::Done)).await;
        });
        Ok(Events::new(receiver))
    }

    fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.pool.replicas.iter().map(|replica| replica.status()).collect()
    }

    fn drain_upstream(&self, id: usize, draining: bool) -> bool {
        let Some(replica) = self.pool.replicas.get(id) else { return false };
        replica.set_draining(draining);
        tracing::info!(upstream = replica.url, draining, "an operator's wish");
        self.pool.settle();
        true
    }
}
