//! Tells a film that is a row of JPEG pictures from a single picture with something behind it.

use std::fs::File;

use super::bytes::Bytes;

/// Pictures in a row that are a film: cameras put one preview, or several views in a picture that says so (MPF), behind the first.
const FILM: usize = 3;

/// Maximum bytes of a picture.
const MAX_PICTURE: u64 = 64 << 20;

/// Maximum bytes of padding between two pictures.
const MAX_PADDING: u64 = 64;

/// Returns whether `file`, which begins with the JPEG picture in `head`, is a film.
pub(super) fn is_film(file: &File, head: &[u8]) -> bool {
    if head.windows(4).any(|bytes| bytes == b"MPF\0") {
        return false;
    }
    let mut bytes = Bytes::of(file);
    let mut position = Some(0);
    for _ in 1..FILM {
        position = position.and_then(|at| end(&mut bytes, at)).and_then(|at| next(&mut bytes, at));
    }
    position.is_some()
}

/// Returns the position behind the picture with which `file` begins.
pub(super) fn first_end(file: &File) -> Option<u64> {
    end(&mut Bytes::of(file), 0)
}

/// Returns the position behind the picture that begins at `start`.
fn end(bytes: &mut Bytes<'_>, start: u64) -> Option<u64> {
    let mut at = start + 2;
    while at - start < MAX_PICTURE {
        if bytes.at(at)? != 0xff {
            return None;
        }
        match bytes.at(at + 1)? {
            0xd9 => return Some(at + 2),
            // Fill bytes, and markers without a segment.
            0xff => at += 1,
            0x01 | 0xd0..=0xd7 => at += 2,
            marker => {
                let length = u64::from(bytes.at(at + 2)?) << 8 | u64::from(bytes.at(at + 3)?);
                at += 2 + length.max(2);
                // Coded data follow, in which 0xff is escaped.
                while marker == 0xda && at - start < MAX_PICTURE {
                    if bytes.at(at)? == 0xff && !matches!(bytes.at(at + 1)?, 0 | 0xd0..=0xd7) {
                        break;
                    }
                    at += 1;
                }
            }
        }
    }
    None
}

/// Returns where the next picture begins, at `from` or behind some padding.
fn next(bytes: &mut Bytes<'_>, from: u64) -> Option<u64> {
    let start = (from..from + MAX_PADDING).find(|&at| bytes.at(at) != Some(0))?;
    let begins = [0xff, 0xd8, 0xff].into_iter().zip(start..).all(|(byte, at)| bytes.at(at) == Some(byte));
    begins.then_some(start)
}
