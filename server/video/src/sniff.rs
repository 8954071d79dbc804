//! Recognizes files that are certainly not videos by their first bytes, for a clear error before ffmpeg is tried.

mod bytes;
mod encrypted;
mod jpeg;
mod motion;

use std::{fs::File, os::unix::fs::FileExt};

pub(crate) use encrypted::encryption;

const HEIC: &str = "a HEIC picture";

/// Bytes that are read: more than a frame of sound has.
const HEAD: usize = 4096;

/// Returns what `file` is, if its bytes show that it is not a video.
#[must_use]
pub fn not_a_video(file: &File) -> Option<&'static str> {
    look(file).err()
}

/// Returns the position in `file` at which the film begins: 0, except in a motion photo.
///
/// # Errors
/// What the file is, if its bytes show that it is not a video.
pub(crate) fn look(file: &File) -> Result<u64, &'static str> {
    let mut head = [0u8; HEAD];
    let Ok(read) = file.read_at(&mut head, 0) else { return Ok(0) };
    let head = &head[..read];
    if head.starts_with(b"\xff\xd8\xff") {
        return match jpeg::is_film(file, head) {
            true => Ok(0),
            // A damaged picture is searched from its beginning.
            false => motion::behind_jpeg(file, jpeg::first_end(file).unwrap_or(0)).ok_or("a JPEG picture"),
        };
    }
    match kind(head) {
        None => Ok(0),
        Some(HEIC) => motion::in_heic(file).ok_or(HEIC),
        Some(other) => Err(other),
    }
}

fn kind(head: &[u8]) -> Option<&'static str> {
    const DISC: &str = "an index of a Blu-ray or AVCHD disc; its films are in the folder STREAM";
    const MAGIC: [(&[u8], &str); 23] = [
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"BM", "a BMP picture"),
        (b"II*\0", "a TIFF or raw picture"),
        (b"MM\0*", "a TIFF or raw picture"),
        (b"IIRO", "a raw picture (ORF)"),
        (b"FUJIFILMCCD-RAW", "a raw picture (RAF)"),
        (b"8BPS", "a Photoshop picture"),
        (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
        (b"\xff\x0a", "a JPEG XL picture"),
        (b"ID3", "an MP3 sound file"),
        (b"fLaC", "a FLAC sound file"),
        (b"#!AMR", "an AMR sound file"),
        (b"DVDVIDEO-", "an index of a DVD; its films are in the VOB files"),
        (b"HDMV0", DISC),
        (b"MPLS0", DISC),
        (b"INDX0", DISC),
        (b"MOBJ0", DISC),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"%PDF", "a PDF document"),
        (b"\x7fELF", "a program"),
        (b"#EXTM3U", "a playlist"),
        (b"\0\x05\x16\x07", "the notes of a Mac about another file (._)"),
    ];
    if head.is_empty() {
        return Some("the file is empty");
    }
    if let (Some(b"RIFF"), Some(form)) = (head.get(..4), head.get(8..12)) {
        match form {
            b"WAVE" => return Some("a WAV sound file"),
            b"WEBP" => return Some("a WebP picture"),
            _ => {}
        }
    }
    if let [_, _, _, 0xc5, 4 | 5, 0, 0, 0, ..] = head {
        return Some("a raw VC-1 stream (RCV) without a container that can be read");
    }
    if head.starts_with(b"\0\0\x01\x0f") {
        return Some("a raw VC-1 stream without a container that can be read");
    }
    let magic = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
    let text = || {
        let head = &head[..head.len().min(512)];
        let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        (head.iter().all(printable) && !head.starts_with(b"GIF8")).then_some("a text file")
    };
    magic.or_else(|| still(head)).or_else(|| sound(head)).or_else(text)
}

/// Recognizes pictures in the container of MP4, by the brands that it names.
fn still(head: &[u8]) -> Option<&'static str> {
    let (length, rest) = head.split_first_chunk()?;
    let brands = rest.strip_prefix(b"ftyp")?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?.clamp(16, HEAD) - 8;
    let (brands, _) = brands[..length.min(brands.len())].as_chunks::<4>();
    let (major, others) = (brands.first()?, brands.get(2..).unwrap_or_default());
    match major {
        b"avif" => Some("an AVIF picture"),
        b"mif1" | b"mif2" if others.contains(b"avif") => Some("an AVIF picture"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"mif1" | b"mif2" => Some(HEIC),
        b"crx " => Some("a raw picture (CR3)"),
        b"jp2 " | b"jpx " => Some("a JPEG 2000 picture"),
        _ => None,
    }
}

/// Recognizes sound without a container: two frames of AAC or MP3, one behind the other.
fn sound(head: &[u8]) -> Option<&'static str> {
    let aac = |at: usize| {
        let frame = head.get(at..at + 6).filter(|frame| frame[0] == 0xff && frame[1] & 0xf6 == 0xf0)?;
        let length =
            usize::from(frame[3] & 3) << 11 | usize::from(frame[4]) << 3 | usize::from(frame[5] >> 5);
        (length >= 7).then_some(at + length)
    };
    if aac(0).and_then(aac).is_some() {
        return Some("an AAC sound file");
    }
    let mp3 = |at: usize| Some(at + mp3_frame(head.get(at..at + 4)?.first_chunk()?)?);
    mp3(0).and_then(mp3).map(|_| "an MP3 sound file")
}

/// Returns the length of a frame of MP3 (MPEG 1, 2 or 2.5, layer III).
fn mp3_frame(&[sync, version, rates, _]: &[u8; 4]) -> Option<usize> {
    const MPEG1: [usize; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const MPEG2: [usize; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    if sync != 0xff || version & 0xe6 != 0xe2 {
        return None;
    }
    let (kilobits, divisor, samples) = match version >> 3 & 3 {
        3 => (MPEG1, 1, 144),
        2 => (MPEG2, 2, 72),
        0 => (MPEG2, 4, 72),
        _ => return None,
    };
    let kilobits = *kilobits.get(usize::from(rates >> 4)).filter(|&&kilobits| kilobits > 0)?;
    let hertz = [44_100, 48_000, 32_000].get(usize::from(rates >> 2 & 3))? / divisor;
    Some(samples * 1000 * kilobits / hertz + usize::from(rates >> 1 & 1))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn files_that_are_no_video_are_named() {
        assert_eq!(kind(b""), Some("the file is empty"));
        assert_eq!(kind(b"hello, world\n"), Some("a text file"));
        assert_eq!(kind(b"\x89PNG\r\n\x1a\n\0\0"), Some("a PNG picture"));
        assert_eq!(kind(b"RIFF\0\0\0\0WAVEfmt "), Some("a WAV sound file"));
        assert!(kind(b"\x18\0\0\xc5\x05\0\0\0\x4d\xf1").unwrap().starts_with("a raw VC-1 stream"));
        assert_eq!(kind(b"DVDVIDEO-VTS\0\0"), Some("an index of a DVD; its films are in the VOB files"));
    }

    #[test]
    fn pictures_in_the_container_of_mp4_are_named() {
        let named = |brands: &[u8]| {
            let length = u32::try_from(8 + brands.len()).unwrap();
            kind(&[&length.to_be_bytes(), b"ftyp".as_slice(), brands, b"\0\0\0\x08mdat"].concat())
        };
        assert_eq!(named(b"avif\0\0\0\0mif1"), Some("an AVIF picture"));
        assert_eq!(named(b"mif1\0\0\0\0miafavif"), Some("an AVIF picture"));
        assert_eq!(named(b"heic\0\0\0\0mif1heic"), Some("a HEIC picture"));
        assert_eq!(named(b"mif1\0\0\0\0heic"), Some("a HEIC picture"));
        assert_eq!(named(b"crx \0\0\0\x01crx isom"), Some("a raw picture (CR3)"));
        assert_eq!(named(b"isom\0\0\x02\0isomavif"), None);
        assert_eq!(kind(b"\0\0\0\0ftypheic"), Some("a HEIC picture"));
        assert_eq!(kind(b"\0\0\0\x18ftyp"), None);
    }

    #[test]
    fn sound_without_a_container_is_named() {
        let mut aac = vec![0u8; 600];
        // 0x282 >> 1: 321 bytes.
        for at in [0, 321] {
            aac[at..at + 6].copy_from_slice(&[0xff, 0xf1, 0x50, 0x40, 0x28, 0x3f]);
        }
        assert_eq!(kind(&aac), Some("an AAC sound file"));
        aac[321] = 0;
        assert_eq!(kind(&aac), None);
        let mut mp3 = vec![0u8; 900];
        // 128 kbit/s at 44,100 Hz: 417 bytes; the first one is padded.
        mp3[..4].copy_from_slice(&[0xff, 0xfb, 0x92, 0xc4]);
        mp3[418..422].copy_from_slice(&[0xff, 0xfb, 0x90, 0xc4]);
        assert_eq!(kind(&mp3), Some("an MP3 sound file"));
        mp3[419] = 0;
        assert_eq!(kind(&mp3), None);
    }

    #[test]
    fn videos_and_unknown_bytes_are_left_to_ffmpeg() {
        assert_eq!(kind(b"RIFF\0\0\0\0AVI LIST"), None);
        assert_eq!(kind(b"\0\0\0\x18ftypmp42"), None);
        assert_eq!(kind(b"GIF89a"), None);
        assert_eq!(kind(&[0xff; 16]), None);
    }

    fn looked_at(bytes: &[u8]) -> Result<u64, &'static str> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        look(&file)
    }

    #[test]
    fn the_film_of_a_motion_photo_is_found() {
        let film = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42\0\0\0\x08mdat";
        let jpeg = b"\xff\xd8\xff\xdb\0\x04\x01\x02\xff\xda\0\x03\x01ab\xff\xd9";
        let of_samsung = [jpeg.as_slice(), b"\0\0\x30\x0aMotionPhoto_Data", film].concat();
        assert_eq!(looked_at(&of_samsung), Ok(of_samsung.len() as u64 - film.len() as u64));
        assert_eq!(looked_at(&[jpeg.as_slice(), film].concat()), Ok(jpeg.len() as u64));
        // Across the border of two blocks.
        let far = [jpeg.as_slice(), &vec![7; (1 << 20) - 5], film].concat();
        assert_eq!(looked_at(&far), Ok(far.len() as u64 - film.len() as u64));
        assert_eq!(looked_at(&[jpeg.as_slice(), b"\0\0\0\x18ftypheic"].concat()), Err("a JPEG picture"));

        let heic = b"\0\0\0\x14ftypheic\0\0\0\0mif1\0\0\0\x0cmetaabcd";
        let with_film = [heic.as_slice(), b"\0\0\0\x28mpvd", film].concat();
        assert_eq!(looked_at(&with_film), Ok(heic.len() as u64 + 8));
        assert_eq!(looked_at(heic), Err(HEIC));
        assert_eq!(looked_at(&[heic.as_slice(), b"\0\0\0\x0cmpvdabcd"].concat()), Err(HEIC));
    }

    #[test]
    fn a_row_of_jpegs_is_a_film_and_a_picture_is_not() {
        // Two segments, one of which contains the end of its thumbnail, and coded data with an escaped 0xff and a restart.
        let picture = |thumbnail: &[u8]| {
            let length = u16::try_from(thumbnail.len() + 2).unwrap().to_be_bytes();
            let coded = b"\xff\xda\0\x03\x01ab\xff\0c\xff\xd0d\xff\xd9";
            [b"\xff\xd8\xff\xdb\0\x04\x01\x02\xff\xe1".as_slice(), &length, thumbnail, coded].concat()
        };
        let is_film = |bytes: &[u8]| looked_at(bytes) == Ok(0);
        let one = picture(b"Exif\0\0\xff\xd8\xff\xd9");
        assert!(!is_film(&one));
        assert!(is_film(&one.repeat(3)));
        assert!(is_film(&[one.clone(), vec![0; 5], one.repeat(2)].concat()), "padded");
        // A preview behind the picture, and a picture of two eyes.
        assert!(!is_film(&one.repeat(2)));
        assert!(!is_film(&[picture(b"MPF\0II*\0"), one.repeat(3)].concat()));
        assert!(!is_film(&one.repeat(3)[..2 * one.len() - 1]));
        assert!(!is_film(b"\xff\xd8\xff"));
    }
}
