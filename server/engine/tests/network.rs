//! The network's edge cases: invalid files, long inputs in chunks, cancellation. `parity.rs` tests its numbers.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

#[expect(dead_code, reason = "only its paths are used here")]
mod golden;

use std::{fs, ops::ControlFlow, path::Path};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use golden::checkpoint_dir;
use homereel_engine::{
    EngineError, EngineErrorKind,
    qwen3vl::{Checkpoint, Config, Features, Kv, Model, Prompt, Visual},
};
use serde_json::{Value, json};

fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn load(name: &str, directory: &Path) -> Result<Model, EngineError> {
    Model::load(&Checkpoint::from_dir(name, directory)?, &Device::Cpu, DType::F32)
}

fn tied() -> Model {
    load("tied", &checkpoint_dir("tied")).unwrap()
}

/// Copies a checkpoint to where it can be spoilt.
fn copy_of(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(checkpoint_dir(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn config_of(name: &str) -> Value {
    serde_json::from_slice(&fs::read(checkpoint_dir(name).join("config.json")).unwrap()).unwrap()
}

fn edited(name: &str, pointer: &str, value: Value) -> Vec<u8> {
    let mut config = config_of(name);
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[key] = value;
    serde_json::to_vec(&config).unwrap()
}

/// Asserts that the error is of the model's files, names all of `words`, and leaks no directory.
fn assert_says(error: &EngineError, words: &[&str]) {
    assert!(matches!(error, EngineError::Model { .. }), "{error:?}");
    assert_eq!(error.kind(), EngineErrorKind::Failed);
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
    assert!(!message.contains("/tmp") && !message.contains("server/"), "{message:?} leaks a path");
}

#[test]
fn a_config_that_lies_is_refused_with_what_would_fit() {
    let cases: &[(&str, Value, &[&str])] = &[
        ("/model_type", json!("llama"), &["model_type \"llama\"", "qwen3_vl", "qwen3_vl_moe"]),
        ("/model_type", Value::Null, &["model_type is missing"]),
        ("/text_config", json!([1]), &["text_config is [1]", "an object would fit"]),
        ("/text_config/hidden_size", json!(0), &["text_config.hidden_size is 0", "from 1 to"]),
        ("/text_config/hidden_size", json!(1u64 << 40), &["text_config.hidden_size is 1099511627776"]),
        ("/text_config/hidden_size", json!(-3), &["text_config.hidden_size is -3"]),
        ("/text_config/hidden_size", Value::Null, &["text_config.hidden_size is missing"]),
        ("/text_config/num_key_value_heads", json!(3), &["num_attention_heads is 4", "does not divide"]),
        ("/text_config/head_dim", json!(15), &["head_dim is 15", "even"]),
        ("/text_config/hidden_act", json!("relu"), &["hidden_act is \"relu\"", "silu"]),
        ("/text_config/rms_norm_eps", json!(-1.0), &["rms_norm_eps is -1.0", "positive"]),
        ("/text_config/attention_bias", json!(true), &["attention_bias is true"]),
        ("/text_config/rope_parameters/rope_type", json!("yarn"), &["\"yarn\"", "default"]),
        ("/text_config/rope_parameters/mrope_section", json!([8, 0, 1]), &["mrope_section is [8, 0, 1]"]),
        ("/text_config/rope_parameters/mrope_section", json!([4, 4]), &["mrope_section has 2 entries"]),
        ("/vision_config/num_heads", json!(5), &["vision_config.hidden_size is 24", "5"]),
        ("/vision_config/num_position_embeddings", json!(35), &["35", "square"]),
        ("/vision_config/deepstack_visual_indexes", json!([1, 0]), &["deepstack_visual_indexes", "rise"]),
        ("/vision_config/deepstack_visual_indexes", json!([7]), &["deepstack_visual_indexes is 7"]),
        ("/vision_config/out_hidden_size", json!(32), &["out_hidden_size is 32", "hidden_size is 64"]),
        ("/vision_config/patch_size", json!("16"), &["vision_config.patch_size is \"16\""]),
        ("/image_token_id", json!(384), &["image_token_id is 384", "from 0 to 383"]),
        ("/tie_word_embeddings", json!("yes"), &["tie_word_embeddings is \"yes\""]),
    ];
    for (pointer, value, words) in cases {
        let error = Config::from_json("m", &edited("tied", pointer, value.clone())).unwrap_err();
        assert_says(&error, words);
    }
    assert_says(&Config::from_json("m", b"{\"model_type\": ").unwrap_err(), &["not valid JSON"]);
    let moe = edited("moe", "/text_config/num_experts_per_tok", json!(9));
    assert_says(&Config::from_json("m", &moe).unwrap_err(), &["num_experts_per_tok is 9", "from 1 to 8"]);
}

#[test]
fn both_generations_of_config_mean_the_same() {
    let mut old = config_of("v457");
    let new = Config::from_json("m", &serde_json::to_vec(&config_of("tied")).unwrap()).unwrap();
    old["text_config"]["num_key_value_heads"] = json!(2);
    let old = Config::from_json("m", &serde_json::to_vec(&old).unwrap()).unwrap();
    assert_eq!(old, new);
}

#[test]
fn weights_that_do_not_match_are_named_with_both_shapes() {
    let with_config = |pointer: &str, value| {
        let copy = copy_of("tied");
        fs::write(copy.path().join("config.json"), edited("tied", pointer, value)).unwrap();
        load("m", copy.path()).unwrap_err()
    };
    let error = with_config("/text_config/vocab_size", json!(400));
    assert_says(&error, &["model.language_model.embed_tokens.weight", "[384, 64]", "[400, 64]"]);
    let error = with_config("/text_config/num_hidden_layers", json!(4));
    assert_says(&error, &["model.language_model.layers.3.", "missing"]);
    let error = with_config("/tie_word_embeddings", json!(false));
    assert_says(&error, &["lm_head.weight is missing", "[384, 64]"]);
}

#[test]
fn files_that_are_missing_or_damaged_are_named() {
    let broken = |name: &str, spoil: &dyn Fn(&Path)| {
        let copy = copy_of(name);
        spoil(copy.path());
        load("m", copy.path()).unwrap_err()
    };
    let error = broken("v457", &|dir| fs::remove_file(dir.join("model-00002-of-00002.safetensors")).unwrap());
    assert_says(&error, &["model-00002-of-00002.safetensors"]);
    let error = broken("tied", &|dir| fs::remove_file(dir.join("model.safetensors")).unwrap());
    assert_says(&error, &["no weights", "model.safetensors.index.json"]);
    let error = broken("tied", &|dir| fs::remove_file(dir.join("config.json")).unwrap());
    assert_says(&error, &["config.json can't be read"]);
    let error = broken("tied", &|dir| {
        let file = dir.join("model.safetensors");
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert_says(&error, &["model.safetensors is no safetensors file"]);
    let error = broken("tied", &|dir| fs::write(dir.join("model.safetensors"), b"").unwrap());
    assert_says(&error, &["model.safetensors"]);
    let error = broken("v457", &|dir| {
        let index = json!({"weight_map": {"a": "../../other.safetensors"}});
        fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
    });
    assert_says(&error, &["weight_map", "beside the index"]);
}

#[test]
fn weights_inside_the_program_load_like_files() {
    let read = |file| fs::read(checkpoint_dir("tied").join(file)).unwrap();
    let weights = read("model.safetensors").leak();
    let checkpoint = Checkpoint::from_static("m", &read("config.json"), weights).unwrap();
    let model = Model::load(&checkpoint, &Device::Cpu, DType::F32).unwrap();
    let prompt = Prompt::new(model.config(), vec![5, 6, 7], &[], &[]).unwrap();
    let logits = |model: &Model| prefill(model, &prompt, None, &mut model.new_kv());
    assert_eq!(logits(&model), logits(&tied()));
}

/// A clip of `groups` temporal groups of 4 x 6 patches.
fn clip(model: &Model, groups: usize) -> Visual {
    let values = groups * 24 * model.config().vision.patch_len();
    Visual { pixels: (0..values).map(|i| (i as f32 * 0.37).sin()).collect(), grid: [groups, 4, 6] }
}

fn prefill(model: &Model, prompt: &Prompt, features: Option<&Features>, kv: &mut Kv) -> Vec<f32> {
    model.prefill(prompt, features, kv, &mut go_on).unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 2e-4 * (1.0 + want.abs()), "{what}: {got}, not {want}");
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_long_clip_in_batches_equals_its_groups_one_by_one() {
    let model = tied();
    let long = clip(&model, 200);
    let mut seen = Vec::new();
    let whole = model
        .encode(&long, &mut |done, total| {
            seen.push((done, total));
            ControlFlow::Continue(())
        })
        .unwrap();
    // 200 groups of 24 rows are more than one batch, so progress counts more than one tower's blocks.
    assert_eq!(seen, (1..=9).map(|done| (done, 9)).collect::<Vec<_>>());
    let one = long.pixels.len() / 200;
    for group in [0, 84, 85, 199] {
        let pixels = long.pixels[group * one..(group + 1) * one].to_vec();
        let alone = model.encode(&Visual { pixels, grid: [1, 4, 6] }, &mut go_on).unwrap();
        let part = whole.merged.narrow(0, group * 6, 6).unwrap();
        assert_close("merged", &values(&alone.merged), &values(&part));
        for (alone, whole) in alone.deepstack.iter().zip(&whole.deepstack) {
            assert_close("deepstack", &values(alone), &values(&whole.narrow(0, group * 6, 6).unwrap()));
        }
    }
}

/// A prompt of text, a clip of `groups` groups with text between, and text: longer than one chunk.
fn long_prompt(model: &Model, groups: usize) -> Prompt {
    let config = model.config();
    let mut ids = (0..200).map(|i| i % 300).collect::<Vec<u32>>();
    for group in 0..groups as u32 {
        ids.extend([group % 50, config.vision_start_token_id]);
        ids.extend([config.video_token_id; 6]);
        ids.push(config.vision_end_token_id);
    }
    ids.extend((0..100).map(|i| i % 7));
    Prompt::new(config, ids, &[], &[[groups, 4, 6]]).unwrap()
}

#[test]
fn a_long_prompt_in_chunks_equals_token_by_token() {
    let model = tied();
    let features = model.encode(&clip(&model, 80), &mut go_on).unwrap();
    let prompt = long_prompt(&model, 80);
    assert_eq!(prompt.ids().len(), 1020);
    let mut kv = model.new_kv();
    let mut seen = Vec::new();
    let logits = model
        .prefill(&prompt, Some(&features), &mut kv, &mut |done, total| {
            seen.push((done, total));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen.last(), Some(&(1020, 1020)));
    assert!(seen.len() > 1, "the prompt must not fit one chunk");
    let logits = logits.to_vec1::<f32>().unwrap();

    // The last 90 tokens are text, so they can go step by step; the cache outgrows its first size twice.
    let mut ids = prompt.ids().to_vec();
    let tail = ids.split_off(930);
    let head = Prompt::new(model.config(), ids, &[], &[[80, 4, 6]]).unwrap();
    let mut stepped = model.new_kv();
    prefill(&model, &head, Some(&features), &mut stepped);
    let last = tail.iter().map(|&token| model.step(token, &mut stepped).unwrap()).last().unwrap();
    assert_close("stepped", &values(&last), &logits);
    assert_eq!(stepped.len(), kv.len());

    // A clip that the cache holds already needs no features.
    kv.truncate(930);
    assert_close("kept", &prefill(&model, &prompt, None, &mut kv), &logits);
}

#[test]
fn a_cache_grows_without_forgetting() {
    let model = tied();
    let ids = (0..700).map(|i| (i * 31) % 340).collect::<Vec<u32>>();
    let mut kv = model.new_kv();
    assert_eq!((kv.len(), kv.bytes()), (0, 0));
    let first = Prompt::new(model.config(), ids[..1].to_vec(), &[], &[]).unwrap();
    let mut logits = prefill(&model, &first, None, &mut kv);
    let small = kv.bytes();
    for &token in &ids[1..] {
        logits = values(&model.step(token, &mut kv).unwrap());
    }
    assert_eq!(small, 256 * model.kv_bytes_per_token());
    assert_eq!(kv.bytes(), 1024 * model.kv_bytes_per_token());
    let all = Prompt::new(model.config(), ids, &[], &[]).unwrap();
    assert_close("grown", &logits, &prefill(&model, &all, None, &mut model.new_kv()));
}

#[test]
fn work_stops_where_it_is_told_to() {
    let model = tied();
    let mut blocks = 0;
    let stopped = model.encode(&clip(&model, 2), &mut |_, _| {
        blocks += 1;
        if blocks == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(EngineError::Cancelled)));
    assert_eq!(blocks, 2);

    let features = model.encode(&clip(&model, 80), &mut go_on).unwrap();
    let prompt = long_prompt(&model, 80);
    let mut kv = model.new_kv();
    let stopped = model.prefill(&prompt, Some(&features), &mut kv, &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(EngineError::Cancelled)));
    assert!(kv.len() < prompt.ids().len());
    // What was done is of use: going on gives what a fresh start gives.
    let resumed = prefill(&model, &prompt, Some(&features), &mut kv);
    assert_close("resumed", &resumed, &prefill(&model, &prompt, Some(&features), &mut model.new_kv()));
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let model = tied();
    let config = model.config();
    let pad = config.video_token_id;
    for (ids, videos) in [
        (vec![1, pad, pad, 2], vec![[1, 4, 6]]),
        (vec![1, 2], vec![[1, 4, 6]]),
        (vec![1, pad], vec![]),
        (vec![1, 384], vec![]),
    ] {
        assert!(Prompt::new(config, ids.clone(), &[], &videos).is_err(), "{ids:?} {videos:?}");
    }
    let mut visual = clip(&model, 1);
    visual.pixels.pop();
    assert!(model.encode(&visual, &mut go_on).is_err(), "a value is missing");
    let odd = Visual { grid: [1, 3, 8], ..clip(&model, 1) };
    assert!(model.encode(&odd, &mut go_on).is_err(), "three rows can't be merged by two");
    let huge = Visual { pixels: Vec::new(), grid: [usize::MAX, 4, 4] };
    assert!(model.encode(&huge, &mut go_on).is_err(), "the product overflows");

    let prompt = long_prompt(&model, 2);
    assert!(model.prefill(&prompt, None, &mut model.new_kv(), &mut go_on).is_err(), "features are missing");
    let mut kv = model.new_kv();
    let text = Prompt::new(config, vec![1, 2], &[], &[]).unwrap();
    prefill(&model, &text, None, &mut kv);
    assert!(model.prefill(&text, None, &mut kv, &mut go_on).is_err(), "nothing is left to run");
    assert!(model.step(384, &mut kv).is_err(), "the token is outside the vocabulary");
}
