//! Assigns decoded pictures to the requested times: the exact one, or the nearest that exists.

use std::sync::{Arc, mpsc::SyncSender};

use ffmpeg_next::frame;

use crate::Target;

/// A picture for a target.
pub(crate) struct Pick {
    pub(crate) target: Target,
    pub(crate) ticks: i64,
    pub(crate) picture: Arc<frame::Video>,
}

/// The targets in temporal order, and the state of the search.
pub(crate) struct Picker<'a> {
    targets: &'a [Target],
    next: usize,
    /// Number of targets whose packets were decoded.
    fed: Vec<bool>,
    previous: Option<(Arc<frame::Video>, i64)>,
    /// A damaged picture, in case there is no other.
    spare: Option<(Arc<frame::Video>, i64)>,
    slack: i64,
    sender: SyncSender<Pick>,
    /// Number of targets that got their own picture.
    found: usize,
}

impl<'a> Picker<'a> {
    /// Sends pictures for `targets` to `sender`; a picture within `slack` ticks of a target is its own.
    pub(crate) fn new(targets: &'a [Target], slack: i64, sender: SyncSender<Pick>) -> Self {
        let fed = vec![false; targets.len()];
        Self { targets, next: 0, fed, previous: None, spare: None, slack, sender, found: 0 }
    }

    /// Returns whether all targets are done, or the receiver is gone.
    pub(crate) fn done(&self) -> bool {
        self.next >= self.targets.len()
    }

    /// Number of targets done.
    pub(crate) fn served(&self) -> usize {
        self.next
    }

    /// The next target.
    pub(crate) fn target(&self) -> Option<Target> {
        self.targets.get(self.next).copied()
    }

    /// Estimates the time of a picture without PTS.
    pub(crate) fn after_previous(&self) -> i64 {
        self.previous.as_ref().map_or(0, |(_, ticks)| ticks.saturating_add(1))
    }

    /// Returns whether a target shows the picture of `ticks`.
    pub(crate) fn wants(&self, ticks: i64) -> bool {
        let after = self.targets.partition_point(|target| target.ticks < ticks.saturating_sub(self.slack));
        self.targets.get(after).is_some_and(|target| target.ticks <= ticks.saturating_add(self.slack))
    }

    /// Records that the packet of `ticks` was decoded.
    pub(crate) fn feed(&mut self, ticks: i64) {
        let from = self.targets.partition_point(|target| target.ticks < ticks);
        let same = self.targets[from..].iter().take_while(|target| target.ticks == ticks).count();
        self.fed[from..from + same].fill(true);
    }

    /// The first target whose packet was not decoded yet, and its index.
    pub(crate) fn unfed(&self) -> (usize, Option<Target>) {
        let pending = self.fed[self.next.min(self.fed.len())..].iter().take_while(|fed| **fed).count();
        let at = self.next + pending;
        (at, self.targets.get(at).copied())
    }

    /// Returns whether the next target should have had its picture before one of `ticks`.
    pub(crate) fn missed(&self, ticks: i64) -> bool {
        self.target().is_some_and(|target| target.ticks < ticks)
    }

    /// Returns whether `ticks` is too late even for a target that accepts a near picture as its own.
    pub(crate) fn lost(&self, ticks: i64) -> bool {
        self.missed(ticks.saturating_sub(self.slack))
    }

    /// Discards the pictures so far: the next one is not adjacent in time.
    pub(crate) fn forget(&mut self) {
        (self.previous, self.spare) = (None, None);
    }

    /// Discards the decoding state as well: the decoder starts again.
    pub(crate) fn restart(&mut self) {
        self.forget();
        self.fed.fill(false);
    }

    /// Adds a picture; they arrive in presentation order.
    pub(crate) fn offer(&mut self, picture: Arc<frame::Video>, ticks: i64, damaged: bool) {
        if damaged {
            self.spare.get_or_insert((picture, ticks));
            return;
        }
        while let Some(&target) = self.targets.get(self.next) {
            if ticks < target.ticks {
                break;
            }
            let late = ticks.saturating_sub(target.ticks);
            let nearer = self
                .previous
                .as_ref()
                .filter(|(_, before)| target.ticks.saturating_sub(*before) <= late && late > 0)
                .map(|(picture, before)| (Arc::clone(picture), *before));
            let (chosen, at) = nearer.unwrap_or_else(|| (Arc::clone(&picture), ticks));
            self.send(target, chosen, at);
        }
        self.previous = Some((picture, ticks));
    }

    /// Serves the remaining targets with the last picture. Returns how many got a substitute; `None` means that there is no
    /// picture.
    pub(crate) fn flush(&mut self) -> Option<u64> {
        if !self.done() {
            let (picture, ticks) = self.previous.take().or_else(|| self.spare.take())?;
            while let Some(&target) = self.targets.get(self.next) {
                self.send(target, Arc::clone(&picture), ticks);
            }
        }
        Some((self.targets.len() - self.found) as u64)
    }

    fn send(&mut self, target: Target, picture: Arc<frame::Video>, ticks: i64) {
        self.found += usize::from(target.ticks.abs_diff(ticks) <= self.slack.unsigned_abs());
        self.next += 1;
        if self.sender.send(Pick { target, ticks, picture }).is_err() {
            // The reader has left or the converter has failed.
            self.next = self.targets.len();
        }
    }
}
