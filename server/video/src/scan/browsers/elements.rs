//! Looks into the elements of a WebM for its length and its index, without which browsers cannot jump. Recorders in browsers
//! write neither.

use std::{fs::File, os::unix::fs::FileExt};

const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const DURATION: u32 = 0x4489;
const CUES: u32 = 0x1C53_BB6B;
/// Maximum number of elements that are looked at: more than ten hours of a second each.
const MAX_ELEMENTS: u32 = 50_000;

/// Returns why browsers would play the file otherwise than we do.
pub(super) fn difference(file: &File) -> Option<String> {
    let end = file.metadata().map_or(0, |metadata| metadata.len());
    let (mut duration, mut cues) = (false, false);
    let mut at = 0;
    for _ in 0..MAX_ELEMENTS {
        let Some((id, from, size)) = element(file, at) else { break };
        // Of unknown size: recorded live.
        let next = size.map_or(end, |size| from.saturating_add(size).min(end));
        at = match id {
            SEGMENT => from,
            INFO => {
                duration = has(file, from, next, DURATION);
                next
            }
            CUES => {
                cues = true;
                next
            }
            _ => next,
        };
        if at >= end || duration && cues {
            break;
        }
    }
    match (duration, cues) {
        (true, true) => None,
        (false, _) => Some("its header has no length, so that browsers show none".into()),
        (_, false) => Some("it has no index, so that browsers cannot jump in it".into()),
    }
}

/// Returns whether `id` is among the elements between two offsets.
fn has(file: &File, mut at: u64, end: u64, wanted: u32) -> bool {
    for _ in 0..MAX_ELEMENTS {
        match element(file, at).filter(|_| at < end) {
            Some((id, _, _)) if id == wanted => return true,
            Some((_, from, Some(size))) => at = from.saturating_add(size),
            _ => return false,
        }
    }
    false
}

/// Reads the head of the element at `at`: its id, where its content begins, and its size if that is known.
fn element(file: &File, at: u64) -> Option<(u32, u64, Option<u64>)> {
    let mut head = [0u8; 12];
    let have = file.read_at(&mut head, at).ok()?;
    let head = &head[..have];
    // The zeros before the first bit tell how many bytes follow; they belong to an id, but not to a size.
    let first = *head.first()?;
    let id_length = first.leading_zeros() as usize + 1;
    let id = head.get(..id_length).filter(|_| id_length <= 4)?;
    let id = id.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let sized = &head[id_length..];
    let size_length = sized.first()?.leading_zeros() as usize + 1;
    let sized = sized.get(..size_length).filter(|_| size_length <= 8)?;
    let size = sized.iter().fold(0, |size: u64, byte| size << 8 | u64::from(*byte));
    let all = (1u64 << (7 * size_length)) - 1;
    let size = size & all;
    Some((id, at + (id_length + size_length) as u64, (size != all).then_some(size)))
}
