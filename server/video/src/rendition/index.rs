//! Adjusts the index (`moov`) of an MP4 that was copied from a part of a clip: ffmpeg's muxer begins the edit list at time 0,
//! but plays to the end of the last packet, and does not know how the pictures are turned.

/// Bytes of a box before its content: size and kind.
const HEAD: usize = 8;

/// Ends the edit lists of all tracks after `length_s` seconds, and turns the first track by `matrix`. `bytes` are the beginning
/// of the file; `None` means that there is no index that can be adjusted.
pub(super) fn adjust(bytes: &mut [u8], length_s: f64, matrix: Option<[i32; 9]>) -> Option<()> {
    let movie = child(bytes, b"moov")?;
    let header = child(movie, b"mvhd")?;
    let (scale, duration) = if header.first()? == &1 { (20, 24) } else { (12, 16) };
    let scale = u32::from_be_bytes(*header.get(scale..)?.first_chunk()?);
    let length = (length_s * f64::from(scale)).round() as u64;
    shorten(header, duration, length)?;
    let tracks: Vec<(usize, usize)> = children(movie, b"trak").collect();
    for (number, (start, end)) in tracks.into_iter().enumerate() {
        let track = movie.get_mut(start..end)?;
        let header = child(track, b"tkhd")?;
        let (duration, turned) = if header.first()? == &1 { (28, 52) } else { (20, 40) };
        shorten(header, duration, length)?;
        if let Some(matrix) = matrix.filter(|_| number == 0) {
            let place = header.get_mut(turned..turned + 36)?;
            for (to, value) in place.as_chunks_mut::<4>().0.iter_mut().zip(matrix) {
                *to = value.to_be_bytes();
            }
        }
        end_edits(child(child(track, b"edts")?, b"elst")?, length)?;
    }
    Some(())
}

/// Shortens the last edit so that all of them last `length` ticks at most.
fn end_edits(list: &mut [u8], length: u64) -> Option<()> {
    let size = if list.first()? == &1 { 20 } else { 12 };
    let count = u32::from_be_bytes(*list.get(4..)?.first_chunk()?) as usize;
    let mut left = length;
    for number in 0..count {
        let at = 8 + number * size;
        let own = shorten(list, at, left)?;
        left -= own;
    }
    Some(())
}

/// Lowers the number at `at` of a box to `most`, and returns it. Boxes of version 1 have numbers of 64 bits, others of 32.
fn shorten(content: &mut [u8], at: usize, most: u64) -> Option<u64> {
    if content.first()? == &1 {
        let place = content.get_mut(at..)?.first_chunk_mut::<8>()?;
        let value = u64::from_be_bytes(*place).min(most);
        *place = value.to_be_bytes();
        Some(value)
    } else {
        let place = content.get_mut(at..)?.first_chunk_mut::<4>()?;
        let value = u32::from_be_bytes(*place).min(u32::try_from(most).unwrap_or(u32::MAX));
        *place = value.to_be_bytes();
        Some(value.into())
    }
}

/// Returns the content of the first box of a kind.
fn child<'a>(bytes: &'a mut [u8], kind: &[u8; 4]) -> Option<&'a mut [u8]> {
    let (start, end) = children(bytes, kind).next()?;
    bytes.get_mut(start..end)
}

/// Returns where the contents of the boxes of a kind begin and end. The walk stops at a box that is not wholly there.
fn children<'a>(bytes: &'a [u8], kind: &'a [u8; 4]) -> impl Iterator<Item = (usize, usize)> + 'a {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let head = bytes.get(at..)?.first_chunk::<HEAD>()?;
            let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let (start, end) = (at + HEAD, at.checked_add(size)?);
            if size < HEAD || end > bytes.len() {
                return None;
            }
            at = end;
            if head[4..] == *kind {
                return Some((start, end));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::adjust;

    fn a_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).unwrap();
        [&size.to_be_bytes(), kind.as_slice(), content].concat()
    }

    fn numbers(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn file(edits: &[u32]) -> Vec<u8> {
        let mut list = vec![0, u32::try_from(edits.len()).unwrap()];
        edits.iter().for_each(|duration| list.extend([*duration, 40, 1 << 16]));
        let edits = a_box(b"edts", &a_box(b"elst", &numbers(&list)));
        let mut header = vec![0; 21];
        header[5] = 9000;
        let track = a_box(b"trak", &[a_box(b"tkhd", &numbers(&header)), edits].concat());
        let movie = a_box(b"mvhd", &numbers(&[0, 0, 0, 1000, 9000]));
        [a_box(b"ftyp", b"isom"), a_box(b"moov", &[movie, track].concat())].concat()
    }

    fn has(bytes: &[u8], part: &[u32]) -> bool {
        let part = numbers(part);
        bytes.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn edits_end_where_the_part_ends_and_the_first_track_is_turned() {
        let turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30];
        let mut bytes = file(&[500, 9000]);
        adjust(&mut bytes, 2.5, Some(turned)).unwrap();
        assert!(has(&bytes, &[1000, 2500]), "the movie");
        assert!(has(&bytes, &[500, 40, 1 << 16, 2000, 40, 1 << 16]), "after half a second of nothing");
        assert!(has(&bytes, &turned.map(|value: i32| value as u32)));
        let mut longer = file(&[9000]);
        adjust(&mut longer, 60.0, None).unwrap();
        assert_eq!(longer, file(&[9000]), "nothing is made longer");
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let whole = file(&[9000]);
        for end in 0..whole.len() {
            assert_eq!(adjust(&mut whole[..end].to_vec(), 1.0, None), None, "{end}");
        }
        assert_eq!(adjust(&mut a_box(b"moov", &[]), 1.0, None), None);
        assert_eq!(adjust(&mut numbers(&[0, 0]), 1.0, None), None, "a box without size");
    }
}
