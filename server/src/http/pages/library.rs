//! `GET /`: the library by month, with filters and the year rail.

use axum::{
    http::{HeaderMap, header},
    response::Response,
};
use homereel_library::{Counted, Cursor, FacetKind, FacetValue, LengthClass, ListFilter, Order, now_ms};
use homereel_web::{
    Words, format,
    pages::LibraryPage,
    views::{BatchBar, Link, ListForm, PageLinks, RailEntry, SelectOption, Time},
};
use serde::Deserialize;

use crate::{
    http::{
        batch::{self, DoneQuery},
        cards::{self, Heading},
        error::Failure,
        extract::Query,
        html::{self, PageContext},
        list_query::{ListQuery, count_of, length_words},
        neighbours::Origin,
        titles::titles,
    },
    net::ClientInfo,
    state::AppState,
};

/// Number of videos on one page.
const VIDEOS: usize = 48;

/// Maximum number of places and of cameras to choose from, the most frequent.
const CHOICES: u32 = 100;

/// Maximum number of months that have videos.
const MONTHS: u32 = 3000;

/// Query of the page.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct LibraryQuery {
    #[serde(flatten)]
    list: ListQuery,
    #[serde(flatten)]
    done: DoneQuery,
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
    let (library, words) = (&cx.state.library, cx.words);
    let LibraryQuery { list: query, done, trashed } = query;
    let (filter, order, cursor) = (query.filter()?, query.order()?, query.cursor()?);
    let list = library.list(&filter, order, &cursor, VIDEOS).await?;
    let cards = cards::cards(&cx.state, words, &list.videos).await?;
    let unfinished = cards.iter().any(|card| card.state.kind.unfinished());
    let heading = match &filter {
        ListFilter { day: Some(_), .. } => Heading::Day,
        // Of these, only the day on which they were added is known.
        ListFilter { undated: true, .. } => Heading::None,
        _ => Heading::Month,
    };
    let total = library.video_count().await?;
    let counted = count_of(library, &filter, &cursor, &list, VIDEOS).await?;
    let months = library.facets(FacetKind::Month, MONTHS).await?;
    html::render(&LibraryPage {
        shell: html::shell(cx, &words.t("library-title"), "videos", unfinished),
        upload_limit: format::size(cx.state.config.get().max_upload_bytes),
        base_url: base_url(client, headers),
        is_empty: total == 0,
        count: count(words, counted),
        groups: cards::groups(&list.videos, cards, order, heading),
        links: PageLinks {
            back: list.after.as_ref().map(|key| query.url("/", Some(("after", key)))),
            on: list.before.as_ref().map(|key| query.url("/", Some(("before", key)))),
        },
        years: rail(query, &filter, &months),
        undated: undated(&cx.state, query).await?,
        on_this_day: match (filter.conditions(), &cursor) {
            (0, Cursor::Start) => on_this_day(cx).await?,
            _ => None,
        },
        form: form(cx, query, &filter, order).await?,
        batch: BatchBar {
            back: query.here("/"),
            from: Origin::list(query).query_of(),
            ..batch::bar(cx).await?
        },
        trashed: just_trashed(&cx.state, trashed.as_deref()).await?,
        done: done.message(words),
    })
}

/// Returns a number of videos in words.
fn count(words: &Words, counted: Counted) -> String {
    let key = if counted.or_more { "list-count-more" } else { "count-videos" };
    words.n(key, counted.videos)
}

/// Returns the years, and the months of the chosen one. They keep the other filters.
fn rail(query: &ListQuery, filter: &ListFilter, months: &[FacetValue]) -> Vec<RailEntry> {
    let chosen = filter.period;
    let other_filters = filter.conditions() > usize::from(chosen.is_some());
    let entry = |value: &str, text: String, videos: u64, is_month: bool| {
        let here = query.when.trim() == value;
        let when = if here { String::new() } else { value.to_owned() };
        RailEntry {
            time: Time { iso: value.to_owned(), text },
            url: ListQuery { when, ..query.clone() }.url("/", None),
            count: if other_filters { String::new() } else { videos.to_string() },
            chosen: here,
            is_month,
        }
    };
    let mut entries: Vec<RailEntry> = Vec::new();
    for of_year in months.chunk_by(|one, other| one.value.get(..4) == other.value.get(..4)) {
        let Some(year) = of_year.first().and_then(|month| month.value.get(..4)) else { continue };
        let videos = of_year.iter().map(|month| month.videos).sum();
        entries.push(entry(year, year.to_owned(), videos, false));
        if chosen.is_none_or(|period| format!("{:04}", period.year()) != year) {
            continue;
        }
        for month in of_year {
            let name = month.value.parse::<homereel_library::Period>();
            let name = name.map(|period| period.first_day().strftime("%B").to_string()).unwrap_or_default();
            entries.push(entry(&month.value, name, month.videos, true));
        }
    }
    entries
}

/// Returns the URL of the videos without a date, if there are any.
async fn undated(state: &AppState, query: &ListQuery) -> Result<Option<String>, Failure> {
    let filter = ListFilter { undated: true, ..ListFilter::default() };
    let some = state.library.list_count(&filter).await?.videos > 0;
    let list = ListQuery { undated: "1".into(), when: String::new(), ..query.clone() };
    Ok(some.then(|| list.url("/", None)))
}

/// Returns the link to the videos of this day of earlier years.
async fn on_this_day(cx: &PageContext) -> Result<Option<Link>, Failure> {
    let today = homereel_library::local_time(now_ms()).date();
    let earlier = cx.state.library.count_on_day_before(today).await?;
    Ok((earlier > 0).then(|| Link {
        url: format!("/?on={}", today.strftime("%m-%d")),
        text: cx.words.n("on-this-day", earlier),
    }))
}

async fn form(
    cx: &PageContext,
    query: &ListQuery,
    filter: &ListFilter,
    order: Order,
) -> Result<ListForm, Failure> {
    let (library, words) = (&cx.state.library, cx.words);
    let option = |value: &str, label: String, chosen| SelectOption { value: value.to_owned(), label, chosen };
    let choices = async |kind, chosen: Option<&String>| {
        let values = library.facets(kind, CHOICES).await?;
        let mut values: Vec<String> = values.into_iter().map(|value| value.value).collect();
        // Also one that no video has any more.
        values.extend(chosen.filter(|chosen| !values.contains(chosen)).cloned());
        values.sort_unstable_by_key(|value| value.to_lowercase());
        let is_chosen = |value: &String| chosen == Some(value);
        Ok::<_, Failure>(
            values.iter().map(|value| option(value, value.clone(), is_chosen(value))).collect::<Vec<_>>(),
        )
    };
    let lengths = LengthClass::ALL
        .map(|class| option(class.as_str(), words.t(length_words(class)), filter.length == Some(class)));
    Ok(ListForm {
        chosen: query.filters(words)?,
        clear: ListQuery { sort: query.sort.clone(), ..ListQuery::default() }.url("/", None),
        when: query.when.trim().to_owned(),
        on: query.on.trim().to_owned(),
        favourite: filter.favourite,
        undated: filter.undated,
        orders: vec![
            option("taken", words.t("sort-taken"), order == Order::Taken),
            option("added", words.t("sort-added"), order == Order::Added),
        ],
        places: choices(FacetKind::Place, filter.place.as_ref()).await?,
        cameras: choices(FacetKind::Camera, filter.camera.as_ref()).await?,
        lengths: lengths.into(),
    })
}

/// The video that the reader deleted a moment ago, if it is still in the trash.
async fn just_trashed(state: &AppState, id: Option<&str>) -> Result<Option<Link>, Failure> {
    let Some(id) = id else { return Ok(None) };
    let video = state.library.videos_by_id(&[id]).await?.remove(id);
    let Some(video) = video.filter(|video| video.deleted_ms.is_some()) else { return Ok(None) };
    let titles = titles(state, [&video]).await?;
    Ok(Some(Link { url: format!("/videos/{}/restore", video.id), text: titles.of(&video).to_owned() }))
}

/// Scheme and authority of the request's URL; displayed, never used for links.
pub(super) fn base_url(client: ClientInfo, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost:8080");
    let scheme = if client.https { "https" } else { "http" };
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rail_has_years_and_the_months_of_the_chosen_one() {
        let month = |value: &str, videos| FacetValue { value: value.into(), videos };
        let months = [month("2023-10", 2), month("2019-07", 3), month("2019-01", 1), month("1963-08", 1)];
        let texts = |query: &ListQuery| -> Vec<(String, String, String)> {
            let rail = rail(query, &query.filter().unwrap(), &months);
            rail.into_iter().map(|entry| (entry.time.text, entry.count, entry.url)).collect()
        };
        let row = |text: &str, count: &str, url: &str| (text.to_owned(), count.to_owned(), url.to_owned());
        let all = ListQuery { sort: "added".into(), ..ListQuery::default() };
        assert_eq!(texts(&all)[1], row("2019", "4", "/?sort=added&when=2019"));
        let year = ListQuery { when: "2019".into(), ..ListQuery::default() };
        assert_eq!(
            texts(&year)[1..4],
            [
                row("2019", "4", "/"),
                row("July", "3", "/?when=2019%2D07"),
                row("January", "1", "/?when=2019%2D01")
            ]
        );
        let favourites = ListQuery { favourite: "1".into(), ..ListQuery::default() };
        assert_eq!(texts(&favourites)[0], row("2023", "", "/?favourite=1&when=2023"));
    }
}
