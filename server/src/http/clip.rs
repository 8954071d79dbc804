//! `GET /api/videos/{id}/clip.mp4`: a part of a video as an MP4 of its own.
//!
//! The original is copied without encoding it again where it has a key frame nearby and codecs that an MP4 holds; else the
//! rendition is copied; else the part is encoded. It is written to a file without a name, so that its length is known before it
//! is sent and nothing stays behind when the client leaves.

use std::{fs::File, io::Seek as _};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use homereel_library::{LibraryError, Video};
use homereel_video::{Cut, Probe, Span};
use homereel_web::format;
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::{
    error::{Failure, Problem},
    extract::{Path, Query},
    files::disposition,
};
use crate::{ask_error::AskError, file_name::of_part, media::Source, state::AppState};

/// Seconds of a part, at least and at most.
const LENGTHS: (f64, f64) = (0.1, 600.0);

/// Seconds by which an end may lie behind that of the video: positions on pages are rounded.
const BEYOND: f64 = 0.1;

/// Bytes per second of an encoded part at most, slightly above the encoder's own limits.
const ENCODED_RATE: f64 = 1.5e6;

/// Bytes beside pictures and sound, at most.
const OVERHEAD: u64 = 8 << 20;

/// How the part was made: `copied` or `encoded`.
const MADE: HeaderName = HeaderName::from_static("homereel-clip");

/// Which part.
#[derive(Debug, Deserialize)]
pub(super) struct ClipQuery {
    start: f64,
    end: f64,
    /// Any value but `0` saves the file instead of playing it.
    download: Option<String>,
}

/// `GET /api/videos/{id}/clip.mp4?start=SECONDS&end=SECONDS`
pub(super) async fn clip(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<ClipQuery>,
) -> Result<Response, Problem> {
    let video = state.library.video(&id).await?;
    if let Some(error) = &video.error {
        let message = format!("this video cannot be read: {error}");
        return Err(Failure::new(StatusCode::CONFLICT, "unreadable", message).into());
    }
    let original = Source::file(state.library.original_path(&video.sha256), Some(video.sha256.clone()));
    let probe = state.answers.media().probe(&original, state.lifecycle.hard()).await?;
    let span = span(&query, probe.duration_s)?;
    let (file, made) = part(&state, &video, &original, &probe, span).await?;
    let length = file.metadata().map_err(Failure::internal)?.len();
    let body = Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file), 64 << 10));
    let part = format!("{}-{}", format::position(span.start_s), format::position(span.end_s));
    let day = video.taken.as_ref().map(|taken| taken.local.date());
    let kind = if query.download.is_some_and(|value| value != "0") { "attachment" } else { "inline" };
    let name = disposition(kind, &of_part(&video.name, day, &part, "mp4"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("video/mp4")),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (MADE, HeaderValue::from_static(made)),
    ];
    let mut response = (headers, body).into_response();
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// Validates the part of a video of `duration_s` seconds.
fn span(query: &ClipQuery, duration_s: f64) -> Result<Span, Failure> {
    let (start_s, end_s) = (query.start, query.end);
    if !(0.0..duration_s).contains(&start_s) {
        let message = format!("start is {start_s}; 0 to {duration_s:.3} (seconds) would fit");
        return Err(Failure::invalid("start", message));
    }
    if !(start_s..=duration_s + BEYOND).contains(&end_s) {
        let message = format!("end is {end_s}; {start_s} to {duration_s:.3} (seconds) would fit");
        return Err(Failure::invalid("end", message));
    }
    let end_s = end_s.min(duration_s);
    let (least, most) = LENGTHS;
    // A video may be shorter than the shortest part.
    if end_s - start_s < least.min(duration_s) - 1e-6 || end_s - start_s > most {
        let message = format!("the part has {:.3} seconds; {least} to {most} would fit", end_s - start_s);
        return Err(Failure::invalid("end", message));
    }
    Ok(Span { start_s, end_s })
}

/// Makes the part and returns its file, and how it was made.
async fn part(
    state: &AppState,
    video: &Video,
    original: &Source,
    probe: &Probe,
    span: Span,
) -> Result<(File, &'static str), Failure> {
    match Cut::of(probe, span) {
        Ok(cut) => match copied(state, video, original, probe, cut).await {
            Ok(file) => return Ok((file, "copied")),
            Err(error) => proceed(video, error)?,
        },
        Err(reason) => tracing::debug!(video.id, reason, "the original of a part cannot be copied"),
    }
    let path = state.library.rendition_path(&video.sha256);
    if path.exists() {
        let rendition = Source::file(path, None);
        let own = state.answers.media().probe(&rendition, state.lifecycle.hard()).await?;
        if let Ok(cut) = Cut::of(&own, span) {
            match copied(state, video, &rendition, &own, cut).await {
                Ok(file) => return Ok((file, "copied")),
                Err(error) => proceed(video, error)?,
            }
        }
    }
    let most = OVERHEAD + ((span.end_s - span.start_s) * ENCODED_RATE) as u64;
    let file = state.library.unnamed_file(most).await?;
    let out = file.try_clone().map_err(LibraryError::from)?;
    let cancel = state.lifecycle.hard();
    match state.answers.media().encode_part(original, probe, span, out, most, cancel).await {
        Ok(_) => Ok((rewound(file)?, "encoded")),
        Err(error) => Err(full_or(state, error)),
    }
}

/// Copies a part of a file.
async fn copied(
    state: &AppState,
    video: &Video,
    source: &Source,
    probe: &Probe,
    cut: Cut,
) -> Result<File, Failure> {
    // Twice the average, because parts may be busier than the rest.
    let share = 2.0 * video.size as f64 * (cut.seconds() + 1.0) / probe.duration_s.max(0.1);
    let most = video.size.saturating_mul(2) + OVERHEAD;
    let file = state.library.unnamed_file((share as u64 + OVERHEAD).min(most)).await?;
    let out = file.try_clone().map_err(LibraryError::from)?;
    let cancel = state.lifecycle.hard();
    match state.answers.media().copy_part(source, cut, out, most, cancel).await {
        Ok(_) => rewound(file),
        Err(error) => Err(full_or(state, error)),
    }
}

/// Returns the failure if there is no other way to make the part: the disk is full, or the server stops.
fn proceed(video: &Video, failure: Failure) -> Result<(), Failure> {
    if matches!(failure.code, "no_space" | "cancelled") {
        return Err(failure);
    }
    tracing::warn!(
        video.id,
        error = failure.message,
        "failed to copy a part of a video; another way is tried"
    );
    Ok(())
}

/// Returns that the disk is full if it is, whatever error the worker reports.
fn full_or(state: &AppState, error: AskError) -> Failure {
    match state.library.check_disk(0) {
        Err(full) => full.into(),
        Ok(()) => error.into(),
    }
}

fn rewound(mut file: File) -> Result<File, Failure> {
    file.rewind().map_err(LibraryError::from)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_within_the_video_and_have_a_length() {
        let ask = |start, end| span(&ClipQuery { start, end, download: None }, 700.0);
        assert_eq!(ask(1.0, 2.5).unwrap(), Span { start_s: 1.0, end_s: 2.5 });
        assert_eq!(ask(650.0, 700.05).unwrap().end_s, 700.0, "rounded");
        for (start, end, param, words) in [
            (-1.0, 2.0, "start", "start is -1; 0 to 700.000"),
            (f64::NAN, 2.0, "start", "start is NaN"),
            (700.0, 700.0, "start", "start is 700"),
            (5.0, 4.0, "end", "end is 4; 5 to 700.000"),
            (5.0, f64::INFINITY, "end", "end is inf"),
            (5.0, 5.05, "end", "the part has 0.050 seconds; 0.1 to 600 would fit"),
            (0.0, 601.0, "end", "the part has 601.000 seconds"),
        ] {
            let failure = ask(start, end).unwrap_err();
            assert_eq!(failure.param.as_deref(), Some(param), "{start} {end}");
            assert!(failure.message.contains(words), "{}", failure.message);
        }
        let short = ClipQuery { start: 0.0, end: 0.04, download: None };
        assert!(span(&short, 0.04).is_ok(), "the whole of a single picture");
    }
}
