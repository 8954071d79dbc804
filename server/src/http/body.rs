//! Request bodies in memory: read within a limit for each and a limit for all together.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody},
    http::StatusCode,
};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;

const MIB: usize = 1 << 20;

/// Counts the MiB that bodies hold. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Bodies {
    free: Arc<Semaphore>,
}

/// A body, counted as long as it lives.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Lets bodies hold `bytes` in all.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes.div_ceil(MIB).clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read(&self, body: Body, limit: usize) -> Result<Held, Failure> {
        let announced = HttpBody::size_hint(&body).lower();
        let too_large = || {
            Failure::too_large(format!(
                "the body is larger than {limit} bytes; upload the video to /api/videos and name it as homereel:ID"
            ))
        };
        if announced > limit as u64 {
            return Err(too_large());
        }
        let mut stream = body.into_data_stream();
        let mut held = Held { bytes: Vec::new(), _permits: Vec::new() };
        let mut paid = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| {
                Failure::new(
                    StatusCode::BAD_REQUEST,
                    "incomplete_body",
                    format!("the body broke off: {error}"),
                )
            })?;
            if held.bytes.len() + chunk.len() > limit {
                return Err(too_large());
            }
            if held.bytes.is_empty() {
                // At once and exactly: growing by doubling would hold a large clip twice.
                held.bytes.reserve_exact(usize::try_from(announced).unwrap_or(0));
            }
            while paid < held.bytes.len() + chunk.len() {
                held._permits.push(Arc::clone(&self.free).try_acquire_owned().map_err(|_| Failure {
                    retry_after_s: Some(5),
                    ..Failure::new(
                        StatusCode::TOO_MANY_REQUESTS,
                        "overloaded",
                        "too many large requests at once; try again in 5 s",
                    )
                })?);
                paid += MIB;
            }
            held.bytes.extend_from_slice(&chunk);
        }
        Ok(held)
    }
}
