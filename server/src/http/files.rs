//! `/api/videos/{id}/file`, `/poster.jpg` and `/card.jpg`: files of the library, with ranges and validators.
//! Originals are untrusted uploads: their content type is ours, sniffing is disabled, and none is served as a
//! page.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use homereel_library::Poster;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tower_http::services::ServeFile;

use super::error::{Failure, Problem};
use crate::http::extract::{Path, Query};
use crate::{file_name::with_extension, state::AppState};

/// Characters that `filename*` may contain unescaped (RFC 5987).
const ATTR_CHARS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// Query of `/file`.
#[derive(Debug, Deserialize)]
pub(super) struct FileQuery {
    /// Any value but `0` saves the file instead of playing it.
    download: Option<String>,
}

/// `GET /api/videos/{id}/file`: the original or a range of it.
pub(super) async fn original(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<FileQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let video = state.library.video(&id).await?;
    let etag = format!("\"{}\"", video.sha256);
    let mut response = ranged(&state.library.original_path(&video.sha256), &etag, method, &headers).await?;
    let kind = if query.download.is_some_and(|value| value != "0") { "attachment" } else { "inline" };
    let out = response.headers_mut();
    // The type follows from a probe before the file was stored, and no such type is executable.
    out.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_str(&video.mime).unwrap_or(HeaderValue::from_static("application/octet-stream")),
    );
    if let Ok(value) = HeaderValue::from_str(&disposition(kind, &with_extension(&video.name, &video.mime))) {
        out.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// `GET /api/videos/{id}/poster.jpg`
pub(super) async fn poster(
    State(state): State<AppState>,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    thumbnail(&state, &id, false, method, &headers).await
}

/// `GET /api/videos/{id}/card.jpg`: a small poster for lists.
pub(super) async fn card(
    State(state): State<AppState>,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    thumbnail(&state, &id, true, method, &headers).await
}

async fn thumbnail(
    state: &AppState,
    id: &str,
    small: bool,
    method: Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let video = state.library.video(id).await?;
    if video.poster != Poster::Ready {
        return Err(Failure::not_found("this video has no poster yet").into());
    }
    let card = state.library.card_path(&video.sha256);
    // A poster may lack its small version.
    let (path, kind) = if small && tokio::fs::try_exists(&card).await.unwrap_or(false) {
        (card, "card")
    } else {
        (state.library.poster_path(&video.sha256), "poster")
    };
    let etag = format!("\"{}-{kind}\"", video.sha256);
    let mut response = ranged(&path, &etag, method, headers).await?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    Ok(response)
}

/// Serves a file with `etag` as its validator. tower-http parses the range.
pub(super) async fn ranged(
    path: &std::path::Path,
    etag: &str,
    method: Method,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let validator = HeaderValue::from_str(etag).map_err(Failure::internal)?;
    if headers.get(header::IF_NONE_MATCH).is_some_and(|value| matches(value, etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, validator)]).into_response());
    }
    let mut request = Request::builder().method(method).body(Body::empty()).map_err(Failure::internal)?;
    let same = headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes());
    let range = headers.get(header::RANGE).filter(|_| same).and_then(|value| value.to_str().ok());
    if let Some(range) = range.and_then(byte_range) {
        let size = match tokio::fs::metadata(path).await {
            Ok(metadata) => metadata.len(),
            // Reported below.
            Err(_) => 0,
        };
        let range = HeaderValue::from_str(&satisfied(range, size)).map_err(Failure::internal)?;
        request.headers_mut().insert(header::RANGE, range);
    }
    let file = ServeFile::new(path).try_call(request).await.map_err(Failure::internal)?;
    if file.status() == StatusCode::NOT_FOUND {
        return Err(Failure::not_found("the file is missing"));
    }
    let mut response = file.map(Body::new);
    let out = response.headers_mut();
    out.insert(header::ETAG, validator);
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Returns the range of a `Range` header without its unit. `None` means that the header is ignored (RFC 9110, section
/// 14.2): its unit is not bytes, or it has several ranges, which no player sends.
fn byte_range(value: &str) -> Option<&str> {
    let (unit, range) = value.split_once('=')?;
    (unit.trim().eq_ignore_ascii_case("bytes") && !range.contains(',')).then(|| range.trim())
}

/// Returns the header for tower-http, which refuses a suffix that is longer than the file; it means the whole file (RFC
/// 9110, section 14.1.2).
fn satisfied(range: &str, size: u64) -> String {
    let digits = range.strip_prefix('-').filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    // More digits than a number has are more bytes than a file has.
    let longer = digits.is_some_and(|digits| digits.parse().unwrap_or(u64::MAX) > size);
    if longer && size > 0 { "bytes=0-".to_owned() } else { format!("bytes={range}") }
}

/// Returns whether `If-None-Match` matches `etag` (weak comparison, as for GET).
pub(super) fn matches(value: &HeaderValue, etag: &str) -> bool {
    let Ok(list) = value.to_str() else { return false };
    list.split(',').map(str::trim).any(|item| item == "*" || item.strip_prefix("W/").unwrap_or(item) == etag)
}

/// Builds `Content-Disposition` for any name: an ASCII fallback and the name as in RFC 5987.
pub(super) fn disposition(kind: &str, name: &str) -> String {
    let safe =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ') { c } else { '_' };
    let ascii: String = name.chars().map(safe).collect();
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{}", utf8_percent_encode(name, ATTR_CHARS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_within_its_header() {
        let value = disposition("attachment", "a\"; x=\r\n\u{202e}<é>.mp4");
        assert!(HeaderValue::from_str(&value).is_ok());
        assert_eq!(
            value,
            "attachment; filename=\"a__ x____<é>.mp4\"; filename*=".replace("<é>", "___")
                + "UTF-8''a%22%3B%20x%3D%0D%0A%E2%80%AE%3C%C3%A9%3E.mp4"
        );
    }

    #[tokio::test]
    async fn ranges_follow_the_validator() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "0123456789").unwrap();
        let ask = async |headers: &[(header::HeaderName, &str)]| {
            let headers =
                headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
            let response = ranged(&path, "\"tag\"", Method::GET, &headers.collect()).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, 100).await.unwrap();
            (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
        };
        let range = header::RANGE;
        assert_eq!(ask(&[]).await, (200, "0123456789".into()));
        assert_eq!(ask(&[(range.clone(), "bytes=2-4")]).await, (206, "234".into()));
        assert_eq!(ask(&[(range.clone(), "bytes=-3")]).await, (206, "789".into()));
        for longer in ["bytes=-10", "bytes=-11", "Bytes=-99999999999999999999999"] {
            assert_eq!(ask(&[(range.clone(), longer)]).await, (206, "0123456789".into()), "{longer}");
        }
        for unsatisfiable in ["bytes=50-", "bytes=-0"] {
            assert_eq!(ask(&[(range.clone(), unsatisfiable)]).await.0, 416, "{unsatisfiable}");
        }
        for unknown in ["seconds=0-1", "pages=-3", "bytes", "x"] {
            assert_eq!(ask(&[(range.clone(), unknown)]).await, (200, "0123456789".into()), "{unknown}");
        }
        assert_eq!(ask(&[(range.clone(), "bytes=0-1,4-5")]).await.0, 200);
        assert_eq!(ask(&[(range.clone(), "bytes=2-4"), (header::IF_RANGE, "\"tag\"")]).await.0, 206);
        assert_eq!(ask(&[(range, "bytes=2-4"), (header::IF_RANGE, "\"old\"")]).await.0, 200);
        assert_eq!(ask(&[(header::IF_NONE_MATCH, "\"old\", W/\"tag\"")]).await, (304, String::new()));
    }
}
