//! What is said, on the page of a video: one page of lines, those that contain certain words, or the reason why there are none.

use homereel_library::{Transcript, TranscriptLine, TranscriptState, Video};
use homereel_web::{
    Words, format,
    views::{LineView, TranscriptView},
};

use super::video::VideoQuery;
use crate::{http::error::Failure, state::AppState};

/// Lines of one page.
pub(in crate::http) const LINES: u64 = 60;

/// Maximum number of lines that a search within a video shows.
const MAX_FOUND: u64 = 60;

/// Maximum number of characters of a line that a page shows.
const SHOWN_CHARS: usize = 300;

/// Returns what a page shows of the transcript of a video; `None` where there is none and nothing transcribes.
pub(super) async fn view(
    words: &Words,
    state: &AppState,
    video: &Video,
    query: &VideoQuery,
    second: Option<f64>,
) -> Result<Option<TranscriptView>, Failure> {
    let (library, id) = (&state.library, &video.id);
    let transcript = library.transcript(id).await?;
    let is_on = state.speech.is_some();
    let Some(transcript) = transcript else {
        let waits = is_on && library.transcript_progress(id).await?.is_going_on;
        let note = words.t(if waits { "transcript-soon" } else { "transcript-none" });
        let view = TranscriptView { note, can_repeat: is_on && !waits, ..TranscriptView::default() };
        return Ok(is_on.then_some(view));
    };
    let is_going_on = library.transcript_progress(id).await?.is_going_on;
    let mut view = TranscriptView {
        note: note(
            words,
            &transcript,
            is_going_on,
            video.probe.as_ref().map_or(0.0, |probe| probe.duration_s),
        ),
        has_lines: transcript.line_count > 0,
        model: transcript.model.clone(),
        can_repeat: is_on && !is_going_on,
        ..TranscriptView::default()
    };
    if let Some(wanted) = query.said.as_deref().map(str::trim).filter(|wanted| !wanted.is_empty()) {
        let wanted: String = wanted.chars().take(200).collect();
        let found = library.transcript_lines_with(id, &wanted, MAX_FOUND).await?;
        if found.is_empty() {
            view.note = words.t("transcript-not-found");
        }
        view.here = "lines=0".into();
        view.lines = found.iter().map(line).collect();
        view.wanted = wanted;
        return Ok(Some(view));
    }
    let first = match (query.lines, second) {
        (Some(first), _) => first,
        (None, Some(second)) => library.transcript_line_at(id, second).await?,
        (None, None) => 0,
    };
    let first = first.min(transcript.line_count.saturating_sub(1)) / LINES * LINES;
    // One more than shown, whose start is the end of the page.
    let mut lines = library.transcript_lines(id, first, LINES + 1).await?;
    let next = (lines.len() as u64 > LINES).then(|| lines.pop()).flatten();
    let url = |first: u64| format!("/videos/{id}?lines={first}#transcript");
    let from = if first == 0 { 0.0 } else { lines.first().map_or(0.0, |line| line.start) };
    let until = next.as_ref().map_or_else(|| "Infinity".to_owned(), |line| format::second(line.start));
    view.span = Some((format::second(from), until));
    view.here = format!("lines={first}");
    view.earlier = (first > 0).then(|| url(first - LINES));
    view.later = next.map(|_| url(first + LINES));
    view.edited = match query.edit {
        Some(index) => library.transcript_lines(id, index, 1).await?.first().map(whole_line),
        None => None,
    };
    view.lines = lines.iter().map(line).collect();
    Ok(Some(view))
}

/// Returns the URL of the captions of a video, which changes with the number of lines, and their language.
pub(super) async fn captions(state: &AppState, id: &str) -> Result<Option<(String, String)>, Failure> {
    let transcript = state.library.transcript(id).await?.filter(|transcript| transcript.line_count > 0);
    Ok(transcript.map(|transcript| {
        let url = format!("/api/videos/{id}/transcript.vtt?v={}", transcript.line_count);
        (url, transcript.language.unwrap_or_else(|| "und".into()))
    }))
}

fn note(words: &Words, transcript: &Transcript, is_going_on: bool, duration_s: f64) -> String {
    let clock = |seconds: f64| format::clock(seconds.max(0.0).round() as u64);
    let (at, length) = (clock(transcript.position.min(duration_s)), clock(duration_s));
    let so_far = [("at", at.as_str()), ("length", length.as_str())];
    match transcript.state {
        TranscriptState::Listening if is_going_on => words.with("transcript-listening", &so_far),
        TranscriptState::Listening => words.with("transcript-up-to", &so_far),
        TranscriptState::Failed => match &transcript.error {
            Some(reason) => words.with("transcript-failed", &[("at", &at), ("reason", reason)]),
            None => words.with("transcript-failed-unknown", &[("at", &at)]),
        },
        TranscriptState::Done => match &transcript.note {
            Some(note) => note.clone(),
            None if transcript.line_count == 0 => words.t("transcript-silent"),
            None => String::new(),
        },
    }
}

fn line(line: &TranscriptLine) -> LineView {
    let mut view = whole_line(line);
    if let Some((end, _)) = view.text.char_indices().nth(SHOWN_CHARS) {
        view.text.truncate(end);
        view.text.push('…');
    }
    view
}

fn whole_line(line: &TranscriptLine) -> LineView {
    LineView {
        index: line.index,
        start: format::second(line.start),
        at: format::position(line.start),
        text: line.text.clone(),
        by_hand: line.edited_ms.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_say_how_far_it_is_and_why_there_is_nothing() {
        let listening = Transcript {
            state: TranscriptState::Listening,
            position: 750.0,
            line_count: 3,
            language: None,
            model: "tiny".into(),
            note: None,
            error: None,
            created_ms: 0,
            done_ms: None,
        };
        assert_eq!(note(Words::english(), &listening, true, 2700.0), "Listening… 12:30 of 45:00");
        assert_eq!(note(Words::english(), &listening, false, 2700.0), "Transcribed up to 12:30 of 45:00.");
        let failed = Transcript {
            state: TranscriptState::Failed,
            error: Some("out of memory".into()),
            ..listening.clone()
        };
        assert_eq!(
            note(Words::english(), &failed, false, 2700.0),
            "The transcription stopped at 12:30: out of memory"
        );
        let done = Transcript { state: TranscriptState::Done, ..listening };
        assert_eq!(note(Words::english(), &done, false, 2700.0), "");
        let nothing = Transcript { line_count: 0, ..done };
        assert_eq!(note(Words::english(), &nothing, false, 2700.0), "Nothing is said in this video.");
        let silent = Transcript { note: Some("The video has no sound.".into()), ..nothing };
        assert_eq!(note(Words::english(), &silent, false, 2700.0), "The video has no sound.");
    }
}
