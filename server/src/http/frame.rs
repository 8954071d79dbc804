//! `GET /api/videos/{id}/frame.jpg`: the picture that a video shows at a second.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    error::{Failure, Problem},
    extract::{Path, Query},
    files,
};
use crate::{media::Source, state::AppState};

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
    Ok((headers, frame.jpeg).into_response())
}
