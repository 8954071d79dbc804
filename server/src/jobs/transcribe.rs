//! The job that transcribes what is said in a video. What it has found is stored window by window, and an attempt goes on where
//! the one before stopped. It needs no other lane, so that those may wait for it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::Stream;
use homereel_engine::speech::{Segment, TranscribeOptions, TranscriptProgress};
use homereel_library::{Change, Job, MAX_LINES, NewLine, Step, Video};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{context::JobContext, ingest::Ended, stop::Stop};
use crate::{
    ask_error::AskError,
    speech::{self, SpeechService, SpeechUse},
};

/// Interval between updates of the search index, which cost as much as the whole transcript.
const INDEX_PERIOD: Duration = Duration::from_secs(30);

/// What the engine has found since the last time that it was stored.
#[derive(Default)]
struct Found {
    lines: Vec<NewLine>,
    position: f64,
    language: Option<String>,
}

impl Found {
    fn add(&mut self, progress: TranscriptProgress<'_>) {
        self.lines.extend(progress.segments.iter().map(line));
        self.position = progress.position_s;
        self.language = progress.language.map(str::to_owned);
    }
}

fn lock(found: &Mutex<Found>) -> MutexGuard<'_, Found> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Transcribes the rest of a video.
pub(super) async fn run(cx: &JobContext, job: &Job, cancel: &CancellationToken) -> Result<Ended, Stop> {
    let library = &cx.library;
    // The lane stands still without a service.
    let Some(speech) = &cx.speech else { return Err(Stop::Later(Duration::ZERO)) };
    let video = library.video(&job.video_id).await?;
    let transcript = library.begin_transcript(&video.id, speech.name()).await?;
    match listen(cx, job, &video, speech, transcript.position, cancel).await {
        Ok(note) => {
            library.finish_transcript(&video.id, note.as_deref()).await?;
            library.wake_description(&video.id).await?;
            Ok(Ended::Done(note.into_iter().collect()))
        }
        Err(stop) => {
            if let Stop::Fatal(error) | Stop::Retry(error) = &stop
                && (matches!(stop, Stop::Fatal(_)) || job.is_last_try())
            {
                library.fail_transcript(&video.id, error).await?;
            }
            // Nobody waits for an attempt that failed.
            library.wake_description(&video.id).await?;
            Err(stop)
        }
    }
}

/// Transcribes the sound from `from_s` on. Returns a note for people where there is no sound, or too much of it.
async fn listen(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    speech: &SpeechService,
    from_s: f64,
    cancel: &CancellationToken,
) -> Result<Option<String>, Stop> {
    let Some(probe) = &video.probe else { return Ok(Some("The file cannot be read.".into())) };
    if probe.audio.is_none() {
        // A track without a decoder is named by the probe.
        let unreadable = probe.warnings.iter().find(|warning| warning.contains("the sound cannot be read"));
        return Ok(Some(unreadable.cloned().unwrap_or_else(|| "The video has no sound.".into())));
    }
    let source = cx.source(video);
    let samples = cx.answers.media().samples(&source, probe.duration_s, from_s, cancel).await?;
    hear(cx, job, video, speech, from_s, speech::stream_of(samples)).await
}

/// Transcribes `samples`, which begin at `from_s`, and stores what is found.
async fn hear(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    speech: &SpeechService,
    from_s: f64,
    samples: impl Stream<Item = Result<Vec<f32>, AskError>> + Send,
) -> Result<Option<String>, Stop> {
    let options = TranscribeOptions { start_s: from_s, language: speech.language().map(str::to_owned) };
    // Grows no larger than the transcript of one video; the engine rests while it is stored.
    let (found, news) = (Mutex::new(Found::default()), Notify::new());
    let listening = speech.transcribe(samples, options, SpeechUse::Job, |progress| {
        lock(&found).add(progress);
        news.notify_one();
    });
    let mut listening = std::pin::pin!(listening);
    let mut storing = Storing::new(cx, job, video, from_s);
    let heard = loop {
        tokio::select! {
            biased;
            () = news.notified() => {
                let found = std::mem::take(&mut *lock(&found));
                storing.store(found).await?;
            }
            heard = &mut listening => break heard,
        }
    };
    let rest = std::mem::take(&mut *lock(&found));
    storing.store(rest).await?;
    match heard {
        Ok(()) => Ok(storing.note()),
        Err(error) => match speech::no_sound(&error) {
            Some(message) => Ok(Some(format!("The sound cannot be read: {message}."))),
            None => Err(match speech.delay(&error) {
                Some(delay) => Stop::Away(error.to_string(), delay),
                None => error.into(),
            }),
        },
    }
}

fn line(segment: &Segment) -> NewLine {
    NewLine {
        start: segment.start_s,
        end: segment.end_s,
        text: segment.text.clone(),
        language: segment.language.clone(),
        confidence: f64::from(segment.confidence),
    }
}

/// Stores what is found, and tells pages and those who wait.
struct Storing<'a> {
    cx: &'a JobContext,
    job: &'a Job,
    video: &'a Video,
    duration_s: f64,
    indexed: Instant,
    /// The position at which a description that waits was last woken.
    woken_s: f64,
    left_out: usize,
}

impl<'a> Storing<'a> {
    fn new(cx: &'a JobContext, job: &'a Job, video: &'a Video, from_s: f64) -> Self {
        let duration_s = video.probe.as_ref().map_or(0.0, |probe| probe.duration_s);
        Self { cx, job, video, duration_s, indexed: Instant::now(), woken_s: from_s, left_out: 0 }
    }

    async fn store(&mut self, found: Found) -> Result<(), Stop> {
        let (library, id) = (&self.cx.library, &self.video.id);
        let Found { lines, position, language } = found;
        if position <= 0.0 {
            return Ok(());
        }
        self.left_out += library.append_transcript(id, &lines, position, language.as_deref()).await?;
        let (done, total) = (seconds(position.min(self.duration_s)), seconds(self.duration_s));
        library.set_job_parts(&self.job.id, done, total).await?;
        library.announce(Change::Progress {
            job_id: self.job.id.clone(),
            video_id: id.clone(),
            step: Step::Transcribe,
            stage: "listen",
            done,
            total,
        });
        if self.indexed.elapsed() >= INDEX_PERIOD {
            library.index_transcript(id).await?;
            self.indexed = Instant::now();
        }
        if position - self.woken_s >= self.cx.window_s {
            library.wake_description(id).await?;
            self.woken_s = position;
        }
        if library.jobs_paused().await? {
            return Err(Stop::Later(Duration::ZERO));
        }
        Ok(())
    }

    fn note(&self) -> Option<String> {
        (self.left_out > 0).then(|| {
            let left_out = self.left_out;
            format!("A transcript has at most {MAX_LINES} lines; {left_out} more were left out.")
        })
    }
}

fn seconds(s: f64) -> usize {
    s.max(0.0).round() as usize
}

#[cfg(test)]
#[path = "transcribe_tests.rs"]
mod tests;
