//! Workers taken over by a hostile video: the sandbox stops each deed, the error names it, and the next video works. Without
//! the sandbox the same deeds succeed.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use homereel_video::{Limits, Probe, Sandbox, VideoError, VideoErrorKind, Worker, probe, sandbox};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clips::{Clips, quarters, worker, worker_as},
    misbehaviour::{eventually, process, processes},
};

/// A hostile video and an honest one.
struct Videos {
    clips: Clips,
    evil: PathBuf,
    honest: PathBuf,
}

fn videos() -> Videos {
    let clips = Clips::new();
    let honest = clips.draw("clip.mp4", &quarters(64, 64, 10, 1.0), "-c:v libx264");
    let evil = clips.write("evil.mp4", &[fs::read(&honest).unwrap().as_slice(), b"EVIL"].concat());
    Videos { clips, evil, honest }
}

async fn look(worker: &Worker, path: &Path) -> Result<Probe, VideoError> {
    probe(worker, File::open(path).unwrap(), &CancellationToken::new()).await
}

/// Shows the hostile video to a sandboxed worker, then the honest one to the same client. Returns the error.
async fn sandboxed(videos: &Videos, deed: &[&str], limits: Limits) -> VideoError {
    let worker = worker_as(&[&["sandboxed"], deed].concat()).with_limits(limits).with_concurrency(1);
    let error = look(&worker, &videos.evil).await.unwrap_err();
    assert_eq!(look(&worker, &videos.honest).await.unwrap().video.frame_count, 10, "after {deed:?}");
    error
}

/// Shows the hostile video to a worker without a sandbox.
async fn free(videos: &Videos, deed: &[&str]) -> Result<Probe, VideoError> {
    look(&worker_as(&[&["free"], deed].concat()), &videos.evil).await
}

/// Sees that the deed works without the sandbox, and ends with `stderr_tail` in it.
async fn stopped(videos: &Videos, deed: &[&str], stderr_tail: &str) {
    assert_eq!(
        free(videos, deed).await.unwrap().video.frame_count,
        10,
        "{deed:?} fails without the sandbox too"
    );
    let error = sandboxed(videos, deed, Limits::default()).await;
    assert_eq!(error.to_string(), format!("the video worker failed: {stderr_tail}"), "{deed:?}");
    assert_eq!(error.kind(), VideoErrorKind::Failed);
}

const FORBIDDEN: &str = "it was killed for a forbidden system call";
const DENIED: &str = "it exited with status 1; its last words: video worker: Permission denied (os error 13)";

#[tokio::test]
async fn writing_to_disk_is_denied() {
    let videos = videos();
    let (stolen, never) = (videos.clips.path("stolen"), videos.clips.path("never"));
    free(&videos, &["write", stolen.to_str().unwrap()]).await.unwrap();
    assert!(stolen.exists());
    let error = sandboxed(&videos, &["write", never.to_str().unwrap()], Limits::default()).await;
    assert_eq!(error.to_string(), format!("the video worker failed: {DENIED}"));
    assert!(!never.exists());
}

#[tokio::test]
async fn reading_another_file_is_denied() {
    let videos = videos();
    stopped(&videos, &["read", videos.honest.to_str().unwrap()], DENIED).await;
}

#[tokio::test]
async fn opening_a_socket_is_fatal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    stopped(&videos(), &["connect", &address], FORBIDDEN).await;
}

#[tokio::test]
async fn starting_a_program_is_fatal() {
    stopped(&videos(), &["spawn"], FORBIDDEN).await;
}

#[tokio::test]
async fn starting_a_process_is_fatal() {
    stopped(&videos(), &["fork"], FORBIDDEN).await;
}

#[tokio::test]
async fn a_signal_to_another_process_is_fatal() {
    stopped(&videos(), &["signal"], FORBIDDEN).await;
}

#[tokio::test]
async fn allocating_without_end_ends_at_the_limit() {
    let videos = videos();
    free(&videos, &["grow"]).await.unwrap();
    let error = sandboxed(&videos, &["grow"], Limits { memory: 256 << 20, ..Limits::default() }).await;
    let expected = "the video worker failed: it was killed by signal 6; its last words: memory allocation of \
                    16777216 bytes failed";
    assert!(error.to_string().starts_with(expected), "{error}");
    // It is the limit that does it.
    let worker =
        worker_as(&["sandboxed", "grow"]).with_limits(Limits { memory: 1 << 30, ..Limits::default() });
    look(&worker, &videos.evil).await.unwrap();
}

#[tokio::test]
async fn a_crash_is_an_error_of_its_video() {
    let error = sandboxed(&videos(), &["segfault"], Limits::default()).await;
    assert_eq!(error.to_string(), "the video worker failed: it crashed (signal 11)");
}

#[tokio::test]
async fn a_worker_that_spins_is_stuck_and_one_that_is_slow_is_not() {
    let videos = videos();
    let limits = Limits { stall: Duration::from_secs(2), ..Limits::default() };
    let error = sandboxed(&videos, &["spin"], limits).await;
    assert_eq!(error, VideoError::Stalled { limit_s: 2 });
    assert_eq!(error.kind(), VideoErrorKind::TimedOut);
    // Four seconds, with a sign of life from time to time.
    let slow = worker_as(&["sandboxed", "dawdle"]).with_limits(limits);
    let began = Instant::now();
    look(&slow, &videos.evil).await.unwrap();
    assert!(began.elapsed() > limits.stall, "it was too fast to show anything");
    // What it costs the worker to spin without a watchdog: the whole of its processor time.
    let patient = Limits { cpu: Duration::from_secs(1), ..Limits::default() };
    let error = sandboxed(&videos, &["spin"], patient).await;
    assert!(
        error.to_string().ends_with("signal 9") || error.to_string().ends_with("processor time"),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_of_the_environment_gets_in() {
    let error = sandboxed(&videos(), &["environment"], Limits::default()).await;
    assert!(error.to_string().ends_with("its last words: video worker: no variables"), "{error}");
}

#[tokio::test]
async fn descriptors_that_the_parent_leaks_are_closed() {
    // Unlike `try_clone`, this lets children have it.
    let leak = rustix::io::dup(File::open("/dev/null").unwrap()).unwrap();
    let error = sandboxed(&videos(), &["descriptor", &leak.as_raw_fd().to_string()], Limits::default()).await;
    assert!(error.to_string().ends_with("Bad file descriptor (os error 9)"), "{error}");
    // The log is open, so it is not the look that fails.
    look(&worker_as(&["sandboxed", "descriptor", "2"]), &videos().evil).await.unwrap();
}

#[tokio::test]
async fn a_worker_says_what_holds_it() {
    let cancel = CancellationToken::new();
    let held = sandbox(&worker(), &cancel).await.unwrap();
    assert!(held.seccomp && held.no_new_privs && held.no_capabilities && held.descriptors_closed, "{held:?}");
    assert_eq!(held.missing().is_empty(), held.landlock_abi.is_some());
    assert_eq!(sandbox(&worker_as(&["free", "nothing"]), &cancel).await, Ok(Sandbox::default()));
}

#[tokio::test]
async fn what_a_worker_says_is_what_the_kernel_says() {
    let videos = videos();
    let cancel = CancellationToken::new();
    let worker = worker_as(&["sandboxed", "spin", "looked-at-from-outside"]);
    let call = tokio::spawn({
        let (cancel, file) = (cancel.clone(), File::open(&videos.evil).unwrap());
        async move { probe(&worker, file, &cancel).await }
    });
    let status = || {
        let pid = process("looked-at-from-outside")?.as_raw_nonzero();
        fs::read_to_string(format!("/proc/{pid}/status")).ok()
    };
    let filters =
        |status: &str| status.contains("\nSeccomp:\t2\n") && status.contains("\nSeccomp_filters:\t3\n");
    assert!(eventually(|| status().is_some_and(|status| filters(&status))).await, "{:?}", status());
    let status = status().unwrap();
    assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status.contains(&format!("\n{set}:\t0000000000000000\n")), "{set}: {status}");
    }
    // Sockets, the log's pipe, `/dev/null` and the video, but no other file and nothing of `/proc`.
    let pid = process("looked-at-from-outside").unwrap().as_raw_nonzero();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: Vec<_> = open.map(|entry| fs::read_link(entry.unwrap().path()).unwrap()).collect();
    let files: Vec<_> = open.iter().filter(|path| path.is_absolute()).collect();
    assert!(open.len() > files.len() && files.len() <= 3, "{open:?}");
    assert!(files.iter().all(|path| **path == videos.evil || path.starts_with("/dev")), "{open:?}");
    // Only a process with this capability can empty that set.
    let ours = rustix::thread::capabilities(None).unwrap();
    if ours.effective.contains(rustix::thread::CapabilitySet::SETPCAP) {
        assert!(status.contains("\nCapBnd:\t0000000000000000\n"), "{status}");
    }
    cancel.cancel();
    assert_eq!(call.await.unwrap(), Err(VideoError::Cancelled));
    assert_eq!(process("looked-at-from-outside"), None);
}

#[tokio::test]
async fn codecs_that_no_family_has_are_refused_before_they_see_a_byte() {
    let clips = Clips::new();
    for codec in ["magicyuv", "snow", "asv1"] {
        let name = format!("{codec}.avi");
        let path = clips.draw(&name, "testsrc2=s=64x64:r=10:d=0.5", &format!("-c:v {codec}"));
        let error = look(&worker(), &path).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read this kind of video yet: no decoder for {codec}"));
    }
}

#[tokio::test]
async fn a_spare_worker_waits_for_the_next_call_and_leaves_with_its_client() {
    let videos = videos();
    let worker = worker_as(&["honest", "waits-for-a-video"]).with_spare();
    // Waits until one worker other than `used` is left. A worker that has finished may take a moment to exit, and a new one
    // may have no arguments yet when `spawn` returns, so a look at the processes may show the finished one alone.
    let spare = async |used: Option<Pid>| {
        let mut left = Vec::new();
        let replaced = eventually(|| {
            left = processes("waits-for-a-video");
            left.len() == 1 && left.first().copied() != used
        });
        assert!(replaced.await, "{left:?}; used: {used:?}");
        left[0]
    };
    assert_eq!(process("waits-for-a-video"), None);
    look(&worker, &videos.honest).await.unwrap();
    let first = spare(None).await;
    look(&worker, &videos.honest).await.unwrap();
    let second = spare(Some(first)).await;
    // One that has died meanwhile is replaced.
    assert!(matches!(kill_process(second, Signal::KILL), Ok(()) | Err(Errno::SRCH)));
    // Its arguments are gone a moment before it is dead: only then can its parent know.
    let stat = || fs::read_to_string(format!("/proc/{}/stat", second.as_raw_nonzero()));
    assert!(eventually(|| stat().map_or(true, |stat| stat.contains(") Z "))).await);
    look(&worker, &videos.honest).await.unwrap();
    spare(Some(second)).await;
    drop(worker);
    assert!(eventually(|| process("waits-for-a-video").is_none()).await);
}
