//! Whether a file has all the bytes that its container announces. One that is still being copied has not, even while the copy
//! pauses.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
};

/// Parts of a container that are visited; a longer one counts as whole.
const MAX_PARTS: usize = 100_000;

/// Bytes at the end that are not all zero in a whole file: a copy may set the size first and fill it afterwards.
const TAIL: u64 = 4096;

/// First parts of QuickTime and MP4.
const BOXES: [&[u8; 4]; 8] = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"];

/// First bytes of ASF.
const ASF: [u8; 16] =
    [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, 0xa6, 0xd9, 0, 0xaa, 0, 0x62, 0xce, 0x6c];

/// First bytes of Matroska and WebM.
const EBML: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];

/// Returns whether `file` is whole, as far as its container tells. The position in the file changes.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn is_whole(file: &mut File) -> io::Result<bool> {
    let size = file.seek(SeekFrom::End(0))?;
    let start = read_at(file, 0, 16)?;
    let parts = match start.as_slice() {
        [_, _, _, _, name @ ..] if name.first_chunk().is_some_and(|name| BOXES.contains(&name)) => {
            return Ok(boxes_are_whole(file, size)? && !ends_with_zeros(file, size)?);
        }
        [b'R', b'I', b'F', b'F', ..] => parts_are_whole(file, size, riff_part)?,
        start if start == ASF => parts_are_whole(file, size, asf_part)?,
        start if start.starts_with(&EBML) => parts_are_whole(file, size, ebml_part)?,
        // No container with lengths.
        _ => true,
    };
    Ok(parts && !ends_with_zeros(file, size)?)
}

fn ends_with_zeros(file: &mut File, size: u64) -> io::Result<bool> {
    let length = TAIL.min(size);
    Ok(read_at(file, size - length, length)?.iter().all(|&byte| byte == 0))
}

/// Reads up to `length` bytes.
fn read_at(file: &mut File, position: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(position))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Length of a part by its first bytes.
enum Length {
    Known(u64),
    /// To the end of the file.
    Rest,
    /// Not a part.
    Unknown,
}

/// Returns whether the boxes of the top level lie within the file, and those that describe its tracks are there.
fn boxes_are_whole(file: &mut File, size: u64) -> io::Result<bool> {
    let mut described = false;
    let whole = parts_are_whole(file, size, |start| {
        described |= start.get(4..8).is_some_and(|name| matches!(name, b"moov" | b"moof"));
        mp4_part(start)
    })?;
    Ok(whole && described)
}

/// Returns whether all parts that follow one another from the start lie within the file.
fn parts_are_whole(file: &mut File, size: u64, mut length: impl FnMut(&[u8]) -> Length) -> io::Result<bool> {
    let mut position = 0u64;
    for _ in 0..MAX_PARTS {
        if position == size {
            return Ok(true);
        }
        let start = read_at(file, position, 24)?;
        match length(&start) {
            Length::Known(length) => position = position.saturating_add(length),
            Length::Rest | Length::Unknown => return Ok(true),
        }
        if position > size {
            return Ok(false);
        }
    }
    Ok(true)
}

fn mp4_part(start: &[u8]) -> Length {
    let Some((length, name_and_more)) = start.split_first_chunk() else { return Length::Known(8) };
    match u32::from_be_bytes(*length) {
        0 => Length::Rest,
        1 => match name_and_more.get(4..12).and_then(|length| length.first_chunk()) {
            Some(length) => Length::Known(u64::from_be_bytes(*length).max(16)),
            None => Length::Known(16),
        },
        length @ 8.. => Length::Known(u64::from(length)),
        _ => Length::Unknown,
    }
}

/// `RIFF`, and `RIFF` again for each further gigabyte of a long AVI.
fn riff_part(start: &[u8]) -> Length {
    match start.get(4..8).and_then(|length| length.first_chunk()) {
        Some(length) if start.starts_with(b"RIFF") => {
            let length = u64::from(u32::from_le_bytes(*length));
            Length::Known(8 + length + length % 2)
        }
        None if start.starts_with(&b"RIFF"[..start.len().min(4)]) => Length::Known(8),
        _ => Length::Unknown,
    }
}

fn asf_part(start: &[u8]) -> Length {
    match start.get(16..24).and_then(|length| length.first_chunk()) {
        Some(length) => match u64::from_le_bytes(*length) {
            // Of a recording that was not finished.
            0..24 => Length::Unknown,
            length => Length::Known(length),
        },
        None => Length::Known(24),
    }
}

/// An element of EBML: an id and a length, both of which tell by the zeros before their first bit how many bytes they have.
fn ebml_part(start: &[u8]) -> Length {
    let width = |byte: u8| byte.leading_zeros() as usize + 1;
    let Some(id) = start.first().map(|&byte| width(byte)).filter(|&id| id <= 4) else {
        return Length::Unknown;
    };
    let Some(bytes) = start.get(id).map(|&byte| width(byte)).filter(|&bytes| bytes <= 8) else {
        return Length::Unknown;
    };
    let Some(value) = start.get(id..id + bytes) else { return Length::Known((id + bytes) as u64) };
    let raw = value.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    let mask = (1u64 << (7 * bytes)) - 1;
    match raw & mask {
        // The writer did not know it.
        length if length == mask => Length::Rest,
        length => Length::Known(length + (id + bytes) as u64),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn whole(bytes: &[u8]) -> bool {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        is_whole(&mut file).unwrap()
    }

    fn mp4_box(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + content.len()).unwrap();
        [&length.to_be_bytes(), name.as_slice(), content].concat()
    }

    /// A file is whole, and no beginning of it is, except those of `exceptions`.
    fn only_whole_as_a_whole(bytes: &[u8], exceptions: &[usize]) {
        assert!(whole(bytes));
        for length in 16..bytes.len() {
            assert_eq!(whole(&bytes[..length]), exceptions.contains(&length), "{length} of {}", bytes.len());
        }
    }

    #[test]
    fn a_part_of_a_movie_is_not_whole() {
        let (start, data) = (mp4_box(b"ftyp", b"isom...."), mp4_box(b"mdat", &[7; 90]));
        let tracks = mp4_box(b"moov", &[9; 40]);
        only_whole_as_a_whole(&[start.clone(), data.clone(), tracks.clone()].concat(), &[]);
        // Tracks first: at the end of a box, nothing tells that another one follows.
        let fast = [start.clone(), tracks.clone(), data].concat();
        only_whole_as_a_whole(&fast, &[start.len() + tracks.len()]);
        let mut long = [1u32.to_be_bytes().as_slice(), b"mdat", &116u64.to_be_bytes(), &[7; 100]].concat();
        long.extend(&tracks);
        only_whole_as_a_whole(&long, &[]);
        let to_the_end = [start, tracks, vec![0, 0, 0, 0, b'm', b'd', b'a', b't', 1]].concat();
        assert!(whole(&to_the_end));
    }

    #[test]
    fn a_file_whose_end_is_not_written_yet_is_not_whole() {
        let tracks = mp4_box(b"moov", &[9; 40]);
        let data = mp4_box(b"mdat", &[[7; 5000], [0; 5000]].concat());
        assert!(!whole(&[tracks, data].concat()));
        assert!(!whole(&[[0x47; 188].as_slice(), &[0; 8000]].concat()));
    }

    #[test]
    fn other_containers_with_lengths_are_whole_at_their_end() {
        let riff = |bytes: usize| {
            let length = u32::try_from(bytes).unwrap().to_le_bytes();
            [b"RIFF".as_slice(), &length, &vec![3; bytes]].concat()
        };
        only_whole_as_a_whole(&riff(64), &[]);
        let long = [riff(64), riff(32)].concat();
        only_whole_as_a_whole(&long, &[72]);
        let object = |id: [u8; 16], bytes: u64| {
            let content = vec![5; usize::try_from(bytes).unwrap()];
            [id.as_slice(), &(24 + bytes).to_le_bytes(), &content].concat()
        };
        only_whole_as_a_whole(&[object(ASF, 10), object([1; 16], 30)].concat(), &[34]);
        let matroska =
            [&EBML[..], &[0x84, 1, 2, 3, 4], &[0x18, 0x53, 0x80, 0x67, 0x40, 40], &[6; 40]].concat();
        only_whole_as_a_whole(&matroska, &[]);
        let live = [&EBML[..], &[0x84, 1, 2, 3, 4], &[0x18, 0x53, 0x80, 0x67, 0xff], &[6; 40]].concat();
        assert!(whole(&live) && whole(&live[..30]));
    }

    #[test]
    fn what_has_no_lengths_is_whole() {
        assert!(whole(&[0x47; 200]) && whole(b"FLV\x01") && whole(b"x"));
    }
}
