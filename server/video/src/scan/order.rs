//! Detects streams whose pictures are reordered, but whose container has decoding times only: old phones and cameras wrote MP4
//! without the table of presentation times.

use ffmpeg_next::Packet;

use crate::{disposable::Disposable, ffmpeg::StreamFacts};

/// What the packets of a stream say of their order.
pub(super) struct Order {
    disposable: Option<Disposable>,
    mpeg4: bool,
    /// PTS equal DTS so far.
    flat: bool,
    /// There are B-frames.
    reordered: bool,
}

impl Order {
    pub(super) fn new(facts: &StreamFacts) -> Self {
        let disposable = Disposable::of(&facts.codec, &facts.header);
        // What is disposable in a stream without delay is no B-frame.
        let (mpeg4, flat) = (facts.codec == "mpeg4", facts.delay > 0);
        Self { disposable, mpeg4, flat, reordered: false }
    }

    pub(super) fn see(&mut self, packet: &Packet) {
        if !self.flat {
            return;
        }
        self.flat = packet.pts().is_some() && packet.pts() == packet.dts();
        self.reordered |= packet.data().is_some_and(|data| self.is_b_frame(data));
    }

    fn is_b_frame(&self, data: &[u8]) -> bool {
        if self.mpeg4 {
            // The two bits after the start code are the type.
            let at = data.windows(4).position(|code| code == [0, 0, 1, 0xb6]);
            return at.and_then(|at| data.get(at + 4)).is_some_and(|byte| byte >> 6 == 2);
        }
        self.disposable.as_ref().is_some_and(|disposable| disposable.is(data))
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.flat && self.reordered
    }
}
