//! `/albums` and `/albums/{tag}`: one album per tag, with its videos in the order they were taken.

use axum::{
    Form,
    extract::rejection::FormRejection,
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{Album, Video};
use homereel_web::{
    format,
    pages::{AlbumPage, AlbumsPage},
    views as web,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{
    error::Failure,
    extract::{Path, Query},
    html::{self, PageContext},
    videos, views,
};

/// Number of albums on one page, and of videos on one page of an album.
const PAGE: u32 = 48;

/// Query of a paged list.
#[derive(Debug, Deserialize)]
pub(super) struct PageQuery {
    offset: Option<u32>,
}

/// Form that adds a video to an album.
#[derive(Debug, Deserialize)]
pub(super) struct AlbumForm {
    album: String,
}

/// `GET /albums`
pub(super) async fn page(cx: PageContext, Query(query): Query<PageQuery>) -> Response {
    let work = async || {
        let offset = query.offset.unwrap_or_default();
        // One more than shown, to know whether there is a next page.
        let mut albums = cx.state.library.albums(PAGE + 1, offset).await?;
        let more = albums.len() > PAGE as usize;
        albums.truncate(PAGE as usize);
        html::render(&AlbumsPage {
            shell: html::shell(&cx, "Albums", "albums", false),
            albums: albums.iter().map(card).collect(),
            more: more.then(|| format!("/albums?offset={}", offset.saturating_add(PAGE))),
        })
    };
    html::or_error(&cx, work().await)
}

fn card(album: &Album) -> web::AlbumCard {
    web::AlbumCard {
        name: album.tag.clone(),
        url: views::album_url(&album.tag),
        cover: album.cover.as_ref().map(|id| format!("/api/videos/{id}/card.jpg")),
        count: format::count(album.videos, "video"),
    }
}

/// `GET /albums/{tag}`
pub(super) async fn album(
    cx: PageContext,
    Path(tag): Path<String>,
    Query(query): Query<PageQuery>,
) -> Response {
    let work = async || {
        let offset = query.offset.unwrap_or_default();
        let (count, found) = cx.state.library.album(&tag, PAGE, offset).await?;
        if count == 0 {
            return Err(Failure::not_found(format!("there is no album {}", super::error::shown(&tag))));
        }
        let ids: Vec<&str> = found.iter().map(|video| video.id.as_str()).collect();
        let jobs = cx.state.library.newest_jobs(&ids).await?;
        let next = offset.saturating_add(PAGE);
        html::render(&AlbumPage {
            shell: html::shell(&cx, &tag, "albums", false),
            name: tag.clone(),
            count: format::count(count, "video"),
            first: found.first().map(day),
            last: found.last().filter(|last| !same_day(last, &found[0])).map(day),
            search: format!("/search?tag={}", utf8_percent_encode(&tag, NON_ALPHANUMERIC)),
            videos: found.iter().map(|video| views::card(cx.words, video, jobs.get(&video.id))).collect(),
            more: (u64::from(next) < count).then(|| format!("{}?offset={next}", views::album_url(&tag))),
        })
    };
    html::or_error(&cx, work().await)
}

/// Returns whether two videos were taken on the same day.
fn same_day(one: &Video, other: &Video) -> bool {
    one.local().date() == other.local().date()
}

fn day(video: &Video) -> web::Time {
    let date = video.local().date();
    web::Time { iso: date.to_string(), text: date.strftime("%-d %b %Y").to_string() }
}

/// `POST /videos/{id}/albums`: a form; adds the tag to the video's tags.
pub(super) async fn add_form(
    cx: PageContext,
    Path(id): Path<String>,
    form: Result<Form<AlbumForm>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(form) = form?;
        videos::add_tag(&cx.state, &id, &form.album).await?;
        Ok::<_, Failure>(Redirect::to(&format!("/videos/{id}")).into_response())
    };
    html::or_error(&cx, work().await)
}
