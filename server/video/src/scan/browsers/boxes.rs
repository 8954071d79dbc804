//! Looks into the boxes of an MP4 for fragments and for edits that browsers do not follow.

use std::{fs::File, os::unix::fs::FileExt};

/// Maximum number of boxes that are looked at.
const MAX_BOXES: u32 = 10_000;
/// Maximum number of edits of a track that are read.
const MAX_EDITS: usize = 64;

/// What the boxes say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::scan) struct Boxes {
    visited: u32,
    fragmented: bool,
    /// Pieces of which the longest list of edits is made.
    pieces: usize,
    /// Whether a piece is to be played slower or faster.
    pub(in crate::scan) paced: bool,
    /// The index of the film has come, and nothing of another film.
    indexed: bool,
    /// Films in the file, one behind the other; only the first is played.
    pub(in crate::scan) films: u32,
}

impl Boxes {
    /// Reads the boxes of `file` from `start` on.
    pub(in crate::scan) fn read(file: &File, start: u64) -> Self {
        let mut boxes = Self::default();
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        walk(file, start, size, 0, &mut boxes);
        boxes
    }

    /// Returns why browsers would play the file otherwise than we do.
    pub(super) fn difference(&self) -> Option<String> {
        if self.fragmented {
            return Some("it is made of fragments, in which not every browser can jump".into());
        }
        if self.pieces > 1 || self.paced {
            return Some("it is cut together from pieces, which not every browser heeds".into());
        }
        None
    }
}

/// Visits the boxes between two offsets.
fn walk(file: &File, mut at: u64, end: u64, depth: u32, boxes: &mut Boxes) {
    while end.saturating_sub(at) >= 8 && boxes.visited < MAX_BOXES {
        boxes.visited += 1;
        let mut head = [0u8; 16];
        let have = file.read_at(&mut head, at).unwrap_or(0);
        let (words, _) = head.as_chunks::<4>();
        let word = |at: usize| u64::from(u32::from_be_bytes(words[at]));
        let (header, size) = match word(0) {
            0 => (8, end - at),
            1 if have == 16 => (16, word(2) << 32 | word(3)),
            size => (8, size),
        };
        if have < 8 || size < header {
            return;
        }
        let next = at.saturating_add(size).min(end);
        // The beginning of a fragmented film may be repeated behind each of its parts.
        match &words[1] {
            // QuickTime's files may begin without `ftyp`.
            b"ftyp" | b"mdat" if depth == 0 => boxes.indexed = false,
            b"moov" if depth == 0 && !boxes.indexed && !boxes.fragmented => {
                boxes.indexed = true;
                boxes.films += 1;
            }
            _ => {}
        }
        match &words[1] {
            b"moov" | b"trak" | b"edts" if depth < 3 => walk(file, at + header, next, depth + 1, boxes),
            b"mvex" => boxes.fragmented = true,
            b"elst" => edits(file, at + header, next, boxes),
            _ => {}
        }
        at = next;
    }
}

/// Reads a list of edits.
fn edits(file: &File, at: u64, end: u64, boxes: &mut Boxes) {
    let size = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(8 + MAX_EDITS * 20);
    let mut bytes = vec![0; size];
    let have = file.read_at(&mut bytes, at).unwrap_or(0);
    bytes.truncate(have);
    let Some((version, entries)) = bytes.first().copied().zip(bytes.get(8..)) else { return };
    let wide = version == 1;
    let mut pieces = 0;
    for entry in entries.chunks_exact(if wide { 20 } else { 12 }) {
        let (start, rate) =
            if wide { (&entry[8..16], &entry[16..20]) } else { (&entry[4..8], &entry[8..12]) };
        // A start of -1 is a pause.
        if start.iter().any(|byte| *byte != 0xff) {
            pieces += 1;
            boxes.paced |= rate != [0, 1, 0, 0];
        }
    }
    boxes.pieces = boxes.pieces.max(pieces);
}
