//! One worker process on the parent's side: sends its order, reads and validates its replies, and ensures that the
//! process ends.

use std::{
    fs::{self, File},
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Limits, Sandbox, VideoError,
    pool::{Started, WorkerPool},
    wire::{self, MAX_HEADER, Order, PREFIX, Reply, WorkerTask},
};

/// Time for a worker that has closed its socket to exit.
const GRACE: Duration = Duration::from_secs(2);

/// A running worker. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Session {
    started: Started,
    pool: Arc<WorkerPool>,
    ready: bool,
    /// Whether the worker should use NVDEC.
    chip: bool,
    left: Duration,
    /// The order and its file, until the first reply: a worker that ends with its template before that is replaced once.
    unanswered: Option<(Vec<u8>, File)>,
    cancel: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

fn failed(what: &str, error: impl std::fmt::Display) -> VideoError {
    VideoError::Worker { message: format!("{what}: {error}") }
}

impl Session {
    /// Waits for a free slot and takes a worker, with NVDEC if `chip`.
    pub(crate) async fn open(
        pool: &Arc<WorkerPool>,
        chip: bool,
        cancel: &CancellationToken,
    ) -> Result<Self, VideoError> {
        let slot = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(VideoError::Cancelled),
            slot = Arc::clone(&pool.slots).acquire_owned() => slot.map_err(|error| failed("no slot", error))?,
        };
        Ok(Self {
            started: pool.take(chip).map_err(|error| failed("it could not be started", error))?,
            pool: Arc::clone(pool),
            ready: false,
            chip,
            left: pool.limits.deadline,
            unanswered: None,
            cancel: cancel.clone(),
            _slot: slot,
        })
    }

    /// Waits for a free slot, takes a worker and sends it `task` and `file`.
    pub(crate) async fn start(
        pool: &Arc<WorkerPool>,
        file: File,
        task: WorkerTask,
        cancel: &CancellationToken,
    ) -> Result<Self, VideoError> {
        Self::start_with(pool, file, task, false, cancel).await
    }

    /// Like [`Self::start`], with NVDEC if `chip`.
    pub(crate) async fn start_with(
        pool: &Arc<WorkerPool>,
        file: File,
        task: WorkerTask,
        chip: bool,
        cancel: &CancellationToken,
    ) -> Result<Self, VideoError> {
        let mut session = Self::open(pool, chip, cancel).await?;
        let message = session.order(task)?;
        let given = session.give(&message, &file).await;
        session.unanswered = Some((message, file));
        if let Err(error) = given {
            session.replace(error).await?;
        }
        // The next spare worker starts while this one works.
        pool.replenish();
        Ok(session)
    }

    async fn give(&mut self, message: &[u8], file: &File) -> Result<(), VideoError> {
        match self.guarded(async |socket| give(socket, message, file).await).await? {
            Ok(()) => Ok(()),
            Err(_) => Err(self.died().await),
        }
    }

    /// Gives the order to another worker if this one ended with its template before it replied; otherwise returns `error`.
    async fn replace(&mut self, error: VideoError) -> Result<(), VideoError> {
        let Some((message, file)) = self.unanswered.take().filter(|_| self.started.process.is_orphaned())
        else {
            return Err(error);
        };
        self.started = self.pool.take(self.chip).map_err(|error| failed("it could not be started", error))?;
        self.ready = false;
        self.give(&message, &file).await
    }

    /// Sends another task to a worker that has probed its file, with a deadline of its own.
    pub(crate) async fn go_on(&mut self, task: WorkerTask) -> Result<(), VideoError> {
        let message = self.order(task)?;
        self.left = self.pool.limits.deadline;
        match self.guarded(async |socket| socket.write_all(&message).await).await? {
            Ok(()) => Ok(()),
            Err(_) => Err(self.died().await),
        }
    }

    fn order(&self, task: WorkerTask) -> Result<Vec<u8>, VideoError> {
        let Limits { max_pixels, max_packets, .. } = self.pool.limits;
        let order = Order { task, max_pixels, max_packets };
        wire::head(&order, 0).map_err(|error| failed("the order could not be written", error))
    }

    /// The pool of this worker, and what cancels it.
    pub(crate) fn origin(&self) -> (&Arc<WorkerPool>, &CancellationToken) {
        (&self.pool, &self.cancel)
    }

    /// Waits until the worker reports its sandbox.
    pub(crate) async fn ready(&mut self) -> Result<Sandbox, VideoError> {
        match self.message(0).await? {
            (Reply::Ready(sandbox), _) => Ok(sandbox),
            _ => Err(failed("unexpected message from the worker", "not the state of its sandbox")),
        }
    }

    /// Waits, after [`Self::ready`], until a worker with NVDEC reports whether it is available.
    pub(crate) async fn chip(&mut self) -> Result<Result<(), String>, VideoError> {
        match self.message(0).await? {
            (Reply::Chip(reason), _) => Ok(reason.map_or(Ok(()), Err)),
            _ => Err(failed("unexpected message from the worker", "not the state of its decoder")),
        }
    }

    /// Waits for the next reply, whose body has at most `max_body` bytes. Not safe to cancel.
    pub(crate) async fn reply(&mut self, max_body: usize) -> Result<(Reply, Bytes), VideoError> {
        let reply = match self.try_reply(max_body).await {
            Err(error) => {
                self.replace(error).await?;
                self.try_reply(max_body).await?
            }
            Ok(reply) => reply,
        };
        self.unanswered = None;
        Ok(reply)
    }

    async fn try_reply(&mut self, max_body: usize) -> Result<(Reply, Bytes), VideoError> {
        if !self.ready {
            let sandbox = self.ready().await?;
            self.pool.record_sandbox(sandbox);
            if self.chip
                && let Err(reason) = self.chip().await?
            {
                self.pool.disable_chip(&reason);
            }
            self.ready = true;
        }
        loop {
            match self.message(max_body).await? {
                (Reply::Progress, _) => {}
                (Reply::Error(error), _) => return Err(error),
                reply => return Ok(reply),
            }
        }
    }

    async fn message(&mut self, max_body: usize) -> Result<(Reply, Bytes), VideoError> {
        match self.guarded(async |socket| receive(socket, max_body).await).await? {
            Ok(message) => Ok(message),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.kill().await;
                Err(failed("it answered nonsense", error))
            }
            Err(_) => Err(self.died().await),
        }
    }

    /// Runs `step`, one message, within the rest of the deadline and, once the worker runs (starting it can take long on a busy
    /// machine), within the time limit without progress. Time that the caller spends between steps does not count.
    async fn guarded<T>(
        &mut self,
        step: impl AsyncFnOnce(&mut UnixStream) -> io::Result<T>,
    ) -> Result<io::Result<T>, VideoError> {
        let Limits { deadline, stall, .. } = self.pool.limits;
        let patience = if self.ready { self.left.min(stall) } else { self.left };
        let began = Instant::now();
        let outcome = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(VideoError::Cancelled),
            done = timeout(patience, step(&mut self.started.socket)) => done.map_err(|_| {
                if self.left == patience {
                    VideoError::TimedOut { limit_s: deadline.as_secs() }
                } else {
                    VideoError::Stalled { limit_s: stall.as_secs() }
                }
            }),
        };
        self.left = self.left.saturating_sub(began.elapsed());
        if outcome.is_err() {
            self.kill().await;
        }
        outcome
    }

    /// Returns the peak memory of the process in bytes; 0 if it has exited, or if the kernel does not report it.
    pub(crate) fn peak_memory(&mut self) -> u64 {
        let status = |pid| fs::read_to_string(format!("/proc/{pid}/status")).ok();
        self.started.process.id().and_then(status).and_then(|status| high_water_mark(&status)).unwrap_or(0)
    }

    /// Kills the process and waits for its end.
    pub(crate) async fn kill(&mut self) {
        self.started.process.kill().await;
    }

    /// Describes why the worker closed the socket early.
    async fn died(&mut self) -> VideoError {
        let status = match timeout(GRACE, self.started.process.wait()).await {
            Ok(Some(status)) => describe_exit(status),
            _ => "hung up".into(),
        };
        self.kill().await;
        let words = timeout(GRACE, &mut self.started.stderr_tail).await;
        let words = words.ok().and_then(Result::ok).unwrap_or_default();
        let words = words.trim();
        let message = if words.is_empty() { status } else { format!("{status}; its last words: {words}") };
        VideoError::Worker { message }
    }
}

/// Parses the peak memory in bytes out of `/proc/PID/status`.
fn high_water_mark(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?;
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

/// Sends `message`, and with its first bytes the descriptor of `file`.
async fn give(socket: &mut UnixStream, message: &[u8], file: &File) -> io::Result<()> {
    let first = message.get(..PREFIX).unwrap_or(message);
    let send = || {
        let descriptors = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(sendmsg(&*socket, &[IoSlice::new(first)], &mut ancillary, SendFlags::NOSIGNAL)?)
    };
    let sent = socket.async_io(Interest::WRITABLE, send).await?;
    socket.write_all(&message[sent..]).await
}

/// Reads one message of a worker, whose body has at most `max_body` bytes.
pub(crate) async fn receive(
    from: &mut (impl AsyncRead + Unpin),
    max_body: usize,
) -> io::Result<(Reply, Bytes)> {
    let mut prefix = [0u8; PREFIX];
    from.read_exact(&mut prefix).await?;
    let (header, body) = wire::lengths(prefix);
    if header > MAX_HEADER || body > max_body {
        let message = format!("a message of {header} + {body} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut json = vec![0u8; header];
    from.read_exact(&mut json).await?;
    let reply =
        serde_json::from_slice(&json).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut bytes = vec![0u8; body];
    from.read_exact(&mut bytes).await?;
    Ok((reply, bytes.into()))
}

fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "it ended before its answer".into(),
        (Some(code), _) => format!("it exited with status {code}"),
        (None, Some(libc::SIGXCPU)) => "it was killed for using too much processor time".into(),
        (None, Some(libc::SIGXFSZ)) => "it was killed for writing to a file".into(),
        (None, Some(libc::SIGSYS)) => "it was killed for a forbidden system call".into(),
        (None, Some(libc::SIGSEGV)) => "it crashed (signal 11)".into(),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "it is gone".into(),
    }
}
