//! `Upload-Checksum`: a chunk whose checksum does not match is discarded.

use axum::http::{HeaderMap, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::{
    super::error::{Failure, shown},
    headers::text,
};

/// Supported algorithms, as listed in `Tus-Checksum-Algorithm`.
pub(super) const ALGORITHMS: &str = "sha1,sha256";

/// A running checksum and its expected value.
#[derive(Debug)]
pub(super) struct Checksum {
    sum: Sum,
    expected: Vec<u8>,
}

#[derive(Debug)]
enum Sum {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Checksum {
    /// Parses the header, if there is one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        let Some(value) = text(headers, "upload-checksum") else { return Ok(None) };
        let invalid = |message: String| Failure::invalid("Upload-Checksum", message);
        let (algorithm, expected) = value.split_once(' ').unwrap_or((value, ""));
        let (sum, length) = match algorithm {
            "sha1" => (Sum::Sha1(Sha1::new()), 20),
            "sha256" => (Sum::Sha256(Sha256::new()), 32),
            other => {
                return Err(invalid(format!(
                    "the checksum algorithm {} is not supported; {ALGORITHMS} would fit",
                    shown(other)
                )));
            }
        };
        let expected = STANDARD.decode(expected.trim()).ok().filter(|bytes| bytes.len() == length);
        let expected = expected
            .ok_or_else(|| invalid(format!("a {algorithm} checksum must be the base64 of {length} bytes")))?;
        Ok(Some(Self { sum, expected }))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.sum {
            Sum::Sha1(sum) => sum.update(bytes),
            Sum::Sha256(sum) => sum.update(bytes),
        }
    }

    /// Compares the checksums; 460 if they differ.
    pub(super) fn verify(self) -> Result<(), Failure> {
        let got = match self.sum {
            Sum::Sha1(sum) => sum.finalize().to_vec(),
            Sum::Sha256(sum) => sum.finalize().to_vec(),
        };
        if got == self.expected {
            return Ok(());
        }
        let mismatch = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
        Err(Failure::new(mismatch, "checksum_mismatch", "the chunk's checksum does not match; send it again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_compared_with_its_checksum() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("upload-checksum", value.parse().unwrap());
            Checksum::of(&headers)
        };
        let good = format!("sha1 {}", STANDARD.encode(Sha1::digest(b"hello")));
        let mut sum = of(&good).unwrap().unwrap();
        sum.update(b"hel");
        sum.update(b"lo");
        sum.verify().unwrap();
        let mut sum = of(&good).unwrap().unwrap();
        sum.update(b"hellO");
        assert_eq!(sum.verify().unwrap_err().status.as_u16(), 460);
        for bad in ["md5 AAAA", "sha1", "sha1 AAAA", "sha256 !!!"] {
            assert_eq!(of(bad).unwrap_err().status.as_u16(), 400, "{bad}");
        }
        assert!(Checksum::of(&HeaderMap::new()).unwrap().is_none());
    }
}
