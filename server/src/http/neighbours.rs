//! Where a reader came from to a video (`?in=`), and the videos before and after it there.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Uri, header, request::Parts},
};
use homereel_library::{Collection, Neighbours, Video};
use jiff::civil::Date;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{error::Failure, extract::Query, list_query::ListQuery, search::SearchQuery, views};
use crate::state::AppState;

/// Maximum length of a value in bytes; a longer one counts as none.
const MAX_BYTES: usize = 2000;

/// Results of a search among which a video is looked for.
const RESULTS: usize = 200;

/// Where a reader came from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// The whole timeline.
    Timeline,
    /// The videos of the album with this id.
    Album(String),
    /// The videos with a tag.
    Tag(String),
    /// The videos of a day.
    Day(Date),
    /// The results of a search.
    Search(Box<SearchQuery>),
    /// The library with filters, or in another order.
    List(Box<ListQuery>),
}

/// A video's place where the reader came from.
#[derive(Debug, Clone)]
pub(super) struct Around {
    pub(super) origin: Origin,
    pub(super) place: Neighbours,
}

impl Origin {
    /// Returns the origin of a list of the library; of the whole one, that is the timeline.
    pub(super) fn list(query: &ListQuery) -> Self {
        match query.fields().as_str() {
            "" => Self::Timeline,
            _ => Self::List(Box::new(query.clone())),
        }
    }

    /// Parses `album:ID`, `tag:NAME`, `day:2019-06-02`, `search:QUERY` or `list:QUERY`; anything else is the timeline.
    pub(super) fn parse(text: &str) -> Self {
        let parsed = match text.split_once(':') {
            _ if text.len() > MAX_BYTES => None,
            Some(("album", id)) if is_id(id) => Some(Self::Album(id.to_owned())),
            Some(("tag", tag)) if !tag.trim().is_empty() => Some(Self::Tag(tag.to_owned())),
            Some(("day", day)) => day.parse().ok().map(Self::Day),
            Some(("search", query)) => {
                let uri: Option<Uri> = format!("/?{query}").parse().ok();
                uri.and_then(|uri| SearchQuery::of(&uri)).map(|query| Self::Search(Box::new(query)))
            }
            Some(("list", query)) => {
                let uri: Option<Uri> = format!("/?{query}").parse().ok();
                let query = uri.and_then(|uri| Query::<ListQuery>::of(&uri));
                let fits = |query: &ListQuery| query.filter().is_ok() && query.order().is_ok();
                query.filter(fits).map(|query| Self::list(&query))
            }
            _ => None,
        };
        parsed.unwrap_or(Self::Timeline)
    }

    /// Returns the value that [`Origin::parse`] takes; empty for the timeline.
    pub(super) fn value(&self) -> String {
        match self {
            Self::Timeline => String::new(),
            Self::Album(id) => format!("album:{id}"),
            Self::Tag(tag) => format!("tag:{tag}"),
            Self::Day(day) => format!("day:{day}"),
            Self::Search(query) => format!("search:{}", query.fields()),
            Self::List(query) => format!("list:{}", query.fields()),
        }
    }

    /// Returns the URL of the list.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Timeline => "/".into(),
            Self::Album(id) => format!("/albums/{id}"),
            Self::Tag(tag) => views::tag_url(tag),
            Self::Day(day) => format!("/search?from={day}&to={day}"),
            Self::Search(query) => format!("/search?{}", query.fields()),
            Self::List(query) => query.url("/", None),
        }
    }

    /// Returns the URL of a video, with where the reader came from.
    pub(super) fn url_of(&self, id: &str) -> String {
        format!("/videos/{id}{}", self.query_of())
    }

    /// Returns the query of the URL of a video: `?in=album%3A1`, or nothing for the timeline.
    pub(super) fn query_of(&self) -> String {
        match self {
            Self::Timeline => String::new(),
            origin => format!("?in={}", utf8_percent_encode(&origin.value(), NON_ALPHANUMERIC)),
        }
    }

    /// Returns the URL of a video's page with where the reader came from, if the URL lacks it: a link within the page led there.
    pub(super) fn completed(&self, uri: &Uri) -> Option<String> {
        let lacks = !matches!(self, Self::Timeline) && of_url(uri).is_none();
        let sign = if uri.query().is_some() { '&' } else { '?' };
        // Without the host, which a proxy may know by another name.
        let page = uri.path_and_query()?;
        lacks.then(|| format!("{page}{sign}in={}", utf8_percent_encode(&self.value(), NON_ALPHANUMERIC)))
    }

    /// Returns the URL of the form that edits a video.
    pub(super) fn edit_url_of(&self, id: &str) -> String {
        format!("/videos/{id}/edit{}", self.query_of())
    }
}

/// Of a request about a video: where the reader had come from to it. Links and forms within the page of a video do not repeat this.
impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of_request(&parts.uri, &parts.headers))
    }
}

/// The part of the query of a video's page that says where the reader came from.
#[derive(Debug, Deserialize)]
struct OriginQuery {
    r#in: String,
}

impl Origin {
    /// Reads `?in=` of the URL, else of the page that the request comes from, if that is about the same video. Browsers send the whole
    /// URL of that page to the same site only.
    fn of_request(uri: &Uri, headers: &HeaderMap) -> Self {
        let page = || -> Option<Uri> { headers.get(header::REFERER)?.to_str().ok()?.parse().ok() };
        let same = |page: &Uri| video_in(page.path()).is_some_and(|id| video_in(uri.path()) == Some(id));
        let value = of_url(uri).or_else(|| of_url(&page().filter(same)?));
        value.map_or(Self::Timeline, |value| Self::parse(&value))
    }
}

/// Returns the value of `in` in a URL.
fn of_url(uri: &Uri) -> Option<String> {
    Query::of(uri).map(|OriginQuery { r#in }| r#in)
}

/// Returns the id of the video that a path is about.
fn video_in(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/api").unwrap_or(path);
    path.strip_prefix("/videos/")?.split('/').next()
}

/// Returns whether a text is an id, which becomes part of a URL.
fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the place of a video where the reader came from; on the timeline if it is not there (any more).
pub(super) async fn around(state: &AppState, video: &Video, origin: Origin) -> Result<Around, Failure> {
    let library = &state.library;
    let place = match &origin {
        Origin::Timeline => None,
        Origin::Album(id) => library.neighbours_in(&Collection::Album(id.clone()), &video.id).await?,
        Origin::Tag(tag) => library.neighbours_in(&Collection::Tag(tag.clone()), &video.id).await?,
        Origin::Day(day) => library.neighbours_by_day(video, *day).await?,
        Origin::List(query) => {
            let (filter, order) = (query.filter()?, query.order()?);
            Some(library.neighbours_in_list(video, &filter, order).await?)
        }
        Origin::Search(query) => match query.first_results(state, RESULTS).await {
            Ok(ids) => {
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                Neighbours::in_list(&ids, &video.id)
            }
            // What people typed into a URL.
            Err(failure) if failure.status.is_client_error() => None,
            Err(failure) => return Err(failure),
        },
    };
    match place {
        Some(place) => Ok(Around { origin, place }),
        None => Ok(Around { origin: Origin::Timeline, place: library.neighbours(video).await? }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_they_are_written_and_hostile_ones_are_the_timeline() {
        for text in [
            "tag:Lake Garda",
            "day:2019-06-02",
            "search:q=lake%20x%26y&favourite=on",
            "list:favourite=1&when=2019%2D07",
        ] {
            let origin = Origin::parse(text);
            assert_eq!(Origin::parse(&origin.value()).value(), origin.value(), "{text}");
            assert_ne!(origin.value(), "", "{text}");
        }
        let Origin::Search(query) = Origin::parse("search:q=lake%20x&limit=9&offset=7") else {
            panic!("a search")
        };
        assert_eq!(query.fields(), "q=lake%20x", "the page of the results does not matter");
        for hostile in [
            "",
            "x",
            "tag:",
            "album:../x",
            "day:yesterday",
            "search:\u{0}",
            "album",
            "day:2019-13-40",
            "list:",
            "list:when=19",
        ] {
            assert_eq!(Origin::parse(hostile).value(), "", "{hostile}");
        }
        assert_eq!(Origin::parse(&format!("tag:{}", "x".repeat(3000))).value(), "");
        assert_eq!(Origin::Tag("é&".into()).url_of("1"), "/videos/1?in=tag%3A%C3%A9%26");
    }

    #[test]
    fn the_origin_is_kept_within_the_page_of_a_video() {
        let origin = |url: &str, page: &str| {
            let headers = HeaderMap::from_iter([(header::REFERER, page.parse().unwrap())]);
            Origin::of_request(&url.parse().unwrap(), &headers).value()
        };
        let page = "http://localhost:8080/videos/1?t=3&in=tag%3Alake";
        for url in ["/videos/1?t=9", "/videos/1/edit", "/videos/1/favourite", "/api/videos/1/ask"] {
            assert_eq!(origin(url, page), "tag:lake", "{url}");
        }
        assert_eq!(origin("/videos/1?in=tag%3Asea", page), "tag:sea", "the URL comes first");
        for url in ["/videos/2", "/videos/12/edit", "/albums"] {
            assert_eq!(origin(url, page), "", "{url} is not about this video");
        }
        for page in ["", "x", "/videos", "http://localhost:8080/videos/1", "https://evil.example/?in=tag%3Ax"]
        {
            assert_eq!(origin("/videos/1", page), "", "{page}");
        }
        assert_eq!(origin("/videos/1", "https://evil.example/videos/1?in=%2F%2Fevil.example"), "");
        let completed = |url: &str| Origin::Tag("lake".into()).completed(&url.parse().unwrap());
        assert_eq!(completed("/videos/1?t=9").as_deref(), Some("/videos/1?t=9&in=tag%3Alake"));
        assert_eq!(completed("/videos/1").as_deref(), Some("/videos/1?in=tag%3Alake"));
        assert_eq!(completed("/videos/1?in="), None);
        assert_eq!(completed("http://proxied/videos/1").as_deref(), Some("/videos/1?in=tag%3Alake"));
        assert_eq!(Origin::Timeline.completed(&"/videos/1".parse().unwrap()), None);
    }
}
