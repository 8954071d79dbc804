//! One worker process, seen from the parent: started, listened to, doubted, and always ended.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, ChildStderr, Command},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Limits, VideoError,
    wire::{self, Job, MAX_HEADER, Order, PREFIX, Reply},
};

/// Bytes of a worker's last words that reach the log.
const LAST_WORDS: usize = 2048;
/// How long a worker that has hung up may take to die.
const GRACE: Duration = Duration::from_secs(2);
/// Variables that a worker inherits; nothing else, for secrets live in the environment.
const INHERITED: [&str; 2] = ["LD_LIBRARY_PATH", "PATH"];

/// How to start workers.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) limits: Limits,
    pub(crate) slots: Arc<Semaphore>,
}

/// A running worker. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    socket: UnixStream,
    last_words: JoinHandle<String>,
    limit: Duration,
    left: Duration,
    cancel: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

fn failed(what: &str, error: impl std::fmt::Display) -> VideoError {
    VideoError::Worker { message: format!("{what}: {error}") }
}

impl Session {
    /// Waits for a free slot, starts a worker on `file` and gives it `job`.
    pub(crate) async fn start(
        launch: &Launch,
        file: File,
        job: Job,
        cancel: &CancellationToken,
    ) -> Result<Self, VideoError> {
        let slot = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(VideoError::Cancelled),
            slot = Arc::clone(&launch.slots).acquire_owned() => slot.map_err(|error| failed("no slot", error))?,
        };
        let (child, socket) =
            spawn(launch, file).map_err(|error| failed("it could not be started", error))?;
        let mut session = Self {
            last_words: tokio::spawn(async { String::new() }),
            child,
            socket,
            limit: launch.limits.deadline,
            left: launch.limits.deadline,
            cancel: cancel.clone(),
            _slot: slot,
        };
        if let Some(stderr) = session.child.stderr.take() {
            session.last_words = tokio::spawn(listen(stderr));
        }
        let Limits { max_pixels, max_packets, memory, cpu, .. } = launch.limits;
        let order = Order { job, max_pixels, max_packets, memory, cpu_s: cpu.as_secs().max(1) };
        let message =
            wire::head(&order, 0).map_err(|error| failed("the order could not be written", error))?;
        match session.guarded(async |socket| socket.write_all(&message).await).await? {
            Ok(()) => Ok(session),
            Err(_) => Err(session.died().await),
        }
    }

    /// Waits for the next reply, whose body may have `max_body` bytes. Not safe to cancel.
    pub(crate) async fn reply(&mut self, max_body: usize) -> Result<(Reply, Bytes), VideoError> {
        match self.guarded(async |socket| receive(socket, max_body).await).await? {
            Ok((Reply::Error(error), _)) => Err(error),
            Ok(reply) => Ok(reply),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.kill().await;
                Err(failed("it answered nonsense", error))
            }
            Err(_) => Err(self.died().await),
        }
    }

    /// Runs `step` on the socket within what is left of the deadline. Time that the caller spends between two
    /// steps does not count.
    async fn guarded<T>(
        &mut self,
        step: impl AsyncFnOnce(&mut UnixStream) -> io::Result<T>,
    ) -> Result<io::Result<T>, VideoError> {
        let began = Instant::now();
        let outcome = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(VideoError::Cancelled),
            done = timeout(self.left, step(&mut self.socket)) => {
                done.map_err(|_| VideoError::TimedOut { limit_s: self.limit.as_secs() })
            }
        };
        self.left = self.left.saturating_sub(began.elapsed());
        if outcome.is_err() {
            self.kill().await;
        }
        outcome
    }

    /// Kills the process and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        // It may be dead already; then there is nothing to kill and nothing to say.
        let _ = self.child.kill().await;
    }

    /// Says why the worker hung up before its end.
    async fn died(&mut self) -> VideoError {
        let status = match timeout(GRACE, self.child.wait()).await {
            Ok(Ok(status)) => obituary(status),
            _ => "hung up".into(),
        };
        self.kill().await;
        let words = timeout(GRACE, &mut self.last_words).await.ok().and_then(Result::ok).unwrap_or_default();
        let words = words.trim();
        let message = if words.is_empty() { status } else { format!("{status}; its last words: {words}") };
        VideoError::Worker { message }
    }
}

fn spawn(launch: &Launch, file: File) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).env_clear().kill_on_drop(true).process_group(0);
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::from(file)).stdout(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::piped());
    let child = command.spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

async fn receive(socket: &mut UnixStream, max_body: usize) -> io::Result<(Reply, Bytes)> {
    let mut prefix = [0u8; PREFIX];
    socket.read_exact(&mut prefix).await?;
    let (header, body) = wire::lengths(prefix);
    if header > MAX_HEADER || body > max_body {
        let message = format!("a message of {header} + {body} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut json = vec![0u8; header];
    socket.read_exact(&mut json).await?;
    let reply =
        serde_json::from_slice(&json).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut bytes = vec![0u8; body];
    socket.read_exact(&mut bytes).await?;
    Ok((reply, bytes.into()))
}

/// Drains a worker's stderr to its end, logs the last of it and returns it.
async fn listen(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0u8; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        let excess = kept.len().saturating_sub(LAST_WORDS);
        kept.drain(..excess);
    }
    let words = String::from_utf8_lossy(&kept).into_owned();
    if !words.is_empty() {
        tracing::warn!(worker.stderr = words, "a video worker complained");
    }
    words
}

fn obituary(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "it ended before its answer".into(),
        (Some(code), _) => format!("it exited with status {code}"),
        (None, Some(libc::SIGXCPU)) => "it was killed for using too much processor time".into(),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "it is gone".into(),
    }
}
