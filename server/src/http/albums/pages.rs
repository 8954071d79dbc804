//! `/albums`, `/albums/{id}`, its arrangement, and `/tags/{tag}`.

use axum::response::{IntoResponse, Redirect, Response};
use homereel_library::{Album, Collection, LibraryError, ListKey, Order, Tag, VideoList};
use homereel_web::{
    Words,
    pages::{AlbumPage, AlbumsPage, ArrangePage},
    views::{AlbumCard, AlbumHead, ArrangedVideo, BatchBar, PageLinks},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::http::{
    batch::{self, DoneQuery},
    cards::{self, Heading},
    error::Failure,
    extract::{Path, Query},
    html::{self, PageContext},
    list_query::{cursor, number},
    views,
};

/// Number of albums and of tags on one page, and of videos on one page of an album.
const PAGE: u32 = 48;

/// Number of tags below the albums.
const TAGS: u32 = 12;

/// Number of videos on one page of an arrangement.
const ARRANGED: usize = 100;

/// Largest offset of a list of albums or tags.
const MAX_OFFSET: u32 = 1_000_000;

/// Query of the lists of albums and tags.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct AlbumsQuery {
    /// Number of albums to skip.
    #[serde(default)]
    offset: String,
    /// Number of tags to skip.
    #[serde(default)]
    tags: String,
}

/// Query of a page of an album.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct MembersQuery {
    #[serde(default)]
    before: String,
    #[serde(default)]
    after: String,
    #[serde(flatten)]
    done: DoneQuery,
}

/// `GET /albums`
pub(in crate::http) async fn albums(cx: PageContext, Query(query): Query<AlbumsQuery>) -> Response {
    let work = async || {
        let (library, words) = (&cx.state.library, cx.words);
        let skip_albums = number("offset", &query.offset, 0, MAX_OFFSET)?;
        let skip_tags = number("tags", &query.tags, 0, MAX_OFFSET)?;
        // One more than shown, to know whether there is a next page. Further tags have a page without albums.
        let albums = if skip_tags == 0 { library.albums(PAGE + 1, skip_albums).await? } else { Vec::new() };
        // Albums of people come first: below them, only the most frequent tags.
        let tags_shown = if skip_tags == 0 { TAGS } else { PAGE };
        let tags = if skip_albums == 0 { library.tags(tags_shown + 1, skip_tags).await? } else { Vec::new() };
        let (shown, page) = (PAGE as usize, PAGE);
        html::render(&AlbumsPage {
            shell: html::shell(&cx, &words.t("albums"), "albums", false),
            more_albums: (albums.len() > shown).then(|| format!("/albums?offset={}", skip_albums + page)),
            more_tags: (tags.len() > tags_shown as usize)
                .then(|| format!("/albums?tags={}", skip_tags + tags_shown)),
            albums: albums.iter().take(shown).map(|album| album_card(words, album)).collect(),
            tags: tags.iter().take(tags_shown as usize).map(|tag| tag_card(words, tag)).collect(),
            is_start: skip_albums == 0 && skip_tags == 0,
        })
    };
    html::or_error(&cx, work().await)
}

fn album_card(words: &Words, album: &Album) -> AlbumCard {
    AlbumCard {
        name: album.name.clone(),
        url: format!("/albums/{}", album.id),
        cover: cover(album.cover.as_ref()),
        count: words.n("count-videos", album.videos),
    }
}

fn tag_card(words: &Words, tag: &Tag) -> AlbumCard {
    AlbumCard {
        name: tag.tag.clone(),
        url: views::tag_url(&tag.tag),
        cover: cover(tag.cover.as_ref()),
        count: words.n("count-videos", tag.videos),
    }
}

fn cover(id: Option<&String>) -> Option<String> {
    id.map(|id| format!("/api/videos/{id}/card.jpg"))
}

/// `GET /albums/{id}`. Links of earlier releases have a tag in place of the id.
pub(in crate::http) async fn album(
    cx: PageContext,
    Path(id): Path<String>,
    Query(query): Query<MembersQuery>,
) -> Response {
    let work = async || {
        let library = &cx.state.library;
        let album = match library.album(&id).await {
            Ok(album) => album,
            Err(LibraryError::NotFound { .. }) => {
                let Some(tag) = library.tag(&id).await? else { return Err(not_found(&cx)) };
                return Ok(Redirect::permanent(&views::tag_url(&tag.tag)).into_response());
            }
            Err(error) => return Err(error.into()),
        };
        show(&cx, Collection::Album(id.clone()), head(cx.words, &album), &query).await
    };
    html::or_error(&cx, work().await)
}

/// `GET /tags/{tag}`
pub(in crate::http) async fn tag(
    cx: PageContext,
    Path(tag): Path<String>,
    Query(query): Query<MembersQuery>,
) -> Response {
    let work = async || {
        let Some(tag) = cx.state.library.tag(&tag).await? else { return Err(not_found(&cx)) };
        let encoded = utf8_percent_encode(&tag.tag, NON_ALPHANUMERIC).to_string();
        let head = AlbumHead {
            id: None,
            url: views::tag_url(&tag.tag),
            count: cx.words.n("count-videos", tag.videos),
            play: None,
            download: format!("/videos/download?tag={encoded}"),
            search: format!("/search?tag={encoded}"),
            by_hand: false,
            name: tag.tag.clone(),
        };
        show(&cx, Collection::Tag(tag.tag), head, &query).await
    };
    html::or_error(&cx, work().await)
}

fn not_found(cx: &PageContext) -> Failure {
    Failure::not_found(cx.words.t("album-not-found"))
}

fn head(words: &Words, album: &Album) -> AlbumHead {
    AlbumHead {
        name: album.name.clone(),
        id: Some(album.id.clone()),
        url: format!("/albums/{}", album.id),
        count: words.n("count-videos", album.videos),
        play: None,
        download: format!("/videos/download?album={}", album.id),
        search: format!("/search?tag={}", utf8_percent_encode(&album.name, NON_ALPHANUMERIC)),
        by_hand: album.by_hand,
    }
}

async fn show(
    cx: &PageContext,
    collection: Collection,
    head: AlbumHead,
    query: &MembersQuery,
) -> Result<Response, Failure> {
    let (library, words) = (&cx.state.library, cx.words);
    let cursor = cursor(&query.before, &query.after)?;
    let list = library.collection(&collection, &cursor, PAGE as usize).await?;
    let first = library.collection(&collection, &homereel_library::Cursor::Start, 1).await?;
    let cards = cards::cards(&cx.state, words, &list.videos).await?;
    let unfinished = cards.iter().any(|card| card.state.kind.unfinished());
    let name = match &collection {
        Collection::Album(id) => format!("album%3A{id}"),
        Collection::Tag(tag) => format!("tag%3A{}", utf8_percent_encode(tag, NON_ALPHANUMERIC)),
    };
    let from = format!("?in={name}");
    let play = first.videos.first().map(|video| format!("/videos/{}{from}&play=all", video.id));
    let heading = if head.by_hand { Heading::None } else { Heading::Month };
    let links = links(&list, &head.url);
    html::render(&AlbumPage {
        shell: html::shell(cx, &head.name, "albums", unfinished),
        groups: cards::groups(&list.videos, cards, Order::Taken, heading),
        links,
        batch: BatchBar {
            back: head.url.clone(),
            album: head.id.clone().unwrap_or_default(),
            from,
            ..batch::bar(cx).await?
        },
        head: AlbumHead { play, ..head },
        done: query.done.message(words),
    })
}

/// Returns the links of a page of a list that begins with the earliest video.
fn links(list: &VideoList, url: &str) -> PageLinks {
    let link = |name: &str, key: &ListKey| format!("{url}?{name}={key}");
    PageLinks {
        back: list.before.as_ref().map(|key| link("before", key)),
        on: list.after.as_ref().map(|key| link("after", key)),
    }
}

/// `GET /albums/{id}/arrange`: order and cover.
pub(in crate::http) async fn arrange(
    cx: PageContext,
    Path(id): Path<String>,
    Query(query): Query<MembersQuery>,
) -> Response {
    let work = async || {
        let library = &cx.state.library;
        let album = library.album(&id).await?;
        let cursor = cursor(&query.before, &query.after)?;
        let list = library.collection(&Collection::Album(id.clone()), &cursor, ARRANGED).await?;
        let url = format!("/albums/{id}/arrange");
        let here = match (query.before.as_str(), query.after.as_str()) {
            ("", "") => url.clone(),
            (before, "") => format!("{url}?before={before}"),
            (_, after) => format!("{url}?after={after}"),
        };
        let cards = cards::cards(&cx.state, cx.words, &list.videos).await?;
        let arranged = |card: homereel_web::views::Card| ArrangedVideo {
            is_cover: album.cover.as_ref() == Some(&card.id),
            card,
        };
        html::render(&ArrangePage {
            shell: html::shell(&cx, &album.name, "albums", false),
            head: head(cx.words, &album),
            here,
            links: links(&list, &url),
            videos: cards.into_iter().map(arranged).collect(),
        })
    };
    html::or_error(&cx, work().await)
}
