//! Detects disposable H.264 packets (pictures that no other picture refers to) from their NAL units.
//!
//! A decoder that is asked to skip such pictures still schedules a thread and memory for each; a packet that it never receives
//! costs nothing. H.264 allows this: disposable pictures leave no gap in frame numbers.

/// Detects the packets of a stream that need not be decoded.
pub(crate) struct Disposable {
    /// Bytes of the length field before each NAL unit.
    lengths: usize,
}

impl Disposable {
    /// Creates the detector for a stream of `codec` (ffmpeg's name) with the container's `header`. `None` for other codecs, and
    /// for NAL units without lengths (in transport streams, whose times are guessed anyway).
    pub(crate) fn of(codec: &str, header: &[u8]) -> Option<Self> {
        match (codec, header) {
            ("h264", [1, _, _, _, lengths, ..]) => Some(Self { lengths: usize::from(lengths & 3) + 1 }),
            _ => None,
        }
    }

    /// Returns whether `packet` holds nothing but a disposable picture.
    pub(crate) fn is(&self, packet: &[u8]) -> bool {
        let mut rest = packet;
        let mut pictures = 0;
        while !rest.is_empty() {
            let Some(unit) = unit(&mut rest, self.lengths) else { return false };
            match unit.first().map(|first| (first & 31, first & 0x60)) {
                Some((1, 0)) => pictures += 1,
                // SEI, delimiters and filler data.
                Some((6 | 9 | 12, _)) => {}
                // Other slice types, and parameter sets, which later packets use.
                _ => return false,
            }
        }
        pictures > 0
    }
}

/// Takes the next NAL unit from `rest`.
fn unit<'a>(rest: &mut &'a [u8], lengths: usize) -> Option<&'a [u8]> {
    let (length, after) = rest.split_at_checked(lengths)?;
    let length = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
    let (unit, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes(), *unit].concat()).collect()
    }

    #[test]
    fn only_pictures_that_nobody_refers_to_are_disposable() {
        let avcc = Disposable::of("h264", &[1, 100, 0, 40, 0xff, 0xe1]).unwrap();
        let (unreferred, referred, idr) = (&[0x01u8, 0x9a][..], &[0x41u8, 0x9a][..], &[0x65u8, 0x88][..]);
        let (sei, border, set) = (&[0x06u8, 5][..], &[0x09u8, 0xf0][..], &[0x68u8, 0xee][..]);
        for (units, expected) in [
            (&[unreferred][..], true),
            (&[border, sei, unreferred, unreferred], true),
            (&[referred], false),
            (&[idr], false),
            (&[unreferred, set], false),
            (&[sei], false),
            (&[], false),
            (&[&[]], false),
        ] {
            assert_eq!(avcc.is(&packet(units)), expected, "{units:?}");
        }
        assert!(!avcc.is(&packet(&[unreferred])[..5]), "cut off");
        assert!(Disposable::of("h264", &[0, 0, 0, 1, 0x67]).is_none());
        assert!(Disposable::of("hevc", &[1, 100, 0, 40, 0xff]).is_none());
    }
}
