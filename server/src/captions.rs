//! Exports moments and transcripts as WebVTT, SubRip, Markdown and text. Depends on neither HTTP nor the library's rows.
//!
//! The texts are model output, or what people say: markup of each format is removed or escaped.

use homereel_library::{Moment, TranscriptLine};

/// A text with the seconds at which it is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cue<'a> {
    /// Start in seconds.
    pub start: f64,
    /// End in seconds.
    pub end: f64,
    /// The text.
    pub text: &'a str,
}

impl<'a> From<&'a Moment> for Cue<'a> {
    fn from(moment: &'a Moment) -> Self {
        Self { start: moment.start, end: moment.end, text: &moment.text }
    }
}

impl<'a> From<&'a TranscriptLine> for Cue<'a> {
    fn from(line: &'a TranscriptLine) -> Self {
        Self { start: line.start, end: line.end, text: &line.text }
    }
}

/// Formats cues as WebVTT.
#[must_use]
pub fn vtt<'a>(cues: impl IntoIterator<Item = impl Into<Cue<'a>>>) -> String {
    let mut out = String::from("WEBVTT\n");
    for cue in cues {
        let cue = cue.into();
        let (start, end) = (clock(cue.start, '.'), clock(cue.end.max(cue.start + 0.1), '.'));
        let text = one_line(cue.text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        out.push_str(&format!("\n{start} --> {end}\n{text}\n"));
    }
    out
}

/// Formats cues as SubRip.
#[must_use]
pub fn srt<'a>(cues: impl IntoIterator<Item = impl Into<Cue<'a>>>) -> String {
    let mut out = String::new();
    for (index, cue) in cues.into_iter().enumerate() {
        let cue = cue.into();
        let (start, end) = (clock(cue.start, ','), clock(cue.end.max(cue.start + 0.1), ','));
        // SubRip has tags but no escapes, and players interpret the tags.
        let text = one_line(cue.text).replace('<', "‹").replace('>', "›");
        out.push_str(&format!("{}\n{start} --> {end}\n{text}\n\n", index + 1));
    }
    out
}

/// Formats cues as plain text, one per line, without times.
#[must_use]
pub fn txt<'a>(cues: impl IntoIterator<Item = impl Into<Cue<'a>>>) -> String {
    cues.into_iter().map(|cue| one_line(cue.into().text) + "\n").collect()
}

/// Formats moments as a Markdown list.
#[must_use]
pub fn md(name: &str, model: &str, moments: &[Moment]) -> String {
    let mut out = format!("# {}\n\nMoments, described by the model {}.\n\n", plain(name), plain(model));
    for moment in moments {
        let at = homereel_web::format::position(moment.start);
        let end = homereel_web::format::position(moment.end);
        out.push_str(&format!("- {at}–{end} {}\n", plain(&moment.text)));
    }
    out
}

/// Formats a time for subtitles; the separator before the milliseconds depends on the format.
fn clock(seconds: f64, sign: char) -> String {
    let ms = (seconds.max(0.0) * 1000.0).round() as u64;
    let (hours, minutes, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{rest:02}{sign}{:03}", ms % 1000)
}

/// Replaces line breaks and control characters by spaces: an empty line would end a cue.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Escapes a line so that Markdown shows it as plain text.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        if c.is_ascii_punctuation() && !matches!(c, '.' | ',' | ';' | ':' | '-' | '/' | '\'' | '?') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments() -> Vec<Moment> {
        let text = "a <b>red</b> ball\n\n00:00 --> 00:09 & [x](javascript:1)";
        vec![
            Moment { start: 1.25, end: 3661.5, text: text.into() },
            Moment { start: 4.0, end: 4.0, text: "end".into() },
        ]
    }

    #[test]
    fn vtt_has_one_cue_per_moment_whatever_the_model_says() {
        let text = vtt(&moments());
        assert!(text.starts_with("WEBVTT\n\n00:00:01.250 --> 01:01:01.500\na &lt;b&gt;red"));
        assert_eq!(text.matches(" --> ").count(), 2, "{text}");
        assert!(text.contains("00:00:04.000 --> 00:00:04.100\nend\n"), "a moment has some length");
    }

    #[test]
    fn srt_counts_from_one_and_holds_no_tags() {
        let text = srt(&moments());
        assert!(text.starts_with("1\n00:00:01,250 --> 01:01:01,500\na ‹b›red"));
        assert!(text.contains("\n\n2\n"));
        assert!(!text.contains('<'));
    }

    #[test]
    fn a_transcript_is_one_line_of_text_per_line() {
        let line = |text: &str| TranscriptLine {
            index: 0,
            start: 1.0,
            end: 2.5,
            text: text.into(),
            language: None,
            confidence: 1.0,
            edited_ms: None,
        };
        let lines = [line("Look,\n\n2\n00:00 --> 00:09\nat <v Bob>that"), line("end")];
        assert_eq!(txt(&lines), "Look, 2 00:00 --> 00:09 at <v Bob>that\nend\n");
        assert_eq!(vtt(&lines).matches(" --> ").count(), 2);
        assert!(!vtt(&lines).contains("<v") && !srt(&lines).contains("<v"));
        assert_eq!(srt(&lines).matches(" --> ").count(), 2);
    }

    #[test]
    fn markdown_is_text_only() {
        let text = md("# x <y>", "m_1", &moments());
        assert!(text.starts_with("# \\# x \\<y\\>\n"));
        assert!(text.contains("- 0:01.2–1:01:01.5 a \\<b\\>red") || text.contains("- 0:01.3–"), "{text}");
        assert!(text.contains("\\[x\\]\\(javascript:1\\)"));
    }
}
