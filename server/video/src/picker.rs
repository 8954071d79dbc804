//! Assigns decoded pictures to the requested times: the exact one, or the nearest that exists.
//!
//! A picture that the decoder reports as damaged gives way to an intact one within a second. Beyond that it is shown, because
//! a blemished picture of the right moment says more than an intact one of another; some files have no intact picture at all.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc::SyncSender},
};

use ffmpeg_next::frame;

use crate::Target;

/// A picture for a target.
pub(crate) struct Pick {
    pub(crate) target: Target,
    pub(crate) ticks: i64,
    pub(crate) picture: Arc<frame::Video>,
}

/// Targets that wait for an intact picture at the same time, each of which holds a damaged one in memory.
const MAX_WAITING: usize = 8;

/// A picture and its time in ticks.
type Timed = (Arc<frame::Video>, i64);

/// The targets in temporal order, and the state of the search.
pub(crate) struct Picker<'a> {
    targets: &'a [Target],
    next: usize,
    /// Number of targets whose packets were decoded.
    fed: Vec<bool>,
    /// The last intact picture.
    previous: Option<Timed>,
    /// The last damaged picture.
    damaged: Option<Timed>,
    /// The nearest damaged picture of each target from `next` on that a damaged picture has passed.
    waiting: VecDeque<Timed>,
    slack: i64,
    /// Ticks within which an intact picture is preferred to a damaged one.
    reach: i64,
    sender: SyncSender<Pick>,
    /// Number of targets that got their own picture.
    found: usize,
}

impl<'a> Picker<'a> {
    /// Sends pictures for `targets` to `sender`; a picture within `slack` ticks of a target is its own. `second` is the number
    /// of ticks of a second.
    pub(crate) fn new(targets: &'a [Target], slack: i64, second: i64, sender: SyncSender<Pick>) -> Self {
        let (previous, damaged, waiting) = (None, None, VecDeque::new());
        let fed = vec![false; targets.len()];
        Self { targets, next: 0, fed, previous, damaged, waiting, slack, reach: second, sender, found: 0 }
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
        (self.previous, self.damaged) = (None, None);
        self.waiting.clear();
    }

    /// Discards the decoding state as well: the decoder starts again.
    pub(crate) fn restart(&mut self) {
        self.forget();
        self.fed.fill(false);
    }

    /// Adds a picture; they arrive in presentation order.
    pub(crate) fn offer(&mut self, picture: Arc<frame::Video>, ticks: i64, damaged: bool) {
        if damaged {
            return self.offer_damaged((picture, ticks));
        }
        let offered = (picture, ticks);
        while self.target().is_some_and(|target| target.ticks <= ticks) {
            self.serve(Some(&offered));
        }
        self.previous = Some(offered);
    }

    fn offer_damaged(&mut self, offered: Timed) {
        while let Some(target) = self.targets.get(self.next + self.waiting.len())
            && target.ticks <= offered.1
        {
            let nearest = nearer(target.ticks, self.damaged.as_ref(), Some(&offered)).cloned();
            self.waiting.extend(nearest);
            if self.waiting.len() > MAX_WAITING {
                self.serve(None);
            }
        }
        while let Some(target) = self.target().filter(|_| !self.waiting.is_empty())
            && target.ticks.saturating_add(self.reach) < offered.1
        {
            self.serve(None);
        }
        self.damaged = Some(offered);
    }

    /// Serves the remaining targets with the last pictures. Returns how many got a substitute; `None` means that there is no
    /// picture.
    pub(crate) fn flush(&mut self) -> Option<u64> {
        if !self.done() && self.previous.is_none() && self.damaged.is_none() {
            return None;
        }
        while !self.done() {
            self.serve(None);
        }
        Some((self.targets.len() - self.found) as u64)
    }

    /// Sends the next target the best of the picture before it, the `following` intact one, and the damaged ones.
    fn serve(&mut self, following: Option<&Timed>) {
        let Some(&target) = self.targets.get(self.next) else { return };
        let waiting = self.waiting.pop_front();
        let intact = nearer(target.ticks, self.previous.as_ref(), following);
        let damaged = waiting.as_ref().or(self.damaged.as_ref());
        let chosen = match intact {
            Some((_, ticks)) if ticks.abs_diff(target.ticks) <= self.reach.unsigned_abs() => intact,
            _ => nearer(target.ticks, damaged, intact),
        };
        match chosen.cloned() {
            Some((picture, ticks)) => self.send(target, picture, ticks),
            None => self.next += 1,
        }
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

/// Returns the picture that is nearer to `ticks`; `before` if both are as near.
fn nearer<'t>(ticks: i64, before: Option<&'t Timed>, after: Option<&'t Timed>) -> Option<&'t Timed> {
    match (before, after) {
        (Some(one), Some(other)) if other.1.abs_diff(ticks) < one.1.abs_diff(ticks) => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    /// Offers pictures of these times, damaged if marked so, to targets; returns the time of each target's picture.
    fn picked(targets: &[i64], pictures: &[(i64, bool)]) -> Option<Vec<i64>> {
        let targets: Vec<Target> =
            targets.iter().enumerate().map(|(i, &ticks)| Target { index: i as u64, ticks }).collect();
        let (sender, receiver): (_, Receiver<Pick>) = sync_channel(targets.len() + 1);
        let mut picker = Picker::new(&targets, 1, 100, sender);
        for &(ticks, damaged) in pictures {
            picker.offer(Arc::new(frame::Video::empty()), ticks, damaged);
        }
        picker.flush()?;
        drop(picker);
        Some(receiver.iter().map(|pick| pick.ticks).collect())
    }

    const INTACT: bool = false;
    const DAMAGED: bool = true;

    #[test]
    fn a_target_gets_the_nearest_picture() {
        let pictures = [(0, INTACT), (40, INTACT), (80, INTACT)];
        assert_eq!(picked(&[0, 19, 21, 40, 40, 75, 200], &pictures), Some(vec![0, 0, 40, 40, 40, 80, 80]));
        assert_eq!(picked(&[0], &[]), None);
    }

    #[test]
    fn an_intact_picture_is_preferred_within_a_second() {
        let pictures = [(0, INTACT), (40, DAMAGED), (80, DAMAGED), (120, INTACT)];
        assert_eq!(picked(&[0, 40, 80, 120], &pictures), Some(vec![0, 0, 120, 120]));
    }

    #[test]
    fn beyond_a_second_the_damaged_picture_is_shown() {
        let mut pictures: Vec<(i64, bool)> = (1..20).map(|i| (i * 40, DAMAGED)).collect();
        assert_eq!(picked(&[0, 200, 400, 760, 900], &pictures), Some(vec![40, 200, 400, 760, 760]));
        pictures.insert(0, (0, INTACT));
        pictures.push((800, INTACT));
        let targets = [0, 40, 80, 120, 200, 400, 680, 720, 760, 800];
        assert_eq!(picked(&targets, &pictures), Some(vec![0, 0, 0, 120, 200, 400, 680, 800, 800, 800]));
    }

    #[test]
    fn targets_that_wait_are_bounded() {
        let pictures: Vec<(i64, bool)> = (0..90).map(|i| (i, DAMAGED)).chain([(90, INTACT)]).collect();
        let targets: Vec<i64> = (0..90).collect();
        let found = picked(&targets, &pictures).unwrap();
        let waiting = found.iter().filter(|ticks| **ticks == 90).count();
        assert_eq!((found.len(), waiting, found[0]), (90, MAX_WAITING, 0));
    }
}
