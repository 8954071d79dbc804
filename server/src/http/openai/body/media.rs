//! Decodes one `data:` URL into a temporary file while it arrives.

use std::{fs::File, io::Write as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempPath};

use super::BodyError;

/// Maximum length of the part before the comma: media type and parameters.
const MAX_HEAD: usize = 1024;

/// A decoded `data:` URL.
#[derive(Debug)]
pub(in crate::http::openai) struct SpooledMedia {
    /// Its media type; may be empty.
    pub(in crate::http::openai) mime: String,
    /// The file, which is deleted when this is dropped.
    pub(in crate::http::openai) path: TempPath,
    /// Number of bytes.
    pub(in crate::http::openai) size: u64,
    /// Hash of the bytes, in hexadecimal.
    pub(in crate::http::openai) sha256: String,
    /// What is wrong with the URL. `None` means that it is complete.
    pub(in crate::http::openai) fault: Option<String>,
}

/// How the data after the comma are encoded.
#[derive(Debug)]
enum Encoding {
    /// The comma has not arrived.
    Unknown { head: Vec<u8> },
    /// In groups of four characters. `rest` is an incomplete group; `padded` means that the last group was read.
    Base64 { rest: Vec<u8>, padded: bool },
    /// `rest` is an incomplete `%XX`.
    Percent { rest: Vec<u8> },
    /// The URL is faulty; what follows is discarded.
    Faulty,
}

/// Writes one `data:` URL, without its scheme, to a file.
#[derive(Debug)]
pub(super) struct MediaWriter {
    file: File,
    path: TempPath,
    hash: Sha256,
    size: u64,
    mime: String,
    encoding: Encoding,
    fault: Option<String>,
}

impl MediaWriter {
    pub(super) fn create(scratch: &Path) -> Result<Self, BodyError> {
        let (file, path) = NamedTempFile::new_in(scratch)?.into_parts();
        Ok(Self {
            file,
            path,
            hash: Sha256::new(),
            size: 0,
            mime: String::new(),
            encoding: Encoding::Unknown { head: Vec::new() },
            fault: None,
        })
    }

    /// Takes the next characters of the URL.
    pub(super) fn push(&mut self, text: &[u8]) -> Result<(), BodyError> {
        match &mut self.encoding {
            Encoding::Unknown { head } => {
                let comma = text.iter().position(|&byte| byte == b',');
                head.extend_from_slice(&text[..comma.unwrap_or(text.len())]);
                if head.len() > MAX_HEAD {
                    self.fail("the data: URL has no comma between its type and its data".into());
                } else if let Some(comma) = comma {
                    let head = String::from_utf8_lossy(head).into_owned();
                    self.begin(&head);
                    return self.push(&text[comma + 1..]);
                }
                Ok(())
            }
            Encoding::Base64 { .. } => self.base64(text),
            Encoding::Percent { .. } => self.percent(text),
            Encoding::Faulty => Ok(()),
        }
    }

    fn begin(&mut self, head: &str) {
        let (head, base64) = match head.strip_suffix(";base64") {
            Some(head) => (head, true),
            None => (head, false),
        };
        self.mime = head.split(';').next().unwrap_or_default().to_owned();
        self.encoding = if base64 {
            Encoding::Base64 { rest: Vec::new(), padded: false }
        } else {
            Encoding::Percent { rest: Vec::new() }
        };
    }

    fn base64(&mut self, text: &[u8]) -> Result<(), BodyError> {
        let Encoding::Base64 { rest, padded } = &mut self.encoding else { return Ok(()) };
        if text.is_empty() {
            return Ok(());
        }
        if *padded {
            self.fail("the data: URL is not valid base64: there is text after the padding".into());
            return Ok(());
        }
        // Some clients percent-encode the + and / of base64.
        if text.contains(&b'%') {
            self.fail("the data: URL's base64 is percent-encoded; send it without percent-encoding".into());
            return Ok(());
        }
        rest.extend_from_slice(text);
        let left = rest.split_off(rest.len() / 4 * 4);
        let groups = std::mem::replace(rest, left);
        *padded = groups.last() == Some(&b'=');
        match STANDARD.decode(&groups) {
            Ok(bytes) => self.write(&bytes),
            Err(error) => {
                self.fail(not_base64(&error));
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
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(self.file.write_all(bytes)?)
    }

    fn fail(&mut self, fault: String) {
        self.fault = Some(fault);
        self.encoding = Encoding::Faulty;
    }

    /// Ends the URL.
    pub(super) fn finish(mut self) -> Result<SpooledMedia, BodyError> {
        match std::mem::replace(&mut self.encoding, Encoding::Faulty) {
            Encoding::Unknown { .. } => {
                self.fail("the data: URL has no comma between its type and its data".into());
            }
            Encoding::Base64 { rest, .. } if !rest.is_empty() => match STANDARD.decode(&rest) {
                Ok(bytes) => self.write(&bytes)?,
                Err(error) => self.fail(not_base64(&error)),
            },
            Encoding::Percent { rest } => {
                let bytes: Vec<u8> = percent_encoding::percent_decode(&rest).collect();
                self.write(&bytes)?;
            }
            Encoding::Base64 { .. } | Encoding::Faulty => {}
        }
        if self.size == 0 && self.fault.is_none() {
            self.fault = Some("the data: URL is empty".into());
        }
        Ok(SpooledMedia {
            mime: self.mime,
            path: self.path,
            size: self.size,
            sha256: format!("{:x}", self.hash.finalize()),
            fault: self.fault,
        })
    }
}

fn not_base64(error: &base64::DecodeError) -> String {
    format!("the data: URL is not valid base64: {error}").to_lowercase().replace("data: url", "data: URL")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn decoded(url: &str, step: usize) -> Result<(String, Vec<u8>), String> {
        let mut writer = MediaWriter::create(&std::env::temp_dir()).unwrap();
        for chunk in url.as_bytes().chunks(step) {
            writer.push(chunk).unwrap();
        }
        let media = writer.finish().unwrap();
        match media.fault {
            Some(fault) => Err(fault),
            None => Ok((media.mime, fs::read(&media.path).unwrap())),
        }
    }

    #[test]
    fn base64_and_percent_encoding_give_the_same_bytes_in_any_chunks() {
        for step in [1, 2, 3, 5, 100] {
            let png = |bytes: &[u8]| Ok(("image/png".to_owned(), bytes.to_vec()));
            assert_eq!(decoded("image/png;base64,aGVsbG8=", step), png(b"hello"));
            assert_eq!(decoded("image/png;charset=x;base64,aGVsbA==", step), png(b"hell"));
            assert_eq!(decoded("image/png,h%65l%6Co", step), png(b"hello"));
            assert_eq!(decoded(",100%,5%4", step), Ok((String::new(), b"100%,5%4".to_vec())));
        }
    }

    #[test]
    fn faults_are_named() {
        for (url, word) in [
            ("video/mp4;base64", "comma"),
            ("video/mp4;base64,", "empty"),
            ("video/mp4,", "empty"),
            ("video/mp4;base64,!!!!", "base64"),
            ("video/mp4;base64,aGVsbG8", "base64"),
            ("video/mp4;base64,aGk=aGk=", "base64"),
            ("video/mp4;base64,aG%2B", "percent-encoded"),
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
        let mut writer = MediaWriter::create(&std::env::temp_dir()).unwrap();
        writer.push(b"video/mp4;base64,aGk=").unwrap();
        let media = writer.finish().unwrap();
        assert_eq!(media.sha256, "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4");
        assert_eq!(media.size, 2);
    }
}
