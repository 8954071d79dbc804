//! Reads the dates of AVI: `IDIT`, the camera's, then `ICRD`.

use std::{fs::File, os::unix::fs::FileExt};

use super::FileDates;

/// Maximum number of chunks that are looked at.
const MAX_CHUNKS: u32 = 4096;

/// Maximum depth of lists in lists.
const MAX_DEPTH: u32 = 4;

pub(super) fn read(file: &File) -> FileDates {
    let Ok(size) = file.metadata().map(|metadata| metadata.len()) else { return FileDates::default() };
    let (mut original, mut created, mut seen) = (Vec::new(), Vec::new(), 0);
    walk(file, 0, size, 0, &mut seen, &mut |kind, text| match &kind {
        b"IDIT" => original.push(text),
        b"ICRD" => created.push(text),
        _ => {}
    });
    FileDates { texts: original.into_iter().chain(created).collect(), headers: Vec::new() }
}

/// Visits the chunks of text between two offsets.
fn walk(
    file: &File,
    mut at: u64,
    end: u64,
    depth: u32,
    seen: &mut u32,
    visit: &mut impl FnMut([u8; 4], String),
) {
    while end.saturating_sub(at) >= 8 && *seen < MAX_CHUNKS {
        *seen += 1;
        let mut head = [0u8; 12];
        let have = file.read_at(&mut head, at).unwrap_or(0);
        if have < 8 {
            return;
        }
        let kind = [head[0], head[1], head[2], head[3]];
        let size = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
        let next = at.saturating_add(8 + size + size % 2).min(end);
        match &kind {
            // The list of the frames holds no text.
            b"LIST" if &head[8..] == b"movi" => {}
            b"RIFF" | b"LIST" if depth < MAX_DEPTH => walk(file, at + 12, next, depth + 1, seen, visit),
            b"IDIT" | b"ICRD" => {
                let mut text = [0u8; 80];
                let length = usize::try_from(size).unwrap_or(usize::MAX).min(text.len());
                let read = file.read_at(&mut text[..length], at + 8).unwrap_or(0);
                visit(kind, String::from_utf8_lossy(&text[..read]).into_owned());
            }
            _ => {}
        }
        at = next;
    }
}
