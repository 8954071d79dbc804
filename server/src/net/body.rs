//! A request body whose client must make progress: a body that arrives too slowly fails, and its request with it.
//!
//! What a handler leaves unread is read and discarded, within limits. Otherwise the connection would be closed under a client
//! that still sends, which then sees a broken connection instead of the response.

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

/// Bytes of an unread body that are discarded.
const MAX_DISCARDED: u64 = 1 << 30;

/// Time in which they are discarded.
const DISCARD_TIME: Duration = Duration::from_secs(60);

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
pub(super) struct TimedBody<B: Discard = Incoming> {
    /// `None` after its end, or an error.
    inner: Option<B>,
    /// Bytes since the deadline was set.
    received: usize,
    /// Armed while the body is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
}

impl<B: Discard> TimedBody<B> {
    pub(super) fn new(inner: B, expects_continue: bool) -> Self {
        Self { inner: Some(inner), received: 0, deadline: None, expects_continue }
    }
}

impl<B: Discard> Drop for TimedBody<B> {
    fn drop(&mut self) {
        let unread = self.inner.take().filter(|inner| !inner.is_end_stream() && !self.expects_continue);
        if let (Some(inner), Ok(runtime)) = (unread, tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(DISCARD_TIME, discard(inner)));
        }
    }
}

/// A body that can be read to its end after its request.
pub(super) trait Discard: Body<Data = Bytes, Error = hyper::Error> + Unpin + Send + 'static {}

impl<B: Body<Data = Bytes, Error = hyper::Error> + Unpin + Send + 'static> Discard for B {}

/// Reads a body to its end, or its limit.
async fn discard(mut body: impl Discard) {
    let mut discarded = 0;
    while discarded < MAX_DISCARDED {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { return };
        discarded += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}

impl<B: Discard> Body for TimedBody<B> {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                if !matches!(frame, Some(Ok(_))) {
                    this.inner = None;
                }
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
                    this.inner = None;
                    metrics::counter!("homereel_connections_timed_out_total", "phase" => "body").increment(1);
                    Some(Err(RequestBodyError::TooSlow))
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
