//! The trash: `DELETE /api/videos/{id}` moves a video there, `/restore` moves it back, `/trash` lists it, and only there a
//! video can be deleted permanently. Also `/api/storage`.

use axum::{
    Form, Json,
    extract::{State, rejection::FormRejection},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{Library, Role, Storage, Video};
use homereel_web::{format, pages::TrashPage, views as web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    batch::{BackForm, DoneQuery, is_list, with_done},
    cards,
    error::{Failure, Problem},
    extract::{Path, Query},
    html::{self, PageContext},
    neighbours::Origin,
    titles::titles,
    views,
};
use crate::state::AppState;

/// Number of videos in one response.
const MOST: u32 = 100;

/// Number of videos on one page.
const PAGE: u32 = 40;

/// Query of the paged trash.
#[derive(Debug, Deserialize)]
pub(super) struct TrashQuery {
    #[serde(default)]
    offset: u32,
    /// Id of a video that is to be deleted for good, once the reader confirms it.
    delete: Option<String>,
}

/// Query of a deletion.
#[derive(Debug, Deserialize)]
pub(super) struct DeleteQuery {
    /// `true` deletes permanently, if the video is in the trash.
    #[serde(default)]
    permanently: bool,
}

/// `DELETE /api/videos/{id}`: moves a video to the trash, or with `?permanently=true` deletes it from there.
pub(super) async fn delete(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, Problem> {
    if query.permanently {
        state.library.delete_trashed_video(&id).await?;
    } else {
        state.library.trash_video(&id).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/videos/{id}/restore`
pub(super) async fn restore(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Video>, Problem> {
    Ok(Json(state.library.restore_video(&id).await?))
}

/// The videos in the trash.
#[derive(Debug, Serialize)]
pub(super) struct Trash {
    videos: Vec<Video>,
}

/// `GET /api/trash`
pub(super) async fn list(State(state): State<AppState>) -> Result<Json<Trash>, Problem> {
    Ok(Json(Trash { videos: state.library.trash(MOST, 0).await? }))
}

/// `DELETE /api/trash`: empties the trash and returns the number of deleted videos.
pub(super) async fn empty(State(state): State<AppState>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "deleted": state.library.empty_trash().await? })))
}

/// `GET /api/storage`
pub(super) async fn storage(State(state): State<AppState>) -> Result<Json<Storage>, Problem> {
    Ok(Json(state.library.storage().await?))
}

/// `POST /videos/{id}/delete`: a form; the list then offers to undo.
pub(super) async fn delete_form(cx: PageContext, Path(id): Path<String>) -> Response {
    let trashed = cx.state.library.trash_video(&id).await.map_err(Failure::from);
    html::or_error(&cx, trashed.map(|video| Redirect::to(&format!("/?trashed={}", video.id)).into_response()))
}

/// `POST /videos/{id}/restore`: a form.
pub(super) async fn restore_form(
    cx: PageContext,
    origin: Origin,
    Path(id): Path<String>,
    form: Result<Form<BackForm>, FormRejection>,
) -> Response {
    let work = async || {
        // The page of a video sends no fields, and programs need none.
        let back = form.map(|Form(BackForm { back })| back).unwrap_or_default();
        let video = cx.state.library.restore_video(&id).await?;
        let url =
            if is_list(&back) { with_done(&back, "restore", 1, None) } else { origin.url_of(&video.id) };
        Ok::<_, Failure>(Redirect::to(&url).into_response())
    };
    html::or_error(&cx, work().await)
}

/// `POST /trash/empty`: a form.
pub(super) async fn empty_form(cx: PageContext) -> Response {
    let emptied = cx.state.library.empty_trash().await.map_err(Failure::from);
    html::or_error(&cx, emptied.map(|_| Redirect::to("/trash").into_response()))
}

/// `POST /trash/restore`: a form; restores everything.
pub(super) async fn restore_all_form(cx: PageContext) -> Response {
    let restored = cx.state.library.restore_all().await.map_err(Failure::from);
    html::or_error(&cx, restored.map(|_| Redirect::to("/trash").into_response()))
}

/// `POST /trash/{id}/delete`: a form; deletes a video for good.
pub(super) async fn delete_for_good_form(cx: PageContext, Path(id): Path<String>) -> Response {
    let deleted = cx.state.library.delete_trashed_video(&id).await.map_err(Failure::from);
    html::or_error(&cx, deleted.map(|()| Redirect::to("/trash").into_response()))
}

/// `GET /trash`
pub(super) async fn page(
    cx: PageContext,
    Query(query): Query<TrashQuery>,
    Query(done): Query<DoneQuery>,
) -> Response {
    let work = async || {
        let (library, words) = (&cx.state.library, cx.words);
        // One more than shown, to know whether there is a next page.
        let mut videos = library.trash(PAGE + 1, query.offset).await?;
        let more = videos.len() > PAGE as usize;
        videos.truncate(PAGE as usize);
        let (count, bytes) = library.trash_size().await?;
        let cards = cards::cards(&cx.state, words, &videos).await?;
        let trashed = |(video, card): (&Video, web::Card)| web::Trashed {
            card,
            gone: views::time(Library::gone_ms(video.deleted_ms.unwrap_or_default())),
        };
        html::render(&TrashPage {
            shell: html::shell(&cx, &words.t("trash"), "trash", false),
            size: format::size(bytes),
            count: words.n("count-videos", count),
            videos: videos.iter().zip(cards).map(trashed).collect(),
            more: more.then(|| format!("/trash?offset={}", query.offset.saturating_add(PAGE))),
            done: done.message(words),
            confirm: to_confirm(&cx, query.delete.as_deref()).await?,
        })
    };
    html::or_error(&cx, work().await)
}

/// Returns the video that the reader may delete for good, if it is in the trash.
async fn to_confirm(cx: &PageContext, id: Option<&str>) -> Result<Option<web::Link>, Failure> {
    let Some(id) = id.filter(|_| cx.user.has(Role::Admin)) else { return Ok(None) };
    let video = cx.state.library.videos_by_id(&[id]).await?.remove(id);
    let Some(video) = video.filter(|video| video.deleted_ms.is_some()) else { return Ok(None) };
    let titles = titles(&cx.state, [&video]).await?;
    Ok(Some(web::Link { url: format!("/trash/{}/delete", video.id), text: titles.of(&video).to_owned() }))
}
