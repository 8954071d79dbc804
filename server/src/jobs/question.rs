//! Asks the model one question of a job: with background priority and a response format, stopped if the model
//! repeats itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use homereel_engine::{AnswerFormat, FinishReason, SamplingParams, Stage};
use homereel_library::{Change, Job, Step, TextKind, Video};
use homereel_video::FrameSampling;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    context::JobContext,
    part::Part,
    repetition::{self, TextFormat},
    stop::Stop,
};
use crate::{
    answer::{AskEvent, Conversation, Piece, Priority},
    prompts,
};

/// Maximum number of tokens per text.
const MAX_TOKENS: usize = 1024;

/// How long a job waits before each step for interactive questions to finish.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often one text is restarted in favour of an interactive question.
const YIELDS: usize = 5;

/// Minimum interval between progress events within a step.
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);

/// Number of tokens between checks for repetition.
const LOOK_EVERY: usize = 16;

/// Part of a video that questions are about, and the job that asks them.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) job: &'a Job,
    pub(super) video: &'a Video,
    pub(super) part: &'a Part,
    /// What is said in the part, if that is known.
    pub(super) said: Option<&'a str>,
}

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// One text.
    One(TextKind),
    /// All three texts as one JSON object.
    All,
}

/// Whose progress events a question sends.
#[derive(Clone, Copy)]
struct Progress<'a> {
    job: &'a Job,
    video: &'a Video,
    question: Question,
}

/// The generated text.
#[derive(Debug)]
pub(super) struct GeneratedText {
    pub(super) text: String,
    pub(super) model: String,
    /// The model finished; the text is not truncated.
    pub(super) whole: bool,
    /// Warning for the user.
    pub(super) warning: Option<String>,
}

/// Asks a question about a part of a video.
pub(super) async fn ask(
    cx: &JobContext,
    about: Subject<'_>,
    question: Question,
    cancel: &CancellationToken,
) -> Result<GeneratedText, Stop> {
    // Moments and tags are about what is seen.
    let said =
        about.said.filter(|_| matches!(question, Question::All | Question::One(TextKind::Description)));
    match ask_with(cx, about, question, said, cancel).await {
        // Perhaps with these lines the prompt does not fit the model's context. Frames come first.
        Err(Stop::Fatal(_)) if said.is_some() => ask_with(cx, about, question, None, cancel).await,
        answer => answer,
    }
}

async fn ask_with(
    cx: &JobContext,
    about: Subject<'_>,
    question: Question,
    said: Option<&str>,
    cancel: &CancellationToken,
) -> Result<GeneratedText, Stop> {
    let prompt = match said {
        Some(said) => format!("{said}\n\n{}\n{}", prompts::WITH_SPEECH, question.prompt()),
        None => question.prompt().to_owned(),
    };
    let content = vec![Piece::Clip(Arc::clone(&about.part.clip)), Piece::Text(prompt)];
    let mut conversation = Conversation::of(content, SamplingParams::default());
    conversation.options.response_format = question.format();
    let to = Progress { job: about.job, video: about.video, question };
    at_background_priority(cx, || follow(cx, to, conversation.clone(), cancel)).await
}

/// Generates one description from notes, without looking at a video.
pub(super) async fn summarize(
    cx: &JobContext,
    job: &Job,
    video: &Video,
    notes: &str,
    cancel: &CancellationToken,
) -> Result<GeneratedText, Stop> {
    let to = Progress { job, video, question: Question::One(TextKind::Description) };
    let conversation =
        Conversation::text(&format!("{}\n\n{notes}", prompts::SUMMARIZE), SamplingParams::default());
    at_background_priority(cx, || follow(cx, to, conversation.clone(), cancel)).await
}

/// Settings of a text, for its row.
pub(super) fn settings(question: Question, frames: FrameSampling) -> Value {
    json!({
        "prompt": question.prompt(),
        "frames": frames,
        "temperature": 0,
        "max_tokens": question.max_tokens(),
    })
}

/// Logs the beginning of an unusable answer and returns a warning.
pub(super) fn unusable(video: &Video, kind: TextKind, answer: &str) -> String {
    let word = word(kind);
    // A small model can ramble to its token limit; the beginning is enough.
    let answer: String = answer.chars().take(200).collect();
    tracing::warn!(
        video.id,
        kind = word,
        answer_start = answer,
        "the model's answer to a background question is not usable; the video stays without this text until it is described again"
    );
    format!("no {word}: the model's answer was not usable")
}

impl Question {
    fn prompt(self) -> &'static str {
        match self {
            Self::One(TextKind::Description) => prompts::DESCRIBE,
            Self::One(TextKind::Moments) => prompts::MOMENTS,
            Self::One(TextKind::Tags) => prompts::TAGS,
            Self::All => prompts::ALL_TEXTS,
        }
    }

    fn max_tokens(self) -> usize {
        match self {
            Self::One(_) => MAX_TOKENS,
            Self::All => 2 * MAX_TOKENS,
        }
    }

    /// Returns the job step in whose name progress is reported.
    fn step(self) -> Step {
        match self {
            Self::One(TextKind::Description) | Self::All => Step::Describe,
            Self::One(TextKind::Moments) => Step::Moments,
            Self::One(TextKind::Tags) => Step::Tags,
        }
    }

    fn text_format(self) -> TextFormat {
        if self == Self::One(TextKind::Description) { TextFormat::Prose } else { TextFormat::Json }
    }

    /// Returns what the answer is called in warnings.
    fn word(self) -> &'static str {
        match self {
            Self::One(kind) => word(kind),
            // The moments come last, so they are what a truncated answer lacks.
            Self::All => word(TextKind::Moments),
        }
    }

    /// Returns the response format.
    fn format(self) -> AnswerFormat {
        match self {
            Self::One(TextKind::Description) => AnswerFormat::Text,
            Self::One(TextKind::Moments) => AnswerFormat::JsonSchema(json!({
                "type": "object", "required": ["moments"], "additionalProperties": false,
                "properties": { "moments": moments_schema() },
            })),
            Self::One(TextKind::Tags) => AnswerFormat::JsonSchema(tags_schema()),
            Self::All => AnswerFormat::JsonSchema(json!({
                "type": "object", "required": ["description", "tags", "moments"], "additionalProperties": false,
                // The longest comes last, so that a truncated answer still has the others.
                "properties": {
                    "description": { "type": "string", "minLength": 1 },
                    "tags": tags_schema(),
                    "moments": moments_schema(),
                },
            })),
        }
    }
}

fn moments_schema() -> Value {
    json!({ "type": "array", "items": {
        "type": "object", "required": ["start", "end", "text"], "additionalProperties": false,
        "properties": {
            "start": { "type": "number", "minimum": 0 },
            "end": { "type": "number", "minimum": 0 },
            "text": { "type": "string", "minLength": 1 },
        },
    }})
}

fn tags_schema() -> Value {
    json!({ "type": "array", "maxItems": 8, "items": { "type": "string", "minLength": 1 } })
}

fn word(kind: TextKind) -> &'static str {
    match kind {
        TextKind::Description => "description",
        TextKind::Moments => "moments",
        TextKind::Tags => "tags",
    }
}

/// Runs work with less priority than interactive questions.
///
/// On an engine that processes one request at a time, work runs while no question does. When one arrives, the work is dropped
/// and restarted afterwards. After a few restarts it runs to its end, so that a busy server does not starve its jobs.
async fn at_background_priority<T, F: Future<Output = Result<T, Stop>>>(
    cx: &JobContext,
    work: impl Fn() -> F,
) -> Result<T, Stop> {
    if cx.answers.engine().concurrency() > 1 {
        // The engine runs requests beside each other: it is enough that no work starts while a question waits.
        cx.answers.first_tokens_sent(PATIENCE).await;
        return work().await;
    }
    for _ in 0..YIELDS {
        cx.answers.interactive_idle(PATIENCE).await;
        tokio::select! {
            biased;
            result = work() => return result,
            () = cx.answers.interactive_busy() => {}
        }
    }
    cx.answers.interactive_idle(PATIENCE).await;
    work().await
}

/// Asks with background priority and sends progress events.
async fn follow(
    cx: &JobContext,
    about: Progress<'_>,
    mut conversation: Conversation,
    cancel: &CancellationToken,
) -> Result<GeneratedText, Stop> {
    let question = about.question;
    conversation.options.max_tokens = Some(question.max_tokens());
    conversation.options.background = true;
    let mut answering = cx.answers.ask(conversation, Priority::Background, cancel)?;
    let model = cx.answers.engine().info().map(|info| info.id).unwrap_or_default();
    let step = question.step();
    let mut last = None::<Instant>;
    let mut progress = |stage: Stage, done: usize, total: usize| {
        if last.is_some_and(|at| at.elapsed() < PROGRESS_PERIOD) && done != total {
            return;
        }
        last = Some(Instant::now());
        let (job_id, video_id) = (about.job.id.clone(), about.video.id.clone());
        cx.library.announce(Change::Progress { job_id, video_id, step, stage: stage.as_str(), done, total });
    };
    let form = question.text_format();
    let mut text = String::new();
    let mut tokens = 0;
    while let Some(event) = answering.next().await {
        match event? {
            AskEvent::Queued { .. } | AskEvent::Media(_) | AskEvent::Delta(_) => {}
            AskEvent::Progress { stage, done, total } => progress(stage, done, total),
            AskEvent::Token { text: more, .. } => {
                text.push_str(&more);
                tokens += 1;
                progress(Stage::Generate, tokens, 0);
                if tokens % LOOK_EVERY == 0
                    && let Some(at) = repetition::cut(&text, form)
                {
                    // Dropping the answer stops the model.
                    return Ok(cut_off(text, at, model, question));
                }
            }
            AskEvent::Done(finished) => {
                if let Some(at) = repetition::cut(&text, form) {
                    return Ok(cut_off(text, at, finished.model, question));
                }
                let whole = finished.finish_reason == FinishReason::Stop;
                let warning = (!whole).then(|| {
                    format!("the {} may be incomplete: the text reached its maximum length", question.word())
                });
                return Ok(GeneratedText { text, model: finished.model, whole, warning });
            }
        }
    }
    Err(Stop::Retry("the answer ended without a final event".into()))
}

fn cut_off(mut text: String, at: usize, model: String, question: Question) -> GeneratedText {
    text.truncate(at);
    let warning =
        Some(format!("{}: the model began to repeat itself; the repetition was cut", question.word()));
    GeneratedText { text, model, whole: false, warning }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use homereel_engine::{MessageRole, SamplingParams, fake};

    use super::*;
    use crate::{
        answer::{AnswerStream, Piece, Turn},
        media::Source,
        state::tests::state_with,
    };

    fn question(cx: &JobContext) -> AnswerStream {
        let mut conversation = Conversation::about(
            Source::file("x".into(), None),
            FrameSampling::default(),
            "",
            SamplingParams::default(),
        );
        conversation.turns = vec![Turn::new(MessageRole::User, vec![Piece::Text("who?".into())])];
        cx.answers.ask(conversation, Priority::Interactive, cx.lifecycle.hard()).unwrap()
    }

    #[tokio::test]
    async fn background_work_yields_to_a_question_and_starts_again_after_it() {
        let data = tempfile::tempdir().unwrap();
        let (state, _engine) =
            state_with(data.path(), vec![fake::ScriptStep::Wait(Duration::from_secs(3600))]).await;
        let tries = AtomicUsize::new(0);
        let cx = state.job_context();
        let dropped = cx.answers.clone();
        let work = || async {
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                std::future::pending::<()>().await;
            }
            assert_eq!(dropped.in_flight(), 0);
            Ok(7)
        };
        let person = async {
            let answering = question(&cx);
            // The work is dropped once it has been polled with a question in flight.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            drop(answering);
        };
        let (result, ()) = tokio::join!(at_background_priority(&cx, work), person);
        assert_eq!(result.unwrap(), 7);
        assert_eq!(tries.load(Ordering::Relaxed), 2);
    }
}
