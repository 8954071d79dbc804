//! Reads `generation_config.json`: end tokens and default sampling parameters.

use serde::Deserialize;
use serde_json::Value;

use crate::SamplingParams;

/// The contents of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationConfig {
    /// Ids that end an answer.
    pub eos: Vec<u32>,
    /// Default sampling parameters; greedy where the file does not enable sampling.
    pub sampling: SamplingParams,
}

#[derive(Deserialize, Default)]
struct Raw {
    eos_token_id: Option<OneOrManyIds>,
    #[serde(default)]
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<usize>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrManyIds {
    One(u32),
    Many(Vec<u32>),
}

impl From<OneOrManyIds> for Vec<u32> {
    fn from(ids: OneOrManyIds) -> Self {
        match ids {
            OneOrManyIds::One(id) => vec![id],
            OneOrManyIds::Many(ids) => ids,
        }
    }
}

impl GenerationConfig {
    /// Reads `generation_config.json`, which may be missing; end tokens that it doesn't name come from
    /// `config.json`.
    ///
    /// # Errors
    /// Names the damaged file, or reports that no file names an end token.
    pub fn read(read: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Self, String> {
        const FILE: &str = "generation_config.json";
        let raw = match read(FILE) {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("{FILE}: {error}"))?,
            None => Raw::default(),
        };
        let eos = raw.eos_token_id.map_or_else(|| eos_of_config(&read), Vec::from);
        if eos.is_empty() {
            return Err(format!("neither {FILE} nor config.json names an eos_token_id"));
        }
        let greedy = SamplingParams::default();
        let sampling = if raw.do_sample == Some(true) {
            SamplingParams {
                temperature: raw.temperature.unwrap_or(1.0),
                top_p: raw.top_p.unwrap_or(greedy.top_p),
                top_k: raw.top_k.unwrap_or(greedy.top_k),
                min_p: raw.min_p.unwrap_or(greedy.min_p),
                repetition_penalty: raw.repetition_penalty.unwrap_or(greedy.repetition_penalty),
                ..greedy
            }
        } else {
            greedy
        };
        Ok(Self { eos, sampling })
    }
}

fn eos_of_config(read: &impl Fn(&str) -> Option<Vec<u8>>) -> Vec<u32> {
    let Some(config) = read("config.json").and_then(|b| serde_json::from_slice::<Value>(&b).ok()) else {
        return Vec::new();
    };
    [&config["eos_token_id"], &config["text_config"]["eos_token_id"]]
        .into_iter()
        .find_map(|value| serde_json::from_value::<OneOrManyIds>(value.clone()).ok())
        .map_or_else(Vec::new, Vec::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(generation: Option<&str>, config: &str) -> Result<GenerationConfig, String> {
        GenerationConfig::read(|file| match file {
            "generation_config.json" => generation.map(|text| text.as_bytes().to_vec()),
            "config.json" => Some(config.as_bytes().to_vec()),
            _ => None,
        })
    }

    #[test]
    fn the_published_file_is_read() {
        let text = r#"{"do_sample": true, "eos_token_id": [151645, 151643], "pad_token_id": 151643,
            "repetition_penalty": 1.0, "temperature": 0.7, "top_k": 20, "top_p": 0.8}"#;
        let got = read(Some(text), "{}").unwrap();
        assert_eq!(got.eos, [151_645, 151_643]);
        let SamplingParams { temperature, top_k, top_p, .. } = got.sampling;
        assert_eq!((temperature, top_k, top_p), (0.7, 20, 0.8));
    }

    #[test]
    fn end_tokens_may_be_one_number_or_stand_in_config() {
        assert_eq!(read(Some(r#"{"eos_token_id": 7}"#), "{}").unwrap().eos, [7]);
        assert_eq!(read(None, r#"{"text_config": {"eos_token_id": 8}}"#).unwrap().eos, [8]);
        assert_eq!(read(None, r#"{"eos_token_id": [9, 8]}"#).unwrap().eos, [9, 8]);
        assert!(read(None, "{}").unwrap_err().contains("eos_token_id"));
    }

    #[test]
    fn without_do_sample_the_default_is_greedy() {
        let got = read(Some(r#"{"eos_token_id": 7, "temperature": 0.7}"#), "{}").unwrap();
        assert_eq!(got.sampling, SamplingParams::default());
    }
}
