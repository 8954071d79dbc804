//! `/system`: the server's state for the operator, with advice about problems.

use axum::response::Response;
use homereel_library::{JobState, Role, now_ms};
use homereel_web::{
    Words, format,
    pages::SystemPage,
    views::{Fact, FactList, JobView},
};

pub(super) mod charts;
mod details;

use super::{
    error::Failure,
    extract::Query,
    html::{self, PageContext},
    views,
};
use crate::{machine, samples::Span};
use charts::SpanQuery;

/// Number of running jobs that are shown.
const RUNNING: u32 = 8;

/// `GET /system`
pub(super) async fn page(cx: PageContext, Query(query): Query<SpanQuery>) -> Response {
    html::or_error(&cx, show(&cx, &query).await)
}

async fn show(cx: &PageContext, query: &SpanQuery) -> Result<Response, Failure> {
    let span = query.parsed()?;
    let machine = machine::look().await;
    let storage = cx.state.library.storage().await?;
    let mut advice = Vec::new();
    let words = cx.words;
    let model = details::model(words, &cx.state, &mut advice);
    let work = details::work(words, &cx.state).await?;
    let speed = details::speed(words, &cx.state.metrics.render());
    let hardware = details::hardware(words, &machine, &mut advice);
    if storage.free_bytes < 10_000_000_000 {
        advice.push(words.with("advice-disk", &[("free", &format::size(storage.free_bytes))]));
    }
    let fact = |name, value: String| Fact { name, value };
    let mut disk = vec![
        fact(
            "videos",
            format!(
                "{} · {}",
                words.n("count-videos", cx.state.library.video_count().await?),
                format::size(storage.videos_bytes)
            ),
        ),
        fact("trash", format::size(storage.trash_bytes)),
        fact("add-unfinished", format::size(storage.uploads_bytes)),
        fact("system-files", format::size(storage.files_bytes)),
        fact("system-responses", format::size(storage.responses_bytes)),
        fact(
            "system-free",
            words.with(
                "system-available",
                &[("free", &format::size(storage.free_bytes)), ("all", &format::size(storage.disk_bytes))],
            ),
        ),
        fact("system-reserve", format::size(storage.reserve_bytes)),
    ];
    if let Some(quota) = storage.quota_bytes {
        let sizes = [("free", format::size(storage.free_bytes)), ("quota", format::size(quota))];
        let sizes = sizes.each_ref().map(|(name, size)| (*name, size.as_str()));
        disk.push(fact("system-quota", words.with("system-free-of-quota", &sizes)));
    }
    // Paths on the machine are shown to admins only.
    if cx.user.has(Role::Admin) {
        disk.push(fact("system-directory", cx.state.config.get().data.display().to_string()));
    }
    let lists = [
        ("system-model", model),
        ("system-work", work),
        ("system-speed", speed),
        ("system-machine", hardware),
        ("chart-disk", disk),
        ("system-versions", details::versions(words, &cx.state, &machine, &mut advice).await),
    ];
    let servers = cx.state.answers.engine().replicas();
    let servers = servers.iter().map(|server| ("system-vllm", details::replica(words, server)));
    let lists = lists
        .into_iter()
        .chain(servers)
        .map(|(title, facts)| FactList { title, facts })
        .filter(|list| !list.facts.is_empty())
        .collect();
    html::render(&SystemPage {
        // Without scripts, the page follows by reloading.
        shell: html::shell(cx, &cx.words.t("system"), "system", true),
        spans: spans(cx.words, span),
        live: span == Span::default(),
        charts: charts::charts(cx.words, &cx.state, span),
        spent: charts::time_spent(cx.words, &cx.state.answers.activity().stages()),
        now_running: running(cx).await?,
        jobs: jobs_words(cx).await?,
        advice,
        lists,
        now: views::time(now_ms()),
    })
}

/// Text and URL of each span, and whether it is `chosen`.
fn spans(words: &Words, chosen: Span) -> Vec<(String, String, bool)> {
    let link = |(span, name): (Span, &str)| {
        let url = if span == Span::default() { "/system".to_owned() } else { format!("/system?span={name}") };
        (words.t(&format!("span-{name}")), url, span == chosen)
    };
    Span::ALL.map(link).into()
}

/// Returns the jobs that run now.
async fn running(cx: &PageContext) -> Result<Vec<JobView>, Failure> {
    let jobs = cx.state.library.job_board(RUNNING, 0).await?;
    let jobs: Vec<_> = jobs.into_iter().filter(|job| job.state == JobState::Running).collect();
    let ids: Vec<&str> = jobs.iter().map(|job| job.video_id.as_str()).collect();
    let videos = cx.state.library.videos_by_id(&ids).await?;
    let now = now_ms();
    Ok(jobs.iter().map(|job| views::job(cx.words, job, videos.get(&job.video_id), None, now)).collect())
}

/// Says how many jobs wait and have failed.
async fn jobs_words(cx: &PageContext) -> Result<String, Failure> {
    let counts = cx.state.library.job_counts().await?;
    let number = |wanted: JobState| counts.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, n)| *n);
    let (waiting, failed) = (number(JobState::Queued).to_string(), number(JobState::Failed).to_string());
    Ok(cx.words.with("jobs-waiting-failed", &[("waiting", &waiting), ("failed", &failed)]))
}
