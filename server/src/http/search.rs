//! `/search` and `GET /api/search`: finds videos and seconds in them.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
};
use homereel_library::{
    Filter, Found, Hit, MAX_RANKED, PieceKind, Results, SnippetPart, Video, Why, local_ms,
};
use homereel_web::{format, pages::SearchPage, views as web};
use jiff::civil::{Date, Time};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::{Failure, Problem, shown},
    extract::Query,
    html::{self, PageContext},
    neighbours::Origin,
    search_dates::{DatedWords, dated},
    thumbnail,
    titles::{Titles, titles},
    views,
};
use crate::{
    meaning::{MeaningState, Nearby},
    state::AppState,
};

/// Number of videos on one page: each has several hits, and a phone shows two or three videos at once.
const PAGE: usize = 12;

/// Default number of videos in one response of the API.
const LIMIT: usize = 20;

/// Maximum number of videos in one response of the API.
const MAX_LIMIT: usize = 100;

/// Maximum offset of a page.
const MAX_OFFSET: usize = 100_000;

/// Choices of length, as values of `length=` and as messages.
const LENGTHS: [(&str, &str); 4] = [
    ("0-60", "search-up-to-minute"),
    ("60-600", "search-minutes"),
    ("600-3600", "search-long"),
    ("3600-", "search-hours"),
];

/// Query of a search. All fields are text, because empty fields of a form count as missing.
#[derive(Debug, Default, Clone, Deserialize)]
pub(super) struct SearchQuery {
    #[serde(default)]
    q: String,
    /// First day, `2024-05-31`.
    #[serde(default)]
    from: String,
    /// Last day.
    #[serde(default)]
    to: String,
    #[serde(default)]
    camera: String,
    /// Range of length in seconds, `60-600` or `3600-`.
    #[serde(default)]
    length: String,
    #[serde(default)]
    tag: String,
    /// Any value restricts the search to favourites.
    #[serde(default)]
    favourite: String,
    #[serde(default)]
    limit: String,
    #[serde(default)]
    offset: String,
}

/// One page of results.
struct Searched {
    results: Arc<Results>,
    meaning: MeaningState,
    /// Offset of the next page.
    next: Option<usize>,
}

impl SearchQuery {
    fn filter(&self) -> Result<Filter, Failure> {
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let from = day("from", &self.from)?;
        let before = match day("to", &self.to)? {
            None => None,
            Some(day) => Some(day.tomorrow().map_err(|_| bad_day("to", &self.to))?),
        };
        let (min_s, max_s) = length(self.length.trim())?;
        Ok(Filter {
            from_ms: from.map(start_of),
            before_ms: before.map(start_of),
            camera: text(&self.camera),
            min_s,
            max_s,
            tag: text(&self.tag),
            favourite: !self.favourite.is_empty(),
        })
    }

    fn number(name: &'static str, text: &str, default: usize, max: usize) -> Result<usize, Failure> {
        if text.is_empty() {
            return Ok(default);
        }
        text.parse().ok().filter(|&n| n <= max).ok_or_else(|| {
            Failure::invalid(name, format!("{name} is {}; a number up to {max} would fit", shown(text)))
        })
    }

    async fn run(&self, state: &AppState, usual: usize, most: usize) -> Result<Searched, Failure> {
        let limit = Self::number("limit", &self.limit, usual, most)?.max(1);
        let offset = Self::number("offset", &self.offset, 0, MAX_OFFSET)?;
        let filter = self.filter()?;
        let Nearby { state: meaning, near } = state.meaning.near_query(&self.q, &filter).await?;
        let results = state.library.search_near(&self.q, &filter, &near, limit, offset).await?;
        let next = Some(offset + limit).filter(|&next| next < results.total);
        Ok(Searched { results, meaning, next })
    }

    /// Reads the query of a URL, but not which page of the results it is.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let query: Self = Query::of(uri)?;
        Some(Self { limit: String::new(), offset: String::new(), ..query })
    }

    /// Returns the ids of the first results, at most `limit`.
    pub(super) async fn first_results(&self, state: &AppState, limit: usize) -> Result<Vec<String>, Failure> {
        let Searched { results, .. } = self.run(state, limit, limit).await?;
        Ok(results.found.iter().map(|found| found.video.id.clone()).collect())
    }

    /// Returns the URL of another page of the same search.
    fn url(&self, offset: usize) -> String {
        match self.fields() {
            fields if fields.is_empty() => format!("/search?offset={offset}"),
            fields => format!("/search?{fields}&offset={offset}"),
        }
    }

    /// Returns the words that are searched for.
    pub(super) fn words(&self) -> &str {
        self.q.trim()
    }

    /// Returns what is searched for as the query of a URL.
    pub(super) fn fields(&self) -> String {
        let fields = [
            ("q", &self.q),
            ("from", &self.from),
            ("to", &self.to),
            ("camera", &self.camera),
            ("length", &self.length),
            ("tag", &self.tag),
            ("favourite", &self.favourite),
        ];
        let field = |(name, value): &(&str, &String)| {
            (!value.is_empty()).then(|| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        };
        fields.iter().filter_map(field).collect::<Vec<_>>().join("&")
    }

    fn is_filtered(&self) -> bool {
        [&self.from, &self.to, &self.camera, &self.length, &self.tag, &self.favourite]
            .iter()
            .any(|text| !text.trim().is_empty())
    }
}

fn day(name: &'static str, text: &str) -> Result<Option<Date>, Failure> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| bad_day(name, text)),
    }
}

/// Returns the value of a date field: a valid date or nothing.
fn typed_day(text: &str) -> String {
    day("", text).ok().flatten().map(|day| day.to_string()).unwrap_or_default()
}

fn bad_day(name: &'static str, text: &str) -> Failure {
    Failure::invalid(name, format!("{name} is {}; a day such as 2024-05-31 would fit", shown(text)))
}

/// Midnight of a day at the place where a video was taken.
fn start_of(day: Date) -> i64 {
    local_ms(day.to_datetime(Time::midnight()))
}

fn length(text: &str) -> Result<(Option<f64>, Option<f64>), Failure> {
    if text.is_empty() {
        return Ok((None, None));
    }
    let seconds = |text: &str| match text {
        "" => Some(None),
        text => text.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0).map(Some),
    };
    text.split_once('-').and_then(|(min, max)| Some((seconds(min)?, seconds(max)?))).ok_or_else(|| {
        Failure::invalid("length", format!("length is {}; seconds such as 60-600 would fit", shown(text)))
    })
}

/// `GET /api/search?q=`
pub(super) async fn api(
    State(state): State<AppState>,
    Query(query): Query<SearchQuery>,
) -> Result<Response, Problem> {
    let Searched { results, meaning, next } = query.run(&state, LIMIT, MAX_LIMIT).await?;
    let mut found = Vec::with_capacity(results.found.len());
    for Found { video, places } in &results.found {
        let places: Vec<Value> = places
            .iter()
            .map(|place| {
                let mut value = json!(place);
                value["url"] = url_of(&video.id, place).into();
                value
            })
            .collect();
        let mut summary = summary(video);
        summary["places"] = places.into();
        found.push(summary);
    }
    let results = json!({
        "query": query.q, "total": results.total, "next_offset": next, "meaning": meaning, "videos": found,
    });
    Ok(Json(results).into_response())
}

/// A video in a list of results, as JSON.
pub(super) fn summary(video: &Video) -> Value {
    json!({
        "id": video.id, "name": video.name, "url": format!("/videos/{}", video.id),
        "duration_s": video.probe.as_ref().map(|probe| probe.duration_s),
        "taken": video.taken, "taken_ms": video.taken_ms,
        "camera": video.probe.as_ref().and_then(|probe| probe.camera.clone()),
    })
}

/// Returns the link of a hit: its second, its answer, or the video.
fn url_of(video_id: &str, place: &Hit) -> String {
    match (place.start, &place.answer_id) {
        (Some(second), _) => format!("/videos/{video_id}?t={}", format::second(second)),
        (None, Some(answer)) => format!("/videos/{video_id}#answer-{answer}"),
        (None, None) => format!("/videos/{video_id}"),
    }
}

/// `GET /search`
pub(super) async fn page(cx: PageContext, Query(query): Query<SearchQuery>, headers: HeaderMap) -> Response {
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
fn with_origin(url: &str, origin: &str) -> String {
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
fn is_question(words: &str) -> bool {
    const FIRST: [&str; 15] = [
        "who", "whose", "what", "which", "when", "where", "why", "how", "is", "are", "did", "does", "do",
        "was", "were",
    ];
    let words = words.trim();
    let first = words.split_whitespace().next().unwrap_or_default().to_lowercase();
    let several = words.split_whitespace().nth(2).is_some();
    words.ends_with(['?', '？', '؟']) || (several && FIRST.contains(&first.as_str()))
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
