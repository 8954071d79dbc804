//! The child's side: one file, one order, then the end.
//!
//! Descriptor 0 is a socket over which rules, order and file come and the replies go, descriptor 1 leads nowhere,
//! descriptor 2 is the parent's log. The worker opens nothing, locks itself in before it gets the file, tells its
//! parent that it gets on, and is gone as soon as the parent hangs up.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::{self, ExitCode},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    Jail, VideoError, decode, ffmpeg, jail, poster,
    scan::{self, Bounds},
    wire::{self, Job, Order, Reply, Rules},
};

/// Steps that were made: pieces of the file that were read, packets that were decoded.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Processors that the worker may use.
static THREADS: OnceLock<usize> = OnceLock::new();

/// The way to the parent. Whoever holds it writes one whole message.
type Out = Mutex<BufWriter<UnixStream>>;

/// Runs the worker: what `homereel video-worker` calls, before any thread or runtime is started.
#[must_use]
pub fn main() -> ExitCode {
    main_as(true, |_| Ok(()))
}

/// Runs a worker that does `deed` on its file before it begins. For this crate's own tests, which see to it that the jail
/// stops evil deeds, and that nothing else does: `jailed` is true everywhere else.
#[doc(hidden)]
#[must_use]
pub fn main_as(jailed: bool, deed: impl FnOnce(&File) -> io::Result<()>) -> ExitCode {
    match run(jailed, deed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell if even the log is closed.
            let _ = writeln!(io::stderr(), "video worker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Notes a step of the work. Without any the parent takes the worker for stuck.
#[doc(hidden)]
pub fn progress() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

/// Returns how many threads may compute at once. Inside the jail nobody can read a cgroup's quota any more, so that
/// [`thread::available_parallelism`] would count processors that a container does not have.
pub(crate) fn threads() -> usize {
    *THREADS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

fn run(jailed: bool, deed: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let closed = jail::close_inherited();
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let rules: Rules = wire::read_rules(&mut socket)?;
    // Asked here, while it can be known.
    let _ = threads();
    let jail = if jailed { jail::enter(rules.memory, rules.cpu_s, closed)? } else { Jail::default() };
    ffmpeg::init(usize::try_from(rules.memory).unwrap_or(usize::MAX)).map_err(io::Error::other)?;
    let out = Arc::new(Out::new(BufWriter::with_capacity(1 << 16, socket.try_clone()?)));
    send(&out, &Reply::Ready(jail), &[])?;
    // A spare worker waits here, for long.
    let (order, file) = wire::read_order(&mut socket)?;
    watch(socket, Arc::clone(&out), Duration::from_millis(rules.beat_ms.max(1)))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("what came with the order is not a regular file"));
    }
    deed(&file)?;
    if !matches!(order.job, Job::Probe) {
        rayon::ThreadPoolBuilder::new().num_threads(threads()).build_global().map_err(io::Error::other)?;
    }
    answer(file, order, &out)
}

fn lock(out: &Out) -> MutexGuard<'_, BufWriter<UnixStream>> {
    out.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(out: &Out, reply: &Reply, body: &[u8]) -> io::Result<()> {
    let mut out = lock(out);
    wire::write(&mut *out, reply, body)?;
    out.flush()
}

/// Tells the parent every `beat` whether there was progress, and ends the process when the parent has died or does
/// not care any more.
fn watch(socket: UnixStream, out: Arc<Out>, beat: Duration) -> io::Result<()> {
    let beat = Timespec::try_from(beat).map_err(io::Error::other)?;
    let watch = move || {
        let mut told = 0;
        loop {
            // The parent sends nothing after its order, so there is something to read only when it hangs up.
            match poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&beat)) {
                Ok(0) => {}
                Err(error) if error == rustix::io::Errno::INTR => continue,
                _ => process::exit(1),
            }
            let steps = STEPS.load(Ordering::Relaxed);
            // If somebody else is writing, that is sign enough.
            let free = match out.try_lock() {
                Ok(out) => Some(out),
                Err(TryLockError::Poisoned(out)) => Some(out.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(mut out) = free
                && steps != told
            {
                told = steps;
                if wire::write(&mut *out, &Reply::Progress, &[]).and_then(|()| out.flush()).is_err() {
                    process::exit(1);
                }
            }
        }
    };
    thread::Builder::new().name("watch".into()).stack_size(64 << 10).spawn(watch)?;
    Ok(())
}

fn answer(file: File, order: Order, out: &Out) -> io::Result<()> {
    let bounds = Bounds { max_pixels: order.max_pixels, max_packets: order.max_packets };
    let done = match order.job {
        Job::Probe => scan::scan(file, bounds).map(|mut probe| {
            let times = std::mem::take(&mut probe.frame_times);
            let body = times.iter().flat_map(|time| time.to_le_bytes()).collect();
            (Reply::Probe(Box::new(probe)), body)
        }),
        Job::Poster { max_width } => {
            poster::poster(file, max_width, bounds).map(|jpeg| (Reply::Poster, jpeg))
        }
        Job::Decode(request) => {
            let clock = request.clock;
            let mut sent = Ok(());
            let report = decode::decode(&file, &request, bounds.max_pixels, |target, ticks, rgb| {
                sent = send(out, &Reply::Frame { index: target.index, pts_s: clock.seconds(ticks) }, &rgb);
                sent.is_ok()
            });
            sent?;
            report.map(|end| (Reply::End { warnings: end.warnings, replaced: end.replaced }, Vec::new()))
        }
    };
    let (reply, body) = done.unwrap_or_else(|error: VideoError| (Reply::Error(error), Vec::new()));
    send(out, &reply, &body)
}
