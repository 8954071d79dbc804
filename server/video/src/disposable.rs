//! Detects disposable H.264 packets (pictures that no other picture refers to) from their NAL units.
//!
//! A decoder that is asked to skip such pictures still schedules a thread and memory for each; a packet that it never receives
//! costs nothing. H.264 allows this: disposable pictures leave no gap in frame numbers.

/// Detects which packets of a stream its decoder can skip.
pub(crate) struct Disposable {
    /// Bytes of the length before each unit.
    lengths: usize,
}

impl Disposable {
    /// Prepares for the packets of a stream of `codec` (ffmpeg's name) with the container's `header`; `None` when nothing
    /// can be told: another codec, or units that have no lengths (in streams, whose times are guessed anyway).
    pub(crate) fn of(codec: &str, header: &[u8]) -> Option<Self> {
        match (codec, header) {
            ("h264", [1, _, _, _, lengths, ..]) => Some(Self { lengths: usize::from(lengths & 3) + 1 }),
            _ => None,
        }
    }

    /// Whether `packet` holds nothing but a picture that no other refers to.
    pub(crate) fn is(&self, packet: &[u8]) -> bool {
        let mut rest = packet;
        let mut pictures = 0;
        while !rest.is_empty() {
            let Some(unit) = unit(&mut rest, self.lengths) else { return false };
            match unit.first().map(|first| (first & 31, first & 0x60)) {
                Some((1, 0)) => pictures += 1,
                // Words about the picture, its border, and filling.
                Some((6 | 9 | 12, _)) => {}
                // Other kinds of slices, and parameter sets, on which later packets build.
                _ => return false,
            }
        }
        pictures > 0
    }
}

/// Takes the next unit off `rest`.
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
