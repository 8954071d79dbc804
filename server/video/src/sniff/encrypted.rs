//! Recognizes files whose pictures are encrypted by the container's own marks: ASF (Windows Media DRM, PlayReady), transport
//! streams (conditional access) and program streams (DVD). MP4 and Matroska mark their streams, which ffmpeg reads.

use std::{fs::File, os::unix::fs::FileExt};

/// Bytes that are searched.
const HEAD: usize = 256 << 10;
/// Bytes by which a container is recognized.
const MARK: usize = 16;
/// At least one packet in so many of a transport stream is encrypted: its tables stay open.
const SHARE_OF_BROADCASTS: usize = 4;
/// At least one packet in so many of a program stream is encrypted: DVDs leave most sectors open.
const SHARE_OF_DVDS: usize = 16;
/// Fewer packets than this prove nothing.
const MIN_PACKETS: usize = 4;

const ASF_HEADER: [u8; 16] = guid(0x75b2_2630, 0x668e, 0x11cf, 0xa6d9_00aa_0062_ce6c);

/// The objects of an ASF header that announce encryption.
const ASF_ENCRYPTION: [([u8; 16], &str); 3] = [
    (guid(0x2211_b3fb, 0xbd23, 0x11d2, 0xb4b7_00a0_c955_fc6e), "Windows Media DRM"),
    (guid(0x298a_e614, 0x2622, 0x4c17, 0xb935_dae0_7ee9_289c), "Windows Media DRM"),
    (guid(0x4305_8533, 0x6981, 0x49e6, 0x9b74_ad12_cb86_d58c), "PlayReady"),
];

/// Returns the bytes of a GUID: the first three fields are little-endian.
const fn guid(first: u32, second: u16, third: u16, rest: u64) -> [u8; 16] {
    let [a, b, c, d] = first.to_le_bytes();
    let ([e, f], [g, h]) = (second.to_le_bytes(), third.to_le_bytes());
    let [i, j, k, l, m, n, o, p] = rest.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// Returns how `file` is encrypted, if its first bytes show that it is.
pub(crate) fn encryption(file: &File) -> Option<&'static str> {
    let mut mark = [0u8; MARK];
    file.read_exact_at(&mut mark, 0).ok()?;
    let found: fn(&[u8]) -> Option<&'static str> = match mark {
        ASF_HEADER => asf,
        [0, 0, 1, 0xba, ..] => program_stream,
        [0x47, ..] | [_, _, _, _, 0x47, ..] => transport_stream,
        _ => return None,
    };
    let mut head = vec![0u8; HEAD];
    let read = file.read_at(&mut head, 0).ok()?;
    found(&head[..read])
}

/// Searches the objects of the header for those that announce encryption.
fn asf(head: &[u8]) -> Option<&'static str> {
    let size = |at: usize| head.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let end = usize::try_from(size(16)?).ok()?.min(head.len());
    // GUID, size, number of objects, two reserved bytes.
    let mut at = 30usize;
    while let Some(name) = head.get(at..end).and_then(|rest| rest.first_chunk::<16>()) {
        if let Some((_, scheme)) = ASF_ENCRYPTION.iter().find(|(guid, _)| guid == name) {
            return Some(scheme);
        }
        at = at.checked_add(usize::try_from(size(at + 16)?).ok()?.max(24))?;
    }
    None
}

/// Reads the scrambling bits of packets of 188 bytes, or of 192 with a time before each.
fn transport_stream(head: &[u8]) -> Option<&'static str> {
    let rows = |offset: usize, size: usize| {
        let rows = head.get(offset..).unwrap_or_default().chunks_exact(size);
        rows.clone().take(8).all(|row| row[0] == 0x47).then_some(rows)
    };
    let rows = rows(0, 188).or_else(|| rows(4, 192))?;
    let with_payload = rows.filter(|row| row[0] == 0x47 && row[3] & 0x10 != 0);
    let scrambled = with_payload.map(|row| row[3] & 0xc0 != 0);
    is_share(scrambled, SHARE_OF_BROADCASTS).then_some("conditional access of a broadcaster")
}

/// Reads the scrambling bits of the packets of sound and pictures.
fn program_stream(head: &[u8]) -> Option<&'static str> {
    let mut flags = Vec::new();
    let mut at = 0usize;
    while let Some([0, 0, 1, id, high, low, first, ..]) = head.get(at..) {
        at += match id {
            // A pack header of MPEG-2 with its stuffing; one of MPEG-1 is shorter.
            0xba if high >> 6 == 1 => 14 + usize::from(head.get(at + 13).copied().unwrap_or(0) & 7),
            0xba => 12,
            _ => {
                if matches!(id, 0xbd | 0xc0..=0xef) && first >> 6 == 2 {
                    flags.push(first & 0x30 != 0);
                }
                6 + usize::from(u16::from_be_bytes([*high, *low]))
            }
        };
    }
    is_share(flags.into_iter(), SHARE_OF_DVDS).then_some("copy protection of a DVD")
}

/// Returns whether at least one in `share` of enough packets is encrypted.
fn is_share(flags: impl Iterator<Item = bool>, share: usize) -> bool {
    let (all, encrypted) = flags.fold((0, 0), |(all, some), flag| (all + 1, some + usize::from(flag)));
    all >= MIN_PACKETS && encrypted * share >= all
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn of(bytes: &[u8]) -> Option<&'static str> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        encryption(&file)
    }

    #[test]
    fn asf_names_its_scheme() {
        let file = |object: [u8; 16]| {
            let other = [&[7u8; 16][..], &32u64.to_le_bytes(), &[0; 8]].concat();
            let object = [&object[..], &40u64.to_le_bytes(), &[0; 16]].concat();
            let size = (30 + other.len() + object.len()) as u64;
            [&ASF_HEADER[..], &size.to_le_bytes(), &[2, 0, 0, 0, 1, 2], &other, &object, &[0; 64]].concat()
        };
        assert_eq!(of(&file(ASF_ENCRYPTION[0].0)), Some("Windows Media DRM"));
        assert_eq!(of(&file(ASF_ENCRYPTION[2].0)), Some("PlayReady"));
        assert_eq!(of(&file([9; 16])), None);
        assert_eq!(of(&file(ASF_ENCRYPTION[0].0)[..60]), None, "cut off");
    }

    #[test]
    fn transport_streams_are_read_by_their_bits() {
        let packet = |control: u8| [&[0x47u8, 1, 0, control][..], &[0xff; 184]].concat();
        assert_eq!(of(&packet(0x10).repeat(40)), None);
        let encrypted = [packet(0x10).repeat(10), packet(0xd0).repeat(30)].concat();
        assert!(of(&encrypted).is_some());
        let timed: Vec<u8> = encrypted.chunks(188).flat_map(|packet| [&[0u8; 4], packet].concat()).collect();
        assert!(of(&timed).is_some());
        // Without payload the bits mean nothing, and single ones are damage.
        assert_eq!(of(&[packet(0x10).repeat(20), packet(0xe0).repeat(40), packet(0xd0)].concat()), None);
    }

    #[test]
    fn program_streams_are_read_by_their_bits() {
        let pack = [&[0u8, 0, 1, 0xba, 0x44][..], &[0; 8], &[0xf8]].concat();
        let packet = |first: u8| [&[0u8, 0, 1, 0xe0, 0, 20, first][..], &[1; 19]].concat();
        let film = |first: u8| [pack.clone(), packet(0x80), packet(0x81), packet(first)].concat().repeat(3);
        assert_eq!(of(&film(0x80)), None);
        assert!(of(&film(0x90)).is_some());
        // MPEG-1 has no such bits.
        assert_eq!(of(&film(0x3f)), None);
    }
}
