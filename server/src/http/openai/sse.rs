//! Server-sent events of an answer: progress as comments, which clients ignore, and what a [`Renderer`] makes of the rest.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use homereel_engine::Stage;

use crate::{
    answer::{AnswerStream, AskEvent},
    ask_error::AskError,
};

/// Interval of keep-alives on a silent stream.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long the response head of a stream is held back for the first event.
const PATIENCE: Duration = Duration::from_secs(2);

/// Renders the events of a request's answers.
pub(super) trait Renderer: Send + 'static {
    /// Renders an event of the answer with number `index`.
    fn render(&mut self, index: usize, event: AskEvent) -> Vec<Event>;

    /// Renders an error, after which the stream ends: its status was sent long ago.
    fn fail(&mut self, error: AskError) -> Vec<Event>;

    /// Returns what follows the last answer.
    fn end(&mut self) -> impl Future<Output = Vec<Event>> + Send;
}

/// Waits for the first event, so that an invalid video or a prompt that is too long still gets a 4xx status.
///
/// # Errors
/// When the answer fails before its first event.
pub(super) async fn first_events(answering: &mut AnswerStream) -> Result<Vec<(usize, AskEvent)>, AskError> {
    let mut first = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(PATIENCE, answering.next_of_any()).await {
        let event = event?;
        let probing = matches!(event.1, AskEvent::Progress { stage: Stage::Probe, .. });
        first.push(event);
        if !probing {
            break;
        }
    }
    Ok(first)
}

/// Streams answers, of which the events `first` have arrived. `begin` precedes them.
pub(super) fn stream<R: Renderer>(
    mut renderer: R,
    begin: Vec<Event>,
    first: Vec<(usize, AskEvent)>,
    answering: AnswerStream,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<R>> {
    let mut queue = VecDeque::from(begin);
    queue.extend(first.into_iter().flat_map(|(index, event)| renderer.render(index, event)));
    let events = EventStream { renderer, answering, queue, over: false };
    let events = futures_util::stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok(event), events))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct EventStream<R> {
    renderer: R,
    answering: AnswerStream,
    /// Events to send before the next one is requested.
    queue: VecDeque<Event>,
    over: bool,
}

impl<R: Renderer> EventStream<R> {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            let events = match self.answering.next_of_any().await {
                Some(Ok((index, event))) => self.renderer.render(index, event),
                Some(Err(error)) => {
                    self.over = true;
                    self.renderer.fail(error)
                }
                None => {
                    self.over = true;
                    self.renderer.end().await
                }
            };
            self.queue.extend(events);
        }
    }
}

/// Renders progress as a comment, which `EventSource` and OpenAI clients ignore. `None` means that the event is none.
pub(super) fn progress(event: &AskEvent) -> Option<Event> {
    let text = match event {
        AskEvent::Queued { position } => format!("queued {position}"),
        AskEvent::Progress { stage, done, total } => format!("{} {done}/{total}", stage.as_str()),
        _ => return None,
    };
    Some(Event::default().comment(text))
}
