//! `/ask` and `/ask/{id}`.

use axum::{
    Form,
    extract::rejection::FormRejection,
    response::{IntoResponse, Redirect, Response},
};
use homereel_library::{AnswerStatus, LibraryAnswer, Recalled};
use homereel_web::{
    pages::AskPage,
    views::{self as web, StateKind, StateLabel},
};
use serde::Deserialize;

use super::{
    LibraryQuestion, carry,
    notes::{MAX_QUESTION, NoteVideo, QuestionWithNotes, at_of, url_of, videos_of},
};
use crate::http::{
    error::Failure,
    extract::{Path, Query},
    html::{self, PageContext},
    views,
};

/// Earlier questions on a page.
const EARLIER: u32 = 20;

/// A question from another page's form, and the earlier questions to show.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct AskQuery {
    #[serde(default)]
    question: String,
    /// Id of a question; those before it follow.
    before: Option<String>,
}

/// `GET /ask`: the form and earlier questions.
pub(in crate::http) async fn page(cx: PageContext, Query(query): Query<AskQuery>) -> Response {
    let work = async || {
        let question = query.question.chars().take(MAX_QUESTION).collect();
        let mut page = empty_page(&cx, question);
        let mut earlier = cx.state.library.questions(query.before.as_deref(), EARLIER + 1).await?;
        let more = earlier.len() > EARLIER as usize;
        earlier.truncate(EARLIER as usize);
        page.more = earlier.last().filter(|_| more).map(|last| format!("/ask?before={}", last.id));
        page.earlier = earlier.iter().map(link).collect();
        html::render(&page)
    };
    html::or_error(&cx, work().await)
}

fn link(question: &LibraryAnswer) -> (web::Link, web::Time) {
    let url = format!("/ask/{}", question.id);
    (web::Link { text: question.question.clone(), url }, views::time(question.created_ms))
}

fn empty_page(cx: &PageContext, question: String) -> AskPage {
    AskPage {
        shell: html::shell(cx, &cx.words.t("ask-all-title"), "ask", false),
        id: String::new(),
        question,
        state: None,
        parts: Vec::new(),
        model: String::new(),
        asked: None,
        notes: Vec::new(),
        earlier: Vec::new(),
        more: None,
    }
}

/// `GET /ask/{id}`: a kept answer.
pub(in crate::http) async fn kept(cx: PageContext, Path(id): Path<String>) -> Response {
    let work = async || {
        let answer = cx.state.library.question(&id).await?;
        let notes = cx.state.library.question_notes(&id).await?;
        let videos = videos_of(&cx.state, &notes).await?;
        let note = |((number, note), video): (&(usize, Recalled), NoteVideo)| web::Note {
            number: *number,
            url: url_of(note),
            video: video.title,
            at: at_of(note),
            text: note.text.clone(),
            picture: video.picture,
        };
        let numbers: Vec<usize> = notes.iter().map(|(number, _)| *number).collect();
        let running = answer.status == AnswerStatus::Running;
        html::render(&AskPage {
            shell: html::shell(&cx, &answer.question, "ask", running),
            id: answer.id.clone(),
            state: state(&cx, &answer),
            parts: cited(&answer.answer, &numbers),
            model: answer.model.clone().unwrap_or_default(),
            asked: Some(views::time(answer.created_ms)),
            notes: notes.iter().zip(videos).map(note).collect(),
            ..empty_page(&cx, answer.question.clone())
        })
    };
    html::or_error(&cx, work().await)
}

/// What is said about an answer that is not complete.
fn state(cx: &PageContext, answer: &LibraryAnswer) -> Option<StateLabel> {
    let (kind, key) = match answer.status {
        AnswerStatus::Done => return None,
        AnswerStatus::Running => (StateKind::Working, "ask-all-running"),
        AnswerStatus::Failed => (StateKind::Failed, "ask-all-failed"),
        AnswerStatus::Cancelled => (StateKind::Stopped, "ask-all-stopped"),
    };
    Some(StateLabel { kind, word: cx.words.t(key), detail: answer.error.clone().unwrap_or_default() })
}

/// `POST /ask`: the form. The answer is written while its page is shown.
pub(in crate::http) async fn form(
    cx: PageContext,
    question: Result<Form<LibraryQuestion>, FormRejection>,
) -> Response {
    let work = async || {
        let Form(question) = question?;
        let asked = QuestionWithNotes::new(&cx.state, &question.question).await?;
        let (id, _) = carry::start(&cx.state, asked, true, false).await?;
        Ok(Redirect::to(&format!("/ask/{}", id.unwrap_or_default())).into_response())
    };
    html::or_error(&cx, work().await)
}

/// `POST /ask/{id}/delete`: a form.
pub(in crate::http) async fn delete_form(cx: PageContext, Path(id): Path<String>) -> Response {
    let deleted = cx.state.library.delete_question(&id).await.map_err(Failure::from);
    html::or_error(&cx, deleted.map(|()| Redirect::to("/ask").into_response()))
}

/// Splits an answer at the notes that it cites: `[3]`, `[3, 5]`.
fn cited(text: &str, notes: &[usize]) -> Vec<(String, Option<usize>)> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        plain.push_str(&rest[..open]);
        let inner = &rest[open + 1..];
        let close = inner.find(']').filter(|&close| close > 0 && close <= 60);
        let numbers: Option<Vec<usize>> = close
            .and_then(|close| inner[..close].split(',').map(|number| number.trim().parse().ok()).collect());
        match (close, numbers.filter(|numbers| numbers.iter().all(|number| notes.contains(number)))) {
            (Some(close), Some(numbers)) => {
                if !plain.is_empty() {
                    parts.push((std::mem::take(&mut plain), None));
                }
                parts.extend(numbers.into_iter().map(|number| (format!("[{number}]"), Some(number))));
                rest = &inner[close + 1..];
            }
            _ => {
                plain.push('[');
                rest = inner;
            }
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push((plain, None));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::cited;

    #[test]
    fn notes_that_are_named_become_links_and_nothing_else_does() {
        let part = |text: &str, number| (text.to_owned(), number);
        assert_eq!(
            cited("At the lake [1, 2]. [9] [x] [", &[1, 2, 3]),
            [
                part("At the lake ", None),
                part("[1]", Some(1)),
                part("[2]", Some(2)),
                part(". [9] [x] [", None)
            ]
        );
        assert!(cited("", &[1]).is_empty());
    }
}
