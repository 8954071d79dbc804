//! `GET /api/videos/{id}/thumbnail.jpg?t=`: the picture of a second, cut out of the scrub sprites.

use std::{io::Cursor, path::PathBuf};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use homereel_library::Video;
use homereel_video::Tile;
use homereel_web::format;
use image::{ImageError, codecs::jpeg::JpegEncoder};
use serde::Deserialize;

use super::{
    error::{Failure, Problem, shown},
    extract::{Path, Query},
    files,
};
use crate::state::AppState;

const QUALITY: u8 = 80;

/// Query of a thumbnail.
#[derive(Debug, Deserialize)]
pub(super) struct ThumbnailQuery {
    /// Second of the video.
    t: String,
}

/// `GET /api/videos/{id}/thumbnail.jpg`
pub(super) async fn thumbnail(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<ThumbnailQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let second = query.t.parse().ok().filter(|second: &f64| second.is_finite() && *second >= 0.0);
    let second = second.ok_or_else(|| {
        Failure::invalid("t", format!("t is {}; seconds such as 83.5 would fit", shown(&query.t)))
    })?;
    let video = state.library.video(&id).await?;
    let Some(layout) = state.library.sprites(&video.sha256).await else {
        return Err(Failure::not_found("this video has no scrub sprites yet").into());
    };
    let tile = layout.tile(second);
    let etag = format!("\"{}-thumbnail-{}\"", video.sha256, tile.number);
    let validator = HeaderValue::from_str(&etag).map_err(Failure::internal)?;
    let caching =
        [(header::ETAG, validator), (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"))];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|value| files::matches(value, &etag)) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let sheet = state.library.sprites_path(&video.sha256, tile.sheet);
    let jpeg = tokio::task::spawn_blocking(move || cut(sheet, tile)).await.map_err(Failure::internal)?;
    let kind = [(header::CONTENT_TYPE, "image/jpeg")];
    Ok((caching, kind, jpeg.map_err(Failure::internal)?).into_response())
}

/// Cuts a picture out of a sheet, which a worker of this server made.
fn cut(sheet: PathBuf, tile: Tile) -> Result<Vec<u8>, ImageError> {
    let sheet = image::open(sheet)?;
    let mut jpeg = Vec::new();
    sheet
        .crop_imm(tile.x, tile.y, tile.width, tile.height)
        .into_rgb8()
        .write_with_encoder(JpegEncoder::new_with_quality(Cursor::new(&mut jpeg), QUALITY))?;
    Ok(jpeg)
}

/// Returns the URL of the picture of a second; `None` if there is none yet.
pub(super) async fn url(state: &AppState, video: &Video, second: f64) -> Option<String> {
    state.library.sprites(&video.sha256).await?;
    Some(format!("/api/videos/{}/thumbnail.jpg?t={}", video.id, format::second(second)))
}
