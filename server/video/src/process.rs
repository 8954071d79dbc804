//! A worker process as its client sees it: its id, its end, and how to kill it. The template process is its parent.

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus};

use tokio::net::UnixStream;

/// Bytes of the process id, and of the wait status.
const WORD: usize = size_of::<i32>();

/// A worker process. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    /// The status socket: see [`crate::template`].
    status: UnixStream,
    received: Vec<u8>,
    closed: bool,
}

impl WorkerProcess {
    pub(crate) fn new(status: std::os::unix::net::UnixStream) -> io::Result<Self> {
        status.set_nonblocking(true)?;
        Ok(Self { status: UnixStream::from_std(status)?, received: Vec::new(), closed: false })
    }

    /// Returns the process id; `None` if the template has not sent it yet.
    pub(crate) fn id(&mut self) -> Option<i32> {
        self.read();
        self.word(0)
    }

    /// Returns whether its end was reported.
    fn has_ended(&mut self) -> bool {
        self.read();
        self.closed || self.word(WORD).is_some()
    }

    /// Waits until the process has ended. `None` means that its status is not known, because the template has ended as well.
    pub(crate) async fn wait(&mut self) -> Option<ExitStatus> {
        while !self.has_ended() {
            if self.status.readable().await.is_err() {
                self.closed = true;
            }
        }
        self.word(WORD).map(ExitStatus::from_raw)
    }

    /// Returns whether it has ended with its template, so that nobody has its status.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.closed && self.word(WORD).is_none()
    }

    /// Kills the process and waits for its end.
    pub(crate) async fn kill(&mut self) {
        // Fails only if the template has ended, and the process with it.
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut self.status).await;
        self.wait().await;
    }

    fn word(&self, at: usize) -> Option<i32> {
        self.received.get(at..at + WORD)?.try_into().ok().map(i32::from_le_bytes)
    }

    /// Reads what has arrived.
    fn read(&mut self) {
        let mut bytes = [0; 2 * WORD];
        while !self.closed {
            match self.status.try_read(&mut bytes) {
                Ok(0) => self.closed = true,
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.closed = true,
            }
        }
    }
}
