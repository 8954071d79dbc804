//! `GET /`: the newest videos and the upload form.

use axum::{
    http::{HeaderMap, header},
    response::Response,
};
use homereel_web::{format, pages::LibraryPage, views as web};
use serde::Deserialize;

use crate::{
    http::{
        error::Failure,
        extract::Query,
        html::{self, PageContext},
        trash, views,
    },
    net::ClientInfo,
    state::AppState,
};

/// Number of videos on one page.
const VIDEOS: u32 = 48;

/// Query of the paged list.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct LibraryQuery {
    offset: Option<u32>,
    /// Id of a video that was just deleted.
    trashed: Option<String>,
}

/// `GET /`
pub(in crate::http) async fn page(
    cx: PageContext,
    Query(query): Query<LibraryQuery>,
    client: ClientInfo,
    headers: HeaderMap,
) -> Response {
    html::or_error(&cx, show(&cx, &query, client, &headers).await)
}

async fn show(
    cx: &PageContext,
    query: &LibraryQuery,
    client: ClientInfo,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let offset = query.offset.unwrap_or(0);
    let storage = cx.state.library.storage().await?;
    let count = storage.videos;
    let videos = cx.state.library.video_rows(VIDEOS, offset).await?;
    let ids: Vec<&str> = videos.iter().map(|video| video.id.as_str()).collect();
    let jobs = cx.state.library.newest_jobs(&ids).await?;
    let videos: Vec<_> =
        videos.iter().map(|video| views::card(cx.words, video, jobs.get(&video.id))).collect();
    let next = offset.saturating_add(VIDEOS);
    let unfinished = videos.iter().any(|card| card.state.kind.unfinished());
    html::render(&LibraryPage {
        shell: html::shell(cx, "Your videos", "videos", unfinished),
        upload_limit: format::size(cx.state.config.get().max_upload_bytes),
        base_url: base_url(client, headers),
        count: format::count(count, "video"),
        videos,
        more: (u64::from(next) < count).then(|| format!("/?offset={next}")),
        trashed: just_trashed(&cx.state, query.trashed.as_deref()).await?,
        storage: trash::storage_words(&storage),
    })
}

/// The video that the reader deleted a moment ago, if it is still in the trash.
async fn just_trashed(state: &AppState, id: Option<&str>) -> Result<Option<web::Link>, Failure> {
    let Some(id) = id else { return Ok(None) };
    let video = state.library.videos_by_id(&[id]).await?.remove(id);
    Ok(video
        .filter(|video| video.deleted_ms.is_some())
        .map(|video| web::Link { url: format!("/videos/{}/restore", video.id), text: video.name }))
}

/// Scheme and authority of the request's URL; displayed, never used for links.
pub(super) fn base_url(client: ClientInfo, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost:8080");
    let scheme = if client.https { "https" } else { "http" };
    format!("{scheme}://{host}")
}
