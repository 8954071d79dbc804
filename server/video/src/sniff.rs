//! Recognizes files that are certainly not videos by their first bytes, for a clear error before ffmpeg is tried.

use std::{fs::File, os::unix::fs::FileExt};

/// Returns what `file` is, if its first bytes show that it is not a video.
#[must_use]
pub fn not_a_video(file: &File) -> Option<&'static str> {
    let mut head = [0u8; 512];
    let read = file.read_at(&mut head, 0).ok()?;
    kind(&head[..read])
}

fn kind(head: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 14] = [
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (b"\xff\xd8\xff\xe1", "a JPEG picture"),
        (b"BM", "a BMP picture"),
        (b"II*\0", "a TIFF picture"),
        (b"MM\0*", "a TIFF picture"),
        (b"ID3", "an MP3 sound file"),
        (b"fLaC", "a FLAC sound file"),
        (b"#!AMR", "an AMR sound file"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"%PDF", "a PDF document"),
        (b"\x7fELF", "a program"),
        (b"#EXTM3U", "a playlist"),
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
    let magic = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
    let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    magic.or_else(|| (head.iter().all(printable) && !head.starts_with(b"GIF8")).then_some("a text file"))
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn files_that_are_no_video_are_named() {
        assert_eq!(kind(b""), Some("the file is empty"));
        assert_eq!(kind(b"hello, world\n"), Some("a text file"));
        assert_eq!(kind(b"\x89PNG\r\n\x1a\n\0\0"), Some("a PNG picture"));
        assert_eq!(kind(b"RIFF\0\0\0\0WAVEfmt "), Some("a WAV sound file"));
    }

    #[test]
    fn videos_and_unknown_bytes_are_left_to_ffmpeg() {
        assert_eq!(kind(b"RIFF\0\0\0\0AVI LIST"), None);
        assert_eq!(kind(b"\0\0\0\x18ftypmp42"), None);
        assert_eq!(kind(b"GIF89a"), None);
        assert_eq!(kind(&[0xff; 16]), None);
    }
}
