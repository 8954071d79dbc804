//! `/api/videos/{id}/playback.mp4`, `/sprites.vtt` and `/sprites/{n}.jpg`: files for the player. The first is
//! the original if browsers can play it, otherwise the rendition.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, Method, header},
    response::{IntoResponse, Response},
};

use super::{
    error::{Failure, Problem},
    extract::Path,
    files::ranged,
};
use crate::state::AppState;

/// `GET /api/videos/{id}/playback.mp4`
pub(super) async fn playback(
    State(state): State<AppState>,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let library = &state.library;
    let video = library.video(&id).await?;
    let Some(probe) = &video.probe else {
        return Err(Failure::not_found("this video cannot be read, or is not looked into yet").into());
    };
    let (path, etag, mime) = match homereel_video::playable(probe) {
        Ok(mime) => (library.original_path(&video.sha256), format!("\"{}\"", video.sha256), mime),
        Err(reason) => {
            let path = library.rendition_path(&video.sha256);
            if !path.exists() {
                let message = format!("the version for browsers is not ready yet ({reason})");
                return Err(Failure::not_found(message).into());
            }
            (path, format!("\"{}-playback\"", video.sha256), "video/mp4")
        }
    };
    let mut response = ranged(&path, &etag, method, &headers).await?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(mime));
    Ok(response)
}

/// `GET /api/videos/{id}/sprites.vtt`
pub(super) async fn sprites_vtt(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let video = state.library.video(&id).await?;
    let Some(layout) = state.library.sprites(&video.sha256).await else {
        return Err(Failure::not_found("this video has no scrub sprites yet").into());
    };
    let headers =
        [(header::CONTENT_TYPE, "text/vtt; charset=utf-8"), (header::CACHE_CONTROL, "private, no-cache")];
    Ok((headers, layout.web_vtt(|sheet| format!("sprites/{sheet}.jpg"))).into_response())
}

/// `GET /api/videos/{id}/sprites/{n}.jpg`
pub(super) async fn sprites_sheet(
    State(state): State<AppState>,
    Path((id, name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let video = state.library.video(&id).await?;
    let layout = state.library.sprites(&video.sha256).await;
    let sheets = layout.map_or(0, |layout| layout.sheets());
    // Digits only, because the value becomes part of a path.
    let number = name.strip_suffix(".jpg").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(number) = number.and_then(|digits| digits.parse().ok()).filter(|number| *number < sheets) else {
        return Err(Failure::not_found("there is no such sprite sheet").into());
    };
    let etag = format!("\"{}-sprites-{number}\"", video.sha256);
    let path = state.library.sprites_path(&video.sha256, number);
    let mut response = ranged(&path, &etag, method, &headers).await?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    Ok(response)
}
