//! A stream with the timeouts of a connection's phase: how long a client may be silent before and within a request's
//! header section, and how long it may leave a response unread.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::admission::{ConnectionState, Phase};

/// How long a new connection may wait before its first byte, and a request's header section may take.
pub(super) const HEAD: Duration = Duration::from_secs(10);

/// How long a connection may wait for its next request. Longer than the 60 s for which proxies normally keep theirs.
pub(super) const IDLE: Duration = Duration::from_secs(75);

/// How long a client may leave a response unread. A paused player continues with a range request.
pub(super) const UNREAD: Duration = Duration::from_secs(30);

/// A stream that fails with `TimedOut` when the client is too slow.
#[derive(Debug)]
pub(super) struct TimedStream<S> {
    inner: S,
    state: Arc<ConnectionState>,
    read: Timer,
    write: Timer,
}

/// A deadline that is armed while an operation is pending.
#[derive(Debug, Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Timer {
    fn disarm(&mut self) {
        self.armed = false;
    }

    /// Registers a wake-up at `deadline`. Returns whether it has passed.
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }

    /// Like [`Self::poll_until`], `after` the operation became pending.
    fn poll_after(&mut self, cx: &mut Context<'_>, after: Duration) -> Poll<()> {
        let deadline = match &self.sleep {
            Some(sleep) if self.armed => sleep.deadline(),
            _ => Instant::now() + after,
        };
        self.armed = true;
        self.poll_until(cx, deadline)
    }
}

impl<S> TimedStream<S> {
    pub(super) fn new(inner: S, state: Arc<ConnectionState>) -> Self {
        Self { inner, state, read: Timer::default(), write: Timer::default() }
    }

    /// Returns the result of a write; an error if the client left the response unread for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write.disarm();
            return result;
        }
        ready!(self.write.poll_after(cx, UNREAD));
        metrics::counter!("homereel_connections_timed_out_total", "phase" => "response").increment(1);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read the response")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.inner).poll_read(cx, buffer) {
            if buffer.filled().len() > before {
                this.state.received();
            }
            return Poll::Ready(result);
        }
        let (phase, began) = this.state.phase();
        let (limit, phase) = match phase {
            Phase::New => (HEAD, "new"),
            Phase::Head => (HEAD, "head"),
            Phase::Idle => (IDLE, "idle"),
            // The body and the handler have limits of their own.
            Phase::Busy => {
                this.state.wake(cx.waker());
                return Poll::Pending;
            }
        };
        ready!(this.read.poll_until(cx, began + limit));
        metrics::counter!("homereel_connections_timed_out_total", "phase" => phase).increment(1);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client is silent")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.written(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_flush(cx);
        this.written(cx, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.written(cx, result)
    }
}
