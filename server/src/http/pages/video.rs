//! `GET /videos/{id}`: the page of one video.

use axum::response::Response;
use homereel_library::{Answer, AnswerStatus, Job, JobState, Poster, Video};
use homereel_web::{
    format,
    pages::VideoPage,
    views::{ModelStatus, StateKind},
};
use serde::Deserialize;

use crate::{
    http::{
        extract::{Path, Query},
        html::{self, PageContext},
        neighbours::{self, Around},
        pages::{reading, transcript},
        similar,
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
    /// Where the reader came from.
    #[serde(rename = "in")]
    origin: Option<String>,
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
    Path(id): Path<String>,
    Query(query): Query<VideoQuery>,
) -> Response {
    let work = async || {
        let video = cx.state.library.video(&id).await?;
        let jobs = cx.state.library.jobs_of(&id).await?;
        let all = cx.state.library.answers(&id, ANSWERS).await?;
        let skip = query.answers.unwrap_or(0).min(all.len());
        let answers = fitting(&all[skip..]);
        let older_answers = skip + answers.len();
        let earlier = query.moments.unwrap_or(0);
        let second = query.t.as_deref().and_then(second_of);
        let transcript = transcript::view(&cx.state, &video, &query, second).await?;
        let captions = transcript::captions(&cx.state, &id).await?;
        let job = jobs.iter().find(|job| job.kind == "ingest");
        let Around { origin, place } = neighbours::around(&cx.state, &video, query.origin.as_deref()).await?;
        let url = |id: String| origin.url_of(&id);
        let sha256 = video.sha256.clone();
        html::render(&VideoPage {
            newer: place.previous.map(url),
            older: place.next.map(url),
            older_answers: (older_answers < all.len())
                .then(|| format!("/videos/{id}?answers={older_answers}#ask-title")),
            has_sprites: cx.state.library.sprites(&sha256).await.is_some(),
            similar: similar::cards(&cx.state, &id).await,
            transcript,
            captions,
            ..video_page(&cx, video, job, answers, earlier, second)
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

fn video_page(
    cx: &PageContext,
    video: Video,
    job: Option<&Job>,
    answers: &[Answer],
    earlier: usize,
    second: Option<f64>,
) -> VideoPage {
    let reading = views::video_state(&video, job);
    let answering = answers.iter().any(|answer| answer.status == AnswerStatus::Running);
    let shell = html::shell(cx, &video.name, "videos", reading.kind.unfinished() || answering);
    let stream = video.probe.as_ref().map(|probe| &probe.video);
    let why_not_askable = match (&video.error, &shell.model) {
        (Some(_), _) => "This file cannot be read, so nothing can be asked about it.",
        (_, ModelStatus::Loading) => "The model is still loading; you can ask as soon as it is ready.",
        (_, ModelStatus::Failed { .. }) => "No model is running, so nothing can be asked.",
        _ => "",
    };
    let all_moments = video.texts.moments.as_ref().and_then(|text| text.content.as_ref()).map_or(0, Vec::len);
    let duration = video.probe.as_ref().map_or(0.0, |probe| probe.duration_s);
    let nothing_yet = |made: &str, none: &str| match reading.kind {
        StateKind::Waiting | StateKind::Working => made.to_owned(),
        _ => none.to_owned(),
    };
    let (look_closer, answer_begins) = match &video.probe {
        Some(probe) => reading::offer(&cx.state.answers, &cx.state.config.get(), probe),
        None => (false, String::new()),
    };
    let warning = |warning: Option<&String>| warning.cloned();
    let texts = &video.texts;
    let described = texts.description.as_ref().and_then(|text| text.content.as_ref());
    let mut warnings: Vec<String> =
        video.probe.as_ref().map(|probe| probe.warnings.clone()).unwrap_or_default();
    warnings.extend(warning(texts.description.as_ref().and_then(|text| text.warning.as_ref())));
    warnings.extend(warning(texts.moments.as_ref().and_then(|text| text.warning.as_ref())));
    warnings.extend(warning(texts.tags.as_ref().and_then(|text| text.warning.as_ref())));
    for warning in job.iter().flat_map(|job| &job.warnings).take(JOB_WARNINGS) {
        // The texts say some of them, too.
        if !warnings.iter().any(|shown| shown.contains(warning.as_str())) {
            warnings.push(warning.clone());
        }
    }
    VideoPage {
        example: match shell.model {
            ModelStatus::Demo { .. } => "What color is the object?".into(),
            _ => "Who is in this video, and what do they do?".into(),
        },
        shell,
        step: job.and_then(views::step),
        retry: job
            .filter(|job| matches!(job.state, JobState::Failed | JobState::Cancelled))
            .map(|job| format!("/jobs/{}/retry", job.id)),
        restore: video.deleted_ms.map(|_| format!("/videos/{}/restore", video.id)),
        play_file: play_file(&cx.state, &video, reading.kind.unfinished()),
        why_not_played: match video.error {
            Some(_) => "This file cannot be read, so it cannot be played.",
            None => "This video is being prepared for playing. It will appear here.",
        },
        offers_original: stream.is_some(),
        width: stream.map_or(16, |stream| stream.width),
        height: stream.map_or(9, |stream| stream.height),
        has_poster: video.poster == Poster::Ready,
        has_sprites: false,
        start_fragment: second.map(start_fragment).unwrap_or_default(),
        codec: stream.map(|stream| stream.codec.clone()).unwrap_or_default(),
        look_closer,
        answer_begins,
        askable: why_not_askable.is_empty(),
        why_not_askable: why_not_askable.into(),
        answers: answers.iter().map(|answer| views::answer(answer, duration)).collect(),
        description: views::description(&video),
        no_description: nothing_yet("The model has not described it yet.", "There is no description."),
        tags: views::tags(&video),
        more_moments: (all_moments > earlier.saturating_add(MOMENTS))
            .then(|| format!("/videos/{}?moments={}#moments-title", video.id, earlier + MOMENTS)),
        moments: views::moments(&video).into_iter().skip(earlier).take(MOMENTS).collect(),
        transcript: None,
        captions: None,
        no_moments: nothing_yet("The model has not listed the moments yet.", "There are no moments."),
        similar: Vec::new(),
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
        taken: views::taken_fields(&video),
        facts: views::file_facts(&video),
        added: views::time(video.created_ms),
        warnings,
        state: reading,
        id: video.id,
        name: video.name,
    }
}
