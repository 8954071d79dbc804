//! Converts a part of a message: its type, its media in every form in which clients send them, and how to sample a video.

use homereel_engine::MessageRole;

use super::super::body::MediaByMarker;
use super::super::media_url::{self, Found, Wanted};
use super::super::references::Reference;
use super::super::wire::{Media, PartFields, VideoKwargs};
use super::options::apply;
use crate::http::error::{Failure, shown};
use crate::media::{ClipRequest, Source};

/// Frames per second of a list of frames that names none, as in Qwen's own code.
const LIST_FPS: f64 = 2.0;

/// A part of a message, as far as it is known before references are resolved.
#[derive(Debug)]
pub(super) enum DraftPiece {
    Text(String),
    Image(Source),
    Video(Source, ClipRequest),
    Elsewhere(Reference, Wanted, ClipRequest),
    Frames(Vec<Source>, f64, ClipRequest),
}

/// What the parts of a message share.
pub(super) struct Parts<'m> {
    pub(super) frames: ClipRequest,
    pub(super) media: &'m mut MediaByMarker,
    pub(super) warnings: &'m mut Vec<String>,
}

/// Converts a part. Returns also the name of the field with its media.
pub(super) fn piece(
    part: PartFields<'_>,
    role: MessageRole,
    parts: &mut Parts<'_>,
) -> Result<(DraftPiece, &'static str), Failure> {
    let lacking = |param: &str| Failure::invalid(param, format!("a part of type {param} needs {param}"));
    let kind = kind(&part).to_owned();
    let kind = kind.as_str();
    if let "text" | "input_text" | "output_text" = kind {
        let text = part.text.ok_or_else(|| lacking("text"))?;
        return Ok((DraftPiece::Text(text.into_owned()), "text"));
    }
    if kind == "refusal" {
        let text = part.refusal.ok_or_else(|| lacking("refusal"))?;
        return Ok((DraftPiece::Text(text.into_owned()), "refusal"));
    }
    let wanted = match kind {
        kind if let Some(wanted) = wanted(kind) => wanted,
        "input_audio" | "audio_url" | "audio" => {
            return Err(Failure::invalid(
                "type",
                "sound is not supported; text, a picture or a video would fit",
            ));
        }
        other => {
            return Err(Failure::invalid(
                "type",
                format!(
                    "parts of type {} are not supported; text, image_url, video_url or file would fit",
                    shown(other)
                ),
            ));
        }
    };
    if !matches!(role, MessageRole::User | MessageRole::Tool) {
        let message = format!("{kind} is only supported in messages of users and tools");
        return Err(Failure::invalid("type", message));
    }
    let detailed = "the model's own rule sets the size";
    if let Some(detail) = part.detail.as_deref().filter(|detail| *detail != "auto") {
        parts.warnings.push(format!("detail {} has no effect: {detailed}", shown(detail)));
    }
    for (name, given) in [
        ("min_pixels", part.min_pixels.is_some()),
        ("max_pixels", part.max_pixels.is_some()),
        ("total_pixels", part.total_pixels.is_some()),
        ("resized_height", part.resized_height.is_some()),
        ("resized_width", part.resized_width.is_some()),
    ] {
        if given {
            parts
                .warnings
                .push(format!("{name} has no effect: cap_pixels_per_frame limits the size of frames"));
        }
    }
    let (media, param) =
        media(&part).ok_or_else(|| Failure::invalid("", format!("a part of type {kind} needs a URL")))?;
    let request = sampling(&part, param, parts.frames)?;
    let found = match media {
        PartMedia::Url(url, detail) => {
            if let Some(detail) = detail {
                parts.warnings.push(format!("detail {} has no effect: {detailed}", shown(detail)));
            }
            media_url::resolve(param, url, wanted, parts.media)?
        }
        PartMedia::Frames(frames) => Found::Frames(media_url::frames(param, frames, parts.media)?),
    };
    let piece = match found {
        Found::Picture(source) => DraftPiece::Image(source),
        Found::Video(source) => DraftPiece::Video(source, request),
        Found::Elsewhere(reference) => DraftPiece::Elsewhere(reference, wanted, request),
        Found::Frames(sources) => {
            let sampling = request.sampling;
            if sampling.num_frames.is_some() || sampling.start.is_some() || sampling.end.is_some() {
                let warning = "num_frames, start and end have no effect on a list of frames: the model sees all of them";
                parts.warnings.push(warning.to_owned());
            }
            DraftPiece::Frames(sources, sampling.fps.unwrap_or(LIST_FPS), request)
        }
    };
    Ok((piece, param))
}

/// Returns how to sample the video of a part; `frames` is how to sample those of its message.
pub(in crate::http::openai) fn sampling(
    part: &PartFields<'_>,
    param: &str,
    frames: ClipRequest,
) -> Result<ClipRequest, Failure> {
    let mut request = frames;
    let settings = VideoKwargs {
        fps: part.fps,
        num_frames: part.num_frames,
        start: part.start,
        end: part.end,
        cap_pixels_per_frame: part.cap_pixels_per_frame,
    };
    apply(&mut request, param, settings)?;
    Ok(request)
}

/// Returns what a part of this type announces; `None` means no media.
pub(in crate::http::openai) fn wanted(kind: &str) -> Option<Wanted> {
    match kind {
        "image_url" | "input_image" | "image" => Some(Wanted::Picture),
        "video_url" | "input_video" | "video" => Some(Wanted::Video),
        "file" | "input_file" => Some(Wanted::Any),
        _ => None,
    }
}

/// Returns the type of a part. Without one, its fields tell it.
pub(in crate::http::openai) fn kind<'p>(part: &'p PartFields<'_>) -> &'p str {
    if let Some(kind) = &part.kind {
        kind
    } else if part.text.is_some() {
        "text"
    } else if part.image_url.is_some() || part.image.is_some() || part.input_image.is_some() {
        "image_url"
    } else if part.video_url.is_some() || part.video.is_some() || part.input_video.is_some() {
        "video_url"
    } else {
        "file"
    }
}

/// Where a part's media are.
#[derive(Debug)]
pub(in crate::http::openai) enum PartMedia<'p> {
    /// A URL, and the detail that its object asks for.
    Url(&'p str, Option<&'p str>),
    Frames(&'p [Media<'p>]),
}

/// Returns where a part's media are, and the name of the field.
pub(in crate::http::openai) fn media<'p>(part: &'p PartFields<'_>) -> Option<(PartMedia<'p>, &'static str)> {
    let given = |media: &'p Option<Media<'_>>| {
        media.as_ref().map(|media| match media {
            Media::One(url) => PartMedia::Url(url, None),
            Media::Detailed(url, detail) => PartMedia::Url(url, Some(detail)),
            Media::Frames(frames) => PartMedia::Frames(frames),
        })
    };
    let url =
        |url: &'p Option<std::borrow::Cow<'_, str>>| url.as_deref().map(|url| PartMedia::Url(url, None));
    [
        (given(&part.video_url), "video_url"),
        (given(&part.image_url), "image_url"),
        (given(&part.video), "video"),
        (given(&part.image), "image"),
        (given(&part.input_video), "input_video"),
        (given(&part.input_image), "input_image"),
        (given(&part.file), "file"),
        (url(&part.url), "url"),
        (url(&part.base64), "base64"),
        (url(&part.data), "data"),
        (url(&part.file_data), "file_data"),
        (url(&part.file_url), "file_url"),
        (url(&part.file_id), "file_id"),
    ]
    .into_iter()
    .find_map(|(media, name)| Some((media?, name)))
}
