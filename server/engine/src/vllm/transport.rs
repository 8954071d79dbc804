//! Plans how the clips of a request are sent: as frames with their indices, or as files of constant rate, and the settings
//! with which vLLM uses every frame unchanged.
//!
//! `media_io_kwargs` apply to all videos of a request, so only clips with the same times can share them; a replica that
//! was started without `--trust-request-mm-kwargs` rejects them.

use serde_json::{Value, json};

use super::times::{self, ConstantRate, LoaderSampling};
use crate::{ContentPart, FrameRate, Request, VideoInput};

/// Frames per temporal group where the checkpoint's files are not known; all published ones have 2.
pub(super) const GROUP: usize = 2;

/// How one clip is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClipEncoding {
    /// As frames, with their times in `media_io_kwargs`.
    Frames,
    /// As a file of constant rate.
    File(ConstantRate),
}

/// How the clips of a request are sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct VideoTransport {
    /// One per clip, in order.
    pub(super) encodings: Vec<ClipEncoding>,
    /// Fields of the request that a replica without `--trust-request-mm-kwargs` rejects.
    pub(super) settings: Vec<(&'static str, Value)>,
    /// Warnings for the reader.
    pub(super) warnings: Vec<String>,
}

/// What the plan depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransportRules {
    /// Whether the replica accepts `media_io_kwargs` and `mm_processor_kwargs`.
    pub(super) mm_kwargs: bool,
    /// Whether frames already have the model's size, so that vLLM must not resize them.
    pub(super) sized: bool,
    /// The checkpoint's sampling of files.
    pub(super) frame_rate: FrameRate,
}

/// Plans how the clips of `request` are sent. Clips whose times cannot be expressed get the times that the model will be
/// shown instead.
pub(super) fn plan(request: &mut Request, rules: TransportRules) -> VideoTransport {
    let mut clips: Vec<&mut VideoInput> = request
        .messages
        .iter_mut()
        .flat_map(|message| &mut message.content)
        .filter_map(|part| match part {
            ContentPart::Video(clip) => Some(clip),
            ContentPart::Text(_) | ContentPart::Image(_) => None,
        })
        .collect();
    let mut transport = VideoTransport::default();
    let sampling = if rules.mm_kwargs { LoaderSampling::Off } else { LoaderSampling::Own(rules.frame_rate) };
    let rates: Vec<Option<ConstantRate>> =
        clips.iter().map(|clip| times::by_rate(&clip.times, GROUP, sampling)).collect();
    // The clip that needs indices most: the first that no constant rate can express, or else the first.
    let indexed = rules.mm_kwargs.then(|| rates.iter().position(Option::is_none).unwrap_or(0));
    // Beside files the rate is in ticks: files are sampled by it as well, and it must not be below their own.
    let alone = clips.len() == 1;
    let shared = indexed.and_then(|at| clips.get(at)).map(|clip| {
        let indices = times::by_indices(clip, GROUP, alone);
        (times::labels(&clip.times, GROUP), clip.times.len(), indices)
    });
    let mut off_by: Vec<f64> = Vec::new();
    for (clip, rate) in clips.iter_mut().zip(rates) {
        let same = shared.as_ref().is_some_and(|(labels, frames, _)| {
            *frames == clip.times.len() && *labels == times::labels(&clip.times, GROUP)
        });
        transport.encodings.push(match rate {
            _ if same => ClipEncoding::Frames,
            Some(rate) => ClipEncoding::File(rate),
            None => {
                let rate = times::nearest_rate(&clip.times, sampling);
                let shown = rate.times(clip.times.len());
                let off = clip.times.iter().zip(&shown).map(|(time, shown)| (time - shown).abs());
                off_by.push(off.fold(0.0, f64::max));
                clip.times = shown;
                ClipEncoding::File(rate)
            }
        });
    }
    if !off_by.is_empty() {
        transport.warnings.push(inexact_warning(&off_by, rules.mm_kwargs));
    }
    if rules.mm_kwargs && !transport.encodings.is_empty() {
        let indices = shared.map(|(_, _, indices)| indices);
        transport.settings = settings(indices, rules.sized);
    } else if rules.mm_kwargs && rules.sized && has_pictures(request) {
        transport.settings.push(("mm_processor_kwargs", json!({ "do_resize": false })));
    }
    transport
}

fn has_pictures(request: &Request) -> bool {
    let mut parts = request.messages.iter().flat_map(|message| &message.content);
    parts.any(|part| matches!(part, ContentPart::Image(_)))
}

fn settings(indices: Option<times::FrameIndices>, sized: bool) -> Vec<(&'static str, Value)> {
    let mut video = json!({ "num_frames": -1, "do_sample_frames": false });
    if let Some(times::FrameIndices { fps, indices, total, duration_s }) = indices {
        video["fps"] = fps.into();
        video["frames_indices"] = indices.into();
        video["total_num_frames"] = total.into();
        video["duration"] = duration_s.into();
    }
    let mut processor = json!({ "do_sample_frames": false });
    if sized {
        processor["do_resize"] = false.into();
    }
    vec![("media_io_kwargs", json!({ "video": video })), ("mm_processor_kwargs", processor)]
}

/// Returns the warning about clips whose times differ, with the largest difference in seconds.
fn inexact_warning(off_by: &[f64], mm_kwargs: bool) -> String {
    let clips = if off_by.len() == 1 { "a clip".to_owned() } else { format!("{} clips", off_by.len()) };
    // Timestamps have one decimal, so a smaller difference still shows as 0.1.
    let most = off_by.iter().copied().fold(0.1, f64::max);
    let which = format!("{clips} (up to {most:.1} s off)");
    if mm_kwargs {
        format!(
            "the model is shown other times than the true ones for {which}: vLLM takes only one list of times for \
             all videos of a request; ask about one video at a time"
        )
    } else {
        format!(
            "the model is shown other times than the true ones for {which}: the model's server refuses \
             media_io_kwargs; start vLLM with --trust-request-mm-kwargs"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GenerationOptions, Message, MessageRole, RgbImage};

    const RATE: FrameRate = FrameRate { fps: 2.0, min_frames: 4, max_frames: 768 };

    fn video(times: &[f64]) -> ContentPart {
        let frame = RgbImage::new(32, 32, vec![0; 3072].into());
        ContentPart::Video(VideoInput {
            frames: vec![frame; times.len()],
            times: times.to_vec(),
            indices: times.iter().map(|time| (time * 24.0).round() as u64).collect(),
            native_fps: 24.0,
            total_frames: 2400,
            duration_s: 100.0,
            key: None,
        })
    }

    fn planned(content: Vec<ContentPart>, mm_kwargs: bool) -> (Request, VideoTransport) {
        let mut request = Request {
            messages: vec![Message::new(MessageRole::User, content)],
            options: GenerationOptions::default(),
        };
        let transport = plan(&mut request, TransportRules { mm_kwargs, sized: true, frame_rate: RATE });
        (request, transport)
    }

    fn kwargs(transport: &VideoTransport) -> &Value {
        assert_eq!(transport.settings[0].0, "media_io_kwargs");
        &transport.settings[0].1["video"]
    }

    #[test]
    fn one_clip_travels_as_frames_with_its_indices() {
        let (_, transport) = planned(vec![video(&[3.0, 3.5, 4.0])], true);
        assert_eq!(transport.encodings, [ClipEncoding::Frames]);
        assert_eq!(kwargs(&transport)["frames_indices"], json!([72, 84, 96]));
        assert_eq!(kwargs(&transport)["num_frames"], -1);
        assert_eq!(kwargs(&transport)["do_sample_frames"], false);
        assert_eq!(transport.settings[1].1["do_resize"], false);
        assert!(transport.warnings.is_empty());
    }

    #[test]
    fn clips_with_the_same_times_share_their_indices_and_others_become_files() {
        let (a, b) = (&[0.0, 0.5, 1.0, 1.5][..], &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5][..]);
        let (_, transport) = planned(vec![video(a), video(a), video(b)], true);
        assert!(matches!(
            transport.encodings[..],
            [ClipEncoding::Frames, ClipEncoding::Frames, ClipEncoding::File(_)]
        ));
        assert!(transport.warnings.is_empty());
        // The clip from the middle gets the indices, wherever it stands.
        let (_, transport) = planned(vec![video(b), video(&[50.0, 50.5, 51.0, 51.5])], true);
        assert!(matches!(transport.encodings[..], [ClipEncoding::File(_), ClipEncoding::Frames]));
        assert_eq!(
            kwargs(&transport)["frames_indices"],
            json!([50_000_000, 50_500_000, 51_000_000, 51_500_000])
        );
        assert_eq!(kwargs(&transport)["fps"], json!(1e6));
    }

    #[test]
    fn what_cannot_be_carried_is_told() {
        let late = &[50.0, 50.5, 51.0, 51.5][..];
        let (request, transport) = planned(vec![video(late)], false);
        let ContentPart::Video(clip) = &request.messages[0].content[0] else { panic!() };
        assert_eq!(clip.times, [0.0, 0.5, 1.0, 1.5], "what the model will be shown");
        assert!(transport.warnings[0].contains("--trust-request-mm-kwargs"), "{:?}", transport.warnings);
        assert!(transport.warnings[0].contains("50.0 s off"), "{:?}", transport.warnings);
        assert!(transport.settings.is_empty());
        let (_, transport) = planned(vec![video(late), video(&[70.0, 71.0, 72.0, 73.0])], true);
        assert!(transport.warnings[0].contains("one video at a time"), "{:?}", transport.warnings);
    }

    #[test]
    fn text_needs_no_settings() {
        let (_, transport) = planned(vec![ContentPart::Text("hi".into())], true);
        assert_eq!(transport, VideoTransport::default());
    }
}
