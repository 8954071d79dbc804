//! `/jobs` and `/api/jobs`: the queue of background work, as a page with buttons and as JSON.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{Job, JobState, now_ms};
use homereel_web::pages::JobsPage;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    error::{Failure, Problem},
    extract::{Path, Query},
    html::{self, PageContext},
    views,
};
use crate::{ask_error::AskError, state::AppState};

/// Number of jobs on one page of the board.
const PAGE: u32 = 40;

/// Maximum number of failed jobs that one click retries.
const RETRIES: u32 = 1000;

/// Query of the paged board.
#[derive(Debug, Deserialize)]
pub(super) struct JobsQuery {
    offset: Option<u32>,
}

/// Number of jobs in one response of the list.
const LIMIT: u32 = 200;

/// The newest jobs.
#[derive(Debug, Serialize)]
pub(super) struct JobList {
    jobs: Vec<Job>,
    paused: bool,
}

/// `GET /api/jobs`
pub(super) async fn list(State(state): State<AppState>) -> Result<Json<JobList>, Problem> {
    let paused = state.library.jobs_paused().await?;
    Ok(Json(JobList { jobs: state.library.jobs(LIMIT).await?, paused }))
}

/// `POST /api/jobs/pause`: no job runs until `/resume`.
pub(super) async fn pause(State(state): State<AppState>) -> Result<Json<Value>, Problem> {
    state.library.pause_jobs(true).await?;
    Ok(Json(json!({ "paused": true })))
}

/// `POST /api/jobs/resume`.
pub(super) async fn resume(State(state): State<AppState>) -> Result<Json<Value>, Problem> {
    state.library.pause_jobs(false).await?;
    Ok(Json(json!({ "paused": false })))
}

/// `POST /api/jobs/reread`: queues new descriptions of all videos that another model described.
pub(super) async fn reread(State(state): State<AppState>) -> Result<(StatusCode, Json<Value>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(json!({ "queued": reread_others(&state).await? }))))
}

async fn reread_others(state: &AppState) -> Result<u64, Failure> {
    let model = state.answers.engine().info().map_err(AskError::from)?.id;
    Ok(state.library.reread_other_models(&model).await?)
}

/// `POST /api/jobs/{id}/first`: moves the job to the front of the queue.
pub(super) async fn first(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    Ok(Json(state.library.put_job_first(&id).await?))
}

/// `POST /api/jobs/{id}/cancel`.
pub(super) async fn cancel(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    Ok(Json(state.jobs.cancel(&id).await?))
}

/// `POST /api/jobs/{id}/retry`.
pub(super) async fn retry(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Problem> {
    Ok(Json(state.jobs.retry(&id).await?))
}

/// `GET /jobs`
pub(super) async fn page(cx: PageContext, Query(query): Query<JobsQuery>) -> Response {
    html::or_error(&cx, show(&cx, query.offset.unwrap_or(0)).await)
}

async fn show(cx: &PageContext, offset: u32) -> Result<Response, Failure> {
    let jobs = cx.state.library.job_board(PAGE, offset).await?;
    let ids: Vec<&str> = jobs.iter().map(|job| job.video_id.as_str()).collect();
    let videos = cx.state.library.videos_by_id(&ids).await?;
    let counts = cx.state.library.job_counts().await?;
    let number = |of: JobState| counts.iter().find(|(state, _)| *state == of).map_or(0, |(_, count)| *count);
    let (running, queued, failed) =
        (number(JobState::Running), number(JobState::Queued), number(JobState::Failed));
    let now = now_ms();
    // The board shows running jobs first, then the queue.
    let before = |at: usize| {
        let place = u64::from(offset) + at as u64;
        usize::try_from(place.saturating_sub(running)).unwrap_or(usize::MAX)
    };
    let next = offset.saturating_add(PAGE);
    let of_other_models = match cx.state.answers.engine().info() {
        Ok(info) => cx.state.library.count_of_other_models(&info.id).await?,
        Err(_) => 0,
    };
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    html::render(&JobsPage {
        shell: html::shell(cx, &cx.words.t("jobs"), "jobs", running + queued > 0),
        counts: cx.words.with(
            "jobs-counts",
            &[
                ("running", &running.to_string()),
                ("waiting", &queued.to_string()),
                ("failed", &failed.to_string()),
            ],
        ),
        paused: cx.state.library.jobs_paused().await?,
        left: views::left(cx.words, cx.state.library.unwatched_seconds().await?, cx.state.slots.rate()),
        any_failed: failed > 0,
        of_other_models: Some(of_other_models).filter(|count| *count > 0),
        jobs: jobs
            .iter()
            .enumerate()
            .map(|(at, job)| views::job(cx.words, job, videos.get(&job.video_id), Some(before(at)), now))
            .collect(),
        more: (u64::from(next) < all).then(|| format!("/jobs?offset={next}")),
    })
}

/// `POST /jobs/{id}/cancel`: a form.
pub(super) async fn cancel_form(cx: PageContext, Path(id): Path<String>) -> Response {
    let result = cx.state.jobs.cancel(&id).await.map_err(Failure::from);
    html::or_error(&cx, result.map(|_| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/{id}/retry`: a form.
pub(super) async fn retry_form(cx: PageContext, Path(id): Path<String>) -> Response {
    let result = cx.state.jobs.retry(&id).await.map_err(Failure::from);
    html::or_error(&cx, result.map(|_| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/{id}/first`: a form.
pub(super) async fn first_form(cx: PageContext, Path(id): Path<String>) -> Response {
    let result = cx.state.library.put_job_first(&id).await.map_err(Failure::from);
    html::or_error(&cx, result.map(|_| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/reread`: a form.
pub(super) async fn reread_form(cx: PageContext) -> Response {
    let result = reread_others(&cx.state).await;
    html::or_error(&cx, result.map(|_| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/pause`: a form.
pub(super) async fn pause_form(cx: PageContext) -> Response {
    let result = cx.state.library.pause_jobs(true).await.map_err(Failure::from);
    html::or_error(&cx, result.map(|()| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/resume`: a form.
pub(super) async fn resume_form(cx: PageContext) -> Response {
    let result = cx.state.library.pause_jobs(false).await.map_err(Failure::from);
    html::or_error(&cx, result.map(|()| Redirect::to("/jobs").into_response()))
}

/// `POST /jobs/retry-failed`: a form.
pub(super) async fn retry_failed_form(cx: PageContext) -> Response {
    let work = async || {
        for job in cx.state.library.jobs(RETRIES).await?.iter().filter(|job| job.state == JobState::Failed) {
            cx.state.jobs.retry(&job.id).await?;
        }
        Ok(Redirect::to("/jobs").into_response())
    };
    html::or_error(&cx, work().await)
}
