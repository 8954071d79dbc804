//! Maps error responses of a replica to engine errors. The cause is logged; callers get our own message, because vLLM's
//! texts contain paths, addresses and settings.

use serde_json::Value;

use crate::EngineError;

/// Seconds for `Retry-After` where the replica does not send it.
pub(super) const RETRY_AFTER_S: u64 = 5;
/// Longest `Retry-After` that is accepted.
const MAX_RETRY_AFTER_S: u64 = 300;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct AttemptError {
    /// Returned to the caller if no other replica answers.
    pub(super) error: EngineError,
    pub(super) retry: RetryScope,
}

/// Which other replicas a request may be retried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryScope {
    /// None: the request is at fault, or its answer has begun.
    Never,
    /// One at most: the request itself may have crashed the replica.
    Once,
    /// Any: the replica did not start on the request.
    Any,
}

impl AttemptError {
    pub(super) fn never(error: EngineError) -> Self {
        Self { error, retry: RetryScope::Never }
    }

    pub(super) fn once(error: EngineError) -> Self {
        Self { error, retry: RetryScope::Once }
    }
}

/// An error response as received.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    pub(super) status: u16,
    /// `Retry-After`, where it is a number of seconds.
    pub(super) retry_after_s: Option<u64>,
    /// The first bytes of the body.
    pub(super) body: String,
}

/// Parameters that callers can set.
const PARAMETERS: [&str; 23] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "stop_token_ids",
    "max_tokens",
    "top_logprobs",
    "messages",
    "response_format",
    "tools",
    "tool_choice",
    "logit_bias",
    "structured_outputs",
    "min_tokens",
    "allowed_token_ids",
    "bad_words",
    "continue_final_message",
    "chat_template_kwargs",
];

impl ErrorResponse {
    /// Returns whether the replica rejects `media_io_kwargs` or `mm_processor_kwargs` rather than the request.
    pub(super) fn is_about_mm_kwargs(&self) -> bool {
        let named = |name: &str| self.body.contains(name);
        matches!(self.status, 400 | 422) && (named("media_io_kwargs") || named("mm_processor_kwargs"))
    }

    /// Returns whether the replica rejects `priority`: it was started without `--scheduling-policy priority`.
    pub(super) fn is_about_priority(&self) -> bool {
        matches!(self.status, 400 | 422) && self.body.to_ascii_lowercase().contains("priority")
    }

    /// Returns where the request may be retried.
    pub(super) fn retry(&self) -> RetryScope {
        match self.status {
            400 | 413 | 422 => RetryScope::Never,
            // Full, loading, serving another model by now, or refusing our credentials.
            401 | 403 | 404 | 429 | 502..=504 => RetryScope::Any,
            _ => RetryScope::Once,
        }
    }

    /// Returns whether the response concerns the replica's health rather than its load or the request.
    pub(super) fn concerns_health(&self) -> bool {
        !matches!(self.status, 400 | 413 | 422 | 429)
    }

    /// Returns the error for callers; `in_flight` requests are with the replica.
    pub(super) fn into_error(self, in_flight: usize) -> EngineError {
        let Self { status, retry_after_s, body } = self;
        tracing::warn!(
            status,
            body,
            "a replica answered with an error status; will retry on another replica or return the error to the client"
        );
        let json: Option<Value> = serde_json::from_str(&body).ok();
        let error = json.as_ref().map(|json| if json["error"].is_object() { &json["error"] } else { json });
        let message = error.and_then(|error| error["message"].as_str()).unwrap_or_default();
        let retry_after_s = retry_after_s.unwrap_or(RETRY_AFTER_S).clamp(1, MAX_RETRY_AFTER_S);
        match status {
            429 => EngineError::Overloaded { queued: in_flight, retry_after_s },
            503 if message.to_ascii_lowercase().contains("loading") => EngineError::NotReady,
            // vLLM's own 503 means a full queue; a 503 without JSON comes from a proxy in front of it.
            503 if !message.is_empty() => EngineError::Overloaded { queued: in_flight, retry_after_s },
            502..=504 => EngineError::Unavailable { retry_after_s },
            400 | 422 => invalid(message, error.and_then(|error| error["param"].as_str())),
            413 => EngineError::invalid(
                "messages",
                "the pictures have more bytes than the model's server takes; fewer frames (num_frames) would fit",
            ),
            _ => EngineError::Failed(format!("the replica answered {status}: {body}")),
        }
    }
}

fn invalid(message: &str, param: Option<&str>) -> EngineError {
    if let Some((prompt_tokens, context)) = too_long(message) {
        let hint = "fewer frames (num_frames) or a shorter text would fit".to_owned();
        return EngineError::ContextLength { prompt_tokens, context, hint };
    }
    if let Some(limit) = too_many(message) {
        let message =
            format!("the model's server takes at most {limit} in one request; ask about fewer at a time");
        return EngineError::invalid("messages", message);
    }
    if message.contains("tool-call-parser") {
        let message = "the model's server takes no tools; start vLLM with --enable-auto-tool-choice and \
                       --tool-call-parser hermes";
        return EngineError::invalid("tools", message);
    }
    if message.to_ascii_lowercase().contains("grammar") {
        let message =
            "the model's server can't keep to this schema or grammar; the log of this server says why";
        return EngineError::invalid("response_format", message);
    }
    let param = PARAMETERS.into_iter().find(|name| param == Some(name));
    let message = match param {
        Some(name) => format!("the model's server refuses this value of {name}"),
        None => "the model's server refuses this request; the log of this server says why".to_owned(),
    };
    EngineError::Invalid { message, param }
}

/// Parses "1 video" out of vLLM's "At most 1 video(s) may be provided in one prompt."
fn too_many(message: &str) -> Option<String> {
    let (limit, rest) = message.strip_prefix("At most ")?.split_once(' ')?;
    let limit: usize = limit.parse().ok()?;
    let what = ["video", "image"].into_iter().find(|what| rest.starts_with(what))?;
    Some(format!("{limit} {what}{}", if limit == 1 { "" } else { "s" }))
}

/// Parses (prompt tokens, context tokens) out of vLLM's "This model's maximum context length is 4096 tokens. However, your
/// prompt contains at least 4097 input tokens, …".
fn too_long(message: &str) -> Option<(usize, usize)> {
    let rest = message.split_once("maximum context length is ")?.1;
    let number = |text: &str| -> Option<usize> {
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let context = number(rest)?;
    let prompt = rest.split_once("prompt contains").or_else(|| rest.split_once("requested"))?.1;
    // Some versions count characters instead.
    let counted = prompt.find("token").is_some_and(|at| !prompt[..at].contains("character"));
    Some((if counted { number(prompt)? } else { context + 1 }, context))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineErrorKind;

    fn told(status: u16, body: &str) -> EngineError {
        ErrorResponse { status, retry_after_s: Some(7), body: body.into() }.into_error(3)
    }

    #[test]
    fn full_queues_and_loading_models_say_when_to_come_back() {
        assert!(matches!(told(429, ""), EngineError::Overloaded { queued: 3, retry_after_s: 7 }));
        let busy = r#"{"error": {"message": "The engine is currently busy"}}"#;
        assert!(matches!(told(503, busy), EngineError::Overloaded { .. }));
        assert!(matches!(told(503, r#"{"message": "Loading model"}"#), EngineError::NotReady));
        assert!(matches!(told(503, "<html>"), EngineError::Unavailable { retry_after_s: 7 }));
        let refusal = ErrorResponse { status: 429, retry_after_s: None, body: String::new() };
        assert!(matches!(
            refusal.into_error(0),
            EngineError::Overloaded { retry_after_s: RETRY_AFTER_S, .. }
        ));
    }

    #[test]
    fn nothing_of_the_upstreams_text_gets_out() {
        let secret =
            r#"{"error": {"message": "cannot identify <_io.BytesIO object at 0x7a9>", "param": null}}"#;
        let error = told(400, secret);
        assert_eq!(error.kind(), EngineErrorKind::Invalid);
        assert!(!error.to_string().contains("0x7a9"), "{error}");
        let error = told(400, r#"{"error": {"message": "temperature /root", "param": "temperature"}}"#);
        assert!(matches!(&error, EngineError::Invalid { param: Some("temperature"), .. }));
        assert!(!error.to_string().contains("/root"));
        assert_eq!(told(500, "x").kind(), EngineErrorKind::Failed);
        assert_eq!(told(401, "x").kind(), EngineErrorKind::Failed);
    }

    #[test]
    fn a_prompt_that_is_too_long_tells_the_numbers() {
        let tokens = "This model's maximum context length is 4096 tokens. However, your prompt contains at least \
                      4097 input tokens, which exceeds this limit even without any output tokens.";
        assert_eq!(too_long(tokens), Some((4097, 4096)));
        let characters = "This model's maximum context length is 4096 tokens. However, your prompt contains 90000 \
                          characters (more than 80000 characters, which is the upper bound for 4096 input tokens).";
        assert_eq!(too_long(characters), Some((4097, 4096)));
        assert_eq!(too_long("something else"), None);
    }

    #[test]
    fn too_many_videos_tell_how_many_would_fit() {
        let text =
            r#"{"error": {"message": "At most 1 video(s) may be provided in one prompt.", "param": null}}"#;
        assert!(told(400, text).to_string().contains("at most 1 video in one request"));
        assert_eq!(too_many("At most 4 image(s) may be provided in one prompt."), Some("4 images".into()));
        assert_eq!(too_many("At most /etc/secret"), None);
    }

    #[test]
    fn tools_and_schemas_that_it_does_not_take_are_told() {
        let told = |message: &str| told(400, &format!(r#"{{"error": {{"message": "{message}"}}}}"#));
        let tools =
            told("auto tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set");
        assert!(matches!(&tools, EngineError::Invalid { param: Some("tools"), .. }), "{tools}");
        let schema = told("Grammar error: Invalid type: /root");
        assert!(matches!(&schema, EngineError::Invalid { param: Some("response_format"), .. }), "{schema}");
        assert!(!schema.to_string().contains("/root"));
    }

    #[test]
    fn refused_settings_are_recognised() {
        let text = r#"{"error": {"message": "Per-request media_io_kwargs are disabled by default"}}"#;
        let refusal = |status, body: &str| ErrorResponse { status, retry_after_s: None, body: body.into() };
        assert!(refusal(400, text).is_about_mm_kwargs());
        assert!(!refusal(500, text).is_about_mm_kwargs());
        assert!(!refusal(400, "temperature").is_about_mm_kwargs());
    }
}
