//! Decodes one `data:` URL, or plain base64, into temporary files while it arrives: one file, or one per frame of a list
//! (`data:video/jpeg;base64,FRAME,FRAME,…`).

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempPath};

use super::{BodyError, base64_text::Base64Text};
use crate::media::Source;

/// Maximum length of the part before the data: media type and parameters.
const MAX_HEAD: usize = 1024;

/// Maximum number of frames in a list.
pub(in crate::http::openai) const MAX_FRAMES: usize = 768;

/// Media type of a list of frames, as vLLM and qwen-vl-utils send it.
const FRAME_LIST: &str = "video/jpeg";

/// A decoded `data:` URL.
#[derive(Debug, Clone)]
pub(in crate::http::openai) struct SpooledMedia {
    /// The files: one, or one per frame of a list. They are deleted with their last clone.
    pub(in crate::http::openai) files: Vec<SpooledFile>,
    /// Whether the files are the frames of one video.
    pub(in crate::http::openai) is_frame_list: bool,
    /// What is wrong with the URL. `None` means that it is complete.
    pub(in crate::http::openai) fault: Option<String>,
}

/// A file of a decoded `data:` URL.
#[derive(Debug, Clone)]
pub(in crate::http::openai) struct SpooledFile {
    /// The temporary file, with the hash of its bytes.
    pub(in crate::http::openai) source: Source,
    /// Number of bytes.
    pub(in crate::http::openai) size: u64,
}

/// How the data are encoded.
#[derive(Debug)]
enum Encoding {
    /// The data have not begun.
    Unknown {
        head: Vec<u8>,
    },
    Base64(Base64Text),
    /// `rest` is an incomplete `%XX`.
    Percent {
        rest: Vec<u8>,
    },
    /// The URL is faulty; what follows is discarded.
    Faulty,
}

/// Writes one URL to files.
#[derive(Debug)]
pub(super) struct MediaWriter {
    scratch: PathBuf,
    open: OpenFile,
    files: Vec<SpooledFile>,
    encoding: Encoding,
    is_frame_list: bool,
    fault: Option<String>,
}

impl MediaWriter {
    /// Starts a `data:` URL, whose scheme was read.
    pub(super) fn url(scratch: &Path) -> Result<Self, BodyError> {
        Self::new(scratch, Encoding::Unknown { head: Vec::new() })
    }

    /// Starts base64 without a URL around it.
    pub(super) fn base64(scratch: &Path) -> Result<Self, BodyError> {
        Self::new(scratch, Encoding::Base64(Base64Text::default()))
    }

    fn new(scratch: &Path, encoding: Encoding) -> Result<Self, BodyError> {
        Ok(Self {
            scratch: scratch.to_owned(),
            open: OpenFile::create(scratch)?,
            files: Vec::new(),
            encoding,
            is_frame_list: false,
            fault: None,
        })
    }

    /// Takes the next characters.
    pub(super) fn push(&mut self, text: &[u8]) -> Result<(), BodyError> {
        match &mut self.encoding {
            Encoding::Unknown { head } => {
                head.extend_from_slice(text);
                let head = std::mem::take(head);
                self.begin(head, false)
            }
            Encoding::Base64(_) if self.is_frame_list => {
                let mut frames = text.split(|&byte| byte == b',');
                self.base64_text(frames.next().unwrap_or_default())?;
                frames.try_for_each(|frame| {
                    self.next_frame()?;
                    self.base64_text(frame)
                })
            }
            Encoding::Base64(_) => self.base64_text(text),
            Encoding::Percent { .. } => self.percent(text),
            Encoding::Faulty => Ok(()),
        }
    }

    /// Looks for the end of the head. `complete` means that nothing follows.
    fn begin(&mut self, head: Vec<u8>, complete: bool) -> Result<(), BodyError> {
        if let Some((mime, data)) = split_base64(&head) {
            self.is_frame_list = mime.trim_ascii().eq_ignore_ascii_case(FRAME_LIST.as_bytes());
            self.encoding = Encoding::Base64(Base64Text::default());
            return self.push(data);
        }
        // A parameter such as codecs="vp9,opus" has a comma as well, so the first comma only ends a head without ;base64.
        if !complete && head.len() < MAX_HEAD {
            self.encoding = Encoding::Unknown { head };
            return Ok(());
        }
        match head.iter().position(|&byte| byte == b',') {
            Some(comma) => {
                self.encoding = Encoding::Percent { rest: Vec::new() };
                self.push(&head[comma + 1..])
            }
            None => {
                self.fail("the data: URL has no comma between its type and its data".into());
                Ok(())
            }
        }
    }

    fn base64_text(&mut self, text: &[u8]) -> Result<(), BodyError> {
        let Encoding::Base64(decoder) = &mut self.encoding else { return Ok(()) };
        let mut bytes = Vec::new();
        match decoder.push(text, &mut bytes) {
            Ok(()) => self.open.write(&bytes),
            Err(fault) => {
                self.fail(not_base64(&fault));
                Ok(())
            }
        }
    }

    fn percent(&mut self, text: &[u8]) -> Result<(), BodyError> {
        let Encoding::Percent { rest } = &mut self.encoding else { return Ok(()) };
        rest.extend_from_slice(text);
        // A sequence that may go on in the next bytes waits for them.
        let tail = rest.len().saturating_sub(2);
        let incomplete =
            rest[tail..].iter().position(|&byte| byte == b'%').map_or(rest.len(), |at| tail + at);
        let left = rest.split_off(incomplete);
        let complete = std::mem::replace(rest, left);
        let bytes: Vec<u8> = percent_encoding::percent_decode(&complete).collect();
        self.open.write(&bytes)
    }

    /// Ends a frame of a list and starts the next one.
    fn next_frame(&mut self) -> Result<(), BodyError> {
        self.end_data()?;
        if self.files.len() + 1 == MAX_FRAMES {
            self.fail(format!("the list has more than {MAX_FRAMES} frames"));
        }
        if self.fault.is_none() {
            let ended = std::mem::replace(&mut self.open, OpenFile::create(&self.scratch)?);
            self.files.push(ended.finish());
            self.encoding = Encoding::Base64(Base64Text::default());
        }
        Ok(())
    }

    /// Ends the data of a file.
    fn end_data(&mut self) -> Result<(), BodyError> {
        match std::mem::replace(&mut self.encoding, Encoding::Faulty) {
            Encoding::Base64(decoder) => {
                let mut bytes = Vec::new();
                match decoder.finish(&mut bytes) {
                    Ok(()) => self.open.write(&bytes)?,
                    Err(fault) => self.fail(not_base64(&fault)),
                }
            }
            Encoding::Percent { rest } => {
                let bytes: Vec<u8> = percent_encoding::percent_decode(&rest).collect();
                self.open.write(&bytes)?;
            }
            Encoding::Unknown { .. } | Encoding::Faulty => {}
        }
        if self.open.size == 0 {
            self.fail(match self.is_frame_list {
                true => format!("frame {} of the list is empty", self.files.len()),
                false => "the data are empty".into(),
            });
        }
        Ok(())
    }

    fn fail(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
        self.encoding = Encoding::Faulty;
    }

    /// Ends the URL.
    pub(super) fn finish(mut self) -> Result<SpooledMedia, BodyError> {
        if let Encoding::Unknown { head } = &mut self.encoding {
            let head = std::mem::take(head);
            self.begin(head, true)?;
        }
        self.end_data()?;
        let mut files = self.files;
        files.push(self.open.finish());
        Ok(SpooledMedia { files, is_frame_list: self.is_frame_list, fault: self.fault })
    }
}

/// A file that is being written.
#[derive(Debug)]
struct OpenFile {
    file: File,
    path: TempPath,
    hash: Sha256,
    size: u64,
}

impl OpenFile {
    fn create(scratch: &Path) -> Result<Self, BodyError> {
        let (file, path) = NamedTempFile::new_in(scratch)?.into_parts();
        Ok(Self { file, path, hash: Sha256::new(), size: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(self.file.write_all(bytes)?)
    }

    fn finish(self) -> SpooledFile {
        let sha256 = format!("{:x}", self.hash.finalize());
        SpooledFile { source: Source::scratch(self.path, Some(sha256)), size: self.size }
    }
}

/// Splits what is before `;base64,` and after it.
fn split_base64(head: &[u8]) -> Option<(&[u8], &[u8])> {
    const NAME: &[u8] = b"base64";
    let parameters = head.iter().enumerate().filter(|(_, byte)| **byte == b';').map(|(at, _)| at);
    parameters.into_iter().find_map(|at| {
        let rest = head[at + 1..].trim_ascii_start();
        let (name, rest) = rest.split_at_checked(NAME.len())?;
        let data = rest.trim_ascii_start().strip_prefix(b",")?;
        name.eq_ignore_ascii_case(NAME)
            .then(|| (head[..at].split(|&byte| byte == b';').next().unwrap_or_default(), data))
    })
}

fn not_base64(fault: &str) -> String {
    format!("the data are not valid base64: {fault}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn decoded(url: &str, step: usize) -> Result<Vec<Vec<u8>>, String> {
        let mut writer = MediaWriter::url(&std::env::temp_dir()).unwrap();
        for chunk in url.as_bytes().chunks(step) {
            writer.push(chunk).unwrap();
        }
        let media = writer.finish().unwrap();
        match media.fault {
            Some(fault) => Err(fault),
            None => Ok(media.files.iter().map(|file| fs::read(file.source.path()).unwrap()).collect()),
        }
    }

    #[test]
    fn base64_and_percent_encoding_give_the_same_bytes_in_any_chunks() {
        for (url, bytes) in [
            ("image/png;base64,aGVsbG8=", b"hello".as_slice()),
            ("image/png;charset=x;base64,aGVsbA==", b"hell"),
            ("image/png;BASE64,aGVsbG8", b"hello"),
            ("image/png; base64 ,aGVsbG8", b"hello"),
            ("video/webm;codecs=vp9,opus;base64,aGVsbG8=", b"hello"),
            ("video/webm;codecs=\"vp9,opus\";base64,aGVsbG8=", b"hello"),
            (";base64,aGVsbG8=", b"hello"),
            ("image/png,h%65l%6Co", b"hello"),
            (",100%,5%4", b"100%,5%4"),
        ] {
            for step in [1, 2, 3, 5, 100] {
                assert_eq!(decoded(url, step), Ok(vec![bytes.to_vec()]), "{url} {step}");
            }
        }
        let long = "x".repeat(3 * MAX_HEAD);
        for step in [1, 100, 10_000] {
            assert_eq!(decoded(&format!("text/plain,{long}"), step), Ok(vec![long.clone().into_bytes()]));
        }
    }

    #[test]
    fn a_list_of_frames_is_a_file_per_frame() {
        for step in [1, 3, 100] {
            let frames = decoded("video/jpeg;base64,aGk=,aGVsbG8,aGVs", step);
            assert_eq!(frames, Ok(vec![b"hi".to_vec(), b"hello".to_vec(), b"hel".to_vec()]));
            assert!(
                decoded("video/jpeg;base64,aGk=,,aGVs", step)
                    .unwrap_err()
                    .contains("frame 1 of the list is empty")
            );
            assert!(decoded("video/jpeg;base64,aGk=,!", step).unwrap_err().contains("base64"));
        }
        let many = format!("video/jpeg;base64,{}", vec!["aGk="; MAX_FRAMES + 1].join(","));
        assert!(decoded(&many, 1000).unwrap_err().contains("768 frames"));
        assert_eq!(decoded(&many[..many.len() - 5], 1000).unwrap().len(), MAX_FRAMES);
    }

    #[test]
    fn faults_are_named() {
        for (url, word) in [
            ("video/mp4;base64", "comma"),
            ("video/mp4;base64,", "empty"),
            ("video/mp4,", "empty"),
            ("video/mp4;base64,!!!!", "base64"),
            ("video/mp4;base64,aGk=aGk=", "base64"),
            ("video/mp4;base64,aGVsb", "base64"),
        ] {
            for step in [1, 4, 100] {
                let fault = decoded(url, step).unwrap_err();
                assert!(fault.contains(word), "{url}: {fault}");
            }
        }
        assert!(decoded(&"x".repeat(2 * MAX_HEAD), 100).unwrap_err().contains("comma"));
    }

    #[test]
    fn a_file_has_the_hash_of_its_content() {
        let mut writer = MediaWriter::base64(&std::env::temp_dir()).unwrap();
        writer.push(b"aGk=").unwrap();
        let media = writer.finish().unwrap();
        let [file] = media.files.as_slice() else { panic!("one file") };
        assert_eq!(
            file.source.sha256().unwrap(),
            "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"
        );
        assert_eq!(file.size, 2);
    }
}
