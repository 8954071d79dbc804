//! Sends a response: whole, or as OpenAI's events. A response that is kept is durable before its end is sent.

use axum::response::sse::Event;
use homereel_library::LibraryError;
use serde_json::{Value, json};

use super::super::sse::{Renderer, progress};
use super::{located, object::ResponseBuilder, output::Change, record::Record};
use crate::{
    answer::{AnswerStream, AskEvent},
    ask_error::AskError,
    http::error::Failure,
};

/// Waits for the end of the answer and returns the response.
pub(super) async fn whole(
    mut builder: ResponseBuilder,
    record: Option<Record>,
    mut answering: AnswerStream,
) -> Result<Value, Failure> {
    while let Some(event) = answering.next().await {
        builder.add(event.map_err(|error| located(error, &builder))?);
    }
    Ok(end(&mut builder, record).await)
}

/// Returns the finished response, after it was stored where it is to be kept.
async fn end(builder: &mut ResponseBuilder, record: Option<Record>) -> Value {
    let object = builder.ended();
    let Some(record) = record else { return object };
    match record.store(&object).await {
        Ok(()) => object,
        // The answer is worth more than a follow-up.
        Err(error) => {
            let why = match &error {
                LibraryError::TooLarge { limit } => {
                    format!("its conversation has more than {limit} bytes, the limit of one caller")
                }
                LibraryError::NoSpace { .. } | LibraryError::OverQuota { .. } | LibraryError::DiskFull => {
                    "there is no space for it".to_owned()
                }
                error => {
                    tracing::error!(%error, "failed to keep a response; its client cannot continue from it");
                    "internal error; the server's log has the cause".to_owned()
                }
            };
            builder.is_not_kept(&why);
            builder.ended()
        }
    }
}

/// Renders a response as OpenAI's events.
pub(super) struct ResponseRenderer {
    builder: ResponseBuilder,
    record: Option<Record>,
    /// Number of the next event.
    next: u64,
}

impl ResponseRenderer {
    /// Starts a stream. Returns also the events that precede the answer.
    pub(super) fn new(builder: ResponseBuilder, record: Option<Record>) -> (Self, Vec<Event>) {
        let mut renderer = Self { builder, record, next: 0 };
        let response = json!({ "response": renderer.builder.in_progress() });
        let begin = [("response.created", response.clone()), ("response.in_progress", response)];
        let begin = begin.into_iter().map(|change| renderer.event(change)).collect();
        (renderer, begin)
    }

    fn event(&mut self, (name, mut fields): Change) -> Event {
        let mut data = json!({ "type": name, "sequence_number": self.next });
        self.next += 1;
        if let (Value::Object(data), Value::Object(fields)) = (&mut data, &mut fields) {
            data.append(fields);
        }
        Event::default().event(name).data(data.to_string())
    }
}

impl Renderer for ResponseRenderer {
    fn render(&mut self, _: usize, event: AskEvent) -> Vec<Event> {
        if let Some(comment) = progress(&event) {
            return vec![comment];
        }
        let changes = self.builder.add(event);
        changes.into_iter().map(|change| self.event(change)).collect()
    }

    fn fail(&mut self, error: AskError) -> Vec<Event> {
        let failure = located(error, &self.builder);
        let Failure { code, message, param, .. } = &failure;
        let error = json!({ "code": code, "message": message, "param": param });
        let failed = json!({ "response": self.builder.failed(&failure) });
        let changes = [("error", error), ("response.failed", failed)];
        changes.into_iter().map(|change| self.event(change)).collect()
    }

    async fn end(&mut self) -> Vec<Event> {
        let response = end(&mut self.builder, self.record.take()).await;
        let name =
            if response["status"] == "incomplete" { "response.incomplete" } else { "response.completed" };
        vec![self.event((name, json!({ "response": response })))]
    }
}
