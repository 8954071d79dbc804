//! A Whisper checkpoint, ready to transcribe windows of up to 30 s: features, network, decoding, segments.

use std::path::Path;

use candle_core::Device;

use super::config::{Config, GenerationConfig, SAMPLE_RATE, TIMESTAMP_STEP, check_preprocessor};
use super::decode::{Decoded, Decoding, Window};
use super::mel::Mel;
use super::network::{Model, Sequence};
use super::segments::cut;
use super::tokens::SpecialTokens;
use super::{WindowLanguage, WindowSegment, WindowText};
use crate::EngineError;
use crate::qwen3vl::Tokenizer;
use crate::source::ModelFiles;

/// A checkpoint.
pub struct SpeechModel {
    network: Model,
    mel: Mel,
    tokens: SpecialTokens,
    tokenizer: Tokenizer,
}

/// A window to transcribe.
pub struct WindowInput<'a> {
    /// 16 kHz, mono, from -1 to 1; what is longer than a window is ignored.
    pub samples: &'a [f32],
    /// Code of its language; `None` means that it is detected.
    pub language: Option<&'a str>,
}

impl SpeechModel {
    /// Opens the checkpoint in `directory`. `model` is the name that errors carry.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming the file, what is wrong and what would fit.
    pub fn open(model: &str, directory: &Path, device: &Device) -> Result<Self, EngineError> {
        let fail = |message: String| EngineError::Model { model: model.into(), message };
        let files = ModelFiles::Dir(directory.to_owned());
        let required = |name: &str| files.read(name).ok_or_else(|| fail(format!("{name} is missing")));
        let config_json = required("config.json")?;
        let config = Config::from_json(model, &config_json)?;
        check_preprocessor(model, files.read("preprocessor_config.json").as_deref(), &config)?;
        let generation = files.read("generation_config.json");
        let generation = GenerationConfig::from_json(model, generation.as_deref(), &config_json, &config)?;
        let tokenizer = Tokenizer::from_json(&required("tokenizer.json")?).map_err(fail)?;
        Ok(Self {
            tokens: SpecialTokens::new(&generation, &config, &tokenizer).map_err(fail)?,
            mel: Mel::new(config.mel_bins),
            network: Model::load(model, directory, &config, device)?,
            tokenizer,
        })
    }

    /// Returns the network.
    #[must_use]
    pub fn network(&self) -> &Model {
        &self.network
    }

    /// Returns the special tokens.
    #[must_use]
    pub fn tokens(&self) -> &SpecialTokens {
        &self.tokens
    }

    /// Returns the features [frames, bins] of a window.
    #[must_use]
    pub fn features(&self, samples: &[f32]) -> Vec<f32> {
        self.mel.features(samples, 2 * self.network.config().source_positions)
    }

    /// Returns the text of tokens.
    #[must_use]
    pub fn text(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens)
    }

    /// Transcribes a batch of windows; `None` for one for which `is_gone`.
    ///
    /// # Errors
    /// `Invalid` for a language that the checkpoint does not know; when the device fails.
    pub fn transcribe(
        &self,
        windows: &[WindowInput<'_>],
        is_gone: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Option<WindowText>>, EngineError> {
        let decoded = self.decode(windows, true, is_gone)?;
        let texts = decoded.into_iter().zip(windows).map(|(decoded, window)| {
            let len = window.samples.len().min(self.network.config().window_samples());
            Some(self.window_text(&decoded?, len.div_ceil(TIMESTAMP_STEP)))
        });
        Ok(texts.collect())
    }

    /// Decodes a batch of windows to tokens. Without `fallback`, this is what transformers' `generate` returns of one window.
    ///
    /// # Errors
    /// As [`Self::transcribe`].
    pub fn decode(
        &self,
        windows: &[WindowInput<'_>],
        fallback: bool,
        is_gone: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Option<Decoded>>, EngineError> {
        let languages = windows.iter().map(|window| self.language(window.language));
        let languages = languages.collect::<Result<Vec<_>, _>>()?;
        let features: Vec<Vec<f32>> = windows.iter().map(|window| self.features(window.samples)).collect();
        let mut sequences: Vec<Sequence> = self.network.sequences(&self.network.encode(&features)?)?;
        let windows = sequences.iter_mut().zip(languages);
        Decoding {
            model: &self.network,
            tokens: &self.tokens,
            text_of: &|tokens| self.text(tokens),
            fallback,
            is_gone,
        }
        .run(windows.map(|(sequence, language)| Window { sequence, language }).collect())
    }

    /// Returns the token of a language.
    ///
    /// # Errors
    /// `Invalid` for one that the checkpoint does not know.
    pub(super) fn language(&self, code: Option<&str>) -> Result<Option<u32>, EngineError> {
        let Some(code) = code else { return Ok(None) };
        if self.tokens.languages.is_empty() {
            return match code {
                "en" => Ok(None),
                _ => Err(EngineError::invalid(
                    "language",
                    format!("the speech model knows only English; {code:?} does not fit"),
                )),
            };
        }
        let id = self.tokens.language_id(code);
        id.map(Some).ok_or_else(|| {
            EngineError::invalid(
                "language",
                format!(
                    "{code:?} is no language of the speech model; a code such as \"en\" or \"de\" would fit"
                ),
            )
        })
    }

    /// Returns the segments of a window of `len` steps.
    fn window_text(&self, decoded: &Decoded, len: usize) -> WindowText {
        let seconds = |steps: usize| (steps * TIMESTAMP_STEP) as f64 / SAMPLE_RATE as f64;
        let code = match decoded.language {
            Some(id) => self.tokens.language_code(id).unwrap_or_default(),
            None => "en",
        };
        let language = Some(WindowLanguage { code: code.to_owned(), probability: decoded.language_prob });
        if decoded.is_silent() || decoded.is_repetitive() {
            return WindowText { segments: Vec::new(), consumed_s: seconds(len), language };
        }
        let (segments, consumed) = cut(&self.tokens, &decoded.tokens, len);
        let segments = segments.into_iter().filter_map(|segment| {
            let range = segment.tokens.clone();
            let own = decoded.tokens[range.clone()].iter().zip(&decoded.logprobs[range]);
            let (text, logprobs): (Vec<u32>, Vec<f32>) = own
                .filter(|(token, _)| **token < self.tokens.end)
                .map(|(token, logprob)| (*token, *logprob))
                .unzip();
            let confidence = (logprobs.iter().sum::<f32>() / logprobs.len().max(1) as f32).exp();
            // A damaged model may yield what is no number.
            let confidence = if confidence.is_nan() { 0.0 } else { confidence.min(1.0) };
            let text = self.text(&text).trim().to_owned();
            (!text.is_empty() && segment.start < segment.end).then(|| WindowSegment {
                start_s: seconds(segment.start),
                end_s: seconds(segment.end),
                text,
                confidence,
            })
        });
        WindowText { segments: segments.collect(), consumed_s: seconds(consumed), language }
    }
}
