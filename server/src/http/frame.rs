//! `GET /api/videos/{id}/frame.jpg`: the picture that a video shows at a second.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use homereel_web::format;
use serde::Deserialize;

use super::{
    error::{Failure, Problem},
    extract::{Path, Query},
    files,
};
use crate::{file_name::of_part, media::Source, state::AppState};

/// Widths in pixels: the least, the greatest, and the default.
const WIDTHS: std::ops::RangeInclusive<u32> = 16..=1920;
const WIDTH: u32 = 1280;

/// When the video begins to show the picture, in seconds.
const FRAME_TIME: HeaderName = HeaderName::from_static("homereel-frame-time");

/// Which picture.
#[derive(Debug, Deserialize)]
pub(super) struct FrameQuery {
    t: f64,
    width: Option<u32>,
    /// Any value but `0` saves the picture instead of showing it.
    download: Option<String>,
}

/// `GET /api/videos/{id}/frame.jpg?t=SECONDS`
pub(super) async fn frame(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<FrameQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let width = query.width.unwrap_or(WIDTH);
    if !WIDTHS.contains(&width) {
        let (least, most) = (WIDTHS.start(), WIDTHS.end());
        let message = format!("width is {width}; {least} to {most} (pixels) would fit");
        return Err(Failure::invalid("width", message).into());
    }
    let video = state.library.video(&id).await?;
    if let Some(error) = &video.error {
        let message = format!("this video cannot be read: {error}");
        return Err(Failure::new(StatusCode::CONFLICT, "unreadable", message).into());
    }
    let etag = format!("\"{}-frame-{}-{width}\"", video.sha256, query.t);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|value| files::matches(value, &etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let source = Source::file(state.library.original_path(&video.sha256), Some(video.sha256.clone()));
    let media = state.answers.media();
    let frame = media.frame_at(&source, query.t, width, state.lifecycle.hard()).await?;
    let headers = [
        (header::CONTENT_TYPE, "image/jpeg".to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::ETAG, etag),
        (FRAME_TIME, format!("{:.3}", frame.time_s)),
    ];
    let mut response = (headers, frame.jpeg).into_response();
    if query.download.is_some_and(|value| value != "0") {
        let day = video.taken.as_ref().map(|taken| taken.local.date());
        let name = of_part(&video.name, day, &format::position(frame.time_s), "jpg");
        if let Ok(value) = HeaderValue::from_str(&files::disposition("attachment", &name)) {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
        }
    }
    Ok(response)
}
