//! How long an answer about a video takes to begin, with the budget that pages ask for and with the full one. Shown
//! where the model runs on a CPU.

use homereel_engine::{Engine, FrameRate, ModelInfo, VideoBudget};
use homereel_video::ProbeSummary;
use homereel_web::{Words, format};

use crate::{answer::AnswerService, config::ServerConfig};

/// An expected time below this is not worth a sentence.
const SHOWN_S: f64 = 2.0;

/// Returns the budget of a question that names none: on a CPU that of background reading, because the full one can take
/// minutes.
pub(in crate::http) fn page_budget(info: &ModelInfo, config: &ServerConfig) -> VideoBudget {
    if info.on_cpu { config.reading_budget } else { VideoBudget::Full }
}

/// Returns whether a page offers "Look closer", the full budget, and what it says about the time until an answer begins
/// (may be empty).
pub(super) fn offer(
    words: &Words,
    answers: &AnswerService,
    config: &ServerConfig,
    probe: &ProbeSummary,
) -> (bool, String) {
    let engine = &**answers.engine();
    let Some(info) = engine.info().ok().filter(|info| info.on_cpu) else { return (false, String::new()) };
    let usual = pixels(engine, &info, probe, page_budget(&info, config));
    let full = pixels(engine, &info, probe, VideoBudget::Full);
    let (Some(usual), Some(full)) = (usual, full) else { return (false, String::new()) };
    let closer = full > usual;
    let (Some(usual_s), Some(full_s)) = (answers.expected_reading_s(usual), answers.expected_reading_s(full))
    else {
        return (closer, String::new());
    };
    if full_s < SHOWN_S {
        return (closer, String::new());
    }
    let (usual, full) = (format::rough_duration(usual_s), format::rough_duration(full_s));
    let sentence = match closer {
        true => words.with("answer-begins-closer", &[("usual", &usual), ("closer", &full)]),
        false => words.with("answer-begins", &[("usual", &usual)]),
    };
    (closer, sentence)
}

/// Returns about how many pixels the model reads of a video; `None` if it cannot read it.
fn pixels(engine: &dyn Engine, info: &ModelInfo, probe: &ProbeSummary, budget: VideoBudget) -> Option<u64> {
    let FrameRate { fps, min_frames, max_frames } = info.frame_rate;
    let stream = &probe.video;
    let most = stream.frame_count.min(max_frames as u64).max(1);
    let frames = ((probe.duration_s * fps).round() as u64).max(min_frames as u64).min(most);
    let (width, height) =
        engine.video_size(usize::try_from(frames).ok()?, stream.width, stream.height, budget).ok()?;
    Some(frames * u64::from(width) * u64::from(height))
}
