//! The worker's main loop: one file, one order (after a probe or a picture a second one), then exit.
//!
//! Descriptor 0 is a socket for settings, orders, the file and replies; descriptor 1 is `/dev/null`; descriptor 2 is
//! the parent's log. The worker opens nothing, enters its sandbox before it receives the file, reports its progress,
//! and exits when the parent closes the socket.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::{self, ExitCode},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::nice,
};

use crate::{
    FramesEnd, Sandbox, VideoError, decode, ffmpeg,
    heartbeat::{self, threads},
    poster, rendition, resize,
    sandbox::{self, SandboxLimits},
    scan::{self, Bounds},
    speech, sprites, still, template,
    wire::{self, Order, Reply, WorkerSettings, WorkerTask},
};

/// Nice value of background work.
const NICE: i32 = 15;
/// Interval between progress reports.
const PERIOD: Duration = Duration::from_millis(250);

#[doc(hidden)]
pub use crate::heartbeat::progress;
#[doc(hidden)]
pub use crate::template::{Served, serve as serve_template};

/// The socket to the parent. Its holder writes one whole message.
type Out = Mutex<BufWriter<UnixStream>>;

/// Runs the worker, or the template that starts workers: `homereel video-worker` calls it before any thread or runtime is started.
#[must_use]
pub fn main() -> ExitCode {
    main_as(true, |_| Ok(()))
}

/// Runs a worker that does `deed` on its file before it begins. For this crate's own tests, which see to it that the sandbox
/// stops evil deeds, and that nothing else does: `sandboxed` is true everywhere else.
#[doc(hidden)]
#[must_use]
pub fn main_as(sandboxed: bool, deed: impl FnOnce(&File) -> io::Result<()>) -> ExitCode {
    match template::serve().and_then(|served| match served {
        Served::Worker => run(sandboxed, deed),
        Served::Template => Ok(()),
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log is closed as well, so nothing can be reported.
            let _ = writeln!(io::stderr(), "video worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(sandboxed: bool, deed: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let closed = sandbox::close_inherited();
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let rules: WorkerSettings = wire::read_rules(&mut socket)?;
    // Read here, because the sandbox hides it.
    let _ = threads();
    if rules.background {
        // Without it the work only runs at normal priority.
        let _ = nice(NICE);
    }
    let cell = SandboxLimits { memory: rules.memory, cpu_s: rules.cpu_s, descriptors_closed: closed };
    let (sandbox, chip) = match (sandboxed, rules.chip) {
        (true, true) => sandbox::enter_with(cell, ffmpeg::nvdec::open)?,
        (true, false) => (sandbox::enter(cell)?, None),
        (false, _) => (Sandbox::default(), Some("it is not tried outside of a sandbox".into())),
    };
    ffmpeg::init(usize::try_from(rules.memory).unwrap_or(usize::MAX)).map_err(io::Error::other)?;
    let out = Arc::new(Out::new(BufWriter::with_capacity(1 << 16, socket.try_clone()?)));
    send(&out, &Reply::Ready(sandbox), &[])?;
    if rules.chip {
        send(&out, &Reply::Chip(chip), &[])?;
    }
    // A spare worker waits here.
    let (mut order, file) = wire::read_order(&mut socket)?;
    watch(socket.try_clone()?, Arc::clone(&out), Duration::from_millis(rules.beat_ms.max(1)))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("what came with the order is not a regular file"));
    }
    deed(&file)?;
    if let WorkerTask::Picture { max_pixels } = order.task {
        return picture(&file, max_pixels, &mut socket, &out);
    }
    if matches!(order.task, WorkerTask::Probe) {
        answer(file.try_clone()?, order, &out)?;
        // The worker that probed usually decodes next.
        let Some(next) = wire::read_next_order(&mut socket)? else { return Ok(()) };
        order = next;
    }
    start_threads()?;
    answer(file, order, &out)?;
    // Lives until the parent closes the socket, so that the parent can read the peak memory of this process.
    wire::read_next_order(&mut socket).map(|_| ())
}

fn start_threads() -> io::Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(threads()).build_global().map_err(io::Error::other)
}

/// Decodes a still picture, reports its size, and resizes it as the next order says.
fn picture(file: &File, max_pixels: u64, socket: &mut UnixStream, out: &Out) -> io::Result<()> {
    let picture = match still::decode(file, max_pixels) {
        Ok(picture) => picture,
        Err(error) => return send(out, &Reply::Error(error), &[]),
    };
    send(out, &Reply::Picture { width: picture.width, height: picture.height }, &[])?;
    let Some(Order { task: WorkerTask::Resize { width, height }, .. }) = wire::read_next_order(socket)?
    else {
        return Ok(());
    };
    start_threads()?;
    match resize(&picture, width, height) {
        Ok(resized) => send(out, &Reply::Pixels, &resized.rgb),
        Err(error) => send(out, &Reply::Error(error), &[]),
    }
}

fn lock(out: &Out) -> MutexGuard<'_, BufWriter<UnixStream>> {
    out.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(out: &Out, reply: &Reply, body: &[u8]) -> io::Result<()> {
    let mut out = lock(out);
    wire::write(&mut *out, reply, body)?;
    out.flush()
}

/// Reports progress to the parent every `beat`, and ends the process when the parent has exited or closed the socket.
fn watch(socket: UnixStream, out: Arc<Out>, beat: Duration) -> io::Result<()> {
    let beat = Timespec::try_from(beat).map_err(io::Error::other)?;
    let watch = move || {
        let mut told = 0;
        loop {
            match poll(&mut [PollFd::new(&socket, PollFlags::RDHUP)], Some(&beat)) {
                Ok(0) => {}
                Err(error) if error == rustix::io::Errno::INTR => continue,
                _ => process::exit(1),
            }
            let steps = heartbeat::steps();
            // Another message is being sent, which is sign of life enough.
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

fn answer(file: File, order: Order, out: &Arc<Out>) -> io::Result<()> {
    let bounds = Bounds { max_pixels: order.max_pixels, max_packets: order.max_packets };
    let done = match order.task {
        WorkerTask::Probe => scan::scan(file, bounds).map(|mut probe| {
            let times = std::mem::take(&mut probe.index.frame_times);
            let body = times.iter().flat_map(|time| time.to_le_bytes()).collect();
            (Reply::Probe(Box::new(probe)), body)
        }),
        WorkerTask::Poster { max_width } => {
            let made = poster::poster(file, max_width, bounds);
            made.map(|made| {
                // As below.
                let _ = send(out, &Reply::Card, &made.card);
                (Reply::Poster, made.full)
            })
        }
        WorkerTask::Picture { .. } | WorkerTask::Resize { .. } => {
            Err(VideoError::BadRequest { message: "a picture is resized after it was decoded".into() })
        }
        WorkerTask::Sprites => sprites::sprites(&file, bounds, |jpeg, done, total| {
            // When the parent is gone, the watcher ends the process.
            send(out, &Reply::Sheet { done, total }, &jpeg).is_ok()
        })
        .map(|layout| (Reply::Sprites(layout), Vec::new())),
        WorkerTask::Cut(order) => {
            let pieces = Arc::clone(out);
            let put = move |offset, bytes: &[u8]| send(&pieces, &Reply::Piece { offset }, bytes);
            rendition::cut(&file, &order, put).map(|made| (Reply::Rendition(made), Vec::new()))
        }
        WorkerTask::Rendition { span } => {
            let pieces = Arc::clone(out);
            let put = move |offset, bytes: &[u8]| send(&pieces, &Reply::Piece { offset }, bytes);
            let mut last = Instant::now();
            rendition::rendition(&file, bounds, span, put, |done, total| {
                if last.elapsed() >= PERIOD || done == total {
                    last = Instant::now();
                    // As above.
                    let _ = send(out, &Reply::Encoded { done, total }, &[]);
                }
            })
            .map(|made| (Reply::Rendition(made), Vec::new()))
        }
        WorkerTask::Samples { of, from_s } => speech::samples(&file, bounds, of, from_s, |block| {
            let bytes: Vec<u8> = block.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            send(out, &Reply::Samples, &bytes).is_ok()
        })
        .map(|()| (Reply::SamplesEnd, Vec::new())),
        WorkerTask::Decode(request) => {
            let clock = request.clock;
            let mut sent = Ok(());
            let report = decode::decode(&file, &request, bounds.max_pixels, |target, ticks, rgb| {
                sent = send(out, &Reply::Frame { index: target.index, pts_s: clock.seconds(ticks) }, &rgb);
                sent.is_ok()
            });
            sent?;
            report.map(|report| {
                let end = FramesEnd {
                    warnings: report.warnings,
                    replaced: report.replaced,
                    chip: report.chip,
                    peak_memory: 0,
                };
                (Reply::End(end), Vec::new())
            })
        }
    };
    let (reply, body) = done.unwrap_or_else(|error: VideoError| (Reply::Error(error), Vec::new()));
    send(out, &reply, &body)
}
