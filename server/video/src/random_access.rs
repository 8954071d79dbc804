//! Finds random access points: packets at which decoding can start, as proven by their bits.
//!
//! A container's key-frame flags cannot be trusted. A packet is a random access point when its bits show that every picture
//! presented at its time or later can be decoded without earlier packets:
//!
//! | codec | random access point |
//! | --- | --- |
//! | H.264 | IDR pictures. Recovery points (open GOPs) do not count, because the bits do not say what they refer to. |
//! | HEVC | IDR, BLA and CRA pictures: pictures after a CRA that are presented later cannot refer to earlier ones. |
//! | MPEG-1, -2, -4 | intra pictures, by the same rule; MPEG-1 and -2 with their sequence header |
//! | VP8, VP9 | key frames |
//! | AV1 | key frames that are shown immediately |
//!
//! Other codecs have none; where every picture is intra-coded, only the requested ones are decoded anyway. Parameter sets
//! (SPS, PPS, …) carry over between packets, so a stream whose sets change has no random access points at all.

/// Parameter sets of one stream at most; what has more is not proven.
const MAX_SETS: usize = 64;

/// How a codec's packets are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    H264(Framing),
    Hevc(Framing),
    Mpeg12,
    Mpeg4,
    Vp8,
    Vp9,
    Av1,
    Unknown,
}

/// How the units of a packet are separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    StartCodes,
    /// Each unit has its length before it, in so many bytes.
    Lengths(usize),
}

/// H.264's profile High 4:4:4 Predictive. ffmpeg works around a fault of x264 in it by what the encoder wrote of itself into the
/// first picture, so that decoding from elsewhere gives other pictures.
const HIGH_444: u8 = 244;

/// Scans the packets of one stream, in their order.
#[derive(Debug)]
pub(crate) struct RandomAccessScanner {
    syntax: Syntax,
    /// Parameter sets that the container keeps beside the packets.
    header: Vec<u8>,
    /// Sets of the first packet that had any.
    sets: Vec<Vec<u8>>,
    proven: bool,
    /// Whether a packet had other sets than those before it, or than the container's.
    other_sets: bool,
}

/// What the front of one packet holds, up to its first picture data.
#[derive(Default)]
struct Front<'a> {
    sets: Vec<&'a [u8]>,
    entry: bool,
}

impl RandomAccessScanner {
    /// Prepares for the packets of a stream of `codec` (ffmpeg's name) with the container's `header`.
    pub(crate) fn new(codec: &str, header: &[u8]) -> Self {
        let syntax = match codec {
            "h264" => Syntax::H264(match header {
                [1, _, _, _, lengths, ..] => Framing::Lengths(usize::from(lengths & 3) + 1),
                _ => Framing::StartCodes,
            }),
            "hevc" => Syntax::Hevc(match header {
                [0, 0, 0 | 1, ..] | [] => Framing::StartCodes,
                _ => header.get(21).map_or(Framing::StartCodes, |l| Framing::Lengths(usize::from(l & 3) + 1)),
            }),
            "mpeg1video" | "mpeg2video" => Syntax::Mpeg12,
            "mpeg4" => Syntax::Mpeg4,
            "vp8" => Syntax::Vp8,
            "vp9" => Syntax::Vp9,
            "av1" => Syntax::Av1,
            _ => Syntax::Unknown,
        };
        let high_444 =
            matches!(syntax, Syntax::H264(Framing::Lengths(_))) && header.get(1) == Some(&HIGH_444);
        let proven = syntax != Syntax::Unknown && !high_444;
        Self { syntax, header: header.to_vec(), sets: Vec::new(), proven, other_sets: false }
    }

    /// Says that something happened that the bits don't show (another codec header in mid-stream).
    pub(crate) fn doubt(&mut self) {
        self.proven = false;
    }

    /// Returns whether parameter sets differed, which players may not follow: some put the container's sets before each key
    /// frame. What comes after the first difference is not examined.
    pub(crate) fn has_other_sets(&self) -> bool {
        self.other_sets
    }

    /// Whether what was said of earlier packets still holds.
    pub(crate) fn proven(&self) -> bool {
        self.proven
    }

    /// Returns whether a decoder may begin at `packet`.
    pub(crate) fn is_access_point(&mut self, packet: &[u8]) -> bool {
        if !self.proven {
            return false;
        }
        let Some(front) = front(self.syntax, packet) else { return false };
        if matches!(self.syntax, Syntax::H264(_)) && front.sets.iter().any(|set| is_high_444(set)) {
            self.proven = false;
            return false;
        }
        if !front.sets.is_empty() && self.sets.is_empty() {
            self.sets = front.sets.iter().map(|set| set.to_vec()).collect();
        }
        let known = |set: &[u8]| self.sets.iter().any(|one| one == set) || contains(&self.header, set);
        let all_known = front.sets.iter().all(|set| known(set));
        let replaces = |set: &[u8]| has_sets(self.syntax, &self.header) && !contains(&self.header, set);
        self.other_sets |= !all_known || front.sets.iter().any(|set| replaces(set));
        if self.sets.len() > MAX_SETS || !all_known {
            self.proven = false;
            return false;
        }
        let at_hand = |set: &Vec<u8>| contains(&self.header, set) || front.sets.contains(&set.as_slice());
        front.entry && self.sets.iter().all(at_hand)
    }
}

/// Returns whether the container keeps sequence parameter sets beside the packets of H.264.
fn has_sets(syntax: Syntax, header: &[u8]) -> bool {
    matches!((syntax, header), (Syntax::H264(Framing::Lengths(_)), [_, _, _, _, _, count, ..]) if count & 31 > 0)
}

/// Returns whether a parameter set of H.264 announces [`HIGH_444`].
fn is_high_444(set: &[u8]) -> bool {
    matches!(set, [kind, HIGH_444, ..] if kind & 31 == 7)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && bytes.windows(part.len()).any(|window| window == part)
}

/// Reads the front of a packet; `None` when it is not what its codec allows.
fn front(syntax: Syntax, packet: &[u8]) -> Option<Front<'_>> {
    match syntax {
        Syntax::H264(framing) => units(framing, packet, |unit| match unit.first()? & 31 {
            1..=4 => Some(NalPart::Picture(false)),
            5 => Some(NalPart::Picture(true)),
            7 | 8 | 13 | 15 => Some(NalPart::Set),
            _ => Some(NalPart::Other),
        }),
        Syntax::Hevc(framing) => units(framing, packet, |unit| {
            let (first, second) = (*unit.first()?, *unit.get(1)?);
            // Layers above the base (spatial video) are not decoded.
            if first & 1 != 0 || second >> 3 != 0 {
                return Some(NalPart::Other);
            }
            match (first >> 1) & 63 {
                kind @ 0..=31 => Some(NalPart::Picture((16..=21).contains(&kind))),
                32..=34 => Some(NalPart::Set),
                _ => Some(NalPart::Other),
            }
        }),
        Syntax::Mpeg12 => {
            let front = units(Framing::StartCodes, packet, |unit| match unit.first()? {
                0 => Some(NalPart::Picture((unit.get(2)? >> 3) & 7 == 1)),
                0xb3 => Some(NalPart::Set),
                // The sequence extension; the other extensions change from picture to picture.
                0xb5 if unit.get(1)? >> 4 == 1 => Some(NalPart::Set),
                _ => Some(NalPart::Other),
            })?;
            let begins = front.sets.iter().any(|set| set.first() == Some(&0xb3));
            Some(Front { entry: front.entry && begins, ..front })
        }
        Syntax::Mpeg4 => units(Framing::StartCodes, packet, |unit| match unit.first()? {
            0xb6 => Some(NalPart::Picture(unit.get(1)? >> 6 == 0)),
            // Besides the header, what the encoder says of itself: decoders heed it.
            0x20..=0x2f | 0xb2 => Some(NalPart::Set),
            _ => Some(NalPart::Other),
        }),
        Syntax::Vp8 => {
            let entry = packet.first()? & 1 == 0 && packet.get(3..6)? == [0x9d, 0x01, 0x2a];
            Some(Front { entry, ..Front::default() })
        }
        Syntax::Vp9 => {
            // Frame marker 2, a profile below 3, no repeated frame, a key frame, shown; then the sync code.
            let first = *packet.first()?;
            let key = first >> 6 == 2 && first & 0x30 != 0x30 && first & 0x0e == 0x02;
            let entry = key && packet.get(1..4)? == [0x49, 0x83, 0x42];
            Some(Front { entry, ..Front::default() })
        }
        Syntax::Av1 => obus(packet),
        Syntax::Unknown => None,
    }
}

/// What a unit is; of picture data, whether a decoder may begin there.
enum NalPart {
    Picture(bool),
    Set,
    Other,
}

/// Goes through the units of a packet up to the first picture data.
fn units<'a>(
    framing: Framing,
    packet: &'a [u8],
    kind: impl Fn(&[u8]) -> Option<NalPart>,
) -> Option<Front<'a>> {
    let mut front = Front::default();
    let mut rest = packet;
    loop {
        let (start, length) = match framing {
            Framing::Lengths(bytes) => {
                let (length, after) = rest.split_at_checked(bytes)?;
                let length = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
                (after.get(..length)?, Some((length, after)))
            }
            Framing::StartCodes => (start_code(rest)?.1, None),
        };
        let part = kind(start)?;
        if let NalPart::Picture(entry) = part {
            return Some(Front { entry, ..front });
        }
        // Only now, so that picture data is not searched for the next start code.
        let (length, bytes) =
            length.unwrap_or_else(|| (start_code(start).map_or(start.len(), |(at, _)| at), start));
        let (unit, after) = bytes.split_at_checked(length)?;
        rest = after;
        if matches!(part, NalPart::Set) {
            if front.sets.len() >= MAX_SETS {
                return None;
            }
            // Zeros at the end belong to the next start code.
            front.sets.push(&unit[..unit.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)]);
        }
    }
}

/// Finds the next `00 00 01`: its place, and what follows it.
fn start_code(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let at = bytes.windows(3).position(|window| window == [0, 0, 1])?;
    Some((at, &bytes[at + 3..]))
}

/// Reads AV1's units up to the first frame header.
fn obus(packet: &[u8]) -> Option<Front<'_>> {
    let mut front = Front::default();
    let mut rest = packet;
    loop {
        let header = *rest.first()?;
        let mut at = if header & 4 != 0 { 2 } else { 1 };
        let mut length = 0usize;
        if header & 2 == 0 {
            length = rest.len().checked_sub(at)?;
        } else {
            for shift in (0..35).step_by(7) {
                let byte = *rest.get(at)?;
                at += 1;
                length |= usize::from(byte & 127) << shift;
                if byte & 128 == 0 {
                    break;
                }
            }
        }
        let unit = rest.get(at..at.checked_add(length)?)?;
        rest = &rest[at + length..];
        match (header >> 3) & 15 {
            1 => front.sets.push(unit),
            // Frame and frame header: shown at once, of type "key".
            3 | 6 => return Some(Front { entry: unit.first()? >> 4 == 1, ..front }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: &[u8] = &[0x67, 0x42, 0x10];
    const PPS: &[u8] = &[0x68, 0xce];
    const IDR: &[u8] = &[0x65, 0x88];
    const INTRA: &[u8] = &[0x61, 0x88];

    fn annex_b(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&[0, 0, 0, 1], *unit].concat()).collect()
    }

    fn prefixed(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&[0, unit.len() as u8], *unit].concat()).collect()
    }

    #[test]
    fn only_an_idr_picture_opens_h264() {
        let mut prover = RandomAccessScanner::new("h264", &[]);
        assert!(prover.is_access_point(&annex_b(&[&[9, 0x10], SPS, PPS, &[6, 1], IDR])));
        assert!(!prover.is_access_point(&annex_b(&[SPS, PPS, INTRA])), "a recovery point");
        assert!(!prover.is_access_point(&annex_b(&[IDR])), "its sets are elsewhere");
        let header = [&[1, 66, 0, 30, 0xfd][..], SPS, PPS].concat();
        let mut prover = RandomAccessScanner::new("h264", &header);
        assert!(prover.is_access_point(&prefixed(&[IDR])));
        assert!(!prover.is_access_point(&prefixed(&[INTRA])));
        assert!(!prover.is_access_point(&[0, 200, 0x65]), "cut off");
        assert!(prover.proven());
    }

    #[test]
    fn nothing_is_proven_of_high_444() {
        let sps: &[u8] = &[0x67, 244, 0x10];
        let mut prover = RandomAccessScanner::new("h264", &[]);
        assert!(!prover.is_access_point(&annex_b(&[sps, PPS, IDR])) && !prover.proven());
        let header = [&[1, 244, 0, 30, 0xfd][..], sps, PPS].concat();
        assert!(!RandomAccessScanner::new("h264", &header).proven());
    }

    #[test]
    fn sets_that_change_end_all_trust() {
        let mut prover = RandomAccessScanner::new("h264", &[]);
        assert!(prover.is_access_point(&annex_b(&[SPS, PPS, IDR])));
        assert!(prover.is_access_point(&annex_b(&[SPS, PPS, IDR])));
        assert!(!prover.is_access_point(&annex_b(&[&[0x67, 0x42, 0x11], PPS, IDR])));
        assert!(!prover.proven());
        assert!(!prover.is_access_point(&annex_b(&[SPS, PPS, IDR])));
        assert!(prover.has_other_sets());
    }

    #[test]
    fn sets_that_replace_those_of_the_container_are_noticed() {
        let with = |count: u8| [&[1, 66, 0, 30, 0xfd, 0xe0 | count, 0, 4][..], SPS, PPS].concat();
        let other: &[u8] = &[0x67, 0x42, 0x11];
        for (header, set, expected) in [
            (with(1), SPS, false),
            (with(1), other, true),
            (with(0), other, false),
            (Vec::new(), other, false),
        ] {
            let mut prover = RandomAccessScanner::new("h264", &header);
            let packet =
                if header.is_empty() { annex_b(&[set, PPS, IDR]) } else { prefixed(&[set, PPS, IDR]) };
            prover.is_access_point(&packet);
            assert_eq!(prover.has_other_sets(), expected, "{header:?} {set:?}");
        }
    }

    #[test]
    fn hevc_opens_at_every_random_access_picture_of_the_base_layer() {
        let mut prover = RandomAccessScanner::new("hevc", &[]);
        for (kind, expected) in [(19, true), (20, true), (21, true), (16, true), (1, false), (9, false)] {
            assert_eq!(prover.is_access_point(&annex_b(&[&[kind << 1, 1, 0x80]])), expected, "type {kind}");
        }
        assert!(
            !prover.is_access_point(&annex_b(&[&[19 << 1, 1 << 3 | 1, 0x80], &[1 << 1, 1]])),
            "another layer"
        );
    }

    #[test]
    fn mpeg_pictures_open_when_they_are_intra() {
        let sequence: &[u8] = &[0xb3, 0x16, 0x01, 0x20];
        let picture = |kind: u8| vec![0, 0, kind << 3, 0];
        let mut prover = RandomAccessScanner::new("mpeg2video", &[]);
        assert!(prover.is_access_point(&annex_b(&[sequence, &[0xb8, 0], &picture(1)])));
        assert!(!prover.is_access_point(&annex_b(&[&picture(1)])), "no sequence header");
        assert!(!prover.is_access_point(&annex_b(&[sequence, &picture(2)])));
        let mut prover = RandomAccessScanner::new("mpeg4", &[]);
        assert!(prover.is_access_point(&annex_b(&[&[0xb6, 0x10]])));
        assert!(!prover.is_access_point(&annex_b(&[&[0xb6, 0x50]])));
    }

    #[test]
    fn key_frames_of_the_web_open() {
        let mut prover = RandomAccessScanner::new("vp8", &[]);
        assert!(prover.is_access_point(&[0x50, 1, 0, 0x9d, 1, 0x2a]));
        assert!(!prover.is_access_point(&[0x51, 1, 0, 0x9d, 1, 0x2a]));
        let mut prover = RandomAccessScanner::new("vp9", &[]);
        assert!(prover.is_access_point(&[0x82, 0x49, 0x83, 0x42]));
        assert!(!prover.is_access_point(&[0x86, 0x49, 0x83, 0x42]), "an inter frame");
        assert!(!prover.is_access_point(&[0x88, 0x49, 0x83, 0x42]), "a repeated frame");
        let mut prover = RandomAccessScanner::new("av1", &[]);
        assert!(prover.is_access_point(&[0x12, 0, 0x0a, 2, 7, 7, 0x32, 2, 0x10, 0]));
        assert!(!prover.is_access_point(&[0x12, 0, 0x32, 2, 0x30, 0]), "an inter frame");
        assert!(
            !prover.is_access_point(&[0x12, 0, 0x0a, 2, 7, 7, 0x32, 2, 0x00, 0]),
            "a key frame shown later"
        );
    }

    #[test]
    fn of_other_codecs_nothing_is_proven() {
        assert!(!RandomAccessScanner::new("svq3", &[]).is_access_point(&[0; 8]));
    }
}
