//! `/search` and `GET /api/search`: finds videos and seconds in them.

mod dates;
mod page;

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::Uri,
    response::{IntoResponse, Response},
};
use homereel_library::{Filter, Found, Hit, Results, Video, local_ms};
use homereel_web::format;
use jiff::civil::{Date, Time};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use page::page;

use super::{
    error::{Failure, Problem, shown},
    extract::Query,
};
use crate::{
    meaning::{MeaningState, Nearby},
    state::AppState,
};

/// Default number of videos in one response of the API.
const LIMIT: usize = 20;

/// Maximum number of videos in one response of the API.
const MAX_LIMIT: usize = 100;

/// Maximum offset of a page.
const MAX_OFFSET: usize = 100_000;

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

#[cfg(test)]
mod tests;
