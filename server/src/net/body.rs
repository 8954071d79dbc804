//! A request body whose client must make progress: a body that arrives too slowly fails, and its request with it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// Time in which [`PROGRESS`] bytes must arrive. Time in which the server does not read does not count.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that must arrive within [`PATIENCE`]: 0.5 KiB/s, below the slowest phone.
const PROGRESS: usize = 16 << 10;

/// A request body failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The client was too slow.
    #[error("fewer than {} bytes of the body arrived in {} s", PROGRESS, PATIENCE.as_secs())]
    TooSlow,
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] hyper::Error),
}

impl RequestBodyError {
    /// Returns whether `error` was caused by a body that arrived too slowly.
    #[must_use]
    pub fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if matches!(error.downcast_ref(), Some(Self::TooSlow)) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// A body that fails with [`RequestBodyError::TooSlow`].
#[derive(Debug)]
pub(super) struct TimedBody<B = Incoming> {
    inner: B,
    /// Bytes since the deadline was set.
    received: usize,
    /// Armed while the body is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> TimedBody<B> {
    pub(super) fn new(inner: B) -> Self {
        Self { inner, received: 0, deadline: None }
    }
}

impl<B> Body for TimedBody<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(Ok(frame)) = &frame {
                    this.received += frame.data_ref().map_or(0, Bytes::len);
                }
                if this.received >= PROGRESS {
                    this.received = 0;
                    this.deadline = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let deadline =
                    this.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + PATIENCE)));
                deadline.as_mut().poll(cx).map(|()| {
                    metrics::counter!("homereel_connections_timed_out_total", "phase" => "body").increment(1);
                    Some(Err(RequestBodyError::TooSlow))
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
