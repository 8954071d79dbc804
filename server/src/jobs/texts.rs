//! The three texts about a part of a video: asked for one by one, or all at once, and parsed.
//!
//! The demo model answers only the three questions that it was trained on. Other models get one question for all texts; a
//! text that its answer lacks is asked for on its own.

use homereel_library::{Moment, TextKind};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    context::JobContext,
    parse,
    question::{self, GeneratedText, Question, Subject},
    stop::Stop,
};

/// The content of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Description(String),
    Moments(Vec<Moment>),
    Tags(Vec<String>),
}

impl Content {
    /// Returns the content as it is stored.
    pub(super) fn stored(self) -> String {
        match self {
            Self::Description(text) => text,
            Self::Moments(moments) => json!(parse::joined(moments)).to_string(),
            Self::Tags(tags) => json!(tags).to_string(),
        }
    }
}

/// A text about a part.
#[derive(Debug)]
pub(super) struct PartText {
    pub(super) kind: TextKind,
    /// `None` means that the model's answer was not usable.
    pub(super) content: Option<Content>,
    /// Warning for the user.
    pub(super) warning: Option<String>,
    /// Id of the model.
    pub(super) model: String,
    /// The question that was answered.
    pub(super) question: Question,
}

/// The kinds, in the order in which they are asked for and shown.
const KINDS: [TextKind; 3] = [TextKind::Description, TextKind::Moments, TextKind::Tags];

/// Returns whether the engine's model gets a question of its own for each text.
pub(super) fn are_asked_one_by_one(cx: &JobContext) -> bool {
    cx.answers.engine().info().is_ok_and(|info| info.demo)
}

/// Asks for one text.
pub(super) async fn one(
    cx: &JobContext,
    about: Subject<'_>,
    kind: TextKind,
    cancel: &CancellationToken,
) -> Result<PartText, Stop> {
    let question = Question::One(kind);
    let answer = question::ask(cx, about, question, cancel).await?;
    let content = match kind {
        TextKind::Description => description(&answer.text),
        TextKind::Moments => moments(&answer.text, about, answer.whole),
        TextKind::Tags => parse::tags(&answer.text).map(Content::Tags),
    };
    let warning = match &content {
        Some(_) => answer.warning,
        None => Some(question::unusable(about.video, kind, &answer.text)),
    };
    let losses = losses(about).filter(|_| kind == TextKind::Description);
    let warning = joined(losses.into_iter().chain(warning));
    Ok(PartText { kind, content, warning, model: answer.model, question })
}

/// Asks for all texts.
pub(super) async fn all(
    cx: &JobContext,
    about: Subject<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<PartText>, Stop> {
    let mut texts = if are_asked_one_by_one(cx) { Vec::new() } else { at_once(cx, about, cancel).await? };
    for kind in KINDS {
        if !texts.iter().any(|text| text.kind == kind) {
            texts.push(one(cx, about, kind, cancel).await?);
        }
    }
    Ok(texts)
}

/// Asks for these texts, one by one.
pub(super) async fn some(
    cx: &JobContext,
    about: Subject<'_>,
    kinds: &[TextKind],
    cancel: &CancellationToken,
) -> Result<Vec<PartText>, Stop> {
    let mut texts = Vec::with_capacity(kinds.len());
    for &kind in kinds {
        texts.push(one(cx, about, kind, cancel).await?);
    }
    Ok(texts)
}

/// Asks for all texts at once and returns those that the answer has.
async fn at_once(
    cx: &JobContext,
    about: Subject<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<PartText>, Stop> {
    let question = Question::All;
    let GeneratedText { text, model, whole, warning } = question::ask(cx, about, question, cancel).await?;
    let answer = parse::Structured::of(&text);
    let contents = [
        (TextKind::Description, answer.description().as_deref().and_then(description)),
        (TextKind::Tags, answer.tags().map(Content::Tags)),
        (TextKind::Moments, answer.moments().and_then(|text| moments(text, about, whole))),
    ];
    let texts = contents.into_iter().filter_map(|(kind, content)| {
        let warning = match kind {
            TextKind::Moments => warning.clone(),
            TextKind::Description => losses(about),
            TextKind::Tags => None,
        };
        content.map(|content| PartText {
            kind,
            content: Some(content),
            warning,
            model: model.clone(),
            question,
        })
    });
    Ok(texts.collect())
}

/// Returns what was lost when the frames of the part were decoded, beyond what the probe found.
fn losses(about: Subject<'_>) -> Option<String> {
    let known = about.video.probe.as_ref().map(|probe| probe.warnings.as_slice()).unwrap_or_default();
    joined(about.part.clip.report.warnings.iter().filter(|warning| !known.contains(warning)).cloned())
}

/// Joins warnings to one.
pub(super) fn joined(warnings: impl IntoIterator<Item = String>) -> Option<String> {
    let warnings: Vec<String> = warnings.into_iter().collect();
    (!warnings.is_empty()).then(|| warnings.join("; "))
}

fn description(text: &str) -> Option<Content> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(|text| Content::Description(text.to_owned()))
}

fn moments(text: &str, about: Subject<'_>, whole: bool) -> Option<Content> {
    let (start, end) = about.part.bounds();
    parse::moments_within(text, start, end, whole).map(Content::Moments)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homereel_engine::{
        Done, FinishReason, GenerationEvent, StageTimes, Usage,
        fake::{FakeEngine, ScriptStep},
    };
    use homereel_video::ProbeSummary;

    use super::*;
    use crate::{jobs::part::Part, state::tests::state_with};

    /// Asks an engine that answers everything with `answer`.
    async fn texts_from(answer: &str, finish_reason: FinishReason) -> (Vec<PartText>, Arc<FakeEngine>) {
        let done = Done {
            finish_reason,
            usage: Usage::default(),
            stages: StageTimes::default(),
            warnings: Vec::new(),
        };
        let script = vec![
            ScriptStep::Event(GenerationEvent::Token { text: answer.to_owned(), id: None, logprob: None }),
            ScriptStep::Event(GenerationEvent::Done(done)),
        ];
        let data = tempfile::tempdir().unwrap();
        let (state, engine) = state_with(data.path(), script).await;
        let cx = state.job_context();
        let mut incoming = cx.library.incoming(None, 1 << 20).await.unwrap();
        incoming.write(b"video").await.unwrap();
        let probe: ProbeSummary = serde_json::from_value(json!({
            "container": "mov", "duration_s": 4.0, "start_offset_s": 0.0, "warnings": [],
            "video": {
                "index": 0, "codec": "h264", "pixel_format": "yuv420p", "width": 320, "height": 240,
                "coded_width": 320, "coded_height": 240, "rotation": 0, "mirrored": false, "fps": 25.0,
                "frame_count": 100, "constant_rate": true, "interlaced": false,
                "clock": {"num": 1, "den": 25, "first": 0, "counted": false},
            },
        }))
        .unwrap();
        let stored = incoming.seal().await.unwrap().commit("a.mp4", "video/mp4", &probe).await.unwrap();
        let jobs = cx.library.jobs_of(&stored.video.id).await.unwrap();
        let part = Part::without_frames(&cx, 4.0).await;
        let about = Subject { job: &jobs[0], video: &stored.video, part: &part, said: None };
        (all(&cx, about, &CancellationToken::new()).await.unwrap(), engine)
    }

    const ANSWER: &str = r#"{"description": "A dog.", "tags": ["dog"], "moments": [{"start": 0, "end": 2, "text": "It runs."}]}"#;

    #[tokio::test]
    async fn one_answer_has_all_texts() {
        let (texts, engine) = texts_from(ANSWER, FinishReason::Stop).await;
        assert_eq!(engine.requests().len(), 1);
        let contents: Vec<Content> = texts.into_iter().filter_map(|text| text.content).collect();
        let moment = Moment { start: 0.0, end: 2.0, text: "It runs.".into() };
        assert_eq!(
            contents,
            [
                Content::Description("A dog.".into()),
                Content::Tags(vec!["dog".into()]),
                Content::Moments(vec![moment])
            ]
        );
    }

    #[tokio::test]
    async fn a_text_that_the_answer_lacks_is_asked_for_on_its_own() {
        let cut = &ANSWER[..ANSWER.find("[{").unwrap()];
        let (texts, engine) = texts_from(cut, FinishReason::Length).await;
        assert_eq!(engine.requests().len(), 2, "all, then the moments");
        let moments = texts.iter().find(|text| text.kind == TextKind::Moments).unwrap();
        assert_eq!((&moments.content, moments.question), (&None, Question::One(TextKind::Moments)));
        assert!(moments.warning.is_some());
        assert!(texts.iter().all(|text| text.kind == TextKind::Moments || text.content.is_some()));
    }
}
