//! Workers that crash, hang or send invalid replies, and callers that stop reading: each is an error of that call only.

use std::{
    fs::{self, File},
    time::{Duration, Instant},
};

use homereel_video::{DecodeRequest, Limits, Plan, VideoError, VideoErrorKind, decode, probe};
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

use crate::clips::{self, Clips, quarters, worker_as};

/// Finds the workers that have `mark` among their arguments. The template, their parent, has the same arguments.
pub(crate) fn processes(mark: &str) -> Vec<Pid> {
    named(b"video-worker\n", mark)
}

/// Finds the processes of this name that have `mark` among their arguments.
fn named(name: &[u8], mark: &str) -> Vec<Pid> {
    let ids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    ids.filter_map(|id| {
        let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let found = line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes());
        let same = fs::read(format!("/proc/{id}/comm")).ok()? == name;
        if found && same { Pid::from_raw(id) } else { None }
    })
    .collect()
}

/// Finds the process that has `mark` among its arguments.
pub(crate) fn process(mark: &str) -> Option<Pid> {
    processes(mark).first().copied()
}

/// For what has to happen at some time, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` holds; false if it does not for [`PATIENCE`].
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if condition() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

fn clip() -> (Clips, File) {
    let clips = Clips::new();
    let path = clips.draw("clip.mp4", &quarters(64, 64, 10, 1.0), "-c:v libx264");
    (clips, File::open(path).unwrap())
}

#[tokio::test]
async fn a_template_that_dies_takes_its_workers_with_it_and_is_replaced() {
    let (_clips, file) = clip();
    let (mark, cancel) = ("template-dies", CancellationToken::new());
    let worker = worker_as(&["honest", mark]).with_spare();
    probe(&worker, file.try_clone().unwrap(), &cancel).await.unwrap();
    assert!(eventually(|| processes(mark).len() == 1).await, "a spare worker waits");
    let template = named(b"video-template\n", mark);
    assert_eq!(template.len(), 1);
    kill_process(template[0], Signal::KILL).unwrap();
    assert!(eventually(|| processes(mark).is_empty()).await, "{:?}", processes(mark));
    probe(&worker, file, &cancel).await.unwrap();
    let next = named(b"video-template\n", mark);
    assert!(next.len() == 1 && next != template, "{next:?}");
}

#[tokio::test]
async fn a_template_that_dies_before_it_starts_a_worker_fails_no_call() {
    let (_clips, file) = clip();
    let (mark, cancel) = ("template-dies-early", CancellationToken::new());
    let worker = worker_as(&["honest", mark]);
    probe(&worker, file.try_clone().unwrap(), &cancel).await.unwrap();
    let template = named(b"video-template\n", mark)[0];
    // It holds the request of the next call and never serves it.
    kill_process(template, Signal::STOP).unwrap();
    let (probed, ()) =
        tokio::join!(probe(&worker, file, &cancel), async { kill_process(template, Signal::KILL).unwrap() });
    probed.unwrap();
}

#[tokio::test]
async fn a_worker_that_crashes_is_an_error_with_its_last_words() {
    let (_clips, file) = clip();
    let error = probe(&worker_as(&["crash"]), file, &CancellationToken::new()).await.unwrap_err();
    let expected = "the video worker failed: it was killed by signal 6; its last words: about to crash";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.kind(), VideoErrorKind::Failed);
}

#[tokio::test]
async fn a_worker_that_ends_without_an_answer_is_an_error() {
    let (_clips, file) = clip();
    let error = probe(&worker_as(&["silent"]), file, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "the video worker failed: it ended before its answer");
}

#[tokio::test]
async fn a_worker_that_lies_is_not_believed() {
    let (_clips, file) = clip();
    for lie in ["lie", "flood"] {
        let copy = file.try_clone().unwrap();
        let error = probe(&worker_as(&[lie]), copy, &CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().contains("it answered nonsense: a message of"), "{error}");
    }
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed_at_its_deadline() {
    let (_clips, file) = clip();
    let limits = Limits { deadline: Duration::from_millis(300), ..Limits::default() };
    let worker = worker_as(&["hang", "hangs-until-deadline"]).with_limits(limits);
    let error = probe(&worker, file, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), VideoErrorKind::TimedOut);
    assert_eq!(process("hangs-until-deadline"), None);
}

#[tokio::test]
async fn cancelling_kills_the_worker_at_once() {
    let (_clips, file) = clip();
    let cancel = CancellationToken::new();
    let worker = worker_as(&["hang", "hangs-until-cancelled"]);
    let call = tokio::spawn({
        let cancel = cancel.clone();
        async move { probe(&worker, file, &cancel).await }
    });
    assert!(eventually(|| process("hangs-until-cancelled").is_some()).await);
    cancel.cancel();
    // The worker itself would hang until its deadline, which is another error.
    assert_eq!(call.await.unwrap(), Err(VideoError::Cancelled));
    assert_eq!(process("hangs-until-cancelled"), None);
}

#[tokio::test]
async fn a_reader_that_leaves_ends_its_worker() {
    let clips = Clips::new();
    let path = clips.draw("long.mp4", "testsrc2=s=320x240:r=25:d=8", "-c:v libx264 -preset ultrafast");
    let found = clips::probe(&path).await.unwrap();
    let all = Plan { indices: (0..200).collect(), times: Vec::new() };
    let request = DecodeRequest::new(&found, &all, 320, 240);
    let worker = worker_as(&["honest", "left-alone"]);
    let mut stream =
        decode(&worker, File::open(&path).unwrap(), request, &CancellationToken::new()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().index, 0);
    assert!(process("left-alone").is_some());
    drop(stream);
    assert!(eventually(|| process("left-alone").is_none()).await);
}

#[tokio::test]
async fn a_worker_that_is_killed_in_mid_stream_is_an_error_and_the_next_one_works() {
    let clips = Clips::new();
    let path = clips.draw("long.mp4", "testsrc2=s=320x240:r=25:d=8", "-c:v libx264 -preset ultrafast");
    let found = clips::probe(&path).await.unwrap();
    let all = Plan { indices: (0..200).collect(), times: Vec::new() };
    let request = DecodeRequest::new(&found, &all, 320, 240);
    let worker = worker_as(&["honest", "shot-in-mid-stream"]);
    let cancel = CancellationToken::new();
    let mut stream = decode(&worker, File::open(&path).unwrap(), request.clone(), &cancel).await.unwrap();
    assert!(stream.next().await.unwrap().is_some());
    kill_process(process("shot-in-mid-stream").unwrap(), Signal::KILL).unwrap();
    let error = loop {
        match stream.next().await {
            Ok(frame) => assert!(frame.is_some(), "the stream ended as if all were well"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "the video worker failed: it was killed by signal 9");
    assert_eq!(clips::collect(&path, request).await.unwrap().0.len(), 200);
}

#[tokio::test]
async fn workers_wait_for_their_turn() {
    let (_clips, file) = clip();
    let worker = worker_as(&["hang", "holds-the-slot"]).with_concurrency(1);
    let cancel = CancellationToken::new();
    let first = tokio::spawn({
        let (worker, file, cancel) = (worker.clone(), file.try_clone().unwrap(), cancel.clone());
        async move { probe(&worker, file, &cancel).await }
    });
    assert!(eventually(|| process("holds-the-slot").is_some()).await);
    let second = CancellationToken::new();
    let waiting = probe(&worker, file, &second);
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err(), "it did not wait");
    cancel.cancel();
    assert_eq!(first.await.unwrap(), Err(VideoError::Cancelled));
}
