//! The child's side: one file, one order, then the end.
//!
//! Descriptor 0 is the file, descriptor 1 a socket over which the order comes and the replies go,
//! descriptor 2 the parent's log. The worker opens nothing, limits itself before it looks at the file, and
//! is gone as soon as the parent hangs up.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::{self, ExitCode},
    thread,
};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    VideoError, decode, ffmpeg, poster,
    scan::{self, Bounds},
    wire::{self, Job, Order, Reply},
};

/// Runs the worker: what `homereel video-worker` calls, before any thread or runtime is started.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell if even the log is closed.
            let _ = writeln!(io::stderr(), "video worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut socket = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    let order: Order = wire::read_order(&mut socket)?;
    restrict(&order)?;
    leave_with(socket.try_clone()?)?;
    ffmpeg::init(usize::try_from(order.memory).unwrap_or(usize::MAX)).map_err(io::Error::other)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("standard input is not a regular file"));
    }
    let mut out = BufWriter::with_capacity(1 << 16, socket);
    answer(file, order, &mut out)?;
    out.flush()
}

/// Limits memory, processor time and descriptors; forbids writing files and dumping core.
fn restrict(order: &Order) -> io::Result<()> {
    // Reserved but unwritten address space (thread stacks, allocator arenas) is not memory used.
    let space = order.memory.saturating_add(8 << 30);
    let limits = [
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, 32),
        (Resource::Cpu, order.cpu_s),
        (Resource::Data, order.memory),
        (Resource::As, space),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

/// Ends the process when the other end of `socket` is closed: the parent has died or does not care any more.
fn leave_with(mut socket: UnixStream) -> io::Result<()> {
    let watch = move || {
        // The parent sends nothing after its order, so this read returns when it hangs up.
        let _ = socket.read(&mut [0u8; 1]);
        process::exit(1);
    };
    thread::Builder::new().name("hang-up".into()).stack_size(64 << 10).spawn(watch)?;
    Ok(())
}

fn answer(file: File, order: Order, out: &mut (impl Write + Send)) -> io::Result<()> {
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
                let frame = Reply::Frame { index: target.index, pts_s: clock.seconds(ticks) };
                sent = wire::write(out, &frame, &rgb).and_then(|()| out.flush());
                sent.is_ok()
            });
            sent?;
            report.map(|end| (Reply::End { warnings: end.warnings, replaced: end.replaced }, Vec::new()))
        }
    };
    let (reply, body) = done.unwrap_or_else(|error: VideoError| (Reply::Error(error), Vec::new()));
    wire::write(out, &reply, &body)
}
