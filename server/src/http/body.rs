//! Reads request bodies into memory, within a limit for each and a memory budget for all together.

use axum::{
    body::{Body, HttpBody},
    http::StatusCode,
};
use futures_util::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use super::error::Failure;
use crate::budget::MemoryBudget;

/// A body. Dropping it returns its memory to the budget.
#[derive(Debug)]
pub(super) struct BufferedBody {
    pub(super) bytes: Vec<u8>,
    permits: Vec<OwnedSemaphorePermit>,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(budget: &MemoryBudget, body: Body, limit: usize) -> Result<BufferedBody, Failure> {
    let announced = HttpBody::size_hint(&body).lower();
    let too_large = || {
        Failure::too_large(format!(
            "the body is larger than {limit} bytes; upload the video to /api/videos and refer to it as homereel:ID"
        ))
    };
    if announced > limit as u64 {
        return Err(too_large());
    }
    let mut stream = body.into_data_stream();
    let mut held = BufferedBody { bytes: Vec::new(), permits: Vec::new() };
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            Failure::new(
                StatusCode::BAD_REQUEST,
                "incomplete_body",
                format!("the connection was lost within the body: {error}"),
            )
        })?;
        let size = held.bytes.len() + chunk.len();
        if size > limit {
            return Err(too_large());
        }
        if held.bytes.is_empty() {
            // Allocated once: growth by doubling would hold a large clip twice.
            held.bytes.reserve_exact(usize::try_from(announced).unwrap_or(0));
        }
        if !budget.cover(size, &mut held.permits) {
            return Err(Failure {
                retry_after_s: Some(5),
                ..Failure::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "overloaded",
                    "too many large requests at once; try again in 5 s",
                )
            });
        }
        held.bytes.extend_from_slice(&chunk);
    }
    Ok(held)
}
