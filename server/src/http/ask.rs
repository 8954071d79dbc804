//! `POST /api/videos/{id}/ask`: a question about one video, answered with server-sent events, or, for a form
//! without JavaScript, with the page that shows the answer.
//!
//! The answer is stored in the library from the start: a separate task runs it to its end and stores the
//! result. **Invariant:** that task stops when the reader of its events leaves.

use std::{convert::Infallible, time::Duration};

use axum::{
    Form, Json,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
    response::{
        IntoResponse, Redirect, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use homereel_engine::VideoBudget;
use homereel_library::{AnswerEnd, AnswerStatus, Change, Library, NewAnswer};
use homereel_video::FrameSampling;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tracing::Instrument as _;

use super::{
    error::{Failure, Problem},
    extract::Path,
    html::{self, PageContext},
    neighbours::Origin,
    pages::reading::page_budget,
};
use crate::{
    answer::{AnswerStream, AskEvent, Conversation, EstimateLimits, Finished, Piece, Priority},
    ask_error::AskError,
    media::{ClipRequest, MediaReport, Source},
    prompts, said,
    state::AppState,
};

/// Maximum number of characters of a question.
const MAX_QUESTION: usize = 2000;

/// Capacity of the channel between the task and its reader.
const EVENTS: usize = 64;

/// How long a form waits for its answer before it gets the page, which reloads itself.
const FORM_PATIENCE: Duration = Duration::from_secs(25);

/// A question; the other fields are those of `/v1/chat/completions`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VideoQuestion {
    question: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    num_frames: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<f64>,
    /// `None` means [`page_budget`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cap_pixels_per_frame: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_tokens: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

/// Event for a client that follows an answer.
enum ClientEvent {
    Event(AskEvent),
    Failed(String),
}

/// `POST /api/videos/{id}/ask`
pub(super) async fn ask(
    cx: PageContext,
    origin: Origin,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if is_form {
        return html::or_error(&cx, by_form(&cx.state, &id, &origin, request).await);
    }
    by_events(&cx.state, &id, request).await.map_err(Problem).into_response()
}

/// Answers with server-sent events.
async fn by_events(state: &AppState, id: &str, request: Request) -> Result<Response, Failure> {
    let Json(question) = Json::from_request(request, state).await?;
    let (sender, receiver) = mpsc::channel(EVENTS);
    let answer_id = start(state, id, question, Some(sender)).await?;
    let asked = event("asked", &json!({"id": answer_id}));
    let events = ReceiverStream::new(receiver).map(move |told| render(&answer_id, &told));
    let events = tokio_stream::once(asked).chain(events).map(Ok::<_, Infallible>);
    // Keeps proxies from buffering the stream.
    let headers = [("x-accel-buffering", "no"), ("cache-control", "no-store")];
    Ok((headers, Sse::new(events).keep_alive(KeepAlive::default())).into_response())
}

/// Answers a form: waits a while for the result, then redirects to the page, which shows a finished or a
/// running answer.
async fn by_form(state: &AppState, id: &str, origin: &Origin, request: Request) -> Result<Response, Failure> {
    let Form(fields) = Form::<Vec<(String, String)>>::from_request(request, state).await?;
    let question = from_fields(fields)?;
    let (sender, mut receiver) = mpsc::channel(EVENTS);
    let answer_id = start(state, id, question, Some(sender)).await?;
    let mut wait = tokio::task::spawn(async move { while receiver.recv().await.is_some() {} });
    // The wait continues in the background; the page polls for the result.
    let _ = tokio::time::timeout(FORM_PATIENCE, &mut wait).await;
    Ok(Redirect::to(&format!("{}#answer-{answer_id}", origin.url_of(id))).into_response())
}

/// Parses a form, in which empty fields count as missing.
fn from_fields(fields: Vec<(String, String)>) -> Result<VideoQuestion, Failure> {
    let mut object = serde_json::Map::new();
    for (name, value) in fields {
        if name != "question" && value.trim().is_empty() {
            continue;
        }
        // All other fields are numbers or Booleans.
        let parsed = (name != "question").then(|| serde_json::from_str(value.trim()).ok()).flatten();
        object.insert(name, parsed.unwrap_or(Value::String(value)));
    }
    serde_json::from_value(Value::Object(object)).map_err(|error| {
        Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_form",
            format!("the form is invalid: {error}"),
        )
    })
}

/// Stores the question, starts the work and returns the answer's id.
async fn start(
    state: &AppState,
    id: &str,
    question: VideoQuestion,
    reader: Option<mpsc::Sender<ClientEvent>>,
) -> Result<String, Failure> {
    let text = question.question.trim();
    if text.is_empty() || text.chars().count() > MAX_QUESTION {
        return Err(Failure::invalid(
            "question",
            format!("a question has 1 to {MAX_QUESTION} characters, this one has {}", text.chars().count()),
        ));
    }
    let video = state.library.video(id).await?;
    if let Some(error) = &video.error {
        return Err(Failure::new(
            StatusCode::CONFLICT,
            "unreadable",
            format!("this video cannot be read: {error}"),
        ));
    }
    let info = state.answers.engine().info().map_err(AskError::from)?;
    let frames = FrameSampling {
        fps: question.fps,
        num_frames: question.num_frames,
        start: question.start,
        end: question.end,
    };
    let budget = match question.cap_pixels_per_frame {
        Some(true) => VideoBudget::Capped,
        Some(false) => VideoBudget::Full,
        None => page_budget(&info, &state.config.get()),
    };
    let frames = ClipRequest { sampling: frames, budget, background: false };
    let room = said::budget(&info);
    let mut sampling = info.sampling;
    sampling.temperature = question.temperature.unwrap_or(sampling.temperature);
    sampling.seed = question.seed.or(sampling.seed);
    let source = Source::file(state.library.original_path(&video.sha256), Some(video.sha256.clone()));
    let mut conversation = Conversation::about(source, frames, text, sampling);
    conversation.options.max_tokens = question.max_tokens;
    if !info.demo {
        let until = question.end.unwrap_or(f64::INFINITY);
        let place = (question.start.unwrap_or(0.0), until);
        let said = said::said(&state.library, &video.id, place, text, room).await?;
        conversation = with_speech(state, conversation, said).await;
    }
    let mut settings = serde_json::to_value(&question).map_err(Failure::internal)?;
    if let Value::Object(settings) = &mut settings {
        settings.remove("question");
    }
    // Checked before the question is stored: one that is refused leaves no row.
    let answering = state.answers.ask(conversation, Priority::Interactive, state.lifecycle.hard())?;
    let new = NewAnswer { video_id: video.id.clone(), question: text.to_owned(), model: info.id, settings };
    let answer_id = state.library.start_answer(&new).await?;
    let stored = StoredAnswer { library: state.library.clone(), id: answer_id.clone(), video_id: video.id };
    tokio::spawn(carry(stored, answering, reader).in_current_span());
    Ok(answer_id)
}

/// Puts what is said in the video before the question, if the prompt still fits the model's context.
async fn with_speech(state: &AppState, conversation: Conversation, said: Option<String>) -> Conversation {
    let Some(said) = said else { return conversation };
    let mut longer = conversation.clone();
    for turn in &mut longer.turns {
        let question = turn.content.len().saturating_sub(1);
        turn.content.insert(question, Piece::Text(format!("{said}\n\n{}\n", prompts::QUESTION_WITH_SPEECH)));
    }
    let limits = EstimateLimits::default();
    match state.answers.estimate(&longer, limits, state.lifecycle.hard()).await {
        Ok(estimate) if estimate.fits => longer,
        // Frames come first. An error is that of the question, too, which reports it.
        Ok(_) | Err(_) => conversation,
    }
}

/// A stored answer that waits for its result.
struct StoredAnswer {
    library: Library,
    id: String,
    video_id: String,
}

impl StoredAnswer {
    async fn end(&self, end: AnswerEnd) {
        if let Err(error) = self.library.end_answer(&self.id, &end).await {
            tracing::warn!(
                %error,
                answer.id = self.id,
                video.id = self.video_id,
                "failed to store an answer to a question; the next start of the server marks it as failed"
            );
        }
        self.library.announce(Change::Video { id: self.video_id.clone() });
    }
}

/// Runs an answer to its end, forwards its events to the reader, and stores how it ended.
async fn carry(stored: StoredAnswer, mut answering: AnswerStream, reader: Option<mpsc::Sender<ClientEvent>>) {
    let mut text = String::new();
    let mut media: Option<MediaReport> = None;
    let mut finished: Option<Finished> = None;
    let mut failure: Option<String> = None;
    let mut cancelled = false;
    loop {
        let event = tokio::select! {
            biased;
            () = gone(reader.as_ref()) => { cancelled = true; break }
            event = answering.next() => event,
        };
        let told = match event {
            None => break,
            Some(Ok(event)) => {
                match &event {
                    AskEvent::Token { text: more, .. } => text.push_str(more),
                    AskEvent::Media(report) => media = Some(report.clone()),
                    AskEvent::Done(done) => finished = Some(done.clone()),
                    AskEvent::Queued { .. } | AskEvent::Progress { .. } | AskEvent::Delta(_) => {}
                }
                ClientEvent::Event(event)
            }
            Some(Err(error)) => {
                cancelled = error.kind() == crate::ask_error::AskErrorKind::Cancelled;
                failure = Some(Failure::from(error).message);
                ClientEvent::Failed(failure.clone().unwrap_or_default())
            }
        };
        // Stored before the final event is sent: a client that reads `done` finds the answer in the library.
        let last = finished.is_some() || failure.is_some();
        if last {
            stored.end(end(&text, media.as_ref(), finished.as_ref(), failure.clone(), cancelled)).await;
        }
        if let Some(reader) = &reader
            && reader.send(told).await.is_err()
            && !last
        {
            cancelled = true;
            break;
        }
        if last {
            return;
        }
    }
    drop(answering);
    stored.end(end(&text, media.as_ref(), None, None, cancelled)).await;
}

/// Completes when the reader has left; never if there is no reader.
async fn gone(reader: Option<&mpsc::Sender<ClientEvent>>) {
    match reader {
        Some(reader) => reader.closed().await,
        None => std::future::pending().await,
    }
}

fn end(
    text: &str,
    media: Option<&MediaReport>,
    finished: Option<&Finished>,
    failure: Option<String>,
    cancelled: bool,
) -> AnswerEnd {
    let value = |value: Option<Value>| value.filter(|value| !value.is_null());
    AnswerEnd {
        status: match finished {
            Some(_) => AnswerStatus::Done,
            None if cancelled => AnswerStatus::Cancelled,
            None => AnswerStatus::Failed,
        },
        answer: text.to_owned(),
        error: failure.filter(|_| !cancelled),
        finish_reason: finished
            .and_then(|done| serde_json::to_value(done.finish_reason).ok()?.as_str().map(str::to_owned)),
        usage: value(finished.and_then(|done| serde_json::to_value(done.usage).ok())),
        stages_ms: value(finished.and_then(|done| serde_json::to_value(done.stages_ms).ok())),
        media: value(media.and_then(|media| serde_json::to_value(media).ok())),
    }
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

fn render(id: &str, told: &ClientEvent) -> Event {
    match told {
        ClientEvent::Event(AskEvent::Queued { position }) => event("queued", &json!({"position": position})),
        ClientEvent::Event(AskEvent::Progress { stage, done, total }) => {
            event("progress", &json!({"stage": stage, "done": done, "total": total}))
        }
        ClientEvent::Event(AskEvent::Media(report)) => event("media", &json!(report)),
        ClientEvent::Event(AskEvent::Token { text, .. }) => event("token", &json!({"text": text})),
        ClientEvent::Event(AskEvent::Delta(besides)) => event("delta", &json!(besides)),
        ClientEvent::Event(AskEvent::Done(finished)) => {
            let mut data = json!(finished);
            data["id"] = json!(id);
            event("done", &data)
        }
        ClientEvent::Failed(detail) => event("error", &json!({"id": id, "detail": detail})),
    }
}
