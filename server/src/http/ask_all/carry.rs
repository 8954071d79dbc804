//! Runs a question about all videos to its end, tells its reader, and stores how it ended.

use homereel_engine::Stage;
use homereel_library::{AnswerStatus, Library};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::notes::QuestionWithNotes;
use crate::{
    answer::{AnswerStream, AskEvent},
    ask_error::AskErrorKind,
    http::error::Failure,
    state::AppState,
};

/// Events that wait for a slow reader.
const WAITING: usize = 256;

/// What a reader is told.
#[derive(Debug)]
pub(super) enum Told {
    /// Requests ahead in the queue.
    Queued(usize),
    Progress {
        stage: Stage,
        done: usize,
        total: usize,
    },
    Token(String),
    /// The end, as fields of the event `done`.
    Done(Value),
    Failed(String),
}

/// Starts to answer a question, and returns the id under which it is kept, if it is. With a reader, the answer stops when the
/// receiver is dropped.
pub(super) async fn start(
    state: &AppState,
    asked: QuestionWithNotes,
    keep: bool,
    with_reader: bool,
) -> Result<(Option<String>, Option<mpsc::Receiver<Told>>), Failure> {
    let shortcut = asked.shortcut(state);
    // Asked before the question is stored: one that is refused leaves no row.
    let answering = match shortcut {
        Some(_) => None,
        None => Some(asked.start(state)?),
    };
    let model = match shortcut {
        Some(_) => None,
        None => state.answers.engine().info().ok().map(|info| info.id),
    };
    let library = state.library.clone();
    let id = match keep {
        true => Some(library.start_question(&asked.question, model.as_deref(), &asked.notes).await?),
        false => None,
    };
    let (sender, receiver) = mpsc::channel(WAITING);
    let reader = with_reader.then_some(sender);
    let stored = Stored { library, id: id.clone() };
    match (answering, shortcut) {
        (Some(answering), _) => {
            tokio::spawn(carry(stored, answering, reader).in_current_span());
        }
        (None, words) => {
            let words = words.unwrap_or_default();
            stored.end(AnswerStatus::Done, words, None).await;
            if let Some(reader) = reader {
                // The channel has room for both.
                let _ = reader.try_send(Told::Token(words.to_owned()));
                let _ = reader.try_send(Told::Done(json!({ "model": null })));
            }
        }
    }
    Ok((id, with_reader.then_some(receiver)))
}

/// Where the answer is stored; nowhere without an id.
struct Stored {
    library: Library,
    id: Option<String>,
}

impl Stored {
    async fn end(&self, status: AnswerStatus, text: &str, error: Option<&str>) {
        let Some(id) = &self.id else { return };
        if let Err(error) = self.library.end_question(id, status, text, error).await {
            tracing::warn!(
                %error,
                question.id = id,
                "failed to store an answer about all videos; the next start of the server marks it as failed"
            );
        }
    }
}

async fn carry(stored: Stored, mut answering: AnswerStream, reader: Option<mpsc::Sender<Told>>) {
    let mut text = String::new();
    loop {
        let event = tokio::select! {
            biased;
            () = gone(reader.as_ref()) => break,
            event = answering.next() => event,
        };
        let told = match event {
            None => break,
            Some(Ok(AskEvent::Media(_) | AskEvent::Delta(_))) => continue,
            Some(Ok(AskEvent::Queued { position })) => Told::Queued(position),
            Some(Ok(AskEvent::Progress { stage, done, total })) => Told::Progress { stage, done, total },
            Some(Ok(AskEvent::Token { text: more, .. })) => {
                text.push_str(&more);
                Told::Token(more)
            }
            Some(Ok(AskEvent::Done(finished))) => {
                // Stored before the reader hears of it, who may open the page of the answer.
                stored.end(AnswerStatus::Done, &text, None).await;
                return tell(reader.as_ref(), Told::Done(json!(finished))).await;
            }
            Some(Err(error)) => {
                let cancelled = error.kind() == AskErrorKind::Cancelled;
                let message = Failure::from(error).message;
                let status = if cancelled { AnswerStatus::Cancelled } else { AnswerStatus::Failed };
                stored.end(status, &text, Some(&message).filter(|_| !cancelled).map(String::as_str)).await;
                return tell(reader.as_ref(), Told::Failed(message)).await;
            }
        };
        tell(reader.as_ref(), told).await;
    }
    // The reader has left.
    drop(answering);
    stored.end(AnswerStatus::Cancelled, &text, None).await;
}

/// Tells the reader, if there is one who still listens.
async fn tell(reader: Option<&mpsc::Sender<Told>>, told: Told) {
    if let Some(reader) = reader {
        let _ = reader.send(told).await;
    }
}

/// Completes when the reader has left; never if there is none.
async fn gone(reader: Option<&mpsc::Sender<Told>>) {
    match reader {
        Some(reader) => reader.closed().await,
        None => std::future::pending().await,
    }
}
