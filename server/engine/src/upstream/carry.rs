//! How the clips of one request travel: as frames with their indices beside them, or as files of constant rate,
//! and what the upstream must be told so that it takes every frame as it is.
//!
//! `media_io_kwargs` hold for all videos of a request, so that only clips with the same times can share them; and
//! an upstream that was started without `--trust-request-mm-kwargs` refuses them altogether.

use serde_json::{Value, json};

use super::times::{self, Rate, Sampling};
use crate::{Clip, FrameRate, Part, Request};

/// Frames per temporal group where the checkpoint's files are not known; all published ones have 2.
pub(super) const GROUP: usize = 2;

/// How one clip travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As frames; `media_io_kwargs` tell their times.
    Frames,
    /// As a file of constant rate.
    File(Rate),
}

/// How the clips of a request travel.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Carriage {
    /// One for each clip, in order.
    pub(super) forms: Vec<Form>,
    /// Settings of the request, by name, that an untrusting upstream refuses.
    pub(super) settings: Vec<(&'static str, Value)>,
    /// What the reader should know.
    pub(super) warnings: Vec<String>,
}

/// What decides about the carriage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The upstream takes `media_io_kwargs` and `mm_processor_kwargs`.
    pub(super) trusting: bool,
    /// Pictures have the model's size already: the upstream must not resize them again.
    pub(super) sized: bool,
    /// The checkpoint's sampling of files.
    pub(super) frame_rate: FrameRate,
}

/// Chooses how the clips of `request` travel, and gives those whose times can't be carried the times that the
/// model will be shown instead.
pub(super) fn plan(request: &mut Request, rules: Rules) -> Carriage {
    let mut clips: Vec<&mut Clip> = request
        .messages
        .iter_mut()
        .flat_map(|message| &mut message.content)
        .filter_map(|part| match part {
            Part::Video(clip) => Some(clip),
            Part::Text(_) | Part::Image(_) => None,
        })
        .collect();
    let mut carriage = Carriage::default();
    let sampling = if rules.trusting { Sampling::Off } else { Sampling::Own(rules.frame_rate) };
    let rates: Vec<Option<Rate>> =
        clips.iter().map(|clip| times::by_rate(&clip.times, GROUP, sampling)).collect();
    // The clip whose times need indices most: the first without a rate, or else the first.
    let indexed = rules.trusting.then(|| rates.iter().position(Option::is_none).unwrap_or(0));
    // Beside files the rate is ticks: theirs are sampled by it too, and it must not be below their own.
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
        carriage.forms.push(match rate {
            _ if same => Form::Frames,
            Some(rate) => Form::File(rate),
            None => {
                let rate = times::nearest_rate(&clip.times, sampling);
                let shown = rate.times(clip.times.len());
                let off = clip.times.iter().zip(&shown).map(|(time, shown)| (time - shown).abs());
                off_by.push(off.fold(0.0, f64::max));
                clip.times = shown;
                Form::File(rate)
            }
        });
    }
    if !off_by.is_empty() {
        carriage.warnings.push(inexact_warning(&off_by, rules.trusting));
    }
    if rules.trusting && !carriage.forms.is_empty() {
        let indices = shared.map(|(_, _, indices)| indices);
        carriage.settings = settings(indices, rules.sized);
    } else if rules.trusting && rules.sized && has_pictures(request) {
        carriage.settings.push(("mm_processor_kwargs", json!({ "do_resize": false })));
    }
    carriage
}

fn has_pictures(request: &Request) -> bool {
    let mut parts = request.messages.iter().flat_map(|message| &message.content);
    parts.any(|part| matches!(part, Part::Image(_)))
}

fn settings(indices: Option<times::Indices>, sized: bool) -> Vec<(&'static str, Value)> {
    let mut video = json!({ "num_frames": -1, "do_sample_frames": false });
    if let Some(times::Indices { fps, indices, total, duration_s }) = indices {
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

/// Says of how many clips the times are shown otherwise, and by how many seconds at most.
fn inexact_warning(off_by: &[f64], trusting: bool) -> String {
    let clips = if off_by.len() == 1 { "a clip".to_owned() } else { format!("{} clips", off_by.len()) };
    // Labels have one digit: what is less shows as a tenth too.
    let most = off_by.iter().copied().fold(0.1, f64::max);
    let which = format!("{clips} (up to {most:.1} s off)");
    if trusting {
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
    use crate::{Frame, Message, Role, Sampling as TokenSampling};

    const RATE: FrameRate = FrameRate { fps: 2.0, min_frames: 4, max_frames: 768 };

    fn video(times: &[f64]) -> Part {
        let frame = Frame::new(32, 32, vec![0; 3072].into());
        Part::Video(Clip {
            frames: vec![frame; times.len()],
            times: times.to_vec(),
            indices: times.iter().map(|time| (time * 24.0).round() as u64).collect(),
            native_fps: 24.0,
            total_frames: 2400,
            duration_s: 100.0,
            key: None,
        })
    }

    fn planned(content: Vec<Part>, trusting: bool) -> (Request, Carriage) {
        let mut request = Request {
            messages: vec![Message::new(Role::User, content)],
            sampling: TokenSampling::default(),
            max_tokens: None,
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            response_format: crate::ResponseFormat::Text,
            extra: serde_json::Map::new(),
        };
        let carriage = plan(&mut request, Rules { trusting, sized: true, frame_rate: RATE });
        (request, carriage)
    }

    fn kwargs(carriage: &Carriage) -> &Value {
        assert_eq!(carriage.settings[0].0, "media_io_kwargs");
        &carriage.settings[0].1["video"]
    }

    #[test]
    fn one_clip_travels_as_frames_with_its_indices() {
        let (_, carriage) = planned(vec![video(&[3.0, 3.5, 4.0])], true);
        assert_eq!(carriage.forms, [Form::Frames]);
        assert_eq!(kwargs(&carriage)["frames_indices"], json!([72, 84, 96]));
        assert_eq!(kwargs(&carriage)["num_frames"], -1);
        assert_eq!(kwargs(&carriage)["do_sample_frames"], false);
        assert_eq!(carriage.settings[1].1["do_resize"], false);
        assert!(carriage.warnings.is_empty());
    }

    #[test]
    fn clips_with_the_same_times_share_their_indices_and_others_become_files() {
        let (a, b) = (&[0.0, 0.5, 1.0, 1.5][..], &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5][..]);
        let (_, carriage) = planned(vec![video(a), video(a), video(b)], true);
        assert!(matches!(carriage.forms[..], [Form::Frames, Form::Frames, Form::File(_)]));
        assert!(carriage.warnings.is_empty());
        // The clip from the middle gets the indices, wherever it stands.
        let (_, carriage) = planned(vec![video(b), video(&[50.0, 50.5, 51.0, 51.5])], true);
        assert!(matches!(carriage.forms[..], [Form::File(_), Form::Frames]));
        assert_eq!(
            kwargs(&carriage)["frames_indices"],
            json!([50_000_000, 50_500_000, 51_000_000, 51_500_000])
        );
        assert_eq!(kwargs(&carriage)["fps"], json!(1e6));
    }

    #[test]
    fn what_cannot_be_carried_is_told() {
        let late = &[50.0, 50.5, 51.0, 51.5][..];
        let (request, carriage) = planned(vec![video(late)], false);
        let Part::Video(clip) = &request.messages[0].content[0] else { panic!() };
        assert_eq!(clip.times, [0.0, 0.5, 1.0, 1.5], "what the model will be shown");
        assert!(carriage.warnings[0].contains("--trust-request-mm-kwargs"), "{:?}", carriage.warnings);
        assert!(carriage.warnings[0].contains("50.0 s off"), "{:?}", carriage.warnings);
        assert!(carriage.settings.is_empty());
        let (_, carriage) = planned(vec![video(late), video(&[70.0, 71.0, 72.0, 73.0])], true);
        assert!(carriage.warnings[0].contains("one video at a time"), "{:?}", carriage.warnings);
    }

    #[test]
    fn text_needs_no_settings() {
        let (_, carriage) = planned(vec![Part::Text("hi".into())], true);
        assert_eq!(carriage, Carriage::default());
    }
}
