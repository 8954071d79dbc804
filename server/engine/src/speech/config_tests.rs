//! Tests of [`super`]: the published files are read, and hostile values are refused by name.

use serde_json::{Value, json};

use super::*;

fn tiny_en() -> Value {
    json!({
        "model_type": "whisper", "d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "encoder_attention_heads": 6,
        "decoder_attention_heads": 6, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536, "vocab_size": 51864,
        "num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 448, "activation_function": "gelu",
        "eos_token_id": 50256, "decoder_start_token_id": 50257, "suppress_tokens": [1, 2, 7], "begin_suppress_tokens": [220, 50256],
    })
}

fn with(mut value: Value, key: &str, new: Value) -> Value {
    value[key] = new;
    value
}

fn config(value: &Value) -> Result<Config, String> {
    Config::from_json("m", value.to_string().as_bytes()).map_err(|error| error.to_string())
}

fn generation(value: Option<&Value>) -> Result<GenerationConfig, String> {
    let own = tiny_en();
    let json = value.map(Value::to_string);
    let read = GenerationConfig::from_json(
        "m",
        json.as_deref().map(str::as_bytes),
        own.to_string().as_bytes(),
        &config(&own)?,
    );
    read.map_err(|error| error.to_string())
}

#[test]
fn published_shapes_are_read() {
    let tiny = config(&tiny_en()).unwrap();
    assert_eq!((tiny.d_model, tiny.mel_bins, tiny.window_samples()), (384, 80, 480_000));
    assert!(tiny.tie_word_embeddings);
    let turbo =
        [("d_model", 1280), ("encoder_layers", 32), ("encoder_attention_heads", 20), ("num_mel_bins", 128)];
    let turbo = turbo.into_iter().fold(tiny_en(), |value, (key, new)| with(value, key, new.into()));
    let turbo = with(turbo, "decoder_attention_heads", 20.into());
    assert_eq!(config(&turbo).unwrap().mel_bins, 128);
}

#[test]
fn hostile_shapes_are_refused_by_name() {
    for (key, value) in [
        ("model_type", json!("llama")),
        ("activation_function", json!("relu")),
        ("d_model", json!(0)),
        ("d_model", json!(385)),
        ("d_model", json!(1u64 << 60)),
        ("encoder_layers", json!(100_000)),
        ("encoder_ffn_dim", json!("many")),
        ("vocab_size", json!(-1)),
        ("num_mel_bins", json!(201)),
        ("max_source_positions", json!(1501)),
        ("max_target_positions", Value::Null),
    ] {
        let error = config(&with(tiny_en(), key, value.clone())).unwrap_err();
        assert!(error.contains(key) && error.contains("config.json"), "{key} {value}: {error}");
    }
    assert!(Config::from_json("m", b"[").unwrap_err().to_string().contains("config.json"));
}

#[test]
fn tokens_come_from_the_newer_file_first() {
    let old = generation(None).unwrap();
    assert_eq!((old.start, old.end, old.max_length), (50257, 50256, 448));
    assert_eq!((old.suppress, old.begin_suppress), (vec![1, 2, 7], vec![220, 50256]));
    assert_eq!((old.no_timestamps, old.multilingual, old.max_initial_timestamp), (None, None, None));
    let new = generation(Some(&json!({
        "decoder_start_token_id": 50258, "eos_token_id": [50257], "no_timestamps_token_id": 50363, "is_multilingual": true,
        "lang_to_id": { "<|en|>": 50259, "<|de|>": 50261 }, "task_to_id": { "transcribe": 50359, "translate": 50358 },
        "suppress_tokens": [-1], "max_initial_timestamp_index": 50, "max_length": 448,
    })))
    .unwrap();
    assert_eq!((new.start, new.end, new.no_timestamps), (50258, 50257, Some(50363)));
    assert_eq!(new.languages, [("<|en|>".to_owned(), 50259), ("<|de|>".to_owned(), 50261)]);
    assert_eq!((new.transcribe, new.max_initial_timestamp), (Some(50359), Some(50)));
    assert_eq!((new.suppress, new.begin_suppress), (vec![], vec![220, 50256]));
}

#[test]
fn tokens_outside_the_vocabulary_are_refused_by_name() {
    for (key, value) in [
        ("eos_token_id", json!(51864)),
        ("eos_token_id", json!([])),
        ("suppress_tokens", json!([99999])),
        ("suppress_tokens", json!(vec![1; MAX_LIST + 1])),
        ("lang_to_id", json!({ "<|en|>": 99999 })),
        ("lang_to_id", json!([1])),
        ("max_initial_timestamp_index", json!(5000)),
        ("is_multilingual", json!("yes")),
    ] {
        let error = generation(Some(&json!({ key: value.clone() }))).unwrap_err();
        assert!(error.contains(key) && error.contains("generation_config.json"), "{key} {value}: {error}");
    }
}

#[test]
fn other_features_than_ours_are_refused_by_name() {
    let own = config(&tiny_en()).unwrap();
    let check = |value: Value| check_preprocessor("m", Some(value.to_string().as_bytes()), &own);
    let published = json!({ "feature_size": 80, "hop_length": 160, "n_fft": 400, "chunk_length": 30, "n_samples": 480_000,
        "nb_max_frames": 3000, "sampling_rate": 16000, "dither": 0.0, "do_normalize": false });
    check(published).unwrap();
    check_preprocessor("m", None, &own).unwrap();
    for (key, value) in [
        ("feature_size", json!(128)),
        ("sampling_rate", json!(44100)),
        ("hop_length", json!("x")),
        ("n_samples", json!(160)),
        ("do_normalize", json!(true)),
        ("dither", json!(0.1)),
    ] {
        let error = check(json!({ key: value })).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("preprocessor_config.json"), "{error}");
    }
}
