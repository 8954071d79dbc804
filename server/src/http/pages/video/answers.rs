//! Questions and answers on the page of a video, and questions that the page suggests.

use homereel_library::{Answer, AnswerStatus, Video};
use homereel_web::{
    Words, format,
    times::spans,
    views::{AnswerView, Fact, ModelStatus, StateKind, StateLabel},
};
use serde_json::Value;

use super::text::shortened;
use crate::http::views::time;

/// Number of suggested questions.
const SUGGESTED: usize = 3;

/// A question and its answer; times in it link to a video of `duration` seconds.
pub(super) fn answer(words: &Words, answer: &Answer, duration: f64) -> AnswerView {
    let error = answer.error.clone().unwrap_or_default();
    let (kind, word, detail) = match answer.status {
        AnswerStatus::Running => (StateKind::Working, "answer-running", String::new()),
        AnswerStatus::Done if answer.finish_reason.as_deref() == Some("length") => {
            (StateKind::Stopped, "answer-cut-off", String::new())
        }
        AnswerStatus::Done => (StateKind::Done, "answer-done", String::new()),
        AnswerStatus::Failed => (StateKind::Failed, "answer-failed", error),
        AnswerStatus::Cancelled if answer.answer.is_empty() => {
            (StateKind::Stopped, "answer-stopped", String::new())
        }
        AnswerStatus::Cancelled => (StateKind::Stopped, "answer-stopped-early", String::new()),
    };
    AnswerView {
        id: answer.id.clone(),
        question: answer.question.clone(),
        text: spans(&shortened(&answer.answer), duration),
        state: StateLabel { kind, word: words.t(word), detail },
        model: answer.model.clone(),
        asked: time(answer.created_ms),
        facts: facts(words, answer),
    }
}

/// Frames, tokens and stage times of an answer, as far as they are known. Names are keys of messages.
fn facts(words: &Words, answer: &Answer) -> Vec<Fact> {
    let mut facts = Vec::new();
    let media = answer.media.as_ref();
    if let Some(frames) = media.and_then(|media| media["frames"].as_u64()) {
        facts.push(Fact { name: "fact-frames-seen", value: frames.to_string() });
    }
    let stage = |key: &str| answer.stages_ms.as_ref().and_then(|stages| stages[key].as_f64());
    for (name, key) in [
        ("fact-waiting", "queue"),
        ("fact-decoding", "decode"),
        ("fact-frames-analysed", "vision"),
        ("fact-prompt", "prefill"),
        ("fact-first-word", "ttft"),
        ("fact-answering", "generate"),
        ("fact-total", "total"),
    ] {
        if let Some(ms) = stage(key) {
            // Frames and vision features are cached between questions.
            let reused = ms == 0.0 && matches!(key, "decode" | "vision");
            facts.push(Fact { name, value: if reused { words.t("fact-cached") } else { seconds(ms) } });
        }
    }
    let tokens = |key: &str| answer.usage.as_ref().and_then(|usage| usage[key].as_u64());
    if let (Some(prompt), Some(completion)) = (tokens("prompt_tokens"), tokens("completion_tokens")) {
        let (read, written) = (prompt.to_string(), completion.to_string());
        let value = words.with("fact-tokens-value", &[("read", &read), ("written", &written)]);
        facts.push(Fact { name: "fact-tokens", value });
    }
    let warnings =
        media.and_then(|media| media["warnings"].as_array()).map(Vec::as_slice).unwrap_or_default();
    for warning in warnings.iter().filter_map(Value::as_str) {
        facts.push(Fact { name: "fact-note", value: warning.into() });
    }
    facts
}

fn seconds(ms: f64) -> String {
    if ms < 10_000.0 { format!("{:.2} s", ms / 1000.0) } else { format::duration(ms / 1000.0) }
}

/// Returns questions that can be asked about a video. The demo model answers only one kind.
pub(super) fn suggestions(words: &Words, model: &ModelStatus, video: &Video, is_spoken: bool) -> Vec<String> {
    if matches!(model, ModelStatus::Demo { .. }) {
        return vec![words.t("question-demo")];
    }
    let moments = video.texts.moments.as_ref().and_then(|text| text.content.as_deref()).unwrap_or_default();
    let mut questions = Vec::new();
    if is_spoken {
        questions.push(words.t("question-said"));
    }
    questions.push(words.t("question-who"));
    // In the middle, because the description tells how a video begins.
    if let Some(moment) = moments.get(moments.len() / 2) {
        questions.push(words.with("question-moment", &[("at", &format::position(moment.start))]));
    }
    questions.push(words.t("question-where"));
    questions.truncate(SUGGESTED);
    questions
}

#[cfg(test)]
mod tests {
    use homereel_web::views::ModelStatus;
    use serde_json::json;

    use super::*;

    fn stored(status: AnswerStatus, text: &str) -> Answer {
        Answer {
            id: "1".into(),
            video_id: "2".into(),
            question: "Who?".into(),
            answer: text.into(),
            status,
            error: None,
            model: "m".into(),
            finish_reason: None,
            settings: json!({}),
            usage: Some(json!({"prompt_tokens": 9, "completion_tokens": 2})),
            stages_ms: Some(json!({"decode": 0.0, "ttft": 450.0})),
            media: None,
            created_ms: 0,
            finished_ms: None,
        }
    }

    #[test]
    fn a_stopped_answer_says_whether_there_is_a_text() {
        let words = Words::english();
        let word = |status, text: &str| answer(words, &stored(status, text), 9.0).state.word;
        assert_eq!(word(AnswerStatus::Cancelled, ""), "Stopped before it began");
        assert_eq!(word(AnswerStatus::Cancelled, "Red"), "Stopped early");
    }

    #[test]
    fn facts_have_names_and_say_what_was_cached() {
        let view = answer(Words::english(), &stored(AnswerStatus::Done, "Red"), 9.0);
        let facts: Vec<_> = view.facts.iter().map(|fact| (fact.name, fact.value.as_str())).collect();
        let expected = [
            ("fact-decoding", "Cached"),
            ("fact-first-word", "0.45 s"),
            ("fact-tokens", "9 read, 2 written"),
        ];
        assert_eq!(facts, expected);
    }

    #[test]
    fn the_demo_model_is_asked_only_what_it_can_answer() {
        let words = Words::english();
        let video = super::super::text::tests::video();
        let demo = ModelStatus::Demo { id: "demo".into() };
        assert_eq!(suggestions(words, &demo, &video, true), ["What color is the object?"]);
        let real = ModelStatus::Ready { id: "q".into() };
        let silent = suggestions(words, &real, &video, false);
        assert_eq!((silent.len(), silent.iter().any(|question| question.contains("said"))), (3, false));
        assert_eq!(suggestions(words, &real, &video, true)[0], "What is said?");
    }
}
