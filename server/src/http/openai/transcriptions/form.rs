//! The form of `POST /v1/audio/transcriptions`: a file, streamed to disk, and short fields in any order.

use axum::{
    extract::{FromRequest as _, Multipart, Request, multipart::Field},
    http::header,
};
use futures_util::StreamExt as _;
use homereel_engine::speech::language_code;
use homereel_library::{LibraryError, Sealed};

use super::super::{
    super::{
        error::{Failure, broken_body, shown},
        upload::overhead::{self, Overhead},
    },
    files::form_text,
};
use crate::state::AppState;

/// Values of `response_format`.
pub(in crate::http) const FORMATS: [&str; 5] = ["json", "verbose_json", "text", "srt", "vtt"];

/// Maximum number of fields.
const MAX_FIELDS: usize = 100;

/// Format of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Format {
    #[default]
    Json,
    VerboseJson,
    Text,
    Srt,
    Vtt,
}

/// A form that was received completely.
#[derive(Debug)]
pub(super) struct TranscriptionForm {
    pub(super) content: Sealed,
    pub(super) model: Option<String>,
    /// Code of the language; `None` means that the settings decide.
    pub(super) language: Option<String>,
    pub(super) format: Format,
}

/// Reads the form.
pub(super) async fn read(state: &AppState, request: Request) -> Result<TranscriptionForm, Failure> {
    let limit = state.config.get().max_body_bytes as u64;
    let length = request.headers().get(header::CONTENT_LENGTH);
    let expected: Option<u64> = length.and_then(|value| value.to_str().ok()?.parse().ok());
    if expected.is_some_and(|expected| expected > limit.saturating_add(overhead::MAX_OVERHEAD as u64)) {
        return Err(too_large(limit));
    }
    let count = Overhead::default();
    let request = request.map(|body| count.bound(body));
    let mut form = Multipart::from_request(request, state).await?;
    let (mut content, mut model, mut language, mut format) = (None, None, None, Format::default());
    for _ in 0..MAX_FIELDS {
        let Some(field) = form.next_field().await.map_err(overhead::failure)? else {
            let content = content
                .ok_or_else(|| Failure::invalid("file", "the form has no file; the field file has it"))?;
            return Ok(TranscriptionForm { content, model, language, format });
        };
        count.reset();
        match field.name() {
            Some("file") if content.is_some() => {
                return Err(Failure::invalid("file", "the form has several files; one would fit"));
            }
            Some("file") => content = Some(receive(state, field, limit, &count).await?),
            Some("model") => model = Some(form_text("model", field).await?),
            Some("language") => language = parse_language(&form_text("language", field).await?)?,
            Some("response_format") => format = parse_format(&form_text("response_format", field).await?)?,
            Some("temperature") => check_temperature(&form_text("temperature", field).await?)?,
            Some("stream") => check_stream(&form_text("stream", field).await?)?,
            Some("timestamp_granularities[]" | "timestamp_granularities") => {
                check_granularity(&form_text("timestamp_granularities[]", field).await?)?;
            }
            Some("include[]" | "include") => {
                let message =
                    "include[] is not supported; verbose_json has the mean probability of each segment";
                return Err(Failure::invalid("include[]", message));
            }
            // `prompt` and `chunking_strategy` have no effect: windows do not see the text before them, and sound is always cut
            // at pauses.
            _ => {}
        }
    }
    Err(Failure::invalid("file", format!("the form has more than {MAX_FIELDS} fields")))
}

async fn receive(
    state: &AppState,
    mut field: Field<'_>,
    limit: u64,
    count: &Overhead,
) -> Result<Sealed, Failure> {
    let mut incoming = state.library.incoming_scratch(None, limit).await?;
    while let Some(chunk) = field.next().await {
        count.reset();
        let chunk = chunk.map_err(|error| broken_body(&error, incoming.size()))?;
        incoming.write(&chunk).await.map_err(|error| match error {
            LibraryError::TooLarge { limit } => too_large(limit),
            error => error.into(),
        })?;
    }
    incoming.seal().await.map_err(|error| match error {
        LibraryError::Invalid(_) => Failure::invalid("file", "the file is empty"),
        error => error.into(),
    })
}

fn too_large(limit: u64) -> Failure {
    let message = format!("the file is larger than {limit} bytes, the limit of --max-body-bytes");
    Failure { param: Some("file".into()), ..Failure::too_large(message) }
}

fn parse_language(text: &str) -> Result<Option<String>, Failure> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let code = language_code(text).ok_or_else(|| {
        let message = format!("language is {}; a code such as en, de or yue would fit", shown(text));
        Failure::invalid("language", message)
    })?;
    Ok(Some(code.to_owned()))
}

fn parse_format(text: &str) -> Result<Format, Failure> {
    Ok(match text {
        "json" => Format::Json,
        "verbose_json" => Format::VerboseJson,
        "text" => Format::Text,
        "srt" => Format::Srt,
        "vtt" => Format::Vtt,
        other => {
            let message =
                format!("response_format is {}; one of {} would fit", shown(other), FORMATS.join(", "));
            return Err(Failure::invalid("response_format", message));
        }
    })
}

fn check_temperature(text: &str) -> Result<(), Failure> {
    match text.trim().parse::<f64>() {
        Ok(0.0) => Ok(()),
        _ => {
            let message = format!("temperature is {}; only 0 would fit: the most likely text", shown(text));
            Err(Failure::invalid("temperature", message))
        }
    }
}

fn check_stream(text: &str) -> Result<(), Failure> {
    match text.trim() {
        "" | "false" | "False" | "0" => Ok(()),
        _ => {
            let message =
                format!("stream is {}; only false would fit: transcriptions are not streamed", shown(text));
            Err(Failure::invalid("stream", message))
        }
    }
}

fn check_granularity(text: &str) -> Result<(), Failure> {
    match text.trim() {
        "segment" => Ok(()),
        other => {
            let message = format!(
                "timestamp_granularities[] is {}; only segment would fit: words have no times",
                shown(other)
            );
            Err(Failure::invalid("timestamp_granularities[]", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_do_not_fit_are_named() {
        let param = |failure: Failure| failure.param.unwrap();
        assert_eq!(parse_language("English").unwrap().as_deref(), Some("en"));
        assert_eq!(parse_language("").unwrap(), None);
        assert_eq!(param(parse_language("klingon").unwrap_err()), "language");
        for format in FORMATS {
            parse_format(format).unwrap();
        }
        assert!(parse_format("xml").unwrap_err().message.contains("verbose_json"));
        for fits in ["0", "0.0", " 0 "] {
            check_temperature(fits).unwrap();
        }
        for wrong in ["0.2", "-0.1", "x", ""] {
            assert_eq!(param(check_temperature(wrong).unwrap_err()), "temperature", "{wrong}");
        }
        check_stream("false").unwrap();
        assert_eq!(param(check_stream("true").unwrap_err()), "stream");
        check_granularity("segment").unwrap();
        assert!(check_granularity("word").unwrap_err().message.contains("only segment"));
    }
}
