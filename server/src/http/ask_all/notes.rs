//! What is known about the videos and may answer a question: notes, found by words and by meaning.

use homereel_library::{PieceKind, Recalled};
use homereel_web::format;
use serde_json::{Value, json};

use crate::{
    answer::{AnswerStream, Conversation, Priority},
    ask_error::AskError,
    http::{error::Failure, thumbnail, titles::titles, views},
    prompts,
    state::AppState,
};

/// Maximum number of characters of a question.
pub(super) const MAX_QUESTION: usize = 2000;

/// Maximum number of notes for one answer.
const MAX_NOTES: usize = 40;

/// Maximum number of characters of a note.
const MAX_NOTE: usize = 400;

/// Maximum number of tokens of an answer.
const MAX_TOKENS: usize = 512;

/// A question and the notes that may answer it.
pub(super) struct QuestionWithNotes {
    pub(super) question: String,
    pub(super) notes: Vec<Recalled>,
}

impl QuestionWithNotes {
    /// Finds the notes.
    pub(super) async fn new(state: &AppState, question: &str) -> Result<Self, Failure> {
        let question = question.trim();
        let chars = question.chars().count();
        if question.is_empty() || chars > MAX_QUESTION {
            let message = format!("a question has 1 to {MAX_QUESTION} characters, this one has {chars}");
            return Err(Failure::invalid("question", message));
        }
        let near = state.meaning.near_question(question).await?.near;
        let notes = state.library.recall(question, &near, MAX_NOTES).await?;
        Ok(Self { question: question.to_owned(), notes })
    }

    /// Returns the answer that needs no model: if no note was found, or if the model cannot read notes.
    pub(super) fn shortcut(&self, state: &AppState) -> Option<&'static str> {
        let demo = state.answers.engine().info().is_ok_and(|info| info.demo);
        if self.notes.is_empty() {
            return Some("Nothing in your videos seems to be about this.");
        }
        demo.then_some("The demo model can't answer from notes. These moments may be related:")
    }

    /// Returns the notes with their numbers.
    pub(super) fn numbered(&self) -> Vec<(usize, Recalled)> {
        (1..).zip(self.notes.iter().cloned()).collect()
    }

    /// Asks the engine.
    pub(super) fn start(&self, state: &AppState) -> Result<AnswerStream, AskError> {
        let notes: Vec<String> = self.notes.iter().enumerate().map(|(at, note)| line(at + 1, note)).collect();
        let prompt =
            format!("{}\n\n{}\n\nQuestion: {}", prompts::ANSWER_FROM_NOTES, notes.join("\n"), self.question);
        let sampling = state.answers.engine().info()?.sampling;
        let mut conversation = Conversation::text(&prompt, sampling);
        conversation.options.max_tokens = Some(MAX_TOKENS);
        state.answers.ask(conversation, Priority::Interactive, state.lifecycle.hard())
    }
}

/// `[3] Birthday.mp4, 2019-06-01, 1:23.0: the girl blows out six candles`, and of speech `…, 1:23.0, somebody says: happy birthday`
fn line(number: usize, note: &Recalled) -> String {
    let day = note.day.map_or_else(|| "date unknown".to_owned(), |day| day.to_string());
    let at = note.start.map_or_else(String::new, |start| format!(", {}", format::position(start)));
    let text: String =
        note.text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_NOTE).collect();
    let said = if note.kind == PieceKind::Speech { ", somebody says" } else { "" };
    format!("[{number}] {}, {day}{at}{said}: {text}", note.name)
}

/// The formatted time of a note; empty if it has none.
pub(super) fn at_of(note: &Recalled) -> String {
    note.start.map(format::position).unwrap_or_default()
}

/// The URL of a note: its second, or its video.
pub(super) fn url_of(note: &Recalled) -> String {
    match note.start {
        Some(start) => format!("/videos/{}?t={}", note.video_id, format::second(start)),
        None => format!("/videos/{}", note.video_id),
    }
}

/// What a page shows of the video of a note.
#[derive(Debug, Clone)]
pub(super) struct NoteVideo {
    /// Its title; empty where the note's text begins with it.
    pub(super) title: String,
    /// URL of the picture at the note's second, else of the video's poster; `None` where there is none yet.
    pub(super) picture: Option<String>,
}

/// Returns what is shown of the video of each note.
pub(super) async fn videos_of(
    state: &AppState,
    notes: &[(usize, Recalled)],
) -> Result<Vec<NoteVideo>, Failure> {
    let ids: Vec<&str> = notes.iter().map(|(_, note)| note.video_id.as_str()).collect();
    let videos = state.library.videos_by_id(&ids).await?;
    let titles = titles(state, videos.values()).await?;
    let mut shown = Vec::with_capacity(notes.len());
    for (_, note) in notes {
        let video = videos.get(&note.video_id);
        let picture = match (video, note.start) {
            (Some(video), Some(start)) => thumbnail::url(state, video, start).await,
            _ => None,
        };
        let title = video.map_or(note.name.as_str(), |video| titles.of(video));
        let title = if note.text.starts_with(title) { String::new() } else { title.to_owned() };
        shown.push(NoteVideo { title, picture: picture.or(video.and_then(views::card_url)) });
    }
    Ok(shown)
}

/// Returns notes as JSON.
pub(super) async fn as_json(state: &AppState, notes: &[(usize, Recalled)]) -> Result<Value, Failure> {
    let videos = videos_of(state, notes).await?;
    let one = |((number, note), video): (&(usize, Recalled), NoteVideo)| {
        json!({
            "number": number, "video": note.video_id, "name": note.name, "title": video.title, "day": note.day,
            "start": note.start, "text": note.text, "at": at_of(note), "url": url_of(note), "picture": video.picture,
        })
    };
    Ok(notes.iter().zip(videos).map(one).collect())
}
