//! `GET /static/{version}/{name}`: the stylesheet, scripts and icons that are embedded in the program.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use homereel_web::assets;

use super::extract::Path;

/// Serves a static file. The URL of the present version may be cached forever; one of another version, from a page of another release,
/// gets the present file and may not.
pub(super) async fn asset(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(asset) = assets::find(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let etag = format!("\"{}\"", assets::version());
    let caching =
        if version == assets::version() { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, caching.into())];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
}
