//! `POST /api/videos`: uploads, as a form with one or several files or as a raw body.
//!
//! Bytes are streamed to disk and hashed on the way; no file is held in memory. A file is probed before it is
//! added to the library. A file without video is rejected with its name and the reason.

pub(super) mod overhead;

use std::{collections::VecDeque, time::Duration};

use axum::{
    Json,
    body::BodyDataStream,
    extract::{FromRequest, Multipart, Request, multipart::Field},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use homereel_library::Stored;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::{Failure, Problem, broken_body, shown},
    extract::Query,
    html::{self, PageContext},
};
use crate::{import, state::AppState};
use overhead::Overhead;

/// Maximum number of files in one form.
const MAX_FILES: usize = 100;

/// Maximum number of fields in one form; those that are not files are ignored.
const MAX_FIELDS: usize = 10 * MAX_FILES;

/// Time and bytes for which the server keeps reading after it rejected an upload.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 256 << 20;

/// Name of the field with the file's own time, as in browsers: milliseconds since 1970 (UTC).
pub(super) const LAST_MODIFIED: &str = "lastModified";

/// Maximum bytes of such a field.
const MAX_LAST_MODIFIED: usize = 32;

/// Query of a raw upload.
#[derive(Debug, Deserialize)]
pub(super) struct UploadQuery {
    /// Name of the file; forms have it in their fields.
    name: Option<String>,
    /// The file's own time; forms have it in fields before the file.
    #[serde(rename = "lastModified")]
    last_modified: Option<String>,
}

/// Parses the file's own time.
pub(super) fn modified_ms(param: &str, text: &str) -> Result<i64, Failure> {
    text.trim().parse().map_err(|_| {
        let message = format!(
            "{LAST_MODIFIED} is {}; milliseconds since 1970 such as 1310601600000 would fit",
            shown(text)
        );
        Failure::invalid(param, message)
    })
}

/// A rejected file.
struct RejectedFile {
    name: String,
    failure: Failure,
}

/// `POST /api/videos`
pub(super) async fn upload(cx: PageContext, Query(query): Query<UploadQuery>, request: Request) -> Response {
    let for_person = html::wants_html(request.headers());
    let result = receive(&cx, query, request).await;
    if for_person { html::or_error(&cx, result) } else { result.map_err(Problem).into_response() }
}

async fn receive(cx: &PageContext, query: UploadQuery, request: Request) -> Result<Response, Failure> {
    let headers = request.headers().clone();
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let expected = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if content_type.starts_with("multipart/form-data") {
        // A form is slightly longer than its files: if it cannot fit, it is rejected before it is sent.
        if let Err(full) = cx.state.library.check_room(expected.unwrap_or(0)).await {
            linger(&mut request.into_body().into_data_stream()).await;
            return Err(full.into());
        }
        let overhead = Overhead::default();
        let request = request.map(|body| overhead.bound(body));
        let form = Multipart::from_request(request, &cx.state).await?;
        let (stored, refused) = by_form(&cx.state, form, &overhead).await?;
        return if html::wants_html(&headers) {
            Ok(answer_person(cx, !stored.is_empty(), &refused))
        } else {
            answer_program(&stored, refused)
        };
    }
    if content_type.starts_with("video/") || content_type.starts_with("application/octet-stream") {
        let name = query.name.or_else(|| name_of(&headers)).unwrap_or_else(|| "video".into());
        let modified = query.last_modified.filter(|text| !text.is_empty());
        let modified = modified.map(|text| modified_ms(LAST_MODIFIED, &text)).transpose()?;
        let mut body = request.into_body().into_data_stream();
        let stored = take(&cx.state, &name, modified, expected, &mut body).await;
        if stored.is_err() {
            linger(&mut body).await;
        }
        return answer_program(&[stored?], Vec::new());
    }
    Err(Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "an upload must be multipart/form-data, or the file itself with the content type video/*",
    ))
}

async fn by_form(
    state: &AppState,
    mut form: Multipart,
    overhead: &Overhead,
) -> Result<(Vec<Stored>, Vec<RejectedFile>), Failure> {
    let (mut stored, mut refused) = (Vec::new(), Vec::new());
    let mut fields = 0;
    // Of the files that follow, in their order.
    let mut modified = VecDeque::new();
    while let Some(field) = form.next_field().await.map_err(overhead::failure)? {
        overhead.reset();
        fields += 1;
        if fields > MAX_FIELDS {
            return Err(Failure::invalid("files", format!("a form has at most {MAX_FIELDS} fields")));
        }
        let name = field.file_name().filter(|name| !name.is_empty()).map(str::to_owned);
        if name.is_none() && field.name() == Some(LAST_MODIFIED) {
            modified.push_back(short_text(field).await?);
            continue;
        }
        // Other fields, and the empty file input of a form, are ignored.
        let Some(name) = name else { continue };
        if stored.len() + refused.len() == MAX_FILES {
            return Err(Failure::invalid(
                "files",
                format!("a form has at most {MAX_FILES} files; send the others in another request"),
            ));
        }
        let modified = modified.pop_front().filter(|text: &String| !text.is_empty());
        let modified = modified.map(|text| modified_ms(LAST_MODIFIED, &text)).transpose()?;
        // The bytes of a file do not count.
        match take(state, &name, modified, None, field.inspect(|_| overhead.reset())).await {
            Ok(video) => stored.push(video),
            // The next file may be valid.
            Err(failure) if failure.status.is_client_error() => refused.push(RejectedFile { name, failure }),
            Err(failure) => return Err(failure),
        }
    }
    if stored.is_empty() && refused.is_empty() {
        return Err(Failure::invalid("files", "the form has no file; its file fields may have any name"));
    }
    Ok((stored, refused))
}

/// Reads a field of a few characters.
async fn short_text(mut field: Field<'_>) -> Result<String, Failure> {
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(overhead::failure)? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_LAST_MODIFIED {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Keeps reading a little after a rejection. Otherwise a client that is still sending would see a reset
/// connection instead of the reason.
async fn linger(body: &mut BodyDataStream) {
    let mut left = LINGER_BYTES;
    let read_on = async {
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // The response is sent in either case.
    let _ = tokio::time::timeout(LINGER, read_on).await;
}

/// Receives one file: streams it to disk, probes it and adds it to the library.
async fn take<E: std::error::Error + 'static>(
    state: &AppState,
    name: &str,
    modified_ms: Option<i64>,
    expected: Option<u64>,
    bytes: impl Stream<Item = Result<Bytes, E>>,
) -> Result<Stored, Failure> {
    let mut incoming = state.library.incoming(expected, state.config.get().max_upload_bytes).await?;
    let mut bytes = std::pin::pin!(bytes);
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.map_err(|error| broken_body(&error, incoming.size()))?;
        incoming.write(&chunk).await?;
    }
    let mut sealed = incoming.seal().await?;
    sealed.modified_ms = modified_ms;
    Ok(import::add(&state.import_context(), sealed, name).await?)
}

/// Returns the file name in a raw upload's `Content-Disposition`, plain or as in RFC 5987.
fn name_of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_DISPOSITION)?.to_str().ok()?;
    let parameter = |key: &str| value.split(';').find_map(|part| part.trim().strip_prefix(key));
    if let Some(encoded) = parameter("filename*=UTF-8''") {
        return Some(percent_encoding::percent_decode_str(encoded).decode_utf8_lossy().into_owned());
    }
    parameter("filename=").map(|name| name.trim_matches('"').to_owned())
}

/// 201 with the stored videos and the rejected files; if nothing is stored, the first rejection.
fn answer_program(stored: &[Stored], mut refused: Vec<RejectedFile>) -> Result<Response, Failure> {
    if stored.is_empty() && !refused.is_empty() {
        return Err(refused.swap_remove(0).failure);
    }
    let mut videos = Vec::with_capacity(stored.len());
    for one in stored {
        let mut video = serde_json::to_value(&one.video).map_err(Failure::internal)?;
        video["duplicate"] = json!(one.duplicate);
        video["restored"] = json!(one.restored);
        videos.push(video);
    }
    let refused: Vec<Value> =
        refused.iter().map(|one| json!({"name": one.name, "detail": one.failure.message})).collect();
    let status = if stored.iter().all(|one| one.duplicate) { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(json!({"videos": videos, "refused": refused}))).into_response())
}

/// Redirects to the list, or renders a page that names every rejected file.
fn answer_person(cx: &PageContext, any_stored: bool, refused: &[RejectedFile]) -> Response {
    if refused.is_empty() {
        return Redirect::to("/").into_response();
    }
    let details: Vec<_> =
        refused.iter().map(|one| format!("{}: {}", one.name, one.failure.message)).collect();
    let lines = if any_stored { vec![cx.words.t("error-others-added")] } else { Vec::new() };
    let title = cx.words.t("error-some-refused");
    html::error_page(cx, StatusCode::UNPROCESSABLE_ENTITY, &title, lines, details.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_upload_names_its_file_in_either_way() {
        let name = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_DISPOSITION, value.parse().unwrap());
            name_of(&headers)
        };
        assert_eq!(name("attachment; filename=\"a b.mp4\"").as_deref(), Some("a b.mp4"));
        assert_eq!(name("attachment; filename=\"x\"; filename*=UTF-8''%C3%A9.mp4").as_deref(), Some("é.mp4"));
        assert_eq!(name("attachment"), None);
    }
}
