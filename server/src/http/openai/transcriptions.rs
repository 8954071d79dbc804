//! `POST /v1/audio/transcriptions`: transcribes a file with sound, in OpenAI's format. Nothing of it is stored. The work stops when
//! the client leaves, because it is done in the handler.

mod form;
mod reply;

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use homereel_engine::speech::TranscribeOptions;
use homereel_library::MAX_LINES;

use super::super::{
    error::{Failure, OpenAiError, shown},
    transcripts::SWITCH_ON,
};
use crate::{
    ask_error::AskError,
    media::Source,
    speech::{self, SpeechService, SpeechUse},
    state::AppState,
};
pub(in crate::http) use form::FORMATS;
use form::TranscriptionForm;
use reply::Heard;

/// Timeout of a transcription.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// `POST /v1/audio/transcriptions`.
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, OpenAiError> {
    super::refuse_encoded(request.headers())?;
    let Some(speech) = &state.speech else {
        return Err(Failure { code: "speech_off", ..Failure::not_found(SWITCH_ON) }.into());
    };
    let _permit = state.answers.admit()?;
    let form = form::read(&state, request).await?;
    check_model(form.model.as_deref(), speech)?;
    let work = transcribed(&state, speech, &form);
    let heard = tokio::time::timeout(TIMEOUT, work).await.map_err(|_| {
        let message = format!("the transcription took longer than {} s", TIMEOUT.as_secs());
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "timed_out", message)
    })?;
    Ok(reply::reply(form.format, &heard.map_err(located)?))
}

/// Transcribes the file of a form.
async fn transcribed(
    state: &AppState,
    speech: &SpeechService,
    form: &TranscriptionForm,
) -> Result<Heard, AskError> {
    let cancel = state.lifecycle.hard().child_token();
    let _guard = cancel.clone().drop_guard();
    let source = Source::file(form.content.path().to_owned(), None);
    let samples = state.answers.media().sound(&source, TIMEOUT, &cancel).await?;
    let language = form.language.clone().or_else(|| speech.language().map(str::to_owned));
    let options = TranscribeOptions { start_s: 0.0, language: language.clone() };
    let mut heard = Heard { language, ..Heard::default() };
    let most = usize::try_from(MAX_LINES).unwrap_or(usize::MAX);
    speech
        .transcribe(speech::stream_of(samples), options, SpeechUse::Request, |progress| {
            let room = most.saturating_sub(heard.segments.len());
            heard.segments.extend(progress.segments.iter().take(room).cloned());
            heard.duration_s = progress.position_s;
            heard.language = progress.language.map(str::to_owned).or_else(|| heard.language.take());
        })
        .await?;
    Ok(heard)
}

/// A missing name matches.
fn check_model(asked: Option<&str>, speech: &SpeechService) -> Result<(), Failure> {
    match asked {
        Some(asked) if !asked.is_empty() && asked != speech.name() => {
            let message = format!(
                "the model {} is not loaded; this server transcribes with {}",
                shown(asked),
                speech.name()
            );
            let failure = Failure::not_found(message);
            Err(Failure { code: "model_not_found", param: Some("model".into()), ..failure })
        }
        _ => Ok(()),
    }
}

/// Names the parameter that an error is about.
fn located(error: AskError) -> Failure {
    let is_about_file = matches!(error, AskError::Video(_));
    let failure = Failure::from(error);
    let param = match failure.param {
        _ if is_about_file && failure.status.is_client_error() => Some("file".into()),
        param => param,
    };
    Failure { param, ..failure }
}
