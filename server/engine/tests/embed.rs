//! Parity of the sentence models with sentence-transformers: vectors within 10⁻⁴ for every text, whatever the batch.
//! `scripts/model/embed_reference.py` writes the golden files of the small random models, `scripts/model/embed_checkpoint.py`
//! unpacks a real one.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use homereel_engine::embed::{EmbedConfig, EmbedSource, Embedder, Prompts, Purpose};
use homereel_engine::{EngineError, ModelSource};
use safetensors::SafeTensors;
use tokio_util::sync::CancellationToken;

fn parity_dir() -> PathBuf {
    let here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity");
    std::env::var_os("HOMEREEL_TEST_PARITY").map_or_else(here, PathBuf::from).join("embed")
}

fn config(directory: &Path) -> EmbedConfig {
    EmbedConfig::new(EmbedSource::Model(ModelSource::Dir(directory.to_owned())))
}

/// Reads the texts of `NAME.json`, and the rows of `key` in `NAME.safetensors`.
fn golden(base: &Path, key: &str) -> (Vec<String>, Vec<Vec<f32>>) {
    let json = std::fs::read(base.with_extension("json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let texts = json["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned());
    let bytes = std::fs::read(base.with_extension("safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(key).unwrap();
    let rows = tensor
        .data()
        .chunks_exact(4 * tensor.shape()[1])
        .map(|row| row.chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect());
    (texts.collect(), rows.collect())
}

fn assert_equal(what: &str, texts: &[String], got: &[Vec<f32>], want: &[Vec<f32>]) {
    assert_eq!((got.len(), want.len()), (texts.len(), texts.len()), "{what}");
    for ((text, got), want) in texts.iter().zip(got).zip(want) {
        assert_eq!(got.len(), want.len(), "{what}");
        let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let shown: String = text.chars().take(40).collect();
        assert!(off < 1e-4, "{what}, {shown:?}: off by {off}");
    }
}

async fn check(directory: &Path, base: &Path, keys: &[(&str, Purpose)]) -> Embedder {
    let embedder = Embedder::open(config(directory)).unwrap();
    let cancel = CancellationToken::new();
    for &(key, purpose) in keys {
        let (texts, want) = golden(base, key);
        assert!(texts.len() >= 20);
        let got = embedder.embed(texts.clone(), purpose, &cancel).await.unwrap();
        assert_equal(key, &texts, &got, &want);
        // One by one, without other texts in the batch.
        for (text, want) in texts.iter().zip(&want).take(20) {
            let got = embedder.embed(vec![text.clone()], purpose, &cancel).await.unwrap();
            let (text, want) = (std::slice::from_ref(text), std::slice::from_ref(want));
            assert_equal(&format!("{key}, alone"), text, &got, want);
        }
    }
    embedder
}

const BOTH: [(&str, Purpose); 2] = [("query", Purpose::Query), ("passage", Purpose::Passage)];

#[tokio::test]
async fn bert_with_mean_pooling_equals_sentence_transformers() {
    let directory = parity_dir().join("bert");
    let embedder = check(&directory, &directory, &BOTH).await;
    assert_eq!(embedder.dimension(), Some(32));
    let id = embedder.model_id().unwrap();
    assert!(id.starts_with("bert@") && id.len() == 17, "{id}");
}

#[tokio::test]
async fn xlm_roberta_with_prompts_equals_sentence_transformers() {
    let directory = parity_dir().join("xlm-r");
    let embedder = check(&directory, &directory, &BOTH).await;
    assert_eq!(embedder.dimension(), Some(24));
    // Other prompts give other vectors, and these another id.
    let plain = EmbedConfig { prompts: Some(Prompts::default()), ..config(&directory) };
    let plain = Embedder::open(plain).unwrap();
    let cancel = CancellationToken::new();
    let identity = plain.identify(&cancel).await.unwrap();
    assert_eq!((identity.name.as_str(), identity.dimension), ("xlm-r", 24));
    assert_ne!(Some(identity.model_id), embedder.model_id());
    let text = || vec!["dog".to_owned()];
    let unprompted = plain.embed(text(), Purpose::Query, &cancel).await.unwrap();
    assert_ne!(unprompted, embedder.embed(text(), Purpose::Query, &cancel).await.unwrap());
}

#[tokio::test]
#[ignore = "set HOMEREEL_EMBED_MODEL to a directory that scripts/model/embed_checkpoint.py DIR --reference wrote"]
async fn the_real_model_equals_sentence_transformers_on_200_texts() {
    let directory = std::env::var_os("HOMEREEL_EMBED_MODEL").map(PathBuf::from);
    let directory = directory.expect("HOMEREEL_EMBED_MODEL is not set");
    let embedder = check(&directory, &directory.join("reference"), &[("passage", Purpose::Passage)]).await;
    assert_eq!(embedder.dimension(), Some(384));
    let texts = ["kids playing in the snow", "two children throw snowballs", "a man repairs a bicycle"];
    let texts = texts.map(str::to_owned).to_vec();
    let vectors = embedder.embed(texts, Purpose::Query, &CancellationToken::new()).await.unwrap();
    let dot = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum::<f32>();
    assert!(dot(0, 1) > dot(0, 2) + 0.2, "{} {}", dot(0, 1), dot(0, 2));
}

#[tokio::test]
async fn a_model_is_loaded_when_needed_and_unloaded_when_idle() {
    let idle = Duration::from_millis(50);
    let embedder = Embedder::open(EmbedConfig { idle, ..config(&parity_dir().join("bert")) }).unwrap();
    assert!(!embedder.is_loaded() && embedder.identity().is_none());
    let cancel = CancellationToken::new();
    let text = || vec!["dog".to_owned()];
    let first = embedder.embed(text(), Purpose::Query, &cancel).await.unwrap();
    for _ in 0..500 {
        if !embedder.is_loaded() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!embedder.is_loaded() && embedder.identity().is_some());
    assert_eq!(embedder.embed(text(), Purpose::Query, &cancel).await.unwrap(), first);
}

#[tokio::test]
async fn what_can_not_be_embedded_is_said() {
    let cancel = CancellationToken::new();
    let demo = Embedder::open(EmbedConfig::new(EmbedSource::Model(ModelSource::Demo))).unwrap_err();
    assert!(demo.to_string().contains("embeds no text"), "{demo}");
    let missing = Embedder::open(config(Path::new("/nonexistent/model"))).unwrap();
    for _ in 0..2 {
        let error = missing.identify(&cancel).await.unwrap_err().to_string();
        assert!(error.contains("no such directory") && !error.contains("/nonexistent"), "{error}");
    }
    let embedder = Embedder::open(config(&parity_dir().join("bert"))).unwrap();
    assert_eq!(embedder.embed(Vec::new(), Purpose::Query, &cancel).await.unwrap(), Vec::<Vec<f32>>::new());
    let many = vec![String::new(); 2049];
    let error = embedder.embed(many, Purpose::Query, &cancel).await.unwrap_err();
    assert_eq!(error.to_string(), "there are 2049 texts; at most 2048 would fit");
    cancel.cancel();
    let error = embedder.embed(vec!["dog".into()], Purpose::Query, &cancel).await.unwrap_err();
    assert!(matches!(error, EngineError::Cancelled), "{error}");
}
