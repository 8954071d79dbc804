//! Writes PNG frames as an AVI file of constant rate: the simplest container that states its rate and frame count
//! exactly, and that OpenCV decodes without loss.
//!
//! Our own writer, because no maintained crate writes AVI; the layout is Microsoft's "AVI RIFF File Reference" with one index.

use super::times::ConstantRate;
use crate::EngineError;

/// RIFF counts bytes in 32 bits.
const MAX_BYTES: usize = (1 << 31) - (1 << 20);
/// `AVIIF_KEYFRAME`: every PNG frame is a key frame.
const KEY_FRAME: u32 = 0x10;
const HAS_INDEX: u32 = 0x10;

/// Muxes `pictures` (whole PNG files of `width` x `height`) into a file of constant `rate`.
///
/// # Errors
/// `Invalid` when the frames have more bytes than RIFF can count.
pub(super) fn mux(
    pictures: &[impl AsRef<[u8]>],
    (width, height): (u32, u32),
    rate: ConstantRate,
) -> Result<Vec<u8>, EngineError> {
    let bytes: usize = pictures.iter().map(|picture| picture.as_ref().len() + 24).sum();
    if bytes > MAX_BYTES {
        let message = format!("the frames have {bytes} bytes; {MAX_BYTES} would fit: ask for fewer frames");
        return Err(EngineError::invalid("messages", message));
    }
    let frames = pictures.len() as u32;
    let largest = pictures.iter().map(|picture| picture.as_ref().len()).max().unwrap_or(0) as u32;
    let microseconds = (1e6 / rate.fps()) as u32;
    let main = words(&[microseconds, 0, 0, HAS_INDEX, frames, 0, 1, largest, width, height, 0, 0, 0, 0]);
    let mut stream = b"vidsMPNG".to_vec();
    stream.extend(words(&[0, 0, 0, rate.denominator, rate.numerator, 0, frames, largest, u32::MAX, 0]));
    // The frame's rectangle, in 16 bits per side; no reader uses it.
    stream.extend([0u8; 8]);
    let mut format = words(&[40, width, height]);
    format.extend([1u8, 0, 24, 0]);
    format.extend(b"MPNG");
    format.extend(words(&[3 * width * height, 0, 0, 0, 0]));

    let mut list = b"strl".to_vec();
    chunk(&mut list, b"strh", &stream);
    chunk(&mut list, b"strf", &format);
    let mut headers = b"hdrl".to_vec();
    chunk(&mut headers, b"avih", &main);
    chunk(&mut headers, b"LIST", &list);

    let mut movie = Vec::with_capacity(bytes);
    movie.extend(b"movi");
    let mut index = Vec::with_capacity(16 * pictures.len());
    for picture in pictures {
        let picture = picture.as_ref();
        index.extend(b"00dc");
        index.extend(words(&[KEY_FRAME, movie.len() as u32, picture.len() as u32]));
        chunk(&mut movie, b"00dc", picture);
    }

    let mut body = b"AVI ".to_vec();
    body.reserve(movie.len() + index.len() + 1024);
    chunk(&mut body, b"LIST", &headers);
    chunk(&mut body, b"LIST", &movie);
    chunk(&mut body, b"idx1", &index);
    let mut file = Vec::with_capacity(body.len() + 8);
    chunk(&mut file, b"RIFF", &body);
    Ok(file)
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn chunk(out: &mut Vec<u8>, name: &[u8; 4], body: &[u8]) {
    out.extend(name);
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    // Chunks start at even offsets.
    if body.len() % 2 == 1 {
        out.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &[u8], offset: usize) -> u32 {
        u32::from_le_bytes(file[offset..offset + 4].try_into().unwrap())
    }

    #[test]
    fn sizes_rate_and_index_are_where_readers_look() {
        let rate = ConstantRate { numerator: 1_815_000, denominator: 1_000_000 };
        let file = mux(&[b"odd".to_vec(), b"even".to_vec()], (96, 64), rate).unwrap();
        assert_eq!((&file[..4], &file[8..12]), (&b"RIFF"[..], &b"AVI "[..]));
        assert_eq!(at(&file, 4) as usize, file.len() - 8);
        let find = |name: &[u8]| file.windows(name.len()).position(|window| window == name).unwrap();
        let stream = find(b"strh") + 8;
        assert_eq!(at(&file, stream - 4), 56);
        assert_eq!((at(&file, stream + 20), at(&file, stream + 24)), (1_000_000, 1_815_000));
        assert_eq!(at(&file, stream + 32), 2, "frames");
        assert_eq!(at(&file, find(b"strf") + 4), 40);
        assert_eq!(at(&file, find(b"avih") + 4), 56);
        let (movie, index) = (find(b"movi"), find(b"idx1") + 8);
        for (entry, picture) in [(0, &b"odd"[..]), (1, b"even")] {
            let offset = at(&file, index + 16 * entry + 8) as usize;
            let len = at(&file, index + 16 * entry + 12) as usize;
            assert_eq!(&file[movie + offset..movie + offset + 4], b"00dc");
            assert_eq!(&file[movie + offset + 8..movie + offset + 8 + len], picture);
        }
    }
}
