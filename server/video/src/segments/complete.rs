//! Computes the PTS that containers leave out: DVDs and other program streams give times for some packets only.
//!
//! ffmpeg derives the DTS of all packets, and the PTS of B-frames, which equals their DTS. Other pictures are shown when the
//! next of their kind is decoded, so they wait for it. ffmpeg can do this as well, but knows no segments: it then reads on to
//! the end of the file, and takes a time from another recording.

use std::collections::VecDeque;

use ffmpeg_next::Packet;

/// Packets that wait at most.
const MAX_WAITING: usize = 64;

/// Pictures by which DTS may leap before the clock makes a pause there.
const PAUSE: i64 = 4;

/// The packets of one stream on their way.
#[derive(Default)]
pub(crate) struct Completer {
    /// The first one waits for its PTS; each with whether a segment begins with it.
    waiting: VecDeque<(Packet, bool)>,
    /// Latest DTS among them.
    latest: i64,
}

impl Completer {
    /// Returns whether no packet waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the next packet, whether a segment begins with it, and passes on those that are complete.
    pub(crate) fn push(&mut self, packet: Packet, begins: bool, mut pass_on: impl FnMut(Packet, bool)) {
        if self.waiting.is_empty() && packet.pts().is_some() {
            return pass_on(packet, begins);
        }
        if begins || self.waiting.len() >= MAX_WAITING {
            self.finish(&mut pass_on);
        }
        if let Some((first, _)) = self.waiting.front_mut()
            && let (Some(own), Some(dts)) = (first.dts(), packet.dts())
            && dts > own
        {
            if packet.pts() != Some(dts) {
                // Behind a pause, it is shown right after the B-frames.
                let step = first.duration().max(1);
                let after = self.latest.saturating_add(step);
                let pause = dts.saturating_sub(self.latest) > step.saturating_mul(PAUSE);
                first.set_pts(Some(if pause { after } else { dts }));
                self.waiting.drain(..).for_each(|(packet, begins)| pass_on(packet, begins));
            }
            self.latest = self.latest.max(dts);
        }
        match packet.dts() {
            // Without DTS there is nothing to compute from.
            Some(dts) if self.waiting.is_empty() && packet.pts().is_none() => {
                self.latest = dts;
                self.waiting.push_back((packet, begins));
            }
            _ if self.waiting.is_empty() => pass_on(packet, begins),
            _ => self.waiting.push_back((packet, begins)),
        }
    }

    /// Passes on all that wait: no other packet follows.
    pub(crate) fn finish(&mut self, mut pass_on: impl FnMut(Packet, bool)) {
        let mut complete = true;
        for (mut packet, begins) in self.waiting.drain(..) {
            if packet.pts().is_none() {
                // The last picture is shown after all others.
                let after = self.latest.saturating_add(packet.duration().max(1));
                packet.set_pts(Some(after).filter(|_| complete).or(packet.dts()));
                complete = false;
            }
            pass_on(packet, begins);
        }
    }

    /// Forgets all that wait.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PTS and DTS of packets that went through, `None` in place of a first packet of a segment.
    fn completed(packets: &[(Option<i64>, i64, bool)]) -> Vec<Option<i64>> {
        let mut completer = Completer::default();
        let mut out = Vec::new();
        for &(pts, dts, begins) in packets {
            let mut packet = Packet::empty();
            packet.set_pts(pts);
            packet.set_dts(Some(dts));
            packet.set_duration(40);
            completer.push(packet, begins, |packet, _| out.push(packet.pts()));
        }
        completer.finish(|packet, _| out.push(packet.pts()));
        out
    }

    #[test]
    fn pictures_without_pts_are_shown_when_the_next_of_their_kind_is_decoded() {
        let packets = [
            (Some(80), 0, false),
            (None, 40, false),
            (Some(80), 80, false),
            (Some(120), 120, false),
            (None, 160, false),
            (Some(200), 200, false),
        ];
        assert_eq!(completed(&packets), [80, 160, 80, 120, 240, 200].map(Some));
    }

    #[test]
    fn the_next_recording_gives_no_times_to_the_one_before() {
        let packets = [
            (None, 0, false),
            (Some(40), 40, false),
            (None, 10, true),
            (Some(50), 50, false),
            (None, 90, false),
        ];
        assert_eq!(completed(&packets), [80, 40, 90, 50, 130].map(Some));
    }

    #[test]
    fn a_picture_before_a_pause_is_not_shown_behind_it() {
        let packets = [(None, 0, false), (Some(40), 40, false), (None, 9000, false)];
        assert_eq!(completed(&packets), [80, 40, 9040].map(Some));
    }

    #[test]
    fn few_packets_wait() {
        let packets: Vec<_> = (0..1000).map(|at| (Some(at).filter(|at| *at > 0), at, false)).collect();
        let mut completer = Completer::default();
        let mut out = 0;
        for (pts, dts, begins) in packets {
            let mut packet = Packet::empty();
            packet.set_pts(pts);
            packet.set_dts(Some(dts));
            completer.push(packet, begins, |_, _| out += 1);
            assert!(completer.waiting.len() <= MAX_WAITING);
        }
        assert!(out > 900);
    }
}
