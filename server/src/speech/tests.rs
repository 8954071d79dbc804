//! A transcriber without a model, and delays after failures.

use std::sync::Mutex;

use futures_util::{FutureExt as _, future::BoxFuture};
use homereel_engine::speech::{WindowRequest, WindowSegment, WindowText, WindowTranscriber};

use super::*;

/// Says a number in every window: how many windows it has heard. Fails once with each of `errors` before that.
#[derive(Default)]
pub(crate) struct Counting {
    pub(crate) errors: Mutex<Vec<EngineError>>,
    heard: AtomicU32,
}

impl WindowTranscriber for Counting {
    fn window_samples(&self) -> usize {
        30 * 16_000
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn detects_language(&self) -> bool {
        false
    }

    fn transcribe(&self, window: WindowRequest) -> BoxFuture<'_, Result<WindowText, EngineError>> {
        let error = self.errors.lock().unwrap().pop();
        let number = self.heard.fetch_add(u32::from(error.is_none()), Ordering::Relaxed);
        let len_s = window.samples.len() as f64 / 16_000.0;
        let segment =
            WindowSegment { start_s: 0.0, end_s: len_s, text: format!("number {number}"), confidence: 0.5 };
        let text = WindowText { segments: vec![segment], consumed_s: len_s, language: None };
        async move { error.map_or(Ok(text), Err) }.boxed()
    }
}

/// A service with that transcriber, which fails first with `errors`, the last one first.
pub(crate) fn counting(errors: Vec<EngineError>) -> SpeechService {
    let transcriber = Counting { errors: Mutex::new(errors), ..Counting::default() };
    SpeechService::new("tiny", Speech::new(Arc::new(transcriber)), None)
}

/// So many seconds of what the voice detector takes for a voice, second by second: pulses of a throat through the resonances of
/// two vowels, four syllables a second.
pub(crate) fn voice(seconds: usize) -> Vec<Vec<f32>> {
    use std::f64::consts::TAU;

    let mut phase = 0.0f64;
    let mut sample = |at: usize| {
        let t = at as f64 / 16_000.0;
        phase += (120.0 + 20.0 * (TAU * 2.5 * t).sin()) / 16_000.0;
        let loud = (TAU * 4.0 * t).sin().mul_add(0.45, 0.55);
        let (first, second) = [(800.0, 1600.0), (400.0, 1000.0)][(t * 4.0) as usize % 2];
        let tones = (1..30).map(|n| {
            let near = |formant: f64| (-((120.0 * f64::from(n) - formant) / 150.0).powi(2)).exp();
            (near(first) + 0.7 * near(second) + 0.3 * near(2500.0) + 0.02)
                * (TAU * phase * f64::from(n)).sin()
        });
        (0.15 * loud * tones.sum::<f64>()) as f32
    };
    (0..seconds).map(|second| (0..16_000).map(|at| sample(second * 16_000 + at)).collect()).collect()
}

#[test]
fn delays_double_until_something_succeeds() {
    let service = counting(Vec::new());
    let away = AskError::Engine(EngineError::Unavailable { retry_after_s: 5 });
    let delays: Vec<u64> = (0..8).filter_map(|_| service.delay(&away)).map(|delay| delay.as_secs()).collect();
    assert_eq!(delays, [5, 10, 20, 40, 80, 160, 300, 300]);
    service.failures.store(0, Ordering::Relaxed);
    let busy = AskError::Engine(EngineError::Overloaded { queued: 1, retry_after_s: 60 });
    assert_eq!(service.delay(&busy), Some(Duration::from_secs(60)));
    assert_eq!(service.delay(&AskError::Engine(EngineError::Failed("x".into()))), None);
}

#[tokio::test]
async fn an_error_of_the_decoder_is_returned_as_it_is() {
    let message = "the video has no sound track that can be decoded".to_owned();
    let error = AskError::Video(VideoError::NoSound { message: message.clone() });
    let samples = stream::iter([Ok(vec![0.0; 16_000]), Err(error)]);
    let options = TranscribeOptions::default();
    let failed = counting(Vec::new()).transcribe(samples, options, SpeechUse::Job, |_| {}).await.unwrap_err();
    assert_eq!(no_sound(&failed), Some(message));
    assert_eq!(no_sound(&AskError::Engine(EngineError::Failed("x".into()))), None);
}
