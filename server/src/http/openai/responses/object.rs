//! The response object, from the first event of a stream to the last.

use homereel_engine::{FinishReason, Usage};
use serde_json::{Map, Value, json};

use super::super::convert::ReplyOptions;
use super::super::now_s;
use super::super::reply::{ReplyHead, Totals};
use super::canonical::ItemIds;
use super::error_code;
use super::output::{Change, Output};
use crate::answer::AskEvent;
use crate::http::error::Failure;

/// A response that is being generated.
#[derive(Debug)]
pub(super) struct ResponseBuilder {
    head: ReplyHead,
    /// Parameters that the response repeats.
    echo: Map<String, Value>,
    want: ReplyOptions,
    totals: Totals,
    output: Output,
    finish: Option<FinishReason>,
}

impl ResponseBuilder {
    /// Starts a response; `ids` are those of its output.
    pub(super) fn new(head: ReplyHead, echo: Map<String, Value>, want: ReplyOptions, ids: ItemIds) -> Self {
        Self { head, echo, want, totals: Totals::default(), output: Output::new(ids), finish: None }
    }

    /// Returns the requested form of the reply.
    pub(super) fn want(&self) -> &ReplyOptions {
        &self.want
    }

    /// Adds an event of the answer. Returns the events that it causes.
    pub(super) fn add(&mut self, event: AskEvent) -> Vec<Change> {
        match event {
            AskEvent::Queued { .. } | AskEvent::Progress { .. } => Vec::new(),
            AskEvent::Media(report) => {
                self.totals.media.push(report);
                Vec::new()
            }
            AskEvent::Token { text, id, logprob } => {
                self.output.token(&text, id, logprob.as_ref().filter(|_| self.want.logprobs))
            }
            AskEvent::Delta(delta) => self.output.delta(delta),
            AskEvent::Done(finished) => {
                self.finish = Some(finished.finish_reason);
                self.totals.add(finished);
                self.output.finish(self.is_cut())
            }
        }
    }

    /// Returns the response while it is generated.
    pub(super) fn in_progress(&self) -> Value {
        self.object("in_progress", &Value::Null)
    }

    /// Returns the response after its last event.
    pub(super) fn ended(&self) -> Value {
        self.object(if self.is_cut() { "incomplete" } else { "completed" }, &Value::Null)
    }

    /// Returns the response after an error.
    pub(super) fn failed(&self, failure: &Failure) -> Value {
        let error = json!({ "code": error_code(failure), "message": failure.message });
        self.object("failed", &error)
    }

    /// Notes that the response is not kept, although it should be.
    pub(super) fn is_not_kept(&mut self, why: &str) {
        self.totals.warnings.push(format!("the response is not kept: {why}"));
        self.echo.insert("store".into(), false.into());
    }

    fn is_cut(&self) -> bool {
        self.finish == Some(FinishReason::Length)
    }

    fn object(&self, status: &str, error: &Value) -> Value {
        let ReplyHead { id, created, model } = &self.head;
        let incomplete = (status == "incomplete").then(|| json!({ "reason": "max_output_tokens" }));
        let mut object = json!({
            "id": id, "object": "response", "created_at": created, "status": status, "background": false,
            "completed_at": (status == "completed").then(now_s), "error": error, "incomplete_details": incomplete,
            "model": model, "output": self.output.to_json(),
            "usage": self.finish.map(|_| usage(&self.totals.usage)),
        });
        if let Value::Object(object) = &mut object {
            object.extend(self.echo.clone());
            if status != "in_progress" {
                object.insert("homereel".into(), self.totals.extras(&self.want));
            }
        }
        object
    }
}

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens, "cache_write_tokens": 0 },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}
