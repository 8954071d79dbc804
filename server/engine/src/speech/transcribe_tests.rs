//! Tests of [`super`] with a transcriber that says what it hears of drawn sounds.

use std::sync::Mutex;

use futures_util::stream;

use super::*;
use crate::speech::{Speech, WindowLanguage, WindowSegment};

const RATE: usize = SAMPLE_RATE;

/// Returns "voice" of a pitch that the detector takes for one: pulses of a throat through the resonances of a vowel, whose pitch
/// moves as in speech.
fn voice(seconds: f64) -> Vec<f32> {
    let count = (seconds * RATE as f64) as usize;
    let mut phase = 0.0f64;
    let samples = (0..count).map(|i| {
        let t = i as f64 / RATE as f64;
        phase += (120.0 + 20.0 * (2.0 * std::f64::consts::PI * 2.5 * t).sin()) / RATE as f64;
        // Syllables: four a second.
        let loud = (2.0 * std::f64::consts::PI * 4.0 * t).sin().mul_add(0.45, 0.55);
        let vowel = [(1.0, 1.0), (3.0, 0.5)][(t * 4.0) as usize % 2];
        let tones = (1..30).map(|n| {
            let hertz = 120.0 * f64::from(n);
            let near = |formant: f64| (-((hertz - formant) / 150.0).powi(2)).exp();
            let gain = near(600.0 / vowel.0 + 200.0)
                + vowel.1 * near(1200.0 * vowel.1 + 400.0)
                + 0.3 * near(2500.0)
                + 0.02;
            gain * (2.0 * std::f64::consts::PI * phase * f64::from(n)).sin()
        });
        (0.15 * loud * tones.sum::<f64>()) as f32
    });
    samples.collect()
}

fn silence(seconds: f64) -> Vec<f32> {
    vec![0.0; (seconds * RATE as f64) as usize]
}

/// Returns sound in items of odd sizes, as a decoder sends it.
fn items(sound: &[f32]) -> impl futures_util::Stream<Item = Result<Vec<f32>, EngineError>> + Send {
    let items: Vec<_> = sound.chunks(7001).map(|chunk| Ok(chunk.to_vec())).collect();
    stream::iter(items)
}

/// Says `consumed` of each window, and one segment about all of it.
struct Fake {
    consumed: fn(f64) -> f64,
    seen: Mutex<Vec<(f64, Option<String>)>>,
}

impl Fake {
    fn new(consumed: fn(f64) -> f64) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { consumed, seen: Mutex::default() })
    }
}

impl WindowTranscriber for Fake {
    fn window_samples(&self) -> usize {
        30 * RATE
    }
    fn concurrency(&self) -> usize {
        4
    }
    fn detects_language(&self) -> bool {
        true
    }
    fn transcribe(&self, window: WindowRequest) -> BoxFuture<'_, Result<WindowText, EngineError>> {
        let len_s = window.samples.len() as f64 / RATE as f64;
        self.seen.lock().unwrap().push((len_s, window.language));
        let consumed_s = (self.consumed)(len_s);
        let segment =
            WindowSegment { start_s: 0.0, end_s: consumed_s, text: format!("{len_s:.1}\n"), confidence: 0.5 };
        let language = Some(WindowLanguage { code: "de".into(), probability: 0.9 });
        std::future::ready(Ok(WindowText { segments: vec![segment], consumed_s, language })).boxed()
    }
}

async fn run(
    fake: &std::sync::Arc<Fake>,
    sound: &[f32],
    options: &TranscribeOptions,
) -> (Vec<Segment>, Vec<f64>) {
    let (mut segments, mut positions) = (Vec::new(), Vec::new());
    let speech = Speech::new(std::sync::Arc::clone(fake) as _);
    let report = |progress: TranscriptProgress<'_>| {
        segments.extend_from_slice(progress.segments);
        positions.push(progress.position_s);
    };
    speech.transcribe(items(sound), options, report).await.unwrap();
    (segments, positions)
}

#[tokio::test]
async fn silence_hum_and_noise_are_not_transcribed() {
    let count = 60 * RATE;
    let hum = |i: usize| (i as f32 * 50.0 * std::f32::consts::TAU / RATE as f32).sin();
    let noise = |i: usize| {
        let hash = (i as u32).wrapping_mul(2_654_435_761);
        let hash = (hash ^ hash >> 15).wrapping_mul(2_246_822_519);
        (hash >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let chord = |i: usize| {
        [220.0f32, 277.2, 329.6]
            .iter()
            .map(|hertz| (i as f32 * hertz * std::f32::consts::TAU / RATE as f32).sin())
            .sum::<f32>()
            / 3.0
    };
    type Sound = Box<dyn Fn(usize) -> f32>;
    let sounds: [(&str, Sound); 6] = [
        ("silence", Box::new(|_| 0.0)),
        ("hum", Box::new(move |i| 0.3 * hum(i))),
        ("quiet noise", Box::new(move |i| 0.003 * noise(i))),
        ("loud noise", Box::new(move |i| 0.5 * noise(i))),
        ("a chord", Box::new(move |i| 0.4 * chord(i))),
        ("what is no number", Box::new(|_| f32::NAN)),
    ];
    for (name, sound) in sounds {
        let fake = Fake::new(|len_s| len_s);
        let sound: Vec<f32> = (0..count).map(sound).collect();
        let (segments, positions) = run(&fake, &sound, &TranscribeOptions::default()).await;
        assert_eq!((segments.len(), fake.seen.lock().unwrap().len()), (0, 0), "{name}");
        assert_eq!(positions.last(), Some(&60.0), "{name}");
    }
}

#[tokio::test]
async fn spoken_parts_keep_their_times() {
    let sound =
        [silence(12.0), voice(3.0), silence(1.0), voice(2.0), silence(40.0), voice(4.0), silence(2.0)]
            .concat();
    let fake = Fake::new(|len_s| len_s);
    let options = TranscribeOptions { start_s: 100.0, language: None };
    let (segments, positions) = run(&fake, &sound, &options).await;
    let times: Vec<(f64, f64)> = segments.iter().map(|segment| (segment.start_s, segment.end_s)).collect();
    assert_eq!(times.len(), 2, "{times:?}");
    for ((start, end), (true_start, true_end)) in times.into_iter().zip([(112.0, 118.0), (158.0, 162.0)]) {
        assert!((start - true_start).abs() < 0.3 && (end - true_end).abs() < 0.3, "{start} to {end}");
    }
    assert!(positions.is_sorted(), "{positions:?}");
    assert_eq!(*positions.last().unwrap(), 100.0 + sound.len() as f64 / RATE as f64);
    // Detected once, and without the control characters of the model.
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen.iter().map(|(_, language)| language.as_deref()).collect::<Vec<_>>(), [None, Some("de")]);
    assert!(
        segments
            .iter()
            .all(|segment| segment.language.as_deref() == Some("de") && !segment.text.contains('\n'))
    );
}

#[tokio::test]
async fn long_speech_is_cut_in_pauses() {
    let sentence = [voice(7.0), silence(0.8)].concat();
    let fake = Fake::new(|len_s| len_s);
    let (segments, _) = run(&fake, &sentence.repeat(12), &TranscribeOptions::default()).await;
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert!(seen.iter().all(|(len_s, _)| (22.0..24.5).contains(len_s)), "{seen:?}");
    let spoken: f64 = segments.iter().map(|segment| segment.end_s - segment.start_s).sum();
    assert!((spoken - 12.0 * 7.8).abs() < 4.0, "{spoken}");
    assert!(segments.windows(2).all(|pair| pair[0].end_s <= pair[1].start_s), "{segments:?}");
}

#[tokio::test]
async fn speech_without_a_pause_goes_on_where_the_text_ends() {
    // Of a full window, the last 4 s are cut off.
    let fake = Fake::new(|len_s| if len_s >= 30.0 { 26.0 } else { len_s });
    let (segments, _) = run(&fake, &voice(70.0), &TranscribeOptions::default()).await;
    let starts: Vec<f64> = segments.iter().map(|segment| segment.start_s.round()).collect();
    assert_eq!(starts, [0.0, 26.0, 52.0], "{segments:?}");
    assert!((segments[2].end_s - 70.0).abs() < 0.3, "{segments:?}");
}

#[tokio::test]
async fn voice_up_to_the_last_sample_ends_with_the_sound() {
    // The detector judges frames of 256 samples; the last one is not complete.
    for more in [0, 1, 100, 255] {
        let mut sound = voice(6.0);
        sound.truncate(5 * RATE / 256 * 256 + more);
        let fake = Fake::new(|len_s| len_s);
        let (segments, positions) = run(&fake, &sound, &TranscribeOptions::default()).await;
        let length = sound.len() as f64 / RATE as f64;
        assert_eq!((segments.len(), fake.seen.lock().unwrap().len()), (1, 1), "{more}");
        assert!(segments[0].end_s <= length, "{more}: {segments:?}");
        assert_eq!(positions.last(), Some(&length), "{more}");
    }
}

#[tokio::test]
async fn a_rest_is_transcribed_and_a_window_that_consumes_nothing_ends() {
    let fake = Fake::new(|len_s| if len_s > 6.0 { 4.0 } else { len_s });
    let (segments, _) =
        run(&fake, &[voice(10.0), silence(1.0)].concat(), &TranscribeOptions::default()).await;
    assert_eq!(segments.len(), 3, "{segments:?}");
    let fake = Fake::new(|_| 0.0);
    let (_, positions) =
        run(&fake, &[voice(70.0), silence(1.0)].concat(), &TranscribeOptions::default()).await;
    assert!(fake.seen.lock().unwrap().len() <= 3);
    assert_eq!(positions.last(), Some(&71.0));
}

#[tokio::test]
async fn errors_of_the_stream_and_items_that_are_too_long_end_it() {
    let speech = Speech::new(Fake::new(|len_s| len_s));
    let broken = stream::iter([Ok(voice(1.0)), Err(EngineError::Failed("broken".into()))]);
    let error = speech.transcribe(broken, &TranscribeOptions::default(), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("broken"), "{error}");
    let long = stream::iter([Ok(silence(61.0))]);
    let error = speech.transcribe(long, &TranscribeOptions::default(), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("960000"), "{error}");
}

#[test]
fn a_segment_is_where_somebody_speaks() {
    let second = RATE as u64;
    let voice = [Voice { start: 2 * second, end: 4 * second }, Voice { start: 6 * second, end: 7 * second }];
    assert_eq!(within_voice(&voice, (0.0, 5.0)), Some((1.9, 4.1)));
    assert_eq!(within_voice(&voice, (2.5, 6.5)), Some((2.5, 6.5)));
    assert_eq!(
        within_voice(&voice, (4.0, 6.5)),
        Some((5.9, 6.5)),
        "what is said before is in the segment before"
    );
    assert_eq!(within_voice(&voice, (3.9, 6.1)), Some((3.9, 6.1)), "too little of either, but something");
    assert_eq!(within_voice(&voice, (4.5, 5.5)), None);
    assert_eq!(within_voice(&voice, (8.0, 9.0)), None);
}

#[test]
fn text_of_a_model_is_bounded_and_printable() {
    assert_eq!(printable(" a\u{1b}[31m\nb ").as_deref(), Some("a [31m b"));
    assert_eq!(printable(" \n "), None);
    assert_eq!(printable(&"x".repeat(5000)).unwrap().len(), MOST_TEXT);
}

#[test]
fn brief_and_improbable_texts_are_not_speech() {
    // Seconds and confidence of what whisper-tiny.en writes for a short noise in a film, and for speech.
    for (text, len_s, confidence, said) in [
        ("Thank you.", 1.0, 0.30, false),
        ("I'm glad.", 0.84, 0.27, false),
        ("Mmm.", 0.74, 0.36, false),
        ("you", 0.72, 0.10, false),
        ("Okay.", 0.55, 0.66, true),
        ("My sister found a little green frog, spoken in noise", 2.87, 0.35, true),
        ("That is all for today.", 1.53, 0.64, true),
    ] {
        assert_eq!(is_said(len_s, confidence), said, "{text}");
    }
}
