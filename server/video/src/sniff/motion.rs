//! Finds the film in a motion photo: a JPEG picture with a film behind it (Google, Samsung), or a HEIC picture with a film in a
//! box of its own (Samsung).

use std::{fs::File, os::unix::fs::FileExt};

use super::bytes::Bytes;

/// Bytes behind a JPEG picture that are searched for a film: previews and a map of brightness may come first.
const MAX_SEARCHED: u64 = 64 << 20;

/// Boxes of the top level of a HEIC picture that are visited.
const MAX_BOXES: usize = 64;

/// Brands with which films in photos begin.
const BRANDS: [&[u8; 4]; 7] = [b"mp42", b"mp41", b"isom", b"iso4", b"iso5", b"avc1", b"qt  "];

/// Returns the position behind `from` at which a film begins.
pub(super) fn behind_jpeg(file: &File, from: u64) -> Option<u64> {
    const OVERLAP: usize = 12;
    let mut block = vec![0u8; 1 << 20];
    let mut position = from;
    while position - from < MAX_SEARCHED {
        let read = file.read_at(&mut block, position).ok()?;
        let found = block[..read].windows(OVERLAP).position(begins_film);
        if let Some(found) = found {
            return Some(position + found as u64);
        }
        if read < block.len() {
            return None;
        }
        position += (read - OVERLAP + 1) as u64;
    }
    None
}

/// Returns whether the box `ftyp` of a film begins here.
fn begins_film(bytes: &[u8]) -> bool {
    let Some(([0, 0, high, low], rest)) = bytes.split_first_chunk() else { return false };
    let length = u16::from_be_bytes([*high, *low]);
    let brand = rest.strip_prefix(b"ftyp").and_then(|rest| rest.first_chunk::<4>());
    (16..=256).contains(&length) && brand.is_some_and(|brand| BRANDS.contains(&brand))
}

/// Returns the position of the film in the HEIC picture `file`.
pub(super) fn in_heic(file: &File) -> Option<u64> {
    let mut bytes = Bytes::of(file);
    let mut position = 0u64;
    for _ in 0..MAX_BOXES {
        let head: Vec<u8> = (position..position + 8).map_while(|at| bytes.at(at)).collect();
        let (length, name) = head.split_first_chunk::<4>()?;
        let length = u64::from(u32::from_be_bytes(*length));
        if name == b"mpvd" {
            let start: Vec<u8> = (position + 8..position + 20).map_while(|at| bytes.at(at)).collect();
            return begins_film(&start).then_some(position + 8);
        }
        if length < 8 {
            return None;
        }
        position = position.checked_add(length)?;
    }
    None
}
