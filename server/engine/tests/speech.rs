//! Speech equals transformers': features within 1e-4, encodings and logits within 1e-3, greedy tokens and languages identical, for
//! random checkpoints, one by one and in a batch. `scripts/model/speech_reference.py` writes the golden files.
//!
//! `scripts/test.sh speech` also runs the tests that are ignored: `HOMEREEL_TEST_SPEECH` names a directory with a real English
//! checkpoint in `model` and clips in `clips`, which `speech_checkpoint.py` and `speech_reference.py --clips` write.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

#[expect(dead_code, reason = "there are no pictures here")]
mod golden;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Device;
use futures_util::stream;
use golden::{Case, Golden, checkpoint_dir};
use homereel_engine::ModelSource;
use homereel_engine::speech::{
    self, Decoded, SAMPLE_RATE, Segment, SpeechModel, SpeechSource, TranscribeOptions, WindowInput,
};
use serde_json::Value;

#[test]
fn english_checkpoint() -> Result<()> {
    check("speech-en")
}

#[test]
fn multilingual_checkpoint() -> Result<()> {
    check("speech-multilingual")
}

fn check(name: &str) -> Result<()> {
    let model = SpeechModel::open(name, &checkpoint_dir(name), &Device::Cpu)?;
    let golden = Golden::read(name)?;
    assert!(golden.cases.len() >= 6, "{name}: {} cases", golden.cases.len());
    let sounds: Vec<Vec<f32>> = golden.cases.iter().map(|case| sound(&case.record["sound"])).collect();
    for (case, samples) in golden.cases.iter().zip(&sounds) {
        let what = format!("{name}/{}", case.name);
        check_network(&what, case, &model, samples)?;
        check_decoded(&what, case, &model, &decode(&model, &[samples])?[0]);
    }
    let windows: Vec<&Vec<f32>> = sounds.iter().collect();
    for (case, decoded) in golden.cases.iter().zip(decode(&model, &windows)?) {
        check_decoded(&format!("{name}/{} in a batch", case.name), case, &model, &decoded);
    }
    Ok(())
}

fn decode(model: &SpeechModel, sounds: &[&Vec<f32>]) -> Result<Vec<Decoded>> {
    let windows: Vec<_> = sounds.iter().map(|samples| WindowInput { samples, language: None }).collect();
    let decoded = model.decode(&windows, false, &|_| false)?;
    decoded.into_iter().map(|decoded| decoded.context("nothing decoded")).collect()
}

fn check_network(what: &str, case: &Case, model: &SpeechModel, samples: &[f32]) -> Result<()> {
    let features = model.features(samples);
    let config = model.network().config();
    let (frames, bins) = (2 * config.source_positions, config.mel_bins);
    assert_eq!(features.len(), frames * bins, "{what}: features");
    let (_, want) = case.tensor("features");
    assert_within(1e-4, &format!("{what}: features"), &rows_of(&features, bins, want.len() / bins), want);

    let encoded = model.network().encode(std::slice::from_ref(&features))?;
    let (_, want) = case.tensor("encoded");
    let values: Vec<f32> = encoded.flatten_all()?.to_vec1()?;
    let rows = rows_of(&values, config.d_model, want.len() / config.d_model);
    assert_close(&format!("{what}: encoded"), &rows, want);

    let mut sequences = model.network().sequences(&encoded)?;
    let hidden = model.network().append(&[model.tokens().start], &mut [&mut sequences[0]])?;
    let logits = model.network().logits(&hidden)?;
    assert_close(&format!("{what}: logits"), &logits[0], case.tensor("logits").1);
    Ok(())
}

fn check_decoded(what: &str, case: &Case, model: &SpeechModel, decoded: &Decoded) {
    assert_eq!(decoded.tokens, case.numbers("tokens"), "{what}: tokens");
    let language = decoded.language.and_then(|id| model.tokens().language_code(id));
    assert_eq!(language, case.record["language"].as_str(), "{what}: language");
    for (key, got) in [("avg_logprob", decoded.avg_logprob), ("no_speech_prob", decoded.no_speech_prob)] {
        let want = case.record[key].as_f64().unwrap();
        assert!(
            (f64::from(got) - want).abs() < 1e-3 * want.abs().max(1e-3),
            "{what}: {key} is {got}, not {want}"
        );
    }
    assert_eq!(decoded.logprobs.len(), decoded.tokens.len(), "{what}");
}

/// `sound()` of `scripts/model/speech_reference.py`.
fn sound(plan: &Value) -> Vec<f32> {
    let seed = plan["seed"].as_i64().unwrap();
    let count = (plan["seconds"].as_f64().unwrap() * SAMPLE_RATE as f64) as i64;
    let shift = plan["shift"].as_u64().unwrap_or(0);
    let silence = |index: usize| (plan["silence"][index].as_f64().unwrap_or(0.0) * SAMPLE_RATE as f64) as i64;
    let silence = silence(0)..silence(1);
    let triangle = |period: i64, i: i64| ((i % period) * 16384 / period - 8192).abs();
    let sample = |i: i64| {
        let mut h = (i as u32).wrapping_mul(2_654_435_761) ^ (seed as u32).wrapping_mul(2_246_822_519);
        h ^= h >> 15;
        h = h.wrapping_mul(2_246_822_519);
        let x = triangle(40 + 13 * (seed % 7), i) + triangle(25 + seed + i / 4000 % 23, i) - 8192
            + i64::from(h >> 20)
            - 2048;
        let x = if silence.contains(&i) { 0 } else { x >> shift };
        x.clamp(-32768, 32767) as f32 / 32768.0
    };
    (0..count).map(sample).collect()
}

/// Returns `count` rows, evenly spread, first and last among them.
fn rows_of(values: &[f32], width: usize, count: usize) -> Vec<f32> {
    let last = (values.len() / width - 1) as f64;
    let row = |index: usize| (index as f64 * last / (count - 1) as f64).round_ties_even() as usize;
    (0..count).flat_map(|index| values[row(index) * width..][..width].to_vec()).collect()
}

/// Largest difference at most 1e-3 of the largest value.
fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    let scale = want.iter().fold(0f32, |most, value| most.max(value.abs()));
    assert!(scale > 0.1, "{what}: the golden values are all near zero");
    assert_within(1e-3 * scale, what, got, want);
}

fn assert_within(tolerance: f32, what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "{what}: value {index} is {got}, not {want}");
    }
}

/// A spoken clip, and the tokens that transformers makes of it.
struct Clip {
    name: String,
    text: String,
    tokens: Vec<u32>,
    samples: Vec<f32>,
}

/// Returns the directory that `HOMEREEL_TEST_SPEECH` names.
fn speech_dir() -> Result<PathBuf> {
    let dir = std::env::var_os("HOMEREEL_TEST_SPEECH");
    dir.map(PathBuf::from).context("HOMEREEL_TEST_SPEECH is not set; `scripts/test.sh speech` sets it")
}

fn clips(dir: &Path) -> Result<Vec<Clip>> {
    let json: Value = serde_json::from_slice(&std::fs::read(dir.join("clips/expected.json"))?)?;
    let clip = |clip: &Value| {
        let name = clip["file"].as_str().context("no file")?.to_owned();
        let tokens = clip["tokens"].as_array().context("no tokens")?.iter();
        let bytes = std::fs::read(dir.join("clips").join(&name))?;
        // flite's header has 44 bytes, and says 16 kHz, mono, 16 bits.
        let samples = bytes[44..].chunks_exact(2);
        Ok(Clip {
            text: clip["text"].as_str().context("no text")?.to_owned(),
            tokens: tokens.map(|token| token.as_u64().unwrap() as u32).collect(),
            samples: samples
                .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0)
                .collect(),
            name,
        })
    };
    json["clips"].as_array().context("no clips")?.iter().map(clip).collect()
}

#[test]
#[ignore = "needs a checkpoint and spoken clips, which scripts/test.sh speech makes"]
fn tokens_of_spoken_sentences_equal_those_of_transformers() -> Result<()> {
    let dir = speech_dir()?;
    let model = SpeechModel::open("tiny.en", &dir.join("model"), &Device::Cpu)?;
    let clips = clips(&dir)?;
    assert!(clips.len() >= 10, "{} clips", clips.len());
    let sounds: Vec<&Vec<f32>> = clips.iter().map(|clip| &clip.samples).collect();
    for sounds in [&sounds[..1], &sounds[..]] {
        for (clip, decoded) in clips.iter().zip(decode(&model, sounds)?) {
            assert_eq!(decoded.tokens, clip.tokens, "{}: {}", clip.name, model.text(&decoded.tokens));
        }
    }
    Ok(())
}

/// All clips one after the other, with silence of several lengths between them.
#[tokio::test]
#[ignore = "needs a checkpoint and spoken clips, which scripts/test.sh speech makes"]
async fn spoken_sentences_are_found_where_they_are() -> Result<()> {
    let dir = speech_dir()?;
    let mut sound = vec![0.0; 3 * SAMPLE_RATE];
    let mut places = Vec::new();
    for (index, clip) in clips(&dir)?.iter().enumerate() {
        places.push((sound.len() as f64 / SAMPLE_RATE as f64, clip.text.clone()));
        sound.extend_from_slice(&clip.samples);
        sound.resize(sound.len() + [SAMPLE_RATE, 9 * SAMPLE_RATE, SAMPLE_RATE / 2][index % 3], 0.0);
    }
    let speech = speech::open(SpeechSource::local(ModelSource::Dir(dir.join("model"))))?;
    let items: Vec<_> = sound.chunks(5000).map(|chunk| Ok(chunk.to_vec())).collect();
    let mut segments: Vec<Segment> = Vec::new();
    speech
        .transcribe(stream::iter(items), &TranscribeOptions::default(), |progress| {
            segments.extend_from_slice(progress.segments);
        })
        .await?;
    assert!(segments.windows(2).all(|pair| pair[0].end_s <= pair[1].start_s), "{segments:?}");
    let said = words(&segments.iter().map(|segment| segment.text.as_str()).collect::<Vec<_>>().join(" "));
    let spoken = words(&places.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" "));
    let wrong = distance(&said, &spoken);
    assert!(wrong * 10 <= spoken.len(), "{wrong} of {} words are wrong: {said:?}", spoken.len());
    // The first word of each clip that begins behind a long pause.
    for (start_s, text) in places.iter().step_by(3) {
        let near =
            segments.iter().map(|segment| (segment.start_s - start_s).abs()).fold(f64::INFINITY, f64::min);
        assert!(near < 0.3, "{text:?} begins at {start_s}, {near} s from any segment: {segments:#?}");
    }
    Ok(())
}

fn words(text: &str) -> Vec<String> {
    let plain: String =
        text.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    plain.split_whitespace().map(str::to_owned).collect()
}

/// Returns the number of words that were put in, left out or changed.
fn distance(said: &[String], spoken: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=spoken.len()).collect();
    for (index, word) in said.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], index + 1);
        for (at, other) in spoken.iter().enumerate() {
            let changed = before + usize::from(word != other);
            before = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(before + 1);
        }
    }
    row[spoken.len()]
}
