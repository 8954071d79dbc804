//! `GET /static/{name}`: the stylesheet, scripts and icons that are embedded in the program.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use homereel_web::assets;
use serde::Deserialize;

use super::extract::{Path, Query};

/// Serves a static file. A URL with the file's version may be cached forever.
pub(super) async fn asset(
    Path(name): Path<String>,
    Query(query): Query<AssetQuery>,
    headers: HeaderMap,
) -> Response {
    let Some(asset) = assets::find(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let etag = format!("\"{}\"", asset.version);
    let caching = if query.v.as_deref() == Some(&asset.version) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, caching.into())];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
}

/// Version of a static file.
#[derive(Debug, Deserialize)]
pub(super) struct AssetQuery {
    v: Option<String>,
}
