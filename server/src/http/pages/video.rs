//! `GET /videos/{id}`: the page of one video.

mod answers;
pub(in crate::http) mod text;

use axum::{
    http::Uri,
    response::{IntoResponse as _, Redirect, Response},
};
use homereel_library::{Answer, AnswerStatus, Job, JobState, Poster, Video};
use homereel_web::{
    Words, format,
    pages::VideoPage,
    views::{AlbumChoice, Link, ModelStatus, Trail},
};
use serde::Deserialize;

use crate::{
    http::{
        batch,
        error::Failure,
        extract::{Path, Query},
        html::{self, PageContext},
        neighbours::{self, Around, Origin},
        pages::{reading, transcript},
        similar, titles,
        videos::ANSWERS,
        views,
    },
    state::AppState,
};

/// Number of characters of answers on one page, below which the next older answer is shown too.
const ANSWERS_CHARS: usize = 10_000;

/// Number of moments on one page.
const MOMENTS: usize = 100;

/// Position in the video in seconds. Text, because an invalid value should not break the page.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct VideoQuery {
    t: Option<String>,
    /// `all` plays the next video when this one ends.
    play: Option<String>,
    /// Number of newer answers to skip.
    answers: Option<usize>,
    /// Number of earlier moments to skip.
    moments: Option<usize>,
    /// Number of the first line of the transcript.
    pub(super) lines: Option<u64>,
    /// Words that lines of the transcript must contain.
    pub(super) said: Option<String>,
    /// Number of the line to correct.
    pub(super) edit: Option<u64>,
}

/// `GET /videos/{id}`
pub(in crate::http) async fn page(
    cx: PageContext,
    origin: Origin,
    uri: Uri,
    Path(id): Path<String>,
    Query(query): Query<VideoQuery>,
) -> Response {
    if let Some(url) = origin.completed(&uri) {
        return Redirect::to(&url).into_response();
    }
    let work = async || {
        let video = cx.state.library.video(&id).await?;
        let jobs = cx.state.library.jobs_of(&id).await?;
        let all = cx.state.library.answers(&id, ANSWERS).await?;
        let skip = query.answers.unwrap_or(0).min(all.len());
        let answers = fitting(&all[skip..]);
        let older_answers = skip + answers.len();
        let second = query.t.as_deref().and_then(second_of);
        let transcript = transcript::view(cx.words, &cx.state, &video, &query, second).await?;
        let captions = transcript::captions(&cx.state, &id).await?;
        let job = jobs.iter().find(|job| job.kind == "ingest");
        let around = neighbours::around(&cx.state, &video, origin).await?;
        let album = match &around.origin {
            Origin::Album(album) => Some(cx.state.library.album(album).await?.name),
            _ => None,
        };
        let page = video_page(&cx, &video, job, answers, &query);
        let is_spoken = transcript.as_ref().is_some_and(|transcript| transcript.has_lines);
        html::render(&VideoPage {
            suggestions: answers::suggestions(cx.words, &page.shell.model, &video, is_spoken),
            trail: trail(cx.words, around, album, query.play.as_deref() == Some("all"))?,
            albums: album_choices(&cx.state, &id).await?,
            older_answers: (older_answers < all.len())
                .then(|| format!("/videos/{id}?answers={older_answers}#ask-title")),
            has_sprites: cx.state.library.sprites(&video.sha256).await.is_some(),
            similar: similar::cards(&cx, &id).await,
            transcript,
            captions,
            ..page
        })
    };
    html::or_error(&cx, work().await)
}

/// Returns which file to play: the original, or the rendition if browsers cannot play the original and the rendition exists.
/// `None` while the file is not known, and while a rendition is still to come of a file of which browsers would show something
/// else than the model saw: another stream, or the pictures at other times.
fn play_file(state: &AppState, video: &Video, unfinished: bool) -> Option<&'static str> {
    let probe = video.probe.as_ref()?;
    if homereel_video::playable(probe).is_ok() {
        Some("file")
    } else if state.library.rendition_path(&video.sha256).exists() {
        Some("playback.mp4")
    } else {
        (probe.difference.is_none() || !unfinished).then_some("file")
    }
}

/// Returns the part of the player's URL that begins at `second`: a millisecond later, because players round, and may show the
/// picture before the one that begins then.
fn start_fragment(second: f64) -> String {
    format!("#t={}", format::second(second + 0.001))
}

/// Reads a second of a URL.
fn second_of(text: &str) -> Option<f64> {
    text.parse().ok().filter(|second: &f64| second.is_finite() && *second >= 0.0)
}

/// Returns as many answers as fit on one page, at least one.
fn fitting(answers: &[Answer]) -> &[Answer] {
    let mut chars = 0;
    let fit = answers.iter().take_while(|answer| {
        let before = chars;
        chars += answer.question.len() + answer.answer.len() + 1000;
        before == 0 || chars <= ANSWERS_CHARS
    });
    &answers[..fit.count()]
}

/// Warnings of the job that are shown; `/jobs` has all of them.
const JOB_WARNINGS: usize = 10;

/// Builds the page from what is known without further questions to the library.
fn video_page(
    cx: &PageContext,
    video: &Video,
    job: Option<&Job>,
    answers: &[Answer],
    query: &VideoQuery,
) -> VideoPage {
    let words = cx.words;
    let second = query.t.as_deref().and_then(second_of);
    let earlier = query.moments.unwrap_or(0);
    let reading = views::video_state(words, video, job);
    let answering = answers.iter().any(|answer| answer.status == AnswerStatus::Running);
    let description = video.texts.description.as_ref().and_then(|text| text.content.as_deref());
    let title = titles::title(video, description.unwrap_or_default()).to_owned();
    let shell = html::shell(cx, &title, "videos", reading.kind.unfinished() || answering);
    let stream = video.probe.as_ref().map(|probe| &probe.video);
    let why_not_askable = match (&video.error, &shell.model) {
        (Some(_), _) => words.t("ask-unreadable"),
        (_, ModelStatus::Loading) => words.t("ask-loading"),
        (_, ModelStatus::Failed { .. }) => words.t("ask-no-model"),
        _ => String::new(),
    };
    let all_moments = text::moments(video);
    let duration = video.probe.as_ref().map_or(0.0, |probe| probe.duration_s);
    let nothing_yet = |made: &str, none: &str| words.t(if reading.kind.unfinished() { made } else { none });
    let (look_closer, answer_begins) = match &video.probe {
        Some(probe) => reading::offer(words, &cx.state.answers, &cx.state.config.get(), probe),
        None => (false, String::new()),
    };
    VideoPage {
        step: job.and_then(|job| views::step(words, job)),
        retry: job
            .filter(|job| matches!(job.state, JobState::Failed | JobState::Cancelled))
            .map(|job| format!("/jobs/{}/retry", job.id)),
        restore: video.deleted_ms.map(|_| format!("/videos/{}/restore", video.id)),
        play_file: play_file(&cx.state, video, reading.kind.unfinished()),
        why_not_played: words.t(if video.error.is_some() { "play-unreadable" } else { "play-preparing" }),
        offers_original: stream.is_some(),
        width: stream.map_or(16, |stream| stream.width),
        height: stream.map_or(9, |stream| stream.height),
        has_poster: video.poster == Poster::Ready,
        has_sprites: false,
        start_fragment: second.map(start_fragment).unwrap_or_default(),
        second: format::second(second.unwrap_or(0.0).min(duration)),
        codec: stream.map(|stream| stream.codec.clone()).unwrap_or_default(),
        look_closer,
        answer_begins,
        askable: why_not_askable.is_empty(),
        why_not_askable,
        suggestions: answers::suggestions(words, &shell.model, video, false),
        answers: answers.iter().map(|answer| answers::answer(words, answer, duration)).collect(),
        older_answers: None,
        description: text::description(video),
        no_description: nothing_yet("description-waits", "description-none"),
        tags: text::tags(video),
        albums: Vec::new(),
        more_moments: (all_moments.len() > earlier.saturating_add(MOMENTS))
            .then(|| format!("/videos/{}?moments={}#moments-title", video.id, earlier + MOMENTS)),
        moments: all_moments.into_iter().skip(earlier).take(MOMENTS).collect(),
        no_moments: nothing_yet("moments-wait", "moments-none"),
        transcript: None,
        captions: None,
        similar: Vec::new(),
        favourite: video.favourite,
        taken: video.taken.as_ref().map(|_| views::date(video)),
        guessed: video.taken.as_ref().is_some_and(|taken| taken.guessed),
        place: video.place.clone().unwrap_or_default(),
        trail: Trail::default(),
        facts: text::facts(words, video),
        added: views::time(video.created_ms),
        warnings: warnings(video, job),
        state: reading,
        shell,
        id: video.id.clone(),
        name: title,
    }
}

/// Returns what a person should know about the file, the texts, and the analysis.
fn warnings(video: &Video, job: Option<&Job>) -> Vec<String> {
    let texts = &video.texts;
    let mut warnings: Vec<String> =
        video.probe.as_ref().map(|probe| probe.warnings.clone()).unwrap_or_default();
    warnings.extend(texts.description.as_ref().and_then(|text| text.warning.clone()));
    warnings.extend(texts.moments.as_ref().and_then(|text| text.warning.clone()));
    warnings.extend(texts.tags.as_ref().and_then(|text| text.warning.clone()));
    for warning in job.iter().flat_map(|job| &job.warnings).take(JOB_WARNINGS) {
        // The texts say some of them, too.
        if !warnings.iter().any(|shown| shown.contains(warning.as_str())) {
            warnings.push(warning.clone());
        }
    }
    warnings
}

/// Returns the albums of people, with those that a video is in.
async fn album_choices(state: &AppState, id: &str) -> Result<Vec<AlbumChoice>, Failure> {
    let chosen = state.library.albums_of(id).await?;
    let mut names = state.library.album_names(batch::ALBUMS).await?;
    // Also an old one.
    let missing = chosen.iter().filter(|album| !names.iter().any(|(id, _)| *id == album.id));
    let missing: Vec<_> = missing.map(|album| (album.id.clone(), album.name.clone())).collect();
    names.extend(missing);
    let choice = |(id, name): (String, String)| AlbumChoice {
        chosen: chosen.iter().any(|album| album.id == id),
        id,
        name,
    };
    Ok(names.into_iter().map(choice).collect())
}

/// Returns the way back to where the reader came from, and the videos before and after this one there.
fn trail(
    words: &Words,
    Around { origin, place }: Around,
    album: Option<String>,
    plays_all: bool,
) -> Result<Trail, Failure> {
    let list = match &origin {
        Origin::Album(_) => album.unwrap_or_default(),
        Origin::Timeline => words.t("all-videos"),
        Origin::Tag(tag) => tag.clone(),
        Origin::Day(day) => day.strftime("%-d %b %Y").to_string(),
        Origin::Search(query) => words.with("search-for", &[("words", query.words())]),
        Origin::List(query) => match query.filters(words)?.as_slice() {
            [] => words.t("all-videos"),
            filters => filters.iter().map(|filter| filter.text.as_str()).collect::<Vec<_>>().join(", "),
        },
    };
    let text = match place.count {
        0 => list,
        count => {
            let (number, count) = (place.number.to_string(), count.to_string());
            words.with("place-in", &[("list", &list), ("number", &number), ("count", &count)])
        }
    };
    let url = |id: String| {
        let url = origin.url_of(&id);
        if plays_all && url.contains('?') { format!("{url}&play=all") } else { url }
    };
    Ok(Trail {
        back: Link { text, url: origin.url() },
        previous: place.previous.map(url),
        next: place.next.map(url),
        plays_all,
    })
}
