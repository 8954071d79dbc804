//! The lasting form of items: what a follow-up reads, and what `input_items` lists. It has OpenAI's long form, an id in every
//! item, and instead of embedded media the SHA-256 of their bytes (`sha256:…`), which name the files that are kept.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::super::body::{MediaByMarker, SpooledFile};
use super::super::convert::part::{PartMedia, kind, media, sampling, wanted};
use super::super::media_url::Wanted;
use super::super::wire::{Content, Media, PartFields, WirePart};
use super::items::{Kind, WireItem};
use crate::http::error::Failure;
use crate::media::ClipRequest;
use homereel_engine::VideoBudget;

/// Maximum length of an id that is kept as the client sent it.
const MAX_ID: usize = 128;

/// Ids of items that are new in one response.
#[derive(Debug)]
pub(super) struct ItemIds {
    response: String,
    next: usize,
}

impl ItemIds {
    /// Starts the ids of the response with the bare id `response`.
    pub(super) fn new(response: &str) -> Self {
        Self { response: response.to_owned(), next: 0 }
    }

    /// Returns the next id. It has the response's id in it, so that a reference leads to the response.
    pub(super) fn next(&mut self, prefix: &str) -> String {
        let number = self.next;
        self.next += 1;
        format!("{prefix}_{}{number:04x}", self.response)
    }

    /// Returns the bare id of the response that made an item with this id.
    pub(super) fn response_of(item: &str) -> Option<&str> {
        const DIGITS: usize = 32;
        let (_, rest) = item.split_once('_')?;
        rest.split_at_checked(DIGITS).map(|(response, _)| response)
    }
}

#[derive(Debug, Default, Serialize)]
struct CanonicalItem<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Vec<CanonicalPart<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Vec<CanonicalPart<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Output<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Text(&'a str),
    Parts(Vec<CanonicalPart<'a>>),
}

#[derive(Debug, Default, Serialize)]
struct CanonicalPart<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<[(); 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_frames: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cap_pixels_per_frame: Option<bool>,
}

/// Makes items last.
#[derive(Debug)]
pub(super) struct Canonical<'m> {
    pub(super) media: &'m MediaByMarker,
    /// How videos are sampled that do not say it themselves. A follow-up shows them to the model in the same way.
    pub(super) frames: ClipRequest,
    /// The files that the items refer to, by SHA-256.
    pub(super) files: BTreeMap<String, SpooledFile>,
}

impl Canonical<'_> {
    /// Returns the lasting form of an item that [`super::items::MessageBuilder`] accepts.
    ///
    /// # Errors
    /// When the item is of an unknown type.
    pub(super) fn item(
        &mut self,
        place: &str,
        item: &WireItem<'_>,
        ids: &mut ItemIds,
    ) -> Result<Box<RawValue>, Failure> {
        let (kind, prefix) = match item.kind(place)? {
            Kind::Message => ("message", "msg"),
            Kind::Call => ("function_call", "fc"),
            Kind::CallOutput => ("function_call_output", "fco"),
            Kind::Reasoning => ("reasoning", "rs"),
            Kind::Reference => ("item_reference", "ref"),
        };
        let is_answer = item.role.as_deref() == Some("assistant");
        let known = item.id.as_deref().filter(|id| !id.is_empty() && id.len() <= MAX_ID);
        let is_reasoning = kind == "reasoning";
        let text_kind = match (is_reasoning, is_answer) {
            (true, _) => "reasoning_text",
            (_, true) => "output_text",
            _ => "input_text",
        };
        let content = item.content.as_ref().map(|content| self.parts(content, text_kind));
        let summary = item.summary.as_ref().filter(|_| is_reasoning);
        let output = item.output.as_ref().map(|output| match output {
            Content::Text(text) => Output::Text(text),
            parts @ Content::Parts(_) => Output::Parts(self.parts(parts, "input_text")),
        });
        let lasting = CanonicalItem {
            id: known.map_or_else(|| ids.next(prefix), str::to_owned),
            kind,
            status: "completed",
            role: item.role.as_deref(),
            summary: is_reasoning
                .then(|| summary.map(|summary| self.parts(summary, "summary_text")).unwrap_or_default()),
            content,
            call_id: item.call_id.as_deref(),
            name: item.name.as_deref(),
            arguments: item.arguments.as_deref(),
            output,
        };
        to_raw_value(&lasting).map_err(Failure::internal)
    }

    fn parts<'p>(&mut self, content: &'p Content<'_>, text_kind: &'static str) -> Vec<CanonicalPart<'p>> {
        match content {
            Content::Text(text) => vec![text_part(text, text_kind)],
            Content::Parts(parts) => parts.iter().map(|WirePart(part)| self.part(part, text_kind)).collect(),
        }
    }

    fn part<'p>(&mut self, part: &'p PartFields<'_>, text_kind: &'static str) -> CanonicalPart<'p> {
        if let Some(refusal) = part.refusal.as_deref().filter(|_| kind(part) == "refusal") {
            return CanonicalPart { kind: "refusal", refusal: Some(refusal), ..CanonicalPart::default() };
        }
        let (Some(wanted), Some((given, param))) = (wanted(kind(part)), media(part)) else {
            return text_part(part.text.as_deref().unwrap_or_default(), text_kind);
        };
        // What does not fit is refused when the item is converted.
        let ClipRequest { sampling, budget, .. } = sampling(part, param, self.frames).unwrap_or_default();
        let mut lasting = CanonicalPart {
            fps: sampling.fps,
            num_frames: sampling.num_frames,
            start: sampling.start,
            end: sampling.end,
            cap_pixels_per_frame: (budget == VideoBudget::Capped).then_some(true),
            ..CanonicalPart::default()
        };
        let url = match given {
            PartMedia::Url(url, _) => self.url(url),
            PartMedia::Frames(frames) => {
                let urls = frames.iter().filter_map(|frame| match frame {
                    Media::One(url) | Media::Detailed(url, _) => Some(self.url(url)),
                    Media::Frames(_) => None,
                });
                lasting.video = Some(urls.collect());
                lasting.kind = "input_video";
                return lasting;
            }
        };
        let field = match wanted {
            Wanted::Picture => {
                (lasting.kind, lasting.detail) = ("input_image", Some("auto"));
                &mut lasting.image_url
            }
            Wanted::Video => {
                lasting.kind = "input_video";
                &mut lasting.video_url
            }
            Wanted::Any => {
                lasting.kind = "input_file";
                &mut lasting.file_data
            }
        };
        if param == "file_id" {
            lasting.file_id = Some(url);
        } else {
            *field = Some(url);
        }
        lasting
    }

    /// Returns the lasting form of a URL.
    fn url(&mut self, url: &str) -> String {
        let Some((lasting, files)) = self.media.lasting(url) else { return url.trim_ascii().to_owned() };
        for file in files {
            if let Some(sha256) = file.source.sha256() {
                self.files.insert(sha256.to_owned(), file.clone());
            }
        }
        lasting
    }
}

fn text_part<'p>(text: &'p str, kind: &'static str) -> CanonicalPart<'p> {
    let annotations = (kind == "output_text").then_some([]);
    CanonicalPart { kind, text: Some(text), annotations, ..CanonicalPart::default() }
}
