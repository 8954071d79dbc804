//! `/api/videos/{id}/moments.{json,vtt,srt,md}`: the moments of a video as files of other programs.
//! The texts are a model's words: each format's own marks are taken out or escaped.

use axum::{
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::error::{Failure, Problem};
use crate::{
    app::AppState,
    library::{Moment, Video},
};

/// `GET /api/videos/{id}/moments.json`
pub(super) async fn json(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "application/json", |video, model, moments| {
        json!({"video": video.id, "model": model, "moments": moments}).to_string()
    })
    .await
}

/// `GET /api/videos/{id}/moments.vtt`
pub(super) async fn vtt(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "text/vtt; charset=utf-8", |_, _, moments| as_vtt(moments)).await
}

/// `GET /api/videos/{id}/moments.srt`
pub(super) async fn srt(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "application/x-subrip; charset=utf-8", |_, _, moments| as_srt(moments)).await
}

/// `GET /api/videos/{id}/moments.md`
pub(super) async fn md(state: State<AppState>, path: Path<String>) -> Result<Response, Problem> {
    serve(state, path, "text/markdown; charset=utf-8", |video, model, moments| {
        as_md(&video.name, model, moments)
    })
    .await
}

async fn serve(
    State(state): State<AppState>,
    Path(id): Path<String>,
    content_type: &'static str,
    write: impl Fn(&Video, &str, &[Moment]) -> String,
) -> Result<Response, Problem> {
    let video = state.library.video(&id).await?;
    let Some(text) = &video.texts.moments else {
        return Err(Failure::not_found("the moments of this video are not made yet").into());
    };
    let body = write(&video, &text.model, text.content.as_deref().unwrap_or_default());
    Ok(([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], body).into_response())
}

fn as_vtt(moments: &[Moment]) -> String {
    let mut out = String::from("WEBVTT\n");
    for moment in moments {
        let (start, end) = (clock(moment.start, '.'), clock(moment.end.max(moment.start + 0.1), '.'));
        let text = one_line(&moment.text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        out.push_str(&format!("\n{start} --> {end}\n{text}\n"));
    }
    out
}

fn as_srt(moments: &[Moment]) -> String {
    let mut out = String::new();
    for (index, moment) in moments.iter().enumerate() {
        let (start, end) = (clock(moment.start, ','), clock(moment.end.max(moment.start + 0.1), ','));
        // SRT knows tags and no escapes; players run the tags.
        let text = one_line(&moment.text).replace('<', "‹").replace('>', "›");
        out.push_str(&format!("{}\n{start} --> {end}\n{text}\n\n", index + 1));
    }
    out
}

fn as_md(name: &str, model: &str, moments: &[Moment]) -> String {
    let mut out = format!("# {}\n\nMoments, made by the model {}.\n\n", plain(name), plain(model));
    for moment in moments {
        let at = homereel_web::format::position(moment.start);
        let end = homereel_web::format::position(moment.end);
        out.push_str(&format!("- {at}–{end} {}\n", plain(&moment.text)));
    }
    out
}

/// A time as both subtitle formats write it, with their own sign before the milliseconds.
fn clock(seconds: f64, sign: char) -> String {
    let ms = (seconds.max(0.0) * 1000.0).round() as u64;
    let (hours, minutes, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{rest:02}{sign}{:03}", ms % 1000)
}

/// Lines and control characters as spaces: an empty line would end a cue.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// One line of Markdown that is only text.
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
        let vtt = as_vtt(&moments());
        assert!(vtt.starts_with("WEBVTT\n\n00:00:01.250 --> 01:01:01.500\na &lt;b&gt;red"));
        assert_eq!(vtt.matches(" --> ").count(), 2, "{vtt}");
        assert!(vtt.contains("00:00:04.000 --> 00:00:04.100\nend\n"), "a moment has some length");
    }

    #[test]
    fn srt_counts_from_one_and_holds_no_tags() {
        let srt = as_srt(&moments());
        assert!(srt.starts_with("1\n00:00:01,250 --> 01:01:01,500\na ‹b›red"));
        assert!(srt.contains("\n\n2\n"));
        assert!(!srt.contains('<'));
    }

    #[test]
    fn markdown_is_text_only() {
        let md = as_md("# x <y>", "m_1", &moments());
        assert!(md.starts_with("# \\# x \\<y\\>\n"));
        assert!(md.contains("- 0:01.2–1:01:01.5 a \\<b\\>red") || md.contains("- 0:01.3–"), "{md}");
        assert!(md.contains("\\[x\\]\\(javascript:1\\)"));
    }
}
