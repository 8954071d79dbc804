//! The template process: starts workers by forking itself.
//!
//! A worker links more than a hundred libraries of ffmpeg's, so that starting the program takes 50 ms of processor time. The
//! template pays that once. It never sees a file, and each worker enters its sandbox after the fork.
//!
//! The control socket, the template's stdin, is a socket for packets. Each packet carries three descriptors of one worker: its
//! socket, its stderr, and its status socket. To the status socket the template writes the process id, and at the end the wait
//! status. When the other side closes or shuts down the status socket, the template kills the worker. When the control socket
//! is closed, the template exits, and the kernel kills its workers.
#![expect(unsafe_code, reason = "fork has no safe wrapper: a process with several threads must not call it")]

use std::{
    fs,
    io::{self, IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketType, recvmsg, sendmsg, sockopt,
    },
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, kill_process, pidfd_open, pidfd_send_signal,
        set_parent_process_death_signal, waitpid,
    },
    stdio::{dup2_stderr, dup2_stdin},
    thread::set_name,
};

/// Descriptors that come with a request.
const DESCRIPTORS: usize = 3;

/// What the calling process is after [`serve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// A worker: its stdin is a worker's socket.
    Worker,
    /// The template, which is no longer needed and should exit.
    Template,
}

/// A worker that this template has started.
struct Forked {
    pid: Pid,
    pidfd: OwnedFd,
    status: UnixStream,
    /// It was killed, but has not ended.
    killed: bool,
}

/// Forks workers if stdin is the control socket of a template; otherwise, and in each worker, returns [`Served::Worker`].
///
/// # Errors
/// When the process has several threads, or a system call fails.
pub fn serve() -> io::Result<Served> {
    let stdin = io::stdin();
    if sockopt::socket_type(stdin.as_fd()) != Ok(SocketType::SEQPACKET) {
        return Ok(Served::Worker);
    }
    let control = stdin.as_fd().try_clone_to_owned()?;
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the template has several threads, so it cannot fork"));
    }
    set_name(c"video-template")?;
    let mut workers: Vec<Forked> = Vec::new();
    loop {
        let asked = wait(&control, &mut workers)?;
        if !asked {
            continue;
        }
        let Some(descriptors) = receive(&control)? else { return Ok(Served::Template) };
        // Some are missing if this process may open no more. The other side sees that its sockets are closed.
        let Ok([socket, stderr, status]) = <[OwnedFd; DESCRIPTORS]>::try_from(descriptors) else { continue };
        let template = getpid();
        // SAFETY: this process has one thread, so no lock is held by another one at the moment of the fork.
        match unsafe { libc::fork() } {
            // The other side sees that the status socket is closed.
            -1 => {}
            0 => {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                if getppid() != Some(template) {
                    process::exit(1);
                }
                set_name(c"video-worker")?;
                dup2_stdin(&socket)?;
                dup2_stderr(&stderr)?;
                return Ok(Served::Worker);
            }
            pid => {
                let Some(pid) = Pid::from_raw(pid) else { continue };
                let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
                    // Other workers go on, so only this one ends.
                    kill_process(pid, Signal::KILL)?;
                    waitpid(Some(pid), WaitOptions::empty())?;
                    continue;
                };
                let mut status = UnixStream::from(status);
                // If nobody reads it, the next poll reports that, and the worker is killed.
                let _ = status.write_all(&pid.as_raw_nonzero().get().to_le_bytes());
                workers.push(Forked { pid, pidfd, status, killed: false });
            }
        }
    }
}

/// Waits for a request, for the end of a worker or for the wish to kill one; returns whether there is a request.
fn wait(control: &OwnedFd, workers: &mut Vec<Forked>) -> io::Result<bool> {
    // The control socket, the workers, their status sockets.
    let mut polled = vec![PollFd::new(control, PollFlags::IN)];
    polled.extend(workers.iter().map(|worker| PollFd::new(&worker.pidfd, PollFlags::IN)));
    // A closed socket would end every poll of a worker that was killed and has not ended yet.
    polled.extend(workers.iter().map(|worker| match worker.killed {
        true => PollFd::new(&worker.pidfd, PollFlags::IN),
        false => PollFd::new(&worker.status, PollFlags::RDHUP),
    }));
    match poll(&mut polled, None) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
    drop(polled);
    let (ended, unwanted) = ready[1..].split_at(workers.len());
    for (worker, _) in workers.iter_mut().zip(unwanted).filter(|(_, unwanted)| **unwanted) {
        worker.killed = true;
        // It may have ended meanwhile.
        let _ = pidfd_send_signal(&worker.pidfd, Signal::KILL);
    }
    let mut ended = ended.iter();
    let mut left = Vec::with_capacity(workers.len());
    for mut worker in workers.drain(..) {
        if ended.next() != Some(&true) {
            left.push(worker);
        } else if let Some((_, status)) = waitpid(Some(worker.pid), WaitOptions::empty())? {
            // Nobody may wait for it any more.
            let _ = worker.status.write_all(&status.as_raw().to_le_bytes());
        }
    }
    *workers = left;
    Ok(ready[0])
}

/// Receives the descriptors of a new worker; `None` if the control socket is closed.
fn receive(control: &OwnedFd) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(control, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(Some(descriptors))
}

/// Asks the template at the other end of `control` to start a worker.
pub(crate) fn request(control: &OwnedFd, descriptors: [&OwnedFd; DESCRIPTORS]) -> io::Result<()> {
    let descriptors = descriptors.map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    // The template answers within microseconds; one that does not read is treated as dead.
    sendmsg(control, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}
