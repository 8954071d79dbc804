//! `/api/albums` and `/api/tags`.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use homereel_library::{Album, AlbumChange, Collection, ListKey, Video};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::{
    http::{
        error::{Failure, Problem},
        extract::{Path, Query},
        list_query::{cursor, number},
    },
    state::AppState,
};

/// Default and maximum number of albums, tags or videos in one response.
const PAGE: u32 = 100;

/// Largest offset.
const MAX_OFFSET: u32 = 1_000_000;

/// Query of a list.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct OffsetQuery {
    #[serde(default)]
    limit: String,
    #[serde(default)]
    offset: String,
}

/// Query of the videos of an album.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct MembersQuery {
    #[serde(default)]
    limit: String,
    #[serde(default)]
    before: String,
    #[serde(default)]
    after: String,
}

/// An album with a page of its videos.
#[derive(Debug, Serialize)]
pub(in crate::http) struct AlbumPage {
    album: Album,
    videos: Vec<Video>,
    before: Option<ListKey>,
    after: Option<ListKey>,
}

/// A new album.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewAlbum {
    name: String,
    /// Ids of videos.
    #[serde(default)]
    videos: Vec<String>,
}

/// Changes to an album. Missing fields stay unchanged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AlbumEdit {
    name: Option<String>,
    /// `None` means that the field is missing, `Some(None)` that it is `null`: the latest video with a poster.
    #[serde(default, deserialize_with = "present")]
    cover: Option<Option<String>>,
    by_hand: Option<bool>,
}

/// Reads a field that is there, though it may be `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl OffsetQuery {
    fn page(&self) -> Result<(u32, u32), Failure> {
        Ok((number("limit", &self.limit, PAGE, PAGE)?, number("offset", &self.offset, 0, MAX_OFFSET)?))
    }
}

/// `GET /api/albums`: the newest first.
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    Query(query): Query<OffsetQuery>,
) -> Result<Json<Value>, Problem> {
    let (limit, offset) = query.page()?;
    Ok(Json(json!({ "albums": state.library.albums(limit, offset).await? })))
}

/// `GET /api/tags`: those of the most videos first.
pub(in crate::http) async fn tags(
    State(state): State<AppState>,
    Query(query): Query<OffsetQuery>,
) -> Result<Json<Value>, Problem> {
    let (limit, offset) = query.page()?;
    Ok(Json(json!({ "tags": state.library.tags(limit, offset).await? })))
}

/// `POST /api/albums`
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    album: Result<Json<NewAlbum>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(album) = album?;
    let created = state.library.create_album(&album.name).await?;
    let ids: Vec<&str> = album.videos.iter().map(String::as_str).collect();
    if let Err(error) = state.library.add_to_album(&created.id, &ids).await {
        // Nothing is left of a request that failed.
        state.library.delete_album(&created.id).await?;
        return Err(error.into());
    }
    Ok((StatusCode::CREATED, Json(state.library.album(&created.id).await?)).into_response())
}

/// `GET /api/albums/{id}`: the album with a page of its videos.
pub(in crate::http) async fn show(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<MembersQuery>,
) -> Result<Json<AlbumPage>, Problem> {
    let album = state.library.album(&id).await?;
    let cursor = cursor(&query.before, &query.after)?;
    let limit = number("limit", &query.limit, PAGE, PAGE)?;
    let mut list = state.library.collection(&Collection::Album(id), &cursor, limit as usize).await?;
    state.library.load_texts(&mut list.videos).await?;
    Ok(Json(AlbumPage { album, videos: list.videos, before: list.before, after: list.after }))
}

/// `PATCH /api/albums/{id}` with any of `{"name", "cover", "by_hand"}`.
pub(in crate::http) async fn patch(
    State(state): State<AppState>,
    Path(id): Path<String>,
    edit: Result<Json<AlbumEdit>, JsonRejection>,
) -> Result<Json<Album>, Problem> {
    let Json(edit) = edit?;
    let change = AlbumChange {
        name: edit.name.as_deref(),
        cover: edit.cover.as_ref().map(Option::as_deref),
        by_hand: edit.by_hand,
    };
    Ok(Json(state.library.edit_album(&id, &change).await?))
}

/// `DELETE /api/albums/{id}`: the videos stay.
pub(in crate::http) async fn delete(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    state.library.delete_album(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
