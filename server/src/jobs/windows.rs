//! Long videos: described window by window, several at once, each stored when it is done, then merged. A crash loses only
//! the running windows. Depends on neither the prompts' wording nor HTTP.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use homereel_library::{Job, Moment, Text, TextKind, Video, Window, now_ms};
use homereel_video::FrameSampling;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    context::JobContext,
    parse, part,
    question::{self, Question, Subject},
    said::{self, Said},
    slots::AHEAD,
    stop::Stop,
    texts::{self, Content},
};

/// Maximum number of characters of notes in a summary's prompt; more would exceed a small model's context.
const MAX_NOTES: usize = 24_000;

/// Maximum number of tags of the whole video.
const MAX_TAGS: usize = 8;

/// Returns whether a video is processed in windows. One that is only slightly longer than a window is not.
pub(super) fn is_long(cx: &JobContext, video: &Video) -> bool {
    video.probe.as_ref().is_some_and(|probe| probe.duration_s > 2.0 * cx.window_s)
}

/// Warnings of windows that the description of the whole video repeats; the job has all of them.
const SHOWN_WARNINGS: usize = 5;

/// Processes the remaining windows, merges the texts, and returns the warnings. Windows of which it is not known yet what is said
/// get their description with a later attempt.
pub(super) async fn run(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    cancel: &CancellationToken,
) -> Result<Vec<String>, Stop> {
    let library = &cx.library;
    let probe = cx.answers.media().probe(&cx.source(video), cancel).await?;
    let bounds = bounds(probe.duration_s, cx.window_s, &probe.index.frame_times);
    let mut done = library.windows(&video.id).await?;
    let same = |window: &Window| {
        bounds.get(window.number).is_some_and(|&(start, end)| (window.start, window.end) == (start, end))
    };
    if !done.iter().all(same) {
        // Windows of another length cannot be merged.
        library.clear_windows(&video.id).await?;
        done.clear();
    }
    let missing =
        bounds.iter().enumerate().filter(|(number, _)| !done.iter().any(|window| window.number == *number));
    let mut missing: VecDeque<_> = missing.map(|(number, &(start, end))| (number, start, end)).collect();
    let awaited = library.job(&job.id).await?.awaits_speech;
    let (is_new, mut undescribed) = (!missing.is_empty(), undescribed(cx, video, &done).await?);
    if awaited && !is_new && undescribed.is_empty() && done.iter().any(|window| window.is_undescribed) {
        return Err(Stop::Later(said::WAIT));
    }
    let mut reading = FuturesUnordered::new();
    // Windows that have been started are finished, whatever keeps further ones from being started.
    let mut stop = None;
    library.set_job_parts(&job.id, done.len(), bounds.len()).await?;
    loop {
        while stop.is_none()
            && reading.len() < cx.slots.limit() + AHEAD
            && !(missing.is_empty() && undescribed.is_empty())
        {
            if library.jobs_paused().await? {
                stop = Some(Stop::Later(Duration::ZERO));
                break;
            }
            if let Some(part) = missing.pop_front() {
                reading.push(read(cx, job, video, part, cancel).boxed());
            } else if let Some(window) = undescribed.pop_front() {
                reading.push(describe(cx, job, video, window, cancel).boxed());
            }
        }
        let Some(result) = reading.next().await else { break };
        let stored = match result {
            Ok(window) => store(cx, job, video, window, &mut done, bounds.len()).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => {}
            Err(Stop::Cancelled) => return Err(Stop::Cancelled),
            Err(error) => stop = Some(stop.unwrap_or(error)),
        }
    }
    if let Some(stop) = stop {
        return Err(stop);
    }
    put_tags(cx, video, &done).await?;
    let awaits = done.iter().any(|window| window.is_undescribed);
    if awaits != awaited {
        library.set_awaits_speech(&job.id, awaits).await?;
    }
    if awaits {
        return Ok(Vec::new());
    }
    put_description(cx, job, video, &done, cancel).await?;
    Ok(warnings(&done))
}

/// Stores a finished window among the `done` ones, and the moments so far: they are shown and searchable already.
async fn store(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    window: Window,
    done: &mut Vec<Window>,
    windows: usize,
) -> Result<(), Stop> {
    cx.library.put_window(&video.id, &window).await?;
    done.retain(|known| known.number != window.number);
    done.push(window);
    done.sort_by_key(|window| window.number);
    put_moments(cx, video, done).await?;
    Ok(cx.library.set_job_parts(&job.id, done.len(), windows).await?)
}

/// Divides a length into equal windows of about `window` seconds. Where no picture begins (`times`), the window before lasts
/// longer, so that their number follows from the pictures that exist.
fn bounds(duration: f64, window: f64, times: &[f64]) -> Vec<(f64, f64)> {
    let count = (duration / window).ceil().max(1.0);
    let number = |time: f64| (time * count / duration).floor().clamp(0.0, count - 1.0) as u64;
    let mut shown: Vec<u64> = times.iter().map(|&time| number(time)).collect();
    shown.dedup();
    let at = |number: u64| duration * number as f64 / count;
    let starts = shown.iter().skip(1).map(|&number| at(number));
    let ends = starts.clone().chain([duration]);
    std::iter::once(0.0).chain(starts).zip(ends).collect()
}

/// Returns the windows that wait for what is said in them, and of which that is known by now.
async fn undescribed(cx: &JobContext, video: &Video, done: &[Window]) -> Result<VecDeque<Window>, Stop> {
    let mut ready = VecDeque::new();
    for window in done.iter().filter(|window| window.is_undescribed) {
        if said::said(cx, video, (window.start, window.end)).await? == Said::ToCome {
            // So it is for those behind it.
            break;
        }
        ready.push_back(window.clone());
    }
    Ok(ready)
}

/// Generates the description of a window whose other texts are there.
async fn describe(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    mut window: Window,
    cancel: &CancellationToken,
) -> Result<Window, Stop> {
    let said = said::said(cx, video, (window.start, window.end)).await?;
    let frames =
        FrameSampling { start: Some(window.start), end: Some(window.end), ..FrameSampling::default() };
    let part = part::open(cx, job, video, frames, cancel).await?;
    let about = Subject { job, video, part: &part, said: said.text() };
    let text = texts::one(cx, about, TextKind::Description, cancel).await?;
    window.warnings.extend(text.warning);
    window.description = match text.content {
        Some(Content::Description(description)) => Some(description),
        _ => None,
    };
    window.is_undescribed = false;
    Ok(window)
}

/// Generates the texts of one window: all of them, or all but the description where that waits.
async fn read(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    (number, start, end): (usize, f64, f64),
    cancel: &CancellationToken,
) -> Result<Window, Stop> {
    let frames = FrameSampling { start: Some(start), end: Some(end), ..FrameSampling::default() };
    let mut part = part::open(cx, job, video, frames, cancel).await?;
    let said = said::said(cx, video, (start, end)).await?;
    let about = Subject { job, video, part: &part, said: said.text() };
    let texts = match said {
        Said::ToCome => texts::some(cx, about, &[TextKind::Moments, TextKind::Tags], cancel).await?,
        Said::Nothing | Said::Text(_) => texts::all(cx, about, cancel).await?,
    };
    part.finish();
    let model = texts.first().map(|text| text.model.clone()).unwrap_or_default();
    let mut window = Window {
        number,
        start,
        end,
        description: None,
        is_undescribed: said == Said::ToCome,
        moments: Vec::new(),
        tags: Vec::new(),
        warnings: Vec::new(),
        model,
        created_ms: now_ms(),
    };
    for text in texts {
        window.warnings.extend(text.warning);
        match text.content {
            Some(Content::Description(description)) => window.description = Some(description),
            Some(Content::Moments(moments)) => window.moments = moments,
            Some(Content::Tags(tags)) => window.tags = tags,
            None => {}
        }
    }
    Ok(window)
}

async fn put_moments(cx: &JobContext, video: &Video, windows: &[Window]) -> Result<(), Stop> {
    let mut moments: Vec<Moment> = windows.iter().flat_map(|window| window.moments.clone()).collect();
    moments.sort_by(|a, b| a.start.total_cmp(&b.start));
    put(cx, video, TextKind::Moments, windows, Some(json!(parse::joined(moments)).to_string())).await
}

/// Returns the tags that most windows share.
async fn put_tags(cx: &JobContext, video: &Video, windows: &[Window]) -> Result<(), Stop> {
    let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
    for (order, tag) in windows.iter().flat_map(|window| &window.tags).enumerate() {
        counts.entry(tag.to_lowercase()).or_insert((0, order)).0 += 1;
    }
    let mut tags: Vec<(String, (usize, usize))> = counts.into_iter().collect();
    tags.sort_by_key(|(_, (count, order))| (std::cmp::Reverse(*count), *order));
    let tags: Vec<String> = tags.into_iter().take(MAX_TAGS).map(|(tag, _)| tag).collect();
    let content = (!tags.is_empty()).then(|| json!(tags).to_string());
    put(cx, video, TextKind::Tags, windows, content).await
}

/// Describes the whole video from the windows' notes. The demo model cannot read notes; for it, and if the
/// summary fails, the descriptions of the windows are concatenated.
async fn put_description(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    windows: &[Window],
    cancel: &CancellationToken,
) -> Result<(), Stop> {
    let demo = cx.answers.engine().info().is_ok_and(|info| info.demo);
    let mut content = None;
    if !demo {
        let asked = question::summarize(cx, job, video, &notes(windows), cancel).await?;
        content = Some(asked.text.trim().to_owned()).filter(|text| !text.is_empty());
    }
    let content = content.or_else(|| chronicle(windows));
    put(cx, video, TextKind::Description, windows, content).await
}

async fn put(
    cx: &JobContext,
    video: &Video,
    kind: TextKind,
    windows: &[Window],
    content: Option<String>,
) -> Result<(), Stop> {
    let question = if texts::are_asked_one_by_one(cx) { Question::One(kind) } else { Question::All };
    let mut settings = question::settings(question, FrameSampling::default());
    settings["windows"] = json!(windows.len());
    let unusable = "the model gave no usable answer about any part of the video";
    let warning = match (&content, kind) {
        (None, _) => Some(unusable.to_owned()),
        (Some(_), TextKind::Description) => texts::joined(warnings(windows).into_iter().take(SHOWN_WARNINGS)),
        (Some(_), _) => None,
    };
    let text = Text {
        warning,
        content,
        model: windows.last().map(|window| window.model.clone()).unwrap_or_default(),
        settings,
        created_ms: now_ms(),
        edited_ms: None,
    };
    Ok(cx.library.put_text(&video.id, kind, text).await?)
}

/// Concatenates the windows' descriptions, each with its time.
fn chronicle(windows: &[Window]) -> Option<String> {
    let lines: Vec<String> = windows
        .iter()
        .filter_map(|window| Some(format!("{}: {}", span(window), window.description.as_deref()?)))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Returns the notes for a summary; while they are too long, every second one is dropped.
fn notes(windows: &[Window]) -> String {
    let mut lines = Vec::new();
    for window in windows {
        if let Some(description) = &window.description {
            lines.push(format!("{}: {description}", span(window)));
        }
        for moment in &window.moments {
            lines.push(format!("{}: {}", homereel_web::format::position(moment.start), moment.text));
        }
    }
    while lines.iter().map(String::len).sum::<usize>() > MAX_NOTES && lines.len() > 1 {
        lines = lines.into_iter().step_by(2).collect();
    }
    lines.join("\n").chars().take(MAX_NOTES).collect()
}

fn span(window: &Window) -> String {
    let position = homereel_web::format::position;
    format!("{}–{}", position(window.start), position(window.end))
}

fn warnings(windows: &[Window]) -> Vec<String> {
    let of = |window: &Window| {
        let span = span(window);
        window.warnings.iter().map(move |warning| format!("{span}: {warning}")).collect::<Vec<_>>()
    };
    windows.iter().flat_map(of).take(50).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(number: usize, description: Option<&str>) -> Window {
        let (start, end) = (number as f64 * 60.0, number as f64 * 60.0 + 60.0);
        Window {
            number,
            start,
            end,
            description: description.map(str::to_owned),
            is_undescribed: false,
            moments: vec![Moment { start, end, text: "x".repeat(100) }],
            tags: Vec::new(),
            warnings: vec!["w".into()],
            model: "m".into(),
            created_ms: 0,
        }
    }

    #[test]
    fn windows_are_alike_and_cover_the_whole() {
        let times: Vec<f64> = (0..301).map(f64::from).collect();
        let bounds = bounds(301.0, 100.0, &times);
        assert_eq!(bounds.len(), 4);
        assert_eq!((bounds[0].0, bounds[3].1), (0.0, 301.0));
        assert!(bounds.windows(2).all(|pair| pair[0].1 == pair[1].0));
    }

    #[test]
    fn a_hole_without_pictures_has_no_windows() {
        let times = [0.0, 1.0, 72_000.0, 72_001.0, 72_150.0];
        let found = bounds(72_200.0, 100.0, &times);
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].0, found[2].1), (0.0, 72_200.0));
        assert!(found.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert!(times.iter().all(|time| found.iter().any(|(start, end)| (start..end).contains(&time))));
        assert_eq!(bounds(28_800.0, 60.0, &[0.0]), [(0.0, 28_800.0)], "a picture with sound");
        assert_eq!(bounds(10.0, 60.0, &[]), [(0.0, 10.0)]);
    }

    #[test]
    fn a_chronicle_says_when_and_leaves_out_what_is_missing() {
        let text = chronicle(&[window(0, Some("a")), window(1, None), window(2, Some("c"))]).unwrap();
        assert_eq!(text, "0:00.0–1:00.0: a\n2:00.0–3:00.0: c");
        assert_eq!(chronicle(&[window(0, None)]), None);
    }

    #[test]
    fn notes_stay_within_a_small_context() {
        let windows: Vec<Window> = (0..2000).map(|number| window(number, Some("a"))).collect();
        let notes = notes(&windows);
        assert!(notes.len() <= MAX_NOTES + 2000 && notes.len() > MAX_NOTES / 4, "{}", notes.len());
        assert!(warnings(&windows).len() == 50);
    }
}
