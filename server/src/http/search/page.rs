//! `GET /search`: the form, and the videos that were found with the places in them.

use axum::{http::HeaderMap, response::Response};
use homereel_library::{Found, Hit, MAX_RANKED, PieceKind, SnippetPart, Why};
use homereel_web::{format, pages::SearchPage, views as web};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    SearchQuery, Searched,
    dates::{DatedWords, dated},
    day, url_of,
};
use crate::{
    http::{
        error::{Failure, shown},
        extract::Query,
        html::{self, PageContext},
        neighbours::Origin,
        thumbnail,
        titles::{Titles, titles},
        views,
    },
    meaning::MeaningState,
    state::AppState,
};

/// Number of videos on one page: each has several hits, and a phone shows two or three videos at once.
const PAGE: usize = 12;

/// Choices of length, as values of `length=` and as messages.
const LENGTHS: [(&str, &str); 4] = [
    ("0-60", "search-up-to-minute"),
    ("60-600", "search-minutes"),
    ("600-3600", "search-long"),
    ("3600-", "search-hours"),
];

/// `GET /search`
pub(in crate::http) async fn page(
    cx: PageContext,
    Query(query): Query<SearchQuery>,
    headers: HeaderMap,
) -> Response {
    let result = show(&cx, &query).await;
    // An invalid date is an error in the form, shown on the page.
    match result {
        Err(failure) if failure.status.is_client_error() && html::wants_html(&headers) => {
            let page = filled(&cx, &query, Vec::new(), String::new(), failure.message).await;
            html::or_error(&cx, page.and_then(|page| html::render(&page)))
        }
        result => html::or_error(&cx, result),
    }
}

async fn show(cx: &PageContext, query: &SearchQuery) -> Result<Response, Failure> {
    if query.q.trim().is_empty() && !query.is_filtered() {
        return html::render(&filled(cx, query, Vec::new(), String::new(), String::new()).await?);
    }
    let (searched, dated) = run_by_date(&cx.state, query).await?;
    let Searched { results, meaning, next } = searched;
    let typed = query;
    let query = dated.as_ref().map_or(typed, |(query, _)| query);
    let counts = match results.total {
        MAX_RANKED if meaning == MeaningState::Used => cx.words.n("search-best", MAX_RANKED as u64),
        MAX_RANKED => cx.words.n("search-newest", MAX_RANKED as u64),
        total => cx.words.n("count-videos", total as u64),
    };
    let origin = Origin::Search(Box::new(query.clone())).value();
    let titles = titles(&cx.state, results.found.iter().map(|found| &found.video)).await?;
    let mut found = Vec::with_capacity(results.found.len());
    for result in &results.found {
        found.push(view(cx, result, &titles, &origin).await);
    }
    let mut page = filled(cx, typed, found, counts, String::new()).await?;
    page.dated =
        dated.as_ref().map(|(_, when)| cx.words.with("search-dated", &[("when", when)])).unwrap_or_default();
    page.more = next.map(|next| query.url(next));
    page.searched = true;
    page.by_meaning = meaning == MeaningState::Used;
    page.meaning_failed = meaning == MeaningState::Unavailable;
    html::render(&page)
}

/// Runs a search. If nothing has all of its words, one of them may be a year: returns what was searched for instead, and the year or
/// month.
async fn run_by_date(
    state: &AppState,
    query: &SearchQuery,
) -> Result<(Searched, Option<(SearchQuery, String)>), Failure> {
    let searched = query.run(state, PAGE, PAGE).await?;
    let is_free = query.from.trim().is_empty() && query.to.trim().is_empty();
    let dated = dated(&query.q).filter(|_| is_free && searched.results.total == 0);
    let Some(DatedWords { words, first, last, name }) = dated else { return Ok((searched, None)) };
    let again = SearchQuery { q: words, from: first.to_string(), to: last.to_string(), ..query.clone() };
    let found = again.run(state, PAGE, PAGE).await?;
    Ok(if found.results.total == 0 { (searched, None) } else { (found, Some((again, name))) })
}

async fn filled(
    cx: &PageContext,
    query: &SearchQuery,
    found: Vec<web::FoundView>,
    counts: String,
    problem: String,
) -> Result<SearchPage, Failure> {
    let title = match query.q.trim() {
        "" => cx.words.t("search"),
        words => cx.words.with("search-title", &[("words", &shown(words).to_string())]),
    };
    let choice = |value: &str, label: &str, chosen: &str| web::SelectOption {
        value: value.to_owned(),
        label: label.to_owned(),
        chosen: value == chosen.trim(),
    };
    let cameras = cx.state.library.cameras().await?;
    Ok(SearchPage {
        shell: html::shell(cx, &title, "search", false),
        cameras: cameras.iter().map(|name| choice(name, name, &query.camera)).collect(),
        lengths: LENGTHS
            .iter()
            .map(|(value, label)| choice(value, &cx.words.t(label), &query.length))
            .collect(),
        filtered: query.is_filtered(),
        q: query.q.clone(),
        from: typed_day(&query.from),
        to: typed_day(&query.to),
        tag: query.tag.clone(),
        favourite: !query.favourite.is_empty(),
        is_question: is_question(&query.q),
        searched: false,
        by_meaning: false,
        meaning_failed: false,
        problem,
        dated: String::new(),
        counts,
        found,
        more: None,
    })
}

/// Adds to the URL of a video that a reader came from this search.
pub(super) fn with_origin(url: &str, origin: &str) -> String {
    let (page, anchor) = url.split_at(url.find('#').unwrap_or(url.len()));
    let sign = if page.contains('?') { '&' } else { '?' };
    format!("{page}{sign}in={}{anchor}", utf8_percent_encode(origin, NON_ALPHANUMERIC))
}

async fn view(cx: &PageContext, found: &Found, titles: &Titles, origin: &str) -> web::FoundView {
    let video = &found.video;
    // The picture of the best place that has a time, instead of the poster.
    let picture = match found.places.iter().find_map(|place| place.start) {
        Some(second) => thumbnail::url(&cx.state, video, second).await,
        None => None,
    };
    let place = |place: &Hit| web::HitView {
        url: with_origin(&url_of(&video.id, place), origin),
        at: match (place.kind, place.start) {
            (_, Some(start)) => format::position(start),
            (PieceKind::Name, _) => cx.words.t("search-in-name"),
            (PieceKind::Place, _) => cx.words.t("search-in-place"),
            (PieceKind::Camera, _) => cx.words.t("search-in-camera"),
            (PieceKind::Tag, _) => cx.words.t("search-in-tag"),
            (PieceKind::Answer, _) => cx.words.t("search-in-answer"),
            (PieceKind::Speech, _) => cx.words.t("search-in-speech"),
            (PieceKind::Description | PieceKind::Moment, _) => cx.words.t("search-in-description"),
        },
        parts: place.snippet.iter().map(|SnippetPart { text, matched }| (text.clone(), *matched)).collect(),
        why: place.why.iter().map(|why| cx.words.t(reason(*why))).collect(),
    };
    let card = web::Card { title: titles.of(video).to_owned(), ..views::card(cx.words, video, None) };
    let picture = picture.or_else(|| card.poster.clone());
    let url = with_origin(&format!("/videos/{}", video.id), origin);
    web::FoundView { card, url, picture, places: found.places.iter().map(place).collect() }
}

/// Returns the message of a reason.
fn reason(why: Why) -> &'static str {
    match why {
        Why::Words => "search-why-words",
        Why::Meaning => "search-why-meaning",
        Why::Speech => "search-why-said",
    }
}

/// Returns whether words read like a question, so that the button that asks it is the first choice: it ends with a question mark, in
/// any script, or begins with an English question word. Both ways stay on the page.
pub(super) fn is_question(words: &str) -> bool {
    const FIRST: [&str; 15] = [
        "who", "whose", "what", "which", "when", "where", "why", "how", "is", "are", "did", "does", "do",
        "was", "were",
    ];
    let words = words.trim();
    let first = words.split_whitespace().next().unwrap_or_default().to_lowercase();
    let several = words.split_whitespace().nth(2).is_some();
    words.ends_with(['?', '？', '؟']) || (several && FIRST.contains(&first.as_str()))
}

/// Returns the value of a date field: a valid date or nothing.
fn typed_day(text: &str) -> String {
    day("", text).ok().flatten().map(|day| day.to_string()).unwrap_or_default()
}
