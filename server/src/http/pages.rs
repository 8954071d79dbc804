//! The pages that people see: `/`, `/videos/{id}`, `/jobs`, errors, and their static files.
//! Asks the library for rows and fills homereel-web's structs; the words are chosen in [`super::views`].

use axum::{
    extract::{Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use homereel_web::{
    Template, assets, format,
    pages::{ErrorPage, JobsPage, LibraryPage, VideoPage},
    views::{self as web, Kind, Model, Shell},
};
use serde::Deserialize;

use super::{
    door,
    error::{self, Failure},
    trash,
    videos::ANSWERS,
    views,
};
use crate::{
    app::AppState,
    auth::Role,
    library::{Answer, AnswerStatus, Job, JobState, Poster, Video, now_ms},
};

/// Videos on one page.
const VIDEOS: u32 = 48;

/// Jobs on one page.
const JOBS: u32 = 40;

/// Failed jobs that are tried again at one press.
const RETRIES: u32 = 1000;

/// Characters of answers on one page of a video, below which the next older answer is still shown.
const ANSWERS_CHARS: usize = 10_000;

/// Moments on one page of a video.
const MOMENTS: usize = 100;

/// Where in the list.
#[derive(Debug, Deserialize)]
pub(super) struct LibraryQuery {
    offset: Option<u32>,
    /// Id of a video that was just thrown away.
    trashed: Option<String>,
}

/// Where on the board.
#[derive(Debug, Deserialize)]
pub(super) struct JobsQuery {
    offset: Option<u32>,
}

/// Where in the clip: seconds, as text, for a bad value is no reason to refuse a page.
#[derive(Debug, Deserialize)]
pub(super) struct VideoQuery {
    t: Option<String>,
    /// Answers to skip: the newer ones.
    answers: Option<usize>,
    /// Moments to skip: the earlier ones.
    moments: Option<usize>,
}

/// `GET /`
pub(super) async fn library(
    State(state): State<AppState>,
    Query(query): Query<LibraryQuery>,
    headers: HeaderMap,
) -> Response {
    or_error(&state, library_page(&state, &query, &headers).await)
}

async fn library_page(
    state: &AppState,
    query: &LibraryQuery,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let offset = query.offset.unwrap_or(0);
    let storage = state.library.storage().await?;
    let count = storage.videos;
    let videos = state.library.video_rows(VIDEOS, offset).await?;
    let ids: Vec<&str> = videos.iter().map(|video| video.id.as_str()).collect();
    let jobs = state.library.newest_jobs(&ids).await?;
    let videos: Vec<_> = videos.iter().map(|video| views::card(video, jobs.get(&video.id))).collect();
    let next = offset.saturating_add(VIDEOS);
    let unfinished = videos.iter().any(|card| card.state.kind.unfinished());
    render(&LibraryPage {
        shell: shell(state, "Your videos", "videos", unfinished),
        upload_limit: format::size(state.config.max_upload_bytes),
        base_url: base_url(headers),
        count: format::count(count, "video"),
        videos,
        more: (u64::from(next) < count).then(|| format!("/?offset={next}")),
        trashed: just_trashed(state, query.trashed.as_deref()).await?,
        storage: trash::storage_words(&storage),
        hasher: assets::url("hash.js"),
    })
}

/// The video that the reader threw away a moment ago, if it is still there.
async fn just_trashed(state: &AppState, id: Option<&str>) -> Result<Option<web::Link>, Failure> {
    let Some(id) = id else { return Ok(None) };
    let video = state.library.videos_by_id(&[id]).await?.remove(id);
    Ok(video
        .filter(|video| video.deleted_ms.is_some())
        .map(|video| web::Link { url: format!("/videos/{}/restore", video.id), text: video.name }))
}

/// `GET /videos/{id}`
pub(super) async fn video(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<VideoQuery>,
) -> Response {
    let work = async || {
        let video = state.library.video(&id).await?;
        let jobs = state.library.jobs_of(&id).await?;
        let all = state.library.answers(&id, ANSWERS).await?;
        let skip = query.answers.unwrap_or(0).min(all.len());
        let answers = fitting(&all[skip..]);
        let older_answers = skip + answers.len();
        let earlier = query.moments.unwrap_or(0);
        let (newer, older) = state.library.neighbours(&video).await?;
        let url = |id: String| format!("/videos/{id}");
        let sha256 = video.sha256.clone();
        render(&VideoPage {
            newer: newer.map(url),
            older: older.map(url),
            older_answers: (older_answers < all.len())
                .then(|| format!("/videos/{id}?answers={older_answers}#ask-title")),
            has_sprites: state.library.sprites(&sha256).await.is_some(),
            ..video_page(&state, video, jobs.first(), answers, earlier, query.t.as_deref())
        })
    };
    or_error(&state, work().await)
}

/// What the player plays: the rendition, where browsers don't play the original and it is made; the original otherwise.
fn play_file(state: &AppState, video: &Video) -> &'static str {
    let plays = video.probe.as_ref().is_some_and(|probe| homereel_video::playable(probe).is_ok());
    if !plays && state.library.rendition_path(&video.sha256).exists() { "playback.mp4" } else { "file" }
}

/// As many of the answers as fit on one page, at least one.
fn fitting(answers: &[Answer]) -> &[Answer] {
    let mut chars = 0;
    let fit = answers.iter().take_while(|answer| {
        let before = chars;
        chars += answer.question.len() + answer.answer.len() + 1000;
        before == 0 || chars <= ANSWERS_CHARS
    });
    &answers[..fit.count()]
}

fn video_page(
    state: &AppState,
    video: Video,
    job: Option<&Job>,
    answers: &[Answer],
    earlier: usize,
    second: Option<&str>,
) -> VideoPage {
    let reading = views::video_state(&video, job);
    let answering = answers.iter().any(|answer| answer.status == AnswerStatus::Running);
    let shell = shell(state, &video.name, "videos", reading.kind.unfinished() || answering);
    let second = second
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|second| second.is_finite() && *second >= 0.0);
    let stream = video.probe.as_ref().map(|probe| &probe.video);
    let why_not_askable = match (&video.error, &shell.model) {
        (Some(_), _) => "This file cannot be read, so nothing can be asked about it.",
        (_, Model::Loading) => "The model is still loading; questions are taken as soon as it is ready.",
        (_, Model::Failed { .. }) => "No model is running, so nothing can be asked.",
        _ => "",
    };
    let all_moments = video.texts.moments.as_ref().and_then(|text| text.content.as_ref()).map_or(0, Vec::len);
    let duration = video.probe.as_ref().map_or(0.0, |probe| probe.duration_s);
    let nothing_yet = |made: &str, none: &str| match reading.kind {
        Kind::Waiting | Kind::Working => made.to_owned(),
        _ => none.to_owned(),
    };
    let warning = |warning: Option<&String>| warning.cloned();
    let texts = &video.texts;
    let described = texts.description.as_ref().and_then(|text| text.content.as_ref());
    let mut warnings: Vec<String> =
        video.probe.as_ref().map(|probe| probe.warnings.clone()).unwrap_or_default();
    warnings.extend(warning(texts.description.as_ref().and_then(|text| text.warning.as_ref())));
    warnings.extend(warning(texts.moments.as_ref().and_then(|text| text.warning.as_ref())));
    warnings.extend(warning(texts.tags.as_ref().and_then(|text| text.warning.as_ref())));
    VideoPage {
        example: match shell.model {
            Model::Demo { .. } => "What color is the object?".into(),
            _ => "Who is in this video, and what do they do?".into(),
        },
        shell,
        step: job.and_then(views::step),
        retry: job
            .filter(|job| matches!(job.state, JobState::Failed | JobState::Cancelled))
            .map(|job| format!("/jobs/{}/retry", job.id)),
        restore: video.deleted_ms.map(|_| format!("/videos/{}/restore", video.id)),
        playable: stream.is_some(),
        play_file: play_file(state, &video),
        width: stream.map_or(16, |stream| stream.width),
        height: stream.map_or(9, |stream| stream.height),
        has_poster: video.poster == Poster::Ready,
        has_sprites: false,
        start_fragment: second.map(|second| format!("#t={second}")).unwrap_or_default(),
        codec: stream.map(|stream| stream.codec.clone()).unwrap_or_default(),
        askable: why_not_askable.is_empty(),
        why_not_askable: why_not_askable.into(),
        answers: answers.iter().map(|answer| views::answer(answer, duration)).collect(),
        description: views::description(&video),
        no_description: nothing_yet("The model has not described it yet.", "There is no description."),
        tags: views::tags(&video),
        more_moments: (all_moments > earlier.saturating_add(MOMENTS))
            .then(|| format!("/videos/{}?moments={}#moments-title", video.id, earlier + MOMENTS)),
        moments: views::moments(&video).into_iter().skip(earlier).take(MOMENTS).collect(),
        no_moments: nothing_yet("The model has not listed the moments yet.", "There are no moments."),
        favourite: video.favourite,
        place: video.place.clone().unwrap_or_default(),
        description_text: described
            .filter(|text| text.len() <= views::SHOWN_CHARS)
            .cloned()
            .unwrap_or_default(),
        description_fits: described.is_none_or(|text| text.len() <= views::SHOWN_CHARS),
        tags_text: texts
            .tags
            .as_ref()
            .and_then(|text| text.content.as_ref())
            .map(|tags| tags.join(", "))
            .unwrap_or_default(),
        newer: None,
        older: None,
        older_answers: None,
        facts: views::file_facts(&video),
        added: views::time(video.created_ms),
        warnings,
        state: reading,
        id: video.id,
        name: video.name,
    }
}

/// `GET /jobs`
pub(super) async fn jobs(State(state): State<AppState>, Query(query): Query<JobsQuery>) -> Response {
    or_error(&state, jobs_page(&state, query.offset.unwrap_or(0)).await)
}

async fn jobs_page(state: &AppState, offset: u32) -> Result<Response, Failure> {
    let jobs = state.library.job_board(JOBS, offset).await?;
    let ids: Vec<&str> = jobs.iter().map(|job| job.video_id.as_str()).collect();
    let videos = state.library.videos_by_id(&ids).await?;
    let counts = state.library.job_counts().await?;
    let number = |of: JobState| counts.iter().find(|(state, _)| *state == of).map_or(0, |(_, count)| *count);
    let (running, queued, failed) =
        (number(JobState::Running), number(JobState::Queued), number(JobState::Failed));
    let now = now_ms();
    // The board has what runs first, then the queue.
    let before = |at: usize| {
        let place = u64::from(offset) + at as u64;
        usize::try_from(place.saturating_sub(running)).unwrap_or(usize::MAX)
    };
    let next = offset.saturating_add(JOBS);
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    render(&JobsPage {
        shell: shell(state, "Jobs", "jobs", running + queued > 0),
        counts: format!("{running} running, {queued} waiting, {failed} failed"),
        paused: state.library.jobs_paused().await?,
        any_failed: failed > 0,
        jobs: jobs
            .iter()
            .enumerate()
            .map(|(at, job)| views::job(job, videos.get(&job.video_id), Some(before(at)), now))
            .collect(),
        more: (u64::from(next) < all).then(|| format!("/jobs?offset={next}")),
    })
}

/// Static files: those asked for by their content's name may be kept for ever.
pub(super) async fn asset(
    Path(name): Path<String>,
    Query(query): Query<AssetQuery>,
    headers: HeaderMap,
) -> Response {
    let Some(asset) = assets::find(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let etag = format!("\"{}\"", asset.version);
    let caching = if query.v.as_deref() == Some(&asset.version) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, caching.into())];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
}

/// Version of a static file.
#[derive(Debug, Deserialize)]
pub(super) struct AssetQuery {
    v: Option<String>,
}

/// An error as a page.
pub(super) fn error_page(state: &AppState, status: StatusCode, title: &str, lines: Vec<String>) -> Response {
    let page = ErrorPage {
        shell: shell(state, title, "", false),
        lines,
        status: status.as_u16(),
        back: "/".into(),
        back_label: "All videos".into(),
    };
    match render(&page) {
        Ok(response) => (status, response).into_response(),
        Err(failure) => failure.status.into_response(),
    }
}

/// The response, or the failure as a page.
pub(super) fn or_error(state: &AppState, result: Result<Response, Failure>) -> Response {
    result.unwrap_or_else(|failure| {
        let title = match failure.status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "Not now",
            status if status.is_client_error() => "That did not work",
            _ => "Something broke",
        };
        error_page(state, failure.status, title, vec![failure.message])
    })
}

/// Answers for a URL without a handler: a page for people, else the shape that readers of the path expect.
pub(super) async fn no_such_url(
    State(state): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let of_programs = uri.path().starts_with("/api/") || uri.path().starts_with("/v1/");
    if of_programs || !wants_html(&headers) {
        return error::no_such_url(method, uri).await;
    }
    or_error(&state, Err(Failure::not_found(format!("there is no page at {}", error::shown(uri.path())))))
}

/// `POST /jobs/{id}/cancel`: the page's form.
pub(super) async fn cancel_job(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    let result = state.jobs.cancel(&id).await.map_err(Failure::from);
    or_error(&state, result.map(|_| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/{id}/retry`: the page's form.
pub(super) async fn retry_job(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    let result = state.jobs.retry(&id).await.map_err(Failure::from);
    or_error(&state, result.map(|_| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/{id}/first`: the page's form.
pub(super) async fn put_job_first(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    let result = state.library.put_job_first(&id).await.map_err(Failure::from);
    or_error(&state, result.map(|_| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/pause`: the page's form.
pub(super) async fn pause_jobs(State(state): State<AppState>) -> Response {
    let result = state.library.pause_jobs(true).await.map_err(Failure::from);
    or_error(&state, result.map(|()| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/resume`: the page's form.
pub(super) async fn resume_jobs(State(state): State<AppState>) -> Response {
    let result = state.library.pause_jobs(false).await.map_err(Failure::from);
    or_error(&state, result.map(|()| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/retry-failed`: the page's form.
pub(super) async fn retry_failed_jobs(State(state): State<AppState>) -> Response {
    let work = async || {
        for job in state.library.jobs(RETRIES).await?.iter().filter(|job| job.state == JobState::Failed) {
            state.jobs.retry(&job.id).await?;
        }
        Ok(Redirect::to("/jobs").into_response())
    };
    or_error(&state, work().await)
}

/// Tells whether a request is of a person in a browser, at a page.
pub(super) fn by_hand(request: &Request) -> bool {
    let path = request.uri().path();
    let of_programs = path.starts_with("/api/") || path.starts_with("/v1/") || path == "/metrics";
    !of_programs && wants_html(request.headers())
}

/// Tells whether a person in a browser waits for the answer, not a program.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// What every page has.
pub(super) fn shell(state: &AppState, title: &str, here: &'static str, unfinished: bool) -> Shell {
    let model = views::model(state.asker.engine().as_ref());
    let unfinished = unfinished || model == Model::Loading;
    Shell {
        title: title.into(),
        here,
        unfinished,
        model,
        can_log_out: state.auth.required(),
        may_change: door::may(Role::Member),
        may_delete: door::may(Role::Admin),
    }
}

/// Scheme and authority by which the reader came; shown, never used for links.
fn base_url(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost:8080");
    let scheme = headers
        .get("x-forwarded-proto")
        .and_then(|value| value.to_str().ok())
        .filter(|&s| s == "https")
        .unwrap_or("http");
    format!("{scheme}://{host}")
}

/// A page as a response.
pub(super) fn render(page: &impl Template) -> Result<Response, Failure> {
    let html = page.render().map_err(Failure::internal)?;
    // Pages hold what changes and what is private.
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ];
    Ok((headers, html).into_response())
}
