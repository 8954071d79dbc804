//! What is owed to a new video: probe, poster, then three texts by the model. Each step is stored when it is done.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Stop, parse};
use crate::{
    app::AppState,
    ask::{AskEvent, Class, Conversation, Stage},
    library::{Change, Job, Poster, Step, Text, TextKind, Video, now_ms},
    media::FrameSampling,
    prompts,
};

/// Pixels per row of a poster.
const POSTER_WIDTH: u32 = 640;

/// Tokens of one text.
const MAX_TOKENS: usize = 1024;

/// How long a job waits for interactive questions to end before each step.
const PATIENCE: Duration = Duration::from_secs(60);

/// Times that one text is put off for an interactive question.
const YIELDS: usize = 5;

/// How often progress within a step is announced at most.
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);

/// Runs the steps that are left and returns the warnings.
pub(super) async fn run(
    state: &AppState,
    job: &Job,
    cancel: &CancellationToken,
) -> Result<Vec<String>, Stop> {
    let library = &state.library;
    let video = library.video(&job.video_id).await?;
    let mut warnings = job.warnings.clone();
    let mut step = job.step;
    loop {
        match step {
            Step::Probe => {
                let probe = state.asker.media().probe(&library.source(&video), cancel).await;
                match probe {
                    Ok(probe) => library.set_probe(&video.id, &slim(&probe)).await?,
                    Err(error) => {
                        let stop = Stop::from(error);
                        if let Stop::Fatal(message) = &stop {
                            library.set_video_error(&video.id, message).await?;
                        }
                        return Err(stop);
                    }
                }
            }
            Step::Poster => warnings.extend(poster(state, &video, cancel).await?),
            Step::Describe => warnings.extend(text(state, job, &video, TextKind::Description, cancel).await?),
            Step::Moments => warnings.extend(text(state, job, &video, TextKind::Moments, cancel).await?),
            Step::Tags => warnings.extend(text(state, job, &video, TextKind::Tags, cancel).await?),
        }
        match step.next() {
            Some(next) => {
                step = next;
                library.advance_job(&job.id, step, &warnings).await?;
            }
            None => return Ok(warnings),
        }
    }
}

/// Leaves out the times of frames: megabytes for a long clip, and found again in a moment.
fn slim(probe: &homereel_video::Probe) -> homereel_video::Probe {
    homereel_video::Probe { frame_times: Vec::new(), entries: Vec::new(), ..probe.clone() }
}

/// Makes the poster. A video without one is still a video: what fails for good is a warning.
async fn poster(state: &AppState, video: &Video, cancel: &CancellationToken) -> Result<Option<String>, Stop> {
    let library = &state.library;
    match state.asker.media().poster(&library.source(video), POSTER_WIDTH, cancel).await {
        Ok(jpeg) => {
            write_poster(state, video, jpeg)
                .await
                .map_err(|error| Stop::Retry(format!("poster: {error}")))?;
            library.set_poster(&video.id, Poster::Ready).await?;
            Ok(None)
        }
        Err(error) => match Stop::from(error) {
            Stop::Cancelled => Err(Stop::Cancelled),
            Stop::Later(after) => Err(Stop::Later(after)),
            Stop::Fatal(message) | Stop::Retry(message) => {
                library.set_poster(&video.id, Poster::Failed).await?;
                Ok(Some(format!("no poster: {message}")))
            }
        },
    }
}

/// Writes beside the place and renames, so that no reader sees half a picture.
async fn write_poster(state: &AppState, video: &Video, jpeg: Bytes) -> std::io::Result<()> {
    let path = state.library.poster_path(&video.sha256);
    let scratch = path.with_extension("part");
    tokio::fs::write(&scratch, &jpeg).await?;
    tokio::fs::rename(&scratch, &path).await
}

/// Asks for one text and stores it with its model and settings.
async fn text(
    state: &AppState,
    job: &Job,
    video: &Video,
    kind: TextKind,
    cancel: &CancellationToken,
) -> Result<Option<String>, Stop> {
    let prompt = match kind {
        TextKind::Description => prompts::DESCRIBE,
        TextKind::Moments => prompts::MOMENTS,
        TextKind::Tags => prompts::TAGS,
    };
    let (answer, model) = politely(state, || ask(state, job, video, prompt, kind, cancel)).await?;
    let duration = video.probe.as_ref().map_or(f64::INFINITY, |probe| probe.duration_s);
    let content = match kind {
        TextKind::Description => Some(answer.trim().to_owned()).filter(|text| !text.is_empty()),
        TextKind::Moments => parse::moments(&answer, duration).map(|moments| json!(moments).to_string()),
        TextKind::Tags => parse::tags(&answer).map(|tags| json!(tags).to_string()),
    };
    let warning = content.is_none().then(|| {
        let word = job_word(kind);
        // A small model can ramble to its token limit: the beginning tells enough.
        let answer: String = answer.chars().take(200).collect();
        tracing::warn!(video.id, kind = word, answer, "the model's answer is not usable");
        format!("no {word}: the model's answer was not usable")
    });
    let text = Text {
        content,
        warning: warning.clone(),
        model,
        settings: json!({ "prompt": prompt, "frames": FrameSampling::default(), "temperature": 0, "max_tokens": MAX_TOKENS }),
        created_ms: now_ms(),
    };
    state.library.put_text(&video.id, kind, text).await?;
    Ok(warning)
}

/// Does work while nobody else asks: it is dropped when a person comes and done again when they are gone. After a
/// few times it stays: frames and features are cached, but a busy house must not starve its own library.
async fn politely<T, F: Future<Output = Result<T, Stop>>>(
    state: &AppState,
    work: impl Fn() -> F,
) -> Result<T, Stop> {
    for _ in 0..YIELDS {
        state.asker.interactive_idle(PATIENCE).await;
        tokio::select! {
            biased;
            result = work() => return result,
            () = state.asker.interactive_busy() => {}
        }
    }
    state.asker.interactive_idle(PATIENCE).await;
    work().await
}

fn job_word(kind: TextKind) -> &'static str {
    match kind {
        TextKind::Description => "description",
        TextKind::Moments => "moments",
        TextKind::Tags => "tags",
    }
}

/// Asks in the background, announcing progress; returns answer and model.
async fn ask(
    state: &AppState,
    job: &Job,
    video: &Video,
    prompt: &str,
    kind: TextKind,
    cancel: &CancellationToken,
) -> Result<(String, String), Stop> {
    let source = state.library.source(video);
    let greedy = homereel_engine::Sampling::default();
    let mut conversation = Conversation::about(source, FrameSampling::default(), prompt, greedy);
    conversation.max_tokens = Some(MAX_TOKENS);
    let mut answering = state.asker.ask(conversation, Class::Background, cancel)?;
    let step = match kind {
        TextKind::Description => Step::Describe,
        TextKind::Moments => Step::Moments,
        TextKind::Tags => Step::Tags,
    };
    let mut last = None::<Instant>;
    let mut progress = |stage: Stage, done: usize, total: usize| {
        if last.is_some_and(|at| at.elapsed() < PROGRESS_PERIOD) && done != total {
            return;
        }
        last = Some(Instant::now());
        let (job_id, video_id) = (job.id.clone(), video.id.clone());
        state.library.announce(Change::Progress { job_id, video_id, step, stage, done, total });
    };
    let mut answer = String::new();
    let mut tokens = 0;
    while let Some(event) = answering.next().await {
        match event? {
            AskEvent::Queued { .. } | AskEvent::Media(_) | AskEvent::Delta(_) => {}
            AskEvent::Progress { stage, done, total } => progress(stage, done, total),
            AskEvent::Token { text, .. } => {
                answer.push_str(&text);
                tokens += 1;
                progress(Stage::Generate, tokens, 0);
            }
            AskEvent::Done(finished) => return Ok((answer, finished.model)),
        }
    }
    Err(Stop::Retry("the answer ended without an end".into()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use homereel_engine::{Role, Sampling, fake};

    use super::*;
    use crate::{
        app::tests::state_with,
        ask::{Answering, Piece, Turn},
        media::Source,
    };

    fn question(state: &AppState) -> Answering {
        let mut conversation = Conversation::about(
            Source::file("x".into(), None),
            FrameSampling::default(),
            "",
            Sampling::default(),
        );
        conversation.turns = vec![Turn::new(Role::User, vec![Piece::Text("who?".into())])];
        state.asker.ask(conversation, Class::Interactive, state.lifecycle.hard()).unwrap()
    }

    #[tokio::test]
    async fn background_work_yields_to_a_question_and_starts_again_after_it() {
        let data = tempfile::tempdir().unwrap();
        let (state, _engine) =
            state_with(data.path(), vec![fake::Step::Wait(Duration::from_secs(3600))]).await;
        let tries = AtomicUsize::new(0);
        let dropped = state.asker.clone();
        let work = || async {
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                std::future::pending::<()>().await;
            }
            assert_eq!(dropped.in_flight(), 0);
            Ok(7)
        };
        let person = async {
            let answering = question(&state);
            // The work has been dropped once it has been polled again with the question in flight.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            drop(answering);
        };
        let (result, ()) = tokio::join!(politely(&state, work), person);
        assert_eq!(result.unwrap(), 7);
        assert_eq!(tries.load(Ordering::Relaxed), 2);
    }
}
