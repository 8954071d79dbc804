//! The form of `POST /v1/files`: one file, streamed to disk, and a few short fields in any order.

use axum::{
    extract::{FromRequest as _, Multipart, Request, multipart::Field},
    http::header,
};
use futures_util::StreamExt as _;
use homereel_library::Sealed;

use super::{
    super::super::{
        error::{Failure, broken_body, shown},
        upload::overhead::{self, Overhead},
    },
    purpose,
};
use crate::{config::MIN_FILES_KEEP_S, state::AppState};

/// Maximum number of fields.
const MAX_FIELDS: usize = 100;

/// Maximum bytes of a field that is not the file.
const MAX_TEXT: usize = 1024;

/// An upload that was received completely.
#[derive(Debug)]
pub(super) struct FileForm {
    pub(super) content: Sealed,
    pub(super) name: String,
    pub(super) purpose: String,
    /// Seconds after which the file expires.
    pub(super) keep_s: u64,
}

/// Reads the form.
pub(super) async fn read(state: &AppState, request: Request) -> Result<FileForm, Failure> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let expected = length.and_then(|value| value.to_str().ok()?.parse().ok());
    // A form is slightly longer than its file: if it cannot fit, it is refused before it is sent.
    state.library.check_room_for_file(expected.unwrap_or(0)).await?;
    let count = Overhead::default();
    let request = request.map(|body| count.bound(body));
    let mut form = Multipart::from_request(request, state).await?;
    let (mut file, mut wanted_purpose, mut anchor, mut seconds) = (None, None, None, None);
    for _ in 0..MAX_FIELDS {
        let Some(field) = form.next_field().await.map_err(overhead::failure)? else {
            let (content, name) =
                file.ok_or_else(|| Failure::invalid("file", "the form has no file; the field file has it"))?;
            return Ok(FileForm {
                content,
                name,
                purpose: purpose("purpose", wanted_purpose)?,
                keep_s: keep_s(anchor, seconds, state.config.get().files_keep_s)?,
            });
        };
        count.reset();
        match field.name() {
            Some("file") if file.is_some() => {
                return Err(Failure::invalid("file", "the form has several files; one would fit"));
            }
            Some("file") => {
                let name = field.file_name().unwrap_or("file").to_owned();
                file = Some((receive(state, field, &count).await?, name));
            }
            Some("purpose") => {
                wanted_purpose = Some(purpose("purpose", Some(text("purpose", field).await?))?)
            }
            Some("expires_after[anchor]") => anchor = Some(text("expires_after[anchor]", field).await?),
            Some("expires_after[seconds]") => seconds = Some(text("expires_after[seconds]", field).await?),
            // Others have no meaning.
            _ => {}
        }
    }
    Err(Failure::invalid("file", format!("the form has more than {MAX_FIELDS} fields")))
}

async fn receive(state: &AppState, mut field: Field<'_>, count: &Overhead) -> Result<Sealed, Failure> {
    let limit = state.config.get().max_upload_bytes;
    let mut incoming = state.library.incoming_file(None, limit).await?;
    while let Some(chunk) = field.next().await {
        count.reset();
        let chunk = chunk.map_err(|error| broken_body(&error, incoming.size()))?;
        incoming.write(&chunk).await?;
    }
    Ok(incoming.seal().await?)
}

/// Reads a short field.
pub(in crate::http::openai) async fn text(
    param: &'static str,
    mut field: Field<'_>,
) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(overhead::failure)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_TEXT {
            return Err(Failure::invalid(param, format!("{param} has more than {MAX_TEXT} bytes")));
        }
    }
    String::from_utf8(bytes).map_err(|_| Failure::invalid(param, format!("{param} is not UTF-8")))
}

/// Returns how long to keep a file, at most `limit` seconds.
fn keep_s(anchor: Option<String>, seconds: Option<String>, limit: u64) -> Result<u64, Failure> {
    if let Some(anchor) = anchor.filter(|anchor| anchor != "created_at") {
        let message = format!("expires_after[anchor] is {}; created_at would fit", shown(&anchor));
        return Err(Failure::invalid("expires_after[anchor]", message));
    }
    let Some(seconds) = seconds else { return Ok(limit) };
    let fits = seconds.parse().ok().filter(|seconds| (MIN_FILES_KEEP_S..=limit).contains(seconds));
    fits.ok_or_else(|| {
        let message = format!(
            "expires_after[seconds] is {}; {MIN_FILES_KEEP_S} to {limit} would fit (--files-keep)",
            shown(&seconds)
        );
        Failure::invalid("expires_after[seconds]", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_kept_as_long_as_asked_for_within_the_limit() {
        let keep = |anchor: Option<&str>, seconds: Option<&str>| {
            keep_s(anchor.map(Into::into), seconds.map(Into::into), 86_400).map_err(|failure| failure.message)
        };
        assert_eq!(keep(None, None), Ok(86_400));
        assert_eq!(keep(Some("created_at"), Some("3600")), Ok(3600));
        assert!(keep(Some("last_active_at"), Some("3600")).unwrap_err().contains("created_at"));
        for wrong in ["3599", "86401", "-1", "1e4", "", "x"] {
            assert!(keep(None, Some(wrong)).unwrap_err().contains("3600 to 86400"), "{wrong}");
        }
    }
}
