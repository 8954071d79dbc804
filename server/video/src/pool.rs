//! Starts worker processes through a [`crate::template`], and keeps a spare one running.
//!
//! A spare worker waits in its sandbox, without a file, for the next call, which therefore does not wait for a fork and for the
//! layers of the sandbox.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{UnixStream, unix::pipe},
    process::{Child, Command},
    sync::Semaphore,
    task::JoinHandle,
};

use crate::{
    Decoder, Limits, Sandbox,
    process::WorkerProcess,
    template,
    wire::{self, WorkerSettings},
};

/// Maximum bytes of a worker's stderr in the log.
const STDERR_TAIL: usize = 2048;
/// Heartbeats within the time limit without progress.
const BEATS: u32 = 8;
/// The only environment variable that a worker inherits, for its libraries; others may contain secrets.
const INHERITED: &str = "LD_LIBRARY_PATH";
/// Exists on machines with an NVIDIA driver.
const CHIP: &str = "/dev/nvidiactl";

/// How to start workers.
#[derive(Debug)]
pub(crate) struct WorkerPool {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) limits: Limits,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) ahead: bool,
    pub(crate) decoder: Decoder,
    /// Whether NVDEC was tried and is not available.
    chipless: Arc<AtomicBool>,
    spare: Mutex<Option<Started>>,
    template: Arc<Mutex<Option<Template>>>,
    sandbox: Arc<OnceLock<Sandbox>>,
}

/// A running worker without an order. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: WorkerProcess,
    pub(crate) socket: UnixStream,
    pub(crate) stderr_tail: JoinHandle<String>,
}

/// A running template. Dropping it kills the process, and with it its workers.
#[derive(Debug)]
struct Template {
    control: OwnedFd,
    _child: Child,
}

impl WorkerPool {
    pub(crate) fn new(program: PathBuf, args: Vec<OsString>, slots: Arc<Semaphore>) -> Self {
        Self {
            program,
            args,
            limits: Limits::default(),
            slots,
            ahead: false,
            decoder: Decoder::default(),
            chipless: Arc::default(),
            spare: Mutex::default(),
            template: Arc::default(),
            sandbox: Arc::default(),
        }
    }

    /// Returns a clone with its own spare worker, which shares what was learnt of the machine.
    pub(crate) fn reconfigured(&self) -> Self {
        Self {
            program: self.program.clone(),
            args: self.args.clone(),
            slots: Arc::clone(&self.slots),
            chipless: Arc::clone(&self.chipless),
            sandbox: Arc::clone(&self.sandbox),
            template: Arc::clone(&self.template),
            spare: Mutex::default(),
            ..*self
        }
    }

    /// Returns whether to try NVDEC for pictures of this many pixels.
    pub(crate) fn wants_chip(&self, pixels: Option<u64>) -> bool {
        let present = || Path::new(CHIP).exists();
        !self.chipless.load(Ordering::Relaxed) && self.decoder.tries_chip(pixels, present)
    }

    /// Records that NVDEC is not available and logs it once.
    pub(crate) fn disable_chip(&self, reason: &str) {
        if !self.chipless.swap(true, Ordering::Relaxed) {
            // A log target of its own, so that commands can show this message alone.
            tracing::warn!(target: "homereel_video::chip", reason, "failed to open the GPU's video decoder (NVDEC); will decode on the CPU until the next start of the server");
        }
    }

    /// Returns the spare worker if it is alive, or starts one; always starts a new one for NVDEC.
    pub(crate) fn take(&self, chip: bool) -> io::Result<Started> {
        if chip {
            return spawn(self, true);
        }
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(spare) = spare
            && is_open(&spare.socket)
        {
            return Ok(spare);
        }
        spawn(self, false)
    }

    /// Starts a spare worker if one is wanted and there is none.
    pub(crate) fn replenish(&self) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ahead && !self.limits.background && spare.is_none() {
            // If it fails, the call that needs a worker fails as well and reports why.
            *spare = spawn(self, false).ok();
        }
    }

    /// Logs the sandbox of the workers, once.
    pub(crate) fn record_sandbox(&self, sandbox: Sandbox) {
        if self.sandbox.set(sandbox).is_err() {
            return;
        }
        tracing::info!(
            worker.landlock_abi = sandbox.landlock_abi,
            worker.seccomp = sandbox.seccomp,
            worker.no_new_privs = sandbox.no_new_privs,
            worker.no_capabilities = sandbox.no_capabilities,
            "video workers run in their sandbox with these layers"
        );
        for layer in sandbox.missing() {
            tracing::warn!(
                layer,
                "video workers run without one layer of their sandbox, because the kernel does not support it; the other layers hold"
            );
        }
    }
}

/// Returns whether the worker at the other end has its socket open, which the kernel closes when it dies.
fn is_open(socket: &UnixStream) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    matches!(poll(&mut polled, Some(&Timespec::default())), Ok(0))
}

fn spawn(pool: &WorkerPool, chip: bool) -> io::Result<Started> {
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let Limits { memory, cpu, stall, background, .. } = pool.limits;
    let beat_ms = u64::try_from((stall / BEATS).as_millis()).unwrap_or(u64::MAX);
    // A few bytes, which the socket buffers until the worker reads them.
    ours.write_all(&wire::head(
        &WorkerSettings { memory, cpu_s: cpu.as_secs().max(1), beat_ms, background, chip },
        0,
    )?)?;
    ours.set_nonblocking(true)?;
    let (stderr, their_stderr) = io::pipe()?;
    let (status, their_status) = std::os::unix::net::UnixStream::pair()?;
    let theirs = [theirs.into(), their_stderr.into(), their_status.into()];
    fork(pool, &theirs)?;
    Ok(Started {
        process: WorkerProcess::new(status)?,
        socket: UnixStream::from_std(ours)?,
        stderr_tail: tokio::spawn(listen(pipe::Receiver::from_owned_fd(stderr.into())?)),
    })
}

/// Lets the template start a worker with these descriptors; starts the template if there is none.
fn fork(pool: &WorkerPool, descriptors: &[OwnedFd; 3]) -> io::Result<()> {
    let mut template = pool.template.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = &*template
        && template::request(&running.control, descriptors.each_ref()).is_ok()
    {
        return Ok(());
    }
    // There was none, or it has died.
    let started = template.insert(start_template(pool)?);
    template::request(&started.control, descriptors.each_ref())
}

fn start_template(pool: &WorkerPool) -> io::Result<Template> {
    let (control, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let mut command = Command::new(&pool.program);
    command.args(&pool.args).env_clear().kill_on_drop(true).process_group(0);
    command.envs(std::env::var_os(INHERITED).map(|value| (INHERITED, value)));
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(listen(stderr));
    }
    Ok(Template { control, _child: child })
}

/// Reads a worker's stderr to its end; logs and returns the last part.
async fn listen(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0u8; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        let excess = kept.len().saturating_sub(STDERR_TAIL);
        kept.drain(..excess);
    }
    let words = String::from_utf8_lossy(&kept).into_owned();
    if !words.is_empty() {
        tracing::warn!(
            worker.stderr = words,
            "a video worker wrote to stderr; if its task failed, the task's own error is logged or shown as well"
        );
    }
    words
}
