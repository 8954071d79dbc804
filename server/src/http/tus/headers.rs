//! Parses the headers of tus strictly. Independent of the library.

use axum::http::{HeaderMap, StatusCode, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use homereel_library::NewUpload;

use super::super::{
    error::{Failure, shown},
    upload::{LAST_MODIFIED, modified_ms},
};

/// Supported version of the protocol.
pub(super) const VERSION: &str = "1.0.0";

/// Maximum length of `Upload-Metadata` in bytes.
const MAX_METADATA: usize = 8192;

/// An announced upload.
#[derive(Debug)]
pub(super) struct AnnouncedUpload {
    pub(super) new: NewUpload,
    /// What the file is for, as the client says.
    pub(super) purpose: Option<String>,
    /// Whether the request contains the first chunk.
    pub(super) has_body: bool,
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Checks `Tus-Resumable`.
pub(super) fn tus_version(headers: &HeaderMap) -> Result<(), Failure> {
    let version = text(headers, "tus-resumable").unwrap_or("missing");
    if version == VERSION {
        return Ok(());
    }
    let message = format!("the header Tus-Resumable is {}; {VERSION} would fit", shown(version));
    Err(Failure::new(StatusCode::PRECONDITION_FAILED, "tus_version", message))
}

/// Parses a header that is a number of bytes.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    // Digits only: `u64::from_str` would accept a plus sign.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).map(Some).ok_or_else(|| {
        Failure::invalid(name, format!("the header {name} is {}; a number of bytes would fit", shown(text)))
    })
}

/// Parses the request that creates an upload.
pub(super) fn announced(headers: &HeaderMap) -> Result<AnnouncedUpload, Failure> {
    if headers.contains_key("upload-defer-length") {
        let message = "deferred lengths are not supported; send Upload-Length";
        return Err(Failure::invalid("Upload-Defer-Length", message));
    }
    let length = number(headers, "upload-length")?.ok_or_else(|| {
        Failure::invalid(
            "Upload-Length",
            "the header Upload-Length is missing; it is the size of the file in bytes",
        )
    })?;
    let metadata = text(headers, "upload-metadata").unwrap_or_default();
    let pairs = pairs(metadata)?;
    let value = |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
    let name = value("filename").or_else(|| value("name")).filter(|name| !name.trim().is_empty());
    let claimed = match value("sha256") {
        None => None,
        Some(text) => Some(hash(&text).ok_or_else(|| {
            Failure::invalid("Upload-Metadata", "sha256 in Upload-Metadata must be 64 hexadecimal digits")
        })?),
    };
    let modified_ms = value(LAST_MODIFIED).map(|text| modified_ms("Upload-Metadata", &text)).transpose()?;
    let has_body = text(headers, header::CONTENT_TYPE.as_str()) == Some("application/offset+octet-stream");
    let new = NewUpload {
        name: name.unwrap_or_else(|| "video".into()),
        length,
        metadata: metadata.to_owned(),
        claimed,
        owner: None,
        purpose: None,
        modified_ms,
    };
    Ok(AnnouncedUpload { new, purpose: value("purpose"), has_body })
}

/// Parses `key base64,key base64,key`.
fn pairs(metadata: &str) -> Result<Vec<(&str, String)>, Failure> {
    if metadata.len() > MAX_METADATA {
        let message =
            format!("Upload-Metadata has {} bytes; at most {MAX_METADATA} would fit", metadata.len());
        return Err(Failure::invalid("Upload-Metadata", message));
    }
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for pair in metadata.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let bytes = STANDARD.decode(value.trim()).map_err(|error| {
            let message =
                format!("the value of {} in Upload-Metadata is not valid base64: {error}", shown(key));
            Failure::invalid("Upload-Metadata", message)
        })?;
        if pairs.iter().any(|(known, _)| *known == key) {
            let message = format!("{} occurs twice in Upload-Metadata", shown(key));
            return Err(Failure::invalid("Upload-Metadata", message));
        }
        pairs.push((key, String::from_utf8_lossy(&bytes).into_owned()));
    }
    Ok(pairs)
}

/// Returns a SHA-256 in the library's notation.
pub(super) fn hash(text: &str) -> Option<String> {
    (text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn an_upload_is_announced_by_length_and_metadata() {
        let name = STANDARD.encode("Ömas 80.\u{202e}mp4");
        let metadata = format!("filename {name},filetype dmlkZW8vbXA0,is_confidential");
        let read = announced(&headers(&[("upload-length", "42"), ("upload-metadata", &metadata)])).unwrap();
        assert_eq!((read.new.name.as_str(), read.new.length), ("Ömas 80.\u{202e}mp4", 42));
        assert!(!read.has_body && read.new.claimed.is_none() && read.new.modified_ms.is_none());
        let metadata = format!("lastModified {}", STANDARD.encode("-1310601600000"));
        let read = announced(&headers(&[("upload-length", "42"), ("upload-metadata", &metadata)])).unwrap();
        assert_eq!(read.new.modified_ms, Some(-1_310_601_600_000));
        for (bad, param) in [
            (vec![], "Upload-Length"),
            (vec![("upload-length", "+4")], "upload-length"),
            (vec![("upload-length", "-1")], "upload-length"),
            (vec![("upload-length", "99999999999999999999")], "upload-length"),
            (vec![("upload-defer-length", "1")], "Upload-Defer-Length"),
            (vec![("upload-length", "1"), ("upload-metadata", "filename ###")], "Upload-Metadata"),
            (vec![("upload-length", "1"), ("upload-metadata", "a YQ==,a YQ==")], "Upload-Metadata"),
            (vec![("upload-length", "1"), ("upload-metadata", "sha256 YQ==")], "Upload-Metadata"),
            (vec![("upload-length", "1"), ("upload-metadata", "lastModified YQ==")], "Upload-Metadata"),
        ] {
            let failure = announced(&headers(&bad)).unwrap_err();
            assert_eq!((failure.status.as_u16(), failure.param.as_deref()), (400, Some(param)), "{bad:?}");
        }
    }

    #[test]
    fn other_versions_are_refused() {
        assert!(tus_version(&headers(&[("tus-resumable", "1.0.0")])).is_ok());
        for other in [&headers(&[("tus-resumable", "0.2.2")]), &headers(&[])] {
            assert_eq!(tus_version(other).unwrap_err().status.as_u16(), 412);
        }
    }
}
